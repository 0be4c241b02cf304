"""Tests of reading a table of items: which column is which, what values mean, what is counted, hostile input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recae.errors import ColumnError, ConfigError, DataError, SourceError
from recae.ids import IdMap
from recae.item_table import ItemTable
from recae.reading import item_table as reading
from recae.reading.item_table import read_item_table
from recae.reading.item_words import meaning_of

GERMAN = """SKU;Titel;Beschreibung;Preis;Marke;Bild;Link;Kategorie 1;Kategorie 2;Lagerbestand;Farbe
a2;Tasse;;"12,50 €";-;data:abc;HTTP://x.de/2;Küche;;0;
a1;alt;;1;;;;;;;
;ohne;;1;;;;;;;
a1;<b>Topf</b>;Aus Stahl;"1.299,00 €";Acme;https://x.de/a.png https://x.de/b.png;javascript:alert(1);Küche;Töpfe;3;rot
a3;Deckel;;gratis;;;;;;vielleicht;
"""


def written(tmp_path: Path, text: str | bytes, name: str = "items.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(table: ItemTable) -> dict[str, dict[str, Any]]:
    return dict(zip(table.ids, table.columns.to_pylist(), strict=True))


def of(frame: Mapping[str, Any], **options: Any) -> ItemTable:
    return read_item_table(pd.DataFrame(frame), **options)[0]


def test_columns_are_recognised_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    table, report = read_item_table(written(tmp_path, GERMAN))
    assert table.names == [
        "name",
        "category",
        "brand",
        "price",
        "available",
        "image",
        "link",
        "text",
        "Farbe",
    ]
    nothing = dict.fromkeys(table.names)
    assert rows(table) == {
        "a1": {
            "name": "<b>Topf</b>", "category": "Küche > Töpfe", "brand": "Acme", "price": 1299.0, "available": True,
            "image": "https://x.de/a.png", "link": None, "text": "Aus Stahl", "Farbe": "rot",
        },
        "a2": nothing | {"name": "Tasse", "category": "Küche", "price": 12.5, "available": False,
                         "link": "http://x.de/2"},
        "a3": nothing | {"name": "Deckel"},
    }  # fmt: skip
    assert (report.rows, report.items, report.without_id, report.doubled) == (5, 3, 1, 1)
    assert report.dropped == {
        "images that do not begin with http:// or https://": 1,
        "links that do not begin with http:// or https://": 1,
        "words on availability that are not understood": 1,
        "prices that are no numbers": 1,
    }
    assert report.known["price"] == 2
    assert report.columns["category"] == ("Kategorie 1", "Kategorie 2")
    said = "\n".join(report.sentences())
    assert "rows left out, since a later row has the same id: 1" in said
    assert "left out: 1 links that do not begin with http:// or https://" in said


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "xlsx", "frame"])
def test_every_source_gives_the_same_table(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame(
        {"id": ["1", "2"], "title": ["Mug", "Öl & <Fett>"], "price": [2.5, 1000.0], "in_stock": [True, False]}
    )
    path = tmp_path / f"items.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "parquet":
        frame.to_parquet(path)
    elif ending == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    elif ending == "xlsx":
        frame.to_excel(path, index=False)
    table, _ = read_item_table(frame if ending == "frame" else path)
    assert rows(table) == {
        "1": {"name": "Mug", "price": 2.5, "available": True},
        "2": {"name": "Öl & <Fett>", "price": 1000.0, "available": False},
    }


@pytest.mark.parametrize(
    ("values", "prices"),
    [
        (["1.299,00 €", "5,00 €"], [1299.0, 5.0]),
        (["$12.50", "$1,299.00"], [12.5, 1299.0]),
        (["1,299.00", "3"], [1299.0, 3.0]),
        (["12,50", "1.299"], [12.5, 1299.0]),  # the column as a whole has a decimal comma
        (["USD 10.00", "-3"], [10.0, None]),
    ],
)
def test_prices_are_decided_for_the_column_as_a_whole(values: list[str], prices: list[float | None]) -> None:
    assert of({"id": ["a", "b"], "price": values}).column("price").to_pylist() == prices


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        (["Home > Mugs", "Home"], ["Home > Mugs", "Home"]),
        (["Home &gt; Mugs", " > Home > "], ["Home > Mugs", "Home"]),
        (["Home|Mugs", "Garden"], ["Home > Mugs", "Garden"]),
        (["Home/Mugs", "Home/Pots"], ["Home > Mugs", "Home > Pots"]),
        (["Home", "Bed/Bath", "Garden"], ["Home", "Bed/Bath", "Garden"]),
        (["furniture.kitchen.table", "furniture.bed"], ["furniture > kitchen > table", "furniture > bed"]),
    ],
)
def test_a_path_of_categories_is_split_by_the_sign_that_the_column_has(
    values: list[str], paths: list[str]
) -> None:
    ids = [f"i{k}" for k in range(len(values))]
    assert of({"id": ids, "category": values}).column("category").to_pylist() == paths


def test_several_columns_make_a_path() -> None:
    frame = {
        "id": ["a", "b"],
        "subcategory": ["Mugs", None],
        "department": ["Home", "Garden"],
        "category": ["K", "G"],
    }
    assert of(frame).column("category").to_pylist() == ["Home > K > Mugs", "Garden > G"]
    assert of(frame, columns={"category": ["category"]}).column("category").to_pylist() == ["K", "G"]
    assert "category" not in of(frame, columns={"category": []})


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("UnitPrice", "price"), ("Preis", "price"), ("prix", "price"), ("price_eur", "price"), ("価格", "price"),
        ("old_price", None), ("price_date", None), ("Kategorie", "category"), ("category_id", None),
        ("product_category", "category"), ("Warengruppe", "category"), ("genres", "category"), ("brand", "brand"),
        ("Hersteller", "brand"), ("image_url", "image"), ("main_image_link", "image"), ("imageURL", "image"),
        ("url", "link"), ("product_url", "link"), ("stock", "available"), ("in_stock", "available"),
        ("StockCode", None), ("stock_code", None), ("Verfügbarkeit", "available"), ("description", "text"),
        ("title", None), ("name", None), ("color", None), ("discount_price", None), ("rating", None),
    ],
)  # fmt: skip
def test_names_of_columns(name: str, meaning: str | None) -> None:
    found = meaning_of(name)
    assert (found and found[0]) == meaning


def test_description_is_the_name_only_where_there_is_no_other() -> None:
    alone = of({"StockCode": ["a", "b"], "Description": ["WHITE MUG", "RED POT"], "UnitPrice": [1.0, 2.0]})
    assert alone.column("name").to_pylist() == ["WHITE MUG", "RED POT"]
    both = of({"id": ["a", "b"], "title": ["Mug", "Pot"], "description": ["A mug it is", "A pot"]})
    assert both.column("name").to_pylist() == ["Mug", "Pot"]
    assert both.column("text").to_pylist() == ["A mug it is", "A pot"]


def test_the_column_of_ids_is_that_which_holds_what_was_bought() -> None:
    frame = pd.DataFrame({"id": [1, 2], "sku": ["x", "y"], "name": ["Mug", "Pot"]})
    assert list(read_item_table(frame, known=IdMap(["x", "z"]))[0].ids) == ["x", "y"]
    assert list(read_item_table(frame, known=IdMap(["2"]))[0].ids) == ["1", "2"]
    assert list(read_item_table(frame, {"id": ["sku"]}, known=IdMap(["2"]))[0].ids) == ["x", "y"]
    with pytest.raises(ColumnError, match=r"no column of .* holds ids of the items that were bought"):
        read_item_table(frame, known=IdMap(["nobody"]))


def test_more_columns_than_there_is_place_for_are_named() -> None:
    frame = {"id": ["a"], **{f"x{k}": ["1"] for k in range(80)}, "price": [3.0]}
    table, report = read_item_table(pd.DataFrame(frame))
    assert len(table.names) == 64
    assert table.column("price").to_pylist() == [3.0]
    assert len(report.left_out) == 17
    assert "columns left out" in "\n".join(report.sentences())


def test_columns_that_are_called_like_a_meaning_stay_apart() -> None:
    table = of({"id": ["a"], "category": ["Home"], "genre": ["Drama"], "price": [1.0], "sale_price": [0.5]})
    assert table.columns.to_pylist() == [
        {"category": "Home", "price": 1.0, "genre": "Drama", "sale_price": "0.5"}
    ]
    named = of({"id": ["a"], "price": ["cheap"], "cost": [4.0]}, columns={"price": ["cost"]})
    assert named.columns.to_pylist() == [{"price": 4.0, "price_2": "cheap"}]


def test_columns_may_be_called_like_those_of_the_reading() -> None:
    frame = {"id": ["a"], "Text0": ["x"], "text_1": ["y"], "c0": ["z"], "price_number": ["5"], "row": ["1"]}
    assert list(of(frame).columns.to_pylist()[0].values()) == ["x", "y", "z", "5", "1"]


def test_customers_are_not_taken() -> None:
    table, report = read_item_table(pd.DataFrame({"item_id": ["a"], "user_id": ["me"], "price": [1.0]}))
    assert table.columns.to_pylist() == [{"price": 1.0}]
    assert "not taken, since it says who bought: 'user_id'" in "\n".join(report.sentences())


def test_text_that_is_not_utf_8_is_read_as_purchases_are(tmp_path: Path) -> None:
    path = written(tmp_path, "id,name\na,Küche\nb,Öl\nc,Käse\n".encode("cp1252"))
    assert read_item_table(path)[0].column("name").to_pylist() == ["Küche", "Öl", "Käse"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", SourceError, "is empty"),
        ("id\n1\n2\n", ColumnError, "says nothing of items but their ids"),
        ("id,name\n,Mug\nnull,Pot\n", DataError, "names no item in column 'id'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_item_table(written(tmp_path, text))


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"colour": ["name"]}, ConfigError, "a column of items is id, name, category.*found 'colour'"),
        ({"price": ["Name"]}, ColumnError, "'Name' is not in the table; did you mean 'name'"),
        (
            {"price": ["a", "b"]},
            ConfigError,
            "several columns make a path of categories or an embedding alone",
        ),
        ({"price": ["name"], "text": ["name"]}, ColumnError, "named as price and as text"),
    ],
)
def test_columns_that_cannot_be_named(columns: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_item_table(pd.DataFrame({"id": ["a"], "name": ["Mug"]}), columns)


def test_what_is_too_large_is_refused_before_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "name": ["Mug" * 50, "Pot"]})
    monkeypatch.setattr(reading, "MOST_BYTES", 100)
    with pytest.raises(DataError, match=r"would take .* MiB with the model"):
        read_item_table(frame)
    monkeypatch.setattr(reading, "_MOST_ROWS", 1)
    with pytest.raises(DataError, match="has 2 items, and at most 1 can be stored"):
        read_item_table(frame)


def test_a_million_categories(tmp_path: Path) -> None:
    count = 100_000  # the path is the same from there on
    frame = pd.DataFrame({"id": range(count), "category": [f"top > {k}" for k in range(count)]})
    table, report = read_item_table(frame)
    assert report.items == count
    assert table.path(1).to_pylist()[:2] == ["top", "top"]
    assert len(set(table.path().to_pylist())) == count
