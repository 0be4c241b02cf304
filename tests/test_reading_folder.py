"""Folders and patterns: many files are one table, nothing is passed over in silence, and a bad file is named."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opening import opened, put, refused, values
from pyarrow import dataset, parquet

from recae.reading.open import local_files


def table(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)
    return path


def test_files_of_several_formats_are_one_table(tmp_path: Path) -> None:
    put(tmp_path / "b.jsonl", '{"item": "y", "user": 2}\n')
    put(tmp_path / "a.csv", "user,item\n1,x\n")
    put(tmp_path / "deep" / "er" / "c.tsv.gz", gzip.compress(b"item\tuser\nz\t3\n", mtime=0))
    table(tmp_path / "d.parquet", {"user": [4], "item": pa.array(["w"]).dictionary_encode()})
    for name in (".hidden.csv", "_SUCCESS", "_metadata", ".part-0.csv.crc", "_temporary/0/x.csv"):
        put(tmp_path / name, b"?")
    expected = {"user": ["1", "2", "4", "3"], "item": ["x", "y", "w", "z"]}
    assert values(tmp_path) == values(f"{tmp_path}/") == expected
    assert [path.name for path in local_files(tmp_path)] == ["a.csv", "b.jsonl", "d.parquet", "c.tsv.gz"]


def test_partitions_are_those_of_arrow(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "user": ["1", "2", "3", "4"],
            "item": ["x", "y", "z", "w"],
            "country": ["N L", "a/b=c", None, "N L"],
            "year": ["2024", "2024", "2023", "2023"],
        }
    )
    # Arrow writes a missing value under the same name as Hive does
    schema = pa.schema([("country", pa.string()), ("year", pa.string())])
    partitioning = dataset.partitioning(schema, flavor="hive")
    dataset.write_dataset(rows, tmp_path / "p", format="parquet", partitioning=partitioning)
    assert len(local_files(tmp_path / "p")) == 4
    found = values(tmp_path / "p")
    assert list(found) == ["user", "item", "country", "year"]
    oracle = dataset.dataset(tmp_path / "p", partitioning=partitioning).to_table().select(rows.column_names)
    assert sorted(zip(*found.values(), strict=True), key=str) == sorted(
        (tuple(row.values()) for row in oracle.to_pylist()), key=str
    )


def test_partitions_of_text_files(tmp_path: Path) -> None:
    put(tmp_path / "date=2024-01-02" / "a.csv", "user,item\n1,x\n2,y\n")
    put(tmp_path / "date=2024-01-03" / "a.csv", "user,item,date\n3,z,today\n")
    # what a file itself says counts
    assert values(tmp_path) == {
        "user": ["1", "2", "3"],
        "item": ["x", "y", "z"],
        "date": ["2024-01-02", "2024-01-02", "today"],
    }
    # below a pattern, too, but not above it
    assert values(f"{tmp_path}/date=2024-01-0[2-9]/*.csv")["date"][0] == "2024-01-02"
    assert values(f"{tmp_path}/date=2024-01-02/*.csv") == {"user": ["1", "2"], "item": ["x", "y"]}


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "2024-02.csv", "user,item\n2,y\n")
    put(tmp_path / "2024-01.csv", "user,item\n1,x\n")
    put(tmp_path / "2023-01.csv", "other\n0\n")
    put(tmp_path / "2024-more" / "a.csv", "user,item\n3,z\n")
    put(tmp_path / "_2024-04.csv", "?")
    monkeypatch.chdir(tmp_path)
    assert values("2024-*")["user"] == ["1", "2", "3"]
    assert values("2024-0?.csv")["user"] == ["1", "2"]
    assert values("2024-*/**/*.csv")["user"] == ["3"]
    refused("2025-*.csv", "no file fits '2025-*.csv'")
    refused("_2024*", "no file fits")
    # a file of that very name is itself, not a pattern
    put(tmp_path / "2024-[01].csv", "user,item\n9,q\n")
    assert values("2024-[01].csv")["user"] == ["9"]
    assert local_files("2024-[01].csv") == [Path("2024-[01].csv")]
    assert local_files("2024-0?.csv") == [Path("2024-01.csv"), Path("2024-02.csv")]


def test_parts_that_a_program_has_split(tmp_path: Path) -> None:
    """Only the first part has the header."""
    lines = [f"u{n % 9},i{n % 7},{n % 3}" for n in range(90)]
    put(tmp_path / "xaa", "\n".join(["user,item,qty", *lines[:30]]))
    put(tmp_path / "xab", "\n".join(lines[30:60]))
    put(tmp_path / "xac", "\n".join(lines[60:]))
    found = opened(tmp_path)
    assert list(zip(*found.values.values(), strict=True)) == [tuple(line.split(",")) for line in lines]
    assert found.notes == ["2 files without a header take the names of the first one"]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("b.csv", b"", "is empty"),
        ("b.csv", b"user,item\n1,2\n1,2\n1,2,3\n", "line 4"),
        ("b.csv", b'user,item\n1,"2, 3"\n1,"2\n', "never closed"),
        ("b.csv.gz", gzip.compress(b"user,item\n" + b"1,2\n" * 999, mtime=0)[:-9], "truncated gzip"),
        ("b.jsonl", b'{"user": 1, "item": 2}\n{"user": 3', "line 2"),
        ("b.parquet", b"PAR1 and no more", "not a valid Parquet"),
        ("README.md", b"purchases of 2024", "different tables"),
    ],
)
def test_a_bad_file_among_good_ones_is_named(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    for good in "ac":
        put(tmp_path / f"{good}.csv", "user,item\n1,x\n")
    put(tmp_path / name, content)
    refused(tmp_path, name, part)
    refused(f"{tmp_path}/*", name, part)


def test_other_columns_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", "user,item,qty\n1,x,1\n")
    put(tmp_path / "b.csv", "user,item,qty\n1,x,1\n")
    put(tmp_path / "c.csv", "user,item,qty,when\n1,x,1,2024-01-01\n")
    refused(tmp_path, "column 'when' is in", "c.csv', but not in", "a.csv'")
    put(tmp_path / "c.csv", "user,product,qty\n1,x,1\n")
    refused(tmp_path, "column 'item' is in", "a.csv', but not in", "c.csv' (and 1 more column differs)")
    (tmp_path / "c.csv").unlink()
    put(tmp_path / "year=2024" / "a.csv", "user,item,qty\n1,x,1\n")
    refused(tmp_path, "column 'year' is in", "year=2024/a.csv', but not in", "a.csv'")


def test_different_tables_say_how_to_join_them(tmp_path: Path) -> None:
    orders = [f"o{n},u{n % 30},2024-01-{n % 28 + 1:02d}" for n in range(100)]
    lines = [f"o{n},p{m}" for n in range(100) for m in range(n % 3 + 1)]
    put(tmp_path / "orders.csv", "\n".join(["order_id,customer_id,date", *orders]))
    put(tmp_path / "lines.csv", "\n".join(["order_id,product_id", *lines]))
    said = refused(tmp_path, "holds different tables", "orders.csv", "lines.csv", "--orders")
    query = said.partition('--query "')[2].partition('"')[0]
    found = values(tmp_path, query=query)
    assert len(found["product_id"]) == len(lines)
    assert sorted(zip(found["order_id"], found["product_id"], strict=True)) == sorted(
        tuple(line.split(",")) for line in lines
    )


def test_widths_of_types_do_not_count(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 1, 1)
    names = ("user", "item", "at", "day", "q", "u")
    table(
        tmp_path / "a.parquet",
        {
            "user": pa.array([1], pa.int8()),
            "item": pa.array(["x"]),
            "at": pa.array([moment], pa.timestamp("s")),
            "day": pa.array([moment.date()], pa.date32()),
            "q": pa.array([1.5], pa.float32()),
            "u": pa.array([2**64 - 1], pa.uint64()),
        },
    )
    table(
        tmp_path / "b.parquet",
        {
            "user": pa.array([2**40], pa.int64()),
            "item": pa.array(["y"], pa.large_string()),
            "at": pa.array([moment], pa.timestamp("ns")),
            "day": pa.array([moment], pa.date64()),
            "q": pa.array([2.5], pa.float64()),
            "u": pa.array([-2], pa.int64()),
        },
    )
    table(tmp_path / "c.parquet", {name: pa.nulls(1) for name in names})
    found = opened(tmp_path)
    texts = {
        name: [None if value is None else str(value)[:10] for value in column]
        for name, column in found.values.items()
    }
    assert texts == {
        "user": ["1", "1099511627", None],
        "item": ["x", "y", None],
        "at": ["2024-01-01"] * 2 + [None],
        "day": ["2024-01-01"] * 2 + [None],
        "q": ["1.5", "2.5", None],
        "u": [str(2**64 - 1)[:10], "-2", None],
    }
    assert found.types["user"] == "BIGINT"
    assert found.types["at"].startswith("TIMESTAMP")


@pytest.mark.parametrize(
    ("one", "other", "texts"),
    [
        (pa.array([1]), pa.array(["1"]), ["1", "1"]),
        (pa.array([1]), pa.array([1.5]), ["1", "1.5"]),
        (pa.array([0], pa.timestamp("ms")), pa.array(["x"]), ["1970-01-01 00:00:00", "x"]),
        (pa.array([True]), pa.array(["true"]), ["true", "true"]),
    ],
)
def test_columns_of_several_types_are_text(
    tmp_path: Path, one: pa.Array, other: pa.Array, texts: list[str]
) -> None:
    table(tmp_path / "b.parquet", {"user": one, "x": ["y"]})
    table(tmp_path / "c.parquet", {"user": other, "x": ["z"]})
    assert values(tmp_path) == {"user": texts, "x": ["y", "z"]}


@pytest.mark.thorough
def test_many_files(tmp_path: Path) -> None:
    for n in range(450):
        put(tmp_path / f"{n:03d}.csv", f"user,item\nu{n},x\n")
    assert values(tmp_path)["user"] == [f"u{n}" for n in range(450)]


def test_lines_that_were_skipped_in_any_file(tmp_path: Path) -> None:
    good = "user,item\n" + "1,x\n" * 20
    put(tmp_path / "a.csv", good + "1,2,3\n" + "1,x\n")
    put(tmp_path / "b.csv", good)
    put(tmp_path / "c.csv", good + "4\n" + "1,x\n")
    found = opened(tmp_path, bad_lines="skip")
    assert len(found.values["user"]) == 62
    assert [(line, text) for line, _, text in found.rejected] == [(22, "1,2,3"), (22, "4")]
    assert "a.csv" in found.rejected[0][1]
    assert "c.csv" in found.rejected[1][1]


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.mkdir()
    put(empty / "_SUCCESS", "")
    refused(empty, empty, "a folder without any file")
    table(tmp_path / "delta" / "a.parquet", {"user": [1]})
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
    assert values(tmp_path / "folder")["user"] == ["1", "1"]
    (tmp_path / "folder" / "three.csv").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "folder", "there is no file", "three.csv")


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> None:  # root may list every folder
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    refused(tmp_path, tmp_path, "cannot be read: Permission denied")
