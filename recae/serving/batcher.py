"""Micro-batching: requests that wait at the same time are scored together, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
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
from recae.serving.together import Job, Together, failure

Result: TypeAlias = "bytes | RankedList | Problem"
_Job: TypeAlias = Job[RecommendRequest, list[Result]]

MAX_TOGETHER = 64  # histories scored at once: enough for BLAS to be efficient, little enough to be over soon
_PIECE = 16  # requests of one batch that stay together; others get in between
_MAX_LOOKUPS = 64  # that run or wait

_P = ParamSpec("_P")
_T = TypeVar("_T")


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
        self._together = Together[RecommendRequest, list[Result]](
            "recae-score", self._outcome, _most, begin=self._limit_threads, delivered=self._delivered
        )
        self._waiting = 0  # changed on the event loop only
        self._refused = metrics.refused.labels("scoring")

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._together.start()

    async def stop(self) -> None:
        """End once everything that waits is scored."""
        await self._together.stop()

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        return self._waiting < self._bound and self._together.alive

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
        self._waiting += len(requests)
        self._metrics.queue.set(self._waiting)
        answers = [self._together.put(served, piece) for piece in pieces]
        if len(answers) == 1:
            return await answers[0]
        return [result for part in await asyncio.gather(*answers) for result in part]

    def _limit_threads(self) -> None:
        from threadpoolctl import threadpool_limits

        threadpool_limits(self._threads, user_api="blas")  # stays: nothing in this process shall use more

    def _delivered(self, job: _Job) -> None:
        self._waiting -= len(job.asked)
        self._metrics.queue.set(self._waiting)

    def _outcome(self, jobs: Sequence[_Job]) -> list[list[Result] | Exception]:
        """Answer jobs of one model or, around a reload, of several."""
        by_model: dict[int, list[_Job]] = {}
        for job in jobs:
            by_model.setdefault(id(job.served), []).append(job)
        found: dict[int, list[Result] | Exception] = {}
        for group in by_model.values():
            try:
                outcome: Sequence[list[Result] | Exception] = self._answers(group)
            except BaseException as error:  # a panic of a compiled library is no Exception
                outcome = [failure(error)] if len(group) == 1 else [self._alone(job) for job in group]
            found.update(zip(map(id, group), outcome, strict=True))
        return [found[id(job)] for job in jobs]

    def _answers(self, group: Sequence[_Job]) -> list[list[Result]]:
        """Answer jobs of one model together."""
        served = group[0].served
        requests = [request for job in group for request in job.asked]
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
        return [[next(left) for _ in job.asked] for job in group]

    def _alone(self, job: _Job) -> list[Result] | Exception:
        """Answer one job alone, so that its failure does not affect others."""
        try:
            return self._answers([job])[0]
        except BaseException as error:
            return failure(error)


def _most(served: ServedModel) -> int:
    return min(MAX_TOGETHER, rows_per_block(len(served.recommender.items)))


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
