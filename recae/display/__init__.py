"""Where progress is shown: a bar on a terminal, a live cell in a notebook, lines in a pipe, or the log alone."""

from recae.display.place import in_notebook, is_terminal, live, open_surface, quiet, starting
from recae.display.startup import settle
from recae.display.surface import Surface

__all__ = ["Surface", "in_notebook", "is_terminal", "live", "open_surface", "quiet", "settle", "starting"]
