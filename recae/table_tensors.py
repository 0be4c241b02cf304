"""Lists of text, and a table of items, as tensors of a file, validated when they are read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import DataError, ModelFileError
from recae.ids import IdMap
from recae.item_table import MEANINGS, MOST_COLUMNS, TEXT, ItemTable

IDS: Final = "table.ids"
"""The ids of the items of a table."""

COLUMNS: Final = "table.columns"
"""The names of its columns, in their order."""

Take = Callable[[str], NDArray[Any]]
"""What reads a tensor by its name."""

_CODES: Final = {pa.float64(): "F64", pa.bool_(): "U8", TEXT: "U8"}


def damaged(what: str) -> ModelFileError:
    """Return the error of a file whose parts do not fit each other."""
    return ModelFileError(f"{what}; the file is damaged, restore it from a copy or train the model again")


def text_tensors(name: str, texts: pa.LargeStringArray) -> dict[str, NDArray[Any]]:
    """Return a list of text, null where there is none, as three tensors: ``data``, ``offsets`` and ``valid``."""
    filled = pc.fill_null(texts.cast(TEXT), "")
    lengths = pc.binary_length(filled).to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    data = np.zeros(0, np.uint8)
    if offsets[-1]:
        first = int(np.frombuffer(filled.buffers()[1], np.int64)[filled.offset])
        data = np.frombuffer(filled.buffers()[2], np.uint8)[first : first + int(offsets[-1])]
    return {f"{name}.data": data, f"{name}.offsets": offsets, f"{name}.valid": _flags(texts)}


def read_texts(take: Take, name: str, n: int, what: str) -> pa.LargeStringArray:
    """Return a list of text that `text_tensors` made.

    Args:
        take: reads a tensor, one of one axis.
        name: of the tensors.
        n: how many there should be.
        what: it is, for an error: "item names".

    Raises:
        ModelFileError: the tensors do not describe a list of that many texts.
    """
    data, offsets = take(f"{name}.data"), take(f"{name}.offsets")
    check_offsets(f"{name}.offsets", offsets, n, data.size)
    bits = np.packbits(_valid(take, name, n), bitorder="little")
    texts = pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(data), pa.py_buffer(bits))
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise damaged(f"its {what} are not valid UTF-8 ({_one_line(error)})") from error
    return texts


def check_offsets(name: str, offsets: NDArray[np.int64], n: int, end: int) -> None:
    """Raise ModelFileError where offsets do not rise from 0 to ``end`` in ``n`` steps."""
    # Compared, not subtracted: a difference of two hostile 64-bit numbers can wrap around to a positive one.
    if offsets.size != n + 1 or offsets[0] != 0 or offsets[-1] != end or (offsets[1:] < offsets[:-1]).any():
        raise damaged(f"'{name}' does not rise from 0 to {end:,} in {n:,} steps")


def table_tensors(table: ItemTable) -> dict[str, NDArray[Any]]:
    """Return the tensors of a table of items."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, ids in ((IDS, table.ids), (COLUMNS, IdMap(table.names))):
        tensors[f"{name}.data"], tensors[f"{name}.offsets"] = ids.to_arrays()
    for place, name in enumerate(table.names):
        column = table.column(name)
        if column.type == TEXT:
            tensors |= text_tensors(f"table.{place}", column)
            continue
        plain = pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy(zero_copy_only=False)
        dtype = np.float64 if column.type == pa.float64() else np.uint8
        tensors |= {f"table.{place}.data": plain.astype(dtype), f"table.{place}.valid": _flags(column)}
    return tensors


def table_names(names: Iterable[str]) -> dict[str, str]:
    """Return the types that tensors of columns have, by name; U8 or F64 of what holds text, flags or prices.

    The type of a column's data follows from the name of the column, which is checked when it is read.
    """
    found: dict[str, str] = {}
    for name in names:
        first, _, rest = name.partition(".")
        place, _, part = rest.partition(".")
        if first == "table" and place.isdecimal() and place == str(int(place)) and int(place) < MOST_COLUMNS:
            codes = {"data": "U8 or F64", "offsets": "I64", "valid": "U8"}
            found |= {name: codes[part]} if part in codes else {}
    return found


