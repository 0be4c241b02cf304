"""Tables that are no purchases by themselves: what they are, and the command that leads to the right model."""

from __future__ import annotations

import contextlib
import csv
import gzip
import re
from pathlib import Path
from typing import Final

from recae.errors import ColumnError
from recae.reading.engine import text
from recae.reading.names import Name, plain
from recae.reading.table import Table

_TEXT: Final = re.compile(r".+\.(csv|tsv|tab|txt|dat)(\.gz)?", re.IGNORECASE)
_MOST: Final = 200  # files of a folder that are looked at
_HEAD: Final = 8192  # bytes of each


def no_item(table: Table, order: str) -> ColumnError:
    """Return the error for orders without what was bought in them."""
    lines = _beside(table, order, "item") or "order_items.csv"
    return ColumnError(
        f"'{table.name}' says who ordered, in {order!r}, but no column says what was bought: join the table of "
        f"the orders' items: recae train {_file(lines)} --orders {_file(table.name)}; "
        f"if a column does say it, name it with --item-column; found: {_found(table)}"
    )


def no_user(table: Table, order: str) -> ColumnError:
    """Return the error for lines of orders without who ordered."""
    orders = _beside(table, order, "user") or "orders.csv"
    return ColumnError(
        f"'{table.name}' says what was bought in each {order!r}, but no column says by whom: join the table of "
        f"the orders: recae train {_file(table.name)} --orders {_file(orders)}; "
        f"or let each order stand for a user with --user-column {order}; found: {_found(table)}"
    )


def no_purchases(table: Table, item: str) -> ColumnError:
    """Return the error for a table with one row an item."""
    return ColumnError(
        f"'{table.name}' has one row for each value of column {item!r} and nothing that says who bought it: it is a "
        "table of items, not of purchases; give it beside the purchases: recae train purchases.csv --items "
        f"{_file(table.name)}"
    )


def _found(table: Table) -> str:
    names = table.columns
    return ", ".join(map(repr, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _file(path: str) -> str:
    return path if re.fullmatch(r"[\w./:+@%-]+", path) else "'" + path.replace("'", "'\\''") + "'"


def _beside(table: Table, order: str, role: str) -> str | None:
    """Return the file in the same folder that says what is missing of the same orders; None where there is none."""
    if len(table.files) != 1:
        return None
    missing = {"user": "item", "item": "user"}[role]
    found: list[tuple[bool, int, str]] = []
    with contextlib.suppress(OSError):
        here = table.files[0]
        files = [f for f in sorted(here.parent.iterdir())[:_MOST] if f.is_file() and f != here]
        for file in files:
            names, rows = _head(file) if _TEXT.fullmatch(file.name) else ([], [])
            place = next((i for i, name in enumerate(names) if plain(name) == plain(order)), None)
            if place is None or not _has(names, role):
                continue
            values = {row[place].strip() for row in rows if len(row) > place} - {""}
            if values and _knows(table, order, values):
                # the larger of those that do not say both
                found.append((_has(names, missing), -file.stat().st_size, file.name))
    return str(Path(table.name).parent / min(found)[2]) if found and not min(found)[0] else None


def _has(names: list[str], role: str) -> bool:
    return any(p < 4 for name in names if (p := Name(name).preference(role)) is not None)


def _head(file: Path) -> tuple[list[str], list[list[str]]]:
    """Return the names and first rows of a file of text; nothing where it is none."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            lines = opened.read(_HEAD).decode("utf-8-sig", "replace").splitlines()
        delimiter = max(",;\t|", key=lines[0].count) if lines else ","
        rows = list(csv.reader(lines[:-1] or lines, delimiter=delimiter))
    except (OSError, EOFError, csv.Error):
        return [], []
    return ([name.strip() for name in rows[0]], rows[1:]) if rows else ([], [])


def _knows(table: Table, order: str, values: set[str]) -> bool:
    """Tell whether a table has one of some values of its order's column."""
    listed = ", ".join(map(text, sorted(values)))
    found = table.engine.rows(
        f"SELECT 1 FROM {table.relation} WHERE {table.as_text(order)} IN ({listed}) LIMIT 1"
    )
    return bool(found)
