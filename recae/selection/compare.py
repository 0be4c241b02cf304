"""Comparison runs: kinds of model on the same tasks, each tuned, fitted and ranked in jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.evaluation.comparison import Run
from recae.kinds import title
from recae.selection.baselines import Given, make_trials
from recae.selection.cache import ResultCache
from recae.selection.executor import Executor, InProcesses
from recae.selection.jobs import Inputs, Job, JobEvent, Outcome
from recae.settings import check_range
from recae.splits.tasks import Task

TRIALS: Final = 5
"""Number of settings that each model tries by default."""

LONGEST_CURVE: Final = 100
"""Least length of the lists, for the curves; shorter only where there are fewer items."""

_LEAST: Final = 1.0  # seconds, at least, that a job is given, however little of the budget is left


@dataclass(frozen=True)
class JobStarted:
    """A job begins, perhaps beside another one: model `number` of `of`, with so many trials."""

    number: int
    of: int
    trials: int


@dataclass(frozen=True)
class JobReused:
    """The result of a job is there from an earlier run: model `number` of `of`."""

    number: int
    of: int


@dataclass(frozen=True)
class JobCut:
    """What a job left out, since its time was over."""

    text: str


@dataclass(frozen=True)
class JobFailed:
    """Why a job has no result."""

    text: str


@dataclass(frozen=True)
class JobDone:
    """A job has ended.

    Attributes:
        seconds: Wall time of trying, choosing and ranking.
        peak_bytes: The most memory that its process has held; None where that is not known.
        quality: The best NDCG@20 on the validation users; None where there are none.
    """

    seconds: float
    peak_bytes: int | None
    quality: float | None


ComparisonEvent = JobEvent | JobStarted | JobReused | JobCut | JobFailed | JobDone


@dataclass(frozen=True)
class Told:
    """An event of a model, in fold `fold` (from 0) of `folds`."""

    model: str
    fold: int
    folds: int
    event: ComparisonEvent


Tell = Callable[[Told], None]
"""Is told the events of a comparison, one at a time."""


@dataclass
class _Model:
    """A kind of model with its outcome in each fold, or the reason why there is none."""

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
    keep: Path | ResultCache | None = None,
    threads: int | None = None,
    budget: float | None = None,
    tell: Tell = lambda told: None,
    executor: Executor | None = None,
    diversities: Sequence[float] = (),
    diverse_length: int = 20,
) -> list[Run]:
    """Run each kind on each task, each time in a process of its own; return what each would recommend.

    A job tries up to `trials` settings (see `make_trials`; the first are the defaults), fits each to `task.fit`,
    takes the one with the best NDCG@20 on `task.validation`, and ranks the test users with it. It is handed the
    matrices of `Inputs` and nothing else: held-out items stay out of it. The figures of a kind do not depend on
    which others run beside it. Jobs run one after the other; as many like one as the executor says run at a time.

    A job that fails (it cannot be fitted, its process crashes or is killed) gives a run with `failed`, and the others
    go on. Ctrl-C ends what runs and leaves the results in the cache, as a note on the exception says.

    Args:
        tasks: Of one protocol: one, or the folds of k-fold.
        kinds: Kinds of model, all different, also from the baselines.
        baselines: Likewise; they run first, since most of them are quick.
        trials: Settings that each kind tries.
        ks: List lengths that will be measured: the lists are as long as the longest, and 100 at least, where there
            are so many items.
        seed: Of the settings tried and of every model.
        settings: Kind → settings that are not varied.
        keep: Folder in which results are left, and taken from; None: none.
        threads: Most processors that a process uses; None: all.
        budget: Seconds for everything; what is left is divided evenly among the jobs that are left. A job tries fewer
            settings then, stops a training at its best epoch, and fails when it has nothing in time.
        tell: Is told how far it is.
        executor: Where jobs are done; ended when the comparison is. None: in processes, `InProcesses(threads)`.
        diversities: Lists are also made with each of these by the kinds that are no baselines.
        diverse_length: Of these lists.

    Raises:
        ConfigError: Settings that a kind does not have, before anything is fitted.
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
    cache = ResultCache(keep) if isinstance(keep, Path) else keep
    inputs = [Inputs.of(task) for task in tasks]
    jobs = [
        _Planned(
            model,
            fold,
            Job(
                model.kind,
                tuple(settings for _, settings in varied[model.kind][fold]),
                task.exclude_owned,
                _length(task, ks),
                () if model.baseline else tuple(diversities),
                diverse_length,
            ),
            inputs[fold],
        )
        for model in models
        for fold, task in enumerate(tasks)
    ]
    clock = Clock(len(jobs), None if budget is None else time.monotonic() + budget)
    runner = _Runner(executor or InProcesses(threads), cache, threads, len(models), len(tasks), tell)
    with runner.executor, _noting_what_is_cached(models, tasks, cache):

        def do(planned: _Planned, together: int) -> None:
            seconds = clock.share(together)
            if not planned.model.reasons:  # of another fold, so that this one would not be looked at
                runner.do(planned, seconds)

        run_all(
            jobs, lambda planned: runner.executor.at_once(planned.job, planned.inputs), do, runner.interrupt
        )
    return [
        _run(model, [[left for left, _ in each] for each in varied[model.kind]], diversities)
        for model in models
    ]


@dataclass(frozen=True)
class _Planned:
    """A job with its model and fold."""

    model: _Model
    fold: int
    job: Job
    inputs: Inputs


