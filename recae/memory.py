"""Memory: how much this process may still take, by the machine, its container and its own limits."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def free_memory() -> int | None:
    """Return the bytes that this process may still take; None where nothing tells.

    It is the least of what the machine has, what the control group of a container leaves, and what the limits of the
    process leave (``ulimit -v`` and ``ulimit -d``).
    """
    limits = [left for left in (available(), control_group_left(), limits_left()) if left is not None]
    return min(limits) if limits else None


def available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the memory that Linux calls available; elsewhere the free or, failing that, all physical memory."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return None


def control_group_left(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that a container's control group, version 2 or 1, leaves; None without a limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = int((root / limit).read_text())
            now = int((root / used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if most < 2**60:  # version 1 writes a huge number for no limit
            return max(most - now + _reclaimable(root), 0)
    return None


def limits_left(statm: Path = Path("/proc/self/statm")) -> int | None:
    """Return the bytes of address space and of data that the limits of this process leave; None without a limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    except ImportError as error:  # it is there, and there is no room even for it
        raise MemoryError(str(error)) from error
    left = []
    for name, place in (("RLIMIT_AS", 0), ("RLIMIT_DATA", 5)):
        most = resource.getrlimit(getattr(resource, name))[0] if hasattr(resource, name) else -1
        if most in (resource.RLIM_INFINITY, -1):
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            left.append(max(most - int(statm.read_text().split()[place]) * resource.getpagesize(), 0))
    return min(left) if left else None


def _reclaimable(root: Path) -> int:
    """Return the bytes of the page cache, which counts as used and is given back when memory is short."""
    for name in ("memory.stat", "memory/memory.stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (root / name).read_text().splitlines():
                if line.startswith(("inactive_file ", "total_inactive_file ")):
                    return int(line.split()[1])
    return 0
