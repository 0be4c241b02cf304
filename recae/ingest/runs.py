"""`Runs`: rows of purchases in memory that grows with the distinct ones, grouped by user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.ingest.narrow import Column, Growing, Narrow, joined, order_of, pack, repeat, sort_rows, unpack

_BUFFER = 1 << 20  # rows that wait to be grouped by user, at least
_PENDING = 1 << 25  # rows grouped but not folded, at least, before they are
_BLOCK = 1 << 17  # rows sorted at a time, unless one user has more


@dataclass(frozen=True)
class _Run:
    """Rows grouped by user: those of user u are at ``ends[u - 1]`` to ``ends[u]``; users beyond have none."""

    ends: NDArray[np.int32] | NDArray[np.int64]
    columns: list[Narrow]

    @property
    def rows(self) -> int:
        return self.columns[0].size

    def slices(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the rows of some users begin, and how many each has."""
        known = users < self.ends.size
        inside = np.where(known, users, 0)
        stops = np.where(known, self.ends[inside], 0)
        starts = np.where(known & (inside > 0), self.ends[inside - 1], 0)
        return starts.astype(np.int64), (stops - starts).astype(np.int64)

    @classmethod
    def of(cls, lengths: NDArray[np.int64], columns: list[Narrow]) -> _Run:
        """Return a run of users with as many rows as the lengths say."""
        ends = np.cumsum(lengths)
        return cls(ends.astype(np.int32) if ends[-1] < 2**31 else ends, columns)


