"""What is shown of a training, a search of settings, an evaluation and a count while they go on."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from recae.compiling import COMPILING
from recae.display import Surface
from recae.selection.progress import Display, Progress
from recae.text import human_bytes

if TYPE_CHECKING:
    from recae.selection.compare import JobDone, JobFailed, JobReused, JobStarted, Told
    from recae.selection.jobs import TrialDone
    from recae.selection.space import TunedTrial
    from recae.selection.trial import EpochDone
    from recae.training.checkpoint import Epoch

_BETWEEN = 10.0  # seconds between two lines on a long step; a log of an hour has some hundreds of them


class TrainingDisplay(Display):
    """Progress of a training: its epochs with their loss and recall, users a second, and the time left."""

    def __init__(self, surface: Surface) -> None:
        """Start with no bar; the first training makes it."""
        super().__init__(surface)
        self._epochs, self._epoch, self._n_users = 0, 0, 0
        self._figures = ""  # of the last epoch
        # when this session's first users were done, how many that were, and the seconds of compiling until then
        self._first: tuple[float, int, float] | None = None

    def callbacks(self) -> Progress:
        """Return what the display listens by."""
        return Progress(
            on_message=self.message,
            on_report=self.report,
            on_start=self.start,
            on_users=self.users,
            on_epoch=self.epoch,
        )

    def message(self, text: str) -> None:
        """Say something; once epochs have ended, the training is over and its bar goes."""
        if self._epoch:
            self.surface.rest()
        self.say(text)

    def start(self, epochs: int, n_users: int) -> None:
        """Show that a training begins, which may follow another: a blend has several."""
        self.surface.rest()
        self._epochs, self._n_users, self._epoch, self._figures, self._first = epochs, n_users, 0, "", None
        self.say(f"training on {n_users:,} users, at most {epochs} epochs", users=n_users, epochs=epochs)
        self.surface.show("epoch 1", 0, epochs * n_users)

    def users(self, done: int) -> None:
        """Show that so many users of the epoch are done."""
        done += self._epoch * self._n_users
        now = time.monotonic()
        if self._first is None:
            self._first = now, done, COMPILING.seconds
            self.surface.rest()  # a new bar, whose time left begins here: before, loops were compiled
        speed = (done - self._first[1]) / max(now - self._first[0], 1e-9)
        text = f"epoch {self._epoch + 1}/{self._epochs}{self._figures}, {speed:,.0f} users/s"
        self.surface.show(text, done, self._epochs * self._n_users)

    def epoch(self, epoch: Epoch) -> None:
        """Show the figures of an epoch that ended."""
        self._epoch = epoch.epoch
        recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
        self._figures = f": loss {epoch.loss:.2f}{recall}"
        text = f"epoch {epoch.epoch}/{self._epochs}{self._figures}"
        done, total = epoch.epoch * self._n_users, self._epochs * self._n_users
        speed = epoch.users_per_second
        figures = {
            "epoch": epoch.epoch,
            "epochs": self._epochs,
            "loss": epoch.loss,
            "recall@20": epoch.recall,
        }
        self.tick(f"{text}, {speed:,.0f} users/s{self._left()}", **figures, users_per_second=speed)
        self.surface.show(text, done, total)

    def _left(self) -> str:
        """Return the time left at most, by this session's speed; empty after the last epoch or before the first."""
        if self._first is None or self._epoch == self._epochs:
            return ""
        began, before, compiled = self._first
        done, total = self._epoch * self._n_users, self._epochs * self._n_users
        # compiling happens once, and tells nothing about what is left
        spent = time.monotonic() - began - (COMPILING.seconds - compiled)
        seconds = spent * (total - done) / max(done - before, 1)
        return f", at most {timedelta(seconds=round(seconds))} left"


class TuningDisplay(Display):
    """Progress of a search: the trial and its epochs."""

    def __init__(self, surface: Surface) -> None:
        """Start without a bar; the first training makes it."""
        super().__init__(surface)
        self._next, self._epochs = 1, 0
        self._trials: int | None = None

    def callbacks(self) -> Progress:
        """Return what the display listens by."""
        return Progress(
            on_message=self.say,
            on_report=self.report,
            on_start=self.start,
            on_epoch=self.epoch,
            on_trial=self.trial,
        )

    def start(self, epochs: int, n_users: int) -> None:
        """Show that a training of so many epochs begins."""
        self._epochs = epochs
        self._show("")

    def epoch(self, epoch: Epoch) -> None:
        """Show that an epoch ended."""
        recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
        self._show(f", epoch {epoch.epoch}/{self._epochs}: loss {epoch.loss:.2f}{recall}")

    def trial(self, ended: TunedTrial, best: TunedTrial | None, trials: int) -> None:
        """Go on to the next trial; what is said of the one that ended is a message."""
        self._next, self._trials = ended.number + 1, trials

    def _show(self, step: str) -> None:
        of = "" if self._trials is None else f"/{self._trials}"
        self.surface.show(f"trial {self._next}{of}{step}", self._next - 1, self._trials)


