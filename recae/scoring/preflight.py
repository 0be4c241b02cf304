"""What a batch job will take, said before it begins: from the first block, computed once for the clock."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

from recae.scoring.file import GROUP_ROWS
from recae.scoring.work import Work

# Arrow's rows, their concatenation and the encoded pages are there at one time
_COPIES_WRITTEN = 4


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
    """Compute the first block for the clock.

    It needs as much memory as any block, so that the most that this process has held until then, and what is being
    written, bound the whole job, however many users there are.
    """
    users = len(work.audience)
    rows = min(work.block_users, users)
    seconds = row_bytes = 0.0
    if users:
        work.batch(0, 1)  # compiles and loads what the first call must, and no other
        started = time.perf_counter()
        batch = work.batch(0, rows)
        seconds = (time.perf_counter() - started) * users / rows
        row_bytes = batch.nbytes / max(1, batch.num_rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    written = _COPIES_WRITTEN * row_bytes * max(GROUP_ROWS, rows * work.n)
    return Preflight(users, len(work.recommender.items), peak + int(written), seconds)
