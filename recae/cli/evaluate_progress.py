"""How far an evaluation is, shown on stderr: which model, which of its trials, how good."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from recae.cli.output import clean, human_bytes, is_terminal, message

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
        """An event of `recae.workflow.comparing.Tell`."""
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
