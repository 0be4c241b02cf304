"""Recommendations for every user of a model, written to one Parquet or CSV file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from recae.ranking import DEFAULT_BLOCK_BYTES
from recae.recommender import Recommender
from recae.scoring.batches import SCHEMA, scored_blocks
from recae.tables import ENDINGS, check_output, write_table

__all__ = ["ENDINGS", "check_output", "write_scores"]

# Rows written together: a Parquet row group of a common size, and some ten megabytes.
_GROUP_ROWS = 128 * 1024


def write_scores(
    recommender: Recommender,
    path: Path | str,
    n: int = 20,
    *,
    exclude_owned: bool | None = None,
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
    check_output(path)
    blocks = scored_blocks(
        recommender, n, exclude_owned=exclude_owned, block_bytes=block_bytes, threads=threads
    )
    return write_table(path, SCHEMA, _told(blocks, on_users), _GROUP_ROWS)


def _told(
    blocks: Iterable[tuple[int, pa.RecordBatch]], on_users: Callable[[int], None] | None
) -> Iterator[pa.RecordBatch]:
    """Pass the batches on; tell of the users done once what came of them has been taken."""
    for done, batch in blocks:
        yield batch
        if on_users is not None:
            on_users(done)
