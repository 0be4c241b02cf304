"""The command line: commands, and what every error ends in: one sentence and an exit code."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from recae.cli.help import help_of, printed, usage_sentence
from recae.cli.logs import log_options
from recae.cli.output import message, silence, write
from recae.errors import RecaeError
from recae.signals import end_at_once

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# 128 and the number of the signal, as shells report it
_INTERRUPTED, _BROKEN_PIPE, _TERMINATED = 130, 141, 143


_NO_MEMORY = (
    "this needs more memory than there is; end other programs, raise the limit, or use a larger machine"
)


class _Terminated(BaseException):
    """SIGTERM arrived; raised in the main thread, so that temporary files are removed as for Ctrl-C."""


_HEADINGS = {
    "Start": {
        "demo": "Train a model on made-up purchases, and recommend.",
    },
    "Purchases": {
        "doctor": "Check purchases before a model is trained on them.",
    },
    "Models": {
        "train": "Train a model on a table of purchases.",
        "update": "Let a model learn from new purchases.",
        "tune": "Search the settings of a model that suit the purchases best.",
        "evaluate": "Compare models with tuned baselines on held-out purchases.",
        "refresh": "Replace a model by one that is not worse, every night.",
        "forget": "Let a model forget customers.",
        "items": "Give a model a table of products: names, prices and others.",
        "settings": "List the kinds of model, or the settings of one.",
    },
    "Recommendations": {
        "recommend": "Recommend items to one user, or for a basket.",
        "score": "Write recommendations for many users.",
        "serve": "Serve a model over HTTP: a JSON API and a page.",
    },
    "Insight": {
        "inspect": "Say what is in a model file.",
        "explain": "Say how much each owned item contributes to a score.",
        "similar": "Find items like an item, or users like a user.",
        "rules": "Find what is bought together, with intervals.",
        "anomalies": "Find users or purchases that the model cannot explain.",
        "embed": "Write the codes of all users, or the vectors of all items.",
        "map": "Draw a map of the items or users.",
    },
    "This machine": {
        "warmup": "Compile the loops before they are needed.",
        "completion": "Print a script that completes commands in a shell.",
    },
}
"""Heading → command → what `recae --help` says of it; its module is imported when it is asked for."""

_SHORT = {name: text for commands in _HEADINGS.values() for name, text in commands.items()}


class _Lazy(MutableMapping[str, click.Command]):
    """The commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._added: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._added:
            if name not in _SHORT:
                raise KeyError(name)
            module = import_module(f"recae.cli.{name}")
            command = getattr(module, f"{name}_command" if name == "map" else name)
            if not any("--log-format" in option.opts for option in command.params):
                command.params += log_options()
            self._added[name] = command
        return self._added[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*_SHORT, *self._added]))

    def __len__(self) -> int:
        return len(list(iter(self)))


