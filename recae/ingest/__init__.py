"""Reading purchases: record batches become `Interactions` and an account of everything that was dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from recae.errors import ColumnError, DataError
from recae.filters import Filters
from recae.ingest.columns import BASKET_NAMES, KNOWN_NAMES, Columns, choose_columns
from recae.ingest.filtering import check_period
from recae.ingest.reading import Reading
from recae.ingest.rejects import Rejects
from recae.ingest.report import DUPLICATE, IngestReport
from recae.ingest.watching import Watcher
from recae.interactions import Events, Interactions
from recae.sources import Source, open_source
from recae.sources.base import Table
from recae.sources.fields import Fields

__all__ = [
    "BASKET_NAMES",
    "KNOWN_NAMES",
    "Columns",
    "IngestReport",
    "Watcher",
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
    filters: Filters | None = None,
    strict: bool = False,
    rejects: str | Path | None = None,
    watchers: Sequence[Watcher] = (),
    times: bool = False,
    quantities: bool = False,
) -> tuple[Interactions, IngestReport]:
    """Read a table of purchases.

    Columns that are not given are recognised by the names in `KNOWN_NAMES`. Ids are exact text, ordered as
    text. Rows without a user or an item, with a quantity of zero or less or one that is no number, and exact
    duplicates (same user, item, time and quantity; only where there are times) are dropped and counted. A
    missing quantity counts as one. Blank names are ignored, blanks around a name removed.

    Memory: the distinct ids, and some 5 to 15 bytes for each different row (user, item, and time, quantity and
    name where there are such columns), twice that while they are folded, beside what is returned: 12 bytes a pair,
    20 with times.

    Args:
        source: a file, a folder, a pattern, "-", or the URL of a database; see `recae.sources.open_source`.
        query, table: what to read of a database.
        user_column, item_column, time_column, quantity_column, name_column: exact column names; "" for the
            last three says that there is none.
        filters: which purchases count; None: all. The period and the excluded items apply to what is no duplicate, the
            minimums to what they leave; users and items without a purchase left are not known.
        strict: refuse purchases of which a row is dropped or a value is in doubt; see `IngestReport.doubts`. What
            filters leave out is nothing that is wrong.
        rejects: a CSV or Parquet file for the rows that are dropped, with number and reason, without those that filters
            leave out; also written where the purchases are refused then. It takes a temporary copy of the columns, in
            ``$TMPDIR``.
        watchers: are told of every batch.
        times: refuse a table that has no column of times.
        quantities: keep how much of each item a user bought, 4 bytes a pair more, and without times those of each
            different row; see `Interactions.quantities`.

    Returns:
        the interactions, and the report of what was read and dropped.

    Raises:
        SourceError: the source cannot be read to its end.
        ConfigError: a query or table is given for something else than a database, or both.
        ColumnError: the columns are not the ones needed, or of types that cannot be used; a period is asked for, and
            there are no times; times or quantities are asked for, and there is no column of them.
        DataError: fewer than two users or two items are left, or ``strict`` refuses them.
        OutputError: the rejects cannot be written.
    """
    given = {
        "user": user_column,
        "item": item_column,
        "time": time_column,
        "quantity": quantity_column,
        "name": name_column,
    }
    opened = open_source(source, query=query, table=table)
    interactions, _, report = _read(
        opened, given, strict, rejects, watchers, filters, times=times, quantities=quantities
    )
    return interactions, report


def read_interactions(source: str | Path | Source, **options: Any) -> Interactions:
    """Read a table of purchases as `read_with_report` does, with its options, and keep no report."""
    return read_with_report(source, **options)[0]


def read_events(
    source: str | Path | Source,
    *,
    query: str | None = None,
    table: str | None = None,
    basket_column: str | None = None,
    filters: Filters | None = None,
    strict: bool = False,
    rejects: str | Path | None = None,
    watchers: Sequence[Watcher] = (),
    times: bool = False,
    quantities: bool = False,
    **columns: str | None,
) -> tuple[Interactions, Events, IngestReport]:
    """Read a table of purchases as `read_with_report` does, and keep which were made together, in which order.

    A basket is what a user bought at one moment. Where there is no time column, or one is named, a basket
    column tells the baskets apart: the number of the order, in which they are ordered unless times say it. A purchase
    with neither belongs to its user's first basket. Beside what `read_with_report` needs, this
    takes some 20 bytes for each different purchase, and four times as many while they are sorted.

    Args:
        source, query, table: as for `read_with_report`.
        basket_column: exact name of the basket column; by default the first of `BASKET_NAMES`, and only where
            there is no time column; "" says that there is none.
        filters, strict, rejects, watchers, times, quantities, columns: as for `read_with_report`.

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
    roles_and_basket = {**given, "basket": basket_column}
    interactions, events, report = _read(
        opened, roles_and_basket, strict, rejects, watchers, filters, times=times, quantities=quantities
    )
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
    interactions, events, _ = _read(source, given, strict=False, rejects=None, watchers=(), fewest=1)
    return interactions, events


def _read(
    table: Source,
    given: dict[str, str | None],
    strict: bool,
    rejects: str | Path | None,
    watchers: Sequence[Watcher],
    filters: Filters | None = None,
    fewest: int = 2,
    times: bool = False,
    quantities: bool = False,
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
        if filters is not None:
            check_period(filters, columns.time, columns.time is not None)
        if times and columns.time is None:
            raise _lacking("--half-life needs the time of each purchase", "times", "time", "half-life", table)
        if quantities and columns.quantity is None:
            needs = "--quantity-as-confidence needs how much of each item was bought"
            raise _lacking(needs, "quantities", "quantity", "quantity-as-confidence", table)
        kept = None if rejects is None else Rejects(Path(rejects), columns)
        watching = [*watchers, *([] if kept is None else [kept])]
        reading = Reading(table, columns, watching, fewest, filters, quantities)
        # watchers see rows, which only batches have
        blocks = table.blocks if isinstance(table, Table) and not watching else table.batches
        for block in blocks(columns.used()):
            if isinstance(block, Fields):
                reading.add_fields(block)
            else:
                reading.add(block)
        pa.default_memory_pool().release_unused()  # Arrow holds on to what the batches took
        try:
            result = reading.finish(time_is_given=bool(given["time"]), with_events="basket" in given)
        except DataError:
            if kept is not None:
                kept.write(with_duplicates=True)  # where nothing is left, they say why
            raise
    except ColumnError as error:  # which knows the column, and not the table that it is in
        raise ColumnError(f"'{table.name}': {error}") from error
    interactions, events, report = result
    if kept is not None:
        kept.write(DUPLICATE in report.dropped)
        report = replace(report, rejects=str(rejects))
    if strict:
        report.check_strict()
    return interactions, events, report


def _lacking(needs: str, what: str, role: str, option: str, table: Source) -> ColumnError:
    """Say that an option needs a column that a table does not have, or that nobody has named."""
    found = ", ".join(map(repr, table.column_names[:30]))
    return ColumnError(
        f"{needs}, but no column of {what} is recognised; name it with --{role}-column, or leave --{option} out; "
        f"found: {found}"
    )
