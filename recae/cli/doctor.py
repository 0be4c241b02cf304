"""`recae doctor`: checks of a table of purchases before a model is trained on it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.help import Command, under
from recae.cli.options import (
    check_outputs,
    files_of_filters,
    filter_options,
    output_path,
    read_filters,
)
from recae.cli.output import clean, is_terminal, message, print_gap, print_json, print_table, print_text
from recae.cli.purchases import (
    column_options,
    files_read,
    read_options,
    reading_options,
    source_argument,
)
from recae.errors import OutputError

if TYPE_CHECKING:
    from recae.examination import Examination, Finding

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
    if found.expectation is not None:
        print_text(f"A model can be expected to learn {found.expectation.word} from these purchases.")
        for sentence in found.expectation.sentences:
            _print_wrapped(sentence, "  ")
        print_text("")
    _print_wrapped(_verdict(found), "")


def _properties(found: Examination) -> list[list[str]]:
    """Return the rows of the first table: what is one value each."""
    from recae.examination.findings import percent
    from recae.examination.times import day

    rows = [
        ["columns", str(found.columns)],
        *([["of the items", ", ".join(map(repr, found.of_items))]] if found.of_items else []),
        ["not used", ", ".join(map(repr, found.unused)) or "none"],
        ["rows", f"{found.rows:,}"],
        *(
            [f"dropped: {reason}", f"{count:,} ({percent(count, found.rows)})"]
            for reason, count in found.dropped.items()
        ),
    ]
    figures, report = found.figures, found.report
    if report is not None:
        rows += [[f"left out: {reason}", f"{count:,}"] for reason, count in report.left_out.items()]
        rows += [["skipped lines", f"{report.skipped:,}"]] if report.skipped else []
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
            f"median {figures.history_median:g}, 90th percentile {figures.history_90:g}, "
            f"{figures.history_most:,} at most",
        ],
        ["top 1 % of items", f"{percent(figures.top_share, 1)} of the purchases; Gini {figures.gini:.2f}"],
    ]
    times = [day(time) for time in found.period if time is not None]
    if times:
        rows.append(["period", " to ".join(times)])
    return [*rows, *(["understood", str(note)] for note in report.notes)]


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


def _exclusions(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Return the path of a text file, which --exclude-items reads an id a line of."""
    if value is None:
        return None
    path = output_path(ctx, parameter, value)
    if path.suffix.lower() not in ("", ".txt"):
        raise OutputError(f"cannot write '{path}': it holds an id a line; give a name that ends in .txt")
    return path


def _write_exclusions(path: Path, found: Examination) -> None:
    """Write the ids of the items that look like no products, one a line."""
    from recae.files import atomic_path

    ids = [item.id for item in found.no_products if not set(item.id) & {"\n", "\r"} and item.id.strip()]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{item}\n" for item in ids), encoding="utf-8", newline="")
    message(f"wrote {len(ids):,} ids of items that look like no products to {path}; --exclude-items takes it")


@click.command(cls=Command)
@source_argument
@column_options
@filter_options
@reading_options
@under(
    "Output",
    click.option(
        "--write-exclusions",
        metavar="PATH",
        callback=_exclusions,
        help="Write the ids of items that look like no products, one a line (.txt), for --exclude-items.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
def doctor(
    source: str,
    strict: bool,
    rejects: Path | None,
    write_exclusions: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check PURCHASES before a model is trained on them, and say what to do about what is found.

    \b
      recae doctor purchases.csv
      recae doctor 'data/2024-*.csv.gz' --rejects rejects.csv
      recae doctor postgresql://me@host/shop --table purchases
      recae doctor purchases.csv && recae train purchases.csv
      recae doctor purchases.csv --json > checks.json
      recae doctor purchases.csv --write-exclusions exclusions.txt
      recae train purchases.csv --exclude-items exclusions.txt

    PURCHASES is what `recae train` takes, read once in the same way: columns used, rows dropped and why, duplicates
    and repeats, rows that do not count by their event, status or rating, ids that look damaged (lost zeros, .0,
    1.2E+11, upper and lower case, dates), items that are lines of an order, names that are a person's, times that are
    missing, in the future or have gaps, users with one purchase, popularity, users like bots, items that are no
    products (postage, fees, discounts, bags), and what a model can be expected to learn. `recae train` says the
    problems and warnings, too.

    \b
    Each finding has a severity, a code that stays the same, and what to do next:
      problem   spoils what is learned, or stops the training
      warning   may spoil it; a person should look
      note      good to know

    \b
    Exit codes, for pipelines:
      0   no problem
      1   with --strict: warnings, or what `recae train --strict` refuses: a dropped row, a value in doubt
      2   problems; or the purchases cannot be read (one sentence says why)

    With --basket-column, orders are read as `recae train --repeats` reads them. With filters, --since and the others,
    rows are checked all the same; users, items and what to expect are those of the purchases that are left.
    """
    # before the reading, not after it
    sources = [*files_read(source, options), *files_of_filters(options)]
    check_outputs(sources, {"--rejects": rejects, "--write-exclusions": write_exclusions})
    filters = read_filters(options)
    baskets = options.get("basket_column") is not None
    reading = read_options({**options, "rejects": rejects}, filters).updated(baskets=baskets)

    from recae.examination import examine_source

    found = examine_source(source, reading)
    if as_json:
        print_json(found.as_dict())
    else:
        print_examination(found)
    if rejects is not None:
        message(f"wrote the {sum(found.dropped.values()):,} dropped rows to {rejects}")
    if write_exclusions is not None:
        _write_exclusions(write_exclusions, found)
    click.get_current_context().exit(found.exit_code(strict))