class _Commands(click.Group):
    """The group of all commands, and the only place where an error becomes a line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command as the whole of a process."""
        # A process that ends looks for cycles in all that it has imported: a sixth of the time of `recae --help`.
        atexit.register(gc.freeze)
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of use, not of the alphabet

    def get_help(self, ctx: click.Context) -> str:
        return help_of(self, ctx)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return printed(super().get_help_option(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands, without importing one, and options."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(n, help=text) for n, text in _SHORT.items() if n.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, without importing it, and then the options."""
        widest = max(len(name) for name in _SHORT)
        for heading, commands in _HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{widest}}", text) for name, text in commands.items()])
        records = (parameter.get_help_record(ctx) for parameter in self.get_params(ctx))
        with formatter.section("Options"):
            formatter.write_dl([(f"{record[0]:<{widest}}", record[1]) for record in records if record])

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options before the command; what is wrong with them is a sentence, too."""
        try:
            return super().make_context(*args, **kwargs)
        except (click.UsageError, RecaeError) as error:
            if isinstance(error, NoArgsIsHelpError):
                raise
            from recae.cli.handler import listening

            with listening():
                said = usage_sentence(error) if isinstance(error, click.UsageError) else str(error)
                message(f"error: {said}")
            raise click.exceptions.Exit(error.exit_code) from error
        except BrokenPipeError as error:
            silence(sys.stdout, sys.stderr)
            raise click.exceptions.Exit(_BROKEN_PIPE) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it says, and how it ends, goes to stderr."""
        # while there is memory: where its library cannot be loaded, it prints a traceback of its own
        import hashlib  # noqa: F401  # which NumPy imports

        from recae.cli.handler import listening  # loads logging, which `recae --help` has no use for

        with listening(ctx):
            return self._run(ctx)

    def _run(self, ctx: click.Context) -> Any:
        if isinstance(
            sys.stdout, io.TextIOWrapper
        ):  # a name that the locale cannot write is no reason to stop
            sys.stdout.reconfigure(errors="backslashreplace")
        line: str | None = None
        refused: RecaeError | None = None
        try:
            with _termination_raises():
                _check_room()
                return super().invoke(ctx)
        except RecaeError as error:
            code, line = error.exit_code, f"error: {error}"
            refused = error
        except click.UsageError as error:
            code, line = error.exit_code, f"error: {usage_sentence(error)}"
        except KeyboardInterrupt as error:
            code, line = _INTERRUPTED, f"interrupted: {_left_by(error)}"
        except _Terminated as error:
            code, line = _TERMINATED, f"terminated: {_left_by(error)}"
        except BrokenPipeError:
            code = _BROKEN_PIPE
        except click.exceptions.Exit:
            raise
        except BaseException as error:
            code, line = RecaeError.exit_code, f"error: {_said(error)}"
        try:
            if line is not None:
                _say_last(line)
            if refused is not None:
                from recae.cli.handler import trace

                trace(refused)
        except BrokenPipeError:
            code = _BROKEN_PIPE
        if code == _BROKEN_PIPE:
            silence(sys.stdout, sys.stderr)
        raise click.exceptions.Exit(code)


_ROOM = 220 * 2**20
"""Bytes of address space that loading NumPy and Arrow takes, which every command but help needs. Where Python runs out
of it while it imports, it may go on for ever without an error, so that it must not come to that."""


def _check_room() -> None:
    """Raise MemoryError where the limits of this process leave too little for any command."""
    from recae.memory import limits_left

    left = limits_left()
    if left is not None and left < _ROOM:
        raise MemoryError


def _said(error: BaseException) -> str:
    """Return the sentence for an error that is none of recae's own; it is raised again where there is none."""
    try:
        from recae.cli.shortage import memory_sentence

        said = memory_sentence(error)
    except MemoryError:  # not even for that
        return _NO_MEMORY
    if said is None:
        raise error
    return said


def _say_last(line: str) -> None:
    """Say how a command has ended, if need be without memory for a log record."""
    try:
        message(line)
    except MemoryError:
        os.write(2, f"{line}\n".encode())


def _left_by(error: BaseException) -> str:
    """Return what an interrupted command has left, as it noted on the exception."""
    return "; ".join(getattr(error, "__notes__", [])) or "no partial file is left"


@contextlib.contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM raise `_Terminated` for a while; only the main thread of a process may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.getsignal(signal.SIGINT)
    if before is end_at_once:  # from now on there are temporary files
        signal.signal(signal.SIGINT, signal.default_int_handler)
    terminated = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminated)
        if before is end_at_once:
            signal.signal(signal.SIGINT, before)


def _print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("recae")
    except PackageNotFoundError:
        number = "(not installed: run from its folder)"
    write(f"recae {number}\n", sys.stdout)
    ctx.exit()


@click.group(cls=_Commands, commands=_Lazy(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def main() -> None:
    """Recommendations from purchases with autoencoders.

    \b
      recae train purchases.csv
      recae recommend --user 42
      recae COMMAND --help

    Results go to stdout, progress and messages to stderr. The exit code is 0 on success, 2 when something is
    wrong with what was given (one sentence on stderr says what), 3 where `recae refresh` finds a new model worse,
    130 after Ctrl-C, 141 when the reader of a pipe has gone.

    -v, -q and --log-format go with every command. Where stderr is no terminal, each message begins with the time.
    """


main.params += log_options(environment=True)
