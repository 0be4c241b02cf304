"""Several kinds of model on the same tasks: each is tuned alike, fitted and asked for its lists, job after job."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.evaluation.comparison import Run
from recae.kinds import title
from recae.selection.baselines import Given, make_trials
from recae.selection.cache import Kept
from recae.selection.jobs import Inputs, Job, Outcome
from recae.selection.process import Clock, Running, Serial, at_once, run_all, run_job
from recae.settings import check_range
from recae.splits.tasks import Task

TRIALS: Final = 5
"""Settings that each model tries by default."""

LONGEST_CURVE: Final = 100
"""Length of the lists, at least, as far as there are so many items: what curves are drawn from."""

Tell = Callable[[str, Mapping[str, Any]], None]
"""Is told the name of a model, and an event, never two at a time. All have "fold", a number from 0, and "folds". Beside
"trial", "epoch" and "message" of `worker`:

{"event": "start", "number", "of", "trials"}   a job begins, maybe beside another one
{"event": "kept", …}       as "start", of a job whose result is kept from an earlier run
{"event": "done", "seconds", "peak_bytes", "ndcg@20"}            it ended; the last is of the validation users, or None
{"event": "failed", "text"}, {"event": "cut", "text"}           why there is no result, or what was left out of it
"""


@dataclass
class _Model:
    """A kind of model, and what came of it by fold: outcomes, or reasons why there is none."""

    number: int
    kind: str
    baseline: bool
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return title(self.kind)


def compare(
    tasks: Sequence[Task],
    kinds: Sequence[str],
    baselines: Sequence[str] = (),
    *,
    trials: int = TRIALS,
    ks: Sequence[int] = (10, 20, 50),
    seed: int = 0,
    settings: Given | None = None,
    keep: Path | Kept | None = None,
    threads: int | None = None,
    budget: float | None = None,
    tell: Tell = lambda name, event: None,
) -> list[Run]:
    """Runs each kind on each task, each time in a process of its own, and returns what each would recommend.

    A job tries up to `trials` settings (see `rivals.make_trials`; the first are the defaults), fits each to `task.fit`,
    keeps the one with the best NDCG@20 on `task.validation`, and ranks the test users with it. It is handed the
    matrices of `Inputs` and nothing else: what is to be found stays in this process. The figures of a kind do not
    depend on which others run beside it.

    tasks      of one protocol: one, or the folds of k-fold
    kinds, baselines  kinds of model, all different; the baselines run first, since most of them are quick
    ks         list lengths that will be measured: the lists are as long as the longest, and 100 at least, where there
               are so many items
    settings   kind → settings that are not varied
    keep       folder in which results are kept, and taken from; None: none
    threads    most processors that a process uses; None: all
    budget     seconds for everything; what is left is shared evenly among the jobs that are left. A job tries fewer
               settings then, stops a training at its best epoch, and fails when it has nothing in time
    tell       is told how far it is

    Jobs run one after the other, those of kinds that one processor fits as many at a time as there are processors.
    A job that fails (it cannot be fitted, its process crashes or is killed) gives a run with `failed`, and the others
    go on. Ctrl-C ends what runs and leaves what is kept, as a note on the exception says. Raises ConfigError
    for settings that a kind does not have, before anything is fitted.
    """
    check_range("trials", trials, 1, 10_000, whole=True)
    check_range("threads", threads, 1, 4096, whole=True)
    chosen = [*((kind, True) for kind in baselines), *((kind, False) for kind in kinds)]
    models = [_Model(number, kind, baseline) for number, (kind, baseline) in enumerate(chosen, start=1)]
    given = settings or {}
    varied = {
        kind: [
            make_trials(
                kind,
                trials,
                given.get(kind, {}),
                seed=seed,
                decay=task.decay,
                choose=task.validation is not None,
            )
            for task in tasks
        ]
        for kind, _ in chosen
    }
    kept = Kept(keep) if isinstance(keep, Path) else keep
    jobs = [(model, fold) for model in models for fold in range(len(tasks))]
    clock = Clock(len(jobs), None if budget is None else time.monotonic() + budget)
    told = Serial(tell)
    with tempfile.TemporaryDirectory(prefix="recae-") as folder, _telling_what_is_kept(models, tasks, kept):
        places = [_save(task, Path(folder) / f"task-{fold}") for fold, task in enumerate(tasks)]

        def do(planned: tuple[_Model, int], running: Running, together: int) -> None:
            model, fold = planned
            seconds = clock.share(together)
            if model.reasons:  # of another fold, so that this one would not be looked at
                return

            def tell_of(name: str, event: Mapping[str, Any]) -> None:
                told(name, {**event, "fold": fold, "folds": len(tasks)})

            which = {"number": model.number, "of": len(models)}
            whole = tuple(settings for _, settings in varied[model.kind][fold])
            job = Job(model.kind, whole, tasks[fold].exclude_owned, _length(tasks[fold], ks))
            try:
                found = _outcome(
                    model.name, job, places[fold], which, kept, threads, seconds, running, tell_of
                )
            except TrainingError as error:
                if running.ended:
                    return
                model.reasons[fold] = f"fold {fold + 1}: {error}" if len(tasks) > 1 else str(error)
                tell_of(model.name, {"event": "failed", "text": model.reasons[fold]})
            else:
                model.outcomes[fold] = found

        run_all(jobs, lambda planned: at_once(planned[0].kind, tasks[planned[1]], threads), do)
    return [_run(model, [[left for left, _ in each] for each in varied[model.kind]]) for model in models]


@dataclass(frozen=True)
class _Place:
    """Where the matrices of a task are, and their fingerprint."""

    folder: Path
    fingerprint: str


def _save(task: Task, folder: Path) -> _Place:
    folder.mkdir()
    inputs = Inputs.of(task)
    inputs.save(folder)
    return _Place(folder, inputs.fingerprint)


def _length(task: Task, ks: Sequence[int]) -> int:
    return max(*ks, min(LONGEST_CURVE, len(task.items)))


def _outcome(
    name: str,
    job: Job,
    place: _Place,
    which: Mapping[str, int],
    kept: Kept | None,
    threads: int | None,
    seconds: float | None,
    running: Running,
    tell: Tell,
) -> Outcome:
    """The result of a job, kept or done now; TrainingError where there is none."""
    path = None if kept is None else kept.path(job, place.fingerprint, threads)
    if kept is not None and path is not None and (found := kept.get(path)) is not None:
        tell(name, {"event": "kept", **which})
        return found
    tell(name, {"event": "start", "trials": len(job.trials), **which})
    with tempfile.TemporaryDirectory(dir=place.folder) as folder:
        found = run_job(
            job,
            place.folder,
            Path(folder),
            threads=threads,
            seconds=seconds,
            running=running,
            on_event=lambda event: tell(name, event),
        )
    if found.cut is not None:
        tell(name, {"event": "cut", "text": found.cut})
    known = [quality for quality in found.qualities if quality is not None]
    tell(
        name,
        {
            "event": "done",
            "seconds": found.seconds,
            "peak_bytes": found.peak_bytes,
            "ndcg@20": max(known, default=None),
        },
    )
    if kept is not None and path is not None:
        kept.put(path, found)
    return found


def _tuned(outcome: Outcome, varied: Sequence[dict[str, Any]], fold: int, folds: int) -> list[dict[str, Any]]:
    # fewer qualities than settings, where the budget ended
    return [
        {"settings": settings, "ndcg@20": quality, **({"fold": fold + 1} if folds > 1 else {})}
        for settings, quality in zip(varied, outcome.qualities, strict=False)
    ]


def _run(model: _Model, varied: Sequence[Sequence[dict[str, Any]]]) -> Run:
    """The folds of a model as one; of a model that failed in a fold nothing but the reason and the trials.

    varied  by fold, what the trials varied
    """
    folds = sorted(model.outcomes)
    outcomes = [model.outcomes[fold] for fold in folds]
    tuned = [
        entry for fold in folds for entry in _tuned(model.outcomes[fold], varied[fold], fold, len(varied))
    ]
    seconds = sum(outcome.seconds for outcome in outcomes)
    if model.reasons:
        reason = model.reasons[min(model.reasons)]
        return Run(model.name, model.kind, model.baseline, tuned=tuned, seconds=seconds, failed=reason)
    peaks = [outcome.peak_bytes for outcome in outcomes if outcome.peak_bytes is not None]
    return Run(
        model.name,
        model.kind,
        model.baseline,
        config=_together([outcome.config for outcome in outcomes]),
        tuned=tuned,
        seconds=seconds,
        peak_bytes=max(peaks, default=None),
        epochs=outcomes[0].epochs,
        ranked=_stacked([outcome.ranked for outcome in outcomes], -1),
        scores=_stacked([outcome.scores for outcome in outcomes], np.nan),
    )


def _together(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of all folds; where they differ, a list of them, fold by fold."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [config.get(key) for config in configs]
        found[key] = values[0] if all(value == values[0] for value in values) else values
    return found


def _stacked(parts: Sequence[NDArray[Any]], padding: float) -> NDArray[Any]:
    """Lists (B, ...) of all folds one after the other, padded to the longest."""
    width = max(part.shape[1] for part in parts)
    return np.vstack(
        [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=p.dtype.type(padding)) for p in parts]
    )


@contextmanager
def _telling_what_is_kept(
    models: Sequence[_Model], tasks: Sequence[Task], kept: Kept | None
) -> Iterator[None]:
    """Note on what interrupts a comparison what is left of it."""
    try:
        yield
    except BaseException as error:
        done = sum(len(model.outcomes) == len(tasks) for model in models)
        if kept is not None and done:
            error.add_note(
                f"{done} of {len(models)} models {'is' if done == 1 else 'are'} finished and kept in '{kept.folder}'; "
                "the same command goes on from there"
            )
        raise
