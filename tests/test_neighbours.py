"""Tests of neighbours: the same answers as plain loops, with zero vectors, ties and absurd numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import scipy.sparse as sp
from fitting import FIT
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap
from recae.insight.neighbours import BoughtTogether, similar_items, similar_users
from recae.insight.vectors import OVER_BASKETS, OVER_USERS, ItemVectors, UserVectors
from recae.models import JSON, Popularity
from recae.models.base import check_histories
from recae.recommender import Recommender

USERS, ITEMS, FACTORS = 41, 23, 7


class Linear:
    """A model whose code is the sum of the history's item vectors; it records how many users it encodes at a time."""

    kind: ClassVar[str] = "linear"
    trained: ClassVar[bool] = False

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.item_vectors = vectors
        self.calls: list[int] = []

    @property
    def n_items(self) -> int:
        return len(self.item_vectors)

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        check_histories(histories, self.n_items)
        self.calls.append(histories.shape[0])
        return np.asarray(histories @ self.item_vectors, dtype=np.float32)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        return np.asarray(self.encode(histories) @ self.item_vectors.T, dtype=np.float32)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.score(histories)[:, items]

    def config(self) -> dict[str, JSON]:
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        raise NotImplementedError


def vectors(seed: int = 0) -> NDArray[np.float32]:
    """Random vectors; 5 is zero, 9 and 17 are the same as 2, and 11 points the other way."""
    made = np.random.default_rng(seed).normal(size=(ITEMS, FACTORS)).astype(np.float32)
    made[5], made[9], made[17], made[11] = 0, made[2], made[2], -made[2]
    return made


def purchases(users: int = USERS, items: int = ITEMS, seed: int = 3) -> sp.csr_matrix:
    """Random histories; user 0 owns nothing, user 1 everything, and item 8 is owned by user 1 alone."""
    dense = np.random.default_rng(seed).random((users, items)) < 0.25
    dense[:, 8] = False
    dense[0], dense[1] = False, True
    return sp.csr_matrix(dense.astype(np.float32))


