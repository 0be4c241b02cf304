"""Formats: told by the first bytes whatever the ending, and what is no table is named as what it is."""

from __future__ import annotations

import datetime as dt
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import openpyxl
import pyarrow as pa
import pytest
import scipy.io
import scipy.sparse as sp
from opening import opened, put, refused, sqlite_shop, values
from pyarrow import feather, orc, parquet

from recae.errors import ConfigError
from recae.reading import formats
from recae.reading.open import is_file_name

TABLE = pa.table({"user.id": [1, 2], "item": ["a", None], "at": pa.array([1, None], pa.timestamp("ms"))})
READ = {"user.id": [1, 2], "item": ["a", None], "at": [dt.datetime(1970, 1, 1, 0, 0, 0, 1000), None]}


def written(path: Path, kind: str) -> Path:
    if kind == "parquet":
        parquet.write_table(TABLE, path)
    elif kind == "orc":
        orc.write_table(TABLE, path)
    elif kind == "stream":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as stream:
            stream.write_table(TABLE)
    else:
        feather.write_feather(TABLE, path, compression=kind)
    return path


@pytest.mark.parametrize("kind", ["parquet", "orc", "stream", "uncompressed", "zstd", "lz4"])
@pytest.mark.parametrize("name", ["a.bin", "a.csv"])
def test_tables_with_types_keep_them(tmp_path: Path, kind: str, name: str) -> None:
    found = opened(written(tmp_path / name, kind))
    assert found.values == READ
    assert found.types["user.id"] == "BIGINT"
    assert found.types["at"].startswith("TIMESTAMP")


def test_dictionaries_and_nulls_are_plain(tmp_path: Path) -> None:
    data = pa.table({"user": pa.array(["a", "b", "a"]).dictionary_encode(), "none": pa.nulls(3)})
    feather.write_feather(data, tmp_path / "a.feather")
    parquet.write_table(data, tmp_path / "a.parquet")
    for path in sorted(tmp_path.iterdir()):
        found = opened(path)
        assert found.types["user"] == "VARCHAR"
        assert found.values == {"user": ["a", "b", "a"], "none": [None] * 3}


