"""Layouts: baskets, lists and one-hot tables give the rows they were made of; other tables stay."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from basketcells import (
    BASKETS,
    DATES,
    NUMBERS,
    PLAIN,
    PRODUCTS,
    SPECIAL,
    USERS,
    baskets_of,
    in_quotes,
    padded,
    pairs,
    rows,
    table,
    texts,
    unchanged,
)

from recae.errors import ColumnError, ConfigError
from recae.reading.columns import choose_columns
from recae.reading.engine import Engine
from recae.reading.layouts import open_lines, ragged_layout, unfold
from recae.reading.options import ReadOptions


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(2**29) as engine:
        yield engine


# ---- lists in a cell -------------------------------------------------------------------------------------------------


@pytest.mark.some(6)
@pytest.mark.parametrize(
    ("write", "baskets"),
    [
        (", ".join, BASKETS),
        (",".join, BASKETS),
        (" ; ".join, BASKETS),
        ("|".join, SPECIAL),
        ("\n".join, SPECIAL),
        (lambda basket: ",\u00a0".join(basket) + "\t", BASKETS),
        (repr, SPECIAL),
        (json.dumps, SPECIAL),
        (lambda basket: repr(set(basket)).replace(repr(set(basket)), "{" + str(basket)[1:-1] + "}"), SPECIAL),
        (lambda basket: "frozenset({" + str(basket)[1:-1] + "})", SPECIAL),
        (lambda basket: "[" + ", ".join(basket) + "]", BASKETS),
        (lambda basket: ", ".join(map(in_quotes, basket)), SPECIAL),
    ],
    ids=("comma", "tight", "semicolon", "bar", "lines", "rare", "python", "json", "set", "frozenset", "bare", "quoted"),
)  # fmt: skip
def test_a_list_in_a_cell_becomes_a_row_for_each_item(
    engine: Engine, write: Any, baskets: list[list[str]]
) -> None:
    given = table(engine, {"customer": USERS, "items": list(map(write, baskets)), "date": DATES})
    found = unfold(given, ReadOptions())
    assert rows(found, "customer", "items") == pairs(USERS, baskets)
    assert rows(found, "customer", "date") == [
        pair for pair, basket in zip(zip(USERS, DATES, strict=True), baskets, strict=True) for _ in basket
    ]
    assert found.layout == "lists"
    assert not found.basket_is_user
    assert any("'items'" in note.text and note.code == "layout" for note in found.notes)
    columns, _ = choose_columns(found, ReadOptions())
    assert (columns.user, columns.item, columns.time) == ("customer", "items", "date")


@pytest.mark.parametrize(
    "write", [" ".join, lambda basket: f"[{'  '.join(basket)}]"], ids=("blanks", "numpy")
)
def test_ids_apart_by_blanks_keep_their_zeros(engine: Engine, write: Any) -> None:
    coded = [[f"{PLAIN.index(item):04}" for item in basket] for basket in BASKETS]
    found = unfold(table(engine, {"customer": USERS, "items": list(map(write, coded))}), ReadOptions())
    assert rows(found, "customer", "items") == pairs(USERS, coded)


def test_orders_of_a_user_are_told_apart_by_a_number_where_no_column_does(engine: Engine) -> None:
    cells = list(map(",".join, BASKETS))
    found = unfold(table(engine, {"customer": USERS, "items": cells}), ReadOptions())
    assert texts(found, "basket", "items") == pairs(NUMBERS, BASKETS)
    found = unfold(table(engine, {"order_id": NUMBERS, "customer": USERS, "items": cells}), ReadOptions())
    assert found.columns == ["order_id", "customer", "items"]


def test_a_basket_stands_for_a_user_where_nobody_says_who_bought(engine: Engine) -> None:
    cells = list(map(",".join, BASKETS))
    for columns in ({"items": cells}, {"date": DATES, "items": cells}):
        found = unfold(table(engine, columns), ReadOptions())
        assert texts(found, "basket", "items") == pairs(NUMBERS, BASKETS)
        assert found.basket_is_user
        assert "stands for a user" in found.notes[-1].text
        assert choose_columns(found, ReadOptions())[0].user == "basket"
    found = unfold(table(engine, {"transaction_id": NUMBERS, "items": cells}), ReadOptions())
    assert found.basket_is_user
    assert choose_columns(found, ReadOptions())[0].user == "transaction_id"


def test_who_bought_is_asked_for_where_a_column_of_another_name_may_say_it(engine: Engine) -> None:
    kd = [f"{i % 60:03}" for i in range(len(BASKETS))]
    found = unfold(table(engine, {"Xy": kd, "items": list(map(",".join, BASKETS))}), ReadOptions())
    assert not found.basket_is_user


def test_lists_of_equal_length_run_in_parallel(engine: Engine) -> None:
    coded = [[f"{PLAIN.index(item):04}" for item in basket] for basket in BASKETS]
    amounts = [[str(1 + len(item) % 3) for item in basket] for basket in BASKETS]
    columns = {
        "user": USERS,
        "item_ids": list(map(",".join, coded)),
        "names": list(map("|".join, BASKETS)),
        "qty": list(map(", ".join, amounts)),
    }
    found = unfold(table(engine, columns), ReadOptions())
    wanted = [
        (user, *line)
        for user, *lists in zip(USERS, coded, BASKETS, amounts, strict=True)
        for line in zip(*lists, strict=True)
    ]
    assert rows(found, "user", "item_ids", "names", "qty") == wanted


@pytest.mark.parametrize("way", ["{n} x {i}", "{i} x {n}", "{i} ({n})", "{n}× {i}"])
def test_a_number_beside_each_item_is_its_quantity(engine: Engine, way: str) -> None:
    cells = [", ".join(way.format(i=item, n=1 + len(item) % 3) for item in basket) for basket in BASKETS]
    found = unfold(table(engine, {"user": USERS, "items": cells}), ReadOptions())
    wanted = [(*pair, str(1 + len(pair[1]) % 3)) for pair in pairs(USERS, BASKETS)]
    assert rows(found, "user", "items", "quantity") == wanted


def test_a_list_of_another_name_is_the_item_beside_a_user(engine: Engine) -> None:
    cells = list(map("|".join, BASKETS))
    found = unfold(table(engine, {"customer": USERS, "Zeug": cells}), ReadOptions())
    assert rows(found, "customer", "item") == pairs(USERS, BASKETS)
    found = unfold(table(engine, {"customer": USERS, "Zeug": cells}), ReadOptions(item_column="Zeug"))
    assert rows(found, "customer", "Zeug") == pairs(USERS, BASKETS)


def test_an_empty_cell_stays_a_row_without_an_item(engine: Engine) -> None:
    cells = [None, *map(",".join, BASKETS[1:])]
    found = unfold(table(engine, {"customer": USERS, "items": cells}), ReadOptions())
    assert rows(found, "customer", "items") == [(USERS[0], None), *pairs(USERS[1:], BASKETS[1:])]


def test_a_table_without_a_header(engine: Engine) -> None:
    cells = list(map(",".join, BASKETS))
    found = unfold(table(engine, {"1": NUMBERS, "2": cells}, header=False), ReadOptions())
    assert rows(found, "user", "item") == pairs(NUMBERS, BASKETS)
    for names in (("user", "time", "item"), ("customer", "date", "items")):
        options = ReadOptions(columns=names)
        given = table(engine, {"1": USERS, "2": DATES, "3": cells}, header=False)
        found = unfold(given, options)
        columns, _ = choose_columns(found, options)
        assert rows(found, columns.user, columns.item) == pairs(USERS, BASKETS)


def test_lists_without_a_header_and_films_with_their_genres(engine: Engine) -> None:
    cells = list(map("|".join, BASKETS))
    found = unfold(table(engine, {"1": USERS, "2": DATES, "3": cells}, header=False), ReadOptions())
    columns, _ = choose_columns(found, ReadOptions())
    assert rows(found, columns.user, columns.item) == pairs(USERS, BASKETS)
    films = {"1": NUMBERS, "2": [f"Toy Story {i} (1995)" for i in NUMBERS], "3": cells}
    assert unchanged(table(engine, films, header=False))
    assert unchanged(table(engine, {**films, "2": [f"M{i}" for i in NUMBERS]}, header=False))
    doubtful = {"1": NUMBERS, "2": ["Ada", "Bob"] * 100, "3": cells}
    with pytest.raises(ColumnError, match=r"--layout lists .* --layout rows"):
        unfold(table(engine, doubtful, header=False), ReadOptions())
    assert unchanged(table(engine, doubtful, header=False), layout="rows")


# ---- what is no list -------------------------------------------------------------------------------------------------

COLOURED = [f"{product}, {colour}" for product in PLAIN for colour in ("red", "blue", "green")]


@pytest.mark.parametrize("name", ["product", "items", "Artikel", "Ware"])
def test_names_with_commas_are_one_product(engine: Engine, name: str) -> None:
    drawn = random.Random(1)
    cells = [drawn.choice(COLOURED) for _ in USERS]
    assert unchanged(table(engine, {"customer": USERS, name: cells, "date": DATES}))


def test_other_cells_with_separators_stay(engine: Engine) -> None:
    drawn = random.Random(1)
    genres = ["|".join(basket[:3]) for basket in BASKETS]
    items = [drawn.choice(PLAIN) for _ in USERS]
    rating = [str(drawn.randint(1, 5)) for _ in USERS]
    for columns in (
        {"movieId": NUMBERS, "title": [f"Film {i}" for i in NUMBERS], "genres": genres},
        {"Nummer": NUMBERS, "Name": [f"Film {i}" for i in NUMBERS], "Genre": genres},
        {"userId": USERS, "movieId": items, "rating": rating, "tags": genres},
        {
            "user": USERS,
            "item": items,
            "review": [f"Good, {i}, but I {x}, well" for i, x in enumerate(items)],
        },
        {"user": USERS, "when": [f"0{i % 9 + 1} 0{i % 7 + 1}, 2023" for i in range(len(USERS))]},
        {"user": USERS, "paid": [f"{i % 17},{i % 90 + 10}" for i in range(len(USERS))]},
        {"user": USERS, "place": [f"{i % 50},{i % 30}" for i in range(len(USERS))]},
        {"user": [f"Muster{i % 50}, Person{i % 30}" for i in range(len(USERS))], "sku": items},
    ):
        assert unchanged(table(engine, columns)), columns.keys()
    film = {"1": NUMBERS, "2": [f"Film {i}" for i in NUMBERS], "3": genres}
    assert unchanged(table(engine, film, header=False))


def test_what_may_be_a_list_stops_with_the_option_for_either(engine: Engine) -> None:
    cells = list(map("|".join, BASKETS))
    columns = {"Bon": NUMBERS, "Zeug": cells}
    with pytest.raises(ColumnError, match=r"--layout lists .* --layout rows") as stop:
        unfold(table(engine, columns), ReadOptions())
    assert "'Zeug'" in str(stop.value)
    assert unchanged(table(engine, columns), layout="rows")
    found = unfold(table(engine, columns), ReadOptions(layout="lists"))
    assert rows(found, "Bon", "item") == pairs(NUMBERS, BASKETS)


def test_two_lists_stop_and_either_can_be_chosen(engine: Engine) -> None:
    other = baskets_of(PLAIN, seed=7)
    columns = {"user": USERS, "items": list(map(",".join, BASKETS)), "products": list(map(",".join, other))}
    with pytest.raises(ColumnError, match=r"'items', 'products'; .*--item-column 'items'"):
        unfold(table(engine, columns), ReadOptions())
    for name, baskets in (("items", BASKETS), ("products", other)):
        found = unfold(table(engine, columns), ReadOptions(item_column=name))
        assert rows(found, "user", name) == pairs(USERS, baskets)


def test_a_layout_that_is_not_there_is_refused(engine: Engine) -> None:
    plain = {"user": USERS, "item": [basket[0] for basket in BASKETS]}
    for layout in ("lists", "baskets", "matrix"):
        with pytest.raises(ConfigError, match=f"--layout {layout} needs .* leave --layout out"):
            unfold(table(engine, plain), ReadOptions(layout=layout))


# ---- numbered columns ------------------------------------------------------------------------------------------------


@pytest.mark.some(3)
@pytest.mark.parametrize("names", ["Item {}", "item_{}", "product{}", "Artikel.{}", "Item({})"])
def test_numbered_columns_hold_a_basket(engine: Engine, names: str) -> None:
    columns = padded(SPECIAL, [names.format(i + 1) for i in range(5)])
    found = unfold(table(engine, columns), ReadOptions())
    assert found.basket_is_user
    item = choose_columns(found, ReadOptions())[0].item
    assert texts(found, "basket", item) == pairs(NUMBERS, SPECIAL)
    found = unfold(table(engine, {"customer": USERS, **columns}), ReadOptions())
    assert rows(found, "customer", item) == pairs(USERS, SPECIAL)
    assert not found.basket_is_user


def test_a_column_that_counts_the_others_is_no_item(engine: Engine) -> None:
    columns = padded(BASKETS, [f"Item {i}" for i in range(1, 6)])
    found = unfold(table(engine, {"Item(s)": [str(len(b)) for b in BASKETS], **columns}), ReadOptions())
    assert found.columns == ["Item", "basket"]
    assert "'Item(s)'" in found.notes[-1].text


def test_numbered_quantities_go_with_their_items(engine: Engine) -> None:
    items = padded(BASKETS, [f"Product_{i}" for i in range(1, 6)])
    amounts = padded(
        [[str(len(item)) for item in basket] for basket in BASKETS], [f"Qty_{i}" for i in range(1, 6)]
    )
    found = unfold(table(engine, {"customer": USERS, **items, **amounts}), ReadOptions())
    wanted = [(user, item, str(len(item))) for user, item in pairs(USERS, BASKETS)]
    assert rows(found, "customer", "Product", "Qty") == wanted


@pytest.mark.parametrize("header", [True, False])
def test_columns_of_numbers_alone(engine: Engine, header: bool) -> None:
    columns = padded([[*basket[:-1], basket[-1]] for basket in BASKETS], ["1", "2", "3", "4", "5"])
    columns = {name: [value or "nan" for value in values] for name, values in columns.items()}
    found = unfold(table(engine, columns, header=header), ReadOptions())
    assert texts(found, "basket", "item") == pairs(NUMBERS, BASKETS)


def test_a_header_of_numbers_above_items_is_no_basket(engine: Engine) -> None:
    columns = padded([["0", "1", "2", "3", "4"], *BASKETS], ["1", "2", "3", "4", "5"])
    found = unfold(table(engine, columns, header=False), ReadOptions())
    assert texts(found, "basket", "item") == pairs(NUMBERS, BASKETS)
    found = unfold(table(engine, columns, header=False), ReadOptions(header=False))
    assert rows(found, "item")[:5] == [(number,) for number in "01234"]


def test_a_user_and_as_many_items_in_each_row(engine: Engine) -> None:
    drawn = random.Random(1)
    items = [drawn.sample([f"{i:02}" for i in range(30)], 3) for _ in NUMBERS]
    columns = {"1": NUMBERS, **padded(items, ["2", "3", "4"])}
    found = unfold(table(engine, columns, header=False), ReadOptions())
    assert rows(found, "user", "item") == pairs(NUMBERS, items)
    ratings = {"1": NUMBERS, "2": [row[0] for row in items], "3": [str(drawn.randint(1, 5)) for _ in items]}
    assert unchanged(table(engine, ratings, header=False))
    assert unchanged(table(engine, {**columns, "1": USERS}, header=False))


def test_numbered_columns_that_hold_something_else_stay(engine: Engine) -> None:
    drawn = random.Random(1)
    items = [drawn.choice(PLAIN) for _ in USERS]
    kinds = {f"Product_Category_{i}": [drawn.choice("12345") for _ in USERS] for i in (1, 2, 3)}
    answers = {f"q{i}": [str(drawn.randint(1, 5)) for _ in USERS] for i in range(1, 9)}
    features = {f"f{i}": [f"{drawn.random():.3f}" for _ in USERS] for i in range(12)}
    for columns in (
        {"User_ID": USERS, "Product_ID": items, **kinds},
        {"respondent": NUMBERS, **answers},
        {"user": USERS, **features},
        {"user": USERS, "sku": items, "address1": ["Street 1"] * len(USERS), "address2": [None] * len(USERS)},
    ):
        assert unchanged(table(engine, columns)), columns.keys()


def test_each_row_of_items_alone_is_a_basket_or_a_user_and_items_as_asked(engine: Engine) -> None:
    full = [[*basket[:2], "Tea"] for basket in baskets_of(PLAIN[1:], seed=3) if len(basket) > 1]
    columns = padded(full, ["1", "2", "3"])
    numbers = [str(i + 1) for i in range(len(full))]
    found = unfold(table(engine, columns, header=False), ReadOptions(layout="baskets"))
    assert texts(found, "basket", "item") == pairs(numbers, full)
    found = unfold(table(engine, columns, header=False), ReadOptions(layout="lists"))
    assert rows(found, "user", "item") == [(first, item) for first, *others in full for item in others]


# ---- one-hot tables --------------------------------------------------------------------------------------------------


def one_hot(yes: Any = "1", no: Any = "0", products: Sequence[str] = PRODUCTS) -> dict[str, list[Any]]:
    return {product: [yes if product in basket else no for basket in SPECIAL] for product in products}


def sorted_as(products: Sequence[str], baskets: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[product for product in products if product in basket] for basket in baskets]


@pytest.mark.some(4)
@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("True", "False"), (True, False), (1, 0), ("1.0", "0.0"), ("x", None), ("t", "f")],
)
def test_a_column_an_item(engine: Engine, yes: Any, no: Any) -> None:
    baskets = sorted_as(PRODUCTS, SPECIAL)
    found = unfold(table(engine, one_hot(yes, no)), ReadOptions())
    assert texts(found, "basket", "item") == pairs(NUMBERS, baskets)
    assert found.layout == "matrix"
    assert found.basket_is_user
    found = unfold(table(engine, {"customer_id": USERS, **one_hot(yes, no)}), ReadOptions())
    assert rows(found, "customer_id", "item") == pairs(USERS, baskets)
    assert "quantity" not in found.types


def test_a_header_above_words_for_yes_and_no(engine: Engine) -> None:
    named = {"": [str(i) for i in range(len(SPECIAL))], **one_hot("True", "False")}
    columns = {str(place): [name, *cells] for place, (name, cells) in enumerate(named.items(), 1)}
    found = unfold(table(engine, columns, header=False), ReadOptions())
    assert texts(found, "basket", "item") == pairs(NUMBERS, sorted_as(PRODUCTS, SPECIAL))


def test_counts_are_quantities_and_marks_of_liking_are_ratings(engine: Engine) -> None:
    baskets = sorted_as(PRODUCTS, SPECIAL)
    counts = {
        product: [str(len(product) % 3 + 1) if product in basket else "0" for basket in SPECIAL]
        for product in PRODUCTS
    }
    found = unfold(table(engine, {"customer_id": NUMBERS, **counts}), ReadOptions())
    wanted = [(user, item, float(len(item) % 3 + 1)) for user, item in pairs(NUMBERS, baskets)]
    assert rows(found, "customer_id", "item", "quantity") == wanted
    marks = {
        name: [None if value == "0" else value + ".5" for value in values] for name, values in counts.items()
    }
    found = unfold(table(engine, {"customer_id": NUMBERS, **marks}), ReadOptions())
    assert rows(found, "customer_id", "item", "rating") == [(user, item, n + 0.5) for user, item, n in wanted]


def test_flags_are_no_items(engine: Engine) -> None:
    drawn = random.Random(1)

    def flag() -> list[str]:
        return [drawn.choice("0001") for _ in USERS]

    flags = {"is_active": flag(), "has_app": flag(), "premium": flag(), "newsletter": flag()}
    assert unchanged(table(engine, {"customer_id": NUMBERS, **flags}))
    items = [drawn.choice(PLAIN) for _ in USERS]
    assert unchanged(
        table(engine, {"customer_id": USERS, "sku": items, "gift": flag(), "promo": flag(), "x": flag()})
    )
    doubtful = {
        "customer_id": NUMBERS,
        **{name: flag() for name in ("premium", "newsletter", "web", "phone", "fax")},
    }
    with pytest.raises(ColumnError, match=r"--layout matrix .* --layout rows"):
        unfold(table(engine, doubtful), ReadOptions())
    assert unchanged(table(engine, doubtful), layout="rows")
    found = unfold(table(engine, doubtful), ReadOptions(layout="matrix"))
    assert len(rows(found, "customer_id", "item")) == sum(
        v == "1" for n, vs in doubtful.items() for v in vs if n != "customer_id"
    )


@pytest.mark.thorough
def test_many_columns(engine: Engine) -> None:
    names = [f"Film {chr(65 + i % 26)}{i}" for i in range(1500)]
    drawn = random.Random(1)
    liked = [sorted(drawn.sample(range(1500), 10)) for _ in range(60)]
    columns = {name: ["1" if i in each else None for each in liked] for i, name in enumerate(names)}
    found = unfold(table(engine, {"user": NUMBERS[:60], **columns}), ReadOptions())
    assert rows(found, "user", "item") == pairs(NUMBERS[:60], [[names[i] for i in each] for each in liked])


# ---- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ", "])
def test_a_line_a_basket(engine: Engine, tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(map(delimiter.join, BASKETS)) + "\n")
    layout = ragged_layout(path.read_text().splitlines(), ReadOptions())
    assert layout == "baskets"
    found = open_lines(engine, path, path.name, layout)
    assert texts(found, "basket", "item") == pairs(NUMBERS, BASKETS)
    assert found.basket_is_user
    assert choose_columns(found, ReadOptions())[0].user == "basket"


def test_quotes_and_empty_lines_and_the_mark_of_utf_8(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "lines.csv"
    lines = [",".join('"' + item.replace('"', '""') + '"' for item in basket) for basket in SPECIAL]
    path.write_text("\n\n".join(lines), encoding="utf-8-sig")
    assert ragged_layout(path.read_text("utf-8-sig").splitlines(), ReadOptions()) == "baskets"
    found = open_lines(engine, path, path.name, "baskets")
    assert texts(found, "basket", "item") == pairs(NUMBERS, SPECIAL)


@pytest.mark.parametrize("header", ["", "userId itemIds\n", "user items\n"])
def test_a_line_a_user_and_items(engine: Engine, tmp_path: Path, header: str) -> None:
    coded = [[f"{PLAIN.index(item):03}" for item in basket] for basket in BASKETS]
    path = tmp_path / "train.txt"
    path.write_text(
        header + "".join(f"{user} {' '.join(items)} \n" for user, items in zip(NUMBERS, coded, strict=True))
    )
    lines = path.read_text().splitlines()
    assert ragged_layout(lines, ReadOptions()) == "lists"
    found = open_lines(engine, path, path.name, "lists")
    columns, _ = choose_columns(found, ReadOptions())
    assert rows(found, columns.user, columns.item) == pairs(NUMBERS, coded)
    assert not found.basket_is_user


def test_lines_of_a_user_are_baskets(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "lines.csv"
    path.write_text(
        "".join(f"{user},{','.join(basket)}\n" for user, basket in zip(USERS, BASKETS, strict=True))
    )
    assert ragged_layout(path.read_text().splitlines(), ReadOptions()) == "lists"
    found = open_lines(engine, path, path.name, "lists")
    assert rows(found, "user", "item") == pairs(USERS, BASKETS)
    assert texts(found, "basket", "item") == pairs(NUMBERS, BASKETS)


@pytest.mark.parametrize("header", ["", "Member,Day,Items\n"])
def test_columns_before_the_items_of_a_line(engine: Engine, tmp_path: Path, header: str) -> None:
    lines = [
        f"{user},{date},{','.join(basket)}" for user, date, basket in zip(USERS, DATES, BASKETS, strict=True)
    ]
    path = tmp_path / "lines.csv"
    path.write_text(header + "\n".join(lines))
    assert ragged_layout(path.read_text().splitlines(), ReadOptions()) == "lists"
    found = open_lines(engine, path, path.name, "lists")
    columns, _ = choose_columns(found, ReadOptions())
    assert rows(found, columns.user, columns.item) == pairs(USERS, BASKETS)
    assert columns.time is not None
    assert rows(found, columns.time, "basket")[-1] == (DATES[-1], len(BASKETS))


def test_words_apart_by_blanks_are_items_but_those_of_a_text_are_not(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(map(" ".join, BASKETS)))
    assert ragged_layout(path.read_text().splitlines(), ReadOptions()) == "baskets"
    found = open_lines(engine, path, path.name, "baskets")
    assert texts(found, "basket", "item") == pairs(NUMBERS, BASKETS)
    readme = (Path(__file__).parent.parent / "README.md").read_text().splitlines()
    assert ragged_layout(readme, ReadOptions()) is None


def test_lines_that_are_rows(engine: Engine) -> None:
    table = [f"{user},{basket[0]},{date}" for user, basket, date in zip(USERS, BASKETS, DATES, strict=True)]
    for lines in (
        ["user,item,date", *table],
        [*table[:50], table[50] + ",x", *table[51:]],
        ["Sales report", "", "user,item,date", *table, "Total,,200"],
        ["Item 1,Item 2,Item 3,Item 4,Item 5", *(",".join([*b, *[""] * (5 - len(b))]) for b in BASKETS)],
        [f"{user},{item}, {'red' if item < 'M' else 'blue, large'}" for user, item in pairs(USERS, BASKETS)],
        ["user,product", *(f"{user},{item}{', red' * (item < 'M')}" for user, item in pairs(USERS, BASKETS))],
        [f"{user} 1:0.5 2:0.25" + " 7:1.5" * len(basket) for user, basket in zip(USERS, BASKETS, strict=True)],
        ["This is a text of some lines,", "with commas, and more, and some", "longer, than, others.", "", "End"] * 9,
    ):  # fmt: skip
        assert ragged_layout(lines, ReadOptions()) is None, lines[:2]
    lines = list(map(",".join, BASKETS))
    assert ragged_layout(lines, ReadOptions(layout="rows")) is None
    assert ragged_layout(lines, ReadOptions(layout="lists")) == "lists"
    assert ragged_layout(['"Tea, Mug",1', "Cup,2"] * 9, ReadOptions(layout="lists")) is None
