"""A batch job on a Ray cluster: Ray Data hands its parts to workers, each with one model, and again where one dies.

A part is a shard of a folder, which its worker writes into the folder; or about a row group of one file or table, which
returns to this process in its order. Either way a block of users is the same as in a job of one process, and so are the
bytes. What is lost with a worker or a node is done again by another: a shard then has the same bytes and appears whole.

A worker receives once what all users have in common (`Common`), then some users' histories at a time (`Part`). Both are
plain arrays, which Ray holds once a machine in shared memory, however many workers map them. A worker needs neither the
model file nor the source of the histories.

A row that comes in has one column, ``number``: which part of the job to do. The row that goes out has the number again,
and one of: a `Shard` (``shard``, JSON), the record batches (``batches``, an Arrow stream), or an error (``error``, its
class and its sentence).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import queue
import socket
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae import errors
from recae.cluster import processors, room_for, workers_in_words
from recae.errors import ClusterError, ConfigError, OutputError, RecaeError
from recae.ids import IdMap
from recae.kinds import model_class
from recae.listing import Listing
from recae.models import JSON, Model
from recae.models.new_items import NewItems
from recae.ranking import Ranked
from recae.recommender import Recommender
from recae.scoring.audience import Audience, rejects
from recae.scoring.folder import GROUP_ROWS, Bounds, Folder, OneFile, write_shard
from recae.scoring.manifest import Shard, release
from recae.scoring.work import Work

if TYPE_CHECKING:
    from recae.scoring.database import ResultTable

Ids = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Ids as `IdMap.to_arrays` gives them."""


@dataclass(frozen=True, eq=False)
class Common:
    """A job without its users; the attributes are those of `Work`, the model by its kind, configuration and arrays."""

    kind: str
    config: Mapping[str, JSON]
    arrays: Mapping[str, NDArray[Any]]
    items: Ids
    n: int
    exclude_owned: bool
    barred: NDArray[np.bool_] | None
    block_users: int
    fallback: Ranked | None = None
    details: pa.RecordBatch | None = None
    listing: Listing | None = None
    new_items: Mapping[str, NDArray[Any]] | None = None
    recent_from: int | None = None

    @classmethod
    def of(cls, work: Work) -> Common:
        """Return what is common to all users of a job."""
        model = work.recommender.model
        new_items = model.own_arrays() if isinstance(model, NewItems) else None
        return cls(
            kind=model.kind,
            config=model.config(),
            arrays=model.arrays(),
            items=work.recommender.items.to_arrays(),
            n=work.n,
            exclude_owned=work.exclude_owned,
            barred=work.barred,
            block_users=work.block_users,
            fallback=work.fallback,
            details=work.details,
            listing=work.listing,
            new_items=new_items,
            recent_from=work.recent_from,
        )

    def recommender(self) -> Recommender:
        """Rebuild the recommender, without users."""
        items = IdMap.from_arrays(*self.items)
        known = len(items) if self.new_items is None else self.new_items["weights"].size
        model: Model = model_class(self.kind).from_arrays(self.config, self.arrays, known)
        if self.new_items is not None:
            model = cast(Model, NewItems.extending(model, self.new_items, len(items)))
        return Recommender(model, None, items)


@dataclass(frozen=True, eq=False)
class Part:
    """Some users, their histories as the arrays of a csr_matrix of shape (users, items), and likewise their days."""

    users: Ids
    indptr: NDArray[np.integer[Any]]
    indices: NDArray[np.integer[Any]]
    values: NDArray[np.float32]
    days: tuple[NDArray[np.int64], NDArray[np.integer[Any]], NDArray[np.integer[Any]]] | None = None

    @classmethod
    def of(cls, work: Work, start: int, stop: int) -> Part:
        """Return the users of a job from ``start`` to before ``stop``."""
        ids, histories = work.audience.part(start, stop)
        days = None
        if work.recent_from is not None and work.audience.days is not None:
            own = sp.csr_matrix(work.audience.days[work.audience.rows[start:stop]])
            days = (own.data, own.indices, own.indptr)
        return cls(IdMap(ids).to_arrays(), histories.indptr, histories.indices, histories.data, days)

    def work(self, common: Common, recommender: Recommender, threads: int) -> Work:
        """Return these users' part of the job, whose blocks and bits are those of the whole job.

        Args:
            common: what all parts have in common.
            recommender: the result of `Common.recommender`, the same for all parts.
            threads: most threads to use.
        """
        users = IdMap.from_arrays(*self.users)
        shape = (len(users), len(recommender.items))
        histories = sp.csr_matrix((self.values, self.indices, self.indptr), shape=shape)
        days = None if self.days is None else sp.csr_matrix(self.days, shape=shape)
        audience = Audience(users, histories, np.arange(len(users)), rejects(), days)
        return Work(
            recommender,
            audience,
            common.n,
            common.exclude_owned,
            common.barred,
            common.block_users,
            threads,
            common.fallback,
            details=common.details,
            listing=common.listing,
            recent_from=common.recent_from,
        )


