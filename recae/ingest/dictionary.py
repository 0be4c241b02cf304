"""`Dictionary`: each distinct text once, numbered as it first appears, without a Python object for any row or text."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints, prefetch, word_at

_SLOTS: Final = 1 << 10  # to begin with; a power of two, always at least twice the texts
_SHORT: Final = 15  # bytes of a text that a key of two words holds, beside its length
_LONG: Final = 0xFF  # in place of the length: the key holds the hash and the place among the long texts
_AHEAD: Final = 32  # rows whose slots are on their way from memory at a time


class Dictionary:
    """A growing set of distinct texts, each with a number: 0, 1, 2, ... in the order of first appearance.

    An open-addressing hash table of 8 bytes a slot points at keys of 16 bytes, which hold a text of up to 15
    bytes themselves; longer ones are kept beside them.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(_SLOTS, dtype=np.uint64)
        self._keys = np.empty((_SLOTS // 2, 2), dtype=np.uint64)
        self._ends = np.zeros(2, dtype=np.int64)  # of the long texts, in _data
        self._data = np.empty(1, dtype=np.uint8)
        self._used = np.zeros(2, dtype=np.int64)  # how many texts, and how many of them are long

    def __len__(self) -> int:
        return int(self._used[0])

    def encode(self, texts: pa.LargeStringArray) -> NDArray[np.int32]:
        """Return the number of each text, −1 for null, shape (rows,); texts not known yet get the next ones."""
        codes = np.empty(len(texts), dtype=np.int32)
        data, offsets, valid = buffers(texts)
        row = 0
        while True:
            row = _encode(
                data, offsets, valid, codes, row, self._slots, self._keys, self._ends, self._data, self._used
            )
            if row == len(texts):
                return codes
            self._grow(int(offsets[row + 1] - offsets[row]))

    def texts(self) -> pa.LargeStringArray:
        """Return the distinct texts in the order of their numbers."""
        count = len(self)
        offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(_lengths(self._keys[:count], self._ends), out=offsets[1:])
        data = np.empty(int(offsets[-1]), dtype=np.uint8)
        _write(self._keys[:count], self._ends, self._data, offsets, data)
        return pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))

    def _grow(self, needed: int) -> None:
        """Make room for one more text of that many bytes, and for as many again as there are."""
        count, n_long = self._used.tolist()
        if count == self._keys.shape[0]:
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
            self._slots = np.zeros(2 * self._slots.size, dtype=np.uint64)
            _rehash(self._slots, self._keys)
        if n_long + 1 == self._ends.size:
            self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)])
        if self._ends[n_long] + needed > self._data.size:
            more = np.empty(max(self._data.size, needed), dtype=np.uint8)
            self._data = np.concatenate([self._data, more])


