"""Executors of the jobs of a comparison: in this process, or each in a process of its own."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from recae.errors import TrainingError
from recae.kinds import find, hand_over
from recae.machine import processors
from recae.selection.jobs import Inputs, Job, JobEvent, Outcome, do_job
from recae.selection.trial import ignore, sentence
from recae.selection.worker import JobContext, begin, work
from recae.training.device import memory_left

_BYTES_PER_ITEM: Final = 20_000  # of 512 factors: encoder, decoder, and what training holds beside them
_BYTES_PER_INTERACTION: Final = 50
_BYTES_ANYWAY: Final = 500_000_000
_KILLED: Final = getattr(signal, "SIGKILL", None)  # None on Windows, which has no such signal
_TOO_LATE: Final = "the comparison ended before it began"
_ENDED: Final = "the comparison ended before it did"


class Executor(ABC):
    """Does jobs within a `with` block, at whose end no process and no file is left."""

    def __enter__(self) -> Self:
        """Return the executor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all jobs."""
        self.end()

    @abstractmethod
    def run(
        self,
        job: Job,
        inputs: Inputs,
        seconds: float | None = None,
        on_event: Callable[[JobEvent], None] = ignore,
    ) -> Outcome:
        """Do a job; may be called from as many threads as `at_once` says.

        Args:
            job: What to do.
            inputs: The purchases to do it on; those of several jobs are the same object.
            seconds: Of the budget; see `do_job`. None: no limit.
            on_event: Called with the events of the job, in the calling thread. Whatever it raises ends the job.

        Raises:
            TrainingError: There is no result; one sentence says why.
        """

    def at_once(self, job: Job, inputs: Inputs) -> int:
        """Return how many jobs like this one may run at a time."""
        return 1

    @abstractmethod
    def end(self) -> None:
        """End the running jobs, each with a TrainingError, and release everything."""


class InProcess(Executor):
    """Does jobs in this process, one after the other: for tests and small data.

    A crash ends everything, all processors are used, and `peak_bytes` is of this whole process.
    """

    def run(
        self,
        job: Job,
        inputs: Inputs,
        seconds: float | None = None,
        on_event: Callable[[JobEvent], None] = ignore,
    ) -> Outcome:
        """Do a job here; see `Executor.run`."""
        try:
            return do_job(job, inputs, on_event, seconds)
        except Exception as error:  # whatever it is, the other models go on
            raise TrainingError(sentence(error)) from error

    def end(self) -> None:
        """Do nothing: a running job is ended by the exception that interrupts it."""


class InProcesses(Executor):
    """Does each job in a new process, which is handed the matrices of `Inputs` and nothing else.

    Held-out items stay in this process. A process that crashes or is killed takes no other with it.
    """

    def __init__(self, threads: int | None = None) -> None:
        """Prepare for processes that use `threads` processors at most; None: all."""
        self.threads = threads
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._saved: dict[int, tuple[Inputs, Path]] = {}
        self._running: set[JobContext] = set()
        self._jobs = 0
        self._ended = False

    def at_once(self, job: Job, inputs: Inputs) -> int:
        """Return as many as processors and memory allow for a kind that uses one thread, else one."""
        if not find(job.kind).one_processor:
            return 1
        each = _BYTES_ANYWAY + _BYTES_PER_ITEM * inputs.fit.shape[1] + _BYTES_PER_INTERACTION * inputs.fit.nnz
        left = memory_left("cpu")
        fitting = 1 if left is None else left // (2 * each)
        return max(1, min(processors(), self.threads or processors(), fitting))

    def run(
        self,
        job: Job,
        inputs: Inputs,
        seconds: float | None = None,
        on_event: Callable[[JobEvent], None] = ignore,
    ) -> Outcome:
        """Do a job in a new process and wait for it; see `Executor.run`."""
        # the time of day, since the process takes a while to begin
        end = None if seconds is None else time.time() + seconds
        kinds = hand_over()
        context = JobContext()
        saved, said = self._place(inputs, context)
        events, tell = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=begin, initargs=(tell, self.threads, str(said))
        )
        try:
            future = pool.submit(work, job, str(saved), kinds, end)
            tell.close()  # the process has the only one left, so that its end is heard
            if self._ended:
                raise TrainingError(_TOO_LATE)
            if not _hear(events, seconds, on_event):
                raise TrainingError(f"it did not finish within its {seconds:.3g} s of the budget")
            return future.result()
        except BrokenProcessPool as error:
            pool.shutdown()
            # killed by `end`, which is no lack of memory, and may be reading the exit code yet
            reason = _ENDED if self._ended else _reason_of_end(context.processes[0].exitcode, said)
            raise TrainingError(reason) from error
        except BaseException:
            context.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            for pipe in (events, tell):
                pipe.close()
            with self._lock:
                self._running.discard(context)

    def end(self) -> None:
        """End the running processes and remove their files."""
        with self._lock:
            self._ended = True
            for context in self._running:
                context.kill()  # and wait, since they might still write into the folder
            if self._folder is not None:
                self._folder.cleanup()

    def _place(self, inputs: Inputs, context: JobContext) -> tuple[Path, Path]:
        """Return where the inputs are saved, once for all jobs, and a file for what the job's process prints."""
        with self._lock:
            if self._ended:
                raise TrainingError(_TOO_LATE)
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="recae-")
            folder = Path(self._folder.name)
            if id(inputs) not in self._saved:
                place = folder / f"task-{len(self._saved)}"
                place.mkdir()
                inputs.save(place)
                self._saved[id(inputs)] = inputs, place  # held, so that no other gets its id
            self._jobs += 1
            self._running.add(context)
            return self._saved[id(inputs)][1], folder / f"said-{self._jobs}"


def _hear(events: Connection, seconds: float | None, on_event: Callable[[JobEvent], None]) -> bool:
    """Pass on the events of a process until it ends or is done; return whether that was within so many seconds."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        if not events.poll(left):
            return False
        try:
            event = events.recv()
        except (EOFError, OSError):  # the latter where it ends in the middle of an event
            return True
        on_event(event)


def _reason_of_end(code: int | None, said: Path) -> str:
    """Return why a process ended without a reason of its own."""
    if code is not None and -code == _KILLED:
        return "its process was killed (SIGKILL), which is what happens when memory runs out"
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process was ended by signal {-code}"
    text = said.read_text("utf-8", errors="replace") if said.exists() else ""
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
    return f"its process ended with code {code}: {last}"
