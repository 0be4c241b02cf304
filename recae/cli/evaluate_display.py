"""The result of `recae evaluate` on stdout: a table for a terminal or plain lines for a pipe, then the verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recae.cli.output import clean, human_bytes, is_terminal, message, print_gap, print_table, print_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from recae.evaluation.html_view import Entry, View


def print_report(report: Mapping[str, Any]) -> None:
    """Prints an evaluation report, as `build_report` makes it, on stdout.

    A terminal gets a table that fits 80 columns, best model first: recall and the metric that models are judged by
    with their intervals, the difference to the best baseline with its interval and corrected p, time and memory. A pipe
    gets the same as tab-separated lines below a header, each number in a field of its own, "-" where it is not known.
    Then follow why models failed, a sentence each, and the verdict.
    """
    from recae.evaluation.html_view import make_view

    view = make_view(report)
    if is_terminal(sys.stdout):
        _print_for_people(view)
    else:
        print_table(*_plain(view))
        print_gap()
        for line in _lines(view):
            print_text(line)


def _columns(view: View) -> list[str]:
    """The two metrics shown: recall beside the one that the models are judged by, NDCG where that is recall itself."""
    recall = f"recall@{view.k}"
    return [recall, view.metric] if view.metric != recall else [recall, f"ndcg@{view.k}"]


def _role(view: View, entry: Entry) -> str:
    if entry.failed is not None:
        return "failed"
    if entry is view.rival:
        return "best baseline"
    return "baseline" if entry.baseline else "model"


def _lines(view: View) -> list[str]:
    """What stands below the table: reasons, then the verdict."""
    reasons = [str(entry.model.get("verdict")) for entry in view.entries if entry.failed is not None]
    return [*reasons, str(view.report.get("verdict") or "")]


def _plain(view: View) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the plain table."""
    from recae.evaluation.html_view import figure
    from recae.evaluation.html_words import finite

    def number(value: object, form: str = ".4f") -> str:
        found = finite(value)
        return "-" if found is None else f"{found:{form}}"

    bounds = ("mean", "low", "high")
    columns = _columns(view)
    headers = ["model", "role"]
    for name in columns:
        headers += [name, f"{name}_low", f"{name}_high"]
    headers += ["difference", "difference_low", "difference_high", "p_corrected", "seconds", "peak_mib"]
    rows = []
    for entry in view.entries:
        figures = [number(figure(entry.model, name).get(key)) for name in columns for key in bounds]
        gap = [number(entry.difference.get(key), "+.4f") for key in bounds]
        peak = finite(entry.model.get("peak_bytes"))
        rows.append(
            [
                entry.name,
                _role(view, entry),
                *figures,
                *gap,
                number(entry.difference.get("p_corrected"), ".4f"),
                number(entry.model.get("seconds"), ".1f"),
                number(None if peak is None else peak / 2**20, ".0f"),
            ]
        )
    return headers, rows


def _print_for_people(view: View) -> None:
    from rich.console import Console
    from rich.text import Text

    from recae.evaluation.html_words import counted, sentence

    protocol, budget = view.part("protocol"), view.part("budget")
    console = Console(file=sys.stdout, highlight=False)
    tested = counted(protocol.get("n_test_users"), "test user")
    hidden = counted(protocol.get("n_held_out"), "held-out item")
    console.print()
    console.print(
        Text(f"{clean(str(protocol.get('name') or 'evaluation'))}: {tested}, {hidden}", style="bold")
    )
    if budget.get("text"):
        console.print(Text(clean(sentence(str(budget["text"])))))
    console.print()
    console.print(_table(view))
    if note := _note(view):
        console.print()
        console.print(Text(clean(note), style="dim"))
    for line in _lines(view):
        console.print()
        console.print(Text(clean(line)))
    console.print()


def _note(view: View) -> str:
    """What the numbers of the table are, as far as it has them."""
    from recae.evaluation.html_view import figure

    shown = [figure(entry.model, view.metric) for entry in view.measured]
    n = sum(entry.difference.get("p_corrected") is not None for entry in view.entries)
    parts = []
    if any(found.get("low") is not None for found in shown):
        parts.append("Below each figure its 95 % interval, by bootstrap over the users.")
    if n:
        to = view.rival.name if view.rival else "the best baseline"
        corrected = f"; p is corrected for {n} comparisons" if n > 1 else ""
        parts.append(f"Differences are to {to}, user by user{corrected}.")
    return " ".join(parts)