def buffers(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the bytes of all texts, where each begins and ends, (rows + 1,), and which are not null.

    There are eight bytes at least. The last is empty where none is null.
    """
    _, offset_buffer, data_buffer = texts.buffers()
    data = np.zeros(0, np.uint8) if not data_buffer else np.frombuffer(data_buffer, dtype=np.uint8)
    if data.size < 8:
        data = np.concatenate([data, np.zeros(8, np.uint8)])
    data.flags.writeable = False  # as Arrow's own are: one type for the compiler
    if not len(texts):
        return data, np.zeros(1, np.int64), np.zeros(0, np.bool_)
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    valid = texts.is_valid().to_numpy(zero_copy_only=False) if texts.null_count else np.zeros(0, np.bool_)
    return data, offsets, valid


@njit(nogil=True, cache=True, inline="always")
def _mixed(first: Any, second: Any) -> Any:
    """A hash of two words: every bit of them reaches every bit of it."""
    h = (first ^ (second >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15) + second
    h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@njit(nogil=True, cache=True, inline="always")
def _key(data: Ints, begin: int, length: int) -> tuple[Any, Any]:
    """The two words that hold a short text: its bytes, and its length in the topmost byte of the second."""
    # Without a branch, and each shift in two halves, since one by all 64 bits is not defined.
    start = min(begin, data.size - 8)
    past = np.uint64(4 * (begin - start))
    empty = np.uint64(4 * (8 - min(length, 8)))
    first = word_at(data, start) >> past >> past << empty << empty >> empty >> empty
    start = min(max(begin + length - 8, 0), data.size - 8)
    empty = np.uint64(4 * (16 - max(length, 8)))
    second = word_at(data, start) >> empty >> empty
    return first, second | np.uint64(length) << np.uint64(56)


@njit(nogil=True, cache=True)
def _long_hash(data: Ints, begin: int, length: int) -> Any:
    h = np.uint64(length)
    for k in range(begin, begin + length - 8, 8):
        h = _mixed(h, word_at(data, k))
    return _mixed(h, word_at(data, begin + length - 8))


@njit(nogil=True, cache=True)
def _same(one: Ints, begin: int, other: Ints, start: int, length: int) -> bool:
    for k in range(length):  # noqa: SIM110  # numba knows no all()
        if one[begin + k] != other[start + k]:
            return False
    return True


@njit(nogil=True, cache=True)
def _encode(
    data: Ints,
    offsets: Ints,
    valid: NDArray[np.bool_],
    codes: Ints,
    row: int,
    slots: Ints,
    keys: Ints,
    ends: Ints,
    long_data: Ints,
    used: Ints,
) -> int:
    """Fill in codes from `row` on; returns the row that there is no room for, or the number of rows.

    A few rows are hashed and their slots fetched before the first of them is looked up.
    """
    last = np.uint64(slots.size - 1)
    low = np.uint64(0xFFFFFFFF)
    words = np.empty((_AHEAD, 3), np.uint64)
    lines = slots.reshape((slots.size, 1))
    while row < codes.size:
        stop = min(row + _AHEAD, codes.size)
        for r in range(row, stop):
            begin, length = offsets[r], offsets[r + 1] - offsets[r]
            if length <= _SHORT:
                first, second = _key(data, begin, length)
                h = _mixed(first, second)
            else:
                h = _long_hash(data, begin, length)
                first, second = h, np.uint64(0)
            words[r - row, 0], words[r - row, 1], words[r - row, 2] = first, second, h
            prefetch(lines, np.int64(h & last), 0)
        for r in range(row, stop):
            slot = slots[words[r - row, 2] & last]
            if slot:
                prefetch(keys, np.int64(slot & low) - 1, 0)
        for r in range(row, stop):
            if valid.size and not valid[r]:
                codes[r] = -1
                continue
            begin, length = offsets[r], offsets[r + 1] - offsets[r]
            first, second, h = words[r - row, 0], words[r - row, 1], words[r - row, 2]
            place = h & last
            code = np.int64(-1)
            while slots[place]:
                slot = slots[place]
                if (slot ^ h) & ~low == 0:
                    there = np.int64(slot & low) - 1
                    if length <= _SHORT:
                        if keys[there, 0] == first and keys[there, 1] == second:
                            code = there
                            break
                    elif keys[there, 0] == h and keys[there, 1] >> np.uint64(56) == _LONG:
                        which = np.int64(keys[there, 1] & low)
                        start = ends[which - 1]
                        if ends[which] - start == length and _same(data, begin, long_data, start, length):
                            code = there
                            break
                place = (place + np.uint64(1)) & last
            if code < 0:
                code = used[0]
                if code == keys.shape[0]:
                    return r
                if length > _SHORT:
                    which = used[1] + 1
                    if which == ends.size or ends[which - 1] + length > long_data.size:
                        return r
                    ends[which] = ends[which - 1] + length
                    for k in range(length):
                        long_data[ends[which - 1] + k] = data[begin + k]
                    used[1] = which
                    second = (np.uint64(_LONG) << np.uint64(56)) | np.uint64(which)
                keys[code, 0], keys[code, 1] = first, second
                slots[place] = (h & ~low) | np.uint64(code + 1)
                used[0] = code + 1
            codes[r] = code
        row = stop
    return row


@njit(nogil=True, cache=True)
def _rehash(slots: Ints, keys: Ints) -> None:
    """Put the first half of the keys, which are in use, into empty slots."""
    last = np.uint64(slots.size - 1)
    low = np.uint64(0xFFFFFFFF)
    for code in range(keys.shape[0] // 2):
        h = keys[code, 0]
        if keys[code, 1] >> np.uint64(56) != _LONG:
            h = _mixed(keys[code, 0], keys[code, 1])
        place = h & last
        while slots[place]:
            place = (place + np.uint64(1)) & last
        slots[place] = (h & ~low) | np.uint64(code + 1)


@njit(nogil=True, cache=True)
def _lengths(keys: Ints, ends: Ints) -> Ints:
    """How many bytes each text has."""
    lengths = np.empty(keys.shape[0], np.int64)
    for code in range(keys.shape[0]):
        lengths[code] = np.int64(keys[code, 1] >> np.uint64(56))
        if lengths[code] == _LONG:
            which = np.int64(keys[code, 1] & np.uint64(0xFFFFFFFF))
            lengths[code] = ends[which] - ends[which - 1]
    return lengths


@njit(nogil=True, cache=True)
def _write(keys: Ints, ends: Ints, long_data: Ints, offsets: Ints, data: Ints) -> None:
    """Write each text to its place in data."""
    for code in range(keys.shape[0]):
        begin, end = offsets[code], offsets[code + 1]
        if keys[code, 1] >> np.uint64(56) == _LONG:
            start = ends[np.int64(keys[code, 1] & np.uint64(0xFFFFFFFF)) - 1]
            for k in range(end - begin):
                data[begin + k] = long_data[start + k]
        else:
            for k in range(end - begin):
                data[begin + k] = np.uint8(keys[code, k // 8] >> np.uint64(8 * (k % 8)) & np.uint64(0xFF))
