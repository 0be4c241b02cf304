"""`ReadOptions`: how a table of purchases is to be understood, where that is not left to its names and values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from recae.errors import ConfigError
from recae.filters import Filters

LAYOUTS: Final = ("rows", "baskets", "lists", "matrix")
"""A purchase a row; a basket a line or cell; a user and its items a line; a column an item (one-hot)."""

BAD_LINES: Final = ("stop", "skip")


BY_CODE: Final = ("filters", "times", "quantities", "baskets", "fewest", "absent_inputs")
"""Fields of `ReadOptions` that functions set: no option of a command, and no keyword."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a table. Whatever is not given is decided by the table's names and values.

    Attributes:
        query: a SELECT over a database, or over files, such as ``select * from 'orders.csv' join 'lines.csv' using
            (order_id)``.
        table: the table of a database (or of a database file, or the sheet of a workbook) to read.
        items: a table of items (id, name and whatever else) to take names from; a model stores the whole of it.
        items_columns: (meaning, names of columns) of that table, such as ("price", ("net",)), where their names do not
            tell; see `recae.reading.item_table.read_item_table`.
        orders: a table of orders that says who bought, joined by the column that both tables share.
        user_column: exact name of the column of users; None: recognised by its name and values.
        item_column: likewise of items.
        time_column: likewise of times; "" says that there is none.
        quantity_column: likewise of quantities.
        name_column: likewise of item names.
        basket_column: likewise of order or basket numbers.
        rating_column: likewise of ratings.
        event_column: likewise of events, such as view or purchase.
        status_column: likewise of what became of an order.
        confidence_column: exact name of a column that says how much a row counts; it is never recognised by itself.
        columns: the roles or names of the columns in their order, for a table without a header; "" or "-" for one that
            is not used.
        header: whether the first line is a header; None: told by its values.
        delimiter: between the fields of a line; None: found.
        encoding: of text, as Python names it; None: found.
        layout: one of `LAYOUTS`; None: found where that is certain.
        where: an SQL condition over the table's own columns; other rows are left out. It takes the place of what is
            chosen by events and statuses: "true" takes all rows.
        min_rating: rows of a lower rating are left out.
        event_weights: how much each event counts, as (event, confidence); events that are not named are left out.
        absent_inputs: whether there may be no row of an event of `inputs`, as on some days, or no column of events.
        inputs: other events to keep beside the purchases, such as ("cart", "view"): words of the column of events, or
            what they mean; None: none.
        bad_lines: "stop" at a line that cannot be read, or "skip" and count it.
        filters: which purchases count; None: all.
        strict: refuse the table if a row would be dropped or a value is ambiguous.
        rejects: a CSV or Parquet file for the rows that are dropped, and for the lines that are skipped.
        memory_limit: bytes that DuckDB may take; None: half of what is free.
        times: refuse a table without times.
        quantities: keep how much of each item a user bought; refuse a table without quantities.
        baskets: keep which purchases were made together, in which order.
        fewest: users and items that there must be.
    """

    query: str | None = None
    table: str | None = None
    items: str | Path | None = None
    items_columns: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    orders: str | Path | None = None
    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    quantity_column: str | None = None
    name_column: str | None = None
    basket_column: str | None = None
    rating_column: str | None = None
    event_column: str | None = None
    status_column: str | None = None
    confidence_column: str | None = None
    columns: tuple[str, ...] | None = None
    header: bool | None = None
    delimiter: str | None = None
    encoding: str | None = None
    layout: str | None = None
    where: str | None = None
    min_rating: float | None = None
    event_weights: tuple[tuple[str, float], ...] | None = None
    inputs: tuple[str, ...] | None = None
    absent_inputs: bool = False
    bad_lines: str = "stop"
    filters: Filters | None = None
    strict: bool = False
    rejects: str | Path | None = None
    memory_limit: int | None = None
    times: bool = False
    quantities: bool = False
    baskets: bool = False
    fewest: int = 2

    def __post_init__(self) -> None:
        """Check what no table is needed for.

        Raises:
            ConfigError: a value is outside its range, or two do not go together.
        """
        if self.query is not None and self.table is not None:
            raise ConfigError("--query and --table are both given; leave one out")
        if self.query is not None and not self.query.strip().rstrip(";").strip():
            raise ConfigError("--query is empty; give a SELECT")
        if self.layout is not None and self.layout not in LAYOUTS:
            raise ConfigError(
                f"--layout is one of {', '.join(LAYOUTS)}, found '{self.layout}': choose one of these"
            )
        if self.bad_lines not in BAD_LINES:
            raise ConfigError(f"--bad-lines is stop or skip, found '{self.bad_lines}': choose one of these")
        if self.where is not None and not self.where.strip():
            raise ConfigError('--where is empty; give a condition such as "price > 0", or leave it out')
        if self.inputs is not None:
            self._check_inputs(self.inputs)
        if self.items_columns and self.items is None:
            raise ConfigError("--items-columns names columns of the table of items: give --items, too")
        for event, confidence in self.event_weights or ():
            if not 0 <= confidence < float("inf"):
                raise ConfigError(
                    f"--event-weights gives {event!r} {confidence:g}: a number from 0 on is needed, such as {event}=0.5"
                )

    def _check_inputs(self, inputs: tuple[str, ...]) -> None:
        """Raise ConfigError for events that are no inputs, or options that say something else of them."""
        if not inputs or not all(name.strip() for name in inputs) or len(set(inputs)) < len(inputs):
            raise ConfigError(
                f"--inputs lists other events than purchases, each once, such as cart,view, found {', '.join(inputs)!r}"
                ": give such a list, or leave it out"
            )
        if marked := [name for name in inputs if set(",=") & set(name)]:
            raise ConfigError(
                f"--inputs names {marked[0]!r}, but ',' and '=' separate events and their strengths: write a blank "
                "instead, since accents and punctuation do not count"
            )
        if self.where is not None:
            raise ConfigError(
                "--inputs takes other events than purchases, and --where says which rows count without a word on "
                "events: say which events are purchases with --event-weights, such as purchase=1, instead of --where"
            )
        if self.event_column == "":
            raise ConfigError(
                "--inputs takes events, and --event-column says that there is no column of them: leave one out"
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the options of a mapping; event weights may be one, too, and columns a list.

        Raises:
            ConfigError: a name is unknown, or as the constructor.
        """
        known: dict[str, Any] = dict(options)
        names = [field.name for field in fields(cls)]
        for name in known:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else "help(recae.ReadOptions) lists them"
                raise ConfigError(f"there is no option '{name}' on reading; {hint}")
        if isinstance(known.get("event_weights"), Mapping):
            known["event_weights"] = tuple(known["event_weights"].items())
        if isinstance(known.get("inputs"), str):
            known["inputs"] = split_inputs(known["inputs"])
        for name in ("columns", "event_weights", "inputs"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known)

    def names_of_columns(self) -> list[str]:
        """Return the names of the options that name columns and are given."""
        return [
            field.name
            for field in fields(self)
            if field.name.endswith("_column") and getattr(self, field.name)
        ]

    def names_given(self) -> list[str]:
        """Return the names of the options on how to read a table that are given."""
        return [
            field.name
            for field in fields(self)
            if field.name not in BY_CODE and getattr(self, field.name) not in (field.default, "")
        ]

    def updated(self, **changes: Any) -> Self:
        """Return the options with changes."""
        return replace(self, **changes)


def split_inputs(text: str) -> tuple[str, ...]:
    """Return the events of a text such as "cart,view"."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
