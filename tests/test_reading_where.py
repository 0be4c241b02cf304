"""Conditions of --where: text compares as what it means, against filters in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from countedrows import COLUMNS, fates, shop, table_of

from recae.errors import ColumnError, ConfigError
from recae.reading.counting import choose_rows
from recae.reading.engine import Engine
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.table import Table
from recae.reading.where import condition, number_of


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture
def tabled(engine: Engine) -> Callable[..., Table]:
    """The function that makes a table of rows."""
    return partial(table_of, engine)


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


@pytest.mark.some(14)
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


@pytest.mark.some(14)
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


@pytest.mark.some(10)
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
