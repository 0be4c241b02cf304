"""Where purchases come from: files, folders, standard input and databases, each as one stream of record batches."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from recae.errors import ConfigError, SourceError
from recae.sources.base import Source
from recae.sources.databases import hide_password, is_url, shows_password
from recae.sources.files import is_file_name, open_file
from recae.sources.folder import folder_files, open_folder, open_pattern, pattern_files

__all__ = [
    "Source",
    "hide_password",
    "is_file_name",
    "is_url",
    "local_files",
    "open_source",
    "resolved",
    "shows_password",
]


def open_source(source: str | Path | Source, *, query: str | None = None, table: str | None = None) -> Source:
    """Open a table of purchases.

    Args:
        source: one of

            - a file, by the ending of its name: ``.csv``, ``.tsv`` or ``.txt`` for delimited text, ``.jsonl``,
              ``.ndjson`` or ``.json`` for JSON Lines, each optionally followed by ``.gz``, ``.zst`` or ``.bz2``;
              ``.parquet`` or ``.pq`` for Parquet;
            - a folder of them, also a partitioned one, or a pattern such as ``2024-*.csv.gz``;
            - ``-`` for the standard input, whose first bytes tell what it is;
            - the URL of a database, such as ``postgresql://user@host/shop`` or ``sqlite:///shop.db``;
            - ``env:NAME``, which stands for the value of an environment variable: one of the above;
            - a source that is open already.
        query: what to read of a database.
        table: the table or view to read instead.

    Raises:
        ConfigError: a query or table is given for something else than a database, or both.
        SourceError: the source is missing, empty, not readable, of an unknown kind, or broken at its beginning; the
            files of a folder or pattern do not fit together; a database refuses.
    """
    if not isinstance(source, str | Path):
        return source
    text = resolved(source)
    if is_url(text):
        from recae.sources.sql import SqlSource

        return SqlSource(text, query, table)
    for option, value in (("--query", query), ("--table", table)):
        if value is not None:
            raise ConfigError(
                f"{option} is for a database, but '{text}' is none; leave it out, or give a URL such as "
                "postgresql://host/shop or sqlite:///shop.db"
            )
    if text == "-":
        from recae.sources.stdin import StdinSource

        return StdinSource()
    path = Path(text)
    if _is_pattern(text):
        return open_pattern(text)
    return open_folder(path) if os.path.isdir(path) else open_file(path)  # noqa: PTH112  # never raises


def local_files(source: str | Path) -> list[Path]:
    """Return the files that a source consists of, which no result may replace; none for what is no file.

    Raises:
        SourceError: a folder or pattern has no files.
    """
    text = resolved(source)
    if is_url(text):
        place = text.partition(":///")[2] if text.startswith(("sqlite", "duckdb")) else ""
        return [Path(place.partition("?")[0])] if place else []
    if text == "-":
        return []
    if _is_pattern(text):
        return pattern_files(text)
    path = Path(text)
    return folder_files(path) if os.path.isdir(path) else [path]  # noqa: PTH112


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
