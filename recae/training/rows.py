"""What an exact output layer asks of the place where its rows lie: the contract of `host_rows` and `device_rows`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import Floats
from recae.training.block_math import Dense, Sparse

WEIGHT = 2.0
"""The purchase weight that `take_steps` is told. It takes WEIGHT (WEIGHT − 1) = 2 times `squares` from the loss, so
that `squares` with half of Σ a(a − 1)(o − x)² gives each entry its own weight a."""

Steps = tuple[Callable[[Tensor, Tensor], Sparse], Callable[[Tensor], None]]


class Rows(ABC):
    """The factors of W with the bias as its last column: the small ones in `dense`, and the row of each item."""

    dense: Dense

    def __init__(self, W: Floats, fold_every: int, device: torch.device) -> None:
        self._fold_every = fold_every
        self._since_fold, self._shrunk = 0, 0.0

    @abstractmethod
    def of_purchases(
        self, items: Tensor, who: Tensor, offsets: Tensor, weights: Tensor, targets: Tensor
    ) -> Steps:
        """What `take_steps` needs of the entries (n,) of some users: their residuals, and the update of their rows."""

    @abstractmethod
    def keep_conditioned(self, users: int, learning_rate: float) -> None:
        """Before the steps of some users: folds, or rescales U, where U would become too small or Q drift too far."""

    @abstractmethod
    def weights(self) -> Floats:
        """W (I, D + 1) on the host."""

    @abstractmethod
    def take_drift(self) -> float:
        """See `ExactHead.take_drift`."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """See `ExactHead.state`."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """See `ExactHead.restore`."""
