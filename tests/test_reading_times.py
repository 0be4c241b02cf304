"""Reading: columns of times as people and programs write them, decided as a whole, against plain readings of them."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valuecolumns import a_table, micros, read_times, settle

from recae.errors import ColumnError
from recae.reading.engine import Engine
from recae.reading.times import TimeColumn

NO_DATE = "which stands for no date"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(2**30) as opened:
        yield opened


@pytest.mark.some(10)
@pytest.mark.parametrize(
    ("texts", "expected", "note"),
    [
        (["2010-12-01 08:26:00", "2010-12-01T08:26"], ["2010-12-01 08:26:00"] * 2, None),
        (["2010-12-01", "2010-12-01T00:00:00.999Z"], ["2010-12-01", "2010-12-01 00:00:00.999"], None),
        (["2010-12-01T08:26:00+02:00", "2010-12-01 06:26:00 UTC"], ["2010-12-01 06:26"] * 2, None),
        (["2010-12-01T08:26:00-0530", "2010-12-01 13:56+00"], ["2010-12-01 13:56"] * 2, None),
        (["2010-12-01 08:26:00 +0100"] * 2, ["2010-12-01 07:26"] * 2, None),
        (["2010/12/01 8:26", "2010.12.1 08:26"], ["2010-12-01 08:26"] * 2, None),
        (["13/12/2010", "01/02/2010 08:26"], ["2010-12-13", "2010-02-01 08:26"], "read as day/month/year"),
        (["12/13/2010", "1/2/10 8:26 PM"], ["2010-12-13", "2010-01-02 20:26"], "read as month/day/year"),
        (["01.02.2010", "03-04-2010"], ["2010-02-01", "2010-04-03"], "as possible"),
        (["1 Dec 2010", "December 2, 2010 12:05 am"], ["2010-12-01", "2010-12-02 00:05"], None),
        (["01-DEC-10", "Wed, 01 Dec 2010 08:26:00 +0100"], ["2010-12-01", "2010-12-01 07:26"], None),
        (["20101201", "20101202"], ["2010-12-01", "2010-12-02"], "like 20101201 are read as dates"),
        (["20101201", "20101202083000"], ["2010-12-01", "2010-12-02 08:30"], "read as dates"),
        (["20101201082600", "20101202000001"], ["2010-12-01 08:26", "2010-12-02 00:00:01"], None),
        (["201012010826", "201012020000"], ["2010-12-01 08:26", "2010-12-02"], None),
        (["201012", "201101"], ["2010-12-01", "2011-01-01"], "read as months"),
        (["1291191960", "-1"], ["2010-12-01 08:26", "1969-12-31 23:59:59"], None),
        (["1291191960.7", " 1291191960 "], ["2010-12-01 08:26:00.7", "2010-12-01 08:26"], None),
        (["1291191960.123456"] * 2, ["2010-12-01 08:26:00.123456"] * 2, None),
        (["1291191960999", "1291191960000"], ["2010-12-01 08:26:00.999", "2010-12-01 08:26"], "milliseconds"),
        (["1291191960999999", "1291191960000000"], ["2010-12-01 08:26:00.999999", "2010-12-01 08:26"], "microseconds"),
        (["1291191960999999999", "1291191960000000000"], ["2010-12-01 08:26:00.999999", "2010-12-01 08:26"], "nanosec"),
        (["44930.5", "44931"], ["2023-01-04 12:00", "2023-01-05"], "days since 1900"),
        (["44930,5", "44931,25"], ["2023-01-04 12:00", "2023-01-05 06:00"], "days since 1900"),
        (["01 04, 2023", "01 14, 2023"], ["2023-01-04", "2023-01-14"], None),
        (["01 04, 2023", "14 01, 2023"], ["2023-04-01", "2023-01-14"], None),
        (["4. Januar 2023", "1. Dez. 2010"], ["2023-01-04", "2010-12-01"], None),
        (["2010年12月1日 15時17分", "2010年12月1日"], ["2010-12-01 15:17", "2010-12-01"], None),
        (["2012-02-29", "2000-02-29"], ["2012-02-29", "2000-02-29"], None),
        (["85/12/31", "23/01/04"], ["1985-12-31", "2023-01-04"], "read as year/month/day"),
    ],
)  # fmt: skip
def test_times_as_people_and_programs_write_them(
    engine: Engine, texts: list[str], expected: list[str], note: str | None
) -> None:
    settled, found = read_times(engine, texts)
    assert found == [micros(text) for text in expected]
    assert (settled.first, settled.last) == (min(found), max(found))
    assert (settled.unreadable, settled.missing, settled.sentinels) == (0, 0, 0)
    if note is None:
        assert settled.notes == ()
    else:
        assert note in settled.notes[0].text
    assert all(one.text.startswith("when: ") and one.column == "when" for one in settled.notes)


def test_a_column_of_several_kinds_is_read_as_one(engine: Engine) -> None:
    texts = [
        "2010-12-01 08:26:00", None, "1291191960123", "1291191961123", "13/01/2010", "5000", "soon", None, "n/a",
        "02/01/2010", "2010-12-01T08:26:00Z", "20101201082600",
    ]  # fmt: skip
    settled, found = read_times(engine, texts)
    expected = [
        "2010-12-01 08:26:00", None, "2010-12-01 08:26:00.123", "2010-12-01 08:26:01.123", "2010-01-13",
        "1970-01-01 00:00:05", None, None, None, "2010-01-02", "2010-12-01 08:26:00", "2010-12-01 08:26:00",
    ]  # fmt: skip
    assert found == [micros(text) for text in expected]
    assert (settled.unreadable, settled.unreadable_texts, settled.missing) == (1, ("soon",), 3)
    assert settled.units == {"dates as text": 4, "milliseconds": 2}
    mixed = settled.notes[-1]
    assert (mixed.code, mixed.doubt) == ("times-mixed-units", True)
    assert "dates as text in 4 rows, milliseconds in 2 rows" in mixed.text


def test_times_that_do_not_exist_are_counted(engine: Engine) -> None:
    bad = ["2010-02-29", "2010-13-01", "2010-00-10", "2010-01-01 25:00", "2010-01-01 10:61", "31 Foo 2010", "soon",
           "10:30", "2010-01-01 13:00 PM", "32/01/2010", "1e400", "epoch", "infinity", "2010-01-01 Europe"]  # fmt: skip
    settled, found = read_times(engine, ["2010-01-01", *bad, "", " "])
    assert found == [micros("2010-01-01"), *[None] * (len(bad) + 2)]
    assert (settled.unreadable, settled.missing) == (len(bad), 2)
    assert settled.unreadable_texts == ("2010-02-29", "2010-13-01", "2010-00-10")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1_500, None], pa.timestamp("ms")), ["1970-01-01 00:00:01.5", None]),
        (pa.array([-1, 1], pa.timestamp("us")), ["1969-12-31 23:59:59.999999", "1970-01-01 00:00:00.000001"]),
        (pa.array([10**18 + 999, None], pa.timestamp("ns")), ["2001-09-09 01:46:40", None]),
        (pa.array([10**15, None], pa.timestamp("us", tz="Europe/Berlin")), ["2001-09-09 01:46:40", None]),
        (pa.array([5, 6], pa.timestamp("s")), ["1970-01-01 00:00:05", "1970-01-01 00:00:06"]),
        (pa.array([dt.date(1970, 1, 2), None]), ["1970-01-02", None]),
        (pa.array([86_400_000, None], pa.date64()), ["1970-01-02", None]),
        (pa.array([1291191960, None]), ["2010-12-01 08:26", None]),
        (pa.array([1291191960.5, float("nan")]), ["2010-12-01 08:26:00.5", None]),
        (pa.array([1291191960.5, float("inf")]), ["2010-12-01 08:26:00.5", None]),
        (pa.array([44930.5, 44931.0]), ["2023-01-04 12:00", "2023-01-05"]),
        (pa.array([20101201.0, 20101202.0]), ["2010-12-01", "2010-12-02"]),
        (pa.array([1291191960123, 5], pa.uint64()), ["2010-12-01 08:26:00.123", "1970-01-01 00:00:00.005"]),
        (pa.array([20101201, 20101202], pa.int32()), ["2010-12-01", "2010-12-02"]),
        (pa.array([decimal.Decimal("1291191960.123456"), None]), ["2010-12-01 08:26:00.123456", None]),
        (pa.array(["1970-01-02", None]).dictionary_encode(), ["1970-01-02", None]),
        (pa.array([None, None], pa.string()), [None, None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_times_of_every_type(engine: Engine, column: pa.Array, expected: list[str | None]) -> None:
    assert read_times(engine, column)[1] == [micros(text) for text in expected]


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ([[1], [2]], "is of type BIGINT"),
        ([True, False], "is of type BOOLEAN"),
        ([{"a": 1}], "is of type STRUCT"),
        ([dt.time(15, 17)], "holds the time of day alone"),
    ],
)
def test_types_that_are_no_times(engine: Engine, column: list[Any], what: str) -> None:
    with pytest.raises(ColumnError, match=f"'when' {what}.* which is no time; name another .*--time-column"):
        read_times(engine, column)


SINCE_1970 = {10**6: "seconds", 10**3: "milliseconds", 1: "microseconds", 0: "nanoseconds"}


def plain_unit(numbers: list[int]) -> int:
    """The thousands of a second that the median of numbers is in, from 0 for seconds."""
    middle = sorted(map(abs, numbers))[len(numbers) // 2]
    return sum(middle >= bound for bound in (10**11, 10**14, 10**17))


@settings(max_examples=settings().max_examples // 3)  # each reads a table
@given(
    st.lists(
        st.one_of(
            st.integers(7 * 10**8, 2 * 10**9),
            # what programs write for no date is tried elsewhere, and counts in no median
            st.integers(7 * 10**11, 2 * 10**12).filter(lambda number: number != 999_912_312_359),
            st.integers(7 * 10**14, 2 * 10**15),
            st.integers(7 * 10**17, 2 * 10**18),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([str, "{}.0".format]),
)
def test_the_median_tells_the_unit(engine: Engine, numbers: list[int], write: Callable[[int], str]) -> None:
    place = plain_unit(numbers)
    scaled = [n * 10 ** (6 - 3 * place) if place < 3 else n // 1000 for n in numbers]
    inside = [when if abs(when) < 9.2e18 else None for when in scaled]
    settled, found = read_times(engine, [write(n) for n in numbers])
    for was, when, number in zip(found, inside, numbers, strict=True):
        # what programs write for no date is tried elsewhere
        if was != when and not (was is None and settled.sentinels):
            raise AssertionError((number, was, when))
    assert settled.unreadable == sum(when is None for when in inside)


# The order of day and month


def test_dates_that_contradict_each_other_are_refused(engine: Engine) -> None:
    settled, found = read_times(engine, ["25/01/2023", "01/26/2023", "02/02/2023", "2023-01-04", None])
    assert found == [None] * 5
    assert (settled.contradictory, settled.first, settled.missing, settled.unreadable) == (True, None, 1, 4)
    (note,) = settled.notes
    assert (note.code, note.doubt) == ("times-contradictory", True)
    assert "'25/01/2023'" in note.text
    assert "'01/26/2023'" in note.text


@pytest.mark.thorough
def test_one_contradiction_beyond_the_sample_is_found(engine: Engine) -> None:
    days = [f"{day:02}/01/2023" for day in range(1, 29)]
    for odd in ("01/29/2023", "01/29/2023 10:00", "1/29/23"):
        settled, found = read_times(engine, [*days * 800, odd])
        assert settled.contradictory
        assert set(found) == {None}
        assert f"in {800 * 16:,} rows the day comes first" in settled.notes[0].text
        assert f"in 1 the month, as in '{odd}'" in settled.notes[0].text


def test_the_order_shows_beyond_the_sample(engine: Engine) -> None:
    early = [f"{day:02}/01/2023" for day in range(1, 13)]
    settled, found = read_times(engine, [*early * 2000, "01/13/2023"])
    assert found[:12] == [micros(dt.datetime(2023, month, 1)) for month in range(1, 13)]
    assert not settled.ambiguous
    assert [note.doubt for note in settled.notes] == [False]


def test_day_or_month_undecided(engine: Engine) -> None:
    settled, found = read_times(engine, ["01/04/2023", "02/03/2023"])
    assert found == [micros("2023-04-01"), micros("2023-03-02")]
    (note,) = settled.notes
    assert settled.ambiguous
    assert (note.code, note.doubt, note.rows) == ("times-day-or-month", True, 2)
    assert note.text == (
        "when: dates are read as day/month/year, but no number exceeds 12, so month/day/year is as possible"
    )


def test_am_and_pm_speak_for_the_month_first(engine: Engine) -> None:
    settled, found = read_times(engine, ["01/04/2023 3:17 PM", "02/03/2023 9:00 a.m."])
    assert found == [micros("2023-01-04 15:17"), micros("2023-02-03 09:00")]
    assert settled.ambiguous
    assert "read as month/day/year" in settled.notes[0].text


def test_another_column_tells_the_order(engine: Engine) -> None:
    settled, found = read_times(engine, ["01/04/2023", "02/03/2023"], shipped=["01/14/2023", "02/05/2023"])
    assert found == [micros("2023-01-04"), micros("2023-02-03")]
    assert not settled.ambiguous
    assert "as in column 'shipped'" in settled.notes[0].text
    contradicting = read_times(engine, ["01/04/2023"], shipped=["01/14/2023"], paid=["14.01.2023"])
    assert contradicting[0].ambiguous


@pytest.mark.thorough
def test_short_years_first_are_told_by_their_days(engine: Engine) -> None:
    days = [dt.date(2023, 1, 1) + dt.timedelta(k) for k in range(200)]
    settled, found = read_times(engine, [f"{day:%y-%m-%d}" for day in days])
    assert found == [micros(dt.datetime(day.year, day.month, day.day)) for day in days]
    assert [(note.code, note.doubt) for note in settled.notes] == [("times-day-or-month", True)]
    settled, found = read_times(engine, [f"{day:%d-%m-%y}" for day in days])
    assert found == [micros(dt.datetime(day.year, day.month, day.day)) for day in days]
    assert [note.doubt for note in settled.notes] == [False]


@settings(max_examples=settings().max_examples // 3)  # each reads a table
@given(st.data(), st.sampled_from(["{d}/{m}/{y}", "{m}/{d}/{y}"]), st.sampled_from("/.-"))
def test_the_order_is_that_of_the_only_possible_reading(
    engine: Engine, data: st.DataObject, form: str, sign: str
) -> None:
    days = data.draw(st.lists(st.dates(dt.date(1971, 1, 1), dt.date(2030, 1, 1)), min_size=1, max_size=12))
    texts = [form.replace("/", sign).format(d=day.day, m=day.month, y=day.year) for day in days]
    clear = any(day.day > 12 for day in days)
    settled, found = read_times(engine, texts)
    assert settled.ambiguous is not clear
    if clear or form.startswith("{d}"):
        expected = [dt.datetime(day.year, day.month, day.day) for day in days]
    else:  # the day is taken to be first
        expected = [dt.datetime(day.year, day.day, day.month) for day in days]
    assert found == [micros(day) for day in expected]


# Dates that stand for none


@pytest.mark.some(5)
@pytest.mark.parametrize(
    ("usual", "sentinel", "named"),
    [
        ("20230104", "99991231", "9999-12-31"),
        ("20230104", "00000000", "0 or 0000-00-00"),
        ("20230104", "0", "0 or 0000-00-00"),
        ("20230104", "19000101", "1900-01-01"),
        ("20230104", "19700101", "1970-01-01"),
        ("2023-01-04", "9999-12-31", "9999-12-31"),
        ("2023-01-04", "9999-12-31 23:59:59", "9999-12-31"),
        ("2023-01-04", "0000-00-00", "0 or 0000-00-00"),
        ("2023-01-04", "0001-01-01", "0001-01-01"),
        ("2023-01-04", "1900-01-01", "1900-01-01"),
        ("2023-01-04", "1899-12-30", "1899-12-30"),
        ("2023-01-04", "1970-01-01", "1970-01-01"),
        ("2023-01-04 10:00:00", "1970-01-01 01:00:00", "1970-01-01"),
        ("04.01.2023", "31.12.9999", "9999-12-31"),
        ("4. Januar 2023", "1. Januar 1900", "1900-01-01"),
        ("1672845420", "0", "1970-01-01"),
        ("1672845420", "253402300799", "9999-12-31"),
        ("1672845420", "99991231", "99991231"),
        ("1672845420000", "-62135596800000", "0001-01-01"),
        ("44930", "0", "1899-12-30"),
        ("44930", "2958465", "9999-12-31"),
    ],
)
def test_dates_that_stand_for_none(engine: Engine, usual: str, sentinel: str, named: str) -> None:
    _, (expected,) = read_times(engine, [usual])
    settled, found = read_times(engine, [*[usual] * 30, sentinel, "-"])
    assert found == [*[expected] * 30, None, None]
    assert (settled.sentinels, settled.unreadable, settled.missing) == (1, 0, 1)
    (note,) = [note for note in settled.notes if NO_DATE in note.text]
    assert f"1 row holds {named}, {NO_DATE}" in note.text
    assert (note.code, note.doubt, note.rows) == ("times-sentinel", False, 1)
    assert (settled.first, settled.last) == (expected, expected)


def test_native_sentinels(engine: Engine) -> None:
    column = pa.array([dt.datetime(2023, 1, 4)] * 5 + [dt.datetime(9999, 12, 31)], pa.timestamp("us"))
    settled, found = read_times(engine, column)
    assert found == [micros("2023-01-04")] * 5 + [None]
    assert settled.sentinels == 1


def test_times_of_1970_and_1900_are_kept_where_others_are_near(engine: Engine) -> None:
    for texts in (
        ["0", "1", "2", "86400"],
        ["1970-01-01", "1970-06-01", "1972-01-01"],
        ["1900-01-01", "1901-01-01", "1899-01-01"],
        ["0", "0", "0", "1672845420"],  # most rows
        ["1970-01-01"],
    ):
        settled, found = read_times(engine, texts)
        assert settled.sentinels == 0
        assert None not in found
    assert read_times(engine, ["9999-12-31", "0001-01-01"])[1] == [
        None,
        None,
    ]  # these are no dates of a shop at all


# A clock of its own


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (["15:17", "9:17", "0:05", None], ["15:17", "09:17", "00:05", "00:00"]),
        (["15:17:01", "09:17:02.5", "24:00", ""], ["15:17:01", "09:17:02.5", None, "00:00"]),
        (["1517", "917", "5", "0"], ["15:17", "09:17", "00:05", "00:00"]),
        ([1517, 917, 5, None], ["15:17", "09:17", "00:05", "00:00"]),
        (["151701", "91702", "3", "2359"], ["15:17:01", "09:17:02", "00:00:03", "00:23:59"]),
        ([8, 23, 0, 9], ["08:00", "23:00", "00:00", "09:00"]),
        (["3:17 PM", "12:05 am", "3 PM", "12 am"], ["15:17", "00:05", "15:00", "00:00"]),
        ([0.5, 0.25, 0.0, 0.75], ["12:00", "06:00", "00:00", "18:00"]),
        (["0,5", "0,25", "0", "44930,75"], ["12:00", "06:00", "00:00", "18:00"]),
        (["15.17", "9.05", "0.30", "23.59"], ["15:17", "09:05", "00:30", "23:59"]),
        (["15h17", "15 Uhr", "15時17分", "下午3:17"], ["15:17", "15:00", "15:17", "15:17"]),
        (["30.12.1899 15:17:00", "1900-01-01 09:17", "1899-12-30T01:00:00", "n/a"],
         ["15:17", "09:17", "01:00", "00:00"]),
        (pa.array([dt.time(15, 17), dt.time(0, 0), None, dt.time(1, 2, 3, 4)]),
         ["15:17", "00:00", "00:00", "01:02:03.000004"]),
        (pa.array([dt.datetime(1899, 12, 30, 15, 17), dt.datetime(2023, 1, 1), None, None]), ["15:17"] + ["00:00"] * 3),
    ],
)  # fmt: skip
def test_a_clock_in_a_column_of_its_own(engine: Engine, clock: Any, expected: list[str | None]) -> None:
    settled, found = read_times(engine, ["2023-01-04"] * 4, clock)
    moments = ["2023-01-05" if text is None else f"2023-01-04 {text}" for text in expected]
    assert found == [micros(text) for text in moments]
    assert (settled.first, settled.last) == (min(found), max(found))
    assert not any(note.doubt for note in settled.notes)


@pytest.mark.some(1)
@pytest.mark.parametrize("date", ["20230104", "4. Januar 2023", "04.13.2023", "44930", "1672790400"])
def test_dates_of_every_kind_take_a_clock(engine: Engine, date: str) -> None:
    _, alone = read_times(engine, [date] * 2)
    _, found = read_times(engine, [date, date, None], ["15:17", "soon", "15:17"])
    assert alone[0] is not None
    assert found == [alone[0] + (15 * 60 + 17) * 60_000_000, alone[0], None]


def test_clocks_that_cannot_be_read_are_said(engine: Engine) -> None:
    settled, found = read_times(engine, ["2023-01-04"] * 3, ["15:17", "25:00", "noon"])
    assert found == [micros("2023-01-04 15:17"), micros("2023-01-04"), micros("2023-01-04")]
    (note,) = settled.notes
    assert "clock: 2 times of day could not be read (such as '25:00')" in note.text
    assert (note.doubt, note.column) == (True, "clock")


def test_dates_with_a_clock_need_no_other(engine: Engine) -> None:
    settled, found = read_times(engine, ["2023-01-04 10:00"] * 2, ["15:17", "9:17"])
    assert found == [micros("2023-01-04 10:00")] * 2
    assert "column 'clock' is not used" in settled.notes[0].text
    with pytest.raises(ColumnError, match="'clock' is of type BOOLEAN, which is no time of day"):
        read_times(engine, ["2023-01-04"], [True])


# The rows that are stored


def test_rows_may_be_a_part_of_the_table(engine: Engine) -> None:
    table = a_table(engine, when=["13/01/2023", "01/02/2023", "soon", "02/02/2023"], use=[0, 1, 0, 1])
    column = TimeColumn(table, "when")
    chosen = ", ".join(f"{sql} AS {name}" for name, sql in column.stored.items())
    rows = engine.store(f"SELECT {chosen}, use FROM {table.relation}")
    settled = column.settle(f"(SELECT * FROM {rows} WHERE use = 1)")
    found = engine.rows(f"SELECT {settled.sql} FROM {rows} r {settled.join} WHERE use = 1 ORDER BY 1")
    assert found == [(micros("2023-02-01"),), (micros("2023-02-02"),)]
    assert (settled.unreadable, settled.missing) == (0, 0)


@pytest.mark.thorough
def test_most_columns_are_read_by_the_scan(engine: Engine) -> None:
    for texts in (
        ["1672845420"] * 9,
        ["2023-01-04 15:17:00"] * 9,
        ["2023-01-04T15:17:00.123Z"] * 9,
        ["13.01.2023"] * 9,
    ):
        table = a_table(engine, when=[*texts, "n/a"])
        column = TimeColumn(table, "when")
        assert list(column.stored) == ["time_number", "time_text"]
        (left,) = engine.rows(f"SELECT count({column.stored['time_text']}) FROM {table.relation}")
        assert left == (1,)
        settled, found = settle(engine, table, column)
        assert found.count(None) == settled.missing == 1
