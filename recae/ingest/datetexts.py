"""Dates and times as people and programs write them, read by whole columns."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.ingest.report import Settled
from recae.interactions import NO_TIME

_CLOCK: Final = (
    r"(?:(?:[Tt_]|,?\s+)(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[AaPp][Mm])?)?"
    r"\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)
_YEAR_FIRST: Final = r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _CLOCK
_YEAR_LAST: Final = r"^(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{4}|\d{2})" + _CLOCK
_WEEKDAY: Final = r"^(?:[A-Za-z]{3,9},?\s+)?"
_DAY_MONTH: Final = (
    _WEEKDAY + r"(?P<d>\d{1,2})[-/ .]?\s*(?P<m>[A-Za-z]{3,9})[-/ .,]*(?P<y>\d{4}|\d{2})" + _CLOCK
)
_MONTH_DAY: Final = _WEEKDAY + r"(?P<m>[A-Za-z]{3,9})\.?\s+(?P<d>\d{1,2}),?\s+(?P<y>\d{4})" + _CLOCK
_COMPACT: Final = r"^(?P<y>(?:19|20)\d\d)(?P<m>[01]\d)(?P<d>[0-3]\d)[Tt ]?(?P<H>[0-2]\d)(?P<M>\d\d)(?P<S>\d\d)(?P<half>)(?P<zone>[Zz]?)$"  # noqa: E501  # one pattern reads better on one line
_MONTHS: Final = pa.array(
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    type=pa.large_string(),
)
AMBIGUOUS: Final = "no number exceeds 12"
"""What the note says where dates could be read either way."""
Fields = dict[str, pa.LargeStringArray]


def read_date_texts(texts: pa.LargeStringArray, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the seconds since 1970-01-01 UTC of distinct texts (`NO_TIME` where none is meant), and notes.

    Read are: year-month-day (with - / or .), day and month before the year (12/1/2010, 01.12.10), month names
    (1 Dec 2010, December 1, 2010) and 20101201083000; each with an optional time of day, AM/PM, fraction and
    zone. Whether the day or the month comes first is decided over all texts; fractions are cut off.

    Args:
        texts: distinct texts without surrounding blanks, shape (n,).
        name: the column's name, for the notes.
    """
    seconds = np.full(len(texts), NO_TIME)
    notes: list[str] = []
    for pattern in (_YEAR_FIRST, _YEAR_LAST, _DAY_MONTH, _MONTH_DAY, _COMPACT):
        left = np.flatnonzero(seconds == NO_TIME)
        if not left.size:
            break
        matched = pc.extract_regex(texts.take(pa.array(left)), pattern)
        rows = np.flatnonzero(matched.is_valid().to_numpy(zero_copy_only=False))
        if not rows.size:
            continue
        matched = matched.take(pa.array(rows))
        fields: Fields = {field.name: pc.struct_field(matched, field.name) for field in matched.type}
        if pattern == _YEAR_LAST:
            day, month = _day_and_month(_integers(fields["a"]), _integers(fields["b"]), name, notes)
        else:
            day, month = _integers(fields["d"]), _months(fields["m"])
        seconds[left[rows]] = _seconds(_years(fields["y"]), month, day, fields)
    return seconds, notes


def _day_and_month(
    first: NDArray[np.int64], second: NDArray[np.int64], name: str, notes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tell days from months over a whole column: the number that exceeds 12 is the day."""
    days_first, days_second = int((first > 12).sum()), int((second > 12).sum())
    if days_first == days_second == 0:
        notes.append(
            f"{name}: dates are read as day/month/year, but {AMBIGUOUS}, so month/day/year is as "
            "possible; write them as year-month-day to be sure"
        )
    elif days_first >= days_second:
        notes.append(Settled(f"{name}: dates are read as day/month/year"))
    else:
        notes.append(Settled(f"{name}: dates are read as month/day/year"))
        return second, first
    return first, second


def _seconds(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64], fields: Fields
) -> NDArray[np.int64]:
    """Return seconds since 1970-01-01 UTC, `NO_TIME` where the calendar or the clock has no such time."""
    hour, minute, second = (_integers(fields[part]) for part in ("H", "M", "S"))
    half = pc.utf8_lower(fields["half"])
    morning, evening = _equal(half, "am"), _equal(half, "pm")
    ok = (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second <= 60)
    ok &= ~(morning | evening) | ((hour >= 1) & (hour <= 12))
    hour = np.where(morning | evening, hour % 12 + 12 * evening, hour)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    start = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    end = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    ok &= (day >= 1) & (day <= end - start)
    digits = pc.replace_substring_regex(fields["zone"], r"[^\d]", "")
    offset = _integers(pc.utf8_slice_codeunits(digits, 0, 2)) * 3600
    offset += _integers(pc.utf8_slice_codeunits(digits, 2, 4)) * 60
    west = np.asarray(pc.starts_with(fields["zone"], "-").to_numpy(zero_copy_only=False), dtype=np.bool_)
    total = (start + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - np.where(west, -offset, offset)
    return np.where(ok, total, NO_TIME)


def _integers(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Return digits as integers, 0 for none."""
    return np.asarray(pc.if_else(pc.equal(texts, ""), "0", texts).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _months(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Return months from digits or English names, 0 for anything else."""
    if not pc.any(pc.match_substring_regex(texts, "[A-Za-z]")).as_py():
        return _integers(texts)
    index = pc.index_in(pc.utf8_slice_codeunits(pc.utf8_lower(texts), 0, 3), value_set=_MONTHS)
    return np.asarray(pc.fill_null(index, -1).to_numpy(zero_copy_only=False)).astype(np.int64) + 1


def _years(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Return years; two digits mean 1969 to 2068, as in POSIX."""
    years = _integers(texts)
    short = np.asarray(pc.equal(pc.utf8_length(texts), 2).to_numpy(zero_copy_only=False), dtype=np.bool_)
    return np.where(short, np.where(years < 69, 2000, 1900) + years, years)


def _equal(texts: pa.LargeStringArray, text: str) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(texts, text).to_numpy(zero_copy_only=False), dtype=np.bool_)
