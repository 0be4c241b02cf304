"""Trying one candidate after the other within a time budget, and measuring each on the validation users."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import RecaeError, TrainingError
from recae.evaluation import evaluate
from recae.models import Model
from recae.models.blend import Blend, Part
from recae.training.checkpoint import Epoch
from recae.training.hooks import Hooks
from recae.workflow.auto_config import ALWAYS, AutoConfig, seconds_of
from recae.workflow.choosing import Choice, Trial
from recae.workflow.costs import Size, seconds_for
from recae.workflow.weights import Candidates, fit_spread

PARTS_AT_MOST = 3
"""Models that are blended: the best of those tried."""

TRUST = 10.0
"""Seconds for which the rule of thumb is believed before what ran corrects it."""

_VALUE = {
    "ease": 3.0,
    "edlae": 3.0,
    "sparse-linear": 2.0,
    "sigmoid": 3.0,
}  # what may be hoped for; of others 1
_LAST = {"blend": 1, "multvae": 2, "deep": 2, "recvae": 3}


class _OutOfTimeError(Exception):
    """The budget ended within a training."""


class Search:
    """The candidates tried so far, and the time that is left."""

    def __init__(
        self,
        matrix: sp.csr_matrix,
        config: AutoConfig,
        validation: tuple[sp.csr_matrix, sp.csr_matrix],
        hooks: Hooks,
        exclude_owned: bool,
    ) -> None:
        self.matrix, self.config, self.validation, self.hooks = matrix, config, validation, hooks
        self.exclude_owned = exclude_owned
        self.budget = seconds_of(config.budget)
        self.deadline = time.monotonic() + self.budget
        self.size = Size.of(matrix, validation[0].shape[0])
        self.trials: list[Trial] = []
        self.skipped: dict[str, str] = {}
        self._took, self._cost = (
            TRUST,
            TRUST,
        )  # seconds that were taken, and that were expected by the rule of thumb

    def run(self) -> None:
        """Tries one candidate after the other."""
        queue = self._order()
        n_users = self.validation[0].shape[0]
        self.hooks.on_message(
            f"trying {', '.join(queue)} within {_time(self.budget)}, comparing NDCG@20 on {n_users:,} users"
        )
        for kind in queue:
            reason = self._reason_to_skip(kind)
            if reason is None:
                reason = self._try(kind)
            if reason is not None:
                self.skipped[kind] = reason
                self.hooks.on_message(f"{kind} is left out: {reason}")

    def report(self, choice: Choice) -> dict[str, Any]:
        """What was tried and why one was chosen, as JSON values; no times taken, which would differ each time."""
        return {
            "metric": "ndcg@20",
            "n_users": int(np.isfinite(choice.chosen.values).sum()),
            "budget": self.config.budget,
            "tried": [
                {
                    "kind": trial.name,
                    "settings": dict(trial.settings if trial.name == "blend" else trial.model.config()),
                    "ndcg@20": trial.mean,
                    "interval": _finite(trial.interval.low, trial.interval.high),
                    "behind_the_best": _finite(gap.mean, gap.low, gap.high),
                    "bytes": trial.bytes,
                    "note": trial.note,
                }
                for trial, gap in zip(self.trials, choice.behind, strict=True)
            ],
            "skipped": [{"kind": kind, "reason": reason} for kind, reason in self.skipped.items()],
            "chosen": choice.chosen.name,
            "why": choice.why,
        }

    def _order(self) -> list[str]:
        """The cheap ones that are always tried, then by what may be hoped for per second."""
        unfit = {"frequency"} if self.exclude_owned and self.config.candidates is None else set()
        kinds = [kind for kind in self.config.kinds() if kind not in unfit]
        rest = [kind for kind in kinds if kind not in ALWAYS]
        rest.sort(key=lambda k: (_LAST.get(k, 0), seconds_for(k, self.size) / _VALUE.get(k, 1.0)))
        return [*(kind for kind in ALWAYS if kind in kinds), *rest]

    def _expected(self, kind: str) -> float:
        """Seconds, by the rule of thumb and how fast this machine was so far."""
        return self._took / self._cost * seconds_for(kind, self.size)

    def _reason_to_skip(self, kind: str) -> str | None:
        if kind in ALWAYS:
            return None
        if kind == "frequency" and self.exclude_owned:
            return "it ranks what a user owns, which is left out unless people rebuy (--repeats)"
        if kind == "blend" and len(self._blendable()) < 2:
            return "it needs two models to blend, besides popularity"
        left, expected = self.deadline - time.monotonic(), self._expected(kind)
        if expected > left:
            return f"it takes about {_time(expected)}, and of {_time(self.budget)} {_time(max(left, 0))} are left"
        fits = any(trial.name == "ease" for trial in self.trials)
        if kind == "sparse-linear" and self.config.candidates is None and fits:
            return "ease fits, of which it is an approximation"
        return None

    def _try(self, kind: str) -> str | None:
        """Fits and measures a candidate; why it could not be done, None if it could."""
        started = time.monotonic()
        cost = seconds_for(kind, self.size)
        try:
            if kind == "blend":
                self.trials.append(self._blend(cost))
            else:
                self.trials.append(self._trial(kind, self.config.settings(kind), cost))
        except _OutOfTimeError:
            return "it had not finished an epoch when the budget ended"
        except MemoryError:
            return "there is not enough memory for it"
        except RecaeError as error:
            return str(error)
        took, trial = time.monotonic() - started, self.trials[-1]
        if not trial.note.startswith("stopped"):
            self._took, self._cost = self._took + max(took - 1, 0), self._cost + cost  # a second for imports
        self.hooks.on_message(
            f"{trial.in_words()} in {_time(took)}, {trial.bytes / 2**20:,.1f} MiB{trial.note and ', ' + trial.note}"
        )
        return None

    def _trial(self, kind: str, settings: dict[str, Any], cost: float) -> Trial:
        """A candidate that is fitted; the best of its epochs so far when the budget ends within it."""
        best: list[tuple[float, Model]] = []
        epochs: list[Epoch] = []

        def validate(model: Model) -> float:
            recall = float(self._measure(model, "recall@20").mean())
            if not best or recall > best[0][0]:
                best[:] = [(recall, model)]
            if kind in ALWAYS:  # which tries one number of neighbours after the other
                stop_in_time()
            return recall

        def stop_in_time() -> None:
            if time.monotonic() > self.deadline:
                raise _OutOfTimeError

        def on_users(done: int) -> None:
            stop_in_time()
            if self.hooks.on_users is not None:
                self.hooks.on_users(done)

        def on_epoch(epoch: Epoch) -> None:
            epochs.append(epoch)
            if self.hooks.on_epoch is not None:
                self.hooks.on_epoch(epoch)

        weights = None if kind == "frequency" else self.hooks.weights  # which has its own decay
        hooks = replace(self.hooks, validate=validate, on_users=on_users, on_epoch=on_epoch, weights=weights)
        note = ""
        try:
            model, epochs = fit_kind(kind, settings, self.matrix, self.validation, hooks)
        except _OutOfTimeError:
            if not best:
                raise
            model = best[0][1]
            note = f"stopped {f'after epoch {len(epochs)} ' if epochs else ''}by the end of the budget"
        return Trial(
            kind, model, epochs, settings, self._measure(model, "ndcg@20", all_users=True), cost, note
        )

    def _blendable(self) -> list[Trial]:
        """What a blend is made of: the best of those tried."""
        found = [trial for trial in self.trials if trial.name not in ("popularity", "blend")]
        return sorted(found, key=lambda trial: -trial.mean)[:PARTS_AT_MOST]

    def _blend(self, cost: float) -> Trial:
        """A blend of models that are there already; only the weights are chosen."""
        of = self._blendable()
        histories = self.validation[0]
        spreads = [fit_spread(trial.model, histories) for trial in of]
        unit = [Blend((Part(t.model, 1.0, s),), {}) for t, s in zip(of, spreads, strict=True)]
        weights = Candidates.of(unit, self.validation, exclude_owned=self.exclude_owned).search()
        used = [(t, float(w), s) for t, w, s in zip(of, weights, spreads, strict=True) if w > 0]
        if len(used) < 2:
            raise TrainingError(f"nothing is gained by blending: all weight goes to {used[0][0].name}")
        names = ",".join(trial.name for trial, _, _ in used)
        model = Blend(
            tuple(Part(trial.model, weight, spread) for trial, weight, spread in used),
            {"components": names, "seed": self.config.seed},
        )
        epochs = next((trial.epochs for trial, _, _ in used if trial.epochs), [])
        note = " + ".join(f"{weight:.2f} {trial.name}" for trial, weight, _ in used)
        values = self._measure(model, "ndcg@20", all_users=True)
        return Trial(
            "blend",
            model,
            epochs,
            {"components": names},
            values,
            cost + sum(t.cost for t, _, _ in used),
            note,
        )

    def _measure(self, model: Model, metric: str, *, all_users: bool = False) -> Any:
        """A metric of each validation user, float64 (B,); only of those with something held out unless `all_users`."""
        values = evaluate(model, *self.validation, (20,), exclude_owned=self.exclude_owned).values[metric]
        return values if all_users else values[np.isfinite(values)]


def fit_kind(
    kind: str, settings: dict[str, Any], matrix: sp.csr_matrix, validation: Any, hooks: Hooks
) -> tuple[Model, list[Epoch]]:
    """`fitting.fit_kind`, which knows of this module."""
    from recae.workflow import fitting

    return fitting.fit_kind(kind, settings, matrix, validation, hooks)


def _finite(*numbers: float) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in numbers]


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.2g} min" if seconds < 5940 else f"{seconds / 3600:.3g} h"
