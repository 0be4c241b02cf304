"""Neighbours: items and users by their scores, and items by common owners."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, UnknownIdError
from recae.insight.embeddings import histories_of, owner_counts
from recae.insight.vectors import ItemVectors, UserVectors
from recae.ranking import rows_per_block, top_k
from recae.recommender import Recommender

# Small enough for a block of vectors in float64 to stay in the processor's cache.
_CACHE_BYTES = 2**20
_BLOCK_BYTES = 32 * 2**20
# Owners of one item whose histories are counted at one time.
_OWNERS = 65_536


def similar_items(
    recommender: Recommender, item: int, n: int = 10, *, vectors: ItemVectors | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the items whose scores follow an item's most over users, nearest first; ties by row number.

    The similarity is the correlation of the two items' scores over the histories of `ItemVectors`, and 0 where one of
    them has the same score for all.

    Args:
        recommender: any model that does not score every history alike.
        item: a row of its items.
        n: how many; fewer come back where there are fewer other items.
        vectors: of its items, where they were made before.

    Returns:
        rows (k,) int32, without the item itself; similarities (k,) float32 from −1 to 1, never NaN.

    Raises:
        ConfigError: ``n`` is less than 1.
        DataError: the model scores every history alike.
        UnknownIdError: there is no such row.
    """
    _check(n, item, len(recommender.items), "item")
    rows = (vectors or ItemVectors(recommender)).vectors
    similarity = np.empty(len(rows), dtype=np.float32)
    step = rows_per_block(2 * rows.shape[1], _CACHE_BYTES)
    for start in range(0, len(rows), step):
        similarity[start : start + step] = _cosines(rows[start : start + step], rows[item])
    return _nearest(similarity, item, n)


def similar_users(
    recommender: Recommender, user: int, n: int = 10, *, block_bytes: int = _BLOCK_BYTES
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the users with the scores most similar to a user's, nearest first; ties by row number.

    The similarity is the cosine of the vectors of `UserVectors`. All users are scored anew, a block at a time: beside a
    block, only one number a user is held.

    Args:
        recommender: a model with histories.
        user: a row of its users.
        n: how many; fewer come back where there are fewer other users.
        block_bytes: bytes of vectors and what is computed with them held at one time.

    Returns:
        rows (k,) int32, without the user; similarities (k,) float32 as for `similar_items`.

    Raises:
        ConfigError: ``n`` or ``block_bytes`` is less than 1.
        DataError: the model scores every history alike, or was saved without histories.
        UnknownIdError: there is no such row.
    """
    users, histories = histories_of(recommender)
    _check(n, user, len(users), "user")
    vectors = UserVectors(recommender)
    own = vectors.of(sp.csr_matrix(histories[user]))[0]
    similarity = np.empty(len(users), dtype=np.float32)
    for start, rows in vectors.blocks(histories, block_bytes):
        similarity[start : start + len(rows)] = _cosines(rows, own)
    return _nearest(similarity, user, n)


class BoughtTogether:
    """Which items the owners of an item own too, counted in the histories.

    Args:
        histories: pattern of shape (U, I): the items stored in row u are what user u owns, whatever their value.
            Not copied, unless a row names an item twice. Beside it the owners of each item are built once: 4 bytes
            a pair (8 above 2³¹ pairs).
    """

    def __init__(self, histories: sp.csr_matrix) -> None:
        """Build the owners of each item."""
        if not histories.has_canonical_format:
            histories = histories.copy()
            histories.sum_duplicates()
        self._histories = histories
        ones = np.ones(histories.indices.size, dtype=np.bool_)  # all pairs count, a stored zero too
        marked = sp.csr_matrix((ones, histories.indices, histories.indptr), shape=histories.shape)
        by_item = marked.T.tocsr()
        self._starts, self._users = by_item.indptr, by_item.indices
        self._owners = owner_counts(histories)

    @property
    def owners(self) -> NDArray[np.int64]:
        """How many users own each item, (I,)."""
        return self._owners

    def of(self, item: int, n: int = 10) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
        """Return the items owned together with an item, by the number of users who own both, then lift, then row.

        Args:
            item: a row of the items.
            n: how many; fewer come back where fewer items share a user with the item.

        Returns:
            rows (k,) int32, without the item itself; users (k,) int64, how many own both, at least 1; lift (k,)
            float64: P(both) / (P(a) P(b)), with P the fraction of all users, so that 1 is what chance would give.

        Raises:
            ConfigError: ``n`` is less than 1.
            UnknownIdError: there is no such row.
        """
        n_users, n_items = self._histories.shape
        _check(n, item, n_items, "item")
        both = np.zeros(n_items, dtype=np.int64)
        users = self._users[self._starts[item] : self._starts[item + 1]]
        for start in range(0, users.size, _OWNERS):
            both += owner_counts(sp.csr_matrix(self._histories[users[start : start + _OWNERS]]))
        both[item] = 0
        rows = np.flatnonzero(both)
        lift = both[rows] * n_users / (self._owners[item] * self._owners[rows].astype(np.float64))
        best = np.lexsort((rows, -lift, -both[rows]))[:n]
        return rows[best].astype(np.int32), both[rows[best]], lift[best]


def _cosines(vectors: NDArray[np.float32], to: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each row of (B, d) with (d,); 0 where one of them is zero.

    In float64, so that squares of float32 do not overflow, and sums do not tell equal vectors apart.
    """
    rows, one = vectors.astype(np.float64), to.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows)) * np.sqrt(one @ one)
    cosines = np.divide(rows @ one, norms, out=np.zeros(len(rows)), where=norms > 0)
    return np.asarray(np.clip(cosines, -1, 1), dtype=np.float32)


def _nearest(
    similarity: NDArray[np.float32], itself: int, n: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the n largest of (N,), one row left out; n may be absurd."""
    others = np.ones(similarity.size, dtype=np.bool_)
    others[itself] = False
    rows, values = top_k(similarity[None], min(n, similarity.size), candidates=others)
    found = rows[0] >= 0  # -1 pads
    return rows[0][found], values[0][found]


def _check(n: int, row: int, count: int, what: str) -> None:
    if n < 1:
        raise ConfigError(f"n must be at least 1, but is {n}; ask for one {what} or more")
    if not 0 <= row < count:
        raise UnknownIdError(f"there is no {what} of row {row}; the rows are 0 to {count - 1}")
