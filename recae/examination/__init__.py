"""`recae doctor`: checks of a table of purchases before a model is trained on it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from recae.errors import ColumnError, DataError, SourceError
from recae.examination.columns import check_columns
from recae.examination.expectation import Expectation, expectation_of
from recae.examination.findings import Finding, Severity, by_severity
from recae.examination.ids import check_ids
from recae.examination.products import NoProduct, check_products, no_products
from recae.examination.rows import check_dropped, check_quantities
from recae.examination.seen import Seen
from recae.examination.times import check_times
from recae.examination.users import Figures, check_users, figures_of
from recae.reading import Columns, Purchases, Reading, ReadOptions, ReadReport
from recae.reading.own_columns import own_columns
from recae.reading.report import DUPLICATE
from recae.reading.table import Note
from recae.results import Table
from recae.summary import Grid, Summarised, Summary

__all__ = ["Examination", "Finding", "Severity", "examine", "examine_source", "spoken"]

_OF_NOTES: Final = {
    "items-one-row-each": "item-one-a-row",
    "items-restart": "item-one-a-row",
    "names-not-of-items": "name-not-of-item",
}
"""Codes of notes that a check says with more certainty."""


@dataclass(frozen=True, repr=False)
class Examination(Summarised):
    """All that the doctor found in a table.

    Attributes:
        source: name of the table.
        columns: those used.
        of_items: columns that belong to the items, which training stores with them.
        unused: the other columns.
        rows: of the table.
        dropped: rows dropped, by reason.
        period: first and last time in seconds since 1970-01-01 UTC; None without times, and where they are misread.
        report: what reading reported; None where nothing could be made of the rows.
        figures: of the users and items that the filters leave; None likewise.
        expectation: what a model can be expected to learn from these; None likewise.
        no_products: items that look like no products.
        findings: the worst first.
    """

    source: str
    columns: Columns
    of_items: tuple[str, ...]
    unused: tuple[str, ...]
    rows: int
    dropped: dict[str, int]
    period: tuple[int | None, int | None]
    report: ReadReport | None
    figures: Figures | None
    expectation: Expectation | None
    no_products: tuple[NoProduct, ...]
    findings: tuple[Finding, ...]

    def summary(self) -> Summary:
        """Return the sizes, the findings, the worst first, and what a model can be expected to learn."""
        facts = [("columns", str(self.columns))]
        if self.figures is not None:
            sizes = f"{self.figures.users:,} users, {self.figures.items:,} items, {self.figures.interactions:,} pairs"
            facts.append(("purchases", sizes))
        if self.expectation is not None:
            facts.append(("to expect", f"a model can learn {self.expectation.word} from them"))
        rows = [
            [finding.severity.value, finding.code, finding.text, finding.advice] for finding in self.findings
        ]
        grid = Grid(["severity", "code", "finding", "what to do"], rows)
        return Summary(f"Examination: {self.rows:,} rows of {self.source}", facts, grid)

    def exit_code(self, strict: bool = False) -> int:
        """Return 2 for problems, else 0; with `strict` 1 for warnings and for what `recae train --strict` refuses."""
        found = {finding.severity for finding in self.findings}
        if Severity.PROBLEM in found:
            return 2
        report = self.report
        refused = report is not None and bool(report.dropped or report.skipped or report.doubts())
        return int(strict and (refused or Severity.WARNING in found))

    @property
    def table(self) -> Table[Any]:
        """A finding a row, the worst first: ``severity``, ``code``, ``column``, ``rows``, ``text`` and ``advice``."""
        found = self.findings
        columns: dict[str, Any] = {
            "severity": pa.array([one.severity.value for one in found], pa.string()),
            "code": pa.array([one.code for one in found], pa.string()),
            "column": pa.array([one.column for one in found], pa.string()),
            "rows": pa.array([one.rows for one in found], pa.int64()),
            "text": pa.array([one.text for one in found], pa.string()),
            "advice": pa.array([one.advice for one in found], pa.string()),
        }
        return Table.of(columns)

    @property
    def duplicate_share(self) -> float:
        """Exact duplicates, as a fraction of the rows."""
        return self.dropped.get(DUPLICATE, 0) / self.rows if self.rows else 0.0

    @property
    def repeat_share(self) -> float | None:
        """Purchases of an item that the user has already, as a fraction of the purchases used."""
        if self.figures is None:
            return None
        return self.figures.repeats / (self.figures.interactions + self.figures.repeats)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON; the help of `recae doctor` documents it."""
        report = self.report
        return {
            "format_version": 2,
            "source": self.source,
            "columns": asdict(self.columns),
            "of_items": list(self.of_items),
            "unused": list(self.unused),
            "rows": self.rows,
            "dropped": self.dropped,
            "left_out": {} if report is None else report.left_out,
            "skipped": 0 if report is None else report.skipped,
            "counting": {} if report is None else dict(report.counting),
            "filters": {} if report is None or report.filters is None else report.filters.as_dict(),
            "filtered": {} if report is None else report.filtered,
            "duplicate_share": self.duplicate_share,
            "repeat_share": self.repeat_share,
            "first_time": self.period[0],
            "last_time": self.period[1],
            "notes": [] if report is None else list(map(str, report.notes)),
            "figures": None if self.figures is None else asdict(self.figures),
            "forecast": None if self.expectation is None else self.expectation.as_dict(),
            "no_products": [asdict(item) for item in self.no_products],
            "findings": [finding.as_dict() for finding in self.findings],
        }


