"""`Summary`: what an object says of itself in some lines of text, and in a notebook as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from recae import html
from recae.text import clean

_LINES: Final = 10  # of a text at most
_WIDEST: Final = 100  # columns


@dataclass(frozen=True)
class Grid:
    """A table of a summary.

    Attributes:
        headers: a text a column.
        rows: as many texts each.
        right: headers of the columns that are aligned at the right.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()


@dataclass(frozen=True)
class Summary:
    """What an object says of itself; the text is short, the HTML may say more.

    Attributes:
        title: what it is, such as "Interactions: 2,000 users × 600 items".
        facts: (name, value) pairs, the important ones first.
        grid: a table below them; None without.
        notes: sentences below, shown in HTML one by one and in the text as far as there is room.
        details: lines that HTML folds away.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    grid: Grid | None = None
    notes: Sequence[str] = ()
    details: Sequence[str] = field(default_factory=tuple)

    def text(self) -> str:
        """Return at most some ten lines, each of at most 100 columns."""
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [self.title, *(f"  {name:<{width}}  {value}" for name, value in self.facts)]
        if self.grid is not None and self.grid.rows:
            room = max(_LINES - len(lines) - 1, 1)
            shown = self.grid.rows if len(self.grid.rows) <= room else self.grid.rows[: room - 1]
            lines += [f"  {line}" for line in _aligned(self.grid, shown)]
            if len(shown) < len(self.grid.rows):
                lines.append(f"  … {len(self.grid.rows) - len(shown):,} more")
        lines += [f"  {note}" for note in self.notes]
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], f"  … {len(lines) - _LINES + 1:,} more lines"]
        return "\n".join(_cut(clean(line)) for line in lines)

    def html(self) -> str:
        """Return a fragment of HTML with everything in it, escaped."""
        parts = [html.paragraph(self.title, "title")]
        if self.facts:
            parts.append(html.table((), self.facts, row_headers=True))
        if self.grid is not None and self.grid.rows:
            parts.append(html.table(self.grid.headers, self.grid.rows, self.grid.right))
        parts += [html.paragraph(note) for note in self.notes]
        if self.details:
            count = len(self.details)
            parts.append(html.folded(f"{count:,} more line{'s' * (count != 1)}", self.details))
        return html.fragment(*parts)


class Summarised:
    """Base of what shows itself by a summary, as text and in a notebook.

    A dataclass has to be told `repr=False`, or it writes a representation of its own.
    """

    __slots__ = ()

    def summary(self) -> Summary:
        """Return what the object says of itself."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the summary as some lines of text."""
        return self.summary().text()

    def _repr_html_(self) -> str:
        """Return the summary as HTML, for notebooks."""
        return self.summary().html()


def _aligned(grid: Grid, rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(grid.headers), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [header in set(grid.right) for header in grid.headers]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]


def _cut(line: str) -> str:
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
