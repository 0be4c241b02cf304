"""Rows of nothing but a user and an item: grouped by counting, counted by sorting words."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints, prefetch
from recae.ingest.narrow import Column, Narrow

_WORKERS: Final = 2  # each holds a block of words
_SOON: Final = 16  # users ahead of the one being copied, whose place is fetched; half of it, whose rows are


@dataclass(frozen=True)
class Tally:
    """How often each of some users occurs with each item.

    Attributes:
        start, stop: the place of the first of the users, and the one after the last.
        lengths: how many items each has, int64 of shape (users,).
        items, counts: user by user, the items rising; int32 of shape (pairs,).
    """

    start: int
    stop: int
    lengths: Column
    items: NDArray[np.int32]
    counts: NDArray[np.int32]


@dataclass(frozen=True)
class Grouped:
    """Rows grouped by user.

    Attributes:
        ends: where those of each user end, int32 or int64 of shape (users,).
        items, counts: of the rows, shape (rows,).
    """

    ends: NDArray[np.int32] | NDArray[np.int64]
    items: Narrow
    counts: Narrow

    @classmethod
    def of(cls, parts: Sequence[tuple[Ints, Ints]], n_users: int) -> Grouped:
        """Group rows, each counted once.

        Args:
            parts: users and items, not negative, each of shape (rows,); fewer than 2**31 rows together.
            n_users: more than any user.
        """
        rows = sum(users.size for users, _ in parts)
        lengths = np.zeros(n_users, dtype=np.int32)
        for users, _ in parts:
            _count(users, lengths)
        moving = (
            np.cumsum(lengths, dtype=np.int32) - lengths
        )  # from where each user's rows begin to where they end
        items = np.empty(rows, dtype=np.min_scalar_type(max(int(part.max(initial=0)) for _, part in parts)))
        for part in parts:
            _scatter(*part, moving, items)
        return cls(moving, Narrow(rows, 0, items), Narrow(rows, 1, None))


def tallies(
    runs: Sequence[Grouped], blocks: Sequence[tuple[int, int, int]], users: Column, rank: Ints
) -> Iterator[Tally] | None:
    """Count how often users occur with items, a block of users at a time, in the order of the blocks.

    Args:
        blocks: one at least: the first place in ``users``, the one after its last, and how many rows they have.
        users: who, in this order, shape (users,).
        rank: the number by which each item goes in the result.

    Returns:
        None where a user's place in the block, an item and a count take more than a word of 64 bits.
    """
    owner_bits = max(stop - start - 1 for start, stop, _ in blocks).bit_length()
    item_bits = int(rank.max(initial=0)).bit_length()
    count_bits = max(run.counts.base - 1 + _top(run.counts) for run in runs).bit_length()
    bits = owner_bits + item_bits + count_bits
    kind: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint32 if bits <= 32 else np.uint64)

    def tally(start: int, stop: int, rows: int) -> Tally:
        words = np.empty(rows, dtype=kind)
        done = 0
        for run in runs:
            done = _fill(
                words, done, users[start:stop], run.ends,
                _above(run.items), run.items.base, _above(run.counts), run.counts.base - 1,
                rank, item_bits, count_bits,
            )  # fmt: skip
        words.sort()
        items, counts = np.empty(rows, dtype=np.int32), np.empty(rows, dtype=np.int32)
        lengths = np.zeros(stop - start, dtype=np.int64)
        pairs = _fold(words, item_bits, count_bits, lengths, items, counts)
        return Tally(start, stop, lengths, items[:pairs], counts[:pairs])

    return _in_order(tally, blocks) if bits <= 64 else None


def _in_order(tally: Any, blocks: Sequence[tuple[int, int, int]]) -> Iterator[Tally]:
    """Yield what is made of the blocks, some of which are in work at a time."""
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="recae-tally") as threads:
        coming: deque[Future[Tally]] = deque()
        for block in blocks:
            coming.append(threads.submit(tally, *block))
            if len(coming) > _WORKERS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _above(column: Narrow) -> NDArray[np.unsignedinteger[Any]]:
    """Return a column's distances from its smallest value; empty where all are zero."""
    return np.zeros(0, dtype=np.uint8) if column.above is None else column.above


def _top(column: Narrow) -> int:
    """Return the largest distance from the smallest value."""
    return int(_above(column).max(initial=0))


@njit(nogil=True, cache=True)
def _count(users: Ints, lengths: Ints) -> None:
    for row in range(users.size):
        lengths[users[row]] += 1


@njit(nogil=True, cache=True)
def _scatter(users: Ints, items: Ints, places: Ints, grouped: Ints) -> None:
    """Write each item to the next place of its user."""
    for row in range(users.size):
        place = places[users[row]]
        grouped[place] = items[row]
        places[users[row]] = place + 1


@njit(nogil=True, cache=True)
def _fill(
    words: Ints,
    done: int,
    users: Column,
    ends: Ints,
    items: Ints,
    first_item: int,
    more: Ints,
    least_more: int,
    rank: Ints,
    item_bits: int,
    count_bits: int,
) -> int:
    """Write a word for each row of some users from words[done] on; returns how many there are then.

    The place of the user is in its highest bits, then the rank of the item, then how often beyond once it occurs.
    """
    lines = ends.reshape((ends.size, 1))
    columns = items.reshape((items.size, 1))
    for k in range(users.size):
        if k + _SOON < users.size and users[k + _SOON] < ends.size:
            prefetch(lines, users[k + _SOON], 0)
        if k + _SOON // 2 < users.size and users[k + _SOON // 2] < ends.size and items.size:
            prefetch(columns, np.int64(ends[users[k + _SOON // 2]]) - 1, 0)
        user = users[k]
        if user >= ends.size:
            continue
        owner = k << item_bits
        for row in range(ends[user - 1] if user else 0, ends[user]):
            item = first_item + (np.int64(items[row]) if items.size else 0)
            count = least_more + (np.int64(more[row]) if more.size else 0)
            words[done] = ((owner | np.int64(rank[item])) << count_bits) | count
            done += 1
    return done


@njit(nogil=True, cache=True)
def _fold(words: Ints, item_bits: int, count_bits: int, lengths: Column, items: Ints, counts: Ints) -> int:
    """Add up the counts of sorted words, one pair after the other; returns how many pairs there are."""
    pairs = 0
    last = np.int64(-1)
    for place in range(words.size):
        word = np.int64(words[place])
        pair = word >> count_bits
        count = 1 + (word & ((1 << count_bits) - 1))
        if pair != last:
            items[pairs] = pair & ((1 << item_bits) - 1)
            counts[pairs] = count
            lengths[pair >> item_bits] += 1
            pairs += 1
            last = pair
        else:
            counts[pairs - 1] += count
    return pairs
