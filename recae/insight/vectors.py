"""Vectors of items and users from the scores of the whole model, whatever its kind and parts.

An item's vector holds its scores for some hundred histories, less their mean, so that the cosine of two items' vectors
is the correlation of their scores over users: items are alike when the model recommends them to the same users. A
user's vector holds the scores of some hundred items, less those of the mean user. Every part of a blend counts as it
does in the score. The histories are scored block by block, and never are items × items held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.insight.embeddings import histories_of
from recae.models.base import Model
from recae.ranking import rows_per_block
from recae.recommender import Recommender

OVER_USERS: Final = "correlation of the items' scores over users, from -1 to 1"
OVER_BASKETS: Final = "correlation of the items' scores over baskets of one item, from -1 to 1"
METRIC_USERS: Final = "cosine of the users' scores, less those of the mean user, from -1 to 1"

_NUMBERS: Final = 2**24  # of the vectors of all items: 64 MiB
_LEAST, _MOST = 128, 1024  # numbers of a vector; more change the neighbours little
_ITEMS: Final = 512  # numbers of a user's vector


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """Vectors of all items; made when they are first asked for.

    Attributes:
        recommender: whose items.
    """

    recommender: Recommender

    @cached_property
    def histories(self) -> sp.csr_matrix:
        """The histories that are scored, (P, I): of users drawn at random, or baskets of one item each."""
        return drawn_histories(self.recommender.histories, len(self.recommender.items))

    @property
    def metric(self) -> str:
        """What the cosine of two vectors is, in words."""
        owned = self.recommender.histories
        of_users = owned is not None and int((np.diff(owned.indptr) > 0).sum()) > 1
        return OVER_USERS if of_users else OVER_BASKETS

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors, (I, P); not to be changed.

        Raises:
            DataError: the model gives all histories the same scores.
        """
        return score_vectors(self.recommender.model, self.histories)


def drawn_histories(owned: sp.csr_matrix | None, n_items: int) -> sp.csr_matrix:
    """Return the histories whose scores make vectors, (P, I): of users drawn at random, or baskets of one item each.

    Args:
        owned: csr (U, I), to draw from; None, or with one user at most: there is nobody to draw.
        n_items: I.
    """
    width = int(np.clip(_NUMBERS // max(n_items, 1), _LEAST, _MOST))
    rng = np.random.default_rng(0)
    if owned is not None:
        some = np.flatnonzero(np.diff(owned.indptr))
        if some.size > 1:
            chosen = some if some.size <= width else np.sort(rng.permutation(some)[:width])
            return sp.csr_matrix(owned[chosen])
    items = np.arange(n_items) if n_items <= width else np.sort(rng.permutation(n_items)[:width])
    ones = np.ones(items.size, dtype=np.float32)
    return sp.csr_matrix((ones, items, np.arange(items.size + 1)), shape=(items.size, n_items))


def score_vectors(model: Model, histories: sp.csr_matrix) -> NDArray[np.float32]:
    """Return the vectors of all items, (I, P): their scores for P histories, (P, I), less their means.

    Raises:
        DataError: the model gives all histories the same scores.
    """
    found = np.empty((model.n_items, histories.shape[0]), dtype=np.float32)
    for start, scores in _scored(model, histories):
        found[:, start : start + len(scores)] = scores.T
    step = rows_per_block(2 * found.shape[1])
    for start in range(0, len(found), step):
        block = found[start : start + step].astype(np.float64)
        mean = block.mean(axis=1, keepdims=True)
        # what float32 can tell apart; less is rounding, and of no direction
        still = np.ptp(block, axis=1) <= 1e-6 * np.abs(mean[:, 0])
        block -= mean
        block[still] = 0
        found[start : start + step] = block
    if len(found) > 1 and not found.any():
        raise DataError(
            f"items are compared by their scores, but a model of kind '{model.kind}' scores every history alike; "
            "train another kind, such as blend, or look at what is bought together"
        )
    return found


def _scored(model: Model, histories: sp.csr_matrix) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Score histories, a block at a time: the first row of each, and its scores (B, I)."""
    step = rows_per_block(2 * model.n_items)
    for start in range(0, histories.shape[0], step):
        yield start, model.score(sp.csr_matrix(histories[start : start + step]))


@dataclass(frozen=True, eq=False)
class UserVectors:
    """Vectors of users, made block by block.

    Attributes:
        recommender: whose users; with histories.

    Raises:
        DataError: the model was saved without histories, or scores every history alike.
    """

    recommender: Recommender

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """The items whose scores are the numbers of a vector, (Q,), rising: owned ones drawn at random."""
        _, histories = histories_of(self.recommender)
        owned = np.unique(histories.indices).astype(np.int64)
        if owned.size <= _ITEMS:
            return owned
        return np.sort(np.random.default_rng(0).permutation(owned)[:_ITEMS])

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """The scores of the mean user, (Q,), over some users."""
        scores = self._scores(ItemVectors(self.recommender).histories).astype(np.float64)
        if len(scores) > 1 and (np.ptp(scores, axis=0) <= 1e-6 * np.abs(scores).max(axis=0)).all():
            raise DataError(
                f"users are compared by their scores, but a model of kind '{self.recommender.model.kind}' scores "
                "every history alike; train another kind, such as blend"
            )
        return np.asarray(scores.mean(axis=0))

    def of(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the vectors of histories, (B, I) → (B, Q)."""
        return np.asarray(self._scores(histories) - self.mean, dtype=np.float32)

    def blocks(self, histories: sp.csr_matrix, block_bytes: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Return the vectors of many histories block by block: the first row of each, and its vectors (B, Q)."""
        # a number of a vector exists as float32 twice and once as float64; a model may score all items for some
        step = rows_per_block(4 * self.items.size + len(self.recommender.items), block_bytes)
        for start in range(0, histories.shape[0], step):
            yield start, self.of(sp.csr_matrix(histories[start : start + step]))

    def _scores(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        return self.recommender.model.score_items(histories, self.items)