class EvaluationDisplay(Display):
    """Progress of an evaluation: a bar of the jobs, and a line for each trial and each finished model."""

    def __init__(self, surface: Surface) -> None:
        """Start without a bar; the first job makes it."""
        super().__init__(surface)
        self._where: dict[str, str] = {}  # by model, since two may run at a time
        self._trial: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._ended, self._total = 0, 0
        self._step = ""

    def callbacks(self) -> Progress:
        """Return what the display listens by."""
        return Progress(on_message=self.say, on_report=self.report, on_model=self.tell)

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

    def _start(self, name: str, event: JobStarted, folds: int) -> None:
        self._begin(name, event, folds)
        n, self._trial[name] = event.trials, f"trial 1 of {event.trials}"
        self._told[name] = time.monotonic()
        self.tick(f"{name} ({self._where[name]}): {n} {'setting' if n == 1 else 'settings'} to try")
        self._show(f"{name} ({self._where[name]}): {self._trial[name]}")

    def _reused(self, name: str, event: JobReused, folds: int) -> None:
        self._begin(name, event, folds)
        self.say(f"{name} ({self._where[name]}): stored by an earlier run", model=name)
        self._end()

    def _begin(self, name: str, event: JobStarted | JobReused, folds: int) -> None:
        self._where[name] = f"{event.number} of {event.of}"
        self._total = event.of * folds

    def _end(self) -> None:
        """Count a job as ended."""
        self._ended += 1
        self._show(self._step)

    def _failed(self, name: str, event: JobFailed) -> None:
        self.say(f"{name} failed: {event.text}", model=name, failed=event.text)
        self._end()

    def _ended_trial(self, name: str, event: TrialDone) -> None:
        if event.failed is not None:
            said = f"failed: {event.failed}"
        elif event.quality is None:
            said = "fitted"
        else:
            said = f"ndcg@20 {event.quality:.4f}"
        self.say(
            f"{name}: trial {event.number} of {event.of}: {said}, {event.seconds:.1f} s",
            **{"model": name, "trial": event.number, "trials": event.of, "ndcg@20": event.quality},
            seconds=event.seconds,
        )
        self._trial[name] = f"trial {min(event.number + 1, event.of)} of {event.of}"
        self._told[name] = time.monotonic()
        self._show(f"{name} ({self._where[name]}): {self._trial[name]}")

    def _epoch(self, name: str, event: EpochDone) -> None:
        epoch = event.epoch
        recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
        place = f"{name} ({self._where[name]}): {self._trial[name]}"
        text = f"{place}, epoch {epoch.epoch} of {event.of}{recall}"
        if time.monotonic() - self._told[name] >= _BETWEEN:
            self._told[name] = time.monotonic()
            figures = {
                "epoch": epoch.epoch,
                "epochs": event.of,
                "loss": epoch.loss,
                "recall@20": epoch.recall,
            }
            self.tick(text, model=name, **figures)
        self._show(text)

    def _show(self, text: str) -> None:
        """Show the current step beside the bar."""
        self._step = text
        self.surface.show(text, self._ended, self._total)

    def _done(self, name: str, event: JobDone) -> None:
        best = event.quality
        chosen = "ranked" if best is None else f"ndcg@20 {best:.4f} on the validation users"
        peak = event.peak_bytes
        memory = "" if peak is None else f", {human_bytes(peak)} at most"
        self.say(
            f"{name}: {chosen}, in {event.seconds:.1f} s{memory}",
            **{"model": name, "ndcg@20": best, "seconds": event.seconds, "peak_bytes": peak},
        )
        self._end()


class CountingDisplay(Display):
    """Progress of what is counted: a bar, or a line every ten seconds."""

    def __init__(self, surface: Surface) -> None:
        """Start without a bar; the first count makes it."""
        super().__init__(surface)
        self._told = time.monotonic()

    def callbacks(self) -> Progress:
        """Return what the display listens by."""
        return Progress(on_message=self.say, on_report=self.report, on_count=self.count)

    def count(self, what: str, done: int, total: int) -> None:
        """Show that so many are done."""
        text = f"{what}: {done:,} of {total:,}"
        now = time.monotonic()
        if now - self._told >= _BETWEEN:
            self._told = now
            self.tick(f"{text} ({done / max(total, 1):.0%})", done=done, total=total)
        self.surface.show(text, done, total)
        if done >= total:  # the result says more than that it is complete
            self.surface.forget()
