"""The results: the models side by side, what each costs, every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recae.evaluation import html_words as words
from recae.evaluation.html_elements import Child, Markup, data_text, element, join
from recae.evaluation.html_tables import (
    Column,
    Row,
    fold,
    mean_cell,
    model_name,
    row_class,
    section,
    standing,
    table,
)
from recae.evaluation.html_view import Entry, View, figure, mapping
from recae.evaluation.svg import bar, interval_plot, spread

NEAR = 0.6
"""Models with at least this share of the best mean set the scale of the drawings; the others lie off it to the left."""


def models(view: View) -> Markup:
    """The table that answers the question, each mean drawn with its interval."""
    name = words.metric_name(view.metric)
    top = view.best.mean if view.best is not None and view.best.mean is not None else 0.0
    near = [e for e in view.measured if e.mean is not None and e.mean >= NEAR * top]
    means = _span([figure(e.model, view.metric) for e in near])
    gaps = _span([e.difference for e in near], 0.0)
    far = len(near) < sum(e.mean is not None for e in view.measured)
    left = "◂ further left" if far else None
    columns = [
        Column("Model"),
        Column("In words", None, "words"),
        Column(name, "mean, 95 % interval"),
        Column(
            element("span", "drawn", class_="unseen"),
            _hints("line: best baseline" if view.rival else None, left),
            "plot",
        ),
        Column("Difference", "to the best baseline, 95 % interval, p"),
        Column(element("span", "drawn", class_="unseen"), _hints("line: no difference", left), "plot narrow"),
    ]
    rows = [_model_row(view, e, means, gaps) for e in view.entries]
    compared = any(e.status for e in view.measured)
    if not compared:  # nothing to say of a difference
        columns = columns[:4]
        rows = [Row(row.cells[:4], row.classes) for row in rows]
    return section(
        "models",
        "The models side by side",
        f"Ranked by {name}. Every model was measured on the same users"
        + (
            ", and each is compared with the best baseline user by user; p is corrected for the number of comparisons."
            if compared
            else ". None was compared with a baseline."
        ),
        table(
            f"Models by {name}, with intervals and differences",
            columns,
            rows,
            "models",
        ),
        [
            element("p", element("b", data_text(e.name)), " failed: ", data_text(e.failed), class_="note bad")
            for e in view.entries
            if e.failed is not None
        ],
        _own_verdicts(view),
    )


def _hints(*hints: str | None) -> str:
    return ", ".join(hint for hint in hints if hint)


def _model_row(view: View, entry: Entry, means: tuple[float, float], gaps: tuple[float, float]) -> Row:
    if entry.failed is not None:
        dash = element("span", words.NONE, class_="soft")
        return Row([model_name(view, entry), "could not be measured", dash, None, dash, None], "gone")
    found, gap = figure(entry.model, view.metric), entry.difference
    low, high = words.finite(found.get("low")), words.finite(found.get("high"))
    p = words.p_value(gap.get("p_corrected", gap.get("p")))
    return Row(
        [
            model_name(view, entry),
            standing(view, entry),
            mean_cell(entry.mean, words.bounds(low, high)),
            interval_plot(
                entry.mean, low, high, means, entry.colour, view.rival.mean if view.rival else None
            ),
            join(
                mean_cell(
                    gap.get("mean"), words.bounds(gap.get("low"), gap.get("high"), words.signed), words.signed
                ),
                p != words.NONE and element("small", f"p {p}" if p.startswith("<") else f"p = {p}"),
            ),
            interval_plot(
                words.finite(gap.get("mean")),
                words.finite(gap.get("low")),
                words.finite(gap.get("high")),
                gaps,
                entry.colour,
                0.0,
            ),
        ],
        row_class(view, entry),
    )


def _own_verdicts(view: View) -> Child:
    """What the comparison itself said of each model."""
    said = [(e, str(e.model["verdict"])) for e in view.measured if e.model.get("verdict")]
    if not said:
        return None
    lines = [element("li", element("b", data_text(e.name)), ": ", data_text(text)) for e, text in said]
    return fold("The verdict on each model", element("ul", lines, class_="read"))


def _span(figures: Sequence[Mapping[str, Any]], *more: float) -> tuple[float, float]:
    numbers = [words.finite(f.get(key)) for f in figures for key in ("mean", "low", "high")]
    known = [n for n in numbers if n is not None]
    return spread([*known, *more]) if known else (0.0, 1.0)


def cost(view: View) -> Markup | None:
    """Time and memory beside accuracy."""
    shown = view.measured
    times = [words.finite(e.model.get("seconds")) for e in shown]
    sizes = [words.finite(e.model.get("peak_bytes")) for e in shown]
    if all(v is None for v in [*times, *sizes]):
        return None
    longest, largest = (max((v for v in vs if v is not None), default=0.0) for vs in (times, sizes))
    tallest = max((e.mean for e in shown if e.mean is not None), default=0.0)
    rows = [
        Row(
            [
                model_name(view, e, tags=False),
                _barred(words.score(e.mean), e.mean, tallest, e.colour),
                _barred(words.seconds(t), t, longest, "plain"),
                _barred(words.size(b), b, largest, "plain"),
            ],
            row_class(view, e),
        )
        for e, t, b in zip(shown, times, sizes, strict=True)
    ]
    name = words.metric_name(view.metric)
    return section(
        "cost",
        "What it costs",
        "Accuracy beside the time that a model took and the most memory that it needed.",
        table(
            f"{name}, time and memory of each model",
            [Column("Model"), *(Column(title, None, "barred") for title in (name, "Time", "Peak memory"))],
            rows,
            "cost",
        ),
    )


def _barred(text: str, value: float | None, most: float, classes: str) -> Markup:
    share = value / most if value is not None and most > 0 else None
    return join(element("span", text), bar(share, classes))


def metrics(view: View) -> Markup | None:
    """Every metric at every length; the best of each column is marked by a word."""
    by_length = words.by_length(n for e in view.measured for n in mapping(e.model.get("metrics")))
    if not by_length:
        return None
    return section(
        "metrics",
        "Every metric",
        "Means with 95 % intervals; what each divides by stands in the glossary. The highest of each column is "
        "marked “best”, which does not say that the next one is worse for sure.",
        element(
            "div",
            [
                fold(
                    f"Lists of {k}" if k else "Without a length",
                    table(
                        f"Every metric, lists of {k}",
                        [Column("Model"), *(Column(words.metric_name(n)) for n in names)],
                        _metric_rows(view, names),
                        "values",
                    ),
                    opened=k == view.k,
                )
                for k, names in by_length.items()
            ],
            class_="folds",
        ),
    )


def _metric_rows(view: View, names: Sequence[str]) -> list[Row]:
    means = {n: [words.finite(figure(e.model, n).get("mean")) for e in view.measured] for n in names}
    tops = {n: max((v for v in vs if v is not None), default=None) for n, vs in means.items()}

    def cell(entry: Entry, name: str) -> Markup:
        found = figure(entry.model, name)
        mean = words.finite(found.get("mean"))
        mark = (
            len(view.measured) > 1
            and mean is not None
            and mean == tops[name]
            and element("span", "best", class_="tag good")
        )
        return join(mark or None, " ", mean_cell(mean, words.bounds(found.get("low"), found.get("high"))))

    return [
        Row([model_name(view, e, tags=False), *(cell(e, n) for n in names)], row_class(view, e))
        for e in view.measured
    ]
