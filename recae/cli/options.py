"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from recae.errors import OutputError

_Function = TypeVar("_Function", bound=Callable[..., Any])

DEFAULT_MODEL = "model.recae"


def output_path(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Return the path of a file to write; a `Path` itself loses the slash at the end that says "a folder"."""
    if not value or value.endswith(os.sep):
        raise OutputError(f"cannot write '{value}': it names no file; give the path of a file")
    return Path(value)


def model_option(function: _Function) -> _Function:
    """Add ``--model``, which falls back on $RECAE_MODEL and then on model.recae in the working folder."""
    return click.option(
        "--model",
        "model_path",
        metavar="PATH",
        type=click.Path(path_type=Path),
        envvar="RECAE_MODEL",
        default=DEFAULT_MODEL,
        help=f"The model file.  [default: $RECAE_MODEL, else {DEFAULT_MODEL}]",
    )(function)


def owned_option(function: _Function) -> _Function:
    """Add ``--exclude-owned/--include-owned``."""
    return click.option(
        "--exclude-owned/--include-owned",
        default=True,
        help="Leave out what the user or basket has already, or keep it in.  [default: --exclude-owned]",
    )(function)
