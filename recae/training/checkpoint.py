"""Checkpoints: the state of a training in one file, from which it goes on with the same bits.

A checkpoint is a safetensors file with one metadata entry, `recae_checkpoint`, a JSON object:

    format_version  1
    recae           version that wrote it
    identity        {name: value} of what must be the same to go on: settings, device, data
    position        {"epoch": from 1, "done": users of that epoch, "loss": their summed loss}
    history         an object an epoch that ended, as in `Epoch`
    best            {"epoch", "recall"} of the best epoch so far, or null
    seconds         spent in the current epoch so far
    every           users between two checkpoints, or null: at the ends of epochs only

and tensors `state.<name>`, what `Trainer.state` gave, and `best.<name>`, the parameters of the best model so far. The
random state is the position alone: see `Trainer`. The file is replaced whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from recae.errors import CheckpointError, OutputError, RecaeError
from recae.files import atomic_path, json_text
from recae.machine import installed
from recae.models import Model
from recae.renamed import current_names
from recae.settings import check_range
from recae.tensorfile import NO_ROOM, NotNowError, TensorFile, parse_json, write_tensors
from recae.training.trainer import Trainer

FORMAT_VERSION = 1
KEY = "recae_checkpoint"


@dataclass(frozen=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: its number, from 1.
        loss: mean loss a user.
        seconds: spent in training, over all sessions.
        users_per_second: users trained a second.
        recall: validation recall@20, None without validation.
        drift: the largest relative error of Q found in it.
    """

    epoch: int
    loss: float
    seconds: float
    users_per_second: float
    recall: float | None
    drift: float = 0.0


BEST_EPOCHS = "best_epochs"
"""Entry of a report: kind → the epoch whose model was taken, of what is trained in epochs."""


def best_epoch(epochs: Sequence[Epoch]) -> int:
    """Return the number of the epoch with the best validation recall, the first of equal ones; without any the last."""
    judged = [epoch for epoch in epochs if epoch.recall is not None and epoch.recall >= 0]  # NaN: by nobody
    return max(judged, key=lambda epoch: epoch.recall or 0.0).epoch if judged else epochs[-1].epoch


@dataclass
class Progress:
    """How far a training is, apart from its trainer: the epochs that ended, the best of them, seconds of this one."""

    history: list[Epoch] = field(default_factory=list)
    best: Model | None = None
    best_epoch: int = 0
    best_recall: float = -np.inf
    seconds: float = 0.0


