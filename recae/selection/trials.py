"""The trials of a tuning: each is fitted and measured as `train` would, stopped where it lags behind, and kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recae.errors import ConfigError, TrainingError
from recae.evaluation import evaluate
from recae.kinds import Dimension, decay_setting, find
from recae.metrics import METRICS, check_metrics
from recae.models import Model
from recae.selection.fit import fit_config, make_config
from recae.selection.space import TunedTrial, best_of
from recae.selection.study import Study
from recae.selection.tuning_data import Seen, TuningData
from recae.training.callbacks import Hooks, Progress
from recae.training.checkpoint import Epoch

if TYPE_CHECKING:
    import optuna

_FAILURES = (ConfigError, TrainingError, MemoryError)
"""What makes a trial fail, so that the search goes on with others."""


@dataclass(frozen=True)
class TuningProgress(Progress):
    """As `Progress`, for every trial that is trained in epochs, and

    on_trial  is told a trial that ended, the best so far (None before there is one), and how many there may be
    """

    on_trial: Callable[[TunedTrial, TunedTrial | None, int], None] = lambda ended, best, trials: None


class _OutOfTimeError(Exception):
    """The budget ended within a training."""


class _LagsError(Exception):
    """A trial is far enough behind others to be stopped."""


@dataclass
class _Outcome:
    """What a trial came to: the metric, its settings as the model has them, and the metric by epoch."""

    value: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    by_epoch: dict[int, float] = field(default_factory=dict)
    epochs: int = 0


@dataclass
class Search:
    """The search of one kind on one set of purchases; `asked` is the metric's name and length of list."""

    kind: str
    fixed: Mapping[str, Any]
    asked: tuple[str, int]
    data: TuningData
    device: str
    progress: TuningProgress
    deadline: float = 0.0

    def run(self, study: Study, dimensions: Sequence[Dimension], trials: int, budget: float) -> str:
        """Tries until there are so many trials or the seconds are over; says which ended it, "trials" or "budget"."""
        self.deadline = time.monotonic() + budget - sum(trial.seconds for trial in study.trials)
        for number in range(len(study.trials) + 1, trials + 1):
            if not self._worth_beginning(study.trials):
                return self._end(study, "budget")
            try:
                if number == 1:
                    self._try_defaults(study, dimensions)
                else:
                    self._try_next(study, _around(dimensions, study.trials[0]), number)
            except _OutOfTimeError:
                return self._end(study, "budget")
            done = study.trials
            self.progress.on_trial(done[-1], best_of(done), trials)
        return self._end(study, "trials")

    def _worth_beginning(self, done: Sequence[TunedTrial]) -> bool:
        """Whether enough of the budget is left for a trial as short as the shortest."""
        left = self.deadline - time.monotonic()
        shortest = min((t.seconds for t in done if t.state == "complete"), default=0.0)
        return left > 0 and left >= shortest

    def _end(self, study: Study, ended: str) -> str:
        done = study.trials
        if best_of(done) is None:
            reasons = [trial.reason for trial in done if trial.reason]
            last = f"; the last that failed: {reasons[-1]}" if reasons else ""
            if ended == "budget":
                raise TrainingError(
                    f"the budget ended before a trial did: give a longer --budget, or --set what trains faster{last}"
                )
            raise TrainingError(
                f"none of the {len(done)} trials could be fitted{last}; --set other values, or use other data"
            )
        return ended

    def _try_defaults(self, study: Study, dimensions: Sequence[Dimension]) -> None:
        """The first trial: what is not fixed is left to be chosen from the data."""
        started = time.perf_counter()
        outcome = _Outcome()
        try:
            self._fit({}, dimensions, outcome, None)
        except _FAILURES as error:
            study.add(_failed(1, {}, outcome, started, error), dimensions, {}, {})
            return
        ended = TunedTrial(1, "complete", outcome.value, outcome.settings, outcome.epochs, _since(started))
        # of a part that was left out of a blend nothing is known: the middle stands for it
        params = {d.name: outcome.settings.get(d.name, d.at(0.5)) for d in dimensions}
        study.add(ended, _around(dimensions, ended), params, outcome.by_epoch)

    def _try_next(self, study: Study, dimensions: Sequence[Dimension], number: int) -> None:
        """A trial that the study proposes; the same settings as before are not fitted again."""
        started = time.perf_counter()
        trial = study.ask(dimensions, number, self.fixed["seed"])
        settings = {d.name: d.tidy(trial.params[d.name]) for d in dimensions}
        outcome = _Outcome(settings=settings)
        same = next((t for t in study.trials if t.state == "complete" and t.settings == settings), None)
        if same is not None and same.value is not None:
            ended = TunedTrial(number, "complete", same.value, settings, same.epochs, _since(started))
        else:
            try:
                self._fit(settings, dimensions, outcome, (study, trial))
                ended = TunedTrial(
                    number, "complete", outcome.value, settings, outcome.epochs, _since(started)
                )
            except _LagsError:
                last = outcome.by_epoch[max(outcome.by_epoch)]
                ended = TunedTrial(number, "pruned", last, settings, outcome.epochs, _since(started))
            except _FAILURES as error:
                ended = _failed(number, settings, outcome, started, error)
        study.finish(trial, ended)

    def _fit(
        self,
        settings: Mapping[str, Any],
        dimensions: Sequence[Dimension],
        outcome: _Outcome,
        judged: tuple[Study, optuna.Trial] | None,
    ) -> None:
        """Fits and measures as `train` would, the epoch chosen by recall@20; fills in `outcome`.

        With `judged`, the trial is stopped where the study says that it lags behind.
        """
        values = {**self.fixed, **settings}
        seen = self.data.seen(decay_of(self.kind, values))
        if own_decay := find(self.kind).decay:
            values[own_decay] = seen.decay
        name, k = self.asked
        latest, total = [0.0], [0]

        def validate(model: Model) -> float:
            latest[0], recall = self._measure(model, seen, f"{name}@{k}", "recall@20")
            return recall

        def in_time() -> None:
            if time.monotonic() > self.deadline:
                raise _OutOfTimeError

        def on_start(epochs: int, users: int) -> None:
            total[0] = epochs
            self.progress.on_start(epochs, users)

        def on_users(done: int) -> None:
            in_time()
            self.progress.on_users(done)

        def on_epoch(epoch: Epoch) -> None:
            outcome.epochs = epoch.epoch
            self.progress.on_epoch(epoch)
            if epoch.recall is None or find(self.kind).parts:  # whose parts are trained one after the other
                return
            outcome.by_epoch[epoch.epoch] = latest[0]
            if judged is not None and judged[0].lags(judged[1], latest[0], epoch.epoch, total[0]):
                raise _LagsError

        hooks = Hooks(
            device=self.device,
            validate=validate,
            on_start=on_start,
            on_users=on_users,
            on_epoch=on_epoch,
            weights=seen.weights,
        )
        config = make_config(self.kind, values)
        exclude_owned = self.data.events is None
        fitted = fit_config(
            self.kind, config, seen.matrix, seen.validation, hooks, exclude_owned=exclude_owned
        )
        outcome.value = self._measure(fitted.model, seen, f"{name}@{k}")[0]
        outcome.settings = _as_fitted(dimensions, fitted.model.config()) | dict(settings)

    def _measure(self, model: Model, seen: Seen, *metrics: str) -> list[float]:
        """The means of metrics such as "ndcg@20" over the validation users."""
        parsed = [parse_metric(metric) for metric in metrics]
        found = evaluate(
            model,
            *seen.validation,
            sorted({k for _, k in parsed}),
            metrics=tuple(dict.fromkeys(name for name, _ in parsed)),
            exclude_owned=self.data.events is None,
        )
        return [found.mean(metric) for metric in metrics]


