"""Numbers, times and the like as text: sources without a fixed type for a column give exact text instead."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recae.errors import ColumnError

_EXACT = float(2**53)  # from here on a float does not hold every whole number


def text_of(value: Any) -> str | None:
    """Return one value as text: digits of a whole number, ISO times in UTC, true and false; None for none and NaN.

    Raises:
        ColumnError: a list or an object, which has no such text, or text that UTF-8 cannot hold.
    """
    if value is None or value != value:  # NaN alone differs from itself
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal):
        whole = math.isfinite(value) and value == int(value)
        return str(int(value)) if whole else str(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, dict | list | tuple | set):
        raise ColumnError(f"holds {'an object' if isinstance(value, dict) else 'a list'}")
    try:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).decode()
        text = str(value)
        text if text.isascii() else text.encode()
    except UnicodeError as error:
        raise ColumnError("holds what is not UTF-8") from error
    return text


def column_of(values: Sequence[Any]) -> pa.Array:
    """Return Python values as an array of text, `text_of` each, by Arrow where it has the type.

    Raises:
        ColumnError: as `text_of`.
    """
    try:
        column = pa.array(values)
    except (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError):  # values of several types
        column = None
    found = None if column is None else text_column(column)
    return pa.array([text_of(value) for value in values], type=pa.string()) if found is None else found


def text_column(column: pa.Array) -> pa.Array | None:
    """Return an array as text, each value as by `text_of`, or None where its values are to be taken one by one."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_integer(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        encoded = column.dictionary_encode()
        texts = pa.array([text_of(value) for value in encoded.dictionary.to_pylist()], type=pa.string())
        return texts.take(encoded.indices)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit)).cast(pa.string())
    if pa.types.is_date(kind):
        return column.cast(pa.string())
    return None


def is_exact(column: pa.Array) -> bool:
    """Tell whether no value of a float column is so large that it may have stood for another whole number."""
    largest = pc.max(pc.abs(column)).as_py()
    return largest is None or largest < _EXACT
