"""Marks of the page as typed geometry: bars, intervals and line charts, ready for the template to place.

Places along x are per cent of the width, places along y are pixels, so that a chart stretches without stretching its
text; only shapes without text lie in a stretched inner SVG. Colours and strokes come from the stylesheet, through
the classes `s0` to `s7` and `base` (dashed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from recae.evaluation.report.schema import UNKNOWN, Estimate
from recae.evaluation.report.words import MINUS, shorten

Scale: TypeAlias = Callable[[float], float]

INNER: Final = 1000
"""Width of the stretched inner SVG."""
LABEL_HEIGHT: Final = 18
"""Pixels between two labels at the right end."""
LABEL_LENGTH: Final = 22
"""Letters of a label at the right end."""


@dataclass(frozen=True)
class Bar:
    """A bar of a fraction of the full width."""

    mark: ClassVar = "bar"
    width: str
    classes: str


@dataclass(frozen=True)
class IntervalMark:
    """A mean as a dot and its interval as a line on a common axis.

    Attributes:
        classes: Colour of the mark.
        reference: Place of a line across, such as at no difference; None for no line.
        whisker: Both ends of the interval; None where it is not known or not on the axis.
        dot: Place of the mean; None for a mean below the axis, which is an arrow at its left end.
    """

    mark: ClassVar = "interval"
    classes: str
    reference: str | None
    whisker: tuple[str, str] | None
    dot: str | None


@dataclass(frozen=True)
class Point:
    """A place of a line: `x` from 0 to 1 across, and the estimate there."""

    x: float
    estimate: Estimate


@dataclass(frozen=True)
class Line:
    """A line of a chart; `strong` lines are wider and lie on top, the first uppermost."""

    name: str
    classes: str
    points: Sequence[Point]
    strong: bool = False

    @property
    def style(self) -> str:
        """The classes of its strokes."""
        return f"{self.classes}{' strong' if self.strong else ''}"


@dataclass(frozen=True)
class YTick:
    """A horizontal grid line with its number; `axis` for the lowest."""

    y: float
    text: str
    axis: bool


@dataclass(frozen=True)
class XTick:
    """A number below a chart; `fraction` is its place from 0 to 1, which the script reads."""

    x: str
    text: str
    fraction: str


@dataclass(frozen=True)
class Shape:
    """A path of the stretched inner SVG."""

    path: str
    classes: str


@dataclass(frozen=True)
class Dot:
    """A dot where something was measured."""

    x: str
    y: float
    radius: float
    classes: str


@dataclass(frozen=True)
class EndLabel:
    """A line's name beside its end, with a path to where it belongs."""

    path: str
    y: float
    text: str
    line_classes: str
    classes: str


@dataclass(frozen=True)
class LineChart:
    """Lines with bands over a grid; what comes later in a sequence lies on top."""

    label: str
    height: int
    y_ticks: tuple[YTick, ...]
    x_ticks: tuple[XTick, ...]
    shapes: tuple[Shape, ...]
    dots: tuple[Dot, ...]
    ring: Dot | None
    ends: tuple[EndLabel, ...] | None


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Find round numbers (1, 2, 2.5 or 5 times a power of ten) evenly apart, from below `low` to above `high`."""
    if not high > low:
        half = abs(low) / 2 or 0.5
        low, high = low - half, low + half
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in (1, 2, 2.5, 5, 10) if power * part >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def tick_text(value: float, every: Sequence[float]) -> str:
    """Write a tick's number with as many decimals as the steps between the ticks need."""
    step = every[1] - every[0] if len(every) > 1 else abs(value) or 1
    decimals = next((n for n in range(9) if abs(round(step, n) - step) < abs(step) * 1e-6), 9)
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Find an axis from the smallest to the largest with a little room at both ends, never empty."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def bar(fraction: float | None, classes: str) -> Bar | None:
    """Make a bar of a fraction from 0 to 1; None where it is not known."""
    return None if fraction is None else Bar(_percent(min(max(fraction, 0), 1)), f"bar {classes}")


