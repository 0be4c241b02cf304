"""Tables of the page: the models side by side, each metric, costs, slices, and the colours of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recae.evaluation.products import MONEY
from recae.evaluation.report import words
from recae.evaluation.report.marks import Bar, bar, interval_mark, spread
from recae.evaluation.report.page import (
    BarCell,
    Beyond,
    Cell,
    CollapsedTable,
    Column,
    MeanCell,
    Models,
    NameCell,
    Row,
    SettingsCell,
    SliceTable,
    StandingCell,
    Table,
    Tag,
    TextCell,
)
from recae.evaluation.report.schema import UNKNOWN, Estimate, Json, Report, Slice
from recae.evaluation.report.verdict import Ranked, Ranking, rank_models

SLOTS: Final = 8
"""Number of colours: the first is the best model's and the second the best baseline's, whatever their names."""
NEAR: Final = 0.6
"""Models with at least this fraction of the best mean set the scale of the intervals; others lie off it to the left."""
BESIDE: Final = 3
"""Slices up to which a mean and its interval stand on one line."""

_SLICES: Final = {
    "history": ("By how much is known of the user", "Users by the number of items in their history."),
    "popularity": (
        "By how popular the item is",
        "Head: the few items that make up half of all purchases; torso: the next 30 %; tail: the many items that "
        "share the last 20 %.",
    ),
    "repeat": ("New or bought before", "Whether the user already had the held-out item."),
    "category": (
        "By category of the item",
        "The categories with most held-out purchases; the lists of all items, measured against the held-out items of "
        "the category.",
    ),
    "price": ("By price of the item", "Bands with about as many held-out purchases each."),
}


@dataclass(frozen=True, eq=False)
class Context:
    """A report, the order of its models and their colours: what every part of the page rests on."""

    report: Report
    ranking: Ranking
    slots: Mapping[Ranked, int]

    def colour(self, found: Ranked) -> str:
        """Return the classes that give a mark the colour of a model, and dashes for a baseline."""
        return f"s{self.slots[found]}{' base' if found.model.baseline else ''}"

    def strong(self, found: Ranked) -> bool:
        """Return whether the model is one of the two that the verdict is about."""
        return found in (self.ranking.best_model, self.ranking.best_baseline)


def make_context(report: Report) -> Context:
    """Rank the models of a report and give them colours; the same report gives the same ones."""
    ranking = rank_models(report)
    first = {ranking.best_model: 0, ranking.best_baseline: 1}
    others = [found for found in ranking.models if found not in first]
    slots = {found: n for found, n in first.items() if found is not None}
    # the other colours take turns where there are more models
    slots |= {found: 2 + n % (SLOTS - 2) for n, found in enumerate(others)}
    return Context(report, ranking, slots)


def name_cell(context: Context, found: Ranked, *, tags: bool = False) -> NameCell:
    """Make the first cell of a model's row."""
    ranking, marks = context.ranking, []
    if tags:
        if found is ranking.best and len(ranking.measured) > 1:
            marks.append(Tag("best", "good"))
        if found is ranking.best_baseline:
            marks.append(Tag("best baseline", "warm"))
        elif found.model.baseline:
            marks.append(Tag("baseline"))
        if found.model.failed is not None:
            marks.append(Tag("failed", "bad"))
    stroke = context.colour(found) if found.model.failed is None else None
    return NameCell(found.name, stroke, tuple(marks))


def standing_cell(context: Context, found: Ranked) -> StandingCell | TextCell:
    """Say how a model stands to the best baseline."""
    baseline = context.ranking.best_baseline
    if found.standing is None or found.model.difference is None:
        return TextCell("this is the one to beat" if found is baseline else "not compared", soft=True)
    to = found.model.difference.to or (baseline.name if baseline else "the best baseline")
    return StandingCell(found.standing.value, words.SIGNS[found.standing], words.SIDES[found.standing], to)


def mean_cell(found: Estimate, *, best: bool = False, fraction: Bar | None = None) -> MeanCell:
    """Write a mean and its interval."""
    return MeanCell(words.score(found.mean), words.bounds(found), None, best, fraction)


def bar_cell(text: str, value: float | None, most: float, classes: str) -> BarCell:
    """Write a figure above a bar of its fraction of the largest."""
    return BarCell(text, bar(fraction_of(value, most), classes))


