"""SIGINT and SIGTERM that wait for a moment at which training can stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """Lets SIGINT and SIGTERM wait until the block has ended; yields a function that says whether one is waiting.

    Whoever handles them otherwise is called at the end. A second signal is not held. Outside the main thread, which
    alone receives signals, nothing is held.
    """
    waiting: list[int] = []
    before: dict[int, Any] = {}

    def release() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    def hold(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        release()

    if threading.current_thread() is threading.main_thread():
        for kind in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(kind)
            if handler not in (signal.SIG_IGN, None):  # None: it is not Python's to take and give back
                before[kind] = handler
                signal.signal(kind, hold)
    try:
        yield lambda: bool(waiting)
    finally:
        release()
    for number in waiting:
        signal.raise_signal(number)
