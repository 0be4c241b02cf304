"""Arrays and one JSON text in a safetensors container, written as a stream."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recae.errors import ConfigError

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16",
    "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64",
}  # fmt: skip
"""The container's names of number types, and numpy's."""

_CODES = {name: code for code, name in DTYPES.items()}


def write_tensors(file: BinaryIO, tensors: Mapping[str, NDArray[Any]], key: str, text: str) -> None:
    """Write arrays by name and ``text`` as the metadata's only entry ``key``; the same input gives the same bytes.

    The tensors lie by falling size of their elements and then by name, from a multiple of 8 bytes on.
    """
    # Not by safetensors' save_file, which makes a temporary file of its own, whose mode and removal are out
    # of our hands, nor by its save(), which holds every weight in memory a second and a third time.
    header: dict[str, Any] = {"__metadata__": {key: text}}
    ordered = sorted(tensors.items(), key=lambda entry: (-entry[1].dtype.itemsize, entry[0]))
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(len(raw).to_bytes(8, "little"))
    file.write(raw)
    for _, array in ordered:
        file.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)


def json_text(value: Any, what: str) -> str:
    """Return JSON in ASCII, keys sorted, no spaces; numpy scalars become numbers, NaN and infinities null.

    Raises:
        ConfigError: a part of ``value``, which is called ``what``, is not a JSON value.
    """
    return json.dumps(_plain(value, what), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where} must have text as keys, but has {key!r}; convert it to text")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise ConfigError(f"{where} must be a JSON value, but is a {type(value).__name__}; convert it first")
