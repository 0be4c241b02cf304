"""`recae recommend`: the best items for one user, or for a basket."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import click

from recae.cli.options import model_option, owned_option
from recae.cli.output import is_terminal, message, print_csv, print_json, print_table
from recae.errors import ConfigError


@click.command()
@click.option("--user", metavar="ID", help="A user of the model, by the exact id in the purchases.")
@click.option(
    "--items",
    "item_texts",
    metavar="ID,ID,...",
    multiple=True,
    help="A basket instead of a user: item ids separated by commas, without spaces.  [repeatable]",
)
@click.option("-n", "n", type=click.IntRange(min=1), default=10, show_default=True, help="How many items.")
@owned_option
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (below).")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: rank,item_id,name,score.")
def recommend(
    user: str | None,
    item_texts: tuple[str, ...],
    n: int,
    exclude_owned: bool,
    model_path: Path,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Recommend items to one user of the model, or for a basket of items.

    \b
      recae recommend --user 42
      recae recommend --items P017,P230 -n 5

    The text of --items is read as CSV: an id that contains a comma or begins with a quotation mark stands
    between quotation marks, as in --items '"A,1",B'. Line breaks separate ids like commas do, and --items
    may be given several times. Items that the model does not know are named on stderr and left out.

    \b
    --json prints one object:
      {"user": "42",               the id asked for, null for a basket
       "items": null,              the basket's ids, null for a user
       "unknown_items": [],        those of the basket that the model does not know
       "recommendations": [
         {"rank": 1,               1 is best
          "item_id": "P017",
          "name": "Tea Pot",       null where the item has no name
          "score": 0.75}]}         higher is better, comparable for this user or basket only

    In a pipe, plain output is tab-separated lines below a header: rank, item_id, name, score.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other; give one of them")
    items = _read_basket(item_texts) if item_texts else None
    if (user is None) == (items is None):
        raise ConfigError("recommend needs either --user ID or --items ID,ID,...; give exactly one of them")

    from recae.modelfile import load

    recommender = load(model_path)
    found = recommender.recommend(user, items=items, n=n, exclude_owned=exclude_owned)
    unknown = recommender.unknown_items(items) if items else []
    if unknown:
        from recae.ids import shown

        message(f"not in the model, left out: {', '.join(map(shown, unknown))}")
    if as_json:
        answers = [
            {"rank": r.rank, "item_id": r.item, "name": r.name, "score": _float32(r.score)} for r in found
        ]
        print_json({"user": user, "items": items, "unknown_items": unknown, "recommendations": answers})
        return
    headers = ["rank", "item_id", "name", "score"]
    if as_csv:
        print_csv(headers, ((r.rank, r.item, r.name, _float32(r.score)) for r in found))
        return
    if not found:
        message("nothing to recommend: every item of the model is in the history already")
    for_people = is_terminal(sys.stdout)  # who want to compare scores, not to compute with them
    print_table(
        headers,
        (
            [str(r.rank), r.item, r.name or "", f"{r.score:#.4g}" if for_people else str(_float32(r.score))]
            for r in found
        ),
        right=("rank", "score"),
    )


def _read_basket(texts: tuple[str, ...]) -> list[str]:
    """Return the ids in the values of --items, in their order; empty fields stand for nothing.

    Raises:
        ConfigError: a quotation mark is not closed, or is followed by something else than a comma.
    """
    items: list[str] = []
    for text in texts:
        try:
            for fields in csv.reader(io.StringIO(text, newline=""), strict=True):
                items += filter(None, fields)
        except csv.Error as error:
            raise ConfigError(
                f"--items {text!r:.80} cannot be read as CSV ({error}); close every quotation mark that an id "
                "begins with, and double those inside it"
            ) from error
    return items


def _float32(value: float) -> float:
    """Return the number whose digits are the fewest that stand for the same float32."""
    import numpy as np

    return float(str(np.float32(value)))
