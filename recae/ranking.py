"""The only top-k in the project: skip what may not be ranked, keep the k best, break ties, pad.

One pass over each row keeps a bounded heap of the k best entries seen so far. Most entries of a row are below
its current k-th best, so whole chunks are compared with that threshold at SIMD speed and only the chunks that
hold something better are looked at one entry at a time. Rows are independent: ranges of rows go to plain
threads, and the kernel runs without the interpreter's lock.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError

# Bytes of float32 scores held at one time by whoever scores and ranks block by block.
DEFAULT_BLOCK_BYTES = 64 * 2**20

# Entries compared with the threshold together: a few vector registers, and short enough that the second,
# one-by-one look at a chunk with something better in it stays cheap.
_CHUNK = 64
# Below this many scores a second thread costs more to start than it saves.
_SCORES_PER_THREAD = 2**18


class Scorer(Protocol):
    """What ranking needs of a model: scores of all items for some histories."""

    @property
    def n_items(self) -> int: ...
    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]: ...


def rows_per_block(n_items: int, block_bytes: int = DEFAULT_BLOCK_BYTES) -> int:
    """How many rows of `n_items` float32 scores fit into `block_bytes`; at least one.

    Raises ConfigError if `block_bytes` is less than 1.
    """
    if block_bytes < 1:
        raise ConfigError(
            f"block_bytes must be at least 1, but is {block_bytes}; give the bytes of one block"
        )
    return max(1, block_bytes // (4 * max(1, n_items)))


def top_k(
    scores: NDArray[np.float32],
    k: int,
    exclude: sp.csr_matrix | None = None,
    candidates: NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best items of every row, best first; among equal scores the lower item number comes first.

    NaN is never ranked; -inf and +inf are scores like any other. Excluded items are skipped, not overwritten,
    so they cannot come back whatever the scores are. `k` may exceed the number of items.

    Parameters
    ----------
    scores : float32 ndarray of shape (B, I)
        Higher is better. Not modified.
    k : int
        Length of the lists, at least 1.
    exclude : csr_matrix of shape (B, I), optional
        Items stored in row b (whatever their value) never appear in list b.
    candidates : bool ndarray of shape (I,), optional
        Only items marked True are ranked, for every row.
    threads : int, optional
        Most threads to use; by default the processors this process may run on. They do not change the
        result.

    Returns
    -------
    items : int32 ndarray of shape (B, k)
        Item numbers; -1 where a row has fewer than k items to rank.
    values : float32 ndarray of shape (B, k)
        Their scores; -inf where the item is -1.

    Raises
    ------
    ConfigError
        `k` or `threads` is less than 1.
    DataError
        `scores` is not a float32 matrix, or `exclude` or `candidates` does not fit its shape.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, but is {k}; ask for one item or more")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, but is {threads}; leave it out to use all processors")
    if scores.ndim != 2 or scores.dtype != np.float32:
        raise DataError(
            f"scores to rank must be a float32 matrix (users, items), but are {scores.dtype} "
            f"of shape {scores.shape}; convert them first"
        )
    n_rows, n_items = scores.shape
    if exclude is None:
        indptr, indices = np.zeros(n_rows + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    elif exclude.shape != scores.shape:
        raise DataError(
            f"items to exclude must have the scores' shape {scores.shape}, but have {exclude.shape}; "
            "pass the same users and items"
        )
    else:
        indptr, indices = exclude.indptr, exclude.indices
    if candidates is None:
        barred = np.zeros(n_items, dtype=np.bool_)
    elif candidates.shape != (n_items,) or candidates.dtype != np.bool_:
        raise DataError(
            f"candidates must be bool of shape ({n_items},), but are {candidates.dtype} of shape "
            f"{candidates.shape}; mark each item True or False"
        )
    else:
        barred = ~candidates

    items = np.full((n_rows, k), -1, dtype=np.int32)
    values = np.full((n_rows, k), -np.inf, dtype=np.float32)
    # one type each, read-only arrays among them copied: the kernel is compiled for a single signature
    scores = np.require(scores, np.float32, ["C", "A", "W"])
    indptr, indices = (
        np.require(indptr, np.int64, ["C", "A", "W"]),
        np.require(indices, np.int32, ["C", "A", "W"]),
    )
    workers = min(threads or processors(), n_rows, 1 + scores.size // _SCORES_PER_THREAD)
    if workers <= 1:
        _top_k_rows(scores, indptr, indices, barred, items, values, 0, n_rows)
        return items, values
    # a few ranges a worker, so that one slow range does not leave the others idle
    bounds = np.linspace(0, n_rows, min(n_rows, 4 * workers) + 1).astype(np.int64)
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_top_k_rows, scores, indptr, indices, barred, items, values, start, stop)
            for start, stop in pairwise(bounds)
        ]
        for job in jobs:
            job.result()
    return items, values


def rank_histories(
    model: Scorer,
    histories: sp.csr_matrix,
    k: int,
    *,
    exclude_owned: bool = True,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    threads: int | None = None,
) -> NDArray[np.int32]:
    """The k best items for each history, as they are evaluated; what `measure` and the slices are computed from.

    At any time the scores of one block of users are held.

    Returns
    -------
    int32 ndarray of shape (B, k)
        Item numbers, best first; among equal scores the lower number comes first. -1 where there are fewer than k items
        to rank: k exceeds those not owned, or the model has no score (NaN) for some.

    Raises
    ------
    ConfigError
        `k`, `block_bytes` or `threads` is less than 1.
    DataError
        The histories do not have the model's items.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, but is {k}; ask for one item or more")
    ranked = np.empty((histories.shape[0], k), dtype=np.int32)
    for block in user_blocks(np.arange(histories.shape[0]), model.n_items, block_bytes):
        history = histories[block]
        ranked[block], _ = top_k(
            model.score(history), k, exclude=history if exclude_owned else None, threads=threads
        )
    return ranked


