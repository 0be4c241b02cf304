"""The doctor on columns: items that are lines of an order, names that are a person's, and which rows count."""

from __future__ import annotations

from pathlib import Path

import pytest
from doctors import Row, changed, clean_rows, found

from recae.examination import Severity


def test_an_item_for_each_row_is_the_number_of_a_line(tmp_path: Path) -> None:
    rows = [{**row, "line": f"L{n:04d}"} for n, row in enumerate(clean_rows())]
    finding = found(tmp_path, rows, item_column="line", name_column="")["items-one-row-each"]
    assert (finding.severity, finding.column, finding.rows) == (Severity.PROBLEM, "line", 480)
    assert finding.text.startswith("480 items in 480 rows: nearly every row has an item of its own")
    assert finding.examples == ("'L0000'", "'L0001'", "'L0002'")
    assert "--item-column" in finding.advice


def orders(step: int, rows: list[Row] | None = None) -> list[Row]:
    """The clean rows as orders of one to four lines, whose positions count by a step."""
    numbered = []
    for user in range(60):
        own = [row for row in (clean_rows() if rows is None else rows) if row["user_id"] == f"u{user:03d}"]
        sizes = (1 + user % 4, 4 - user % 4, 3)
        place = 0
        for order, size in enumerate(sizes):
            for position in range(size):
                time = f"2022-05-{order + 1:02d} 10:{user % 60:02d}:00"
                numbered.append({**own[place], "timestamp": time, "position": step * (position + 1)})
                place += 1
    return numbered


@pytest.mark.some(1)
@pytest.mark.parametrize("step", [1, 10])
def test_items_that_begin_anew_in_each_order_are_positions(step: int, tmp_path: Path) -> None:
    finding = found(tmp_path, orders(step), item_column="position", name_column="")["items-restart"]
    assert (finding.severity, finding.column) == (Severity.PROBLEM, "position")
    assert finding.text.startswith(
        f"the items are {step}, {2 * step}, {3 * step}, … and begin anew in 150 of 150 baskets"
    )
    assert "items-restart" not in found(tmp_path, orders(step))


@pytest.mark.thorough
def test_numbers_of_products_do_not_begin_anew(tmp_path: Path) -> None:
    rows = changed("item_id", lambda i: str(int(i[1:]) % 9 + 1), orders(1))
    assert "items-restart" not in found(tmp_path, rows)


@pytest.mark.thorough
def test_a_name_that_is_the_users_is_no_name_of_items(tmp_path: Path) -> None:
    rows = [{**row, "who": f"Ms {row['user_id']}"} for row in clean_rows()]
    finding = found(tmp_path, rows, name_column="who")["names-not-of-items"]
    assert (finding.severity, finding.column) == (Severity.PROBLEM, "who")
    assert "the names are the users', and would be shown to other users" in finding.text
    assert finding.advice.startswith("give --name-column ''")
    mixed = [{**row, "who": f"Review {n}"} for n, row in enumerate(clean_rows())]
    finding = found(tmp_path, mixed, name_column="who")["names-not-of-items"]
    assert finding.severity is Severity.WARNING
    assert all(example.startswith("'Review ") for example in finding.examples)


def test_a_name_spelt_in_two_ways_now_and_then_is_a_name(tmp_path: Path) -> None:
    rows = [
        {**row, "title": row["title"].upper() if n % 30 == 0 else row["title"]}
        for n, row in enumerate(clean_rows())
    ]
    assert found(tmp_path, rows) == {}


def test_which_rows_count_is_said_with_the_option_to_choose_otherwise(tmp_path: Path) -> None:
    rows = clean_rows(200)
    events = [{**row, "event": ("view", "cart", "purchase", "purchase")[n % 4]} for n, row in enumerate(rows)]
    finding = found(tmp_path, events)["rows-events"]
    assert finding.severity is Severity.NOTE
    assert "800" in finding.text
    assert finding.rows == 800
    assert "--event-weights" in finding.advice
    statuses = [
        {**row, "order_status": "canceled" if n % 20 == 0 else "delivered"} for n, row in enumerate(rows)
    ]
    finding = found(tmp_path, statuses)["rows-statuses"]
    assert (finding.column, finding.rows) == ("order_status", 80)
    ratings = [{**row, "rating": str(n % 5 + 1)} for n, row in enumerate(rows)]
    finding = found(tmp_path, ratings, quantity_column="")["rows-ratings"]
    assert finding.severity is Severity.NOTE
    assert "--min-rating 4" in finding.advice
