"""Arrow data checked where they come in: text is UTF-8, and every index of a dictionary is within it.

Readers of Arrow and Parquet do not look, and a model with such an id could never be read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recae.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 65_536


def column_names(schema: pa.Schema, name: str) -> list[str]:
    """Return the names of the columns.

    Args:
        schema: of a table.
        name: of the source, for messages.

    Raises:
        SourceError: one is not UTF-8.
    """
    try:
        return list(schema.names)
    except UnicodeDecodeError:
        place = next((n for n in range(len(schema)) if not _has_name(schema, n)), 0)
        raise SourceError(
            f"the name of column {place + 1} of '{name}' is not UTF-8; rename it, and write the table again"
        ) from None


def _has_name(schema: pa.Schema, place: int) -> bool:
    try:
        schema.field(place).name  # noqa: B018  # decoded when it is looked at
    except UnicodeDecodeError:
        return False
    return True


def check_table(data: pa.Table | pa.RecordBatch, name: str, before: int = 0) -> None:
    """Check every value of a table or batch.

    Args:
        data: what came in.
        name: of the source, for messages.
        before: rows that came before these.

    Raises:
        SourceError: a value is not what its type promises; the message has its row and column.
    """
    for column, values in zip(column_names(data.schema, name), data.columns, strict=True):
        done = before
        for chunk in getattr(values, "chunks", [values]):
            if (found := _first_bad(chunk)) is not None:
                row, what = found
                raise SourceError(
                    f"row {done + row + 1:,} of '{name}' holds {what} in column {column!r}; write the table again, "
                    "with text in UTF-8"
                )
            done += len(chunk)


def checked(reader: Any, name: str, error: list[Exception]) -> pa.RecordBatchReader:
    """Return a reader of the same batches, each checked when it is read.

    Args:
        reader: gives batches once.
        name: of the source, for messages.
        error: is given the error, which a library that reads the batches may hide.
    """
    import pyarrow as pa

    column_names(reader.schema, name)

    def batches() -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in reader:
            try:
                check_table(batch, name, done)
            except SourceError as problem:
                error.append(problem)
                raise
            yield batch
            done += len(batch)

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def check_parquet(path: Path, name: str) -> None:
    """Look for a value of a Parquet file that is not what its type promises, for the message of a failed reading.

    Raises:
        SourceError: there is one; the message has its row and column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        with pq.ParquetFile(path) as file:
            column_names(file.schema_arrow, name)
            for batch in file.iter_batches(_ROWS):
                check_table(batch, name, done)
                done += len(batch)
    except UnicodeDecodeError:
        raise SourceError(
            f"the name of a column of '{name}' is not UTF-8; rename it, and write the table again"
        ) from None
    except (pa.ArrowException, OSError):
        return


def _first_bad(values: pa.Array) -> tuple[int, str] | None:
    """Return the first row of an array that is not valid, and what is wrong with it; None where all are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if isinstance(values, pa.DictionaryArray):
        row = _first_invalid(values.indices)
        if row is None:
            size = len(values.dictionary)
            outside = pc.or_(pc.less(values.indices, 0), pc.greater_equal(values.indices, size))
            row = pc.index(outside, True).as_py() if pc.any(outside).as_py() else -1
        if row >= 0:
            return row, "an index outside its dictionary"
        wrong = _first_bad(values.dictionary)
        if wrong is None:
            return None
        return max(pc.index(values.indices, pa.scalar(wrong[0], values.indices.type)).as_py(), 0), wrong[1]
    row = _first_invalid(values)
    return (
        None
        if row is None
        else (row, "what is not UTF-8" if _is_text(values.type) else "what its type cannot hold")
    )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _first_invalid(values: pa.Array) -> int | None:
    """Return the first row at which the validation of an array fails, by halving; None where it does not."""
    if _is_valid(values):
        return None
    low, high = 0, len(values)  # the first one is in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _is_valid(values.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    return low


def _is_valid(values: pa.Array) -> bool:
    import pyarrow as pa

    try:
        values.validate(full=True)
    except pa.ArrowException:
        return False
    return True
