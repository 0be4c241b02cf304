"""`Filters`: what they take, what they hold, and what they say."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recae
from recae.errors import ConfigError
from recae.filters import MOST_ITEMS, Filters


def test_nothing_is_asked_for_by_default() -> None:
    nothing = Filters()
    assert not nothing
    assert (nothing.as_dict(), nothing.identity(), str(nothing)) == ({}, {}, "")
    assert recae.Filters is Filters


@pytest.mark.parametrize(
    ("given", "text", "seconds"),
    [
        ("2010-12-01", "2010-12-01", 1_291_161_600),
        ("20101201", "2010-12-01", 1_291_161_600),
        ("2010-12-01T12:00", "2010-12-01T12:00:00Z", 1_291_204_800),
        ("2010-12-01 12:00:00+02:00", "2010-12-01T10:00:00Z", 1_291_197_600),
        ("2010-12-01T02:00:00+02:00", "2010-12-01", 1_291_161_600),
        (dt.date(2010, 12, 1), "2010-12-01", 1_291_161_600),
        (dt.datetime(2010, 12, 1, 1, 2, 3), "2010-12-01T01:02:03Z", 1_291_165_323),
        (
            dt.datetime(2010, 12, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
            "2010-12-01T05:00:00Z",
            1_291_179_600,
        ),
        ("1969-12-31T23:59:59", "1969-12-31T23:59:59Z", -1),
        ("0999-01-01", "0999-01-01", -30_641_760_000),
    ],
)
def test_moments(given: str | dt.date, text: str, seconds: int) -> None:
    found = Filters(since=given)
    assert (found.since, found.start, found.end) == (text, seconds, None)
    assert Filters(until=given).end == seconds
    assert found == Filters(since=text)


@given(st.datetimes(timezones=st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=9))])))
def test_moments_agree_with_the_standard_library(moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=0, year=max(moment.year, 2))
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    found = Filters(until=moment)
    assert found.end == (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(seconds=1)
    assert Filters(until=found.until) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"since": "soon"}, "since is an ISO date or time such as 2010-12-01"),
        ({"until": 1_291_161_600}, "until is an ISO date or time .* found 1291161600"),
        ({"since": "2010-12-01T00:00:00.5"}, "whole seconds"),
        ({"until": "0001-01-01T00:00+05:00"}, "outside the years 1 to 9999"),
        ({"since": "2011-01-01", "until": "2011-01-01"}, "no time lies between them"),
        ({"min_user_purchases": 0}, "min_user_purchases is a whole number from 1 on, found 0"),
        ({"min_item_purchases": 2.0}, "min_item_purchases is a whole number from 1 on, found 2.0"),
        ({"min_item_purchases": True}, "found True"),
        ({"exclude_items": "P001"}, "exclude_items is a list of item ids, found 'P001'"),
        ({"exclude_items": {"P001"}}, "exclude_items is a list of item ids"),
        ({"exclude_items": ["P001", 0]}, "ids are text: write it as '0'"),
        ({"exclude_items": ["a"] * (MOST_ITEMS + 1)}, "remove their rows from the purchases instead"),
    ],
)
def test_what_is_no_filter(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Filters(**given)


def test_filters_of_values_by_name() -> None:
    values = {"since": "2010-12-01", "min_user_purchases": 5, "exclude_items": ["b", "a", "b"]}
    found = Filters.of(values)
    assert found.as_dict() == {**values, "exclude_items": ["a", "b"]}
    assert Filters.of(found.as_dict()) == found
    with pytest.raises(ConfigError, match="no filter 'excluded_items'; did you mean 'exclude_items'"):
        Filters.of({"excluded_items": []})
    with pytest.raises(ConfigError, match="no filter 'x'; choose one of since, until"):
        Filters.of({"x": 1})


def test_kinds_of_filters_and_their_words() -> None:
    period, items, least = (
        Filters(until="2011-01-01"),
        Filters(exclude_items=["a"]),
        Filters(min_item_purchases=2),
    )
    assert [f.by_time for f in (period, items, least)] == [True, False, False]
    assert [f.by_row for f in (period, items, least)] == [True, True, False]
    assert [f.has_minimum for f in (period, items, least)] == [False, False, True]
    assert all((period, items, least))
    every = Filters("2010-01-01", "2011-01-01", 5, 2_000, ["a", "b"])
    assert str(every) == (
        "without 2 excluded items, from 2010-01-01 on, before 2011-01-01, users of 5 items or more, "
        "items of 2,000 users or more"
    )
    assert str(items) == "without 1 excluded item"
    assert every.of_rows() == Filters("2010-01-01", "2011-01-01", exclude_items=["a", "b"])


def test_the_identity_tells_lists_of_ids_apart() -> None:
    one, two = Filters(exclude_items=["a", "b"]).identity(), Filters(exclude_items=["ab"]).identity()
    assert one["filters.exclude_items"].startswith("2 ids, ")
    assert one != two
    assert Filters(exclude_items=["a", "c"]).identity() != one
    assert Filters(since="2010-12-01").identity() == {"filters.since": "2010-12-01"}
