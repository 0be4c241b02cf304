"""The result of `recae evaluate` on stdout: a table for a terminal or plain lines for a pipe, then the verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recae.cli.output import clean, human_bytes, is_terminal, message, print_gap, print_table, print_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from recae.evaluation.report.schema import Estimate, Report
    from recae.evaluation.report.verdict import Ranked, Ranking
    from recae.selection.compare import JobDone, JobFailed, JobReused, JobStarted, Told
    from recae.selection.jobs import TrialDone
    from recae.selection.trial import EpochDone


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
    """Return the lines below the table: why models failed, then the verdict."""
    reasons = [found.model.verdict or "" for found in ranking.models if found.model.failed is not None]
    return [*reasons, report.verdict or ""]


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


_BETWEEN = 10.0  # seconds between two lines on a training that goes on


class EvaluationDisplay:
    """Progress of an evaluation: a bar of the jobs on a terminal, and a line for each trial and each finished model."""

    def __init__(self) -> None:
        """Start without a bar; the first job makes it."""
        self._bar: Any = None
        self._task: Any = None
        self._where: dict[str, str] = {}  # by model, since two may run at a time
        self._trial: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._ended = 0

    def __enter__(self) -> EvaluationDisplay:
        """Return the display itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def tell(self, told: Told) -> None:
        """Show an event of `recae.selection.compare`."""
        from recae.selection import compare, jobs, trial

        name, event = told.model, told.event
        if told.folds > 1:
            name = f"{name}, fold {told.fold + 1} of {told.folds}"
        match event:
            case compare.JobStarted():
                self._start(name, event, told.folds)
            case compare.JobReused():
                self._reused(name, event, told.folds)
            case jobs.TrialDone():
                self._ended_trial(name, event)
            case trial.EpochDone():
                self._epoch(name, event)
            case trial.Message():
                self._show(f"{name}: {event.text}")
            case compare.JobCut():
                self.say(f"{name}: {event.text}")
            case compare.JobFailed():
                self._failed(name, event)
            case compare.JobDone():
                self._done(name, event)

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        if self._bar is None:
            message(text)
        else:
            self._bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)

    def _start(self, name: str, event: JobStarted, folds: int) -> None:
        self._begin(name, event, folds)
        n, self._trial[name] = event.trials, f"trial 1 of {event.trials}"
        self._told[name] = time.monotonic()
        if self._bar is None:
            self.say(f"{name} ({self._where[name]}): {n} {'setting' if n == 1 else 'settings'} to try")
        self._show(f"{name} ({self._where[name]}): {self._trial[name]}")

    def _reused(self, name: str, event: JobReused, folds: int) -> None:
        self._begin(name, event, folds)
        self.say(f"{name} ({self._where[name]}): stored by an earlier run")
        self._end()

    def _begin(self, name: str, event: JobStarted | JobReused, folds: int) -> None:
        self._where[name] = f"{event.number} of {event.of}"
        total = event.of * folds
        if self._bar is None and is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._task = self._bar.add_task("", total=total)
            self._bar.start()

    def _end(self) -> None:
        """Count a job as ended."""
        self._ended += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._ended)

    def _failed(self, name: str, event: JobFailed) -> None:
        self.say(f"{name} failed: {event.text}")
        self._end()

    def _ended_trial(self, name: str, event: TrialDone) -> None:
        if event.failed is not None:
            said = f"failed: {event.failed}"
        elif event.quality is None:
            said = "fitted"
        else:
            said = f"ndcg@20 {event.quality:.4f}"
        self.say(f"{name}: trial {event.number} of {event.of}: {said}, {event.seconds:.1f} s")
        self._trial[name] = f"trial {min(event.number + 1, event.of)} of {event.of}"
        self._told[name] = time.monotonic()
        self._show(f"{name} ({self._where[name]}): {self._trial[name]}")

    def _epoch(self, name: str, event: EpochDone) -> None:
        epoch = event.epoch
        recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
        place = f"{name} ({self._where[name]}): {self._trial[name]}"
        text = f"{place}, epoch {epoch.epoch} of {event.of}{recall}"
        if self._bar is None and time.monotonic() - self._told[name] >= _BETWEEN:
            self._told[name] = time.monotonic()
            self.say(text)
        self._show(text)

    def _show(self, text: str) -> None:
        """Show the current step beside the bar; nothing without a bar."""
        if self._bar is not None:
            self._bar.update(self._task, description=clean(text).replace("[", r"\["))

    def _done(self, name: str, event: JobDone) -> None:
        best = event.quality
        chosen = "ranked" if best is None else f"ndcg@20 {best:.4f} on the validation users"
        peak = event.peak_bytes
        memory = "" if peak is None else f", {human_bytes(peak)} at most"
        self.say(f"{name}: {chosen}, in {event.seconds:.1f} s{memory}")
        self._end()
