"""What is sent to workers: the same bits as without sending, for every kind of model and every part of the users."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fitting import FIT
from scorejobs import ITEMS, USERS, purchases, rows_of, shop, work_of

from recae.scoring.folder import write_shard
from recae.scoring.manifest import sha256_of
from recae.scoring.ray import Common, Part, stream_of
from recae.scoring.work import Work


def sent(value: Any) -> Any:
    """What arrives: as Ray does it, with arrays that map shared memory and cannot be written to."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


def arrived(work: Work, start: int, stop: int, threads: int = 1) -> Work:
    common, part = sent(Common.of(work)), sent(Part.of(work, start, stop))
    return part.work(common, common.recommender(), threads)


def batches(work: Work, start: int = 0, stop: int | None = None) -> list[pa.RecordBatch]:
    return [batch for _, batch in work.batches(start, stop)]


@pytest.mark.parametrize("kind", sorted(FIT))
def test_every_kind_of_model(kind: str) -> None:
    work = work_of(shop(FIT[kind](purchases())), 7)
    assert batches(arrived(work, 0, USERS)) == batches(work)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (13, 42), (50, USERS), (5, 5)])
def test_a_part_of_the_users(start: int, stop: int) -> None:
    work = work_of(exclude_owned=False, barred=np.arange(ITEMS) % 3 == 0)
    found = arrived(work, start, stop, threads=2)
    assert batches(found) == batches(work, start, stop)
    assert found.threads == 2
    assert not any(array.flags.writeable for array in sent(Common.of(work)).arrays.values())


def test_a_shard_and_a_stream(tmp_path: Path) -> None:
    work = work_of()
    here = write_shard(work, tmp_path / "part-00001.parquet", 20, 40)
    (tmp_path / "there").mkdir()
    there = write_shard(arrived(work, 20, 40), tmp_path / "there" / "part-00001.parquet", 0, 20)
    assert here == there
    assert here.sha256 == sha256_of(tmp_path / "there" / here.name)
    found = list(pa.ipc.open_stream(stream_of(arrived(work, 20, 45))))
    assert [rows_of(pa.Table.from_batches([batch])) for batch in found] == [
        rows_of(pa.Table.from_batches([batch])) for batch in batches(work, 20, 45)
    ]
