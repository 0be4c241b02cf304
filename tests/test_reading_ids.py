"""Ingest: ids stay the exact text that they are, whatever the type of their column."""

import csv
import datetime as dt
import decimal
from pathlib import Path

import pyarrow as pa
import pytest
from readings import from_csv, from_table, pairs, read_with_report

from recae.errors import ColumnError, SourceError


def test_ids_are_exact_text_in_text_order(tmp_path: Path) -> None:
    ids = ["0042", "42", "42.0", "12345678901234567890", "A B", " a", "a,b", 'q"', "é", "-1", "1\n2"]
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "item"), *((id_, id_) for id_ in reversed(ids)), ("NA", "42")])
    shop, report = read_with_report(path)
    assert list(shop.users) == list(shop.items) == sorted(ids)
    assert pairs(shop) == {(id_, id_): 1 for id_ in sorted(ids)}
    assert any("'NA' in 1 row is taken as no user" in note for note in report.notes)


def test_ids_that_all_end_in_point_zero_are_whole_numbers(tmp_path: Path) -> None:
    shop, report = from_csv(tmp_path, "user,item\n17850.0,1.0\n07.0,2\n,3.0\n")
    assert list(shop.users) == ["07", "17850"]
    assert list(shop.items) == ["1.0", "2"]
    assert report.notes == ("user: every value looks like 07.0, read as whole numbers (07)",)


@pytest.mark.some(6)
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
        from_table(tmp_path, user=column, item=["a", "b"], layout="rows")


def test_lists_of_ids_become_rows(tmp_path: Path) -> None:
    shop, report = from_table(tmp_path, user=pa.array([[1, 2], [2]]), item=["a", "b"])
    assert pairs(shop) == {("1", "a"): 1, ("2", "a"): 1, ("2", "b"): 1}
    assert report.notes[0] == "nested lists become rows: one for each element of 'user[]'"
