"""The options that name the columns of a table of purchases."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.weighting import Weighting

_Function = TypeVar("_Function", bound=Callable[..., Any])

_COLUMNS = {
    "user": "The column of users.  [default: by its name]",
    "item": "The column of items.  [default: by its name]",
    "time": "The column of times, '' for none.  [default: by its name]",
    "quantity": "The column of quantities, '' for none.  [default: by its name]",
    "name": "The column of item names, '' for none.  [default: by its name]",
    "basket": "With --repeats: the column that numbers the orders.  [default: by its name, where there is no time]",
}


def weighting_options(function: _Function) -> _Function:
    """Add --half-life and --quantity-as-confidence; `read_weighting` takes them."""
    function = click.option(
        "--quantity-as-confidence",
        is_flag=True,
        help="Purchases weigh more in training the more of an item was bought: 1 + log(1 + quantity).",
    )(function)
    return click.option(
        "--half-life",
        metavar="DAYS",
        help="Purchases weigh half in training when they are so many days older.  [default: age does not matter]",
    )(function)


def read_weighting(options: dict[str, Any], base: Weighting | None = None) -> Weighting:
    """What purchases weigh; takes what `weighting_options` added out of `options`. ConfigError for no days.

    Args:
        base: what holds where an option is not given.
    """
    from recae.weighting import Weighting

    text, quantity = options.pop("half_life"), options.pop("quantity_as_confidence")
    days = None
    if text is not None:
        try:
            days = float(text)
        except ValueError as error:
            raise ConfigError(
                f"--half-life is a number of days above 0, such as 90, found '{text}': give one"
            ) from error
    asked = {"half_life": days, "quantity_as_confidence": quantity or None}
    given = {name: value for name, value in asked.items() if value is not None}
    return Weighting.of({**({} if base is None else base.as_dict()), **given})


def column_options(function: _Function) -> _Function:
    """Add --user-column and the others, as `user_column` and so on: what `recae.ingest.read_events` takes."""
    for role, text in reversed(_COLUMNS.items()):
        function = click.option(f"--{role}-column", metavar="NAME", help=text)(function)
    return function