def examine_source(source: Any, options: ReadOptions | None = None, now: float | None = None) -> Examination:
    """Read a table of purchases once, as training does, and check it.

    Args:
        source: as for `recae.reading.read`.
        options: likewise.
        now: the present in seconds since 1970-01-01 UTC; by default the clock's.

    Raises:
        SourceError, ConfigError, ColumnError, OutputError: as `recae.reading.read`. Purchases that nothing could be
            learned from are a finding and no error.
    """
    with Reading(source, options) as reading:
        try:
            purchases = reading.purchases()
        except (SourceError, ColumnError):
            raise
        except DataError as error:
            return examine(reading, None, error, now)
        return examine(reading, purchases, None, now)


def examine(
    reading: Reading, purchases: Purchases | None, error: DataError | None = None, now: float | None = None
) -> Examination:
    """Check a table from the rows that its reading has stored.

    Rows and their values are checked whether filters leave them out or not; users, items and what a model can be
    expected to learn are those of the purchases that are left.

    Args:
        reading: not closed yet.
        purchases: what it made of the rows; None where nothing could be.
        error: why not.
        now: the present in seconds since 1970-01-01 UTC; by default the clock's.
    """
    table, columns = reading.table, reading.columns
    shop, report = (None, None) if purchases is None else (purchases.interactions, purchases.report)
    seen = Seen.of(reading, report)
    chosen = {value for value in asdict(columns).values() if value is not None}
    of_items = {name for names in own_columns(table, columns).values() for name in names}
    unused = tuple(name for name in table.columns if name not in chosen | of_items)
    found = [*check_dropped(seen), *check_ids(seen), *check_columns(seen, shop, unused)]
    found += [*check_times(seen, time.time() if now is None else now), *check_quantities(seen)]
    if error is not None:
        found.append(
            Finding(Severity.PROBLEM, "cannot-train", None, str(error), "see the other findings for why")
        )
    found += _of_notes(
        (*reading.notes, *seen.stored.notes) if report is None else report.notes, found, seen.mixed
    )
    figures = expectation = None
    period: tuple[int | None, int | None] = (None, None)
    others: list[NoProduct] = []
    if shop is not None and report is not None:
        figures = figures_of(shop)
        if not seen.mixed:
            period = (report.first_time, report.last_time)
        expectation = expectation_of(figures, *period)
        found += check_users(seen, shop, figures)
        others = no_products(reading, shop)
        found += check_products(others, shop, shlex.quote(table.name), columns.item)
    return Examination(
        table.name,
        columns,
        tuple(name for name in table.columns if name in of_items),
        unused,
        seen.stored.n_rows,
        seen.dropped,
        period,
        report,
        figures,
        expectation,
        tuple(others),
        tuple(by_severity(found)),
    )


def spoken(examination: Examination) -> list[str]:
    """Return the problems and warnings as lines for a training, without what the notes of its report say."""
    report = examination.report
    said = set() if report is None else {note.text.removeprefix(f"{note.column}: ") for note in report.notes}
    return [
        f"{finding.severity.value}: {f'{finding.column}: ' if finding.column else ''}{finding.text}; {finding.advice}"
        for finding in examination.findings
        if finding.severity is not Severity.NOTE
        and (finding.severity is Severity.PROBLEM or finding.text not in said)
    ]


def _of_notes(notes: Sequence[Note], found: Sequence[Finding], mixed: bool) -> list[Finding]:
    """Return the findings on how the table was understood, those aside that the checks have made already."""
    known = {(_OF_NOTES.get(finding.code, finding.code), finding.column) for finding in found}
    more = []
    for note in notes:
        if note.code and not known & {(note.code, note.column), (note.code, None)}:
            severity = Severity.WARNING if note.doubt else Severity.NOTE
            if note.code == "times-mixed-units" and mixed:
                severity = Severity.PROBLEM
            text = note.text.removeprefix(f"{note.column}: ")
            advice = note.advice or "nothing to do where that is right"
            more.append(Finding(severity, note.code, note.column, text, advice, rows=note.rows))
    return more
