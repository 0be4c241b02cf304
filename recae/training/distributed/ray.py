"""Training by workers of a Ray cluster: Ray Train starts them, and starts them again where one dies."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

import recae.errors
from recae.cluster import room_for, workers_in_words
from recae.errors import ClusterError, OutputError, RankLostError, RecaeError, TrainingError
from recae.files import atomic_path
from recae.models import Model
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.callbacks import Hooks, check_number
from recae.training.checkpoint import Checkpoints, Epoch, Progress
from recae.training.config import ResolvedSettings, SigmoidSettings, resolve
from recae.training.trainer import Trainer

_EVERY_SECONDS = 0.2  # between two reports of how many users are done


@dataclass(frozen=True)
class Task:
    """A training, as the workers receive it.

    Attributes:
        mailbox: the `Mailbox` actor.
        purchases: reference to (indptr, indices) of the CSR pattern, which process 0 fetches.
        shape: (U, I).
        config: the resolved settings.
        validate: quality of a model, higher is better; None for no validation.
        every: users between two checkpoints; None: at the ends of epochs.
        identity: of the data, as `Checkpoints` has it.
        name: of the checkpoint, for messages.
        last_epoch: after which it ends, as `Hooks` has it.
    """

    mailbox: Any
    purchases: Any
    shape: tuple[int, int]
    config: ResolvedSettings
    validate: Callable[[Model], float] | None
    every: int | None
    identity: dict[str, Any]
    name: str
    last_epoch: int | None = None


class Mailbox:
    """Actor on the command's machine that takes the workers' messages, last checkpoint and, at the end, the model."""

    def __init__(self, begin: NDArray[np.uint8] | None) -> None:
        """Begin with the bytes of a checkpoint file, or with none."""
        self._blob = None if begin is None else np.array(begin)
        self._saved = ""
        self._messages: list[tuple[str, Any]] = []
        self._outcome: dict[str, Any] | None = None

    def say(self, kind: str, value: Any) -> None:
        """Take a message of a worker."""
        self._messages.append((kind, value))

    def take(self) -> list[tuple[str, Any]]:
        """Return the messages since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def keep(self, blob: NDArray[np.uint8], saved: str) -> None:
        """Take the bytes of a checkpoint file, copied: what a worker owns in the cluster dies with it."""
        self._blob, self._saved = np.array(blob), saved
        self.say("checkpoint", None)

    def last_checkpoint(self) -> tuple[NDArray[np.uint8] | None, str]:
        """Return the last checkpoint, and in words what it holds."""
        return self._blob, self._saved

    def end(self, outcome: dict[str, Any]) -> None:
        """Take the model, or {"error": class, "text": message}; the first counts."""
        if self._outcome is None:
            arrays = {name: np.array(array) for name, array in outcome.get("arrays", {}).items()}
            self._outcome = {**outcome, "arrays": arrays} if arrays else outcome

    def outcome(self) -> dict[str, Any] | None:
        """Return what `end` took; None before."""
        return self._outcome

    def over(self) -> bool:
        """Return whether the training has ended."""
        return self._outcome is not None


def work(task: Task) -> None:
    """Run one worker from its start to the end of the training.

    Raises:
        RankLostError: another worker has gone.
    """
    import ray
    from ray.train import get_context

    rank, size = get_context().get_world_rank(), get_context().get_world_size()
    if ray.get(task.mailbox.over.remote()):
        return
    try:
        if size == 1:
            with _errors_reported(task):
                _run_rank_zero(task, None)
            return
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not named in its __all__
        from torch.distributed.distributed_c10d import PrefixStore

        from recae.training.distributed.torchrun import follow, rank_zero
        from recae.training.exact.group import Group

        # where Ray Train lets torch's default group find one another, too
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        group = Group(PrefixStore("recae", store), rank, size)
        if rank == 0:
            with rank_zero(group), _errors_reported(task):
                _run_rank_zero(task, group)
        else:
            try:
                with _errors_reported(task):
                    follow(group)
            finally:
                group.close()
    except RankLostError:
        if not ray.get(task.mailbox.over.remote()):
            raise  # so that Ray Train starts all of them again


@contextmanager
def _errors_reported(task: Task) -> Iterator[None]:
    """Report an error that another start would not mend, before the other workers learn that this one has ended."""
    import ray

    try:
        yield
    except RankLostError:
        raise
    except RecaeError as error:
        ray.get(task.mailbox.end.remote({"error": type(error).__name__, "text": str(error)}))
        raise RankLostError(str(error)) from error


