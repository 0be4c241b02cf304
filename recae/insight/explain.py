"""Explanations: how much each owned item contributed to a score, found by leaving it out of the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.models.base import check_histories, check_items, reads_values
from recae.ranking import rows_per_block
from recae.recommender import Recommender

# Bytes of left-out histories and their scores held at one time: some 700 histories of 2,000 items.
_BLOCK_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Explanation:
    """A score, taken apart by leaving each owned item out: score = base + Σ contributions + joint.

    Attributes:
        item: row of the item that is scored.
        score: the model's score of the item for the whole history.
        base: its score for an empty history, what the model says of the item to anybody.
        owned: rows of the m items in the history, int64 (m,), rising.
        contributions: score − score of the history without that item, float64 (m,), as `owned`. Negative
            where owning the item speaks against the recommendation.
        joint: score − base − Σ contributions: what only several items together explain. 0 where the score is
            a sum over the items, as item-kNN's. Where a model divides the sum by a power p of the history's
            length, the items that are left take the place of the one left out, and joint holds about the
            fraction p of score − base; where it bends the sum, as a sigmoid does, joint holds the difference.
    """

    item: int
    score: float
    base: float
    owned: NDArray[np.int64]
    contributions: NDArray[np.float64]
    joint: float

    def reasons(self, most: int = 5) -> list[tuple[int, float]]:
        """Return (item row, contribution) of the largest positive contributions, largest first, at most `most`.

        Equal ones come in the order of their rows.
        """
        order = np.argsort(-self.contributions, kind="stable")[:most]
        return [
            (int(self.owned[at]), float(self.contributions[at])) for at in order if self.contributions[at] > 0
        ]


def explain(
    recommender: Recommender, history: sp.csr_matrix, items: Sequence[int] | NDArray[np.integer[Any]]
) -> list[Explanation]:
    """Explain the scores of items for one history by exact leave-one-out, in the model's own score.

    The model scores the history, the empty history, and each of the m histories that lack one item, in blocks
    of some megabytes. The cost is that of m histories of m − 1 items, for the given items only. The result
    holds m float64 for each item.

    Args:
        recommender: whose model scores.
        history: csr_matrix of shape (1, I); the items stored are owned, whatever their value; a model that
            reads the values of a history is given them. May be empty.
        items: rows of the items to explain, in 0 .. I − 1, in any order. Owned ones may be among them; such
            an item's own contribution is part of its explanation.

    Returns:
        One explanation for each of `items`, in their order. Scores are float32 in the model, so contributions
        below about 1e-7 of the score are rounding.

    Raises:
        DataError: the history is not one row over the model's items, or an item is outside 0 .. I − 1.
    """
    model = recommender.model
    if history.shape[0] != 1:
        raise DataError(
            f"one history can be explained at a time, but {history.shape[0]:,} were given; pass one row"
        )
    check_histories(history, model.n_items)
    targets = check_items(np.asarray(items), model.n_items)
    owned, place = np.unique(history.indices, return_inverse=True)  # (m,) each once
    m = owned.size
    values = np.ones(m, np.float32)
    if reads_values(model):
        values = np.bincount(place, weights=history.data, minlength=m).astype(np.float32)
    # the history and the empty one
    whole = sp.csr_matrix((values, owned, [0, m, m]), shape=(2, model.n_items))
    score, base = model.score_items(whole, targets).astype(np.float64)  # (n,) each

    contributions = np.empty((targets.size, m))
    block = rows_per_block(3 * m + targets.size, _BLOCK_BYTES)  # an entry has a value, an index and a mark
    for start in range(0, m, block):
        stop = min(start + block, m)
        scores = model.score_items(
            _left_out(owned, values, start, stop, model.n_items), targets
        )  # (stop − start, n)
        contributions[:, start:stop] = score[:, None] - scores.T
    joint = score - base - contributions.sum(axis=1)
    rows = owned.astype(np.int64)
    return [
        Explanation(int(item), float(s), float(b), rows, row, float(j))
        for item, s, b, row, j in zip(targets, score, base, contributions, joint, strict=True)
    ]


def _left_out(
    owned: NDArray[np.integer[Any]], values: NDArray[np.float32], start: int, stop: int, n_items: int
) -> sp.csr_matrix:
    """Return histories that lack one item each: the items at start .. stop − 1 of `owned`, (stop − start, I)."""
    m, rows = owned.size, stop - start
    stays = np.arange(m) != np.arange(start, stop)[:, None]  # (rows, m)
    indices = np.broadcast_to(owned, (rows, m))[stays]
    indptr = np.arange(rows + 1) * (m - 1)
    data = np.broadcast_to(values, (rows, m))[stays]
    return sp.csr_matrix((data, indices, indptr), shape=(rows, n_items))
