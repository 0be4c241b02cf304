"""The argument PURCHASES and the options that go with it: what to read, and what no result may replace."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from recae.cli.options import output_path
from recae.cli.output import message
from recae.errors import OutputError

_Function = TypeVar("_Function", bound=Callable[..., Any])


def source_argument(function: _Function) -> _Function:
    """Add PURCHASES as `source`, a text, and --query and --table: what `recae.ingest.read_events` takes."""
    for name, metavar, text in (
        ("--table", "NAME", "The table or view of a database to read, such as purchases or shop.purchases."),
        ("--query", "SQL", "A SELECT to read from a database instead of a table."),
    ):
        function = click.option(name, metavar=metavar, help=text)(function)
    return click.argument("source", metavar="PURCHASES", callback=_checked)(function)


def reading_options(function: _Function) -> _Function:
    """Add --strict and --rejects, as `strict` and `rejects` (a path or None): what `recae.ingest.read_events` takes."""
    function = click.option(
        "--rejects",
        metavar="PATH",
        callback=_rejects,
        help="Keep every dropped row, with its number and the reason: .csv, .parquet or .pq.",
    )(function)
    return click.option(
        "--strict",
        is_flag=True,
        help="Refuse purchases of which a row is dropped or a value is in doubt.",
    )(function)


def check_outputs(sources: Sequence[str], paths: Mapping[str, Path | None]) -> None:
    """Raise OutputError, before any work, for what cannot be written and for two results in one file.

    Args:
        sources: what is read, which no result may replace.
        paths: option to where it writes; None where it is not given.
    """
    seen: dict[Path, str] = {}
    for option, path in paths.items():
        if path is None:
            continue
        for source in sources:
            check_not_read(path, source)
        if other := seen.get(path.resolve()):
            raise OutputError(f"{other} and {option} are both '{path}': give each a path of its own")
        seen[path.resolve()] = option


def check_not_read(path: Path, source: str) -> None:
    """Raise OutputError where a result would replace a file that is read, and as `recae.files.check_writable`."""
    from recae.files import check_writable
    from recae.sources import local_files

    check_writable(path)
    if path.exists():
        for file in filter(os.path.exists, local_files(source)):  # which, unlike Path's, never raises
            if path.samefile(file):
                check_writable(path, file)


def _rejects(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Return the path of a table that can be written."""
    if value is None:
        return None
    from recae.tables import check_output

    path = output_path(ctx, parameter, value)
    check_output(path)
    return path


def warn_of_password(text: str) -> None:
    """Warn where a password stands on the command line."""
    from recae.sources import shows_password

    if shows_password(text):
        message(
            "everybody on this machine can see the password in the command line; put the URL into an environment "
            "variable and give env:NAME, or use PGPASSWORD or ~/.pgpass for PostgreSQL"
        )


def _checked(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    warn_of_password(value)
    return value
