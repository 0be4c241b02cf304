"""Where a call shows its progress: as asked for, else by what stderr is and whether this is a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from recae.display.surface import Surface

_surfaces: list[Surface] = []
"""Those that are open, the newest last: whoever prints on stderr prints above its bar."""

_quiet = False


def open_surface(shown: bool | None = None) -> Surface:
    """Return the surface of a call.

    Args:
        shown: True: show progress wherever this runs, in a pipe as lines on stderr; False: do not; None: show it in a
            notebook and on a terminal.
    """
    if shown is False or _quiet:
        return Surface()
    if in_notebook():
        from recae.display.notebook import NotebookSurface

        return NotebookSurface()
    from recae.display.terminal import LineSurface, TerminalSurface

    # a command that a notebook starts has a terminal in which no line can be replaced
    if is_terminal(sys.stderr) and "JPY_PARENT_PID" not in os.environ:
        return TerminalSurface()
    return LineSurface() if shown else Surface()


@contextmanager
def opened(surface: Surface) -> Iterator[Surface]:
    """Keep a surface among those that `live` knows, until the block ends and it is closed."""
    _surfaces.append(surface)
    try:
        with surface:
            yield surface
    finally:
        _surfaces.remove(surface)


@contextmanager
def starting(text: str) -> Iterator[None]:
    """Show on a terminal what is going on, until a message, a bar or a result is, or the block ends."""
    if _quiet or not is_terminal(sys.stderr):
        yield
        return
    from recae.display.startup import StartingSurface

    with opened(StartingSurface(text)):
        yield


def live() -> Surface | None:
    """Return the surface that covers the terminal at the moment; None where none does."""
    return next((surface for surface in reversed(_surfaces) if surface.covers), None)


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Let no call of the block show its progress by itself; the log has the lines."""
    global _quiet
    before, _quiet = _quiet, wanted
    try:
        yield
    finally:
        _quiet = before


def hush() -> None:
    """Let no call show its progress until the end of the `quiet` block that this is called in."""
    global _quiet
    _quiet = True


def in_notebook() -> bool:
    """Return whether results are shown as HTML: in Jupyter, VS Code or Colab, but not in IPython on a terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal; a closed one is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
