"""What a batch job will take, said before it begins: from the first block, computed for memory and the clock."""

from __future__ import annotations

import time
from dataclasses import dataclass

from recae.machine import peak_memory
from recae.scoring.file import GROUP_ROWS
from recae.scoring.work import Work

# What a row that is being written takes beside its text, in all the forms that exist at one time; measured, with
# a margin.
_BYTES_A_ROW = 400
_COPIES_OF_TEXT = 4
_FIRST = 64  # users for whom everything is loaded and compiled, before the clock runs


@dataclass(frozen=True)
class Preflight:
    """What a job is and will take.

    Attributes:
        users, items: how many are scored, and over how many.
        memory: the most bytes that the process is expected to hold, with the model.
        seconds: an estimate, of the computation alone.
    """

    users: int
    items: int
    memory: int
    seconds: float


def look_ahead(work: Work) -> Preflight:
    """Compute the first block, after a few of its users.

    It needs as much memory as any block, so that the most that this process has held until then, and what is being
    written, bound the whole job, however many users there are.
    """
    users = len(work.audience)
    rows = min(work.block_users, users)
    seconds = row_bytes = 0.0
    if users:
        work.batch(
            0, min(rows, _FIRST)
        )  # compiles, loads and prepares what the first call must, and no other
        started = time.perf_counter()
        batch = work.batch(0, rows)
        seconds = (time.perf_counter() - started) * users / rows
        row_bytes = batch.nbytes / max(1, batch.num_rows)
    gathered = min(
        GROUP_ROWS + rows * work.n, users * work.n
    )  # a group is full with a block, which is never cut
    written = (_BYTES_A_ROW + _COPIES_OF_TEXT * row_bytes) * gathered
    return Preflight(users, len(work.recommender.items), peak_memory() + int(written), seconds)
