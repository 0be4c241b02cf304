"""What this process has taken of the machine."""

from __future__ import annotations

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
