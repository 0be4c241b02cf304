"""Progress on stderr: a bar by rich on a terminal, lines in a pipe."""

from __future__ import annotations

import sys
import time
from typing import Any

from recae.display.startup import settle
from recae.display.surface import Surface
from recae.messages import is_heard
from recae.text import clean

_BETWEEN = 0.1  # seconds between two pictures of the bar


class LineSurface(Surface):
    """Writes every message as a line on stderr, unless a log handler does."""

    def message(self, text: str) -> None:
        """Write a line."""
        if sys.stderr is not None and not is_heard():
            sys.stderr.write(f"{clean(text)}\n")
            sys.stderr.flush()

    def tick(self, text: str) -> None:
        """Write a line."""
        self.message(text)


class TerminalSurface(Surface):
    """Shows a bar below the messages."""

    def __init__(self) -> None:
        """Start without a bar; the first `show` makes it."""
        self._bar: Any = None
        self._task: Any = None
        self._shown = 0.0
        self._state: tuple[str, float, float | None] | None = None

    def show(self, text: str, done: float = 0, total: float | None = None) -> None:
        """Show the bar, at most ten times a second."""
        now = time.monotonic()
        if self._bar is None:
            self._begin()
        elif now - self._shown < _BETWEEN and done and done != total:
            return
        self._shown = now
        self._state = text, done, total
        self._bar.update(self._task, description=_escaped(text), completed=done, total=total)

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        settle()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
        self._task = self._bar.add_task("", total=None)
        self._bar.start()
        self.covers = True

    def message(self, text: str) -> None:
        """Print a line above the bar, unless a log handler does."""
        if not is_heard():
            self.print(text)

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)
        elif sys.stderr is not None:
            sys.stderr.write(f"{clean(text)}\n")
            sys.stderr.flush()

    def rest(self) -> None:
        """Remove the bar until it is shown again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self.covers = None, False

    def close(self) -> None:
        """Remove the bar."""
        self.rest()


def _escaped(text: str) -> str:
    """Return a text in which rich finds no markup: a kind or item named "[red]" keeps its name."""
    return clean(text).replace("[", r"\[")
