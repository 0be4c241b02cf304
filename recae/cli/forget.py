"""`recae forget`: customers leave a model file, its earlier versions and a journal."""

from __future__ import annotations

import time
from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import device_option, journal_option, model_option, output_path, positional_model
from recae.cli.output import message, print_json, print_text
from recae.errors import ConfigError


def _out(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=Command)
@click.argument("positional", metavar="[MODEL]", type=click.Path(path_type=Path), required=False)
@under(
    "Whom",
    click.option(
        "--user",
        "users",
        metavar="ID",
        multiple=True,
        help="A customer, by the exact id in the purchases.  [repeatable]",
    ),
    click.option(
        "--users",
        "users_path",
        metavar="FILE",
        help="A file with one id a line, or a table with a column of users.",
    ),
)
@under(
    "Where",
    journal_option(
        help="The journal of `recae serve`, whose rows of these customers go as well. Customers whom the server was "
        "told to forget, by DELETE /users/ID, are forgotten, too.",
    ),
)
@under(
    "How",
    click.option("--retrain", is_flag=True, help="Train again, too, what is trained in steps."),
    device_option,
)
@model_option
@under(
    "Output",
    click.option(
        "--out",
        metavar="PATH",
        callback=_out,
        help="Write the model without them here, and leave the present file as it is.  [default: in its place]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
def forget(
    positional: Path | None,
    users: tuple[str, ...],
    users_path: str | None,
    journal: Path | None,
    retrain: bool,
    device: str,
    model_path: Path,
    out: Path | None,
    as_json: bool,
) -> None:
    """Let a model forget customers: their histories, ids, events and held-out marks.

    \b
      recae forget model.recae --user 42
      recae forget --user 42 --user 43 --journal purchases.db
      recae forget --users gone.txt --retrain
      recae forget --journal purchases.db

    MODEL is another way to give --model.

    Items that nobody else has bought leave the model as well. Parts that are solved in closed form are solved again,
    and are then those of a training without these customers. What is trained in steps, such as the autoencoder, keeps
    its weights until the next training, which is said; --retrain trains it again at once.

    Where one of the customers is in neither the model nor the journal, nothing is changed. The file is replaced at
    once, when the new one is complete; Ctrl-C before that leaves it as it was. Earlier versions beside it, as `recae
    refresh` leaves them, are removed where they hold one of the customers.
    """
    from recae.updating.removal import remove

    path = positional_model(positional, model_path)
    if not users and users_path is None and journal is None:
        raise ConfigError("nobody is named to be forgotten: give --user ID, --users FILE or --journal PATH")
    asked: list[str] = list(users)
    if users_path is not None:
        from recae.scoring.audience import read_ids

        asked += read_ids(users_path, "user").to_pylist()
    if not asked and users_path is not None:
        raise ConfigError(f"'{users_path}' names nobody to be forgotten: give a file with an id a line")
    began = time.perf_counter()
    found = remove(path, asked, out=out, journal=journal, retrain=retrain, device=device, tell=message)
    seconds = time.perf_counter() - began
    if as_json:
        print_json({"model": str(out or path), **found.as_dict(), "seconds": seconds})
        return
    for line in found.lines():
        print_text(line)
    if out is not None:
        message(f"'{path}' still holds them")
    message(f"forgotten in {seconds:.1f} s; the model is in {out or path}")
