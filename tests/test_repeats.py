"""Shops where people rebuy: who is held out, how the table is made, and what every way of asking then leaves in."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae

from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.ids import IdMap
from recae.insight.explain import explain
from recae.interactions import Events
from recae.modelfile import load, save
from recae.models import Frequency, ItemKNN, Popularity
from recae.pipeline import FIGURES, METADATA, measure_repeats
from recae.recommender import Recommender
from recae.scoring import score
from recae.splits.held_out import DECAY, DECAYS, hold_out_repeats

USERS, ITEMS = 40, 12


def shop(seed: int = 0, lately: bool = False) -> Events:
    """User u has 1 + u % 5 baskets of three favourites; `lately`: each basket repeats the one before, save one item."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(USERS):
        basket = list(rng.permutation(ITEMS)[:4])
        for b in range(1 + u % 5 if not lately else 8):
            if lately and b:
                basket[rng.integers(4)] = rng.integers(ITEMS)
            rows += [(u, i, b) for i in basket]
    users, items, when = np.array(rows).T
    return Events.of(users, items, when, USERS, ITEMS)


def users(events: Events) -> IdMap:
    return IdMap(f"u{u:02}" for u in range(events.n_users))


def test_who_is_held_out() -> None:
    events = shop()
    held_out = hold_out_repeats(events, users(events), 0, 0.5)
    earlier, last = events.before_last().weights(0.5), events.last_baskets()
    assert held_out.validation is not None
    assert held_out.test is not None
    found = []
    for history, held in (held_out.validation, held_out.test):
        assert history.shape == held.shape == (4, ITEMS)  # 10 % of the users
        rows = [
            u
            for u in range(USERS)
            for b in range(4)
            if (earlier[u] != history[b]).nnz == 0 and (last[u] != held[b]).nnz == 0 and held[b].nnz
        ]
        assert len(rows) == 4
        assert (events.baskets[rows] >= 2).all()
        found += rows
    assert len(set(found)) == 8
    assert sorted({*found, *held_out.learners}) == list(range(USERS))
    assert not set(found) & set(held_out.learners)
    assert held_out.decay == 0.5


def test_the_seed_alone_decides_and_not_the_decay() -> None:
    events = shop()
    one, same = hold_out_repeats(events, users(events), 3, 0.5), hold_out_repeats(events, users(events), 3)
    np.testing.assert_array_equal(one.learners, same.learners)
    for a, b in zip(one.test or (), same.test or (), strict=True):
        np.testing.assert_array_equal(a.indices, b.indices)
    other = hold_out_repeats(events, users(events), 4, 0.5)
    assert one.learners.tolist() != other.learners.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_decay_is_the_best_on_validation_users(seed: int) -> None:
    events = shop(seed, lately=True)
    chosen = hold_out_repeats(events, users(events), seed)
    model = Frequency.fit(events.weights()[chosen.learners])

    def quality(decay: float) -> float:
        pair = hold_out_repeats(events, users(events), seed, decay).validation
        assert pair is not None
        return evaluate(model, *pair, (20,), exclude_owned=False).mean("ndcg@20")

    qualities = [quality(decay) for decay in DECAYS]
    assert chosen.decay == DECAYS[int(np.argmax(qualities))]
    assert len(set(qualities)) > 1  # or there would be nothing to choose


