"""Output of the commands: results on stdout, progress and messages on stderr, for a terminal or for a pipe.

A terminal gets rich's tables and bars. A pipe or file gets plain lines of tab-separated text, whatever the
width of any terminal, with control characters (tabs and line breaks too) escaped as in Python: exact values
are what the commands' ``--json`` and ``--csv`` are for.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from recae.display import is_terminal, settle
from recae.errors import OutputError
from recae.text import clean, human_bytes, refit_words

__all__ = [
    "aligned",
    "clean",
    "human_bytes",
    "is_terminal",
    "message",
    "metrics_table",
    "print_csv",
    "print_gap",
    "print_json",
    "print_metrics",
    "print_table",
    "print_text",
    "progress",
    "shortest_float32",
    "silence",
    "write",
]


def message(text: str, **figures: Any) -> None:
    """Say one line, which `recae.cli.handler` prints on stderr; the arguments are those of `recae.messages.say`."""
    from recae.messages import say

    say(text, **figures)


def print_text(text: str) -> None:
    """Print one line of text to stdout, as part of a result."""
    write(f"{clean(text)}\n", sys.stdout)


def print_gap() -> None:
    """Separate two tables on stdout by an empty line; on a terminal they stand apart already."""
    if not is_terminal(sys.stdout):
        write("\n", sys.stdout)


def print_json(value: object) -> None:
    """Print one JSON value on stdout, in ASCII, so that no locale changes it; NaN and infinities become null."""
    import json

    write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n", sys.stdout)


def print_csv(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV on stdout: a header, minimal quoting, None as an empty field."""
    import csv

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    write(text.getvalue(), sys.stdout)


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    right: Iterable[str] = (),
    to_stderr: bool = False,
) -> None:
    """Print a table on stdout: drawn on a terminal, else a header line and a line a row, separated by tabs.

    Args:
        headers: one text a column.
        rows: as many texts each.
        title: a line above the table, on a terminal only.
        right: the headers of columns to align at the right on a terminal.
        to_stderr: print to stderr instead, for a table that is not the command's result.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    if not is_terminal(stream):
        lines = ("\t".join(map(clean, cells)) for cells in (headers, *rows))
        write("".join(f"{line}\n" for line in lines), stream)
        return

    settle()
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text objects, since rich reads strings as markup: an item named "[red]" would lose its name.
    table = Table(
        title=Text(clean(title)) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    aligned = set(right)
    for header in headers:
        table.add_column(
            Text(clean(header)), justify="right" if header in aligned else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    Console(file=stream).print(table)


def metrics_table(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the table of models and their metrics on held-out users, for `print_table`.

    Args:
        metrics: ``{"n_users": 200, "ks": [10, 20], "rows": [{"model": "sigmoid", "recall@10": 0.1, ...}]}``, as
            training leaves it in the model's metadata. The columns are ``model``, ``recall@k`` by rising k, and
            every other metric likewise. A missing or undefined value is shown as a dash.
    """
    rows = [row for row in metrics.get("rows") or [] if isinstance(row, Mapping)]
    names = sorted({name for row in rows for name in row if name != "model"}, key=_metric_order)
    body = [[str(row.get("model", "-")), *(_figure(row.get(name)) for name in names)] for row in rows]
    return ["model", *names], body


def print_metrics(metrics: Mapping[str, Any], refit: object = None) -> None:
    """Print `metrics_table` on stdout, its figures aligned, with the number of held-out users as its title.

    Args:
        metrics: as `metrics_table` takes them.
        refit: as the metadata of a model has it that was fitted once more on all users after the figures were measured.
    """
    headers, rows = metrics_table(metrics)
    n_users = metrics.get("n_users")
    title = f"{n_users:,} held-out users" if isinstance(n_users, int) else None
    if title and refit_words(refit):
        title += f", measured before the model was {refit_words(refit)}"
    print_table(headers, rows, title=title, right=headers[1:])


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far a long job is: a bar on a terminal, else a line every ten seconds.

    Args:
        what: what is going on, such as ``"scoring users"``.
        total: the count at the end, 1 or more.

    Yields:
        A function to be told the count done so far, from one thread.
    """
    from recae.selection.displays import CountingDisplay
    from recae.selection.progress import following

    with following(None, CountingDisplay) as callbacks:
        yield lambda done: callbacks.on_count(what, done, total)


def silence(*streams: TextIO | None) -> None:
    """Discard what is written to streams that have failed: Python flushes them once more at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(AttributeError, OSError, ValueError):  # no descriptor: not a real stream
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]  # None is one that is closed
    os.close(nowhere)


def shortest_float32(value: float) -> float:
    """Return the shortest decimal number that stands for the same float32."""
    import numpy as np

    return float(str(np.float32(value)))


def aligned(values: Iterable[float], *, signed: bool = False) -> list[str]:
    """Return the numbers of a column as texts: the same decimals, four digits of the largest."""
    values = list(values)
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    decimals = min(max(3 - math.floor(math.log10(largest)), 0), 12) if largest > 0 else 0
    # z: what rounds to nothing has no minus
    return [f"{value:{'+' if signed else ''}z.{decimals}f}" for value in values]


def write(text: str, stream: TextIO | None) -> None:
    """Write at once and as it is; click.echo would take what looks like a colour out of exact values."""
    if stream is None:  # closed by who started this process; Python's own print is silent then, too
        return
    settle()
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(stream)
        if stream is not sys.stderr:  # messages that nobody can read are no reason to stop
            reason = error.strerror or str(error)
            raise OutputError(f"cannot write the result to stdout: {reason}; send it elsewhere") from error


def other_items(number: int, events: bool) -> str:
    """Return what the others of an explanation are, in words: owned items, and other events where there are any."""
    plural = "s" * (number > 1)
    return f"{number:,} other owned item{plural}" + f" or event{plural}" * events


def _metric_order(name: str) -> tuple[bool, str, int]:
    base, _, k = name.partition("@")
    return base != "recall", base, int(k) if k.isascii() and k.isdigit() and len(k) < 10 else 0


def _figure(value: object) -> str:
    # the comparison is false for NaN, and keeps a whole number that no float can hold out of the format
    return f"{value:.4f}" if isinstance(value, int | float) and abs(value) < 1e12 else "-"


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
