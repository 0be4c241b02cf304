"""The training loop: epochs of steps, validation after each, early stopping, checkpoints on the way."""

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import scipy.sparse as sp

from recae.errors import TrainingError
from recae.models import Model, SigmoidAutoencoder
from recae.training.checkpoint import Checkpoints, Epoch, Progress
from recae.training.choice import make_trainer
from recae.training.config import SigmoidConfig
from recae.training.hooks import Hooks
from recae.training.signals import held_signals
from recae.training.trainer import Trainer


def train_sigmoid(
    matrix: sp.csr_matrix,
    config: SigmoidConfig | None = None,
    *,
    device: str = "cpu",
    validate: Callable[[SigmoidAutoencoder], float] | None = None,
    checkpoints: Checkpoints | None = None,
    on_start: Callable[[int, int], None] | None = None,
    on_users: Callable[[int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[SigmoidAutoencoder, list[Epoch]]:
    """Trains on the rows of `matrix` ((U, I) CSR pattern) and returns the best model and the history of its epochs.

    The other arguments are those of `Hooks`, with what `train` says of them. Raises TrainingError when there is nothing
    to learn from or the loss becomes non-finite, CheckpointError when there is no checkpoint to resume or it belongs to
    another training.
    """
    hooks = Hooks(
        device=device,
        validate=cast("Callable[[Model], float] | None", validate),
        checkpoints=checkpoints,
        on_start=on_start,
        on_users=on_users,
        on_epoch=on_epoch,
    )
    return fit_sigmoid(matrix, config or SigmoidConfig(), hooks)


def fit_sigmoid(
    matrix: sp.csr_matrix, config: SigmoidConfig, hooks: Hooks
) -> tuple[SigmoidAutoencoder, list[Epoch]]:
    """`train_sigmoid` as the registry of kinds calls it; in several processes where `hooks.engine` has them."""
    if hooks.engine is not None:
        return hooks.engine.fit(matrix, config, hooks)
    model, history = train(make_trainer(matrix, config, hooks.device, hooks.weights), hooks)
    return cast(SigmoidAutoencoder, model), history


def train(trainer: Trainer, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Runs the epochs of a new trainer on `hooks.device`; the best model and the history of the epochs.

    `validate` gives the quality of a model after each epoch (higher is better); with it, the best epoch's model is
    returned and training stops when `patience` epochs brought nothing better. `checkpoints` are written as they say,
    after the last step of each epoch, and when SIGINT or SIGTERM arrive between two steps of an epoch, before these
    take their course; a training that goes on from one gives the same bits as if it had not been interrupted.
    `on_start` is told the number of epochs and of users, `on_users` how many users of the epoch are done, `on_epoch`
    what an epoch did, those before a resumed one too.

    Raises TrainingError when the loss or a weight becomes non-finite, CheckpointError when there is no checkpoint to
    resume or it belongs to another training.
    """
    device, validate, checkpoints = hooks.device, hooks.validate, hooks.checkpoints
    progress = Progress()
    if checkpoints is not None and checkpoints.resume:
        progress = checkpoints.load(trainer, device)
    if hooks.on_start is not None:
        hooks.on_start(trainer.epochs, trainer.n_users)
    history = progress.history
    if hooks.on_epoch is not None:
        for past in history:
            hooks.on_epoch(past)
    model = None
    for epoch in range(trainer.epoch, trainer.epochs + 1):
        _train_epoch(trainer, device, progress, checkpoints, hooks.on_users)
        # A checkpoint ends here at the latest: what follows is done again after an interruption, to the same bits.
        started = time.perf_counter()
        loss = trainer.end_epoch()
        judge = validate is not None and epoch >= trainer.judged_from
        model = trainer.model() if judge or epoch == trainer.epochs else None
        seconds = progress.seconds + time.perf_counter() - started
        progress.seconds = 0.0
        if model is not None:
            _check_finite(model, epoch, trainer, checkpoints)
        recall = None
        if validate is not None and judge and model is not None:
            recall = validate(model)
            if recall > progress.best_recall:
                progress.best, progress.best_recall, progress.best_epoch = model, recall, epoch
        rate = trainer.n_users / seconds
        history.append(Epoch(epoch, loss, seconds, rate, recall, trainer.take_drift()))
        if hooks.on_epoch is not None:
            hooks.on_epoch(history[-1])
        best_epoch = max(progress.best_epoch, trainer.judged_from - 1)
        if validate is not None and epoch - best_epoch >= trainer.config.patience:
            break
    if progress.best is not None:
        return progress.best, history
    return model or trainer.model(), history


def _train_epoch(
    trainer: Trainer,
    device: str,
    progress: Progress,
    checkpoints: Checkpoints | None,
    on_users: Callable[[int], None] | None,
) -> None:
    """The rest of an epoch's steps, with its checkpoints."""
    started = time.perf_counter() - progress.seconds
    if checkpoints is None:
        while trainer.done < trainer.n_users:
            _advance(trainer, None, on_users)
        progress.seconds = time.perf_counter() - started
        return
    with held_signals() as interrupted:
        while trainer.done < trainer.n_users:
            before = trainer.done
            _advance(trainer, checkpoints, on_users)
            stop = interrupted()
            if checkpoints.due(trainer.done - before) or stop or trainer.done == trainer.n_users:
                progress.seconds = time.perf_counter() - started
                checkpoints.save(trainer, device, progress)
            if stop:
                break


def _advance(
    trainer: Trainer, checkpoints: Checkpoints | None, on_users: Callable[[int], None] | None
) -> None:
    try:
        trainer.advance()
    except TrainingError as error:
        raise type(error)(f"{error}{_last_good(checkpoints)}") from error
    if on_users is not None:
        on_users(trainer.done)


def _check_finite(model: Model, epoch: int, trainer: Trainer, checkpoints: Checkpoints | None) -> None:
    """A step whose loss was finite may have left weights that are not."""
    for name, array in model.arrays().items():
        if not np.isfinite(array.sum(dtype=np.float64)):  # no mask of all weights
            raise TrainingError(
                f"the {name} is no longer finite at the end of epoch {epoch}: lower "
                f"{trainer.settings_to_lower()}{_last_good(checkpoints)}"
            )


def _last_good(checkpoints: Checkpoints | None) -> str:
    if checkpoints is None or not checkpoints.saved:
        return ""
    return f"; the last good checkpoint, of {checkpoints.saved}, is '{checkpoints.path}'"
