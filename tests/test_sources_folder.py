"""Folders and patterns: many files are one table, nothing is passed over in silence, and a bad file is named."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import dataset, parquet

from recae.errors import ColumnError, SourceError
from recae.sources import local_files, open_source


def read(path: Path | str, columns: list[str] | None = None) -> dict[str, list[object]]:
    source = open_source(path)
    columns = source.column_names if columns is None else columns
    found: dict[str, list[object]] = {column: [] for column in columns}
    schemas = set()
    for batch in source.batches(columns):
        schemas.add(batch.schema)
        for column in columns:
            found[column] += batch.column(column).to_pylist()
    assert len(schemas) <= 1
    return found


def put(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        parquet.write_table(pa.table(content), path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path | str, *parts: object, columns: list[str] | None = None) -> None:
    with pytest.raises(SourceError) as caught:
        read(path, columns)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_files_of_several_formats_are_one_table(tmp_path: Path) -> None:
    put(tmp_path / "b.jsonl", '{"item": "y", "user": 2}\n')
    put(tmp_path / "a.csv", "user,item\n1,x\n")
    put(tmp_path / "deep" / "er" / "c.tsv.gz", gzip.compress(b"item\tuser\nz\t3\n", mtime=0))
    put(tmp_path / "d.parquet", {"user": ["4"], "item": pa.array(["w"]).dictionary_encode()})
    for name in (".hidden.csv", "_SUCCESS", "_metadata", ".part-0.csv.crc", "_temporary/0/x.csv"):
        put(tmp_path / name, b"?")
    expected = {"user": ["1", "2", "4", "3"], "item": ["x", "y", "w", "z"]}
    assert read(tmp_path) == read(f"{tmp_path}/") == expected
    assert read(tmp_path, ["item"]) == {"item": expected["item"]}
    assert [path.name for path in local_files(tmp_path)] == ["a.csv", "b.jsonl", "d.parquet", "c.tsv.gz"]
    with pytest.raises(ColumnError, match="'nothing'"):
        read(tmp_path, ["nothing"])


def test_partitions_are_those_of_arrow(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": ["1", "2", "3", "4"],
            "item": ["x", "y", "z", "w"],
            "country": ["N L", "a/b=c", None, "N L"],
            "year": ["2024", "2024", "2023", "2023"],
        }
    )
    # Arrow writes a missing value under the same name as Hive does
    partitioning = dataset.partitioning(
        pa.schema([("country", pa.string()), ("year", pa.string())]), flavor="hive"
    )
    dataset.write_dataset(table, tmp_path / "p", format="parquet", partitioning=partitioning)
    assert len(local_files(tmp_path / "p")) == 4
    found = read(tmp_path / "p", ["user", "item", "country", "year"])
    oracle = dataset.dataset(tmp_path / "p", partitioning=partitioning).to_table().select(table.column_names)
    rows = sorted(zip(*found.values(), strict=True), key=str)
    assert rows == sorted((tuple(row.values()) for row in oracle.to_pylist()), key=str)
    assert read(tmp_path / "p", ["year"])["year"].count("2023") == 2
    assert open_source(tmp_path / "p").column_names == ["user", "item", "country", "year"]


def test_partitions_of_text_files(tmp_path: Path) -> None:
    put(tmp_path / "date=2024-01-02" / "a.csv", "user,item\n1,x\n2,y\n")
    put(tmp_path / "date=2024-01-03" / "a.csv", "user,item,date\n3,z,today\n")
    # what a file itself says counts
    assert read(tmp_path) == {
        "user": ["1", "2", "3"],
        "item": ["x", "y", "z"],
        "date": ["2024-01-02", "2024-01-02", "today"],
    }
    # below a pattern, too, but not above it
    assert read(f"{tmp_path}/date=2024-01-0[2-9]/*.csv")["date"][0] == "2024-01-02"
    assert read(f"{tmp_path}/date=2024-01-02/*.csv") == {"user": ["1", "2"], "item": ["x", "y"]}


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "2024-02.csv", "user,item\n2,y\n")
    put(tmp_path / "2024-01.csv", "user,item\n1,x\n")
    put(tmp_path / "2023-01.csv", "other\n0\n")
    put(tmp_path / "2024-more" / "a.csv", "user,item\n3,z\n")
    put(tmp_path / "_2024-04.csv", "?")
    monkeypatch.chdir(tmp_path)
    assert read("2024-*")["user"] == ["1", "2", "3"]
    assert read("2024-0?.csv")["user"] == ["1", "2"]
    assert read("2024-*/**/*.csv")["user"] == ["3"]
    refused("2025-*.csv", "no file fits '2025-*.csv'")
    refused("_2024*", "no file fits")
    # a file of that very name is itself, not a pattern
    put(tmp_path / "2024-[01].csv", "user,item\n9,q\n")
    assert read("2024-[01].csv")["user"] == ["9"]
    assert local_files("2024-[01].csv") == [Path("2024-[01].csv")]
    assert local_files("2024-0?.csv") == [Path("2024-01.csv"), Path("2024-02.csv")]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("b.csv", b"", "is empty"),
        ("b.csv", b"user,item\n1,2,3\n", "line 2"),
        ("b.csv", b'user,item\n1,"2\n', "never closed"),
        ("b.csv.gz", gzip.compress(b"user,item\n" + b"1,2\n" * 999, mtime=0)[:-9], "truncated gzip"),
        ("b.jsonl", b'{"user": 1, "item": 2}\n{"user": 3', "line 2"),
        ("b.parquet", b"PAR1 and no more", "not a valid Parquet"),
        ("README.md", b"purchases of 2024", "does not tell what it holds"),
        ("b.csv", b"1,2\n3,4\n", "is in"),
    ],
)
def test_a_bad_file_among_good_ones_is_named(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    for good in "ac":
        put(tmp_path / f"{good}.csv", "user,item\n1,x\n")
    put(tmp_path / name, content)
    refused(tmp_path, tmp_path / name, part)
    refused(f"{tmp_path}/*", tmp_path / name, part)


def test_other_columns_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", "user,item\n1,x\n")
    put(tmp_path / "b.csv", "user,item\n1,x\n")
    put(tmp_path / "c.csv", "user,item,when\n1,x,2024-01-01\n")
    refused(tmp_path, "column 'when' is in", "c.csv', but not in", "a.csv'")
    put(tmp_path / "c.csv", "user,product\n1,x\n")
    refused(tmp_path, "column 'item' is in", "a.csv', but not in", "c.csv' (and 1 more column differs)")
    put(tmp_path / "c.csv", "a,b\n1,x\n")
    refused(tmp_path, "(and 3 more columns differ)")
    (tmp_path / "c.csv").unlink()
    put(tmp_path / "year=2024" / "a.csv", "user,item\n1,x\n")
    refused(tmp_path, "column 'year' is in", "year=2024/a.csv', but not in", "a.csv'")


def test_widths_of_types_do_not_count(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 1, 1)
    put(
        tmp_path / "a.parquet",
        {
            "user": pa.array([1], pa.int8()),
            "item": pa.array(["x"]),
            "at": pa.array([moment], pa.timestamp("s")),
            "day": pa.array([moment.date()], pa.date32()),
            "q": pa.array([1.5], pa.float32()),
            "u": pa.array([1], pa.uint64()),
        },
    )
    put(
        tmp_path / "b.parquet",
        {
            "user": pa.array([2**40], pa.int64()),
            "item": pa.array(["y"], pa.large_string()),
            "at": pa.array([moment], pa.timestamp("ns")),
            "day": pa.array([moment], pa.date64()),
            "q": pa.array([2.5], pa.float64()),
            "u": pa.array([2], pa.int64()),
        },
    )
    put(tmp_path / "c.parquet", {name: pa.nulls(1) for name in ("user", "item", "at", "day", "q", "u")})
    found = read(tmp_path, ["user", "item", "q", "u"])
    assert found == {
        "user": [1, 2**40, None],
        "item": ["x", "y", None],
        "q": [1.5, 2.5, None],
        "u": [1, 2, None],
    }
    assert [str(value)[:10] for value in read(tmp_path, ["at"])["at"]] == ["2024-01-01", "2024-01-01", "None"]
    assert [str(value)[:10] for value in read(tmp_path, ["day"])["day"]] == [
        "2024-01-01",
        "2024-01-01",
        "None",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["1"])),
        (pa.array([1]), pa.array([1.0])),
        (pa.array([0], pa.timestamp("ms")), pa.array([0], pa.timestamp("ms", "UTC"))),
        (pa.array([0], pa.timestamp("ms")), pa.array([0], pa.date32())),
        (pa.array([True]), pa.array(["true"])),
    ],
)
def test_other_types_are_refused_where_they_are_read(tmp_path: Path, one: pa.Array, other: pa.Array) -> None:
    put(tmp_path / "a.parquet", {"user": pa.nulls(1), "x": ["x"]})
    put(tmp_path / "b.parquet", {"user": one, "x": ["y"]})
    put(tmp_path / "c.parquet", {"user": other, "x": ["z"]})
    assert read(tmp_path, ["x"]) == {"x": ["x", "y", "z"]}
    refused(
        tmp_path,
        f"'user' is {one.type} in",
        "b.parquet",
        f"but {other.type} in",
        "c.parquet",
        columns=["user"],
    )


def test_a_value_beyond_the_common_type_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", {"user": pa.array([2**64 - 1], pa.uint64())})
    put(tmp_path / "b.parquet", {"user": pa.array([-1], pa.int64())})
    refused(tmp_path, tmp_path / "a.parquet", "a value that its column cannot hold in the other files")


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.mkdir()
    put(empty / "_SUCCESS", "")
    refused(empty, empty, "a folder without any file")
    put(tmp_path / "delta" / "a.parquet", {"user": [1]})
    (tmp_path / "delta" / "_delta_log").mkdir()
    refused(tmp_path / "delta", "a Delta Lake table")
    loop = tmp_path / "loop"
    put(loop / "a.csv", "user,item\n1,x\n")
    (loop / "inside").symlink_to(loop)
    refused(loop, "holds itself by a symbolic link")


def test_links_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.csv", "user,item\n1,x\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder" / "two.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
    assert read(tmp_path / "folder")["user"] == ["1", "1"]
    (tmp_path / "folder" / "three.csv").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "folder", "there is no file", "three.csv")


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> None:  # root may list every folder
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    refused(tmp_path, tmp_path, "cannot be read: Permission denied")
