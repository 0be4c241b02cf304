"""The doctor on times: mixed, impossible, missing, of one moment, with gaps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from doctors import NOW, Row, changed, clean_rows, examined, found, only
from pyarrow import parquet
from readings import seconds

from recae.examination import Severity, examine_source
from recae.examination.times import day, moment


def some(rows: list[Row], change: Callable[[str], str], number: int = 7) -> list[Row]:
    """Rows of which the first have another time."""
    return [
        {**row, "timestamp": change(row["timestamp"])} if n < number else row for n, row in enumerate(rows)
    ]


@pytest.mark.some(1)
@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, 1_000_000_000])
def test_one_unit_is_fine(factor: int, tmp_path: Path) -> None:
    assert found(tmp_path, changed("timestamp", lambda t: str(seconds(t) * factor))) == {}


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("common", "odd", "names"),
    [
        (lambda t: str(seconds(t)), lambda t: f"{t}000", "seconds in 473 rows, milliseconds in 7 rows"),
        (
            lambda t: str(seconds(t) * 1000),
            lambda t: f"{t}000",
            "milliseconds in 473 rows, microseconds in 7",
        ),
        (lambda t: str(seconds(t)), lambda t: "20240131", "seconds in 473 rows, dates such as 20240131 in 7"),
    ],
)
def test_mixed_units(
    common: Callable[[str], str], odd: Callable[[str], str], names: str, tmp_path: Path
) -> None:
    seen = examined(tmp_path, some(changed("timestamp", common), odd))
    (finding,) = seen.findings
    assert (finding.code, finding.severity) == ("times-mixed-units", Severity.PROBLEM)
    assert finding.column == "timestamp"
    assert names in finding.text
    assert finding.rows == 7
    assert seen.period == (None, None)
    assert seen.expectation is not None
    assert any("Without reliable times" in sentence for sentence in seen.expectation.sentences)


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("odd", "names"),
    [
        (lambda t: str(seconds(t)), "dates as text in 473 rows, seconds in 7 rows"),
        (lambda t: "44653.5", "dates as text in 473 rows, days since 1900, as Excel counts in 7 rows"),
    ],
)
def test_texts_and_numbers_of_one_unit_are_told_apart(
    odd: Callable[[str], str], names: str, tmp_path: Path
) -> None:
    seen = examined(tmp_path, some(clean_rows(), odd))
    (finding,) = seen.findings
    assert (finding.code, finding.severity, finding.rows) == ("times-mixed-units", Severity.WARNING, 7)
    assert names in finding.text
    clean = examined(tmp_path, clean_rows())
    assert seen.period[1] == clean.period[1] is not None


@pytest.mark.thorough
def test_mixed_units_in_a_column_of_numbers(tmp_path: Path) -> None:
    rows = clean_rows()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    numbers = [seconds(text) for text in columns["timestamp"]]
    numbers[:7] = [number * 1000 for number in numbers[:7]]
    path = tmp_path / "p.parquet"
    parquet.write_table(pa.table({**columns, "timestamp": pa.array(numbers)}), path)
    (finding,) = examine_source(path, now=NOW).findings
    assert finding.code == "times-mixed-units"
    times = pa.array([seconds(text) for text in columns["timestamp"]], pa.timestamp("s"))
    for column in (times, pa.array(columns["timestamp"]).dictionary_encode()):
        parquet.write_table(pa.table({**columns, "timestamp": column}), path)
        assert examine_source(path, now=NOW).findings == ()


@pytest.mark.thorough
def test_days_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    def serial(text: str) -> str:
        return f"{25569 + seconds(text) / 86_400:.5f}"

    finding = only(tmp_path, changed("timestamp", serial), "times-excel-days")
    assert (finding.severity, finding.rows) == (Severity.NOTE, 480)
    # five decimals of a day are a second, nearly
    period = examined(tmp_path, clean_rows()).period
    assert examined(tmp_path, changed("timestamp", serial)).period == pytest.approx(period, abs=1)


def test_day_or_month(tmp_path: Path) -> None:
    def either(text: str) -> str:
        when = dt.datetime.fromisoformat(text)
        return f"{when:%m}/{when.day % 12 + 1}/{when:%Y %H:%M}"

    assert only(tmp_path, changed("timestamp", either), "times-day-or-month").severity is Severity.WARNING
    clear = changed("timestamp", lambda t: f"{dt.datetime.fromisoformat(t):%m/%d/%Y %H:%M}")
    assert found(tmp_path, clear) == {}


@pytest.mark.some(1)
def test_times_that_cannot_be_read(tmp_path: Path) -> None:
    finding = only(tmp_path, some(clean_rows(), lambda t: "at noon"), "times-unreadable")
    assert finding.severity is Severity.WARNING
    assert finding.rows == 7
    assert finding.examples == ("'at noon'",)
    many = found(tmp_path, some(clean_rows(), lambda t: f"at {t[:4]}", 400))
    assert many["times-unreadable"].severity is Severity.PROBLEM


@pytest.mark.thorough
def test_no_time_can_be_read(tmp_path: Path) -> None:
    rows = [{**row, "timestamp": f"late {n}"} for n, row in enumerate(clean_rows())]
    finding = only(tmp_path, rows, "times-unreadable")
    assert finding.severity is Severity.PROBLEM
    assert finding.examples == ("'late 0'", "'late 1'", "'late 2'")


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "severity"), [(7, Severity.NOTE), (30, Severity.WARNING)])
def test_missing_times(number: int, severity: Severity, tmp_path: Path) -> None:
    finding = only(tmp_path, some(clean_rows(), lambda t: " ", number), "times-missing")
    assert (finding.severity, finding.rows) == (severity, number)


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("code", "wrong", "right"),
    [
        (
            "times-future",
            "2024-01-02 00:00:01",
            "2024-01-02 00:00:00",
        ),  # a day more, for the zones of the earth
        ("times-before-1990", "1989-12-31 23:59:59", "1990-01-01 00:00:00"),
        ("times-before-1990", "1955-11-05", "1990-01-01 00:00:00"),
    ],
)
def test_impossible_times(code: str, wrong: str, right: str, tmp_path: Path) -> None:
    gap = {"times-gaps"}  # which such a date makes as well
    assert set(found(tmp_path, some(clean_rows(), lambda t: right, 1))) - gap == set()
    findings = found(tmp_path, some(clean_rows(), lambda t: wrong, 1))
    assert set(findings) - gap == {code}
    assert findings[code].severity is Severity.WARNING
    assert findings[code].examples == (f"row 1: {wrong}",)
    findings = found(tmp_path, some(clean_rows(), lambda t: wrong, 100))
    assert findings[code].severity is Severity.PROBLEM


def test_times_of_one_moment(tmp_path: Path) -> None:
    finding = only(tmp_path, changed("timestamp", lambda t: "2022-03-14 10:00:00"), "times-constant")
    assert finding.severity is Severity.WARNING
    assert "every purchase is at 2022-03-14 10:00:00" in finding.text


def test_times_of_one_day(tmp_path: Path) -> None:
    finding = only(tmp_path, changed("timestamp", lambda t: f"2022-03-14{t[10:]}"), "times-one-day")
    assert (finding.severity, finding.text) == (Severity.NOTE, "all purchases are of one day, 2022-03-14")


def test_days_without_a_clock(tmp_path: Path) -> None:
    finding = only(tmp_path, changed("timestamp", lambda t: t[:10]), "times-without-clock")
    assert finding.severity is Severity.NOTE


def later(days: int) -> Callable[[str], str]:
    """Move what is after 20 April by some days."""

    def move(text: str) -> str:
        when = dt.datetime.fromisoformat(text)
        return f"{when + dt.timedelta(days=days * (when >= dt.datetime(2022, 4, 20)))}"

    return move


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("days", "severity"), [(7, None), (8, Severity.NOTE), (13, Severity.WARNING), (40, Severity.WARNING)]
)
def test_gaps(days: int, severity: Severity | None, tmp_path: Path) -> None:
    rows = changed("timestamp", later(days - 1))
    if severity is None:
        assert found(tmp_path, rows) == {}
        return
    finding = only(tmp_path, rows, "times-gaps")
    assert finding.severity is severity
    last = dt.date(2022, 4, 20) + dt.timedelta(days=days - 2)
    assert finding.examples == (f"2022-04-20 to {last}: {days - 1} days",)
    assert finding.text.startswith(
        f"1 gap of unusual length without a purchase, {days - 1} of {99 + days} days"
    )


def test_a_shop_that_sells_once_a_week_has_no_gaps(tmp_path: Path) -> None:
    def weekly(text: str) -> str:
        when = dt.datetime.fromisoformat(text)
        weeks = (when - dt.datetime(2022, 3, 14)).days
        return f"{dt.datetime(2020, 3, 14) + dt.timedelta(weeks=weeks, minutes=when.minute)}"

    assert found(tmp_path, changed("timestamp", weekly)) == {}


def test_words_for_times() -> None:
    assert (moment(0), moment(86_399), day(86_399)) == ("1970-01-01", "1970-01-01 23:59:59", "1970-01-01")
    assert moment(10**15 + 1) == "1,000,000,000,000,001 s"
    assert day(10**15) == "1,000,000,000,000,000 s"
