"""Databases: values as exact text, SQLite in bounded batches, and a sentence for what goes wrong."""

from __future__ import annotations

import datetime as dt
import gc
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from querying import read, refused, sqlite_shop

from recae.errors import ColumnError, ConfigError, SourceError
from recae.sources import open_source
from recae.sources.texts import column_of, text_of


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return sqlite_shop(tmp_path)


# Values


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
        (NOON, "2024-07-01 10:00:00.000000"),
        (dt.datetime(2024, 7, 1, 12), "2024-07-01 12:00:00.000000"),
        (dt.date(2024, 7, 1), "2024-07-01"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ],
)
def test_values_as_text(value: Any, text: str | None) -> None:
    assert column_of([value]).to_pylist() == [text]
    assert column_of([value, value]).type == pa.string()
    if text is None or not text.endswith(".000000"):
        assert text_of(value) == text
        assert column_of([value, "x", 1]).to_pylist() == [text, "x", "1"]
    else:
        assert text_of(value) == text.removesuffix(".000000")


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"\xff", "\ud800"])
def test_values_without_text(value: Any) -> None:
    with pytest.raises(ColumnError):
        column_of([value])


# SQLite


def test_sqlite_values_of_mixed_types(sqlite: str) -> None:
    found = read(sqlite, table="purchases")
    assert found == {
        "user_id": ["1", "x", None, "12345678901234567"],
        "item id": ["007", 'a "b"', "", "é"],
        "bought": ["2024-01-01 10:00:00", None, "1.5", "ab"],
        "a%b": ["1", "2.5", str(int(1e300)), "3"],
    }
    assert read(sqlite, ["a%b"], table="purchases") == {"a%b": found["a%b"]}
    assert read(sqlite, table="latest") == {"user_id": ["1", None, "12345678901234567"]}


def test_sqlite_queries(sqlite: str) -> None:
    like = (
        """select user_id as u, user_id as u, '100%' as "p%" from purchases where user_id like '1%' -- :x ?"""
    )
    assert read(sqlite, ["p%", "u"], query=like + "\n ; ") == {
        "p%": ["100%", "100%"],
        "u": ["1", "12345678901234567"],
    }
    source = open_source(sqlite, query="select user_id from latest")
    # as often as needed
    for _ in range(2):
        assert pa.Table.from_batches(source.batches(["user_id"])).num_rows == 3
    with pytest.raises(ColumnError, match="'nope'"):
        list(source.batches(["nope"]))
    assert read(sqlite, query="select 1 as a where 1 = 0") == {"a": []}


def test_batches_are_bounded(sqlite: str) -> None:
    many = "with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select i from n"
    rows = [batch.num_rows for batch in open_source(sqlite, query=many).batches(["i"])]
    assert rows == [32_768, 32_768, 32_768, 1_696]


def test_a_query_that_nobody_reads_is_closed(sqlite: str, tmp_path: Path) -> None:
    source = open_source(sqlite, query="select * from purchases")
    del source
    gc.collect()
    connection = sqlite3.connect(tmp_path / "shop.db", timeout=0.1)
    connection.execute("drop table purchases")  # which a reader would not let happen
    connection.close()


def test_sqlite_is_not_written_to(sqlite: str, tmp_path: Path) -> None:
    before = (tmp_path / "shop.db").read_bytes()
    refused(sqlite, "readonly", query="insert into other values (1) returning a")
    refused(sqlite, "readonly", query="drop table other")
    refused(sqlite, "one statement", query="select 1; drop table other")
    assert (tmp_path / "shop.db").read_bytes() == before


def test_what_is_wrong_with_a_table_or_query(sqlite: str) -> None:
    refused(sqlite, "no table 'purchase'; did you mean 'purchases'?", "'latest', 'other'", table="purchase")
    refused(sqlite, "no table 'zzz'; found: 'latest', 'other', 'purchases'", table="zzz")
    refused(sqlite, "no table 'main.other_'; did you mean 'main.other'?", table="main.other_")
    refused(sqlite, "no table 'nowhere.purchases'", table="nowhere.purchases")
    refused(sqlite, "name a table with --table, or give a --query; found: 'latest'")
    refused(sqlite, "no such column: nope; correct it", query="select nope from purchases")
    refused(sqlite, "syntax error", query="selec 1")
    refused(sqlite, "returns no rows and columns; give a SELECT", query="-- nothing")
    assert read(sqlite, ["user_id"], table="main.purchases")["user_id"][0] == "1"
    with pytest.raises(ConfigError, match="both given"):
        open_source(sqlite, query="select 1", table="purchases")
    with pytest.raises(ConfigError, match="--query is empty"):
        open_source(sqlite, query=" ; ")


def test_files_that_are_no_database(tmp_path: Path) -> None:
    refused(f"sqlite:///{tmp_path}/none.db", "none.db' is not there", table="purchases")
    assert not (tmp_path / "none.db").exists()
    refused(f"sqlite:///{tmp_path}", "is no file", table="purchases")
    refused("sqlite://", "names no file; give sqlite:///PATH", table="purchases")
    (tmp_path / "text.db").write_text("user,item\n1,2\n" * 100)
    refused(f"sqlite:///{tmp_path}/text.db", "not a database", table="purchases")
    refused(f"sqlite:///{tmp_path}/text.db", "not a database", query="select 1 from x")
    sqlite3.connect(tmp_path / "empty.db").close()
    refused(f"sqlite:///{tmp_path}/empty.db", "it has none", table="purchases")
    refused(f"sqlite:///file:{tmp_path}/none.db?mode=ro&uri=true", "no connection", table="x")


def test_a_query_that_fails_in_the_middle(sqlite: str) -> None:
    late = (
        "with recursive n(i) as (select 1 union all select i + 1 from n limit 70000) "
        "select case when i = 69000 then abs(-9223372036854775808) else i end as i from n"
    )
    refused(sqlite, "failed after 65,536 rows: integer overflow; nothing was kept", query=late)


def test_columns_that_change_between_readings(sqlite: str, tmp_path: Path) -> None:
    source = open_source(sqlite, query="select * from other")
    assert list(source.batches(["a"])) == []
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("alter table other add column b")
    connection.close()
    with pytest.raises(SourceError, match="returned other columns than before"):
        list(source.batches(["a"]))


def test_a_column_without_text(sqlite: str) -> None:
    refused(sqlite, "column 'b' of", "holds what is not UTF-8", "cast it", query="select x'ff' as b")
