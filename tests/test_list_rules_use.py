"""Rules and diversity where lists are made: recommend, score, serve, and from Python, all to the same lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import recae, refused
from shopserver import N_ITEMS, shop

from recae import score
from recae.errors import ConfigError
from recae.insight.listings import listing_of
from recae.item_table import TEXT, ItemTable
from recae.list_rules import read_list_rules
from recae.modelfile import save
from recae.recommender import Recommender
from recae.scoring.audience import every_user
from recae.scoring.manifest import settings_of
from recae.scoring.work import make_work
from recae.serving.answers import RankedList, rank
from recae.serving.problems import Problem
from recae.serving.schemas import RecommendRequest
from recae.serving.served import ServedModel, load_served

RULES = """
[exclude]
price_to = 3
[caps]
category = 2
[[pins]]
id = "P20"
place = 2
[[boosts]]
categories = ["C1"]
by = 1.5
"""


@pytest.fixture(scope="module")
def model() -> Recommender:
    plain = shop()
    columns = {
        "category": pa.array([f"C{n % 4}" for n in range(N_ITEMS)], TEXT),
        "price": pa.array([float(n % 10) for n in range(N_ITEMS)]),
    }
    return shop(item_table=ItemTable(plain.items, pa.table(columns)))


@pytest.fixture(scope="module")
def path(model: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rules") / "model.recae"
    save(model, found)
    return found


@pytest.fixture(scope="module")
def rules(path: Path) -> Path:
    found = path.parent / "rules.toml"
    found.write_text(RULES, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def served(path: Path, rules: Path) -> ServedModel:
    return load_served(path, rules=read_list_rules(rules))


def listed(model: Recommender, user: str, n: int, rules: Path | None, diversity: float = 0.0) -> list[str]:
    """A list straight from the scores of all items; that lists are right is shown in test_list_rules.py."""
    assert model.histories is not None
    history = model.histories[model.users.row(user)]  # type: ignore[union-attr]
    listing = listing_of(model, rules, diversity)
    assert listing is not None
    items = listing.rank(model.model.score(history), n, history).items[0]
    return [model.items.id(int(item)) for item in items if item >= 0]


@pytest.mark.parametrize("diversity", [0.0, 0.4])
def test_all_ways_lead_to_the_same_lists(
    model: Recommender, path: Path, rules: Path, served: ServedModel, diversity: float, tmp_path: Path
) -> None:
    users = ["u1", "u2", "Zoë ☕"]
    wanted = {user: listed(model, user, 7, rules, diversity) for user in users}
    for user in users:
        found = model.recommend(user, 7, rules=rules, diversity=diversity)
        assert [row.item_id for row in found] == wanted[user]
        categories = [int(row.category[1]) for row in found]  # type: ignore[attr-defined]
        assert max(np.bincount(categories)) <= 2
        assert found[1].item_id == "P20"
    many = model.recommend_many(users, 7, rules=rules, diversity=diversity)
    assert list(many["item_id"]) == [item for user in users for item in wanted[user]]
    out = tmp_path / "recs.parquet"
    options = ("--rules", rules, "--diversity", str(diversity), "-n", "7")
    written = recae("score", "--out", out, *options, model=path)
    assert written.exit_code == 0, written.stderr
    rows = pq.read_table(out).to_pylist()
    assert {user: [row["item_id"] for row in rows if row["user_id"] == user] for user in users} == wanted
    streamed = score(model, n=7, rules=rules, diversity=diversity).to_arrow()
    assert streamed.equals(pq.read_table(out))
    printed = recae("recommend", "--user", "u1", "--json", *options, model=path)
    assert [row["item_id"] for row in json.loads(printed.stdout)["recommendations"]] == wanted["u1"]
    answers = rank(served, [RecommendRequest(user=user, n=7, diversity=diversity) for user in users])
    for user, answer in zip(users, answers, strict=True):
        assert isinstance(answer, RankedList)
        assert [model.items.id(int(item)) for item in answer.items] == wanted[user]


def test_rules_that_only_bar_go_the_fast_way_to_the_same_lists(model: Recommender, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[exclude]\ncategories = ["C0"]\n', encoding="utf-8")
    work = make_work(model, every_user(model), 5, listing=listing_of(model, tmp_path / "r.toml"))
    assert work.listing is None
    found = work.batch(0, 20).to_pylist()
    mine = [row["item_id"] for row in found if row["user_id"] == "u1"]
    assert mine == listed(model, "u1", 5, tmp_path / "r.toml")


def test_a_requests_rules_and_the_servers_both_count(
    model: Recommender, served: ServedModel, rules: Path
) -> None:
    whole = listed(model, "u1", 40, rules)
    asked = RecommendRequest(user="u1", n=3, exclude=[whole[0]], only=whole[:4])
    (answer,) = rank(served, [asked])
    assert isinstance(answer, RankedList)
    ids = {model.items.id(int(item)) for item in answer.items}
    assert ids <= set(whole[1:4])
    assert ids


def test_the_popular_list_follows_the_rules(model: Recommender, served: ServedModel, rules: Path) -> None:
    found = model.recommend("nobody", 8, fallback="popular", rules=rules)
    assert found[1].item_id == "P20"
    (answer,) = rank(served, [RecommendRequest(user="nobody", n=8, fallback="popular")])
    assert isinstance(answer, RankedList)
    assert [model.items.id(int(item)) for item in answer.items] == [row.item_id for row in found]


def test_another_rule_is_another_run(model: Recommender, rules: Path) -> None:
    def settings(**changes: object) -> dict[str, object]:
        listing = listing_of(model, rules, **changes)  # type: ignore[arg-type]
        return dict(settings_of(make_work(model, every_user(model), 5, listing=listing), "x"))

    assert settings() != settings(diversity=0.2)
    assert settings() == settings()


def test_a_model_that_cannot_tell_items_apart_is_no_server_error(path: Path, tmp_path: Path) -> None:
    from recae.models import Popularity

    save(shop(model=Popularity(np.arange(N_ITEMS, dtype=np.float32))), tmp_path / "popular.recae")
    asked = [RecommendRequest(user="u1", n=3, diversity=0.5), RecommendRequest(user="u1", n=3)]
    problem, answer = rank(load_served(tmp_path / "popular.recae"), asked)
    assert isinstance(problem, Problem)
    assert isinstance(answer, RankedList)
    assert answer.items.size == 3


def test_what_does_not_go_together_is_a_sentence(model: Recommender, path: Path, rules: Path) -> None:
    with pytest.raises(ConfigError, match="approximate lists know neither rules nor diversity"):
        model.recommend("u1", approximate=True, diversity=0.1)
    with pytest.raises(ConfigError, match="approximate lists know no caps"):
        score(model, rules=rules, approximate=True)
    with pytest.raises(ConfigError, match="diversity is a number from 0 to 1, found 2"):
        model.recommend("u1", diversity=2)
    refused(recae("recommend", "--user", "u1", "--rules", "none.toml", model=path), "the rules 'none.toml'")
    refused(recae("recommend", "--user", "u1", "--diversity", "1.5", model=path), "--diversity")
    refused(recae("serve", "--rules", rules, "--approximate", model=path), "leave one of them out")


def test_rules_that_leave_nothing_new_say_so(path: Path, tmp_path: Path, model: Recommender) -> None:
    assert model.histories is not None
    assert model.users is not None
    owned = model.items.id(int(model.histories[model.users.row("u1")].indices[0]))
    (tmp_path / "r.toml").write_text(f"[only]\nids = [{json.dumps(owned)}]\n", encoding="utf-8")
    found = recae("recommend", "--user", "u1", "--rules", tmp_path / "r.toml", model=path)
    assert found.exit_code == 0
    assert "or left out by the rules" in found.stderr
