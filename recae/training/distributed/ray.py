"""Training by workers of a Ray cluster: Ray Train starts them, and starts them again when one of them dies."""

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
from recae.training.config import ResolvedConfig, SigmoidConfig, resolve
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

        from recae.training.distributed.torchrun import follow, leading
        from recae.training.exact.group import Group

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

    from recae.training.kinds.sigmoid import make_trainer
    from recae.training.loop import train

    office = task.office
    ray.get(office.say.remote("begin", 1 if group is None else group.size))
    indptr, indices = (np.array(array) for array in ray.get(task.purchases))
    matrix = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=task.shape)
    trainer: Trainer
    if group is None:
        trainer = make_trainer(matrix, task.config, "cpu")
    else:
        from recae.training.distributed.torchrun import LeadingTrainer

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


MAX_FAILURES = 20
"""Deaths of workers after which training ends: a worker that always dies would be started for ever."""

_LOOK = 0.2  # seconds between two looks at what the workers say
_PATIENCE = 30.0  # seconds without a worker after which this is said


class OnRay:
    """The workers of a Ray cluster that train one model. Satisfies `Engine`.

    There are up to `workers` of them, each with `cpus` processors: as many as the cluster has room for. When one dies,
    or its machine, all begin again at the last checkpoint, which this process's machine keeps in memory, with those for
    which there is room then; when there is room again for more, so do more.
    """

    def __init__(self, ray: ModuleType, workers: int | None = None, cpus: int = 1) -> None:
        """`ray` is connected; `workers` is by default as many as the cluster has processors for.

        Raises ClusterError when it has not got the processors of a single one.
        """
        self._ray, self._cpus = ray, cpus
        room = room_for(ray, cpus)
        self._workers = min(workers or room, room)
        self._wanted = workers or room

    def describe(self) -> str:
        """How many workers there are, for people."""
        less = "" if self._workers == self._wanted else f", {self._wanted:,} wanted"
        return f"{workers_in_words(self._workers, self._cpus)} on a Ray cluster{less}"

    def fit(
        self, matrix: sp.csr_matrix, config: SigmoidConfig, hooks: Hooks
    ) -> tuple[SigmoidAutoencoder, list[Epoch]]:
        """As `sigmoid.fit_sigmoid`.

        Raises what the training raises, ClusterError when the workers died too often or the cluster has gone.
        """
        config = resolve(config, matrix)
        check_number(self._workers, matrix.shape[1])
        checkpoints = hooks.checkpoints
        begin = None
        if checkpoints is not None and checkpoints.resume:
            begin = checkpoints.read()
        ray = self._ray
        try:
            office = self._open_office(begin)
            task = Task(
                office=office,
                purchases=ray.put((matrix.indptr, matrix.indices)),
                shape=matrix.shape,
                config=config,
                validate=hooks.validate,
                every=None if checkpoints is None else checkpoints.every,
                identity={} if checkpoints is None else dict(checkpoints.identity),
                name="the memory of the command's machine" if checkpoints is None else str(checkpoints.path),
            )
            reason = self._run(task, hooks)
            outcome = ray.get(office.outcome.remote())
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

    def _open_office(self, begin: bytes | None) -> Any:
        """An actor on this machine, which no death of another one can take away."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        actor = self._ray.remote(num_cpus=0, scheduling_strategy=here)(Office)
        return actor.remote(None if begin is None else np.frombuffer(begin, np.uint8))

    def _run(self, task: Task, hooks: Hooks) -> str:
        """Runs Ray Train to its end, and tells the hooks what the workers say; why it ended, if it failed."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import LoggingConfig

        said = _Said(hooks, self._workers)
        failed: list[str] = []
        with tempfile.TemporaryDirectory(prefix="recae-", ignore_cleanup_errors=True) as folder:
            trainer = TorchTrainer(
                lambda: work(task),
                torch_config=TorchConfig(backend="gloo"),
                # one worker at least; so many as there is room for at each start
                scaling_config=ScalingConfig(
                    num_workers=(1, self._workers),
                    resources_per_worker={"CPU": self._cpus},
                    placement_strategy="SPREAD",
                ),
                # nothing but marks of Ray's own is written there: checkpoints and the model go to the office
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
                said.pass_on(self._ray, task.office)
            said.pass_on(self._ray, task.office)
        return failed[0] if failed else "they ended without a model"


class _Said:
    """Passes on to the hooks what the workers tell the office, and writes the checkpoints they leave there."""

    def __init__(self, hooks: Hooks, workers: int) -> None:
        self._hooks, self._workers = hooks, workers
        self._starts, self._epoch = 0, 0
        self._silent = 0.0
        self._warned = False

    def pass_on(self, ray: ModuleType, office: Any) -> None:
        hooks = self._hooks
        events = ray.get(office.take.remote())
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
            self._write(hooks.checkpoints, *ray.get(office.kept.remote()))

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
