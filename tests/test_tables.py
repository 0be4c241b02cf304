"""Tests of tables: what is in the files, how much is gathered, and that quoting changes no text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recae import tables
from recae.errors import OutputError
from recae.tables import check_output, write_table

SCHEMA = pa.schema([("id", pa.string()), ("note", pa.string()), ("x", pa.float32())])
ROWS = [("7", None, 0.1), ("a,b", "plain", 1e-7), ('say "x"', "", None), ("two\r\nlines", " é ", 3.0)]


def batches(*, at_once: int = 1) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(ROWS), at_once):
        columns = zip(*ROWS[start : start + at_once], strict=True)
        arrays = [pa.array(c, field.type) for c, field in zip(columns, SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
        yield pa.RecordBatch.from_pylist([], schema=SCHEMA)


@pytest.mark.parametrize(("group_rows", "groups"), [(0, 4), (1, 4), (3, 2), (100, 1)])
def test_parquet(group_rows: int, groups: int, tmp_path: Path) -> None:
    path = tmp_path / "t.PQ"
    assert write_table(path, SCHEMA, batches(), group_rows) == len(ROWS)
    file = pq.ParquetFile(path)
    assert file.num_row_groups == groups
    assert file.read().equals(pa.Table.from_batches(batches(), SCHEMA))
    columns = file.metadata.row_group(0)
    assert [columns.column(j).has_dictionary_page for j in range(3)] == [True, True, False]


@pytest.mark.parametrize("group_rows", [1, 3, 100])
def test_csv(group_rows: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert write_table(path, SCHEMA, batches(at_once=2), group_rows) == len(ROWS)
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == SCHEMA.names
    assert [row[:2] for row in rows] == [[name, note or ""] for name, note, _ in ROWS]
    assert [row[2] for row in rows] == ["0.1", "1e-7", "", "3"]


def test_csv_quotes_where_it_must(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", SCHEMA, batches())
    assert (tmp_path / "t.csv").read_bytes() == (
        'id,note,x\n7,,0.1\n"a,b","plain",1e-7\n"say ""x""","",\n"two\r\nlines"," é ",3\n'.encode()
    )


@pytest.mark.parametrize("group_rows", [1, 3, 100])
@pytest.mark.parametrize("name", ["t.jsonl", "t.NDJSON"])
def test_json_lines(name: str, group_rows: int, tmp_path: Path) -> None:
    path = tmp_path / name
    assert write_table(path, SCHEMA, batches(at_once=2), group_rows) == len(ROWS)
    lines = path.read_bytes().decode("ascii").splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == [
        (name, note, x) for name, note, x in ROWS
    ]  # the digits of 0.1 as float32, not of the double that it becomes
    assert all(list(json.loads(line)) == SCHEMA.names for line in lines)
    assert lines[0] == '{"id": "7", "note": null, "x": 0.1}'


def test_json_knows_no_infinity(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.float32()), ("n", pa.int64()), ("m", pa.int32())])
    values = [
        pa.array([float("nan"), float("inf"), 2.5], pa.float32()),
        pa.array([1, None, 2**62]),
        [7, 8, 9],
    ]
    batch = pa.RecordBatch.from_arrays([values[0], values[1], pa.array(values[2], pa.int32())], schema=schema)
    write_table(tmp_path / "t.jsonl", schema, iter([batch.slice(0, 1), batch.slice(1)]))
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"x": None, "n": 1, "m": 7},
        {"x": None, "n": None, "m": 8},
        {"x": 2.5, "n": 2**62, "m": 9},
    ]


@given(
    st.lists(st.tuples(st.text(), st.floats(width=32, allow_nan=False, allow_infinity=False)), max_size=20)
)
def test_any_text_and_number_comes_back_from_json(rows: list[tuple[str, float]]) -> None:
    schema = pa.schema([("id", pa.string()), ("x", pa.float32())])
    try:
        columns = [
            pa.array([text for text, _ in rows], pa.string()),
            pa.array([x for _, x in rows], pa.float32()),
        ]
    except UnicodeEncodeError:  # half of a pair of surrogates, which is no text for Arrow
        return
    file = io.BytesIO()
    tables._write_json(file, schema, [pa.Table.from_arrays(columns, schema=schema)])
    found = [json.loads(line) for line in file.getvalue().decode("ascii").split("\n")[:-1]]
    assert [row["id"] for row in found] == [text for text, _ in rows]
    np.testing.assert_array_equal(np.array([row["x"] for row in found], np.float32), columns[1].to_numpy())


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_no_rows(name: str, tmp_path: Path) -> None:
    assert write_table(tmp_path / name, SCHEMA, iter(())) == 0
    if name == "t.csv":
        assert (tmp_path / name).read_text() == "id,note,x\n"
    elif name == "t.jsonl":
        assert (tmp_path / name).read_bytes() == b""
    else:
        assert pq.read_table(tmp_path / name).schema.equals(SCHEMA)


def test_what_the_stream_raises_is_passed_on(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches()
        raise MemoryError

    for name in ("t.csv", "t.parquet"):
        (tmp_path / name).write_text("older")
        with pytest.raises(MemoryError):
            write_table(tmp_path / name, SCHEMA, broken())
        assert (tmp_path / name).read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 2


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "read.csv").write_text("x")
    for name, message in (
        ("t.json", r"\.parquet, \.pq, \.csv, \.jsonl, \.ndjson, but is '\.json'"),
        ("t", "but is none"),
        ("none/t.csv", "does not exist"),
        ("folder.csv", "is a folder"),
    ):
        with pytest.raises(OutputError, match=message):
            check_output(tmp_path / name)
        with pytest.raises(OutputError, match=message):
            write_table(tmp_path / name, SCHEMA, batches())
    with pytest.raises(OutputError, match="it is also the input"):
        check_output(tmp_path / "read.csv", tmp_path / "read.csv")
    check_output(str(tmp_path / "new.csv"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "read.csv"]
