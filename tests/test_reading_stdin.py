"""The standard input: any format by its first bytes, and nothing left behind."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import os
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from commands import PATIENCE, start
from opening import opened, refused, values, zstd
from pyarrow import parquet

CSV = b"user,item\n007,a\n8,b\n"
JSON = b'\xef\xbb\xbf\n{"user": "007", "item": "a"}\n{"user": 8, "item": "b"}\n'


def from_parquet() -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table({"user": ["007", "8"], "item": ["a", "b"]}), stream)
    return stream.getvalue()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files; `feed` fills the standard input."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    "data",
    [
        CSV,
        CSV.replace(b",", b"\t"),
        b"\xef\xbb\xbf" + CSV,
        JSON,
        gzip.compress(CSV, mtime=0),
        gzip.compress(JSON, mtime=0),
        bz2.compress(CSV),
        zstd(JSON),
        from_parquet(),
    ],
)
def test_every_format_is_told_by_its_first_bytes(
    data: bytes, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, data)
    found = opened("-")
    assert found.name == "standard input"
    assert found.values == {"user": ["007", "8"], "item": ["a", "b"]}
    assert list(pipe.iterdir()) == []  # all temporary files are gone with the engine


@pytest.mark.some(5)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the standard input is empty; a table"),
        (gzip.compress(b"", mtime=0), "'standard input' is empty"),
        (b"\n", "'standard input' is empty"),
        (gzip.compress(CSV * 9999, mtime=0)[:-50], "'standard input' is a truncated gzip archive"),
        (gzip.compress(CSV, mtime=0)[:5], "'standard input' is a truncated gzip archive"),
        (b"\x1f\x8b but no archive", "'standard input' is not a valid gzip archive"),
        (b'user,item\n1,"2, 3"\n1,"2\n', "line 3 of 'standard input' opens a quoted field"),
        (b"user,item\n1,2\n1,2\n3\n1,2", "line 4 of 'standard input' has 1 field"),
        (JSON[:-4], "line 3 of 'standard input' ends in the middle"),
        (from_parquet()[:-9], "'standard input' is not a valid Parquet file"),
        (b"PK\x03\x04", "'standard input' is a damaged or truncated ZIP archive"),
    ],
)
def test_what_comes_may_be_broken(
    data: bytes, message: str, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, data)
    refused("-", message)
    assert list(pipe.iterdir()) == []


def test_an_empty_last_value(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"user,item\n1,2\n3,")  # and no way to know that more was to come
    assert values("-") == {"user": ["1", "3"], "item": ["2", None]}


def test_a_closed_input_and_a_full_disk(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    refused("-", "the standard input is closed")
    feed(monkeypatch, CSV)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    refused("-", f"kept in '{pipe}': No space left on device; set TMPDIR")


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_however_it_ends(tmp_path: Path, number: signal.Signals, code: int) -> None:
    kept, out = tmp_path / "tmp", tmp_path / "out"
    kept.mkdir()
    out.mkdir()
    reading, writing = os.pipe()
    process = start(
        *("train", "-", "--out", out / "m.recae"),
        stdin=reading,
        stderr=-1,
        env={**os.environ, "TMPDIR": str(kept)},
    )
    os.close(reading)
    with os.fdopen(writing, "wb") as stream:
        stream.write(CSV * 200_000)  # more than a pipe holds, so that it has begun to read when this returns
        stream.flush()
        time.sleep(0.2)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert list(kept.iterdir()) == list(out.iterdir()) == []
    assert b"no partial file is left" in stderr
