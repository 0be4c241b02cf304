"""The charts of the report as PNG files, for slides and papers; matplotlib is an extra, as for `recae.plots`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recae.errors import ConfigError, DataError, OutputError
from recae.evaluation.report.schema import Epoch, Estimate, Report
from recae.evaluation.report.tables import Context, make_context
from recae.evaluation.report.verdict import Ranked
from recae.evaluation.report.words import metric_name, metric_rank, shorten
from recae.files import atomic_path
from recae.plots import check_matplotlib, check_plot, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = "recall-curves.png"

# of the report's page in light: the best model, the best baseline, the others
_COLOURS: Final = ("#0d6b55", "#c8640a", "#2d63b8", "#a8347f", "#7c6a00", "#10839c", "#6d4cb8", "#9c4a35")
_DPI: Final = 150


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Plot recall by length of the list, the metrics with their intervals, and the training of the models.

    The files are `recall-curves.png`, `metrics.png` and `training.png`; each appears whole or not at all, and the same
    report gives the same bytes. What the report has nothing for is not plotted.

    Args:
        report: The report.
        folder: Where to write; made where it is missing.

    Returns:
        The paths of the files written.

    Raises:
        OutputError: The folder cannot be made or written to.
        ConfigError: matplotlib is missing.
    """
    folder = Path(folder)
    check_plot(folder / CURVES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder '{folder}' for the plots: {error.strerror or error}; choose another path"
        ) from error
    context = make_context(report)
    written = []
    for name, plot in _PLOTS.items():
        figure = plot(context)
        if figure is None:
            continue
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png")
        written.append(folder / f"{name}.png")
    return written


def report_figure(report: Report, what: str = "metrics") -> Figure:
    """Return a plot of the report as a figure, which a notebook shows.

    Args:
        report: The report.
        what: "metrics", "recall-curves" or "training".

    Raises:
        ConfigError: There is no such plot, or matplotlib is missing.
        DataError: The report has nothing for it.
    """
    if what not in _PLOTS:
        raise ConfigError(f"no plot of a report is called {what!r:.80}; choose one of {', '.join(_PLOTS)}")
    check_matplotlib()
    figure = _PLOTS[what](make_context(report))
    if figure is None:
        raise DataError(
            f"the report has nothing to plot as {what}; choose another one of {', '.join(_PLOTS)}"
        )
    return figure


