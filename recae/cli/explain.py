"""`recae explain`: why the model scores one item as it does, for one user or a basket."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import basket_option, model_option, top_option
from recae.cli.output import aligned, is_terminal, message, print_json, print_table, shortest_float32
from recae.errors import ConfigError


@click.command(cls=Command)
@under(
    "What",
    click.option("--user", metavar="ID", help="A user of the model, by the exact id in the purchases."),
    basket_option,
    click.option("--item", metavar="ID", required=True, help="The item whose score is to be explained."),
    top_option("How many contributions to show; the others are summed."),
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

    The base is the score without any history. An owned item's contribution is the score minus the score of the
    same history without that item; the largest come first, whatever their sign. What remains is joint: only
    several owned items together explain it, since one that is left out is partly replaced by the others. The last line,
    on stderr, checks the sum against the score that `recae recommend` states. --items is read as there.

    In a pipe, plain output is tab-separated lines below a header: part, item_id, name, value. The parts are
    base, owned (a line each), others, joint and score.
    """
    if (user is None) == (items is None):
        raise ConfigError("explain needs either --user ID or --items ID,ID,...; give exactly one of them")

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
    (found,) = explain_scores(recommender, history, [target])
    stated = float(recommender.model.score(history)[0, target])  # by recommend's way, all items at once
    order = np.argsort(-np.abs(found.contributions), kind="stable")
    largest = [
        (*recommender.id_and_name(int(found.owned[at])), float(found.contributions[at])) for at in order[:n]
    ]
    n_others, others = max(order.size - n, 0), float(found.contributions[order[n:]].sum())
    total = found.base + sum(value for _, _, value in largest) + others + found.joint
    name = recommender.id_and_name(target)[1]
    is_owned = bool(np.isin(target, found.owned))
    if as_json:
        print_json(
            {
                "user": user,
                "items": items,
                "unknown_items": unknown,
                "item_id": item,
                "name": name,
                "owned": is_owned,
                "score": shortest_float32(stated),
                "base": shortest_float32(found.base),
                "contributions": [
                    {"item_id": owned, "name": label, "contribution": shortest_float32(value)}
                    for owned, label, value in largest
                ],
                "others": {"items": n_others, "contribution": shortest_float32(others)},
                "joint": shortest_float32(found.joint),
                "difference": total - stated,
            }
        )
        return
    parts = [
        ("base", "", "no history", found.base),
        *(("owned", owned, label or "", value) for owned, label, value in largest),
        *(
            [("others", "", f"{n_others:,} more owned item{'s' if n_others > 1 else ''}", others)]
            if n_others
            else []
        ),
        ("joint", "", "several owned items together", found.joint),
        ("score", item, name or "", stated),
    ]
    values = [value for *_, value in parts]
    on_terminal = is_terminal(sys.stdout)
    figures = aligned(values) if on_terminal else [str(shortest_float32(value)) for value in values]
    whom = "a basket" if user is None else f"user {shown(user)}"
    having = (" that holds it" if user is None else ", who owns it") if is_owned else ""
    print_table(
        ["part", "item_id", "name", "value"],
        (
            [part, owned, label, figure]
            for (part, owned, label, _), figure in zip(parts, figures, strict=True)
        ),
        title=f"Score of {shown(item)} for {whom}{having}",
        right=("value",),
    )
    message(f"check: the parts sum to {total:.7g}, the score is {stated:.7g}")
