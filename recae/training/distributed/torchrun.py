"""Training in the processes that torchrun started: process 0 reads, coordinates and writes, the others take part.

Process 0 runs the training loop, with its validation, early stopping and checkpoints, on an ordinary trainer. Before
each call that changes or collects what the processes hold together, it tells the others to make the same call.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
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
from recae.training.config import ResolvedSettings, SigmoidSettings, resolve
from recae.training.exact.blocks import BlockTrainer
from recae.training.exact.group import Group
from recae.training.exact.shards import deal, receive
from recae.training.kinds.sigmoid import check_fits
from recae.training.loop import train


class RankZeroTrainer(BlockTrainer):
    """`BlockTrainer` of process 0, which tells the others to make the same calls."""

    def __init__(self, matrix: sp.csr_matrix, config: SigmoidSettings, group: Group) -> None:
        """Begin together with the other processes.

        Args:
            matrix: CSR pattern (U, I) of purchases.
            config: the settings.
            group: the processes.

        Raises:
            ConfigError: there are more processes than items.
            TrainingError: there is no purchase or too little memory.
            RankLostError: a process has gone.
        """
        resolved = resolve(config, matrix)
        check_number(group.size, matrix.shape[1])
        check_fits(resolved, matrix, "cpu", group)
        self._group = group
        group.tell("begin", config=resolved.as_dict(), n_items=matrix.shape[1])
        deal(group, matrix)
        super().__init__(matrix, resolved, ranks=group)

    def advance(self) -> None:
        """Train all processes on the next block."""
        self._group.tell("advance")
        super().advance()

    def end_epoch(self) -> float:
        """Begin the next epoch in all processes; return the mean loss per user."""
        self._group.tell("end_epoch")
        return super().end_epoch()

    def model(self) -> SigmoidAutoencoder:
        """Return the model as trained so far, collected from all processes."""
        self._group.tell("model")
        return super().model()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of `BlockTrainer`, collected from all processes: the same whatever their number."""
        self._group.tell("state")
        return super().state()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned, of any number of processes."""
        self.parameters.check(state)
        self._group.tell("restore")
        super().restore(state)

    def move_to(self, position: dict[str, Any]) -> None:
        """Move all processes to what `position` returned."""
        self._group.tell("move_to", position=position)
        super().move_to(position)


@contextlib.contextmanager
def rank_zero(group: Group) -> Iterator[None]:
    """Dismiss the other processes at the end of the block, and close the connections, which those who wait notice."""
    try:
        yield
        group.tell("end")
    finally:
        group.close()


def follow(group: Group) -> None:
    """Take part in a training that process 0 coordinates, until its end.

    Raises:
        RankLostError: another process has gone.
        TrainingError: memory is short here.
    """
    trainer: BlockTrainer | None = None
    while True:
        word, values = group.hear()
        if word == "end":
            return
        if word == "begin":
            config = ResolvedSettings(**values["config"])
            outline, shard = receive(group, values["n_items"])
            check_fits(config, outline, "cpu", group)
            trainer = BlockTrainer(cast(sp.csr_matrix, outline), config, ranks=group, shard=shard)
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
"""What the other processes do at each word of process 0."""


_READING = timedelta(days=30)
"""How long the others wait for process 0 to read the purchases; they notice at once where it ends."""

_SAYING = timedelta(seconds=10)
"""How long a process that failed waits for process 0 to report it."""

BEGIN, STOP = "begin", "stop"


class Torchrun:
    """Process 0 of those that torchrun started. Satisfies `Engine`; `launched` dismisses the others at its end."""

    def __init__(self, size: int) -> None:
        """Meet the `size − 1` other processes at torchrun's store."""
        self._size, self._fits = size, 0
        self._store = _store()

    def describe(self) -> str:
        """Return how many processes there are."""
        return f"{self._size:,} processes"

    def fit(
        self, matrix: sp.csr_matrix, config: SigmoidSettings, hooks: Hooks
    ) -> tuple[SigmoidAutoencoder, list[Epoch]]:
        """Fit as `sigmoid.fit_sigmoid` does.

        Raises:
            TrainingError: another process failed; the message is its own.
        """
        number, self._fits = self._fits, self._fits + 1
        self._store.set(_word(number), BEGIN)
        try:
            group = Group(PrefixStore(f"group/{number}", self._store), 0, self._size)
            with rank_zero(group):
                model, history = train(RankZeroTrainer(matrix, config, group), hooks)
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
        """Dismiss the others, who wait for another training, without waiting for them."""
        with suppress(RuntimeError):  # torchrun itself may have gone
            self._store.set(_word(self._fits), STOP)
            self._store.set("over", "1")

    def _failure(self, rank: int) -> str | None:
        with suppress(RuntimeError):
            if self._store.check([f"failed/{rank}"]):
                return str(self._store.get(f"failed/{rank}").decode())
        return None


@contextmanager
def launched(size: int) -> Iterator[Torchrun]:
    """Yield the engine of process 0; the other processes are dismissed at the end of the block."""
    engine = Torchrun(size)
    try:
        yield engine
    finally:
        engine.let_go()


def take_part(rank: int, size: int) -> int:
    """Run a process other than 0 from beginning to end; return its exit code.

    It prints nothing: process 0 reports what goes wrong here. Ctrl-C and SIGTERM are left to process 0, which may have
    a checkpoint to collect first. There may be several trainings: a model is fitted once more on all users.
    """
    try:
        store = _store()
        for fit in count():
            store.wait([_word(fit)], _READING)
            if store.get(_word(fit)) != BEGIN.encode():
                return 0 if fit else 2
            if code := _take_part_once(store, fit, rank, size):
                return code
    except (RankLostError, RuntimeError):
        return 2
    raise AssertionError


def _take_part_once(store: Store, fit: int, rank: int, size: int) -> int:
    """Take part in one training; return an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    group = Group(PrefixStore(f"group/{fit}", store), rank, size)
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


def _word(fit: int) -> str:
    """Return where the store says whether the training of that number begins."""
    return f"word/{fit}"


def _report(store: Store, rank: int, size: int, error: Exception) -> None:
    text = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
    with suppress(RuntimeError):
        store.set(f"failed/{rank}", f"process {rank} of {size} failed: {text}"[:2000])


def _store() -> Store:
    """Return the store at which the processes meet; a new one after each restart by torchrun."""
    store: Store = next(iter(rendezvous("env://")))[0]
    return PrefixStore(f"recae/{restarts()}", store)
