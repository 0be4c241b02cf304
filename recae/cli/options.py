"""Options that several commands share."""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from recae.errors import ConfigError, OutputError

_Function = TypeVar("_Function", bound=Callable[..., Any])

DEFAULT_MODEL = "model.recae"


def output_path(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Return the path of a file to write; a `Path` itself loses the slash at the end that says "a folder"."""
    if not value or value.endswith(os.sep):
        raise OutputError(f"cannot write '{value}': it names no file; give the path of a file")
    return Path(value)


def read_basket(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[str] | None:
    """Return the ids in the values of --items, in their order; None without any. Empty fields stand for nothing.

    Raises:
        ConfigError: a quotation mark is not closed, or is followed by something else than a comma.
    """
    items: list[str] = []
    for text in texts:
        try:
            for fields in csv.reader(io.StringIO(text, newline=""), strict=True):
                items += filter(None, fields)
        except csv.Error as error:
            raise ConfigError(
                f"--items {text!r:.80} cannot be read as CSV ({error}); close every quotation mark that an id "
                "begins with, and double those inside it"
            ) from error
    return items if texts else None


def basket_option(function: _Function) -> _Function:
    """Add ``--items``: a basket, as a list of ids, or None where it is not given."""
    return click.option(
        "--items",
        metavar="ID,ID,...",
        multiple=True,
        callback=read_basket,
        help="A basket instead of a user: item ids separated by commas, without spaces.  [repeatable]",
    )(function)


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
    """Add ``--exclude-owned/--include-owned``; None where neither is given, since the model decides then."""
    return click.option(
        "--exclude-owned/--include-owned",
        default=None,
        help="Leave out what the user or basket has already, or keep it in.  "
        "[default: --exclude-owned, unless the model was trained with --repeats]",
    )(function)
