"""Ranking: score histories block by block, skip what may not be ranked, take the k best, break ties, pad.

`rank_histories` is the one way from a model and histories to lists; `top_k` ranks scores that are there already.
Among equal scores the lower item number comes first, NaN is never ranked, and a list with fewer than k items is
padded with item -1 and score -inf.

One pass over each row holds a bounded heap of the k best entries seen so far. Most entries of a row are below
its current k-th best, so whole chunks are compared with that threshold at SIMD speed and only the chunks that
hold something better are looked at one entry at a time. Rows are independent: ranges of rows go to plain
threads, and the kernel runs without the interpreter's lock.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, Self, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.inputs import owned_part, readable
from recae.loops import loop, numpy_is_sooner
from recae.machine import processors

# Bytes of float32 scores held at one time by whoever scores and ranks block by block.
DEFAULT_BLOCK_BYTES: Final = 64 * 2**20

# Entries compared with the threshold together: some vector registers, and short enough that the second,
# one-by-one look at a chunk with something better in it stays cheap.
_CHUNK: Final = 64
# Below this many scores a second thread costs more to start than it saves.
_SCORES_PER_THREAD: Final = 2**18


PADDING: Final = -1
"""The item number that fills a list with fewer than k items; its score is -inf."""

Lengths: TypeAlias = int | NDArray[np.integer[Any]]
"""Length of the lists: one for all, or one for each, (B,)."""


class Scorer(Protocol):
    """What ranking needs of a model: scores of all items for some histories."""

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        ...

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Scores of all items, csr_matrix (B, I) → float32 (B, I); higher is better."""
        ...