class _Runner:
    """Does planned jobs, or takes their results from the cache, and tells of them."""

    def __init__(
        self,
        executor: Executor,
        cache: ResultCache | None,
        threads: int | None,
        models: int,
        folds: int,
        tell: Tell,
    ) -> None:
        self.executor, self._cache, self._threads = executor, cache, threads
        self._models, self._folds, self._tell = models, folds, tell
        self._telling = threading.Lock()
        self._interrupted = False

    def interrupt(self) -> None:
        """End the running jobs without any event."""
        self._interrupted = True
        self.executor.end()

    def do(self, planned: _Planned, seconds: float | None) -> None:
        """Add the outcome of a job, or the reason why there is none, to its model."""
        model, fold = planned.model, planned.fold

        def tell(event: ComparisonEvent) -> None:
            with self._telling:
                self._tell(Told(model.name, fold, self._folds, event))

        try:
            model.outcomes[fold] = self._outcome(planned, seconds, tell)
        except TrainingError as error:
            if self._interrupted:
                return
            model.reasons[fold] = f"fold {fold + 1}: {error}" if self._folds > 1 else str(error)
            tell(JobFailed(model.reasons[fold]))

    def _outcome(
        self, planned: _Planned, seconds: float | None, tell: Callable[[ComparisonEvent], None]
    ) -> Outcome:
        job, number = planned.job, planned.model.number
        path = None
        if self._cache is not None:
            path = self._cache.path(job, planned.inputs.fingerprint, self._threads)
            if (found := self._cache.get(path)) is not None:
                tell(JobReused(number, self._models))
                return found
        tell(JobStarted(number, self._models, len(job.trials)))
        found = self.executor.run(job, planned.inputs, seconds, tell)
        if found.cut is not None:
            tell(JobCut(found.cut))
        known = [quality for quality in found.qualities if quality is not None]
        tell(JobDone(found.seconds, found.peak_bytes, max(known, default=None)))
        if self._cache is not None and path is not None:
            self._cache.put(path, found)
        return found


@dataclass
class Clock:
    """The part of a budget that is left for the remaining jobs.

    Attributes:
        jobs: How many remain.
        deadline: By `time.monotonic`; None without a budget.
    """

    jobs: int
    deadline: float | None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def share(self, at_once: int) -> float | None:
        """Return the seconds for the next job, while so many run at a time; None without a budget."""
        with self._lock:
            jobs, self.jobs = self.jobs, self.jobs - 1
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        return max(min(left, left * at_once / jobs), _LEAST)


_Job = TypeVar("_Job")


def run_all(
    jobs: Sequence[_Job],
    at_once: Callable[[_Job], int],
    do: Callable[[_Job, int], None],
    interrupt: Callable[[], None],
) -> None:
    """Do jobs one after the other, or as many at a time as the executor allows.

    Args:
        jobs: In the order in which they begin.
        at_once: How many like this one may run at a time.
        do: Does a job; is told how many run at a time. From other threads where several do.
        interrupt: Ends the jobs that run: called when anything is raised here, Ctrl-C too, or by `do`, and passed on.
    """
    for limit, group in groupby(jobs, key=at_once):
        neighbours = list(group)
        together = min(limit, len(neighbours))
        if together == 1:
            for job in neighbours:
                do(job, 1)
            continue
        with ThreadPoolExecutor(together) as pool:
            try:
                futures = [pool.submit(do, job, together) for job in neighbours]
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                interrupt()
                raise


def _length(task: Task, ks: Sequence[int]) -> int:
    return max(*ks, min(LONGEST_CURVE, len(task.items)))


def _tuned(outcome: Outcome, varied: Sequence[dict[str, Any]], fold: int, folds: int) -> list[dict[str, Any]]:
    # fewer qualities than settings, where the budget ended
    return [
        {"settings": settings, "ndcg@20": quality, **({"fold": fold + 1} if folds > 1 else {})}
        for settings, quality in zip(varied, outcome.qualities, strict=False)
    ]


def _diverse(outcomes: Sequence[Outcome], diversities: Sequence[float]) -> dict[float, NDArray[np.int32]]:
    """Return the lists with each diversity, of all folds; none where a fold has none."""
    found = [outcome.diverse for outcome in outcomes]
    return {
        diversity: np.vstack([lists[place] for lists in found if lists is not None])
        for place, diversity in enumerate(diversities)
        if all(lists is not None and len(lists) == len(diversities) for lists in found)
    }


def _run(model: _Model, varied: Sequence[Sequence[dict[str, Any]]], diversities: Sequence[float] = ()) -> Run:
    """Return the folds of a model as one run; of a model that failed in a fold only the reason and the trials.

    Args:
        model: with its outcomes.
        varied: what the trials varied, by fold.
        diversities: that lists were made with, too.
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
        diverse=_diverse(outcomes, diversities),
    )


def _together(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of all folds; where they differ, a list of them, fold by fold."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [config.get(key) for config in configs]
        found[key] = values[0] if all(value == values[0] for value in values) else values
    return found


def _stacked(parts: Sequence[NDArray[Any]], padding: float) -> NDArray[Any]:
    """Return the lists (B, ...) of all folds one after the other, padded to the longest."""
    width = max(part.shape[1] for part in parts)
    return np.vstack(
        [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=p.dtype.type(padding)) for p in parts]
    )


@contextmanager
def _noting_what_is_cached(
    models: Sequence[_Model], tasks: Sequence[Task], cache: ResultCache | None
) -> Iterator[None]:
    """Add to an exception that interrupts a comparison a note on what is left of it."""
    try:
        yield
    except BaseException as error:
        done = sum(len(model.outcomes) == len(tasks) for model in models)
        if cache is not None and done:
            error.add_note(
                f"{done} of {len(models)} models {'is' if done == 1 else 'are'} finished and stored in "
                f"'{cache.folder}'; "
                "the same command goes on from there"
            )
        raise
