"""Where purchases come from: every kind of file becomes one stream of Arrow record batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from recae.errors import SourceError
from recae.sources.csv import CsvSource
from recae.sources.parquet import ParquetSource

__all__ = ["CsvSource", "ParquetSource", "Source", "open_source"]

_TEXT: Final = frozenset({".csv", ".tsv", ".txt"})
_PARQUET: Final = frozenset({".parquet", ".pq"})
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class Source(Protocol):
    """A table of purchases that can be read from its beginning as often as needed."""

    name: str
    """What to call it in messages."""
    column_names: list[str]
    """The names of its columns, in their order; a name may occur twice."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns as record batches of bounded size."""
        ...


def open_source(path: str | Path) -> Source:
    """Open a file of purchases by the ending of its name (upper and lower case are the same).

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` for delimited text, each optionally followed by ``.gz``, ``.zst``
            or ``.bz2``; ``.parquet`` or ``.pq`` for Parquet.

    Raises:
        SourceError: the file is missing, empty, a folder or a pipe, not readable, of an unknown ending, or
            broken at its beginning.
    """
    path = Path(path)
    try:
        str(path).encode()  # Arrow opens nothing else
    except UnicodeEncodeError as error:
        raise SourceError(f"the name of {str(path)!r} is not UTF-8; rename the file") from error
    try:
        if path.is_dir():
            raise SourceError(f"'{path}' is a folder; give the path of one file of purchases")
        if not path.exists():
            raise SourceError(f"there is no file '{path}'; check the path of the purchases")
        if not path.is_file():
            raise SourceError(
                f"'{path}' is a device or a pipe, and purchases are read more than once; "
                "write them to a file first"
            )
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise SourceError(f"{str(path)!r} cannot be opened: {error}; check the path") from error
    if not os.access(path, os.R_OK):
        raise SourceError(
            f"'{path}' cannot be read: permission denied; ask its owner for permission to read it"
        )
    compression = _COMPRESSIONS.get(path.suffix.lower())
    ending = path.suffix.lower() if compression is None else Path(path.stem).suffix.lower()
    if ending not in _TEXT and (ending not in _PARQUET or compression is not None):
        raise SourceError(
            f"the ending of '{path}' does not tell what it holds; known are .csv, .tsv and .txt (also "
            "followed by .gz, .zst or .bz2), .parquet and .pq; rename the file"
        )
    if size == 0:
        raise SourceError(f"'{path}' is empty; a header line and one row for each purchase are needed")
    return ParquetSource(path) if ending in _PARQUET else CsvSource(path, compression)
