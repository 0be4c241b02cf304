"""Trials: a kind of model with one set of settings, fitted and measured on validation users within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, DeviceError, RecaeError, TrainingError
from recae.evaluation import Evaluation, evaluate
from recae.kinds import find
from recae.models import Model
from recae.models.itemknn import Neighbours
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch

Pair = tuple[sp.csr_matrix, sp.csr_matrix]
"""Histories and held-out items, (B, I) each."""

Solved = dict[tuple[str, Any], Model]
"""(kind, configuration) → a model that needs no epochs and is not fitted to the same task again."""

FAILURES = (ConfigError, DataError, DeviceError, TrainingError, MemoryError)
"""Errors that make a trial fail, while others go on."""

NO_EPOCH = "it did not finish an epoch within the budget"
"""The reason of a trial that the deadline ended without a model."""

EPOCHS_BY = "recall@20"
"""The metric by which the best epoch is chosen."""


@dataclass(frozen=True, eq=False)
class TrialTask:
    """The data that trials are fitted to and measured on.

    Attributes:
        fit: csr (U, I), the purchases of the learners.
        validation: Histories and held-out items of the validation users, csr (B, I) each; None: nothing is measured.
        confidence: How much each entry of `fit` counts, in its order, float32 (nnz,), for kinds that take it; None:
            all alike.
        exclude_owned: Whether lists leave out what a history holds.
        device: What `choose_device` gave.
        metric: The quality of a trial, such as "ndcg@20".
        neighbours: Neighbours that item-kNN has found in earlier trials, for later ones.
    """

    fit: sp.csr_matrix
    validation: Pair | None
    confidence: NDArray[np.float32] | None = None
    exclude_owned: bool = True
    device: str = "cpu"
    metric: str = "ndcg@20"
    neighbours: dict[str, tuple[int, Neighbours]] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """A training of so many epochs over so many users begins."""

    epochs: int
    users: int


@dataclass(frozen=True)
class UsersDone:
    """So many users of the epoch are done."""

    done: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch has ended.

    Attributes:
        epoch: What it did.
        of: How many epochs there may be.
        quality: The task's metric after it; None where nothing was measured, as within a blend.
    """

    epoch: Epoch
    of: int
    quality: float | None


@dataclass(frozen=True)
class Message:
    """A message on a long step."""

    text: str


TrialEvent = Started | UsersDone | EpochDone | Message


def ignore(event: object) -> None:
    """Ignore an event."""


class StopTrialError(Exception):
    """Raised by a callback of a trial, to end it there."""


class _OutOfTimeError(Exception):
    """The deadline has passed."""


@dataclass(frozen=True, eq=False)
class Trial:
    """The result of fitting a kind with some settings.

    Attributes:
        kind: Of the model.
        settings: What it was fitted with, apart from the defaults.
        model: The fitted model, at its best epoch; None where there is none.
        epochs: That were trained; empty for a closed form.
        quality: The task's metric of each validation user, float64 (B,), NaN for those who do not have it; None
            without validation users, and where the trial was stopped or has no model.
        seconds: Wall time of fitting and measuring.
        ended: "complete"; "deadline" where time ended within it, so that its best epoch counts; "stopped" by whoever
            was told of it; "failed".
        reason: Why there is no model, in a sentence; empty otherwise.
    """

    kind: str
    settings: Mapping[str, Any]
    model: Model | None
    epochs: list[Epoch]
    quality: NDArray[np.float64] | None
    seconds: float
    ended: Literal["complete", "deadline", "stopped", "failed"]
    reason: str = ""

    @property
    def mean(self) -> float | None:
        """Mean quality over the users who have it; None where nobody has."""
        if self.quality is None:
            return None
        known = self.quality[np.isfinite(self.quality)]
        return float(known.mean()) if known.size else None


class Fit(Protocol):
    """Fits a kind with settings to purchases (U, I), with validation users; see `recae.selection.fit.fit_kind`."""

    def __call__(
        self,
        kind: str,
        values: Mapping[str, Any],
        matrix: sp.csr_matrix,
        validation: Pair | None = None,
        hooks: Hooks | None = None,
        *,
        exclude_owned: bool = True,
    ) -> tuple[Model, list[Epoch]]:
        """Return the model and its epochs."""
        ...


