"""`read`: a table of purchases becomes `Interactions`, their baskets where they are asked for, and a report.

One scan stores what rows are made of; ids are numbered in text order; duplicates are dropped, filters applied, and one
entry a user and item is left. All of it is SQL, within the memory limit of the `Engine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from recae.errors import ColumnError, DataError
from recae.inputs import EventInputs
from recae.interactions import Events, Interactions
from recae.reading import report as why
from recae.reading.columns import choose_columns, name_columns
from recae.reading.counting import RowCounting, choose_rows
from recae.reading.engine import Engine
from recae.reading.event_inputs import EventIds, gather_inputs
from recae.reading.filtering import check_period
from recae.reading.gathering import Gathering, without_rows
from recae.reading.open import open_table
from recae.reading.options import ReadOptions
from recae.reading.rejects import check_rejects, write_rejects
from recae.reading.report import ReadReport
from recae.reading.storing import Stored, store
from recae.reading.table import Note, Table
from recae.summary import Summarised, Summary


@dataclass(frozen=True, eq=False, repr=False)
class Purchases(Summarised):
    """What was read.

    Attributes:
        interactions: an entry for each user and item.
        events: the purchases by basket; None where they were not asked for.
        report: what became of the rows.
        inputs: other events of the same users, where they were asked for, of the same items or of those that events
            may be of; else None.
    """

    interactions: Interactions
    events: Events | None
    report: ReadReport
    inputs: EventInputs | None = None

    def summary(self) -> Summary:
        """Return that of the interactions, and what the report says beside them."""
        own, report = self.interactions.summary(), self.report
        dropped = sum(report.dropped.values()) + report.skipped
        facts = [
            ("read", f"{report.rows:,} rows of {report.source}, {dropped:,} dropped"),
            ("columns", str(report.columns)),
            *(fact for fact in own.facts if fact[0] != "last bought"),
        ]
        if period := report.period:
            facts.append(("period", period))
        notes = [str(note) for note in report.notes]
        return Summary(own.title.replace("Interactions", "Purchases", 1), facts, details=notes)


def read(source: Any, options: ReadOptions | None = None) -> Purchases:
    """Read a table of purchases.

    Ids are exact text, ordered as text. Rows without a user or an item, with a quantity of zero or less or one that is
    no number, and exact duplicates (same user, item, time and quantity; only where there are times) are dropped and
    counted. A missing quantity counts as one.

    Args:
        source: a file, a folder, a pattern, "-" for the standard input, the URL of a database, ``env:NAME``; a pandas
            or polars data frame, an Arrow table or reader, an iterable of tuples (user, item, time, quantity; the last
            two may be left out), or a scipy matrix of users × items.
        options: how to understand it; None: by its names and values.

    Raises:
        SourceError: the source cannot be read to its end.
        ColumnError: the columns are not the ones needed, or may mean two things that differ much.
        ConfigError: an option does not fit the source.
        DataError: fewer than two users or two items are left, or `ReadOptions.strict` refuses them.
        OutputError: the rejects cannot be written.
    """
    with Reading(source, options) as reading:
        return reading.purchases()


def read_interactions(source: Any, **options: Any) -> Interactions:
    """Read a table of purchases as `read` does and return its interactions; the options are those of `ReadOptions`."""
    return read(source, ReadOptions.of(options)).interactions


class Reading:
    """A table being read: opened and understood at once, its rows stored by `purchases`.

    Args:
        source: as for `read`.
        options: likewise.

    Attributes:
        table: as it was opened.
        columns: those chosen.
        counting: which rows count.
        stored: the rows, after `purchases` was called; None before.
        dropped: reason to number of rows that are no purchases; empty before.
    """

    def __init__(self, source: Any, options: ReadOptions | None = None) -> None:
        """Open the table and understand its columns."""
        self.options = options = options or ReadOptions()
        if options.rejects is not None:
            check_rejects(Path(options.rejects))
        self.engine = Engine(options.memory_limit)
        self.stored: Stored | None = None
        self.dropped: dict[str, int] = {}
        try:
            self.engine.run("SET TimeZone = 'UTC'")
            self.table: Table = open_table(self.engine, source, options)
            try:
                self._understand()
            except ColumnError as error:  # which knows the column, and not the table that it is in
                raise _of_table(self.table, error) from error
        except BaseException:
            self.engine.close()
            raise

    def _understand(self) -> None:
        options = self.options
        self.table = name_columns(self.table, options)
        self.columns, notes = choose_columns(self.table, options)
        self._notes: list[Note] = [*self.table.notes, *notes]
        columns, filters = self.columns, options.filters
        if filters is not None:
            check_period(filters, columns.time, columns.time is not None)
        if options.times and columns.time is None:
            raise _lacking(
                "--half-life needs the time of each purchase", "times", "time", "half-life", self.table
            )
        if options.quantities and columns.quantity is None:
            needs = "--quantity-as-confidence needs how much of each item was bought"
            raise _lacking(needs, "quantities", "quantity", "quantity-as-confidence", self.table)
        self.counting: RowCounting = choose_rows(self.table, columns, options)
        self._notes += self.counting.notes

    def __enter__(self) -> Self:
        """Return the reading itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""
        self.engine.close()

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was decided so far."""
        return tuple(self._notes)

    def purchases(self, baskets: bool | None = None, event_ids: EventIds | None = None) -> Purchases:
        """Read the rows; the tables of `stored` stay until the reading is closed.

        Args:
            baskets: whether to keep which purchases were made together; None: as `ReadOptions.baskets` says.
            event_ids: of users and items that other events may be of, which are then the rows and the columns of each
                event; None: those of the purchases.

        Raises:
            SourceError, ColumnError, DataError, OutputError: as `read`.
        """
        if baskets is not None:
            self.options = self.options.updated(baskets=baskets)
        try:
            self._check_order()
            found = self._purchases(event_ids)
        except ColumnError as error:
            raise _of_table(self.table, error) from error
        if self.options.strict:
            found.report.check_strict()
        return found

    def _check_order(self) -> None:
        """Raise ColumnError where baskets are asked for and nothing tells them apart."""
        if self.options.baskets and self.columns.time is None and self.columns.basket is None:
            if not self.engine.rows(f"SELECT 1 FROM {self.table.relation} LIMIT 1"):
                raise without_rows(self.table.name)  # by whose values a column would have been recognised
            raise ColumnError(
                "repeat purchases need to know which were made together, but there is neither a time nor a basket "
                f"column; name one with --time-column or --basket-column; found: {_names(self.table)}"
            )

    def _purchases(self, event_ids: EventIds | None) -> Purchases:
        options, table, columns = self.options, self.table, self.columns
        self.stored = stored = store(table, columns, self.counting, options)
        self.dropped = dropped = stored.dropped
        gathering = Gathering(table, stored, columns, options)
        try:
            found = gathering.finish()
        except DataError:
            # where nothing is left, they say why; whether there are duplicates is looked for again
            again = {why.DUPLICATE: 1} if stored.timed else {}
            self._write_rejects(stored, {**dropped, **again})
            raise
        if found.duplicates:
            self.dropped = dropped = {**dropped, why.DUPLICATE: found.duplicates}
        self._write_rejects(stored, dropped)
        interactions = found.interactions
        beside = None
        if self.counting.inputs:
            names = [name for name, _ in self.counting.inputs]
            beside = gather_inputs(self.engine, stored, names, interactions, options, event_ids)
        report = ReadReport(
            source=table.name,
            columns=columns,
            rows=stored.n_rows,
            dropped=dropped,
            repeats=int(interactions.counts.sum()) - interactions.n_interactions,
            users=interactions.n_users,
            items=interactions.n_items,
            interactions=interactions.n_interactions,
            notes=(*self._notes, *stored.notes, *found.notes, *(beside.notes if beside else ())),
            first_time=found.first,
            last_time=found.last,
            baskets=None if found.events is None else found.events.n_baskets,
            rejects=None if options.rejects is None else str(options.rejects),
            filters=options.filters or None,
            filtered=found.filtered,
            left_out=stored.left_out,
            skipped=table.skipped,
            counting=self.counting.chosen,
            inputs=beside.inputs.counts if beside else {},
        )
        return Purchases(interactions, found.events, report, beside.inputs if beside else None)

    def _write_rejects(self, stored: Stored, dropped: Mapping[str, int]) -> None:
        if self.options.rejects is not None:
            write_rejects(Path(self.options.rejects), self.table, self.columns, stored.purchases, dropped)


def _of_table(table: Table, error: ColumnError) -> ColumnError:
    said = str(error)
    return ColumnError(said if said.startswith(f"'{table.name}'") else f"'{table.name}': {said}")


def _names(table: Table) -> str:
    names = table.columns
    return ", ".join(map(repr, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _lacking(needs: str, what: str, role: str, option: str, table: Table) -> ColumnError:
    """Say that an option needs a column that a table does not have, or that nobody has named."""
    return ColumnError(
        f"{needs}, but no column of {what} is recognised; name it with --{role}-column, or leave --{option} out; "
        f"found: {_names(table)}"
    )
