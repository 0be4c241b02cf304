"""Signals at the edges of a process: before a command has begun and after it is done, they end it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Final

_LITTLE: Final = 2**25  # bytes of address space, which the end of a process may need
GIVEN_UP: Final = "recae-beside"
"""Name of threads that may still work when their process ends; what they make is not needed then."""


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process with the exit code that shells report for a signal: there is nothing to clean up."""
    os._exit(128 + number)


def guard() -> None:
    """Let SIGINT and SIGTERM end the process at once from now on, without a traceback; ignored ones stay ignored."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, end_at_once)


def leave_early(code: int | str | None) -> None:
    """End the process with an exit code where Python's own end would disturb the command's last line; else return.

    Beside a thread of `GIVEN_UP` it iterates over dictionaries that the thread changes, which ends in a traceback.
    Without memory each finalizer fails with a line of its own, and threads of libraries abort.
    """
    threading = sys.modules.get("threading")
    given_up = threading and any(thread.name == GIVEN_UP for thread in threading.enumerate())
    try:
        from recae.memory import limits_left  # not before the guard, whose gap would grow

        left = limits_left()
    except (MemoryError, ImportError, OSError):  # as reading the module's file may fail
        left = 0
    if not given_up and (left is None or left > _LITTLE):
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))
