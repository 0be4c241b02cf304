"""Recommendations as a table of a database: written to a staging table, then swapped in by one transaction.

Beside the tables of results there is one more, `RUNS`, with a row for each of them: which run it holds. A job with a
run id whose table is complete finds that row, which is written by the same transaction that swaps the table.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from recae.errors import ConfigError, OutputError, SourceError
from recae.files import check_writable
from recae.models import JSON
from recae.scoring.file import GROUP_ROWS
from recae.scoring.manifest import run_of
from recae.scoring.results import RUNS, Results, Run, transaction
from recae.scoring.work import Work
from recae.sources.databases import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

_KINDS: Final = ("postgresql", "sqlite")  # whose transactions hold for dropping and renaming tables, too
_LONGEST = 40  # letters of a table's name: PostgreSQL cuts names at 63, and the staging table's is longer


class ResultTable:
    """A destination: a table of a database.

    Args:
        url: of a PostgreSQL or SQLite database; an SQLite file is made where it is not there.
        table: its name, such as ``recommendations`` or ``shop.recommendations``.
        run_id: what the run is called by those who run it; a run that the table holds already is not done again.

    Raises:
        ConfigError: the name cannot be used.
        OutputError: the database is of another kind, or cannot be used; its message has no password.
    """

    def __init__(self, url: str, table: str, run_id: str | None = None) -> None:
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

        What the end of a job does is done, and taken back.

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
        staging = self._results.staging()
        rows = 0
        with self._connected("was not written, and is as it was") as connection:
            self._results.drop_left(connection)
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
    """Ends a transaction that was for trial."""


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
