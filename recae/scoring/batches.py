"""Recommendations for every user of a model as a stream of Arrow record batches, never users × items at once.

Blocks of users are scored and ranked by a few threads at a time, each block by one of them (`best_items`). Ranking,
and the parts of scoring that are not matrix products, then use every processor too, which a single block whose matrix
product alone is parallel does not. All blocks in flight together keep within one bound of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.ranking import DEFAULT_BLOCK_BYTES, processors, rows_per_block
from recae.recommender import Recommender
from recae.scoring.block import best_items, numbers_for

SCHEMA: Final = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("rank", pa.int32()), ("score", pa.float32())]
)
"""Columns of the result: a row for each recommendation, by user in the model's order, then by rank from 1."""

# What one recommendation takes beside the scores, in float32 numbers: its rank, score, row numbers and both
# ids, in all the arrays that exist at one time. It bounds long lists over few items.
_NUMBERS_PER_RECOMMENDATION = 32
# A matrix product over fewer rows spends its time on rearranging the other factor, so that more threads with
# a block each would be slower than fewer threads whose matrix products use several processors.
_ROWS_WORTH_A_WORKER = 128


def score_batches(
    recommender: Recommender,
    n: int = 20,
    *,
    exclude_owned: bool | None = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    threads: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream the best items of every user of the model, a block of users at a time.

    The matrix products' thread count (BLAS) is set while blocks are computed and is as it was whenever a
    batch has been handed over.

    Args:
        recommender: a model with histories.
        n: how many items a user; a user with fewer items to rank gets fewer rows, without padding.
        exclude_owned: leave out the items of the user's history; by default unless the model `repeats`.
        block_bytes: bytes of scores and lists held at one time, over all threads (one user each at least).
        threads: most threads to use; by default the processors this process may run on.

    Returns:
        Record batches of `SCHEMA`: users in the model's order, each user's rows by rank from 1. A batch may
        be empty.

    Raises:
        ConfigError: ``n``, ``block_bytes`` or ``threads`` is less than 1.
        DataError: the model was saved without histories.
    """
    blocks = scored_blocks(
        recommender, n, exclude_owned=exclude_owned, block_bytes=block_bytes, threads=threads
    )
    return (batch for _, batch in blocks)


def scored_blocks(
    recommender: Recommender, n: int, *, exclude_owned: bool | None, block_bytes: int, threads: int | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Check the arguments now; then give, for each block, the users done so far and their recommendations."""
    if n < 1:
        raise ConfigError(f"n must be at least 1, but is {n}; ask for one item a user or more")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, but is {threads}; leave it out to use all processors")
    if recommender.users is None or recommender.histories is None:
        raise DataError(
            "this model was saved without histories, so that it has no users to score; "
            "use a model file that was saved with its histories"
        )
    length = min(n, max(1, recommender.model.n_items))  # no list is longer, and an absurd n allocates nothing
    numbers = numbers_for(recommender.model, length) + _NUMBERS_PER_RECOMMENDATION * length
    rows = rows_per_block(numbers, block_bytes)
    threads = threads or processors()
    workers = min(threads, max(1, rows // _ROWS_WORTH_A_WORKER))
    rows = max(1, min(rows, len(recommender.users)) // workers)
    excluded = recommender.excludes_owned(exclude_owned)
    return _run(
        recommender,
        recommender.users,
        recommender.histories,
        length,
        excluded,
        rows,
        workers,
        threads,
        block_bytes,
    )


def _run(
    recommender: Recommender,
    users: IdMap,
    histories: sp.csr_matrix,
    length: int,
    exclude_owned: bool,
    rows: int,
    workers: int,
    threads: int,
    block_bytes: int,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Score `workers` blocks of `rows` users at a time."""
    n_users = len(users)
    threads_each, block_bytes_each = max(1, threads // workers), max(1, block_bytes // workers)

    def block(start: int) -> pa.RecordBatch:
        history = histories[start : start + rows]
        ranked, values = best_items(
            recommender.model,
            history,
            length,
            exclude_owned=exclude_owned,
            threads=threads_each,
            block_bytes=block_bytes_each,
        )
        return _batch(users, recommender.items, start, ranked, values)

    blas = ThreadpoolController()
    with ThreadPoolExecutor(workers, thread_name_prefix="recae-score") as pool:
        for first in range(0, n_users, rows * workers):
            starts = range(first, min(first + rows * workers, n_users), rows)
            # The limit holds for the whole process, so it must not outlast the wait for these blocks.
            with blas.limit(limits=threads_each, user_api="blas"):
                batches = list(pool.map(block, starts))
            for start, batch in zip(starts, batches, strict=True):
                yield min(start + rows, n_users), batch


def _batch(
    users: IdMap, items: IdMap, start: int, ranked: NDArray[np.int32], values: NDArray[np.float32]
) -> pa.RecordBatch:
    """Turn the lists (B, k) of the users from row `start` into rows, leaving the padding out."""
    user, place = np.nonzero(ranked >= 0)  # by user, then by rank
    columns = [
        users.ids(user + start).cast(pa.string()),
        items.ids(ranked[user, place]).cast(pa.string()),
        pa.array((place + 1).astype(np.int32)),
        pa.array(values[user, place]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
