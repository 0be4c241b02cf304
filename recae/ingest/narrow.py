"""Columns of whole numbers in as few bytes as they need, and rows of such columns sorted a word at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Narrow:
    """A column of int64, held as the distance from its smallest value; one that is constant takes no memory.

    Attributes:
        size: how many values there are.
        base: the smallest of them.
        above: the distances, of the narrowest unsigned type, shape (size,); None where all are zero.
    """

    size: int
    base: int
    above: NDArray[np.unsignedinteger[Any]] | None

    @classmethod
    def of(cls, values: Ints) -> Narrow:
        """Hold a column of whole numbers, shape (size,)."""
        if not values.size:
            return cls(0, 0, None)
        low, high = int(values.min()), int(values.max())
        if low == high:
            return cls(values.size, low, None)
        kind = np.min_scalar_type(high - low)
        if low >= 0:
            return cls(values.size, low, (values - low if low else values).astype(kind))
        # the distance may exceed the type of the values
        return cls(values.size, low, (values.astype(np.int64).view(np.uint64) - _word(low)).astype(kind))

    def take(self, places: NDArray[np.int64] | slice) -> Column:
        """Return some values, in the order of their places."""
        if self.above is None:
            count = len(range(*places.indices(self.size))) if isinstance(places, slice) else places.size
            return np.full(count, self.base, dtype=np.int64)
        found = self.above[places].astype(np.uint64)
        found += _word(self.base)
        return found.view(np.int64)

    def copy_slices(self, starts: Column, lengths: Column, out: Column) -> None:
        """Write the values of slices one after the other into ``out``, which they fill."""
        if self.above is None:
            out[:] = self.base
        else:
            _copy_slices(self.above, self.base, starts, lengths, out)

    @property
    def bits(self) -> int:
        """How many bits the largest distance takes, or its type has."""
        return 0 if self.above is None else int(self.above.max()).bit_length()

    def reordered(self, order: NDArray[np.int64]) -> Narrow:
        """Return the column with all its values in another order."""
        return Narrow(self.size, self.base, None if self.above is None else self.above[order])


def sort_rows(columns: Sequence[Column]) -> list[Column]:
    """Return the columns with their rows in rising order, by the first column, then by the second, and so on.

    Args:
        columns: one or more, each of shape (rows,); rows below 2**32.
    """
    columns = list(columns)
    spans = [_span(column) for column in columns]
    if sum(bits for _, bits in spans) <= 64:
        words = _pack(columns, spans, None)
        words.sort()
        return _unpack(words, spans)
    order = _order(columns, spans)
    return [column[order] for column in columns]


def pack(columns: Sequence[Narrow]) -> NDArray[np.uint64] | None:
    """Return one word a row, the first column in its highest bits; None where a row takes more than 64 of them."""
    if sum(column.bits for column in columns) > 64:
        return None
    words = np.zeros(columns[0].size, dtype=np.uint64)
    for column in columns:
        if column.above is not None:
            if column.bits < 64:  # a shift by all the bits there are is not defined
                words <<= np.uint64(column.bits)
            words |= column.above
    return words


def unpack(words: NDArray[np.uint64], columns: Sequence[Narrow]) -> list[Narrow]:
    """Return the columns of words that `pack` has made of such columns."""
    found: list[Narrow] = []
    below = 0
    for column in reversed(columns):
        above = None
        if column.above is not None:
            above = words >> np.uint64(below) if below else words
            above = (above & np.uint64((1 << column.bits) - 1)).astype(column.above.dtype)
        found.append(Narrow(words.size, column.base, above))
        below += column.bits
    return found[::-1]


def joined(parts: Sequence[Narrow]) -> Narrow:
    """Return columns one after the other as one."""
    size = sum(part.size for part in parts)
    low = min(part.base for part in parts)
    high = max(part.base + (0 if part.above is None else int(part.above.max())) for part in parts)
    if low == high:
        return Narrow(size, low, None)
    above = np.empty(size, dtype=np.min_scalar_type(high - low))
    done = 0
    for part in parts:
        shift = above.dtype.type(part.base - low)
        if part.above is None:
            above[done : done + part.size] = shift
        else:
            np.add(part.above, shift, out=above[done : done + part.size], dtype=above.dtype)
        done += part.size
    return Narrow(size, low, above)


class Growing:
    """A narrow column that is written a piece at a time, into one array.

    Args:
        size: how many values come at most.
        base: no value is smaller.
    """

    def __init__(self, size: int, base: int) -> None:
        self._base = base
        self._above: NDArray[np.unsignedinteger[Any]] = np.empty(size, dtype=np.uint8)
        self._done = self._top = 0

    def append(self, values: Column) -> None:
        """Write values, shape (n,)."""
        above = values.view(np.uint64) - _word(self._base)
        self._top = max(self._top, int(above.max(initial=0)))
        kind = np.min_scalar_type(self._top)
        if kind.itemsize > self._above.itemsize:
            wider = np.empty(self._above.size, dtype=kind)
            wider[: self._done] = self._above[: self._done]
            self._above = wider
        self._above[self._done : self._done + values.size] = above
        self._done += values.size

    def finish(self) -> Narrow:
        """Return the column; the rest of the array is given back."""
        self._above.resize(self._done, refcheck=False)
        return Narrow(self._done, self._base, self._above if self._top else None)


@njit(nogil=True, cache=True)
def repeat(values: Column, lengths: Column, out: Column) -> None:
    """Write each value as often as its length says."""
    done = 0
    for k in range(values.size):
        for j in range(done, done + lengths[k]):
            out[j] = values[k]
        done += lengths[k]


@njit(nogil=True, cache=True)
def _copy_slices(above: Ints, base: int, starts: Column, lengths: Column, out: Column) -> None:
    done = 0
    for k in range(starts.size):
        start = starts[k] - done
        for j in range(done, done + lengths[k]):
            out[j] = np.int64(above[start + j]) + base  # wraps around where the distance exceeds int64
        done += lengths[k]


def order_of(columns: Sequence[Column]) -> NDArray[np.int64]:
    """Return the permutation that puts rows in rising order; of equal rows the earlier one comes first."""
    return _order(columns, [_span(column) for column in columns])


def _order(columns: Sequence[Column], spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Sort by as many of the last columns at a time as fit into a word beside the number of the row."""
    rows = columns[0].size
    row_bits = max(rows - 1, 1).bit_length()
    parts: list[tuple[Column, tuple[int, int]]] = []
    for column, (low, bits) in zip(columns, spans, strict=True):
        if bits > 64 - row_bits:  # as two columns: the upper half, which is never negative, and the lower one
            above = column.view(np.uint64) - _word(low)
            parts.append(((above >> np.uint64(32)).view(np.int64), (0, bits - 32)))
            parts.append(((above & np.uint64(2**32 - 1)).view(np.int64), (0, 32)))
        elif bits:
            parts.append((column, (low, bits)))
    order: NDArray[np.int64] | None = None
    numbers = np.arange(rows, dtype=np.uint64)
    while parts:
        taken = 0
        first = len(parts)
        while first and taken + parts[first - 1][1][1] <= 64 - row_bits:
            first -= 1
            taken += parts[first][1][1]
        words = _pack([part[0] for part in parts[first:]], [part[1] for part in parts[first:]], order)
        words <<= np.uint64(row_bits)
        words |= numbers
        words.sort()
        words &= np.uint64((1 << row_bits) - 1)
        places = words.view(np.int64)
        order = places if order is None else order[places]
        parts = parts[:first]
    return numbers.view(np.int64) if order is None else order


