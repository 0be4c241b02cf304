"""`Trainer`: stochastic gradient descent over users; their order, the step size, and the position of a training."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, TrainingError
from recae.models import Model
from recae.sparse import rows_in_use
from recae.training.config import ResolvedSettings


class Configuration(Protocol):
    """Settings that every trainer reads; nothing in them is left to resolve."""

    @property
    def epochs(self) -> int:
        """Passes over the users."""
        ...

    @property
    def batch_size(self) -> int:
        """Users in a block."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without a better one before training stops."""
        ...

    @property
    def seed(self) -> int:
        """Of all random numbers."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON values."""
        ...


class Trainer(ABC):
    """Stochastic gradient descent over the users, a block of them at a time, in random order, for several epochs.

    The order of the users depends on the seed and the epoch alone, all else that is random on the seed, the epoch and
    the position in it. So the position is the whole random state.

    Attributes:
        config: the resolved configuration.
        judged_from: the first epoch whose model is worth judging.
        weights: the names of what has to be finite in the state for it to be worth keeping.
        n_users: users with a purchase: the steps of an epoch.
        epoch: the current epoch, from 1.
        done: users of the current epoch whose step is done.
    """

    config: Any
    weights: tuple[str, ...]
    judged_from: int = 1

    def __init__(self, matrix: sp.csr_matrix, config: Configuration, block: int) -> None:
        """Begin at the first epoch.

        Args:
            matrix: the purchases, (U, I).
            config: the settings.
            block: users in a block.

        Raises:
            TrainingError: there is no purchase.
            ConfigError: a block would hold more users than there are.
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
        """Return the model as trained so far."""

    @abstractmethod
    def take_drift(self) -> float:
        """Return the largest relative error of Q = WᵀW found since the last call; 0 where there is no Q."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that training changes, by name; with it and the position, training goes on with the same bits."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned."""

    @abstractmethod
    def settings_to_lower(self) -> str:
        """Return the settings to lower where numbers become non-finite, as text."""

    @abstractmethod
    def _draw(self) -> tuple[Any, Any]:
        """Return the users of the next block and their random draws, as `_steps` takes them."""

    @abstractmethod
    def _steps(self, users: Any, drawn: Any, rate: float) -> Any:
        """Take the steps of a block of users with the learning rates times `rate`; return the sum of their losses."""

    def advance(self) -> None:
        """Train on the next block of the epoch.

        Raises:
            TrainingError: the loss becomes non-finite.
        """
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
        """Begin the next epoch; return the mean loss per user of the one that ended."""
        loss = float(self._loss) / self.n_users
        self.epoch, self.done, self._loss = self.epoch + 1, 0, 0.0
        self._order = self._shuffled()
        return loss

    def position(self) -> dict[str, Any]:
        """Return the position of the training, as JSON values."""
        return {"epoch": self.epoch, "done": self.done, "loss": float(self._loss)}

    def move_to(self, position: dict[str, Any]) -> None:
        """Move to what `position` returned."""
        self.epoch, self.done, self._loss = position["epoch"], position["done"], position["loss"]
        self._order = self._shuffled()

    def _numbers(self) -> np.random.Generator:
        """Return the generator of the next block's random numbers."""
        return np.random.default_rng([self.config.seed, self.epoch, self.done])

    def _shuffled(self) -> Any:
        return np.random.default_rng([self.config.seed, self.epoch]).permutation(self._users)


def largest_of(confidence: NDArray[np.float32] | None) -> float:
    """Return the largest confidence of a purchase, 1 where none are given."""
    return 1.0 if confidence is None else float(confidence.max(initial=1.0))


class SigmoidTrainer(Trainer):
    """Per-user SGD of the sigmoid autoencoder, whose decoder takes exact sparse steps."""

    config: ResolvedSettings
    weights = ("encoder", "encoder_bias", "V", "U", "U_inv", "Q")

    def settings_to_lower(self) -> str:
        """Return the names of the two learning rates."""
        config = self.config
        return (
            f"learning_rate ({config.learning_rate:g}) or encoder_learning_rate "
            f"({config.encoder_learning_rate:g})"
        )

    def _draw(self) -> tuple[Any, Any]:
        """Return the users of the next block and, for each of their purchases in order, whether the encoder sees it."""
        users = self._order[self.done : self.done + self._block]
        lengths = self.matrix.indptr[users + 1] - self.matrix.indptr[users]
        return users, self._numbers().random(int(lengths.sum()), dtype=np.float32) >= self.config.dropout
