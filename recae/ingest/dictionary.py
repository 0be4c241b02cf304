"""`Dictionary`: each distinct text once, numbered as it first appears, without a Python object for any row or text."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.ingest.hashing import encode_rows, rehash, text_lengths, write_texts

_SLOTS: Final = 1 << 10  # to begin with; a power of two, always at least twice the texts
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
            row = encode_rows(
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
        np.cumsum(text_lengths(self._keys[:count], self._ends), out=offsets[1:])
        data = np.empty(int(offsets[-1]), dtype=np.uint8)
        write_texts(self._keys[:count], self._ends, self._data, offsets, data)
        return pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))

    def _grow(self, needed: int) -> None:
        """Make room for one more text of that many bytes, and for as many again as there are."""
        count, n_long = self._used.tolist()
        if count == self._keys.shape[0]:
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
            self._slots = np.zeros((2 * self._slots.shape[0], 2), dtype=np.uint64)
            rehash(self._slots, self._keys)
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
