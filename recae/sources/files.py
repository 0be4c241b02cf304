"""One file of purchases: what its name or its first bytes say that it holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pyarrow as pa

from recae.errors import SourceError
from recae.sources.base import Source, damaged
from recae.sources.csv import CsvSource
from recae.sources.jsonlines import JsonLinesSource
from recae.sources.parquet import ParquetSource

_FORMATS: Final = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"))


def is_file_name(text: str) -> bool:
    """Tell whether a text ends as the names of files of purchases do; there need not be one."""
    return _kind_of(Path(text))[0] is not None


def _kind_of(path: Path) -> tuple[str | None, str | None]:
    """Return what a file holds and how it is compressed, by the ending of its name; None where it does not tell."""
    compression = _COMPRESSIONS.get(path.suffix.lower())
    ending = path.suffix.lower() if compression is None else Path(path.stem).suffix.lower()
    kind = _FORMATS.get(ending)
    return None if kind == "parquet" and compression is not None else kind, compression


def open_file(path: Path) -> Source:
    """Open a file by the ending of its name (upper and lower case are the same).

    Raises:
        SourceError: the file is missing, empty, a folder or a pipe, not readable, of an unknown ending, or
            broken at its beginning.
    """
    size = _size(path)
    kind, compression = _kind_of(path)
    if kind is None:
        raise SourceError(
            f"the ending of '{path}' does not tell what it holds; known are .csv, .tsv, .txt, .jsonl, .ndjson and "
            ".json (also followed by .gz, .zst or .bz2), .parquet and .pq; rename the file"
        )
    if size == 0:
        raise SourceError(f"'{path}' is empty; {_NEEDED[kind]} for each purchase are needed")
    return _open(path, kind, compression, str(path))


def open_unnamed(path: Path, name: str) -> Source:
    """Open a file by its first bytes: Parquet, gzip, zstd and bzip2 have marks of their own, JSON Lines begin with {.

    Args:
        path: where it lies.
        name: what to call it in messages.

    Raises:
        SourceError: it is empty or broken at its beginning.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1":
        return _open(path, "parquet", None, name)
    compression = next((program for magic, program in _MAGIC if head.startswith(magic)), None)
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            start = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise damaged(name, compression, error) from error
    return _open(path, "json" if start.startswith((b"{", b"[")) else "text", compression, name)


_NEEDED: Final = {
    "text": "a header line and one row",
    "json": "lines with one JSON object",
    "parquet": "columns and one row",
}


def _open(path: Path, kind: str, compression: str | None, name: str) -> Source:
    if kind == "parquet":
        return ParquetSource(path, name)
    return (JsonLinesSource if kind == "json" else CsvSource)(path, compression, name)


def _size(path: Path) -> int:
    """Return the bytes of a file that can be read.

    Raises:
        SourceError: it cannot.
    """
    try:
        str(path).encode()  # Arrow opens nothing else
    except UnicodeEncodeError as error:
        raise SourceError(f"the name of {str(path)!r} is not UTF-8; rename the file") from error
    try:
        if not path.exists():
            raise SourceError(f"there is no file '{path}'; check the path of the purchases")
        if not path.is_file():
            raise SourceError(
                f"'{path}' is a device or a pipe; give - for the purchases and direct it to the standard input"
            )
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise SourceError(f"{str(path)!r} cannot be opened: {error}; check the path") from error
    if not os.access(path, os.R_OK):
        raise SourceError(
            f"'{path}' cannot be read: permission denied; ask its owner for permission to read it"
        )
    return size
