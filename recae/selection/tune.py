"""Tuning: trials of one kind of model with different settings, each measured on validation users.

Each trial is fitted and measured as `train` would, and stopped where it lags behind the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recae.confidence import Weighting
from recae.errors import ConfigError, TrainingError
from recae.filters import Filters
from recae.kinds import DEFAULT, SETTINGS, Dimension, decay_setting, find, parts_of
from recae.metrics import METRICS, check_metrics
from recae.reading import ReadOptions, hide_password
from recae.selection.auto import seconds_of
from recae.selection.displays import TuningDisplay
from recae.selection.fit import (
    batch_size_of,
    check_inputs,
    check_repeats,
    check_weighting,
    fit_kind,
    make_settings,
)
from recae.selection.progress import Progress, followed, told_by
from recae.selection.space import State, Tuned, TunedTrial, best_of, space
from recae.selection.study import SEARCHED, Study, check_optuna, check_study, open_study
from recae.selection.trial import (
    EpochDone,
    Started,
    StopTrialError,
    Trial,
    TrialEvent,
    TrialTask,
    UsersDone,
    run_trial,
)
from recae.selection.tuning_data import Seen, TuningData, read_tuning_data
from recae.settings import check_range, full_name
from recae.training.device import choose_device, where_and_why


@followed(TuningDisplay)
def tune(
    source: Any,
    *,
    kind: str | None = None,
    trials: int = 30,
    budget: float | str = "20m",
    metric: str = "ndcg@20",
    device: str = "auto",
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    repeats: bool = False,
    study: Path | None = None,
    resume: bool = False,
    progress: Progress | bool | None = None,
    confidence: Weighting | None = None,
    **settings: Any,
) -> Tuned:
    """Search the settings of a kind of model that are best on validation users.

    The users are held out as `train` with the same seed holds them out: trials are measured on its validation users,
    and its test users are set aside, so that their figures stay unbiased. The first trial is the defaults; the others
    are proposed by Optuna's TPE from `space.space`. A trial that falls behind the median of the others at the same
    epoch is stopped; one that cannot be fitted (ConfigError, TrainingError, MemoryError) counts as failed. A trial
    that is trained in epochs and not done at the end of the budget does not count.

    The same seed and number of trials give the same result, however often it was interrupted, where the budget does
    not end the search.

    Args:
        source: as for `train`.
        kind: name of the model, one of `recae.kinds.known` except auto and popularity; None: as for `train`.
        trials: how many at most, those of earlier sessions included.
        budget: time for all of them, likewise: seconds, or such as 90s, 20m, 1h.
        metric: to maximise: a name of `recae.metrics.METRICS` and a list length, such as "ndcg@20".
        device: as for `train`.
        reading: as for `train`.
        filters: as for `train`.
        repeats: whether repeat purchases count; as for `train`.
        study: file to store the trials in as they end; the caller's to remove. None: they are in memory only.
        resume: go on with the trials that `study` holds.
        progress: as for `train`.
        confidence: of purchases in training, as for `train`.
        settings: that are not searched: fields of the kind's settings, such as seed or factors.

    Raises:
        ConfigError: a kind, setting or metric is unknown, a kind has no settings, or Optuna is missing.
        DataError: the purchases cannot be used.
        CheckpointError: the study cannot be resumed.
        OutputError: the study cannot be written.
        TrainingError: no trial could be measured.
    """
    progress = told_by(progress)
    kind = kind or DEFAULT
    check_range("trials", trials, 1, 100_000, whole=True)
    seconds = seconds_of(budget)
    parse_metric(metric)
    config = make_settings(kind, settings)
    settings = {full_name(SETTINGS[kind], key, SETTINGS): value for key, value in settings.items()}
    check_repeats(kind, repeats, "tune another kind")
    of_purchases = "tune learns from purchases alone, so tune another kind, or train this one with --inputs"
    check_inputs(kind, config, None, repeats, otherwise=of_purchases)
    weighting = confidence or Weighting()
    check_weighting(kind, config, weighting, repeats)
    _searched(kind, settings)
    check_optuna()
    if study is not None:
        check_study(study, resume)
    chosen = choose_device(device, batch_size_of(config))
    where = where_and_why(device, chosen, batch_size_of(config))
    data = read_tuning_data(source, reading, config.seed, repeats, progress.on_report, filters, weighting)
    applied = data.interactions.filters or Filters()
    fixed: dict[str, Any] = {"seed": config.seed, **settings}
    named = find(kind).parts
    if named and fixed.get(named) is None:
        fixed[named] = ",".join(parts_of(kind, None, repeats))
    dimensions = _searched(kind, fixed)
    search = Search(kind, fixed, metric, data, chosen, progress)
    seen = data.seen(decay_of(kind, fixed))
    identity = {
        "kind": kind,
        "metric": metric,
        "repeats": repeats,
        "data.fingerprint": data.fingerprint,
        "data.held_out": seen.held_out,
        **applied.identity(),
        **weighting.identity(seen.confidence),
        **fixed,
        SEARCHED: ", ".join(dimension.in_words() for dimension in dimensions),
    }
    progress.on_message(
        f"tuning {', '.join(d.name for d in dimensions)} of {kind} by {metric} on {seen.validation[0].shape[0]:,} "
        f"validation users; {seen.set_aside:,} test users are set aside; on {where}"
    )
    for note in seen.notes:
        progress.on_message(note)
    with open_study(study, resume, identity) as opened:
        if before := opened.trials:
            progress.on_message(f"going on after {len(before)} trials, as in {study}")
        try:
            ended = search.run(opened, dimensions, trials, seconds)
        except BaseException as error:
            if best := best_of(opened.trials):
                error.add_note(_so_far(best, opened.trials, metric, study))
            raise
        done = opened.trials
        return Tuned(
            kind=kind,
            metric=metric,
            fixed=fixed,
            trials=done,
            importance=opened.importance(),
            ended=ended,
            source=hide_password(str(source)) if isinstance(source, str | Path) else "",
            fingerprint=data.fingerprint,
            n_users=data.interactions.n_users,
            n_items=data.interactions.n_items,
            validation_users=seen.validation[0].shape[0],
            test_users=seen.set_aside,
            repeats=repeats,
            filters=applied,
            seconds=sum(trial.seconds for trial in done),
            weighting=weighting,
        )


def _searched(kind: str, fixed: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """Return the space of a kind; ConfigError where nothing is left to search."""
    found = space(kind, fixed)
    if not found:
        every = ", ".join(dimension.name for dimension in space(kind))
        raise ConfigError(
            f"all that is worth tuning of {kind} is set ({every}): leave one of these out"
            if every
            else f"{kind} has no settings, so there is nothing to tune: name another kind"
        )
    return found


def _so_far(best: TunedTrial, done: Sequence[TunedTrial], metric: str, study: Path | None) -> str:
    """Return what an interrupted tuning has reached, and how to go on."""
    found = (
        f"best of {len(done)} trials so far is {metric} {best.value:.4f} of trial {best.number}, with "
        f"{best.settings_in_words()}"
    )
    if study is None:
        return found
    return f"{found}; '{study}' holds them, and the same command with --resume goes on from there"


def trial_line(ended: TunedTrial, best: TunedTrial | None, trials: int, metric: str) -> str:
    """Return "trial 3/30: ndcg@20 0.2288 in 1.0 s, best 0.2418 of trial 2; factors 306, dropout 0.557"."""
    so_far = "" if best is None else f", best {best.value:.4f} of trial {best.number}"
    if ended.value is None:
        what = "failed"
    else:
        pruned = f" after {ended.epochs} epochs, pruned" if ended.state == "pruned" else ""
        what = f"{metric} {ended.value:.4f}{pruned}"
    reason = f": {ended.reason}" if ended.reason else ""
    took = f"{ended.seconds:.1f} s"
    return f"trial {ended.number}/{trials}: {what} in {took}{so_far}; {ended.settings_in_words()}{reason}"


@dataclass
class Search:
    """The search of one kind on one set of purchases.

    Attributes:
        kind: Of the model.
        fixed: Settings that are not searched.
        metric: To maximise, such as "ndcg@20".
        data: The purchases.
        device: What `choose_device` gave.
        progress: What is told of the trials.
        deadline: By `time.monotonic`; set when the search is run.
    """

    kind: str
    fixed: Mapping[str, Any]
    metric: str
    data: TuningData
    device: str
    progress: Progress
    deadline: float = 0.0
    _task: tuple[Seen, TrialTask] | None = None

    def run(self, study: Study, dimensions: Sequence[Dimension], trials: int, budget: float) -> str:
        """Try until there are so many trials or the seconds are over; return which ended it, "trials" or "budget"."""
        self.deadline = time.monotonic() + budget - sum(trial.seconds for trial in study.trials)
        for number in range(len(study.trials) + 1, trials + 1):
            if not self._worth_beginning(study.trials):
                return self._end(study, "budget")
            if number == 1:
                in_time = self._try_defaults(study, dimensions)
            else:
                in_time = self._try_next(study, _around(dimensions, study.trials[0]), number)
            if not in_time:
                return self._end(study, "budget")
            done = study.trials
            best = best_of(done)
            self.progress.on_trial(done[-1], best, trials)
            self.progress.on_message(trial_line(done[-1], best, trials, self.metric))
        return self._end(study, "trials")

    def _worth_beginning(self, done: Sequence[TunedTrial]) -> bool:
        """Return whether enough of the budget is left for a trial as short as the shortest."""
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

    def _try_defaults(self, study: Study, dimensions: Sequence[Dimension]) -> bool:
        """Run the first trial, with everything that is not fixed chosen from the data.

        Returns:
            Whether it ended in time.
        """
        trial, by_epoch = self._run({}, None)
        if trial.ended == "deadline":
            return False
        if trial.model is None:
            study.add(_ended(1, {}, trial, by_epoch), dimensions, {}, {})
            return True
        own = _as_fitted(dimensions, trial.model.config())
        ended = _ended(1, own, trial, by_epoch)
        # of a part that was left out of a blend nothing is known: the middle stands for it
        params = {d.name: own.get(d.name, d.at(0.5)) for d in dimensions}
        study.add(ended, _around(dimensions, ended), params, by_epoch)
        return True

    def _try_next(self, study: Study, dimensions: Sequence[Dimension], number: int) -> bool:
        """Run a trial that the study proposes; settings tried before are not fitted again.

        Returns:
            Whether it ended in time.
        """
        started = time.monotonic()
        proposed = study.ask(dimensions, number, self.fixed["seed"])
        settings = {d.name: d.tidy(proposed.params[d.name]) for d in dimensions}
        same = next((t for t in study.trials if t.state == "complete" and t.settings == settings), None)
        if same is not None:
            ended = replace(same, number=number, seconds=time.monotonic() - started)
        else:
            trial, by_epoch = self._run(
                settings, lambda value, epoch, of: study.lags(proposed, value, epoch, of)
            )
            if trial.ended == "deadline":
                return False
            ended = _ended(number, settings, trial, by_epoch)
        study.finish(proposed, ended)
        return True

    def _run(
        self, settings: Mapping[str, Any], lags: Callable[[float, int, int], bool] | None
    ) -> tuple[Trial, dict[int, float]]:
        """Fit and measure as `train` would.

        A trial is stopped where `lags` says so of its value after an epoch, of so many.

        Returns:
            The trial, and the metric by epoch.
        """
        values = {**self.fixed, **settings}
        seen = self.data.seen(decay_of(self.kind, values))
        if own_decay := find(self.kind).decay:
            values[own_decay] = seen.decay
        by_epoch: dict[int, float] = {}

        def on_event(event: TrialEvent) -> None:
            match event:
                case Started():
                    self.progress.on_start(event.epochs, event.users)
                case UsersDone():
                    self.progress.on_users(event.done)
                case EpochDone():
                    self.progress.on_epoch(event.epoch)
                    if event.quality is not None:
                        by_epoch[event.epoch.epoch] = event.quality
                        if lags is not None and lags(event.quality, event.epoch.epoch, event.of):
                            raise StopTrialError

        if self._task is None or self._task[0] is not seen:
            own = self.data.events is None
            task = TrialTask(seen.matrix, seen.validation, seen.confidence, own, self.device, self.metric)
            self._task = seen, task
        task = self._task[1]
        return run_trial(self.kind, values, task, self.deadline, on_event, fit=fit_kind), by_epoch


def parse_metric(metric: str) -> tuple[str, int]:
    """Return name and list length of a metric such as "ndcg@20"; ConfigError for anything else."""
    found = re.fullmatch(r"([a-z_]+)@([0-9]{1,9})", metric)
    if found is None or int(found[2]) < 1:
        raise ConfigError(
            f"a metric is a name and a length of list, such as ndcg@20, found '{metric}': name one of "
            f"{', '.join(METRICS)}, and a whole number from 1"
        )
    check_metrics((found[1],))
    return found[1], int(found[2])


def decay_of(kind: str, values: Mapping[str, Any]) -> float | None:
    """Return the decay of the histories where settings give it, as `train` reads it."""
    setting = decay_setting(kind)
    return None if setting is None else values.get(setting)


def _as_fitted(dimensions: Sequence[Dimension], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a model was fitted with, those of the parts of a blend by dotted names."""
    known = dict(config)
    for part in config.get("parts") or []:
        known |= {f"{part['kind']}.{name}": value for name, value in part["config"].items()}
    return {d.name: known[d.name] for d in dimensions if known.get(d.name) is not None}


def _around(dimensions: Sequence[Dimension], first: TunedTrial) -> list[Dimension]:
    """Return the dimensions around the defaults, where these are known."""
    own = first.settings
    return [d.around(own[d.name]) if d.name in own else d for d in dimensions]


def _ended(
    number: int, settings: Mapping[str, Any], trial: Trial, by_epoch: Mapping[int, float]
) -> TunedTrial:
    """Return a trial for the study; one that was stopped has the value of its last epoch."""
    state: State
    if trial.ended == "stopped":
        state, value = "pruned", by_epoch[max(by_epoch)]
    elif trial.model is None:
        state, value = "failed", None
    else:
        state, value = "complete", trial.mean
    epochs = trial.epochs[-1].epoch if trial.epochs else 0
    return TunedTrial(number, state, value, settings, epochs, trial.seconds, trial.reason)
