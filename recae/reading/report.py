"""`ReadReport`: what was read, how it was understood, what was dropped and left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from recae.errors import DataError
from recae.filters import Filters
from recae.reading.roles import Columns
from recae.reading.table import Note
from recae.summary import Summarised, Summary

NO_USER: Final = "no user"
NO_ITEM: Final = "no item"
RETURNED: Final = "quantity is zero or less"
NOT_A_NUMBER: Final = "quantity is not a number"
DUPLICATE: Final = "duplicate"
REASONS: Final = (NO_USER, NO_ITEM, RETURNED, NOT_A_NUMBER, DUPLICATE)
"""Why a row is no purchase."""

EXCLUDED: Final = "excluded item"
NO_TIME: Final = "no time to tell the period by"
OUTSIDE: Final = "outside the period"
USER_MINIMUM: Final = "user of too few items"
ITEM_MINIMUM: Final = "item of too few users"
FILTERED: Final = (EXCLUDED, NO_TIME, OUTSIDE, USER_MINIMUM, ITEM_MINIMUM)
"""Why a purchase does not count: what `Filters` asked for. Nothing is wrong with such a row."""


@dataclass(frozen=True, repr=False)
class ReadReport(Summarised):
    """What became of the rows of a source.

    ``rows == interactions + repeats + sum(left_out.values()) + sum(dropped.values()) + sum(filtered.values())``
    always holds.

    Attributes:
        source: path of the source.
        columns: the columns chosen.
        rows: rows of the source, the header and skipped lines not counted.
        dropped: reason to number of rows, each row under the first reason of `REASONS` that holds; reasons without a
            row are left out.
        repeats: purchases beyond the first of a (user, item) pair, stored as counts.
        users, items, interactions: how many remain.
        notes: on how the table was understood.
        first_time, last_time: seconds since 1970-01-01 UTC of the first and last purchase stored, those counted in
            `USER_MINIMUM` and `ITEM_MINIMUM` among them; None without times.
        baskets: how many baskets the purchases came in; None where they were not asked for.
        rejects: path of the file that holds the dropped rows; None where none was asked for.
        filters: what was asked for; None where nothing was.
        filtered: reason to number of purchases that do not count by the filters, each under the first reason of
            `FILTERED` that holds, those that a minimum left out under the reason that left them out first.
        left_out: reason to number of rows that are no purchases by `--where`, their event, status or rating.
        skipped: lines that could not be read and were skipped.
        counting: how rows were chosen, as JSON values; stored with the model.
        inputs: event to number of distinct pairs of a user and an item that are held beside the purchases; their rows
            are among those left out as no purchases.
    """

    source: str
    columns: Columns
    rows: int
    dropped: dict[str, int]
    repeats: int
    users: int
    items: int
    interactions: int
    notes: tuple[Note, ...]
    first_time: int | None
    last_time: int | None
    baskets: int | None = None
    rejects: str | None = None
    filters: Filters | None = None
    filtered: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    counting: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)

    @property
    def period(self) -> str | None:
        """The days of the first and last purchase, such as "2023-01-01 to 2024-12-31"; None without times."""
        if self.first_time is None or self.last_time is None:
            return None
        return f"{_day(self.first_time)} to {_day(self.last_time)}"

    def lines(self) -> list[str]:
        """Return the report as lines to read."""
        lines = [f"read {self.rows:,} rows of {self.source}", f"columns: {self.columns}"]
        lines += [f"left out {count:,} rows: {reason}" for reason, count in self.left_out.items()]
        lines += [f"dropped {count:,} rows: {reason}" for reason, count in self.dropped.items()]
        if self.skipped:
            lines.append(f"skipped {self.skipped:,} lines that cannot be read")
        if self.rejects is not None:
            total = sum(self.dropped.values()) + self.skipped
            lines.append(f"wrote the {total:,} dropped rows to {self.rejects}")
        if self.filters:
            lines.append(f"filters: {self.filters}")
        lines += [f"left out {count:,} purchases: {reason}" for reason, count in self.filtered.items()]
        lines.append(
            f"kept {self.interactions:,} interactions of {self.users:,} users and {self.items:,} items, "
            f"and {self.repeats:,} repeat purchases as counts"
        )
        if self.inputs:
            said = ", ".join(f"{count:,} of {name!r}" for name, count in self.inputs.items())
            lines.append(f"kept other events of these users and items as inputs, pairs of the two: {said}")
        if self.baskets is not None:
            lines.append(f"kept the order of {self.baskets:,} baskets")
        if self.period is not None:
            lines.append(f"purchases from {self.period}")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def summary(self) -> Summary:
        """Return the report's lines, how the table was understood last."""
        first, *lines = self.lines()
        return Summary(f"ReadReport: {first}", notes=lines)

    def doubts(self) -> list[str]:
        """Return the notes on values that may mean something else."""
        return [str(note) for note in self.notes if note.doubt]

    def check_strict(self) -> None:
        """Raise DataError, with the counts, unless every row was stored or left out and every value is clear."""
        found = [f"{count:,} dropped: {reason}" for reason, count in self.dropped.items()]
        if self.skipped:
            found.append(f"{self.skipped:,} lines skipped")
        if doubts := self.doubts():
            more = f" and {len(doubts) - 1} more" if len(doubts) > 1 else ""
            found.append(f"in doubt: {doubts[0]}{more}")
        if not found:
            return
        keeps = "--rejects keeps" if self.rejects is None else f"'{self.rejects}' holds"
        raise DataError(
            f"with --strict every row must be kept and every value be clear, but of the {self.rows:,} rows of "
            f"'{self.source}': {'; '.join(found)}; correct them ({keeps} the rows), or leave --strict out"
        )


def _day(seconds: int) -> str:
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d}"
    except OverflowError:  # outside the years 1 to 9999
        return f"{seconds:,} s"
