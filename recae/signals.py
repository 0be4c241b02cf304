"""Signals at the edges of a process: before a command has begun and after it is done, they end it at once."""

from __future__ import annotations

import os
import signal
from types import FrameType


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process with the exit code that shells report for a signal: there is nothing to clean up."""
    os._exit(128 + number)


def guard() -> None:
    """Let SIGINT and SIGTERM end the process at once from now on, without a traceback; ignored ones stay ignored."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, end_at_once)
