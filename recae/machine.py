"""The process on its machine: versions, peak memory, threads of BLAS, and its number among those of torchrun."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@cache
def installed(distribution: str) -> str | None:
    """Return the version of a distribution that is installed; None where it is not."""
    from importlib.metadata import (  # a sixth of what `import recae.machine` may take
        PackageNotFoundError,
        version,
    )

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of recae and of what decides about a model's bits; null for what is not installed."""
    return {name: installed(name) for name in ("recae", "numpy", "scipy", "numba", "torch")}


def user_cache() -> Path | None:
    """Return the folder of what recae stores to be faster: $RECAE_CACHE, else `recae` in the user's folder of caches.

    Returns:
        The folder, which may not be there yet; None for a user who has no home.
    """
    asked, caches = os.environ.get("RECAE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if asked:
        return Path(asked).absolute()
    if caches:
        return Path(caches).absolute() / "recae"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "recae"
    local = os.environ.get("LOCALAPPDATA")
    return (Path(local) if local and sys.platform == "win32" else home / ".cache") / "recae"


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    # Linux counts what the starting process held into ru_maxrss, but not here
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    if found:
        return found[0]
    try:
        import resource
    except ImportError:  # Windows
        return _peak_working_set()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak_working_set() -> int:
    """Return what Windows calls the peak working set of this process, in bytes; 0 where it does not tell."""
    import ctypes

    library: Any = getattr(ctypes, "windll", None)
    if library is None:
        return 0
    # PROCESS_MEMORY_COUNTERS: two 32-bit words, then words of a pointer's size, of which the first is the peak
    counters = (ctypes.c_size_t * 10)()
    library.kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(library.kernel32.GetCurrentProcess())
    known = library.kernel32.K32GetProcessMemoryInfo(process, ctypes.byref(counters), ctypes.sizeof(counters))
    # the two leading words of 32 bits take one word of 64 bits, or two of 32
    return int(counters[1 if ctypes.sizeof(ctypes.c_size_t) == 8 else 2]) if known else 0


def processors() -> int:
    """Return the processors this process may use; a container or taskset may grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas_libraries() -> ThreadpoolController:
    """Return the BLAS libraries of this process, of which `limit` bounds the threads for a while.

    OpenMP is not among them. A limit gives back the counts of every library that it knows, and OpenMP counts for each
    thread of the process: where torch sets a thread's count for the first time below the limit, that would be undone.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_blas_lock = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit products of BLAS to one thread, in the whole process.

    Where another thread has set the limit already, this does nothing: two that restore what they found, at overlapping
    times, would leave the limit for good.
    """
    if not _blas_lock.acquire(blocking=False):
        yield
        return
    try:
        with blas_libraries().limit(limits=1):
            yield
    finally:
        _blas_lock.release()


@cache
def _blas_of_numpy() -> ThreadpoolController:
    return blas_libraries()


def blas_threads() -> int:
    """Return the threads that BLAS takes for a large product at this time; the processors where it does not tell."""
    libraries = _blas_of_numpy().lib_controllers
    return min((library.num_threads for library in libraries), default=processors())


@contextmanager
def without_widget_warning() -> Iterator[None]:
    """Import a library without tqdm's warning, in a notebook, that widgets are missing, which recae does not use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


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
