"""`recae explain`: why the model scores one item as it does, for one user or a basket."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import basket_option, model_option, top_option
from recae.cli.output import (
    aligned,
    is_terminal,
    message,
    other_items,
    print_json,
    print_table,
    shortest_float32,
)
from recae.errors import ConfigError


@click.command(cls=Command)
@under(
    "What",
    click.option("--user", metavar="ID", help="A user of the model, by the exact id in the purchases."),
    basket_option,
    click.option("--item", metavar="ID", required=True, help="The item whose score is to be explained."),
    top_option("How many contributions to show; the others are summed.", 5),
)
@model_option
@under("Output", click.option("--json", "as_json", is_flag=True, help="Print JSON."))
def explain(
    user: str | None, items: list[str] | None, item: str, n: int, model_path: Path, as_json: bool
) -> None:
    """Say how much each owned item contributes to the score of an item.

    \b
      recae explain --user 42 --item P017
      recae explain --items P017,P230 --item P203

    The base is what the score is without any history. Then come the owned items that move it most, whatever their
    sign, and what all others add together: the lines sum to the score that `recae recommend` states, exactly as
    they are printed. Parts of the model that are sums, such as item-kNN, are taken as they are; an autoencoder is
    followed from the empty history to the whole one. --items is read as by recommend.

    In a pipe, plain output is tab-separated lines below a header: part, item_id, name, value. The parts are
    base, owned (a line each), others and score.
    """
    if (user is None) == (items is None):
        raise ConfigError("explain needs either --user ID or --items ID,ID,...; give exactly one of them")

    from decimal import Decimal

    import numpy as np

    from recae.ids import shown
    from recae.insight.explain import explain as explain_scores
    from recae.modelfile import load

    recommender = load(model_path)
    target = recommender.items.row(item, "item")
    history = recommender.history_of(user, items=items)
    unknown = recommender.unknown_items(items) if items else []
    if unknown:
        message(f"not in the model, left out: {', '.join(map(shown, unknown))}")
    stated = recommender.model.score(history)[0, [target]]  # by recommend's way, all items at once
    (found,) = explain_scores(recommender, history, [target], stated)
    name = recommender.id_and_name(target)[1]
    is_owned = bool(np.isin(target, found.owned))
    if found.error:
        message(
            f"contributions were sampled, their standard errors are up to {found.error:.2g}; their sum is exact"
        )
    on_terminal = is_terminal(sys.stdout) and not as_json
    score = shortest_float32(found.score)
    if on_terminal:
        decimals = len(aligned([score, found.base, *found.contributions])[0].partition(".")[2])
        parts = found.sum(n, decimals=decimals)
    else:
        parts = found.sum(n, score=Decimal(str(score)))
    if as_json:
        print_json(
            {
                "user": user,
                "items": items,
                "unknown_items": unknown,
                "item_id": item,
                "name": name,
                "owned": is_owned,
                "score": score,
                "base": float(parts.base),
                "contributions": [
                    {"item_id": owned, "name": label, "contribution": float(value)}
                    | ({} if event is None else {"event": event})
                    for event, (owned, label), value in (
                        (recommender.event_of(row), recommender.id_and_name(row), value)
                        for row, value in parts.reasons
                    )
                ],
                "others": {"items": parts.n_others, "contribution": float(parts.others)},
                "error": found.error,
            }
        )
        return
    lines = [("base", "", "without any history", parts.base)]
    for row, value in parts.reasons:
        owned, label = recommender.id_and_name(row)
        lines.append((recommender.event_of(row) or "owned", owned, label or "", value))
    if parts.n_others:
        events = bool((found.owned >= len(recommender.items)).any())
        lines.append(("others", "", other_items(parts.n_others, events), parts.others))
    lines.append(("score", item, name or "", parts.score))
    whom = "a basket" if user is None else f"user {shown(user)}"
    having = (" that holds it" if user is None else ", who owns it") if is_owned else ""
    print_table(
        ["part", "item_id", "name", "value"],
        (
            [part, owned, label, f"{value:f}" if on_terminal else str(float(value))]
            for part, owned, label, value in lines
        ),
        title=f"Score of {shown(item)} for {whom}{having}",
        right=("value",),
    )
