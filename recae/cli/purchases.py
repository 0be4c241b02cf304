"""PURCHASES and the options that say how to read them, shared by the commands that read a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from recae.cli.help import under
from recae.cli.options import output_path, split
from recae.cli.output import message
from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.filters import Filters
    from recae.insight.items import ItemSource
    from recae.reading import ReadOptions

_Function = TypeVar("_Function", bound=Callable[..., Any])

_FOUND: Final = "[default: by its name and values]"
_COLUMNS: Final = {
    "user": f"The column of users.  {_FOUND}",
    "item": f"The column of items.  {_FOUND}",
    "time": f"The column of times, '' for none.  {_FOUND}",
    "quantity": f"The column of quantities, '' for none.  {_FOUND}",
    "name": f"The column of item names, '' for none.  {_FOUND}",
    "basket": "With --repeats: the column that numbers the orders.  [default: by its name, where there is no time]",
    "rating": f"The column of ratings, for --min-rating, '' for none.  {_FOUND}",
    "event": f"The column that says what was done, such as view or purchase, '' for none.  {_FOUND}",
    "status": f"The column that says what became of the order, '' for none.  {_FOUND}",
    "confidence": "A column that says how much each row counts in training.  [default: all alike]",
}

_SOURCE: Final = (
    ("--query", "SQL", "A SELECT over a database or over files, such as \"select * from 'orders.csv' join "
     "'lines.csv' using (order_id)\", instead of a table."),
    ("--table", "NAME", "The table of a database, or the sheet of a workbook, to read: purchases, shop.purchases."),
)  # fmt: skip

ROWS: Final = "Rows that count"

_COUNTING: Final = (
    ("--where", "SQL", "Count only rows that meet this condition, such as \"event = 'transaction' and price > 0\"; "
     "true: all rows."),
    ("--min-rating", "X", "Count only rows with this rating or a higher one."),
    ("--event-weights", "EVENT=X,…", "How much each event counts in training, such as view=.1,cart=.5,transaction=1; "
     "others do not."),
)  # fmt: skip

_ITEMS_COLUMNS: Final = (
    "With --items: columns whose names do not tell, such as price=net,category=main+sub; id, name, category, brand, "
    "price, available, image, link or text."
)

_FORM: Final = (
    ("--columns", "NAME,…", "What the columns hold, in their order, where there is no header: user, item, time, "
     "quantity, name, rating, event, or - for nothing."),
    ("--delimiter", "TEXT", "What stands between the fields of a line, such as ';' or '\\t'.  [default: found]"),
    ("--encoding", "NAME", "Encoding of text files, such as cp1252.  [default: found]"),
    ("--layout", "NAME", "rows, baskets (a basket a line or cell), lists (a user and its items a line) or matrix (a "
     "column an item).  [default: found]"),
    ("--orders", "TABLE", "A table of orders that says who bought, joined by the column that both share."),
    ("--items", "TABLE", "A table of items: names, categories, prices, pictures and others; stored with a model."),
    ("--items-columns", "WHAT=NAME,…", _ITEMS_COLUMNS),
    ("--memory-limit", "SIZE", "Memory that reading may take, such as 2GB; the rest goes to $TMPDIR.  [default: half "
     "of what is free]"),
)  # fmt: skip


def source_argument(function: _Function) -> _Function:
    """Add PURCHASES as `source`, a text, and --query and --table."""
    return _source(function, click.argument("source", metavar="PURCHASES", callback=_checked))


def optional_source_argument(function: _Function) -> _Function:
    """Add the same where PURCHASES need not be given; `source` is None then."""
    return _source(
        function, click.argument("source", metavar="[PURCHASES]", required=False, callback=_checked)
    )


def _source(function: _Function, argument: Callable[[Any], Any]) -> _Function:
    function = under("Source", *(click.option(name, metavar=m, help=text) for name, m, text in _SOURCE))(
        function
    )
    found: _Function = argument(function)
    return found


def column_options(function: _Function) -> _Function:
    """Add --user-column and the others, and what says which rows count and how the table is laid out."""
    header = click.option(
        "--header/--no-header",
        default=None,
        help="Whether the first line names the columns.  [default: told by the values]",
    )
    for heading, options in (
        ("Format of the table", [header, *(click.option(n, metavar=m, help=text) for n, m, text in _FORM)]),
        (ROWS, [click.option(n, metavar=m, help=text) for n, m, text in _COUNTING]),
        (
            "Columns",
            [click.option(f"--{n}-column", metavar="NAME", help=text) for n, text in _COLUMNS.items()],
        ),
    ):
        function = under(heading, *options)(function)
    return function


def inputs_option(function: _Function) -> _Function:
    """Add --inputs."""
    return under(
        ROWS,
        click.option(
            "--inputs",
            metavar="EVENT,…",
            help="Other events than purchases to learn from, too, such as cart,view, where they help; with the "
            "default blend or --kind event-linear.",
        ),
    )(function)


def refused_inputs(function: _Function) -> _Function:
    """Add --inputs out of sight, for commands that read purchases alone, so that they can say so and what to do."""
    return under(
        ROWS,
        click.option(
            "--inputs", metavar="EVENT,…", hidden=True, help="Refused: `recae train` takes other events."
        ),
    )(function)


def reading_options(function: _Function) -> _Function:
    """Add --strict, --rejects and --bad-lines."""
    return under(
        ROWS,
        click.option(
            "--strict",
            is_flag=True,
            help="Refuse the table if a row would be dropped or a value is ambiguous.",
        ),
        click.option(
            "--rejects",
            metavar="PATH",
            callback=_rejects,
            help="Keep every dropped row and skipped line, with its number and the reason: .csv, .parquet or .pq.",
        ),
        click.option(
            "--bad-lines",
            type=click.Choice(["stop", "skip"]),
            default="stop",
            show_default=True,
            help="Stop at a line that cannot be read, or skip and count it.",
        ),
    )(function)


_NAMES: Final = (
    *(f"{role}_column" for role in _COLUMNS),
    "query", "table", "where", "columns", "header", "delimiter", "encoding", "layout", "orders", "items", "bad_lines",
    "strict", "rejects",
)  # fmt: skip


def read_options(options: dict[str, Any], filters: Filters | None = None) -> ReadOptions:
    """Return how to read the purchases; take what the functions above added out of `options`.

    Args:
        options: of the command, changed in place.
        filters: which purchases count.

    Raises:
        ConfigError: a value is none, or two do not go together.
    """
    from recae.reading import ReadOptions
    from recae.reading.engine import parse_memory
    from recae.reading.options import split_inputs

    given = {name: options.pop(name) for name in _NAMES if name in options}
    if given.get("columns") is not None:
        given["columns"] = tuple(part.strip() for part in given["columns"].split(","))
    if given.get("delimiter") is not None:
        given["delimiter"] = _delimiter(given["delimiter"])
    rating, events, memory = (
        options.pop(name, None) for name in ("min_rating", "event_weights", "memory_limit")
    )
    if (inputs := options.pop("inputs", None)) is not None:
        given["inputs"] = split_inputs(inputs)
    if (columns := options.pop("items_columns", None)) is not None:
        given["items_columns"] = tuple(item_columns(columns).items())
    if rating is not None:
        given["min_rating"] = _number("--min-rating", rating, "4")
    if events is not None:
        given["event_weights"] = _event_weights(events)
    if memory is not None:
        given["memory_limit"] = parse_memory(memory)
    return ReadOptions(**given, filters=filters or None)


def items_options(function: _Function) -> _Function:
    """Add --items and --items-columns for a run with another table of items; `item_source` takes them."""
    return under(
        "Products",
        click.option(
            "--items",
            "items_table",
            metavar="TABLE",
            help="A table of products in place of the model's, for this run; `recae items` stores one.",
        ),
        click.option("--items-columns", metavar="WHAT=NAME,…", help=_ITEMS_COLUMNS),
    )(function)


def item_source(table: str | None, columns: str | None) -> ItemSource | None:
    """Return the table of items that the options name; None where they do not.

    Raises:
        ConfigError: columns are named without a table, or as `item_columns`.
    """
    if table is None:
        if columns is not None:
            raise ConfigError("--items-columns names columns of the table of items: give --items, too")
        return None
    from recae.insight.items import ItemSource

    warn_of_password(table)
    return ItemSource(table, item_columns(columns))


def item_columns(text: str | None) -> dict[str, tuple[str, ...]]:
    """Return the columns that --items-columns names, by their meanings.

    Raises:
        ConfigError: it is no list of WHAT=NAME.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in split("--items-columns", [text]) if text is not None else ():
        meaning, equals, names = part.partition("=")
        if not equals or meaning.strip() in found:
            raise ConfigError(
                f"--items-columns is WHAT=NAME,… such as price=net,category=main+sub, each once, found '{part}': give "
                "what is meant and the name of its column"
            )
        # a column whose own name has a plus is named in Python or renamed
        found[meaning.strip()] = tuple(name.strip() for name in names.split("+") if name.strip())
    return found


