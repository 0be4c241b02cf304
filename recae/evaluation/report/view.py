"""From a report to its page: what stands where, in which words and at which places, for the template to write."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from recae.evaluation.report import words
from recae.evaluation.report.marks import Line, Point, line_chart, ticks
from recae.evaluation.report.page import (
    Cell,
    Chip,
    Column,
    EpochChart,
    Head,
    ItemList,
    ItemMark,
    Lengths,
    Measured,
    Page,
    Picks,
    PlainNumbers,
    Repeat,
    Row,
    Table,
    TextCell,
    Tile,
    Trained,
    Tuned,
    Tuning,
    User,
    Worst,
)
from recae.evaluation.report.schema import UNKNOWN, Epoch, Estimate, Report
from recae.evaluation.report.tables import (
    Context,
    beyond_part,
    cost_table,
    diversity_table,
    make_context,
    mean_cell,
    metric_tables,
    model_table,
    models_part,
    money_table,
    settings_cell,
    slice_tables,
)
from recae.evaluation.report.users import Example, Item, Recommended
from recae.evaluation.report.verdict import Ranked, Standing
from recae.splits.rows import PROTOCOLS

HEADLINE: Final = 170
"""Letters that a headline may have; a longer first sentence is set as text."""
SHOWN: Final = 12
"""Items of a long history that are shown before the rest is collapsed."""

_CHIPS: Final = {
    Standing.BETTER: "Ahead of the best baseline",
    Standing.EVEN: "Not distinguishable from the best baseline",
    Standing.WORSE: "Behind the best baseline",
}


def make_page(report: Report) -> Page:
    """Make the page of a report; the same report gives the same page."""
    context = make_context(report)
    worst = () if report.failures is None else report.failures.examples
    listed = [item for e in (*report.examples, *worst) for items in e.recommended.values() for item in items]
    measured = {
        name for model in report.models for part in (model.metrics, model.sets) for name in part or ()
    }
    return Page(
        source=report.data.source,
        metric=words.metric_name(report.metric),
        head=_head(context),
        measured=_measured(report),
        models=models_part(context),
        lengths=_lengths(context),
        slices=slice_tables(context),
        cost=cost_table(context),
        money=money_table(context),
        unpriced=_unpriced(report),
        metrics=metric_tables(context),
        beyond=beyond_part(context),
        diversity=diversity_table(context),
        training=_training(context),
        examples=tuple(_user(context, example) for example in report.examples),
        worst=_worst(context),
        scored=any(item.score is not None for item in listed),
        tuning=_tuning(context),
        repeat=_repeat(report),
        glossary=words.glossary(measured | {report.metric}),
    )


def _head(context: Context) -> Head:
    title, rest = _headline(context)
    best = context.ranking.best_model
    chip = None
    if best is not None and best.standing is not None:
        chip = Chip(best.standing.value, words.SIGNS[best.standing], _CHIPS[best.standing])
    return Head(chip, title, rest, _plain_numbers(context), _tiles(context))


def _headline(context: Context) -> tuple[str, str | None]:
    """Return the headline and the text after it."""
    text = " ".join((context.report.verdict or "").split())
    best = context.ranking.best
    if not text:
        if best is None:
            return "Nothing could be measured", None
        return f"{best.name} is first by {words.metric_name(context.report.metric)}", None
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", text, maxsplit=1)
    if len(sentences[0]) > HEADLINE:
        return "Is a model worth it on these data?", text
    return sentences[0].removesuffix("."), sentences[1] if len(sentences) == 2 else None


def _plain_numbers(context: Context) -> PlainNumbers | None:
    """Return recall and hit rate, where they were measured."""
    ranking, k = context.ranking, context.report.k
    two = [found for found in (ranking.best_model, ranking.best_baseline) if found is not None]
    told = [(found, found.model.estimate(f"recall@{k}").mean) for found in two]
    known = [(found, recall) for found, recall in told if recall is not None]
    if not known:
        return None
    hits = known[0][0].model.estimate(f"hit_rate@{k}").mean
    return PlainNumbers(
        k,
        tuple((found.name, words.percent(recall)) for found, recall in known),
        None if hits is None else words.percent(hits),
    )


def _tiles(context: Context) -> tuple[Tile, ...]:
    ranking, protocol = context.ranking, context.report.protocol
    best, baseline = ranking.best_model, ranking.best_baseline
    tiles = [
        _tile(context, "Best model that is no baseline", best),
        _tile(context, "Best baseline", baseline),
    ]
    if best is not None and best.standing is not None:
        gap = best.model.gap
        base = baseline.mean if baseline is not None else None
        relative = f"{100 * gap.mean / base:+.1f}{words.NBSP}%" if gap.mean is not None and base else None
        notes = (relative and relative.replace("-", words.MINUS), _interval(words.signed_bounds(gap)))
        known = tuple(note for note in notes if note)
        tiles.append(Tile("Difference", words.signed(gap.mean), known, best.standing.value))
    users = words.counted(protocol.n_test_users, "user")
    tiles.append(Tile("Measured on", users, (words.counted(protocol.n_held_out, "held-out item"),)))
    return tuple(tiles)


def _tile(context: Context, title: str, found: Ranked | None) -> Tile:
    if found is None:
        return Tile(title, words.NONE, ("none was measured",))
    metric = context.report.metric
    figure = f"{words.metric_name(metric)} {words.score(found.mean)}"
    span = _interval(words.bounds(found.model.estimate(metric)))
    return Tile(title, found.name, (figure, span) if span else (figure,), context.colour(found), data=True)


def _interval(span: str | None) -> str | None:
    return span and f"95{words.NBSP}%: {span}"


def _measured(report: Report) -> Measured:
    data, protocol = report.data, report.protocol
    kind = protocol.name or ""
    row = PROTOCOLS.get(kind)
    title, meaning = (kind or "Not known", None) if row is None else (row.title, row.meaning)
    notes = []
    if protocol.exclude_owned is not None:
        again = "may be recommended again" if not protocol.exclude_owned else "are not recommended"
        notes.append(f"Items that a user owned before {again}.")
    if protocol.folds is not None:
        notes.append(f"{words.counted(protocol.folds, 'group')}.")
    if protocol.lost is not None and protocol.lost > 0:
        lost = words.counted(protocol.lost, "held-out interaction")
        notes.append(f"{lost} of items that the training part does not know.")
    if protocol.seed is not None:
        notes.append(f"Drawn with seed {protocol.seed}.")
    return Measured(
        data.source or "Not named",
        (
            ("Users", words.whole(data.n_users)),
            ("Items", words.whole(data.n_items)),
            ("Interactions", words.whole(data.n_interactions)),
        ),
        data.report,
        title[:1].lower() + title[1:],
        meaning,
        protocol.rule,
        tuple(notes),
    )


def _lengths(context: Context) -> Lengths | None:
    curves = {
        found: points
        for found in context.ranking.measured
        if found.model.curve is not None and (points := found.model.curve.points)
    }
    ks = sorted({k for points in curves.values() for k, _ in points})
    if len(ks) < 2:
        return None
    first, last = math.log(ks[0]), math.log(ks[-1])

    def across(k: float) -> float:
        return (math.log(k) - first) / (last - first)

    lines = [
        Line(
            found.name,
            context.colour(found),
            [Point(across(k), estimate) for k, estimate in points],
            context.strong(found),
        )
        for found, points in curves.items()
    ]
    figures = [value for points in curves.values() for _, e in points for value in (e.mean, e.low, e.high)]
    top = max((value for value in figures if value is not None), default=1.0) or 1.0
    rows: dict[Ranked, tuple[Cell, ...]] = {}
    for found, points in curves.items():
        by_k = dict(points)
        rows[found] = tuple(mean_cell(by_k.get(k, UNKNOWN)) for k in ks)
    return Lengths(
        line_chart(
            lines,
            [(across(k), f"{k:g}") for k in ks],
            ticks(0.0, top, 7),
            height=380,
            label="Recall by length of the list, one line a model; the table below has the same figures",
            end_labels=True,
        ),
        tuple((found.name, context.colour(found)) for found in curves),
        model_table(
            context, "Recall by length of the list", tuple(Column(f"{k:g}") for k in ks), rows, "values"
        ),
    )


def _training(context: Context) -> tuple[Trained, ...]:
    """Return loss and validation figures of every epoch, for the models that were trained by epochs."""
    of = " of the first group" if (context.report.protocol.folds or 1) > 1 else ""
    trained = []
    for found in context.ranking.measured:
        epochs = [epoch for epoch in found.model.epochs if epoch.epoch is not None]
        keys = dict.fromkeys(
            key
            for epoch in epochs
            for key in epoch.values
            if key == "loss" or key.partition("@")[0] in ("recall", "ndcg")
        )
        charts = [chart for key in keys if (chart := _epoch_chart(context, found, epochs, key)) is not None]
        if charts:
            hint = words.counted(len(epochs), "epoch") + of
            trained.append(Trained(found.name, context.colour(found), hint, tuple(charts)))
    return tuple(trained)


def _epoch_chart(context: Context, found: Ranked, epochs: Sequence[Epoch], key: str) -> EpochChart | None:
    read = [(epoch.epoch, epoch.values.get(key)) for epoch in epochs]
    values = sorted((n, value) for n, value in read if n is not None and value is not None)
    if not values:
        return None
    first, last = values[0][0], values[-1][0]

    def across(n: float) -> float:
        return (n - first) / (last - first) if last > first else 0.5

    if key == "loss":
        ring, title = None, "Loss"
        said = f"from {values[0][1]:,.4g} to {values[-1][1]:,.4g}"
    else:
        epoch, top = max(values, key=lambda value: value[1])
        ring, title = (across(epoch), top), f"Validation {words.metric_name(key)}"
        said = f"best {words.score(top)} in epoch {epoch}"
    points = [Point(across(n), Estimate(value, None, None)) for n, value in values]
    chart = line_chart(
        [Line(found.name, f"s{context.slots[found]}", points, strong=True)],
        [(across(n), str(n)) for n in ([first, last] if last > first else [first])],
        ticks(min(value for _, value in values), max(value for _, value in values), 3),
        height=110,
        label=f"{title} by epoch, {said}",
        ring=ring,
    )
    return EpochChart(title, said, chart)


def _user(context: Context, example: Example) -> User:
    lists = {
        found: example.recommended[found.name]
        for found in context.ranking.models
        if found.name in example.recommended
    }
    hits: dict[str, list[str]] = {}
    for found, items in lists.items():
        for item in items:
            if item.hit:
                hits.setdefault(item.item, []).append(found.name)
    history = [_item(item) for item in example.history]
    held_out = [_item(item, found_by=tuple(hits.get(item.item, ()))) for item in example.held_out]
    return User(
        example.user,
        _item_list("Known", "items known", history),
        _item_list("Hidden", "items held", held_out),
        tuple(_picks(context, found, items) for found, items in lists.items()),
    )


def _unpriced(report: Report) -> str | None:
    """Say how many held-out items count nothing, since nobody knows their prices."""
    n, of = report.protocol.counts.get("held_out_without_price", 0), report.protocol.n_held_out
    if not n:
        return None
    total = "" if of is None else f" of {words.whole(of)}"
    return f"{words.whole(n)}{total} held-out purchases have no price and count nothing here."


def _worst(context: Context) -> Worst | None:
    """Return the users for whom the best model is worst."""
    found = context.report.failures
    if found is None or not found.examples:
        return None
    k = found.metric.partition("@")[2]
    none, users = found.n_without_hit, found.n_users
    said = (
        f"Where {found.model} is worst by {words.metric_name(found.metric)}; of equals, the users with most hidden "
        "items come first."
    )
    if none is not None and users:
        said += (
            f" {words.whole(none)} of {words.counted(users, 'user')} ({words.percent(none / users)}) find none of "
            f"their hidden items among the first {k}."
        )
    if found.history_without_hit is not None and found.history_with_hit is not None:
        said += (
            f" Half of these have at most {found.history_without_hit:g} items in their history; of the others, at "
            f"most {found.history_with_hit:g}."
        )
    return Worst(said, tuple(_user(context, example) for example in found.examples))


def _picks(context: Context, found: Ranked, items: Sequence[Recommended]) -> Picks:
    return Picks(
        found.name,
        context.colour(found),
        f"{sum(item.hit for item in items)} of {len(items)} are among the hidden",
        tuple(_item(item, score=item.score, hit=item.hit) for item in items),
    )


def _item_list(title: str, classes: str, items: Sequence[ItemMark]) -> ItemList:
    title = f"{title}: {words.counted(len(items), 'item')}"
    return ItemList(title, classes, tuple(items[:SHOWN]), tuple(items[SHOWN:]))


def _item(
    item: Item | Recommended,
    *,
    score: float | None = None,
    hit: bool = False,
    found_by: tuple[str, ...] | None = None,
) -> ItemMark:
    named = item.name is not None and item.name != item.item
    return ItemMark(
        item.name or item.item, item.item if named else None, words.item_score(score), hit, found_by
    )


def _tuning(context: Context) -> Tuning | None:
    """Return the budget, what was tried, and the settings each model was measured with."""
    budget = context.report.budget
    trials = budget.trials_per_model
    said = budget.text
    if said is None and trials is not None:
        said = f"Every model got {words.counted(trials, 'trial')} on the same validation data."
    tuned = [_tuned(context, found) for found in context.ranking.models]
    models = tuple(found for found in tuned if found is not None)
    return Tuning(said and words.sentence(said), models) if said or models else None


def _tuned(context: Context, found: Ranked) -> Tuned | None:
    model = found.model
    if not model.tuned and not model.config:
        return None
    return Tuned(
        model.name,
        context.colour(found),
        words.counted(len(model.tuned), "trial") if model.tuned else "nothing to choose",
        _trial_table(context, found) if model.tuned else None,
        settings_cell(model.config) if model.config else None,
    )


def _trial_table(context: Context, found: Ranked) -> Table:
    trials, metric = found.model.tuned, context.report.metric
    names = list(
        dict.fromkeys(n for trial in trials for n, value in trial.metrics.items() if value is not None)
    )
    by = metric if metric in names else next(iter(names), None)
    scores = [trial.metrics.get(by) if by is not None else None for trial in trials]
    folds = [trial.fold for trial in trials]
    several = len(set(folds)) > 1
    # the first of equals is taken; of k-fold each group takes its own
    chosen = {
        max((n for n, of in enumerate(folds) if of == fold), key=lambda n: _or_least(scores[n]))
        for fold in set(folds)
    }
    rows = []
    for n, trial in enumerate(trials):
        taken = n in chosen and scores[n] is not None
        group = [TextCell(words.whole(trial.fold))] if several else []
        figures = [TextCell(words.score(trial.metrics.get(name))) for name in names]
        cells = (settings_cell(trial.settings), *group, *figures, TextCell("chosen") if taken else None)
        rows.append(Row(cells, "best-model" if taken else None))
    columns = (
        Column("Settings"),
        *([Column("Group")] if several else []),
        *(Column(words.metric_name(name), "validation") for name in names),
        Column("chosen", unseen=True),
    )
    return Table(f"Trials of {found.name}", columns, tuple(rows), "trials")


def _or_least(value: float | None) -> float:
    return -math.inf if value is None else value


def _repeat(report: Report) -> Repeat:
    known = (("seed", report.protocol.seed), ("fingerprint of the data", report.data.fingerprint))
    return Repeat(
        tuple(re.split(r" (?=--)", report.command)) if report.command else (),
        (*report.versions.items(), *((name, str(value)) for name, value in known if value is not None)),
    )
