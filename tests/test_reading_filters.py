"""Filters of what is read: what is left is what a plain reading gives of the rows that a slow filter leaves."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import read_events, read_with_report

from recae.errors import ColumnError, DataError
from recae.filters import Filters
from recae.interactions import SECOND, Interactions
from recae.reading import ReadOptions, ReadReport, read

Row = dict[str, str | None]


def time_of(row: Row) -> int | None:
    try:
        moment = dt.datetime.fromisoformat(str(row.get("timestamp")))
    except ValueError:
        return None
    return int(moment.replace(tzinfo=dt.UTC).timestamp())


def usable(row: Row) -> bool:
    return bool(row["user"] and row["item"]) and row.get("qty") not in ("0", "x")


def slow_filter(rows: list[Row], filters: Filters) -> tuple[list[Row], list[Row], Counter[str]]:
    """The usable rows that the filters of rows leave, those of them in the core, and how many were left out why."""
    timed = any(time_of(row) is not None for row in rows if usable(row))
    left: list[Row] = []
    why: Counter[str] = Counter()
    seen = set()
    for row in rows:
        if not usable(row):
            continue
        time = time_of(row)
        key = (row["user"], row["item"], time, row.get("qty") or "1")
        if timed and time is not None and key in seen:
            continue  # a duplicate, whatever the filters say
        seen.add(key)
        if row["item"] in filters.exclude_items:
            why["excluded item"] += 1
        elif filters.by_time and time is None:
            why["no time to tell the period by"] += 1
        elif time is not None and (
            (filters.start is not None and time < filters.start)
            or (filters.end is not None and time >= filters.end)
        ):
            why["outside the period"] += 1
        else:
            left.append(row)
    core = left
    while True:
        bought = {(row["user"], row["item"]) for row in core}
        users = Counter(u for u, _ in bought)
        rich = [row for row in core if users[row["user"]] >= filters.min_user_purchases]
        why["user of too few items"] += len(core) - len(rich)
        owners = Counter(i for _, i in {(row["user"], row["item"]) for row in rich})
        kept = [row for row in rich if owners[row["item"]] >= filters.min_item_purchases]
        why["item of too few users"] += len(rich) - len(kept)
        if len(kept) == len(core):
            return left, core, +why
        core = kept


def arrow(rows: list[Row], names: Sequence[str]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names})


ROLES = {
    "user": "user",
    "item": "item",
    "timestamp": "time",
    "qty": "quantity",
    "title": "name",
    "order_id": "basket",
}


def options(names: Sequence[str], with_events: bool, **others: Any) -> ReadOptions:
    """Every column in its role: so few rows tell nothing by their values."""
    named = {f"{role}_column": name if name in names else "" for name, role in ROLES.items()}
    if "timestamp" in names or not with_events:
        named["basket_column"] = ""
    if "timestamp" in names:
        named["time_column"] = None  # recognised, so that values that are no times are no error
    return ReadOptions(**named, layout="rows", baskets=with_events, **others)


def plainly(rows: list[Row], names: Sequence[str], with_events: bool) -> Any:
    found = read(arrow(rows, names), options(names, with_events))
    return found.interactions, found.events, found.report


VALUES: dict[str, list[str | None]] = {
    "user": ["a", "b", "c", "d", None],
    "item": ["p", "q", "r", "s", ""],
    "timestamp": [
        "2010-12-01",
        "2010-12-01 23:59:59",
        "2010-12-02",
        "2010-12-02 12:00",
        "2010-12-03",
        "soon",
        None,
    ],
    "qty": ["1", "1", "2", "0", "x", None],
    "title": ["Ex", "Why", None],
    "order_id": ["1", "2", "3", None],
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Row], list[str], bool]:
    """Rows, mostly many, their columns, and whether baskets are asked for."""
    optional = [name for name in VALUES if name not in ("user", "item") and draw(st.booleans())]
    names = ["user", "item", *optional]
    row = st.fixed_dictionaries({name: st.sampled_from(VALUES[name]) for name in names})
    many = st.integers(20, 60).flatmap(lambda size: st.lists(row, min_size=size, max_size=size))
    rows = draw(many | st.lists(row, max_size=8) | many)
    return rows, names, draw(st.booleans()) and bool({"order_id", "timestamp"} & set(names))


TIMES = ["2010-12-01", "2010-12-01T23:59:59", "2010-12-02", "2010-12-02T12:00:01", "2010-12-04"]


@st.composite
def some_filters(draw: st.DrawFn) -> Filters:
    since = draw(st.none() | st.sampled_from(TIMES[:3]))
    until = draw(st.none() | st.sampled_from(TIMES[3:]))
    excluded = draw(st.lists(st.sampled_from(["p", "q", "zzz"]), max_size=2))
    return Filters(since, until, draw(st.integers(1, 3)), draw(st.integers(1, 3)), excluded)


@settings(max_examples=examples(6, 200))  # which are large: a reading takes as long as hundreds of rows
@given(tables(), some_filters())
def test_filtered_reading_is_a_reading_of_what_a_slow_filter_leaves(
    table: tuple[list[Row], list[str], bool], filters: Filters
) -> None:
    rows, names, with_events = table

    def finish() -> Any:
        found = read(arrow(rows, names), options(names, with_events, filters=filters))
        return found.interactions, found.events, found.report

    good = [row for row in rows if usable(row)]
    few = min(len({row[name] for row in good}) for name in ("user", "item")) < 2
    # `options` names the order only where there are no times
    needs_times = filters.by_time or (with_events and ("timestamp" in names or "order_id" not in names))
    timeless = needs_times and all(time_of(row) is None for row in good)
    if few or timeless:  # the lack of a column is found out before the rows are read
        expected = [r"no purchase is left|of one user only|of one item only|no rows"] * few
        expected += [r"--since, --until|repeat purchases need"] * timeless
        kinds = (DataError,) * few + (ColumnError,) * timeless
        with pytest.raises(kinds, match="|".join(expected)):
            finish()
        return
    left, core, why = slow_filter(rows, filters)
    if min(len({row[name] for row in core}) for name in ("user", "item")) < 2:
        with pytest.raises(
            DataError, match="the filters .* leave . users and . items of 'Arrow table'" if filters else ""
        ):
            finish()
        return
    shop, events, report = finish()
    plain, plain_events, plain_report = plainly(core, names, with_events)
    assert shop.filters == (filters or None)
    assert list(shop.users) == list(plain.users)
    assert list(shop.items) == list(plain.items)
    for name in ("indices", "indptr", "data"):
        np.testing.assert_array_equal(getattr(shop.matrix, name), getattr(plain.matrix, name))
    np.testing.assert_array_equal(shop.counts, plain.counts)
    known = None if shop.times is None or plain.times is None else plain.times
    if known is not None:  # else what is left has no time, and a plain reading says that there are none
        np.testing.assert_array_equal(shop.times, known)
        assert shop.fingerprint == plain.fingerprint
    assert (shop.item_names is not None) == ("title" in names)
    if shop.item_names is not None:  # filters leave purchases out, and not what the table calls an item
        titles = {item: Counter(row["title"] for row in rows if row["item"] == item) for item in shop.items}
        for called in titles.values():
            called.pop(None, None)  # most_common keeps the order in which equals were first seen
        assert shop.item_names.to_pylist() == [
            called.most_common(1)[0][0] if called else None for called in titles.values()
        ]
    assert (events is None) == (plain_events is None)
    if events is not None and known is not None:
        assert events.fingerprint == plain_events.fingerprint
    assert report.filtered == dict(why)
    assert (report.users, report.items, report.interactions) == (
        shop.n_users,
        shop.n_items,
        shop.n_interactions,
    )
    assert report.repeats == plain_report.repeats
    out = sum(report.dropped.values()) + sum(report.filtered.values())
    assert report.rows == len(rows) == report.interactions + report.repeats + out
    if "timestamp" in names:
        of_left = [time for row in left if (time := time_of(row)) is not None]
        assert (report.first_time, report.last_time) == (
            (min(of_left), max(of_left)) if of_left else (None, None)
        )


# what people meet


def csv(folder: Path, text: str, **options: Any) -> tuple[Interactions, ReadReport]:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_with_report(path, **options)


PERIOD = """user,item,date
a,p,2010-11-30T23:59:59
a,q,2010-12-01
b,p,2010-12-01 00:00:00
b,q,2010-12-31T23:59:59Z
c,p,2011-01-01T00:00+00:00
c,q,2010-12-31T23:00-02:00
a,r,
"""


def test_the_edges_of_a_period(tmp_path: Path) -> None:
    shop, report = csv(tmp_path, PERIOD, filters=Filters(since="2010-12-01", until="2011-01-01"))
    assert list(shop.users) == ["a", "b"]
    assert list(shop.items) == ["p", "q"]
    assert shop.n_interactions == 3
    assert report.filtered == {"no time to tell the period by": 1, "outside the period": 3}
    assert (report.first_time, report.last_time) == (1_291_161_600, 1_293_839_999)
    lines = report.lines()
    assert "filters: from 2010-12-01 on, before 2011-01-01" in lines
    assert "left out 3 purchases: outside the period" in lines
    assert "purchases from 2010-12-01 to 2010-12-31" in lines
    assert "note: date: 1 rows have no time, left out, since a period is asked for" in lines


def test_the_unit_of_times_is_told_by_all_rows(tmp_path: Path) -> None:
    """Nearly all of these times in milliseconds lie before the period; the rest alone would be seconds."""
    table = "user,item,time\na,p,1291161600000\nb,p,1291161600000\nc,q,1291161600000\na,q,1291161700000\n"
    shop, report = csv(tmp_path, f"{table}b,q,1291161800000\na,p,1291161800000\nb,p,1291161800000\n",
                       filters=Filters(since="2010-12-01T00:01:40"))  # fmt: skip
    assert report.filtered == {"outside the period": 3}
    assert shop.n_interactions == 4
    assert shop.times is not None
    assert (shop.times // SECOND).tolist() == [1_291_161_800, 1_291_161_700, 1_291_161_800, 1_291_161_800]


def test_items_that_came_through_floats_are_excluded_by_their_whole_numbers(tmp_path: Path) -> None:
    text = "user,item\n" + "".join(f"{u},{i}.0\n" for u in "abc" for i in (10, 11, 12))
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    found = read(path, ReadOptions(filters=Filters(exclude_items=["10", "11.0", "zz", "y", "x"])))
    shop, report = found.interactions, found.report
    assert list(shop.items) == ["11", "12"]
    assert report.filtered == {"excluded item": 3}
    note = "item: 4 of the 5 ids of excluded items occur in no purchase (such as '11.0', 'x', 'y')"
    assert note in map(str, report.notes)
    assert note not in report.doubts()


def test_filters_that_ask_for_nothing_change_nothing(tmp_path: Path) -> None:
    shop, report = csv(tmp_path, PERIOD)
    same, told = csv(tmp_path, PERIOD, filters=Filters())
    assert same.fingerprint == shop.fingerprint
    assert (same.filters, told) == (None, report)


def test_fingerprints_are_of_what_is_left(tmp_path: Path) -> None:
    whole, _ = csv(tmp_path, PERIOD)
    part, _ = csv(tmp_path, PERIOD, filters=Filters(until="2011-01-01"))
    none_left_out, _ = csv(tmp_path, PERIOD, filters=Filters(exclude_items=["zz"]))
    assert whole.fingerprint == none_left_out.fingerprint != part.fingerprint
    assert whole.users_subset(np.array([0])).filters is None
    assert part.users_subset(np.array([0])).filters == Filters(until="2011-01-01")


def test_filters_are_wishes_and_no_damage(tmp_path: Path) -> None:
    text = PERIOD.replace("a,r,\n", "")
    filters = Filters("2010-12-01", "2011-01-01", exclude_items=["none"])
    _, report = csv(tmp_path, text, filters=filters, strict=True, rejects=tmp_path / "r.csv")
    assert report.filtered == {"outside the period": 3}
    assert report.dropped == {}
    assert (tmp_path / "r.csv").read_text(encoding="utf-8") == "row,reason,user,item,date\n"
    with pytest.raises(DataError, match="1 dropped: no user"):
        csv(tmp_path, f"{text},p,2010-01-01\n", filters=filters, strict=True)


def test_duplicates_are_dropped_before_anything_is_left_out(tmp_path: Path) -> None:
    text = PERIOD.replace("a,r,\n", "a,p,2010-11-30T23:59:59\n")
    _, report = csv(tmp_path, text, filters=Filters(since="2010-12-01"), rejects=tmp_path / "r.csv")
    assert report.dropped == {"duplicate": 1}
    assert report.filtered == {"outside the period": 1}
    assert (tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "7,duplicate,a,p,2010-11-30T23:59:59"
    ]


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "user,item\na,p\nb,q\n",
            {},
            "'.*t.csv': a period .* needs the times of purchases, but there is no column",
        ),
        (
            "user,item,date\na,p,soon\nb,q,\n",
            {},
            "but column 'date' holds none; name a column of times with --time-col",
        ),
        (PERIOD, {"time_column": ""}, "there is no column of them"),
    ],
)
def test_a_period_needs_times(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        csv(tmp_path, text, filters=Filters(since="2010-01-01"), **options)
    assert csv(tmp_path, text, filters=Filters(exclude_items=["zz"]), **options)[1].filtered == {}


CHAIN = "user,item\n" + "".join(f"u{n},i{n}\nu{n + 1},i{n}\n" for n in range(9))


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("text", "filters", "messages"),
    [
        (
            PERIOD,
            Filters(since="2012-01-01"),
            ["leave 0 users and 0 items", "6 purchases left out: outside the period"],
        ),
        (PERIOD, Filters(exclude_items=["p", "q"]), ["leave 1 users and 1 items", "excluded item; ask for"]),
        (
            CHAIN,
            Filters(min_user_purchases=2, min_item_purchases=2),
            [
                "leave 0 users",
                "10 users and 9 items before the minimums; 8 users and 7 items after round 1",
                "5 rounds",
            ],
        ),
    ],
)
def test_filters_that_leave_nothing(tmp_path: Path, text: str, filters: Filters, messages: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        csv(tmp_path, text, filters=filters)
    for message in messages:
        assert message in str(caught.value)


def test_minimums_count_pairs_and_not_repeats(tmp_path: Path) -> None:
    text = "user,item\n" + "a,p\n" * 5 + "b,p\nb,q\nc,p\nc,q\n"
    shop, report = csv(tmp_path, text, filters=Filters(min_user_purchases=2))
    assert list(shop.users) == ["b", "c"]
    assert report.filtered == {"user of too few items": 5}
    assert report.repeats == 0


def test_baskets_are_numbered_by_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "user,item,date\na,p,2010-01-01\na,q,2010-01-02\na,r,2010-01-03\nb,q,2010-01-01\nb,r,2010-01-03\n"
    )
    shop, events, report = read_events(path, filters=Filters(exclude_items=["p"]))
    assert list(shop.items) == ["q", "r"]
    assert events.basket.tolist() == [0, 1, 0, 1]
    assert report.baskets == 4


def test_arrow_times_are_filtered_alike(tmp_path: Path) -> None:
    days = pa.array([dt.date(2010, 12, 1), dt.date(2010, 12, 2), None, dt.date(2010, 12, 2)])
    table = pa.table({"user": ["a", "a", "b", "b"], "item": ["p", "q", "p", "q"], "date": days})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="leave 2 users and 1 items"):
        read_with_report(tmp_path / "t.parquet", filters=Filters(since="2010-12-02"))
    shop, _ = read_with_report(tmp_path / "t.parquet", filters=Filters(exclude_items=["zz"]))
    assert shop.n_interactions == 4
