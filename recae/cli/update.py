"""`recae update`: a model file learns from the purchases that came after its training."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.help import Command, under
from recae.cli.options import (
    check_outputs,
    device_option,
    files_of_filters,
    filter_options,
    journal_option,
    output_path,
    read_filters,
)
from recae.cli.output import message, print_json
from recae.cli.purchases import (
    check_alone,
    column_options,
    files_read,
    inputs_option,
    optional_source_argument,
    read_options,
    reading_options,
)
from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.recommender import Recommender
    from recae.updating.update import Updated


@click.command(cls=Command)
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@optional_source_argument
@under(
    "Update",
    journal_option(
        help="In place of PURCHASES: those of the journal of `recae serve` that MODEL does not have.",
    ),
    click.option(
        "--since-last",
        is_flag=True,
        help="Read only rows later than the last purchase that the model knows; always so with --repeats.",
    ),
    click.option(
        "--take-back/--no-take-back",
        default=True,
        show_default=True,
        help="Let a row with a quantity below zero take an earlier purchase out of the history.",
    ),
)
@column_options
@inputs_option
@filter_options
@reading_options
@under("Computing", device_option)
@under(
    "Output",
    click.option(
        "--out",
        metavar="PATH",
        callback=lambda ctx, parameter, value: None if value is None else output_path(ctx, parameter, value),
        help="The model file to write.  [default: MODEL, replaced at once]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print what has changed as JSON."),
)
def update(
    model_path: Path,
    source: str | None,
    journal: Path | None,
    since_last: bool,
    take_back: bool,
    device: str,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Let MODEL learn from new PURCHASES.

    Histories grow, and new users and items get rows. Purchases that the model knows already change nothing, so that
    the new table may overlap the old one. A row with a quantity below zero takes an earlier purchase back.

    \b
      recae update model.recae new.csv
      recae update model.recae 'days/2024-06-*.csv' --since-last
      recae update model.recae new.csv --out newer.recae
      recae update model.recae env:SHOP_URL --query "select … where time > now() - interval '1 day'"

    With --journal, the purchases that `recae serve --journal` has taken are learned from. MODEL says which of them it
    has, so that none counts twice or is left out, also where the command is killed, and while the server runs.

    \b
      recae update model.recae --journal purchases.db

    What is counted or solved in closed form is so again, on all purchases. The sigmoid autoencoder goes on from its
    parameters, by steps after the users who have changed and some others. The weights of a blend are chosen again on
    what known users have bought since. All settings stay those of the training, and so do the figures: train again from
    time to time.

    A model of `recae train --inputs` learns from the other events of PURCHASES that it reads, too; --inputs names some
    of them alone. Those from before a customer or an item had a purchase are not in its file, and count where PURCHASES
    hold them again.

    Filters, and what says which rows count, are those of the training. A model without histories, or one trained with
    minimums or confidences, cannot be updated; a sentence says why.

    Ctrl-C, or an end at any moment, leaves the old model whole.
    """
    from recae.modelfile import load, save
    from recae.updating.exclusive import changing
    from recae.updating.update import update as run

    target = out or model_path
    if journal is not None:
        check_alone({"journal", "model_path", "device", "out", "as_json"})
        sources = [str(journal)]
    elif source is None:
        raise ConfigError("update needs the new purchases: give PURCHASES, or --journal PATH")
    else:
        sources = [*files_read(source, options), *files_of_filters(options)]
    started = time.perf_counter()
    if journal is not None and out is None:
        _carry_out(model_path, journal, device)
    with changing(model_path):  # a customer who is forgotten meanwhile must not come back
        recommender = load(model_path)
        check_outputs(sources, {"--out": target, "--rejects": options["rejects"]})
        filters = read_filters(options)
        reading = read_options(options)
        elsewhere = target.resolve() != model_path.resolve()
        if journal is not None:
            found, written = _from_journal(recommender, journal, device, target, elsewhere)
        else:
            found = run(
                recommender,
                source,
                since_last=since_last,
                take_back=take_back,
                device=device,
                reading=reading,
                filters=filters or None,
            )
            written = found.changed or elsewhere or reading.items is not None
            if written:
                save(found.recommender, target)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(
            {
                "model": str(target),
                "changed": found.changed,
                "seconds": seconds,
                "pairs": {"new": found.added, "known": found.known, "taken_back": found.taken_back},
                "events": found.added_events,
                "new_users": found.new_users,
                "new_items": found.new_items,
                "parts": dict(found.parts),
                "fingerprint": found.recommender.metadata.get("fingerprint"),
            }
        )
    if written:
        message(f"read and updated in {seconds:.1f} s; the model is in {target}")
    else:
        message(f"the model in {target} stays as it is")


def _carry_out(model_path: Path, path: Path, device: str) -> None:
    """Forget whom the journal orders to forget, in the file, its earlier versions and the bytes of the journal."""
    from recae.journal import Journal
    from recae.updating.removal import carry_out

    with Journal.open(path, create=False) as journal:
        carry_out(model_path, journal, device=device)


def _from_journal(
    recommender: Recommender, path: Path, device: str, target: Path, elsewhere: bool
) -> tuple[Updated, bool]:
    """Learn from a journal, write the model and mark the purchases as learned; return whether it was written.

    The model says itself which purchases it has: what happens before the mark is made loses and doubles nothing.
    """
    from recae.journal import Journal
    from recae.modelfile import save
    from recae.updating.pending import update_from_journal

    with Journal.open(path, create=False) as journal:
        before = journal.folded_up_to(recommender.metadata)
        found = update_from_journal(recommender, journal, device=device)
        metadata = found.recommender.metadata
        sequence = journal.folded_up_to(metadata)
        written = found.changed or elsewhere or sequence != before
        if written:
            save(found.recommender, target)
            journal.mark_folded(str(metadata.get("fingerprint", "")), sequence)
    return found, written
