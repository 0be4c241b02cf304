"""Attribution of scores: base and what each item of a history adds, for any model, with nothing left over.

score = base + Σ contributions. Each part of a blend is taken apart in its own way and multiplied by its factor at the
length of the history, weight/(a·m^b), which is the same for all items: it is the scale of the list and no merit of a
single purchase. The base is the score of an empty history on that scale.

Additive kinds are sums already. Autoencoders are integrated from the empty history to the whole one (`models.paths`),
ALS and BPR are sums once their user's equation is that of the history. Any other kind, such as a plugin's, is asked for
scores of subsets: Shapley values (Shapley 1953), exact for short histories, and else means over random orders (Castro
et al. 2009, "Polynomial calculation of the Shapley value based on sampling") with their standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.inputs import check_inputs, inputs_of, owned_part
from recae.models.base import Additive, Attributed, Model, check_items, reads_values
from recae.models.blend import part_factors, summands

SUBSETS_OF: Final = 7
"""Items of a history up to which a model without a sum of its own is asked for all subsets."""

_ASKED: Final = 4096  # histories that sampling asks for, in about as many orders as that allows
_ORDERS: Final = (16, 128)  # at least and at most, in pairs of an order and its reverse
_BLOCK_ENTRIES: Final = 2**20  # of the histories asked for at one time


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores of n items for one history of m, taken apart.

    Attributes:
        base: float64 (n,), scores of an empty history on the scale of this one.
        contributions: float64 (m, n), what each item of the history adds, in the order of its entries.
        error: float64 (m, n), standard error of each contribution where they were sampled, else 0. Of the sum there
            is none.
    """

    base: NDArray[np.float64]
    contributions: NDArray[np.float64]
    error: NDArray[np.float64]


def attribute(
    model: Model, history: sp.csr_matrix, items: NDArray[np.integer[Any]], *, seed: int = 0
) -> Attribution:
    """Take the scores of some items for one history apart.

    Args:
        model: whose scores.
        history: csr_matrix (1, I) with m entries, each item once; with events there are more columns, rising.
        items: (n,), any of the model's items.
        seed: of sampled orders.

    Raises:
        DataError: the history has another number of items, or an item is outside 0 .. I − 1.
    """
    check_inputs(history, model.n_items, inputs_of(model))
    items = check_items(items, model.n_items)
    nothing = np.zeros(0, dtype=np.int32)
    empty = sp.csr_matrix((nothing.astype(np.float32), nothing, [0, 0]), shape=(1, model.n_items))
    base = np.zeros(items.size)
    contributions, variance = np.zeros((history.nnz, items.size)), np.zeros((history.nnz, items.size))
    owned = owned_part(history, model.n_items)
    for part in summands(model):
        factor = float(part_factors(part, owned)[0, 0])
        base += factor * part.model.score_items(empty, items)[0].astype(np.float64)
        read, entries = history, slice(None)
        if not inputs_of(part.model):  # what is owned comes first
            read, entries = owned, slice(owned.nnz)
        if isinstance(part.model, Attributed):
            contributions[entries] += factor * part.model.contributions(read, items)
        elif isinstance(part.model, Additive):
            contributions[entries] += factor * _weights(part.model, read, items)
        else:
            values, error = shapley_values(part.model, read, items, seed=seed)
            contributions[entries] += factor * values
            variance[entries] += (factor * error) ** 2
    return Attribution(base, contributions, np.sqrt(variance))


def _weights(model: Additive, history: sp.csr_matrix, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of a history's items for some items, times the history's values where they are read."""
    weights = model.item_weights[history.indices][:, items].toarray().astype(np.float64)
    return weights * history.data[:, None] if reads_values(model) else weights


def shapley_values(
    model: Model, history: sp.csr_matrix, items: NDArray[np.int64], *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Shapley values of a history's items in the scores of some items, and their standard errors, (m, n) both.

    The value of an item is the mean, over all orders of the history, of what it adds to the items before it. Up to
    `SUBSETS_OF` items it is exact. Each order by itself sums to the score minus that of the empty history, so that
    sampled means do, too.

    Args:
        model: any; it is asked for histories of its own items only.
        history: csr_matrix (1, I), each item once.
        items: int64 (n,).
        seed: of the orders.
    """
    m = history.nnz
    if m <= SUBSETS_OF:
        return _exact_values(model, history, items), np.zeros((m, items.size))
    orders = int(np.clip(_ASKED // m, *_ORDERS)) // 2
    rng = np.random.default_rng(seed)
    total, squares = np.zeros((m, items.size)), np.zeros((m, items.size))
    for _ in range(orders):
        order = rng.permutation(m)
        # what an order overstates its reverse understates: their mean varies less than that of two orders
        value = (_added(model, history, items, order) + _added(model, history, items, order[::-1])) / 2
        total += value
        squares += value**2
    mean = total / orders
    variance = np.maximum(squares / orders - mean**2, 0) / (orders - 1)
    return mean, np.sqrt(variance)


def _exact_values(model: Model, history: sp.csr_matrix, items: NDArray[np.int64]) -> NDArray[np.float64]:
    m = history.nnz
    inside = (np.arange(2**m)[:, None] >> np.arange(m)) & 1 == 1  # (2^m, m)
    scores = _scores(model, history, items, inside)
    sizes = inside.sum(axis=1)
    values = np.empty((m, items.size))
    for i in range(m):
        without = np.flatnonzero(~inside[:, i])
        weights = np.array([1 / (m * comb(m - 1, size)) for size in sizes[without]])
        values[i] = weights @ (scores[without + 2**i] - scores[without])
    return values


def _added(
    model: Model, history: sp.csr_matrix, items: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what each item adds to those before it in an order, (m, n)."""
    m, added = order.size, np.empty((order.size, items.size))
    rank = np.empty(m, dtype=np.int64)
    rank[order] = np.arange(m)
    rows = max(1, _BLOCK_ENTRIES // m)
    before = _scores(model, history, items, np.zeros((1, m), dtype=np.bool_))
    for start in range(0, m, rows):
        lengths = np.arange(start + 1, min(start + rows, m) + 1)
        scores = _scores(model, history, items, rank < lengths[:, None])
        added[order[lengths - 1]] = np.diff(np.concatenate([before, scores]), axis=0)
        before = scores[-1:]
    return added


def _scores(
    model: Model, history: sp.csr_matrix, items: NDArray[np.int64], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the scores of subsets of a history, bool (B, m), as float64 (B, n)."""
    rows, entries = np.nonzero(inside)
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=len(inside))))
    subsets = sp.csr_matrix(
        (history.data[entries], history.indices[entries], indptr), shape=(len(inside), history.shape[1])
    )
    return model.score_items(subsets, items).astype(np.float64)
