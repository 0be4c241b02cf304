"""Jobs of a comparison in their order, those that keep one processor busy several at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, TypeVar

from recae.evaluation.tasks import Task
from recae.ranking import processors
from recae.training.device import memory_left
from recae.workflow.processes import Running

ONE_PROCESSOR: Final = ("sigmoid", "blend")
"""Kinds that take most of their time for steps after single users, which one thread does."""

_BYTES_PER_ITEM: Final = (
    20_000  # weights of 512 factors, encoder and decoder, with what training keeps beside them
)
_BYTES_PER_INTERACTION: Final = 50
_BYTES_ANYWAY: Final = 500_000_000
_LEAST: Final = 1.0  # seconds, at least, that a job is given, however little of the budget is left

_Job = TypeVar("_Job")


def at_once(kind: str, task: Task, threads: int | None) -> int:
    """How many jobs of a kind may run at a time: as many as there are processors and memory for, mostly one."""
    if kind not in ONE_PROCESSOR:
        return 1
    each = _BYTES_ANYWAY + _BYTES_PER_ITEM * task.fit.shape[1] + _BYTES_PER_INTERACTION * task.fit.nnz
    left = memory_left("cpu")
    fitting = 1 if left is None else left // (2 * each)
    return max(1, min(processors(), threads or processors(), fitting))


@dataclass
class Clock:
    """What is left of a budget for the jobs that are left.

    jobs      how many there are
    deadline  by `time.monotonic`; None without a budget
    """

    jobs: int
    deadline: float | None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def share(self, at_once: int) -> float | None:
        """Seconds for the next job, while so many run at a time; None without a budget."""
        with self._lock:
            jobs, self.jobs = self.jobs, self.jobs - 1
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        return max(min(left, left * at_once / jobs), _LEAST)


def run_all(
    jobs: Sequence[_Job],
    at_once: Callable[[_Job], int],
    do: Callable[[_Job, Running, int], None],
) -> None:
    """Does jobs one after the other; neighbours of which as many may run at a time run so.

    at_once  how many like this one may run at a time
    do       does a job in a process that it adds to `Running`, so that it ends when this does; is told how many run.
             Called in the order of the jobs, and from other threads where several run at a time

    Whatever is raised here, Ctrl-C too, or by `do`, ends all processes and is passed on.
    """
    for limit, group in groupby(jobs, key=at_once):
        neighbours = list(group)
        together = min(limit, len(neighbours))
        running = Running()
        if together == 1:
            for job in neighbours:
                do(job, running, 1)
            continue
        with ThreadPoolExecutor(together) as pool:
            try:
                futures = [pool.submit(do, job, running, together) for job in neighbours]
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                running.end()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


class Serial:
    """A function that several threads call, one at a time."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function, self._lock = function, threading.Lock()

    def __call__(self, *arguments: object) -> None:
        with self._lock:
            self._function(*arguments)
