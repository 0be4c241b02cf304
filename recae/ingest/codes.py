"""Text columns as integer codes, batch by batch, without a Python object for any row or value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.errors import ColumnError, SourceError
from recae.ingest.dictionary import Dictionary, buffers
from recae.sources.fields import Fields

_SPACE: Final = 0x20
_DELETE: Final = 0x7F
_WHOLE: Final = r"^-?\d+\.0$"  # how whole numbers look after a trip through a float column


class Codes:
    """A growing column of text: an int32 code for each row and each distinct text once."""

    def __init__(self) -> None:
        self._texts = Dictionary()
        self._codes: list[NDArray[np.int32]] = []

    def add(self, texts: pa.LargeStringArray) -> None:
        """Append the rows of a batch; null stands for no text."""
        self._codes.append(self._texts.encode(texts))

    def finish(self) -> tuple[NDArray[np.int32], pa.LargeStringArray]:
        """Return the code of every row (−1 for null) and the distinct texts in order of first appearance."""
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, np.int32)
        self._codes = []
        return codes, self._texts.texts()


def as_text(column: pa.Array, name: str) -> pa.LargeStringArray:
    """Return a column of ids or names as exact text.

    Text stays as it is; integers become decimal digits; floats and decimals without a fraction become whole
    numbers and NaN becomes null; dates and times become ISO text.

    Args:
        column: one batch of the column, of any Arrow type.
        name: the column's name, for messages.

    Raises:
        ColumnError: the type has no text, such as a list.
        SourceError: bytes that are not UTF-8.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary_decode(), name)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        encoded = column.dictionary_encode()
        texts = [_number_text(value) for value in encoded.dictionary.to_pylist()]
        return pa.array(texts, type=pa.large_string()).take(encoded.indices)
    try:
        return column.cast(pa.large_string())
    except pa.ArrowNotImplementedError as error:
        raise ColumnError(
            f"column {name!r} is of type {kind}, but ids must be text or numbers; choose another column"
        ) from error
    except pa.ArrowInvalid as error:
        raise SourceError(f"column {name!r} holds bytes that are not UTF-8; write it as text") from error


def field_texts(fields: Fields, name: str) -> pa.LargeStringArray:
    """Return a column of fields as an Arrow array, null where a field is empty."""
    data, begins, ends = fields.column(name)
    offsets = np.zeros(begins.size + 1, dtype=np.int64)
    np.cumsum(ends - begins, out=offsets[1:])
    texts = np.empty(int(offsets[-1]), dtype=np.uint8)
    _copy(data, begins, offsets, texts)
    filled = ends > begins
    valid = None if filled.all() else pa.py_buffer(np.packbits(filled, bitorder="little"))
    return pa.LargeStringArray.from_buffers(begins.size, pa.py_buffer(offsets), pa.py_buffer(texts), valid)


def without_point_zero(values: pa.LargeStringArray) -> pa.LargeStringArray | None:
    """Return ids without their ".0" when every one looks like 17850.0, else None."""
    if not len(values) or not pc.all(pc.match_substring_regex(values, _WHOLE)).as_py():
        return None
    return pc.utf8_slice_codeunits(values, 0, -2)


def not_blank(texts: pa.LargeStringArray) -> NDArray[np.bool_]:
    """Return which rows hold something other than null and blanks, shape (rows,)."""
    data, offsets, valid = buffers(texts)
    firsts = data[np.minimum(offsets[:-1], data.size - 1)]
    filled = (firsts > _SPACE) & (firsts < _DELETE) & (offsets[1:] > offsets[:-1])
    if valid.size:
        filled &= valid
    unsure = np.flatnonzero(~filled)  # what begins with a letter beyond ASCII is among them
    if unsure.size:
        trimmed = pc.utf8_trim_whitespace(texts.take(pa.array(unsure)))
        filled[unsure] = pc.fill_null(pc.not_equal(trimmed, ""), False).to_numpy(zero_copy_only=False)
    return filled


def without_blanks(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return texts without the blanks around them, and null in place of the empty ones."""
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts)


def _number_text(value: Any) -> str | None:
    """Return a float or Decimal as text, whole numbers without a fraction; None for NaN."""
    if value is None or value != value:  # NaN alone differs from itself
        return None
    try:
        return str(int(value)) if value == int(value) else str(value)
    except OverflowError:  # infinity
        return str(value)


@njit(nogil=True, cache=True)
def _copy(data: Ints, begins: Ints, offsets: Ints, texts: Ints) -> None:
    """Write the texts one after the other."""
    for row in range(begins.size):
        begin = begins[row] - offsets[row]
        for k in range(offsets[row], offsets[row + 1]):
            texts[k] = data[begin + k]
