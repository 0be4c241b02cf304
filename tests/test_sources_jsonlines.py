"""JSON Lines: every value is exact text, whichever way it is read, and every broken line is named."""

from __future__ import annotations

import bz2
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from querying import read

from recae.errors import ColumnError, SourceError
from recae.sources import jsonlines, open_source


def write(path: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + end for line in lines))
    return path


PLAIN = b"""{"user": "007", "item": "a b", "n": 1}
{"item": 12345678901234567890, "user": "2024-01-01", "n": 2.0, "x": {"a": [1]}}

{"user": null, "item": "", "n": 2.5}\r
{"user": true, "n": 9007199254740993}"""
READ = {
    "user": ["007", "2024-01-01", None, "true"],
    "item": ["a b", "12345678901234567890", None, None],
    "n": ["1", "2", "2.5", "9007199254740993"],
}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", PLAIN),
        ("A.NDJSON", PLAIN),
        ("a.json", b"\xef\xbb\xbf" + PLAIN + b"\n\n"),
        ("a.jsonl.gz", gzip.compress(PLAIN, mtime=0)),
        ("a.ndjson.zst", pa.compress(PLAIN, codec="zstd", asbytes=True)),
        ("a.jsonl.bz2", bz2.compress(PLAIN)),
    ],
)
def test_json_lines_in_every_dress(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert read(path, ["user", "item", "n"]) == READ
    assert open_source(path).column_names == ["user", "item", "n", "x"]


def test_values_are_those_that_python_reads(tmp_path: Path) -> None:
    """Through Arrow where types are the same in all lines, and through Python where they are not."""

    def expected(value: Any) -> str | None:
        if value is None or value == "" or value != value:
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            return str(int(value))
        return str(value)

    whole, fractions = st.integers(-(2**70), 2**70), st.floats()
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    columns = st.sampled_from(
        [whole, fractions, text, st.booleans(), whole | fractions, whole | text | fractions]
    )
    tables = columns.flatmap(lambda values: st.lists(st.none() | values, min_size=1, max_size=12))

    @given(tables)
    def check(values: list[Any]) -> None:
        path = write(tmp_path / "a.jsonl", *(json.dumps({"v": value, "w": 1}) for value in values))
        assert read(path, ["v"]) == {"v": [expected(value) for value in values]}

    check()


def test_a_type_may_change_far_behind_the_first_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonlines, "_BLOCK", 1000)
    monkeypatch.setattr(jsonlines, "_HEAD", 1000)
    kinds = [3, 3.5, "3", None, True, 2**64]
    values = [kinds[number // 100] for number in range(600)]
    path = write(
        tmp_path / "a.jsonl", *(json.dumps({"late": value, "user": n}) for n, value in enumerate(values))
    )
    found = read(path)
    assert found["user"] == [str(number) for number in range(600)]
    texts = ["3", "3.5", "3", None, "true", "18446744073709551616"]
    assert found["late"] == [texts[number // 100] for number in range(600)]


def test_a_key_twice_in_a_line_is_its_last_value(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", '{"user": 1, "user": 2}')) == {"user": ["2"]}


def test_only_the_columns_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"user": 1, "tags": ["x"]}', '{"user": 2, "tags": null}')
    assert read(path, ["user"]) == {"user": ["1", "2"]}
    with pytest.raises(ColumnError, match="'item'"):
        read(path, ["item"])


GOOD = '{"user": "12", "item": 34}'


BAD: list[tuple[str | bytes, str]] = [
    ('{"user": "4', "line 70000 of .* ends in the middle of an object"),
    ('{"user": "4"', "line 70000 of .* ends in the middle of an object"),
    ('{"user": 4', "line 70000 of .* ends in the middle of an object"),
    ('{"user": 4,', "line 70000 of .* ends in the middle of an object"),
    ('{"user": 4}, ', r"line 70000 of .* is not JSON \(Extra data, column 12\)"),
    ("user,item", "line 70000 of .* is not JSON"),
    ("[1, 2]", "line 70000 of .* is JSON, but no object"),
    ("5", "line 70000 of .* is JSON, but no object"),
    (b'{"user": "\xff"}', "line 70000 of .* is not UTF-8"),
    ('{"user": "a\0"}', "line 70000 of .* is not JSON .*control character"),
    ('{"user": "\\ud800"}', "line 70000 of .*: 'user' holds what is not UTF-8"),
    ('{"user": [1]}', "line 70000 of .*: 'user' holds a list"),
    ('{"item": {"id": 1}}', "line 70000 of .*: 'item' holds an object"),
    ('{"item": ' + "9" * 5000 + "}", "line 70000 of .* is not JSON .*limit"),
    (
        '{"user": ' + "[" * 100_000 + "]" * 100_000 + "}",
        r"line 70000 of .* is not JSON \(nested too deeply\)",
    ),
]


# the line is in the second block that is read; how the file is packed makes no difference to what a line holds
@pytest.mark.parametrize(
    ("ending", "bad", "message"),
    [
        *(("jsonl", *case) for case in BAD),
        *((f"jsonl.{packed}", *case) for packed in ("gz", "zst", "bz2") for case in (BAD[0], BAD[8])),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, ending: str, bad: str | bytes, message: str) -> None:
    bad = bad.encode() if isinstance(bad, str) else bad
    data = b"".join(line + b"\n" for line in [*[GOOD.encode()] * 69_998, b"", bad, GOOD.encode()])
    pack = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.bz2": bz2.compress}
    pack["jsonl.zst"] = lambda data: pa.compress(data, codec="zstd", asbytes=True)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(pack[ending](data))
    with pytest.raises(SourceError, match=message) as caught:
        read(path, ["user", "item"])
    assert "\n" not in str(caught.value)


LONG = b"".join(b'{"user": %d, "item": %d}\n' % (n, n * 7919 % 10_007) for n in range(50_000))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"\n \n", "is empty"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.jsonl", b'[{"user": 1}]', "begins a JSON array.*jq -c"),
        ("a.json", b'{\n  "user": 1\n}\n', "line 1 .* ends in the middle"),
        ("a.jsonl", b"user,item\n1,2\n", "line 1 .* is not JSON"),
        ("a.jsonl", gzip.compress(LONG, mtime=0), "a gzip archive; name it .jsonl.gz"),
        ("a.jsonl", b"PAR1....", "a Parquet file"),
        ("a.jsonl", '{"user": 1}'.encode("utf-16"), "UTF-16"),
        ("a.jsonl.gz", LONG, "not a valid gzip archive .*drop '.gz'"),
        ("a.jsonl.gz", gzip.compress(LONG, mtime=0)[:-100], "truncated gzip"),
        ("a.jsonl.zst", pa.compress(LONG, codec="zstd", asbytes=True)[:-100], "truncated zstd"),
        ("a.jsonl.bz2", bz2.compress(LONG)[:-100], "truncated bzip2"),
        ("a.jsonl", LONG[:-5], "line 50000 .* ends in the middle"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlines, "_HEAD", 1 << 10)
    monkeypatch.setattr(jsonlines, "_LONGEST", 1 << 20)
    path = write(tmp_path / "a.jsonl", '{"user": "' + "x" * 2_000_000)
    with pytest.raises(SourceError, match=r"line 1 of .* is longer than 1 MiB"):
        read(path)
    long = write(tmp_path / "b.jsonl", json.dumps({"user": "x" * 1_000_000}), '{"user": 1}')
    assert read(long) == {"user": ["x" * 1_000_000, "1"]}
