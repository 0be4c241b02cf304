"""Tests of `Recommender`: whom it answers, what it leaves out, and how it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap
from recae.models import ItemKNN, Popularity
from recae.recommender import Recommendation, Recommender

N = 20


def checkerboard() -> sp.csr_matrix:
    """User u owns the items of u's parity except item u itself: the answer for user u is item u."""
    dense = (np.add.outer(np.arange(N), np.arange(N)) % 2 == 0).astype(np.float32)
    np.fill_diagonal(dense, 0)
    return sp.csr_matrix(dense)


def empty(n_items: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.zeros((N, n_items), dtype=np.float32))


def recommender(**changes: Any) -> Recommender:
    matrix = checkerboard()
    parts: dict[str, Any] = {
        "model": ItemKNN.fit(matrix, k=N, weighting="cosine"),
        "users": IdMap([f"u{n}" for n in range(N)]),
        "items": IdMap([f"00{n}" for n in range(N)]),
        "item_names": pa.array([None if n == 3 else f"Thing {n}" for n in range(N)], pa.large_string()),
        "histories": matrix,
    }
    return Recommender(**(parts | changes))


def ids(recommendations: list[Recommendation]) -> list[str]:
    return [r.item for r in recommendations]


@pytest.mark.parametrize("user", range(N))
def test_checkerboard(user: int) -> None:
    (best,) = recommender().recommend(f"u{user}", n=1)
    assert best.rank == 1
    assert best.item == f"00{user}"
    assert best.name == (None if user == 3 else f"Thing {user}")
    assert np.isfinite(best.score)


def test_ranks_scores_and_names_belong_together() -> None:
    counts = np.arange(N, dtype=np.float32)
    found = recommender(model=Popularity(counts)).recommend("u0", n=4)
    # user 0 owns 2, 4 ... 18; the other items by falling count
    expected = [
        Recommendation(r, f"00{i}", f"Thing {i}", float(i)) for r, i in enumerate((19, 17, 15, 13), 1)
    ]
    assert found == expected


def test_owned_items_come_back_only_when_asked_for() -> None:
    shop = recommender()
    owned = {f"00{n}" for n in range(2, N, 2)}
    everything = shop.recommend("u0", n=N)
    assert not owned & set(ids(everything))
    included = shop.recommend("u0", n=N, exclude_owned=False)
    assert len(included) == N
    assert set(ids(included)[:9]) <= owned | {"000"}


def test_a_list_is_never_padded_or_repeated() -> None:
    found = recommender().recommend("u0", n=10**12)  # must not allocate by n either
    assert len(found) == N - 9
    assert len(set(ids(found))) == len(found)
    assert [r.rank for r in found] == list(range(1, len(found) + 1))


def test_a_basket_is_the_history_of_somebody_new() -> None:
    shop = recommender()
    own = [f"00{n}" for n in range(2, N, 2)]
    assert shop.recommend(items=own, n=5) == shop.recommend("u0", n=5)
    assert shop.recommend(items=[*reversed(own), "nonsense", *own], n=5) == shop.recommend("u0", n=5)
    assert shop.unknown_items(["x", "002", "2", "x", "02"]) == ["x", "2", "02"]
    assert shop.unknown_items([]) == []


def test_the_histories_are_not_modified() -> None:
    shop = recommender()
    shop.recommend("u0")
    shop.recommend(items=["001"])
    assert shop.histories is not None
    np.testing.assert_array_equal(shop.histories.toarray(), checkerboard().toarray())


def test_a_user_without_purchases_is_answered() -> None:
    shop = recommender(model=Popularity(np.arange(N, dtype=np.float32)), histories=empty(N))
    assert ids(shop.recommend("u0", n=2)) == ["0019", "0018"]


def test_unknown_user_names_the_nearest() -> None:
    with pytest.raises(UnknownIdError, match=r"no user 'u99' .*u9"):
        recommender().recommend("u99")


def test_unknown_basket_is_named() -> None:
    with pytest.raises(UnknownIdError, match=r"'x0', .* 'x4' and 2 more; nearest to 'x0': '00"):
        recommender().recommend(items=[f"x{n}" for n in range(7)])


def test_without_histories_only_baskets_are_answered() -> None:
    for shop in (recommender(histories=None), recommender(histories=None, users=None)):
        assert ids(shop.recommend(items=[f"00{n}" for n in range(2, N, 2)], n=1)) == ["000"]
        with pytest.raises(UnknownIdError, match="without histories"):
            shop.recommend("u0")


def test_without_names() -> None:
    assert recommender(item_names=None).recommend("u0", n=1)[0].name is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"user": "u0", "items": ["000"]}, "exactly one"),
        ({"items": []}, "basket is empty"),
        ({"items": "000"}, "a list of item ids"),
        ({"items": [1.5]}, "a list of item ids"),
        ({"items": 7}, "a list of item ids"),
        ({"user": True}, "text or a whole number"),
        ({"user": 4.2}, "text or a whole number"),
        ({"user": float("nan")}, "text or a whole number"),
        ({"user": ["u0", "u1"]}, "recommend_many"),
        ({"user": "u0", "n": "5"}, "a whole number"),
        ({"user": "u0", "n": True}, "a whole number"),
        ({"user": "u0", "fallback": "random"}, "'popular' or None"),
        ({"user": "u0", "exclude": "001"}, "exclude=: ids of items are given as a list"),
        ({"user": "u0", "only": ["nothing"]}, "leave none of the model's 20 items"),
        ({"user": "u0", "n": 0}, "0"),
        ({"user": "u0", "n": -1}, "-1"),
    ],
)
def test_bad_questions(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recommender().recommend(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": IdMap(["a", "b"])}, "20 items, but there are 2 item ids"),
        ({"item_names": pa.array(["a"], pa.large_string())}, "1 item names for 20"),
        ({"users": None}, "no user ids"),
        ({"users": IdMap(["a"])}, r"1 user"),
        ({"histories": empty(N + 1)}, r"\(20, 21\)"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        recommender(**changes)