def shop(model: Any = None, owned: sp.csr_matrix | None = None, **changes: Any) -> Recommender:
    matrix = purchases() if owned is None else owned
    parts: dict[str, Any] = {
        "model": Linear(vectors()) if model is None else model,
        "users": IdMap([f"u{n:03}" for n in range(matrix.shape[0])]),
        "items": IdMap([f"i{n:03}" for n in range(matrix.shape[1])]),
        "histories": matrix,
    }
    return Recommender(**(parts | changes))


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The definition, one number at a time."""
    dot = math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norms = [math.sqrt(math.fsum(float(x) ** 2 for x in v)) for v in (a, b)]
    return 0.0 if 0 in norms else dot / (norms[0] * norms[1])


def scores_less_their_means() -> NDArray[np.float64]:
    """What items are compared by, by hand: a row an item, over the users who own anything."""
    owned = purchases().toarray()
    scores = (owned[owned.any(axis=1)] @ vectors() @ vectors().T).T.astype(np.float64)
    return scores - scores.mean(axis=1, keepdims=True)


def nearest(matrix: NDArray[Any], row: int, n: int) -> list[tuple[int, float]]:
    """The oracle; what is equal to seven digits counts as a tie."""
    others = [(i, cosine(matrix[i], matrix[row])) for i in range(len(matrix)) if i != row]
    return sorted(others, key=lambda pair: (-round(pair[1], 6), pair[0]))[:n]


def agrees(found: tuple[NDArray[Any], NDArray[Any]], expected: list[tuple[int, float]]) -> None:
    rows, similarity = found
    assert rows.dtype == np.int32
    assert similarity.dtype == np.float32
    assert rows.tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(similarity, [value for _, value in expected], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("item", range(ITEMS))
@pytest.mark.parametrize("n", [1, 4, ITEMS - 1])
def test_similar_items(item: int, n: int) -> None:
    agrees(similar_items(shop(), item, n), nearest(scores_less_their_means(), item, n))


@pytest.mark.parametrize("block_bytes", [1, 5 * 4 * FACTORS * 6, 2**25])
@pytest.mark.parametrize("user", [0, 1, 2, USERS - 1])
def test_similar_users(user: int, block_bytes: int) -> None:
    recommender = shop()
    # less those of the mean user who owns anything
    owned = purchases().toarray()
    scores = (owned @ vectors() @ vectors().T).astype(np.float64)
    scores -= scores[owned.any(axis=1)].mean(axis=0)
    agrees(similar_users(recommender, user, 9, block_bytes=block_bytes), nearest(scores, user, 9))


def test_users_are_encoded_in_blocks() -> None:
    model = Linear(vectors())
    similar_users(shop(model), 3, 2, block_bytes=4 * (4 * ITEMS + ITEMS) * 6)
    assert sorted(model.calls[:2]) == [1, USERS - 1]  # the one who is asked about, and the mean user
    assert max(model.calls[2:]) == 6
    assert sum(model.calls[2:]) == USERS  # everybody once


def test_items_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = similar_items(shop(), 4, ITEMS)
    monkeypatch.setattr("recae.insight.neighbours._CACHE_BYTES", 2 * 4 * (USERS - 1) * 5)
    parts = similar_items(shop(), 4, ITEMS)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_vectors_tie_and_the_lower_row_is_first() -> None:
    rows, similarity = similar_items(shop(), 2, ITEMS)
    assert rows[:2].tolist() == [9, 17]
    assert similarity[0] == similarity[1] == 1
    assert (rows[-1], similarity[-1]) == (11, -1)


def test_many_equal_vectors_stay_in_row_order() -> None:
    """Rows of a matrix product may differ in the last bit by where they stand; that must not decide."""
    for width in (2, 3, 13, 64, 257):
        pattern = np.random.default_rng(width).normal(size=(4, width)).astype(np.float32)
        many = np.tile(pattern, (250, 1))
        histories = sp.csr_matrix((2, len(many)), dtype=np.float32)
        rows, _ = similar_items(shop(Linear(many), histories), 0, 249)
        assert rows.tolist() == list(range(4, 1000, 4)), width


def test_a_zero_vector_is_similar_to_nothing() -> None:
    rows, similarity = similar_items(shop(), 5, ITEMS)
    assert rows.tolist() == [i for i in range(ITEMS) if i != 5]
    assert not similarity.any()
    rows, similarity = similar_items(shop(), 2, ITEMS)
    assert similarity[rows == 5] == 0


@pytest.mark.parametrize("size", [1e-18, 1e-10, 1e10, 1e18])
def test_neither_tiny_nor_huge_scores_are_lost(size: float) -> None:
    made = np.array([[1, 0], [1, 1], [0, 1]], dtype=np.float32) * np.float32(size)
    histories = sp.csr_matrix((2, 3), dtype=np.float32)  # nobody owns anything: baskets of one item each
    rows, similarity = similar_items(shop(Linear(made), histories), 0, 3)
    scores = np.corrcoef([[1, 1, 0], [1, 2, 1], [0, 1, 1]])
    assert rows.tolist() == [1, 2]
    np.testing.assert_allclose(similarity, [scores[0, 1], scores[0, 2]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(set(FIT) - {"popularity"}))
def test_items_of_every_kind_are_compared_by_their_scores(kind: str) -> None:
    owned = purchases(60, 16, seed=9)
    recommender = shop(FIT[kind](owned), owned)
    scores = recommender.model.score(owned[np.diff(owned.indptr) > 0]).astype(np.float64)
    for item in (0, 3, 8):
        rows, similarity = similar_items(recommender, item, 15)
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = np.nan_to_num(np.corrcoef(scores.T)[item])
        np.testing.assert_allclose(similarity, expected[rows], rtol=0, atol=1e-3)
        assert (np.diff(similarity) <= 0).all()


def test_each_item_s_vector_takes_less_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.insight.vectors._LEAST", 4)
    monkeypatch.setattr("recae.insight.vectors._NUMBERS", ITEMS * 10)
    made = ItemVectors(shop())
    assert made.vectors.shape == (ITEMS, 10)
    assert made.metric == OVER_USERS
    lone = ItemVectors(shop(histories=None, users=None))
    assert lone.histories.shape == (10, ITEMS)
    assert np.diff(lone.histories.indptr).tolist() == [1] * 10
    assert lone.metric == OVER_BASKETS
    monkeypatch.setattr("recae.insight.vectors._ITEMS", 6)
    assert UserVectors(shop()).items.size == 6


@pytest.mark.parametrize("n", [ITEMS, 10**12])
def test_no_more_than_there_are(n: int) -> None:
    rows, _ = similar_items(shop(), 0, n)
    assert sorted(rows.tolist()) == list(range(1, ITEMS))
    users, _ = similar_users(shop(), 3, n * 10)
    assert sorted(users.tolist()) == [u for u in range(USERS) if u != 3]
    alone = shop(Linear(vectors()[:1]), sp.csr_matrix(np.ones((1, 1), np.float32)))
    assert [len(part) for part in similar_items(alone, 0, n) + similar_users(alone, 0, n)] == [0] * 4


def test_nothing_is_modified() -> None:
    recommender = shop()
    similar_users(recommender, 3, 4)
    similar_items(recommender, 3, 4)
    assert recommender.histories is not None
    BoughtTogether(recommender.histories).of(3)
    np.testing.assert_array_equal(recommender.histories.toarray(), purchases().toarray())
    np.testing.assert_array_equal(recommender.model.item_vectors, vectors())  # type: ignore[attr-defined]


def test_refusals() -> None:
    counted = shop(Popularity.fit(purchases()))
    for ask in (similar_items, similar_users):
        with pytest.raises(DataError, match="kind 'popularity' scores"):
            ask(counted, 0, 3)
        with pytest.raises(ConfigError, match="n must be at least 1, but is 0"):
            ask(shop(), 0, 0)
        for row in (-1, 41):
            with pytest.raises(UnknownIdError, match=f"of row {row}; the rows are 0 to"):
                ask(shop(), row, 3)
    with pytest.raises(ConfigError, match="block_bytes"):
        similar_users(shop(), 0, 3, block_bytes=0)
    for without in (shop(histories=None, users=None), shop(histories=None)):
        with pytest.raises(DataError, match="without histories"):
            similar_users(without, 0, 3)
    together = BoughtTogether(purchases())
    with pytest.raises(ConfigError, match="n must be at least 1, but is -1"):
        together.of(0, -1)
    for row in (-1, ITEMS):
        with pytest.raises(UnknownIdError, match=f"no item of row {row}"):
            together.of(row)


# bought together


def counted(dense: NDArray[Any], item: int, n: int) -> list[tuple[int, int, float]]:
    """The oracle: loops over sets."""
    owners = [{u for u in range(len(dense)) if dense[u, i]} for i in range(dense.shape[1])]
    rows = []
    for other in range(dense.shape[1]):
        both = len(owners[item] & owners[other])
        if other != item and both:
            share = (len(owners[item]) / len(dense)) * (len(owners[other]) / len(dense))
            rows.append((other, both, both / len(dense) / share))
    return sorted(rows, key=lambda row: (-row[1], -round(row[2], 9), row[0]))[:n]


@pytest.mark.parametrize("owners_at_once", [2, 65_536])
@pytest.mark.parametrize("n", [1, 5, 10**12])
def test_bought_together(n: int, owners_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.insight.neighbours._OWNERS", owners_at_once)
    dense = purchases().toarray()
    together = BoughtTogether(purchases())
    np.testing.assert_array_equal(together.owners, dense.sum(axis=0))
    assert together.owners.dtype == np.int64
    for item in range(ITEMS):
        rows, users, lift = together.of(item, n)
        assert (rows.dtype, users.dtype, lift.dtype) == (np.int32, np.int64, np.float64)
        expected = counted(dense, item, n)
        assert list(zip(rows.tolist(), users.tolist(), strict=True)) == [(r, u) for r, u, _ in expected]
        np.testing.assert_allclose(lift, [value for _, _, value in expected], rtol=1e-12)


def test_lift_by_hand() -> None:
    #                    a  b  c  d
    dense = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=np.float32)
    rows, users, lift = BoughtTogether(sp.csr_matrix(dense)).of(0)
    # as many own a and b as a and c, but b is the rarer: P = (2/4) / (2/4 · 2/4) = 2 before (2/4) / (2/4 · 3/4)
    assert (rows.tolist(), users.tolist()) == ([1, 2], [2, 2])
    np.testing.assert_allclose(lift, [2, 4 / 3])
    rows, users, lift = BoughtTogether(sp.csr_matrix(dense)).of(3)  # nobody owns it
    assert (rows.size, users.size, lift.size) == (0, 0, 0)


def test_a_pair_counts_once_whatever_is_stored() -> None:
    """Repeated entries, unsorted rows and stored zeros are all "owned"."""
    data = np.array([2, 0, 7, 1, 1], dtype=np.float32)
    odd = sp.csr_matrix((data, np.array([1, 0, 1, 1, 0]), np.array([0, 3, 5])), shape=(2, 2))
    together = BoughtTogether(odd)
    assert together.owners.tolist() == [2, 2]
    assert [part.tolist() for part in together.of(0)] == [[1], [2], [1.0]]
    assert odd.indices.tolist() == [1, 0, 1, 1, 0]  # not modified
