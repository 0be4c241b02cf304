"""`recae similar`: items like an item and what is bought together with it, or users like a user."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.help import Command, under
from recae.cli.options import model_option, top_option
from recae.cli.output import is_terminal, message, print_csv, print_gap, print_json, print_table
from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.recommender import Recommender

_SIMILAR = ["rank", "item_id", "name", "similarity"]
_TOGETHER = ["rank", "item_id", "name", "users", "lift"]
_USERS = ["rank", "user_id", "n_items", "shared", "similarity"]
_CSV = ["relation", "rank", "item_id", "name", "similarity", "users", "lift"]


@click.command(cls=Command)
@under(
    "What",
    click.option("--item", metavar="ID", help="An item of the model, by the exact id in the purchases."),
    click.option("--user", metavar="ID", help="A user of the model, likewise."),
    top_option("How many of each list."),
)
@model_option
@under(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with the columns named above."),
)
def similar(
    item: str | None, user: str | None, n: int, model_path: Path, as_json: bool, as_csv: bool
) -> None:
    """Find items like an item, with what is bought together with it, or users like a user.

    \b
      recae similar --item P017
      recae similar --user 42 -n 5

    Items are similar when the model scores them alike: the similarity is the correlation of their scores over
    users, from -1 to 1, with all parts of a blend. Beside it stands what the purchases themselves say: the items
    that most owners of the item own too, and lift, how many times more often both are owned than chance would
    have it (1 is chance). Users are similar by the cosine of their scores, less those of the mean user; "shared"
    is how many items both own.

    \b
    --csv prints one table:
      relation,rank,item_id,name,similarity,users,lift   for an item
      rank,user_id,n_items,shared,similarity             for a user
    where relation is similar (users and lift are empty) or bought_together
    (similarity is empty).

    In a pipe, plain output is tab-separated lines, each list below its header, an empty line between the two.
    The metric stands on stderr.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other; give one of them")
    if (item is None) == (user is None):
        raise ConfigError("similar needs either --item ID or --user ID; give exactly one of them")

    from recae.modelfile import load

    recommender = load(model_path)
    answer = _of_user(recommender, user, n) if user is not None else _of_item(recommender, str(item), n)
    if as_json:
        print_json(answer)
        return
    message(f"similarity: {answer['metric']}")
    alike, together = answer["similar"], answer.get("bought_together")
    if as_csv and user is None:
        lists = {"similar": alike, "bought_together": together or []}
        alike = [{"relation": name, **entry} for name, entries in lists.items() for entry in entries]
    if as_csv:
        headers = _CSV if user is None else _USERS
        print_csv(headers, ([entry.get(name) for name in headers] for entry in alike))
    elif user is not None:
        _show(_USERS, alike, f"Users like {user}")
    else:
        _show(_SIMILAR, alike, " ".join(filter(None, ("Items like", item, answer["name"]))))
        if together is not None:
            print_gap()
            _show(_TOGETHER, together, f"Bought together by its {answer['owners']:,} owners")
    if user is None and together is None:
        message("the model was saved without histories: what is bought together is not known")


def _of_item(recommender: Recommender, item: str, n: int) -> dict[str, Any]:
    from recae.insight.neighbours import BoughtTogether, similar_items
    from recae.insight.vectors import ItemVectors

    vectors = ItemVectors(recommender)
    row = recommender.items.row(item, "item")
    rows, similarity = similar_items(recommender, row, n, vectors=vectors)
    answer: dict[str, Any] = {
        "item_id": item,
        "name": _names(recommender, [row])[0],
        "owners": None,
        "metric": vectors.metric,
        "similar": _entries(_SIMILAR, _ids(recommender, rows), _names(recommender, rows), similarity),
        "bought_together": None,
    }
    if recommender.histories is not None:
        together = BoughtTogether(recommender.histories)
        rows, users, lift = together.of(row, n)
        answer["owners"] = int(together.owners[row])
        answer["bought_together"] = _entries(
            _TOGETHER, _ids(recommender, rows), _names(recommender, rows), users, lift
        )
    return answer


def _of_user(recommender: Recommender, user: str, n: int) -> dict[str, Any]:
    import numpy as np

    from recae.insight.embeddings import histories_of
    from recae.insight.neighbours import similar_users
    from recae.insight.vectors import METRIC_USERS

    users, histories = histories_of(recommender)
    row = users.row(user, "user")
    rows, similarity = similar_users(recommender, row, n)
    own = histories[row].indices
    items = [histories[other].indices for other in rows]
    return {
        "user_id": user,
        "n_items": len(own),
        "metric": METRIC_USERS,
        "similar": _entries(
            _USERS,
            users.ids(rows).to_pylist(),
            [len(theirs) for theirs in items],
            [int(np.isin(theirs, own).sum()) for theirs in items],
            similarity,
        ),
    }


def _ids(recommender: Recommender, rows: Any) -> list[str]:
    ids: list[str] = recommender.items.ids(rows).to_pylist()
    return ids


def _names(recommender: Recommender, rows: Iterable[int]) -> list[str | None]:
    names = recommender.item_names
    return [None if names is None else names[int(row)].as_py() for row in rows]


def _entries(headers: Sequence[str], *columns: Any) -> list[dict[str, Any]]:
    """Return an object an entry, ranked from 1, its float32 as the shortest decimals."""
    import numpy as np

    def plain(value: Any) -> Any:
        if isinstance(value, np.floating):
            return float(str(value))
        return int(value) if isinstance(value, np.integer) else value

    return [
        dict(zip(headers, (rank, *map(plain, values)), strict=True))
        for rank, values in enumerate(zip(*columns, strict=True), start=1)
    ]


def _show(headers: Sequence[str], entries: list[dict[str, Any]], title: str) -> None:
    """Print one list: floats are rounded on a terminal and exact in a pipe."""
    on_terminal = is_terminal(sys.stdout)

    def text(name: str, value: Any) -> str:
        if on_terminal and isinstance(value, float):
            return f"{value:.4f}" if name == "similarity" else f"{value:.2f}"
        return "" if value is None else str(value)

    cells = ([text(name, entry[name]) for name in headers] for entry in entries)
    print_table(headers, cells, title=title, right=set(headers) - {"item_id", "user_id", "name"})
