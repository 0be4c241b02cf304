"""The report's drawings as PNG files, for slides and papers; matplotlib is an extra, as for `recae.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recae.errors import OutputError
from recae.evaluation.html_curves import curve
from recae.evaluation.html_view import Entry, View, figure, make_view, objects
from recae.evaluation.html_words import finite, metric_name, metric_rank
from recae.evaluation.svg import shorten
from recae.files import atomic_path
from recae.plots import check_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES, METRICS, TRAINING = "recall-curves.png", "metrics.png", "training.png"

# of the report's page in light: the leading model, the best baseline, the others
_COLOURS = ("#0d6b55", "#c8640a", "#2d63b8", "#a8347f", "#7c6a00", "#10839c", "#6d4cb8", "#9c4a35")
_DPI = 150


def write_plots(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws recall by length of the list, the metrics with their intervals, and the training of the models.

    The files are `recall-curves.png`, `metrics.png` and `training.png` in `folder`, which is made where it is missing;
    each appears whole or not at all, and the same report gives the same bytes. What the report has nothing for is not
    drawn: the paths returned are those of the files written. Raises OutputError when the folder cannot be made or
    written to, ConfigError when matplotlib is missing.
    """
    folder = Path(folder)
    check_plot(folder / CURVES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder '{folder}' for the plots: {error.strerror or error}; choose another path"
        ) from error
    view = make_view(report)
    drawn = ((CURVES, _draw_curves(view)), (METRICS, _draw_metrics(view)), (TRAINING, _draw_training(view)))
    written = []
    for name, picture in drawn:
        if picture is None:
            continue
        with atomic_path(folder / name) as temporary:
            picture.savefig(temporary, format="png")
        written.append(folder / name)
    return written


def _draw_curves(view: View) -> Figure | None:
    """Recall by the number of items shown, with bands."""
    drawn = [(e, c) for e in view.measured if len(c := curve(e.model)) > 1]
    if not drawn:
        return None
    picture = _figure(8, 5)
    axes = picture.add_subplot()
    stroke = {}
    # the two that matter lie on top, the better one uppermost
    for entry, points in sorted(drawn, key=lambda d: d[0] not in (view.leader, view.rival))[::-1]:
        strong = entry in (view.leader, view.rival)
        ks = [k for k, *_ in points]
        mean, low, high = (_column(points, n) for n in (1, 2, 3))
        (stroke[entry.name],) = axes.plot(
            ks,
            mean,
            marker="o",
            markersize=4,
            linewidth=2.4 if strong else 1.4,
            linestyle="--" if entry.baseline else "-",
            color=_COLOURS[entry.slot],
        )
        axes.fill_between(
            ks, low, high, color=_COLOURS[entry.slot], alpha=0.2 if strong else 0.08, linewidth=0
        )
    ks = sorted({k for _, points in drawn for k, *_ in points})
    axes.set_xscale("log")
    axes.set_xticks(ks, [f"{k:g}" for k in ks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("number of items shown", fontsize=11)
    axes.set_ylabel("recall", fontsize=11)
    axes.grid(axis="y", color="0.9")
    axes.legend([stroke[e.name] for e, _ in drawn], [_name(e) for e, _ in drawn], frameon=False, fontsize=9)
    return _finish(picture, "Recall by length of the list, with 95 % intervals (dashed: baselines)")


def _column(points: Sequence[Sequence[float | None]], n: int) -> list[float]:
    """The n-th number of every point, NaN where it is not known, which leaves a gap."""
    return [float("nan") if (value := point[n]) is None else value for point in points]


def _draw_metrics(view: View) -> Figure | None:
    """Every metric at the length that the models are judged by, one dot with its interval a model."""
    names = sorted(
        {
            name
            for e in view.measured
            for name in e.model.get("metrics") or {}
            if name == view.metric or name.partition("@")[2] == view.k
        },
        key=metric_rank,
    )
    shown = [
        e for e in view.measured if any(finite(figure(e.model, n).get("mean")) is not None for n in names)
    ]
    if not shown:
        return None
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    picture = _figure(3.1 * columns + 1.2, rows * (0.32 * len(shown) + 1.1) + 0.5)
    grid = picture.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        _draw_metric(axes, name, shown)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    return _finish(
        picture,
        f"Metrics of lists of {view.k}, with 95 % intervals" if view.k else "Metrics, with 95 % intervals",
    )


def _draw_metric(axes: Axes, name: str, shown: Sequence[Entry]) -> None:
    for place, entry in enumerate(shown):
        found = figure(entry.model, name)
        mean, low, high = (finite(found.get(key)) for key in ("mean", "low", "high"))
        if mean is None:
            continue
        colour = _COLOURS[entry.slot]
        if low is not None and high is not None:
            axes.plot(
                [low, high], [place, place], color=colour, linewidth=3, alpha=0.45, solid_capstyle="round"
            )
        axes.plot(mean, place, marker="o", markersize=5, color=colour)
    axes.set_title(metric_name(name), fontsize=10)
    axes.set_yticks(range(len(shown)), [_name(e) for e in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)  # the best on top
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", color="0.9")


def _draw_training(view: View) -> Figure | None:
    """Loss and validation recall of each epoch, a row a model."""
    trained = [(e, epochs) for e in view.measured if (epochs := _epochs(e))]
    if not trained:
        return None
    picture = _figure(8.5, 2.4 * len(trained) + 0.4)
    grid = picture.subplots(len(trained), 2, squeeze=False)
    for row, (entry, epochs) in zip(grid, trained, strict=True):
        for axes, key, title in zip(
            row, ("loss", "recall@20"), ("loss", "validation recall@20"), strict=True
        ):
            points = [(n, v) for n, e in epochs if (v := finite(e.get(key))) is not None]
            axes.set_title(f"{_name(entry)}: {title}", fontsize=10)
            axes.tick_params(labelsize=9)
            axes.grid(axis="y", color="0.9")
            if not points:
                axes.set_axis_off()
                continue
            axes.plot(*zip(*points, strict=True), color=_COLOURS[entry.slot], marker="o", markersize=3.5)
            axes.xaxis.get_major_locator().set_params(integer=True)
            if key != "loss":
                best = max(points, key=lambda point: point[1])
                axes.plot(*best, marker="o", markersize=10, color="0.2", fillstyle="none")
        row[1].set_xlabel("epoch", fontsize=9)
        row[0].set_xlabel("epoch", fontsize=9)
    return _finish(picture, "Training by epoch")


def _epochs(entry: Entry) -> list[tuple[float, Mapping[str, Any]]]:
    found = [(finite(e.get("epoch")), e) for e in objects(entry.model.get("epochs"))]
    return [
        (n, e)
        for n, e in found
        if n is not None and (finite(e.get("loss")) is not None or finite(e.get("recall@20")) is not None)
    ]


def _name(entry: Entry) -> str:
    # what no font draws, and what would break the line
    return shorten("".join(c if c.isprintable() else " " for c in entry.name), 28)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(picture)  # without pyplot: no global state, no screen
    return picture


def _finish(picture: Figure, title: str) -> Figure:
    from matplotlib.text import Text

    picture.suptitle(title, fontsize=12)
    for text in picture.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name is no formula
    return picture
