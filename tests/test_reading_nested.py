"""Nested orders: the lines inside them become rows, with what the order says beside each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from basketcells import (
    NUMBERS,
    PRODUCTS,
    SPECIAL,
    USERS,
    documents,
    pairs,
    rows,
    table,
    texts,
)

from recae.errors import ColumnError
from recae.reading.columns import choose_columns
from recae.reading.engine import Engine
from recae.reading.layouts import unfold
from recae.reading.options import ReadOptions
from recae.reading.table import Table


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(2**29) as engine:
        yield engine


def lines_of(basket: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    return [{"product_id": PRODUCTS.index(item), "quantity": len(item), **more} for item in basket]


def wanted_lines() -> list[tuple[Any, ...]]:
    return [
        (number, user, PRODUCTS.index(item), len(item))
        for number, (user, basket) in enumerate(zip(USERS, SPECIAL, strict=True))
        for item in basket
    ]


ORDERS = [
    {"id": number, "customer": {"id": user}, "created_at": "2024-01-05T10:00:00",
     "line_items": lines_of(basket, id=number)}
    for number, (user, basket) in enumerate(zip(USERS, SPECIAL, strict=True))
]  # fmt: skip


def test_the_lines_of_orders_become_rows(engine: Engine, tmp_path: Path) -> None:
    found = unfold(documents(engine, tmp_path / "a.json", *ORDERS), ReadOptions())
    assert rows(found, "id", "customer.id", "product_id", "quantity") == wanted_lines()
    assert "line_item.id" in found.types
    columns, _ = choose_columns(found, ReadOptions())
    assert (columns.user, columns.item, columns.time, columns.quantity) == (
        "customer.id", "product_id", "created_at", "quantity",
    )  # fmt: skip


def test_an_object_that_holds_the_orders(engine: Engine, tmp_path: Path) -> None:
    found = unfold(documents(engine, tmp_path / "a.json", {"total": 3, "orders": ORDERS}), ReadOptions())
    assert rows(found, "order.id", "customer.id", "product_id", "quantity") == wanted_lines()
    assert "orders[].line_items[]" in found.notes[-1].text


def test_other_lists_of_an_order_are_left_out(engine: Engine, tmp_path: Path) -> None:
    more = {
        "discount_codes": [], "tax_lines": [{"price": "1.00", "title": "VAT"}], "shipping_lines": [{"id": 1}],
        "fulfillments": [{"id": 1, "line_items": lines_of(["Tea", "Soap"])}],
        "refunds": [{"refund_line_items": [{"line_item": {"product_id": 1}}]}],
    }  # fmt: skip
    orders = [{**order, **more} for order in ORDERS]
    found = unfold(documents(engine, tmp_path / "a.json", *orders), ReadOptions())
    assert rows(found, "id", "customer.id", "product_id", "quantity") == wanted_lines()
    assert "'tax_lines'" in found.notes[-1].text


@pytest.mark.parametrize("as_text", [False, True])
def test_json_in_a_column(engine: Engine, as_text: bool) -> None:
    cells = [json.dumps(order["line_items"]) for order in ORDERS]
    relation = engine.register(pa.table({"order_id": range(len(cells)), "customer": USERS, "lines": cells}))
    if not as_text:
        relation = engine.view(f"SELECT order_id, customer, lines::JSON AS lines FROM {relation}")
    found = unfold(Table("orders.csv", engine, relation, engine.describe(relation)), ReadOptions())
    wanted = [tuple(map(str, row)) for row in wanted_lines()]
    assert texts(found, "order_id", "customer", "product_id", "quantity") == wanted


def test_python_objects_in_a_column(engine: Engine) -> None:
    cells = [str(order["line_items"]) for order in ORDERS]
    found = unfold(table(engine, {"customer": USERS, "lines": cells}), ReadOptions())
    wanted = [tuple(map(str, row[1:])) for row in wanted_lines()]
    assert texts(found, "customer", "product_id", "quantity") == wanted


def test_three_levels_and_ids_that_are_called_id(engine: Engine, tmp_path: Path) -> None:
    people = [
        {"id": f"u{u}", "name": "Ada", "orders": [
            {"id": 10 * u + o, "date": "2024-01-01", "products": [{"id": u + p, "name": f"P{u + p}"} for p in range(3)]}
            for o in range(2)]}
        for u in range(30)
    ]  # fmt: skip
    found = unfold(documents(engine, tmp_path / "a.json", {"customers": people}), ReadOptions())
    wanted = [
        (f"u{u}", 10 * u + o, u + p, f"P{u + p}") for u in range(30) for o in range(2) for p in range(3)
    ]
    assert rows(found, "customer.id", "order.id", "product.id", "product.name") == wanted
    columns, _ = choose_columns(found, ReadOptions())
    assert (columns.user, columns.item, columns.name) == ("customer.id", "product.id", "product.name")


def test_wrappers_of_apis_do_not_count(engine: Engine, tmp_path: Path) -> None:
    edges = [
        {"node": {"id": f"o{o}", "customer": {"id": f"c{o % 9}"}, "lineItems": {"edges": [
            {"node": {"quantity": 2, "product": {"id": f"p{(o + p) % 20}"}}} for p in range(3)]}}}
        for o in range(40)
    ]  # fmt: skip
    found = unfold(
        documents(engine, tmp_path / "a.json", {"data": {"orders": {"edges": edges}}}), ReadOptions()
    )
    wanted = [(f"o{o}", f"c{o % 9}", f"p{(o + p) % 20}") for o in range(40) for p in range(3)]
    assert rows(found, "order.id", "customer.id", "product.id") == wanted
    mongo = [
        {"_id": {"$oid": f"{o:04}"}, "user": {"$oid": f"u{o % 9}"}, "products": [{"product": {"$oid": f"p{o % 20}"}}]}
        for o in range(40)
    ]  # fmt: skip
    found = unfold(documents(engine, tmp_path / "b.json", *mongo), ReadOptions())
    assert rows(found, "user", "product") == [(f"u{o % 9}", f"p{o % 20}") for o in range(40)]


def test_lists_of_plain_values(engine: Engine, tmp_path: Path) -> None:
    given = pa.table(
        {"user": NUMBERS, "items": SPECIAL, "times": [[n + len(i) for i in b] for n, b in enumerate(SPECIAL)]}
    )
    relation = engine.register(given)
    found = unfold(Table("lists.parquet", engine, relation, engine.describe(relation)), ReadOptions())
    wanted = [
        (user, item, n + len(item))
        for n, (user, b) in enumerate(zip(NUMBERS, SPECIAL, strict=True))
        for item in b
    ]
    assert rows(found, "user", "items", "times") == wanted
    alone = documents(engine, tmp_path / "a.json", *({"items": basket} for basket in SPECIAL))
    found = unfold(alone, ReadOptions())
    assert texts(found, "basket", "items") == pairs(NUMBERS, SPECIAL)
    assert found.basket_is_user
    twice = documents(
        engine, tmp_path / "b.json", *({"user": u, "baskets": [["a", "b"], ["c"]]} for u in NUMBERS)
    )
    found = unfold(twice, ReadOptions())
    assert rows(found, "user", "item") == [(u, item) for u in NUMBERS for item in "abc"]
    assert [basket for (basket,) in rows(found, "basket")][:6] == [1, 1, 2, 3, 3, 4]


def test_an_object_of_users(engine: Engine, tmp_path: Path) -> None:
    users = dict(zip(NUMBERS, SPECIAL, strict=True))
    found = unfold(documents(engine, tmp_path / "a.json", users), ReadOptions())
    columns, _ = choose_columns(found, ReadOptions())
    assert sorted(rows(found, columns.user, columns.item)) == sorted(pairs(NUMBERS, SPECIAL))


def test_columns_of_lists_run_in_parallel(engine: Engine, tmp_path: Path) -> None:
    found = unfold(
        documents(engine, tmp_path / "a.json", {"user": [1, 2, 2], "item": [4, 5, 4]}), ReadOptions()
    )
    assert rows(found, "user", "item") == [(1, 4), (2, 5), (2, 4)]


def test_counts_by_item(engine: Engine) -> None:
    counts = pa.array([[("Tea", 2), ("Mug", 1)], [("Tea", 3)]], pa.map_(pa.string(), pa.int64()))
    relation = engine.register(pa.table({"user": ["a", "b"], "items": counts}))
    found = unfold(Table("maps.parquet", engine, relation, engine.describe(relation)), ReadOptions())
    assert rows(found, "user", "items", "quantity") == [("a", "Tea", 2), ("a", "Mug", 1), ("b", "Tea", 3)]


def test_lists_beside_a_user_and_an_item_stay(engine: Engine, tmp_path: Path) -> None:
    reviews = [{"user_id": u, "asin": "B1", "images": [{"url": "x"}], "rating": 5} for u in USERS]
    found = unfold(documents(engine, tmp_path / "a.json", *reviews), ReadOptions())
    assert rows(found, "user_id", "asin") == [(u, "B1") for u in USERS]
    assert found.layout == "rows"
    products = [
        {"asin": f"B{i}", "reviews": [{"user_id": u, "rating": 4} for u in USERS[:3]]} for i in range(9)
    ]
    found = unfold(documents(engine, tmp_path / "b.json", *products), ReadOptions())
    assert rows(found, "asin", "user_id") == [(f"B{i}", u) for i in range(9) for u in USERS[:3]]


def test_two_nested_lists_stop_and_either_can_be_chosen(engine: Engine, tmp_path: Path) -> None:
    entries = [
        {"user": user, "clicked": basket, "liked": [basket[0], "Tea"]}
        for user, basket in zip(USERS, SPECIAL, strict=True)
    ]
    path = tmp_path / "a.json"
    with pytest.raises(ColumnError, match="--item-column clicked"):
        unfold(documents(engine, path, *entries), ReadOptions())
    options = ReadOptions(item_column="clicked")
    found = unfold(documents(engine, path, *entries), options)
    columns, _ = choose_columns(found, options)
    assert rows(found, columns.user, columns.item) == pairs(USERS, SPECIAL)
    assert rows(unfold(documents(engine, path, *entries), ReadOptions(layout="rows")), "liked")[0] == (
        entries[0]["liked"],
    )


@pytest.mark.parametrize("start", ["orders[].", "orders.", ""])
def test_a_column_is_named_by_its_path(engine: Engine, tmp_path: Path, start: str) -> None:
    orders = [
        {"nr": i, "who": {"nr": i % 9}, "what": [{"thing": {"nr": (i + p) % 20}} for p in range(3)]}
        for i in range(40)
    ]
    named = {"user_column": f"{start}who.nr", "item_column": f"{start}what.thing.nr"}
    options = ReadOptions(**named)
    found = unfold(documents(engine, tmp_path / "a.json", {"orders": orders}), options)
    assert rows(found, *named.values()) == [(i % 9, (i + p) % 20) for i in range(40) for p in range(3)]


def test_missing_and_empty_lists(engine: Engine, tmp_path: Path) -> None:
    entries = [
        {"user_id": 1, "items": [{"sku": "a"}]},
        {"user_id": 2, "items": []},
        {"user_id": 3, "items": None},
        {"user_id": 4},
    ]
    found = unfold(documents(engine, tmp_path / "a.json", *entries), ReadOptions())
    assert rows(found, "user_id", "sku") == [(1, "a"), (3, None), (4, None)]
