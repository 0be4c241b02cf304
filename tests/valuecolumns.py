"""Columns of values read by the reading room's own classes, for tests of times and numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from recae.reading.engine import Engine
from recae.reading.numbers import NumberColumn, SettledNumbers
from recae.reading.table import Table
from recae.reading.times import SettledTimes, TimeColumn

EPOCH = dt.datetime(1970, 1, 1)


def micros(moment: str | dt.datetime | None) -> int | None:
    """Return the microseconds since 1970 of an ISO text without a zone, or of a moment of UTC."""
    if moment is None:
        return None
    if isinstance(moment, str):
        moment = dt.datetime.fromisoformat(moment)
    return (moment.replace(tzinfo=None) - EPOCH) // dt.timedelta(microseconds=1)


def a_table(engine: Engine, decimal_comma: bool | None = None, **columns: Any) -> Table:
    """Return a table of these columns, lists of values or Arrow arrays."""
    stored = engine.store(f"SELECT * FROM {engine.register(pa.table(columns))}", "source")
    return Table("test", engine, stored, engine.describe(stored), decimal_comma=decimal_comma)


def settle(engine: Engine, table: Table, reader: TimeColumn | NumberColumn) -> tuple[Any, list[Any]]:
    """Store, settle and read a column; returns what was settled, and the values in the order of the rows."""
    chosen = ", ".join(f"{sql} AS {name}" for name, sql in reader.stored.items())
    rows = engine.store(f"SELECT {chosen} FROM {table.relation}", "rows")
    settled = reader.settle(rows)
    numbered = f"(SELECT *, rowid AS row FROM {rows})"
    found = engine.rows(f"SELECT {settled.sql} FROM {numbered} r {settled.join} ORDER BY row")
    return settled, [value for (value,) in found]


def read_times(
    engine: Engine, values: Any, clock: Any = None, **others: Sequence[Any]
) -> tuple[SettledTimes, list[int | None]]:
    """Read a column "when", with a clock of its own where one is given."""
    table = a_table(engine, when=values, **({} if clock is None else {"clock": clock}), **others)
    return settle(engine, table, TimeColumn(table, "when", None if clock is None else "clock"))


def read_numbers(
    engine: Engine, values: Any, decimal_comma: bool | None = None
) -> tuple[SettledNumbers, list[float | None]]:
    """Read a column "amount"."""
    table = a_table(engine, decimal_comma, amount=values)
    return settle(engine, table, NumberColumn(table, "amount", "quantity"))