def _plot_curves(context: Context) -> Figure | None:
    """Plot recall by the number of items shown, with bands."""
    curves = {
        found: points
        for found in context.ranking.measured
        if found.model.curve is not None and len(points := found.model.curve.points) > 1
    }
    if not curves:
        return None
    figure = _figure(8, 5)
    axes = figure.add_subplot()
    strokes = {}
    # the two that matter lie on top, the better one uppermost
    for found in sorted(curves, key=lambda found: not context.strong(found))[::-1]:
        ks, strong = [k for k, _ in curves[found]], context.strong(found)
        estimates, colour = [estimate for _, estimate in curves[found]], _colour(context, found)
        (strokes[found],) = axes.plot(
            ks,
            _known(estimate.mean for estimate in estimates),
            marker="o",
            markersize=4,
            linewidth=2.4 if strong else 1.4,
            linestyle="--" if found.model.baseline else "-",
            color=colour,
        )
        axes.fill_between(
            ks,
            _known(estimate.low for estimate in estimates),
            _known(estimate.high for estimate in estimates),
            color=colour,
            alpha=0.2 if strong else 0.08,
            linewidth=0,
        )
    ks = sorted({k for points in curves.values() for k, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(ks, [f"{k:g}" for k in ks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("number of items shown", fontsize=11)
    axes.set_ylabel("recall", fontsize=11)
    axes.grid(axis="y", color="0.9")
    axes.legend(
        [strokes[found] for found in curves], [_name(found) for found in curves], frameon=False, fontsize=9
    )
    return _finish(figure, "Recall by length of the list, with 95 % intervals (dashed: baselines)")


def _known(values: Iterable[float | None]) -> list[float]:
    """Put NaN, which leaves a gap, for what is not known."""
    return [float("nan") if value is None else value for value in values]


def _plot_metrics(context: Context) -> Figure | None:
    """Plot every metric at the length that the models are judged by, one dot with its interval a model."""
    report, measured = context.report, context.ranking.measured
    names = sorted(
        {
            name
            for found in measured
            for name in found.model.metrics or ()
            if name == report.metric or name.partition("@")[2] == report.k
        },
        key=metric_rank,
    )
    shown = [
        found for found in measured if any(found.model.estimate(name).mean is not None for name in names)
    ]
    if not shown:
        return None
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = _figure(3.1 * columns + 1.2, rows * (0.32 * len(shown) + 1.1) + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        _plot_metric(context, axes, name, shown)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    title = f"Metrics of lists of {report.k}" if report.k else "Metrics"
    return _finish(figure, f"{title}, with 95 % intervals")


def _plot_metric(context: Context, axes: Axes, name: str, shown: Sequence[Ranked]) -> None:
    for place, found in enumerate(shown):
        _plot_estimate(axes, place, found.model.estimate(name), _colour(context, found))
    axes.set_title(metric_name(name), fontsize=10)
    axes.set_yticks(range(len(shown)), [_name(found) for found in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)  # the best on top
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", color="0.9")


def _plot_estimate(axes: Axes, place: int, found: Estimate, colour: str) -> None:
    if found.mean is None:
        return
    if found.low is not None and found.high is not None:
        interval = [found.low, found.high]
        axes.plot(interval, [place, place], color=colour, linewidth=3, alpha=0.45, solid_capstyle="round")
    axes.plot(found.mean, place, marker="o", markersize=5, color=colour)


def _plot_training(context: Context) -> Figure | None:
    """Plot loss and validation recall of each epoch, a row a model."""
    trained = {found: epochs for found in context.ranking.measured if (epochs := _epochs(found))}
    if not trained:
        return None
    figure = _figure(8.5, 2.4 * len(trained) + 0.4)
    grid = figure.subplots(len(trained), 2, squeeze=False)
    for row, (found, epochs) in zip(grid, trained.items(), strict=True):
        _plot_epochs(context, row[0], found, epochs, "loss", "loss")
        _plot_epochs(context, row[1], found, epochs, "recall@20", "validation recall@20")
    return _finish(figure, "Training by epoch")


def _plot_epochs(
    context: Context, axes: Axes, found: Ranked, epochs: Sequence[Epoch], key: str, title: str
) -> None:
    read = [(epoch.epoch, epoch.values.get(key)) for epoch in epochs]
    points = [(n, value) for n, value in read if n is not None and value is not None]
    axes.set_title(f"{_name(found)}: {title}", fontsize=10)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="0.9")
    axes.set_xlabel("epoch", fontsize=9)
    if not points:
        axes.set_axis_off()
        return
    axes.plot(*zip(*points, strict=True), color=_colour(context, found), marker="o", markersize=3.5)
    axes.locator_params(axis="x", integer=True)
    if key != "loss":
        best = max(points, key=lambda point: point[1])
        axes.plot(*best, marker="o", markersize=10, color="0.2", fillstyle="none")


def _epochs(found: Ranked) -> list[Epoch]:
    """Return the epochs that have a number and a figure to plot."""
    return [
        epoch
        for epoch in found.model.epochs
        if epoch.epoch is not None and any(epoch.values.get(key) is not None for key in ("loss", "recall@20"))
    ]


def _colour(context: Context, found: Ranked) -> str:
    return _COLOURS[context.slots[found]]


def _name(found: Ranked) -> str:
    # what no font has, and what would break the line
    return shorten("".join(c if c.isprintable() else " " for c in found.name), 28)


def _figure(width: float, height: float) -> Figure:
    return new_figure(width, height, _DPI)


def _finish(figure: Figure, title: str) -> Figure:
    from matplotlib.text import Text

    figure.suptitle(title, fontsize=12)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name is no formula
    return figure


_PLOTS: Final = {"recall-curves": _plot_curves, "metrics": _plot_metrics, "training": _plot_training}
"""Name of a plot → what makes it; None where the report has nothing for it."""
