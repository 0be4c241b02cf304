"""Which rows count: events, ratings and confidences, against filters in plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from countedrows import COLUMNS, confidences, fates, shop, table_of

from recae.errors import ColumnError
from recae.reading.counting import RowCounting, choose_rows, chosen_words
from recae.reading.engine import Engine
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.table import Table


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture
def tabled(engine: Engine) -> Callable[..., Table]:
    """The function that makes a table of rows."""
    return partial(table_of, engine)


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


@pytest.mark.some(6)
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
        ColumnError, match=r"'transacton'.*10 'transaction' and 10 'view'; did you mean 'transaction'\?"
    ):
        choose_rows(table, COLUMNS, ReadOptions(event_weights=(("transacton", 1.0),)))
    with pytest.raises(ColumnError, match="needs a column of events"):
        choose_rows(tabled(shop(5)), COLUMNS, ReadOptions(event_weights=(("view", 1.0),)))


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
