"""Messages: what recae says while it works, as records of the logger `recae`, which is silent unless asked.

The command line prints these records. In Python, `logging.basicConfig(level="INFO")` does, or any other handler.
A record carries two attributes beside those of `logging`: `figures`, what the text counts, by name, and `transient`,
which is true where it only says how far a job is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

LOGGER: Final = logging.getLogger("recae")
LOGGER.addHandler(logging.NullHandler())

_LEVELS: Final = {
    "error": logging.ERROR,
    "interrupted": logging.ERROR,
    "terminated": logging.ERROR,
    "problem": logging.WARNING,
    "warning": logging.WARNING,
}
"""First word of a text, before a colon → its level."""


def level_of(text: str) -> int:
    """Return the level of a message by its first word: "warning: …" is a warning, most are information."""
    return _LEVELS.get(text.partition(":")[0], logging.INFO)


def say(text: str, *, transient: bool = False, **figures: Any) -> None:
    """Log a message.

    Args:
        text: a sentence without a full stop; a first word such as "warning:" gives it its level.
        transient: whether it only says how far a job is, which a progress bar shows better.
        figures: figures of the text by name, as JSON values, for logs that programs read.
    """
    level = level_of(text)
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "%s", text, extra={"transient": transient, "figures": figures}, stacklevel=2)


def detail(text: str, **figures: Any) -> None:
    """Log what is of interest only where something is looked into; the arguments are those of `say`."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug("%s", text, extra={"transient": False, "figures": figures}, stacklevel=2)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log, as a detail, how long a block took, such as "reading took 1.25 s"."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    detail(f"{what} took {seconds:.2f} s", step=what, seconds=seconds)


def is_heard() -> bool:
    """Return whether a handler takes messages, so that nobody else has to show them."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return False
    logger: logging.Logger | None = LOGGER
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
