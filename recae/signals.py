"""Signals at the edges of a process: before a command has begun and after it is done, they end it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Final

GIVEN_UP: Final = "recae-beside"
"""Name of threads that may still work when their process ends, and whose work is wanted by nobody then."""


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process with the exit code that shells report for a signal: there is nothing to clean up."""
    os._exit(128 + number)


def guard() -> None:
    """Let SIGINT and SIGTERM end the process at once from now on, without a traceback; ignored ones stay ignored."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, end_at_once)


def leave_threads(code: int | str | None) -> None:
    """End the process with an exit code where such a thread still works; return where there is none.

    Python's own end would run beside it: what it does last iterates over dictionaries that the thread changes, which
    ends in a traceback behind the command's last line.
    """
    threading = sys.modules.get("threading")
    if threading is None or all(thread.name != GIVEN_UP for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))