def fraction_of(value: float | None, most: float) -> float | None:
    """Divide a value by the largest; None where that says nothing."""
    return value / most if value is not None and most > 0 else None


def settings_cell(settings: Mapping[str, Json]) -> SettingsCell:
    """Write settings as the data have them."""
    return SettingsCell(tuple(f"{key} = {words.setting(value)}" for key, value in settings.items()))


def row_class(context: Context, found: Ranked) -> str | None:
    """Give the two models that the verdict is about a tinted row."""
    if found is context.ranking.best_model:
        return "best-model"
    return "best-baseline" if found is context.ranking.best_baseline else None


def model_table(
    context: Context,
    caption: str,
    columns: tuple[Column, ...],
    rows: dict[Ranked, tuple[Cell, ...]],
    classes: str,
) -> Table:
    """Make a table of one row a model.

    Args:
        context: Report, ranking and colours.
        caption: Read aloud.
        columns: Those after the model's own.
        rows: The cells after the model's own.
        classes: Of the table.

    Returns:
        The table.
    """
    return Table(
        caption,
        (Column("Model"), *columns),
        tuple(
            Row((name_cell(context, found), *cells), row_class(context, found))
            for found, cells in rows.items()
        ),
        classes,
    )


def models_part(context: Context) -> Models:
    """Make the table that answers the question, each mean with its interval as a mark."""
    ranking = context.ranking
    name = words.metric_name(ranking.metric)
    top = ranking.best.mean if ranking.best is not None and ranking.best.mean is not None else 0.0
    near = [found for found in ranking.measured if found.mean is not None and found.mean >= NEAR * top]
    means = _axis([found.model.estimate(ranking.metric) for found in near])
    gaps = _axis([found.model.gap for found in near], 0.0)
    far = len(near) < sum(found.mean is not None for found in ranking.measured)
    left = "◂ further left" if far else None
    line = "line: best baseline" if ranking.best_baseline else None
    columns = (
        Column("Model"),
        Column("In words", None, "words"),
        Column(name, "mean, 95 % interval"),
        Column("drawn", _hints(line, left), "plot", unseen=True),
        Column("Difference", "to the best baseline, 95 % interval, p"),
        Column("drawn", _hints("line: no difference", left), "plot slim", unseen=True),
    )
    shown = len(columns) if ranking.compared else 4  # without a comparison nothing is said of a difference
    rows = []
    for found in ranking.models:
        failed = found.model.failed is not None
        cells = _failed_cells(context, found) if failed else _model_cells(context, found, means, gaps)
        rows.append(Row(cells[:shown], "gone" if failed else row_class(context, found)))
    return Models(
        name,
        ranking.compared,
        Table(f"Models by {name}, with intervals and differences", columns[:shown], tuple(rows), "models"),
        tuple((found.name, found.model.failed) for found in ranking.models if found.model.failed is not None),
        tuple((found.name, found.model.verdict) for found in ranking.measured if found.model.verdict),
    )


def _hints(*hints: str | None) -> str | None:
    return ", ".join(hint for hint in hints if hint) or None


def _failed_cells(context: Context, found: Ranked) -> tuple[Cell, ...]:
    dash = TextCell(words.NONE, soft=True)
    return (name_cell(context, found, tags=True), TextCell("could not be measured"), dash, None, dash, None)


def _model_cells(
    context: Context, found: Ranked, means: tuple[float, float], gaps: tuple[float, float]
) -> tuple[Cell, ...]:
    baseline = context.ranking.best_baseline
    estimate, gap = found.model.estimate(context.ranking.metric), found.model.gap
    colour = context.colour(found)
    return (
        name_cell(context, found, tags=True),
        standing_cell(context, found),
        mean_cell(estimate),
        interval_mark(estimate, means, colour, baseline.mean if baseline else None),
        MeanCell(words.signed(gap.mean), words.signed_bounds(gap), words.p_equals(found.model.p_corrected)),
        interval_mark(gap, gaps, colour, 0.0),
    )


def _axis(estimates: Sequence[Estimate], *more: float) -> tuple[float, float]:
    numbers = [value for found in estimates for value in (found.mean, found.low, found.high)]
    known = [value for value in numbers if value is not None]
    return spread([*known, *more]) if known else (0.0, 1.0)


def slice_tables(context: Context) -> tuple[SliceTable, ...]:
    """Make the tables of the metric in parts of the users and items, as far as it was measured there."""
    measured = context.ranking.measured
    kinds = [kind for kind in _SLICES if any(_parts(found, kind) for found in measured)]
    return tuple(_slice(context, kind) for kind in kinds)