def check_alone(own: set[str]) -> None:
    """Raise ConfigError where options that say what to read of a table come with --journal.

    Args:
        own: names of the parameters that have nothing to do with a table.
    """
    context = click.get_current_context()
    given = [
        name
        for name in context.params
        if name not in own and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        option = next(p for p in context.command.params if p.name == given[0])
        if isinstance(option, click.Argument):
            raise ConfigError("PURCHASES and --journal both say where purchases come from: give one of them")
        no = context.params[given[0]] is False and option.secondary_opts  # as it was written: --no-take-back
        name = (no or option.opts)[0]
        raise ConfigError(f"{name} goes with a table, and --journal is none: leave one of them out")


def files_read(source: str, options: dict[str, Any]) -> list[str]:
    """Return the purchases and the further tables that the options name, which no result may replace.

    Of a folder with a --query these are the files that it names: a model may lie beside them.
    """
    tables = [options[name] for name in ("orders", "items") if options.get(name)]
    query = options.get("query")
    if not query or not os.path.isdir(source):  # noqa: PTH112  # never raises
        return [source, *tables]

    from recae.reading import local_files

    return [*(str(file) for file in local_files(source) if file.name in query), *tables]


def warn_of_password(text: str) -> None:
    """Warn where a password stands on the command line."""
    from recae.reading import shows_password

    if shows_password(text):
        message(
            "everybody on this machine can see the password in the command line; put the URL into an environment "
            "variable and give env:NAME, or use PGPASSWORD or ~/.pgpass for PostgreSQL"
        )


def _checked(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        warn_of_password(value)
    return value


def _rejects(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Return the path of a table that can be written."""
    if value is None:
        return None
    from recae.tables import check_output

    path = output_path(ctx, parameter, value)
    check_output(path)
    return path


def _delimiter(text: str) -> str:
    found = text.replace("\\t", "\t").replace("\\x01", "\x01")
    if not 1 <= len(found.encode()) <= 4:
        raise ConfigError(f"--delimiter is one to four characters such as ';', found {text!r}: give them")
    return found


def _number(option: str, text: str, example: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number != number or abs(number) == float("inf"):
        raise ConfigError(f"{option} is a number such as {example}, found '{text}': give one")
    return number


def _event_weights(text: str) -> tuple[tuple[str, float], ...]:
    found = {}
    for part in split("--event-weights", [text]):
        event, equals, value = part.rpartition("=")
        if not equals or not event.strip():
            raise ConfigError(
                f"--event-weights is EVENT=NUMBER,… such as view=.1,cart=.5,transaction=1, found '{part}': give an "
                "event and a number"
            )
        found[event.strip()] = _number(f"--event-weights {event.strip()}", value, f"{event.strip()}=0.5")
    return tuple(found.items())
