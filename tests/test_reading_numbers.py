"""Reading: quantities and other numbers as people write them, the decimal sign decided for a whole column."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from valuecolumns import a_table, read_numbers

from recae.errors import ColumnError
from recae.reading.engine import Engine
from recae.reading.numbers import decimal_comma

NAN = "no number"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(2**30) as opened:
        yield opened


def shown(values: list[float | None]) -> list[Any]:
    """Values with NaN as a word, so that they can be compared."""
    return [NAN if value is not None and value != value else value for value in values]


def test_numbers_as_people_write_them(engine: Engine) -> None:
    expected = {
        "2": 2, "2.0": 2, " 3 ": 3, "1,5": 1.5, "0,0": 0, "1,200.5": 1200.5, "1.200,5": 1200.5, "-1,5": -1.5, "−2": -2,
        "+4": 4, ".5": 0.5, ",5": 0.5, "5.": 5, "1e3": 1000, "1,5E+03": 1500, "1 000": 1000, "1 000,50": 1000.5,
        "1\u00a0000": 1000, "1\u202f000,5": 1000.5, "1'200.50": 1200.5, "1’200": 1200, " ": None, "0.5": 0.5, "5-": -5,
        "5,00-": -5, "(5)": -5, "(1,200.50)": -1200.5, "- 5": -5, "€5": 5, "5 €": 5, "5,00 EUR": 5,
        "$1,200.50": 1200.5,
        "-$5": -5, "CHF 12.50": 12.5, "R$ 12,50": 12.5,
        "1,200,300": 1200300, "1.200.300": 1200300, "12,00,300": 1200300,
        "1.200.300,5": 1200300.5, "007": 7, "0.125": 0.125, "0,125": 0.125, "1234.567": 1234.567, "1234,567": 1234.567,
        "12345678901234567890": 12345678901234567890, "５": 5, "nan": None, "NULL": None, "-": None, "#N/A": None,
    }  # fmt: skip
    floats = [None if value is None else float(value) for value in expected.values()]
    assert shown(read_numbers(engine, list(expected))[1]) == floats


def test_what_is_no_number(engine: Engine) -> None:
    bad = ["two", "inf", "1e999", "1_000", "--1", "1.2.3", "0x1", "²", "5%", "5 kg", "3x", "1/2", ",", ".", "1,2,3",
           "true", "2023-01-04", "12:30", "€", "(", "1.20.300,5"]  # fmt: skip
    settled, found = read_numbers(engine, [*bad, "5"])
    assert shown(found) == [*[NAN] * len(bad), 5]
    assert settled.notes == ()


@pytest.mark.parametrize(
    ("texts", "hint", "expected", "doubt"),
    [
        (["1,000", "3,000"], True, [1, 3], False),  # SAP
        (["1,000", "3,000"], None, [1, 3], True),
        (["1,000", "3,000"], False, [1000, 3000], False),
        (["1,000", "2,500"], None, [1000, 2500], True),
        (["1,000", "2,50"], None, [1, 2.5], False),
        (["1,200", "30", "5"], None, [1200, 30, 5], False),
        (["1,200", "30", "5"], True, [1.2, 30, 5], False),
        (["1,234", "30", "5"], None, [1234, 30, 5], True),
        (["1,200", "2.00"], None, [1200, 2], False),
        (["1,200", "2.00"], True, [1200, 2], False),  # the column itself tells
        (["1,200", "0,5"], False, [1.2, 0.5], False),
        (["1,200", "1,200,300"], None, [1200, 1200300], False),
        (["1.200", "1.250"], None, [1.2, 1.25], False),
        (["1.200", "30", "5"], None, [1200, 30, 5], True),
        (["1.234", "30", "5"], None, [1.234, 30, 5], True),
        (["1.200", "30", "5"], True, [1200, 30, 5], False),
        (["1.200", "30", "5"], False, [1.2, 30, 5], False),
        (["1.200,50", "1.200"], None, [1200.5, 1200], False),
        (["1.200", "1.200.300"], None, [1200, 1200300], False),
        (["1,200", "0,5", "2.5", "0,75"], None, [1.2, 0.5, 2.5, 0.75], True),
    ],
)
def test_three_digits_are_read_as_the_column_tells(
    engine: Engine, texts: list[str], hint: bool | None, expected: list[float], doubt: bool
) -> None:
    settled, found = read_numbers(engine, texts, hint)
    assert found == expected
    (note,) = settled.notes
    assert (note.doubt, note.column) == (doubt, "amount")
    assert note.code == ("numbers-decimal-sign" if doubt else "")
    told = texts.index(next(text for text in texts if re.fullmatch(r"\d,\d{3}|\d\.\d{3}", text)))
    assert f"{texts[told]!r} is read as {expected[told]:g}" in note.text


@given(
    st.lists(st.decimals(-(10**7), 10**7, places=2, allow_nan=False), min_size=1, max_size=20),
    st.sampled_from([(",", "."), (".", ","), ("", "."), ("", ","), (" ", ","), ("'", "."), ("\u202f", ",")]),
    st.sampled_from(["{}", "{} €", "$ {}", " {} "]),
)
def test_amounts_mean_what_was_written(
    engine: Engine, amounts: list[decimal.Decimal], signs: tuple[str, str], around: str
) -> None:
    thousands, point = signs
    texts = [
        around.format(f"{amount:,.2f}".replace(",", "T").replace(".", point).replace("T", thousands))
        for amount in amounts
    ]
    settled, found = read_numbers(engine, texts)
    assert found == [float(amount) for amount in amounts]
    assert settled.notes == ()


@given(
    st.lists(st.integers(0, 999_999), min_size=1, max_size=20),
    st.sampled_from([(",", "."), (".", ",")]),
)
def test_whole_numbers_follow_one_with_decimals(
    engine: Engine, wholes: list[int], signs: tuple[str, str]
) -> None:
    thousands, point = signs
    texts = [f"{whole:,}".replace(",", thousands) for whole in wholes]
    _, found = read_numbers(engine, [*texts, f"3{point}5"])
    assert found == [*wholes, 3.5]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2, None, -1], pa.int8()), [2, None, -1]),
        (pa.array([2, 2**64 - 1], pa.uint64()), [2, float(2**64 - 1)]),
        (pa.array([2.5, None, float("nan"), float("inf")]), [2.5, None, None, NAN]),
        (pa.array([0.5, None], pa.float32()), [0.5, None]),
        (pa.array([decimal.Decimal("0.5"), None]), [0.5, None]),
        (pa.array(["2", None]).dictionary_encode(), [2, None]),
        (pa.nulls(2), [None, None]),
        (pa.array([None, None], pa.string()), [None, None]),
    ],
)
def test_numbers_of_every_type(engine: Engine, column: pa.Array, expected: list[Any]) -> None:
    assert shown(read_numbers(engine, column)[1]) == expected


@pytest.mark.parametrize("value", [dt.date(2020, 1, 1), True, [1], {"a": 1}])
def test_types_that_are_no_numbers(engine: Engine, value: Any) -> None:
    with pytest.raises(
        ColumnError, match=r"'amount' is of type .* must be a number; name another .*--quantity-column"
    ):
        read_numbers(engine, [value])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"price": ["2,50", "18,60"], "amount": ["1,000", "3,000"]}, True),
        ({"price": ["2.50", "18.60"], "amount": ["1,000", "3,000"]}, False),
        ({"price": ["1.200,50"], "id": ["5160"]}, True),
        ({"amount": ["1,000", "3,000"]}, None),
        ({"price": ["2,50"], "weight": ["2.5"]}, None),
        ({"title": ["2,50", "Tea", "Honey"], "id": ["1", "2", "3"]}, None),
        ({"price": [2.5]}, None),
        ({"date": ["04.01.2023", "05.01.2023"]}, None),
    ],
)
def test_the_decimal_sign_of_a_file(
    engine: Engine, columns: dict[str, list[Any]], expected: bool | None
) -> None:
    assert decimal_comma(a_table(engine, **columns)) is expected
