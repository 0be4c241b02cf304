"""Recommendations for every user of a model, written to one Parquet or CSV file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from recae.errors import OutputError
from recae.files import atomic_path, check_writable
from recae.ranking import DEFAULT_BLOCK_BYTES
from recae.recommender import Recommender
from recae.scoring.batches import SCHEMA, scored_blocks

ENDINGS: Final = (".parquet", ".pq", ".csv")
"""The endings of a result's path, capital letters or not: the first two are Parquet, the last is CSV."""

# Rows written together: a Parquet row group of a common size, and some ten megabytes.
_GROUP_ROWS = 128 * 1024


def check_output(path: Path | str, source: Path | None = None) -> None:
    """Make sure, before any work, that scores can be written to ``path``.

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


def write_scores(
    recommender: Recommender,
    path: Path | str,
    n: int = 20,
    *,
    exclude_owned: bool = True,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    threads: int | None = None,
    on_users: Callable[[int], None] | None = None,
) -> int:
    """Write the best items of every user to Parquet (.parquet, .pq) or CSV (.csv); the file appears at the end.

    The columns are ``user_id``, ``item_id`` (text), ``rank`` (int32, from 1) and ``score`` (float32); users
    come in the model's order, each user's rows by rank. A CSV file is UTF-8 with a header line, quotes a
    field only where it must, and gives a score in the fewest digits that read back as the same float32.

    Args:
        recommender, n, exclude_owned, block_bytes, threads: as for `score_batches`.
        path: where to; an existing file is replaced once the new one is complete.
        on_users: told after each block how many users are done so far.

    Returns:
        The number of rows written, without the header.

    Raises:
        OutputError: `check_output` refuses the path, or writing fails later.
        ConfigError, DataError: as `score_batches`; raised before a file is touched.
    """
    path = Path(path)
    check_output(path)
    blocks = scored_blocks(
        recommender, n, exclude_owned=exclude_owned, block_bytes=block_bytes, threads=threads
    )
    write = _write_csv if path.suffix.lower() == ".csv" else _write_parquet
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        return write(file, _groups(blocks, on_users))


def _groups(
    blocks: Iterable[tuple[int, pa.RecordBatch]], on_users: Callable[[int], None] | None
) -> Iterator[pa.Table]:
    """Gather batches into tables of `_GROUP_ROWS` rows or a little more; a row group a block would be tiny."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for done, batch in blocks:
        held.append(batch)
        rows += batch.num_rows
        if rows >= _GROUP_ROWS:
            yield pa.Table.from_batches(held, SCHEMA)
            held, rows = [], 0
        if on_users is not None:
            on_users(done)
    yield pa.Table.from_batches(held, SCHEMA)


def _write_parquet(file: BinaryIO, tables: Iterable[pa.Table]) -> int:
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table)
            rows += table.num_rows
    return rows


def _write_csv(file: BinaryIO, tables: Iterable[pa.Table]) -> int:
    from pyarrow import csv

    rows = 0
    file.write((",".join(SCHEMA.names) + "\n").encode())
    for table in tables:
        # Arrow puts either all text between quotes or none, and refuses the latter where it is ambiguous.
        special = any(
            pc.any(pc.match_substring_regex(table[name], '[",\r\n]')).as_py()
            for name in ("user_id", "item_id")
        )
        options = csv.WriteOptions(include_header=False, quoting_style="needed" if special else "none")
        csv.write_csv(table, file, options)
        rows += table.num_rows
    return rows
