"""The command line: parse, check, call, print; one sentence and an exit code for whatever goes wrong."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from recae.cli.anomalies import anomalies
from recae.cli.doctor import doctor
from recae.cli.embed import embed
from recae.cli.evaluate import evaluate
from recae.cli.explain import explain
from recae.cli.inspect import inspect
from recae.cli.map import map_command
from recae.cli.output import message, silence
from recae.cli.recommend import recommend
from recae.cli.score import score
from recae.cli.serve import serve
from recae.cli.settings import settings
from recae.cli.similar import similar
from recae.cli.train import train
from recae.cli.tune import tune
from recae.errors import RecaeError

# 128 and the number of the signal, as shells report it
_INTERRUPTED, _BROKEN_PIPE, _TERMINATED = 130, 141, 143


class _Terminated(BaseException):
    """SIGTERM arrived; raised in the main thread, so that temporary files are removed as for Ctrl-C."""


class _Commands(click.Group):
    """The group of all commands, and the only place where an error becomes a line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of use, not of the alphabet

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(
            sys.stdout, io.TextIOWrapper
        ):  # a name that the locale cannot write is no reason to stop
            sys.stdout.reconfigure(errors="backslashreplace")
        line = None
        try:
            with _termination_raises():
                return super().invoke(ctx)
        except RecaeError as error:
            code, line = error.exit_code, f"error: {error}"
        except KeyboardInterrupt as error:
            code, line = _INTERRUPTED, f"interrupted: {_left_by(error)}"
        except _Terminated as error:
            code, line = _TERMINATED, f"terminated: {_left_by(error)}"
        except BrokenPipeError:
            code = _BROKEN_PIPE
        try:
            if line is not None:
                message(line)
        except BrokenPipeError:
            code = _BROKEN_PIPE
        if code == _BROKEN_PIPE:
            silence(sys.stdout, sys.stderr)
        raise click.exceptions.Exit(code)


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

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("recae")
    except PackageNotFoundError:
        number = "(not installed: run from its folder)"
    click.echo(f"recae {number}")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
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

    Results go to stdout, progress and messages to stderr. The exit code is 0 on success, 2 when something is
    wrong with what was given (one sentence on stderr says what), 130 after Ctrl-C, 141 when the reader of a
    pipe has gone.
    """


main.add_command(doctor)
main.add_command(train)
main.add_command(tune)
main.add_command(evaluate)
main.add_command(settings)
main.add_command(recommend)
main.add_command(score)
main.add_command(inspect)
main.add_command(explain)
main.add_command(similar)
main.add_command(embed)
main.add_command(serve)
main.add_command(map_command)
main.add_command(anomalies)
