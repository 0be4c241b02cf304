"""What this process has taken of the machine, and which of several it is."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    # Linux counts what the starting process held into ru_maxrss, but not here
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    unit = 1 if sys.platform == "darwin" else 1024
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def launched() -> tuple[int, int] | None:
    """(number of this process, how many there are) where torchrun has started several; None for one by itself."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    rank, size, *address = (os.environ.get(name, "") for name in names)
    if not (rank.isdecimal() and size.isdecimal() and all(address)) or int(size) < 2:
        return None
    return int(rank), int(size)


def restarts() -> int:
    """How often torchrun has started this process again, after one of those beside it had failed."""
    times = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    return int(times) if times.isdecimal() and launched() is not None else 0
