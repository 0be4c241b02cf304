"""The study of a tuning: Optuna proposes settings, and keeps what every trial came to.

What Optuna proposes depends on the trials that ended and on the number of the next one, not on how often the tuning was
interrupted: the random numbers begin anew with each trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recae.errors import OutputError
from recae.workflow.spaces import Dimension
from recae.workflow.tuned import State, TunedTrial

if TYPE_CHECKING:
    import optuna

RANDOM_TRIALS = 8
"""Trials before proposals follow what did well, and before an importance of settings is given."""

UNPRUNED_TRIALS = 4
"""Trials that must be complete before another is held against their median."""


class Study:
    """Trials that ended, and what to try next; in memory, or kept in a file."""

    def __init__(self, study: optuna.Study, path: Path | None) -> None:
        self._study, self._path = study, path

    @property
    def trials(self) -> list[TunedTrial]:
        """Those that ended, in their order; what was interrupted is not among them."""
        from optuna.trial import TrialState

        states: dict[TrialState, State] = {
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "pruned",
            TrialState.FAIL: "failed",
        }
        found: list[TunedTrial] = []
        for trial in self._study.get_trials(deepcopy=False):
            kept = trial.user_attrs
            failed = trial.state == TrialState.FAIL
            if trial.state not in states or "reason" not in kept or (failed and not kept["reason"]):
                continue
            value = None if failed or trial.value is None else float(trial.value)
            found.append(
                TunedTrial(
                    len(found) + 1,
                    states[trial.state],
                    value,
                    kept["settings"],
                    kept["epochs"],
                    kept["seconds"],
                    kept["reason"],
                )
            )
        return found

    def add(
        self,
        ended: TunedTrial,
        dimensions: Sequence[Dimension],
        params: Mapping[str, Any],
        by_epoch: Mapping[int, float],
    ) -> None:
        """Keeps a trial that was not proposed here: the defaults, with values for all dimensions."""
        from optuna.trial import create_trial

        known = ended.state != "failed"
        with self._writing():
            self._study.add_trial(
                create_trial(
                    state=_state(ended.state),
                    value=ended.value,
                    params=dict(params) if known else {},
                    distributions={d.name: _distribution(d) for d in dimensions} if known else {},
                    user_attrs=_attributes(ended),
                    intermediate_values=dict(by_epoch),
                )
            )

    def ask(self, dimensions: Sequence[Dimension], number: int, seed: int) -> optuna.Trial:
        """Proposes the values of a trial, its parameters: by chance at first, later by TPE (Bergstra et al. 2011)."""
        from optuna.samplers import TPESampler

        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=drawn, constant_liar=False)
        with self._writing():
            return self._study.ask({d.name: _distribution(d) for d in dimensions})

    def lags(self, trial: optuna.Trial, value: float, epoch: int, epochs: int) -> bool:
        """Keeps the value after an epoch; whether the trial is to be stopped, since the best of its epochs so far is
        below the median that the complete trials had at this epoch. Not in the first third of the epochs.
        """
        from optuna.pruners import MedianPruner

        self._study.pruner = MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=epochs // 3)
        with self._writing():
            trial.report(value, epoch)
            return trial.should_prune()

    def finish(self, trial: optuna.Trial, ended: TunedTrial) -> None:
        """Keeps what a proposed trial came to."""
        with self._writing():
            for name, value in _attributes(ended).items():
                trial.set_user_attr(name, value)
            complete = ended.state == "complete"
            self._study.tell(trial, ended.value if complete else None, state=_state(ended.state))

    def importance(self) -> dict[str, float]:
        """Setting → share of how much it decides which trials do well, the greatest first (PED-ANOVA, Watanabe et al.
        2023, arXiv:2304.10255); empty before there are `RANDOM_TRIALS` complete trials that differ.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        values = [trial.value for trial in self.trials if trial.state == "complete"]
        if len(values) < RANDOM_TRIALS or len(set(values)) < 2:
            return {}
        found = get_param_importances(
            self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=1 / 3)
        )
        return {name: float(share) for name, share in found.items()}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write to the study '{self._path}': {error.strerror or error}; free some space, or choose "
                "another path with --study"
            ) from error


def _state(state: State) -> Any:
    from optuna.trial import TrialState

    return {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state]


def _attributes(ended: TunedTrial) -> dict[str, Any]:
    return {
        "settings": dict(ended.settings),
        "epochs": ended.epochs,
        "seconds": ended.seconds,
        "reason": ended.reason,
    }


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.scale == "choice":
        return CategoricalDistribution(dimension.choices)
    if dimension.whole:
        return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
