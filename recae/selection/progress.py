"""`Progress`: callbacks that follow a long call, and what decides where the progress is shown without them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from recae.display import Surface, open_surface
from recae.display.place import opened
from recae.errors import ConfigError
from recae.messages import say

if TYPE_CHECKING:
    from recae.reading import ReadReport
    from recae.selection.compare import Told
    from recae.selection.space import TunedTrial
    from recae.training.checkpoint import Epoch

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Progress:
    """Callbacks that follow `train`, `tune`, `evaluate` or `score`; each does nothing by default.

    They are called from one thread at a time, between two steps of the work; what one of them raises ends the call.

    Attributes:
        on_message: is told in words what is going on.
        on_report: is told what reading a table found and dropped.
        on_start: is told the number of epochs and of users of a training that begins; there may be several.
        on_users: is told how many users of the epoch are done.
        on_epoch: is told what an epoch did, such as its loss.
        on_trial: is told a trial of a search that ended, the best so far (None before there is one), and how many
            trials there may be.
        on_model: is told the events of a model in an evaluation.
        on_count: is told what is being counted, such as "scoring users", how many are done, and of how many.
    """

    on_message: Callable[[str], None] = lambda text: None
    on_report: Callable[[ReadReport], None] = lambda report: None
    on_start: Callable[[int, int], None] = lambda epochs, users: None
    on_users: Callable[[int], None] = lambda done: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_trial: Callable[[TunedTrial, TunedTrial | None, int], None] = lambda ended, best, trials: None
    on_model: Callable[[Told], None] = lambda told: None
    on_count: Callable[[str, int, int], None] = lambda what, done, total: None

    def beside(self, other: Progress) -> Progress:
        """Return callbacks that call these and then those of another one."""
        return Progress(
            **{f.name: _both(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        )


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call


class Display:
    """Shows a call on a surface; what it says goes to the log, too.

    Args:
        surface: where it shows itself.
    """

    def __init__(self, surface: Surface) -> None:
        """Show nothing yet."""
        self.surface = surface

    def say(self, text: str, **figures: Any) -> None:
        """Say something that stays."""
        say(text, **figures)
        self.surface.message(text)

    def tick(self, text: str, **figures: Any) -> None:
        """Say how far the job is, where no bar shows it."""
        say(text, transient=True, **figures)
        self.surface.tick(text)

    def report(self, report: ReadReport) -> None:
        """Say what reading found, line by line."""
        for line in report.lines():
            self.say(line)

    def callbacks(self) -> Progress:
        """Return what the display listens by."""
        return Progress(on_message=self.say, on_report=self.report)


@contextmanager
def following(progress: Progress | bool | None, display: Callable[[Surface], Display]) -> Iterator[Progress]:
    """Open a display for a call, and return the callbacks that tell it and, where there are some, the caller's.

    Args:
        progress: the caller's callbacks; True: show progress; False: do not; None: in a notebook and on a terminal.
        display: of the call.

    Raises:
        ConfigError: it is none of these.
    """
    if not isinstance(progress, Progress | bool | None):
        raise ConfigError(
            f"progress is True, False, None or a recae.Progress, found {type(progress).__name__}: give one of them"
        )
    own = progress if isinstance(progress, Progress) else None
    shown = False if isinstance(progress, Progress) else progress
    with opened(open_surface(shown)) as surface:
        callbacks = display(surface).callbacks()
        yield callbacks if own is None else callbacks.beside(own)


def followed(
    display: Callable[[Surface], Display],
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Let a function with an argument `progress` be called with callbacks, whatever its caller gave."""

    def decorate(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        @functools.wraps(function)
        def call(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
            with following(kwargs.get("progress"), display) as callbacks:  # type: ignore[arg-type]
                kwargs["progress"] = callbacks
                return function(*args, **kwargs)

        return call

    return decorate


def told_by(progress: Progress | bool | None) -> Progress:
    """Return the callbacks of a function that is `followed`."""
    return progress if isinstance(progress, Progress) else Progress()
