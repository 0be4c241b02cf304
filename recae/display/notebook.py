"""Progress in a notebook: one cell output that is replaced while a call goes on; it needs no widgets."""

from __future__ import annotations

import time
from typing import Any

from recae.display.surface import Surface
from recae.html import folded, fragment, paragraph, progress_bar

_BETWEEN = 0.25  # seconds between two pictures


class NotebookSurface(Surface):
    """Shows a bar, its text, warnings below it, and the other messages folded away.

    The last text stays when the call is over, and so do the messages.
    """

    covers = False  # of a terminal

    def __init__(self) -> None:
        """Start without an output; the first text makes it."""
        self._handle: Any = None
        self._shown = 0.0
        self._bar: tuple[str, float, float | None] | None = None
        self._last = ""
        self._messages: list[str] = []
        self._warnings: list[str] = []

    def show(self, text: str, done: float = 0, total: float | None = None) -> None:
        """Show the bar, at most four times a second."""
        self._bar = text, done, total
        self._last = text
        if time.monotonic() - self._shown >= _BETWEEN:
            self._draw()

    def message(self, text: str) -> None:
        """Add a message; warnings stand out."""
        said = self._warnings if text.startswith(("warning:", "problem:", "error:")) else self._messages
        said.append(text)
        if time.monotonic() - self._shown >= _BETWEEN:
            self._draw()

    def rest(self) -> None:
        """Leave the text of the bar, without the bar."""
        self._bar = None

    def forget(self) -> None:
        """Leave nothing of the bar, not even its text."""
        self._bar, self._last = None, ""

    def close(self) -> None:
        """Show the last text and the messages, without a bar."""
        self._bar = None
        if self._last or self._messages or self._warnings or self._handle is not None:
            self._draw()

    def html(self) -> str:
        """Return what is shown at the moment."""
        parts = []
        if self._bar is not None:
            parts.append(progress_bar(*self._bar))
        elif self._last:
            parts.append(paragraph(self._last))
        parts += [paragraph(text, "warning") for text in self._warnings]
        if self._messages:
            count = len(self._messages)
            parts.append(folded(f"{count:,} message{'s' * (count != 1)}", self._messages))
        return fragment(*parts) if parts else ""

    def _draw(self) -> None:
        from IPython.display import display

        self._shown = time.monotonic()
        content = {"text/html": self.html(), "text/plain": self._last}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
