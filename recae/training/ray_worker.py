"""What a worker of a Ray cluster does when it trains, and the office through which workers and command speak."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import RankLostError, RecaeError
from recae.models import Model
from recae.training.checkpoint import Checkpoints, Progress
from recae.training.config import ResolvedConfig
from recae.training.hooks import Hooks
from recae.training.trainer import Trainer

_EVERY_SECONDS = 0.2  # between two words about how many users are done


@dataclass(frozen=True)
class Task:
    """What the workers are to do.

    office     the actor
    purchases  reference to (indptr, indices) of the CSR pattern, which process 0 fetches
    shape      (U, I)
    every      users between two checkpoints; None: at the ends of epochs
    identity   of the data, as `Checkpoints` has it
    name       of the checkpoint, for messages
    """

    office: Any
    purchases: Any
    shape: tuple[int, int]
    config: ResolvedConfig
    validate: Callable[[Model], float] | None
    every: int | None
    identity: dict[str, Any]
    name: str


class Office:
    """Keeps, beside the command, what the workers say and leave: the last checkpoint, and the model in the end."""

    def __init__(self, begin: NDArray[np.uint8] | None) -> None:
        """`begin` is the checkpoint to begin with, the bytes of its file."""
        self._blob = None if begin is None else np.array(begin)
        self._saved = ""
        self._said: list[tuple[str, Any]] = []
        self._outcome: dict[str, Any] | None = None

    def say(self, kind: str, value: Any) -> None:
        """A worker says something."""
        self._said.append((kind, value))

    def take(self) -> list[tuple[str, Any]]:
        """What was said since this was last asked."""
        said, self._said = self._said, []
        return said

    def keep(self, blob: NDArray[np.uint8], saved: str) -> None:
        """Takes a checkpoint, the bytes of its file, copied: what a worker owns goes with it."""
        self._blob, self._saved = np.array(blob), saved
        self.say("checkpoint", None)

    def kept(self) -> tuple[NDArray[np.uint8] | None, str]:
        """The last checkpoint, and what it holds, for people."""
        return self._blob, self._saved

    def end(self, outcome: dict[str, Any]) -> None:
        """Takes the model, or {"error": class, "text": message}; the first counts."""
        if self._outcome is None:
            arrays = {name: np.array(array) for name, array in outcome.get("arrays", {}).items()}
            self._outcome = {**outcome, "arrays": arrays} if arrays else outcome

    def outcome(self) -> dict[str, Any] | None:
        """What `end` was given."""
        return self._outcome

    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self._outcome is not None


def work(task: Task) -> None:
    """One worker from its start to the end of the training. Raises RankLostError when another one has gone."""
    import ray
    from ray.train import get_context

    rank, size = get_context().get_world_rank(), get_context().get_world_size()
    if ray.get(task.office.over.remote()):
        return
    try:
        if size == 1:
            with _faults_told(task):
                _lead(task, None)
            return
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not named in its __all__
        from torch.distributed.distributed_c10d import PrefixStore

        from recae.training.group import Group
        from recae.training.leading import follow, leading

        # where Ray Train lets torch's default group find one another, too
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        group = Group(PrefixStore("recae", store), rank, size)
        if rank == 0:
            with leading(group), _faults_told(task):
                _lead(task, group)
        else:
            try:
                with _faults_told(task):
                    follow(group)
            finally:
                group.close()
    except RankLostError:
        if not ray.get(task.office.over.remote()):
            raise  # so that Ray Train starts all of them again


@contextmanager
def _faults_told(task: Task) -> Iterator[None]:
    """Tells the office what another start would not mend, before the other workers learn that this one has ended."""
    import ray

    try:
        yield
    except RankLostError:
        raise
    except RecaeError as error:
        ray.get(task.office.end.remote({"error": type(error).__name__, "text": str(error)}))
        raise RankLostError(str(error)) from error


def _lead(task: Task, group: Any) -> None:
    """Process 0: fetches the purchases, trains from the last checkpoint on, and leaves the model at the office."""
    import ray

    from recae.training.choice import make_trainer
    from recae.training.loop import train

    office = task.office
    ray.get(office.say.remote("begin", 1 if group is None else group.size))
    indptr, indices = (np.array(array) for array in ray.get(task.purchases))
    matrix = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=task.shape)
    trainer: Trainer
    if group is None:
        trainer = make_trainer(matrix, task.config, "cpu")
    else:
        from recae.training.leading import LeadingTrainer

        trainer = LeadingTrainer(matrix, task.config, group)
    blob, _ = ray.get(office.kept.remote())
    with tempfile.TemporaryDirectory(prefix="recae-") as folder:
        path = Path(folder) / "checkpoint"
        if blob is not None:
            blob.tofile(path)
        checkpoints = Left(path, task.every, blob is not None, task.identity, office=office, name=task.name)
        checkpoints.on_message = lambda text: office.say.remote("message", text.replace(str(path), task.name))
        hooks = Hooks(
            validate=task.validate,
            checkpoints=checkpoints,
            on_start=lambda epochs, users: office.say.remote("start", (epochs, users)),
            on_users=_now_and_then(lambda done: office.say.remote("users", done)),
            on_epoch=lambda epoch: office.say.remote("epoch", asdict(epoch)),
        )
        try:
            model, history = train(trainer, hooks)
        except RankLostError:
            raise
        except RecaeError as error:
            raise type(error)(str(error).replace(str(path), task.name)) from error
    outcome = {
        "config": model.config(),
        "arrays": model.arrays(),
        "history": [asdict(epoch) for epoch in history],
    }
    ray.get(office.end.remote(outcome))


@dataclass
class Left(Checkpoints):
    """Checkpoints that are left at the office, through a file on this worker's machine."""

    office: Any = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    def save(self, trainer: Trainer, device: str, progress: Progress) -> None:
        """As `Checkpoints`; waits until the office has it."""
        import ray

        before = self.saved
        super().save(trainer, device, progress)
        if self.saved != before:
            ray.get(self.office.keep.remote(np.fromfile(self.path, np.uint8), self.saved))


def _now_and_then(tell: Callable[[int], Any]) -> Callable[[int], None]:
    """Calls a function a few times a second at most."""
    last = 0.0

    def told(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_SECONDS:
            last = time.monotonic()
            tell(done)

    return told
