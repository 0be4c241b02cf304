"""Tables that have types of their own: Parquet, Arrow, ORC, data frames, and what iterables and matrices give."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recae.errors import ColumnError, SourceError
from recae.reading.checked import check_parquet, check_table, checked, column_names
from recae.reading.engine import Engine, first_line, quoted, text
from recae.reading.said import unique_names
from recae.reading.table import Note, Table
from recae.reading.values import text_of, texts_of

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH: Final = 65_536  # rows
_TUPLE: Final = ("user", "item", "time", "quantity")


def open_parquet(engine: Engine, path: Path, name: str) -> Table:
    """Return the table of a Parquet file; its columns keep their types.

    Raises:
        SourceError: it is damaged or truncated.
    """
    import duckdb

    scan = f"read_parquet({text(str(path))}, hive_partitioning = false)"
    try:
        view = engine.view(f"SELECT * FROM {scan}", "parquet")
        types = engine.describe(view)
    except duckdb.Error as error:
        raise _broken_parquet(path, name, error) from error
    engine.explainers.append(
        lambda error: (
            _broken_parquet(path, name, error) if str(path) in str(error) or _is_low(error) else None
        )
    )
    return Table(name=name, engine=engine, relation=view, types=types, files=(path,))


def _is_low(error: Exception) -> bool:
    """Tell whether an error of DuckDB comes from the bytes of a file, as those do that are of no class of their own."""
    import duckdb

    low = (duckdb.IOException, duckdb.InternalException, duckdb.SerializationException, duckdb.FatalException)
    return type(error) is duckdb.Error or isinstance(error, low)


def _broken_parquet(path: Path, name: str, error: Exception) -> SourceError:
    if re.search("unicode|utf-?8|string encoding", str(error), re.IGNORECASE):
        try:
            check_parquet(path, name)
        except SourceError as found:
            return found
    return _broken(name, "Parquet", error)


def _broken(name: str, what: str, error: BaseException) -> SourceError:
    return SourceError(
        f"'{name}' is not a valid {what} file ({first_line(error)}); write or download it again"
    )


def open_arrow(engine: Engine, path: Path, name: str, kind: str) -> Table:
    """Return the table of a Feather, Arrow or ORC file.

    Raises:
        SourceError: it is damaged or truncated.
    """
    import pyarrow as pa

    try:
        if kind == "orc":
            from pyarrow import orc

            data: Any = orc.ORCFile(str(path)).read()
        elif kind == "feather 1":
            from pyarrow import feather

            data = feather.read_table(str(path))
        elif kind == "arrow stream":
            with pa.OSFile(str(path)) as file:
                data = pa.ipc.open_stream(file).read_all()
        else:
            with pa.OSFile(str(path)) as file:  # not mapped: who overwrites it would end this process
                data = pa.ipc.open_file(file).read_all()
        data.validate()
    except (pa.ArrowException, OSError, ImportError) as error:
        raise _broken(name, {"orc": "ORC"}.get(kind, "Arrow"), error) from error
    return replace(from_arrow(engine, data, name), files=(path,))


def from_arrow(engine: Engine, data: Any, name: str) -> Table:
    """Return an Arrow table, or what an Arrow reader gives, as a table."""
    import pyarrow as pa

    names, repeated = unique_names(column_names(data.schema, name))
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        check_table(data, name)
        relation = engine.register(_plain(data.rename_columns(names)))
    else:  # which can be read once only
        relation = _once(engine, data, names, name)
    types = engine.describe(relation)
    enums = [column for column, kind in types.items() if kind.startswith("ENUM")]
    if enums:
        columns = ", ".join(
            f"{quoted(c)}::VARCHAR AS {quoted(c)}" if c in enums else quoted(c) for c in types
        )
        relation = engine.view(f"SELECT {columns} FROM {relation}", "frame")
        types = engine.describe(relation)
    return Table(name=name, engine=engine, relation=relation, types=types, notes=tuple(repeated))


def _once(engine: Engine, reader: Any, names: Sequence[str], name: str) -> str:
    """Store what can be read once only, under other names; returns the table."""
    import duckdb

    wrong: list[Exception] = []
    given = engine.register(checked(reader, name, wrong))
    labels = engine.describe(given)
    renamed = ", ".join(f"{quoted(old)} AS {quoted(new)}" for old, new in zip(labels, names, strict=True))
    try:
        return engine.store(f"SELECT {renamed} FROM {given}", "batches")
    except (duckdb.Error, SourceError):
        if wrong:
            raise wrong[0] from None
        raise


def _plain(data: pa.Table) -> pa.Table:
    """Return an Arrow table without the types that DuckDB does not take."""
    import pyarrow as pa

    for place, field in enumerate(data.schema):
        if pa.types.is_dictionary(field.type):
            data = data.set_column(place, field.name, data.column(place).cast(field.type.value_type))
        elif pa.types.is_null(field.type):
            data = data.set_column(place, field.name, data.column(place).cast(pa.string()))
        elif pa.types.is_float16(field.type):
            data = data.set_column(place, field.name, data.column(place).cast(pa.float32()))
    return data


def from_pandas(engine: Engine, frame: Any) -> Table:
    """Return a pandas data frame as a table; an index with a name is a column.

    Raises:
        SourceError: a column holds what has no text.
    """
    import pyarrow as pa

    named = [level for level in frame.index.names if level is not None and level not in frame.columns]
    if named:
        frame = frame.reset_index(level=named)
    names, _ = unique_names([_label(label) for label in frame.columns])
    arrays = []
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        try:
            array = pa.Array.from_pandas(series)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            array = _texts(name, series.tolist(), "the data frame")
        arrays.append(array)
    return from_arrow(engine, pa.table(arrays, names=names) if names else pa.table({}), "data frame")


def _label(label: Any) -> str:
    return ".".join(map(str, label)) if isinstance(label, tuple) else str(label)


def from_rows(engine: Engine, rows: Iterable[Any]) -> Table:
    """Return tuples (user, item, time, quantity; the last two may be left out) or mappings as a table, all of it text.

    Raises:
        SourceError: they are of several lengths, or hold what has no text.
    """
    import pyarrow as pa

    source = iter(rows)
    first = next(source, None)
    name = "rows"
    if first is None:
        return from_arrow(
            engine, pa.table({"user": pa.array([], pa.string()), "item": pa.array([], pa.string())}), name
        )
    if isinstance(first, dict):
        start = [first, *itertools.islice(source, _BATCH)]
        labels = list(dict.fromkeys(str(key) for row in start for key in row))
        names, _ = unique_names(labels)
        given: Iterator[Any] = (
            [row.get(label) for label in labels] for row in itertools.chain(start, source)
        )
    else:
        given = itertools.chain([first], source)
        width = len(first) if isinstance(first, tuple | list) else 0
        if not 2 <= width <= len(_TUPLE):
            raise SourceError(
                "rows are tuples (user, item), (user, item, time) or (user, item, time, quantity), found "
                f"{_shown(first)}"
            )
        names = list(_TUPLE[:width])

    def chunks() -> Iterator[Sequence[Any]]:
        done = 0
        while chunk := list(itertools.islice(given, _BATCH)):
            odd = next((n for n, row in enumerate(chunk) if len(row) != len(names)), None)
            if odd is not None:
                raise SourceError(
                    f"row {done + odd + 1:,} has {len(chunk[odd])} values where the first has {len(names)}"
                )
            yield chunk
            done += len(chunk)

    return Table(
        name=name,
        engine=engine,
        relation=store_texts(engine, names, chunks(), "the rows"),
        types=dict.fromkeys(names, "VARCHAR"),
    )


def _texts(column: str, values: Sequence[Any], place: str, advice: str = "", before: int = 0) -> pa.Array:
    try:
        return texts_of(values)
    except ColumnError as error:
        row = next((n for n, value in enumerate(values) if not _has_text(value)), 0)
        raise SourceError(
            f"column {column!r} of {place} {error} in row {before + row + 1:,}, but text or a number is needed{advice}"
        ) from error


def _has_text(value: Any) -> bool:
    try:
        text_of(value)
    except ColumnError:
        return False
    return True


def store_texts(
    engine: Engine, names: Sequence[str], chunks: Iterator[Sequence[Any]], place: str, advice: str = ""
) -> str:
    """Store rows of Python values as text; returns the table.

    Args:
        engine: that has the table.
        names: of the columns, each once.
        chunks: sequences of rows, each with a value a column; what they raise is passed on.
        place: what to call the rows in messages.
        advice: what to do about a value that has no text.

    Raises:
        SourceError: a value is a list, an object, or not UTF-8.
    """
    import pyarrow as pa

    schema = pa.schema([(column, pa.string()) for column in names])
    error: list[Exception] = []

    def batches() -> Iterator[pa.RecordBatch]:
        done = 0
        try:
            for rows in chunks:
                columns = zip(names, zip(*rows, strict=True), strict=True)
                arrays = [_texts(label, values, place, advice, done) for label, values in columns]
                yield pa.record_batch(arrays, schema=schema)
                done += len(rows)
        except Exception as problem:
            error.append(problem)
            raise

    return stored(engine, schema, batches(), error)


def stored(
    engine: Engine, schema: pa.Schema, batches: Iterator[pa.RecordBatch], error: list[Exception]
) -> str:
    """Store record batches in a table.

    Args:
        engine: that has the table.
        schema: of the batches.
        batches: made while they are stored.
        error: where whoever makes them puts what goes wrong; that is raised then.
    """
    import duckdb
    import pyarrow as pa

    view = engine.register(pa.RecordBatchReader.from_batches(schema, batches))
    try:
        return engine.store(f"SELECT * FROM {view}")
    except (duckdb.Error, SourceError):
        if error:
            raise error[0] from None
        raise


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 60 else f"{shown[:57]}..."


def from_matrix(engine: Engine, matrix: Any, name: str, first: int = 0) -> Table:
    """Return a sparse matrix of users × items as a table of (user, item): its ids, or row and column numbers.

    Args:
        engine: that has the table.
        matrix: any of scipy's formats, of numbers; each value but 0 is one purchase. Or one with ids.
        name: for messages.
        first: the number of the first row and column.

    Raises:
        SourceError: it is no matrix of finite numbers.
    """
    import numpy as np
    import pyarrow as pa

    from recae.reading.matrix import LabelledMatrix, pattern_of
    from recae.sparse import entry_rows

    labels = matrix if isinstance(matrix, LabelledMatrix) else None
    pattern, said = pattern_of(matrix if labels is None else labels.matrix, name)
    rows, columns = entry_rows(pattern), pattern.indices.astype(np.int64)
    users = rows + first if labels is None else labels.users.ids(rows)
    items = columns + first if labels is None else labels.items.ids(columns)
    table = from_arrow(engine, pa.table({"user": users, "item": items}), name)
    what = f"a matrix of {pattern.shape[0]:,} users × {pattern.shape[1]:,} items"
    if labels is None:
        what += "; ids are the numbers of its rows and columns"
    return table.with_notes(*(Note(text, code="layout") for text in (what, *said)))


def open_matrix(engine: Engine, path: Path, name: str, market: bool) -> Table:
    """Return the table of a matrix in an ``.npz`` file, or in a Matrix Market file. Nothing is ever unpickled.

    Raises:
        SourceError: it is damaged, pickled, or no sparse matrix.
    """
    from recae.reading.matrix import load_matrix

    return replace(
        from_matrix(engine, load_matrix(path, name, market), name, first=int(market)), files=(path,)
    )
