"""The k-core of purchases: what is left once short histories and rare items are left out, to a fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.sparse import joined_ranges

IN_CORE, SHORT_HISTORY, RARE_ITEM = range(3)
"""Fates of a purchase: in the core, or left out with a user of too short a history, or with too rare an item."""

_STEPS: Final = 3  # rounds reported; a chain of purchases may take as many as it is long


@dataclass(frozen=True, eq=False)
class Core:
    """The core of a matrix of purchases.

    Attributes:
        users: rows in the core, int64 (n,), rising.
        items: columns in the core, int64 (m,), rising.
        fates: of each stored entry, uint8 (nnz,): `IN_CORE`, `SHORT_HISTORY` or `RARE_ITEM`.
        steps: (users, items, purchases) left after each of the first rounds.
        rounds: how many rounds left a user or an item out.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    fates: NDArray[np.uint8]
    steps: tuple[tuple[int, int, int], ...]
    rounds: int


def core_of(matrix: sp.csr_matrix, min_items: int, min_users: int) -> Core:
    """Return the largest part in which every user has `min_items` items and every item `min_users` users at least.

    The (α, β)-core of a bipartite graph (Liu et al. 2019, "Efficient (α, β)-core Computation", WWW), with α = β the
    k-core of Seidman 1983. It is unique, whatever the order in which users and items are left out. A round leaves out
    users, and then items; only the entries of those left out are looked at, so that all rounds together take time in
    proportion to the matrix, and a fraction of a millisecond each.

    Args:
        matrix: pattern of shape (users, items), without duplicates.
        min_items: of a user, 1 at least: a row without an entry is never part of the core.
        min_users: of an item, likewise.
    """
    n_users, n_items = matrix.shape
    fates = np.zeros(matrix.nnz, dtype=np.uint8)
    owners = np.repeat(np.arange(n_users, dtype=np.int32), np.diff(matrix.indptr))
    columns = np.asarray(matrix.indices)
    numbered = sp.csr_matrix((np.arange(matrix.nnz), columns, matrix.indptr), shape=matrix.shape).tocsc()
    by_column, starts = numbered.data, numbered.indptr  # places of the entries, column by column
    users, items = np.diff(matrix.indptr).astype(np.int64), np.diff(starts)
    least = max(min_items, 1), max(min_users, 1)
    users_out, items_out = np.flatnonzero(users < least[0]), np.flatnonzero(items < least[1])
    users_in, items_in = np.ones(n_users, dtype=np.bool_), np.ones(n_items, dtype=np.bool_)
    users_in[users_out] = False
    items_in[items_out] = False
    steps: list[tuple[int, int, int]] = []
    rounds, left = 0, matrix.nnz
    while users_out.size or items_out.size:
        before = left
        entries = _places(matrix.indptr, users_out)
        left -= _leave_out(entries, fates, SHORT_HISTORY, items, columns)
        items_out = np.union1d(items_out, _new(items, items_in, least[1], columns[entries]))
        entries = by_column[_places(starts, items_out)]
        left -= _leave_out(entries, fates, RARE_ITEM, users, owners)
        users_out = _new(users, users_in, least[0], owners[entries])
        items_out = np.zeros(0, dtype=np.int64)
        rounds += left < before
        if left < before and len(steps) < _STEPS:
            # users left out in the next round still count, unless all their purchases are gone
            still = int(users_in.sum()) + int((users[users_out] > 0).sum())
            steps.append((still, int(items_in.sum()), left))
    return Core(np.flatnonzero(users_in), np.flatnonzero(items_in), fates, tuple(steps), rounds)


def _places(starts: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of all entries of some rows, whose entries begin at `starts`."""
    begins = starts[rows].astype(np.int64)
    lengths = starts[rows + 1].astype(np.int64) - begins
    return joined_ranges(begins, lengths)


def _leave_out(
    entries: NDArray[np.int64],
    fates: NDArray[np.uint8],
    fate: int,
    numbers: NDArray[np.int64],
    others: NDArray[np.int32],
) -> int:
    """Mark entries still in the core, and subtract them from the `numbers` of their `others`; return how many."""
    gone = entries[fates[entries] == IN_CORE]
    fates[gone] = fate
    np.subtract.at(numbers, others[gone], 1)
    return int(gone.size)


def _new(
    numbers: NDArray[np.int64], inside: NDArray[np.bool_], least: int, touched: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return which of those touched have fallen below `least`, and take them out."""
    found = np.unique(touched).astype(np.int64)
    found = found[inside[found] & (numbers[found] < least)]
    inside[found] = False
    return found
