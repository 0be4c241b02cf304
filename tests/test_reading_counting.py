"""Which rows count: conditions, events, statuses, refunds, ratings and confidences, against filters in plain Python."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest

from recae.errors import ColumnError, ConfigError
from recae.reading.counting import RowCounting, choose_rows, chosen_words
from recae.reading.engine import Engine
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.statuses import STANDS, event_meaning, plain_words, status_meaning
from recae.reading.table import Table
from recae.reading.where import condition, number_of

Rows = Sequence[dict[str, Any]]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture
def tabled(engine: Engine) -> Callable[..., Table]:
    """Return a function that makes a table of rows: text as files have it, None for nothing."""

    def make(rows: Rows, **fields: Any) -> Table:
        names = list(rows[0])
        columns = {name: [row[name] for row in rows] for name in names}
        relation = engine.register(pa.table(columns))
        stored = engine.store(f"SELECT * FROM {relation}")
        return Table("shop.csv", engine, stored, engine.describe(stored), **fields)

    return make


def fates(table: Table, counting: RowCounting) -> list[str | None]:
    """Return the reason for which each row is left out, None where it counts."""
    cases = " ".join(f"WHEN {sql} THEN {i}" for i, (_, sql) in enumerate(counting.conditions, 1))
    sql = f"(CASE {cases} ELSE 0 END)::UTINYINT" if cases else "0"
    reasons = [None, *(reason for reason, _ in counting.conditions)]
    return [reasons[row[0]] for row in table.engine.rows(f"SELECT {sql} AS fate FROM {table.relation}")]


def confidences(table: Table, counting: RowCounting) -> list[float | None]:
    return [row[0] for row in table.engine.rows(f"SELECT {counting.confidence} FROM {table.relation}")]


def shop(rows: int, /, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [
        {"user": f"u{i % 7}", "item": f"i{i % 11}", **{name: of(i) for name, of in columns.items()}}
        for i in range(rows)
    ]


COLUMNS = Columns("user", "item")


# events


def test_purchases_count_and_other_events_are_left_out_with_their_numbers(
    tabled: Callable[..., Table],
) -> None:
    kinds = ["view", "view", "addtocart", "transaction", "view"]
    rows = shop(50, event=lambda i: kinds[i % 5])
    table = tabled(rows)
    counting = choose_rows(table, COLUMNS, ReadOptions())
    wanted = [None if row["event"] == "transaction" else f"event {row['event']!r}" for row in rows]
    assert fates(table, counting) == wanted
    assert counting.confidence is None
    (note,) = counting.notes
    for words in (
        "10 'transaction'",
        "30 'view'",
        "10 'addtocart'",
        "--event-weights view=0.1,addtocart=0.5,transaction=1",
    ):
        assert words in str(note)
    assert not note.doubt
    assert counting.chosen == {"events": {"column": "event", "weights": {"transaction": 1.0}}}


def test_the_advice_of_a_note_can_be_followed_to_the_letter(tabled: Callable[..., Table]) -> None:
    rows = shop(40, event=lambda i: ["pv", "buy", "fav", "cart"][i % 4])
    table = tabled(rows)
    advice = choose_rows(table, COLUMNS, ReadOptions()).notes[0].advice
    given = advice.rpartition(" ")[2]
    weights = tuple((word, float(weight)) for word, weight in (pair.split("=") for pair in given.split(",")))
    counting = choose_rows(table, COLUMNS, ReadOptions(event_weights=weights))
    assert set(fates(table, counting)) == {None}
    assert confidences(table, counting) == [dict(weights)[row["event"]] for row in rows]


@pytest.mark.parametrize(
    ("words", "bought"),
    [
        (("pv", "cart", "fav", "buy"), {"buy"}),
        (("Product Viewed", "Product Added", "Order Completed"), {"Order Completed"}),
        (("view_item", "add_to_cart", "remove_from_cart", "begin_checkout", "purchase"), {"purchase"}),
        (("Ansicht", "Warenkorb", "Kauf"), {"Kauf"}),
        (("vue", "ajout au panier", "achat"), {"achat"}),
        (("vista", "carrito", "compra"), {"compra"}),
        (("浏览", "加购", "收藏", "购买"), {"购买"}),
        (("閲覧", "カート", "購入"), {"購入"}),
        (("Sale", "Return", "Refund"), {"Sale"}),
        (("purchase", "play"), {"purchase"}),
        (("purchased", "refunded", "purchase_cancelled"), {"purchased"}),
    ],
)
def test_the_words_of_events_are_known(
    tabled: Callable[..., Table], words: tuple[str, ...], bought: set[str]
) -> None:
    rows = shop(60, event_type=lambda i: words[i % len(words)])
    table = tabled(rows)
    counted = [fate is None for fate in fates(table, choose_rows(table, COLUMNS, ReadOptions()))]
    assert counted == [row["event_type"] in bought for row in rows]


def test_blanks_around_words_and_missing_markers_do_not_count(tabled: Callable[..., Table]) -> None:
    words = ["view", " buy", "buy ", "N/A", "buy", " ", None]
    rows = shop(70, event=lambda i: words[i % 7])
    table = tabled(rows)
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert Counter(fates(table, counting)) == {None: 30, "event 'view'": 10, "no event": 30}
    weighted = choose_rows(table, COLUMNS, ReadOptions(event_weights=(("buy", 0.5),)))
    assert [c for c in confidences(table, weighted) if c is not None] == [0.5] * 30


def test_an_event_column_without_a_header_is_told_by_its_words(tabled: Callable[..., Table]) -> None:
    rows = [
        {"1": f"u{i % 5}", "2": f"Game {i % 9}", "3": ["purchase", "play"][i % 2], "4": "1.0"}
        for i in range(40)
    ]
    table = tabled(rows, header=False)
    counting = choose_rows(table, Columns("1", "2"), ReadOptions())
    assert Counter(fates(table, counting)) == {None: 20, "3 'play'": 20}


def test_where_no_event_is_a_purchase_all_count_and_that_is_said(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(30, action=lambda i: ["play", "listen", "skip"][i % 3]))
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert Counter(fates(table, counting)) == {None: 20, "action 'skip'": 10}
    assert "no event is known as a purchase" in counting.notes[0].text
    table = tabled(shop(30, event=lambda i: "view"))
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert set(fates(table, counting)) == {None}
    assert "30 'view'" in counting.notes[0].text


def test_events_in_code_count_and_are_in_doubt(tabled: Callable[..., Table]) -> None:
    rows = shop(40, behavior=lambda i: str(1 + i % 4))
    table = tabled(rows)
    counting = choose_rows(table, Columns("user", "item", event="behavior"), ReadOptions())
    assert set(fates(table, counting)) == {None}
    assert counting.notes[0].doubt
    assert "--event-weights" in str(counting.notes[0])
    chosen = choose_rows(
        table, Columns("user", "item", event="behavior"), ReadOptions(event_weights=(("4", 1.0),))
    )
    assert [fate is None for fate in fates(table, chosen)] == [row["behavior"] == "4" for row in rows]


@pytest.mark.parametrize(
    "words", [("1", "0", "0"), ("true", "false", "false"), ("Yes", "No", "No"), (1, 0, 0)]
)
def test_a_yes_or_no_may_say_what_was_bought(tabled: Callable[..., Table], words: tuple[Any, ...]) -> None:
    rows = shop(30, is_booking=lambda i: words[i % 3])
    table = tabled(rows)
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert [fate is None for fate in fates(table, counting)] == [
        row["is_booking"] == words[0] for row in rows
    ]
    assert f"--event-weights {words[1]}=0.1,{words[0]}=1" in str(counting.notes[0])
    assert (
        choose_rows(tabled(shop(30, reordered=lambda i: words[i % 3])), COLUMNS, ReadOptions())
        == RowCounting()
    )


def test_rare_purchases_beyond_the_first_rows_count(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(30_000, event=lambda i: "transaction" if i > 29_989 else "view"))
    counting = choose_rows(table, COLUMNS, ReadOptions())
    assert Counter(fates(table, counting)) == {None: 10, "event 'view'": 29_990}


def test_a_column_of_other_words_is_no_event(tabled: Callable[..., Table]) -> None:
    rows = shop(
        40, category=lambda i: ["Tea", "Bag", "Plate"][i % 3], channel=lambda i: ["web", "shop"][i % 2]
    )
    counting = choose_rows(tabled(rows), COLUMNS, ReadOptions())
    assert counting == RowCounting()


def test_event_weights_are_confidences_and_leave_the_unnamed_out(tabled: Callable[..., Table]) -> None:
    kinds = ["view", "AddToCart", "transaction", "share", None]
    rows = shop(50, event=lambda i: kinds[i % 5])
    table = tabled(rows)
    weights = (("view", 0.1), ("add_to_cart", 0.5), ("transaction", 1.0))
    counting = choose_rows(table, COLUMNS, ReadOptions(event_weights=weights))
    assert Counter(fates(table, counting)) == {None: 30, "event 'share'": 10, "no event": 10}
    wanted = {"view": 0.1, "AddToCart": 0.5, "transaction": 1.0}
    assert confidences(table, counting) == [wanted.get(row["event"]) for row in rows]
    assert counting.chosen["events"]["weights"] == wanted
    assert json.loads(json.dumps(counting.chosen)) == counting.chosen
    assert "'view' as 0.1" in chosen_words(counting.chosen)[0]


def test_an_event_of_no_weight_is_left_out(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(20, event=lambda i: ["view", "buy"][i % 2]))
    counting = choose_rows(table, COLUMNS, ReadOptions(event_weights=(("view", 0.0), ("buy", 1.0))))
    assert Counter(fates(table, counting)) == {None: 10, "event 'view'": 10}
    assert counting.confidence is None


def test_an_event_that_does_not_occur_is_named_with_those_that_do(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(20, event=lambda i: ["view", "transaction"][i % 2]))
    with pytest.raises(
        ColumnError, match=r"'transacton'.*did you mean 'transaction'.*10 'transaction' and 10 'view'"
    ):
        choose_rows(table, COLUMNS, ReadOptions(event_weights=(("transacton", 1.0),)))
    with pytest.raises(ColumnError, match="needs a column of events"):
        choose_rows(tabled(shop(5)), COLUMNS, ReadOptions(event_weights=(("view", 1.0),)))


# statuses


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


# ratings and confidences


def test_ratings_are_said_and_low_ones_left_out_when_asked_for(tabled: Callable[..., Table]) -> None:
    values = ["5", "4", "3,5", "1", "n/a", "4,0"]
    rows = shop(60, stars=lambda i: values[i % 6])
    table = tabled(rows)
    columns = Columns("user", "item", rating="stars")
    counting = choose_rows(table, columns, ReadOptions())
    assert set(fates(table, counting)) == {None}
    assert "from 1 to 5" in counting.notes[0].text
    assert counting.notes[0].advice.endswith("--min-rating 4")
    chosen = choose_rows(table, columns, ReadOptions(min_rating=4))
    wanted = [
        "stars is not a number"
        if value == "n/a"
        else None
        if float(value.replace(",", ".")) >= 4
        else "stars below 4"
        for value in (row["stars"] for row in rows)
    ]
    assert fates(table, chosen) == wanted
    assert chosen.chosen == {"rating": {"column": "stars", "least": 4.0}}


def test_ratings_of_zero_are_said(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(50, rating=lambda i: str([0, 10, 5, 0, 8][i % 5])))
    counting = choose_rows(table, Columns("user", "item", rating="rating"), ReadOptions())
    assert "20 that are 0" in counting.notes[0].text


def test_min_rating_needs_ratings(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(10, mood=lambda i: ["good", "bad"][i % 2]))
    with pytest.raises(ColumnError, match=r"--rating-column.*'mood'"):
        choose_rows(table, COLUMNS, ReadOptions(min_rating=4))
    with pytest.raises(ColumnError, match=r"holds none .'bad', 'good'."):
        choose_rows(table, COLUMNS, ReadOptions(min_rating=4, rating_column="mood"))


def test_confidences_above_zero_count(tabled: Callable[..., Table]) -> None:
    values = ["2", "0,5", "0", "-1", "x", None, "inf", "nan"]
    rows = shop(80, weight=lambda i: values[i % 8])
    table = tabled(rows)
    counting = choose_rows(table, COLUMNS, ReadOptions(confidence_column="weight"))
    assert Counter(fates(table, counting)) == {
        None: 20,
        "weight is zero or less": 20,
        "weight is not a number": 40,
    }
    found = [
        c
        for c, fate in zip(confidences(table, counting), fates(table, counting), strict=True)
        if fate is None
    ]
    assert found == [{"2": 2.0, "0,5": 0.5}[row["weight"]] for row in rows if row["weight"] in ("2", "0,5")]
    with pytest.raises(ColumnError, match="no number above zero"):
        choose_rows(table, COLUMNS, ReadOptions(confidence_column="user"))
    with pytest.raises(ColumnError, match="did you mean 'weight'"):
        choose_rows(table, COLUMNS, ReadOptions(confidence_column="wieght"))


def test_numbers_of_a_type_need_no_text(tabled: Callable[..., Table]) -> None:
    values = [1.0, float("nan"), None, -2.0]
    table = tabled(shop(8, weight=lambda i: values[i % 4]))
    counting = choose_rows(table, COLUMNS, ReadOptions(confidence_column="weight"))
    assert Counter(fates(table, counting)) == {
        None: 2,
        "weight is zero or less": 2,
        "weight is not a number": 4,
    }


def test_weights_of_events_and_confidences_multiply(tabled: Callable[..., Table]) -> None:
    rows = shop(12, event=lambda i: ["view", "buy"][i % 2], weight=lambda i: str(1 + i % 3))
    table = tabled(rows)
    options = ReadOptions(confidence_column="weight", event_weights=(("view", 0.5), ("buy", 1.0)))
    found = confidences(table, choose_rows(table, COLUMNS, options))
    assert found == [(0.5 if row["event"] == "view" else 1.0) * int(row["weight"]) for row in rows]


# conditions

PRICES = ["1", "2.50", "1,200.00", "0", None, "n/a"]
TABLE: list[dict[str, Any]] = [
    {
        "user": f"u{i % 5}",
        "item": f"i{i % 7}",
        "event": ["view", "transaction"][i % 2],
        "price": PRICES[i % 6],
        "Unit Cost": str(i % 4),
        "order": str(i),
        "ok": ["true", "false"][i % 2],
        "day": f"2024-{1 + i % 3:02}-15",
        "tag": f"{i % 3:03}",
    }
    for i in range(60)
]


def price(row: dict[str, Any]) -> float | None:
    text = (row["price"] or "n/a").replace(",", "")
    return None if text == "n/a" else float(text)


def above(row: dict[str, Any], limit: float) -> bool:
    found = price(row)
    return found is not None and found > limit


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("event = 'transaction'", lambda r: r["event"] == "transaction"),
        ("event = 'transaction' and price > 0", lambda r: r["event"] == "transaction" and above(r, 0)),
        ("price > 1000", lambda r: above(r, 1000)),
        ("PRICE > 2", lambda r: above(r, 2)),
        ("price > '2'", lambda r: above(r, 2)),
        ("price * 2 > 4 or ok", lambda r: above(r, 2) or r["ok"] == "true"),
        ("price = 2.5", lambda r: price(r) == 2.5),
        ("price <> 2.5", lambda r: price(r) not in (None, 2.5)),
        ("price in (1, 2.5)", lambda r: price(r) in (1, 2.5)),
        ("price not in (1, 2.5)", lambda r: price(r) not in (None, 1, 2.5)),
        ("price between 1 and 3", lambda r: above(r, 0.999) and not above(r, 3)),
        ("coalesce(price, 5) = 5", lambda r: price(r) is None),
        ("greatest(price, 2) > 2", lambda r: above(r, 2)),
        ("price::int > 1", lambda r: above(r, 1)),
        ("abs(price) > 2 and not ok", lambda r: above(r, 2) and r["ok"] == "false"),
        ('price > "Unit Cost"', lambda r: above(r, int(r["Unit Cost"]))),
        ('"Unit Cost" % 2 = 0', lambda r: int(r["Unit Cost"]) % 2 == 0),
        ('"order" >= 10', lambda r: int(r["order"]) >= 10),
        ("ok", lambda r: r["ok"] == "true"),
        ("ok = false", lambda r: r["ok"] == "false"),
        ("day >= '2024-02-01'", lambda r: r["day"] >= "2024-02-01"),
        ("day >= date '2024-02-01'", lambda r: r["day"] >= "2024-02-01"),
        ("month(day) = 2", lambda r: r["day"][5:7] == "02"),
        ("day::date < '2024-02-01'", lambda r: r["day"] < "2024-02-01"),
        ("tag = '001'", lambda r: r["tag"] == "001"),
        ("tag = 1", lambda r: r["tag"] == "001"),
        (
            "event like 'tr%' and user in ('u1', 'u2')",
            lambda r: r["event"] == "transaction" and r["user"] in ("u1", "u2"),
        ),
        ("price is null", lambda r: r["price"] is None),
        ("event || tag = 'view001'", lambda r: r["event"] + r["tag"] == "view001"),
        ("case when price > 1 then ok else true end", lambda r: r["ok"] == "true" if above(r, 1) else True),
        ("price > 0 -- and nothing else", lambda r: above(r, 0)),
        ("price > 0;", lambda r: above(r, 0)),
        ("true", lambda r: True),
    ],
)
def test_a_condition_compares_text_as_what_it_means(
    tabled: Callable[..., Table], where: str, holds: Callable[[dict[str, Any]], bool]
) -> None:
    table = tabled(TABLE)
    counting = choose_rows(table, COLUMNS, ReadOptions(where=where))
    counted = [fate is None for fate in fates(table, counting)]
    assert counted == [holds(row) for row in TABLE]
    assert counting.chosen == {"where": where}


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ("evnt = 'view'", ColumnError, "did you mean event"),
        ("unit_cost > 1", ColumnError, 'did you mean "Unit Cost"'),
        ("Unit Cost > 1", ConfigError, 'write "Unit Cost", in double quotes'),
        ("order > 1", ConfigError, 'write "order", in double quotes'),
        ('event = "view"', ColumnError, "single quotes: 'view'"),
        ("event > 3", ColumnError, "holds none: 'transaction', 'view'"),
        ("event = 'Transaction'", ColumnError, "'event' holds 'transaction', 'view'"),
        ("price >", ConfigError, "is no condition"),
        ("price", ColumnError, "true or false"),
        ("1 + 1", ConfigError, "is a number"),
        ("true from shop", ConfigError, "more than one condition"),
        ("true union select false", ConfigError, "more than one condition"),
        ("true, false", ConfigError, "more than one condition"),
        ("true; drop table x", ConfigError, "more than one statement"),
        ("true limit 1", ConfigError, "more than one condition"),
        ("user in (select user from other)", ConfigError, "a query inside it"),
        ("exists (from read_csv('/etc/passwd'))", ConfigError, "a query inside it"),
        ("read_text('/etc/passwd') = 'x'", ConfigError, "no function of one row"),
        ("count(*) > 1", ConfigError, "no function of one row"),
        ("sum(price) > 1", ConfigError, "no function of one row"),
        ("row_number() over () = 1", ConfigError, "a window function"),
        ("random() < 0.5", ConfigError, "differs from call to call"),
        ("price > ?", ConfigError, "a parameter"),
        ("nosuch(price) = 1", ConfigError, "refused"),
        ("shop.price > 1", ColumnError, "did you mean price"),
        ("regexp_matches(event, '(')", ConfigError, "fails"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_in_a_sentence(
    tabled: Callable[..., Table], where: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        choose_rows(tabled(TABLE), COLUMNS, ReadOptions(where=where))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_condition_on_dates_in_other_forms_leads_to_the_period(tabled: Callable[..., Table]) -> None:
    table = tabled(shop(10, day=lambda i: f"{10 + i}.01.2024"))
    with pytest.raises(ColumnError, match=r"'10\.01\.2024'.*--since and --until"):
        choose_rows(table, COLUMNS, ReadOptions(where="day >= '2024-01-12'"))


def test_a_condition_closes_the_doors(tabled: Callable[..., Table], tmp_path: Any) -> None:
    import duckdb

    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    table = tabled(TABLE)
    choose_rows(table, COLUMNS, ReadOptions(where="price > 0"))
    with pytest.raises(duckdb.PermissionException):
        table.engine.rows(f"SELECT * FROM read_csv('{secret}')")
    choose_rows(table, COLUMNS, ReadOptions(where="price > 1"))  # a second time is no error


def test_a_condition_goes_with_weights_and_ratings(tabled: Callable[..., Table]) -> None:
    rows = shop(
        60,
        event=lambda i: ["view", "buy", "share"][i % 3],
        stars=lambda i: str(1 + i % 5),
        n=lambda i: str(i),
    )
    table = tabled(rows)
    options = ReadOptions(where="n < 30", min_rating=3, event_weights=(("buy", 1.0), ("view", 0.5)))
    counting = choose_rows(table, Columns("user", "item", rating="stars"), options)
    wanted = [int(r["n"]) < 30 and int(r["stars"]) >= 3 and r["event"] != "share" for r in rows]
    assert [fate is None for fate in fates(table, counting)] == wanted
    assert list(counting.chosen) == ["where", "events", "rating"]


def test_a_condition_may_look_into_nested_columns(engine: Engine) -> None:
    relation = engine.store("SELECT {'id': i, 'kind': 'a' || i % 2} AS customer FROM range(6) t(i)")
    table = Table("shop.json", engine, relation, engine.describe(relation))
    found = condition(table, "customer.id > 2 and customer.kind = 'a1'")
    assert [row[0] for row in engine.rows(f"SELECT {found.sql} FROM {relation}")] == [False] * 3 + [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("text", "comma", "number"),
    [
        ("1", False, 1), ("2.50", False, 2.5), ("1,200", False, 1200), ("1,200", True, 1.2), ("1.200", True, 1200),
        ("1.200", False, 1.2), ("1,200.50", False, 1200.5), ("1.200,50", False, 1200.5), ("1,200.50", True, 1200.5),
        ("0,123", False, 0.123), ("0.123", True, 0.123), ("1,5", False, 1.5), ("-3,2", True, -3.2), ("−2", False, -2),
        ("€ 3.00", False, 3), ("3,00 EUR", True, 3), ("1 200", False, 1200), ("12,345,678", False, 12_345_678),
        ("1e3", False, 1000), ("nan", False, None), ("x", False, None), ("", False, None), ("5 kg", False, None),
    ],
)  # fmt: skip
def test_numbers_as_they_are_written(engine: Engine, text: str, comma: bool, number: float | None) -> None:
    found = engine.value(f"SELECT {number_of('v', comma)} FROM (SELECT ?::VARCHAR AS v)", [text])
    assert (found is None) == (number is None)
    assert number is None or math.isclose(found, number)