@pytest.mark.parametrize("kind", ["parquet", "orc", "uncompressed"])
def test_damaged_tables(tmp_path: Path, kind: str) -> None:
    data = pa.table({"user": [f"{n * 7919 % 10007:9d}" for n in range(10_000)]})
    path = tmp_path / "a"
    {"parquet": parquet.write_table, "orc": orc.write_table, "uncompressed": feather.write_feather}[kind](
        data, path
    )
    whole = path.read_bytes()
    put(path, whole[: len(whole) // 2])
    refused(path, path, "is not a valid")
    if kind == "parquet":
        put(path, whole[:100] + bytes(2000) + whole[2100:])
        refused(path, path, "is not a valid Parquet file")


# archives


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/", 1) if name.startswith("data") else name, content)
    return path


def test_zip_archives(tmp_path: Path) -> None:
    one = {
        "data__a.csv": "user,item\n1,x\n",
        "__MACOSX/._a.csv": "?",
        ".DS_Store": "?",
        "README.md": "read me",
    }
    assert values(zipped(tmp_path / "one.zip", **one)) == {"user": ["1"], "item": ["x"]}
    two = {"a.csv": "user,item\n1,x\n", "b.csv": "user,item\n2,y\n"}
    path = zipped(tmp_path / "two.zip", **two)
    refused(path, "a ZIP archive of 2 files", "--table", "'a.csv', 'b.csv'")
    assert values(path, table="b.csv") == {"user": ["2"], "item": ["y"]}
    refused(path, "holds no file 'c.csv'", table="c.csv")
    refused(zipped(tmp_path / "none.zip", **{"README.md": "x"}), "without any table")
    refused(put(tmp_path / "cut.zip", path.read_bytes()[:-30]), "a damaged or truncated ZIP archive")
    inside = zipped(tmp_path / "nested.zip", **{"a.zip": path.read_bytes()})
    refused(inside, "a ZIP archive of 2 files")


def test_what_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_SHORT", 1 << 24)
    path = zipped(tmp_path / "bomb.zip", **{"a.csv": b"x" * (1 << 26)})
    assert path.stat().st_size < 1 << 18
    refused(path, "unpacks to a single line")
    monkeypatch.setattr(formats, "_SPARE", 1 << 60)
    refused(
        zipped(tmp_path / "a.zip", **{"a.csv": "user,item\n1,x\n"}), "set TMPDIR to a folder with more room"
    )


# workbooks


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


HEADER = ["Customer", "Item", "Date", "Qty"]
ROWS = [[5160, "007", dt.datetime(2024, 1, n % 28 + 1, 10, 30), 1.5 if n else 2] for n in range(30)]


def test_workbooks(tmp_path: Path) -> None:
    found = opened(workbook(tmp_path / "a.csv", May=[HEADER, *ROWS]))
    assert found.values["Customer"] == ["5160"] * 30
    assert found.values["Item"] == ["007"] * 30
    assert found.values["Date"][:2] == ["2024-01-01 10:30:00", "2024-01-02 10:30:00"]
    assert found.values["Qty"][:2] == ["2", "1.5"]
    assert found.types == dict.fromkeys(HEADER, "VARCHAR")


def test_sheets_of_the_same_columns_are_one_table(tmp_path: Path) -> None:
    turned = [HEADER[::-1], *(row[::-1] for row in ROWS)]
    book = workbook(tmp_path / "a.xlsx", May=[HEADER, *ROWS], June=turned, Empty=[], About=[["made by hand"]])
    found = opened(book)
    assert len(found.values["Qty"]) == 60
    assert found.values["Item"] == ["007"] * 60
    assert found.notes == [
        "its 2 sheets have the same columns and are read as one table",
        "sheets that hold no table are left out: 'About'",
    ]
    assert len(values(book, table="June")["Qty"]) == 30
    refused(book, "no sheet 'July'; it has 'May', 'June', 'Empty', 'About'", table="July")
    other = workbook(tmp_path / "b.xlsx", Orders=[HEADER, *ROWS], Items=[["Item", "Name"], ["007", "Tea"]])
    refused(other, "different columns; name one with --table: 'Orders' (Customer", "'Items' (Item, Name)")
    assert values(other, table="Items") == {"Item": ["007"], "Name": ["Tea"]}


def test_a_report_in_a_workbook(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["Sales report"], [], HEADER, *ROWS, ["Total", None, None, 46]]
    found = opened(workbook(tmp_path / "a.xlsx", May=rows))
    assert found.values["Customer"] == ["5160"] * 30
    assert found.notes == [
        "line 1 stands before the table and is left out",
        "the last row is a total ('Total') and no purchase: it is left out",
    ]


def test_broken_workbooks(tmp_path: Path) -> None:
    book = workbook(tmp_path / "a.xlsx", May=[HEADER, *ROWS])
    with zipfile.ZipFile(book) as archive, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as broken:
        for name in archive.namelist():
            broken.writestr(name, archive.read(name)[: 300 if "sheet1" in name else None])
    refused(tmp_path / "b.xlsx", tmp_path / "b.xlsx")
    refused(workbook(tmp_path / "c.xlsx", May=[]), "is empty")
    refused(
        put(tmp_path / "d.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000)), "is not a valid workbook"
    )


# matrices


def test_matrices(tmp_path: Path) -> None:
    matrix = sp.csr_matrix(np.array([[0, 1, 0], [1, 0, 1]]))
    sp.save_npz(tmp_path / "m.npz", matrix)
    assert values(tmp_path / "m.npz") == {"user": [0, 1, 1], "item": [1, 0, 2]}
    scipy.io.mmwrite(tmp_path / "m.mtx", matrix)
    assert values(tmp_path / "m.mtx") == {"user": [1, 2, 2], "item": [2, 1, 3]}
    sp.save_npz(tmp_path / "r.npz", matrix * 5)
    assert opened(tmp_path / "r.npz").notes[-1] == "its values other than 1 count as 1, one purchase each"
    sp.save_npz(tmp_path / "nan.npz", matrix * float("nan"))
    refused(tmp_path / "nan.npz", "values that are not finite")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    refused(tmp_path / "objects.npz", "objects.npz")
    put(tmp_path / "cut.npz", (tmp_path / "m.npz").read_bytes()[:-60])
    refused(tmp_path / "cut.npz", "damaged or truncated")


# database files


def test_database_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where a query might make a file
    connection = duckdb.connect(tmp_path / "shop.duckdb")
    connection.execute(
        "create table purchases as select 1 as user_id, 'x' as item_id, date '2024-01-01' as day"
    )
    connection.close()
    assert values(tmp_path / "shop.duckdb") == {
        "user_id": [1],
        "item_id": ["x"],
        "day": [dt.date(2024, 1, 1)],
    }
    shop = sqlite_shop(tmp_path)
    refused(shop, "name a table with --table", "found: 'latest', 'other', 'purchases'")
    found = values(shop, table="purchases")
    assert found["user_id"] == ["1", "x", None, "12345678901234567"]
    assert found["a%b"] == ["1", "2.5", str(int(1e300)), "3"]
    assert values(shop, query="select count(*) as n from purchases") == {"n": ["4"]}
    before = shop.read_bytes()
    for query in ("drop table other", "insert into other values (1) returning a", "attach 'x.db' as x"):
        refused(shop, shop, query=query)
    assert shop.read_bytes() == before
    assert not (tmp_path / "x.db").exists()
    put(tmp_path / "cut.db", before[:2000])
    refused(tmp_path / "cut.db", "cannot be read as an SQLite database", table="purchases")


# what is no table


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps([1]), "a pickle, which is never loaded"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Please sign in</body></html>", "a web page"),
        (b'\n <HTML lang="en"><body></body></html>', "a web page"),
        (b'<?xml version="1.0"?><rows></rows>', "XML"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"Obj\x01\x04", "an Avro file"),
        (b"\x93NUMPY\x01\0", "a numpy array"),
        (b"RDX3\nX\n", "a file of R"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"\x1f\x8b but no archive", "not a valid gzip archive"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = put(tmp_path / "a.csv", data)
    assert str(path) in refused(path, message)


def test_a_tar_archive(tmp_path: Path) -> None:
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(put(tmp_path / "a.csv", "user,item\n1,2\n"))
    refused(put(tmp_path / "a.tar.gz", stream.getvalue()), "a tar archive; unpack it")


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "user,item\n1,2\n")
    refused(path, "--table is for a database or a workbook", error=ConfigError, table="purchases")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("a.csv", True),
        ("A.CSV.GZ", True),
        ("u.data", True),
        ("a.xlsx", True),
        ("a.gz", False),
        ("a", False),
        ("u42", False),
    ],
)
def test_names_of_files(name: str, known: bool) -> None:
    assert is_file_name(name) is known
