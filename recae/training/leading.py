"""Process 0 of several leads a training, and the others do what it tells them.

The one that leads runs the training loop, with its validation, early stopping and checkpoints, on an ordinary trainer.
Whatever changes or collects what several processes hold is told to the others first; these wait to be told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import RankLostError, TrainingError
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.blocks import BlockTrainer
from recae.training.choice import check_fits
from recae.training.config import ResolvedConfig, SigmoidConfig, resolve
from recae.training.engines import check_number
from recae.training.group import Group
from recae.training.shares import deal, receive


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
