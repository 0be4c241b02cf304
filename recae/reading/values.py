"""`text_of`: a value of Python as exact text, for sources that have no fixed type for a column."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from recae.errors import ColumnError

if TYPE_CHECKING:
    import pyarrow as pa


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


def texts_of(values: Sequence[Any]) -> pa.Array:
    """Return values as an array of text, `text_of` each."""
    import pyarrow as pa

    if all(type(value) is str for value in values):
        try:
            return pa.array(values, pa.string())
        except UnicodeError as error:
            raise ColumnError("holds what is not UTF-8") from error
    return pa.array([text_of(value) for value in values], pa.string())
