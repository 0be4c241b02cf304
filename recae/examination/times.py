"""Checks of times: missing and impossible ones, gaps and the period."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recae.examination.findings import EXAMPLES, Finding, Severity, counted, percent
from recae.examination.seen import Seen
from recae.ids import shown

DAY: Final = 86_400
_SECOND: Final = 1_000_000  # microseconds
_YEAR_1990: Final = 631_152_000
_EXCEL: Final = "days since 1900, as Excel counts"  # one of `recae.reading.units.UNITS`


def check_times(seen: Seen, now: float) -> Iterator[Finding]:
    """Check the times of the rows that are used.

    Args:
        seen: the stored rows.
        now: the present, in seconds since 1970-01-01 UTC.
    """
    column, settled = seen.columns.time, seen.stored.times
    if column is None or not seen.used:
        return
    if settled is None:
        yield from _unreadable(seen, column, seen.used, _texts(seen))
        return
    yield from _unreadable(seen, column, settled.unreadable, settled.unreadable_texts)
    missing = int(settled.missing)
    if missing:
        yield Finding(
            Severity.WARNING if missing >= 0.05 * seen.used else Severity.NOTE,
            "times-missing",
            column,
            f"{missing:,} purchases ({percent(missing, seen.used)}) have no time",
            "nothing to do, unless they should have one; a split by time leaves them to the training part",
            rows=missing,
        )
    first, last, clock = seen.engine.row(
        f"SELECT min(time), max(time), bool_or(time % {DAY * _SECOND} <> 0) FROM {seen.timed}"
    )
    if list(settled.units) == [_EXCEL]:
        yield Finding(
            Severity.NOTE,
            "times-excel-days",
            column,
            "times are the days since 1900 that Excel counts, and read as such",
            "nothing to do",
            rows=settled.units[_EXCEL],
        )
    if first is None or seen.mixed:  # the rest would only say the same once more
        return
    yield from _impossible(seen, column, now)
    yield from _span(first // _SECOND, last // _SECOND, clock, column)
    days = seen.engine.arrow(
        f"SELECT DISTINCT floor(time / {DAY * _SECOND})::BIGINT AS day FROM {seen.timed} ORDER BY 1"
    )
    yield from _gaps(days.column(0).to_numpy(), column)


def _texts(seen: Seen) -> list[str]:
    """Return the first different texts of a column of which nothing can be read."""
    if seen.engine.describe(seen.stored.rows).get("time_text") != "VARCHAR":
        return []
    found = seen.engine.rows(
        f"SELECT time_text FROM {seen.stored.rows} WHERE time_text IS NOT NULL GROUP BY 1 ORDER BY min(rowid) "
        f"LIMIT {EXAMPLES}"
    )
    return [str(text) for (text,) in found]


def _unreadable(seen: Seen, column: str, number: int, texts: Sequence[str]) -> Iterator[Finding]:
    if number:
        yield Finding(
            Severity.PROBLEM if number > seen.used // 2 else Severity.WARNING,
            "times-unreadable",
            column,
            f"{number:,} times ({percent(number, seen.used)}) cannot be read; those purchases count without a time",
            "write times as 2024-03-01 or 2024-03-01 12:30:00; --time-column names another column",
            tuple(shown(text) for text in texts[:EXAMPLES]),
            number,
        )


def _span(first: int, last: int, clock: bool, column: str) -> Iterator[Finding]:
    if first == last:
        yield Finding(
            Severity.WARNING,
            "times-constant",
            column,
            f"every purchase is at {moment(first)}, so times tell nothing, and equal rows count as duplicates",
            "name the column of the purchases' times with --time-column, or give --time-column ''",
        )
    elif first // DAY == last // DAY:
        yield Finding(
            Severity.NOTE,
            "times-one-day",
            column,
            f"all purchases are of one day, {day(first)}",
            "for a split by time, take purchases of several weeks",
        )
    elif not clock:
        yield Finding(
            Severity.NOTE,
            "times-without-clock",
            column,
            "times are days without a time of day: what a user bought on one day counts as one basket, and the same "
            "item twice on a day as a duplicate",
            "nothing to do; where the table has the time of day as well, name that column with --time-column",
        )


def moment(seconds: int) -> str:
    """Return a time as text: its day, and its time of day unless that is midnight."""
    if seconds % DAY == 0:
        return day(seconds)
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{seconds:,} s"


def day(seconds: int) -> str:
    """Return the day of a time."""
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d}"
    except OverflowError:  # outside the years 1 to 9999
        return f"{seconds:,} s"


def _impossible(seen: Seen, column: str, now: float) -> Iterator[Finding]:
    for code, wrong, what, advice in (
        (
            "times-future",
            f"time > {int((now + DAY) * _SECOND)}",
            "lie in the future",
            "correct them, or leave them out: a split by time would hold out nothing else",
        ),
        (
            "times-before-1990",
            f"time < {_YEAR_1990 * _SECOND}",
            "lie before 1990; programs write such dates where they know none",
            "empty the value where the time is not known",
        ),
    ):
        number = int(seen.engine.value(f"SELECT count(*) FROM {seen.timed} WHERE {wrong}"))
        if number:
            found = seen.engine.rows(
                f"SELECT row, time FROM {seen.timed} WHERE {wrong} ORDER BY 1 LIMIT {EXAMPLES}"
            )
            yield Finding(
                Severity.PROBLEM if number >= 0.1 * seen.used else Severity.WARNING,
                code,
                column,
                f"{number:,} purchases ({percent(number, seen.used)}) {what}",
                advice,
                tuple(f"row {row:,}: {moment(time // _SECOND)}" for row, time in found),
                number,
            )


def _gaps(days: NDArray[np.int64], column: str) -> Iterator[Finding]:
    if days.size < 30:
        return
    steps = np.diff(days)
    usual = float(np.quantile(steps, 0.95))
    unusual = np.flatnonzero(steps > max(7.0, 4 * usual))
    if not unusual.size:
        return
    without = int((steps[unusual] - 1).sum())
    span = int(days[-1] - days[0]) + 1
    longest = unusual[np.argsort(-steps[unusual], kind="stable")][:EXAMPLES]
    large = without >= 0.1 * span or steps[unusual].max() > 31
    yield Finding(
        Severity.WARNING if large else Severity.NOTE,
        "times-gaps",
        column,
        f"{counted(unusual.size, 'gap')} of unusual length without a purchase, {without:,} of {span:,} days together",
        "check whether the shop was closed or a part of the table is missing",
        tuple(
            f"{day((first + 1) * DAY)} to {day((first + step - 1) * DAY)}: {step - 1:,} days"
            for first, step in zip(days[longest].tolist(), steps[longest].tolist(), strict=True)
        ),
    )