@dataclass
class Checkpoints:
    """Where checkpoints go and when.

    Attributes:
        path: the file; it is the caller's to remove once the model is saved.
        every: users between two checkpoints; None: what the resumed checkpoint says, else at the ends of epochs only.
        resume: begin with what the file holds.
        identity: of the data, compared on resuming, such as {"data.fingerprint": "…"}.
        on_message: is told when a checkpoint cannot be written (once; training goes on) and when training is resumed.
        saved: what the file holds, as text; empty until it was read or written.
        again: those of the fit on all users that follows; None before it begins.
    """

    path: Path
    every: int | None = None
    resume: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)
    on_message: Callable[[str], None] = lambda text: None
    saved: str = ""
    again: Checkpoints | None = None
    _since: int = 0
    _warned: bool = False

    def __post_init__(self) -> None:
        """Start counting users at 0."""
        check_range("checkpoint_every", self.every, 1, 2**63 - 1, whole=True)

    def of_refit(self, identity: Mapping[str, Any]) -> Checkpoints:
        """Return the checkpoints of the fit on all users, in a file beside this one, which stays until the end.

        A training that is resumed goes through the first fit at its last checkpoint, and on from that of the second
        where there is one.

        Args:
            identity: of the second fit's data, as `identity`.
        """
        path = refit_path(self.path)
        resume = self.resume and path.exists()
        self.again = Checkpoints(path, self.every, resume, identity, self.on_message)
        return self.again

    def remove(self) -> None:
        """Remove the files, as when the model is saved."""
        for path in (self.path, refit_path(self.path)):
            path.unlink(missing_ok=True)

    def due(self, users: int) -> bool:
        """Count `users` more steps; return whether it is time to save."""
        self._since += users
        return self.every is not None and self._since >= self.every

    def save(self, trainer: Trainer, device: str, progress: Progress) -> None:
        """Write the file, unless a number is not finite; when that fails, the one before stays."""
        self._since = 0
        state = trainer.state()
        if not all(_finite(state[name]) for name in trainer.weights if name in state):
            return  # the next loss will tell; the last good checkpoint is worth more
        tensors = {f"state.{name}": array for name, array in state.items()}
        best = None
        if progress.best is not None:
            tensors |= {f"best.{name}": array for name, array in progress.best.arrays().items()}
            best = {"epoch": progress.best_epoch, "recall": progress.best_recall}
        position = trainer.position()
        content = {
            "format_version": FORMAT_VERSION,
            "recae": _own_version(),
            "identity": self._identity(trainer, device),
            "position": position,
            "history": [asdict(epoch) for epoch in progress.history],
            "best": best,
            "seconds": progress.seconds,
            "every": self.every,
        }
        try:
            with atomic_path(self.path) as temporary, temporary.open("wb") as file:
                write_tensors(file, tensors, KEY, json_text(content, "checkpoint"))
        except OutputError as error:
            self.warn(error)
        else:
            self.saved = _place(position)

    def load(self, trainer: Trainer, device: str) -> Progress:
        """Move a new trainer to where the file's training stands.

        Raises:
            CheckpointError: there is no such file; it is damaged, foreign or of another format version; or it belongs
                to other data or other settings.
        """
        path = self.path
        try:
            self._check_there()
            with TensorFile(path) as file:
                file.check_room()
                content = _read_content(file)
                _compare(current_names(content["identity"]), self._identity(trainer, device))
                progress, every, writer = _progress(content), _every(content), str(content["recae"])[:80]
                state = _read_state(file, trainer.state(), "state", trainer.weights)
                if content["best"] is not None:
                    model = trainer.model()
                    arrays = _read_state(file, model.arrays(), "best", [*model.arrays()])
                    progress.best = type(model).from_arrays(model.config(), arrays, model.n_items)
                position = _position(content["position"], trainer)
                trainer.restore(state)
                trainer.move_to(position)
        except (NotNowError, MemoryError) as error:
            said = str(error) if isinstance(error, NotNowError) else NO_ROOM
            raise CheckpointError(f"cannot go on from '{path}', which stays: {said}") from error
        except OSError as error:
            raise self._unreadable(error) from error
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise CheckpointError(
                f"cannot go on from '{path}': it is empty, truncated, damaged or no checkpoint "
                f"({' '.join(str(error).split())[:200]}); remove it and train without --resume"
            ) from error
        except RecaeError as error:
            if str(path) in str(error):
                raise
            raise CheckpointError(f"cannot go on from '{path}': {error}") from error
        if self.every is None:
            self.every = every
        self.saved = _place(position)
        self.on_message(f"going on from {self.saved}, as in {path}")
        if writer != _own_version():
            self.on_message(
                f"{path} was written by recae {writer}, this is {_own_version()}: the result may differ slightly"
            )
        return progress

    def read(self) -> bytes:
        """Return the bytes of the file, for another process to `load`; CheckpointError when it is not there."""
        self._check_there()
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"cannot go on from '{self.path}': {error.strerror or error}; train without --resume, or name one with "
            "--checkpoint"
        )

    def warn(self, error: OutputError) -> None:
        """Says, once, that a checkpoint could not be written."""
        if not self._warned:
            earlier = f"; the one of {self.saved} stays" if self.saved else ""
            self.on_message(f"warning: no checkpoint: {error}{earlier}; training goes on")
            self._warned = True

    def _check_there(self) -> None:
        if not self.path.exists():
            raise CheckpointError(
                f"there is no checkpoint '{self.path}' to go on from; train without --resume, "
                "or name one with --checkpoint"
            )
        if not self.path.is_file():  # a pipe would block
            raise CheckpointError(
                f"'{self.path}' is no regular file, and no checkpoint; give another path with --checkpoint"
            )

    def describe(self) -> str:
        """Return a line on what an interrupted training has left and how to resume; empty if it has left nothing."""
        if self.again is not None and (left := self.again.describe()):
            return left
        if not self.saved:
            return ""
        return f"'{self.path}' holds {self.saved}; the same command with --resume goes on from there"

    def _identity(self, trainer: Trainer, device: str) -> dict[str, Any]:
        n_users, n_items = trainer.matrix.shape
        shape = {"data.users": n_users, "data.items": n_items, "data.interactions": trainer.matrix.nnz}
        return {**trainer.config.as_dict(), "device": device, **shape, **self.identity}


