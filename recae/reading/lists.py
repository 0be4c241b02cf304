"""Tables that are no purchases: a list of ids, pairs of them, and a property of each item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from recae.errors import ColumnError
from recae.reading.candidates import listed
from recae.reading.columns import choose_column
from recae.reading.engine import Engine
from recae.reading.keys import IdColumn, number_ids
from recae.reading.names import KNOWN_NAMES
from recae.reading.open import open_table
from recae.reading.options import ReadOptions
from recae.reading.table import Table


def read_id_list(source: str | Path, role: str, column: str | None = None) -> pa.LargeStringArray:
    """Return the distinct ids of a table's column, in the order of their first appearance.

    Args:
        source: a table, as `recae.reading.read` takes it.
        role: "user" or "item", whose column is looked for.
        column: its exact name; None: recognised by its name.

    Raises:
        SourceError: the table cannot be read.
        ColumnError: it has no such column.
    """
    with Engine() as engine:
        table = open_table(engine, source, ReadOptions(layout="rows"))
        chosen = _chosen(table, column, role, KNOWN_NAMES[role])
        ids = IdColumn.of(table, role, chosen)
        stored = ", ".join(f"{sql} AS {name}" for name, sql in ids.stored.items())
        rows = engine.store(f"SELECT {stored} FROM {table.relation}", "rows")
        found = number_ids(engine, rows, ids)
        listed = engine.arrow(
            f"SELECT id FROM (SELECT {found.code} AS code, min(row) AS first "
            f"FROM (SELECT *, rowid AS row FROM {rows}) r {found.join} GROUP BY 1) "
            f"JOIN {found.table} USING (code) ORDER BY first"
        )
    return _texts(listed.column("id"))


def read_pairs(
    source: Any, user_column: str | None = None, item_column: str | None = None
) -> tuple[pa.LargeStringArray, pa.LargeStringArray]:
    """Return the ids of users and items of a table's rows, in their order; null where a row has none.

    Args:
        source: a table, as `recae.reading.read` takes it.
        user_column: exact name of the column of users; None: recognised by its name.
        item_column: likewise of items.

    Raises:
        SourceError: the table cannot be read.
        ColumnError: it has no such column.
    """
    with Engine() as engine:
        table = open_table(engine, source, ReadOptions(layout="rows"))
        user = IdColumn.of(table, "user", _chosen(table, user_column, "user", KNOWN_NAMES["user"]))
        item = IdColumn.of(table, "item", _chosen(table, item_column, "item", KNOWN_NAMES["item"]))
        stored = ", ".join(f"{sql} AS {name}" for name, sql in (user.stored | item.stored).items())
        rows = engine.store(f"SELECT {stored} FROM {table.relation}", "rows")
        of = {ids.role: number_ids(engine, rows, ids) for ids in (user, item)}
        known = {
            role: f"SELECT r.row AS row, t.id AS {role} FROM (SELECT *, rowid AS row FROM {rows}) r {found.join} "
            f"JOIN {found.table} t ON t.code = {found.code}"
            for role, found in of.items()
        }
        paired = engine.arrow(
            f"SELECT u.user, i.item FROM (SELECT rowid AS row FROM {rows}) a "
            f"LEFT JOIN ({known['user']}) u USING (row) LEFT JOIN ({known['item']}) i USING (row) ORDER BY a.row"
        )
    return _texts(paired.column("user")), _texts(paired.column("item"))


def read_categories_of(
    source: str | Path, item_column: str | None, category_column: str | None, known: Sequence[str]
) -> tuple[pa.Table, str, str, str]:
    """Return how often each item has each category: a table (id, category, n), n from 1.

    Args:
        source: a table, as `recae.reading.read` takes it.
        item_column: exact name of the column of items; None: recognised by its name.
        category_column: likewise of the column of categories.
        known: names by which that is recognised.

    Returns:
        The table, what to call the source, and the two columns.

    Raises:
        SourceError: the source cannot be read.
        ColumnError: a column is not there, or cannot be told.
    """
    with Engine() as engine:
        table = open_table(engine, source, ReadOptions(layout="rows"))
        item = _chosen(table, item_column, "item", KNOWN_NAMES["item"])
        category = _chosen(table, category_column, "category", known)
        ids = IdColumn.of(table, "item", item)
        stored = ", ".join(f"{sql} AS {name}" for name, sql in ids.stored.items())
        rows = engine.store(
            f"SELECT {stored}, {table.as_text(category)} AS category FROM {table.relation}", "rows"
        )
        found = number_ids(engine, rows, ids)
        of_items = (
            f"SELECT {found.code} AS code, r.category, count(*) AS n FROM {rows} r {found.join} "
            "WHERE r.category IS NOT NULL GROUP BY 1, 2"
        )
        counted = engine.arrow(
            f"SELECT t.id, c.category, c.n FROM ({of_items}) c JOIN {found.table} t USING (code) ORDER BY 1, 2"
        )
        return counted, table.name, item, category


def _chosen(table: Table, given: str | None, role: str, known: Sequence[str]) -> str:
    """Return the column of a role by its name, which must be that of one column where it is not given."""
    chosen = choose_column(table.columns, given, role, known, table.name)
    again = [
        note.column
        for note in table.notes
        if note.text.startswith("several columns are called")
        and note.column is not None
        and note.column.rpartition("_")[0].casefold() == chosen.casefold()
    ]
    if given is None and again:
        raise ColumnError(
            f"'{table.name}': several columns are called {chosen!r}; name the one that holds the {role} with "
            f"--{role}-column, such as {again[0]!r}; found: {listed(table.columns)}"
        )
    return chosen


def _texts(column: pa.ChunkedArray) -> pa.LargeStringArray:
    array = column.cast(pa.large_string()).combine_chunks()
    return array if isinstance(array, pa.LargeStringArray) else pa.concat_arrays(array.chunks)
