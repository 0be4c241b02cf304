"""Recommendations as a table of a database: written to a staging table, then swapped in by one transaction.

Beside the tables of results there is one more, `RUNS`, with a row for each of them: which run it holds. A job with a
run id whose table is complete finds that row, which is written by the same transaction that swaps the table.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from recae.errors import ConfigError, OutputError, SourceError
from recae.files import check_writable
from recae.locks import locked
from recae.models import JSON
from recae.reading.databases import Database
from recae.scoring.folder import GROUP_ROWS
from recae.scoring.manifest import run_of
from recae.scoring.work import SCHEMA, SOURCED, Work

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


def _kind(type: pa.DataType) -> Any:  # noqa: A002  # the word of the field
    """Return the database's type for a column that says something of items."""
    import sqlalchemy as sa

    if pa.types.is_floating(type):
        return sa.Float(53)
    return sa.Boolean() if pa.types.is_boolean(type) else sa.Text()


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

    def staging(self, schema: pa.Schema = SCHEMA) -> Table:
        """Return a staging table of a new name for rows of a schema, so that two jobs never write to the same one."""
        import sqlalchemy as sa

        return sa.Table(
            f"{self.table}_recae_{secrets.token_hex(4)}",
            sa.MetaData(),
            sa.Column("user_id", sa.Text, nullable=False),
            sa.Column("item_id", sa.Text, nullable=False),
            sa.Column("rank", sa.Integer, nullable=False),
            sa.Column("score", sa.REAL, nullable=False),
            *([sa.Column("source", sa.Text, nullable=False)] if "source" in schema.names else []),
            *(
                sa.Column(field.name, _kind(field.type))
                for field in schema
                if field.name not in SOURCED.names
            ),
            schema=self.schema,
        )

    def insert(self, connection: Connection, staging: Table, batches: Sequence[pa.RecordBatch]) -> int:
        """Insert batches into the staging table, and return the number of rows."""
        table = pa.Table.from_batches(batches)
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
        """Index the staging table, give it the rights and the name of the old one, and record its run."""
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
        """Return the run that the table holds; None where there is no table, or no record of its run."""
        import sqlalchemy as sa

        inspector = sa.inspect(connection)
        if not all(inspector.has_table(name, self.schema) for name in (self.table, RUNS)):
            return None
        runs = self._runs()
        chosen = sa.select(runs.c.run_id, runs.c.fingerprint, runs.c.users, runs.c.rows)
        row = connection.execute(chosen.where(runs.c.table_name == self.table)).first()
        return None if row is None else Run(*row)

    def check_is_ours(self, connection: Connection) -> None:
        """Raise OutputError where the table exists and holds no results: it may be one of the shop's own."""
        import sqlalchemy as sa

        inspector = sa.inspect(connection)
        if not inspector.has_table(self.table, self.schema):
            return
        found = [column["name"] for column in inspector.get_columns(self.table, self.schema)]
        wider = found[: len(SCHEMA)] == SCHEMA.names and self.run(connection) is not None
        if found not in (SCHEMA.names, SOURCED.names) and not wider:
            raise OutputError(
                f"the table {self.table} is there already and has the columns {', '.join(found)}; only a table with "
                f"the columns {', '.join(SCHEMA.names)} is replaced, so choose another name"
            )

    def drop_left(self, connection: Connection, file: Path | None) -> None:
        """Drop the staging tables of killed jobs; those whose job still holds their lock stay.

        Args:
            connection: of this job.
            file: of an SQLite database.
        """
        import sqlalchemy as sa

        pattern = re.compile(rf"{re.escape(self.table)}_recae_[0-9a-f]{{8}}")
        for name in filter(pattern.fullmatch, sa.inspect(connection).get_table_names(self.schema)):
            with contextlib.suppress(BlockingIOError), self.alive(connection, name, file):
                self._described(name).drop(connection, checkfirst=True)

    @contextlib.contextmanager
    def alive(self, connection: Connection, name: str, file: Path | None) -> Iterator[None]:
        """Hold the lock of a staging table, which ends with the process or the connection, however these end.

        Raises:
            BlockingIOError: another job holds it.
        """
        import sqlalchemy as sa

        if self.postgres:
            key = {"key": int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)}
            if not connection.execute(sa.text("select pg_try_advisory_lock(:key)"), key).scalar():
                raise BlockingIOError
            try:
                yield
            finally:
                with contextlib.suppress(sa.exc.SQLAlchemyError):  # a lost connection holds no locks
                    connection.execute(sa.text("select pg_advisory_unlock(:key)"), key)
            return
        if file is None:
            yield
            return
        # beside the database, so that jobs in other containers see it
        lock = file.with_name(f"{file.name}-{name}.lock")
        with locked(lock, os.O_RDWR | os.O_CREAT):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def _rights(self, connection: Connection) -> list[tuple[str, str]]:
        """Return the rights on the old table of others than its owner, which a new table would lack."""
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


_KINDS: Final = ("postgresql", "sqlite")  # whose transactions hold for dropping and renaming tables, too
_LONGEST = 40  # letters of a table's name: PostgreSQL cuts names at 63, and the staging table's is longer