def _parts(found: Ranked, kind: str) -> tuple[Slice, ...]:
    return (found.model.slices or {}).get(kind, ())


def _slice(context: Context, kind: str) -> SliceTable:
    title, hint = _SLICES[kind]
    parts = {
        found: {part.name: part for part in _parts(found, kind)}
        for found in context.ranking.measured
        if _parts(found, kind)
    }
    names = list(dict.fromkeys(name for by_name in parts.values() for name in by_name))
    best = {
        name: _highest(by_name[name].mean for by_name in parts.values() if name in by_name) for name in names
    }
    most = _highest(best.values()) or 0.0

    def cell(found: Ranked, name: str) -> MeanCell:
        part = parts[found].get(name)
        estimate = UNKNOWN if part is None else part.estimate
        first = len(parts) > 1 and estimate.mean is not None and estimate.mean == best[name]
        fraction = bar(fraction_of(estimate.mean, most), context.colour(found))
        return mean_cell(estimate, best=first, fraction=fraction)

    def users(name: str) -> str | None:
        counts = (by_name[name].n_users for by_name in parts.values() if name in by_name)
        count = next((count for count in counts if count is not None), None)
        return None if count is None else words.counted(count, "user")

    columns = tuple(Column(name, users(name), "barred", data=True) for name in names)
    rows: dict[Ranked, tuple[Cell, ...]] = {
        found: tuple(cell(found, name) for name in names) for found in parts
    }
    classes = "values slices" if len(names) <= BESIDE else "values"
    return SliceTable(title, hint, model_table(context, title, columns, rows, classes))


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def cost_table(context: Context) -> Table | None:
    """Set time and memory beside accuracy; None where neither is known."""
    shown = context.ranking.measured
    if all(found.model.seconds is None and found.model.peak_bytes is None for found in shown):
        return None
    longest = _highest(found.model.seconds for found in shown) or 0.0
    largest = _highest(found.model.peak_bytes for found in shown) or 0.0
    tallest = _highest(found.mean for found in shown) or 0.0
    rows: dict[Ranked, tuple[Cell, ...]] = {
        found: (
            bar_cell(words.score(found.mean), found.mean, tallest, context.colour(found)),
            bar_cell(words.seconds(found.model.seconds), found.model.seconds, longest, "plain"),
            bar_cell(words.size(found.model.peak_bytes), found.model.peak_bytes, largest, "plain"),
        )
        for found in shown
    }
    name = words.metric_name(context.report.metric)
    columns = tuple(Column(title, None, "barred") for title in (name, "Time", "Peak memory"))
    return model_table(context, f"{name}, time and memory of each model", columns, rows, "cost")


def money_table(context: Context) -> Table | None:
    """Set the value of the hits beside each model; None where no prices are known."""
    k = context.report.k
    value, recall = f"value@{k}", f"value_recall@{k}"
    shown = [found for found in context.ranking.measured if value in (found.model.metrics or {})]
    if not shown:
        return None
    most = _highest(found.model.estimate(value).mean for found in shown)
    baseline = context.ranking.best_baseline
    rows: dict[Ranked, tuple[Cell, ...]] = {}
    for found in shown:
        worth, gap, part = found.model.estimate(value), found.model.worth, found.model.estimate(recall)
        span = _between(worth, words.amount)
        fraction = bar(fraction_of(worth.mean, most or 0.0), context.colour(found))
        best = len(shown) > 1 and worth.mean is not None and worth.mean == most
        share = MeanCell(words.percent(part.mean), _between(part, words.percent))
        cells: tuple[Cell, ...] = (MeanCell(words.amount(worth.mean), span, None, best, fraction), share)
        if baseline is not None:
            gap = gap or UNKNOWN
            signed = MeanCell(words.signed_amount(gap.mean), _between(gap, words.signed_amount))
            cells += (signed if gap.mean is not None else TextCell("this is the one to beat", soft=True),)
        rows[found] = cells
    columns: tuple[Column, ...] = (
        Column("Value of the hits", "per 1,000 recommendations, 95 % interval", "barred"),
        Column("Recall by value", "fraction of what the held-out items cost"),
    )
    if baseline is not None:
        columns += (Column("Difference", "per 1,000, to the best baseline, 95 % interval"),)
    return model_table(context, f"Value of the hits in lists of {k}", columns, rows, "values")


