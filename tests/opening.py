"""What opening a table gives: its columns with their values, and the sentence of a refusal."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recae.errors import RecaeError, SourceError
from recae.reading.engine import Engine
from recae.reading.open import open_table
from recae.reading.options import ReadOptions


@dataclass
class Opened:
    """A table as it was opened.

    Attributes:
        name: for messages.
        values: of each column.
        types: DuckDB's, of each column.
        header: whether the table has one.
        notes: what was said.
        rejected: lines that were skipped, with their number and why.
        decimal_comma: how numbers are written.
    """

    name: str
    values: dict[str, list[Any]]
    types: dict[str, str]
    header: bool
    notes: list[str]
    rejected: list[tuple[int, str, str]]
    decimal_comma: bool | None


def opened(source: Any, **options: Any) -> Opened:
    """Open a source and read all of it."""
    with Engine(2**29) as engine:
        table = open_table(engine, source, ReadOptions(**{"layout": "rows", **options}))
        data = engine.arrow(f"SELECT * FROM {table.relation}")
        assert data.schema.names == table.columns == list(engine.describe(table.relation))
        rejected = table.rejected and engine.rows(f"SELECT line, reason, text FROM {table.rejected}")
        return Opened(
            table.name,
            data.to_pydict(),
            table.types,
            table.header,
            [str(note) for note in table.notes],
            rejected or [],
            table.decimal_comma,
        )


def values(source: Any, **options: Any) -> dict[str, list[Any]]:
    """The values of each column of a source."""
    return opened(source, **options).values


def refused(source: Any, *parts: object, error: type[RecaeError] = SourceError, **options: Any) -> str:
    """The one sentence that tells why a source cannot be read, with these parts in it."""
    with pytest.raises(error) as caught:
        opened(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message
    return message


def put(path: Path, content: str | bytes) -> Path:
    """Write a file, in folders that are made where they are not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zstd(data: bytes) -> bytes:
    """Data packed by zstd."""
    return pa.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]  # pyarrow is untyped


def sqlite_shop(folder: Path) -> Path:
    """A new SQLite database with a table, a view and values of many types."""
    connection = sqlite3.connect(folder / "shop.db")
    connection.executescript("""
        create table purchases (user_id, "item id" text, bought timestamp, "a%b" real);
        insert into purchases values (1, '007', '2024-01-01 10:00:00', 1.0), ('x', 'a "b"', null, 2.5);
        insert into purchases values (null, '', 1.5, 1e300), (12345678901234567, 'é', x'6162', 3.0);
        create view latest as select user_id from purchases where bought is not null;
        create table other (a);
    """)
    connection.close()
    return folder / "shop.db"
