"""What the three trainers of the exact engine share: what dropout hides, and which settings rule their steps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.training.config import ResolvedConfig
from recae.training.trainer import Trainer


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
