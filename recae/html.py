"""HTML for notebooks: escaped, self-contained fragments that look right on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from recae.text import clean

STYLE: Final = """<style>
.recae{font:14px/1.45 system-ui,sans-serif;max-width:60em;color:inherit}
.recae .title{font-weight:600;margin:.3em 0}
.recae .note{opacity:.75;margin:.3em 0}
.recae .warning{border-left:3px solid #c8640a;padding-left:.6em;margin:.3em 0}
.recae table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums;background:none}
.recae table th,.recae table td{padding:.15em .7em;border:0;
 border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent);
 text-align:left;vertical-align:top;background:none;color:inherit}
.recae table th{font-weight:600}
.recae table .right{text-align:right}
.recae progress{width:12em;vertical-align:middle;margin-right:.6em}
.recae details{margin:.3em 0}
.recae summary{cursor:pointer;opacity:.75}
</style>"""
"""The style of all fragments. Lines and text take the colours of the page, so that a dark one stays dark."""


def fragment(*parts: str) -> str:
    """Return parts, which are HTML already, as one element with its style."""
    return f'<div class="recae">{STYLE}{"".join(parts)}</div>'


def paragraph(text: str, kind: str = "note") -> str:
    """Return a text as a paragraph of a kind: "title", "note" or "warning"."""
    return f'<div class="{kind}">{_safe(text)}</div>'


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Iterable[str] = (),
    *,
    row_headers: bool = False,
) -> str:
    """Return a table.

    Args:
        headers: a text a column; none: no line of headers.
        rows: as many values each; None is an empty cell.
        right: headers of the columns that are aligned at the right.
        row_headers: whether the first cell of a row is its header.
    """
    aligned = set(right)
    marks = [' class="right"' if header in aligned else "" for header in headers]
    head = "".join(f"<th{mark}>{_safe(header)}</th>" for header, mark in zip(headers, marks, strict=True))
    lines = [f"<thead><tr>{head}</tr></thead>"] if headers else []
    body = []
    for row in rows:
        cells = []
        for place, value in enumerate(row):
            tag = "th" if row_headers and place == 0 else "td"
            mark = marks[place] if marks else ""
            cells.append(f"<{tag}{mark}>{'' if value is None else _safe(str(value))}</{tag}>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    lines.append(f"<tbody>{''.join(body)}</tbody>")
    # the class keeps the styles of a theme away, which know tables without one
    return f'<table class="figures">{"".join(lines)}</table>'


def folded(summary: str, texts: Sequence[str]) -> str:
    """Return lines that are shown when the summary is clicked."""
    lines = "<br>".join(_safe(text) for text in texts)
    return f"<details><summary>{_safe(summary)}</summary>{lines}</details>"


def progress_bar(text: str, done: float, total: float | None) -> str:
    """Return a bar with a text beside it; without a total the bar only moves."""
    part = "" if not total else f' value="{min(max(done / total, 0), 1):.4f}"'
    return f'<div><progress max="1"{part}></progress>{_safe(text)}</div>'


def _safe(text: str) -> str:
    return escape(clean(text))
