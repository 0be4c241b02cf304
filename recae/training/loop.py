"""The training loop: epochs of steps, validation after each, early stopping."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import SigmoidConfig
from recae.training.choice import make_trainer


@dataclass(frozen=True)
class Epoch:
    """What one epoch did: its number from 1, mean loss a user, seconds spent in training, validation recall@20."""

    epoch: int
    loss: float
    seconds: float
    users_per_second: float
    recall: float | None


def train_sigmoid(
    matrix: sp.csr_matrix,
    config: SigmoidConfig | None = None,
    *,
    device: str = "cpu",
    validate: Callable[[SigmoidAutoencoder], float] | None = None,
    on_start: Callable[[int, int], None] | None = None,
    on_users: Callable[[int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[SigmoidAutoencoder, list[Epoch]]:
    """Trains on the rows of `matrix` ((U, I) CSR pattern) and returns the best model and the history of its epochs.

    `device` is what `choose_device` gave. `validate` gives the quality of a model after each epoch (higher is better); with it, the best epoch's model is
    returned and training stops when `patience` epochs brought nothing better. `on_start` is told the number of epochs
    and of users, `on_users` how many users of the epoch are done, `on_epoch` what an epoch did.

    Raises TrainingError when there is nothing to learn from or the loss becomes non-finite.
    """
    trainer = make_trainer(matrix, config or SigmoidConfig(), device)
    if on_start is not None:
        on_start(trainer.config.epochs, trainer.n_users)
    history: list[Epoch] = []
    best, best_recall, best_epoch = None, -np.inf, 0
    for epoch in range(1, trainer.config.epochs + 1):
        started = time.perf_counter()
        while trainer.done < trainer.n_users:
            trainer.advance()
            if on_users is not None:
                on_users(trainer.done)
        loss = trainer.end_epoch()
        seconds = time.perf_counter() - started
        recall = None
        if validate is not None:
            model = trainer.model()
            recall = validate(model)
            if recall > best_recall:
                best, best_recall, best_epoch = model, recall, epoch
        history.append(Epoch(epoch, loss, seconds, trainer.n_users / seconds, recall))
        if on_epoch is not None:
            on_epoch(history[-1])
        if validate is not None and epoch - best_epoch >= trainer.config.patience:
            break
    return best or trainer.model(), history
