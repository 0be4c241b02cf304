"""Ingest: what becomes of every row, id, time, quantity and name."""

import csv
import datetime as dt
import decimal
import gzip
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from recae.errors import ColumnError, DataError, SourceError
from recae.ingest import IngestReport, choose_columns, codes, read_with_report
from recae.ingest.datetexts import read_date_texts
from recae.ingest.quantities import read_quantities
from recae.ingest.times import Times
from recae.interactions import NO_TIME, Interactions

DAY = 86_400
ONLINE_RETAIL = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
]


def seconds(text: str) -> int:
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp())


def from_csv(folder: Path, text: str, **options: Any) -> tuple[Interactions, IngestReport]:
    path = folder / "purchases.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read_with_report(path, **options)


def from_table(folder: Path, **columns: Any) -> tuple[Interactions, IngestReport]:
    path = folder / "purchases.parquet"
    parquet.write_table(pa.table(columns), path)
    return read_with_report(path)


def pairs(shop: Interactions) -> dict[tuple[str, str], int]:
    entries = shop.matrix.tocoo()
    return {
        (shop.users.id(u), shop.items.id(i)): int(c)
        for u, i, c in zip(entries.row, entries.col, shop.counts, strict=True)
    }


def times(shop: Interactions) -> dict[tuple[str, str], int | None]:
    assert shop.times is not None
    return {pair: None if t == NO_TIME else int(t) for pair, t in zip(pairs(shop), shop.times, strict=True)}


# Which column is which


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (ONLINE_RETAIL, ("CustomerID", "StockCode", "InvoiceDate", "Quantity", "Description")),
        (["user_id", "basket", "item_id"], ("user_id", "item_id", None, None, None)),
        (["userId", "movieId", "rating", "timestamp"], ("userId", "movieId", "timestamp", None, None)),
        (["Invoice", "StockCode", "Customer ID"], ("Customer ID", "StockCode", None, None, None)),
        (["product", "product_id", "CUSTOMER"], ("CUSTOMER", "product_id", None, None, None)),
        (["item-id", "user", "user_id"], ("user_id", "item-id", None, None, None)),
        (["date", "time", "item", "user"], ("user", "item", "date", None, None)),
    ],
)
def test_columns_are_recognised(names: list[str], chosen: tuple[str | None, ...]) -> None:
    columns = choose_columns(names, {})
    assert (columns.user, columns.item, columns.time, columns.quantity, columns.name) == chosen


def test_given_columns_win() -> None:
    names = ["user_id", "buyer", "item_id", "title", "date", "count"]
    given = {"user": "buyer", "item": "title", "time": None, "quantity": ""}
    columns = choose_columns(names, given)
    # the title is taken, so it is not the name as well; the quantity was declined
    assert columns == choose_columns(names, given | {"name": ""})
    assert str(columns) == "user 'buyer', item 'title', time 'date'"


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a", "item_id"], {}, r"the user \(who bought\); name it with --user-column; found: 'a', 'item_id'"),
        (["a", "user"], {}, "--item-column"),
        (["a", "b"], {}, "--user-column and --item-column; found: 'a', 'b'"),
        (
            ["user", "item"],
            {"time": "wen"},
            "--time-column names 'wen', which the table does not have; found",
        ),
        (["user", "item"], {"user": "User"}, "did you mean 'user'"),
        (["customer", "item"], {"user": "custmer"}, "did you mean 'customer'"),
        (["user", "item"], {"user": "item", "item": "item"}, "both be column 'item'"),
        (["user", "item"], {"user": ""}, "--user-column names ''"),
        (["user", "item", "user"], {}, "'user' occurs 2 times"),
    ],
)
def test_columns_that_do_not_serve(names: list[str], given: dict[str, str | None], message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        choose_columns(names, given)


def test_a_repeated_name_that_is_not_needed_is_fine(tmp_path: Path) -> None:
    shop, _ = from_csv(tmp_path, "x,user,x,item\n9,a,8,b\n9,c,8,d\n")
    assert pairs(shop) == {("a", "b"): 1, ("c", "d"): 1}


# Ids


def test_ids_are_exact_text_in_text_order(tmp_path: Path) -> None:
    ids = ["0042", "42", "42.0", "12345678901234567890", "A B", " a", "a,b", 'q"', "é", "NA", "-1", "1\n2"]
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "item"), *((id_, id_) for id_ in reversed(ids))])
    shop, report = read_with_report(path)
    assert list(shop.users) == list(shop.items) == sorted(ids)
    assert pairs(shop) == {(id_, id_): 1 for id_ in sorted(ids)}
    assert any("'NA' is taken as an id" in note and "in 1 rows" in note for note in report.notes)


