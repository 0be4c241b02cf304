"""Tuning: trials of one kind of model with different settings, each measured on validation users, the best kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.filters import Filters
from recae.interactions import Interactions
from recae.kinds import DEFAULT, SETTINGS, Dimension, find, parts_of
from recae.selection.auto import seconds_of
from recae.selection.fit import batch_size_of, check_repeats, check_weighting, make_config
from recae.selection.space import Tuned, TunedTrial, best_of, space
from recae.selection.study import SEARCHED, check_optuna, check_study, open_study
from recae.selection.trials import Search, TuningProgress, decay_of, parse_metric
from recae.selection.tuning_data import read_tuning_data
from recae.settings import check_range, full_name
from recae.sources import hide_password
from recae.training.device import choose_device, device_name


def tune(
    source: Interactions | str | Path,
    *,
    kind: str | None = None,
    trials: int = 30,
    budget: float | str = "20m",
    metric: str = "ndcg@20",
    device: str = "auto",
    columns: Mapping[str, Any] | None = None,
    filters: Filters | None = None,
    repeats: bool = False,
    study: Path | None = None,
    resume: bool = False,
    progress: TuningProgress | None = None,
    weights: Weighting | None = None,
    **settings: Any,
) -> Tuned:
    """Searches the settings of a kind of model that are best on validation users.

    The users are held out as `train` with the same seed holds them out: those that it chooses on are those that trials
    are measured on, and those that it measures on in the end are set aside, so that their figures stay honest. The
    first trial is the defaults; what the others try is `spaces.space`, proposed by Optuna's TPE. A trial that falls
    behind the median of the others at the same epoch is stopped; one that cannot be fitted (ConfigError, TrainingError,
    MemoryError) counts as failed. A trial that is trained in epochs and is not done at the end of the budget does not
    count.

    source   as for `train`
    columns, filters  likewise
    kind     name of the model, one of `recae.kinds.known` but auto and popularity; None: as for `train`
    trials   how many at most, those of earlier sessions included
    budget   time for all of them, likewise: seconds, or such as 90s, 20m, 1h
    metric   what to raise: a name of `recae.metrics.METRICS` and a length of list, such as "ndcg@20"
    repeats  people rebuy; see `train`
    study    file to keep the trials in as they end; the caller's to remove. None: they are in memory only
    resume   go on with the trials that `study` holds
    weights    what purchases weigh in training, as for `train`
    settings  what is not to be searched: fields of the kind's configuration, such as seed or factors

    The same seed and number of trials give the same result, however often it was interrupted, where the budget does not
    end the search. Raises ConfigError for an unknown kind, setting or metric, for a kind without settings, and without
    Optuna; DataError for purchases that cannot be used; CheckpointError when the study cannot be gone on with,
    OutputError when it cannot be written; TrainingError when no trial could be measured.
    """
    progress = progress or TuningProgress()
    kind = kind or DEFAULT
    check_range("trials", trials, 1, 100_000, whole=True)
    seconds = seconds_of(budget)
    asked = parse_metric(metric)
    config = make_config(kind, settings)
    settings = {full_name(SETTINGS[kind], key, SETTINGS): value for key, value in settings.items()}
    check_repeats(kind, repeats, "tune another kind")
    weighting = weights or Weighting()
    check_weighting(kind, config, weighting, repeats)
    _searched(kind, settings)
    check_optuna()
    if study is not None:
        check_study(study, resume)
    chosen = choose_device(device, batch_size_of(config))
    data = read_tuning_data(
        source, columns or {}, config.seed, repeats, progress.on_report, filters, weighting
    )
    applied = data.interactions.filters or Filters()
    fixed: dict[str, Any] = {"seed": config.seed, **settings}
    named = find(kind).parts
    if named and fixed.get(named) is None:
        fixed[named] = ",".join(parts_of(kind, None, repeats))
    dimensions = _searched(kind, fixed)
    search = Search(kind, fixed, asked, data, chosen, progress)
    seen = data.seen(decay_of(kind, fixed))
    identity = {
        "kind": kind,
        "metric": metric,
        "repeats": repeats,
        "data.fingerprint": data.fingerprint,
        "data.held_out": seen.held_out,
        **applied.identity(),
        **weighting.identity(seen.weights),
        **fixed,
        SEARCHED: ", ".join(dimension.in_words() for dimension in dimensions),
    }
    progress.on_message(
        f"tuning {', '.join(d.name for d in dimensions)} of {kind} by {metric} on {seen.validation[0].shape[0]:,} "
        f"validation users; {seen.set_aside:,} test users are set aside; on {device_name(chosen)}"
    )
    with open_study(study, resume, identity) as kept:
        if before := kept.trials:
            progress.on_message(f"going on after {len(before)} trials, as in {study}")
        try:
            ended = search.run(kept, dimensions, trials, seconds)
        except BaseException as error:
            if best := best_of(kept.trials):
                error.add_note(_so_far(best, kept.trials, metric, study))
            raise
        done = kept.trials
        return Tuned(
            kind=kind,
            metric=metric,
            fixed=fixed,
            trials=done,
            importance=kept.importance(),
            ended=ended,
            source="" if isinstance(source, Interactions) else hide_password(str(source)),
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
    """The space of a kind; ConfigError where nothing is left to search."""
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
    """What an interrupted tuning has reached and how to go on."""
    found = (
        f"best of {len(done)} trials so far is {metric} {best.value:.4f} of trial {best.number}, with "
        f"{best.settings_in_words()}"
    )
    if study is None:
        return found
    return f"{found}; '{study}' holds them, and the same command with --resume goes on from there"
