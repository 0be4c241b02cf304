"""How far down a model places the items that a user owns, each hidden from it and found from the rest.

An owned item must not explain itself, so every history is parted into folds and each fold's items are ranked by the
scores of the history without them. Users are taken block by block; a block of users times folds is one call of the
model. A user costs as many rows of scores as there are folds, however long the history, and one pass over a row of
scores for each owned item.
"""

# numba carries no types
# mypy: disallow-untyped-decorators=False, disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.models import Model
from recae.ranking import DEFAULT_BLOCK_BYTES, processors, rows_per_block


def heldout_ranks(
    model: Model,
    histories: sp.csr_matrix,
    *,
    folds: int = 5,
    seed: int = 0,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    on_users: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """The share of the items not owned that the model places above each owned item, from the rest of the history.

    A history of m items is parted at random into min(folds, m) folds of nearly the same size: with at most `folds`
    items that is leave-one-out. Each fold's items are scored from the history without the fold. With G items that the
    user does not own scored higher, T scored the same and N in all, the share is (G + T/2) / N: 0 for the first, 1 for
    the last; 1/2 for who owns all there is. The hidden items do not compete with one another, since those of a long
    history would push each other down.

    Parameters
    ----------
    model : Model
    histories : csr_matrix of shape (U, I)
    folds : int
        At least 2.
    seed : int
        Decides the parting into folds, and nothing else.
    block_bytes : int
        About how many bytes of scores are held at a time.
    on_users : callable, optional
        Told after each block how many users are done.

    Returns
    -------
    float64 ndarray of shape (nnz,)
        One share for each stored item of `histories`, in their order; NaN for the item of a user who owns only one.

    Raises
    ------
    ConfigError
        `folds` is less than 2, or `block_bytes` less than 1.
    DataError
        The histories do not have the model's items.
    """
    if folds < 2:
        raise ConfigError(
            f"folds must be at least 2, but is {folds}; an item can only be explained by the others"
        )
    n_users, n_items = histories.shape
    lengths = np.diff(histories.indptr)
    fold = _folds(lengths, folds, seed)
    shares = np.full(histories.indices.size, np.nan)
    judged = np.flatnonzero(lengths >= 2)
    step = max(1, rows_per_block(n_items, block_bytes) // folds)
    with ThreadPoolExecutor(processors()) as pool:
        for start in range(0, judged.size, step):
            users = judged[start : start + step]
            block = histories[users]
            entries = _ranges(histories.indptr[users], lengths[users])  # (n,) places of the block's items
            shares[entries] = _block(model, block, fold[entries], folds, pool)
            if on_users is not None:
                on_users(int(users[-1]) + 1)
    if on_users is not None and n_users:
        on_users(n_users)
    return shares


def _folds(lengths: NDArray[np.integer], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every stored item: a random order of each history, dealt out in turn."""
    n = int(lengths.sum())
    user = np.repeat(np.arange(lengths.size), lengths)
    order = np.lexsort((np.random.default_rng(seed).random(n), user))
    dealt = np.empty(n, dtype=np.int64)
    dealt[order] = _ranges(np.zeros(lengths.size, dtype=np.int64), lengths)
    fold: NDArray[np.int64] = dealt % folds
    return fold


def _ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """start, start + 1, ... for each length, one after the other."""
    before = np.cumsum(lengths) - lengths
    ranges: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    return ranges


def _block(
    model: Model,
    histories: sp.csr_matrix,  # (B, I)
    fold: NDArray[np.int64],  # (n,)
    folds: int,
    pool: ThreadPoolExecutor,
) -> NDArray[np.float64]:
    """The shares of a block's items, (n,)."""
    n_rows = histories.shape[0] * folds  # row b·folds + f is user b without fold f
    user = np.repeat(np.arange(histories.shape[0]), np.diff(histories.indptr))
    item, owned_ptr = histories.indices.astype(np.int64), histories.indptr.astype(np.int64)
    # every item is kept in the rows of all folds but its own
    row = user[:, None] * folds + np.arange(folds)  # (n, folds)
    stays = np.arange(folds) != fold[:, None]
    of_row, of_item = row[stays], np.repeat(item, folds - 1)
    order = np.lexsort((of_item, of_row))
    kept = of_item[order]
    kept_ptr = _pointers(of_row, n_rows)
    hidden_row = user * folds + fold
    by_row = np.argsort(hidden_row, kind="stable")
    hidden_ptr, hidden = _pointers(hidden_row, n_rows), item[by_row]
    remaining = sp.csr_matrix(
        (np.ones(kept.size, np.float32), kept, kept_ptr), shape=(n_rows, histories.shape[1])
    )
    used = np.flatnonzero(np.diff(hidden_ptr))  # a short history leaves folds empty
    scores = np.ascontiguousarray(model.score(remaining if used.size == n_rows else remaining[used]))
    place = np.zeros(n_rows, dtype=np.int64)
    place[used] = np.arange(used.size)
    shares = np.empty(item.size)
    bounds = np.linspace(0, n_rows, 4 * processors() + 1).astype(np.int64)
    jobs = [
        pool.submit(_shares, scores, place, folds, owned_ptr, item, hidden_ptr, hidden, shares, start, stop)
        for start, stop in pairwise(bounds)
    ]
    for job in jobs:
        job.result()
    result = np.empty(item.size)
    result[by_row] = shares
    return result


def _pointers(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Where each row's entries begin once they are sorted by row, (n_rows + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))])


@njit(nogil=True, cache=True)
def _shares(
    scores: NDArray[np.float32],  # (rows with something hidden, I)
    place: NDArray[np.int64],  # (R,) row → row of scores
    folds: int,
    owned_ptr: NDArray[np.int64],  # (R / folds + 1,)
    owned: NDArray[np.int64],  # the users' items, no rivals of one another
    hidden_ptr: NDArray[np.int64],  # (R + 1,)
    hidden: NDArray[np.int64],  # (n,) the items to place
    shares: NDArray[np.float64],  # (n,) written
    start: int,
    stop: int,
) -> None:
    n_items = scores.shape[1]
    for r in range(start, stop):
        row = scores[place[r]]
        first, last = owned_ptr[r // folds], owned_ptr[r // folds + 1]
        rivals = n_items - (last - first)
        for e in range(hidden_ptr[r], hidden_ptr[r + 1]):
            value = row[hidden[e]]
            above, same = np.int32(0), np.int32(0)
            for i in range(n_items):  # no branch, so LLVM vectorises it
                above += np.int32(row[i] > value)
                same += np.int32(row[i] == value)
            for p in range(first, last):
                above -= np.int32(row[owned[p]] > value)
                same -= np.int32(row[owned[p]] == value)
            shares[e] = (above + 0.5 * same) / rivals if rivals > 0 else 0.5
