"""The page of a report as typed parts: cells, tables, charts and texts, as the template writes them.

Nothing here computes; `recae.evaluation.report.view` makes the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from recae.evaluation.report.marks import Bar, IntervalMark, LineChart


@dataclass(frozen=True)
class Tag:
    """A word on a coloured ground."""

    text: str
    classes: str = ""


@dataclass(frozen=True)
class NameCell:
    """A model: its name, the classes of its stroke, and what it is among the others."""

    mark: ClassVar = "name"
    name: str
    stroke: str | None
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class TextCell:
    """A text; `soft` where it only says that there is nothing."""

    mark: ClassVar = "text"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class StandingCell:
    """How a model stands to the best baseline, with a sign."""

    mark: ClassVar = "standing"
    standing: str
    sign: str
    side: str
    baseline: str


@dataclass(frozen=True)
class MeanCell:
    """A mean and, smaller, its interval and a note; `best` marks the highest of its column."""

    mark: ClassVar = "mean"
    mean: str
    interval: str | None
    note: str | None = None
    best: bool = False
    bar: Bar | None = None


@dataclass(frozen=True)
class BarCell:
    """A figure above a bar."""

    mark: ClassVar = "barred"
    text: str
    bar: Bar | None


@dataclass(frozen=True)
class SettingsCell:
    """Settings as `factors = 256`, one a part; no part for the defaults."""

    mark: ClassVar = "settings"
    parts: tuple[str, ...]


Cell: TypeAlias = (
    "NameCell | TextCell | StandingCell | MeanCell | BarCell | SettingsCell | IntervalMark | None"
)


@dataclass(frozen=True)
class Column:
    """A column: its title, what it means in short, and the class of its cells.

    `unseen` titles are only read aloud; `data` titles come from the data.
    """

    title: str
    hint: str | None = None
    classes: str = "number"
    unseen: bool = False
    data: bool = False


@dataclass(frozen=True)
class Row:
    """A row; the first cell is what the row is about."""

    cells: tuple[Cell, ...]
    classes: str | None = None


@dataclass(frozen=True)
class Table:
    """A table in a box that scrolls sideways by itself; `caption` is read aloud."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    classes: str


@dataclass(frozen=True)
class CollapsedTable:
    """A table behind its title."""

    title: str
    table: Table
    opened: bool = False


@dataclass(frozen=True)
class Chip:
    """How the best model stands to the best baseline, in a word on a coloured ground."""

    standing: str
    sign: str
    text: str


@dataclass(frozen=True)
class Tile:
    """A figure at the top of the page; `data` where its value is a name from the data."""

    title: str
    value: str
    notes: tuple[str, ...]
    classes: str = ""
    data: bool = False


@dataclass(frozen=True)
class PlainNumbers:
    """Recall of the two models that matter, and the hit rate of the first, as per cent."""

    k: str
    recalls: tuple[tuple[str, str], ...]
    hits: str | None


@dataclass(frozen=True)
class Head:
    """The verdict, for readers of nothing else."""

    chip: Chip | None
    title: str
    rest: str | None
    numbers: PlainNumbers | None
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Measured:
    """The data and the protocol, in words and with counts."""

    source: str
    facts: tuple[tuple[str, str], ...]
    read: tuple[str, ...]
    protocol: str
    meaning: str | None
    rule: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Models:
    """The models side by side."""

    metric: str
    compared: bool
    table: Table
    failed: tuple[tuple[str, str], ...]
    verdicts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Lengths:
    """Recall by the length of the list, as a chart and as a table."""

    chart: LineChart
    legend: tuple[tuple[str, str], ...]
    table: Table


@dataclass(frozen=True)
class SliceTable:
    """The metric in parts of the users or items."""

    title: str
    hint: str
    table: Table


@dataclass(frozen=True)
class Beyond:
    """Figures of the lists together, at the length that models are judged at and, collapsed, at the others."""

    table: Table
    others: tuple[CollapsedTable, ...]


@dataclass(frozen=True)
class EpochChart:
    """One figure of a training by epoch."""

    title: str
    said: str
    chart: LineChart


@dataclass(frozen=True)
class Trained:
    """The training of one model."""

    name: str
    stroke: str
    hint: str
    charts: tuple[EpochChart, ...]


@dataclass(frozen=True)
class ItemMark:
    """An item by its name and, smaller, its id and score; by its id alone where it has no name.

    `found_by` names the models whose lists hold a held-out item; None for other items.
    """

    text: str
    id: str | None
    score: str | None = None
    hit: bool = False
    found_by: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ItemList:
    """Items of a user, the rest of a long list collapsed."""

    title: str
    classes: str
    shown: tuple[ItemMark, ...]
    rest: tuple[ItemMark, ...]


@dataclass(frozen=True)
class Picks:
    """What one model recommends to a user."""

    name: str
    stroke: str | None
    hint: str
    items: tuple[ItemMark, ...]


@dataclass(frozen=True)
class User:
    """One user: the history, the held-out items, and what each model recommends."""

    user: str
    history: ItemList
    held_out: ItemList
    picks: tuple[Picks, ...]


@dataclass(frozen=True)
class Worst:
    """The users for whom a model is worst, and how many find nothing, in words."""

    said: str
    users: tuple[User, ...]


@dataclass(frozen=True)
class Tuned:
    """What was tried for one model, and what it was measured with."""

    name: str
    stroke: str | None
    counted: str
    table: Table | None
    config: SettingsCell | None


@dataclass(frozen=True)
class Tuning:
    """How the models were tuned."""

    budget: str | None
    models: tuple[Tuned, ...]


@dataclass(frozen=True)
class Repeat:
    """The command, in pieces that a small screen does not break, and what decides about its figures."""

    command: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    """The whole page; a part that the report has nothing for is None or empty."""

    source: str | None
    metric: str
    head: Head
    measured: Measured
    models: Models
    lengths: Lengths | None
    slices: tuple[SliceTable, ...]
    cost: Table | None
    money: Table | None
    unpriced: str | None
    metrics: tuple[CollapsedTable, ...]
    beyond: Beyond | None
    diversity: Table | None
    training: tuple[Trained, ...]
    examples: tuple[User, ...]
    worst: Worst | None
    scored: bool
    tuning: Tuning | None
    repeat: Repeat
    glossary: tuple[tuple[str, str], ...]
