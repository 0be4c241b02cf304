"""Text that is not UTF-8, and what else Arrow's types promise and do not hold: refused where it comes in, by place."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recae
from recae.errors import DataError, RecaeError
from recae.ids import IdMap

ROWS = 300
USERS = [f"u{n % 30}" for n in range(ROWS)]
ITEMS = [f"i{n * 7 % 40}" for n in range(ROWS)]


def raw(values: list[str], at: int | None, large: bool = False) -> pa.Array:
    """An array of text whose entry `at` is two bytes that are no text."""
    encoded = [value.encode() for value in values]
    if at is not None:
        encoded[at] = b"\xff\xfe"
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64 if large else np.int32)
    kind = pa.LargeStringArray if large else pa.StringArray
    return kind.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def dictionary(indices: list[int], values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), values, safe=False)


def written(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    return path


NOT_TEXT = "holds what is not UTF-8"
OUTSIDE = "holds an index outside its dictionary"
THREES = [n % 3 for n in range(ROWS)]
BAD: dict[str, tuple[pa.Array, int, str]] = {
    "first": (raw(ITEMS, 0), 1, NOT_TEXT),
    "one": (raw(ITEMS, 237), 238, NOT_TEXT),
    "last": (raw(ITEMS, ROWS - 1, large=True), ROWS, NOT_TEXT),
    "in a dictionary": (dictionary(THREES, raw(["a", "b", "c"], 1)), 2, NOT_TEXT),
    "beyond": (dictionary([*THREES[:-5], 3, 0, 0, 0, 0], raw(["a", "b", "c"], None)), ROWS - 4, OUTSIDE),
    "below": (dictionary([*THREES[:-5], -1, 0, 0, 0, 0], raw(["a", "b", "c"], None)), ROWS - 4, OUTSIDE),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("column", ["item_id", "name"])
@pytest.mark.parametrize("way", ["x.arrow", "x.arrows", "x.parquet", "table", "reader"])
@pytest.mark.some(20)
def test_the_row_and_column_are_named(case: str, column: str, way: str, tmp_path: Path) -> None:
    values, row, what = BAD[case]
    good = {"user_id": pa.array(USERS), "item_id": pa.array(ITEMS), "name": pa.array(ITEMS)}
    table = pa.table(good | {column: values})
    source: Any = table if way == "table" else table.to_reader(100)
    if way.startswith("x"):
        if way == "x.parquet" and pa.types.is_dictionary(values.type):
            return  # its writer looks
        source = written(table, tmp_path / way)
    with pytest.raises(RecaeError) as caught:
        recae.read(source)
    assert f"row {row} of '" in str(caught.value)
    assert f"{what} in column '{column}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".arrow", ".arrows", ".parquet"])
def test_names_of_columns(suffix: str, tmp_path: Path) -> None:
    table = pa.table({"user_id": USERS, "item_id": ITEMS, "colXX": ITEMS})
    path = written(table, tmp_path / f"x{suffix}")
    path.write_bytes(path.read_bytes().replace(b"colXX", b"col\xff\xfe"))
    with pytest.raises(RecaeError, match=r"(not UTF-8; rename|not a valid) "):
        recae.read(path)


def test_rows_of_databases_and_of_python(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("create table p (user_id text, item_id text)")
        shop.executemany("insert into p values (?, ?)", zip(USERS, ITEMS, strict=True))
        shop.execute("update p set item_id = cast(x'fffe' as text) where rowid = 238")
    with pytest.raises(RecaeError, match=r"column 'item_id' .* holds what is not UTF-8 in row 238,"):
        recae.read(tmp_path / "shop.db")
    rows = list(zip(USERS, ITEMS, strict=True))
    rows[237] = ("u1", "\ud800")
    with pytest.raises(RecaeError, match=r"column 'item' .* holds what is not UTF-8 in row 238,"):
        recae.read(rows)
    with pytest.raises(RecaeError, match="column 'item' holds what is not UTF-8"):
        recae.read({"user": ["1"], "item": ["\udcff"]})


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"user_id": USERS, "item_id": ["\ud800", *ITEMS[1:]]}),
        json.dumps([{"user_id": "1", "item_id": "\ud800"}] * 3),
        json.dumps([{"user_id": "1", "item_id": "2", "k\udfff": 1}] * 3),
        json.dumps({"rows": [{"user_id": "1", "item_id": "2", "k\ud800": 1}] * 3}),
        "\n".join([json.dumps({"user_id": "1", "item_id": "2", "k\ud800": 1})] * 3),
        "\n".join([json.dumps({"user_id": "1", "items": [{"id": "2", "k\ud800": 1}]})] * 3),
        "\n".join([json.dumps(["1", "\ud800"])] * 3),
    ],
    ids=lambda content: content[:40],
)
def test_halves_of_surrogate_pairs_in_json(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(RecaeError) as caught:
        recae.read(path)
    assert "x.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_ids_are_checked_too(case: str) -> None:
    with pytest.raises(DataError, match="ids must be"):
        IdMap(BAD[case][0])
