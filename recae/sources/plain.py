"""Plain delimited text, scanned in one compiled pass that copies no field and decodes none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numba import njit

from recae.compiled import Ints, lowest_bit, word_at
from recae.sources.fields import HELD, Fields

_LF: Final = 10
_CR: Final = 13
_SPACE: Final = 32
_QUOTE: Final = 34
_DELETE: Final = 127
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_PADDING: Final = 16  # bytes after the last row: a line end, and what may be read together with it


class Readable(Protocol):
    """What bytes are read from."""

    def readinto(self, b: Any, /) -> int:
        """Fill a buffer with the next bytes as far as there are; returns how many they are, 0 at the end."""
        ...


def plain_blocks(
    stream: Readable, size: int, delimiter: str, names: Sequence[str | None]
) -> Iterator[Fields | bytes | int]:
    """Yield the rows of a text block by block.

    Quotes and line ends count as for Arrow's reader: a quote opens a quoted field only at the beginning of a field,
    lines end with LF, CR LF or CR, blank ones are no rows.

    Args:
        stream: stands at the beginning of a row.
        size: bytes of a block; the longest row must fit.
        delimiter: one ASCII character.
        names: of each column of the text, None for one that is not asked for.

    Yields:
        the fields of a block, good until `HELD` + 2 more are begun; or its bytes, where a field asked for is not
        plain. Where a row has another number of fields than there are names, is too long, or is quoted in another
        way: how many bytes there are before it, and no more.
    """
    wanted = [name for name in names if name is not None]
    slots = np.array([-1 if name is None else wanted.index(name) for name in names])
    # Sets of buffers in turn: those whose fields are in use, the one that waits, and the one that is filled meanwhile.
    sets = HELD + 2
    datas = [np.zeros(size + 1 + _PADDING, dtype=np.uint8) for _ in range(sets)]
    places = [np.empty((2, len(wanted), size // (2 * slots.size) + 1), dtype=np.int32) for _ in range(sets)]
    rest, done, ended, turn = datas[0][:0], 0, False, 0
    while not ended or rest.size:
        data, (begins, ends) = datas[turn], places[turn]
        stop = rest.size
        data[:stop] = rest
        if not ended:
            read = stream.readinto(data[stop:size].data) if stop < size else 0
            stop += read
            ended = not read and stop < size
        if ended:
            data[stop] = _LF  # which the last line may lack
            stop += 1
        data[stop] = _LF
        shown = data.view()
        shown.flags.writeable = False
        rows, used, odd, broken = _scan(shown, stop, ord(delimiter), slots, begins, ends)
        if rows and odd:
            yield data[:used].tobytes()
        elif rows:
            yield Fields(wanted, shown, begins[:, :rows], ends[:, :rows])
            turn = (turn + 1) % sets
        rest, done = data[used:stop], done + used
        if broken or (not rows and (rest.size >= size or (ended and rest.size))):
            yield done
            return


@njit(nogil=True, cache=True)
def _scan(
    data: Ints, stop: int, delimiter: int, slots: Ints, begins: Ints, ends: Ints
) -> tuple[int, int, bool, bool]:
    """Find the fields of whole rows in data[:stop], as many as there is room for; data[stop] must be LF.

    Args:
        slots: of each column, its row in begins and ends; −1 where it is not asked for.

    Returns:
        how many rows there are; where the first one begins that is not among them; whether a field of them that is
        asked for is not plain; whether that next row cannot be read at all.
    """
    least = np.uint64(max(delimiter, _CR) + 1) * _ONES
    last = slots.size - 1
    p = 0
    odd = False
    for row in range(begins.shape[1]):
        while p < stop and (data[p] == _LF or data[p] == _CR):
            p += 1
        start = p
        for column in range(slots.size):
            high, doubled = np.uint64(0), False  # bits of bytes beyond ASCII
            byte = data[
                np.uint64(p)
            ]  # a place without a sign need not be looked at for being one from the end
            if byte == _QUOTE:
                p += 1
                begin = p
                while True:
                    while p < stop and data[p] != _QUOTE:
                        high |= np.uint64(data[p] & 128)
                        p += 1
                    if p >= stop or data[p + 1] != _QUOTE:
                        break
                    doubled = True
                    p += 2
                end = p
                p += 1
                byte = data[np.uint64(p)]
            else:
                begin = p
                while True:
                    # Eight bytes at a time; the lowest bit tells the first that is no greater than these three.
                    word = word_at(data, p)
                    small = (word - least) & ~word & _HIGHS
                    high |= word & _HIGHS & (small - np.uint64(1)) & ~small
                    p += lowest_bit(small) >> 3
                    if small:
                        byte = data[np.uint64(p)]
                        if byte in (delimiter, _LF, _CR):
                            break
                        p += 1
                end = p
            if p >= stop:
                return row, start, odd, False
            ends_row = byte in (_LF, _CR)
            if ends_row != (column == last) or (not ends_row and byte != delimiter):
                return row, start, odd, True
            slot = slots[column]
            if slot >= 0:
                begins[slot, row], ends[slot, row] = begin, end
                opening = data[np.uint64(begin)]
                if high or doubled or (end > begin and (opening <= _SPACE or opening == _DELETE)):
                    odd = True
            p += 1
    return begins.shape[1], p, odd, False
