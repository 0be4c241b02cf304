"""The process of one job of a comparison: its start, its work, its end.

A process that begins imports this file before it knows how many threads it may use, which numpy, numba and the like
read when they are imported: nothing here imports any of them until the job is done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recae.errors import TrainingError

if TYPE_CHECKING:
    from recae.selection.jobs import Job, Outcome

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_STARTING = threading.Lock()
_ENDED_WITH_STARTER = 3

_events: list[Connection] = []  # of this process, where it is one that does a job


@contextmanager
def _alone() -> Iterator[None]:
    """Let a new Python not import by mistake what lies in the working folder (a `random.py`, say), for a while."""
    with _STARTING:
        before = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ["PYTHONSAFEPATH"]
            else:
                os.environ["PYTHONSAFEPATH"] = before


class JobProcess(SpawnProcess):
    """A new Python process that gets nothing of its parent but its arguments."""

    def start(self) -> None:
        """Start the process.

        Spawning runs the caller's script once more in the new process, which a script without a guard
        (`if __name__ == "__main__"`) does not survive, and a notebook does not have: an empty `__main__` stands in
        for it meanwhile. A Ctrl-C, which a terminal sends to all processes, waits until the new one ignores it.
        """
        with _alone():
            main = sys.modules["__main__"]
            # Windows has no masks: there a Ctrl-C of just this moment ends the new process with the others
            masks = hasattr(signal, "pthread_sigmask")
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main
                if mask is not None:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class JobContext(SpawnContext):
    """A context for `concurrent.futures` that starts processes as `JobProcess`, and can end them."""

    def __init__(self) -> None:
        """Start with no process."""
        super().__init__()
        self.processes: list[JobProcess] = []
        with _alone():  # a Python of its own, too, which the first queue would start
            resource_tracker.ensure_running()

    def Process(self, *arguments: Any, **options: Any) -> JobProcess:  # type: ignore[override]  # noqa: N802
        """Return a process that is not started yet; called by the pool."""
        process = JobProcess(*arguments, **options)
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """End the running processes and wait for them; they hold nothing that needs an orderly end."""
        for process in self.processes:
            if process.is_alive():
                process.kill()
                process.join()


def begin(events: Connection, threads: int | None, said: str) -> None:
    """Make this process one that does jobs: the pool's initializer.

    Args:
        events: Where to send the events of a job.
        threads: Most processors to use; None: all.
        said: File for what is printed, which is not the result of a command.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; who started this ends it
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(threads)))
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    _events[:] = [events]


def work(job: Job, folder: str, kinds: bytes, end: float | None) -> Outcome:
    """Do a job and send its events.

    Args:
        job: What to do.
        folder: Where the inputs are.
        kinds: What `recae.kinds.hand_over` gave in the parent process.
        end: Time of day until which it is to be done; None: no limit.

    Raises:
        TrainingError: It failed; one sentence says why.
    """
    from recae.kinds import take_over
    from recae.selection.jobs import Inputs, do_job
    from recae.selection.trial import sentence

    (events,) = _events
    try:
        take_over(kinds)
        left = None if end is None else end - time.time()
        return do_job(job, Inputs.load(Path(folder)), events.send, left)
    except Exception as error:  # whatever it is, the other models go on
        raise TrainingError(sentence(error)) from error
    finally:
        events.close()


def _end_with_the_starter() -> None:
    """End this process when its parent is gone."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        starter.join()
        os._exit(_ENDED_WITH_STARTER)
