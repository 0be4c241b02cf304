"""Per-user SGD of the sigmoid autoencoder on the CPU: one exact step a user."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import SigmoidSettings, resolve
from recae.training.exact.kernels import train_users
from recae.training.exact.parameters import Parameters, first_parameters
from recae.training.trainer import SigmoidTrainer, largest_of

HISTORY_LENGTH = 8
"""Rank-one updates held before they are applied as one matrix product."""

ADAGRAD_EPSILON = 1e-8


class PerUserTrainer(SigmoidTrainer):
    """One step for every user, exact, at a cost without the number of items in it."""

    def __init__(
        self,
        matrix: sp.csr_matrix,
        config: SigmoidSettings,
        confidence: NDArray[np.float32] | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """Begin with fresh parameters, or with given ones.

        Args:
            matrix: CSR pattern (U, I) of purchases.
            config: the settings.
            confidence: (nnz,) how much each purchase counts, in the matrix's order; None: 1.
            parameters: to go on from, which are taken over; None: fresh ones.

        Raises:
            TrainingError: there is no purchase.
        """
        config = resolve(config, matrix, largest_of(confidence))
        # A step shrinks U by 1 − learning_rate along the code. Even if all codes were one and the same, U shrinks less
        # than a hundredfold between two looks at it, e⁻⁴ = 1/55, unless a single step does.
        block = int(np.clip(-4 / np.log1p(-config.learning_rate), 1, 500))
        super().__init__(matrix, config, min(block, config.fold_every))
        self.parameters = first_parameters(matrix, config) if parameters is None else parameters
        self._since_consolidation = 0
        self._confidence = None if confidence is None else confidence.astype(config.dtype)

    def model(self) -> SigmoidAutoencoder:
        """Return the model as trained so far."""
        return self.parameters.model(self.config)

    def take_drift(self) -> float:
        """Return the largest drift of Q found since the last call."""
        return self.parameters.take_drift()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the parameters and the number of users since the last consolidation."""
        return {**self.parameters.state(), "since_fold": np.array([self._since_consolidation])}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned."""
        self.parameters.restore(state)
        self._since_consolidation = int(state["since_fold"][0])

    def _steps(self, users: NDArray[np.int64], visible: NDArray[np.bool_], rate: float) -> float:
        matrix, config, parameters = self.matrix, self.config, self.parameters
        decoder = parameters.decoder
        dtype = np.dtype(config.dtype).type
        loss: float = train_users(
            users,
            matrix.indptr,
            matrix.indices,
            visible,
            self._confidence,
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
        self._since_consolidation += len(users)
        if self._since_consolidation * decoder.haste >= config.fold_every:
            decoder.consolidate()
            self._since_consolidation = 0
        else:
            decoder.condition()
        return loss
