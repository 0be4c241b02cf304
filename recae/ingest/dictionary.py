"""`Dictionary`: each distinct text once, numbered as it first appears, without a Python object for any row or text."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints, prefetch, word_at

_SLOTS: Final = 1 << 10  # to begin with; a power of two, always at least twice the texts
_TAGGED: Final = (
    11  # bytes of a text that its slot tells from all others, so that its key need not be looked at
)
_SHORT: Final = 15  # bytes of a text that a key of two words holds, beside its length
_LONG: Final = 0xFF  # in place of the length: the key holds the hash and the place among the long texts
_AHEAD: Final = 64  # rows whose slots are on their way from memory at a time
_MASKS: Final = np.array(
    [[2 ** (8 * min(n, 8)) - 1, 2 ** (8 * max(n - 8, 0)) - 1] for n in range(_SHORT + 1)], dtype=np.uint64
)  # the bytes of a text of n bytes in its two words
_LOW: Final = np.uint64(0xFFFFFFFF)
_ALL: Final = np.zeros(0, np.bool_)  # where none is null


class Dictionary:
    """A growing set of distinct texts, each with a number: 0, 1, 2, ... in the order of first appearance.

    An open-addressing hash table: a slot of 16 bytes holds a text of up to 11 bytes itself, beside its number, so that
    one line of memory tells it. A key of 16 bytes for each number holds texts of up to 15 bytes; longer ones are
    kept beside them.
    """

    def __init__(self) -> None:
        self._slots = np.zeros((_SLOTS, 2), dtype=np.uint64)
        self._keys = np.empty((_SLOTS // 2, 2), dtype=np.uint64)
        self._ends = np.zeros(2, dtype=np.int64)  # of the long texts, in _data
        self._data = np.empty(1, dtype=np.uint8)
        self._used = np.zeros(2, dtype=np.int64)  # how many texts, and how many of them are long

    def __len__(self) -> int:
        return int(self._used[0])

    def encode(self, texts: pa.LargeStringArray) -> NDArray[np.int32]:
        """Return the number of each text, −1 for null, shape (rows,); texts not known yet get the next ones."""
        data, offsets, valid = buffers(texts)
        return self.encode_fields(data, offsets[:-1], offsets[1:], valid)

    def encode_fields(
        self, data: NDArray[np.uint8], begins: Ints, ends: Ints, valid: NDArray[np.bool_] = _ALL
    ) -> NDArray[np.int32]:
        """Return the number of each text, as `encode` does, for texts that lie anywhere in some bytes.

        Args:
            data: the bytes, eight at least, read-only.
            begins, ends: where the texts lie in them, int32 or int64, shape (rows,).
            valid: which are not null, shape (rows,); empty where none is.
        """
        codes = np.empty(begins.size, dtype=np.int32)
        row = 0
        while True:
            row = _encode(
                data,
                begins,
                ends,
                valid,
                codes,
                row,
                self._slots,
                self._keys,
                self._ends,
                self._data,
                self._used,
            )
            if row == codes.size:
                return codes
            self._grow(int(ends[row] - begins[row]))

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
            self._slots = np.zeros((2 * self._slots.shape[0], 2), dtype=np.uint64)
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
    size = np.uint64(length) << np.uint64(56)
    if begin + 16 <= data.size:
        return word_at(data, begin) & _MASKS[length, 0], (word_at(data, begin + 8) & _MASKS[length, 1]) | size
    # Near the end of the data no byte after it may be read.
    first = second = np.uint64(0)
    for k in range(min(length, 8)):
        first |= np.uint64(data[begin + k]) << np.uint64(8 * k)
    for k in range(8, length):
        second |= np.uint64(data[begin + k]) << np.uint64(8 * (k - 8))
    return first, second | size


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


@njit(nogil=True, cache=True, inline="always")
def _tag(second: Any, h: Any) -> Any:
    """What a slot holds beside the first word, in the upper half of its second one; exact up to 11 bytes."""
    length = second >> np.uint64(56)
    if length <= np.uint64(_TAGGED):
        return (second << np.uint64(32)) | (length << np.uint64(56))
    return h | (np.uint64(_LONG) << np.uint64(56))


@njit(nogil=True, cache=True)
def _encode(
    data: Ints,
    begins: Ints,
    stops: Ints,
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
    last = np.uint64(slots.shape[0] - 1)
    words = np.empty((_AHEAD, 3), np.uint64)
    while row < codes.size:
        stop = min(row + _AHEAD, codes.size)
        for k in range(stop - row):
            begin, length = int(begins[row + k]), int(stops[row + k] - begins[row + k])
            if length <= _SHORT:
                first, second = _key(data, begin, length)
                h = _mixed(first, second)
            else:
                first = h = _long_hash(data, begin, length)
                second = np.uint64(_LONG) << np.uint64(56)
            words[k, 0], words[k, 1], words[k, 2] = first, second, h
            prefetch(slots, np.int64(h & last), 0)
        for r in range(row, stop):
            if valid.size and not valid[r]:
                codes[r] = -1
                continue
            begin, length = int(begins[r]), int(stops[r] - begins[r])
            first, second, h = words[r - row, 0], words[r - row, 1], words[r - row, 2]
            tag = _tag(second, h) & ~_LOW
            place = np.int64(h & last)
            code = np.int64(-1)
            while slots[place, 1]:
                slot = slots[place, 1]
                if slots[place, 0] == first and slot & ~_LOW == tag:
                    there = np.int64(slot & _LOW) - 1
                    if length <= _TAGGED:
                        code = there
                        break
                    if length <= _SHORT:
                        if keys[there, 1] == second:
                            code = there
                            break
                    elif keys[there, 1] >> np.uint64(56) == _LONG:
                        which = np.int64(keys[there, 1] & _LOW)
                        start = ends[which - 1]
                        if ends[which] - start == length and _same(data, begin, long_data, start, length):
                            code = there
                            break
                place = np.int64(np.uint64(place + 1) & last)
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
                slots[place, 0], slots[place, 1] = first, tag | np.uint64(code + 1)
                used[0] = code + 1
            codes[r] = code
        row = stop
    return row


@njit(nogil=True, cache=True)
def _rehash(slots: Ints, keys: Ints) -> None:
    """Put the first half of the keys, which are in use, into empty slots."""
    last = np.uint64(slots.shape[0] - 1)
    for code in range(keys.shape[0] // 2):
        first, second = keys[code, 0], keys[code, 1]
        h = first if second >> np.uint64(56) == _LONG else _mixed(first, second)
        place = np.int64(h & last)
        while slots[place, 1]:
            place = np.int64(np.uint64(place + 1) & last)
        slots[place, 0], slots[place, 1] = first, (_tag(second, h) & ~_LOW) | np.uint64(code + 1)


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
