"""Tables of rows that may count or not, and what `choose_rows` makes of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from recae.reading.counting import RowCounting
from recae.reading.engine import Engine
from recae.reading.roles import Columns
from recae.reading.table import Table

Rows = Sequence[dict[str, Any]]


def table_of(engine: Engine, rows: Rows, **fields: Any) -> Table:
    """A table of rows: text as files have it, None for nothing."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    stored = engine.store(f"SELECT * FROM {engine.register(pa.table(columns))}")
    return Table("shop.csv", engine, stored, engine.describe(stored), **fields)


def fates(table: Table, counting: RowCounting) -> list[str | None]:
    """Return the reason for which each row is left out, None where it counts."""
    cases = " ".join(f"WHEN {sql} THEN {i}" for i, (_, sql) in enumerate(counting.conditions, 1))
    sql = f"(CASE {cases} ELSE 0 END)::UTINYINT" if cases else "0"
    reasons = [None, *(reason for reason, _ in counting.conditions)]
    return [reasons[row[0]] for row in table.engine.rows(f"SELECT {sql} AS fate FROM {table.relation}")]


def confidences(table: Table, counting: RowCounting) -> list[float | None]:
    return [row[0] for row in table.engine.rows(f"SELECT {counting.confidence} FROM {table.relation}")]


def shop(rows: int, /, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [
        {"user": f"u{i % 7}", "item": f"i{i % 11}", **{name: of(i) for name, of in columns.items()}}
        for i in range(rows)
    ]


COLUMNS = Columns("user", "item")
