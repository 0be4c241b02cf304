"""`Runs`: rows of purchases in memory that grows with the distinct ones, grouped by user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.ingest.narrow import Column, Narrow, fits_a_word, order_of, sort_rows

_BUFFER = 1 << 20  # rows that wait to be grouped by user
_PENDING = 1 << 25  # rows grouped but not folded, at least, before they are
_BLOCK = 1 << 20  # rows sorted at a time, unless one user has more


@dataclass(frozen=True)
class _Run:
    """Rows grouped by user: those of user u are at ``ends[u - 1]`` to ``ends[u]``; users beyond have none."""

    ends: NDArray[np.int64]
    columns: list[Narrow]

    @property
    def rows(self) -> int:
        return self.columns[0].size

    def places(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the rows of some users are, one user after the other, and how many each has."""
        known = users < self.ends.size
        inside = np.where(known, users, 0)
        stops = np.where(known, self.ends[inside], 0)
        starts = np.where(known & (inside > 0), self.ends[inside - 1], 0)
        lengths = stops - starts
        return places_of(starts, lengths), lengths


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
        self._buffered = 0
        self._runs: list[_Run] = []
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
        if self._buffered >= _BUFFER:
            self._group()
        if self._pending >= max(_PENDING, self._folded):
            self._fold()

    def parts(self) -> Iterator[list[Column]]:
        """Yield all rows in some order, at most about a million at a time: the items, the keys, and the counts last."""
        self._group()
        for run in self._runs:
            for start in range(0, run.rows, _BLOCK):
                yield [column.take(slice(start, start + _BLOCK)) for column in run.columns]

    def rows_of_users(self, n_users: int) -> NDArray[np.int64]:
        """Return how many rows are held of each user, shape (n_users,)."""
        self._group()
        rows = np.zeros(n_users, dtype=np.int64)
        for run in self._runs:
            rows[: run.ends.size] += np.diff(run.ends, prepend=0)
        return rows

    def count_of(self, user: int | None = None, item: int | None = None) -> int:
        """Return how many rows were added of a user, or of an item."""
        self._group()
        total = 0
        for run in self._runs:
            places = np.zeros(0, dtype=np.int64)
            if user is not None:
                places, _ = run.places(np.array([user]))
            elif item is not None:
                places = np.flatnonzero(run.columns[0].take(slice(None)) == item)
            total += int(run.columns[-1].take(places).sum())
        return total

    def blocks(self, users: NDArray[np.int64]) -> Iterator[tuple[int, int, list[Column]]]:
        """Yield the rows of users in the order given, neither sorted within a user nor folded between runs.

        Yields:
            the first place in ``users`` of a block, the one after its last, and its columns: the place of the user
            counted from the first, the item, the keys, the first number where kept, and the count.
        """
        ends = np.cumsum(self.rows_of_users(int(users.max(initial=-1)) + 1)[users])
        start = 0
        while start < users.size:
            done = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), start + 1)
            found: list[list[Column]] = []
            for run in self._runs:
                places, lengths = run.places(users[start:stop])
                if places.size:
                    owners = np.repeat(np.arange(stop - start), lengths)
                    found.append([owners, *(column.take(places) for column in run.columns)])
            yield (
                start,
                stop,
                [np.concatenate(parts) if len(found) > 1 else parts[0] for parts in zip(*found, strict=True)],
            )
            start = stop

    def _group(self) -> None:
        """Turn the buffer into a run."""
        if not self._buffered:
            return
        columns = [_joined(parts) for parts in zip(*self._buffer, strict=True)]
        values = [column.take(slice(None)) for column in columns]
        if fits_a_word(values):
            users, *rest = self._once(values)
            narrow = [Narrow.of(column) for column in rest]
        else:  # sorting by all of them is put off until a block of users can be sorted in the cache
            users = values[0]
            order = order_of([users])
            narrow = [column.reordered(order) for column in columns[1:]]
        self._runs.append(_Run(np.cumsum(np.bincount(users)), narrow))
        self._buffer, self._buffered = [], 0
        self._pending += users.size

    def _fold(self) -> None:
        """Turn all runs into one in which no row occurs twice."""
        self._group()
        everyone = np.arange(max(run.ends.size for run in self._runs))
        parts = []
        ends = np.zeros(everyone.size, dtype=np.int64)
        for start, _, columns in self.blocks(everyone):
            owners, *rest = self._once(columns)
            np.add.at(ends, owners + start, 1)
            parts.append([Narrow.of(column) for column in rest])
        run = _Run(np.cumsum(ends), [_joined(column) for column in zip(*parts, strict=True)])
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


@njit(nogil=True, cache=True)
def places_of(starts: Ints, lengths: Ints) -> Any:
    """The places of slices, one slice after the other."""
    places = np.empty(lengths.sum(), np.int64)
    done = 0
    for k in range(starts.size):
        for j in range(lengths[k]):
            places[done + j] = starts[k] + j
        done += lengths[k]
    return places


def _joined(parts: Sequence[Narrow]) -> Narrow:
    """Return columns one after the other as one, a piece at a time."""
    size = sum(part.size for part in parts)
    low = min(part.base for part in parts)
    high = max(part.base + (0 if part.above is None else int(part.above.max())) for part in parts)
    if low == high:
        return Narrow(size, low, None)
    above = np.empty(size, dtype=np.min_scalar_type(high - low))
    done = 0
    for part in parts:
        values = part.take(slice(None)).view(np.uint64) - np.uint64(low % 2**64)
        above[done : done + part.size] = values
        done += part.size
    return Narrow(size, low, above)
