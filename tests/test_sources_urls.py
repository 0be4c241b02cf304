"""URLs of databases: what is one, passwords that are never shown, and drivers that are missing or refuse."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from querying import read, refused, sqlite_shop
from sqlalchemy.exc import OperationalError

from recae.errors import ConfigError, SourceError
from recae.sources import hide_password, local_files, open_source, shows_password
from recae.sources.databases import Database


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return sqlite_shop(tmp_path)


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
