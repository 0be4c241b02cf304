"""`open_table`: any source of purchases as one table in DuckDB."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from recae.errors import ConfigError, RecaeError, SourceError
from recae.reading.databases import hide_password, is_url, shows_password
from recae.reading.engine import Engine
from recae.reading.folder import folder_files, open_files, pattern_files
from recae.reading.formats import (
    COMPRESSED,
    check_file,
    is_file_name,
    kind_of,
    new_path,
    open_zip,
    read_head,
    unpack,
)
from recae.reading.options import ReadOptions
from recae.reading.table import Table

__all__ = [
    "hide_password",
    "is_file_name",
    "is_url",
    "local_files",
    "open_file",
    "open_table",
    "resolved",
    "shows_password",
]

_DEEP: Final = 3  # archives inside each other


def open_table(engine: Engine, source: Any, options: ReadOptions) -> Table:
    """Return a source as a table of rows.

    Args:
        engine: that reads it.
        source: one of

            - a file, whatever its ending: delimited text, JSON, Parquet, Feather and Arrow, ORC, a workbook, a scipy
              matrix, Matrix Market, an SQLite or DuckDB file; also packed by gzip, zstd, bzip2, xz or ZIP;
            - a folder of them, also a partitioned one, or a pattern such as ``2024-*.csv.gz``;
            - ``-`` for the standard input;
            - the URL of a database, such as ``postgresql://user@host/shop`` or ``sqlite:///shop.db``;
            - ``env:NAME``, which stands for the value of an environment variable: one of the above;
            - a pandas or polars data frame, an Arrow table or reader, an iterable of tuples, a scipy matrix.
        options: how to understand it.

    Raises:
        ConfigError: an option does not fit the source.
        SourceError: the source is missing, empty, not readable, of an unknown kind, or broken; the files of a folder do
            not fit together; a database refuses.
        ColumnError: several layouts are possible.
    """
    from recae.reading import joining, layouts

    with hidden(source):
        table = _opened(engine, source, options)
    if options.orders is not None:
        table = joining.join(table, options)
    return layouts.unfold(table, options)


def _opened(engine: Engine, source: Any, options: ReadOptions) -> Table:
    if not isinstance(source, str | Path):
        return _from_object(engine, source, options)
    given = resolved(source)
    if not given:
        raise SourceError("the path of the purchases is empty; give the path of a table")
    if is_url(given):
        from recae.reading.sql import open_database

        return open_database(engine, given, options)
    if options.query is not None and not _is_database_file(given):
        from recae.reading.sql import query_files

        return query_files(engine, given, options, open_table)
    if given == "-":
        return _from_stdin(engine, options)
    path = Path(given)
    if _is_pattern(given):
        # folders' names state columns below the part of the pattern that is the same for all files
        fixed: list[str] = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        return open_files(engine, given, pattern_files(given), Path(*fixed), options, open_file)
    if os.path.isdir(path):  # noqa: PTH112  # which never raises
        return open_files(engine, given, folder_files(path), path, options, open_file)
    return open_file(engine, path, str(path), options)


def open_file(engine: Engine, path: Path, name: str, options: ReadOptions) -> Table:
    """Return the table that one file holds, whatever it is called.

    Raises:
        SourceError, ConfigError: as `open_table`.
    """
    if check_file(path) == 0:
        raise SourceError(f"'{name}' is empty; a header line and one row for each purchase are needed")
    table = _by_kind(engine, path, name, options, 0)
    return replace(table, files=(path,))


def _by_kind(engine: Engine, path: Path, name: str, options: ReadOptions, depth: int) -> Table:
    head = read_head(path)
    kind = kind_of(head, name)
    if kind in COMPRESSED or kind == "zip":
        if depth >= _DEEP:
            raise SourceError(f"'{name}' holds archives inside archives; unpack it and give the table in it")
        if kind == "zip":
            what, inner = open_zip(engine, path, name, options.table)
            if what == "member":
                return _by_kind(engine, inner, name, replace(options, table=None), depth + 1)
            kind = what
        else:
            inner = unpack(engine, path, kind, name)
            if inner.stat().st_size == 0:
                raise SourceError(
                    f"'{name}' is empty; a header line and one row for each purchase are needed"
                )
            return _by_kind(engine, inner, name, options, depth + 1)
    if options.table is not None and kind not in ("workbook", "sqlite", "duckdb"):
        raise ConfigError(
            f"--table is for a database or a workbook, but '{name}' is none; leave it out, or give a URL such as "
            "postgresql://host/shop or sqlite:///shop.db"
        )
    if kind in ("text", "json"):
        if kind == "json":
            from recae.reading.records import open_records

            return open_records(engine, path, name, options)
        from recae.reading.text import open_text

        return open_text(engine, path, name, options)
    if kind == "workbook":
        from recae.reading.workbooks import open_workbook

        return open_workbook(engine, path, name, options)
    if kind in ("sqlite", "duckdb"):
        from recae.reading import sql

        return sql.open_database_file(engine, path, name, kind, options)
    from recae.reading import frames

    if kind == "parquet":
        return frames.open_parquet(engine, path, name)
    if kind in ("npz", "matrix market"):
        return frames.open_matrix(engine, path, name, kind == "matrix market")
    return frames.open_arrow(engine, path, name, kind)


def _from_object(engine: Engine, source: Any, options: ReadOptions) -> Table:
    """Return what is in memory as a table."""
    from recae.reading import frames
    from recae.reading.matrix import LabelledMatrix

    for option, value in (("--query", options.query), ("--table", options.table)):
        if value is not None:
            raise ConfigError(f"{option} is for a database or for files; leave it out")
    home = type(source).__module__.partition(".")[0]
    if home == "pandas" and hasattr(source, "columns"):
        return frames.from_pandas(engine, source)
    if home == "polars" and hasattr(source, "collect_schema"):
        frame = source.collect() if hasattr(source, "collect") else source
        return frames.from_arrow(engine, frame.to_arrow(), "data frame")
    if home == "pyarrow" and hasattr(source, "schema"):
        if hasattr(source, "to_reader") and not hasattr(source, "rename_columns"):
            source = source.to_reader()
        return frames.from_arrow(engine, source, "Arrow table")
    if isinstance(source, LabelledMatrix) or (home == "scipy" and hasattr(source, "format")):
        return frames.from_matrix(engine, source, "matrix")
    if hasattr(source, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            reader = pa.RecordBatchReader.from_stream(source)
        except pa.ArrowInvalid as error:  # a series, which is one column without a name
            raise SourceError(
                f"a table has a column of users and one of items, found one column ({type(source).__name__}); give the "
                "data frame"
            ) from error
        return frames.from_arrow(engine, reader, "Arrow stream")
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        return frames.from_rows(engine, source)
    raise SourceError(
        "a table is a path, a URL, a data frame, an Arrow table, rows or a sparse matrix, found "
        f"{type(source).__name__}"
    )


def _from_stdin(engine: Engine, options: ReadOptions) -> Table:
    """Return what comes through the standard input, stored in a temporary file: tables are read more than once."""
    if sys.stdin is None:
        raise SourceError("the standard input is closed; pipe the purchases in, or give a path in place of -")
    path = new_path(engine, "input")
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
            size = file.tell()
    except OSError as error:
        raise SourceError(
            f"the standard input cannot be read and kept in '{tempfile.gettempdir()}': {error.strerror}; "
            "set TMPDIR to a folder with room for it"
        ) from error
    if size == 0:
        raise SourceError("the standard input is empty; a table of purchases is needed")
    return replace(_by_kind(engine, path, "standard input", options, 0), files=())


def local_files(source: Any) -> list[Path]:
    """Return the files that a source consists of, which no result may replace; none for what is no file.

    Raises:
        SourceError: a folder or pattern has no files.
    """
    if not isinstance(source, str | Path):
        return []
    with hidden(source):
        return _local_files(source)


def _local_files(source: str | Path) -> list[Path]:
    text = resolved(source)
    if is_url(text):
        place = text.partition(":///")[2] if text.startswith(("sqlite", "duckdb")) else ""
        return [Path(place.partition("?")[0])] if place else []
    if text == "-":
        return []
    if _is_pattern(text):
        return pattern_files(text)
    path = Path(text)
    return folder_files(path) if os.path.isdir(path) else [path]  # noqa: PTH112  # never raises


@contextlib.contextmanager
def hidden(source: Any) -> Iterator[None]:
    """Keep the value of an environment variable out of messages: what should be a URL may hold a password.

    Args:
        source: what was given; other sources than ``env:NAME`` are shown as they are.
    """
    named = re.fullmatch(r"env:(\w+)", str(source)) if isinstance(source, str | Path) else None
    value = os.environ.get(named[1], "") if named is not None else ""
    if not value or is_url(value):  # whose message has it without the password
        yield
        return
    try:
        yield
    except RecaeError as error:
        said = str(error)
        for form in {value, str(Path(value)), repr(value)[1:-1], repr(str(Path(value)))[1:-1]}:
            said = said.replace(f"'{form}", f"'{source}")
        if value in said:
            said = f"what '{source}' stands for cannot be used; set it to a path or to the URL of a database"
        raise type(error)(said) from None


def resolved(source: str | Path) -> str:
    """Return what a source stands for: itself, or the value of an environment variable.

    Raises:
        SourceError: the variable is not set.
    """
    text = str(source)
    named = re.fullmatch(r"env:(\w+)", text)
    if named is None:
        return text
    value = os.environ.get(named[1])
    if not value:
        raise SourceError(
            f"the environment variable {named[1]}, which '{text}' stands for, is not set; "
            "set it to a path or to the URL of a database"
        )
    return value


def _is_pattern(text: str) -> bool:
    """Tell whether a path is a pattern; one that exists is a path."""
    return glob.has_magic(text) and not os.path.lexists(text)


def _is_database_file(given: str) -> bool:
    """Tell whether a path is that of an SQLite or DuckDB file, which a query goes to."""
    path = Path(given)
    try:
        if not path.is_file():
            return False
        return kind_of(read_head(path), given) in ("sqlite", "duckdb")
    except (OSError, ValueError, SourceError):
        return False
