"""Per-user SGD of the sigmoid autoencoder on the CPU: one exact step a customer."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import SigmoidConfig, resolve
from recae.training.exact.kernels import train_users
from recae.training.exact.parameters import first_parameters
from recae.training.trainer import SigmoidTrainer, largest_of

HISTORY_LENGTH = 8
"""Rank-one updates kept before they are applied as one matrix product."""

ADAGRAD_EPSILON = 1e-8


class PerUserTrainer(SigmoidTrainer):
    """One step for every user, exact, at a cost without the number of items in it."""

    def __init__(
        self, matrix: sp.csr_matrix, config: SigmoidConfig, weights: NDArray[np.float32] | None = None
    ) -> None:
        """`matrix` (U, I) is the CSR pattern of purchases, `weights` (nnz,) what each weighs, in its order; None: 1.

        Raises TrainingError when it holds none.
        """
        config = resolve(config, matrix, largest_of(weights))
        # A step shrinks U by 1 − learning_rate along the code. Even if all codes were one and the same, U shrinks less
        # than a hundredfold between two looks at it, e⁻⁴ = 1/55, unless a single step does.
        block = int(np.clip(-4 / np.log1p(-config.learning_rate), 1, 500))
        super().__init__(matrix, config, min(block, config.fold_every))
        self.parameters = first_parameters(matrix, config)
        self._since_fold = 0
        self._weights = None if weights is None else weights.astype(config.dtype)

    def model(self) -> SigmoidAutoencoder:
        """The model as trained so far."""
        return self.parameters.model(self.config)

    def take_drift(self) -> float:
        """The largest drift of Q that a fold found since this was last asked."""
        return self.parameters.take_drift()

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters and how long ago the last fold was."""
        return {**self.parameters.state(), "since_fold": np.array([self._since_fold])}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Takes back what `state` gave."""
        self.parameters.restore(state)
        self._since_fold = int(state["since_fold"][0])

    def _steps(self, users: NDArray[np.int64], kept: NDArray[np.bool_], rate: float) -> float:
        matrix, config, parameters = self.matrix, self.config, self.parameters
        decoder = parameters.decoder
        dtype = np.dtype(config.dtype).type
        loss: float = train_users(
            users,
            matrix.indptr,
            matrix.indices,
            kept,
            self._weights,
            decoder.V,
            decoder.applied,
            decoder.directions,
            decoder.factors,
            decoder.overlaps,
            decoder.pending,
            decoder.U,
            decoder.U_inv,
            decoder.Q,
            parameters.encoder,
            parameters.encoder_bias,
            parameters.encoder_norms,
            parameters.bias_norm,
            HISTORY_LENGTH,
            dtype(config.learning_rate * rate),
            dtype(config.encoder_learning_rate * rate),
            dtype(config.purchase_weight),
            dtype(1 - config.dropout),
            dtype(config.input_power),
            dtype(ADAGRAD_EPSILON),
        )
        self._since_fold += len(users)
        if self._since_fold * decoder.haste >= config.fold_every:
            decoder.fold()
            self._since_fold = 0
        else:
            decoder.condition()
        return loss
