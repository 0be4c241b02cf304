"""Reading baskets: which purchases were made together, and in which order."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from readings import read_events, read_with_report

from recae.errors import ColumnError, ConfigError, DataError
from recae.interactions import Events, Interactions
from recae.reading import BASKET_NAMES, KNOWN_NAMES, ReadReport

Read = tuple[Interactions, Events, ReadReport]


def from_csv(folder: Path, text: str, **options: Any) -> Read:
    path = folder / "purchases.csv"
    path.write_text(text, encoding="utf-8")
    return read_events(path, **options)


def baskets(read: Read) -> dict[str, list[str]]:
    """The items of each user's baskets, such as {"ann": ["ab", "c"]}."""
    interactions, events, _ = read
    found: dict[str, list[str]] = {
        user: [""] * int(n) for user, n in zip(interactions.users, events.baskets, strict=True)
    }
    for u, b, i in zip(events.user, events.basket, events.item, strict=True):
        found[interactions.users.id(int(u))][b] += interactions.items.id(int(i))
    return found


BY_NUMBER = "user_id,basket,item_id\nann,10,a\nann,9,b\nann,10,c\nbob,7,a\nann,10,a\nann,9,a\n"


def test_numbers_order_the_baskets(tmp_path: Path) -> None:
    read = from_csv(tmp_path, BY_NUMBER)
    assert baskets(read) == {"ann": ["ab", "ac"], "bob": ["a"]}  # 9 before 10, though not as text
    interactions, events, report = read
    assert events.time is None
    assert report.columns.basket == "basket"
    assert report.columns.time is None
    assert "basket 'basket'" in str(report.columns)
    assert report.baskets == 3
    assert "kept the order of 3 baskets" in report.lines()
    assert (events.weights().indices == interactions.matrix.indices).all()


def test_the_same_interactions_as_without_baskets(tmp_path: Path) -> None:
    interactions, _, report = from_csv(tmp_path, BY_NUMBER)
    plain, plain_report = read_with_report(tmp_path / "purchases.csv")
    assert plain.fingerprint == interactions.fingerprint
    assert plain_report.columns.basket is None
    assert plain_report.baskets is None
    assert plain_report.repeats == report.repeats
    assert not any("basket" in line for line in plain_report.lines())


def test_a_column_of_numbers_serves_as_a_time(tmp_path: Path) -> None:
    read = from_csv(tmp_path, BY_NUMBER, time_column="basket")
    assert baskets(read) == {"ann": ["ab", "ac"], "bob": ["a"]}
    assert read[1].time is not None


def test_moments_are_baskets(tmp_path: Path) -> None:
    text = "user,item,date,order_id\nann,b,2020-01-02,1\nann,a,2020-01-02,2\nann,c,2019-12-31,3\n"
    text += "bob,a,,4\nbob,b,2020-01-01,5\n"
    read = from_csv(tmp_path, text)
    # the order's number is not asked for where there are times; a purchase without a time comes first
    assert read[2].columns.basket is None
    assert baskets(read) == {"ann": ["c", "ab"], "bob": ["a", "b"]}


def test_named_baskets_are_ordered_by_their_first_time(tmp_path: Path) -> None:
    text = (
        "user,item,time,receipt\n"
        "ann,a,100,z9\nann,b,300,z9\nann,c,200,a1\nann,d,50,\nann,e,60,\nbob,a,100,z9\nbob,b,90,b\nbob,c,90,a\n"
    )
    read = from_csv(tmp_path, text, basket_column="receipt")
    # of one moment, in text order: the order of the rows in the file does not matter
    assert baskets(read) == {"ann": ["d", "e", "ab", "c"], "bob": ["c", "b", "a"]}
    assert "receipt: 2 rows have no basket, told apart by their times" in read[2].notes


def test_a_missing_number_is_the_first_basket(tmp_path: Path) -> None:
    read = from_csv(tmp_path, "user,item,basket\nann,a,1\nann,b,\nbob,a,-5\nbob,c, \n")
    assert baskets(read) == {"ann": ["b", "a"], "bob": ["c", "a"]}
    assert "basket: 2 rows have no basket, taken as the user's first" in read[2].notes


@pytest.mark.parametrize("numbers", [[2, 10], [2.0, 10.0], ["2.0", "10.0"], ["2", "10"]])
def test_whole_numbers_in_any_dress(tmp_path: Path, numbers: list[Any]) -> None:
    path = tmp_path / "p.parquet"
    columns = {"user": ["ann", "ann", "bob"], "item": ["b", "a", "a"], "order": [*numbers[::-1], numbers[0]]}
    parquet.write_table(pa.table(columns), path)
    assert baskets(read_events(path)) == {"ann": ["a", "b"], "bob": ["a"]}


def test_rows_that_are_dropped_are_in_no_basket(tmp_path: Path) -> None:
    text = "user,item,basket,quantity\nann,a,1,1\nann,b,1,-1\n,a,1,1\nbob,c,2,x\nbob,a,2,1\nbob,b,3,2\n"
    assert baskets(from_csv(tmp_path, text)) == {"ann": ["a"], "bob": ["a", "b"]}


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "user,item\na,x\nb,y\n",
            {},
            "neither a time nor a basket column; name one with --time-column or --basket",
        ),
        (BY_NUMBER, {"basket_column": ""}, "neither a time nor a basket"),
        (BY_NUMBER, {"basket_column": "baskt"}, "--basket-column names 'baskt'.*did you mean 'basket'"),
        (
            "user,item,order_id\na,x,A7\nb,y,2\n",
            {},
            "whole numbers in column 'order_id', which holds 'A7'; name",
        ),
        ("user,item,order_id\na,x,1.5\nb,y,2\n", {}, "which holds '1.5'"),
        (f"user,item,order_id\na,x,{10**30}\nb,y,2\n", {}, "order_id"),
        (
            "user,item,date\na,x,soon\nb,y,later\n",
            {},
            "column 'date' holds no time; name another with --time-column",
        ),
    ],
)
def test_orders_that_cannot_be_told(tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ColumnError, match=message) as caught:
        from_csv(tmp_path, text, **options)
    assert "purchases.csv" in str(caught.value)


def test_a_table_without_rows_is_not_said_to_lack_a_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a header but no rows"):
        from_csv(tmp_path, "user,item,when,order\n", time_column="")


def test_an_unknown_keyword_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'basket_colum'.*did you mean basket_column"):
        from_csv(tmp_path, BY_NUMBER, basket_colum="basket")


def test_no_name_stands_for_two_roles() -> None:
    assert not set(BASKET_NAMES) & {name for known in KNOWN_NAMES.values() for name in known}
