"""A table or a query of a database as a stream of Arrow record batches in which every value is text."""

from __future__ import annotations

import contextlib
import difflib
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recae.errors import ColumnError, ConfigError, SourceError
from recae.sources.base import Table, text_schema
from recae.sources.databases import Database
from recae.sources.texts import column_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Inspector

_ROWS = 32_768  # rows fetched at once, and in one batch
_SHOWN = 20  # tables named in a message


class SqlSource(Table):
    """Rows of a database, fetched through a server-side cursor where the database has them.

    Values are text: digits of numbers, ISO times in UTC, null as null. All rows come from one state of the database,
    on a connection that only reads (PostgreSQL, MySQL: REPEATABLE READ, READ ONLY; SQLite: query_only; DuckDB:
    read_only). A query begins when the source is made, so that what is wrong with it is said then.

    Args:
        url: of the database.
        query: a SELECT in its own words.
        table: a table or view instead, such as ``purchases`` or ``shop.purchases``.

    Attributes:
        name: database without password, and table; for messages.
        schema: the columns.

    Raises:
        ConfigError: query and table are both given, or an empty one.
        SourceError: the database cannot be reached, has no such table, or refuses the query.
    """

    def __init__(self, url: str, query: str | None = None, table: str | None = None) -> None:
        if query is not None and table is not None:
            raise ConfigError("--query and --table are both given; leave one out")
        self._database = Database(url)
        self.name = self._database.name
        self._first: tuple[Connection, CursorResult[Any]] | None = None
        if query is None:
            self._schema_name, self._table, names = self._find(table)
            self._query = None
            self.name += f", table {table}"
        else:
            self._query = query.strip().rstrip(";").rstrip()
            if not self._query:
                raise ConfigError("--query is empty; give a SELECT")
            self.name += ", query"
            self._first = self._run(())
            # closed in any case, also where nobody asks for the rows
            weakref.finalize(self, _close, self._first[0])
            names = list(self._first[1].keys())
        self.schema = text_schema(names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns, at most 32,768 rows at a time.

        Raises:
            ColumnError: there is no such column.
            SourceError: the query fails, the connection is lost, or a value has no text.
        """
        import sqlalchemy

        positions = self.positions(columns)
        (connection, result), self._first = self._first or self._run(columns), None
        schema, done = text_schema(columns), 0
        try:
            if self._query is None:
                positions = list(range(len(columns)))
            elif list(result.keys()) != self.column_names:
                raise SourceError(f"'{self.name}' returned other columns than before; run it again")
            for rows in result.partitions(_ROWS):
                values = list(zip(*rows, strict=True))
                arrays = [self._text(columns[i], values[position]) for i, position in enumerate(positions)]
                yield pa.record_batch(arrays, schema=schema)
                done += len(rows)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise self._failed(error, done) from error
        finally:
            _close(connection)

    def _run(self, columns: Sequence[str]) -> tuple[Connection, CursorResult[Any]]:
        """Begin the query, or one of the table's columns."""
        import sqlalchemy

        connection = self._database.connect()
        try:
            connection = connection.execution_options(stream_results=True, yield_per=_ROWS)
            if self._query is not None:
                verbatim = {"no_parameters": True}  # a % in the query is a %
                result = connection.exec_driver_sql(self._query, execution_options=verbatim)
            else:
                # without the types of the table, so that values come as the driver gives them
                chosen: list[Any] = [sqlalchemy.column(name) for name in columns]
                source = sqlalchemy.table(self._table, schema=self._schema_name)
                result = connection.execute(sqlalchemy.select(*chosen).select_from(source))
            if not result.returns_rows:
                raise SourceError(f"'{self.name}' returns no rows and columns; give a SELECT")
        except sqlalchemy.exc.SQLAlchemyError as error:
            _close(connection)
            if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
                raise self._failed(error, 0) from error  # lost, and so nothing that the query could help
            raise SourceError(
                f"'{self.name}' is refused: {self._database.reason(error)}; correct it"
            ) from error
        except BaseException:
            _close(connection)
            raise
        return connection, result

    def _failed(self, error: Exception, done: int) -> SourceError:
        return SourceError(
            f"reading '{self.name}' failed after {done:,} rows: {self._database.reason(error)}; "
            "nothing was kept of them, so it can be run again"
        )

    def _text(self, name: str, values: Sequence[Any]) -> pa.Array:
        try:
            return column_of(values)
        except ColumnError as error:
            raise SourceError(
                f"column {name!r} of '{self.name}' {error}, but text or a number is needed; cast it in a --query"
            ) from error

    def _find(self, table: str | None) -> tuple[str | None, str, list[str]]:
        """Return the schema (None: the usual one), the name and the columns of a table or view."""
        import sqlalchemy

        with self._database.connect() as connection:
            try:
                inspector = sqlalchemy.inspect(connection)
                known = _tables(inspector, None)
                place: tuple[str | None, str] | None = (None, table) if table in known else None
                if table is not None and place is None and "." in table:
                    schema, _, name = table.rpartition(".")
                    inside = _tables(inspector, schema) if schema in inspector.get_schema_names() else []
                    known += [f"{schema}.{other}" for other in inside]
                    place = (schema, name) if name in inside else None
                if place is not None:
                    rows = sqlalchemy.table(place[1], schema=place[0])
                    none = sqlalchemy.select(sqlalchemy.text("*")).select_from(rows).where(sqlalchemy.false())
                    return *place, list(connection.execute(none).keys())
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise SourceError(
                    f"the tables of '{self.name}' cannot be listed: {self._database.reason(error)}"
                ) from error
        listed = ", ".join(map(repr, known[:_SHOWN])) + (
            f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        )
        found = f"found: {listed}" if known else "it has none"
        if table is None:
            raise SourceError(
                f"'{self.name}' is a database; name a table with --table, or give a --query; {found}"
            )
        near = difflib.get_close_matches(table, known, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(f"'{self.name}' has no table {table!r}{hint}; {found}")


def _close(connection: Connection) -> None:
    """Close a connection, also a lost one."""
    import sqlalchemy

    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
        connection.close()


def _tables(inspector: Inspector, schema: str | None) -> list[str]:
    """Return the names of tables and views."""
    found = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
    with contextlib.suppress(NotImplementedError):  # this kind of database has none
        found.update(inspector.get_materialized_view_names(schema))
    return sorted(found)