def diversity_table(context: Context) -> Table | None:
    """Set how lists with diversity change the metric beside what they bring; None where none were made."""
    metric, k = context.report.metric, context.report.k
    name = words.metric_name(metric)
    rows = []
    for found in context.ranking.measured:
        if not found.model.diversified:
            continue
        plain = found.model.sets or {}
        cells: tuple[Cell, ...] = (
            mean_cell(found.model.estimate(metric)),
            TextCell("the lists without", soft=True),
        )
        rows.append(Row((name_cell(context, found), TextCell("0"), *cells, *_kinds_of_lists(plain, k))))
        for lists in found.model.diversified:
            cost = MeanCell(words.signed(lists.cost.mean), words.signed_bounds(lists.cost))
            written = TextCell(words.NONE if lists.diversity is None else f"{lists.diversity:g}")
            cells = (mean_cell(lists.mean), cost)
            rows.append(Row((name_cell(context, found), written, *cells, *_kinds_of_lists(lists.sets, k))))
    if not rows:
        return None
    columns = (
        Column("Model"),
        Column("--diversity"),
        Column(name, "mean, 95 % interval"),
        Column("Change", f"of {name}, user by user, 95 % interval"),
        Column(f"Diversity@{k}"),
        Column(f"Coverage@{k}"),
    )
    return Table("Lists with diversity beside those without", columns, tuple(rows), "values")


def _kinds_of_lists(sets: Mapping[str, float | None], k: str) -> tuple[TextCell, TextCell]:
    names = (f"diversity@{k}", f"coverage@{k}")
    return TextCell(words.set_value(names[0], sets.get(names[0]))), TextCell(
        words.set_value(names[1], sets.get(names[1]))
    )


def _between(found: Estimate, write: Callable[[float | None], str]) -> str | None:
    known = found.low is not None and found.high is not None
    return f"{write(found.low)} to {write(found.high)}" if known else None


def metric_tables(context: Context) -> tuple[CollapsedTable, ...]:
    """Make a table of every metric for every length; the best of each column is marked by a word."""
    measured = context.ranking.measured
    lengths = words.by_length(
        name
        for found in measured
        for name in found.model.metrics or ()
        if name.partition("@")[0] not in MONEY
    )
    tables = []
    for k, names in lengths.items():
        best = {name: _highest(found.model.estimate(name).mean for found in measured) for name in names}
        rows: dict[Ranked, tuple[Cell, ...]] = {}
        for found in measured:
            estimates = [(found.model.estimate(name), best[name]) for name in names]
            rows[found] = tuple(
                mean_cell(
                    estimate, best=len(measured) > 1 and estimate.mean is not None and estimate.mean == top
                )
                for estimate, top in estimates
            )
        columns = tuple(Column(words.metric_name(name)) for name in names)
        table = model_table(context, f"Every metric, lists of {k}", columns, rows, "values")
        tables.append(CollapsedTable(_of_length(k), table, opened=k == context.report.k))
    return tuple(tables)


def _of_length(k: str) -> str:
    return f"Lists of {k}" if k else "Without a length"


def beyond_part(context: Context) -> Beyond | None:
    """Make the tables of the lists together, apart from whether they are right; None where nothing was measured."""
    lengths = words.by_length(name for found in context.ranking.measured for name in found.model.sets or ())
    if not lengths:
        return None
    shown = context.report.k if context.report.k in lengths else next(iter(lengths))
    caption = "Coverage, novelty, popularity and diversity of the recommendations"
    first = _set_table(context, lengths.pop(shown), caption)
    others = [
        CollapsedTable(
            _of_length(k),
            _set_table(context, names, f"The same for lists of {k}" if k else "The same without a length"),
        )
        for k, names in lengths.items()
    ]
    return Beyond(first, tuple(others))


def _set_table(context: Context, names: Sequence[str], caption: str) -> Table:
    rows: dict[Ranked, tuple[Cell, ...]] = {
        found: tuple(TextCell(words.set_value(name, (found.model.sets or {}).get(name))) for name in names)
        for found in context.ranking.measured
    }
    columns = tuple(
        Column(words.metric_name(name), words.BEYOND_HINTS.get(name.partition("@")[0])) for name in names
    )
    return model_table(context, caption, columns, rows, "values hints")
