"""Micro-batching: requests that wait at the same time are scored together, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeAlias, TypeVar

from recae.ranking import rows_per_block
from recae.serving.answers import Ranked, rank, written
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem
from recae.serving.schemas import RecommendRequest
from recae.serving.served import Served

Result: TypeAlias = "bytes | Ranked | Problem"

TOGETHER = 64  # histories scored at once: enough for BLAS to be efficient, few enough to be over soon
_PIECE = 16  # questions of one batch request that stay together; others get in between
_LANE_WAITING = 64

_log = logging.getLogger("recae.serving")
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Job:
    served: Served
    questions: Sequence[RecommendRequest]
    answer: asyncio.Future[list[Result]]


class Batcher:
    """Scores questions in the order they came, as many together as wait; one thread does it all.

    Args:
        metrics: told of the queue and the batches.
        waiting: the most questions that may wait or be scored; beyond, they are refused at once.
        threads: of BLAS, in the whole process.
    """

    def __init__(self, metrics: Metrics, *, waiting: int, threads: int) -> None:
        self._metrics, self._bound, self._threads = metrics, waiting, threads
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0  # changed on the event loop only
        self._refused = metrics.refused.labels("scoring")
        metrics.queue.set_function(lambda: self._waiting)

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
        """Whether a question would be taken now."""
        return self._waiting < self._bound and self._thread.is_alive()

    async def ask(self, served: Served, questions: Sequence[RecommendRequest]) -> list[Result]:
        """Return for each question the JSON of its answer, its `Ranked` list where it wants it explained, or a problem.

        Raises:
            Problem: 503, too many questions wait. More than may wait at all are taken when nothing else waits.
        """
        if self._waiting and self._waiting + len(questions) > self._bound:
            self._refused.inc()
            raise overloaded()
        pieces = [questions[start : start + _PIECE] for start in range(0, len(questions), _PIECE)]
        jobs = [_Job(served, piece, self._loop.create_future()) for piece in pieces]
        self._waiting += len(questions)
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
            jobs, count = [job], len(job.questions)
            most = min(TOGETHER, rows_per_block(len(job.served.recommender.items)))
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
                count += len(job.questions)
            self._score(jobs)
            job = self._jobs.get()

    def _score(self, jobs: list[_Job]) -> None:
        by_model: dict[int, list[_Job]] = {}
        for job in jobs:
            by_model.setdefault(id(job.served), []).append(job)
        for group in by_model.values():
            try:
                outcome: Sequence[list[Result] | Exception] = self._answers(group)
            except Exception as error:
                outcome = [error] if len(group) == 1 else [self._alone(job) for job in group]
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver, group, outcome)

    def _answers(self, group: list[_Job]) -> list[list[Result]]:
        """Answer jobs of one model together."""
        served = group[0].served
        questions = [question for job in group for question in job.questions]
        self._metrics.batch.observe(len(questions))
        ranked = rank(served, questions)
        plain = [one for one in ranked if isinstance(one, Ranked) and not one.question.explain]
        texts = iter(written(served, plain))
        results: list[Result] = [
            next(texts) if isinstance(one, Ranked) and not one.question.explain else one for one in ranked
        ]
        at, parts = 0, []
        for job in group:
            parts.append(results[at : at + len(job.questions)])
            at += len(job.questions)
        return parts

    def _alone(self, job: _Job) -> list[Result] | Exception:
        """Answer one job, so that what is wrong with it stays its own."""
        try:
            return self._answers([job])[0]
        except Exception as error:
            return error

    def _deliver(self, group: list[_Job], outcome: Sequence[list[Result] | Exception]) -> None:
        for job, result in zip(group, outcome, strict=True):
            self._waiting -= len(job.questions)
            if job.answer.done():  # the request was cancelled
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)


class Lane:
    """A few threads for what is asked now and then and takes longer: searches, neighbours, explanations.

    Args:
        metrics: told of refusals.
        threads: how many.
    """

    def __init__(self, metrics: Metrics, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="recae-lane")
        self._refused = metrics.refused.labels("other")
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether a call would be refused now."""
        return self._waiting >= _LANE_WAITING

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in one of the threads. Raises Problem, 503, when too many calls wait."""
        if self.busy:
            self._refused.inc()
            raise overloaded()
        self._waiting += 1
        try:
            loop: Any = asyncio.get_running_loop()
            result: _T = await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))
            return result
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def overloaded() -> Problem:
    """Return the 503 problem of a full queue."""
    return Problem(
        "overloaded",
        503,
        "too many requests wait to be answered; try again in a second",
        headers={"Retry-After": "1"},
    )
