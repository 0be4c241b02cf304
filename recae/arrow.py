"""Arrow arrays from NumPy's and back, without pandas.

`pyarrow.array` and `Array.to_numpy` first ask whether they were given something of pandas, which imports it: half a
second of a process that answers once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def arrow_numbers(values: NDArray[Any]) -> pa.Array:
    """Return whole or floating-point numbers (n,) as an Arrow array of the same type, over the same memory."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])


def numpy_numbers(array: pa.Array) -> NDArray[Any]:
    """Return an Arrow array of numbers without nulls as a NumPy array (n,), read-only, over the same memory."""
    values = np.frombuffer(array.buffers()[1], dtype=array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)]
