"""Protocols: options out of range, purchases that cannot be parted, and times that cannot tell before from after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from readings import read_events
from shops import START, Row, purchases_of, random_shop

from recae.errors import ConfigError, DataError
from recae.filters import Filters
from recae.interactions import NO_TIME
from recae.splits.protocols import ProtocolOptions, Purchases, Task, make_tasks, pair_of_matrices

ROWS = random_shop(0)


def only_task(rows: list[Row], protocol: str, **options: Any) -> Task:
    (task,) = make_tasks(purchases_of(rows), protocol, ProtocolOptions(**options))
    return task


BAD: dict[str, list[Any]] = {
    "test_users": [0, -1, 1.0, 0.0, True, "5", None, float("nan")],
    "validation_users": [-1, 1.0, True, "5"],
    "held_out": [0, 1, True, None, float("nan")],
    "folds": [1, 2.5, None, 1001],
    "cut": ["2011", 2.5, 2**61],
    "repeats": [1, None, "yes"],
    "min_items": [1, None, 2.0],
    "decay": [0, 1.5],
    "ties": ["alphabet", None, True],
    "min_user_purchases": [0, 1.5, None],
    "min_item_purchases": [0, True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_options_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        ProtocolOptions(**{name: value})


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("stong", {}, "protocol is one of strong, weak, .*, found 'stong': did you mean 'strong'"),
        ("x", {}, "found 'x': choose one of these"),
        ("weak", {"repeats": True}, "repeats count with the protocols time and next-basket"),
        ("strong", {"cut": 5}, "a cut is for the protocol time, but the protocol is strong"),
        ("time", {"decay": 0.5}, "a decay weighs repeats"),
        ("strong", {"ties": "moment"}, "ties of the last moment are broken with the protocol last-out, but"),
        (
            "weak",
            {"min_item_purchases": 2},
            "minimums of what comes before the cut are for the protocol time",
        ),
        ("pair", {}, "needs a test part beside the training part"),
    ],
)
def test_options_that_do_not_belong(protocol: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_tasks(purchases_of(ROWS), protocol, ProtocolOptions(**options))
    with pytest.raises(ConfigError, match="seed"):
        make_tasks(purchases_of(ROWS), "strong", seed=-1)
    with pytest.raises(ConfigError, match="a test part is given, but the protocol is strong"):
        make_tasks(purchases_of(ROWS, test=ROWS), "strong")


def test_splits_that_leave_nothing() -> None:
    two = [("a", "i", 1), ("a", "j", 2), ("b", "i", 1)]
    with pytest.raises(DataError, match="at least 3 users of 2 items or more, but of 2 users 1 are such"):
        only_task(two, "strong")
    with pytest.raises(DataError, match="5 folds need as many users of 2 items or more, but of 2 users 1"):
        only_task(two, "k-fold")
    with pytest.raises(DataError, match=r"at least 3 users of two baskets or more.*of 2 users 0 are such"):
        only_task(two, "next-basket", min_items=5)
    nobody = [("a", "i", 1), ("b", "j", 1), ("c", "k", 9)]
    with pytest.raises(DataError, match=r"leaves nobody to test: of 2 users 2 have .* 0 something .* 0 both"):
        only_task(nobody, "time")
    with pytest.raises(DataError, match=r"cut at 1970-01-01 00:01:40 leaves 3 .* before it and 0 from it on"):
        only_task(nobody, "time", cut=100)
    with pytest.raises(DataError, match="leaves 0 purchases before it and 3"):
        only_task(nobody, "time", cut=-100)
    empty = sp.csr_matrix((2, 2), dtype=np.float32)
    with pytest.raises(DataError, match="leaves nothing to learn from: of 0 interactions 0 are on"):
        make_tasks(pair_of_matrices(empty, sp.csr_matrix(np.eye(2))), "pair")


@pytest.mark.parametrize("protocol", ["time", "last-out", "next-basket"])
def test_times_that_cannot_part(protocol: str) -> None:
    def made(rows: list[Row], timed: bool = True) -> list[Task]:
        return make_tasks(purchases_of(rows, timed), protocol)

    with pytest.raises(DataError, match=r"all 3\d\d known times are 2011-03-13 07:06:40|all 4\d\d known"):
        made([(u, i, START) for u, i, _ in ROWS])
    in_milliseconds = [(u, i, t * 1000 if n % 10 == 0 else t) for n, (u, i, t) in enumerate(ROWS)]
    with pytest.raises(DataError, match=r"mix seconds and milliseconds: .* near 2011-03-1\d .*1,30\d,\d"):
        made(in_milliseconds)
    if protocol == "next-basket":
        assert made(ROWS, timed=False)  # the order of the baskets is known without times
        with pytest.raises(DataError, match="read the table with read_events"):
            make_tasks(replace(purchases_of(ROWS), events=None), protocol)
        return
    with pytest.raises(DataError, match="there is no time column; name one with --time-column"):
        made(ROWS, timed=False)
    with pytest.raises(DataError, match=r"none of the \d+ purchases has one"):
        made([(u, i, NO_TIME) for u, i, _ in ROWS])


def test_time_needs_each_purchase() -> None:
    purchases = purchases_of(ROWS)
    with pytest.raises(DataError, match="read the table with read_events"):
        make_tasks(Purchases(purchases.interactions), "time")
    with pytest.raises(DataError, match="no time column"):
        make_tasks(Purchases(purchases_of(ROWS, timed=False).interactions), "time")


def test_a_test_part_that_shares_nothing() -> None:
    test = [(f"x{n}", f"y{n}", 0) for n in range(5)]
    with pytest.raises(DataError, match="5 of its 5 users, such as 'x0', 'x1', 'x2' and 5 of its 5 items"):
        make_tasks(purchases_of(ROWS, test=test), "pair")
    with pytest.raises(
        DataError, match="knows: it lacks 1 of its 1 item, such as 'y'; number both parts alike"
    ):
        make_tasks(purchases_of(ROWS, test=[("u00", "y", 0)]), "pair")


def test_a_table_that_mixes_units(tmp_path: Path) -> None:
    """Reading tells the unit from most of the numbers; the others show when purchases are to be parted by them."""
    lines = [f"{u},{i},{t * 1000 if n % 9 == 0 else t}" for n, (u, i, t) in enumerate(ROWS)]
    table = tmp_path / "purchases.csv"
    table.write_text("\n".join(["user,item,time", *lines]))
    purchases = Purchases(*read_events(table)[:2])
    for protocol in ("time", "last-out", "next-basket"):
        with pytest.raises(
            DataError, match=r"mix seconds and milliseconds: \d+ lie near 2011-03-13 .*1,300,0"
        ):
            make_tasks(purchases, protocol)
    assert make_tasks(purchases, "strong")


def test_minimums_by_time_that_cannot_be() -> None:
    with pytest.raises(
        DataError, match=r"no user of 99 items with 1 users each .* 24 users .* lower --min-user"
    ):
        only_task(ROWS, "time", min_user_purchases=99)
    looked_ahead = purchases_of(ROWS)
    filtered = replace(looked_ahead.interactions, filters=Filters(min_user_purchases=2))
    with pytest.raises(ConfigError, match=r"read with minimums .* counted what was bought after the cut"):
        make_tasks(replace(looked_ahead, interactions=filtered), "time")
    by_row = replace(looked_ahead.interactions, filters=Filters(exclude_items=["i99"]))
    assert make_tasks(replace(looked_ahead, interactions=by_row), "time")
