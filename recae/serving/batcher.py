"""Micro-batching: requests that wait at the same time are scored together, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeAlias, TypeVar

import anyio.to_thread

from recae.ranking import rows_per_block
from recae.serving.answers import RankedList, rank, to_json
from recae.serving.drift import Drift
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem, overloaded
from recae.serving.schemas import RecommendRequest
from recae.serving.served import ServedModel

Result: TypeAlias = "bytes | RankedList | Problem"

MAX_TOGETHER = 64  # histories scored at once: enough for BLAS to be efficient, little enough to be over soon
_PIECE = 16  # requests of one batch that stay together; others get in between
_MAX_LOOKUPS = 64  # that run or wait

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Job:
    served: ServedModel
    requests: Sequence[RecommendRequest]
    answer: asyncio.Future[list[Result]]


class Batcher:
    """Scores requests in the order they came, as many together as wait; one thread does it all.

    Args:
        metrics: told of the queue and the batches.
        waiting: the most requests that may wait or be scored; beyond, they are refused at once.
        threads: of BLAS, in the whole process.
        drift: told of the lists of users; None: nobody is.
    """

    def __init__(self, metrics: Metrics, *, waiting: int, threads: int, drift: Drift | None = None) -> None:
        """Make an empty queue; `start` begins its thread."""
        self._drift = drift
        self._metrics, self._bound, self._threads = metrics, waiting, threads
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0  # changed on the event loop only
        self._refused = metrics.refused.labels("scoring")

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="recae-score", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End once everything that waits is scored."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        return self._waiting < self._bound and self._thread.is_alive()

    async def ask(self, served: ServedModel, requests: Sequence[RecommendRequest]) -> list[Result]:
        """Answer requests with one model.

        Args:
            served: the model.
            requests: more than may wait at all are taken when nothing else waits.

        Returns:
            For each request the JSON of its answer, its list where that is to be explained, or a problem.

        Raises:
            Problem: 503, too many requests wait.
        """
        if self._waiting and self._waiting + len(requests) > self._bound:
            self._refused.inc()
            raise overloaded()
        pieces = [requests[start : start + _PIECE] for start in range(0, len(requests), _PIECE)]
        jobs = [_Job(served, piece, self._loop.create_future()) for piece in pieces]
        self._waiting += len(requests)
        self._metrics.queue.set(self._waiting)
        for job in jobs:
            self._jobs.put(job)
        if len(jobs) == 1:
            return await jobs[0].answer
        return [result for part in await asyncio.gather(*(job.answer for job in jobs)) for result in part]

    def _work(self) -> None:
        from threadpoolctl import threadpool_limits

        threadpool_limits(self._threads, user_api="blas")  # stays: nothing in this process shall use more
        job = self._jobs.get()
        while job is not None:
            jobs, count = [job], len(job.requests)
            most = min(MAX_TOGETHER, rows_per_block(len(job.served.recommender.items)))
            job = None
            while count < most:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    self._jobs.put(None)  # to be found again below
                    break
                jobs.append(job)
                count += len(job.requests)
            self._score(jobs)
            del jobs, job  # a model that has been replaced would stay until the next request
            job = self._jobs.get()

    def _score(self, jobs: list[_Job]) -> None:
        by_model: dict[int, list[_Job]] = {}
        for job in jobs:
            by_model.setdefault(id(job.served), []).append(job)
        for group in by_model.values():
            try:
                outcome: Sequence[list[Result] | Exception] = self._answers(group)
            except BaseException as error:  # a panic of a compiled library is no Exception
                outcome = [_failure(error)] if len(group) == 1 else [self._alone(job) for job in group]
            with suppress(RuntimeError):  # the loop has ended: no request waits any more
                self._loop.call_soon_threadsafe(self._deliver, group, outcome)

    def _answers(self, group: list[_Job]) -> list[list[Result]]:
        """Answer jobs of one model together."""
        served = group[0].served
        requests = [request for job in group for request in job.requests]
        self._metrics.batch.observe(len(requests))
        results: list[Result] = list(rank(served, requests))
        if self._drift is not None:
            for one in results:
                if isinstance(one, RankedList) and one.request.user is not None:
                    self._drift.shown(served, one.request.user, one.items)
        plain = {
            at: one
            for at, one in enumerate(results)
            if isinstance(one, RankedList) and not one.request.explain
        }
        for at, text in zip(plain, to_json(served, list(plain.values())), strict=True):
            results[at] = text
        left = iter(results)
        return [[next(left) for _ in job.requests] for job in group]

    def _alone(self, job: _Job) -> list[Result] | Exception:
        """Answer one job alone, so that its failure does not affect others."""
        try:
            return self._answers([job])[0]
        except BaseException as error:
            return _failure(error)

    def _deliver(self, group: list[_Job], outcome: Sequence[list[Result] | Exception]) -> None:
        for job, result in zip(group, outcome, strict=True):
            self._waiting -= len(job.requests)
            self._metrics.queue.set(self._waiting)
            if job.answer.done():  # the request was cancelled
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)


def _failure(error: BaseException) -> Exception:
    """Return an error as one that the thread which scores outlives."""
    return error if isinstance(error, Exception) else RuntimeError(f"scoring panicked: {error!r:.200}")


class LookupPool:
    """A bounded queue for rare and slow requests: searches, neighbours, explanations.

    Args:
        metrics: told of refusals.
        threads: how many lookups run at the same time.
    """

    def __init__(self, metrics: Metrics, threads: int = 2) -> None:
        """Make the pool of threads."""
        self._limiter = anyio.CapacityLimiter(threads)
        self._refused = metrics.refused.labels("other")
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether a call would be refused now."""
        return self._waiting >= _MAX_LOOKUPS

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in a thread and return what it returns.

        Raises:
            Problem: 503, too many calls wait.
        """
        if self.busy:
            self._refused.inc()
            raise overloaded()
        self._waiting += 1
        try:
            call = partial(function, *args, **kwargs)
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            self._waiting -= 1