def test_ids_that_all_end_in_point_zero_are_whole_numbers(tmp_path: Path) -> None:
    shop, report = from_csv(tmp_path, "user,item\n17850.0,1.0\n07.0,2\n,3.0\n")
    assert list(shop.users) == ["07", "17850"]
    assert list(shop.items) == ["1.0", "2"]
    assert report.notes == ("user: every value looks like 17850.0, read as whole numbers (17850)",)


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (pa.array([17850, 2**63 - 1]), ["17850", "9223372036854775807"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), ["0", "18446744073709551615"]),
        (pa.array([17850.0, -2.0]), ["-2", "17850"]),
        (pa.array([1.5, 2.0]), ["1.5", "2"]),
        (pa.array([decimal.Decimal("17850.00"), decimal.Decimal("1.50")]), ["1.50", "17850"]),
        (pa.array([decimal.Decimal(10) ** 20, decimal.Decimal(1)]), ["1", "100000000000000000000"]),
        (pa.array(["x", "y"], pa.large_string()), ["x", "y"]),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([7, 8]).dictionary_encode(), ["7", "8"]),
        (pa.array([b"x", "é".encode()]), ["x", "é"]),
        (pa.array([dt.date(2020, 1, 2), dt.date(2020, 1, 3)]), ["2020-01-02", "2020-01-03"]),
    ],
)
def test_parquet_ids_become_text(tmp_path: Path, column: pa.Array, ids: list[str]) -> None:
    shop, _ = from_table(tmp_path, user=column, item=["a", "b"])
    assert list(shop.users) == ids


def test_a_float_column_of_ids_is_noted_and_nan_is_no_user(tmp_path: Path) -> None:
    users = pa.array([17850.0, float("nan"), None, 3.0])
    shop, report = from_table(tmp_path, customer_id=users, item=["a", "b", "c", "d"])
    assert list(shop.users) == ["17850", "3"]
    assert report.dropped == {"no user": 2}
    assert report.notes == ("customer_id: a column of floats, read as whole numbers (17850)",)


@pytest.mark.parametrize(
    ("column", "error"),
    [(pa.array([[1], [2]]), ColumnError), (pa.array([b"\xff", b"\xfe"]), SourceError)],
)
def test_parquet_ids_without_text(tmp_path: Path, column: pa.Array, error: type[Exception]) -> None:
    with pytest.raises(error, match="'user'"):
        from_table(tmp_path, user=column, item=["a", "b"])


def test_codes_go_on_from_batch_to_batch() -> None:
    rng = np.random.default_rng(0)
    column = codes.Codes()
    expected: list[str | None] = []
    for _ in range(40):
        part = [None if n % 7 == 0 else str(n) for n in rng.integers(0, 60, rng.integers(0, 9))]
        column.add(pa.array(part, pa.large_string()))
        expected += part
    found, texts = column.finish()
    assert [None if code < 0 else texts[code].as_py() for code in found.tolist()] == expected
    assert texts.to_pylist() == list(dict.fromkeys(text for text in expected if text is not None))


# Rows


