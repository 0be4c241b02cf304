"""The lines of the report: recall by the length of the list, and what every epoch of a training brought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recae.evaluation import html_words as words
from recae.evaluation.html_elements import Markup, data_text, element
from recae.evaluation.html_tables import (
    Column,
    Row,
    fold,
    mean_cell,
    model_name,
    row_class,
    section,
    swatch,
    table,
)
from recae.evaluation.html_view import Entry, View, mapping, objects
from recae.evaluation.svg import Line, Point, line_chart, ticks


def lengths(view: View) -> Markup | None:
    """Recall by the length of the list, with bands, and the same as a table."""
    drawn = [(e, c) for e in view.measured if (c := curve(e.model))]
    ks = sorted({k for _, c in drawn for k, *_ in c})
    if len(ks) < 2:
        return None
    first, last = math.log(ks[0]), math.log(ks[-1])

    def across(k: float) -> float:
        return (math.log(k) - first) / (last - first)

    lines = [
        Line(e.name, e.colour, [Point(across(k), *f) for k, *f in c], e in (view.leader, view.rival))
        for e, c in drawn
    ]
    tops = [v for _, c in drawn for _, *f in c for v in f if v is not None]
    y_ticks = ticks(0.0, max(tops, default=1.0) or 1.0, 7)
    chart = line_chart(
        lines,
        [(across(k), f"{k:g}") for k in ks],
        y_ticks,
        height=380,
        label="Recall by length of the list, one line a model; the table below has the same figures",
        end_labels=True,
    )
    cells = {e.name: {k: f for k, *f in c} for e, c in drawn}
    columns = [Column("Model"), *(Column(f"{k:g}") for k in ks)]
    rows = [
        Row(
            [
                model_name(view, e, tags=False),
                *(mean_cell(*_cell(cells[e.name].get(k))) for k in ks),
            ],
            row_class(view, e),
        )
        for e, _ in drawn
    ]
    legend = [element("li", swatch(e), data_text(e.name)) for e, _ in drawn]
    return section(
        "lengths",
        "How long must the list be?",
        "Recall, the share of a user's hidden items that are found, by the number of items shown. Bands are 95 % "
        "intervals; where they overlap widely, the lines do not differ for sure. Dashed lines are baselines.",
        element(
            "figure",
            element("div", chart, class_="stage", data_chart="recall-table"),
            element("p", "number of items shown", class_="x-title", aria_hidden="true"),
            element("ul", legend, class_="legend"),
            class_="chart",
        ),
        element(
            "div",
            fold("The same as a table", table("Recall by length of the list", columns, rows, "values")),
            id="recall-table",
        ),
    )


def curve(model: Mapping[str, Any]) -> list[tuple[float, float | None, float | None, float | None]]:
    """The recall curve of a model as (k, mean, low, high), ascending; empty where it has none."""
    found = mapping(model.get("curve"))
    ks, recalls = (value if isinstance(value := found.get(key), list) else [] for key in ("k", "recall"))
    points = zip(ks, recalls, strict=False)
    read = [(words.finite(k), mapping(f)) for k, f in points]
    rows = [
        (k, words.finite(f.get("mean")), words.finite(f.get("low")), words.finite(f.get("high")))
        for k, f in read
        if k is not None and k >= 1
    ]
    return sorted(rows, key=lambda row: row[0])


def _cell(found: Sequence[float | None] | None) -> tuple[float | None, str | None]:
    if found is None:
        return None, None
    mean, low, high = found
    return mean, words.bounds(low, high)


def training(view: View) -> Markup | None:
    """Loss and validation recall of every epoch, for the models that were trained by epochs."""
    of = " of the first group" if (words.finite(view.part("protocol").get("folds")) or 1) > 1 else ""
    cards = [card for e in view.measured if (card := _trained(e, of)) is not None]
    if not cards:
        return None
    return section(
        "training",
        "How the training went",
        "Each pass over the data is an epoch. The loss should fall; the recall on validation users, whom nothing "
        "else is measured on, says when to stop. The ring marks the best epoch.",
        element("div", cards, class_="cards"),
    )


def _trained(entry: Entry, of: str) -> Markup | None:
    epochs = [
        (n, e) for e in objects(entry.model.get("epochs")) if (n := words.finite(e.get("epoch"))) is not None
    ]
    keys = list(
        dict.fromkeys(
            k for _, e in epochs for k in e if k == "loss" or k.partition("@")[0] in ("recall", "ndcg")
        )
    )
    charts = [chart for k in keys if (chart := _epochs(entry, epochs, k)) is not None]
    if not charts:
        return None
    return element(
        "div",
        element("h3", swatch(entry), data_text(entry.name)),
        element("p", words.counted(len(epochs), "epoch") + of, class_="hint"),
        charts,
        class_="card",
    )


def _epochs(entry: Entry, epochs: Sequence[tuple[float, Mapping[str, Any]]], key: str) -> Markup | None:
    values = sorted((n, v) for n, e in epochs if (v := words.finite(e.get(key))) is not None)
    if not values:
        return None
    first, last = values[0][0], values[-1][0]

    def across(n: float) -> float:
        return (n - first) / (last - first) if last > first else 0.5

    y_ticks = ticks(min(v for _, v in values), max(v for _, v in values), 3)
    top = None if key == "loss" else max(values, key=lambda value: value[1])
    title = "Loss" if key == "loss" else f"Validation {words.metric_name(key)}"
    write = (lambda v: f"{v:,.4g}") if key == "loss" else words.score
    said = (
        f"from {write(values[0][1])} to {write(values[-1][1])}"
        if top is None
        else f"best {write(top[1])} in epoch {top[0]:g}"
    )
    return element(
        "figure",
        element("figcaption", title, element("small", said)),
        element(
            "div",
            line_chart(
                [Line(entry.name, f"s{entry.slot}", [Point(across(n), v) for n, v in values], strong=True)],
                [(across(n), f"{n:g}") for n in ([first, last] if last > first else [first])],
                y_ticks,
                height=110,
                label=f"{title} by epoch, {said}",
                mark=None if top is None else (across(top[0]), top[1]),
            ),
            class_="stage small",
        ),
        class_="chart",
    )
