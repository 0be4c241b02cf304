"""Tables in memory: data frames, Arrow tables, rows and sparse matrices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from opening import opened, refused, values

from recae.errors import ColumnError, ConfigError
from recae.reading.values import text_of, texts_of

COLUMNS: dict[str, list[Any]] = {
    "user": ["a", "b", None],
    "item": [1, 2, 3],
    "at": [dt.datetime(2024, 1, 1), None, None],
}


@pytest.mark.parametrize(
    "source",
    [
        pa.table(COLUMNS),
        pa.table(COLUMNS).to_batches()[0],
        pd.DataFrame(COLUMNS),
        pl.DataFrame(COLUMNS),
        pl.DataFrame(COLUMNS).lazy(),
    ],
)
def test_tables_in_memory(source: Any) -> None:
    found = opened(source)
    assert found.values == COLUMNS
    assert found.types["item"] == "BIGINT"


def test_what_can_be_read_once() -> None:
    reader = pa.RecordBatchReader.from_batches(pa.table(COLUMNS).schema, pa.table(COLUMNS).to_batches())
    assert values(reader) == COLUMNS


def test_pandas_has_more_than_columns() -> None:
    frame = pd.DataFrame(
        {"user": pd.Categorical(["a", "b", "a"]), "odd": [1, "x", 2.0], ("tuple", 1): [1, 2, 3]}
    )
    assert values(frame.set_index("user")) == {
        "user": ["a", "b", "a"],
        "odd": ["1", "x", "2"],
        "tuple.1": [1, 2, 3],
    }
    twice = pd.DataFrame([[1, 2]], columns=["user", "user"])
    assert values(twice) == {"user": [1], "user_2": [2]}
    refused(pd.DataFrame({"odd": [[1], {"a": 1}]}), "column 'odd' of the data frame holds a list")


def test_rows() -> None:
    rows = [("a", 1), ("b", 2.0), (None, "x")]
    assert (
        values(rows)
        == values(iter(rows))
        == values(tuple(rows))
        == {"user": ["a", "b", None], "item": ["1", "2", "x"]}
    )
    when = dt.datetime(2024, 1, 1)
    assert values([("a", 1, when, 2.5)]) == {
        "user": ["a"], "item": ["1"], "time": ["2024-01-01 00:00:00"], "quantity": ["2.5"],
    }  # fmt: skip
    assert values([{"who": "a", "what": 1}, {"what": 2}]) == {"who": ["a", None], "what": ["1", "2"]}
    assert values([]) == {"user": [], "item": []}
    assert len(values((n, n) for n in range(200_000))["user"]) == 200_000
    refused([("a", "b"), ("c",)], "row 2 has 1 values where the first has 2")
    refused([("a",)], "rows are tuples")
    refused(["abc"], "rows are tuples")
    refused([("a", [1])], "column 'item' of the rows holds a list")
    refused(7, "found int")
    refused([("a", "b")], "--table is for a database", error=ConfigError, table="x")


def test_an_iterable_that_fails() -> None:
    def rows() -> Iterator[tuple[str, str]]:
        yield ("a", "b")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        opened(rows())


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"])
def test_sparse_matrices(kind: str) -> None:
    dense = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 1]])
    found = opened(sp.csr_matrix(dense).asformat(kind))
    assert found.values == {"user": [0, 1, 2], "item": [1, 0, 2]}
    assert found.notes[0].startswith("a matrix of 3 users × 3 items")
    assert values(sp.csr_array(dense)) == found.values


NOON = dt.datetime(2024, 7, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (float("nan"), None),
        (Decimal("NaN"), None),
        (17850.0, "17850"),
        (1.5, "1.5"),
        (float("inf"), "inf"),
        (2**70, str(2**70)),
        (Decimal("3.00"), "3"),
        (Decimal("3.10"), "3.10"),
        (True, "true"),
        ("007", "007"),
        (b"ab", "ab"),
        (NOON, "2024-07-01 10:00:00"),
        (dt.date(2024, 7, 1), "2024-07-01"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ],
)
def test_values_as_text(value: Any, text: str | None) -> None:
    assert text_of(value) == text
    assert texts_of([value, "x", 1]).to_pylist() == [text, "x", "1"]


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"\xff", "\ud800"])
def test_values_without_text(value: Any) -> None:
    with pytest.raises(ColumnError):
        texts_of([value])
