"""`recae anomalies`: customers, or single purchases, that the model cannot explain by the rest of the history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.help import Command, under
from recae.cli.options import model_option, output_path, top_option
from recae.cli.output import is_terminal, message, print_csv, print_json, print_table, progress
from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.insight.anomalies import UserAnomalies
    from recae.recommender import Recommender

_SHOWN = 20


def _out_path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=Command)
@under(
    "What",
    click.option(
        "--users/--purchases", "of_users", default=True, help="Judge users, or each of their purchases."
    ),
    top_option(f"How many, the most anomalous first.  [default: {_SHOWN}; all with --out]", None),
)
@model_option
@under(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with the columns named above."),
    click.option("--out", metavar="PATH", callback=_out_path, help="Write .parquet, .pq or .csv instead."),
)
def anomalies(
    of_users: bool, n: int | None, model_path: Path, as_json: bool, as_csv: bool, out: Path | None
) -> None:
    """Find customers, or single purchases, that the model cannot reconstruct.

    \b
      recae anomalies
      recae anomalies --purchases -n 50 --csv
      recae anomalies --out scores.parquet

    Each item of a history is hidden and placed among all items that are not owned, by the scores of the rest
    of the history. A user's score tells how far down the items are placed, compared with users of about as
    many items: 0 is ordinary, 1 is one standard deviation. The tail probability is that of a normal
    distribution: among N ordinary users, expect N times that many at least as high. A purchase's score is
    compared with purchases of items that have about as many owners; its tail probability is the fraction of those
    that are at least as surprising. Users that the model has not learned from are compared with one another.

    An anomaly is what the model does not explain: an automated buyer, a reseller, several users of one
    account, or an unusual taste. Users of fewer than 2 items cannot be judged; stderr counts them.

    \b
    --csv prints, and --out writes, one table:
      rank,user_id,n_items,score,tail_probability,worst_item_1,worst_item_2,worst_item_3
      rank,user_id,item_id,name,owners,above,score,tail_probability    (--purchases)
    where the worst items are ids.

    In a pipe, plain output is tab-separated lines below a header. Printed numbers have 6 digits.
    """
    if as_json + as_csv + (out is not None) > 1:
        raise ConfigError("--json, --csv and --out exclude one another; give one of them")
    if out is not None:
        from recae.tables import check_output

        check_output(out, model_path)

    from recae.insight.anomalies import (
        PURCHASE_SCHEMA,
        USER_SCHEMA,
        purchase_anomalies,
        purchase_batches,
        user_anomalies,
        user_batches,
    )
    from recae.modelfile import load

    recommender = load(model_path)
    n_users = 0 if recommender.users is None else len(recommender.users)
    what = "judging users" if of_users else "judging purchases of users"
    judge = user_anomalies if of_users else purchase_anomalies
    with progress(what, n_users) as on_users:
        found: Any = judge(recommender, learners=recommender.learners, on_users=on_users)
    judged, able = found.users.size, (found.purchases if of_users else found).users
    too_short = n_users - int((able[1:] != able[:-1]).sum() + 1)
    message(
        f"judged {judged:,} {'users' if of_users else 'purchases'}"
        + (f"; {_users(too_short)} fewer than 2 items and cannot be judged" if too_short else "")
    )
    if recommender.learners is None:
        message("the model file does not say which users it learned from: all are compared with one another")
    batches: Any = user_batches if of_users else purchase_batches
    if out is not None:
        from recae.tables import write_table

        schema = USER_SCHEMA if of_users else PURCHASE_SCHEMA
        rows = write_table(out, schema, batches(recommender, found, n))
        message(f"wrote {rows:,} rows to {out}")
        return
    n = n or _SHOWN
    entries = [entry for batch in batches(recommender, found, n) for entry in batch.to_pylist()]
    if as_csv:
        headers = list(entries[0])
        print_csv(headers, ([_rounded(value) for value in entry.values()] for entry in entries))
        return
    if of_users:
        _give_reasons(recommender, found, entries)
    if as_json:
        answers = [{name: _rounded(value) for name, value in entry.items()} for entry in entries]
        kind = "users" if of_users else "purchases"
        print_json({"of": kind, "judged": judged, "too_short": too_short, "anomalies": answers})
    elif of_users:
        names = [
            "; ".join(item["name"] or item["item_id"] for item in entry.pop("worst")) for entry in entries
        ]
        answers = [{**entry, "hardest to explain": text} for entry, text in zip(entries, names, strict=True)]
        _show(answers, "Users whose purchases do not explain one another")
    else:
        _show(entries, "Purchases that the rest of the history does not explain")


def _users(number: int) -> str:
    return "1 user has" if number == 1 else f"{number:,} users have"


def _give_reasons(recommender: Recommender, found: UserAnomalies, entries: list[dict[str, Any]]) -> None:
    """Put each user's worst items with their names and scores in the place of the columns of ids."""
    from recae.insight.anomalies import WORST

    names, purchases, worst = recommender.item_names, found.purchases, found.worst(WORST)
    for entry, place in zip(entries, found.ranked(), strict=False):
        for number in range(1, WORST + 1):
            del entry[f"worst_item_{number}"]
        bought = [int(index) for index in worst[place] if index >= 0]
        items = [int(purchases.items[index]) for index in bought]
        entry["worst"] = [
            {
                "item_id": recommender.items.id(item),
                "name": None if names is None else names[item].as_py(),
                "score": _rounded(float(purchases.score[index])),
            }
            for item, index in zip(items, bought, strict=True)
        ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _show(entries: list[dict[str, Any]], title: str) -> None:
    """Print a table: numbers are rounded for comparison on a terminal, and have 6 digits in a pipe."""
    on_terminal = is_terminal(sys.stdout)

    def text(name: str, value: Any) -> str:
        if on_terminal and isinstance(value, float):
            return f"{value:.1e}" if name == "tail_probability" else f"{value:.2f}"
        return "" if value is None else str(_rounded(value))

    headers = list(entries[0])
    cells = ([text(name, value) for name, value in entry.items()] for entry in entries)
    right = [name for name, value in entries[0].items() if isinstance(value, int | float)]
    print_table(headers, cells, title=title, right=right)