def user_blocks(users: NDArray[np.int64], n_items: int, block_bytes: int) -> Iterator[NDArray[np.int64]]:
    """The users in parts whose scores fit into a block."""
    step = rows_per_block(n_items, block_bytes)
    for start in range(0, users.size, step):
        yield users[start : start + step]


def processors() -> int:
    """The processors this process may use (a container or taskset may grant fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@njit(nogil=True, cache=True)
def _top_k_rows(
    scores: NDArray[np.float32],  # (B, I)
    indptr: NDArray[np.int64],  # (B + 1,)
    indices: NDArray[np.int32],  # (nnz,) items excluded, in any order
    barred: NDArray[np.bool_],  # (I,) items excluded for every row
    items: NDArray[np.int32],  # (B, k) written; -1 before
    values: NDArray[np.float32],  # (B, k) written; -inf before
    start: int,
    stop: int,
) -> None:
    """Ranks the rows start..stop-1. items[b] and values[b] are the heap: its root is the worst entry kept."""
    n_items = scores.shape[1]
    k = items.shape[1]
    skip = barred.copy()  # this range's own: other ranges run at the same time
    for b in range(start, stop):
        row, heap_item, heap_value = scores[b], items[b], values[b]
        for p in range(indptr[b], indptr[b + 1]):
            skip[indices[p]] = True

        size = 0
        j = 0
        while j < n_items and size < k:  # fill the heap
            value = row[j]
            if value == value and not skip[j]:  # only NaN differs from itself
                _rise(heap_item, heap_value, size, j, value)
                size += 1
            j += 1
        while j < n_items:  # then only what beats the worst kept; an equal one later in the row does not
            chunk = row[j : j + _CHUNK]
            threshold = heap_value[0]
            better = np.int32(0)
            for i in range(len(chunk)):  # no branch and no offset, so LLVM vectorises it
                better += np.int32(chunk[i] > threshold)
            if better:
                for i in range(len(chunk)):
                    if chunk[i] > heap_value[0] and not skip[j + i]:
                        _sink(heap_item, heap_value, k, j + i, chunk[i])
            j += _CHUNK

        for last in range(size - 1, 0, -1):  # heap sort: the worst goes to the end of what is left
            item, value = heap_item[last], heap_value[last]
            heap_item[last], heap_value[last] = heap_item[0], heap_value[0]
            _sink(heap_item, heap_value, last, item, value)
        for p in range(indptr[b], indptr[b + 1]):
            skip[indices[p]] = barred[indices[p]]


@njit(nogil=True, cache=True, inline="always")
def _worse(item: int, value: float, other_item: int, other_value: float) -> bool:
    return value < other_value or (value == other_value and item > other_item)


@njit(nogil=True, cache=True)
def _rise(
    heap_item: NDArray[np.int32], heap_value: NDArray[np.float32], at: int, item: int, value: float
) -> None:
    """Puts an entry at the heap's free place `at` and lets it rise while it is worse than its parent."""
    while at > 0:
        parent = (at - 1) // 2
        if not _worse(item, value, heap_item[parent], heap_value[parent]):
            break
        heap_item[at], heap_value[at] = heap_item[parent], heap_value[parent]
        at = parent
    heap_item[at], heap_value[at] = item, value


@njit(nogil=True, cache=True)
def _sink(
    heap_item: NDArray[np.int32], heap_value: NDArray[np.float32], size: int, item: int, value: float
) -> None:
    """Puts an entry in place of the root and lets it sink while one of its children is worse."""
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _worse(
            heap_item[child + 1], heap_value[child + 1], heap_item[child], heap_value[child]
        ):
            child += 1
        if not _worse(heap_item[child], heap_value[child], item, value):
            break
        heap_item[at], heap_value[at] = heap_item[child], heap_value[child]
        at = child
    heap_item[at], heap_value[at] = item, value
