"""Processes that serve one port with one model: one process loads the model, and the workers are forked from it.

Memory that a forked process does not write to is not copied, so a model is in memory once, however many workers serve
it. A new model is loaded by the process that watches over the workers; a new set of workers is forked from that, and
once all of those answer, the former ones take no more connections and end.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, Protocol

from recae.errors import ServeError
from recae.serving.served import ModelReloader, ServedModel

_log = logging.getLogger("recae.serving")

_CHECK: Final = 1.0  # seconds between two looks at the model file
_STARTS_WELL: Final = 10.0  # seconds after which a worker that ends did not fail at its start
_PATIENCE: Final = 30.0  # seconds at most before another worker is started in the place of such a one
_GRACE: Final = 15.0  # seconds for workers to end in order
_READY: Final = b"r"


class Work(Protocol):
    """What a worker does."""

    def __call__(self, model: ServedModel, place: int, ready: Callable[[], None], watcher: int) -> None:
        """Serve until SIGTERM; after SIGUSR1, until no client is connected.

        Args:
            model: loaded, not warmed up.
            place: a number that no other worker has at the same time, from 0.
            ready: called once connections are taken.
            watcher: a descriptor that reads as ended once the watching process has ended, however it did.
        """


@dataclass(eq=False)
class _Worker:
    pid: int
    place: int
    model: ServedModel
    pipe: int  # readable when the worker is ready, and ended when it has ended
    began: float = field(default_factory=time.monotonic)
    ready: bool = False
    retired: bool = False


class Watcher:
    """Watches over workers: starts them, replaces those that die and those of an old model, and ends them all.

    Args:
        count: of workers that take connections.
        models: the model in use, whose file is looked at here.
        work: what each worker does.
        reload: whether the model file is looked at.
        ended: told the place of each worker that has ended.
    """

    def __init__(
        self,
        count: int,
        models: ModelReloader,
        work: Work,
        *,
        reload: bool,
        ended: Callable[[int], None] = lambda place: None,
    ) -> None:
        """Start nothing yet."""
        self._count, self._models, self._work = count, models, work
        self._reload, self._ended = reload, ended
        self._workers: dict[int, _Worker] = {}  # by pid
        self._selector = selectors.DefaultSelector()
        self._watched, self._watching = os.pipe()  # ends for the workers when this process ends
        self._signals: list[int] = []
        self._failures = 0
        self._retry_at = 0.0

    def run(self, on_start: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM, whose former handler then runs.

        Args:
            on_start: called once all workers take connections.

        Raises:
            ServeError: a worker ends before the first ones are all ready.
        """
        with self._handling_signals():
            try:
                self._start(self._count)
                started = False
                next_look = time.monotonic() + _CHECK
                while not self._signals:
                    self._wait(0.2)
                    if not started and len(self._of_model(ready=True)) == self._count:
                        started = True
                        on_start()
                    self._reap(started)
                    if started and self._reload and time.monotonic() >= next_look:
                        self._models.check()
                        next_look = time.monotonic() + _CHECK
                    if started:
                        self._replace()
            finally:
                self._end()
        for number in self._signals[:1]:
            signal.raise_signal(number)

    def _of_model(self, ready: bool = False) -> list[_Worker]:
        """Return the workers of the model in use, all or those that are ready."""
        current = self._models.current
        return [
            worker for worker in self._workers.values() if worker.model is current and worker.ready >= ready
        ]

    def _replace(self) -> None:
        """Start workers that are missing, and retire those of a former model once they are not needed."""
        missing = self._count - len(self._of_model())
        if missing > 0 and time.monotonic() >= self._retry_at:
            self._start(missing)
        if len(self._of_model(ready=True)) == self._count:
            for worker in self._workers.values():
                if worker.model is not self._models.current and not worker.retired:
                    worker.retired = True
                    os.kill(worker.pid, signal.SIGUSR1)

    def _start(self, count: int) -> None:
        # objects of this process that are never collected are never written to by a worker's collection either
        gc.collect()
        gc.freeze()
        for _ in range(count):
            taken = {worker.place for worker in self._workers.values()}
            place = next(n for n in range(len(taken) + 1) if n not in taken)
            told, telling = os.pipe()
            # a signal that comes before a worker has its own handlers must not run the handlers of this process there
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            try:
                pid = os.fork()
                if not pid:
                    os.close(told)
                    self._be_worker(place, telling)
                self._workers[pid] = worker = _Worker(pid, place, self._models.current, told)
            except OSError as error:
                os.close(told)
                self._fail(f"a worker cannot be started: {(error.strerror or str(error)).lower()}")
                return
            finally:
                os.close(telling)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.set_blocking(told, False)
            self._selector.register(told, selectors.EVENT_READ, worker)

    def _be_worker(self, place: int, telling: int) -> None:
        """Do the work in a forked process, which ends here whatever happens."""
        code = 1
        try:
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # Ctrl-C reaches every process; the watcher ends the workers
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
            os.close(self._watching)
            for worker in self._workers.values():
                os.close(worker.pipe)
            self._work(
                model=self._models.current,
                place=place,
                ready=lambda: _tell(telling),
                watcher=self._watched,
            )
            code = 0
        except BaseException:
            _log.exception("a worker failed")
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)

    def _wait(self, seconds: float) -> None:
        """Wait until a worker is ready or ends, or a signal comes; note which workers are ready."""
        for key, _ in self._selector.select(seconds):
            worker: _Worker | None = key.data
            if worker is None:  # a signal
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 64)
                continue
            try:
                ready = os.read(worker.pipe, 1) == _READY
            except BlockingIOError:
                continue
            if ready:
                worker.ready = True
            else:
                self._selector.unregister(worker.pipe)  # it ends, and is found below

    def _reap(self, started: bool) -> None:
        """Note which workers have ended, and log those that were not told to."""
        for worker in list(self._workers.values()):
            if not _has_ended(worker.pid):
                continue
            code = _exit_code(worker.pid)
            del self._workers[worker.pid]
            with contextlib.suppress(KeyError):
                self._selector.unregister(worker.pipe)
            os.close(worker.pipe)
            self._ended(worker.place)
            if worker.retired or self._signals:
                continue
            how = f"worker {worker.pid} has ended {_how(code)}"
            if not started:
                raise ServeError(f"{how} before it served; the log says why, else memory may have been short")
            well = worker.ready and time.monotonic() - worker.began >= _STARTS_WELL
            self._failures = 0 if well else self._failures
            self._fail(f"{how}, and another one is started")

    def _fail(self, what: str) -> None:
        """Say what went wrong, and wait longer each time before it is tried again."""
        seconds = min(_PATIENCE, 2.0**self._failures - 1)
        self._failures += 1
        self._retry_at = time.monotonic() + seconds
        _log.warning("%s%s", what, f" in {seconds:g} seconds" if seconds else "")

    def _end(self) -> None:
        """End all workers: in order, and after a while, or another Ctrl-C, at once."""
        self._tell_all(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while self._workers:
            self._signals = self._signals or [0]  # nothing that ends now is said
            if time.monotonic() > deadline or self._signals.count(signal.SIGINT) > 1:
                self._tell_all(signal.SIGKILL)
            self._wait(0.05)
            self._reap(started=True)
        self._signals = [number for number in self._signals if number]
        os.close(self._watched)
        os.close(self._watching)

    def _tell_all(self, number: int) -> None:
        for pid in list(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM, and tell the workers at once, whatever this process does at the moment."""

        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)
            self._tell_all(signal.SIGTERM)

        woken, waking = socket.socketpair()
        for end in (woken, waking):
            end.setblocking(False)
        self._selector.register(woken.fileno(), selectors.EVENT_READ, None)
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        former = signal.set_wakeup_fd(waking.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(former)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            woken.close()
            waking.close()


def _tell(telling: int) -> None:
    # the pipe stays open, so that its other end reads as ended when this process ends
    os.write(telling, _READY)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _how(code: int) -> str:
    """Return how a process ended, by its exit code or the negative number of a signal."""
    if code >= 0:
        return f"with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
