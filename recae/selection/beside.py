"""`Beside`: work that a second thread does while this one trains."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from recae.machine import blas_libraries, processors
from recae.signals import GIVEN_UP

Tell = Callable[[str], None]
"""Takes a message."""


class Beside:
    """Jobs that run one after the other in a second thread, with their messages in the order of a single one.

    Within the block the BLAS libraries use one thread each, so that no product depends on what runs beside it. Where
    there is one processor, or nothing to run beside, the jobs run at the end, in this thread.
    """

    def __init__(self, jobs: Sequence[Callable[[Tell], None]], tell: Tell, anything: bool) -> None:
        """Begin with the jobs, each of which is handed a function that takes its messages.

        Args:
            jobs: to run.
            tell: takes the messages, in the thread that waits for the jobs.
            anything: whether this thread has something to do meanwhile.
        """
        self._jobs, self._tell = jobs, tell
        self._apart = anything and bool(jobs) and processors() > 1
        self._told: list[str] = []
        self._error: BaseException | None = None
        self._given_up = self._finished = False
        self._limits = ExitStack()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the second thread."""
        self._limits.enter_context(blas_libraries().limit(limits=1))
        if self._apart:
            self._thread = threading.Thread(target=self._run, name=GIVEN_UP, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the second thread end after its current job, without waiting for it."""
        self._given_up = True
        self._limits.close()

    def finish(self) -> None:
        """Wait for the jobs, pass on their messages, and raise what one of them raised; only once."""
        if self._finished:
            return
        self._finished = True
        if self._thread is None:
            for job in self._jobs:
                job(self._tell)
            return
        while self._thread.is_alive():
            self._thread.join(0.2)  # in pieces, so that Ctrl-C is heard
        for text in self._told:
            self._tell(text)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        for job in self._jobs:
            if self._given_up:
                return
            try:
                job(self._told.append)
            except BaseException as error:  # raised again where the jobs are waited for
                self._error = error
                return
