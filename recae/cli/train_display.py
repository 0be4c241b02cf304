"""How far a training is, shown on stderr."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recae.cli.output import clean, is_terminal, message

if TYPE_CHECKING:
    from recae.training import Epoch


class Display:
    """How far the training is, on stderr: a bar on a terminal, else a line an epoch."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._epochs, self._epoch, self._n_users = 0, 0, 0
        self._figures = ""  # of the last epoch
        # when this session's first users were done, and how many that were
        self._first: tuple[float, int] | None = None
        self._shown = 0.0

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def start(self, epochs: int, n_users: int) -> None:
        """A training begins, which may follow another: a blend has several."""
        self._close()
        self._epochs, self._n_users, self._epoch, self._figures, self._first = epochs, n_users, 0, "", None
        self.say(f"training on {n_users:,} users, at most {epochs} epochs")
        if is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._task = self._bar.add_task("epoch 1", total=epochs * n_users)
            self._bar.start()

    def users(self, done: int) -> None:
        """So many users of the epoch are done."""
        done += self._epoch * self._n_users
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        if self._bar is not None and now - self._shown >= 0.1:
            self._shown = now
            speed = (done - self._first[1]) / max(now - self._first[0], 1e-9)
            text = f"epoch {self._epoch + 1}/{self._epochs}{self._figures}, {speed:,.0f} users/s"
            self._bar.update(self._task, completed=done, description=text)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""
        self._epoch = epoch.epoch
        recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
        self._figures = f": loss {epoch.loss:.2f}{recall}"
        speed = f"{epoch.users_per_second:,.0f} users/s"
        if self._bar is None:
            self.say(f"epoch {epoch.epoch}/{self._epochs}{self._figures}, {speed}{self._left()}")

    def _left(self) -> str:
        """How long it will take at most, judged by this session; nothing after the last epoch or before the first."""
        if self._first is None or self._epoch == self._epochs:
            return ""
        began, before = self._first
        done, total = self._epoch * self._n_users, self._epochs * self._n_users
        seconds = (time.monotonic() - began) * (total - done) / max(done - before, 1)
        return f", at most {timedelta(seconds=round(seconds))} left"

    def say(self, text: str) -> None:
        """A line for people, above the bar."""
        if self._bar is not None and self._epoch:
            self._close()  # training is over: what comes next are messages
        if self._bar is None:
            message(text)
        else:
            self._bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)
