"""Per-user SGD of the sigmoid autoencoder: one exact step a customer, in random order, for several epochs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from recae.errors import TrainingError
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import ResolvedConfig, SigmoidConfig, resolve
from recae.training.decoder import FactoredDecoder
from recae.training.kernels import train_users

HISTORY_LENGTH = 16
"""Rank-one updates kept before they are applied as one matrix product."""

ADAGRAD_EPSILON = 1e-8


@dataclass(frozen=True)
class Epoch:
    """What one epoch did: its number from 1, mean loss a user, seconds spent in training, validation recall@20."""

    epoch: int
    loss: float
    seconds: float
    users_per_second: float
    recall: float | None


@dataclass
class Parameters:
    """Everything that training changes; `encoder_norms` are AdaGrad's accumulated squared gradient norms."""

    encoder: NDArray[np.floating[Any]]
    encoder_bias: NDArray[np.floating[Any]]
    encoder_norms: NDArray[np.floating[Any]]
    bias_norm: NDArray[np.floating[Any]]
    decoder: FactoredDecoder

    def model(self, config: ResolvedConfig) -> SigmoidAutoencoder:
        """The model with these parameters, copied, in float32."""
        weights = self.decoder.weights()
        return SigmoidAutoencoder(
            encoder=self.encoder.astype(np.float32),
            encoder_bias=self.encoder_bias.astype(np.float32),
            decoder=weights[:, :-1].astype(np.float32, order="C"),
            decoder_bias=weights[:, -1].astype(np.float32),
            input_power=config.input_power,
            settings=config.as_dict(),
        )


def first_parameters(n_items: int, config: ResolvedConfig) -> Parameters:
    """Random weights, zero biases."""
    rng = np.random.default_rng([config.seed, 0])
    d, dtype = config.factors, np.dtype(config.dtype)
    encoder = rng.standard_normal((n_items, d), dtype=dtype)
    encoder *= config.encoder_scale / np.sqrt(d)
    W = np.zeros((n_items, d + 1), dtype)
    W[:, :d] = rng.standard_normal((n_items, d), dtype=dtype)
    W *= config.decoder_scale / np.sqrt(d)
    return Parameters(
        encoder,
        np.zeros(d, dtype),
        np.zeros(n_items, dtype),
        np.zeros(1, dtype),
        FactoredDecoder.from_weights(W),
    )


class PerUserTrainer:
    """Per-user SGD, an epoch at a time. The order of users and the input dropout depend on seed and epoch alone."""

    def __init__(self, matrix: sp.csr_matrix, config: SigmoidConfig) -> None:
        """`matrix` (U, I) is the CSR pattern of purchases. Raises TrainingError when it holds none."""
        self.matrix = matrix
        self.config = config = resolve(config, matrix)
        self.users = np.flatnonzero(np.diff(matrix.indptr)).astype(np.int64)
        if len(self.users) == 0:
            raise TrainingError("there is no purchase to learn from: every history is empty")
        self.parameters = first_parameters(matrix.shape[1], self.config)
        self.epochs_done = 0
        # Even if all codes were one and the same, U shrinks less than a hundredfold between two looks at it.
        self._block = int(np.clip(4 / config.learning_rate, 1, 500))
        self._block = min(self._block, config.fold_every)
        self._since_fold = 0
        self._blas = ThreadpoolController()

    def model(self) -> SigmoidAutoencoder:
        """The model as trained so far."""
        return self.parameters.model(self.config)

    def epoch(self, on_users: Callable[[int], None] | None = None) -> float:
        """One step for every user, in random order; returns the mean loss a user. Raises TrainingError (non-finite)."""
        n = len(self.users)
        rng = np.random.default_rng([self.config.seed, self.epochs_done + 1])
        order = rng.permutation(self.users)
        loss = 0.0
        for first in range(0, n, self._block):
            users = order[first : first + self._block]
            # constant for the first half of the steps, then falling linearly to zero
            left = 1 - (self.epochs_done * n + first) / (self.config.epochs * n)
            loss += self._steps(users, min(1.0, 2 * left), rng)
            if not np.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {self.epochs_done + 1} after {first + len(users):,} users: "
                    f"lower learning_rate ({self.config.learning_rate:g}) or encoder_learning_rate "
                    f"({self.config.encoder_learning_rate:g})"
                )
            self._since_fold += len(users)
            if self._since_fold >= self.config.fold_every:
                self.parameters.decoder.fold()
                self._since_fold = 0
            else:
                self.parameters.decoder.condition()
            if on_users is not None:
                on_users(first + len(users))
        self.epochs_done += 1
        return loss / n

    def _steps(self, users: NDArray[np.int64], rate: float, rng: np.random.Generator) -> float:
        matrix, config, parameters, decoder = (
            self.matrix,
            self.config,
            self.parameters,
            self.parameters.decoder,
        )
        dtype = np.dtype(config.dtype).type
        n_purchases = int((matrix.indptr[users + 1] - matrix.indptr[users]).sum())
        kept = rng.random(n_purchases, dtype=np.float32) >= config.dropout
        with self._blas.limit(limits=1):  # the products in the kernel are too small to share
            loss: float = train_users(
                users,
                matrix.indptr,
                matrix.indices,
                kept,
                decoder.V,
                decoder.applied,
                decoder.directions,
                decoder.factors,
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
        return loss


def train_sigmoid(
    matrix: sp.csr_matrix,
    config: SigmoidConfig | None = None,
    *,
    validate: Callable[[SigmoidAutoencoder], float] | None = None,
    on_start: Callable[[int, int], None] | None = None,
    on_users: Callable[[int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[SigmoidAutoencoder, list[Epoch]]:
    """Trains on the rows of `matrix` ((U, I) CSR pattern) and returns the best model and the history of its epochs.

    `validate` gives the quality of a model after each epoch (higher is better); with it, the best epoch's model is
    returned and training stops when `patience` epochs brought nothing better. `on_start` is told the number of epochs
    and of users, `on_users` how many users of the epoch are done, `on_epoch` what an epoch did.

    Raises TrainingError when there is nothing to learn from or the loss becomes non-finite.
    """
    trainer = PerUserTrainer(matrix, config or SigmoidConfig())
    if on_start is not None:
        on_start(trainer.config.epochs, len(trainer.users))
    history: list[Epoch] = []
    best, best_recall, best_epoch = None, -np.inf, 0
    for epoch in range(1, trainer.config.epochs + 1):
        started = time.perf_counter()
        loss = trainer.epoch(on_users)
        seconds = time.perf_counter() - started
        recall = None
        if validate is not None:
            model = trainer.model()
            recall = validate(model)
            if recall > best_recall:
                best, best_recall, best_epoch = model, recall, epoch
        history.append(Epoch(epoch, loss, seconds, len(trainer.users) / seconds, recall))
        if on_epoch is not None:
            on_epoch(history[-1])
        if validate is not None and epoch - best_epoch >= trainer.config.patience:
            break
    return best or trainer.model(), history