class Ranked(NamedTuple):
    """Lists of the k best items, best first.

    Attributes:
        items: item numbers, int32 (B, k); `PADDING` where a list has fewer than k items.
        scores: their scores, float32 (B, k); -inf where the list is padded.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    @classmethod
    def empty(cls, n_lists: int, k: int) -> Self:
        """Lists with nothing in them yet: padding everywhere, (n_lists, k)."""
        return cls(
            np.full((n_lists, k), PADDING, dtype=np.int32), np.full((n_lists, k), -np.inf, dtype=np.float32)
        )


def rows_per_block(n_items: int, block_bytes: int = DEFAULT_BLOCK_BYTES) -> int:
    """How many rows of `n_items` float32 scores fit into `block_bytes`; at least one.

    Raises:
        ConfigError: `block_bytes` is less than 1.
    """
    if block_bytes < 1:
        raise ConfigError(
            f"block_bytes must be at least 1, but is {block_bytes}; give the bytes of one block"
        )
    return max(1, block_bytes // (4 * max(1, n_items)))


def check_ranking(
    k: Lengths,
    threads: int | None,
    candidates: NDArray[np.bool_] | None,
    shape: tuple[int, int],
    name: str = "k",
) -> None:
    """Check what is asked of a ranking of `shape`, (B, I); `name` is what the caller calls the length.

    Raises:
        ConfigError: a length or `threads` is less than 1.
        DataError: the lengths are not whole numbers of shape (B,), or `candidates` is not bool of shape (I,) or (B, I).
    """
    if isinstance(k, np.ndarray) and (k.shape != shape[:1] or k.dtype.kind not in "iu"):
        raise DataError(
            f"{name} must be a whole number, or whole numbers of shape ({shape[0]},), but is {k.dtype} of shape "
            f"{k.shape}; give one length for all lists, or one for each"
        )
    least = int(k.min(initial=1)) if isinstance(k, np.ndarray) else k
    if least < 1:
        raise ConfigError(f"{name} must be at least 1, but is {least}; ask for one item or more")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, but is {threads}; leave it out to use all processors")
    if candidates is not None and (
        candidates.shape not in (shape[1:], shape) or candidates.dtype != np.bool_
    ):
        raise DataError(
            f"candidates must be bool of shape ({shape[1]},) or {shape}, but are {candidates.dtype} of shape "
            f"{candidates.shape}; mark each item True or False"
        )


def _longest(k: Lengths) -> int:
    return int(k.max(initial=1)) if isinstance(k, np.ndarray) else k


def top_k(
    scores: NDArray[np.float32],
    k: Lengths,
    exclude: sp.csr_matrix | None = None,
    candidates: NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> Ranked:
    """The k best items of every row, best first; among equal scores the lower item number comes first.

    NaN is never ranked; -inf and +inf are scores like any other. Excluded items are skipped, not overwritten,
    so they cannot come back whatever the scores are.

    Args:
        scores: float32 (B, I), higher is better; not modified.
        k: length of the lists, or of each, (B,): at least 1; may exceed the number of items.
        exclude: csr_matrix (B, I); items stored in row b, whatever their value, never appear in list b.
        candidates: bool; only items marked True are ranked, for every row (I,) or for each (B, I).
        threads: most threads to use; by default the processors this process may run on. They do not change the
            result.

    Returns:
        The lists, (B, k); of different lengths, all are padded to the greatest.

    Raises:
        ConfigError: `k` or `threads` is less than 1.
        DataError: `scores` is not a float32 matrix, or `k`, `exclude` or `candidates` does not fit its shape.
    """
    if scores.ndim != 2 or scores.dtype != np.float32:
        raise DataError(
            f"scores to rank must be a float32 matrix (users, items), but are {scores.dtype} "
            f"of shape {scores.shape}; convert them first"
        )
    n_rows, n_items = scores.shape
    check_ranking(k, threads, candidates, (n_rows, n_items))
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
        allowed = np.ones((1, n_items), dtype=np.bool_)
    else:
        allowed = np.require(
            candidates[None] if candidates.ndim == 1 else candidates, np.bool_, ["C", "A", "W"]
        )

    ranked = Ranked.empty(n_rows, _longest(k))
    # one type each, read-only arrays among them copied: the kernel is compiled for a single signature
    scores = np.require(scores, np.float32, ["C", "A", "W"])
    indptr, indices = (
        np.require(indptr, np.int64, ["C", "A", "W"]),
        np.require(indices, np.int32, ["C", "A", "W"]),
    )
    lengths = np.full(n_rows, k, dtype=np.int64)
    if numpy_is_sooner(scores.size):
        _top_k_in_numpy(scores, indptr, indices, allowed, lengths, ranked)
        return ranked
    workers = min(threads or processors(), n_rows, 1 + scores.size // _SCORES_PER_THREAD)
    if workers <= 1:
        _top_k_rows(scores, indptr, indices, allowed, lengths, *ranked, 0, n_rows)
        return ranked
    # more ranges than workers, so that one slow range does not leave the others idle
    bounds = np.linspace(0, n_rows, min(n_rows, 4 * workers) + 1).astype(np.int64)
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_top_k_rows, scores, indptr, indices, allowed, lengths, *ranked, start, stop)
            for start, stop in pairwise(bounds)
        ]
        for job in jobs:
            job.result()
    return ranked


def rank_histories(
    model: Scorer,
    histories: sp.csr_matrix,
    k: Lengths,
    *,
    exclude_owned: bool = True,
    exclude: sp.csr_matrix | None = None,
    candidates: NDArray[np.bool_] | None = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    threads: int | None = None,
) -> Ranked:
    """Score the histories block by block, and rank the k best items of each, best first.

    At any time the scores of one block of users are held. Ties, NaN and padding are as in `top_k`.

    Args:
        model: scores the items.
        histories: csr_matrix (B, I); rows may be empty. With events beside the purchases (see `recae.inputs`) there are
            more columns, which a model that reads none is not given.
        k: length of the lists, or of each, (B,): at least 1; may exceed the number of items.
        exclude_owned: leave the items of a history out of its list.
        exclude: csr_matrix (B, I), further items that list b leaves out, whatever their value.
        candidates: bool; only items marked True are ranked, for every history (I,) or for each (B, I).
        block_bytes: bytes of float32 scores held at one time, one row at least.
        threads: most threads for ranking; by default the processors this process may run on.

    Returns:
        The lists, (B, k); of different lengths, all are padded to the greatest.

    Raises:
        ConfigError: `k`, `block_bytes` or `threads` is less than 1.
        DataError: the histories do not have the model's items, or `k`, `exclude` or `candidates` does not fit.
    """
    n_users = histories.shape[0]
    check_ranking(k, threads, candidates, (n_users, model.n_items))
    step = rows_per_block(model.n_items, block_bytes)
    shape = (n_users, min(histories.shape[1], model.n_items))
    if exclude is not None and exclude.shape != shape:
        raise DataError(
            f"items to exclude must have the histories' shape {shape}, but have {exclude.shape}; "
            "pass the same users and items"
        )
    histories = readable(model, histories)
    if n_users <= step:
        left_out = _left_out(owned_part(histories, model.n_items), exclude, exclude_owned)
        return top_k(model.score(histories), k, left_out, candidates, threads)
    ranked = Ranked.empty(n_users, _longest(k))
    for start in range(0, n_users, step):
        block = slice(start, start + step)
        history = histories[block]
        lists = top_k(
            model.score(history),
            k[block] if isinstance(k, np.ndarray) else k,
            _left_out(
                owned_part(history, model.n_items), None if exclude is None else exclude[block], exclude_owned
            ),
            candidates if candidates is None or candidates.ndim == 1 else candidates[block],
            threads,
        )
        width = lists.items.shape[1]
        ranked.items[block, :width], ranked.scores[block, :width] = lists
    return ranked


def _left_out(
    history: sp.csr_matrix, exclude: sp.csr_matrix | None, exclude_owned: bool
) -> sp.csr_matrix | None:
    """What a block's lists leave out, (B, I): the owned items, the further ones, both, or nothing."""
    if not exclude_owned:
        return exclude
    if exclude is None:
        return history
    both = sp.hstack(
        [history, exclude], format="csr"
    )  # each row's items one after the other; repeats do no harm
    return sp.csr_matrix((both.data, both.indices % history.shape[1], both.indptr), shape=history.shape)


