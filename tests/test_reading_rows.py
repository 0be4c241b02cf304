"""Ingest: what becomes of every row, of too few of them, and of whole files."""

import gzip
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from readings import from_csv, pairs, read_with_report, real_data, seconds, times

from recae.errors import DataError, SourceError

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


@pytest.mark.some(2)
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


# Whole files


@pytest.mark.thorough
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


def test_online_retail_needs_no_option() -> None:
    path = real_data("online-retail.csv.gz")
    start = time.process_time()
    shop, report = read_with_report(path)
    assert time.process_time() - start < 15  # 1.6 s measured; the rest is for slow machines
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
    assert report.notes == ("CustomerID: every value looks like 12346.0, read as whole numbers (12346)",)
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
