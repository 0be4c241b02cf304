"""Databases by URL, and queries over files: exact text, nothing written, no password shown, a sentence for the rest."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest
from databases import PASSWORD, Postgres, running_postgres
from opening import opened, put, refused, sqlite_shop, values
from sqlalchemy.exc import OperationalError

from recae import read
from recae.errors import ConfigError, SourceError
from recae.reading import frames, sql
from recae.reading.databases import Database, hide_password, shows_password
from recae.reading.open import local_files


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """The URL of a small SQLite database."""
    return f"sqlite:///{sqlite_shop(tmp_path)}"


# SQLite


def test_sqlite_values_of_mixed_types(shop: str) -> None:
    assert values(shop, table="purchases") == {
        "user_id": ["1", "x", None, "12345678901234567"],
        "item id": ["007", 'a "b"', "", "é"],
        "bought": ["2024-01-01 10:00:00", None, "1.5", "ab"],
        "a%b": ["1", "2.5", str(int(1e300)), "3"],
    }
    assert values(shop, table="latest") == {"user_id": ["1", None, "12345678901234567"]}


def test_sqlite_queries(shop: str) -> None:
    like = (
        """select user_id as u, user_id as u, '100%' as "p%" from purchases where user_id like '1%' -- :x ?"""
    )
    found = values(shop, query=like + "\n ; ")
    assert found == {
        "u": ["1", "12345678901234567"],
        "u_2": ["1", "12345678901234567"],
        "p%": ["100%", "100%"],
    }
    assert values(shop, query="select 1 as a where 1 = 0") == {"a": []}
    many = "with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select i from n"
    assert values(shop, query=many)["i"] == [str(n) for n in range(1, 100_001)]


def test_sqlite_is_not_written_to(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where a query might make a file
    before = (tmp_path / "shop.db").read_bytes()
    refused(shop, "readonly", query="insert into other values (1) returning a")
    refused(shop, "readonly", query="drop table other")
    refused(shop, "one statement", query="select 1; drop table other")
    refused(shop, "not authorized", query="attach 'x.db' as x")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]
    assert (tmp_path / "shop.db").read_bytes() == before


def test_what_is_wrong_with_a_table_or_query(shop: str) -> None:
    refused(shop, "no table 'purchase'; did you mean 'purchases'?", "'latest', 'other'", table="purchase")
    refused(shop, "no table 'zzz'; found: 'latest', 'other', 'purchases'", table="zzz")
    refused(shop, "no table 'main.other_'; did you mean 'main.other'?", table="main.other_")
    refused(shop, "no table 'nowhere.purchases'", table="nowhere.purchases")
    refused(shop, "name a table with --table, or give a --query; found: 'latest'")
    refused(shop, "no such column: nope; correct it", query="select nope from purchases")
    refused(shop, "syntax error", query="selec 1")
    refused(shop, "returns no rows and columns; give a SELECT", query="-- nothing")
    refused(shop, "column 'b' of", "holds what is not UTF-8", "cast it", query="select x'ff' as b")
    late = (
        "with recursive n(i) as (select 1 union all select i + 1 from n limit 70000) "
        "select case when i = 69000 then abs(-9223372036854775808) else i end as i from n"
    )
    refused(shop, "failed after 65,472 rows: integer overflow; none of them were stored", query=late)
    assert values(shop, table="main.purchases")["user_id"][0] == "1"
    with pytest.raises(ConfigError, match="both given"):
        opened(shop, query="select 1", table="purchases")
    with pytest.raises(ConfigError, match="--query is empty"):
        opened(shop, query=" ; ")


def test_the_only_table_needs_no_name(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "one.db")
    connection.executescript("create table purchases (user, item); insert into purchases values (1, 'x')")
    connection.close()
    assert values(f"sqlite:///{tmp_path}/one.db") == {"user": ["1"], "item": ["x"]}


def test_a_query_that_fails_leaves_the_database_free(shop: str, tmp_path: Path) -> None:
    refused(shop, "holds what is not UTF-8", query="select x'ff' as b from purchases")
    connection = sqlite3.connect(tmp_path / "shop.db", timeout=0.1)
    connection.execute("drop table purchases")  # which a reader would not let happen
    connection.close()


def test_files_that_are_no_database(tmp_path: Path) -> None:
    refused(f"sqlite:///{tmp_path}/none.db", "none.db' is not there", table="purchases")
    assert not (tmp_path / "none.db").exists()
    refused(f"sqlite:///{tmp_path}", "is no file", table="purchases")
    refused("sqlite://", "names no file; give sqlite:///PATH", table="purchases")
    put(tmp_path / "text.db", "user,item\n1,2\n" * 100)
    refused(f"sqlite:///{tmp_path}/text.db", "not a database", table="purchases")
    refused(f"sqlite:///{tmp_path}/text.db", "not a database", query="select 1 from x")
    sqlite3.connect(tmp_path / "empty.db").close()
    refused(f"sqlite:///{tmp_path}/empty.db", "it has none", table="purchases")
    refused(f"sqlite:///file:{tmp_path}/none.db?mode=ro&uri=true", "no connection", table="x")
    refused(f"duckdb:///{tmp_path}/none.duckdb", "none.duckdb' is not there", table="x")
    refused(f"duckdb:///{tmp_path}/text.db", "cannot be read as a DuckDB database", table="x")


@pytest.mark.thorough
def test_duckdb_by_url(tmp_path: Path) -> None:
    connection = duckdb.connect(tmp_path / "shop.duckdb")
    connection.execute(
        "create table a as select 1 as u, '007' as i; create schema s; create table s.b as select 2 as u"
    )
    connection.close()
    url = f"duckdb:///{tmp_path}/shop.duckdb"
    assert values(url, table="a") == {"u": [1], "i": ["007"]}
    assert values(url, table="s.b") == {"u": [2]}
    assert values(url, query="select u from a union all select u from s.b order by u") == {"u": [1, 2]}
    refused(url, "found: 'a', 's.b'")
    put(tmp_path / "secret.csv", "a\n1\n")
    for query in (
        f"select * from '{tmp_path}/secret.csv'",
        "drop table a",
        "copy a to 'x.csv'",
        "set threads = 3",
    ):
        refused(url, query=query)
    assert values(url, table="a") == {"u": [1], "i": ["007"]}


# URLs


def test_what_is_a_url(tmp_path: Path) -> None:
    assert "s3://" in refused("s3://bucket/purchases.csv", "postgresql, sqlite")
    assert local_files("sqlite:///shop.db?timeout=5") == [Path("shop.db")]
    assert local_files("postgresql://host/shop") == local_files("-") == local_files([("a", "b")]) == []


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://u:pw@host/shop", "postgresql://u:***@host/shop"),
        ("postgresql://u:p/w@host/shop", "postgresql://u:***@host/shop"),
        ("postgresql://u:p@w@host/shop", "postgresql://u:***@host/shop"),
        ("mysql://host/shop?user=u&password=pw&x=1", "mysql://host/shop?user=u&password=***&x=1"),
        ("postgresql://u@host:5432/shop", None),
        ("postgresql://host:5432/shop", None),
        ("sqlite:///a:b", None),
        ("a:b@c.csv", None),
    ],
)
def test_a_password_is_seen_and_hidden(url: str, hidden: str | None) -> None:
    assert shows_password(url) is (hidden is not None)
    assert hide_password(url) == (hidden or url)


@pytest.mark.parametrize(
    "url", ["postgresql://u:se/cr@et@host:port/shop", "postgresql://u:secret@host:99x/shop"]
)
def test_a_broken_url_keeps_its_secret(url: str) -> None:
    message = refused(url, "postgresql://user@host:port/database", table="x")
    assert not any(part in message for part in ("secret", "se/cr", "et@", "99x"))


def test_a_source_from_the_environment(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", shop)
    assert values("env:SHOP_URL", table="latest")["user_id"][0] == "1"
    monkeypatch.setenv("SHOP_URL", str(put(tmp_path / "a.csv", "user,item\n1,2\n")))
    assert values("env:SHOP_URL") == {"user": ["1"], "item": ["2"]}
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
    vars(driver).update(paramstyle="pyformat", Error=Exception)
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


# queries over files


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of orders and their lines."""
    put(tmp_path / "orders.csv", "order_id;customer;price\n1;007;2.50\n2;008;10\n3;007;9.75\n")
    put(tmp_path / "order lines.jsonl", '{"order_id": 1, "item": "a"}\n{"order_id": 3, "item": "b"}\n')
    return tmp_path


