"""A real PostgreSQL for the tests, started once, and tables of purchases in it and in SQLite."""

from __future__ import annotations

import csv
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PASSWORD = "s3cr3t/@%:x"
CREATE = (
    "create table purchases (user_id int, item_id text, item_name text, category text, "
    "quantity int, price numeric, timestamp timestamp)"
)


class Postgres:
    """A server on a socket of its own.

    Attributes:
        url: for the superuser, whom the server trusts.
        shop_url: for the role ``shop`` with its password `PASSWORD` in it; the role may read and no more.
        bare_url: the same without the password.
    """

    def __init__(self, uri: str) -> None:
        self.url = uri
        host = uri.partition("?")[2]
        self.bare_url = f"postgresql://shop@/postgres?{host}"
        self.shop_url = f"postgresql://shop:{quote(PASSWORD, safe='')}@/postgres?{host}"

    def execute(self, *statements: str) -> list[Any]:
        """Run statements, each at once, and return the rows of the last one."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def load(self, path: Path) -> None:
        """Make the table ``purchases`` from the sample."""
        import psycopg

        self.execute("drop table if exists purchases cascade", CREATE)
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            with cursor.copy("copy purchases from stdin with (format csv, header)") as copy:
                copy.write(path.read_bytes())
            cursor.execute("grant select on purchases to shop")

    def kill_reader(self, statement: str, within: float = 60.0) -> int:
        """End the connection of a reading while it runs a statement that begins so, as a restart of the server would.

        Returns:
            How many there were, 0 where none came within so many seconds.
        """
        running = (
            "select pid from pg_stat_activity where application_name = 'recae' and state = 'active' "
            f"and query ilike '{statement}%'"
        )
        for _ in range(int(within / 0.05)):
            if found := self.execute(f"select pg_terminate_backend(pid) from ({running}) as running"):
                return len(found)
            time.sleep(0.05)
        return 0


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server, or skip the test where it cannot be started."""
    pgserver = pytest.importorskip("pgserver", reason="pgserver is not installed")
    with tempfile.TemporaryDirectory(prefix="recae-pg-") as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as another user
        try:
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        except Exception as error:  # whatever this machine lacks
            pytest.skip(f"PostgreSQL cannot be started here: {error!r:.200}")
        try:
            found = Postgres(server.get_uri())
            quoted = PASSWORD.replace("'", "''")
            found.execute(f"create role shop login password '{quoted}'")
            rules = Path(folder) / "data" / "pg_hba.conf"
            rules.write_text("local all shop scram-sha-256\n" + rules.read_text())
            found.execute("select pg_reload_conf()")
            yield found
        finally:
            server.cleanup()


def load_sqlite(path: Path, source: Path) -> None:
    """Write the sample as the table ``purchases`` of an SQLite database."""
    with source.open(newline="") as file, sqlite3.connect(path) as connection:
        header, *rows = csv.reader(file)
        connection.execute(CREATE)
        marks = ",".join("?" * len(header))
        connection.executemany(
            f"insert into purchases values ({marks})", [[value or None for value in row] for row in rows]
        )
    connection.close()
