"""Association rules against counting in plain Python, their intervals against published formulas, and the command."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae as command

import recae
from recae.errors import ConfigError, DataError
from recae.insight import associations as module
from recae.insight.associations import Associations, associations, baskets_of, ranks_by_model
from recae.interactions import Events
from recae.models import Popularity
from recae.recommender import Recommender


def random_baskets(seed: int, n: int = 300, items: int = 12) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    held = rng.random((n, items)) < rng.uniform(0.02, 0.5, items)
    held[:, 1] |= held[:, 0] & (rng.random(n) < 0.8)
    return sp.csr_matrix(held.astype(np.float32))


def counted(baskets: sp.csr_matrix, least: int) -> dict[tuple[int, int], tuple[int, float, float, float]]:
    """How many hold both, confidence, lift and the lower end of its interval, of each rule."""
    held = [set(row) for row in np.split(baskets.indices, baskets.indptr[1:-1])]
    n, found = len(held), {}
    for i, j in itertools.permutations(range(baskets.shape[1]), 2):
        a, b = sum(i in one for one in held), sum(j in one for one in held)
        both = sum(i in one and j in one for one in held)
        if both < least:
            continue
        lift = both * n / (a * b)
        # var(log p_ij − log p_i − log p_j), term by term
        p, q, r = both / n, a / n, b / n
        variance = ((1 - p) / p + (1 - q) / q + (1 - r) / r) / n
        variance += (-2 * (1 - q) / q - 2 * (1 - r) / r + 2 * (p - q * r) / (q * r)) / n
        found[i, j] = both, both / a, lift, lift * math.exp(-1.959963984540054 * math.sqrt(max(variance, 0)))
    return found


def rules_of(found: Associations) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in zip(found.first, found.second, strict=True)]


@pytest.mark.parametrize(("seed", "together"), [(0, 2**24), (1, 500), (2, 1)])
def test_rules_are_those_of_counting(seed: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", together)
    baskets = random_baskets(seed)
    wanted = counted(baskets, 5)
    found = associations(baskets, least=5, most=1000)
    assert set(rules_of(found)) == set(wanted)
    assert found.pairs == len(wanted) // 2
    for place, rule in enumerate(rules_of(found)):
        both, confidence, lift, low = wanted[rule]
        assert found.baskets[place] == both
        assert found.support[place] == pytest.approx(both / 300)
        assert found.confidence[place] == pytest.approx(confidence)
        assert found.lift[place] == pytest.approx(lift)
        assert found.lift_interval[place, 0] == pytest.approx(low)
        assert found.lift_interval[place, 0] * found.lift_interval[place, 1] == pytest.approx(lift**2)
    assert (np.diff(found.lift_interval[:, 0]) <= 1e-12).all()
    assert rules_of(found)[0] in {(0, 1), (1, 0)}
    some = associations(baskets, least=5, most=1000, of=3)
    assert set(rules_of(some)) == {rule for rule in wanted if rule[0] == 3}


def test_an_interval_of_lift_holds_the_true_one_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    n, within = 2_000, 0
    for _ in range(400):  # P(a) = .1, P(b | a) = .3, P(b | not a) = .1: lift .3/.12
        a = rng.random(n) < 0.1
        b = rng.random(n) < np.where(a, 0.3, 0.1)
        found = associations(sp.csr_matrix(np.stack([a, b], axis=1).astype(np.float32)), least=1)
        low, high = found.lift_interval[0]
        within += low <= 2.5 <= high
    assert 0.92 <= within / 400 <= 0.98


def test_confidence_has_wilsons_interval() -> None:
    baskets = sp.csr_matrix(np.array([[1, 1]] * 8 + [[1, 0]] * 2 + [[0, 1]] * 5, dtype=np.float32))
    found = associations(baskets, least=1)
    place = rules_of(found).index((0, 1))
    # 8 of 10, from Wilson's formula as tables have it
    assert found.confidence_interval[place] == pytest.approx([0.4902, 0.9433], abs=5e-5)


def test_baskets_are_told_apart_by_user_and_order() -> None:
    users, items, when = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]), np.array([1, 1, 2, 1, 2])
    found = baskets_of(Events.of(users, items, when, 2, 3))
    assert found.toarray().tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_what_cannot_be_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no purchases"):
        associations(sp.csr_matrix((3, 3), dtype=np.float32))
    with pytest.raises(ConfigError, match="least is a whole number"):
        associations(random_baskets(0), least=0)
    monkeypatch.setattr(module, "MOST_PAIRS", 3)
    with pytest.raises(DataError, match="ask for more baskets"):
        associations(random_baskets(0), least=1)


def test_nothing_frequent_is_no_rule() -> None:
    found = associations(random_baskets(0), least=400)
    assert (len(found), found.pairs) == (0, 0)


def test_ranks_are_those_of_the_models_list() -> None:
    model = Recommender(Popularity(np.array([0.9, 0.1, 0.5, 0.7], np.float32)), None, ["a", "b", "c", "d"])
    ranks = ranks_by_model(model, np.array([0, 3, -1, 2]), np.array([1, 0, 0, 1]))
    assert ranks.tolist() == [3, 1, 0, 3]  # the first item itself is in no list


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "orders.csv"
    rng = np.random.default_rng(3)
    with path.open("w", encoding="utf-8") as file:
        file.write("customer_id,product_id,name,date\n")
        for user in range(60):
            for day in range(2):
                bought = {f"p{i}" for i in rng.integers(0, 12, 3)} | (
                    {"tea", "pot"} if rng.random() < 0.3 else set()
                )
                for item in sorted(bought):
                    file.write(f"u{user},{item},The {item},2024-01-{1 + day:02d}T10:00:00\n")
    return path


def test_the_command_says_what_python_says(table: Path) -> None:
    found = command("rules", table, "--baskets", "--json", "--least", "3")
    assert found.exit_code == 0, found.stderr
    answer = json.loads(found.stdout)
    rules = recae.associations(str(table), baskets=True, least=3, n=20).to_dicts()
    assert answer["rules"] == json.loads(json.dumps(rules))
    assert answer["baskets"] == 120
    assert {rules[0]["item_id"], rules[0]["then_id"]} == {"tea", "pot"}
    assert rules[0]["name"].startswith("The ")
    assert "would have an interval above 1" in found.stderr
    printed = command("rules", table, "--baskets", "--csv", "--least", "3", "-n", "2")
    assert [row["then_id"] for row in csv.DictReader(io.StringIO(printed.stdout))] == [
        r["then_id"] for r in rules[:2]
    ]


def test_one_item_and_a_file(table: Path, tmp_path: Path) -> None:
    found = command("rules", table, "--item", "tea", "--out", tmp_path / "rules.csv")
    assert found.exit_code == 0, found.stderr
    rows = list(csv.DictReader((tmp_path / "rules.csv").open(encoding="utf-8")))
    assert rows
    assert {row["item_id"] for row in rows} == {"tea"}
    assert f"wrote {len(rows)} rules" in found.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--item", "tee"], "tea"),
        (["--json", "--csv"], "exclude one another"),
        (["--out", "rules.txt"], "ending"),
        (["--least", "0"], "--least"),
    ],
)
def test_what_is_wrong_is_a_sentence(table: Path, options: list[str], said: str) -> None:
    found = command("rules", table, *options)
    assert found.exit_code in (2, 3, 4, 5)
    assert said in found.stderr
    assert "Traceback" not in found.stderr
