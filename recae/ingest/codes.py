"""Text columns as integer codes, batch by batch, without a Python object for any row or value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError, SourceError

_MERGE_AT: Final = 1 << 20  # values of pending batches that are worth a merge
_WHOLE: Final = r"^-?\d+\.0$"  # how whole numbers look after a trip through a float column


class Codes:
    """A growing column of text: an int32 code for each row and each distinct text once.

    Arrow encodes each batch by its own dictionary; the dictionaries are merged whenever the pending ones are
    as large as the merged one, so that the cost stays proportional to the rows.
    """

    def __init__(self) -> None:
        self._values = pa.array([], type=pa.large_string())
        self._pending: list[pa.DictionaryArray] = []
        self._pending_values = 0
        self._codes: list[NDArray[np.int32]] = []

    def add(self, texts: pa.LargeStringArray) -> None:
        """Append the rows of a batch; null stands for no text."""
        encoded = texts.dictionary_encode()
        self._pending.append(encoded)
        self._pending_values += len(encoded.dictionary)
        if self._pending_values >= max(_MERGE_AT, len(self._values)):
            self._merge()

    def finish(self) -> tuple[NDArray[np.int32], pa.LargeStringArray]:
        """Return the code of every row (−1 for null) and the distinct texts in order of first appearance."""
        self._merge()
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, np.int32)
        self._codes = []
        return codes, self._values

    def _merge(self) -> None:
        if not self._pending:
            return
        # An empty chunk in front carries the texts known so far, so their codes stay as they are.
        known = pa.DictionaryArray.from_arrays(pa.array([], type=pa.int32()), self._values)
        chunks = pa.chunked_array([known, *self._pending]).unify_dictionaries().chunks
        self._values = chunks[-1].dictionary
        for chunk in chunks[1:]:
            codes = pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False)
            self._codes.append(codes.astype(np.int32, copy=False))
        self._pending, self._pending_values = [], 0


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


def without_point_zero(values: pa.LargeStringArray) -> pa.LargeStringArray | None:
    """Return ids without their ".0" when every one looks like 17850.0, else None."""
    if not len(values) or not pc.all(pc.match_substring_regex(values, _WHOLE)).as_py():
        return None
    return pc.utf8_slice_codeunits(values, 0, -2)


def not_blank(texts: pa.LargeStringArray) -> NDArray[np.bool_]:
    """Return which rows hold something other than null and blanks, shape (rows,)."""
    filled = pc.not_equal(pc.utf8_trim_whitespace(texts), "")
    return np.asarray(pc.fill_null(filled, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _number_text(value: Any) -> str | None:
    """Return a float or Decimal as text, whole numbers without a fraction; None for NaN."""
    if value is None or value != value:  # NaN alone differs from itself
        return None
    try:
        return str(int(value)) if value == int(value) else str(value)
    except OverflowError:  # infinity
        return str(value)
