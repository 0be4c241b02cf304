"""`recae doctor`: checks of a table of purchases before a model is trained on it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recae.doctor.expectation import Expectation, expectation_of
from recae.doctor.findings import Finding, Severity, by_severity
from recae.doctor.ids import check_ids
from recae.doctor.rows import check_dropped, check_values
from recae.doctor.times import WRONG_UNITS, check_times
from recae.doctor.users import Figures, check_users, figures_of
from recae.doctor.watch import Seen, Watch
from recae.errors import ColumnError, DataError, SourceError
from recae.filters import Filters
from recae.ingest import (
    BASKET_NAMES,
    Columns,
    IngestReport,
    choose_columns,
    read_events,
    read_with_report,
)
from recae.ingest.report import DUPLICATE
from recae.interactions import Interactions
from recae.sources import Source, open_source

__all__ = ["Examination", "Finding", "Severity", "examine"]


@dataclass(frozen=True)
class Examination:
    """All that the doctor found in a table.

    Attributes:
        source: name of the table.
        columns: those used.
        unused: the other columns.
        rows: of the table.
        dropped: rows dropped, by reason.
        period: first and last time in seconds since 1970-01-01 UTC; None without times, and where they are misread.
        report: what reading reported; None where nothing could be made of the rows.
        figures: of the users and items that the filters leave; None likewise.
        expectation: what a model can be expected to learn from these; None likewise.
        findings: the worst first.
    """

    source: str
    columns: Columns
    unused: tuple[str, ...]
    rows: int
    dropped: dict[str, int]
    period: tuple[int | None, int | None]
    report: IngestReport | None
    figures: Figures | None
    expectation: Expectation | None
    findings: tuple[Finding, ...]

    def exit_code(self, strict: bool = False) -> int:
        """Return 2 where there is a problem, 1 where there is a warning, else 0.

        Args:
            strict: 2 for warnings as well, and for all that `recae train --strict` refuses.
        """
        found = {finding.severity for finding in self.findings}
        if Severity.PROBLEM in found:
            return 2
        refused = self.report is not None and bool(self.report.dropped or self.report.doubts())
        if strict:
            return 2 if refused or Severity.WARNING in found else 0
        return 1 if Severity.WARNING in found else 0

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
            "format_version": 1,
            "source": self.source,
            "columns": asdict(self.columns),
            "unused": list(self.unused),
            "rows": self.rows,
            "dropped": self.dropped,
            "filters": {} if report is None or report.filters is None else report.filters.as_dict(),
            "filtered": {} if report is None else report.filtered,
            "duplicate_share": self.duplicate_share,
            "repeat_share": self.repeat_share,
            "first_time": self.period[0],
            "last_time": self.period[1],
            "notes": [] if report is None else list(report.notes),
            "figures": None if self.figures is None else asdict(self.figures),
            "outlook": None if self.expectation is None else self.expectation.as_dict(),
            "findings": [finding.as_dict() for finding in self.findings],
        }


def examine(
    source: str | Path | Source,
    *,
    query: str | None = None,
    table: str | None = None,
    basket_column: str | None = None,
    filters: Filters | None = None,
    rejects: str | Path | None = None,
    now: float | None = None,
    **columns: Any,
) -> Examination:
    """Read a table of purchases once, as training does, and check it.

    Rows and their values are checked whether filters leave them out or not; users, items and what a model can be
    expected to learn are those of the purchases that are left. Beside what reading takes, this holds 24 bytes for each
    row, and some 16 more while it counts.

    Args:
        source: as for `recae.ingest.read_with_report`, like all that is not named otherwise.
        query: of a database.
        table: of a database.
        basket_column: as for `recae.ingest.read_events`; None to look at pairs alone.
        filters: which purchases count.
        rejects: where to write dropped rows.
        now: the present in seconds since 1970-01-01 UTC; by default the clock's.
        **columns: names of columns, and how to read them.

    Raises:
        SourceError, ConfigError, ColumnError, OutputError: as `read_with_report`. Purchases that nothing could be
            learned from are a finding and no error.
    """
    opened = open_source(source, query=query, table=table)
    given = {name.removesuffix("_column"): value for name, value in columns.items()}
    try:
        chosen = choose_columns(opened.column_names, given)
    except ColumnError as error:
        raise ColumnError(f"'{opened.name}': {error}") from error
    watch = Watch(chosen)
    found: list[Finding] = []
    shop: Interactions | None = None
    report: IngestReport | None = None
    try:
        if basket_column is None:
            shop, report = read_with_report(
                opened, filters=filters, rejects=rejects, watchers=[watch], **columns
            )
        else:
            shop, _, report = read_events(
                opened,
                filters=filters,
                rejects=rejects,
                watchers=[watch],
                basket_column=basket_column,
                **columns,
            )
    except (SourceError, ColumnError):
        raise
    except DataError as error:
        found.append(
            Finding(Severity.PROBLEM, "cannot-train", None, str(error), "see the other findings for why")
        )
    seen = watch.finish(with_duplicates=report is None or DUPLICATE in report.dropped)
    unused = tuple(name for name in opened.column_names if name not in chosen.used())
    found += check_dropped(seen)
    found += check_ids(seen)
    found += _no_times(seen, unused)
    found += check_times(seen, time.time() if now is None else now)
    found += check_values(seen, shop)
    figures = expectation = None
    period: tuple[int | None, int | None] = (None, None)
    if shop is not None and report is not None:
        figures = figures_of(shop)
        if not any(finding.code in WRONG_UNITS for finding in found):
            period = (report.first_time, report.last_time)
        expectation = expectation_of(figures, *period)
        found += check_users(seen, shop, figures)
    return Examination(
        opened.name,
        chosen if report is None else report.columns,
        unused,
        seen.rows,
        seen.dropped,
        period,
        report,
        figures,
        expectation,
        tuple(by_severity(found)),
    )


def _no_times(seen: Seen, unused: tuple[str, ...]) -> list[Finding]:
    """Return the finding that there is no column of times, with the columns that may serve."""
    if seen.columns.time is not None:
        return []
    plain = {name: name.casefold().replace(" ", "_") for name in unused}
    dated = [name for name in unused if any(word in plain[name] for word in ("date", "time", "day"))]
    baskets = [name for name in unused if plain[name] in BASKET_NAMES]
    advice = "name it with --time-column, if there is one"
    if dated:
        advice = f"see whether it is {' or '.join(map(repr, dated[:3]))}: --time-column names it"
    if baskets:
        advice += f"; with --repeats, {baskets[0]!r} tells the baskets apart and orders them"
    text = "no column of times: duplicates cannot be told from repeat purchases, nor what was bought last"
    return [Finding(Severity.NOTE, "times-none", None, text, advice)]
