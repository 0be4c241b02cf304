"""Ingest: times as people and programs write them, and what cannot be read as one."""

import datetime as dt
import decimal
from pathlib import Path

import pyarrow as pa
import pytest
from readings import from_csv, from_table, seconds, times

from recae.errors import ColumnError

DAY = 86_400


@pytest.mark.some(5)
@pytest.mark.parametrize(
    ("texts", "expected", "note"),
    [
        (["2010-12-01 08:26:00", "2010-12-01T08:26"], ["2010-12-01 08:26:00"] * 2, None),
        (["2010-12-01", "2010-12-01T00:00:00.999Z"], ["2010-12-01"] * 2, None),
        (["2010-12-01T08:26:00+02:00", "2010-12-01 06:26:00 UTC"], ["2010-12-01 06:26"] * 2, None),
        (["2010-12-01T08:26:00-0530", "2010-12-01 13:56+00"], ["2010-12-01 13:56"] * 2, None),
        (["2010/12/01 8:26", "2010.12.1 08:26"], ["2010-12-01 08:26"] * 2, None),
        (["13/12/2010", "01/02/2010 08:26"], ["2010-12-13", "2010-02-01 08:26"], "day/month/year"),
        (["12/13/2010", "1/2/10 8:26 PM"], ["2010-12-13", "2010-01-02 20:26"], "month/day/year"),
        (["01.02.2010", "03-04-2010"], ["2010-02-01", "2010-04-03"], "as possible"),
        (["1 Dec 2010", "December 2, 2010 12:05 am"], ["2010-12-01", "2010-12-02 00:05"], None),
        (["01-DEC-10", "Wed, 01 Dec 2010 08:26:00 +0100"], ["2010-12-01", "2010-12-01 07:26"], None),
        (["20101201", "20101202"], ["2010-12-01", "2010-12-02"], "read as dates"),
        (["20101201082600", "20101202000001"], ["2010-12-01 08:26", "2010-12-02 00:00:01"], None),
        (["1291191960", "-1"], ["2010-12-01 08:26", "1969-12-31 23:59:59"], None),
        (["1291191960.7", " 1291191960 "], ["2010-12-01 08:26"] * 2, None),
        (["1291191960999", "1291191960000"], ["2010-12-01 08:26"] * 2, "milliseconds"),
        (["1291191960999999", "1291191960000000"], ["2010-12-01 08:26"] * 2, "microseconds"),
        (["1291191960999000000", "1291191960000000000"], ["2010-12-01 08:26"] * 2, "nanoseconds"),
        (["2012-02-29", "2000-02-29"], ["2012-02-29", "2000-02-29"], None),
    ],
)
def test_times_as_people_and_programs_write_them(
    tmp_path: Path, texts: list[str], expected: list[str], note: str | None
) -> None:
    rows = "".join(f'u{n},i{n},"{text}"\n' for n, text in enumerate(texts))
    shop, report = from_csv(tmp_path, "user,item,time\n" + rows)
    assert times(shop) == {(f"u{n}", f"i{n}"): seconds(text) for n, text in enumerate(expected)}
    if note is None:
        assert report.notes == ()
    else:
        assert note in report.notes[0]


def test_times_that_do_not_exist_are_counted(tmp_path: Path) -> None:
    bad = ["2010-02-29", "2010-13-01", "2010-00-10", "2010-01-01 25:00", "2010-01-01 10:61", "31 Foo 2010",
           "soon", "2010", "10:30", "2010-01-01 13:00 PM", "32/01/2010", "1e400"]  # fmt: skip
    rows = "".join(f"u,i{n},{text}\n" for n, text in enumerate(bad))
    shop, report = from_csv(tmp_path, "user,item,date\nv,j,2010-01-01\nv,k,\n" + rows)
    known = {pair: when for pair, when in times(shop).items() if when is not None}
    assert known == {("v", "j"): seconds("2010-01-01"), ("u", "i7"): 2010}
    notes = " ".join(report.notes)
    assert "date: 11 times could not be read (the first: '2010-02-29'), kept without a time" in notes
    assert "date: 1 rows have no time" in notes


@pytest.mark.some(4)
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1_500, None], pa.timestamp("ms")), [1, None]),
        (pa.array([-1, 1], pa.timestamp("us")), [-1, 0]),
        (pa.array([10**18, None], pa.timestamp("ns", tz="Europe/Berlin")), [10**9, None]),
        (pa.array([5, 6], pa.timestamp("s")), [5, 6]),
        (pa.array([dt.date(1970, 1, 2), None]), [DAY, None]),
        (pa.array([DAY * 1000, None], pa.date64()), [DAY, None]),
        (pa.array([1291191960, None]), [1291191960, None]),
        (pa.array([1291191960.5, float("nan")]), [1291191960, None]),
        (pa.array([1291191960123, 5], pa.uint64()), [1291191960, 5]),
        (pa.array([20101201, 20101202], pa.int32()), [seconds("2010-12-01"), seconds("2010-12-02")]),
        (pa.array([decimal.Decimal("1291191960"), None]), [1291191960, None]),
        (pa.array(["1970-01-02", None]).dictionary_encode(), [DAY, None]),
    ],
)
def test_parquet_times(tmp_path: Path, column: pa.Array, expected: list[int | None]) -> None:
    if column.type == pa.uint64():
        expected = [1291191960123 // 1000, 0]  # one unit for the whole column
    shop, _ = from_table(tmp_path, user=["a", "b"], item=["x", "y"], time=column)
    assert list(times(shop).values()) == expected


def test_a_column_without_any_time(tmp_path: Path) -> None:
    text = "user,item,date\na,x,soon\nb,y,later\n"
    shop, report = from_csv(tmp_path, text)
    assert shop.times is None
    assert (report.first_time, report.last_time) == (None, None)
    assert report.notes == ("date: no value could be read as a time, so there are no times",)
    with pytest.raises(ColumnError, match=r"--time-column names 'date', which holds no time .*'soon'"):
        from_csv(tmp_path, text, time_column="date")
    with pytest.raises(ColumnError, match="which is no time"):
        from_table(tmp_path, user=["a", "b"], item=["x", "y"], time=[[1], [2]])
    assert from_table(tmp_path, user=["a", "b"], item=["x", "y"], time=pa.nulls(2))[0].times is None