def parse_metric(metric: str) -> tuple[str, int]:
    """Name and length of list of "ndcg@20". Raises ConfigError for anything else."""
    found = re.fullmatch(r"([a-z_]+)@([0-9]{1,9})", metric)
    if found is None or int(found[2]) < 1:
        raise ConfigError(
            f"a metric is a name and a length of list, such as ndcg@20, found '{metric}': name one of "
            f"{', '.join(METRICS)}, and a whole number from 1"
        )
    check_metrics((found[1],))
    return found[1], int(found[2])


def decay_of(kind: str, values: Mapping[str, Any]) -> float | None:
    """The decay that histories are weighted with, where settings say it; as `train` reads it."""
    setting = decay_setting(kind)
    return None if setting is None else values.get(setting)


def _as_fitted(dimensions: Sequence[Dimension], config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a model was fitted with, those of the parts of a blend by dotted names."""
    known = dict(config)
    for part in config.get("parts") or []:
        known |= {f"{part['kind']}.{name}": value for name, value in part["config"].items()}
    return {d.name: known[d.name] for d in dimensions if known.get(d.name) is not None}


def _around(dimensions: Sequence[Dimension], first: TunedTrial) -> list[Dimension]:
    """The dimensions around the defaults, where these are known."""
    own = first.settings
    return [d.around(own[d.name]) if d.name in own else d for d in dimensions]


def _failed(
    number: int, settings: Mapping[str, Any], outcome: _Outcome, started: float, error: BaseException
) -> TunedTrial:
    reason = str(error) or ("there is not enough memory" if isinstance(error, MemoryError) else repr(error))
    return TunedTrial(number, "failed", None, settings, outcome.epochs, _since(started), reason)


def _since(started: float) -> float:
    return time.perf_counter() - started
