"""How far a tuning is, shown on stderr: a line a trial, and on a terminal the epoch that the next one is in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from recae.cli.output import clean, is_terminal, message

if TYPE_CHECKING:
    from recae.training import Epoch
    from recae.workflow.tuned import TunedTrial


class TuneDisplay:
    """A line for each trial that ends; `metric` is what its value is of."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._status: Any = None
        self._next, self._epochs = 1, 0

    def __enter__(self) -> TuneDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def start(self, epochs: int, n_users: int) -> None:
        """A training of so many epochs begins."""
        self._epochs = epochs
        if is_terminal(sys.stderr) and self._status is None:
            from rich.console import Console

            self._status = Console(file=sys.stderr).status(f"trial {self._next}")
            self._status.start()

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""
        if self._status is not None:
            recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
            self._status.update(f"trial {self._next}, epoch {epoch.epoch}/{self._epochs}{recall}")

    def trial(self, ended: TunedTrial, best: TunedTrial | None, trials: int) -> None:
        """A trial ended; `best` is the best so far."""
        self._next = ended.number + 1
        self.say(trial_line(ended, best, trials, self._metric))

    def say(self, text: str) -> None:
        """A line for people."""
        if self._status is None:
            message(text)
        else:
            self._status.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)


def trial_line(ended: TunedTrial, best: TunedTrial | None, trials: int, metric: str) -> str:
    """Such as "trial 3/30: ndcg@20 0.2288 in 1.0 s, best 0.2418 of trial 2; factors 306, dropout 0.557"."""
    so_far = "" if best is None else f", best {best.value:.4f} of trial {best.number}"
    if ended.value is None:
        what = "failed"
    else:
        pruned = f" after {ended.epochs} epochs, pruned" if ended.state == "pruned" else ""
        what = f"{metric} {ended.value:.4f}{pruned}"
    reason = f": {ended.reason}" if ended.reason else ""
    took = f"{ended.seconds:.1f} s"
    return f"trial {ended.number}/{trials}: {what} in {took}{so_far}; {ended.settings_in_words()}{reason}"
