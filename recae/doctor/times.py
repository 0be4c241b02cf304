"""Checks of times: impossible ones, units, gaps and the period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recae.doctor.findings import EXAMPLES, Finding, Severity, counted, percent
from recae.doctor.watch import Seen
from recae.ids import shown
from recae.ingest.datetexts import AMBIGUOUS
from recae.interactions import NO_TIME

DAY: Final = 86_400
_YEAR_1990: Final = 631_152_000
WRONG_UNITS: Final = ("times-mixed-units", "times-excel-days")
"""Codes of findings that say that times were read in the wrong unit."""
_EXCEL: Final = "days since 1900, as Excel counts"


def known_times(seen: Seen) -> NDArray[np.int64]:
    """Return the times that are known, in the order of the rows."""
    times = seen.keys.times
    return np.zeros(0, np.int64) if times is None else times[times != NO_TIME]


def check_times(seen: Seen, now: float) -> Iterator[Finding]:
    """Check the times of the rows that were read.

    Args:
        seen: what was seen of the table.
        now: the present, in seconds since 1970-01-01 UTC.
    """
    keys, column = seen.keys, seen.columns.time
    if column is None or keys.times is None or not keys.times.size:
        return
    yield from _unknown(seen, column)
    times = known_times(seen)
    if not times.size:
        return
    units = list(_units(seen, column))
    yield from units
    if any(AMBIGUOUS in note for note in keys.notes):
        yield Finding(
            Severity.WARNING,
            "times-day-or-month",
            column,
            "dates are read as day/month/year, but no number exceeds 12: they may be month/day/year",
            "write them as year-month-day, such as 2024-03-01",
        )
    if not units:  # else the rest would only say the same once more
        yield from _impossible(seen, column, now)
        yield from _span(times, column)
        yield from _gaps(times, column)


def _span(times: NDArray[np.int64], column: str) -> Iterator[Finding]:
    first, last = int(times.min()), int(times.max())
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
    elif not (times % DAY).any():
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


def _unknown(seen: Seen, column: str) -> Iterator[Finding]:
    keys = seen.keys
    times = keys.times
    assert times is not None  # noqa: S101  # the caller has looked
    missing = int((times == NO_TIME).sum()) - keys.unreadable
    if keys.unreadable:
        most = keys.unreadable > times.size // 2
        yield Finding(
            Severity.PROBLEM if most else Severity.WARNING,
            "times-unreadable",
            column,
            f"{keys.unreadable:,} times ({percent(keys.unreadable, times.size)}) cannot be read; those purchases count "
            "without a time",
            "write times as 2024-03-01 or 2024-03-01 12:30:00; --time-column names another column",
            tuple(map(shown, keys.unreadable_texts)),
            keys.unreadable,
        )
    if missing:
        yield Finding(
            Severity.WARNING if missing >= 0.05 * times.size else Severity.NOTE,
            "times-missing",
            column,
            f"{missing:,} purchases ({percent(missing, times.size)}) have no time",
            "nothing to do, unless they should have one; a split by time leaves them to the training part",
            rows=missing,
        )


def _units(seen: Seen, column: str) -> Iterator[Finding]:
    found = seen.units
    if len(found) > 1:
        most = max(found, key=lambda unit: found[unit])
        listed = ", ".join(f"{unit} in {count:,} rows" for unit, count in found.items())
        yield Finding(
            Severity.PROBLEM,
            "times-mixed-units",
            column,
            f"times are written in several ways: {listed}; one way is taken for all numbers, so some dates are wrong",
            f"write all of them as {most}, or as 2024-03-01 12:30:00",
            rows=sum(found.values()) - found[most],
        )
    elif _EXCEL in found:
        yield Finding(
            Severity.PROBLEM,
            "times-excel-days",
            column,
            "times look like the days since 1900 that Excel counts; read as seconds they lie in January 1970",
            "format the column as a date in the spreadsheet, such as 2024-03-01, and export it again",
            rows=found[_EXCEL],
        )


def _impossible(seen: Seen, column: str, now: float) -> Iterator[Finding]:
    times = seen.keys.times
    assert times is not None  # noqa: S101  # the caller has looked
    for code, wrong, what, advice in (
        (
            "times-future",
            times > now + DAY,
            "lie in the future",
            "correct them, or leave them out: a split by time would hold out nothing else",
        ),
        (
            "times-before-1990",
            (times < _YEAR_1990) & (times != NO_TIME),
            "lie before 1990; programs write such dates where they know none",
            "empty the value where the time is not known",
        ),
    ):
        number = int(wrong.sum())
        if number:
            places = np.flatnonzero(wrong)[:EXAMPLES].tolist()
            yield Finding(
                Severity.PROBLEM if number >= 0.1 * times.size else Severity.WARNING,
                code,
                column,
                f"{number:,} purchases ({percent(number, times.size)}) {what}",
                advice,
                tuple(f"row {seen.row(place):,}: {moment(int(times[place]))}" for place in places),
                number,
            )


def _gaps(times: NDArray[np.int64], column: str) -> Iterator[Finding]:
    days = np.unique(times // DAY)
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
