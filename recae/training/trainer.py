"""What all trainers share: who comes when, with which step, and where training stands."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, TrainingError
from recae.models import Model
from recae.sparse import rows_in_use
from recae.training.config import ResolvedConfig


class Configuration(Protocol):
    """What a configuration has to say for training to run; a frozen dataclass, in which nothing is left to choose."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def seed(self) -> int: ...
    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        ...


class Trainer(ABC):
    """Stochastic gradient descent over the users, a block of them at a time, in random order, for several epochs.

    The order of the users depends on the seed and the epoch alone, all else that is random on the seed, the epoch and
    the position in it. So the position is all that there is to know of the random state.

    config       the resolved configuration
    judged_from  the first epoch whose model is worth judging
    weights      the names of what has to be finite in the state for it to be worth keeping
    n_users      users with a purchase: the steps of an epoch
    epoch        the current epoch, from 1
    done         users of the current epoch whose step is done
    """

    config: Any
    weights: tuple[str, ...]
    judged_from: int = 1

    def __init__(self, matrix: sp.csr_matrix, config: Configuration, block: int) -> None:
        """`matrix` (U, I) holds the purchases. Raises TrainingError when there are none, ConfigError when a block
        should hold more users than there are.
        """
        self.matrix = matrix
        self.config = config
        self._users = rows_in_use(matrix)
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

    @property
    def epochs(self) -> int:
        """Passes over the users."""
        return int(self.config.epochs)

    @abstractmethod
    def model(self) -> Model:
        """The model as trained so far."""

    @abstractmethod
    def take_drift(self) -> float:
        """The largest relative error of Q, which is kept beside W, that was found since this was last asked; 0 where
        there is no Q.
        """

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that training changes, by name; `restore` of it and the position go on with the same bits."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Takes back what `state` gave."""

    @abstractmethod
    def settings_to_lower(self) -> str:
        """The settings that are too large when numbers become non-finite, for people."""

    @abstractmethod
    def _draw(self) -> tuple[Any, Any]:
        """The users of the next block and what is drawn for them, as `_steps` takes them."""

    @abstractmethod
    def _steps(self, users: Any, drawn: Any, rate: float) -> Any:
        """The steps of a block of users with the learning rates times `rate`; the sum of their losses."""

    def advance(self) -> None:
        """Trains on the next block of the epoch. Raises TrainingError when the loss becomes non-finite."""
        n = self.n_users
        users, drawn = self._draw()
        # constant for the first half of the steps, then falling linearly to zero
        left = 1 - ((self.epoch - 1) * n + self.done) / (self.epochs * n)
        self._loss += self._steps(users, drawn, min(1.0, 2 * left))
        self.done += len(users)
        if (self.done == n or self.done // self._block % self._look_every == 0) and not np.isfinite(
            float(self._loss)
        ):
            raise TrainingError(
                f"the loss became {float(self._loss)} in epoch {self.epoch} after {self.done:,} users: lower "
                f"{self.settings_to_lower()}"
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

    def _numbers(self) -> np.random.Generator:
        """What the next block's random numbers come from."""
        return np.random.default_rng([self.config.seed, self.epoch, self.done])

    def _shuffled(self) -> Any:
        return np.random.default_rng([self.config.seed, self.epoch]).permutation(self._users)


def largest_of(weights: NDArray[np.float32] | None) -> float:
    """The largest weight of a purchase, 1 where none are given."""
    return 1.0 if weights is None else float(weights.max(initial=1.0))


class SigmoidTrainer(Trainer):
    """Per-user SGD of the sigmoid autoencoder, whose decoder takes exact sparse steps."""

    config: ResolvedConfig
    weights = ("encoder", "encoder_bias", "V", "U", "U_inv", "Q")

    def settings_to_lower(self) -> str:
        """The two learning rates."""
        config = self.config
        return (
            f"learning_rate ({config.learning_rate:g}) or encoder_learning_rate "
            f"({config.encoder_learning_rate:g})"
        )

    def _draw(self) -> tuple[Any, Any]:
        """The users of the next block, and of each of their purchases, in order, whether the encoder sees it."""
        users = self._order[self.done : self.done + self._block]
        lengths = self.matrix.indptr[users + 1] - self.matrix.indptr[users]
        return users, self._numbers().random(int(lengths.sum()), dtype=np.float32) >= self.config.dropout
