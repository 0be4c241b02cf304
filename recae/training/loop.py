"""The training loop: epochs of steps, validation after each, early stopping, checkpoints on the way."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from recae.errors import TrainingError
from recae.models import Model
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints, Epoch, Progress
from recae.training.trainer import Trainer


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """Let SIGINT and SIGTERM wait until the block has ended; yield a function that says whether one is waiting.

    Their usual handlers are called at the end. A second signal is not held. Outside the main thread, which alone
    receives signals, nothing is held.
    """
    waiting: list[int] = []
    before: dict[int, Any] = {}

    def release() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    def hold(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        release()

    if threading.current_thread() is threading.main_thread():
        for kind in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(kind)
            if handler not in (signal.SIG_IGN, None):  # None: it is not Python's to take and give back
                before[kind] = handler
                signal.signal(kind, hold)
    try:
        yield lambda: bool(waiting)
    finally:
        release()
    for number in waiting:
        signal.raise_signal(number)


def train(trainer: Trainer, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Run the epochs of a new trainer on `hooks.device`; return the best model and the history of the epochs.

    `validate` gives the quality of a model after each epoch (higher is better); with it, the best epoch's model is
    returned and training stops when `patience` epochs brought nothing better. `checkpoints` are written as they say,
    after the last step of each epoch, and when SIGINT or SIGTERM arrive between two steps of an epoch, before these
    take their course; a training that goes on from one gives the same bits as if it had not been interrupted.
    After `hooks.last_epoch` it ends, with the steps up to there that a training of all epochs takes.
    `on_start` is told the number of epochs and of users, `on_users` how many users of the epoch are done, `on_epoch`
    what an epoch did, those before a resumed one too.

    Raises:
        TrainingError: the loss or a weight becomes non-finite.
        CheckpointError: there is no checkpoint to resume or it belongs to another training.
    """
    device, validate, checkpoints = hooks.device, hooks.validate, hooks.checkpoints
    progress = Progress()
    if checkpoints is not None and checkpoints.resume:
        progress = checkpoints.load(trainer, device)
    last = min(trainer.epochs, hooks.last_epoch or trainer.epochs)
    if hooks.on_start is not None:
        hooks.on_start(last, trainer.n_users)
    history = progress.history
    if hooks.on_epoch is not None:
        for past in history:
            hooks.on_epoch(past)
    model = None
    for epoch in range(trainer.epoch, last + 1):
        _train_epoch(trainer, device, progress, checkpoints, hooks.on_users)
        # A checkpoint ends here at the latest: what follows is done again after an interruption, to the same bits.
        started = time.perf_counter()
        loss = trainer.end_epoch()
        judge = validate is not None and epoch >= trainer.judged_from
        model = trainer.model() if judge or epoch == last else None
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
        if hooks.enough is not None and progress.best is not None and hooks.enough(progress.best, epoch):
            break
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
    """Take the remaining steps of an epoch, with its checkpoints."""
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
    """Raise TrainingError where the parameters are not finite, as a step of finite loss may have left them."""
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
