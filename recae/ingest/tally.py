"""Rows of nothing but a user and an item, counted: grouped by block of users as they come, sorted at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.ingest.narrow import Column, Growing, Narrow
from recae.ingest.words import LOW, count_blocks, fill, place_rows, scatter, sum_words

_BUFFER = 1 << 20  # rows that wait to be grouped, at least
_PENDING = 1 << 25  # rows grouped but not folded, at least, before they are
_ROWS = 1 << 17  # sorted at a time, unless a block has more
_WORD = 64  # bits of what is sorted at most
_WORKERS: Final = 2  # each holds that many rows


@dataclass(frozen=True)
class _Run:
    """Rows grouped by block of users: those of block b are at ``ends[b - 1]`` to ``ends[b]``; blocks beyond have none.

    Attributes:
        ends: shape (blocks,).
        words: the item, and in the lowest bits the user within the block, uint32 or uint64 of shape (rows,).
        more: how often beyond once each occurs, unsigned, shape (rows,); None where all occur once.
    """

    ends: Column
    words: Ints
    more: Ints | None

    @classmethod
    def of(cls, parts: Sequence[tuple[Ints, Ints]], n_users: int) -> _Run:
        """Group rows: users and items, not negative, int32, each of shape (rows,)."""
        places = np.zeros(_blocks(n_users) + 1, dtype=np.int64)
        for users, _ in parts:
            count_blocks(users, places[1:])
        np.cumsum(places, out=places)
        top = max(int(items.max(initial=0)) for _, items in parts)
        kind: type[np.unsignedinteger[Any]] = np.uint64 if top >> (32 - LOW) else np.uint32
        words = np.empty(int(places[-1]), dtype=kind)
        for users, items in parts:
            scatter(users, items, places, words)
        return cls(places[:-1], words, None)  # each place has moved to where its block ends

    def rows_of(self, start: int, stop: int) -> slice:
        """Return where the rows of some blocks are."""
        known = (min(block, self.ends.size) for block in (start, stop))
        return slice(*(int(self.ends[block - 1]) if block else 0 for block in known))

    def more_of(self, rows: slice) -> Column:
        """Return how often beyond once some rows occur; empty where all occur once."""
        return np.zeros(0, dtype=np.int64) if self.more is None else self.more[rows].astype(np.int64)


@dataclass(frozen=True)
class _Tally:
    """How often each user of some blocks occurs with each item.

    Attributes:
        start: the first of the users, by number.
        lengths: how many items each has, shape (users,).
        items, counts: user by user, the items rising; shape (pairs,).
    """

    start: int
    lengths: Column
    items: Column
    counts: Column


class PairCounts:
    """Rows of a user and an item, each pair in the end once with a count; memory grows with the distinct ones.

    Rows wait in a buffer, are grouped by block of users when it is full, and folded together with those folded before
    whenever as many are pending as there are folded ones, 32 million at least. So memory is at most twice that of the
    distinct rows and a constant, and each row is sorted a few times at most.
    """

    def __init__(self) -> None:
        self._buffer: list[tuple[Ints, Ints]] = []
        self._buffered = self._users = self._pending = self._folded = 0
        self._runs: list[_Run] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recae-group")
        self._coming: Future[_Run] | None = None

    def add(self, users: Ints, items: Ints) -> None:
        """Append rows: their numbers, not negative, int32, each of shape (rows,)."""
        self._buffer.append((users, items))
        self._buffered += users.size
        self._users = max(self._users, int(users.max(initial=-1)) + 1)
        # The blocks of a run must have some rows each, or it takes longer to find them than to read them.
        if self._buffered >= max(_BUFFER, self._users // 4):
            self._group()
        if self._pending >= max(_PENDING, self._folded):
            self._fold()

    def count_of(self, user: int | None = None, item: int | None = None) -> int:
        """Return how many rows were added of a user, or of an item."""
        self._group_all()
        low, total = 2**LOW - 1, 0
        for run in self._runs:
            rows = slice(None) if user is None else run.rows_of(user >> LOW, (user >> LOW) + 1)
            words = run.words[rows]
            found = words >> LOW == item if user is None else words & low == user & low
            total += int(found.sum()) + (0 if run.more is None else int(run.more[rows][found].sum()))
        return total

    def pairs(
        self, users: NDArray[np.int64], rank: NDArray[np.int32]
    ) -> tuple[Column, NDArray[np.int32], NDArray[np.int32]]:
        """Return the pairs by user, then by item; no rows are held here afterwards.

        Args:
            users: every user, in the order of the result, shape (users,).
            rank: the number by which each item goes in the result, shape (items,).

        Returns:
            how many items each user has, shape (users,); the items and the counts, both of shape (pairs,).
        """
        self._group_all()
        by_number = np.zeros(_blocks(users.size) << LOW, dtype=np.int64)
        # in one array each: the memory of many small ones would not be free again for the result
        found = [Growing(sum(run.words.size for run in self._runs), base) for base in (0, 1)]
        for tally in self._tallies(rank):
            by_number[tally.start : tally.start + tally.lengths.size] = tally.lengths
            found[0].append(tally.items)
            found[1].append(tally.counts)
        self._runs = []
        lengths = by_number[users]
        starts = np.zeros_like(by_number)
        starts[users] = np.cumsum(lengths) - lengths
        with ThreadPoolExecutor(len(found), thread_name_prefix="recae-place") as threads:
            items, counts = threads.map(lambda column: _placed(column.finish(), by_number, starts), found)
        return lengths, items, counts

    def _group(self) -> None:
        """Begin to turn the buffer into a run, after the last one, while more rows come."""
        self._wait()
        if self._buffered:
            self._coming = self._thread.submit(_Run.of, self._buffer, self._users)
            self._buffer, self._buffered = [], 0

    def _wait(self) -> None:
        """Take the run that is being made."""
        if self._coming is not None:
            run = self._coming.result()
            self._runs.append(run)
            self._pending += run.words.size
            self._coming = None

    def _group_all(self) -> None:
        """Bring all rows into runs."""
        self._group()
        self._wait()

    def _fold(self) -> None:
        """Turn all runs into one in which no pair occurs twice."""
        self._group_all()
        n_items = 1 + max(int(run.words.max(initial=0)) >> LOW for run in self._runs)
        size = sum(run.words.size for run in self._runs)
        # The memory is given out only as it is written to.
        words = np.empty(size, dtype=np.result_type(*(run.words for run in self._runs)))
        more = Growing(size, 0)
        lengths = np.zeros(_blocks(self._users) << LOW, dtype=np.int64)
        done = 0
        for tally in self._tallies(np.arange(n_items, dtype=np.int32)):
            after = done + tally.items.size
            lengths[tally.start : tally.start + tally.lengths.size] = tally.lengths
            low = np.repeat(np.arange(tally.lengths.size) & (2**LOW - 1), tally.lengths)
            words[done:after] = tally.items << LOW | low
            more.append(tally.counts - 1)
            done = after
        words.resize(done, refcheck=False)
        ends = np.cumsum(lengths.reshape(-1, 2**LOW).sum(axis=1))
        self._runs, self._folded, self._pending = [_Run(ends, words, more.finish().above)], done, 0

    def _tallies(self, rank: NDArray[np.int32]) -> Iterator[_Tally]:
        """Count the pairs of all runs, some blocks of users at a time, in their order; the items by their rank."""
        spans = list(self._spans())
        owner_bits = max(((((stop - start) << LOW) - 1).bit_length() for start, stop in spans), default=0)
        item_bits = int(rank.max(initial=0)).bit_length()
        most = max((int(run.more.max(initial=0)) for run in self._runs if run.more is not None), default=0)
        bits = owner_bits + item_bits + most.bit_length()
        beside = bits > _WORD  # the counts are not in the words
        count_bits = 0 if beside else most.bit_length()
        kind: type[np.unsignedinteger[Any]] = np.uint32 if bits <= 32 else np.uint64

        def tally(span: tuple[int, int]) -> _Tally:
            start, stop = span
            parts = [(run, run.rows_of(start, stop)) for run in self._runs]
            words = np.empty(sum(rows.stop - rows.start for _, rows in parts), dtype=kind)
            more = np.zeros(words.size if beside else 0, dtype=np.int64)
            done = 0
            for run, rows in parts:
                extra = run.more_of(rows)
                if beside:
                    more[done : done + extra.size] = extra
                    extra = extra[:0]
                done = fill(words, done, run.words, run.ends, start, stop, extra, rank, item_bits, count_bits)
            if beside:
                order = np.argsort(words)
                words, more = words[order], more[order]
            else:
                words.sort()
            lengths = np.zeros((stop - start) << LOW, dtype=np.int64)
            items, counts = (np.empty(words.size, dtype=np.int64) for _ in range(2))
            pairs = sum_words(words, more, item_bits, count_bits, lengths, items, counts)
            return _Tally(start << LOW, lengths, items[:pairs], counts[:pairs])

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="recae-tally") as threads:
            coming: deque[Future[_Tally]] = deque()
            for span in spans:
                coming.append(threads.submit(tally, span))
                if len(coming) > _WORKERS:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Divide the blocks of users: the first of each part, and the one after its last."""
        rows = np.zeros(max((run.ends.size for run in self._runs), default=0), dtype=np.int64)
        for run in self._runs:
            rows[: run.ends.size] += np.diff(run.ends, prepend=0)
        ends = np.cumsum(rows)
        start = 0
        while start < ends.size:
            done = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, done + _ROWS, side="right")), start + 1)
            yield start, stop
            start = stop


def _blocks(n_users: int) -> int:
    """How many blocks users with numbers below that are in."""
    return -(-n_users >> LOW)


def _placed(column: Narrow, lengths: Column, starts: Column) -> NDArray[np.int32]:
    """Return what belongs to each user, `lengths` values one user after the other, where it `starts`."""
    out = np.empty(column.size, dtype=np.int32)
    ends = np.cumsum(lengths)
    first = 0
    while first < ends.size:
        done = int(ends[first - 1]) if first else 0
        stop = max(int(np.searchsorted(ends, done + _ROWS, side="right")), first + 1)
        values = column.take(slice(done, int(ends[stop - 1])))
        place_rows(values, lengths[first:stop], starts[first:stop], out)
        first = stop
    return out
