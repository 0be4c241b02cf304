"""Sources: every kind of file gives the same batches, and every broken one a sentence with its place."""

import bz2
import csv
import gzip
import io
import zlib
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from recae.errors import ColumnError, SourceError
from recae.sources import open_source
from recae.sources.lines import rows


def read(path: Path, columns: list[str] | None = None) -> dict[str, list[object]]:
    source = open_source(path)
    columns = source.column_names if columns is None else columns
    read: dict[str, list[object]] = {column: [] for column in columns}
    for batch in source.batches(columns):
        for column in columns:
            read[column] += batch.column(column).to_pylist()
    return read


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]  # pyarrow is untyped


def error_of(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


PLAIN = b'user,item\n007,a b\n12345678901234567890,"x, ""y"""\nNA,\n'
READ = {"user": ["007", "12345678901234567890", "NA"], "item": ["a b", 'x, "y"', None]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", PLAIN),
        ("a.txt", PLAIN),
        ("A.CSV", PLAIN),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN),
        ("crlf.csv", PLAIN.replace(b"\n", b"\r\n")),
        ("cr.csv", PLAIN.replace(b"\n", b"\r")),
        ("no-end.csv", PLAIN.rstrip()),
        ("blank-lines.csv", b"\n\r\n" + PLAIN.replace(b"\n", b"\n\n")),
        ("semicolon.csv", b'user;item\n007;a b\n12345678901234567890;"x, ""y"""\nNA;\n'),
        ("tab.tsv", b'user\titem\n007\ta b\n12345678901234567890\t"x, ""y"""\nNA\t\n'),
        ("bar.txt", b'user|item\n007|a b\n12345678901234567890|"x, ""y"""\nNA|\n'),
        ("excel.csv", b'sep=;\r\nuser;item\r\n007;a b\r\n12345678901234567890;"x, ""y"""\r\nNA;\r\n'),
        ("colon.txt", b'user:item\n007:a b\n12345678901234567890:"x, ""y"""\nNA:\n'),
        ("caret.csv", b'user^item\n007^a b\n12345678901234567890^"x, ""y"""\nNA^\n'),
        ("tilde.csv", b'user~item\n007~a b\n12345678901234567890~"x, ""y"""\nNA~\n'),
        ("hive.txt", b'user\x01item\n007\x01a b\n12345678901234567890\x01"x, ""y"""\nNA\x01\n'),
        ("space.txt", b'user item\n007 "a b"\n12345678901234567890 "x, ""y"""\nNA \n'),
        ("declared.txt", b'sep=#\nuser#item\n007#a b\n12345678901234567890#"x, ""y"""\nNA#\n'),
        ("a.csv.gz", gzip.compress(PLAIN, mtime=0)),
        ("members.csv.gz", gzip.compress(PLAIN[:20], mtime=0) + gzip.compress(PLAIN[20:], mtime=0)),
        ("a.csv.zst", zstd(PLAIN)),
        ("frames.txt.zst", zstd(PLAIN[:20]) + zstd(PLAIN[20:])),
        ("a.tsv.bz2", bz2.compress(PLAIN)),
    ],
)
def test_delimited_text_in_every_dress(tmp_path: Path, name: str, data: bytes) -> None:
    assert read(write(tmp_path / name, data)) == READ


def test_line_breaks_inside_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'"us\ner","a;b,c"\n"1\r\n2",x\n3,"\n"\n')
    assert read(path) == {"us\ner": ["1\r\n2", "3"], "a;b,c": ["x", "\n"]}


def test_quotes_inside_a_field_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'user,item\n1,5" pipe\n2,a "b" c\n')
    assert read(path) == {"user": ["1", "2"], "item": ['5" pipe', 'a "b" c']}


def test_only_the_columns_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"a,b,a,\xc3\xa9 \n1,2,3,4\n")
    assert open_source(path).column_names == ["a", "b", "a", "é"]
    assert read(path, ["é", "b"]) == {"é": ["4"], "b": ["2"]}
    with pytest.raises(ColumnError, match="'c'"):
        read(path, ["c"])


@pytest.mark.parametrize("data", [b"user,item", b"user,item\n", b"user,item\r\n\r\n\n"])
def test_a_header_alone_has_no_rows(tmp_path: Path, data: bytes) -> None:
    assert read(write(tmp_path / "a.csv", data)) == {"user": [], "item": []}
    assert read(write(tmp_path / "a.csv.gz", gzip.compress(data, mtime=0))) == {"user": [], "item": []}


values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
delimiters = st.sampled_from(",;\t|")