def run_trial(
    kind: str,
    settings: Mapping[str, Any],
    task: TrialTask,
    deadline: float | None = None,
    on_event: Callable[[TrialEvent], None] = ignore,
    *,
    fit: Fit,
    solved: Solved | None = None,
) -> Trial:
    """Fit a kind with some settings and measure it on the validation users.

    A training that the deadline ends counts with its best epoch by recall@20; so does item-kNN, which has no epochs,
    with the best number of neighbours tried until then.

    Args:
        kind: Of the model.
        settings: As `make_settings` takes them.
        task: What to fit to and to measure on.
        deadline: By `time.monotonic`; None: never.
        on_event: Called with the events of the trial. It may raise `StopTrialError` to end the trial; whatever else
            it raises is passed on.
        fit: Fits a kind of model; `recae.selection.fit.fit_kind`.
        solved: Models of closed form that trials of this task share; None: each is fitted again.

    Returns:
        The trial. One that fails with an error of `FAILURES` has no model but a reason.
    """
    started = time.monotonic()
    run = _Run(task, deadline, on_event)
    ended: Literal["complete", "deadline", "stopped", "failed"] = "complete"
    model, quality, reason = None, None, ""
    epochs = run.epochs
    try:
        try:
            hooks = run.hooks(kind, solved)
            model, epochs = fit(
                kind, settings, task.fit, task.validation, hooks, exclude_owned=task.exclude_owned
            )
        except _OutOfTimeError:
            model, ended = run.best_model, "deadline"
            reason = "" if model is not None else NO_EPOCH
        except StopTrialError:
            model, ended = run.best_model, "stopped"
        if model is not None and ended != "stopped":
            quality = run.quality(model)
    except FAILURES as error:
        if run.raised is error:  # by whoever is told of the trial
            raise
        model, ended, reason = None, "failed", sentence(error)
    seconds = time.monotonic() - started
    return Trial(kind, settings, model, epochs, quality, seconds, ended, reason)


class _Run:
    """The state of a running trial."""

    def __init__(
        self, task: TrialTask, deadline: float | None, on_event: Callable[[TrialEvent], None]
    ) -> None:
        self.task, self.deadline, self.on_event = task, deadline, on_event
        self.epochs: list[Epoch] = []
        self.best_model: Model | None = None
        self.raised: BaseException | None = None
        self._best = 0.0
        self._planned = 0
        self._latest: float | None = None

    def hooks(self, kind: str, solved: Solved | None) -> Hooks:
        """Return the hooks of the fit."""
        takes_confidence = not find(kind).no_confidence
        return Hooks(
            device=self.task.device,
            validate=None if self.task.validation is None else self._validate,
            on_start=self._on_start,
            on_users=self._on_users,
            on_epoch=self._on_epoch,
            on_message=lambda text: self._tell(Message(text)),
            solved=solved,
            neighbours=self.task.neighbours,
            confidence=self.task.confidence if takes_confidence else None,
        )

    def quality(self, model: Model) -> NDArray[np.float64] | None:
        """Return the task's metric of each validation user."""
        if self.task.validation is None:
            return None
        return self._measure(model, self.task.metric).values[self.task.metric]

    def _measure(self, model: Model, *metrics: str) -> Evaluation:
        if self.task.validation is None:
            raise AssertionError
        parsed = [metric.split("@") for metric in metrics]
        return evaluate(
            model,
            *self.task.validation,
            sorted({int(k) for _, k in parsed}),
            metrics=tuple(dict.fromkeys(name for name, _ in parsed)),
            exclude_owned=self.task.exclude_owned,
        )

    def _tell(self, event: TrialEvent) -> None:
        try:
            self.on_event(event)
        except BaseException as error:
            self.raised = error
            raise

    def _check_time(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise _OutOfTimeError

    def _validate(self, model: Model) -> float:
        found = self._measure(model, self.task.metric, EPOCHS_BY)
        by, self._latest = found.mean(EPOCHS_BY), found.mean(self.task.metric)
        # another model in memory, only where it may be needed
        if self.deadline is not None and (self.best_model is None or by > self._best):
            self._best, self.best_model = by, model
        if not self._planned:  # no epochs: one value of a setting is tried after the other
            self._check_time()
        return by

    def _on_start(self, epochs: int, users: int) -> None:
        self._planned = epochs
        self._tell(Started(epochs, users))

    def _on_users(self, done: int) -> None:
        self._check_time()
        self._tell(UsersDone(done))

    def _on_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        quality, self._latest = self._latest, None
        self._tell(EpochDone(epoch, self._planned, quality))


def sentence(error: BaseException) -> str:
    """Return what went wrong, in one sentence."""
    text = " ".join(str(error).split())
    if isinstance(error, RecaeError):
        return text
    if isinstance(error, MemoryError):
        return f"there is not enough memory for it{text and f' ({text})'}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