def _span(column: Column) -> tuple[int, int]:
    """Return the smallest value, and how many bits the distance of the largest from it takes."""
    if not column.size:
        return 0, 0
    low = int(column.min())
    return low, (int(column.max()) - low).bit_length()


def _pack(
    columns: Sequence[Column], spans: Sequence[tuple[int, int]], order: NDArray[np.int64] | None
) -> NDArray[np.uint64]:
    """Return one word a row, the first column in its highest bits, the rows in the order given."""
    words = np.zeros(columns[0].size, dtype=np.uint64)
    for column, (low, bits) in zip(columns, spans, strict=True):
        if bits:
            if bits < 64:  # a shift by all the bits there are is not defined
                words <<= np.uint64(bits)
            words |= column.view(np.uint64) - _word(low)
    return words if order is None else words[order]


def _unpack(words: NDArray[np.uint64], spans: Sequence[tuple[int, int]]) -> list[Column]:
    columns = []
    for low, bits in reversed(spans):
        if not bits:
            columns.append(np.full(words.size, low, dtype=np.int64))
            continue
        part = words & np.uint64((1 << bits) - 1)
        part += _word(low)
        columns.append(part.view(np.int64))
        if bits < 64:
            words = words >> np.uint64(bits)
    return columns[::-1]


def _word(number: int) -> np.uint64:
    """Return a number of 64 bits without its sign; what is added to it may wrap around, and comes out right."""
    return np.uint64(number % 2**64)