@given(st.lists(st.tuples(values, values), max_size=20), delimiters, st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerows([("first name", "b"), *table])
    assert read(path) == {
        "first name": [first or None for first, _ in table],
        "b": [second or None for _, second in table],
    }


@given(st.text('a",\n\r', max_size=40))
def test_rows_and_fields_are_those_of_the_csv_module(text: str) -> None:
    found = list(rows(io.BytesIO(text.encode()), ","))
    lines = io.StringIO(text, newline="")
    assert [row.fields for row in found] == [len(row) for row in csv.reader(lines) if row]
    # Physical lines: every row begins where the one before it has ended, but for blank lines.
    physical = io.StringIO(text, newline="").readlines()
    for before, row in pairwise(found):
        assert all(not line.strip("\r\n") for line in physical[before.last_line : row.line - 1])
    for row in found:
        assert "".join(physical[row.line - 1 : row.last_line]) == row.text


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst", "csv.bz2"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"1,2,3\n", "line 70000 of .* has 3 fields where the header has 2"),
        (b"1\n", "line 70000 of .* has 1 field where"),
        (b'"1\n2",3,4\n', "the row on lines 70000 to 70001 of .* has 3 fields"),
        (b"\xff,2\n", "line 70000 of .* is not UTF-8"),
        (b'"1\r\n\xff",2\n', "line 70001 of .* is not UTF-8"),
        (b'1,"2\n', "line 70000 of .* opens a quoted field that is never closed"),
    ],
)
def test_a_bad_row_is_named_by_its_physical_line(
    tmp_path: Path, ending: str, bad: bytes, message: str
) -> None:
    good = b'12,34\n"a\nb",c\n\n'  # four physical lines, two rows
    # a header, 69,996 lines, two more, then line 70,000
    data = b"user,item\n" + good * 17_499 + b"5,6\n\n" + bad + b"7,8\n" * 10
    compress = {"csv": bytes, "csv.gz": gzip.compress, "csv.zst": zstd, "csv.bz2": bz2.compress}[ending]
    path = write(tmp_path / f"a.{ending}", compress(data))
    with pytest.raises(SourceError, match=message):
        read(path)


def test_an_open_quote_in_a_column_not_asked_for_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'user,item,text\n1,2,x\n3,4,"y\n5,6,z\n')
    with pytest.raises(SourceError, match=r"line 3 of .* never closed"):
        read(path, ["user", "item"])
    write(path, b'user,item,text\n1,2,x\n3,4,"y\n\xff5,6,z"\n')
    assert read(path, ["user", "item"]) == {"user": ["1", "3"], "item": ["2", "4"]}


def test_broken_utf8_in_another_column_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"user,item,text\n1,2,\xa35\n")
    assert read(path, ["user", "item"]) == {"user": ["1"], "item": ["2"]}


LONG = b"user,item\n" + b"".join(b"%d,%d\n" % (number, number * 7919 % 10_007) for number in range(50_000))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.csv", b"\n\n \n", "is empty"),
        ("a.parquet", b"", "is empty"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:-100], "truncated gzip"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:12], "truncated gzip"),
        ("a.csv.zst", zstd(LONG)[:-100], "truncated zstd"),
        ("a.csv.bz2", bz2.compress(LONG)[:-100], "truncated bzip2"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:-8] + bytes(8), "not a valid gzip"),
        ("a.csv.gz", LONG, "not a valid gzip archive .*drop '.gz'"),
        ("a.csv.zst", LONG, "not a valid zstd archive .*drop '.zst'"),
        ("a.csv.bz2", LONG, "not a valid bzip2 archive"),
        ("a.csv.gz", zlib.compress(LONG)[2:], "not a valid gzip"),
        ("a.csv", gzip.compress(LONG, mtime=0), "a gzip archive; name it"),
        ("a.csv", zstd(LONG), "a zstd archive"),
        ("a.csv", b"PAR1....", "a Parquet file"),
        ("a.csv", b"SQLite format 3\0...", "sqlite:///PATH"),
        ("a.csv", b"PK\x03\x04...", "Excel"),
        ("a.csv", "user,item\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"user,item\n1,\x002\n", "zero bytes"),
        ("a.csv", b"us\xffer,item\n1,2\n", "line 1 of .* is not UTF-8"),
        ("a.csv", b'"user,item\n1,2\n', "header"),
        ("a.csv", b"x" * 2_000_000, "header"),
        ("a.parquet", LONG, "not a valid Parquet"),
        ("a.xlsx", b"x", r"ending .* known are \.csv"),
        ("a", b"x", "ending"),
        ("a.gz", b"x", "ending"),
        ("a.parquet.gz", b"x", "ending"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(SourceError, match=message):
        read(path)
    error_of(path)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "there is no file" in error_of(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_text("")
    error_of(tmp_path / "x.csv" / "y.csv")
    error_of(tmp_path / ("x" * 300 + ".csv"))


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table({"user.id": [1, 2], "item": ["a", "b"], "time": pa.array([1, None], pa.timestamp("ms"))})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    source = open_source(path)
    assert source.column_names == ["user.id", "item", "time"]
    (batch,) = source.batches(["time", "user.id"])
    assert batch.schema.names == ["time", "user.id"]
    assert batch.schema.types == [pa.timestamp("ms"), pa.int64()]
    with pytest.raises(ColumnError, match="'nothing'"):
        list(source.batches(["nothing"]))


def test_a_truncated_or_damaged_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pq"
    parquet.write_table(pa.table({"user": [f"{n:9d}" for n in range(10_000)]}), path)
    whole = path.read_bytes()
    write(path, whole[:-50])
    assert "not a valid Parquet" in error_of(path)
    write(path, whole[:100] + bytes(2000) + whole[2100:])
    assert "not a valid Parquet" in error_of(path)
