"""Training in the processes that torchrun started: process 0 reads, leads and writes, the others take part.

Process 0 of several leads a training, and the others do what it tells them.

The one that leads runs the training loop, with its validation, early stopping and checkpoints, on an ordinary trainer.
Whatever changes or collects what several processes hold is told to the others first; these wait to be told.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, cast

import scipy.sparse as sp
from numpy.typing import NDArray
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from recae.errors import RankLostError, TrainingError
from recae.machine import restarts
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.callbacks import Hooks, check_number
from recae.training.checkpoint import Epoch
from recae.training.config import ResolvedConfig, SigmoidConfig, resolve
from recae.training.exact.blocks import BlockTrainer
from recae.training.exact.group import Group
from recae.training.exact.shards import deal, receive
from recae.training.kinds.sigmoid import check_fits
from recae.training.loop import train


class LeadingTrainer(BlockTrainer):
    """`BlockTrainer` of process 0, which lets the others take part in whatever it does."""

    def __init__(self, matrix: sp.csr_matrix, config: SigmoidConfig, group: Group) -> None:
        """`matrix` (U, I) is the CSR pattern of purchases. Raises ConfigError when there are more processes than
        items, TrainingError when there is no purchase or too little memory, RankLostError when a process has gone.
        """
        resolved = resolve(config, matrix)
        check_number(group.size, matrix.shape[1])
        check_fits(resolved, matrix, "cpu", group)
        self._group = group
        group.tell("begin", config=resolved.as_dict(), n_items=matrix.shape[1])
        deal(group, matrix)
        super().__init__(matrix, resolved, ranks=group)

    def advance(self) -> None:
        """As `Trainer`."""
        self._group.tell("advance")
        super().advance()

    def end_epoch(self) -> float:
        """As `Trainer`."""
        self._group.tell("end_epoch")
        return super().end_epoch()

    def model(self) -> SigmoidAutoencoder:
        """The model as trained so far, collected from all processes."""
        self._group.tell("model")
        return super().model()

    def state(self) -> dict[str, NDArray[Any]]:
        """As `BlockTrainer`, collected from all processes: the same whatever their number."""
        self._group.tell("state")
        return super().state()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Takes back what `state` gave, of any number of processes."""
        self.parameters.check(state)
        self._group.tell("restore")
        super().restore(state)

    def move_to(self, position: dict[str, Any]) -> None:
        """As `Trainer`."""
        self._group.tell("move_to", position=position)
        super().move_to(position)


@contextlib.contextmanager
def leading(group: Group) -> Iterator[None]:
    """Lets the others go at the end of the block, and tears the connections down: who still waits learns of it."""
    try:
        yield
        group.tell("end")
    finally:
        group.close()


def follow(group: Group) -> None:
    """Takes part in a training that process 0 leads, until it says that this is the end.

    Raises RankLostError when process 0 or another one has gone, TrainingError when memory is short here.
    """
    trainer: BlockTrainer | None = None
    while True:
        word, values = group.hear()
        if word == "end":
            return
        if word == "begin":
            config = ResolvedConfig(**values["config"])
            outline, share = receive(group, values["n_items"])
            check_fits(config, outline, "cpu", group)
            trainer = BlockTrainer(cast(sp.csr_matrix, outline), config, ranks=group, share=share)
        elif trainer is None:
            raise AssertionError(word)
        else:
            _REPLIES[word](trainer, values)


def _advance(trainer: BlockTrainer, values: dict[str, Any]) -> None:
    try:
        trainer.advance()
    except RankLostError:
        raise
    except TrainingError:
        pass  # process 0 finds the same, and says it


_REPLIES: dict[str, Callable[[BlockTrainer, dict[str, Any]], Any]] = {
    "advance": _advance,
    "end_epoch": lambda trainer, values: trainer.end_epoch(),
    "model": lambda trainer, values: trainer.parameters.collect(),
    "state": lambda trainer, values: trainer.state(),
    "restore": lambda trainer, values: trainer.restore({}),
    "move_to": lambda trainer, values: trainer.move_to(values["position"]),
}
"""What the others do when they are told a word."""


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
        """As `sigmoid.fit_sigmoid`. Raises TrainingError with what another process says has gone wrong there."""
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