def user_blocks(users: NDArray[np.int64], n_items: int, block_bytes: int) -> Iterator[NDArray[np.int64]]:
    """The users in parts whose scores fit into a block."""
    step = rows_per_block(n_items, block_bytes)
    for start in range(0, users.size, step):
        yield users[start : start + step]


def _top_k_in_numpy(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    ranked: Ranked,
) -> None:
    """Rank all rows as `_top_k_rows`."""
    for b, row in enumerate(scores):
        may = allowed[b if len(allowed) > 1 else 0] & ~np.isnan(row)
        may[indices[indptr[b] : indptr[b + 1]]] = False
        items = np.flatnonzero(may)
        best = items[np.argsort(-row[items], kind="stable")[: lengths[b]]]
        ranked.items[b, : best.size], ranked.scores[b, : best.size] = best, row[best]


@loop
def _top_k_rows(
    scores: NDArray[np.float32],  # (B, I)
    indptr: NDArray[np.int64],  # (B + 1,)
    indices: NDArray[np.int32],  # (nnz,) items excluded, in any order
    allowed: NDArray[np.bool_],  # (1, I) items that may be ranked in every row, or (B, I) in each
    lengths: NDArray[np.int64],  # (B,) of each list, at most k
    items: NDArray[np.int32],  # (B, k) written; -1 before
    values: NDArray[np.float32],  # (B, k) written; -inf before
    start: int,
    stop: int,
) -> None:
    """Rank the rows start..stop-1. items[b] and values[b] are the heap: its root is the worst entry so far."""
    n_items = scores.shape[1]
    own = allowed.shape[0] > 1
    skip = np.empty(n_items, dtype=np.bool_)  # this range's own: other ranges run at the same time
    for b in range(start, stop):
        row, k = scores[b], lengths[b]
        heap_item, heap_value = items[b, :k], values[b, :k]
        may = allowed[b] if own else allowed[0]
        if own or b == start:
            for j in range(n_items):
                skip[j] = not may[j]
        for p in range(indptr[b], indptr[b + 1]):
            skip[indices[p]] = True

        # plain zeros would be types of their own, for which the heap's loops are compiled once more
        zero: Any = np.int64(0)
        size = j = zero
        while j < n_items and size < k:  # fill the heap
            value = row[j]
            if value == value and not skip[j]:  # only NaN differs from itself
                heap_rise(heap_item, heap_value, size, j, value)
                size += 1
            j += 1
        while j < n_items:  # then only what beats the worst so far; an equal one later in the row does not
            chunk = row[j : j + _CHUNK]
            threshold = heap_value[0]
            better = np.int32(0)
            for i in range(len(chunk)):  # no branch and no offset, so LLVM vectorises it
                better += np.int32(chunk[i] > threshold)
            if better:
                for i in range(len(chunk)):
                    if chunk[i] > heap_value[0] and not skip[j + i]:
                        heap_sink(heap_item, heap_value, k, j + i, chunk[i])
            j += _CHUNK

        for last in range(size - 1, 0, -1):  # heap sort: the worst goes to the end of what is left
            item, value = np.int64(heap_item[last]), heap_value[last]
            heap_item[last], heap_value[last] = heap_item[0], heap_value[0]
            heap_sink(heap_item, heap_value, last, item, value)
        for p in range(indptr[b], indptr[b + 1]):
            skip[indices[p]] = not may[indices[p]]


@loop(inline="always")
def _worse(item: int, value: float, other_item: int, other_value: float) -> bool:
    return value < other_value or (value == other_value and item > other_item)


@loop
def heap_rise(
    heap_item: NDArray[np.int32], heap_value: NDArray[np.floating[Any]], at: int, item: int, value: float
) -> None:
    """Put an entry at the heap's free place `at` and let it rise while it is worse than its parent."""
    while at > 0:
        parent = (at - 1) // 2
        if not _worse(item, value, heap_item[parent], heap_value[parent]):
            break
        heap_item[at], heap_value[at] = heap_item[parent], heap_value[parent]
        at = parent
    heap_item[at], heap_value[at] = item, value


@loop
def heap_sink(
    heap_item: NDArray[np.int32], heap_value: NDArray[np.floating[Any]], size: int, item: int, value: float
) -> None:
    """Put an entry in place of the root and let it sink while one of its children is worse."""
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
