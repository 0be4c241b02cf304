"""Texts of plain digits as whole numbers, in one pass over their bytes."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.ingest.dictionary import buffers

EXACT: Final = 2**53
"""Up to here a float64 holds every whole number."""
NONE: Final = int(np.iinfo(np.int64).min)
"""What stands for a missing number."""


def whole_numbers(texts: pa.LargeStringArray) -> NDArray[np.int64] | None:
    """Return the numbers that texts of digits, with or without a sign before them, mean; shape (rows,).

    Null and empty texts come out as `NONE`. Returns None where any text is something else, exceeds `EXACT`, or has
    14 digits, which may be a date and a time.
    """
    numbers = np.empty(len(texts), dtype=np.int64)
    return numbers if _read(*buffers(texts), numbers) else None


@njit(nogil=True, cache=True)
def _read(data: Ints, offsets: Ints, valid: NDArray[np.bool_], numbers: Ints) -> bool:
    """Fill in the numbers; returns whether all could be read."""
    for row in range(numbers.size):
        begin, end = offsets[row], offsets[row + 1]
        if begin == end or (valid.size and not valid[row]):
            numbers[row] = NONE
            continue
        negative = data[begin] == 45  # -
        if negative or data[begin] == 43:  # +
            begin += 1
        if begin == end or end - begin > 16 or end - begin == 14:
            return False
        number = np.int64(0)
        for k in range(begin, end):
            digit = np.int64(data[k]) - 48
            if digit < 0 or digit > 9:
                return False
            number = number * 10 + digit
        if number > EXACT:
            return False
        numbers[row] = -number if negative else number
    return True