ANSWERS: Final = pa.schema(
    [("number", pa.int64()), ("shard", pa.string()), ("batches", pa.large_binary()), ("error", pa.string())]
)
"""Columns of a worker's answers; one of the last three is not null."""


@dataclass(frozen=True)
class Order:
    """What a worker receives at its start.

    Attributes:
        common: what all parts share, a reference to a `Common` in Ray's object store.
        parts: a reference to each `Part`, by its number.
        paths: where to write each part; None to return the lists.
        threads: most threads of the worker.
        release: the release of recae that the job belongs to.
    """

    common: Any
    parts: Sequence[Any]
    paths: Sequence[Path] | None
    threads: int
    release: str


class Worker:
    """Callable that Ray Data creates in each of its actors and calls with rows; it is created anew where one dies."""

    def __init__(self, order: Order) -> None:
        """Rebuild the model, and check that the release is the same."""
        import ray

        self._order = order
        self._get = ray.get
        self._wrong: RecaeError | None = None
        if release() != order.release:
            self._wrong = ClusterError(
                f"recae {release()} is installed here, but the job is of recae {order.release}; "
                "install the same release on every node"
            )
            return
        self._common: Common = ray.get(order.common)
        self._recommender = self._common.recommender()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Do the parts of rows, and return a table of `ANSWERS`."""
        answers = [self._answer(number) for number in rows["number"].to_pylist()]
        return pa.Table.from_pylist(answers, schema=ANSWERS)

    def _answer(self, number: int) -> Mapping[str, object]:
        where = f"the worker on {socket.gethostname() or platform.node()}"
        try:
            if self._wrong is not None:
                raise self._wrong
            return {"number": number} | self._done(number)
        except RecaeError as error:
            kind, text = type(error).__name__, f"{where}: {error}"
        except Exception as error:  # Ray's own errors hide the sentence
            found = " ".join(str(error).split())
            kind = ClusterError.__name__
            text = f"{where} failed ({type(error).__name__}: {found}); see the logs of Ray, and run it again"
        return {"number": number, "error": json.dumps([kind, text])}

    def _done(self, number: int) -> dict[str, object]:
        order = self._order
        part: Part = self._get(order.parts[number])
        work = part.work(self._common, self._recommender, order.threads)
        if order.paths is None:
            return {"batches": stream_of(work)}
        return {"shard": json.dumps(asdict(write_shard(work, order.paths[number], 0, len(work.audience))))}


def stream_of(work: Work) -> bytes:
    """Return a job's record batches, block by block, as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, work.schema) as writer:
        for _, batch in work.batches():
            writer.write_batch(batch)
    return bytes(sink.getvalue())


_RESTARTS: Final = (
    20  # of a worker; without an end, a part that takes too much memory would be tried for ever
)
_LOOK_SECONDS: Final = 1.0  # between two looks at the cluster
_PATIENCE: Final = 60.0  # seconds without a node that could work: an autoscaler takes about that to start one
_SEEN_SECONDS: Final = (
    60.0  # until a file that another machine wrote is seen here: NFS may cache its absence for as long
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
        """Have the workers write shards into a folder that all machines see: a `recae.scoring.folder.Writer`.

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
            # one by one, so that this process holds one part at a time beside the histories themselves
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

        # In a thread of its own, since a wait for Ray Data can neither be interrupted nor look at the cluster.
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
        # The pool has a fixed size: Ray Data may still count what a killed job had reserved as taken, would shrink a
        # pool that may be smaller, and fail. One worker suffices to go on. A part is at its worker only in its turn.
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
