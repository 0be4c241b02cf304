"""Ingest: which column is which, by its name or as an option gives it."""

from pathlib import Path

import pytest
from readings import from_csv, pairs

from recae.errors import ColumnError
from recae.ingest import choose_columns

ONLINE_RETAIL = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
]


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
