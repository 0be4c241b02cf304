"""A batch job on a Ray cluster: Ray Data hands the parts to workers, one model each, and again where one dies.

A part is a shard of a folder, which its worker writes where the folder is, or what makes about a row group of one file
or table, which comes back here in its order. Either way a block of users is what it is in a job of one process, and so
are the bytes. What is lost with a worker or a node is done again by another: a shard has the same bytes then, and
appears whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from recae import errors
from recae.cluster import processors, room_for, workers_in_words
from recae.errors import ClusterError, ConfigError, OutputError
from recae.scoring.cluster_worker import Order, Worker
from recae.scoring.file import GROUP_ROWS, OneFile
from recae.scoring.folder import Folder
from recae.scoring.manifest import Shard, release
from recae.scoring.shards import Bounds
from recae.scoring.shipping import Common, Part
from recae.scoring.work import Work

if TYPE_CHECKING:
    from recae.scoring.database import ResultTable

_RESTARTS: Final = (
    20  # of a worker; without an end, a part that takes too much memory would be tried for ever
)
_LOOK_SECONDS: Final = 1.0  # between two looks at the cluster
_PATIENCE: Final = 60.0  # seconds without a node that could work: an autoscaler takes about that to start one
_SEEN_SECONDS: Final = (
    60.0  # until a file that another machine wrote is seen here: NFS may know better for as long
)


@dataclass(frozen=True)
class Cluster:
    """Workers on a Ray cluster that this process is connected to.

    Attributes:
        ray: the module.
        workers: how many at most; fewer where the cluster has no room for them.
        cpus: processors, and threads, of each.
        patience: seconds to wait for a node that could hold a worker, before it is an error.
    """

    ray: ModuleType
    workers: int
    cpus: int
    patience: float = _PATIENCE

    @classmethod
    def of(cls, ray: ModuleType, workers: int | None = None, cpus: int = 1) -> Cluster:
        """Return so many workers; by default as many as the nodes' processors allow.

        Raises:
            ConfigError: ``workers`` or ``cpus`` is less than 1.
            ClusterError: no node has so many processors.
        """
        for name, value in (("workers", workers), ("cpus", cpus)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, but is {value}; ask for one or more")
        room = room_for(ray, cpus)
        return cls(ray, room if workers is None else workers, cpus)

    def describe(self) -> str:
        """Return what computes, for a message."""
        return workers_in_words(self.workers, self.cpus)

    def write_shards(
        self, work: Work, folder: Path, bounds: Bounds, on_users: Callable[[int], None]
    ) -> Iterator[Shard]:
        """Have the workers write shards into a folder that they share: a `recae.scoring.shards.Writer`.

        Raises:
            OutputError: a worker cannot write, or what it wrote is not seen here: the folder is not shared.
            ClusterError: no node is left, or a worker fails for another reason.
        """
        names, each = list(bounds), list(bounds.values())
        done = len(work.audience) - sum(stop - start for start, stop in each)
        folder = folder.resolve()
        paths = [folder / name for name in names]
        with contextlib.closing(self._answers(work, each, paths, ordered=False)) as answers:
            for answer in answers:
                shard = Shard(**json.loads(answer["shard"]))
                _check_seen(folder / shard.name, shard)
                done += shard.users
                on_users(done)
                yield shard

    def batches(self, work: Work, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield what `Work.batches` does, computed by the workers.

        Raises:
            ClusterError: as `write_shards`.
        """
        step = work.block_users * max(1, GROUP_ROWS // (work.n * work.block_users))
        each = [(at, min(at + step, stop)) for at in range(start, stop, step)]
        with contextlib.closing(self._answers(work, each, None, ordered=True)) as answers:
            for (first, last), answer in zip(each, answers, strict=True):
                for at, batch in enumerate(pa.ipc.open_stream(answer["batches"]), start=1):
                    yield min(first + at * work.block_users, last), batch

    def _answers(
        self, work: Work, bounds: Sequence[tuple[int, int]], paths: Sequence[Path] | None, *, ordered: bool
    ) -> Generator[dict[str, Any]]:
        """Yield the workers' answers to all parts, each once."""
        if not bounds:
            return
        ray = self.ray
        order = Order(
            ray.put(Common.of(work)),
            # one by one: beside the histories themselves there is one part in this process's own memory
            [ray.put(Part.of(work, start, stop)) for start, stop in bounds],
            paths,
            self.cpus,
            release(),
        )
        dataset = self._dataset(order, len(bounds), ordered)
        found: queue.Queue[dict[str, Any] | BaseException | None] = queue.Queue(maxsize=2)
        left = threading.Event()

        def hand_over(value: dict[str, Any] | BaseException | None) -> None:
            while not left.is_set():
                with contextlib.suppress(queue.Full):
                    found.put(value, timeout=_LOOK_SECONDS)
                    return

        def consume() -> None:
            try:
                for batch in dataset.iter_batches(
                    batch_size=None, batch_format="pyarrow", prefetch_batches=0
                ):
                    for row in batch.to_pylist():
                        hand_over(row)
                    if left.is_set():
                        return
                hand_over(None)
            except BaseException as error:
                hand_over(error)

        # Apart, since what waits for Ray Data can neither be interrupted nor look after the cluster.
        thread = threading.Thread(target=consume, name="recae-answers", daemon=True)
        thread.start()
        try:
            while (answer := self._next(found)) is not None:
                yield answer
        finally:
            left.set()
            # Workers must not go on after an error, nor Ray Data without a connection; there is no public way.
            executor = getattr(dataset, "_current_executor", None)
            if executor is not None:
                executor.shutdown(force=True)
            thread.join(_LOOK_SECONDS * 10)

    def _dataset(self, order: Order, parts: int, ordered: bool) -> Any:
        from ray import data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        numbers = data.from_items([{"number": number} for number in range(parts)], override_num_blocks=parts)
        context = numbers.context
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.preserve_order = ordered
        # All are asked for and stay so, even where Ray Data holds what a killed job had reserved to be taken still: a
        # pool that may be smaller is made smaller then, and fails. One that is there suffices to go on with. A part is
        # at its worker only when its turn has come.
        compute = data.ActorPoolStrategy(size=min(self.workers, parts), max_tasks_in_flight_per_actor=1)
        with warnings.catch_warnings():
            # Ray 2.60 says that the last one will have to be named otherwise by 2.64, and offers no other name yet.
            warnings.simplefilter("ignore")
            return numbers.map_batches(
                Worker,
                fn_constructor_args=(order,),
                batch_size=None,
                batch_format="pyarrow",
                compute=compute,
                num_cpus=self.cpus,
                max_restarts=_RESTARTS,
            )

    def _next(self, found: queue.Queue[dict[str, Any] | BaseException | None]) -> dict[str, Any] | None:
        """Wait for the next answer; None after the last one."""
        seen = time.monotonic()  # a node that could hold a worker
        while True:
            try:
                answer = found.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if any(has >= self.cpus for has in processors(self.ray)):
                    seen = time.monotonic()
                elif time.monotonic() - seen > self.patience:
                    raise ClusterError(
                        f"no node of the Ray cluster is left that has {self.cpus} processor(s) for a worker; "
                        "add one with ray start --address, and run it again"
                    ) from None
                continue
            if isinstance(answer, BaseException):
                reason = " ".join(str(answer.__cause__ or answer).split())
                raise ClusterError(
                    f"the workers on the Ray cluster failed ({type(answer).__name__}: {reason[-300:]}); give each more "
                    "memory or smaller shards, see the logs of Ray, and run it again"
                ) from answer
            if answer is not None and answer["error"] is not None:
                kind, text = json.loads(answer["error"])
                raise getattr(errors, kind)(text)
            return answer


@dataclass(frozen=True, eq=False)
class SpreadWork(Work):
    """A job whose lists come from the workers of a cluster."""

    cluster: Cluster = field(kw_only=True)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield what `Work.batches` does."""
        return self.cluster.batches(self, start, len(self.audience) if stop is None else stop)


def spread(
    work: Work, target: OneFile | Folder | ResultTable, cluster: Cluster
) -> tuple[Work, OneFile | Folder | ResultTable]:
    """Return the same job and destination, computed by a cluster's workers."""
    work = replace(work, threads=cluster.cpus)
    if isinstance(target, Folder):
        return work, replace(target, writer=cluster.write_shards)
    return SpreadWork(**vars(work), cluster=cluster), target


def _check_seen(path: Path, shard: Shard) -> None:
    """Wait until a shard is here as its worker wrote it; OutputError if it does not come."""
    end = time.monotonic() + _SEEN_SECONDS
    while not (path.is_file() and path.stat().st_size == shard.bytes):
        if time.monotonic() > end:
            raise OutputError(
                f"a worker wrote '{path}', {shard.bytes:,} bytes, but it is not there on this machine; "
                "give a folder that all nodes share under the same path"
            )
        os.listdir(path.parent)  # makes a network file system look again  # noqa: PTH208
        time.sleep(_LOOK_SECONDS)