def refit_path(path: Path) -> Path:
    """Return the path of the checkpoint of the fit on all users, beside that of the first fit."""
    return path.with_name(f"{path.name}.refit")


def _place(position: Mapping[str, Any]) -> str:
    return f"epoch {position['epoch']} after {position['done']:,} users"


def _finite(array: NDArray[Any]) -> bool:
    flat, step = array.reshape(-1), 2**22  # in pieces: the mask of all weights would be a quarter of them
    return all(bool(np.isfinite(flat[i : i + step]).all()) for i in range(0, flat.size, step))


def _own_version() -> str:
    return installed("recae") or "unknown"


def _read_content(file: TensorFile) -> dict[str, Any]:
    text = file.text(KEY)
    if text is None:
        what = "a model" if file.text("recae") is not None else "a safetensors file of something else"
        raise CheckpointError(
            f"it is {what}, not a checkpoint; give the path of a checkpoint with --checkpoint"
        )
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("its metadata is not a JSON object")
    if content["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"it has format version {str(content['format_version'])[:80]}, but this recae, {_own_version()}, reads "
            f"version {FORMAT_VERSION}; go on with recae {str(content.get('recae'))[:80]}, which wrote it, or "
            "remove it and train without --resume"
        )
    return content


def _compare(was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise CheckpointError with the list of what differs."""
    names = [*now, *(name for name in was if name not in now)]
    now = json.loads(json_text(now, "identity"))  # as the file has it
    differ = [name for name in names if name not in was or name not in now or was[name] != now[name]]
    if differ:
        listed = "; ".join(f"{name}: was {_shown(was, name)}, is {_shown(now, name)}" for name in differ)
        raise CheckpointError(
            f"it belongs to other data or another configuration ({listed}); give the same, or train without --resume"
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "not there"
    value = values[name]
    return (
        value[:16]
        if isinstance(value, str)
        else f"{value:,}"
        if name.startswith("data.")
        else str(value)[:80]
    )


def _progress(content: Mapping[str, Any]) -> Progress:
    history = TypeAdapter(list[Epoch]).validate_python(content["history"])
    progress = Progress(history, seconds=float(content["seconds"]))
    if content["best"] is not None:
        progress.best_epoch = int(content["best"]["epoch"])
        progress.best_recall = float(content["best"]["recall"])
    return progress


def _every(content: Mapping[str, Any]) -> int | None:
    every = content["every"]
    if every is None or (type(every) is int and every >= 1):
        return every
    raise ValueError(f"its interval {str(every)[:80]} is no whole number from 1")


def _position(position: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    epoch, done = position["epoch"], position["done"]
    if not (
        isinstance(epoch, int)
        and isinstance(done, int)
        and 1 <= epoch <= trainer.epochs
        and 0 <= done <= trainer.n_users
        and isinstance(position["loss"], float)
    ):
        raise ValueError(f"its position {str(position)[:80]} is outside the training")
    return dict(position)


def _read_state(
    file: TensorFile, wanted: Mapping[str, NDArray[Any]], prefix: str, finite_ones: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return the tensors `prefix.name` in the shapes and types of `wanted`; ValueError when one is not so."""
    found = {}
    for name, like in wanted.items():
        array = file.take(f"{prefix}.{name}")
        finite = name not in finite_ones or _finite(array)
        if array.shape != like.shape or array.dtype != like.dtype or not finite:
            raise ValueError(
                f"tensor {prefix}.{name} is not finite, or not {like.dtype} of shape {like.shape}"
            )
        found[name] = array
    return found
