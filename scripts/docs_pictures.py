#!/usr/bin/env python3
"""Draws the diagrams of the documentation, docs/pictures/*.svg, from the figures in scripts/bench/README.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BENCH = (ROOT / "scripts" / "bench" / "README.md").read_text(encoding="utf-8")
OURS, PLAIN, QUIET = "#00796b", "#c2410c", "#b0bec5"


def rows(head: str) -> list[list[str]]:
    """Return the cells of the first table of the benchmarks whose header begins with `head`."""
    lines = BENCH[BENCH.index(f"| {head}") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def number(text: str) -> float:
    """Return the number in a cell."""
    return float(re.sub("[^0-9.]", "", text))


def save(figure: Any, name: str) -> None:
    """Write a figure, the same bytes each time."""
    figure.savefig(PICTURES / name, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def step_cost() -> None:
    """Time of a step against the number of items: measured, and the plain loop scaled from its one measurement."""
    measured = [(number(row[0]), number(row[1])) for row in rows("items | µs a user")]
    plain = number(next(row for row in rows("what | µs a user") if "one user a step" in row[0])[1])
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    items = [item for item, _ in measured]
    axes.loglog(items, [plain * item / 40_981 for item in items], "--", color=PLAIN)
    axes.plot(
        40_981, plain, "o", color=PLAIN, label="plain PyTorch loop: measured at 40,981 items, in proportion"
    )
    axes.loglog(*zip(*measured, strict=True), "o-", color=OURS, label="recae, measured")
    axes.set(xlabel="items in the catalogue", ylabel="µs a user", ylim=(10, 2e7))
    axes.set_title("One training step, 256 factors, one thread", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "step-cost.svg")


def throughput() -> None:
    """Users a second of the four ways to train."""
    found = [(row[0], number(row[2])) for row in rows("what | µs a user")][::-1]
    figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
    colours = [OURS if "recae" in name else QUIET for name, _ in found]
    bars = axes.barh([name for name, _ in found], [value for _, value in found], color=colours)
    axes.bar_label(bars, [f"{value:,.0f}" for _, value in found], padding=4)
    axes.set(xscale="log", xlabel="users a second, on a logarithmic scale", xlim=(5, 1e5))
    axes.set_title("Gowalla, 256 factors, one thread", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "throughput.svg")


def step_rows() -> None:
    """What a step reads and writes, as blocks of rows."""
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")

    def block(x: float, y: float, width: float, height: float, colour: str, label: str) -> None:
        axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="#37474f"))
        axes.text(x + width / 2, y - 0.5, label, ha="center", va="top")

    bought = (1.2, 3.1, 3.7, 6.4, 8.8)
    block(0.5, 0, 2, 10, PLAIN, "W: 41,000 rows")
    axes.text(1.5, 10.6, "plain loop", ha="center", weight="bold")
    block(5, 0, 2, 10, "#eceff1", "V: 41,000 rows")
    for y in bought:
        axes.add_patch(Rectangle((5, y), 2, 0.22, facecolor=OURS, edgecolor="none"))
    axes.annotate(
        "rows of 27 purchases", (7, 6.5), (7.5, 8.4), arrowprops={"arrowstyle": "-", "color": "#37474f"}
    )
    for x, name in ((7.9, "U"), (9.5, "U⁻¹"), (11.1, "Q")):
        block(x, 3.2, 1.2, 2.2, OURS, f"{name}\n257 × 257")
    axes.text(8.5, 10.6, "recae", ha="center", weight="bold")
    axes.set(xlim=(0, 12.8), ylim=(-2, 11.4))
    axes.axis("off")
    axes.set_title("What one step reads and writes (coloured)", loc="left")
    save(figure, "step-rows.svg")


def main() -> None:
    """Draw all of them."""
    # characters as paths would make the files ten times as large; "hashsalt" makes their ids the same each time
    plt.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "recae", "font.family": "sans-serif", "font.size": 10}
    )
    PICTURES.mkdir(exist_ok=True)
    step_cost()
    step_rows()
    throughput()


if __name__ == "__main__":
    main()