def _table(view: View) -> Table:
    """Two lines a model: figures, and their intervals below them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from recae.evaluation.html_words import metric_name

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold")
    compared = any(entry.status for entry in view.measured)
    titles = [metric_name(name) for name in _columns(view)]
    for title in [*titles, *(["difference", "p"] if compared else []), "time\nmemory"]:
        table.add_column(Text(title), justify="right", no_wrap=True)
    for entry in view.entries:
        style = "bold" if entry in (view.leader, view.rival) and entry.failed is None else ""
        table.add_row(*_cells(view, entry, compared), style=style)
    return table


def _cells(view: View, entry: Entry, compared: bool) -> list[Text]:
    from rich.text import Text

    from recae.evaluation.html_tables import SIGNS
    from recae.evaluation.html_view import AHEAD, BEHIND, EVEN, figure
    from recae.evaluation.html_words import NONE, p_value, score, seconds, signed, size

    def two(first: str, second: str | None, colour: str = "") -> Text:
        return Text.assemble((first, colour), "\n", (second or "", "not bold dim"))

    def short(text: str) -> str:
        return text.replace("0.", ".", 1) if text.lstrip("+−").startswith("0.") else text

    def span(found: Mapping[str, Any], write: Any, between: str) -> str:
        low, high = (short(write(found.get(key))) for key in ("low", "high"))
        return "" if NONE in (low, high) else f"{low}{between}{high}"

    role = _role(view, entry)
    cells = [two(clean(entry.name), None if role == "model" else role)]
    if entry.failed is not None:
        return [*cells, *(Text(NONE) for _ in range(5 if compared else 3))]
    for name in _columns(view):
        found = figure(entry.model, name)
        cells.append(two(short(score(found.get("mean"))), span(found, score, "–")))
    if compared:
        gap, status = entry.difference, entry.status
        mark = "" if status is None else f"{SIGNS[status]} "
        colour = {AHEAD: "green", EVEN: "yellow", BEHIND: "red"}.get(status or "", "")
        cells.append(two(f"{mark}{short(signed(gap.get('mean')))}", span(gap, signed, "…"), colour))
        cells.append(Text(short(p_value(gap.get("p_corrected"))).replace("< 0.", "< .")))
    cells.append(two(seconds(entry.model.get("seconds")), size(entry.model.get("peak_bytes"))))
    return cells


_BETWEEN = 10.0  # seconds between two lines on a training that goes on


class EvaluationDisplay:
    """A bar of the jobs on a terminal; a line for each trial, and for each model that is done, anywhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._where: dict[str, str] = {}  # by model, since two may run at a time
        self._trial: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._ended = 0

    def __enter__(self) -> EvaluationDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, name: str, event: Mapping[str, Any]) -> None:
        """An event of `recae.selection.compare.Tell`."""
        if event["folds"] > 1:
            name = f"{name}, fold {event['fold'] + 1} of {event['folds']}"
        {
            "start": self._start,
            "kept": self._kept,
            "trial": self._ended_trial,
            "epoch": self._epoch,
            "message": lambda name, event: self._show(f"{name}: {event['text']}"),
            "cut": lambda name, event: self.say(f"{name}: {event['text']}"),
            "failed": self._failed,
            "done": self._done,
        }[event["event"]](name, event)

    def say(self, text: str) -> None:
        """A line for people, above the bar."""
        if self._bar is None:
            message(text)
        else:
            self._bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)

    def _start(self, name: str, event: Mapping[str, Any]) -> None:
        self._begin(name, event)
        n, self._trial[name] = event["trials"], f"trial 1 of {event['trials']}"
        self._told[name] = time.monotonic()
        if self._bar is None:
            self.say(f"{name} ({self._where[name]}): {n} {'setting' if n == 1 else 'settings'} to try")
        self._show(f"{name} ({self._where[name]}): {self._trial[name]}")

    def _kept(self, name: str, event: Mapping[str, Any]) -> None:
        self._begin(name, event)
        self.say(f"{name} ({self._where[name]}): kept from an earlier run")
        self._end()

    def _begin(self, name: str, event: Mapping[str, Any]) -> None:
        self._where[name] = f"{event['number']} of {event['of']}"
        total = event["of"] * event["folds"]
        if self._bar is None and is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._task = self._bar.add_task("", total=total)
            self._bar.start()

    def _end(self) -> None:
        """A job has ended."""
        self._ended += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._ended)

    def _failed(self, name: str, event: Mapping[str, Any]) -> None:
        self.say(f"{name} failed: {event['text']}")
        self._end()

    def _ended_trial(self, name: str, event: Mapping[str, Any]) -> None:
        number, of = event["number"], event["of"]
        if event["failed"] is not None:
            said = f"failed: {event['failed']}"
        elif event["ndcg@20"] is None:
            said = "fitted"
        else:
            said = f"ndcg@20 {event['ndcg@20']:.4f}"
        self.say(f"{name}: trial {number} of {of}: {said}, {event['seconds']:.1f} s")
        self._trial[name] = f"trial {min(number + 1, of)} of {of}"
        self._told[name] = time.monotonic()
        self._show(f"{name} ({self._where[name]}): {self._trial[name]}")

    def _epoch(self, name: str, event: Mapping[str, Any]) -> None:
        recall = "" if event["recall@20"] is None else f", recall@20 {event['recall@20']:.4f}"
        place = f"{name} ({self._where[name]}): {self._trial[name]}"
        text = f"{place}, epoch {event['epoch']} of {event['of']}{recall}"
        if self._bar is None and time.monotonic() - self._told[name] >= _BETWEEN:
            self._told[name] = time.monotonic()
            self.say(text)
        self._show(text)

    def _show(self, text: str) -> None:
        """What is going on right now, beside the bar; nothing without one."""
        if self._bar is not None:
            self._bar.update(self._task, description=clean(text).replace("[", r"\["))

    def _done(self, name: str, event: Mapping[str, Any]) -> None:
        best = event["ndcg@20"]
        chosen = "ranked" if best is None else f"ndcg@20 {best:.4f} on the validation users"
        peak = event["peak_bytes"]
        memory = "" if peak is None else f", {human_bytes(peak)} at most"
        self.say(f"{name}: {chosen}, in {event['seconds']:.1f} s{memory}")
        self._end()
