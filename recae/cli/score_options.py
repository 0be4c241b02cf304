"""The options of `recae score`: whom to score, what may be recommended, and where the result goes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.errors import ConfigError, OutputError, SourceError

if TYPE_CHECKING:
    from recae.ids import IdMap
    from recae.scoring.database import ResultTable
    from recae.scoring.file import OneFile
    from recae.scoring.folder import Folder

_Function = TypeVar("_Function", bound=Callable[..., Any])

WHO = {
    "users": (
        "FILE",
        "Score these users of the model only: one id a line (.txt), or a table with a user column.",
    ),
    "histories": (
        "SOURCE",
        "Score the users of this table with the histories there: what recae train reads.",
    ),
    "histories_table": ("NAME", "With --histories URL: the table or view to read."),
    "histories_query": ("SQL", "With --histories URL: a SELECT to read instead."),
    "user_column": ("NAME", "The column of users in --users or --histories.  [default: by its name]"),
    "item_column": ("NAME", "The column of items in --histories.  [default: by its name]"),
}
RULES = {
    "exclude_items": ("ITEMS", "Nobody gets these: a file as for --users, or ids separated by commas."),
    "only_items": ("ITEMS", "Nobody gets anything else: a file, or ids separated by commas."),
    "categories": ("FILE", "A table with an item and a category column, for the next two."),
    "exclude_categories": ("NAME,...", "Nobody gets items of these categories."),
    "only_categories": ("NAME,...", "Nobody gets items of other categories, or of none."),
}
_REPEATABLE = ("exclude_items", "only_items", "exclude_categories", "only_categories")


def who_options(function: _Function) -> _Function:
    """Add --users, --histories and what goes with them, as texts or None."""
    return _options(function, WHO)


def rules_options(function: _Function) -> _Function:
    """Add --exclude-items and the other rules, as texts, tuples of them or None."""
    return _options(function, RULES)


def where_options(function: _Function) -> _Function:
    """Add --out and what goes with it: what `destination` takes."""
    for option in (
        click.option(
            "--resume", is_flag=True, help="With a folder: go on with this run where a killed job stopped."
        ),
        click.option(
            "--run-id", metavar="ID", help="With a database: do nothing where the table holds this run."
        ),
        click.option("--table", metavar="NAME", help="With a database: the table to write, or to replace."),
        click.option(
            "--shard-users", type=click.IntRange(min=1), metavar="N", help="With a folder: users a file."
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(["parquet", "csv", "jsonl"]),
            help="With a folder: the format of its files.  [default: parquet]",
        ),
        click.option(
            "--out", metavar="PATH", required=True, help="A file, a folder or the URL of a database (below)."
        ),
    ):
        function = option(function)
    return function


def destination(
    out: str, form: str | None, shard_users: int | None, table: str | None, run_id: str | None, resume: bool
) -> OneFile | Folder | ResultTable:
    """Return what --out stands for.

    Raises:
        ConfigError: an option goes with another kind of destination.
        OutputError: --out is empty, or the database cannot be used.
        SourceError: --out is env:NAME, and there is no such variable.
    """
    from recae.scoring.file import OneFile
    from recae.scoring.folder import Folder
    from recae.sources import is_url, resolved
    from recae.tables import ENDINGS

    place = resolved(out)
    if not place:
        raise OutputError("cannot write '': it names no file; give the path of a file or a folder")
    of_database = {"--table": table, "--run-id": run_id}
    of_folder = {"--format": form, "--shard-users": shard_users, "--resume": resume or None}
    if is_url(place):
        _none_of(of_folder, "a folder")
        if table is None:
            raise ConfigError("--out is a database; name the table to write with --table")
        from recae.scoring.database import ResultTable

        return ResultTable(place, table, run_id)
    _none_of(of_database, "a database")
    path = Path(place)
    ending = path.suffix.lower()
    if place.endswith(os.sep) or (os.path.isdir(place) and ending not in ENDINGS) or form or not ending:  # noqa: PTH112
        return Folder(path, form or "parquet", shard_users, resume)
    _none_of(of_folder, "a folder (its name ends in / or has no ending)")
    return OneFile(path)


def item_ids(option: str, values: Sequence[str]) -> Any:
    """Return the ids that the values of an option name, files among them read; None without values.

    Raises:
        SourceError, ColumnError: a file cannot be used; so, too, where what is named as files are is not there.
        ConfigError: ids are not CSV.
    """
    from recae.scoring.idlists import read_ids
    from recae.sources import is_file_name

    ids: list[str] = []
    for value in values:
        if os.path.isfile(value):  # noqa: PTH113  # which, unlike Path's, never raises
            ids += read_ids(value, "item").to_pylist()
        elif is_file_name(value):
            raise SourceError(
                f"there is no file '{value}' for {option}; check the path, or, if it is the id of an item, put it into "
                "a file with one id a line"
            )
        else:
            ids += split(option, [value])
    return ids if values else None


def barred(
    items: IdMap,
    categories: str | None,
    exclude_items: Sequence[str],
    only_items: Sequence[str],
    exclude_categories: Sequence[str],
    only_categories: Sequence[str],
) -> tuple[Any, list[str]]:
    """Return which items nobody gets by the options, and the ids in them that are unknown.

    Raises:
        ConfigError: rules by category without categories, and as `recae.scoring.rules.barred_items`.
        SourceError, ColumnError, DataError: a file cannot be used.
    """
    from recae.insight.categories import read_categories
    from recae.scoring.rules import barred_items

    by_category = bool(exclude_categories or only_categories)
    if by_category != (categories is not None):
        raise ConfigError(
            "--exclude-categories and --only-categories go with --categories, a table of items and categories; "
            "give both or neither"
        )
    return barred_items(
        items,
        exclude=item_ids("--exclude-items", exclude_items),
        only=item_ids("--only-items", only_items),
        categories=None if categories is None else read_categories(categories, items),
        exclude_categories=split("--exclude-categories", exclude_categories) if exclude_categories else None,
        only_categories=split("--only-categories", only_categories) if only_categories else None,
    )


def split(option: str, texts: Sequence[str]) -> list[str]:
    """Return the fields of texts as CSV, those between quotes with their commas; ConfigError if one is not closed."""
    try:
        return [
            field
            for text in texts
            for fields in csv.reader(io.StringIO(text, newline=""), strict=True)
            for field in fields
            if field
        ]
    except csv.Error as error:
        raise ConfigError(
            f"{option} {', '.join(texts)!r:.80} cannot be read as CSV ({error}); close every quotation mark that an id "
            "begins with, and double those inside it"
        ) from error


def _options(function: _Function, options: dict[str, tuple[str, str]]) -> _Function:
    for name, (metavar, text) in reversed(options.items()):
        repeatable = name in _REPEATABLE
        function = click.option(
            f"--{name.replace('_', '-')}",
            metavar=metavar,
            multiple=repeatable,
            help=text + ("  [repeatable]" if repeatable else ""),
        )(function)
    return function


def _none_of(options: Mapping[str, object], what: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option} goes with --out {what}, which this is not; leave it out")
