"""Reading: which column is which, in the layouts of public data sets and of shops' exports."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publiclayouts import (
    HEADERLESS,
    LAYOUTS,
    LINES,
    Cell,
    Line,
    day,
    empty,
    iso,
    item,
    kind,
    make,
    one_of,
    order,
    person,
    position,
    price,
    product,
    quantity,
    rating,
    row,
    rows_of,
    sku,
    unix,
    user,
)

from recae.errors import ColumnError
from recae.reading.columns import choose_column, choose_columns, find_order, name_columns
from recae.reading.engine import Engine
from recae.reading.names import BASKET_NAMES, KNOWN_NAMES
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.table import Note, Table


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(2**28) as opened:
        yield opened


Chosen = tuple[Columns, tuple[Note, ...]]


def chosen(engine: Engine, layout: Mapping[str, Cell], **options: Any) -> Chosen:
    return choose_columns(make(engine, layout), ReadOptions.of(options))


@pytest.mark.some(30)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(engine: Engine, name: str) -> None:
    layout, expected = LAYOUTS[name]
    columns, _ = chosen(engine, layout)
    assert str(columns) == expected


@pytest.mark.some(12)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_of_columns_does_not_count(engine: Engine, name: str) -> None:
    layout, expected = LAYOUTS[name]
    columns, _ = chosen(engine, dict(reversed(layout.items())))
    assert str(columns) == expected


ORDERS: dict[str, Cell] = {"order_id": order, "order_date": iso}


def test_a_given_column_wins(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "user_id": user,
        "buyer": person,
        "item_id": item,
        "title": product,
        "date": iso,
        "count": quantity,
    }
    given = {"user_column": "buyer", "item_column": "title", "quantity_column": "", "rating_column": "count"}
    columns, notes = chosen(engine, layout, **given)
    # the title is taken, so it is not the name as well; the quantity was declined
    assert str(columns) == "user 'buyer', item 'title', time 'date', rating 'count'"
    assert notes == ()
    assert chosen(engine, layout, time_column="", **given)[0].time is None
    assert chosen(engine, layout, confidence_column="count")[0].confidence == "count"


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a", "item_id"], {}, r"the user \(who bought\); name it with --user-column; found: 'a', 'item_id'"),
        (["a", "user"], {}, r"the item \(what was bought\); name it with --item-column"),
        (["a", "b"], {}, "--user-column and --item-column; found: 'a', 'b'"),
        (
            ["user", "item"],
            {"time_column": "wen"},
            "--time-column names 'wen', which the table does not have; found",
        ),
        (["user", "item"], {"user_column": "User"}, "did you mean 'user'"),
        (["customer", "item"], {"user_column": "custmer"}, "did you mean 'customer'"),
        (["user", "item"], {"user_column": "item", "item_column": "item"}, "both be column 'item'"),
        (["user", "item"], {"user_column": ""}, "--user-column names ''"),
        (
            ["user", "item"],
            {"columns": ("user", "item", "time")},
            "names 3 columns, but there are 2: leave 1 out",
        ),
        (["a", "b", "c"], {"columns": ("user", "item", "user")}, "names 'user' twice"),
        (["a", "b", "c"], {"columns": ("user", "-", "price")}, r"the item \(what was bought\)"),
    ],
)
def test_columns_that_do_not_serve(
    engine: Engine, names: list[str], given: dict[str, Any], message: str
) -> None:
    table = rows_of(engine, names, [["a", "x", "1"], ["b", "y", "2"]])
    with pytest.raises(ColumnError, match=message):
        choose_columns(table, ReadOptions.of(given))


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["userId", "movieId", "rating", "timestamp"],
            "user 'userId', item 'movieId', time 'timestamp', rating 'rating'",
        ),
        (["product", "product_id", "CUSTOMER"], "user 'CUSTOMER', item 'product_id'"),
        (["item-id", "user", "user_id"], "user 'user_id', item 'item-id'"),
        (["date", "time", "item", "user"], "user 'user', item 'item', time 'date'"),
        (["user_id", "basket", "item_id"], "user 'user_id', item 'item_id'"),
        (["user", "item", "qty", "when"], "user 'user', item 'item', quantity 'qty'"),
    ],
)
def test_names_decide_where_there_are_hardly_any_values(
    engine: Engine, names: list[str], expected: str
) -> None:
    table = rows_of(engine, names, [["3", "1", "4", "1"], ["5", "9", "2", "6"]])
    columns, notes = choose_columns(table, ReadOptions())
    assert str(columns).replace(", name 'product'", "") == expected
    assert not any(note.doubt for note in notes)


def test_a_basket_column_is_chosen_only_where_it_is_asked_for(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "user": user,
        "item": item,
        "basket": order,
        "Order Number": order,
        "invoice": order,
    }
    assert chosen(engine, layout)[0].basket is None
    assert chosen(engine, layout, baskets=True)[0].basket == "Order Number"
    assert chosen(engine, layout, baskets=True, item_column="Order Number")[0].basket == "basket"
    with_date = layout | {"date": iso}
    assert chosen(engine, with_date, baskets=True)[0].basket is None
    assert chosen(engine, with_date, baskets=True, basket_column="invoice")[0].basket == "invoice"
    # no name stands for two roles
    assert not set(BASKET_NAMES) & {name for known in KNOWN_NAMES.values() for name in known}


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        # the cashier is no customer
        (
            {"user_id": lambda x: x.seed % 5, "customer_id": user, "item": item},
            "'user_id' and 'customer_id' may both say who bought, and they do not go together; choose one with "
            "--user-column user_id or --user-column customer_id",
        ),
        (
            {"customer": user, "product_id": item, "Article No": lambda x: x.seed % 90},
            "'product_id' and 'Article No' may both say what was bought, and they do not go together; choose one with "
            "--item-column product_id or --item-column 'Article No'",
        ),
    ],
)  # fmt: skip
def test_two_columns_that_mean_different_models_stop(
    engine: Engine, layout: dict[str, Cell], text: str
) -> None:
    with pytest.raises(ColumnError) as caught:
        chosen(engine, layout)
    assert str(caught.value) == f"'purchases.csv': {text}"


@pytest.mark.some(6)
@pytest.mark.parametrize(
    ("layout", "expected", "code", "said"),
    [
        # a household of two customers
        (
            {"customer_id": user, "household_id": lambda x: x.user // 2, "item": item},
            "customer_id", "user-alternative", "user 'customer_id'; 'household_id' would fit as well; --user-column ",
        ),
        # a product in three sizes
        (
            {"customer_id": user, "product_id": lambda x: x.item // 3, "sku": sku},
            "product_id", "item-alternative", "item 'product_id'; 'sku' would fit as well; --item-column sku takes it",
        ),
        (
            {"user": user, "item": item, "order_date": iso, "purchase_date": lambda x: x.later(x.seed % 40)[:10]},
            "order_date", "time-alternative", "'purchase_date' would fit as well; --time-column purchase_date takes it",
        ),
        # the review's title; the customer's name
        (
            {"user": user, "asin": item, "title": one_of("Good", "Bad", "So so"), "rating": rating},
            None, "name-not-of-item", "'title' is something else, not the item's name: 45% of the rows carry",
        ),
        (
            {"customer": user, "product_id": item, "name": person},
            None, "name-not-of-item", "'name' is the name of the user ('customer'), not the item's name",
        ),
        (
            {"customer": user, "item": row, "price": price},
            "item", "item-one-a-row", "item 'item' has a value of its own in every row",
        ),
        (
            {"Customer Name": person, "Product": product},
            "Customer Name", "user-by-name", "nothing but their names ('Customer Name') tells users apart",
        ),
        (
            {"customer": user, "item": item, "units": one_of("kg", "l"), "sold": quantity},
            "sold", "quantity-text", "'units' holds no numbers ('l', 'kg'), so the quantity is 'sold'",
        ),
        (
            {"customer": user, "item": item, "behavior_type": rating},
            None, "event-codes", "'behavior_type' may say what users did (",
        ),
        (
            {"customer": user, "item": item, "date": one_of("spring", "autumn")},
            "date", "times-unreadable", "'date' holds nothing that is known as a time ('",
        ),
        (
            {"customer": user, "sku": lambda x: x.sku if x.seed % 5 else None, "product_name": product},
            "sku", "item-alternative", "item 'sku' is empty in 2",
        ),
    ],
)  # fmt: skip
def test_what_was_decided_is_said(
    engine: Engine, layout: dict[str, Cell], expected: str | None, code: str, said: str
) -> None:
    columns, notes = chosen(engine, layout)
    note = next(note for note in notes if note.code == code)
    assert said in str(note)
    assert note.column in layout
    if expected is not None:
        assert expected in columns.used()
    else:
        assert note.column not in columns.used()


def test_baskets_stand_for_users_where_the_table_stands_by_itself(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "Date": day,
        "Time": lambda x: x.iso[11:],
        "Transaction": order,
        "Item": product,
    }
    columns, notes = chosen(engine, layout)
    assert str(columns) == "user 'Transaction', item 'Item', time 'Date', clock 'Time'"
    assert [note.code for note in notes] == ["baskets-as-users"]
    assert chosen(engine, layout, user_column="Transaction") == (columns, ())


def test_an_item_that_numbers_the_lines_is_never_taken(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "order": order,
        "customer": user,
        "item": lambda x: x.position * 10,
        "order_date": iso,
    }
    with pytest.raises(ColumnError, match=r"'order'.*no column says what was bought.*--orders"):
        chosen(engine, layout)
    columns, (note,) = chosen(engine, layout, item_column="item")
    assert columns.item == "item"
    assert (note.doubt, note.code) == (True, "item-restarts")
    # the same numbers are items where they do not begin anew
    columns, _ = chosen(engine, layout | {"item": lambda x: x.item * 10})
    assert columns.item == "item"


def beside(
    engine: Engine, folder: Path, names: dict[str, dict[str, Cell]], lines: dict[str, list[Line]]
) -> list[Table]:
    """Return tables that were written into files of a folder."""
    tables = []
    for name, layout in names.items():
        rows = [",".join(layout), *(",".join(str(cell(x)) for cell in layout.values()) for x in lines[name])]
        (folder / name).write_text("\n".join(rows) + "\n")
        table = make(engine, layout, lines[name])
        tables.append(replace(table, name=str(folder / name), files=(folder / name,)))
    return tables


def test_orders_and_their_lines_name_each_other(engine: Engine, tmp_path: Path) -> None:
    once = [x for x in LINES if x.position == 1]
    other = [replace(x, order=x.order + 10**6) for x in LINES]
    orders, lines, _, _ = beside(
        engine, tmp_path,
        {
            "all orders.csv": {"order_id": order, "user_id": user, "order_number": lambda x: x.order % 7},
            "lines.csv": {"order_id": order, "product_id": item, "add_to_cart_order": position},
            "another_shop.csv": {"order_id": order, "product_id": item, "add_to_cart_order": position},
            "items.csv": {"product_id": item, "product_name": product},
        },
        {"all orders.csv": once, "lines.csv": LINES, "another_shop.csv": other, "items.csv": once},
    )  # fmt: skip
    command = f"recae train {tmp_path}/lines.csv --orders '{tmp_path}/all orders.csv'"
    with pytest.raises(ColumnError) as caught:
        choose_columns(orders, ReadOptions())
    assert (
        "says who ordered, in 'order_id', but no column says what was bought: "
        f"join the table of the orders' items: {command};" in str(caught.value)
    )
    with pytest.raises(ColumnError) as caught:
        choose_columns(lines, ReadOptions())
    assert f"but no column says by whom: join the table of the orders: {command};" in str(caught.value)
    assert choose_columns(lines, ReadOptions(user_column="order_id"))[0].user == "order_id"


def test_orders_without_their_lines_at_hand(engine: Engine) -> None:
    once = [x for x in LINES if x.position == 1]
    layout: dict[str, Cell] = {
        "order_id": order,
        "customer_id": user,
        "order_status": one_of("delivered"),
        "order_date": iso,
    }
    with pytest.raises(ColumnError, match=r"recae train order_items.csv --orders purchases.csv;"):
        choose_columns(make(engine, layout, once), ReadOptions())


@pytest.mark.parametrize("header", [True, False])
def test_a_table_of_items_is_no_purchases(engine: Engine, header: bool) -> None:
    items = list({x.item: x for x in LINES}.values())
    table = make(engine, {"movieId": item, "title": product, "genres": kind}, items, header)
    with pytest.raises(
        ColumnError, match=r"a table of items, not of purchases.*recae train purchases.csv --items purch"
    ):
        choose_columns(table, ReadOptions())


@pytest.mark.some(6)
@pytest.mark.parametrize("name", HEADERLESS)
def test_known_layouts_without_a_header(engine: Engine, name: str) -> None:
    cells, expected, named = HEADERLESS[name]
    table = make(engine, {str(i): cell for i, cell in enumerate(cells, 1)}, header=False)
    columns, notes = choose_columns(table, ReadOptions())
    assert str(columns) == expected
    (note,) = notes
    assert note.code == "columns-by-position"
    assert f"--columns {named} " in str(note)
    # the advice says what was chosen, and nothing is left to say then
    assert choose_columns(table, ReadOptions(columns=tuple(named.split(",")))) == (columns, ())


def test_columns_by_position(engine: Engine) -> None:
    cells: dict[str, Cell] = {"1": rating, "2": item, "3": price, "4": user, "5": unix, "6": product}
    table = make(engine, cells, header=False)
    options = ReadOptions(columns=("rating", "item", "price", "user", "", "product_name"))
    columns, notes = choose_columns(table, options)
    assert str(columns) == "user '4', item '2', name '6', rating '1'"
    assert notes == ()
    named = name_columns(table, options)
    assert named.columns == ["rating", "item", "price", "user", "5", "product_name"]
    columns, notes = choose_columns(named, options)
    assert str(columns) == "user 'user', item 'item', name 'product_name', rating 'rating'"
    assert engine.rows(f"SELECT price, user FROM {named.relation} LIMIT 1") == [
        (LINES[0].price, LINES[0].user_id)
    ]
    assert name_columns(named, options) is named
    # an option may call a column by either name
    assert choose_columns(table, options.updated(name_column="price"))[0].name == "3"
    assert choose_columns(table, options.updated(name_column="3"))[0].name == "3"
    with pytest.raises(ColumnError, match="--columns names '5', which another column is called"):
        name_columns(table, ReadOptions(columns=("user", "item", "5")))


def test_names_alone_choose_a_column() -> None:
    known = KNOWN_NAMES["item"]
    assert choose_column(["x", "StockCode"], None, "item", known, "t.csv") == "StockCode"
    assert choose_column(["x", "Artikel-Nr."], None, "item", known, "t.csv") == "Artikel-Nr."
    assert choose_column(["x", "item"], "x", "item", known, "t.csv") == "x"
    with pytest.raises(
        ColumnError, match=r"'t.csv': no column is recognised as the item; name it with --item-column"
    ):
        choose_column(["x", "y"], None, "item", known, "t.csv")
    with pytest.raises(ColumnError, match="the item column 'z' is not in the table"):
        choose_column(["x", "y"], "z", "item", known, "t.csv")
    with pytest.raises(ColumnError, match="the item column 'x' occurs 2 times"):
        choose_column(["x", "x"], "x", "item", known, "t.csv")


def test_the_column_of_orders(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "transaction_id": row,
        "order_number": lambda x: x.order % 7,
        "Bestellnummer": order,
        "user": user,
    }
    table = make(engine, layout)
    assert find_order(table) == "Bestellnummer"
    assert find_order(table, taken=["Bestellnummer"]) == "order_number"
    assert find_order(make(engine, {"user": user, "item": item})) is None


def test_types_of_their_own_count(engine: Engine) -> None:
    name = engine.store(
        "SELECT 'u' || (i % 30) AS who_bought, i % 7 AS article_id, DATE '2023-01-04' + (i % 90)::INT AS bought, "
        "TIME '15:17:00' + to_minutes(i % 300) AS time, [i, i] AS items, {'id': i} AS customer FROM range(600) t(i)"
    )
    table = Table("t.parquet", engine, name, engine.describe(name))
    columns, _ = choose_columns(table, ReadOptions(user_column="who_bought"))
    assert str(columns) == "user 'who_bought', item 'article_id', time 'bought', clock 'time'"


@pytest.mark.thorough
def test_many_columns_are_not_all_looked_at(engine: Engine) -> None:
    wide = {f"c{i}": one_of("a", "b") for i in range(2000)} | {"customer": user, "item": item}
    table = make(engine, wide, LINES[:40])
    assert choose_columns(table, ReadOptions())[0].item == "item"


def test_a_number_of_sales_is_no_order(engine: Engine) -> None:
    layout: dict[str, Cell] = {"date": day, "store": one_of("1", "2"), "item": item, "sales": quantity}
    with pytest.raises(ColumnError, match=r"the user \(who bought\); name it with --user-column"):
        chosen(engine, layout)
    # nor is the kind of a transaction, nor what an order came to
    for word in (one_of("sale", "refund"), price):
        with pytest.raises(ColumnError, match=r"the user \(who bought\); name it with --user-column"):
            chosen(engine, {"date": day, "Transaction": word, "item": item})


def test_orders_with_a_user_each_are_said(engine: Engine) -> None:
    layout: dict[str, Cell] = {"order_id": order, "customer_id": lambda x: f"c{x.order}", "product_id": item}
    columns, notes = chosen(engine, layout)
    assert columns.user == "customer_id"
    assert [note.code for note in notes] == ["user-one-an-order"]
    assert "nearly every 'order_id' has a 'customer_id' of its own" in str(notes[0])


def test_users_that_are_mostly_missing_are_said(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "session_id": order,
        "user_id": lambda x: x.user_id if x.user % 4 == 0 else None,
        "item_id": item,
        "eventdate": day,
    }
    columns, (note,) = chosen(engine, layout)
    assert columns.user == "user_id"
    assert note.doubt
    assert re.fullmatch(
        r"user 'user_id' is missing in 7\d% of the rows; --user-column session_id lets each of its values .*",
        str(note),
    )


def test_row_numbers_without_a_header_are_no_users(engine: Engine) -> None:
    table = make(engine, {"1": row, "2": user, "3": item, "4": unix}, header=False)
    columns, (note,) = choose_columns(table, ReadOptions())
    assert str(columns) == "user '2', item '3', time '4'"
    assert note.doubt
    assert "--columns -,user,item,time " in str(note)


@pytest.mark.some(9)
@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y", "%-m/%-d/%y", "%d-%b-%Y", "%b %d, %Y %I:%M %p", "%a, %d %b %Y %H:%M:%S GMT",
     "%Y%m%d", "%Y%m%d%H%M%S", "%s", "%s000", "%m %-d, %Y", "%-d. Januar %Y", "%-d de mayo de %Y", "%-d août %Y",
     "%Y年%m月%d日", "%Y. %m. %d", "%Y/%m/%d", "%Y%m%dT%H%M%S"],
)  # fmt: skip
def test_values_that_are_times(engine: Engine, form: str) -> None:
    columns, _ = chosen(
        engine, {"user": user, "item": item, "ordered": lambda x: x.time.strftime(form), "date": kind}
    )
    named, _ = chosen(
        engine, {"user": user, "item": item, "order_date": lambda x: x.time.strftime(form), "date": kind}
    )
    assert named.time == "order_date"
    # a name that says nothing needs values that say it all
    assert columns.time == ("date" if form in ("%Y%m%d", "%Y%m%d%H%M%S", "%s", "%s000") else "ordered")


@pytest.mark.some(6)
@pytest.mark.parametrize(
    "product",
    ["Set of {} mugs", "Marble cake {} 12", "SET 3 MAR {}", "12{:02}-56-789", "978-3-16-14{:04}-0", "12-{:02}-5678",
     "May {} teas", "{}.50 mm", "March of the Penguins {} (2005)", "1-800-{:03}", "2001: A Space Odyssey {}"],
)  # fmt: skip
def test_values_that_are_no_times(engine: Engine, product: str) -> None:
    layout: dict[str, Cell] = {
        "user": user,
        "item": item,
        "item_name": lambda x: product.format(x.item),
        "date": day,
    }
    columns, notes = chosen(engine, layout)
    assert str(columns) == "user 'user', item 'item', time 'date', name 'item_name'"
    assert notes == ()
    assert chosen(engine, layout | {"item": empty})[0].item == "item_name"


def test_a_table_without_rows_is_understood_by_its_names(engine: Engine) -> None:
    table = make(engine, {"Customer ID": user, "StockCode": item, "Quantity": quantity}, [])
    assert str(choose_columns(table, ReadOptions())[0]) == "user 'Customer ID', item 'StockCode'"


def test_few_rows_do_not_refuse_a_name_or_a_quantity(engine: Engine) -> None:
    rows = [["a", "x", "Old", "0"], ["b", "x", "New", "x"], ["c", "y", "Other", "kg"]]
    columns, notes = choose_columns(rows_of(engine, ["user", "item", "name", "qty"], rows), ReadOptions())
    assert str(columns) == "user 'user', item 'item', quantity 'qty', name 'name'"
    assert notes == ()
