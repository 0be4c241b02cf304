"""Databases: a real PostgreSQL and SQLite give exact text in bounded batches, and a sentence for what goes wrong."""

from __future__ import annotations

import datetime as dt
import gc
import sqlite3
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa
import pytest
from databases import PASSWORD, Postgres, running_postgres
from sqlalchemy.exc import OperationalError

import recae
from recae.errors import ColumnError, ConfigError, SourceError
from recae.sources import hide_password, local_files, open_source, shows_password
from recae.sources.databases import Database
from recae.sources.texts import column_of, text_of


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """A database with a table, a view and values of many types."""
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.executescript("""
        create table purchases (user_id, "item id" text, bought timestamp, "a%b" real);
        insert into purchases values (1, '007', '2024-01-01 10:00:00', 1.0), ('x', 'a "b"', null, 2.5);
        insert into purchases values (null, '', 1.5, 1e300), (12345678901234567, 'é', x'6162', 3.0);
        create view latest as select user_id from purchases where bought is not null;
        create table other (a);
    """)
    connection.close()
    return f"sqlite:///{tmp_path}/shop.db"


def read(url: str, columns: list[str] | None = None, **what: str) -> dict[str, list[object]]:
    source = open_source(url, **what)
    columns = source.column_names if columns is None else columns
    found: dict[str, list[object]] = {column: [] for column in columns}
    for batch in source.batches(columns):
        assert batch.schema == pa.schema([(column, pa.string()) for column in columns])
        for column in columns:
            found[column] += batch.column(column).to_pylist()
    return found


def refused(url: str, *parts: str, **what: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(url, **what)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


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


# URLs


def test_what_is_a_url() -> None:
    with pytest.raises(ConfigError, match=r"--table is for a database, but 'a.csv' is none"):
        open_source("a.csv", table="purchases")
    with pytest.raises(ConfigError, match="--query is for a database"):
        open_source("-", query="select 1")
    assert "s3://" in refused("s3://bucket/purchases.csv", "postgresql, sqlite")
    assert local_files("sqlite:///shop.db?timeout=5") == [Path("shop.db")]
    assert local_files("postgresql://host/shop") == local_files("-") == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@host/shop", True),
        ("postgresql://u:p/w@host/shop", True),
        ("postgresql://host/shop?user=u&password=pw", True),
        ("postgresql://u@host:5432/shop", False),
        ("postgresql://host:5432/shop", False),
        ("sqlite:///a:b", False),
        ("a:b@c.csv", False),
    ],
)
def test_a_password_is_seen(url: str, shown: bool) -> None:
    assert shows_password(url) is shown
    assert (hide_password(url) != url) is shown
    assert not any(secret in hide_password(url) for secret in ("pw", "p/w"))


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://u:pw@host/shop", "postgresql://u:***@host/shop"),
        ("postgresql://u:p@w@host/shop", "postgresql://u:***@host/shop"),
        ("mysql://host/shop?user=u&password=pw&x=1", "mysql://host/shop?user=u&password=***&x=1"),
    ],
)
def test_a_password_is_hidden(url: str, hidden: str) -> None:
    assert hide_password(url) == hidden


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:se/cr@et@host:port/shop",
        "postgresql://u:secret@host:99x/shop",
    ],
)
def test_a_broken_url_keeps_its_secret(url: str) -> None:
    message = refused(url, "postgresql://user@host:port/database", table="x")
    assert not any(part in message for part in ("secret", "se/cr", "et@", "99x"))