def read_table(take: Take, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> ItemTable:
    """Return the table of items that tensors hold; nothing of them is trusted.

    Args:
        take: reads a tensor, one of one axis.
        tensors: type and shape by name.

    Raises:
        ModelFileError: they are no table.
    """
    ids, names = _read_ids(take, IDS), _read_ids(take, COLUMNS)
    if len(names) > MOST_COLUMNS:
        raise damaged(f"its table of items has {len(names):,} columns, but {MOST_COLUMNS} at most")
    columns, wanted = {}, set()
    for place, name in enumerate(names):
        kind, tensor = MEANINGS.get(name, TEXT), f"table.{place}"
        parts = [f"{tensor}.data", f"{tensor}.valid", *([f"{tensor}.offsets"] if kind == TEXT else [])]
        wanted.update(parts)
        missing = sorted(set(parts).difference(tensors))
        if missing:
            raise damaged(f"tensor '{missing[0]}' is missing")
        code = tensors[f"{tensor}.data"][0]
        if code != _CODES[kind]:
            raise damaged(f"tensor '{tensor}.data' should be {_CODES[kind]}, but is {code}")
        columns[name] = (
            read_texts(take, tensor, len(ids), "texts of items")
            if kind == TEXT
            else _numbers(take, tensor, len(ids), kind)
        )
    extra = sorted(set(table_names(tensors)).difference(wanted))
    if extra:
        raise damaged(f"it holds '{extra[0]}', which no column of its table of items has")
    try:
        return ItemTable(ids, pa.table(columns))
    except DataError as error:
        raise damaged(f"its table of items cannot be used: {_one_line(error)}") from error


def table_summary(take: Take) -> dict[str, Any]:
    """Return how many items a table has, and column to how many items it is known of, without reading its texts.

    Raises:
        ModelFileError: the names of its columns cannot be read.
    """
    names = _read_ids(take, COLUMNS)
    if len(names) > MOST_COLUMNS:
        raise damaged(f"its table of items has {len(names):,} columns, but {MOST_COLUMNS} at most")
    known = {name: int((take(f"table.{place}.valid") == 1).sum()) for place, name in enumerate(names)}
    return {"items": max(take(f"{IDS}.offsets").size - 1, 0), "columns": known}


def _numbers(take: Take, name: str, n: int, kind: pa.DataType) -> pa.Array:
    data, valid = take(f"{name}.data"), _valid(take, name, n)
    if data.size != n or (kind == pa.bool_() and (data > 1).any()):
        what = "a 0 or 1" if kind == pa.bool_() else "a number"
        raise damaged(f"'{name}.data' does not hold {what} for each of {n:,} items")
    return pa.array(data.astype(np.bool_) if kind == pa.bool_() else data, kind, mask=valid == 0)


def _valid(take: Take, name: str, n: int) -> NDArray[np.uint8]:
    valid: NDArray[np.uint8] = take(f"{name}.valid")
    if valid.size != n or (valid > 1).any():
        raise damaged(f"'{name}.valid' does not hold a 0 or 1 for each of {n:,} items")
    return valid


def _read_ids(take: Take, name: str) -> IdMap:
    data, offsets = take(f"{name}.data"), take(f"{name}.offsets")
    check_offsets(f"{name}.offsets", offsets, max(offsets.size - 1, 0), data.size)
    try:
        return IdMap.from_arrays(data, offsets)
    except DataError as error:
        raise damaged(f"'{name}' cannot be used: {_one_line(error)}") from error


def _flags(values: pa.Array) -> NDArray[np.uint8]:
    flags: NDArray[np.uint8] = pc.is_valid(values).to_numpy(zero_copy_only=False).astype(np.uint8)
    return flags


def _one_line(value: object, at_most: int = 200) -> str:
    return " ".join(str(value).split())[:at_most]
