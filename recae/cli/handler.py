"""`Handler`: records of the logger `recae` as lines on stderr, and nowhere else.

On a terminal a line is the text alone, above the progress bar where there is one. Elsewhere (cron, a container, a file)
each line begins with the local time, unless stderr is the journal of systemd, which notes times itself.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import click

from recae.cli.logs import APPLY, ENVIRONMENT, FORMATS, chosen_in
from recae.cli.output import write
from recae.display.place import hush, is_terminal, live, quiet
from recae.messages import LOGGER
from recae.text import clean

COMMANDS: Final = ("$ ", "next: ")
"""What a message begins with that is a command to be copied."""


class Handler(logging.Handler):
    """Prints records on stderr, whatever that is at the moment.

    Attributes:
        form: one of `recae.cli.logs.FORMATS`.
        timed: whether lines of text begin with the time even on a terminal, as those of a server do.
    """

    def __init__(self) -> None:
        """Print information and worse, as text."""
        super().__init__()
        self.form = "text"
        self.timed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; that stderr is closed is for the command to know."""
        surface = live()
        if surface is not None and getattr(record, "transient", False):
            return
        lines = self.line(record)
        if surface is not None:
            surface.print(lines)
        else:
            write(f"{lines}\n", sys.stderr)

    def line(self, record: logging.LogRecord) -> str:
        """Return a record as text: one line, and those of a traceback where it has one."""
        if self.form == "json":
            return _json(record)
        text = clean(record.getMessage())
        if record.exc_info:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        stamped = self.form == "text" and (self.timed or not (is_terminal(sys.stderr) or _is_journal()))
        if stamped:
            return f"{_time(record, 'seconds')} {text}"
        return text if record.exc_info or not is_terminal(sys.stderr) else _wrapped(text)


def _wrapped(text: str) -> str:
    """Return a message as lines that fit a terminal and end between words; a command stays a line, to be copied."""
    import shutil
    import textwrap

    columns = shutil.get_terminal_size().columns
    if len(text) <= columns or text.startswith(COMMANDS):
        return text
    return textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)


def _time(record: logging.LogRecord, precision: str) -> str:
    """Return the local time of a record, with its distance from UTC."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec=precision)


def _json(record: logging.LogRecord) -> str:
    """Return a record as one line of JSON, in ASCII."""
    fields: dict[str, Any] = {
        "time": _time(record, "milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if figures := getattr(record, "figures", None):
        fields["figures"] = figures
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    import json  # takes a moment, which `recae --help` has no use for

    return json.dumps(fields, default=str)


def _is_journal() -> bool:
    """Return whether stderr is the journal of systemd, by what systemd says of it in the environment."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


HANDLER: Final = Handler()
"""The handler of all commands."""


@contextmanager
def listening(ctx: click.Context | None = None) -> Iterator[None]:
    """Print the records of the logger `recae` while a command runs; afterwards the logger is as it was.

    Args:
        ctx: of the whole command line, whose options before the command's name are read already; None: they cannot
            be read.
    """
    level, propagates = LOGGER.level, LOGGER.propagate
    HANDLER.form, HANDLER.timed = "text", False
    LOGGER.addHandler(HANDLER)
    LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO)
    try:
        with quiet(False):
            if ctx is not None:
                ctx.meta[APPLY] = apply
                apply(ctx)
            elif os.environ.get(ENVIRONMENT) in FORMATS:
                HANDLER.form = os.environ[ENVIRONMENT]
            yield
    finally:
        LOGGER.removeHandler(HANDLER)
        LOGGER.propagate = propagates
        LOGGER.setLevel(level)


def apply(ctx: click.Context) -> None:
    """Do what the options say that were read so far."""
    chosen = chosen_in(ctx)
    LOGGER.setLevel(chosen.get("level", logging.INFO))
    HANDLER.form = chosen.get("form", "text")
    if LOGGER.level > logging.INFO or HANDLER.form == "json":
        hush()


def trace(error: Exception) -> None:
    """Say, with -v, where an error comes from."""
    LOGGER.debug("raised here:", exc_info=error)


def log_server(requests: bool) -> None:
    """Print the log of the server, too, every line with its time.

    Args:
        requests: whether every request is logged; their paths hold the ids of users.
    """
    HANDLER.timed = True
    for name, level in (("uvicorn.error", logging.WARNING), ("uvicorn.access", logging.INFO)):
        logger = logging.getLogger(name)
        logger.handlers = [HANDLER] if requests or name == "uvicorn.error" else []
        logger.propagate = False
        logger.setLevel(level)
