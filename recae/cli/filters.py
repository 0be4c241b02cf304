"""The options that say which purchases count."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.cli.score_options import item_ids

if TYPE_CHECKING:
    from recae.filters import Filters

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NAMES = ("since", "until", "min_user_purchases", "min_item_purchases", "exclude_items")


def filter_options(function: _Function) -> _Function:
    """Add --since and the others, each as the text, number or tuple of texts that `read_filters` takes."""
    for option in (
        click.option(
            "--exclude-items",
            metavar="ITEMS",
            multiple=True,
            help="Leave out these items: a file as for recae score, or ids separated by commas.  [repeatable]",
        ),
        click.option(
            "--min-item-purchases",
            type=int,
            metavar="N",
            help="Leave out items of fewer users, again and again with the users, until none is left out.",
        ),
        click.option(
            "--min-user-purchases",
            type=int,
            metavar="N",
            help="Leave out users of fewer items; repeat purchases of an item count once.",
        ),
        click.option(
            "--until",
            metavar="DATE",
            help="Leave out purchases from this moment on: 2011-12-01 leaves out that day, too.",
        ),
        click.option(
            "--since",
            metavar="DATE",
            help="Leave out purchases before this moment, such as 2010-12-01 or 2010-12-01T12:00; UTC unless it "
            "says otherwise.",
        ),
    ):
        function = option(function)
    return function


def read_filters(options: dict[str, Any], base: Filters | None = None) -> Filters:
    """Return the filters that were asked for; takes what `filter_options` added out of `options`.

    Args:
        base: what holds where an option is not given.

    Raises:
        ConfigError: a value is none, or two do not go together.
        SourceError, ColumnError: a file of ids cannot be used.
    """
    from recae.filters import Filters

    given = {name: options.pop(name) for name in _NAMES}
    given["exclude_items"] = item_ids("--exclude-items", given["exclude_items"])
    asked = {name: value for name, value in given.items() if value is not None}
    return Filters.of({**({} if base is None else base.as_dict()), **asked})


def files_of_filters(options: dict[str, Any]) -> list[str]:
    """Return the files that --exclude-items names, which no result may replace."""
    return [value for value in options["exclude_items"] if os.path.isfile(value)]  # noqa: PTH113  # never raises
