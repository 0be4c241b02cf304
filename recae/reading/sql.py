"""SQL sources: tables and queries of databases by URL, SQLite and DuckDB files, and queries over files.

Whatever comes from another database is stored as text; nothing is ever written to it.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recae.errors import SourceError
from recae.reading.databases import LONGEST, read_alone
from recae.reading.engine import Engine, first_line, quoted
from recae.reading.frames import store_texts
from recae.reading.options import ReadOptions
from recae.reading.said import unique_names
from recae.reading.table import Table

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Inspector

    from recae.reading.databases import Database

_ROWS: Final = 32_768  # rows fetched at once, at most
_FIRST: Final = 64  # rows fetched first
_MUCH: Final = 1 << 23  # bytes of the rows fetched at once from which on there are fewer of them
_SHOWN: Final = 20  # tables named in a message


def open_database(engine: Engine, url: str, options: ReadOptions) -> Table:
    """Return a table or a query of the database that a URL names, stored as text.

    Rows come through a server-side cursor where the database has them, all from one state of the database, on a
    connection that only reads (PostgreSQL, MySQL: REPEATABLE READ, READ ONLY; SQLite: query_only; DuckDB: read_only).

    Raises:
        SourceError: the database cannot be reached, has no such table or several, or refuses the query.
    """
    from recae.reading.databases import Database

    kind, _, place = url.partition(":///")
    if kind.lower() == "duckdb":
        return open_database_file(engine, _duckdb_path(place), url, "duckdb", options)
    database = Database(url)
    if options.query is None:
        source = _find(database, options.table)
        name = f"{database.name}, table {source.shown}"
        connection, result = _run(database, name, source)
    else:
        query = options.query.strip().rstrip(";").rstrip()
        name = f"{database.name}, query"
        connection, result = _run(database, name, query)
    try:
        return _stored(engine, name, list(result.keys()), _partitions(database, name, result))
    finally:
        _close(connection)


def _duckdb_path(place: str) -> Path:
    path = Path(place.partition("?")[0])
    if not path.is_file():
        what = "is no file" if path.exists() else "is not there"
        raise SourceError(
            f"the file '{path}' {what}; check the path (after ///, or after //// where it begins with a slash)"
        )
    return path


def _partitions(database: Database, name: str, result: CursorResult[Any]) -> Iterator[Sequence[Any]]:
    import sqlalchemy

    progress = _Progress()
    try:
        yield from _by_bytes(result.fetchmany, name, progress)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _failed(database, name, error, progress.rows) from error


@dataclass
class _Progress:
    """How many rows were fetched."""

    rows: int = 0


def _by_bytes(
    fetch: Callable[[int], Sequence[Sequence[Any]]], name: str, progress: _Progress
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the rows of a cursor, as many at once as take some megabytes.

    Args:
        fetch: returns at most so many rows, none at the end.
        name: of what is read, for messages.
        progress: is told of the rows.

    Raises:
        SourceError: a value is so long that it belongs to no table of purchases.
    """
    size = _FIRST
    while rows := fetch(size):
        held = 0
        for number, row in enumerate(rows, progress.rows + 1):
            for value in row:
                if isinstance(value, str | bytes | bytearray | memoryview):
                    held += len(value)
                    if len(value) > LONGEST:
                        raise _too_long(name, f"row {number:,}")
        yield rows
        progress.rows += len(rows)
        if held > _MUCH:
            size = max(size * _MUCH // held, 1)
        elif held < _MUCH // 4:
            size = min(size * 2, _ROWS)


def _too_long(name: str, row: str) -> SourceError:
    return SourceError(
        f"{row} of '{name}' holds a value of more than {LONGEST >> 20} MiB, which is none of a purchase; leave "
        "that column out with a --query"
    )


def _failed(database: Database, name: str, error: Exception, done: int) -> SourceError:
    return SourceError(
        f"reading '{name}' failed after {done:,} rows: {database.reason(error)}; "
        "none of them were stored, so it is safe to run it again"
    )


def _stored(engine: Engine, name: str, labels: Sequence[str], partitions: Iterator[Sequence[Any]]) -> Table:
    """Store rows as text."""
    names, repeated = unique_names(labels)
    return Table(
        name=name,
        engine=engine,
        relation=store_texts(engine, names, partitions, f"'{name}'", "; cast it in a --query"),
        types=dict.fromkeys(names, "VARCHAR"),
        notes=tuple(repeated),
    )


@dataclass(frozen=True)
class _Found:
    """A table of a database.

    Attributes:
        schema: None for the usual one.
        name: of the table.
        shown: as it is called in messages.
    """

    schema: str | None
    name: str
    shown: str


def _run(database: Database, name: str, what: _Found | str) -> tuple[Connection, CursorResult[Any]]:
    """Begin a query, or one of all columns of a table."""
    import sqlalchemy

    connection = database.connect()
    try:
        connection = connection.execution_options(stream_results=True, max_row_buffer=_FIRST)
        if isinstance(what, str):
            verbatim = {"no_parameters": True}  # a % in the query is a %
            result = connection.exec_driver_sql(what, execution_options=verbatim)
        else:
            # without the types of the table, so that values come as the driver gives them
            rows = sqlalchemy.table(what.name, schema=what.schema)
            result = connection.execute(sqlalchemy.select(sqlalchemy.text("*")).select_from(rows))
        if not result.returns_rows:
            raise SourceError(f"'{name}' returns no rows and columns; give a SELECT")
    except sqlalchemy.exc.SQLAlchemyError as error:
        _close(connection)
        if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
            raise _failed(
                database, name, error, 0
            ) from error  # lost, and so nothing that the query could help
        raise SourceError(f"'{name}' is refused: {database.reason(error)}; correct it") from error
    except BaseException:
        _close(connection)
        raise
    return connection, result


def _close(connection: Connection) -> None:
    """Close a connection, also a lost one."""
    import sqlalchemy

    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
        connection.close()


def _find(database: Database, table: str | None) -> _Found:
    """Return the table or view that is asked for, or the only one."""
    import sqlalchemy

    with database.connect() as connection:
        try:
            inspector = sqlalchemy.inspect(connection)
            known = _tables(inspector, None)
            if table is None:
                only = inspector.get_table_names(None)
                if len(only) == 1 == len(known):
                    return _Found(None, only[0], only[0])
            elif table in known:
                return _Found(None, table, table)
            elif "." in table:
                schema, _, name = table.rpartition(".")
                inside = _tables(inspector, schema) if schema in inspector.get_schema_names() else []
                if name in inside:
                    return _Found(schema, name, table)
                known += [f"{schema}.{other}" for other in inside]
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise SourceError(
                f"the tables of '{database.name}' cannot be listed: {database.reason(error)}"
            ) from error
    raise _which(database.name, table, known)


def _which(name: str, table: str | None, known: Sequence[str]) -> SourceError:
    """Return what to say where a table is to be named, or the one named is not there."""
    listed = ", ".join(map(repr, known[:_SHOWN])) + (
        f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    )
    found = f"found: {listed}" if known else "it has none"
    if table is None:
        return SourceError(f"'{name}' is a database; name a table with --table, or give a --query; {found}")
    near = difflib.get_close_matches(table, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return SourceError(f"'{name}' has no table {table!r}{hint}; {found}")


def _tables(inspector: Inspector, schema: str | None) -> list[str]:
    """Return the names of tables and views."""
    found = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
    with contextlib.suppress(NotImplementedError):  # this kind of database has none
        found.update(inspector.get_materialized_view_names(schema))
    return sorted(found)


def open_database_file(engine: Engine, path: Path, name: str, kind: str, options: ReadOptions) -> Table:
    """Return a table or a query of an SQLite or DuckDB file, which is opened for reading only.

    Raises:
        SourceError: it is damaged, has no such table or several, or refuses the query.
    """
    read = _from_sqlite if kind == "sqlite" else _from_duckdb
    return replace(read(engine, path, name, options), files=(path,))


def _from_sqlite(engine: Engine, path: Path, name: str, options: ReadOptions) -> Table:
    try:
        # its rows are fetched by whichever thread of DuckDB asks for more, one at a time
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only = ON")
            read_alone(connection)
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            listed = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            known = sorted(name for (name,) in listed if not name.startswith("sqlite_"))
            query, shown = _query_of(name, known, options)
            try:
                cursor = connection.execute(query)
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise SourceError(f"'{shown}' is refused: {first_line(error)}; correct it") from error
            if cursor.description is None:
                raise SourceError(f"'{shown}' returns no rows and columns; give a SELECT")
            return _stored(
                engine, shown, [column[0] for column in cursor.description], _fetched(cursor, shown)
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SourceError(
            f"'{name}' cannot be read as an SQLite database ({first_line(error)}); copy it again"
        ) from error


def _fetched(cursor: sqlite3.Cursor, name: str) -> Iterator[Sequence[Any]]:
    progress = _Progress()
    try:
        yield from _by_bytes(cursor.fetchmany, name, progress)
    except sqlite3.DataError as error:
        raise _too_long(name, f"a row after the first {progress.rows:,}") from error
    except sqlite3.Error as error:
        raise SourceError(
            f"reading '{name}' failed after {progress.rows:,} rows: {first_line(error)}"
        ) from error


def _query_of(name: str, known: Sequence[str], options: ReadOptions) -> tuple[str, str]:
    """Return the query to run on a database file, and what to call its result."""
    if options.query is not None:
        return options.query.strip().rstrip(";").rstrip(), f"{name}, query"
    table = options.table
    if table is None and len(known) == 1:
        table = known[0]
    if table is None or table not in known:
        raise _which(name, table, known)
    return f"SELECT * FROM {'.'.join(map(quoted, [table]))}", f"{name}, table {table}"


def _from_duckdb(engine: Engine, path: Path, name: str, options: ReadOptions) -> Table:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{max(engine.memory_limit // 4, 1 << 26) // 2**10} KiB",
        "threads": 1,
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "lock_configuration": True,
    }
    try:
        connection = duckdb.connect(str(path), read_only=True, config=config)
    except duckdb.Error as error:
        raise SourceError(
            f"'{name}' cannot be read as a DuckDB database ({first_line(error)}); copy it again"
        ) from error
    try:
        rows = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN "
            "('information_schema', 'pg_catalog') ORDER BY 1, 2"
        ).fetchall()
        known = [table if schema == "main" else f"{schema}.{table}" for schema, table in rows]
        query, shown = _query_of(name, known, options)
        if options.query is None:
            schema, _, table = query.removeprefix('SELECT * FROM "').removesuffix('"').rpartition(".")
            query = f"SELECT * FROM {'.'.join(map(quoted, filter(None, [schema, table])))}"
        try:
            relation = connection.sql(query)
            if relation is None:
                raise SourceError(f"'{shown}' returns no rows and columns; give a SELECT")
            from recae.reading.frames import from_arrow

            return from_arrow(engine, relation.to_arrow_reader(_ROWS), shown)
        except duckdb.Error as error:
            raise SourceError(f"'{shown}' is refused: {first_line(error)}; correct it") from error
    finally:
        connection.close()


_NAMED: Final = re.compile(r"(\b(?:from|join)\s+|,\s*)'((?:[^']|'')+)'", re.IGNORECASE)
_ALIAS: Final = re.compile(
    r"\s+(?:as\s+)?(?!(?:join|using|on|where|left|right|inner|full|cross|natural|group|order|limit|union|having|window|"
    r"qualify|except|intersect|semi|anti|asof|positional)\b)[\w\"]+",
    re.IGNORECASE,
)
_SELECT: Final = re.compile(r"\s*(?:\(|(?:select|with|from|values|pivot|unpivot)\b)", re.IGNORECASE)


def query_files(
    engine: Engine,
    source: str,
    options: ReadOptions,
    open_table: Callable[[Engine, Any, ReadOptions], Table],
) -> Table:
    """Return what a query over files gives, such as ``select … from 'orders.csv' join 'lines.csv' using (order_id)``.

    Each file that the query names is understood as it would be by itself, and its columns of numbers and times have
    types. A file may also be called by its name without the ending. The query reaches no other file.

    Args:
        engine: that runs it.
        source: the folder in which the files lie, or a file beside them.
        options: with the query.
        open_table: opens one of them.

    Raises:
        SourceError: a file is not there, or the query is refused.
    """
    import duckdb

    query = (options.query or "").strip().rstrip(";").rstrip()
    place = Path(source)
    folder = place if place.is_dir() else place.parent
    plain = ReadOptions(
        delimiter=options.delimiter, encoding=options.encoding, bad_lines=options.bad_lines, layout="rows"
    )
    tables: dict[Path, Table] = {}

    def opened(path: Path) -> Table:
        if path not in tables:
            tables[path] = _typed(open_table(engine, path, plain))
        return tables[path]

    def known(match: re.Match[str]) -> str:
        named = match[2].replace("''", "'")
        path = next((p for p in (folder / named, Path(named)) if p.exists()), None)
        if path is None:
            if match[1].startswith(","):  # which may be any text
                return match[0]
            raise SourceError(f"the query names '{named}', but there is no such file; check the path")
        alias = "" if _ALIAS.match(query, match.end()) else f" AS {quoted(path.stem)}"
        return f"{match[1]}{opened(path).relation}{alias}"

    statement = _NAMED.sub(known, query)
    for path in sorted(folder.iterdir()) if place.is_dir() else [place]:
        if path.is_file() and re.search(rf"(?<![\w'.])\"?{re.escape(path.stem)}\"?(?![\w'.])", statement):
            engine.run(f"CREATE TEMP VIEW {quoted(path.stem)} AS SELECT * FROM {opened(path).relation}")
    files = [file for table in tables.values() for file in table.files]
    others = [Path(other) for other in (options.items, options.orders) if other is not None]
    engine.close_doors([*files, *others])
    name = f"{source}, query"
    try:
        if not _SELECT.match(statement):
            raise SourceError(f"'{name}' is no SELECT; give a SELECT")
        relation = engine.store(f"SELECT * FROM ({statement})", "query")
    except duckdb.Error as error:
        raise SourceError(f"'{name}' is refused: {first_line(error)}; correct it") from error
    return Table(
        name=name,
        engine=engine,
        relation=relation,
        types=engine.describe(relation),
        files=tuple(files),
        notes=tuple(note for table in tables.values() for note in table.notes),
    )


def _typed(table: Table) -> Table:
    """Return a table in which columns of text have the type of all their values, so that SQL may compare them.

    That is numbers and times. Whole numbers are written as their type writes them, so that ids such as 007 stay text.
    """
    texts = [column for column in table.types if table.is_text(column)]
    if not texts:
        return table
    checks = []
    for column in texts:
        value = quoted(column)
        checks += [
            f"count({value})",
            f"count(*) FILTER ({value} = TRY_CAST({value} AS BIGINT)::VARCHAR)",
            f"count(*) FILTER (regexp_full_match({value}, '-?(0|[1-9]\\d{{0,14}})(\\.\\d+)?'))",
            f"count(TRY_CAST({value} AS TIMESTAMP))",
        ]
    found = table.engine.row(f"SELECT {', '.join(checks)} FROM {table.relation}")
    kinds = dict(table.types)
    for place, column in enumerate(texts):
        filled, whole, number, time = found[4 * place : 4 * place + 4]
        if filled and whole == filled:
            kinds[column] = "BIGINT"
        elif filled and number == filled:
            kinds[column] = "DOUBLE"
        elif filled and time == filled:
            kinds[column] = "TIMESTAMP"
    if kinds == table.types:
        return table
    columns = ", ".join(
        f"{quoted(c)}::{kind} AS {quoted(c)}" if kind != table.types[c] else quoted(c)
        for c, kind in kinds.items()
    )
    view = table.engine.view(f"SELECT {columns} FROM {table.relation}", "typed")
    return replace(table, relation=view, types=kinds, _samples={})
