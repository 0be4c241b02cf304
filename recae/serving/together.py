"""`Together`: requests that wait at the same time are answered together, by one thread beside the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from recae.serving.served import ServedModel

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, eq=False)
class Job(Generic[Asked, Answer]):
    """What is answered as a whole.

    Attributes:
        served: the model that was in use when it came.
        asked: what is asked for.
        answer: awaited on the event loop.
    """

    served: ServedModel
    asked: Sequence[Asked]
    answer: asyncio.Future[Answer]


Work: TypeAlias = Callable[[Sequence[Job[Asked, Answer]]], Sequence[Answer | Exception]]


class Together(Generic[Asked, Answer]):
    """Jobs in the order they came, as many together as wait; one thread does them all.

    Args:
        name: of the thread.
        work: answers jobs, in the thread; what it raises is the answer to all of them.
        most: what is asked for by jobs that are answered together, for the model of the first; one alone may ask for
            more.
        begin: called first in the thread.
        delivered: told of each job that is over, on the event loop.
    """

    def __init__(
        self,
        name: str,
        work: Work[Asked, Answer],
        most: Callable[[ServedModel], int],
        *,
        begin: Callable[[], object] = lambda: None,
        delivered: Callable[[Job[Asked, Answer]], None],
    ) -> None:
        """Make an empty queue; `start` begins its thread."""
        self._name, self._work, self._most = name, work, most
        self._begin, self._delivered = begin, delivered
        self._jobs: queue.SimpleQueue[Job[Asked, Answer] | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End once everything that waits is answered."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def put(self, served: ServedModel, asked: Sequence[Asked]) -> asyncio.Future[Answer]:
        """Let a job wait, and return its answer, which is to be awaited."""
        job: Job[Asked, Answer] = Job(served, asked, self._loop.create_future())
        self._jobs.put(job)
        return job.answer

    def _run(self) -> None:
        self._begin()
        job = self._jobs.get()
        while job is not None:
            jobs = [job]
            try:
                self._gather(jobs)
                outcome = self._work(jobs)
            except (
                BaseException
            ) as error:  # a panic of a compiled library is no Exception; the thread outlives it
                outcome = [failure(error)] * len(jobs)
            with suppress(RuntimeError):  # the loop has ended: no request waits any more
                self._loop.call_soon_threadsafe(self._deliver, jobs, outcome)
            del jobs, job, outcome  # a model that has been replaced would stay until the next request
            job = self._jobs.get()

    def _gather(self, jobs: list[Job[Asked, Answer]]) -> None:
        """Add to a first job those that wait."""
        most, count = self._most(jobs[0].served), len(jobs[0].asked)
        while count < most:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)  # to be found again by the next look
                return
            jobs.append(job)
            count += len(job.asked)

    def _deliver(self, jobs: Sequence[Job[Asked, Answer]], outcome: Sequence[Answer | Exception]) -> None:
        for job, result in zip(jobs, outcome, strict=True):
            self._delivered(job)
            if job.answer.done():  # the request was cancelled
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)


def failure(error: BaseException) -> Exception:
    """Return an error as one that the thread outlives."""
    return error if isinstance(error, Exception) else RuntimeError(f"answering panicked: {error!r:.200}")
