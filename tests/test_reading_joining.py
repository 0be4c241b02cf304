"""Several tables: joined lines and orders, names from a table of items, and what is said of a folder."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recae.errors import ColumnError, SourceError
from recae.reading.engine import Engine
from recae.reading.joining import folder_advice, item_names, join
from recae.reading.open import open_table
from recae.reading.options import ReadOptions
from recae.reading.table import Table

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def opened(engine: Engine, path: Path) -> Table:
    return open_table(engine, path, ReadOptions(layout="rows"))


def written(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def in_memory(engine: Engine, name: str, rows: Rows, **fields: Any) -> Table:
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    stored = engine.store(f"SELECT * FROM {engine.register(pa.table(columns))}")
    return Table(name, engine, stored, engine.describe(stored), **fields)


def found(table: Table) -> list[dict[str, Any]]:
    return [
        dict(zip(table.columns, row, strict=True))
        for row in table.engine.rows(f"SELECT * FROM {table.relation}")
    ]


ORDERS = [
    {"order_id": f"o{i}", "user_id": f"u{i % 5}", "placed": f"2024-01-{1 + i % 28:02}"} for i in range(40)
]
LINES = [
    {"line": str(i), "order_id": f"o{(i * 7) % 40}", "product_id": f"p{i % 9}", "price": f"{i}.50"}
    for i in range(120)
]


def joined(lines: Rows, orders: Rows, key: str = "order_id") -> list[dict[str, Any]]:
    """Join by a dictionary, in the order of the lines."""
    by_key = {row[key]: row for row in orders}
    nothing = dict.fromkeys(orders[0])
    return [{**by_key.get(line[key], nothing), **line} for line in lines]


def test_lines_are_joined_with_their_orders_in_the_order_of_the_lines(engine: Engine, tmp_path: Path) -> None:
    orders = written(tmp_path / "orders.csv", ORDERS[::-1])
    table = join(opened(engine, written(tmp_path / "lines.csv", LINES)), ReadOptions(orders=orders))
    assert table.columns == ["line", "order_id", "product_id", "price", "user_id", "placed"]
    assert found(table) == joined(LINES, ORDERS)
    assert table.files == (tmp_path / "lines.csv", orders)
    assert "by 'order_id'" in table.notes[-1].text


def test_the_tables_may_be_given_either_way(engine: Engine, tmp_path: Path) -> None:
    lines = written(tmp_path / "lines.csv", LINES)
    table = join(opened(engine, written(tmp_path / "orders.csv", ORDERS)), ReadOptions(orders=lines))
    assert found(table) == joined(LINES, ORDERS)


@pytest.mark.thorough
def test_the_order_of_many_rows_is_kept(engine: Engine, tmp_path: Path) -> None:
    orders = [{"order_id": str(i), "user_id": str(i % 1000)} for i in range(30_000)]
    lines = [
        {"line": str(i), "order_id": str(i * 7919 % 30_000), "item": str(i % 50)} for i in range(100_000)
    ]
    written(tmp_path / "orders.csv", orders)
    engine.run("SET threads = 4")
    table = join(
        opened(engine, written(tmp_path / "lines.csv", lines)), ReadOptions(orders=tmp_path / "orders.csv")
    )
    assert [row[0] for row in engine.rows(f"SELECT line FROM {table.relation}")] == [
        row["line"] for row in lines
    ]
    wrong = f"SELECT count(*) FROM {table.relation} WHERE user_id::INT <> order_id::INT % 1000"
    assert engine.value(wrong) == 0


def test_lines_without_an_order_are_kept_and_counted(engine: Engine, tmp_path: Path) -> None:
    orders = written(tmp_path / "orders.csv", ORDERS[:30])
    table = join(opened(engine, written(tmp_path / "lines.csv", LINES)), ReadOptions(orders=orders))
    assert found(table) == joined(LINES, ORDERS[:30])
    without = sum(line["order_id"] not in {order["order_id"] for order in ORDERS[:30]} for line in LINES)
    assert table.notes[-1].rows == without > 0
    assert f"{without} of 120 rows have no order" in table.notes[-1].text
    assert table.notes[-1].doubt


def test_an_id_of_orders_is_what_the_lines_call_order_id(engine: Engine, tmp_path: Path) -> None:
    orders = [{"id": str(i), "customer": f"c{i % 4}", "status": "paid"} for i in range(30)]
    lines = [
        {"id": str(i), "order_id": str(i * 3 % 30), "sku": f"s{i % 6}", "status": "sent"} for i in range(90)
    ]
    written(tmp_path / "shop_orders.csv", orders)
    table = join(
        opened(engine, written(tmp_path / "lines.csv", lines)),
        ReadOptions(orders=tmp_path / "shop_orders.csv"),
    )
    wanted = [
        {
            **line,
            "shop_orders_id": line["order_id"],
            "customer": f"c{int(line['order_id']) % 4}",
            "shop_orders_status": "paid",
        }
        for line in lines
    ]
    assert found(table) == wanted


def test_other_shared_columns_do_not_join(engine: Engine, tmp_path: Path) -> None:
    orders = [{"OrderID": f"o{i}", "user": f"u{i % 3}", "shop": f"s{i % 2}"} for i in range(20)]
    lines = [{"order_id": f"o{i % 20}", "item": f"i{i % 7}", "shop": f"s{i % 2}"} for i in range(60)]
    written(tmp_path / "orders.csv", orders)
    table = join(
        opened(engine, written(tmp_path / "lines.csv", lines)), ReadOptions(orders=tmp_path / "orders.csv")
    )
    assert [row["user"] for row in found(table)] == [f"u{int(line['order_id'][1:]) % 3}" for line in lines]
    assert table.columns == ["order_id", "item", "shop", "user", "orders_shop"]


def test_orders_that_are_repeated_as_a_whole_count_once(engine: Engine, tmp_path: Path) -> None:
    written(tmp_path / "orders.csv", [*ORDERS, *ORDERS[:5]])
    table = join(
        opened(engine, written(tmp_path / "lines.csv", LINES)), ReadOptions(orders=tmp_path / "orders.csv")
    )
    assert found(table) == joined(LINES, ORDERS)


def test_numbers_and_texts_of_numbers_are_one_key(engine: Engine, tmp_path: Path) -> None:
    written(tmp_path / "orders.csv", [{"order_id": str(i), "user_id": f"u{i % 4}"} for i in range(20)])
    rows = [{"order_id": float(i % 20), "item": f"i{i % 6}"} for i in range(60)]
    table = join(in_memory(engine, "data frame", rows), ReadOptions(orders=tmp_path / "orders.csv"))
    assert [row["user_id"] for row in found(table)] == [f"u{i % 20 % 4}" for i in range(60)]


@pytest.mark.parametrize(
    ("lines", "orders", "error", "said"),
    [
        (
            [{"a": "1", "b": "2"}],
            [{"c": "1", "d": "2"}],
            ColumnError,
            ["share no column", "'a', 'b'", "'c', 'd'", "--query"],
        ),
        (
            LINES,
            [{"order_id": f"x{i}", "user_id": "u"} for i in range(9)],
            SourceError,
            ["share column 'order_id'", "no value"],
        ),
        (
            [{"order_id": f"o{i % 9}", "item": "i"} for i in range(30)],
            [{"order_id": f"o{i % 9}", "state": str(i)} for i in range(20)],
            ColumnError,
            ["'order_id'", "identifies no row", "'o0' has 3 rows"],
        ),
        (
            [{"order_id": f"o{i % 9}", "invoice_no": f"v{i % 9}", "item": "i"} for i in range(30)],
            [{"order_id": f"o{i}", "invoice_no": f"v{i}", "user": "u"} for i in range(9)],
            ColumnError,
            ["several columns that could join them ('order_id', 'invoice_no')", "using (order_id)"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused_in_a_sentence(
    engine: Engine, tmp_path: Path, lines: Rows, orders: Rows, error: type[Exception], said: list[str]
) -> None:
    written(tmp_path / "orders.csv", orders)
    with pytest.raises(error) as caught:
        join(
            opened(engine, written(tmp_path / "lines.csv", lines)),
            ReadOptions(orders=tmp_path / "orders.csv"),
        )
    for words in said:
        assert words in str(caught.value)


def test_without_orders_nothing_is_joined(engine: Engine) -> None:
    table = in_memory(engine, "x", [{"a": 1}])
    assert join(table, ReadOptions()) is table


# items


def bought(engine: Engine, ids: Sequence[str]) -> str:
    return engine.register(pa.table({"id": list(ids)}))


PRODUCTS = [
    {
        "nr": str(i),
        "department": ["Food", "Home"][i % 2],
        "sku": f"p{i}",
        "product_name": f"Tea No. {i}",
        "description": f"A long text on tea {i}",
        "image": f"https://shop/{i}.png",
    }
    for i in range(12)
]


def names(engine: Engine, relation: str | None) -> dict[str, str | None]:
    rows = engine.rows(f"SELECT id, name FROM {relation}")
    assert len({row[0] for row in rows}) == len(rows)
    return dict(rows)


def test_the_id_column_is_the_one_that_holds_what_was_bought(engine: Engine, tmp_path: Path) -> None:
    options = ReadOptions(items=written(tmp_path / "products.csv", PRODUCTS))
    found_names = names(engine, item_names(engine, options, bought(engine, ["p1", "p5", "p77"])))
    assert found_names == {row["sku"]: row["product_name"] for row in PRODUCTS}
    by_number = names(engine, item_names(engine, options, bought(engine, ["3", "4"])))
    assert by_number == {row["nr"]: row["product_name"] for row in PRODUCTS}
    assert names(engine, item_names(engine, options)) == found_names


def test_without_a_header_a_name_is_the_first_text_of_many_values(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {
            "1": str(i),
            "2": f"Film {i} (1995)",
            "3": "01-Jan-1995",
            "4": f"http://films/{i}",
            "5": ["Drama", "War"][i % 2],
        }
        for i in range(20)
    ]
    table = in_memory(engine, "films.dat", rows, header=False)
    monkeypatch.setattr("recae.reading.open.open_table", lambda *_: table)
    given = item_names(engine, ReadOptions(items="films.dat"), bought(engine, ["3", "4"]))
    assert names(engine, given) == {row["1"]: row["2"] for row in rows}


def test_the_most_frequent_name_counts_and_a_missing_one_is_none(engine: Engine, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "title": "Tea"}, {"id": "a", "title": "Green tea"}, {"id": "a", "title": "Green tea"},
        {"id": "b", "title": "n/a"}, {"id": "c", "title": "Cup"}, {"id": "c", "title": "Mug"}, {"id": "", "title": "?"},
    ]  # fmt: skip
    options = ReadOptions(items=written(tmp_path / "items.csv", rows))
    given = item_names(engine, options, bought(engine, ["a", "b", "c"]))
    assert names(engine, given) == {"a": "Green tea", "b": None, "c": "Cup"}


def test_a_table_of_other_items_is_refused(engine: Engine, tmp_path: Path) -> None:
    options = ReadOptions(items=written(tmp_path / "products.csv", PRODUCTS))
    with pytest.raises(
        ColumnError, match=r"no column of .*products.csv' holds ids .* such as 'x1', 'x2'.*'product_name'"
    ):
        item_names(engine, options, bought(engine, ["x1", "x2"]))
    assert item_names(engine, ReadOptions()) is None


# folders


def test_a_folder_of_lines_and_orders_says_how_to_join_them(engine: Engine, tmp_path: Path) -> None:
    products = [{"product_id": f"p{i}", "product_name": f"Tea {i}"} for i in range(9)]
    for name, rows in (("lines", LINES), ("orders", ORDERS), ("products", products)):
        written(tmp_path / f"{name}.csv", rows)
    tables = [opened(engine, tmp_path / f"{name}.csv") for name in ("lines", "orders", "products")]
    said = folder_advice(tables)
    assert "lines.csv (line, order_id, product_id, price); orders.csv (order_id, user_id, placed)" in said
    command, _, query = said.partition("join the lines with their orders: ")[2].partition(", or say how: ")
    options = dict(zip(shlex.split(command)[3::2], shlex.split(command)[4::2], strict=True))
    assert shlex.split(command)[:3] == ["recae", "train", str(tmp_path / "lines.csv")]
    assert options == {"--orders": str(tmp_path / "orders.csv"), "--items": str(tmp_path / "products.csv")}
    assert found(join(tables[0], ReadOptions(orders=options["--orders"]))) == joined(LINES, ORDERS)
    words = shlex.split(query)
    assert words[:4] == ["recae", "train", str(tmp_path), "--query"]
    sql = words[4].replace("'orders.csv'", tables[1].relation).replace("'lines.csv'", tables[0].relation)
    by_query = engine.rows(f"SELECT line, user_id FROM ({sql}) ORDER BY line::INT")
    assert by_query == [(row["line"], row["user_id"]) for row in joined(LINES, ORDERS)]


def test_customers_that_are_new_in_each_order_are_joined_too(engine: Engine, tmp_path: Path) -> None:
    orders = [{"order_id": f"o{i}", "customer_id": f"c{i}", "status": "paid"} for i in range(40)]
    people = [{"customer_id": f"c{i}", "customer_unique_id": f"k{i % 11}", "city": "x"} for i in range(40)]
    for name, rows in (("customers", people), ("lines", LINES), ("orders", orders)):
        written(tmp_path / f"{name}.csv", rows)
    tables = {name: opened(engine, tmp_path / f"{name}.csv") for name in ("customers", "lines", "orders")}
    words = shlex.split(folder_advice(list(tables.values())).rpartition(": ")[2])
    assert words[:4] == ["recae", "train", str(tmp_path), "--query"]
    sql = words[4]
    for name, table in tables.items():
        sql = sql.replace(f"'{name}.csv'", table.relation)
    by_query = engine.rows(f"SELECT line, customer_unique_id FROM ({sql}) ORDER BY line::INT")
    assert by_query == [(line["line"], f"k{int(line['order_id'][1:]) % 11}") for line in LINES]


def test_a_folder_with_a_table_of_purchases_names_it(engine: Engine, tmp_path: Path) -> None:
    ratings = [{"userId": f"u{i % 5}", "movieId": str(i % 8), "rating": "4"} for i in range(40)]
    tags = [{"userId": f"u{i % 5}", "movieId": str(i % 8), "tag": "x"} for i in range(10)]
    movies = [{"movieId": str(i), "title": f"Film {i}", "genres": "Drama"} for i in range(8)]
    tables = [
        opened(engine, written(tmp_path / f"{name}.csv", rows))
        for name, rows in (("movies", movies), ("tags", tags), ("ratings", ratings))
    ]
    command = f"recae train {tmp_path / 'ratings.csv'} --items {tmp_path / 'movies.csv'}"
    assert folder_advice(tables).endswith(command)


def test_a_folder_of_anything_is_described(engine: Engine) -> None:
    tables = [in_memory(engine, f"x/t{i}.csv", [{f"a{i}": 1, "b": 2}]) for i in range(12)]
    said = folder_advice(tables)
    assert "t0.csv (a0, b)" in said
    assert "and 4 more" in said
    assert "--query" in said


def test_opening_such_a_folder_gives_the_advice(engine: Engine, tmp_path: Path) -> None:
    for name, rows in (("lines", LINES), ("orders", ORDERS)):
        written(tmp_path / f"{name}.csv", rows)
    with pytest.raises(SourceError, match=r"is no single table: .* --orders .*orders\.csv"):
        open_table(engine, tmp_path, ReadOptions())


def test_many_files_of_a_kind_are_told_once(engine: Engine) -> None:
    tables = [in_memory(engine, f"x/orders{i}.csv", ORDERS) for i in range(4)]
    said = folder_advice([*tables, in_memory(engine, "x/lines.csv", LINES)])
    assert "orders0.csv (order_id, user_id, placed; 3 more like it)" in said
    assert "orders1.csv" not in said