def test_every_dropped_row_is_counted_under_its_first_reason(tmp_path: Path) -> None:
    text = (
        "user,item,date,quantity,title\n"
        "a,x,2020-01-01,1,Ex\n"
        "a,x,2020-01-01,1,Ex\n"  # duplicate
        "a,x,2020-01-01,1.0,Ex\n"  # the same quantity, so a duplicate
        "a,x,2020-01-02,1,Ex\n"  # a repeat: another day
        "a,x,2020-01-02,2,Ex\n"  # a repeat: another quantity
        "a,x,,1,\n"
        "a,x,,1,\n"  # a repeat: without a time nothing proves a duplicate
        ",x,2020-01-01,0,Ex\n"  # no user
        '"  ",,2020-01-01,,Ex\n'  # no user
        "b,,2020-01-01,1,Ex\n"  # no item
        "b,x,2020-01-01,0,Ex\n"  # zero
        "b,x,2020-01-01,-3,Ex\n"  # a return
        "b,x,2020-01-01,many,Ex\n"  # not a number
        "b,y,2020-01-03,,Why\n"  # a missing quantity counts as one
        "b,y,2020-01-03,1,Why\n"  # and is therefore a duplicate
        'c,y,2020-01-03,"0,5",Why\n'  # half a kilogramme is a purchase
    )
    shop, report = from_csv(tmp_path, text)
    assert report.dropped == {
        "no user": 2,
        "no item": 1,
        "quantity is zero or less": 2,
        "quantity is not a number": 1,
        "duplicate": 3,
    }
    assert pairs(shop) == {("a", "x"): 5, ("b", "y"): 1, ("c", "y"): 1}
    assert times(shop) == {
        ("a", "x"): seconds("2020-01-02"),
        ("b", "y"): seconds("2020-01-03"),
        ("c", "y"): seconds("2020-01-03"),
    }
    assert shop.item_names is not None
    assert shop.item_names.to_pylist() == ["Ex", "Why"]
    assert (report.rows, report.repeats, report.interactions, report.users, report.items) == (16, 4, 3, 3, 2)
    assert (report.first_time, report.last_time) == (seconds("2020-01-01"), seconds("2020-01-03"))
    lines = report.lines()
    assert lines[0].startswith("read 16 rows of ")
    assert "dropped 2 rows: no user" in lines
    assert "purchases from 2020-01-01 to 2020-01-03" in lines
    assert "note: date: 2 rows have no time, kept without one" in lines


def test_without_times_equal_rows_are_repeats(tmp_path: Path) -> None:
    shop, report = from_csv(tmp_path, "user,item\na,x\na,x\nb,y\n")
    assert shop.times is None
    assert pairs(shop) == {("a", "x"): 2, ("b", "y"): 1}
    assert (report.dropped, report.repeats) == ({}, 1)
    assert report.notes == ("duplicate rows are kept as counts, since there is no time column",)


def test_the_most_frequent_name_wins_and_the_first_of_equals(tmp_path: Path) -> None:
    text = "user,item,name\na,x,Old\nb,x,New\nc,x, New \na,y,First\nb,y,Second\na,z, \nb,w,\n"
    shop, _ = from_csv(tmp_path, text)
    assert shop.item_names is not None
    assert dict(zip(shop.items, shop.item_names.to_pylist(), strict=True)) == {
        "w": None,
        "x": "New",
        "y": "First",
        "z": None,
    }


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"u{u},i{i},{t}" for u, i, t in rng.integers(0, 20, (300, 3)).tolist()]
    header = "user,item,timestamp\n"
    one, _ = from_csv(tmp_path, header + "\n".join(lines))
    two, _ = from_csv(tmp_path, header + "\n".join(rng.permutation(lines)))
    assert one.fingerprint == two.fingerprint


ids = st.sampled_from(["", " ", "a", "b", "007", "7", "é", "a,b"])
purchases = st.lists(
    st.tuples(ids, ids, st.sampled_from(["", "1", "2", "0", "-1", "x"]), st.sampled_from(["", "5", "6"])),
    max_size=40,
)


