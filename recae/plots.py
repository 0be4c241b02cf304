"""Figures of training histories and trials, made by matplotlib (an extra) without a screen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recae.errors import ConfigError, DataError, OutputError
from recae.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

_LOSS, _RECALL = "#3465a4", "#c4500b"
_TRIAL, _BEST, _PRUNED = "#3465a4", "#c4500b", "0.55"

SETTINGS_AT_MOST = 3
"""Settings that are drawn beneath the trials."""


def check_plot(path: Path) -> None:
    """Make sure, before any work, that a figure can be drawn into a file of this name.

    Raises:
        OutputError: the ending is none of FORMATS.
        ConfigError: matplotlib is missing.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"cannot draw '{path}': its name ends in none of {', '.join(FORMATS)}; choose one of them"
        )
    check_matplotlib()


def check_matplotlib() -> None:
    """Raise ConfigError where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401  (checked here, used below)
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib, which is not installed: pip install 'recae[plot]'"
        ) from error


def plot_history(history: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draw the loss and, where it was measured, the validation recall@20 of each epoch; 800 × 500 pixels as PNG.

    The file appears whole or not at all.

    Args:
        history: as training stores it in the model file: an object an epoch with `epoch`, `loss` and `recall@20`.
        path: the file; its ending decides the format.
        title: above the figure.

    Raises:
        DataError: there is no epoch in it.
        OutputError: as `atomic_path`.
        RecaeError: as `check_plot`.
    """
    check_plot(path)
    save_figure(history_figure(history, title), path)


