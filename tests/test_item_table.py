"""Tests of `ItemTable`: what it takes, and its rows in the order of a model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recae.errors import DataError
from recae.ids import IdMap
from recae.item_table import TEXT, ItemTable


def text(*values: str | None) -> pa.Array:
    return pa.array(values, TEXT)


def table(**columns: pa.Array) -> ItemTable:
    return ItemTable(IdMap(["b", "a", "c"]), pa.table(columns))


MUGS = table(
    name=text("Mug", "Cup", None),
    category=text("Home > Kitchen > Mugs", "Home", None),
    price=pa.array([1299.0, None, 0.0]),
    colour=text("red", None, "blue"),
)


def test_its_rows_are_brought_into_the_order_of_other_items() -> None:
    found = MUGS.of(IdMap(["c", "x", "b"]))
    assert list(found.ids) == ["c", "x", "b"]
    assert found.column("name").to_pylist() == [None, None, "Mug"]
    assert found.column("price").to_pylist() == [0.0, None, 1299.0]
    assert found.column("colour").to_pylist() == ["blue", None, "red"]
    assert MUGS.of(IdMap(["b", "a", "c"])) is MUGS


def test_it_tells_which_items_were_never_bought() -> None:
    assert MUGS.unbought(IdMap(["a", "z"])).tolist() == [0, 2]
    assert list(MUGS.take(np.array([2, 0])).ids) == ["c", "b"]


@pytest.mark.parametrize(
    ("level", "paths"),
    [(None, ["Home > Kitchen > Mugs", "Home", None]), (2, ["Home > Kitchen", "Home", None])],
)
def test_a_category_may_be_a_path(level: int | None, paths: list[str | None]) -> None:
    assert MUGS.path(level).to_pylist() == paths


def test_a_column_that_is_not_there_is_null() -> None:
    assert MUGS.column("brand").to_pylist() == [None] * 3
    assert MUGS.column("available").type == pa.bool_()
    assert "brand" not in MUGS
    assert "colour" in MUGS


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"name": text("a", "b")}, "2 rows for 3 items"),
        ({"price": text("1", "2", "3")}, "has type double"),
        ({"price": pa.array([1.0, float("inf"), 1.0])}, "finite"),
        ({"price": pa.array([1.0, -1.0, 1.0])}, "at least 0"),
        ({"link": text("https://a", "javascript:b", None)}, "begin with http"),
        ({"price": pa.array([1.0, 1.0, 1.0]), "name": text("a", "b", "c")}, "in this order"),
        ({f"c{n}": text("a", "b", "c") for n in range(65)}, "at most 64 columns"),
    ],
)
def test_what_does_not_fit_is_refused(columns: dict[str, pa.Array], said: str) -> None:
    with pytest.raises(DataError, match=said):
        table(**columns)


def test_a_table_without_items_is_a_table() -> None:
    empty = ItemTable(IdMap([]), pa.table({"price": pa.array([], pa.float64()), "link": text()}))
    assert empty.unbought(IdMap(["a"])).size == 0
    assert empty.of(IdMap(["a"])).column("price").to_pylist() == [None]