def _run_rank_zero(task: Task, group: Any) -> None:
    """Train as process 0: fetch the purchases, go on from the last checkpoint, and send the model to the mailbox."""
    import ray

    from recae.training.kinds.sigmoid import make_trainer
    from recae.training.loop import train

    mailbox = task.mailbox
    ray.get(mailbox.say.remote("begin", 1 if group is None else group.size))
    indptr, indices = (np.array(array) for array in ray.get(task.purchases))
    matrix = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=task.shape)
    trainer: Trainer
    if group is None:
        trainer = make_trainer(matrix, task.config, "cpu")
    else:
        from recae.training.distributed.torchrun import RankZeroTrainer

        trainer = RankZeroTrainer(matrix, task.config, group)
    blob, _ = ray.get(mailbox.last_checkpoint.remote())
    with tempfile.TemporaryDirectory(prefix="recae-") as folder:
        path = Path(folder) / "checkpoint"
        if blob is not None:
            blob.tofile(path)
        checkpoints = MailboxCheckpoints(
            path, task.every, blob is not None, task.identity, mailbox=mailbox, name=task.name
        )
        checkpoints.on_message = lambda text: mailbox.say.remote(
            "message", text.replace(str(path), task.name)
        )
        hooks = Hooks(
            validate=task.validate,
            checkpoints=checkpoints,
            on_start=lambda epochs, users: mailbox.say.remote("start", (epochs, users)),
            on_users=_throttled(lambda done: mailbox.say.remote("users", done)),
            on_epoch=lambda epoch: mailbox.say.remote("epoch", asdict(epoch)),
            last_epoch=task.last_epoch,
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
    ray.get(mailbox.end.remote(outcome))


@dataclass
class MailboxCheckpoints(Checkpoints):
    """Checkpoints that are sent to the mailbox, through a file on this worker's machine."""

    mailbox: Any = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    def save(self, trainer: Trainer, device: str, progress: Progress) -> None:
        """Save as `Checkpoints` does, and wait until the mailbox has the file."""
        import ray

        before = self.saved
        super().save(trainer, device, progress)
        if self.saved != before:
            ray.get(self.mailbox.keep.remote(np.fromfile(self.path, np.uint8), self.saved))


def _throttled(tell: Callable[[int], Any]) -> Callable[[int], None]:
    """Return a function that calls `tell` at most once in `_EVERY_SECONDS`."""
    last = 0.0

    def told(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_SECONDS:
            last = time.monotonic()
            tell(done)

    return told


MAX_FAILURES = 20
"""Deaths of workers after which training ends: a worker that always dies would be started for ever."""

_LOOK = 0.2  # seconds between two looks into the mailbox
_PATIENCE = 30.0  # seconds without a worker after which the user is told


class OnRay:
    """The workers of a Ray cluster that train one model. Satisfies `Engine`.

    There are up to `workers` of them, each with `cpus` processors: as many as the cluster has room for. Where one dies,
    or its machine, all begin again at the last checkpoint, which this process's machine holds in memory. Their number
    then follows the room that the cluster has.
    """

    def __init__(self, ray: ModuleType, workers: int | None = None, cpus: int = 1) -> None:
        """Find out how many workers there is room for.

        Args:
            ray: the module, connected.
            workers: how many to use; by default as many as the cluster has processors for.
            cpus: processors of each.

        Raises:
            ClusterError: the cluster has no room for a single worker.
        """
        self._ray, self._cpus = ray, cpus
        room = room_for(ray, cpus)
        self._workers = min(workers or room, room)
        self._wanted = workers or room

    def describe(self) -> str:
        """Return how many workers there are, as text."""
        less = "" if self._workers == self._wanted else f", {self._wanted:,} wanted"
        return f"{workers_in_words(self._workers, self._cpus)} on a Ray cluster{less}"

    def fit(
        self, matrix: sp.csr_matrix, config: SigmoidSettings, hooks: Hooks
    ) -> tuple[SigmoidAutoencoder, list[Epoch]]:
        """Fit as `sigmoid.fit_sigmoid` does.

        Raises:
            ClusterError: the workers died too often, or the cluster has gone.
            RecaeError: as the training itself.
        """
        config = resolve(config, matrix)
        check_number(self._workers, matrix.shape[1])
        checkpoints = hooks.checkpoints
        begin = None
        if checkpoints is not None and checkpoints.resume:
            begin = checkpoints.read()
        ray = self._ray
        try:
            mailbox = self._open_mailbox(begin)
            task = Task(
                mailbox=mailbox,
                purchases=ray.put((matrix.indptr, matrix.indices)),
                shape=matrix.shape,
                config=config,
                validate=hooks.validate,
                every=None if checkpoints is None else checkpoints.every,
                identity={} if checkpoints is None else dict(checkpoints.identity),
                name="the memory of the command's machine" if checkpoints is None else str(checkpoints.path),
                last_epoch=hooks.last_epoch,
            )
            reason = self._run(task, hooks)
            outcome = ray.get(mailbox.outcome.remote())
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the Ray cluster does not answer any more ({_one_line(error)}): start the training again, with "
                "--resume where it left a checkpoint"
            ) from error
        if outcome is None:
            raise ClusterError(
                f"the workers of the Ray cluster died or failed {MAX_FAILURES + 1:,} times ({reason}): see the logs of "
                "the cluster in /tmp/ray, and start the training again, with --resume where it left a checkpoint"
            )
        if "error" in outcome:
            raise getattr(recae.errors, outcome["error"], TrainingError)(outcome["text"])
        # copied: what the cluster holds goes with the connection
        arrays = {name: np.array(array) for name, array in outcome["arrays"].items()}
        model = SigmoidAutoencoder.from_arrays(outcome["config"], arrays, matrix.shape[1])
        return model, [Epoch(**epoch) for epoch in outcome["history"]]

    def _open_mailbox(self, begin: bytes | None) -> Any:
        """Return a mailbox on this machine, which the death of another machine cannot take away."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        actor = self._ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox)
        return actor.remote(None if begin is None else np.frombuffer(begin, np.uint8))

    def _run(self, task: Task, hooks: Hooks) -> str:
        """Run Ray Train to its end and relay the workers' messages to the hooks; return why it ended, if it failed."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import LoggingConfig

        relay = _Relay(hooks, self._workers)
        failed: list[str] = []
        with tempfile.TemporaryDirectory(prefix="recae-", ignore_cleanup_errors=True) as folder:
            trainer = TorchTrainer(
                lambda: work(task),
                torch_config=TorchConfig(backend="gloo"),
                # at least one worker; at each start as many as there is room for
                scaling_config=ScalingConfig(
                    num_workers=(1, self._workers),
                    resources_per_worker={"CPU": self._cpus},
                    placement_strategy="SPREAD",
                ),
                # Ray writes nothing but its own marks there: checkpoints and the model go to the mailbox
                run_config=RunConfig(
                    storage_path=folder,
                    failure_config=FailureConfig(max_failures=MAX_FAILURES),
                    logging_config=LoggingConfig(log_level="ERROR"),
                ),
            )

            def fit() -> None:
                try:
                    trainer.fit()
                except Exception as error:  # of a worker, whose own words are in it
                    failed.append(_one_line(error))

            thread = threading.Thread(target=fit, daemon=True)
            thread.start()
            while thread.is_alive():  # this thread stays free for Ctrl-C
                thread.join(_LOOK)
                relay.pass_on(self._ray, task.mailbox)
            relay.pass_on(self._ray, task.mailbox)
        return failed[0] if failed else "they ended without a model"


class _Relay:
    """Relays the messages in the mailbox to the hooks, and writes the checkpoints in it to their file."""

    def __init__(self, hooks: Hooks, workers: int) -> None:
        """Begin before the first start of the workers."""
        self._hooks, self._workers = hooks, workers
        self._starts, self._epoch = 0, 0
        self._silent = 0.0
        self._warned = False

    def pass_on(self, ray: ModuleType, mailbox: Any) -> None:
        """Relay what the mailbox has received since the last call."""
        hooks = self._hooks
        events = ray.get(mailbox.take.remote())
        self._wait(bool(events))
        for kind, value in events:
            if kind == "begin":
                self._begin(value)
            elif kind == "start" and self._starts == 1 and hooks.on_start is not None:
                hooks.on_start(*value)
            elif kind == "users" and hooks.on_users is not None:
                hooks.on_users(value)
            elif kind == "epoch" and value["epoch"] > self._epoch:  # not again after a new start
                self._epoch = value["epoch"]
                if hooks.on_epoch is not None:
                    hooks.on_epoch(Epoch(**value))
            elif kind == "message":
                hooks.on_message(value)
        if hooks.checkpoints is not None and any(kind == "checkpoint" for kind, _ in events):
            self._write(hooks.checkpoints, *ray.get(mailbox.last_checkpoint.remote()))

    def _begin(self, workers: int) -> None:
        self._starts += 1
        if self._starts > 1:
            self._hooks.on_message(f"a worker has gone or come: going on with {workers:,}")
        elif workers < self._workers:
            self._hooks.on_message(f"beginning with {workers:,} workers, for which there is room now")

    def _wait(self, heard: bool) -> None:
        if self._starts or heard:
            return
        self._silent += _LOOK
        if self._silent >= _PATIENCE and not self._warned:
            self._warned = True
            self._hooks.on_message("waiting for the Ray cluster to have processors free for a worker")

    def _write(self, checkpoints: Checkpoints, blob: Any, saved: str) -> None:
        try:
            with atomic_path(checkpoints.path) as temporary:
                blob.tofile(temporary)
        except OutputError as error:
            checkpoints.warn(error)
        else:
            checkpoints.saved = saved


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
