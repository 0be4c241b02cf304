"""Figures, drawn without a screen; matplotlib is an extra, so that nobody needs it for anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recae.errors import ConfigError, DataError, OutputError
from recae.files import atomic_path

FORMATS = (".png", ".svg", ".pdf")

_LOSS, _RECALL = "#3465a4", "#c4500b"


def check_plot(path: Path) -> None:
    """Makes sure, before any work, that a figure can be drawn into a file of this name.

    Raises OutputError when the ending is none of FORMATS, ConfigError when matplotlib is missing.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"cannot draw '{path}': its name ends in none of {', '.join(FORMATS)}; choose one of them"
        )
    try:
        import matplotlib  # noqa: F401  (asked for here, used in the drawing)
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib, which is not installed: pip install 'recae[plot]'"
        ) from error


def plot_history(history: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draws the loss and, where it was measured, the validation recall@20 of each epoch; 800 × 500 pixels as PNG.

    `history` is what training leaves in the model file: an object an epoch with `epoch`, `loss` and `recall@20`. The
    file appears whole or not at all. Raises DataError when there is no epoch in it, OutputError as `atomic_path`, and
    what `check_plot` raises.
    """
    check_plot(path)
    epochs = [
        e
        for e in history
        if isinstance(e, Mapping) and _is_number(e.get("epoch")) and _is_number(e.get("loss"))
    ]
    if not epochs:
        raise DataError(
            "the model has no history of epochs, so there is nothing to draw; plot a model that was trained"
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot: no global state, no screen
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
    with atomic_path(path) as temporary:
        # no date and no version inside: the same history gives the same bytes
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(temporary, format=kind, metadata=metadata)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
