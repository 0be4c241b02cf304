"""PostgreSQL: a real server gives exact text of one state, is not written to, and a sentence for what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from databases import PASSWORD, Postgres, running_postgres
from querying import read, refused, sqlite_shop

import recae
from recae.errors import ColumnError, SourceError
from recae.sources import open_source


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return sqlite_shop(tmp_path)


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
