"""The process on its machine: peak memory, threads of BLAS, and its number among those that torchrun started."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    # Linux counts what the starting process held into ru_maxrss, but not here
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    unit = 1 if sys.platform == "darwin" else 1024
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def blas_libraries() -> ThreadpoolController:
    """Return the BLAS libraries of this process, of which `limit` bounds the threads for a while.

    OpenMP is not among them. A limit gives back the counts of every library that it knows, and OpenMP counts for each
    thread of the process: where torch sets a thread's count for the first time below the limit, that would be undone.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def launched() -> tuple[int, int] | None:
    """Return (number of this process, how many there are) where torchrun has started several; None otherwise."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    rank, size, *address = (os.environ.get(name, "") for name in names)
    if not (rank.isdecimal() and size.isdecimal() and all(address)) or int(size) < 2:
        return None
    return int(rank), int(size)


def restarts() -> int:
    """Return how often torchrun has restarted this process, after another one had failed."""
    times = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    return int(times) if times.isdecimal() and launched() is not None else 0