def history_figure(history: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Return the figure of `plot_history`, which a notebook shows.

    Raises:
        DataError: there is no epoch in it.
        ConfigError: matplotlib is missing.
    """
    check_matplotlib()
    epochs = [
        e
        for e in history
        if isinstance(e, Mapping) and _is_number(e.get("epoch")) and _is_number(e.get("loss"))
    ]
    if not epochs:
        raise DataError(
            "the model has no history of epochs, so there is nothing to draw; plot a model that was trained"
        )
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(8, 5, 100)
    losses = figure.add_subplot()
    numbers = [e["epoch"] for e in epochs]
    losses.plot(numbers, [e["loss"] for e in epochs], color=_LOSS, marker="o", markersize=4, linewidth=1.8)
    losses.set_xlabel("epoch", fontsize=12)
    losses.set_ylabel("loss, mean a user", color=_LOSS, fontsize=12)
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.grid(axis="y", color="0.9")
    losses.tick_params(labelsize=11)
    measured = [(e["epoch"], e["recall@20"]) for e in epochs if _is_number(e.get("recall@20"))]
    if measured:
        recalls = losses.twinx()
        recalls.plot(*zip(*measured, strict=True), color=_RECALL, marker="s", markersize=4, linewidth=1.8)
        recalls.set_ylabel("validation recall@20", color=_RECALL, fontsize=12)
        recalls.tick_params(labelsize=11)
        best = max(measured, key=lambda point: point[1])
        recalls.plot(*best, marker="o", markersize=11, color=_RECALL, fillstyle="none", linestyle="none")
        title = f"{title}: best recall@20 {best[1]:.4f} in epoch {best[0]}".removeprefix(": ")
    figure.suptitle(title, fontsize=13, parse_math=False)  # a dollar in a name is no formula
    return figure


def plot_trials(
    trials: Sequence[Mapping[str, Any]],
    importance: Mapping[str, float],
    metric: str,
    path: Path,
    title: str = "",
) -> None:
    """Draw the value of each trial and the best so far, and below it the values by the most important settings.

    A PNG has 1,000 × 750 pixels. A failed trial is a mark at the foot. The file appears whole or not at all.

    Args:
        trials: objects with `trial` (a number), `state` ("complete", "pruned" or "failed"), `value` and `settings`, as
            `recae tune --json` has them.
        importance: which settings to draw; where empty, the first of `trials`.
        metric: name of the values.
        path: the file; its ending decides the format.
        title: above the figure.

    Raises:
        DataError: no trial is complete.
        OutputError: as `atomic_path`.
        RecaeError: as `check_plot`.
    """
    check_plot(path)
    save_figure(trials_figure(trials, importance, metric, title), path)


def trials_figure(
    trials: Sequence[Mapping[str, Any]], importance: Mapping[str, float], metric: str, title: str = ""
) -> Figure:
    """Return the figure of `plot_trials`, which a notebook shows.

    Raises:
        DataError: no trial is complete.
        ConfigError: matplotlib is missing.
    """
    check_matplotlib()
    complete = [t for t in trials if t["state"] == "complete" and _is_number(t["value"])]
    pruned = [t for t in trials if t["state"] == "pruned" and _is_number(t["value"])]
    if not complete:
        raise DataError("no trial is complete, so there is nothing to draw; tune with more trials or time")
    from matplotlib.ticker import MaxNLocator

    names = list(importance) or list(dict.fromkeys(name for t in complete for name in t["settings"]))
    names = [name for name in names if any(name in t["settings"] for t in complete)][:SETTINGS_AT_MOST]
    figure = new_figure(10, 7.5, 100)
    grid = figure.add_gridspec(2 if names else 1, max(len(names), 1), height_ratios=(3, 2) if names else None)
    best = max(complete, key=lambda t: (t["value"], -t["trial"]))

    by_trial = figure.add_subplot(grid[0, :])
    steps: list[tuple[int, float]] = []
    for t in complete:
        steps.append((t["trial"], max(t["value"], steps[-1][1] if steps else t["value"])))
    last = max(t["trial"] for t in trials)
    ends = [*(number for number, _ in steps), max(last, steps[-1][0] + 1)]
    by_trial.step(
        ends, [*(v for _, v in steps), steps[-1][1]], where="post", color=_BEST, label="best so far"
    )
    failed = [t["trial"] for t in trials if t["state"] == "failed"]
    if failed:
        foot = by_trial.get_xaxis_transform()
        by_trial.scatter(
            failed, [0.02] * len(failed), transform=foot, marker="|", color="black", label="failed"
        )
    by_trial.set_xlabel("trial", fontsize=12)
    by_trial.xaxis.set_major_locator(MaxNLocator(integer=True))
    _scatter(by_trial, {t["trial"]: t["trial"] for t in trials}, complete, pruned, best)
    by_trial.set_ylabel(f"validation {metric}", fontsize=12)
    by_trial.legend(loc="lower right", fontsize=10)

    for place, name in enumerate(names):
        panel = figure.add_subplot(grid[1, place], sharey=by_trial)
        having = [t for t in (*complete, *pruned) if name in t["settings"]]
        found = [t["settings"][name] for t in having]
        numbers = all(_is_number(value) for value in found)
        if numbers and min(found) > 0 and max(found) >= 10 * min(found):
            panel.set_xscale("log")
        at = {t["trial"]: value if numbers else str(value) for t, value in zip(having, found, strict=True)}
        _scatter(panel, at, complete, pruned, best)
        share = f"\nimportance {importance[name]:.0%}" if name in importance else ""
        panel.set_xlabel(f"{name}{share}", fontsize=11, parse_math=False)
    text = f"{title}: best {metric} {best['value']:.4f} in trial {best['trial']}".removeprefix(": ")
    figure.suptitle(text, fontsize=13, parse_math=False)
    return figure


def _scatter(
    axes: Any,
    at: Mapping[int, Any],
    complete: Sequence[Mapping[str, Any]],
    pruned: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
) -> None:
    """Draw the values of the trials over the places that `at` has for their numbers, the best in a ring."""
    for label, group, colour, marker in (
        ("complete", complete, _TRIAL, "o"),
        ("pruned", pruned, _PRUNED, "x"),
    ):
        points = [(at[t["trial"]], t["value"]) for t in group if t["trial"] in at]
        if points:
            axes.scatter(*zip(*points, strict=True), s=24, color=colour, marker=marker, label=label, zorder=3)
    if best["trial"] in at:
        axes.scatter(
            [at[best["trial"]]], [best["value"]], s=110, facecolors="none", edgecolors=_BEST, zorder=4
        )
    axes.grid(axis="y", color="0.9")
    axes.tick_params(labelsize=10)


def new_figure(width: float, height: float, dpi: int) -> Figure:
    """Return an empty figure, in inches, that a notebook shows where it is the value of a cell.

    It is made without pyplot, so that there is no global state and no screen is needed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _inline_figure()(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@cache
def _inline_figure() -> type[Figure]:
    """Return the class of figures that notebooks show; matplotlib's own are shown through pyplot only."""
    from matplotlib.figure import Figure

    class InlineFigure(Figure):
        """A figure with a picture for notebooks."""

        def _repr_png_(self) -> bytes:
            """Return the figure as PNG."""
            content = io.BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    return InlineFigure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, whose ending decides the format; it appears whole or not at all.

    Raises:
        OutputError: as `recae.files.atomic_path`.
    """
    with atomic_path(path) as temporary:
        # no date and no version inside: the same history gives the same bytes
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(temporary, format=kind, metadata=metadata)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