def test_too_few_who_came_again() -> None:
    events = Events.of(*np.array([[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [0, 1, 0, 1, 0]]), 3, 5)
    held_out = hold_out_repeats(events, users(events), 0)
    assert held_out.validation is held_out.test is None
    assert held_out.learners.tolist() == [0, 1, 2]
    assert held_out.decay == DECAY
    assert hold_out_repeats(events, users(events), 0, 0.5).decay == 0.5
    with pytest.raises(ConfigError, match="no user can be held out"):
        measure_repeats({}, held_out)


@pytest.mark.parametrize("events", [shop(), Events.of(*np.array([[0, 1], [0, 1], [0, 0]]), 2, 2)])
def test_decays_that_are_none(events: Events) -> None:
    with pytest.raises(ConfigError, match="decay is a number above 0 to 1, found 2"):
        hold_out_repeats(events, users(events), 0, 2.0)
    if events.n_users == USERS:
        with pytest.raises(ConfigError, match="found none"):
            hold_out_repeats(events, users(events), 0, decays=())


def test_the_table_is_that_of_slow_counting() -> None:
    events = shop(5, lately=True)
    held_out = hold_out_repeats(events, users(events), 5, 0.8)
    assert held_out.test is not None
    matrix = events.weights()[held_out.learners]
    models: dict[str, Any] = {"frequency": Frequency.fit(matrix), "item-kNN": ItemKNN.fit(matrix, k=3)}
    table = measure_repeats(models, held_out)
    assert table == json.loads(json.dumps(table))
    assert [row["model"] for row in table["rows"]] == list(models)
    assert all(set(row) == {"model", *FIGURES} for row in table["rows"])
    assert (table["repeats"], table["validation_users"], table["ks"]) == (True, 4, [10, 20, 50])
    history, held = (part.toarray() for part in held_out.test)
    for row, model in zip(table["rows"], models.values(), strict=True):
        scores = model.score(held_out.test[0])
        recalls = []
        for u in range(len(held)):
            best = sorted(range(ITEMS), key=lambda i: (-scores[u, i], i))[:10]
            recalls.append(np.mean([i in best for i in np.flatnonzero(held[u])]))
        assert row["recall@10"] == pytest.approx(np.mean(recalls))
    again = [u for u in range(len(held)) if (history[u] * held[u]).any()]
    new = [u for u in range(len(held)) if (held[u] * (history[u] == 0)).any()]
    assert (table["n_users"], table["repeat_users"], table["new_users"]) == (len(held), len(again), len(new))


def test_a_part_that_nobody_has_is_null() -> None:
    rows = [(u, i, b) for u in range(9) for b in range(2) for i in (u % 4, 4)]
    events = Events.of(*np.array(rows).T, 9, 5)
    held_out = hold_out_repeats(events, users(events), 0, 1.0)
    table = measure_repeats({"popularity": Popularity.fit(events.weights())}, held_out)
    assert table["new_users"] == 0
    assert table["rows"][0]["recall_new@20"] is None
    assert table["rows"][0]["recall_repeat@20"] == 1


# What every way of asking leaves in


def recommender(**changes: Any) -> Recommender:
    """User "a" bought item 2 often and item 0 once; item 3 is the most popular."""
    matrix = sp.csr_matrix(np.array([[1, 0, 2.75, 0], [0, 0, 0, 1.5], [0, 0.5, 0, 0.25]], dtype=np.float32))
    parts: dict[str, Any] = {
        "model": Frequency.fit(matrix, popularity=0.5),
        "users": IdMap(["a", "b", "c"]),
        "items": IdMap(["i0", "i1", "i2", "i3"]),
        "histories": matrix,
        "metadata": METADATA,
    }
    return Recommender(**(parts | changes))


KEPT, LEFT_OUT = ["i2", "i0", "i3", "i1"], ["i3", "i1"]


def test_recommend_keeps_what_is_owned_unless_told_otherwise() -> None:
    assert [r.item for r in recommender().recommend("a")] == KEPT
    assert [r.item for r in recommender().recommend("a", exclude_owned=True)] == LEFT_OUT
    for metadata in ({}, {"repeats": False}, {"repeats": 1}, {"repeats": "true"}):
        other = recommender(metadata=metadata)
        assert not other.repeats
        assert [r.item for r in other.recommend("a")] == LEFT_OUT
        assert [r.item for r in other.recommend("a", exclude_owned=False)] == KEPT
    assert [r.item for r in recommender().recommend(items=["i1"], n=1)] == ["i1"]


@pytest.mark.parametrize(("asked", "expected"), [(None, KEPT), (False, KEPT), (True, LEFT_OUT)])
def test_scoring_does_as_recommend_does(asked: bool | None, expected: list[str]) -> None:
    (batch,) = score(recommender(), n=4, exclude_owned=asked)
    items = [
        item
        for user, item in zip(*(batch[n].to_pylist() for n in ("user_id", "item_id")), strict=True)
        if user == "a"
    ]
    assert items == expected


def test_the_file_keeps_the_weights(tmp_path: Path) -> None:
    save(recommender(), tmp_path / "m.recae")
    again = load(tmp_path / "m.recae")
    assert again.repeats
    assert again.recommend("a") == recommender().recommend("a")


@pytest.mark.parametrize(
    ("flags", "expected"), [((), KEPT), (("--include-owned",), KEPT), (("--exclude-owned",), LEFT_OUT)]
)
def test_the_commands_do_as_the_model_says(
    tmp_path: Path, flags: tuple[str, ...], expected: list[str]
) -> None:
    model = tmp_path / "m.recae"
    save(recommender(), model)
    found = json.loads(recae("recommend", "--user", "a", "--json", *flags, model=model).stdout)
    assert [r["item_id"] for r in found["recommendations"]] == expected
    assert recae("score", "--out", tmp_path / "recs.csv", *flags, model=model).exit_code == 0
    with (tmp_path / "recs.csv").open() as file:
        assert [row["item_id"] for row in csv.DictReader(file) if row["user_id"] == "a"] == expected


def test_without_repeats_the_commands_leave_owned_items_out(tmp_path: Path) -> None:
    model = tmp_path / "m.recae"
    save(recommender(metadata={}), model)
    for flags, expected in (((), LEFT_OUT), (("--include-owned",), KEPT)):
        found = json.loads(recae("recommend", "--user", "a", "--json", *flags, model=model).stdout)
        assert [r["item_id"] for r in found["recommendations"]] == expected


def test_explanations_are_of_the_weights() -> None:
    model = recommender()
    (of_owned,) = explain(model, model.history_of("a"), [2])
    assert of_owned.owned.tolist() == [0, 2]
    assert of_owned.contributions == pytest.approx([0, 2.75])
    assert of_owned.score == pytest.approx(of_owned.base + 2.75)
    twice = sp.csr_matrix((np.float32([1, 2]), [1, 1], [0, 2]), shape=(1, 4))
    assert explain(model, twice, [1])[0].contributions == pytest.approx([3])


@pytest.mark.parametrize(
    ("asked", "expected"), [({}, KEPT), ({"exclude_owned": None}, KEPT), ({"exclude_owned": True}, LEFT_OUT)]
)
def test_serving_does_as_recommend_does(tmp_path: Path, asked: dict[str, Any], expected: list[str]) -> None:
    from recae.serving.answers import RankedList, explained_json, rank
    from recae.serving.schemas import RecommendRequest
    from recae.serving.served import load_served

    save(recommender(), tmp_path / "m.recae")
    served = load_served(tmp_path / "m.recae")
    questions = [RecommendRequest(items=["i1"]), RecommendRequest(user="a", **asked)]
    basket, of_user = rank(served, questions)
    assert isinstance(basket, RankedList)
    assert isinstance(of_user, RankedList)
    assert served.ids_and_names(of_user.items)[0] == expected
    alone = {r.item: r.score for r in recommender().recommend("a")}
    np.testing.assert_allclose(of_user.scores, [alone[item] for item in expected])
    told = json.loads(explained_json(served, of_user))
    assert told["recommendations"][0]["score"] == pytest.approx(alone[expected[0]])
    because = told["recommendations"][0]["because"]
    assert [b["item_id"] for b in because] == (["i2"] if expected == KEPT else [])
    assert [b["contribution"] for b in because] == pytest.approx([2.75] * len(because))
