"""Tables as answers: rows, columns, data frames, texts."""

from __future__ import annotations

import csv
from collections.abc import Generator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recae.errors import ConfigError, OutputError
from recae.recommender import Recommendation
from recae.results import Stream, Table, row_type

COLUMNS: dict[str, Any] = {
    "item_id": ["P1", "P2", "P3"],
    "name": ["Tea", None, "<b>Mug</b>\n"],
    "recall@20": np.array([0.25, 12.5, 3.125], dtype=np.float32),
    "users": [1, 20, 300],
}


def table() -> Table[Any]:
    return Table.of(COLUMNS, title="Three items")


def test_rows_are_named_tuples() -> None:
    rows = list(table())
    assert [row.item_id for row in rows] == ["P1", "P2", "P3"]
    assert rows[1].recall_20 == 12.5
    item, name, recall, users = rows[0]
    assert (item, name, recall, users) == ("P1", "Tea", 0.25, 1)
    assert len(table()) == 3
    assert table()
    assert not Table.of({"item_id": pa.array([], pa.string())})


def test_rows_by_number_slice_and_column() -> None:
    found = table()
    assert found[0] == found[-3] == ("P1", "Tea", 0.25, 1)
    assert isinstance(found[:2], Table)
    assert found[::-1]["item_id"].tolist() == ["P3", "P2", "P1"]
    np.testing.assert_array_equal(found["recall@20"], COLUMNS["recall@20"])
    for outside in (3, -4):
        with pytest.raises(IndexError, match="has 3"):
            found[outside]
    with pytest.raises(ConfigError, match="choose one of item_id, name, recall@20, users"):
        found["item"]


def test_equality_is_by_content() -> None:
    assert table() == table()
    assert table() != table()[:2]
    assert table() == list(table())
    assert table() != "P1"


def test_data_frames_of_all_kinds_hold_the_same() -> None:
    found = table()
    assert found.columns == list(COLUMNS)
    pd.testing.assert_frame_equal(found.to_pandas(), found.to_arrow().to_pandas())
    assert found.to_pandas()["users"].tolist() == [1, 20, 300]
    assert isinstance(found.to_polars(), pl.DataFrame)
    assert found.to_polars().rows() == [tuple(row) for row in found]
    assert found.to_dicts()[1] == {"item_id": "P2", "name": None, "recall@20": 12.5, "users": 20}
    assert pl.DataFrame(found).rows() == found.to_polars().rows()  # by Arrow's C interface
    assert duckdb.sql("select sum(users) from found").fetchall() == [(321,)]


def test_the_text_is_aligned_and_short() -> None:
    assert repr(table()).splitlines() == [
        "Three items",
        "item_id  name         recall@20  users",
        "P1       Tea               0.25      1",
        "P2                        12.50     20",
        "P3       <b>Mug</b>        3.12    300",
    ]
    many = Table.of({"x": list(range(1_000_000)), "y": ["a" * 100] * 1_000_000})
    lines = repr(many).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "… 999,990 more rows"
    assert max(map(len, lines)) < 50
    wide = repr(Table.of({f"code_{n}": [0.5] for n in range(300)}))
    assert wide.splitlines()[-1] == "… 288 more columns"
    assert repr(Table.of({"x": pa.array([], pa.string())})) == "x\nno rows"


def test_html_is_escaped() -> None:
    html = table()._repr_html_()
    assert "&lt;b&gt;Mug&lt;/b&gt;" in html
    assert "<b>" not in html
    assert html.count("<tr>") == 4
    assert "Three items" in html
    assert html.count('<td class="right">') == 6


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    table().save(path)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS)
    assert rows[1] == ["P1", "Tea", "0.25", "1"]
    with pytest.raises(OutputError, match=r"\.xlsx"):
        table().save(tmp_path / "items.xlsx")


def test_columns_of_several_types_become_text() -> None:
    found = Table.of({"value": [1, "auto", 2.5, None]})
    assert [row.value for row in found] == ["1", "auto", "2.5", None]


def test_every_name_becomes_an_attribute() -> None:
    names = row_type(["recall@20", "recall-20", "20", "class", "", "@"])._fields
    assert names == ("recall_20", "recall_20_", "column_20", "column_class", "column", "column_")


def test_recommendations_have_rows_of_their_own() -> None:
    columns = {"rank": [1], "item_id": ["P1"], "name": [None], "score": [0.5]}
    (row,) = Table.of(columns, Recommendation)
    assert row == Recommendation(1, "P1", None, 0.5)
    assert (row.item, row.source) == ("P1", "model")


def batches() -> Generator[pa.RecordBatch, None, None]:
    for start in (0, 3):
        yield pa.record_batch({"x": list(range(start, start + 3))})


def test_a_stream_is_read_once_or_gathered(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    assert [batch.num_rows for batch in Stream(schema, batches())] == [3, 3]
    whole = Stream(schema, batches())
    assert next(whole).num_rows == 3
    assert whole.to_pandas()["x"].tolist() == [3, 4, 5]
    assert Stream(schema, batches()).to_polars()["x"].to_list() == list(range(6))
    assert pa.table(Stream(schema, batches())).num_rows == 6
    assert Stream(schema, batches()).save(tmp_path / "x.parquet") == 6
    assert repr(Stream(schema, batches())) == "<stream of record batches: x>"
    assert len(Stream(schema, batches()).table()) == 6
