"""`recae refresh`: the nightly job, which replaces a model by one that is not worse."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click

from recae.cli.help import Command, under
from recae.cli.options import device_option, journal_option
from recae.cli.output import message, print_json, print_text
from recae.cli.purchases import (
    check_alone,
    column_options,
    files_read,
    optional_source_argument,
    read_options,
    reading_options,
)
from recae.errors import ConfigError

WORSE: Final = 3
"""Exit code where the model in service stays, since the candidate is worse."""


@click.command(cls=Command)
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@optional_source_argument
@under(
    "Refresh",
    click.option(
        "--retrain",
        is_flag=True,
        help="Train from PURCHASES, which are all of them then, with the settings of MODEL, instead of updating it.",
    ),
    journal_option(
        help="In place of PURCHASES: those of the journal of `recae serve` that MODEL does not have.",
    ),
    click.option(
        "--days",
        type=float,
        default=7.0,
        show_default=True,
        metavar="X",
        help="Compare on the newest purchases of so many days at most.",
    ),
    click.option(
        "--rollback",
        is_flag=True,
        help="Put the newest of the earlier versions back instead, of which the last three stand beside MODEL.",
    ),
)
@column_options
@reading_options
@under("Computing", device_option)
@under("Output", click.option("--json", "as_json", is_flag=True, help="Print JSON."))
def refresh(
    model_path: Path,
    source: str | None,
    journal: Path | None,
    retrain: bool,
    days: float,
    rollback: bool,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Replace MODEL by one that has learned from PURCHASES, unless it is worse.

    \b
      recae refresh model.recae new.csv
      recae refresh model.recae --journal purchases.db
      recae refresh model.recae all.csv --retrain
      recae refresh model.recae --rollback

    A candidate learns from the earlier half of what is new to MODEL, or from all but the last week where the other half
    is longer. Both models then rank for the users who bought in the rest, from the same histories. Neither has learned
    from it. Unless the 95 % interval of the gain in NDCG@20 lies below 0, the candidate learns from the rest as well,
    and replaces MODEL. Otherwise nothing is changed, and the exit code is 3.

    The file that is replaced stays beside MODEL as MODEL.before-1, and so on; the last three do. --rollback puts the
    newest of them back at once, and again the one before that.

    The answer says how far the newest purchases are from what MODEL knows. PURCHASES need times, and are read several
    times, so that the standard input will not do.
    """
    began = time.perf_counter()
    if rollback:
        if source is not None or journal is not None or retrain:
            raise ConfigError(
                "--rollback puts an earlier version back and reads no purchases: leave them out"
            )
        _roll_back(model_path, as_json)
        return
    if (source is None) == (journal is None):
        raise ConfigError(
            "refresh needs the new PURCHASES, such as recae refresh model.recae new.csv, or --journal PATH: give one "
            "of them"
        )
    if source == "-":
        raise ConfigError(
            "refresh reads the purchases several times, and the standard input can be read once: write them to a file"
        )
    from recae.files import check_writable

    if journal is not None:
        check_alone({"journal", "model_path", "days", "device", "as_json"})
    else:
        for file in files_read(str(source), options):
            if Path(file).is_file():
                check_writable(model_path, Path(file))
    reading = read_options(options)

    from recae.journal import Journal
    from recae.updating.refresh import refresh as run

    with Journal.open(journal, create=False) if journal is not None else nullcontext() as opened:
        found = run(
            model_path, source, journal=opened, retrain=retrain, days=days, device=device, reading=reading
        )
    if as_json:
        seconds = time.perf_counter() - began
        print_json({"model": str(model_path), **found.as_dict(), "seconds": seconds})
    elif found.drift is not None:
        for line in found.drift.lines():
            print_text(line)
    message(found.reason)
    if found.outcome == "worse":
        raise click.exceptions.Exit(WORSE)
    seconds = time.perf_counter() - began
    if found.outcome == "unchanged":
        message(f"the model in {model_path} stays as it is, after {seconds:.1f} s")
    else:
        message(
            f"refreshed in {seconds:.1f} s; the model is in {model_path}, the one before in {found.version}"
        )


def _roll_back(model_path: Path, as_json: bool) -> None:
    from recae.updating.exclusive import changing
    from recae.updating.versions import roll_back

    with changing(model_path):
        version = roll_back(model_path)
    if as_json:
        print_json({"model": str(model_path), "outcome": "rolled back", "earlier_version": version.name})
    message(f"{version.name} is {model_path} again")
