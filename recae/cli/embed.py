"""`recae embed`: users' codes or items' vectors, as one file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import model_option, output_path
from recae.cli.output import message, progress
from recae.errors import ConfigError


@click.command(cls=Command)
@under(
    "What",
    click.option("--users", "users", is_flag=True, help="Write the users' vectors."),
    click.option("--items", "items", is_flag=True, help="Write the items' vectors."),
)
@model_option
@under(
    "Output",
    click.option(
        "--out",
        metavar="PATH",
        callback=output_path,
        required=True,
        help="The file to write; its ending says the format: .parquet or .pq, .csv, .jsonl or .ndjson.",
    ),
)
def embed(users: bool, items: bool, out: Path, model_path: Path) -> None:
    """Write the vectors of all users or the vectors of all items to one file, as features for other programs.

    \b
      recae embed --users --out users.parquet
      recae embed --items --out items.csv

    \b
    The columns of users, in the model's order:
      user_id        text
      n_items        how many items the user owns (int32)
      code_0 ...     the code of the user's history (float32)
    The columns of items:
      item_id        text
      name           text, null where there is none
      owners         how many users own the item (int32), null where
                     the model has no histories
      vector_0 ...   what the item's score weighs the code by (float32)
      bias           what is added to the item's score for everybody
                     (float32), where the model has one

    The score that `recae recommend` states is the sum of code_j * vector_j over all j, plus the bias. Parts of a
    blend that are no such product, as item-kNN, are left out; which these are, and how much of the score the others
    are, stands on stderr and in the metadata of Parquet, under the key recae. Rows are made
    and written block by block, so that memory does not grow with their number. The file appears when it is
    complete: an error or Ctrl-C leaves an older file of that name as it was, and nothing else.
    """
    import time

    if users == items:
        raise ConfigError("embed needs either --users or --items; give exactly one of them")

    from recae.tables import check_output

    check_output(out, model_path)  # before the model is read, as in `score`

    from recae.insight.embeddings import coverage, products_of, write_embeddings
    from recae.modelfile import load

    recommender = load(model_path)
    what, count = "items", len(recommender.items)
    if users:
        what, count = "users", 0 if recommender.users is None else len(recommender.users)
    started = time.perf_counter()
    with progress(f"writing {what}", count) as on_rows:
        rows = write_embeddings(recommender, "users" if users else "items", out, on_rows=on_rows)
    width = products_of(recommender).width
    seconds = time.perf_counter() - started
    message(f"wrote {rows:,} {what} of {width:,} numbers each to {out} in {seconds:.1f} s")
    message(coverage(recommender).sentence)