class ResultTable:
    """A destination: a table of a database.

    Args:
        url: of a PostgreSQL or SQLite database; an SQLite file is made where it is not there.
        table: its name, such as ``recommendations`` or ``shop.recommendations``.
        run_id: the caller's name of the run; a run that the table holds already is not done again.

    Raises:
        ConfigError: the name cannot be used.
        OutputError: the database is of another kind, or cannot be used; its message has no password.
    """

    def __init__(self, url: str, table: str, run_id: str | None = None) -> None:
        """Check the names; nothing is connected yet."""
        schema, _, name = table.rpartition(".")
        if not re.fullmatch(rf"[A-Za-z_][A-Za-z0-9_]{{0,{_LONGEST - 1}}}", name) or name == RUNS:
            raise ConfigError(
                f"--table is the name of a table of at most {_LONGEST} letters (A to Z), digits and _, "
                f"found {table!r}; choose another name"
            )
        try:
            self._database = Database(url, create=True)
        except SourceError as error:
            raise OutputError(str(error)) from error
        kind = self._database.url.get_backend_name()
        if kind not in _KINDS:
            raise OutputError(
                f"tables are written to PostgreSQL and SQLite, which can swap one in a transaction, but "
                f"'{self._database.name}' is {kind}; write Parquet or CSV, and load that"
            )
        self.name = f"{self._database.name}, table {table}"
        self._run_id = run_id
        self._held: Run | None = None
        self._results = Results(schema or None, name, kind == "postgresql")

    def check(self, model: Path) -> None:
        """Make sure, before any work, that the table can be made or replaced.

        The statements at the end of a job are run on trial, and rolled back.

        Raises:
            OutputError: there is no connection, the table is one that recae did not write, something depends on it, or
                the rights are missing.
        """
        if not self._results.postgres and not Path(self._database.url.database or "").exists():
            check_writable(Path(self._database.url.database or ""))  # to connect would leave an empty file
            return
        with self._connected("cannot be written to") as connection:
            self._results.check_is_ours(connection)
            self._held = self._results.run(connection)
            with contextlib.suppress(_TakenBackError), transaction(connection):
                staging = self._results.staging()
                staging.create(connection)
                self._results.swap(connection, staging, Run(None, "", 0, 0))
                raise _TakenBackError

    def describe(self, work: Work) -> str:
        """Return what will be written, for a message."""
        return "one table"

    def settings(self, work: Work) -> dict[str, JSON]:
        """Return what the rows depend on beside the work."""
        return {}

    def complete(self, work: Work, settings: Mapping[str, JSON]) -> str | None:
        """Return what to say where the table holds the run of this id; None where there is something to do.

        Raises:
            OutputError: it holds a run of this id with other settings.
        """
        held = self._held
        if held is None or self._run_id is None or held.run_id != self._run_id:
            return None
        if held.fingerprint != run_of(settings):
            raise OutputError(
                f"'{self.name}' holds the run '{self._run_id}' already, but of another model, other users or other "
                "settings; give this run another id"
            )
        return f"'{self.name}' holds the run '{self._run_id}' already, {held.rows:,} rows; nothing was done"

    def write(self, work: Work, settings: Mapping[str, JSON], on_users: Callable[[int], None]) -> int:
        """Write all lists to a staging table, then put it in the place of the old one; return the rows.

        Raises:
            OutputError: the database refuses, or the connection is lost; the table is as it was.
        """
        staging = self._results.staging(work.schema)
        rows = 0
        with (
            self._connected("was not written, and is as it was") as connection,
            self._results.alive(connection, staging.name, self._file()),
        ):
            self._results.drop_left(connection, self._file())
            try:
                with transaction(connection):
                    staging.create(connection)
                for done, batches in _groups(work):
                    with transaction(connection):
                        rows += self._results.insert(connection, staging, batches)
                    on_users(done)
                with transaction(connection):
                    self._results.swap(
                        connection, staging, Run(self._run_id, run_of(settings), len(work.audience), rows)
                    )
            except BaseException:
                with contextlib.suppress(Exception), self._connected("") as other:
                    staging.drop(other, checkfirst=True)
                raise
        return rows

    def _file(self) -> Path | None:
        """Return the file of an SQLite database."""
        path = self._database.url.database or ""
        return None if self._results.postgres or path.startswith("file:") else Path(path).resolve()

    @contextlib.contextmanager
    def _connected(self, outcome: str) -> Iterator[Connection]:
        """Give a connection whose transactions begin and end where they are told to; errors become an OutputError."""
        import sqlalchemy as sa

        try:
            with self._database.engine.connect() as connection:
                yield connection.execution_options(isolation_level="AUTOCOMMIT")
        except Exception as error:
            # what COPY raises does not come through SQLAlchemy
            if not isinstance(error, sa.exc.SQLAlchemyError) and not type(error).__module__.startswith(
                "psycopg"
            ):
                raise
            raise OutputError(
                f"'{self.name}' {outcome}: {self._database.reason(error)}; run it again"
            ) from error


class _TakenBackError(Exception):
    """Rolls a trial transaction back."""


def _groups(work: Work) -> Iterator[tuple[int, list[pa.RecordBatch]]]:
    """Yield the number of users done, and the batches that are worth a transaction."""
    held: list[pa.RecordBatch] = []
    done = 0
    for done, batch in work.batches():
        held.append(batch)
        if sum(each.num_rows for each in held) >= GROUP_ROWS:
            yield done, held
            held = []
    if held:
        yield done, held
