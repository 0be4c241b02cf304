"""`recae score`: recommendations for every user, as one file."""

from __future__ import annotations

from pathlib import Path

import click

from recae.cli.options import model_option, output_path, owned_option
from recae.cli.output import message, progress


@click.command()
@click.option(
    "--out",
    metavar="PATH",
    callback=output_path,
    required=True,
    help="The file to write; its ending is .parquet or .pq for Parquet, .csv for CSV.",
)
@click.option(
    "-n", "n", type=click.IntRange(min=1), default=20, show_default=True, help="How many items a user."
)
@owned_option
@model_option
def score(out: Path, n: int, exclude_owned: bool | None, model_path: Path) -> None:
    """Write recommendations for every user of the model to one file.

    \b
      recae score --out recs.parquet -n 20

    The columns are user_id, item_id (text), rank (from 1) and score. Users are scored block by block, so that
    memory does not grow with their number. The file appears when it is complete: an error or Ctrl-C leaves
    an older file of that name as it was, and nothing else.
    """
    import time

    from recae.scoring import check_output, write_scores

    check_output(
        out, model_path
    )  # first of all, so that nobody waits for a model only to hear that the path is wrong

    from recae.modelfile import load

    recommender = load(model_path)
    n_users = 0 if recommender.users is None else len(recommender.users)
    started = time.perf_counter()
    with progress("scoring users", n_users) as on_users:
        rows = write_scores(recommender, out, n, exclude_owned=exclude_owned, on_users=on_users)
    seconds = time.perf_counter() - started
    message(f"wrote {rows:,} rows for {n_users:,} users to {out} in {seconds:.1f} s")
