"""`recae recommend`: the best items for one user, or for a basket, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recae.cli.help import Command, under
from recae.cli.options import (
    approximate_option,
    basket_option,
    counting,
    diversity_option,
    fallback_option,
    journal_option,
    list_rules_option,
    model_option,
    owned_option,
    top_option,
)
from recae.cli.output import (
    aligned,
    is_terminal,
    message,
    other_items,
    print_csv,
    print_json,
    print_table,
    shortest_float32,
)
from recae.errors import ConfigError

if TYPE_CHECKING:
    import scipy.sparse as sp

    from recae.insight.explain import Explanation, ShownSum
    from recae.recommender import Recommendation, Recommender
    from recae.results import Table

_REASONS = 5
_CATEGORY = 28  # letters of a category on a terminal
_CONTRIBUTIONS_AT_ONCE = 2**22  # 32 MiB, however many recommendations are explained


@click.command(cls=Command)
@under(
    "For whom",
    click.option("--user", metavar="ID", help="A user of the model, by the exact id in the purchases."),
    basket_option,
    click.option(
        "--item",
        "single_items",
        metavar="ID",
        multiple=True,
        help="An item of a basket, by its exact id.  [repeatable]",
    ),
)
@under(
    "What",
    top_option("How many items."),
    owned_option,
    fallback_option,
    approximate_option,
    list_rules_option,
    diversity_option,
)
@under(
    "For whom",
    journal_option(
        help="Count the purchases of the journal of `recae serve` that the model does not have, too.",
    ),
)
@model_option
@under(
    "Output",
    click.option("--explain", "explained", is_flag=True, help="Say which owned items raise each score most."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV: rank,item_id,name,score and others."),
)
def recommend(
    user: str | None,
    items: list[str] | None,
    single_items: tuple[str, ...],
    n: int,
    exclude_owned: bool | None,
    fallback: str | None,
    approximate: bool,
    rules: Path | None,
    diversity: float,
    journal: Path | None,
    explained: bool,
    model_path: Path,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Recommend items to one user of the model, or for a basket of items.

    \b
      recae recommend --user 42
      recae recommend --user 42 --explain
      recae recommend --items P017,P230 -n 5
      recae recommend --item P017 --item "P,230"
      recae recommend --user somebody-new --fallback popular
      recae recommend --user 42 --rules rules.toml --diversity 0.3

    A basket is given by --items, --item or both. The text of --items is read as CSV: an id that contains a comma
    or begins with a quotation mark stands between quotation marks, as in --items '"A,1",B'. Line breaks separate
    ids as commas do. Items that the model does not know are named on stderr and left out.

    --explain adds to each recommendation up to five owned items that raise its score most, and what all others add
    together: base, contributions and others sum to the score. `recae explain` shows more of them.

    With --fallback popular, a user whom the model does not know, an empty basket and one of unknown items get the
    items that most users own; their score is the number of these users. A column source says "model" or "popular".

    Where the model has a table of products, the category and the price follow the score, and --json has the
    brand, the availability, the picture and the link, too.

    In a pipe, plain output is tab-separated lines below a header: rank, item_id, name, score. With --explain
    it has, as --csv has, a line for each recommendation and reason: rank, item_id, name, score, base, other_items,
    others, because_item_id, because_name, contribution; the last three are empty where no owned item raises the score.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other; give one of them")
    if single_items:
        items = [*(items or ()), *single_items]
    if (user is None) == (items is None):
        raise ConfigError("recommend needs either --user ID or --items ID,ID,...; give exactly one of them")
    if fallback is not None and explained:
        raise ConfigError(
            "--explain says how the model scores, which --fallback may not ask; leave one of them out"
        )

    from recae.ids import shown
    from recae.modelfile import load
    from recae.recommender import IN_LISTS, MODEL, POPULAR, RULES

    recommender = counting(load(model_path), journal)
    found = recommender.recommend(
        user,
        items=items,
        n=n,
        exclude_owned=exclude_owned,
        fallback=fallback,
        approximate=approximate,
        rules=rules,
        diversity=diversity,
    )
    popular = any(r.source == POPULAR for r in found)
    unknown = recommender.unknown_items(items) if items else []
    if unknown:
        message(f"not in the model, left out: {', '.join(map(shown, unknown))}")
    if popular:
        message("the model knows nothing of this history: these are the items that most users own")
    elif user is not None and found and not recommender.history_of(user).nnz:
        message(
            f"user {shown(user)} owns nothing, so that the list is that of nobody in particular; with --fallback "
            "popular it is of the items that most users own"
        )
    reasons = (
        list(_reasons(recommender, recommender.history_of(user, items=items), found)) if explained else None
    )
    if as_json:
        answers: list[dict[str, object]] = [
            {"rank": r.rank, "item_id": r.item, "name": r.name, "score": shortest_float32(r.score), **more}
            for r, more in zip(found, _details(recommender, found), strict=True)
        ]
        for answer, why in zip(answers, reasons or [], strict=False):
            parts = why.exact()
            answer |= {
                "because": [
                    {"item_id": item, "name": name, "contribution": float(value)}
                    | ({} if event is None else {"event": event})
                    for event, item, name, value in _named(recommender, parts)
                ],
                "base": float(parts.base),
                "others": {"items": parts.n_others, "contribution": float(parts.others)},
            }
        source = {} if fallback is None else {"source": POPULAR if popular else MODEL}
        print_json(
            {"user": user, "items": items, "unknown_items": unknown, **source, "recommendations": answers}
        )
        return
    on_terminal = (
        is_terminal(sys.stdout) and not as_csv
    )  # who want to compare scores, not to compute with them
    if not found and not as_csv:
        left = (
            "is in the history already"
            if rules is None and not recommender.metadata.get(RULES)
            else "is in the history already, or left out by the rules"
        )
        message(f"nothing to recommend: every item of the model {left}")
    headers = ["rank", "item_id", "name", "score"]
    if reasons is not None and on_terminal:
        print_table(headers, _lines_with_reasons(recommender, found, reasons), right=("rank", "score"))
        return
    headers += [name for name in ("source", *IN_LISTS) if name in found.columns]
    rows: Iterable[Sequence[object]] = (
        (r.rank, r.item, r.name, shortest_float32(r.score), *(getattr(r, name) for name in headers[4:]))
        for r in found
    )
    if reasons is not None:
        headers = [
            *headers[:4],
            "base",
            "other_items",
            "others",
            "because_item_id",
            "because_name",
            "contribution",
        ]
        rows = _row_a_reason(recommender, found, reasons)
    if as_csv:
        print_csv(headers, rows)
    elif on_terminal:
        cells = ([_shown(name, value) for name, value in zip(headers, row, strict=True)] for row in rows)
        print_table(headers, cells, right=("rank", "score", "price"))
    else:
        print_table(headers, (["" if cell is None else str(cell) for cell in row] for row in rows))


def _shown(name: str, value: object) -> str:
    """Return a cell for a terminal: the end of a long category, and of numbers the digits that count."""
    if value is None:
        return ""
    if name == "score":
        return f"{value:#.4g}"
    if name == "price":
        return f"{value:,.2f}"
    text = str(value)
    return f"…{text[1 - _CATEGORY :]}" if name == "category" and len(text) > _CATEGORY else text


def _details(recommender: Recommender, found: Table[Recommendation]) -> Iterator[dict[str, object]]:
    """Return what the table of items says of each recommended item, by the columns that it has."""
    columns = recommender.details_of(recommender.items.rows([r.item for r in found]))
    values = [column.to_pylist() for column in columns.values()]
    return (
        dict(zip(columns, row, strict=True))
        for row in (zip(*values, strict=True) if columns else [()] * len(found))
    )


@dataclass(frozen=True)
class _Why:
    """The reasons of a recommendation, the strongest first: rounded for a terminal, exact for programs."""

    explanation: Explanation
    score: float

    def exact(self) -> ShownSum:
        score = Decimal(str(shortest_float32(self.score)))
        return self.explanation.sum(_REASONS, positive=True, score=score)

    def shown(self, decimals: int) -> ShownSum:
        return self.explanation.sum(_REASONS, positive=True, decimals=decimals)


def _named(
    recommender: Recommender, parts: ShownSum
) -> Iterator[tuple[str | None, str, str | None, Decimal]]:
    """Return event (None: it is owned), id, name and contribution of each reason."""
    for row, value in parts.reasons:
        yield recommender.event_of(row), *recommender.id_and_name(row), value


def _reasons(
    recommender: Recommender, history: sp.csr_matrix, found: Table[Recommendation]
) -> Iterator[_Why]:
    """Explain the recommendations, in blocks, so that the contributions of one block are held at a time."""
    import numpy as np

    from recae.insight.explain import explain

    rows, scores = recommender.items.rows([r.item for r in found]), np.array([r.score for r in found])
    step = max(1, _CONTRIBUTIONS_AT_ONCE // max(1, history.nnz))
    for start in range(0, len(found), step):
        some = slice(start, start + step)
        for explanation in explain(recommender, history, rows[some], scores[some]):
            yield _Why(explanation, explanation.score)


def _row_a_reason(
    recommender: Recommender, found: Table[Recommendation], reasons: Sequence[_Why]
) -> Iterator[Sequence[object]]:
    for r, why in zip(found, reasons, strict=True):
        parts = why.exact()
        figures = (float(parts.base), parts.n_others, float(parts.others))
        first = (r.rank, r.item, r.name, shortest_float32(r.score), *figures)
        for event, item, name, value in _named(recommender, parts):
            of_event = name if event is None else f"{name or item} ({event})"
            yield *first, item, of_event, float(value)
        if not parts.reasons:
            yield *first, None, None, None


def _lines_with_reasons(
    recommender: Recommender, found: Table[Recommendation], reasons: Sequence[_Why]
) -> Iterator[Sequence[str]]:
    """Return each recommendation with its strongest reasons below it, which sum to its score as they are shown."""
    scores = aligned(r.score for r in found)
    for r, score, why in zip(found, scores, reasons, strict=True):
        yield str(r.rank), r.item, r.name or "", score
        parts = why.shown(len(score.partition(".")[2]))  # as many as the scores have
        for at, (event, item, name, value) in enumerate(_named(recommender, parts)):
            said = f"{name or item}" if event is None else f"your {event} of {name or item}"
            because = "because you own" if event is None else "because of"
            yield "", "", f"  {'and' if at else because} {said}", f"{value:+f}"
        if not parts.reasons:
            yield "", "", "  nothing in the history raises it", ""
        if parts.others:
            events = bool((why.explanation.owned >= len(recommender.items)).any())
            yield "", "", f"  and {other_items(parts.n_others, events)}", f"{parts.others:+f}"
        if parts.base and parts.reasons:
            yield "", "", "  whatever you own", f"{parts.base:+f}"