def interval_mark(
    found: Estimate, axis: tuple[float, float], classes: str, reference: float | None = None
) -> IntervalMark | None:
    """Place a mean and its interval on an axis.

    Args:
        found: The mean and its interval.
        axis: Both ends of the axis; what lies outside is placed at its ends.
        classes: Colour of the mark.
        reference: Value of a line across.

    Returns:
        The mark; None where there is no mean.
    """
    if found.mean is None:
        return None

    def across(value: float) -> str:
        fraction = (value - axis[0]) / (axis[1] - axis[0])
        return _percent(min(max(fraction, 0), 1))

    line = None if reference is None else across(reference)
    classes = f"interval {classes}"
    if found.mean < axis[0]:
        return IntervalMark(classes, line, None, None)
    low, high = found.low, found.high
    whisker = None if low is None or high is None else (across(low), across(high))
    return IntervalMark(classes, line, whisker, across(found.mean))


def line_chart(
    lines: Sequence[Line],
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[float],
    *,
    height: int,
    label: str,
    end_labels: bool = False,
    ring: tuple[float, float] | None = None,
) -> LineChart:
    """Place lines with their bands over a grid.

    Args:
        lines: The lines; a point without a mean leaves a gap.
        x_ticks: Place from 0 to 1 and text of each.
        y_ticks: Values of the grid lines; the first and the last are the ends of the axis.
        height: In pixels.
        label: What the chart shows, read aloud.
        end_labels: Whether each line is named at its right end.
        ring: Place from 0 to 1 and value to draw a ring at.

    Returns:
        The chart.
    """
    low, high = y_ticks[0], y_ticks[-1]

    def y_of(value: float) -> float:
        return round(height * (1 - (value - low) / (high - low)), 1)

    ordered = sorted(lines, key=lambda line: not line.strong)[::-1]
    dots = [
        Dot(_percent(point.x), y_of(mean), 3.5 if line.strong else 2.5, f"dot {line.classes}")
        for line in ordered
        for point in line.points
        if (mean := point.estimate.mean) is not None
    ]
    return LineChart(
        label,
        height,
        tuple(YTick(y_of(value), tick_text(value, y_ticks), value == low) for value in y_ticks),
        tuple(XTick(_percent(x), text, f"{x:.5f}") for x, text in x_ticks),
        tuple([_band(line, y_of) for line in ordered] + [_stroke(line, y_of) for line in ordered]),
        tuple(dots),
        None if ring is None else Dot(_percent(ring[0]), y_of(ring[1]), 7, "ring"),
        _end_labels(lines, y_of, height) if end_labels else None,
    )


def _percent(fraction: float) -> str:
    return f"{round(100 * fraction, 2):g}%"


def _runs(line: Line) -> list[list[tuple[float, float, Estimate]]]:
    """Cut the line where a mean is missing: the place, the mean and the estimate of each point."""
    runs: list[list[tuple[float, float, Estimate]]] = [[]]
    for point in line.points:
        if point.estimate.mean is None:
            runs.append([])
        else:
            runs[-1].append((point.x, point.estimate.mean, point.estimate))
    return [run for run in runs if run]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{round(INNER * x, 1):g} {y:g}" for x, y in points)


def _stroke(line: Line, y_of: Scale) -> Shape:
    path = "".join(_path([(x, y_of(mean)) for x, mean, _ in run]) for run in _runs(line))
    return Shape(path, f"line {line.style}")


def _band(line: Line, y_of: Scale) -> Shape:
    outlines = []
    for run in _runs(line):
        known = [(x, e.low, e.high) for x, _, e in run if e.low is not None and e.high is not None]
        if len(known) > 1:
            upper = [(x, y_of(high)) for x, _, high in known]
            lower = [(x, y_of(low)) for x, low, _ in reversed(known)]
            outlines.append(_path([*upper, *lower]) + "Z")
    return Shape("".join(outlines), f"band {line.style}")


def _end_labels(lines: Sequence[Line], y_of: Scale, height: int) -> tuple[EndLabel, ...]:
    """Place each line's name at the height of its last point, moved apart where names would overlap."""
    ends: list[tuple[float, Line]] = []
    for line in lines:
        last = next((p.estimate for p in reversed(line.points) if p.estimate.mean is not None), UNKNOWN)
        if last.mean is not None:
            ends.append((y_of(last.mean), line))
    ends.sort(key=lambda end: end[0])
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + LABEL_HEIGHT) if places else y)
    floor = float(height)
    for n in reversed(range(len(places))):
        places[n] = min(places[n], floor)
        floor = places[n] - LABEL_HEIGHT
    return tuple(
        EndLabel(
            f"M7 {y:g}L20 {place:g}",
            place,
            shorten(line.name, LABEL_LENGTH),
            f"pointer {line.classes}",
            f"end {line.style}",
        )
        for (y, line), place in zip(ends, places, strict=True)
    )
