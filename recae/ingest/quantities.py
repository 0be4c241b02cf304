"""How many were bought: numbers as people write them, of which the sign decides."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError
from recae.ingest.digits import EXACT, NONE, whole_numbers

_NUMBER: Final = re.compile(r"[+\-−]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_THOUSANDS: Final = re.compile(r"[+\-−]?\d{1,3}(,\d{3})+")


def read_quantities(column: pa.Array, name: str) -> NDArray[np.float64]:
    """Return the quantities of a batch: 1 where missing, NaN where they are not a number; shape (rows,).

    Text may be written as 2, 2.0, 1,5 (a decimal comma), 1,200 or 1.200,50 (thousands), blanks around it.

    Args:
        column: one batch of the column: numbers or text.
        name: the column's name, for messages.

    Raises:
        ColumnError: the type is no quantity, such as a date.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return read_quantities(column.dictionary_decode(), name)
    if pa.types.is_null(kind):
        return np.ones(len(column))
    if pa.types.is_floating(kind):
        # NaN is how a float column says that a value is missing.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.fill_null(column.cast(pa.float64(), safe=False), 1.0).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(numbers), numbers, np.nan)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise ColumnError(
            f"column {name!r} is of type {kind}, but a quantity must be a number; "
            "name another column with --quantity-column"
        )
    texts = column.cast(pa.large_string())
    whole = whole_numbers(texts)
    if whole is not None:
        return np.where(whole == NONE, 1.0, whole)
    # Few texts are distinct, so reading each of them once in Python is cheap.
    encoded = texts.dictionary_encode()
    distinct = np.array([_number(text) for text in encoded.dictionary.to_pylist()] + [1.0])
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(distinct[codes])  # the last one stands for null


def quantity_tokens(quantities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a whole number for each quantity above zero, small for small whole ones, equal for equal ones only."""
    whole = quantities == np.floor(quantities)
    if whole.all() and quantities.max(initial=0) <= EXACT:
        return quantities.astype(np.int64)
    whole &= quantities <= EXACT
    tokens = -quantities.view(np.int64)  # no sign bit, so that these are negative
    tokens[whole] = quantities[whole].astype(np.int64)
    return tokens


def from_tokens(tokens: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the quantities that `quantity_tokens` made these of."""
    tokens = np.ascontiguousarray(tokens, dtype=np.int64)
    found = tokens.astype(np.float64)
    others = tokens < 0
    found[others] = (-tokens[others]).view(np.float64)
    return found


def _number(text: str) -> float:
    """Return the number that a text means, 1 for blanks, NaN for anything else."""
    text = "".join(text.split()).replace("−", "-")
    if not text:
        return 1.0
    if text.rfind(",") > text.rfind(".") and not _THOUSANDS.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")  # 1.200,50
    else:
        text = text.replace(",", "")  # 1,200.50
    if not _NUMBER.fullmatch(text):
        return np.nan
    number = float(text)
    return number if np.isfinite(number) else np.nan
