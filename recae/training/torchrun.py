"""Training in the processes that torchrun started: process 0 reads, leads and writes, the others take part."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import scipy.sparse as sp
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from recae.errors import RankLostError, TrainingError
from recae.machine import restarts
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.checkpoint import Epoch
from recae.training.config import SigmoidConfig
from recae.training.group import Group
from recae.training.hooks import Hooks
from recae.training.leading import LeadingTrainer, follow, leading
from recae.training.loop import train

_READING = timedelta(days=30)
"""How long the others wait for process 0 to have read the purchases; if it ends, they learn of it before."""

_SAYING = timedelta(seconds=10)
"""How long a process that failed waits for process 0 to say so."""

BEGIN, STOP = "begin", "stop"


class Torchrun:
    """Process 0 of those that torchrun started. Satisfies `Engine`; `launched` lets the others go at its end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._store = _store()

    def describe(self) -> str:
        """How many processes there are."""
        return f"{self._size:,} processes"

    def fit(
        self, matrix: sp.csr_matrix, config: SigmoidConfig, hooks: Hooks
    ) -> tuple[SigmoidAutoencoder, list[Epoch]]:
        """As `loop.fit_sigmoid`. Raises TrainingError with what another process says has gone wrong there."""
        self._store.set("word", BEGIN)
        try:
            group = Group(PrefixStore("group", self._store), 0, self._size)
            with leading(group):
                model, history = train(LeadingTrainer(matrix, config, group), hooks)
        except RankLostError as error:
            reasons = [self._failure(rank) for rank in range(1, self._size)]
            reason = next(filter(None, reasons), None)
            if reason is None:
                raise
            raise TrainingError(reason) from error
        if not isinstance(model, SigmoidAutoencoder):
            raise AssertionError
        return model, history

    def let_go(self) -> None:
        """Sends the others away where they have nothing to wait for, and waits for nobody."""
        with suppress(RuntimeError):  # torchrun itself may have gone
            if not self._store.check(["word"]):
                self._store.set("word", STOP)
            self._store.set("over", "1")

    def _failure(self, rank: int) -> str | None:
        with suppress(RuntimeError):
            if self._store.check([f"failed/{rank}"]):
                return str(self._store.get(f"failed/{rank}").decode())
        return None


@contextmanager
def launched(size: int) -> Iterator[Torchrun]:
    """The engine of process 0; at the end of the block, the other processes are let go."""
    engine = Torchrun(size)
    try:
        yield engine
    finally:
        engine.let_go()


def take_part(rank: int, size: int) -> int:
    """What another process than 0 does from beginning to end; the exit code it ends with.

    It says nothing: what goes wrong here, process 0 is told and says. Ctrl-C and SIGTERM are left to process 0, which
    may have a checkpoint to collect first.
    """
    try:
        store = _store()
        store.wait(["word"], _READING)
        if store.get("word") != BEGIN.encode():
            return 2
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        group = Group(PrefixStore("group", store), rank, size)
    except (RankLostError, RuntimeError):
        return 2
    try:
        follow(group)
    except RankLostError:
        return 2
    except Exception as error:
        _report(store, rank, size, error)
        group.close()
        with suppress(RuntimeError):
            store.wait(["over"], _SAYING)
        return 2
    group.close()
    return 0


def _report(store: Store, rank: int, size: int, error: Exception) -> None:
    text = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
    with suppress(RuntimeError):
        store.set(f"failed/{rank}", f"process {rank} of {size} failed: {text}"[:2000])


def _store() -> Store:
    """What the processes find one another by; another one after each restart by torchrun."""
    store: Store = next(iter(rendezvous("env://")))[0]
    return PrefixStore(f"recae/{restarts()}", store)
