"""What a batch job computes: lists for users in blocks of a fixed grid, as Arrow record batches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.ranking import rows_per_block
from recae.recommender import Recommender
from recae.scoring.audience import Audience
from recae.scoring.block import best_items, numbers_for
from recae.scoring.schema import SCHEMA

# What one recommendation takes beside the scores, in float32 numbers: its rank, score, row numbers and both
# ids, in all the arrays that exist at one time. It bounds long lists over few items.
_NUMBERS_PER_RECOMMENDATION = 32
# Scores of a block at most, though they need not be in memory at one time: it is done in seconds, so that progress
# shows, a worker that dies loses little, and what a job takes is known soon.
_SCORES = 2**31


@dataclass(frozen=True, eq=False)
class Work:
    """Lists to make; `make_work` checks and completes what it is made of.

    Attributes:
        recommender: whose model scores.
        audience: for whom.
        n: items a user at most, never more than there are.
        exclude_owned: leave out the items of each history.
        barred: bool of shape (items,), items that nobody gets; None for none.
        block_users: users scored together. The last bits of a score depend on how many rows a matrix product has, so
            that this belongs to what makes two runs equal, and neither threads nor free memory decide about it.
        threads: most threads of a block; None for as many as this process has processors. They change no bit.
    """

    recommender: Recommender
    audience: Audience
    n: int
    exclude_owned: bool
    barred: NDArray[np.bool_] | None
    block_users: int
    threads: int | None = None

    def batch(self, start: int, stop: int) -> pa.RecordBatch:
        """Return the lists of the users from ``start`` to before ``stop`` as one block; a batch of `SCHEMA`."""
        ids, histories = self.audience.part(start, stop)
        ranked, scores = best_items(
            self.recommender.model,
            histories,
            self.n,
            exclude_owned=self.exclude_owned,
            barred=self.barred,
            threads=self.threads,
        )
        user, place = np.nonzero(ranked >= 0)  # by user, then by rank; the padding is left out
        columns = [
            ids.take(pa.array(user)).cast(pa.string()),
            self.recommender.items.ids(ranked[user, place]).cast(pa.string()),
            pa.array((place + 1).astype(np.int32)),
            pa.array(scores[user, place]),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield, block by block, the number of users done so far and their lists.

        One block is made ahead, while the last one is written: two are in memory at a time.

        Args:
            start, stop: the users from ``start`` to before ``stop``; by default all.
        """
        end = len(self.audience) if stop is None else stop
        ahead: tuple[int, Future[pa.RecordBatch]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="recae-score") as pool:
            for at in range(start, end, self.block_users):
                done = min(at + self.block_users, end)
                following = (done, pool.submit(self.batch, at, done))
                if ahead is not None:
                    yield ahead[0], ahead[1].result()
                ahead = following
            if ahead is not None:
                yield ahead[0], ahead[1].result()


def make_work(
    recommender: Recommender,
    audience: Audience,
    n: int,
    *,
    exclude_owned: bool | None = None,
    barred: NDArray[np.bool_] | None = None,
) -> Work:
    """Return what is to be computed.

    Args:
        n: items a user, at least 1.
        exclude_owned: leave out the items of each history; by default unless the model `repeats`.
        barred: bool of shape (items,), items that nobody gets.

    Raises:
        ConfigError: ``n`` is less than 1.
    """
    if n < 1:
        raise ConfigError(f"n must be at least 1, but is {n}; ask for one item a user or more")
    n_items = max(1, recommender.model.n_items)
    length = min(n, n_items)  # no list is longer, and an absurd n allocates nothing
    numbers = numbers_for(recommender.model, length) + _NUMBERS_PER_RECOMMENDATION * length
    rows = max(1, min(rows_per_block(numbers), _SCORES // n_items))
    return Work(recommender, audience, length, recommender.excludes_owned(exclude_owned), barred, rows)