def test_a_url_from_the_environment(sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", sqlite)
    assert read("env:SHOP_URL", table="latest")["user_id"][0] == "1"
    monkeypatch.setenv("SHOP_URL", str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text("user\n1\n")
    assert read("env:SHOP_URL") == {"user": ["1"]}
    monkeypatch.delenv("SHOP_URL")
    refused("env:SHOP_URL", "the environment variable SHOP_URL", "is not set")


@pytest.mark.parametrize(
    ("url", "module", "parts"),
    [
        ("postgresql://u:secret@host/shop", "psycopg", ("'psycopg'", "pip install 'recae[sql]'")),
        ("postgres://u:secret@host/shop", "psycopg", ("pip install 'recae[sql]'",)),
        ("mysql://u:secret@host/shop", "pymysql", ("'pymysql'", "pip install 'pymysql'")),
        ("mariadb://u:secret@host/shop", "pymysql", ("pip install 'pymysql'",)),
        ("oracle+oracledb://u:secret@host/shop", "oracledb", ("'oracledb'", "install it")),
        ("postgresql+nodriver://u:secret@host/shop", "nodriver", ("'nodriver'", "install it")),
        ("sqlite:///x", "sqlalchemy", ("pip install 'recae[sql]'",)),
    ],
)
def test_a_driver_that_is_missing(
    url: str, module: str, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert "secret" not in refused(url, *parts, table="purchases")


def test_the_driver_of_duckdb_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb_engine", None)
    refused(f"duckdb:///{tmp_path}/a.duckdb", "is not there", table="x")
    (tmp_path / "a.duckdb").write_text("x")
    refused(f"duckdb:///{tmp_path}/a.duckdb", "pip install 'duckdb-engine'", table="x")


def test_an_option_that_a_driver_refuses(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.db").close()
    refused(f"sqlite:///{tmp_path}/a.db?timeout=soon", "cannot be understood", table="x")


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_mysql_is_asked_to_refuse_writing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server: what is said before the first query."""
    said: list[object] = []

    class Connection:
        def execution_options(self, **options: str) -> Connection:
            said.append(options)
            return self

        def exec_driver_sql(self, statement: str) -> None:
            said.append(statement)

        def close(self) -> None:
            said.append("closed")

    driver = type(sys)("pymysql")
    driver.paramstyle, driver.Error = "pyformat", Exception  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pymysql", driver)
    database = Database(f"{kind}://u:secret@host/shop")
    monkeypatch.setattr(database, "engine", type("Engine", (), {"connect": lambda self: Connection()})())
    database.connect()
    assert said == [{"isolation_level": "REPEATABLE READ"}, "SET SESSION TRANSACTION READ ONLY"]

    def refuse(self: Connection, statement: str) -> None:
        raise OperationalError(statement, {}, Exception(1227, "secret: denied\nfor u"))

    monkeypatch.setattr(Connection, "exec_driver_sql", refuse)
    with pytest.raises(
        SourceError, match=r"no connection to '\w+://u:\*\*\*@host/shop': \*\*\*: denied; check"
    ):
        database.connect()
    assert said[-1] == "closed"


# PostgreSQL


def test_postgresql_types(postgres: Postgres) -> None:
    query = (
        "select 42::bigint as user_id, '007'::text as item, 1.50::numeric as price, 17850::float8 as f, true as yes, "
        "timestamptz '2024-07-01 12:00+02' as at, timestamp '2024-07-01 12:00' as local, date '2024-07-01' as day, "
        "'{6ba7b810-9dad-11d1-80b4-00c04fd430c8}'::uuid as id, 'ab'::bytea as bytes, null::int as none, "
        "'NaN'::float8 as nan"
    )
    found = {name: values[0] for name, values in read(postgres.url, query=query).items()}
    assert found == {
        "user_id": "42",
        "item": "007",
        "price": "1.50",
        "f": "17850",
        "yes": "true",
        "at": "2024-07-01 10:00:00.000000",
        "local": "2024-07-01 12:00:00.000000",
        "day": "2024-07-01",
        "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "bytes": "ab",
        "none": None,
        "nan": None,
    }
    refused(postgres.url, "'tags' of", "holds a list", query="select array[1] as tags")


def test_postgresql_tables_views_and_schemas(postgres: Postgres) -> None:
    postgres.execute(
        "drop schema if exists store cascade",
        "create schema store",
        'create table store."Order Lines" (user_id int, "item%" text)',
        """insert into store."Order Lines" values (1, 'x')""",
        "create or replace view one as select 1 as user_id",
        "drop materialized view if exists kept",
        "create materialized view kept as select 2 as user_id",
    )
    assert read(postgres.url, table="store.Order Lines") == {"user_id": ["1"], "item%": ["x"]}
    assert read(postgres.url, table="public.one") == read(postgres.url, table="one") == {"user_id": ["1"]}
    assert read(postgres.url, table="kept") == {"user_id": ["2"]}
    refused(postgres.url, "did you mean 'store.Order Lines'?", table="store.order_lines")


def test_postgresql_streams_one_state(postgres: Postgres) -> None:
    """Rows that others write during the reading are not in it, and the server holds the rest of the rows."""
    postgres.execute(
        "drop table if exists events",
        "create table events as select g as user_id, g % 100 as item_id from generate_series(1, 100000) as g",
    )
    for what in ({"table": "events"}, {"query": "select * from events"}):
        batches = open_source(postgres.url, **what).batches(["user_id"])
        rows = next(batches).num_rows
        assert rows == 32_768
        postgres.execute("insert into events select g, 1 from generate_series(1, 1000) as g", "vacuum events")
        rows += sum(batch.num_rows for batch in batches)
        assert rows == 100_000
        postgres.execute("delete from events where item_id = 1 and user_id <= 1000 and user_id % 100 <> 1")
        postgres.execute(
            "truncate events", "insert into events select g, g % 100 from generate_series(1, 100000) as g"
        )
    used = "select count(*) from pg_stat_activity where application_name = 'recae'"
    assert postgres.execute(used) == [(0,)]


def test_postgresql_is_not_written_to(postgres: Postgres) -> None:
    postgres.execute(
        "drop table if exists log",
        "create table log (n int)",
        "create or replace function note() returns int language sql as 'insert into log values (1) returning n'",
    )
    refused(postgres.url, "read-only transaction", query="select note() as user_id")
    refused(postgres.url, "syntax error", query="insert into log values (1)")
    refused(postgres.url, "is refused", query="select 1 as user_id; commit; insert into log values (1)")
    assert postgres.execute("select count(*) from log") == [(0,)]


def test_a_lost_connection_is_said(postgres: Postgres) -> None:
    query = "select g as user_id, g as item_id from generate_series(1, 500000) as g"
    batches = open_source(postgres.url, query=query).batches(["user_id"])
    next(batches)
    running = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'recae'"
    assert postgres.execute(running) == [(True,)]
    with pytest.raises(SourceError, match=r"failed after 32,768 rows: .*terminat.*can be run again"):
        list(batches)


def test_passwords(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.execute("drop table if exists log", "create table log (n int)")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    query = {"query": "select 1 as user_id"}
    assert read(postgres.shop_url, **query) == {"user_id": ["1"]}
    source = open_source(postgres.shop_url, **query)
    assert source.name == "postgresql://shop:***@/postgres, query"
    assert "no password supplied" in refused(postgres.bare_url, "no connection to", **query)
    refused(postgres.shop_url, "permission denied for table log", query="select * from log")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert read(postgres.bare_url, **query) == {"user_id": ["1"]}
    wrong = postgres.shop_url.replace("s3cr3t", "wr0ng")
    for url in (wrong, f"{postgres.bare_url}&password=wr0ng"):
        assert "wr0ng" not in refused(url, "password authentication failed", **query)
    # also where the database itself repeats it
    echo = {"query": f"select '{PASSWORD}'::int"}
    for url in (postgres.shop_url, f"{postgres.bare_url}&password={quote(PASSWORD, safe='')}"):
        assert PASSWORD not in refused(url, 'type integer: "***"', **echo)


def test_a_database_that_is_not_there(postgres: Postgres) -> None:
    refused("postgresql://127.0.0.1:1/shop", "no connection to 'postgresql://127.0.0.1:1/shop'", table="x")
    refused(postgres.url.replace("/postgres?", "/nowhere?"), 'database "nowhere" does not exist', table="x")


def test_python_reads_databases(postgres: Postgres, sqlite: str) -> None:
    rows = "(values (1, 'a'), (1, 'b'), (2, 'a')) as t (user_id, item_id)"
    shop = recae.read_interactions(postgres.url, query=f"select * from {rows}")
    assert (list(shop.users), list(shop.items), shop.n_interactions) == (["1", "2"], ["a", "b"], 3)
    opened = open_source(postgres.url, query=f"select * from {rows}")
    assert recae.read_interactions(opened).fingerprint == shop.fingerprint
    with pytest.raises(ColumnError, match=r"sqlite:///.*shop.db, table other': no column is recognised"):
        recae.read_interactions(sqlite, table="other")
