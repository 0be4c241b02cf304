"""Compiling of the loops: said where it begins, since the first run waits for it, and timed."""

from __future__ import annotations

import time

from recae.messages import say

SAID = "compiling the loops for this processor, which the first run waits for; later ones find them stored"


class Compiling:
    """What this process has compiled.

    Attributes:
        seconds: that it took until now; loops that were stored take none.
        loops: how many were compiled.
        announced: whether it was said that compiling began, or need not be.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.seconds = 0.0
        self.loops = 0
        self.announced = False
        self._began: list[float] = []
        self._listens = False

    def listen(self) -> None:
        """Follow what numba compiles in this process; called by the modules that have loops."""
        if self._listens:
            return
        from numba.core import event

        class Listener(event.Listener):
            def on_start(listener, found: event.Event) -> None:  # noqa: N805
                self.begin(found.data["dispatcher"].py_func.__module__)

            def on_end(listener, found: event.Event) -> None:  # noqa: N805
                self.end()

        self._listens = True
        event.register("numba:compile", Listener())  # type: ignore[no-untyped-call]

    def begin(self, module: str) -> None:
        """Note that a loop is being compiled, which may be part of one that is."""
        self._began.append(time.monotonic())
        if not self.announced and module.startswith("recae"):
            self.announced = True
            say(SAID)

    def end(self) -> None:
        """Note that it is compiled; the parts of a loop count with it."""
        began = self._began.pop()
        if not self._began:
            self.seconds += time.monotonic() - began
        self.loops += 1


COMPILING = Compiling()
"""That of this process."""
