"""The SQL of a table of results: a staging table beside it, the swap, and the table that says which run it holds."""

from __future__ import annotations

import contextlib
import io
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from recae.errors import OutputError
from recae.scoring.schema import SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

RUNS: Final = "recae_runs"
"""The table that says which run each table of results holds."""

_OBJECTS = 8192  # rows that are Python objects at one time


@dataclass(frozen=True)
class Run:
    """What a table of results holds: the run's id where it has one, SHA-256 of its settings, its users and rows."""

    run_id: str | None
    fingerprint: str
    users: int
    rows: int


@dataclass(frozen=True)
class Results:
    """A table of results in PostgreSQL or SQLite; its methods run statements on a connection that commits by itself.

    Attributes:
        schema: where it is; None for the usual place.
        table: its name.
        postgres: whether it is in PostgreSQL.
    """

    schema: str | None
    table: str
    postgres: bool

    def staging(self) -> Table:
        """Return the description of a staging table of a new name; another job's is never mixed with this one's."""
        import sqlalchemy as sa

        return sa.Table(
            f"{self.table}_recae_{secrets.token_hex(4)}",
            sa.MetaData(),
            sa.Column("user_id", sa.Text, nullable=False),
            sa.Column("item_id", sa.Text, nullable=False),
            sa.Column("rank", sa.Integer, nullable=False),
            sa.Column("score", sa.REAL, nullable=False),
            schema=self.schema,
        )

    def insert(self, connection: Connection, staging: Table, batches: Sequence[pa.RecordBatch]) -> int:
        table = pa.Table.from_batches(batches, SCHEMA)
        driver: Any = connection.connection.driver_connection
        if not table.num_rows:
            return 0
        if self.postgres and hasattr(driver.cursor(), "copy"):  # psycopg: a tenth of the time of INSERT
            from pyarrow import csv

            text = io.BytesIO()
            csv.write_csv(table, text, csv.WriteOptions(include_header=False, quoting_style="all_valid"))
            into = connection.dialect.identifier_preparer.format_table(staging)
            with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN (FORMAT csv)") as copy:
                copy.write(text.getbuffer())
        else:
            for batch in table.to_batches(max_chunksize=_OBJECTS):
                connection.execute(staging.insert(), batch.to_pylist())
        return int(table.num_rows)

    def swap(self, connection: Connection, staging: Table, run: Run) -> None:
        """Index the staging table, give it the old one's readers and its place, and write down what it is."""
        import sqlalchemy as sa

        quoted = connection.dialect.identifier_preparer
        old, new = self._described(self.table), quoted.format_table(staging)
        sa.Index(f"{staging.name}_key", staging.c.user_id, staging.c.rank, unique=True).create(connection)
        for grantee, right in self._rights(connection):
            whom = "PUBLIC" if grantee == "PUBLIC" else quoted.quote(grantee)
            connection.exec_driver_sql(f"GRANT {right} ON {new} TO {whom}")
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quoted.format_table(old)}")
        connection.exec_driver_sql(f"ALTER TABLE {new} RENAME TO {quoted.quote(self.table)}")
        runs = self._runs()
        runs.create(connection, checkfirst=True)
        connection.execute(runs.delete().where(runs.c.table_name == self.table))
        values = {"run_id": run.run_id, "fingerprint": run.fingerprint, "users": run.users, "rows": run.rows}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        connection.execute(runs.insert(), {"table_name": self.table, "written_at": now, **values})

    def run(self, connection: Connection) -> Run | None:
        """Return the run that the table holds; None where there is no table, or none that is known of."""
        import sqlalchemy as sa

        inspector = sa.inspect(connection)
        if not all(inspector.has_table(name, self.schema) for name in (self.table, RUNS)):
            return None
        runs = self._runs()
        chosen = sa.select(runs.c.run_id, runs.c.fingerprint, runs.c.users, runs.c.rows)
        row = connection.execute(chosen.where(runs.c.table_name == self.table)).first()
        return None if row is None else Run(*row)

    def check_is_ours(self, connection: Connection) -> None:
        """Raise OutputError where the table is there and is none of results: it may be the shop's own."""
        import sqlalchemy as sa

        inspector = sa.inspect(connection)
        if not inspector.has_table(self.table, self.schema):
            return
        found = [column["name"] for column in inspector.get_columns(self.table, self.schema)]
        if found != SCHEMA.names:
            raise OutputError(
                f"the table {self.table} is there already and has the columns {', '.join(found)}; only a table with "
                f"the columns {', '.join(SCHEMA.names)} is replaced, so choose another name"
            )

    def drop_left(self, connection: Connection) -> None:
        """Drop the staging tables of killed jobs; a job that still writes to one ends with an error."""
        import sqlalchemy as sa

        pattern = re.compile(rf"{re.escape(self.table)}_recae_[0-9a-f]{{8}}")
        for name in filter(pattern.fullmatch, sa.inspect(connection).get_table_names(self.schema)):
            self._described(name).drop(connection)

    def _rights(self, connection: Connection) -> list[tuple[str, str]]:
        """Return who but its owner may do what with the old table, which a new one would not remember."""
        import sqlalchemy as sa

        if not self.postgres:
            return []
        rights = sa.text(
            "select grantee, privilege_type from information_schema.role_table_grants where table_name = :name "
            "and table_schema = coalesce(:schema, current_schema()) and grantee <> grantor order by 1, 2"
        )
        found = connection.execute(rights, {"name": self.table, "schema": self.schema})
        return [(str(grantee), str(right)) for grantee, right in found]

    def _runs(self) -> Table:
        import sqlalchemy as sa

        return sa.Table(
            RUNS,
            sa.MetaData(),
            sa.Column("table_name", sa.Text, primary_key=True),
            sa.Column("run_id", sa.Text),
            sa.Column("fingerprint", sa.Text, nullable=False),
            sa.Column("users", sa.BigInteger, nullable=False),
            sa.Column("rows", sa.BigInteger, nullable=False),
            sa.Column("written_at", sa.Text, nullable=False),
            schema=self.schema,
        )

    def _described(self, name: str) -> Table:
        import sqlalchemy as sa

        return sa.Table(name, sa.MetaData(), schema=self.schema)


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Begin, then commit or roll back, by statements: Python's driver of SQLite begins none for a DROP or ALTER."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "BEGIN")
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # a lost connection rolls back by itself
            connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
