"""Writing of tables larger than memory to one Parquet, CSV or JSON Lines file, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from recae.errors import OutputError
from recae.files import atomic_path, check_writable

ENDINGS: Final = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")
"""The endings of a table's path, capital letters or not: two of Parquet, one of CSV, two of JSON Lines."""


def check_output(path: Path | str, source: Path | None = None) -> None:
    """Make sure, before any work, that a table can be written to ``path``.

    Raises:
        OutputError: the path has none of the `ENDINGS`, the file cannot be written there, or it is the
            ``source``, a file that is read.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        found = f"'{path.suffix}'" if path.suffix else "none"
        raise OutputError(
            f"cannot write '{path}': the file's ending says its format and must be one of "
            f"{', '.join(ENDINGS)}, but is {found}; choose another name"
        )
    check_writable(path, source)


def write_table(
    path: Path | str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], group_rows: int = 1
) -> int:
    """Write a stream of record batches to Parquet, CSV or JSON Lines, as the path ends; the file appears at the end.

    A CSV file is UTF-8 with a header line, an empty field where a value is missing, text between quotes only
    where some text near it needs them, and float32 in the fewest digits that read back as the same number.
    JSON Lines hold an object a line, in ASCII, with the same digits, and null for what is missing or not finite.
    Parquet is compressed with zstd.

    Args:
        path: where to; an existing file is replaced once the new one is complete.
        schema: the columns; a file without rows has them too.
        batches: of that schema; empty ones are fine. Whatever they raise is passed on, and no file is left.
        group_rows: rows to gather before they are written together; a batch is never cut. It decides the row
            groups of Parquet and how much is held at one time.

    Returns:
        The number of rows written, without the header.

    Raises:
        OutputError: `check_output` refuses the path, or writing fails later.
    """
    path = Path(path)
    check_output(path)
    write = {".csv": _write_csv, ".jsonl": _write_json, ".ndjson": _write_json}.get(
        path.suffix.lower(), _write_parquet
    )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        return write(file, schema, _groups(batches, schema, group_rows))


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema, group_rows: int) -> Iterator[pa.Table]:
    """Gather batches into tables of `group_rows` rows or a little more, none of them empty."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if not batch.num_rows:  # after an empty one, Arrow's CSV writer repeats a buffer of what came before
            continue
        held.append(batch)
        rows += batch.num_rows
        if rows >= max(1, group_rows):
            yield pa.Table.from_batches(held, schema)
            held, rows = [], 0
    if rows:
        yield pa.Table.from_batches(held, schema)


def _write_parquet(file: BinaryIO, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    import pyarrow.parquet as pq

    # Hardly two floats are the same: a dictionary of them makes the file larger, and slower to write.
    repeated = [field.name for field in schema if not pa.types.is_floating(field.type)]
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeated) as writer:
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _write_csv(file: BinaryIO, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    from pyarrow import csv

    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    rows = 0
    file.write((",".join(schema.names) + "\n").encode())
    for table in tables:
        # Arrow puts either all text between quotes or none, and refuses the latter where it is ambiguous.
        special = any(pc.any(pc.match_substring_regex(table[name], '[",\r\n]')).as_py() for name in texts)
        options = csv.WriteOptions(include_header=False, quoting_style="needed" if special else "none")
        csv.write_csv(table, file, options)
        rows += table.num_rows
    return rows


def _write_json(file: BinaryIO, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    names = [json.dumps(name) for name in schema.names]
    rows = 0
    for table in tables:
        parts: list[pa.ChunkedArray | str] = []
        for name, column in zip(names, table.itercolumns(), strict=True):
            parts += [f"{', ' if parts else '{'}{name}: ", _json_values(column)]
        for line in pc.binary_join_element_wise(*parts, "}\n", "").chunks:
            offsets, data = line.buffers()[1:]
            starts = memoryview(offsets).cast("i" if pa.types.is_string(line.type) else "q")
            file.write(memoryview(data)[starts[line.offset] : starts[line.offset + len(line)]])
        rows += table.num_rows
    return rows


def _json_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each value as JSON."""
    if pa.types.is_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()  # ids repeat: a Python object each, and no more
        texts = pa.array([json.dumps(text) for text in encoded.dictionary.to_pylist()], pa.string())
        values = pa.chunked_array([texts.take(encoded.indices)])
    else:
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
        values = column.cast(pa.string())
    return pc.fill_null(values, "null")