@given(purchases)
@settings(deadline=None)
def test_reading_agrees_with_a_slow_reading(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("ingest") / "a.csv"
    table = [*table, ("a", "a", "1", "1"), ("b", "b", "1", "2")]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "item", "qty", "timestamp"), *table])
    shop, report = read_with_report(path)

    seen: set[tuple[str, ...]] = set()
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    dropped: Counter[str] = Counter()
    for user, item, quantity, when in table:
        key = (user, item, quantity or "1", when)
        if not user.strip():
            dropped["no user"] += 1
        elif not item.strip():
            dropped["no item"] += 1
        elif quantity in ("0", "-1"):
            dropped["quantity is zero or less"] += 1
        elif quantity == "x":
            dropped["quantity is not a number"] += 1
        elif when and key in seen:
            dropped["duplicate"] += 1
        else:
            seen.add(key)
            counts[user, item] += 1
            last[user, item] = max(last.get((user, item), NO_TIME), int(when) if when else NO_TIME)
    assert pairs(shop) == dict(counts)
    assert times(shop) == {pair: None if t == NO_TIME else t for pair, t in last.items()}
    assert report.dropped == dict(dropped)
    assert report.rows == report.interactions + report.repeats + sum(report.dropped.values()) == len(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\n", "a header but no rows"),
        ("user,item\na,x\na,y\n", "one user only, 'a', of its 2 rows; recommendations need at least two"),
        ("user,item\na,x\nb,x\n,y\n", "one item only, 'x', .*1 dropped: no user.*user 'user', item 'item'"),
        (
            "user,item,qty\na,x,0\nb,y,x\n",
            "no purchase is left .*1 dropped: quantity is zero or less, 1 drop",
        ),
    ],
)
def test_too_little_is_left(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_csv(tmp_path, text)


# Quantities


def test_quantities_as_people_write_them() -> None:
    expected = {
        "2": 2, "2.0": 2, " 3 ": 3, "1,5": 1.5, "0,0": 0, "1,200": 1200, "1,200.5": 1200.5, "1.200,5": 1200.5,
        "-1,5": -1.5, "−2": -2, "+4": 4, ".5": 0.5, "1e3": 1000, "1 000": 1000, " ": 1, "0.5": 0.5,
    }  # fmt: skip
    assert read_quantities(pa.array(list(expected)), "q").tolist() == [float(v) for v in expected.values()]
    bad = ["two", "nan", "inf", "1e999", "1_000", "5-", "--1", "1.2.3", "0x1", "²"]
    assert np.isnan(read_quantities(pa.array(bad), "q")).all()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2, None, -1], pa.int8()), [2, 1, -1]),
        (pa.array([2.5, None, float("nan"), float("inf")]), [2.5, 1, 1, np.nan]),
        (pa.array([decimal.Decimal("0.5"), None]), [0.5, 1]),
        (pa.array(["2", None]).dictionary_encode(), [2, 1]),
        (pa.nulls(2), [1, 1]),
    ],
)
def test_quantities_of_every_type(column: pa.Array, expected: list[float]) -> None:
    np.testing.assert_array_equal(read_quantities(column, "q"), expected)


def test_a_quantity_that_is_a_date_is_refused() -> None:
    with pytest.raises(ColumnError, match="--quantity-column"):
        read_quantities(pa.array([dt.date(2020, 1, 1)]), "q")


# Times


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


