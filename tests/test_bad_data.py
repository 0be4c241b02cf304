"""Purchases that little can be learned from: random ones, one item for all, single items, few users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import recae

from recae import evaluate, load, score, train
from recae.errors import RecaeError
from recae.kinds import DEFAULT

Pairs = list[tuple[str, str]]
KINDS = ("ease", "itemknn", "popularity")


def random_purchases(users: int, items: int, each: int) -> Pairs:
    rng = np.random.default_rng(users)
    return [(f"u{u}", f"i{i}") for u in range(users) for i in rng.choice(items, each, replace=False)]


SHOPS: dict[str, Pairs] = {
    "without signal": random_purchases(120, 60, 5),
    "fifty users": random_purchases(50, 20, 4),
    "one item bought by all": random_purchases(90, 30, 3) + [(f"u{u}", "all") for u in range(90)],
    "single items": [(f"u{u}", f"i{u % 7}") for u in range(60)],
    "two items, both bought by all": [(f"u{u}", f"i{i}") for u in range(40) for i in range(2)],
    "nothing in common": [(f"u{u}", f"i{u}-{n}") for u in range(40) for n in range(4)],
    "three users": [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z"), ("c", "x"), ("c", "y")],
}


def check_lists(model: Any, shop: Pairs) -> None:
    """Every user has all that is left, in order, with finite scores, and nothing that is owned."""
    owned: dict[str, set[str]] = {}
    for user, item in shop:
        owned.setdefault(user, set()).add(item)
    items = {item for _, item in shop}
    found = score(model, n=len(items)).to_arrow().to_pydict()
    assert np.isfinite(found["score"]).all()
    lists: dict[str, list[str]] = {}
    for user, item in zip(found["user_id"], found["item_id"], strict=True):
        lists.setdefault(user, []).append(item)
    for user, own in owned.items():
        listed = lists.get(user, [])
        assert len(listed) == len(set(listed)) == len(items - own)
        assert set(listed) == items - own
        assert [row.item_id for row in model.recommend(user, n=len(items))] == listed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHOPS)
def test_there_are_lists_whatever_the_purchases(name: str, kind: str) -> None:
    check_lists(train(SHOPS[name], kind, progress=False), SHOPS[name])


@pytest.mark.thorough
@pytest.mark.parametrize("name", SHOPS)
def test_the_default_makes_lists_whatever_the_purchases(name: str) -> None:
    model = train(SHOPS[name], DEFAULT, progress=False)
    check_lists(model, SHOPS[name])


@pytest.mark.parametrize("name", SHOPS)
@pytest.mark.parametrize("protocol", ["strong", "weak"])
def test_an_evaluation_has_figures_or_one_sentence(name: str, protocol: str) -> None:
    options: dict[str, Any] = {
        "kind": "popularity",
        "baselines": "none",
        "protocol": protocol,
        "trials": 1,
        "k": 20,
    }
    if name in ("single items", "nothing in common"):
        with pytest.raises(RecaeError, match=r"needs at least 3 users|leaves nobody to test") as caught:
            evaluate(SHOPS[name], **options, executor=in_process(), progress=False)
        assert "\n" not in str(caught.value)
        return
    found = evaluate(SHOPS[name], **options, executor=in_process(), progress=False)
    mean = found.comparison.models[0].metrics["ndcg@20"].mean
    assert 0 <= mean <= 1


def test_a_test_part_of_one_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair is enough to measure on, as a table and from Python; the training part needs more."""
    shop = SHOPS["fifty users"]
    unseen = next(("u1", f"i{n}") for n in range(20) if ("u1", f"i{n}") not in shop)
    options = {"protocol": "pair", "kind": "popularity", "baselines": "none", "trials": 1, "k": 20}
    found = evaluate(shop, test=[unseen], **options, executor=in_process(), progress=False)
    assert found.tasks[0].test_users == ("u1",)
    monkeypatch.chdir(tmp_path)
    for name, rows in (("train.csv", shop), ("test.csv", [unseen])):
        Path(name).write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    from_files = evaluate("train.csv", test="test.csv", **options, executor=in_process(), progress=False)
    assert from_files.tasks[0].rule == found.tasks[0].rule
    with pytest.raises(RecaeError, match="one user only"):
        evaluate([unseen], test=shop, **options, executor=in_process(), progress=False)


def in_process() -> Any:
    from recae.selection.executor import InProcess

    return InProcess()


def test_one_item_or_one_user_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for rows, what in (
        ([(f"u{n}", "i") for n in range(9)], "one item only, 'i'"),
        ([("u", f"i{n}") for n in range(9)], "one user only, 'u'"),
    ):
        Path("shop.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
        for command in ("train", "evaluate", "tune"):
            result = recae(command, "shop.csv")
            assert result.exit_code == 2
            assert what in result.stderr.splitlines()[-1]
            assert "Traceback" not in result.stderr


def test_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shop = SHOPS["two items, both bought by all"]
    Path("shop.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in shop))
    assert recae("train", "shop.csv", "--kind", "ease").exit_code == 0
    result = recae("recommend", "--user", "u1")
    assert result.exit_code == 0
    assert "nothing to recommend: every item of the model is in the history already" in result.stderr
    scored = recae("score", "--out", "lists.csv")
    assert scored.exit_code == 0
    assert "wrote 0 rows for 40 users" in scored.stderr
    assert len(load("model.recae").users or ()) == 40