@pytest.mark.parametrize(
    "query",
    [
        "select customer, item from 'orders.csv' join 'order lines.jsonl' using (order_id) order by item",
        "select customer, item from 'orders.csv' o, 'order lines.jsonl' as l where o.order_id = l.order_id order by 2;",
        'select customer, item from orders join "order lines" using (order_id) order by item',
        "with o as (select * from 'orders.csv' where price < 9.9) select customer, item from o "
        "join 'order lines.jsonl' using (order_id) order by item",
    ],
)
def test_queries_over_files(files: Path, query: str) -> None:
    found = opened(files, query=query)
    assert found.values == {"customer": ["007", "007"], "item": ["a", "b"]}
    assert found.name == f"{files}, query"


def test_a_query_beside_a_file(files: Path) -> None:
    query = "select count(*) as n, sum(price) as p from orders"
    assert values(files / "orders.csv", query=query) == {"n": [3], "p": [22.25]}
    absolute = f"select customer from '{files}/orders.csv' where price > 9.9"
    assert values("-", query=absolute) == {"customer": ["008"]}


def test_a_query_reaches_nothing_else(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    put(files.parent / "secret.csv", "a,b\n1,2\n")
    secret = f"{files.parent}/secret.csv"
    refused(files, "there is no such file", query="select * from 'none.csv'")
    for query in (
        f"select * from read_csv('{secret}')",
        f"select * from orders union all select a, b, 1 from read_csv_auto('{secret}')",
        f"select * from glob('{files.parent}/*')",
        f"select content from read_text('{secret}')",
        "copy (select 1) to 'x.csv'",
        "attach 'x.duckdb' as x",
        "select 1); drop table x; select (1",
        "install httpfs",
        "insert into orders values (1, 2, 3)",
        "select getenv('HOME') as home",
        "select * from nowhere",
        "selec 1",
    ):
        message = refused(files, f"{files}, query", query=query)
        assert "1,2" not in message
    assert sorted(path.name for path in files.iterdir()) == ["order lines.jsonl", "orders.csv"]


# PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A real server."""
    with running_postgres() as server:
        yield server


def test_postgresql_types(postgres: Postgres) -> None:
    query = (
        "select 42::bigint as user_id, '007'::text as item, 1.50::numeric as price, 17850::float8 as f, true as yes, "
        "timestamptz '2024-07-01 12:00+02' as at, timestamp '2024-07-01 12:00' as local, date '2024-07-01' as day, "
        "'{6ba7b810-9dad-11d1-80b4-00c04fd430c8}'::uuid as id, 'ab'::bytea as bytes, null::int as none, "
        "'NaN'::float8 as nan"
    )
    found = {name: column[0] for name, column in values(postgres.url, query=query).items()}
    assert found == {
        "user_id": "42",
        "item": "007",
        "price": "1.50",
        "f": "17850",
        "yes": "true",
        "at": "2024-07-01 10:00:00",
        "local": "2024-07-01 12:00:00",
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
    assert values(postgres.url, table="store.Order Lines") == {"user_id": ["1"], "item%": ["x"]}
    assert values(postgres.url, table="public.one") == values(postgres.url, table="one") == {"user_id": ["1"]}
    assert values(postgres.url, table="kept") == {"user_id": ["2"]}
    refused(postgres.url, "did you mean 'store.Order Lines'?", table="store.order_lines")


def test_postgresql_streams_one_state(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that others write during the reading are not in it, and the server holds the rest of the rows."""
    batches: list[int] = []
    texts_of = frames.texts_of

    def watched(column: list[object]) -> object:
        if not batches:
            postgres.execute("insert into events select 1 from generate_series(1, 1000)", "vacuum events")
        batches.append(len(column))
        return texts_of(column)

    monkeypatch.setattr(frames, "texts_of", watched)
    for what in ({"table": "events"}, {"query": "select * from events"}):
        batches.clear()
        postgres.execute(
            "drop table if exists events",
            "create table events as select g as user_id from generate_series(1, 100000) as g",
        )
        assert values(postgres.url, **what)["user_id"] == [str(n) for n in range(1, 100_001)]
        assert batches == [*(64 * 2**n for n in range(10)), 32_768, 1_760]
    used = "select count(*) from pg_stat_activity where application_name = 'recae'"
    assert postgres.execute(used) == [(0,)]


def test_a_lost_connection_is_said(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    texts_of = frames.texts_of
    ended: list[object] = []

    def ending(column: list[object]) -> object:
        if not ended:
            running = (
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'recae'"
            )
            ended.extend(postgres.execute(running))
        return texts_of(column)

    monkeypatch.setattr(frames, "texts_of", ending)
    query = "select g as user_id from generate_series(1, 500000) as g"
    refused(postgres.url, "failed after 64 rows: ", "terminat", "safe to run it again", query=query)
    assert ended == [(True,)]


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


def test_passwords(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.execute("drop table if exists log", "create table log (n int)")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    query = {"query": "select 1 as user_id"}
    found = opened(postgres.shop_url, **query)
    assert (found.values, found.name) == ({"user_id": ["1"]}, "postgresql://shop:***@/postgres, query")
    assert "no password supplied" in refused(postgres.bare_url, "no connection to", **query)
    refused(postgres.shop_url, "permission denied for table log", query="select * from log")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert values(postgres.bare_url, **query) == {"user_id": ["1"]}
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


@pytest.mark.parametrize("url", [False, True])
def test_rows_are_fetched_by_their_bytes(url: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 32,768 rows of a megabyte at a time; and a value that is no purchase's is refused before it is taken."""
    path = tmp_path / "wide.db"
    with sqlite3.connect(path) as shop:
        shop.execute("create table p (user_id text, item_id text, page text)")
        rows = ((f"u{n % 30}", f"i{n * 7 % 40}", "x" * 2000) for n in range(1000))
        shop.executemany("insert into p values (?, ?, ?)", rows)
    sizes: list[int] = []
    whole = sql._by_bytes

    def noted(fetch: Any, name: str, progress: Any) -> Any:
        def counted(size: int) -> Any:
            sizes.append(len(found := fetch(size)))
            return found

        return whole(counted, name, progress)

    monkeypatch.setattr(sql, "_by_bytes", noted)
    monkeypatch.setattr(sql, "_MUCH", 100_000)
    source = f"sqlite:///{path}" if url else path
    assert read(source).interactions.matrix.shape == (30, 40)
    assert sum(sizes) == 1000
    assert max(sizes) * 2000 < 200_000
    with sqlite3.connect(path) as shop:
        shop.execute("insert into p values ('u1', 'i1', zeroblob(20000000))")
    with pytest.raises(SourceError, match=r"more than 16 MiB|string or blob too big"):
        read(source)
