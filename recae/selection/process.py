"""Running one job of a comparison in a process of its own, whose crash is a sentence and not the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar

import recae
from recae.errors import TrainingError
from recae.kinds import find, hand_over
from recae.ranking import processors
from recae.selection.jobs import Job, Outcome
from recae.splits.tasks import Task
from recae.training.device import memory_left

_TO_END = 3.0  # seconds that a process gets to end before it is killed
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Running:
    """The processes that run now, so that whoever waits for several can end them all.

    Once that is done, another one is ended as soon as it begins.

    ended  whether `end` was called
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.ended = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """A process has begun."""
        with self._lock:
            self._processes.add(process)
            if self.ended:
                process.kill()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """A process has ended."""
        with self._lock:
            self._processes.discard(process)

    def end(self) -> None:
        """Ends all of them; the threads that read from them go on to their ends."""
        with self._lock:
            self.ended = True
            for process in self._processes:
                process.terminate()
            deadline = time.monotonic() + _TO_END
            for process in self._processes:
                try:
                    process.wait(max(deadline - time.monotonic(), 0.01))
                except subprocess.TimeoutExpired:
                    process.kill()


def run_job(
    job: Job,
    inputs: Path,
    folder: Path,
    *,
    threads: int | None = None,
    seconds: float | None = None,
    running: Running | None = None,
    on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> Outcome:
    """Does a job in a process of its own and waits for it.

    inputs    folder that `Inputs.save` wrote
    folder    an empty one for the job, the result and what the process says
    threads   most processors that it uses; None: all
    seconds   after which it is ended, if it has not ended by itself; None: never
    running   is told that the process has begun and ended
    on_event  is told what the process tells: {"event": "trial" | "epoch" | "message", ...}, see `worker`

    Raises TrainingError, one sentence, when the process has no result: a model that cannot be fitted, a crash, a
    signal, no more memory. Whatever is raised while it is waited for, Ctrl-C too, ends the process.
    """
    # the time of day, since the process takes a while to begin
    end = None if seconds is None else time.time() + seconds
    job_file = {"job": job.as_dict(), "inputs": str(inputs), "threads": threads, "end": end}
    (folder / "job.json").write_text(json.dumps(job_file), "utf-8")
    (folder / "kinds.pickle").write_bytes(hand_over())
    overtime = threading.Event()
    reason: str | None = None
    with (folder / "stderr").open("wb") as said:
        # -P: what lies in the working folder is not imported by mistake
        process = subprocess.Popen(  # noqa: S603  # this Python, this package
            [sys.executable, "-P", "-m", "recae.selection.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(threads),
        )
        timer = threading.Timer(seconds or 0, _end_late, (process, overtime))
        running = running or Running()
        running.add(process)
        try:
            if seconds is not None:
                timer.start()
            if process.stdout is None:
                raise AssertionError
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "error":
                    reason = event["text"]
                else:
                    on_event(event)
            process.wait()
        finally:
            timer.cancel()
            running.remove(process)
            _end(process)
    if overtime.is_set():
        raise TrainingError(f"it had not finished when its {seconds:.3g} s of the budget were over")
    if reason is None and process.returncode:
        reason = _reason_of_end(process.returncode, (folder / "stderr").read_text("utf-8", errors="replace"))
    if reason is not None:
        raise TrainingError(reason)
    return Outcome.read(folder / "result.npz")


def _environment(threads: int | None) -> dict[str, str]:
    """Where this recae is found, whatever the folder, and how many threads its libraries start."""
    paths = [str(Path(recae.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {**os.environ, **own, **(dict.fromkeys(_THREADS, str(threads)) if threads else {})}


def _end_late(process: subprocess.Popen[bytes], overtime: threading.Event) -> None:
    if process.poll() is None:
        overtime.set()
        process.kill()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs, and lets go of its pipes."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _reason_of_end(code: int, said: str) -> str:
    """Why a process ended that did not say so itself."""
    if code == -signal.SIGKILL:
        return "its process was killed (SIGKILL), which is what happens when memory runs out"
    if code < 0:
        with suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process was ended by signal {-code}"
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    return f"its process ended with code {code}: {last}"


_BYTES_PER_ITEM: Final = (
    20_000  # weights of 512 factors, encoder and decoder, with what training keeps beside them
)
_BYTES_PER_INTERACTION: Final = 50
_BYTES_ANYWAY: Final = 500_000_000
_LEAST: Final = 1.0  # seconds, at least, that a job is given, however little of the budget is left

_Job = TypeVar("_Job")


def at_once(kind: str, task: Task, threads: int | None) -> int:
    """How many jobs of a kind may run at a time: as many as there are processors and memory for, mostly one."""
    if not find(kind).one_processor:
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
