"""A small SQLite database, what is read from a source of text, and what a refusal to read looks like."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from recae.errors import SourceError
from recae.sources import open_source


def sqlite_shop(folder: Path) -> str:
    """The URL of a new database with a table, a view and values of many types."""
    connection = sqlite3.connect(folder / "shop.db")
    connection.executescript("""
        create table purchases (user_id, "item id" text, bought timestamp, "a%b" real);
        insert into purchases values (1, '007', '2024-01-01 10:00:00', 1.0), ('x', 'a "b"', null, 2.5);
        insert into purchases values (null, '', 1.5, 1e300), (12345678901234567, 'é', x'6162', 3.0);
        create view latest as select user_id from purchases where bought is not null;
        create table other (a);
    """)
    connection.close()
    return f"sqlite:///{folder}/shop.db"


def read(where: str | Path, columns: list[str] | None = None, **what: str) -> dict[str, list[object]]:
    """Every column and its values; all columns are text."""
    source = open_source(where, **what)
    columns = source.column_names if columns is None else columns
    found: dict[str, list[object]] = {column: [] for column in columns}
    for batch in source.batches(columns):
        assert batch.schema == pa.schema([(column, pa.string()) for column in columns])
        for column in columns:
            found[column] += batch.column(column).to_pylist()
    return found


def refused(url: str, *parts: str, **what: str) -> str:
    """The one line that tells why reading fails, with these parts in it."""
    with pytest.raises(SourceError) as caught:
        read(url, **what)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message
