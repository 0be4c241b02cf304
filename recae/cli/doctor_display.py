"""What `recae doctor` prints: the table in figures, the findings, and what to expect."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from recae.cli.output import clean, is_terminal, print_gap, print_table, print_text

if TYPE_CHECKING:
    from recae.doctor import Examination, Finding

_WIDEST = 100  # columns that are still read with ease


def print_examination(found: Examination) -> None:
    """Print everything on stdout: for a terminal in paragraphs, for a pipe a line a finding, separated by tabs."""
    print_table(["property", "value"], _properties(found), title=f"Purchases in {found.source}")
    print_gap()
    if is_terminal(sys.stdout):
        for finding in found.findings:
            _print_paragraphs(finding)
    elif found.findings:
        headers = ["severity", "code", "column", "finding", "examples", "what to do"]
        print_table(headers, map(_cells, found.findings))
        print_gap()
    if found.outlook is not None:
        print_text(f"A model can be expected to learn {found.outlook.word} from these purchases.")
        for sentence in found.outlook.sentences:
            _print_wrapped(sentence, "  ")
        print_text("")
    _print_wrapped(_verdict(found), "")


def _properties(found: Examination) -> list[list[str]]:
    """Return the rows of the first table: what is one value each."""
    from recae.doctor.findings import percent
    from recae.doctor.times import day

    rows = [
        ["columns", str(found.columns)],
        ["not used", ", ".join(map(repr, found.unused)) or "none"],
        ["rows", f"{found.rows:,}"],
        *(
            [f"dropped: {reason}", f"{count:,} ({percent(count, found.rows)})"]
            for reason, count in found.dropped.items()
        ),
    ]
    figures, report = found.figures, found.report
    if figures is None or report is None:
        return rows
    purchases = figures.interactions + figures.repeats
    rows += [[f"left out: {reason}", f"{count:,}"] for reason, count in report.filtered.items()]
    rows += [
        [
            "repeats",
            f"{figures.repeats:,} of {purchases:,} purchases ({percent(figures.repeats, purchases)})",
        ],
        ["users", f"{figures.users:,}"],
        ["items", f"{figures.items:,}"],
        ["pairs", f"{figures.interactions:,} ({percent(figures.density, 1)} of all possible)"],
        [
            "items a user",
            f"{figures.history_median:g} in the middle, {figures.history_90:g} at 90 %, "
            f"{figures.history_most:,} at most",
        ],
        ["top 1 % of items", f"{percent(figures.top_share, 1)} of the purchases; Gini {figures.gini:.2f}"],
    ]
    times = [day(time) for time in found.period if time is not None]
    if times:
        rows.append(["period", " to ".join(times)])
    return [*rows, *(["understood", note] for note in report.notes)]


def _print_paragraphs(finding: Finding) -> None:
    about = f" ({finding.column})" if finding.column else ""
    print_text(f"{finding.severity.value.upper()}  {finding.code}{about}")
    _print_wrapped(f"{finding.text[:1].upper()}{finding.text[1:]}.", "  ")
    for example in finding.examples:
        _print_wrapped(example, "    · ", "      ")
    _print_wrapped(f"{finding.advice[:1].upper()}{finding.advice[1:]}.", "  → ", "    ")
    print_text("")


def _print_wrapped(text: str, indent: str, hanging: str | None = None) -> None:
    """Print a paragraph within the terminal's width; in a pipe it is one line."""
    if not is_terminal(sys.stdout):
        print_text(text)
        return
    width = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
    lines = textwrap.wrap(
        clean(text),
        width,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_on_hyphens=False,
    )
    for line in lines:
        print_text(line)


def _cells(finding: Finding) -> list[str]:
    examples = "; ".join(finding.examples)
    return [
        finding.severity.value,
        finding.code,
        finding.column or "-",
        finding.text,
        examples or "-",
        finding.advice,
    ]


def _verdict(found: Examination) -> str:
    """Return the last line: how many findings of which severity."""
    counts: dict[str, int] = {}
    for finding in found.findings:
        counts[finding.severity.value] = counts.get(finding.severity.value, 0) + 1
    listed = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    return f"found: {listed}" if listed else "found: nothing to remark"
