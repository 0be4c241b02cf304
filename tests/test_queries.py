"""Methods of `Recommender` beyond `recommend`, against scores of the model itself and counts by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray
from shopserver import N_ITEMS, N_USERS, shop

import recae
from recae.errors import ConfigError, DataError, UnknownIdError
from recae.models import Popularity
from recae.recommender import Recommender
from recae.results import Table


@pytest.fixture(scope="module")
def model() -> Recommender:
    return shop()


@pytest.fixture(scope="module")
def scores(model: Recommender) -> NDArray[np.float32]:
    """All scores, (U, I)."""
    return model.model.score(sp.csr_matrix(model.histories))


@pytest.fixture(scope="module")
def owned(model: Recommender) -> NDArray[np.bool_]:
    assert model.histories is not None
    return np.asarray(model.histories.toarray() > 0)


def user_id(model: Recommender, row: int) -> str:
    assert model.users is not None
    return model.users.id(row)


def test_pairs_are_scored_in_their_order(model: Recommender, scores: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(1)
    users, items = (
        rng.integers(9, N_USERS, 200),
        rng.integers(9, N_ITEMS, 200),
    )  # a blank id is none in a table
    pairs = [(user_id(model, u), model.items.id(i)) for u, i in zip(users, items, strict=True)]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    found = model.score_pairs(frame)
    assert list(zip(found["user_id"], found["item_id"], strict=True)) == pairs
    np.testing.assert_allclose(found["score"], scores[users, items], rtol=1e-5, atol=1e-6)
    other = frame.rename(columns={"user": "who", "item": "what"})
    assert model.score_pairs(other, user_column="who", item_column="what") == found
    some = model.score_pairs([("u1", "P01"), ("nobody", "P01"), ("u1", "nothing"), ("u1", "P01")])
    assert [row.score is None for row in some] == [False, True, True, False]
    with pytest.raises(DataError, match="nope"):
        model.score_pairs(frame, user_column="nope")


@pytest.mark.parametrize("exclude_owned", [True, False])
def test_users_for_an_item(
    model: Recommender, scores: NDArray[np.float32], owned: NDArray[np.bool_], exclude_owned: bool
) -> None:
    item = model.items.row("P05")
    rows = [u for u in range(N_USERS) if not (exclude_owned and owned[u, item])]
    best = sorted(rows, key=lambda u: (-scores[u, item], u))[:7]
    found = model.users_for("P05", 7, exclude_owned=exclude_owned)
    assert found["user_id"].tolist() == [user_id(model, u) for u in best]
    assert found["rank"].tolist() == list(range(1, 8))
    np.testing.assert_allclose(found["score"], scores[best, item], rtol=1e-5, atol=1e-6)
    assert len(model.users_for("P05", 10**9, exclude_owned=exclude_owned)) == len(rows)


def test_many_lists_are_those_of_one(model: Recommender) -> None:
    users = [user_id(model, row) for row in (5, 0, 20)]
    rules: dict[str, Any] = {
        "exclude": ["P01"],
        "only": [f"P{n:02}" for n in range(20)],
        "exclude_owned": False,
    }
    found = model.recommend_many(users, 4, **rules)
    for place, user in enumerate(users):
        one = model.recommend(user, 4, **rules)
        part = found[4 * place : 4 * place + 4]
        assert set(part["user_id"]) == {user}
        assert part["item_id"].tolist() == one["item_id"].tolist()
        assert part["name"].tolist() == one["name"].tolist()
    assert found.columns == ["user_id", "rank", "item_id", "name", "score"]
    everybody = model.recommend_many(n=1)
    assert len(everybody) == N_USERS
    assert everybody["item_id"][5] == model.recommend(user_id(model, 5), 1)[0].item_id
    table = pd.DataFrame({"customer": ["a", "a"], "item": ["P01", "P02"]})
    folded = model.recommend_many(histories=table, n=3, user_column="customer")
    assert folded["item_id"].tolist() == model.recommend(items=["P01", "P02"], n=3)["item_id"].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": "u1"}, "users is a list of ids, found str"),
        ({"users": 7}, "found int"),
        ({"users": pd.DataFrame({"user": ["u1"]})}, "found DataFrame"),
        ({"users": ["u1"], "histories": [("a", "P01")]}, "both given"),
        ({"users": ["u1"], "user_column": "a"}, "no option 'user_column'"),
        ({"histories": [("a", "P01")], "user_colum": "a"}, "did you mean user_column"),
        ({"n": 0}, "n is how many items are wanted"),
        ({"users": ["u1", None]}, "the id of a user"),
    ],
)
def test_many_lists_that_are_refused(model: Recommender, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.recommend_many(**arguments)


def test_neighbours_by_id(model: Recommender, owned: NDArray[np.bool_]) -> None:
    given = model.model.score(sp.csr_matrix(model.histories)).astype(np.float64)
    vectors = (given - given[owned.any(axis=1)].mean(axis=0))[owned.any(axis=1)].T
    row = model.items.row("P05")
    cosines = vectors @ vectors[row] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[row])
    order = [i for i in np.argsort(-cosines, kind="stable") if i != row][:5]
    found = model.similar_items("P05", 5)
    assert found["item_id"].tolist() == [model.items.id(int(i)) for i in order]
    np.testing.assert_allclose(found["similarity"], cosines[order], rtol=1e-4)

    both = (owned & owned[:, [row]]).sum(axis=0)
    both[row] = 0
    together = model.bought_together("P05", 5)
    assert together["users"].tolist() == sorted(both.tolist(), reverse=True)[:5]
    for other in together:
        at = model.items.row(other.item_id)
        lift = both[at] * N_USERS / (owned[:, row].sum() * owned[:, at].sum())
        assert other.lift == pytest.approx(lift)

    (nearest, *_) = model.similar_users("u5", 3)
    codes = given - given[owned.any(axis=1)].mean(axis=0)
    own, other = model.users.row("u5"), model.users.row(nearest.user_id)  # type: ignore[union-attr]
    assert nearest.shared == (owned[own] & owned[other]).sum()
    assert nearest.n_items == owned[other].sum()
    cosine = codes[own] @ codes[other] / np.linalg.norm(codes[own]) / np.linalg.norm(codes[other])
    assert nearest.similarity == pytest.approx(cosine, rel=1e-4)


def test_an_explanation_sums_up(model: Recommender, scores: NDArray[np.float32]) -> None:
    found = model.explain("u5", "P05", 3)
    value = dict(zip(found["part"], found["value"], strict=True))
    row, item = model.users.row("u5"), model.items.row("P05")  # type: ignore[union-attr]
    assert value["score"] == pytest.approx(scores[row, item], rel=1e-4)
    exact = [Decimal(str(number)) for number in found["value"].tolist()]
    assert sum(exact[:-1]) == exact[-1]  # as they are printed
    assert found["part"].tolist() == ["base", "owned", "owned", "owned", "others", "score"]
    assert found["name"][4] == f"{len(model.owned('u5')) - 3} other items"
    assert set(found["item_id"][1:4]) <= set(model.owned("u5")["item_id"])
    whole = model.explain(items=["P01"], item="P05")
    assert whole["part"].tolist() == ["base", "owned", "score"]
    with pytest.raises(ConfigError, match="needs the item"):
        model.explain("u5")
    with pytest.raises(UnknownIdError, match="no item 'nope'"):
        model.explain("u5", "nope")


def test_a_model_is_measured_on_later_purchases(
    model: Recommender, scores: NDArray[np.float32], owned: NDArray[np.bool_]
) -> None:
    rng = np.random.default_rng(2)
    later = rng.random((N_USERS, N_ITEMS)) < 0.1
    rows, columns = np.nonzero(later)
    pairs = [(user_id(model, u), model.items.id(int(i))) for u, i in zip(rows, columns, strict=True)]
    found = model.evaluate([*pairs, ("nobody", "P01"), ("u1", "nothing")], k=5, metrics=["recall"])
    recalls = []
    for user in range(N_USERS):
        wanted = set(np.flatnonzero(later[user] & ~owned[user]).tolist())
        order = sorted(np.flatnonzero(~owned[user]).tolist(), key=lambda i: (-scores[user, i], i))[:5]
        if wanted:
            recalls.append(len(wanted & set(order)) / len(wanted))
    (row,) = found
    assert (row.metric, row.n_users) == ("recall@5", len(recalls))
    assert row.mean == pytest.approx(np.mean(recalls))
    assert row.low <= row.mean <= row.high
    title = repr(found).splitlines()[0]
    assert title == f"Measured on {len(recalls)} users; left out as unknown: 1 user and 1 item"
    assert repr(model.evaluate(pairs, k=5)).splitlines()[0] == f"Measured on {len(recalls)} users"
    kept_in = model.evaluate(pairs, k=[5, 10], metrics="recall", exclude_owned=False)
    assert {"recall@5", "recall_repeat@10", "recall_new@5"} <= set(kept_in["metric"])
    own = model.evaluate([("a", "P05")], k=5, histories=[("a", "P01"), ("b", "P02")])
    assert own["n_users"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs purchases that the model was not trained on"),
        ({"held_out": [("nobody", "P01")]}, "nothing is left to be found"),
        ({"held_out": [("u1", "P01")], "k": 0}, "list lengths k of at least 1"),
        ({"held_out": [("u1", "P01")], "metrics": ["accuracy"]}, "accuracy"),
        ({"held_out": 7}, "found 7"),
        ({"held_out": [("u1", "P01")], "user_colum": "a"}, "did you mean user_column"),
    ],
)
def test_measurements_that_are_refused(model: Recommender, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        model.evaluate(**arguments)


def test_codes_and_vectors(model: Recommender) -> None:
    codes = model.model.encode(sp.csr_matrix(model.histories))  # type: ignore[attr-defined]  # of an autoencoder
    everybody = model.embed("users")
    assert len(everybody) == N_USERS
    some = model.embed("users", ["u5", "u1", "u5"])
    assert some["user_id"].tolist() == ["u5", "u1", "u5"]
    rows = [model.users.row(user) for user in some["user_id"]]  # type: ignore[union-attr]
    found = np.stack([some[f"code_{n}"] for n in range(codes.shape[1])], axis=1)
    np.testing.assert_allclose(found, codes[rows], rtol=1e-5, atol=1e-6)
    items = model.embed("items", ["P05"])
    np.testing.assert_allclose(items["vector_0"], [model.model.item_vectors[model.items.row("P05"), 0]])  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="'users' and of 'items'"):
        model.embed("people")
    with pytest.raises(UnknownIdError, match="no user 'nobody'"):
        model.embed("users", ["nobody"])


def test_what_a_model_says_of_itself(model: Recommender, owned: NDArray[np.bool_], tmp_path: Path) -> None:
    row = model.users.row("u5")  # type: ignore[union-attr]
    assert model.owned("u5")["item_id"].tolist() == [
        model.items.id(int(i)) for i in np.flatnonzero(owned[row])
    ]
    trained = shop(
        metadata={
            "metrics": {
                "n_users": 7,
                "rows": [{"model": "a", "recall@20": 0.5}, {"model": "b", "recall@20": None}],
            },
            "history": [{"epoch": 1, "loss": 0.5, "recall@20": 0.25, "drift": None}],
        }
    )
    assert trained.metrics.to_dicts()[1] == {"model": "b", "recall@20": None}
    assert repr(trained.metrics).startswith("Measured on 7 held-out users\n")
    assert trained.history.to_dicts() == [{"epoch": 1, "loss": 0.5, "recall@20": 0.25, "drift": None}]
    bare = shop(metadata={})
    assert (len(bare.metrics), len(bare.history)) == (0, 0)
    trained.save(tmp_path / "m.recae")
    again = Recommender.load(tmp_path / "m.recae")
    assert isinstance(again, Recommender)
    assert again.recommend("u5") == trained.recommend("u5")
    assert recae.load(tmp_path / "m.recae").history == trained.history


def test_models_without_codes_or_histories_say_so(model: Recommender) -> None:
    counted = shop(model=Popularity(np.ones(N_ITEMS, dtype=np.float32)))
    with pytest.raises(DataError, match="a model of kind 'popularity' scores every history alike"):
        counted.similar_items("P05")
    with pytest.raises(DataError, match="a model of kind 'popularity' has none"):
        counted.embed("items")
    bare = Recommender(model.model, None, model.items)
    questions = (
        lambda: bare.bought_together("P05"),
        lambda: bare.users_for("P05"),
        lambda: bare.similar_users("u1"),
        lambda: bare.score_pairs([("u1", "P05")]),
        lambda: bare.recommend_many(["u1"]),
        lambda: bare.recommend_many(),
        lambda: bare.evaluate([("u1", "P05")]),
    )
    for question in questions:
        with pytest.raises(DataError, match="saved without histories"):
            question()


def test_plain_lists_are_ids() -> None:
    histories = sp.csr_matrix(np.eye(3, dtype=np.float32))
    made = Recommender(
        Popularity(np.arange(3, dtype=np.float32)), [7, 8, 9], ["a", "b", "c"], None, histories
    )  # type: ignore[arg-type]
    assert made.recommend(7, 1)[0].item_id == "c"
    assert made.recommend(np.int64(9), 1)[0].item_id == "b"
    answers = [
        made.recommend_many([7.0, "9"], 1)["user_id"].tolist(),
        made.users_for("a")["user_id"].tolist(),
    ]  # type: ignore[list-item]
    assert answers == [["7", "9"], ["8", "9"]]
    assert isinstance(made.recommend(7), Table)
