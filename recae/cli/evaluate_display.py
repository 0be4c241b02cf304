"""The result of `recae evaluate` on stdout: a table for a terminal or plain lines for a pipe, then the verdict."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from recae.cli.output import clean, is_terminal, print_gap, print_table, print_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from recae.evaluation.report.schema import Estimate, Report
    from recae.evaluation.report.verdict import Ranked, Ranking


def print_report(report: Report) -> None:
    """Print an evaluation report on stdout.

    A terminal gets a table that fits 80 columns, best model first: recall and the metric that models are judged by
    with their intervals, the difference to the best baseline with its interval and corrected p, time and memory. A pipe
    gets the same as tab-separated lines below a header, each number in a field of its own, "-" where it is not known.
    Then follow why models failed, a sentence each, and the verdict.
    """
    from recae.evaluation.report.verdict import rank_models

    ranking = rank_models(report)
    if is_terminal(sys.stdout):
        _print_on_terminal(report, ranking)
    else:
        print_table(*_plain(ranking))
        print_gap()
        for line in _lines(report, ranking):
            print_text(line)


def _columns(ranking: Ranking) -> list[str]:
    """Return the two metrics shown: recall and the metric of the comparison, or NDCG where that is recall itself."""
    k = ranking.metric.partition("@")[2]
    recall = f"recall@{k}"
    return [recall, ranking.metric if ranking.metric != recall else f"ndcg@{k}"]


def _role(ranking: Ranking, found: Ranked) -> str:
    if found.model.failed is not None:
        return "failed"
    if found is ranking.best_baseline:
        return "best baseline"
    return "baseline" if found.model.baseline else "model"


def _lines(report: Report, ranking: Ranking) -> list[str]:
    """Return the lines below the table: why models failed, the verdict, what hits are worth, what diversity costs."""
    from recae.evaluation.report.words import diversity_text, money_text

    reasons = [found.model.verdict or "" for found in ranking.models if found.model.failed is not None]
    return [*reasons, report.verdict or "", *filter(None, [money_text(ranking), diversity_text(ranking)])]


def _plain(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Return the headers and rows of the plain table."""

    def number(value: float | None, form: str = ".4f") -> str:
        return "-" if value is None else f"{value:{form}}"

    def numbers(found: Estimate, form: str = ".4f") -> list[str]:
        return [number(value, form) for value in (found.mean, found.low, found.high)]

    columns = _columns(ranking)
    headers = ["model", "role"]
    for name in columns:
        headers += [name, f"{name}_low", f"{name}_high"]
    headers += ["difference", "difference_low", "difference_high", "p_corrected", "seconds", "peak_mib"]
    rows = []
    for found in ranking.models:
        model = found.model
        peak = None if model.peak_bytes is None else model.peak_bytes / 2**20
        rows.append(
            [
                model.name,
                _role(ranking, found),
                *(text for name in columns for text in numbers(model.estimate(name))),
                *numbers(model.gap, "+.4f"),
                number(model.p_corrected),
                number(model.seconds, ".1f"),
                number(peak, ".0f"),
            ]
        )
    return headers, rows


def _print_on_terminal(report: Report, ranking: Ranking) -> None:
    from rich.console import Console
    from rich.text import Text

    from recae.evaluation.report.words import counted, sentence

    protocol = report.protocol
    console = Console(file=sys.stdout, highlight=False)
    tested = counted(protocol.n_test_users, "test user")
    hidden = counted(protocol.n_held_out, "held-out item")
    console.print()
    console.print(Text(f"{clean(protocol.name or 'evaluation')}: {tested}, {hidden}", style="bold"))
    if report.budget.text:
        console.print(Text(clean(sentence(report.budget.text))))
    console.print()
    console.print(_table(ranking))
    if note := _note(ranking):
        console.print()
        console.print(Text(clean(note), style="dim"))
    for line in _lines(report, ranking):
        console.print()
        console.print(Text(clean(line)))


def _note(ranking: Ranking) -> str:
    """Return the note that explains the numbers of the table, as far as it has them."""
    n = ranking.n_comparisons
    parts = []
    if any(found.model.estimate(ranking.metric).low is not None for found in ranking.measured):
        parts.append("Below each figure its 95 % interval, by bootstrap over the users.")
    if n:
        to = ranking.best_baseline.name if ranking.best_baseline else "the best baseline"
        corrected = f"; p is corrected for {n} comparisons" if n > 1 else ""
        parts.append(f"Differences are to {to}, user by user{corrected}.")
    return " ".join(parts)


def _table(ranking: Ranking) -> Table:
    """Return two lines a model: figures, and their intervals below them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from recae.evaluation.report.words import metric_name

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold")
    titles = [metric_name(name) for name in _columns(ranking)]
    for title in [*titles, *(["difference", "p"] if ranking.compared else []), "time\nmemory"]:
        table.add_column(Text(title), justify="right", no_wrap=True)
    for found in ranking.models:
        style = "bold" if found in (ranking.best_model, ranking.best_baseline) else ""
        table.add_row(*_cells(ranking, found), style=style)
    return table


def _cells(ranking: Ranking, found: Ranked) -> list[Text]:
    from rich.text import Text

    from recae.evaluation.report.verdict import Standing
    from recae.evaluation.report.words import NONE, SIGNS, p_value, score, seconds, signed, size

    def two(first: str, second: str | None, colour: str = "") -> Text:
        return Text.assemble((first, colour), "\n", (second or "", "not bold dim"))

    def short(text: str) -> str:
        return text.replace("0.", ".", 1) if text.lstrip("+−").startswith("0.") else text

    def span(estimate: Estimate, write: Callable[[float | None], str], between: str) -> str:
        low, high = (short(write(value)) for value in (estimate.low, estimate.high))
        return "" if NONE in (low, high) else f"{low}{between}{high}"

    model = found.model
    role = _role(ranking, found)
    cells = [two(clean(model.name), None if role == "model" else role)]
    if model.failed is not None:
        return [*cells, *(Text(NONE) for _ in range(5 if ranking.compared else 3))]
    for name in _columns(ranking):
        estimate = model.estimate(name)
        cells.append(two(short(score(estimate.mean)), span(estimate, score, "–")))
    if ranking.compared:
        colours = {Standing.BETTER: "green", Standing.EVEN: "yellow", Standing.WORSE: "red"}
        mark = "" if found.standing is None else f"{SIGNS[found.standing]} "
        colour = "" if found.standing is None else colours[found.standing]
        cells.append(two(f"{mark}{short(signed(model.gap.mean))}", span(model.gap, signed, "…"), colour))
        cells.append(Text(short(p_value(model.p_corrected)).replace("< 0.", "< .")))
    cells.append(two(seconds(model.seconds), size(model.peak_bytes)))
    return cells
