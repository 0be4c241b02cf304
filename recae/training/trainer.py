"""What the trainers share: who comes when, with which step and which dropout, and where training stands."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, TrainingError
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import SigmoidConfig, resolve


class Trainer(ABC):
    """Stochastic gradient descent over the users, a block of them at a time, in random order, for several epochs.

    The order of the users depends on the seed and the epoch alone, what dropout hides on the seed, the epoch and the
    position in it. So the position is all that there is to know of the random state.

    config    the resolved configuration
    n_users   users with a purchase: the steps of an epoch
    epoch     the current epoch, from 1
    done      users of the current epoch whose step is done
    """

    def __init__(self, matrix: sp.csr_matrix, config: SigmoidConfig, block: int) -> None:
        """`matrix` (U, I) is the CSR pattern of purchases. Raises TrainingError when it holds none."""
        self.matrix = matrix
        self.config = resolve(config, matrix)
        self._users = np.flatnonzero(np.diff(matrix.indptr)).astype(np.int64)
        self.n_users = len(self._users)
        if self.n_users == 0:
            raise TrainingError("there is no purchase to learn from: every history is empty")
        if self.config.batch_size > self.n_users:
            raise ConfigError(
                f"batch_size is {self.config.batch_size:,}, and only {self.n_users:,} users have a purchase to learn "
                "from: give a batch_size up to that"
            )
        self.epoch, self.done = 1, 0
        self._block = block
        self._look_every = 1  # blocks between two looks at the loss, which a GPU would have to be waited for
        self._loss: Any = 0.0  # a number, or a tensor of one
        self._order = self._shuffled()

    @abstractmethod
    def model(self) -> SigmoidAutoencoder:
        """The model as trained so far."""

    @abstractmethod
    def take_drift(self) -> float:
        """The largest relative error of Q, which is kept beside W, that was found since this was last asked."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that training changes, by name; `restore` of it and the position go on with the same bits."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Takes back what `state` gave."""

    @abstractmethod
    def _steps(self, users: Any, kept: Any, rate: float) -> Any:
        """The steps of a block of users with the learning rates times `rate`; the sum of their losses.

        `kept` says of each of their purchases, in order, whether the encoder sees it.
        """

    def advance(self) -> None:
        """Trains on the next block of the epoch. Raises TrainingError when the loss becomes non-finite."""
        n, config = self.n_users, self.config
        users, kept = self._draw()
        # constant for the first half of the steps, then falling linearly to zero
        left = 1 - ((self.epoch - 1) * n + self.done) / (config.epochs * n)
        self._loss += self._steps(users, kept, min(1.0, 2 * left))
        self.done += len(users)
        if (self.done == n or self.done // self._block % self._look_every == 0) and not np.isfinite(
            float(self._loss)
        ):
            raise TrainingError(
                f"the loss became {float(self._loss)} in epoch {self.epoch} after {self.done:,} users: lower "
                f"learning_rate ({config.learning_rate:g}) or encoder_learning_rate ({config.encoder_learning_rate:g})"
            )

    def end_epoch(self) -> float:
        """Begins the next epoch; returns the mean loss a user of the one that ended."""
        loss = float(self._loss) / self.n_users
        self.epoch, self.done, self._loss = self.epoch + 1, 0, 0.0
        self._order = self._shuffled()
        return loss

    def position(self) -> dict[str, Any]:
        """Where training stands, as JSON values."""
        return {"epoch": self.epoch, "done": self.done, "loss": float(self._loss)}

    def move_to(self, position: dict[str, Any]) -> None:
        """Takes back what `position` gave."""
        self.epoch, self.done, self._loss = position["epoch"], position["done"], position["loss"]
        self._order = self._shuffled()

    def _draw(self) -> tuple[Any, Any]:
        """The users of the next block and what dropout leaves of their purchases, as `_steps` takes them."""
        users = self._order[self.done : self.done + self._block]
        lengths = self.matrix.indptr[users + 1] - self.matrix.indptr[users]
        rng = np.random.default_rng([self.config.seed, self.epoch, self.done])
        return users, rng.random(int(lengths.sum()), dtype=np.float32) >= self.config.dropout

    def _shuffled(self) -> Any:
        return np.random.default_rng([self.config.seed, self.epoch]).permutation(self._users)
