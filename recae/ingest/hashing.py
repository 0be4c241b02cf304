"""The compiled loops of `Dictionary`: an open-addressing hash table of texts, each in or behind a slot of 16 bytes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints, prefetch, word_at

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
def _look_up(
    data: Ints,
    begins: Ints,
    stops: Ints,
    codes: Ints,
    row: int,
    stop: int,
    slots: Ints,
    words: Ints,
    rest: Ints,
) -> int:
    """Fill in the codes of the rows from `row` to `stop` whose text is tagged and known.

    All are hashed, and their slots fetched, before the first of them is looked up. Places without a sign need not be
    looked at for being ones from the end, which takes a third of the time.

    Returns:
        how many others there are; their rows are in `rest`.
    """
    last = np.uint64(slots.shape[0] - 1)
    zero, one, two = np.uint64(0), np.uint64(1), np.uint64(2)
    for k in range(stop - row):
        begin = np.int64(begins[row + k])
        length = np.int64(stops[row + k]) - begin
        at = np.uint64(k)
        if length <= _TAGGED and begin + 16 <= data.size:
            first, second = _key(data, begin, length)  # type: ignore[arg-type]  # numba's own numbers
            h = _mixed(first, second)
            words[at, zero], words[at, one], words[at, two] = first, _tag(second, h), h & last
            prefetch(slots, np.int64(h & last), 0)
        else:
            words[at, zero], words[at, one], words[at, two] = zero, one, zero  # which no slot holds
    others = 0
    for k in range(stop - row):
        at = np.uint64(k)
        first, tag, place = words[at, zero], words[at, one], words[at, two]
        while True:
            slot = slots[place, one]
            if not slot:  # first, since it looks like that of an empty text
                rest[others] = row + k
                others += 1
                break
            if slots[place, zero] == first and slot & ~_LOW == tag:
                codes[row + k] = np.int64(slot & _LOW) - 1
                break
            place = (place + one) & last
    return others


@njit(nogil=True, cache=True)
def encode_rows(
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

    What is neither known nor short is hashed and its slot fetched, too, before the first of it is looked up.
    """
    last = np.uint64(slots.shape[0] - 1)
    words = np.empty((_AHEAD, 3), np.uint64)
    rest = np.empty(_AHEAD, np.int64)
    while row < codes.size:
        stop = min(row + _AHEAD, codes.size)
        if valid.size:
            others = 0
            for r in range(row, stop):
                codes[r] = -1
                rest[others] = r
                others += valid[r]
        else:
            others = _look_up(data, begins, stops, codes, row, stop, slots, words, rest)
        for k in range(others):
            begin, length = int(begins[rest[k]]), int(stops[rest[k]] - begins[rest[k]])
            if length <= _SHORT:
                first, second = _key(data, begin, length)
                h = _mixed(first, second)
            else:
                first = h = _long_hash(data, begin, length)
                second = np.uint64(_LONG) << np.uint64(56)
            words[k, 0], words[k, 1], words[k, 2] = first, second, h
            prefetch(slots, np.int64(h & last), 0)
        for k in range(others):
            r = int(rest[k])
            begin, length = int(begins[r]), int(stops[r] - begins[r])
            first, second, h = words[k, 0], words[k, 1], words[k, 2]
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
def rehash(slots: Ints, keys: Ints) -> None:
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
def text_lengths(keys: Ints, ends: Ints) -> Ints:
    """How many bytes each text has."""
    lengths = np.empty(keys.shape[0], np.int64)
    for code in range(keys.shape[0]):
        lengths[code] = np.int64(keys[code, 1] >> np.uint64(56))
        if lengths[code] == _LONG:
            which = np.int64(keys[code, 1] & np.uint64(0xFFFFFFFF))
            lengths[code] = ends[which] - ends[which - 1]
    return lengths


@njit(nogil=True, cache=True)
def write_texts(keys: Ints, ends: Ints, long_data: Ints, offsets: Ints, data: Ints) -> None:
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
