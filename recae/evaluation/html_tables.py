"""The building blocks of the report: sections, tables in boxes that scroll by themselves, names of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recae.evaluation import html_words as words
from recae.evaluation.html_elements import Child, Markup, data_text, element, join
from recae.evaluation.html_view import AHEAD, BEHIND, EVEN, Entry, View

SIGNS = {AHEAD: "▲", EVEN: "≈", BEHIND: "▼"}


@dataclass(frozen=True)
class Column:
    """A table's column: its title, what the title means in short, and the class of its cells."""

    title: Child
    hint: Child = None
    classes: str = "number"


@dataclass(frozen=True)
class Row:
    """A table's row; the first cell is what the row is about."""

    cells: Sequence[Child]
    classes: str | None = None


def section(name: str, title: str, intro: Child, *content: Child) -> Markup:
    """A part of the report with its heading, which the contents link to, and a sentence or two."""
    lead = element("p", intro, class_="intro") if intro else None
    return element(
        "section",
        element("h2", title, id=f"{name}-title"),
        lead,
        content,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def table(caption: str, columns: Sequence[Column], rows: Sequence[Row], classes: str | None = None) -> Markup:
    """A table in a box that scrolls sideways by itself, by finger, wheel and arrow keys; `caption` is read aloud."""
    head = [
        element(
            "th", c.title, c.hint and element("small", c.hint), scope="col", class_=c.classes if n else None
        )
        for n, c in enumerate(columns)
    ]
    body = [
        element(
            "tr",
            element("th", row.cells[0], scope="row"),
            [
                element("td", cell, class_=c.classes)
                for cell, c in zip(row.cells[1:], columns[1:], strict=True)
            ],
            class_=row.classes,
        )
        for row in rows
    ]
    inner = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", head)),
        element("tbody", body),
        class_=classes,
    )
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex=0)


def mean_cell(value: object, span: str | None, write: Callable[[object], str] = words.score) -> Markup:
    """A mean and, smaller, its interval."""
    return join(element("b", write(value)), span and element("small", span))


def fold(title: Child, *content: Child, opened: bool = False) -> Markup:
    """Something that most readers do not need, behind its title."""
    return element(
        "details", element("summary", title), element("div", content, class_="folded"), open=opened
    )


def swatch(entry: Entry) -> Markup:
    """The stroke that stands for a model in the drawings."""
    stroke = element("line", x1=1, x2=21, y1=5, y2=5, class_=f"line strong {entry.colour}")
    return element("svg", stroke, class_="swatch", width=22, height=10, aria_hidden="true")


def tag(text: str, classes: str = "") -> Markup:
    return element("span", text, class_=f"tag {classes}".strip())


def model_name(view: View, entry: Entry, *, tags: bool = True) -> Markup:
    """A model as the first cell of a row: its stroke, its name and, with `tags`, what it is among the others."""
    marks = []
    if tags:
        if entry is view.best and len(view.measured) > 1:
            marks.append(tag("best", "good"))
        if entry is view.rival:
            marks.append(tag("best baseline", "warm"))
        elif entry.baseline:
            marks.append(tag("baseline"))
        if entry.failed is not None:
            marks.append(tag("failed", "bad"))
    return element(
        "span",
        swatch(entry) if entry.failed is None else None,
        element(
            "span",
            data_text(entry.name, class_="name"),
            marks and element("span", [join(" ", m) for m in marks], class_="tags"),
        ),
        class_="model",
    )


def standing(view: View, entry: Entry) -> Child:
    """In words, with a sign: how a model stands to the best baseline."""
    if entry.status is None:
        return element(
            "span", "this is the one to beat" if entry is view.rival else "not compared", class_="soft"
        )
    rival = data_text(entry.difference.get("to") or (view.rival.name if view.rival else "the best baseline"))
    words = {AHEAD: "ahead of ", EVEN: "not distinguishable from ", BEHIND: "behind "}[entry.status]
    return element("span", sign(entry.status), words, rival, class_=f"standing {entry.status}")


def sign(status: str) -> Markup:
    """The shape that goes with the words."""
    return join(element("span", SIGNS[status], aria_hidden="true", class_=f"sign {status}"), " ")


def row_class(view: View, entry: Entry) -> str | None:
    return "lead" if entry is view.leader else "rival" if entry is view.rival else None
