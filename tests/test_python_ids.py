"""Ids that Python gives: every parameter that takes them takes every kind of list, and refuses what is none."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import recae
from recae import scoring
from recae.errors import RecaeError
from recae.recommender import Recommender

ROWS = [(f"u{u}", f"i{i}") for u in range(30) for i in range(12) if (u * 7 + i * 5) % 3]
ROWS += [(f"u{u}", str(i)) for u in range(30) for i in (7, 8) if (u + i) % 2]


@pytest.fixture(scope="module")
def model() -> Recommender:
    return recae.train(ROWS, "ease", progress=False)


LISTS: dict[str, Callable[[Recommender, Any], Any]] = {
    "score exclude": lambda model, ids: recae.score(model, n=9, exclude_items=ids).to_arrow(),
    "score only": lambda model, ids: recae.score(model, n=9, only_items=ids).to_arrow(),
    "scoring exclude": lambda model, ids: scoring.score(model, n=9, exclude_items=ids).to_arrow(),
    "scoring only": lambda model, ids: scoring.score(model, n=9, only_items=ids).to_arrow(),
    "basket": lambda model, ids: model.recommend(items=ids).to_arrow(),
    "basket, fallback": lambda model, ids: model.recommend(items=ids, fallback="popular").to_arrow(),
    "exclude": lambda model, ids: model.recommend("u1", exclude=ids).to_arrow(),
    "only": lambda model, ids: model.recommend("u1", only=ids).to_arrow(),
    "many exclude": lambda model, ids: model.recommend_many(["u1"], exclude=ids).to_arrow(),
    "many only": lambda model, ids: model.recommend_many(["u1"], only=ids).to_arrow(),
    "explain": lambda model, ids: model.explain(items=ids, item="i3").to_arrow(),
    "embed": lambda model, ids: model.embed("items", ids).to_arrow(),
    "unknown items": lambda model, ids: model.unknown_items(ids),
    "read exclude": lambda model, ids: recae.read(ROWS, exclude_items=ids).interactions.items.ids([0, 1, 2]),
}
USERS: dict[str, Callable[[Recommender, Any], Any]] = {
    "many": lambda model, ids: model.recommend_many(ids).to_arrow(),
    "many, fallback": lambda model, ids: model.recommend_many(ids, fallback="popular").to_arrow(),
    "embed users": lambda model, ids: model.embed("users", ids).to_arrow(),
}
ONE: dict[str, Callable[[Recommender, Any], Any]] = {
    "user": lambda model, one: model.recommend(one),
    "similar items": lambda model, one: model.similar_items(one),
    "bought together": lambda model, one: model.bought_together(one),
    "similar users": lambda model, one: model.similar_users(one),
    "users for": lambda model, one: model.users_for(one),
    "explain item": lambda model, one: model.explain("u1", one),
    "explain user": lambda model, one: model.explain(one, "i1"),
    "owned": lambda model, one: model.owned(one),
}


def same_lists(ids: list[str]) -> dict[str, Any]:
    """The same ids in everything that is a list of them."""
    return {
        "tuple": tuple(ids),
        "generator": (one for one in ids),
        "dictionary's keys": dict.fromkeys(ids).keys(),
        "array": np.array(ids),
        "objects": np.array(ids, dtype=object),
        "series": pd.Series(ids),
        "categories": pd.Series(ids, dtype="category"),
        "arrow": pa.array(ids),
        "arrow, encoded": pa.array(ids).dictionary_encode(),
        "arrow, in chunks": pa.chunked_array([ids[:1], ids[1:]]),
        "twice": [*ids, *ids] if len(set(ids)) == len(ids) else ids,
    }


@pytest.mark.parametrize("name", [*LISTS, *USERS])
def test_every_kind_of_list_is_the_same(model: Recommender, name: str) -> None:
    ask = {**LISTS, **USERS}[name]
    ids = ["i1", "i2"] if name in LISTS else ["u3", "u1"]
    if name.startswith("embed") and not hasattr(model.model, "encode"):
        with pytest.raises(RecaeError):
            ask(model, ids)
        return
    wanted = ask(model, ids)
    for kind, given in same_lists(ids).items():
        if name.startswith("embed") and kind == "twice":
            continue  # an id has a row each time that it is asked for
        assert ask(model, given) == wanted, kind
    numbers = ["7", "8"] if name in LISTS else None
    if numbers is not None:
        wanted = ask(model, numbers)
        for given in ([7, 8], [7, "8"], [7.0, np.int64(8)], np.array([7, 8]), range(7, 9), pd.Series([7, 8])):
            assert ask(model, given) == wanted


def no_lists() -> dict[str, Any]:
    """What is no list of ids, though some of it can be iterated over."""
    return {
        "a text": "i1",
        "bytes": b"i1",
        "a number": 7,
        "a fraction": 1.5,
        "a frame": pd.DataFrame({"i1": ["i2"]}),
        "a table": pa.table({"i1": ["i2"]}),
        "a mapping": {"i1": 1},
        "an array without axes": np.array("i1"),
        "an array of two axes": np.array([["i1"], ["i2"]]),
        "lists": [["i1"], ["i2"]],
        "a file": io.StringIO("i1\n"),
        "an object": object(),
        "nothing in it": ["i1", None],
        "no number in it": [float("nan")],
        "a missing value in it": [pd.NA],
        "a null in it": pa.array(["i1", None]),
        "a truth value in it": ["i1", True],
        "bytes in it": [b"i1"],
    }


@pytest.mark.parametrize("name", [*LISTS, *USERS])
def test_what_is_no_list_is_refused(model: Recommender, name: str) -> None:
    found = no_lists()
    for kind, given in found.items():
        try:
            with pytest.raises(RecaeError) as caught:
                {**LISTS, **USERS}[name](model, given)
            assert "\n" not in str(caught.value), kind
        except pytest.fail.Exception as error:
            raise AssertionError(f"{kind} was taken") from error


@pytest.mark.parametrize("name", ONE)
def test_what_is_no_single_id_is_refused(model: Recommender, name: str) -> None:
    found = no_lists()
    for kind in ("a text", "a number"):
        found.pop(kind)
    for kind, given in {**found, "nothing": None, "a list": ["i1"], "unknown": "nobody"}.items():
        try:
            with pytest.raises(RecaeError):
                ONE[name](model, given)
        except pytest.fail.Exception as error:
            raise AssertionError(f"{kind} was taken") from error


def test_unknown_ids_in_rules_are_counted(model: Recommender, caplog: pytest.LogCaptureFixture) -> None:
    unknown = [f"x{n}" for n in range(7)]
    caplog.set_level(logging.WARNING, "recae")
    plain = recae.score(model, n=3)
    assert plain.unknown_items == ()
    assert not caplog.records
    stream = recae.score(model, n=3, exclude_items=[*unknown, *unknown], only_items=["i1", "i2", "x0", "y"])
    assert stream.unknown_items == (*unknown, "y")
    assert caplog.messages == [
        "warning: 8 ids that rules name are not in the model and left out: 'x0', 'x1', 'x2', 'x3', 'x4', …"
    ]
    assert stream.to_arrow() == recae.score(model, n=3, only_items=["i1", "i2"]).to_arrow()
    caplog.clear()
    assert recae.score(model, n=3, exclude_items=unknown).to_arrow() == plain.to_arrow()
    model.recommend_many(["u1"], exclude=["i1", "zz"])
    assert caplog.messages[1:] == ["warning: 1 id that a rule names is not in the model and left out: 'zz'"]
    with pytest.raises(RecaeError, match="leave none of the model's"):
        recae.score(model, only_items=unknown)


def test_empty_lists(model: Recommender) -> None:
    assert recae.score(model, n=3, exclude_items=[]).to_arrow() == recae.score(model, n=3).to_arrow()
    assert len(model.recommend_many([])) == 0
    for ask in (LISTS["only"], LISTS["many only"], LISTS["score only"]):
        with pytest.raises(RecaeError, match="leave none of the model's"):
            ask(model, [])
    with pytest.raises(RecaeError, match="the basket is empty"):
        model.recommend(items=[])
    assert model.recommend(items=iter([]), fallback="popular").to_arrow()["source"][0].as_py() == "popular"


@pytest.mark.parametrize("name", ["many, fallback", "read exclude", "score exclude"])
def test_ids_that_are_no_text(model: Recommender, name: str) -> None:
    with pytest.raises(RecaeError, match="ids must be writable as UTF-8"):
        {**LISTS, **USERS}[name](model, ["\udcff"])