class Runs:
    """Rows of a user, an item and further whole numbers; equal rows are folded into one with a count.

    Rows wait in a buffer, are grouped by user when it is full, and folded with those folded before whenever as many are
    pending as there are folded ones, 32 million at least. So memory is at most twice that of the distinct rows and a
    constant, and each row is sorted a few times at most. The columns are held in the bytes that they need.

    Args:
        keys: how many columns beside the user and the item tell rows apart.
        with_first: keep for each row the smallest of the numbers that came with those folded into it.
    """

    def __init__(self, keys: int, with_first: bool = False) -> None:
        self._keys = keys
        self._with_first = with_first
        self._buffer: list[list[Narrow]] = []
        self._buffered = self._users = 0
        self._runs: list[_Run] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recae-group")
        self._coming: Future[_Run] | None = None
        self._pending = 0
        self._folded = 0

    def add(self, users: Ints, items: Ints, keys: Sequence[Ints], first: int = 0) -> None:
        """Append rows.

        Args:
            users, items: their numbers, not negative, shape (rows,).
            keys: the further columns, each of shape (rows,).
            first: the number of the first row, the next ones follow; only kept ``with_first``.
        """
        numbers = [np.arange(first, first + users.size)] if self._with_first else []
        columns = [Narrow.of(column) for column in (users, items, *keys, *numbers)]
        columns.append(Narrow(users.size, 1, None))
        self._buffer.append(columns)
        self._buffered += users.size
        self._users = max(self._users, int(users.max(initial=-1)) + 1)
        # Where its users begin and end must not take more than the rows themselves.
        if self._buffered >= max(_BUFFER, self._users):
            self._group()
        if self._pending >= max(_PENDING, self._folded):
            self._fold()

    def parts(self) -> Iterator[list[Column]]:
        """Yield all rows in some order, at most about a million at a time: the items, the keys, and the counts last."""
        self._group_all()
        for run in self._runs:
            for start in range(0, run.rows, _BLOCK):
                yield [column.take(slice(start, start + _BLOCK)) for column in run.columns]

    def rows_of_users(self, n_users: int) -> NDArray[np.int64]:
        """Return how many rows are held of each user, shape (n_users,)."""
        self._group_all()
        rows = np.zeros(n_users, dtype=np.int64)
        for run in self._runs:
            rows[: run.ends.size] += np.diff(run.ends, prepend=0)
        return rows

    def count_of(self, user: int | None = None, item: int | None = None) -> int:
        """Return how many rows were added of a user, or of an item."""
        self._group_all()
        total = 0
        for run in self._runs:
            counts = run.columns[-1].take(slice(None))
            if user is not None:
                (start,), (length,) = run.slices(np.array([user]))
                counts = counts[start : start + length]
            else:
                counts = counts[run.columns[0].take(slice(None)) == item]
            total += int(counts.sum())
        return total

    def blocks(self, users: NDArray[np.int64]) -> Iterator[tuple[int, int, list[Column]]]:
        """Yield the rows of users in the order given, neither sorted within a user nor folded between runs.

        Yields:
            the first place in ``users`` of a block, the one after its last, and its columns: the place of the user
            counted from the first, the item, the keys, the first number where kept, and the count.
        """
        for start, stop, total in self._spans(users):
            columns = [np.empty(total, dtype=np.int64) for _ in range(1 + len(self._runs[0].columns))]
            at = 0
            for run in self._runs:
                starts, lengths = run.slices(users[start:stop])
                after = at + int(lengths.sum())
                repeat(np.arange(stop - start), lengths, columns[0][at:after])
                for column, out in zip(run.columns, columns[1:], strict=True):
                    column.copy_slices(starts, lengths, out[at:after])
                at = after
            yield start, stop, columns

    def _spans(self, users: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Divide users, in the order given, into blocks: first place, the one after the last, rows."""
        ends = np.cumsum(self.rows_of_users(int(users.max(initial=-1)) + 1)[users])
        start = 0
        while start < users.size:
            done = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), start + 1)
            yield start, stop, int(ends[stop - 1]) - done
            start = stop

    def _group(self) -> None:
        """Begin to turn the buffer into a run, after the last one, while more rows come."""
        self._wait()
        if self._buffered:
            self._coming = self._thread.submit(self._run_of, self._buffer)
            self._buffer, self._buffered = [], 0

    def _wait(self) -> None:
        """Take the run that is being made."""
        if self._coming is not None:
            run = self._coming.result()
            self._runs.append(run)
            self._pending += run.rows
            self._coming = None

    def _group_all(self) -> None:
        """Bring all rows into runs."""
        self._group()
        self._wait()

    def _run_of(self, buffer: list[list[Narrow]]) -> _Run:
        """Return rows grouped by user; folded where they fit into words, which makes it cheap."""
        columns = [joined(parts) for parts in zip(*buffer, strict=True)]
        words = pack(columns)
        if words is None:
            order = order_of([columns[0].take(slice(None))])
            columns = [column.reordered(order) for column in columns]
        else:
            words.sort()
            keys = 2 + self._keys
            rest = sum(column.bits for column in columns[keys:])
            new = starts_of([(words >> np.uint64(rest) if rest else words).view(np.int64)])
            counts = np.diff(new, append=words.size)
            # of the words of equal rows the first has the smallest number
            columns = [*unpack(words[new], columns)[:-1], Narrow.of(counts)]
        return _Run.of(np.bincount(columns[0].take(slice(None))), columns[1:])

    def _fold(self) -> None:
        """Turn all runs into one in which no row occurs twice."""
        self._group_all()
        everyone = np.arange(max(run.ends.size for run in self._runs))
        size = sum(run.rows for run in self._runs)
        bases = [
            min(column.base for column in parts)
            for parts in zip(*(r.columns for r in self._runs), strict=True)
        ]
        columns = [Growing(size, base) for base in bases]
        lengths = np.zeros(everyone.size, dtype=np.int64)
        for start, stop, rows in self.blocks(everyone):
            owners, *rest = self._once(rows)
            lengths[start:stop] = np.bincount(owners, minlength=stop - start)
            for column, values in zip(columns, rest, strict=True):
                column.append(values)
        run = _Run.of(lengths, [column.finish() for column in columns])
        self._runs, self._folded, self._pending = [run], run.rows, 0

    def _once(self, columns: list[Column]) -> list[Column]:
        """Return rows sorted by user, item and keys, each once, with the sum of the counts and the smallest number."""
        columns = sort_rows(columns)
        new = starts_of(columns[: 2 + self._keys])
        if new.size == columns[0].size:
            return columns
        counts = np.add.reduceat(columns[-1], new)
        return [*(column[new] for column in columns[:-1]), counts]


def starts_of(columns: Sequence[Column]) -> NDArray[np.int64]:
    """Return the places of the rows that differ from the one before them."""
    differs = np.ones(columns[0].size, dtype=np.bool_)
    if differs.size:
        differs[1:] = columns[0][1:] != columns[0][:-1]
        for column in columns[1:]:
            differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)