@given(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))
@settings(deadline=None)
def test_iso_texts_agree_with_the_standard_library(moment: dt.datetime, zone: int) -> None:
    aware = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=zone)))
    expected = (aware.replace(microsecond=0) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(
        seconds=1
    )
    for text in (aware.isoformat(), aware.isoformat(" "), f"{aware:%d %B} {aware.year} {aware:%H:%M:%S%z}"):
        found, notes = read_date_texts(pa.array([text], pa.large_string()), "t")
        assert (found.tolist(), notes) == ([expected], [])


def test_batches_of_several_kinds_are_read_together() -> None:
    column = Times("when")
    batches = (
        ["2010-12-01 08:26:00", None],
        ["1291191960123", "1291191961123"],
        ["13/01/2010", "5000", "soon", None],  # 5 s: the milliseconds of the other batch hold here too
        [None, None],
        ["02/01/2010", "2010-12-01T08:26:00Z"],  # the day comes first, as the batch before it shows
        [],
        ["20101201082600"],
    )
    parts = [column.add(pa.array(texts, pa.string())) for texts in batches]
    kinds, tokens = (np.concatenate(arrays).astype(np.int64) for arrays in zip(*parts, strict=True))
    column.settle(lambda: iter([(kinds, tokens, np.ones_like(kinds))]))
    found = column.seconds(kinds, tokens)
    expected = ["2010-12-01 08:26:00", None, "2010-12-01 08:26:00", "2010-12-01 08:26:01", "2010-01-13",
                "1970-01-01 00:00:05", None, None, None, None, "2010-01-02", "2010-12-01 08:26:00",
                "2010-12-01 08:26:00"]  # fmt: skip
    assert found.tolist() == [NO_TIME if text is None else seconds(text) for text in expected]
    assert (column.unreadable, column.missing) == (1, 4)
    assert (column.first, column.last) == (5, seconds("2010-12-01 08:26:01"))
    assert [("day/month" in note, "milliseconds" in note, "'soon'" in note) for note in column.notes] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


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


# Options and whole files


def test_columns_given_by_option(tmp_path: Path) -> None:
    text = "who;what;when;how many;called\n1;x;2020-01-01;2;Ex\n2;y;2020-01-02;-1;Why\n2;z;2020-01-02;1;Zet\n"
    shop, report = from_csv(
        tmp_path,
        text,
        user_column="who",
        item_column="what",
        time_column="when",
        quantity_column="how many",
        name_column="called",
    )
    assert pairs(shop) == {("1", "x"): 1, ("2", "z"): 1}
    assert report.dropped == {"quantity is zero or less": 1}
    assert shop.item_names is not None
    assert shop.item_names.to_pylist() == ["Ex", "Zet"]
    assert "quantity 'how many'" in report.lines()[1]


def test_a_long_file_is_read_in_several_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 60, (300_000, 2))
    parquet.write_table(pa.table({"user": table[:, 0], "item": table[:, 1]}), tmp_path / "a.parquet")
    shop, report = read_with_report(tmp_path / "a.parquet")
    expected = Counter(map(tuple, table.astype(str).tolist()))
    assert pairs(shop) == dict(expected)
    assert report.repeats == 300_000 - len(expected)


def test_a_ragged_row_stops_the_reading_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"user,item\n" + b"a,b\n" * 69_998 + b"a,b,c\n" + b"a,b\n" * 30_000))
    with pytest.raises(SourceError, match="line 70000 of"):
        read_with_report(path)


# Real data


def real_data(name: str) -> Path:
    folder = os.environ.get("RECAE_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"needs {name} in the folder that RECAE_DATA names")
    return Path(folder) / name


def test_online_retail_needs_no_option() -> None:
    path = real_data("online-retail.csv.gz")
    start = time.perf_counter()
    shop, report = read_with_report(path)
    assert time.perf_counter() - start < 15  # 1.6 s measured; the rest is for busy machines
    columns = report.columns
    assert (columns.user, columns.item, columns.time) == ("CustomerID", "StockCode", "InvoiceDate")
    assert (columns.quantity, columns.name) == ("Quantity", "Description")
    assert (report.rows, report.dropped["no user"]) == (541_909, 135_080)
    # counted with the csv module: 8,905 of the rows with a customer have a quantity of zero or less
    assert report.dropped["quantity is zero or less"] == 8_905
    assert report.rows == report.interactions + report.repeats + sum(report.dropped.values())
    assert (report.users, report.items) == (4_339, 3_665)
    assert "17850" in shop.users
    assert all(id_.isdigit() for id_ in shop.users)
    assert any("17850.0" in note for note in report.notes)
    assert shop.item_names is not None
    assert shop.item_names[shop.items.row("85123A")].as_py() == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert (report.first_time, report.last_time) == (
        seconds("2010-12-01 08:26:00"),
        seconds("2011-12-09 12:50:00"),
    )


def test_ta_feng_has_repeats_and_no_times() -> None:
    shop, report = read_with_report(real_data("tafeng.csv.gz"))
    assert (report.columns.user, report.columns.item) == ("user_id", "item_id")
    assert (report.rows, report.users, report.items) == (571_933, 13_858, 11_997)
    assert report.dropped == {}
    assert shop.times is None
    assert int(shop.counts.sum()) == 571_933
