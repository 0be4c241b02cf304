"""Orders that were undone: statuses, marks and refunds, against filters in plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from countedrows import COLUMNS, fates, shop, table_of

from recae.errors import ColumnError
from recae.reading.counting import RowCounting, choose_rows
from recae.reading.engine import Engine
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.statuses import STANDS, event_meaning, plain_words, status_meaning
from recae.reading.table import Table


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture
def tabled(engine: Engine) -> Callable[..., Table]:
    """The function that makes a table of rows."""
    return partial(table_of, engine)


def test_cancelled_orders_are_left_out_and_counted(tabled: Callable[..., Table]) -> None:
    words = ["delivered", "canceled", "shipped", "delivered"]
    rows = shop(40, order_status=lambda i: words[i % 4])
    table = tabled(rows)
    counting = choose_rows(table, Columns("user", "item", status="order_status"), ReadOptions())
    assert Counter(fates(table, counting)) == {None: 30, "order_status 'canceled'": 10}
    (note,) = counting.notes
    assert "10 'canceled' left out" in note.text
    assert "--where true" in note.advice
    everything = choose_rows(table, Columns("user", "item", status="order_status"), ReadOptions(where="true"))
    assert set(fates(table, everything)) == {None}
    assert everything.chosen == {"where": "true"}


@pytest.mark.parametrize(
    "word",
    [
        "cancelled", "Canceled", "CANCELLED", "wc-cancelled", "order_refunded", "Refunded", "voided", "failed",
        "Returned", "Shipped - Returned to Seller", "Shipped - Rejected by Buyer", "pending payment", "Payment pending",
        "unpaid", "not paid", "declined", "expired", "chargeback", "abandoned", "checkout-draft",
        "storniert", "Rückerstattet", "zurückgegeben", "Retoure", "Zahlung ausstehend", "nicht bezahlt",
        "annulée", "remboursé", "en attente de paiement", "cancelado", "devuelto", "reembolsado", "pendiente de pago",
        "não pago", "estornado", "devolvido", "annullato", "rimborsato", "reso", "non pagato",
        "geannuleerd", "terugbetaald", "onbetaald",
        "キャンセル", "返品済み", "入金待ち", "已取消", "已退款", "待付款", "отменён",
    ],
)  # fmt: skip
def test_words_that_undo_an_order(word: str) -> None:
    assert status_meaning(word) not in (None, STANDS)


@pytest.mark.parametrize(
    "word",
    [
        "delivered", "complete", "paid", "partially_refunded", "teilweise erstattet", "Not Returned", "No Return",
        "refund declined", "return rejected", "unfulfilled", "pending", "processing", "geliefert", "livré", "entregado",
        "consegnato", "已付款", "配達済み", "Shipped - Delivered to Buyer", "unavailable", "new",
    ],
)  # fmt: skip
def test_words_that_leave_an_order_standing(word: str) -> None:
    assert status_meaning(word) == STANDS


def test_unknown_words_mean_nothing() -> None:
    assert status_meaning("Kentucky") is None
    assert event_meaning("Kentucky") is None
    assert event_meaning("non-purchase") is None
    assert (
        plain_words("Add-To-Cart") == plain_words("add_to_cart") == plain_words("AddToCart") == "add to cart"
    )


def lines_of_orders(status: dict[int, str], orders: int = 20, lines: int = 3) -> list[dict[str, Any]]:
    """Return rows as shops export them: what holds for the whole order is on its first line."""
    return [
        {
            "Name": f"#{1000 + order}",
            "Email": f"p{order % 6}@example.com",
            "Financial Status": status.get(order, "paid") if line == 0 else None,
            "Cancelled at": "2024-01-02 10:00:00 +0100" if line == 0 and order == 7 else None,
            "Lineitem sku": f"s{(order + line) % 9}",
        }
        for order in range(orders)
        for line in range(lines)
    ]


def test_a_status_on_the_first_line_is_the_whole_orders(tabled: Callable[..., Table]) -> None:
    rows = lines_of_orders({3: "refunded", 5: "voided", 9: "partially_refunded"})
    table = tabled(rows)
    counting = choose_rows(table, Columns("Email", "Lineitem sku"), ReadOptions())
    wanted = {
        "#1003": "Financial Status 'refunded'",
        "#1005": "Financial Status 'voided'",
        "#1007": "Cancelled at",
    }
    assert fates(table, counting) == [wanted.get(row["Name"]) for row in rows]
    assert counting.chosen["statuses"] == [{"column": "Financial Status", "left_out": ["refunded", "voided"]}]
    assert counting.chosen["flags"] == ["Cancelled at"]
    assert "4 more lines of the same orders (by 'Name')" in counting.notes[0].text
    assert json.loads(json.dumps(counting.chosen)) == counting.chosen


def test_a_status_of_a_line_is_not_the_whole_orders(tabled: Callable[..., Table]) -> None:
    rows = [
        {
            "order_id": str(i // 2),
            "user": f"u{i % 5}",
            "item": f"i{i % 7}",
            "status": "cancelled" if i % 10 == 0 else "paid",
        }
        for i in range(60)
    ]
    table = tabled(rows)
    counting = choose_rows(table, Columns("user", "item", basket="order_id", status="status"), ReadOptions())
    assert [fate is not None for fate in fates(table, counting)] == [
        row["status"] == "cancelled" for row in rows
    ]


def test_the_order_is_needed_where_most_lines_say_nothing(tabled: Callable[..., Table]) -> None:
    rows = lines_of_orders({3: "refunded"})
    for row in rows:
        del row["Name"]
        row["Email"] = f"p{len(row['Lineitem sku'])}@example.com"
    table = tabled(rows)
    counting = choose_rows(table, Columns("Email", "Lineitem sku"), ReadOptions())
    note = next(note for note in counting.notes if note.column == "Financial Status")
    assert note.doubt
    assert "--basket-column" in note.advice


def test_what_is_always_undone_is_the_usual_course(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(40, return_date=lambda i: None if i % 20 == 0 else "2024-01-02"))
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert set(fates(table, counting)) == {None}
    assert counting.notes[0].doubt
    table = tabled(shop(40, status=lambda i: "returned" if i % 20 else "cancelled"))
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert Counter(fates(table, counting)) == {None: 38, "status 'cancelled'": 2}


def test_most_orders_may_be_cancelled(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(40, status=lambda i: ["cancelled", "failed", "refunded", "paid"][i % 4]))
    assert Counter(fates(table, choose_rows(table, COLUMNS, ReadOptions())))[None] == 10


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("name", "values", "undone"),
    [
        ("is_cancelled", ["true", "false", "false", "false"], {"true"}),
        ("returned", ["Yes", "No", None, "No"], {"Yes"}),
        ("cancelled_at", [None, "0000-00-00 00:00:00", "2024-05-01", None], {"2024-05-01"}),
        ("Refunded", ["1", "0", "0", "0"], {"1"}),
        ("cancel_reason", ["late", None, None, None], set()),
        ("customer_status", ["cancelled", "active", "active", "active"], set()),
    ],
)
def test_columns_that_mark_undone_orders(
    tabled: Callable[..., Table], name: str, values: list[str | None], undone: set[str]
) -> None:
    rows = shop(40, **{name: lambda i: values[i % 4]})
    table = tabled(rows)
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert [fate is not None for fate in fates(table, counting)] == [row[name] in undone for row in rows]


def test_lines_given_back_as_a_whole_are_left_out(tabled: Callable[..., Table]) -> None:
    ordered, back = [1, 2, 3, 2], [0, 2, 1, 0]
    rows = shop(
        40, qty_ordered=lambda i: f"{ordered[i % 4]}.0000", qty_refunded=lambda i: f"{back[i % 4]}.0000"
    )
    table = tabled(rows)
    counting = choose_rows(table, Columns("user", "item", quantity="qty_ordered"), ReadOptions())
    assert Counter(fates(table, counting)) == {None: 30, "given back (qty_refunded)": 10}
    assert counting.chosen == {"refunds": ["qty_refunded"]}


def test_a_status_column_may_be_named_or_denied(tabled: Callable[..., Table]) -> None:
    rows = shop(40, what=lambda i: ["Storno", "ok"][i % 4 > 0], status=lambda i: ["void", "ok"][i % 2])
    table = tabled(rows)
    named = choose_rows(table, COLUMNS, ReadOptions(status_column="what"))
    assert [fate is not None for fate in fates(table, named)] == [row["what"] == "Storno" for row in rows]
    assert choose_rows(table, COLUMNS, ReadOptions(status_column="")) == RowCounting()
    with pytest.raises(ColumnError, match="did you mean 'status'"):
        choose_rows(table, COLUMNS, ReadOptions(status_column="statsu"))
