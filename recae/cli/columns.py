"""The options that name the columns of a table of purchases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])

_COLUMNS = {
    "user": "The column of users.  [default: by its name]",
    "item": "The column of items.  [default: by its name]",
    "time": "The column of times, '' for none.  [default: by its name]",
    "quantity": "The column of quantities, '' for none.  [default: by its name]",
    "name": "The column of item names, '' for none.  [default: by its name]",
    "basket": "With --repeats: the column that numbers the orders.  [default: by its name, where there is no time]",
}


def column_options(function: _Function) -> _Function:
    """Add --user-column and the others, as `user_column` and so on: what `recae.ingest.read_events` takes."""
    for role, text in reversed(_COLUMNS.items()):
        function = click.option(f"--{role}-column", metavar="NAME", help=text)(function)
    return function
