"""Events beside the purchases: which words are inputs, whose and of what, and what is said and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from eventshops import event_rows

import recae
from recae.errors import ColumnError, ConfigError
from recae.reading import Purchases


def pairs_of(table: pa.Table, word: str) -> set[tuple[str, str]]:
    """Users and items of an event, where both have a purchase."""
    rows = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    bought = [(user, item) for user, item, event in rows if event == "purchase"]
    users, items = {user for user, _ in bought}, {item for _, item in bought}
    return {(u, i) for u, i, event in rows if event == word and u in users and i in items}


def pairs_in(found: Purchases, name: str) -> set[tuple[str, str]]:
    assert found.inputs is not None
    block = found.inputs.block(name).tocoo()
    users, items = found.interactions.users, found.interactions.items
    return {(users.id(u), items.id(i)) for u, i in zip(block.row, block.col, strict=True)}


def test_events_are_held_for_users_and_items_with_purchases() -> None:
    table = event_rows(60)
    found, plain = recae.read(table, inputs="cart,view"), recae.read(table)
    assert found.inputs is not None
    assert found.inputs.names == ("cart", "view")
    assert pairs_in(found, "cart") == pairs_of(table, "add_to_cart")
    assert pairs_in(found, "view") == pairs_of(table, "view")
    assert found.inputs.counts == {
        "cart": found.inputs.block("cart").nnz,
        "view": found.inputs.block("view").nnz,
    }
    assert found.interactions.fingerprint == plain.interactions.fingerprint
    assert plain.inputs is None
    lines = "\n".join(found.report.lines())
    assert "event_type 'view', an input beside the purchases" in lines
    lost = 60 * 8 + 3 - len(pairs_of(table, "add_to_cart")) - len(pairs_of(table, "view"))
    said = (
        f"of 483 rows of other events {lost} are left out: 2 are of users without a purchase that counts, "
        f"{lost - 2} of items without one"
    )
    assert said in lines


def test_the_report_names_the_option_where_it_is_not_given() -> None:
    table = event_rows(60)
    assert any("recae train --inputs cart,view" in str(note) for note in recae.read(table).report.notes)
    given = list(map(str, recae.read(table, inputs="cart").report.notes))
    assert not any("--inputs" in note or "--event-weights" in note for note in given)
    assert any(note.endswith("'view' and 240 'add_to_cart' do not") for note in given)
    without = table.filter(pa.array([event == "purchase" for event in table["event_type"].to_pylist()]))
    assert not any("--inputs" in str(note) for note in recae.read(without).report.notes)


def test_periods_hold_for_events_too() -> None:
    table = event_rows(60)
    days = [f"2024-01-{1 + number % 28:02}" for number in range(len(table))]
    timed = table.append_column("event_time", pa.array(days))
    late = table.filter(pa.array([day >= "2024-01-15" for day in days]))
    found = recae.read(timed, inputs=["view"], since="2024-01-15")
    assert pairs_in(found, "view") == pairs_of(late, "view")


def test_minimums_leave_out_events_of_users_and_items_that_are_left_out() -> None:
    found = recae.read(event_rows(60), inputs=["view"], min_item_purchases=3)
    assert found.inputs is not None
    assert found.inputs.matrix.shape == found.interactions.matrix.shape
    users, items = found.interactions.users, found.interactions.items
    every = pairs_of(event_rows(60), "view")
    left = {(user, item) for user, item in every if user in users and item in items}
    assert pairs_in(found, "view") == left < every


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({"inputs": "purchase"}, ColumnError, "count as purchases; name other events"),
        ({"inputs": "viw"}, ColumnError, "did you mean 'view'"),
        ({"inputs": "view,view"}, ConfigError, "each once"),
        ({"inputs": "cart,add_to_cart"}, ColumnError, "names 'add_to_cart' of column 'event_type' twice"),
        ({"inputs": ["add,to=cart"]}, ConfigError, "write a blank instead"),
        ({"inputs": ""}, ConfigError, "lists other events"),
        ({"inputs": 3}, ConfigError, "found 3"),
        ({"inputs": "view", "where": "true"}, ConfigError, "instead of --where"),
        ({"inputs": "view", "event_column": ""}, ConfigError, "leave one out"),
    ],
)
def test_what_cannot_be_inputs_is_refused(words: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        recae.read(event_rows(20), **words)


def test_a_table_without_events_has_no_inputs() -> None:
    rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")]
    with pytest.raises(ColumnError, match="--inputs needs a column of events"):
        recae.read(rows, inputs="view")


def test_an_event_is_named_without_its_punctuation() -> None:
    table = event_rows(20)
    words = ["add, to=cart" if e == "add_to_cart" else e for e in table["event_type"].to_pylist()]
    found = recae.read(table.set_column(2, "event_type", pa.array(words)), inputs=["add to cart"])
    assert pairs_in(found, "add to cart") == pairs_of(table, "add_to_cart")


def test_a_column_of_numbers_that_are_words_is_named_by_them() -> None:
    table = event_rows(20)
    numbers = {"purchase": 4, "add_to_cart": 3, "view": 1}
    coded = table.set_column(
        2, "behavior_type", pa.array([numbers[e] for e in table["event_type"].to_pylist()])
    )
    found = recae.read(coded, inputs=("3", "1"), event_weights={"4": 1}, event_column="behavior_type")
    assert found.inputs is not None
    assert pairs_in(found, "3") == pairs_of(table, "add_to_cart")
    assert np.all(found.inputs.matrix.data == 1)
