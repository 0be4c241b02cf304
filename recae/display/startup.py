"""The first sign of life: a line on a terminal that says what is going on, until something else is shown."""

from __future__ import annotations

import shutil
import sys

from recae.display.surface import Surface
from recae.text import clean

_shown: list[StartingSurface] = []


def settle() -> None:
    """Remove the line, since something else is shown now."""
    for surface in _shown:
        surface.rest()


class StartingSurface(Surface):
    """Shows one line on stderr, which the first message, bar or result takes the place of."""

    def __init__(self, text: str) -> None:
        """Show the text at once: nothing is imported for it."""
        self._columns = shutil.get_terminal_size().columns
        self._write(f"{clean(text)[: self._columns - 3]} …")
        self.covers = True
        _shown.append(self)

    def print(self, text: str) -> None:
        """Show a line in the place of this one."""
        self.rest()
        self._write(f"{text}\n")

    def rest(self) -> None:
        """Remove the line."""
        if self.covers:
            self.covers = False
            self._write(
                f"\r{'':{self._columns - 1}}\r"
            )  # no escape sequence, which an old terminal would show

    def close(self) -> None:
        """Remove the line for good."""
        self.rest()
        _shown.remove(self)

    def _write(self, text: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
