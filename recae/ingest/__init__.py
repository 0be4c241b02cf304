"""Reading purchases: record batches become `Interactions` and an account of everything that was dropped."""

from __future__ import annotations

from pathlib import Path

from recae.errors import ColumnError
from recae.events import Events
from recae.ingest.columns import BASKET_NAMES, KNOWN_NAMES, Columns, choose_columns
from recae.ingest.reading import Reading
from recae.ingest.report import IngestReport
from recae.interactions import Interactions
from recae.sources import Source, open_source

__all__ = [
    "BASKET_NAMES",
    "KNOWN_NAMES",
    "Columns",
    "IngestReport",
    "choose_columns",
    "read_events",
    "read_histories",
    "read_interactions",
    "read_with_report",
]


def read_with_report(
    source: str | Path | Source,
    *,
    query: str | None = None,
    table: str | None = None,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    quantity_column: str | None = None,
    name_column: str | None = None,
) -> tuple[Interactions, IngestReport]:
    """Read a table of purchases.

    Columns that are not given are recognised by the names in `KNOWN_NAMES`. Ids are exact text, ordered as
    text. Rows without a user or an item, with a quantity of zero or less or one that is no number, and exact
    duplicates (same user, item, time and quantity; only where there are times) are dropped and counted. A
    missing quantity counts as one. Blank names are ignored, blanks around a name removed.

    Args:
        source: a file, a folder, a pattern, "-", or the URL of a database; see `recae.sources.open_source`.
        query, table: what to read of a database.
        user_column, item_column, time_column, quantity_column, name_column: exact column names; "" for the
            last three says that there is none.

    Returns:
        the interactions, and the report of what was read and dropped.

    Raises:
        SourceError: the source cannot be read to its end.
        ConfigError: a query or table is given for something else than a database, or both.
        ColumnError: the columns are not the ones needed, or of types that cannot be used.
        DataError: fewer than two users or two items are left.
    """
    given = {
        "user": user_column,
        "item": item_column,
        "time": time_column,
        "quantity": quantity_column,
        "name": name_column,
    }
    interactions, _, report = _read(open_source(source, query=query, table=table), given)
    return interactions, report


def read_interactions(source: str | Path | Source, **options: str | None) -> Interactions:
    """Read a table of purchases as `read_with_report` does, with its options, and keep no report."""
    return read_with_report(source, **options)[0]


def read_events(
    source: str | Path | Source,
    *,
    query: str | None = None,
    table: str | None = None,
    basket_column: str | None = None,
    **columns: str | None,
) -> tuple[Interactions, Events, IngestReport]:
    """Read a table of purchases as `read_with_report` does, and keep which were made together, in which order.

    A basket is what a user bought at one moment. Where there is no time column, or one is named, a basket
    column tells the baskets apart: the number of the order, in which they are ordered unless times say it. A purchase
    with neither belongs to its user's first basket. Beside what `read_with_report` needs, this
    takes some 20 bytes for each purchase, and four times as many while they are sorted.

    Args:
        source, query, table: as for `read_with_report`.
        basket_column: exact name of the basket column; by default the first of `BASKET_NAMES`, and only where
            there is no time column; "" says that there is none.
        columns: the other columns, as for `read_with_report`.

    Returns:
        the interactions, the purchases by basket with the same users and items, and the report.

    Raises:
        ColumnError: beside the errors of `read_with_report`, there is neither a time nor a basket column, or
            without times the baskets are not whole numbers.
        SourceError, ConfigError, DataError: as `read_with_report`.
    """
    roles = ("user", "item", "time", "quantity", "name")
    if unknown := sorted(set(columns) - {f"{role}_column" for role in roles}):
        raise TypeError(f"read_events() got an unexpected keyword argument '{unknown[0]}'")
    given = {role: columns.get(f"{role}_column") for role in roles}
    opened = open_source(source, query=query, table=table)
    interactions, events, report = _read(opened, {**given, "basket": basket_column})
    assert events is not None  # noqa: S101  # a basket was asked for
    return interactions, events, report


def read_histories(
    source: Source, *, user_column: str | None = None, item_column: str | None = None, weighted: bool = False
) -> tuple[Interactions, Events | None]:
    """Read users to score, of whom one is enough, by the rules of `read_with_report`.

    Args:
        source: a table of purchases.
        user_column, item_column: exact column names; by default recognised.
        weighted: read which purchases were made together, too, if the table has a time or a basket column.

    Returns:
        the interactions, and the purchases by basket as `read_events` gives them, or None.

    Raises:
        SourceError, ColumnError: as `read_with_report`.
        DataError: no purchase is left.
    """
    given: dict[str, str | None] = {"user": user_column, "item": item_column, "quantity": None, "name": ""}
    given["time"] = None if weighted else ""
    if weighted:
        found = choose_columns(source.column_names, given | {"basket": None})
        if found.time is not None or found.basket is not None:
            given["basket"] = None
    interactions, events, _ = _read(source, given, fewest=1)
    return interactions, events


def _read(
    table: Source, given: dict[str, str | None], fewest: int = 2
) -> tuple[Interactions, Events | None, IngestReport]:
    """Read a table; the events only where ``given`` has the role ``basket``."""
    try:
        columns = choose_columns(table.column_names, given)
        if "basket" in given and columns.time is None and columns.basket is None:
            found = ", ".join(map(repr, table.column_names[:30]))
            raise ColumnError(
                "repeat purchases need to know which were made together, but there is neither a time nor a basket "
                f"column; name one with --time-column or --basket-column; found: {found}"
            )
        reading = Reading(table, columns, fewest)
        for batch in table.batches(columns.used()):
            reading.add(batch)
        return reading.finish(time_is_given=bool(given["time"]), with_events="basket" in given)
    except ColumnError as error:  # which knows the column, and not the table that it is in
        raise ColumnError(f"'{table.name}': {error}") from error
