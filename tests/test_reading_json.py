"""JSON: lines, arrays, documents and columns give exact text by every key, and a bad line is named."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opening import opened, put, refused, values, zstd

PLAIN = b"""{"user": "007", "item": "a b", "n": 1}
{"item": 12345678901234567890123, "user": "2024-01-01", "n": 2.0, "x": {"a": [1], "b.c": "d"}}

{"user": null, "item": "", "n": 2.5}\r
{"user": true, "n": 9007199254740993, "late": "y"}"""
READ = {
    "user": ["007", "2024-01-01", None, "true"],
    "item": ["a b", "12345678901234567890123", None, None],
    "n": ["1", "2", "2.5", "9007199254740993"],
    "x.a": [None, ["1"], None, None],
    "x.b.c": [None, "d", None, None],
    "late": [None, None, None, "y"],
}
LINES = [line for line in PLAIN.splitlines() if line]
ARRAY = b"[" + b",\n ".join(LINES) + b"]"


@pytest.mark.some(6)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", PLAIN),
        ("a.csv", PLAIN),
        ("a.json", b"\xef\xbb\xbf" + PLAIN + b"\n\n"),
        ("a.jsonl.gz", gzip.compress(PLAIN, mtime=0)),
        ("a.ndjson.zst", zstd(PLAIN)),
        ("a.jsonl.bz2", bz2.compress(PLAIN)),
        ("array.json", ARRAY),
        ("pretty.json", json.dumps(json.loads(ARRAY), indent=2).encode()),
        ("documents.json", b"\n".join(json.dumps(json.loads(line), indent=2).encode() for line in LINES)),
        ("covered.json", b'{"count": 4, "data": {"orders": ' + ARRAY + b"}}"),
        ("utf-16.json", PLAIN.decode().encode("utf-16")),
    ],
)
def test_json_in_every_dress(tmp_path: Path, name: str, data: bytes) -> None:
    assert values(put(tmp_path / name, data)) == READ


def test_values_are_those_that_python_reads(tmp_path: Path) -> None:
    def expected(value: Any) -> str | None:
        if value is None or value == "" or value != value:
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            return str(int(value))
        return str(value)

    def same(found: str | None, value: Any) -> bool:
        if (
            isinstance(value, float) and found is not None and found != expected(value)
        ):  # as "1e-7", "1e-07" and "0.0000001" are
            return float(found) == value and ("e" in found or "e" in str(value) or not math.isfinite(value))
        return found == expected(value)

    whole, fractions = st.integers(-(2**70), 2**70), st.floats(allow_infinity=False)
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
    columns = st.sampled_from(
        [whole, fractions, text, st.booleans(), whole | fractions, whole | text | fractions]
    )
    tables = columns.flatmap(lambda cells: st.lists(st.none() | cells, min_size=1, max_size=12))

    @given(tables)
    def check(cells: list[Any]) -> None:
        path = put(tmp_path / "a.jsonl", "".join(json.dumps({"v": cell, "w": 1}) + "\n" for cell in cells))
        found = values(path)["v"]
        assert all(same(text, cell) for text, cell in zip(found, cells, strict=True)), found

    check()


def test_keys_and_types_that_come_late(tmp_path: Path) -> None:
    kinds = [3, 3.5, "3", None, True, 2**64]
    lines = [{"kind": kinds[n // 1000], "user": n, **({"late": 1} if n >= 5999 else {})} for n in range(6000)]
    found = values(put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))
    texts = ["3", "3.5", "3", None, "true", "18446744073709551616"]
    assert found["kind"] == [texts[n // 1000] for n in range(6000)]
    assert found["late"] == [None] * 5999 + ["1"]


def test_lists_stay_what_they_are(tmp_path: Path) -> None:
    found = opened(put(tmp_path / "a.jsonl", '{"user": 1, "items": ["x"]}\n{"user": 2, "items": null}\n'))
    assert found.types == {"user": "VARCHAR", "items": "VARCHAR[]"}
    assert found.values == {"user": ["1", "2"], "items": [["x"], None]}


@pytest.mark.parametrize(
    ("document", "header"),
    [
        ({"user": {"0": "a", "1": "b"}, "n": {"0": 1, "1": 2.0}}, True),
        ({"user": ["a", "b"], "n": [1, 2.0]}, True),
        ({"0": {"user": "a", "n": 1}, "1": {"user": "b", "n": 2.0}}, True),
        ({"columns": ["user", "n"], "index": [0, 1], "data": [["a", 1], ["b", 2.0]]}, True),
        ({"schema": {"fields": []}, "data": [{"user": "a", "n": 1}, {"user": "b", "n": 2.0}]}, True),
        ([["a", 1], ["b", 2.0]], False),
    ],
)
def test_tables_by_columns_as_pandas_writes_them(tmp_path: Path, document: Any, header: bool) -> None:
    found = opened(put(tmp_path / "a.json", json.dumps(document)))
    assert found.values == dict(
        zip(["user", "n"] if header else ["1", "2"], [["a", "b"], ["1", "2"]], strict=True)
    )
    assert found.header is header


def test_lines_of_lists(tmp_path: Path) -> None:
    found = opened(put(tmp_path / "a.jsonl", '["a", 1]\n["b", 2.0]\n'))
    assert (found.values, found.header) == ({"1": ["a", "b"], "2": ["1", "2"]}, False)
    refused(put(tmp_path / "a.jsonl", '["a", 1]\n["b"]\n'), "lists of several lengths")


def test_objects_by_key(tmp_path: Path) -> None:
    document = {f"order {n}": {"user": f"u{n % 7}", "item": n} for n in range(30)}
    found = values(put(tmp_path / "a.json", json.dumps(document)))
    assert found == {"user": [f"u{n % 7}" for n in range(30)], "item": [str(n) for n in range(30)]}


GOOD = '{"user": "é", "item": 34}'
BAD: list[tuple[str | bytes, str]] = [
    ('{"user": "4', "ends in the middle of an object"),
    ('{"user": "4"', "ends in the middle of an object"),
    ('{"user": 4,', "ends in the middle of an object"),
    ('{"user": 4}, ', "is not JSON (Extra data, column 12)"),
    ("user,item", "is not JSON"),
    ("[1, 2]", "is JSON, but no object"),
    ("5", "is JSON, but no object"),
    (b'{"user": "\xff"}', "is not UTF-8"),
    ('{"user": "\\ud800"}', "holds what is not UTF-8"),
]


@pytest.mark.some(3)
@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_line_is_named_or_skipped_and_kept(tmp_path: Path, bad: str | bytes, message: str) -> None:
    bad = bad.encode() if isinstance(bad, str) else bad
    data = b"".join(line + b"\n" for line in [*[GOOD.encode()] * 3998, b"", bad, GOOD.encode()])
    path = put(tmp_path / "a.jsonl", data)
    refused(path, "line 4000 of ", path, message, "--bad-lines skip")
    found = opened(path, bad_lines="skip")
    assert found.values == {"user": ["é"] * 3999, "item": ["34"] * 3999}
    assert [(line, reason[: len(message)]) for line, reason, _ in found.rejected] == [(4000, message)]


LONG = b"".join(b'{"user": %d, "item": %d}\n' % (n, n * 7919 % 10_007) for n in range(10_000))


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"{}", "is empty"),
        ("a.json", b"[]", "is empty"),
        ("a.json", b'[{"user": 1},\n {"user": 2}', "line 2 of .* ends in the middle"),
        ("a.json", b'{\n  "user": 1', "line 2 of .* ends in the middle"),
        ("a.json", b'[{"user": 1},\n {"user" 2}]', r"line 2 of .* is not JSON \(Expecting ':'"),
        ("a.json", b"[1, 2]", "not of objects"),
        ("a.jsonl.gz", gzip.compress(LONG, mtime=0)[:-100], "truncated gzip"),
        ("a.jsonl", LONG[:-5], "line 10000 .* ends in the middle"),
        (
            "a.jsonl",
            b'{"user": "' + b"x" * 40_000_000 + b'"}\n{"user": 1}\n',
            "an object of more than 16 MiB",
        ),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = put(tmp_path / name, data)
    assert re.search(message, refused(path, path))
