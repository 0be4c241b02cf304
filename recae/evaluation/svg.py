"""Drawings inside the report: lines with bands, intervals and bars, as SVG that stretches without stretching its text.

Places along x are per cent of the width, places along y are pixels; only shapes without text lie in a stretched inner
drawing. Colours and strokes come from the stylesheet, through the classes `s0` to `s7` and `base` (dashed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from recae.evaluation.html_elements import Markup, element, join

Place: TypeAlias = Callable[[float], float]

INNER = 1000
"""Width of the stretched inner drawing."""
LABEL_HEIGHT = 18
"""Pixels between two labels at the right end."""


@dataclass(frozen=True)
class Point:
    """One place of a line: `x` from 0 to 1 across, the mean and its interval where they are known."""

    x: float
    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One line; `strong` lines are wider and lie on top, the first uppermost."""

    name: str
    classes: str
    points: Sequence[Point]
    strong: bool = False


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) from below `low` to above `high`, evenly apart."""
    if not high > low:
        half = abs(low) / 2 or 0.5
        low, high = low - half, low + half
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in (1, 2, 2.5, 5, 10) if power * part >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def tick_text(value: float, every: Sequence[float]) -> str:
    """A tick's number with as many decimals as the steps between the ticks need."""
    step = every[1] - every[0] if len(every) > 1 else abs(value) or 1
    decimals = next((n for n in range(9) if abs(round(step, n) - step) < abs(step) * 1e-6), 9)
    return f"{value:,.{decimals}f}".replace("-", "−")


def line_chart(
    lines: Sequence[Line],
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[float],
    *,
    height: int,
    label: str,
    end_labels: bool = False,
    mark: tuple[float, float] | None = None,
) -> Markup:
    """Lines with bands over a grid; `mark` is where to draw a ring, `end_labels` names each at its right end."""
    low, high = y_ticks[0], y_ticks[-1]

    def y_of(value: float) -> float:
        return round(height * (1 - (value - low) / (high - low)), 1)

    def across(share: float) -> str:
        return f"{round(100 * share, 2):g}%"

    grid = [
        join(
            element("line", x1=0, x2="100%", y1=y_of(t), y2=y_of(t), class_="axis" if t == low else "grid"),
            element("text", tick_text(t, y_ticks), x=-8, y=y_of(t), dy="0.32em", class_="tick y"),
        )
        for t in y_ticks
    ]
    below = [
        element("text", text, x=across(x), y=height, dy="1.5em", class_="tick x", data_x=f"{x:.5f}")
        for x, text in x_ticks
    ]
    drawn = sorted(lines, key=lambda line: not line.strong)[::-1]
    shapes = [_band(line, y_of) for line in drawn] + [_stroke(line, y_of) for line in drawn]
    dots = [
        element(
            "circle",
            cx=across(p.x),
            cy=y_of(p.mean),
            r=3.5 if line.strong else 2.5,
            class_=f"dot {line.classes}",
        )
        for line in drawn
        for p in line.points
        if p.mean is not None
    ]
    ring = mark and element("circle", cx=across(mark[0]), cy=y_of(mark[1]), r=7, class_="ring")
    inner = element(
        "svg",
        shapes,
        width="100%",
        height=height,
        viewBox=f"0 0 {INNER} {height}",
        preserveAspectRatio="none",
        overflow="visible",
    )
    named = _end_labels(lines, y_of, height) if end_labels else None
    return element(
        "svg",
        element("g", grid, below),
        inner,
        dots,
        ring,
        named,
        class_="lines",
        width="100%",
        height=height,
        role="img",
        aria_label=label,
        overflow="visible",
    )


def interval_plot(
    mean: float | None,
    low: float | None,
    high: float | None,
    span: tuple[float, float],
    classes: str,
    reference: float | None = None,
) -> Markup | None:
    """A mean as a dot and its interval as a bar on the axis `span`; `reference` is a line across, as at no difference.

    A mean below the axis is an arrow at its left end.
    """
    if mean is None:
        return None

    def across(value: float) -> str:
        share = (value - span[0]) / (span[1] - span[0])
        return f"{round(100 * min(max(share, 0), 1), 2):g}%"

    line = reference is not None and element(
        "line", x1=across(reference), x2=across(reference), y1=0, y2="100%", class_="reference"
    )
    bar = (
        low is not None
        and high is not None
        and element("line", x1=across(low), x2=across(high), y1="50%", y2="50%", class_="whisker")
    )
    if mean < span[0]:  # an arrow at the edge: it lies further to the left
        arrow = element("path", d="M0 12L8 7V17Z", class_="dot")
        return element("svg", line or None, arrow, class_=f"interval {classes}", aria_hidden="true")
    dot = element("circle", cx=across(mean), cy="50%", r=4.5, class_="dot")
    return element("svg", line or None, bar or None, dot, class_=f"interval {classes}", aria_hidden="true")


def bar(share: float | None, classes: str = "") -> Markup | None:
    """A bar of a share of the full width, 0 to 1."""
    if share is None:
        return None
    width = f"{round(100 * min(max(share, 0), 1), 2):g}%"
    track = element("rect", width="100%", height="100%", rx=2, class_="track")
    filled = element("rect", width=width, height="100%", rx=2, class_="fill")
    return element("svg", track, filled, class_=f"bar {classes}".strip(), aria_hidden="true")


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and largest with a little room at both ends, never equal."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _runs(line: Line) -> list[list[Point]]:
    """The line cut where a mean is missing."""
    runs: list[list[Point]] = [[]]
    for point in line.points:
        if point.mean is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{round(INNER * x, 1):g} {y:g}" for x, y in points)


def _stroke(line: Line, y_of: Place) -> Markup:
    path = "".join(_path([(p.x, y_of(p.mean)) for p in run if p.mean is not None]) for run in _runs(line))
    return element("path", d=path, class_=f"line {line.classes}{' strong' if line.strong else ''}")


def _band(line: Line, y_of: Place) -> Markup:
    outlines = []
    for run in _runs(line):
        upper = [(p.x, y_of(p.high)) for p in run if p.high is not None and p.low is not None]
        lower = [(p.x, y_of(p.low)) for p in run if p.high is not None and p.low is not None]
        if len(upper) > 1:
            outlines.append(_path([*upper, *reversed(lower)]) + "Z")
    return element(
        "path", d="".join(outlines), class_=f"band {line.classes}{' strong' if line.strong else ''}"
    )


def _end_labels(lines: Sequence[Line], y_of: Place, height: int) -> Markup:
    """Each line's name beside its end, moved apart where they would overlap, with a leader to where it belongs."""
    ends = []
    for line in lines:
        last = next((p for p in reversed(line.points) if p.mean is not None), None)
        if last is not None and last.mean is not None:
            ends.append((y_of(last.mean), line))
    ends.sort(key=lambda end: end[0])
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + LABEL_HEIGHT) if places else y)
    floor = float(height)
    for n in reversed(range(len(places))):
        places[n] = min(places[n], floor)
        floor = places[n] - LABEL_HEIGHT
    labels = [
        join(
            element("path", d=f"M7 {y:g}L20 {place:g}", class_=f"leader {line.classes}"),
            element(
                "text",
                shorten(line.name, 22),
                x=24,
                y=place,
                dy="0.32em",
                class_=f"end {line.classes}{' strong' if line.strong else ''}",
            ),
        )
        for (y, line), place in zip(ends, places, strict=True)
    ]
    return element("svg", labels, x="100%", overflow="visible", class_="ends")


def shorten(text: str, length: int) -> str:
    """The text, or its beginning with an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
