"""A worker of a batch job on a Ray cluster: holds the model, and writes or returns some users' lists at a time.

A row that comes in has one column, ``number``: which part of the job to do. The row that goes out says how it went: a
`Shard` (``shard``, JSON), or the record batches (``batches``, an Arrow stream), or an error (``error``, its class and
its sentence), and ``number`` again.
"""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from recae.errors import ClusterError, RecaeError
from recae.scoring.manifest import release
from recae.scoring.schema import SCHEMA
from recae.scoring.shards import write_shard
from recae.scoring.shipping import Common, Part
from recae.scoring.work import Work

ANSWERS: Final = pa.schema(
    [("number", pa.int64()), ("shard", pa.string()), ("batches", pa.large_binary()), ("error", pa.string())]
)
"""Columns of what a worker answers; of the last three one is not null."""


@dataclass(frozen=True)
class Order:
    """What a worker is told when it is started.

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
    """What Ray Data makes one of in each of its actors, and calls with rows; it rises again where its process dies."""

    def __init__(self, order: Order) -> None:
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
        except Exception as error:  # what Ray makes of one hides its sentence
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
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for _, batch in work.batches():
            writer.write_batch(batch)
    return bytes(sink.getvalue())
