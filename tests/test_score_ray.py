"""The parts of a batch job on a Ray cluster, without one: what a worker answers, where files are seen, options."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pytest
from commands import recae, refused

from recae.errors import OutputError
from recae.scoring import ray as cluster_job
from recae.scoring.manifest import Shard
from recae.scoring.ray import Order, Worker

ray = pytest.importorskip("ray", reason="needs pip install 'recae[ray]'")


def test_a_worker_with_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(worker: Worker, number: int) -> dict[str, object]:
        raise ZeroDivisionError("by\nnothing")

    monkeypatch.setattr(Worker, "_done", fail)
    worker = Worker(Order(None, [], None, 1, "another"))
    worker._wrong = None
    (answer,) = worker(pa.table({"number": [0]})).to_pylist()
    assert re.fullmatch(
        r'\["ClusterError", "the worker on \S+ failed \(ZeroDivisionError: by nothing\); see the logs .*"\]',
        answer["error"],
    )


def test_another_release_on_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(Order(None, [], None, 1, "0.0.1"))
    (answer,) = worker(pa.table({"number": [4]})).to_pylist()
    assert answer["number"] == 4
    assert re.fullmatch(
        r'\["ClusterError", "the worker on \S+: recae \S+ is installed here, '
        r'but the job is of recae 0\.0\.1; install .*"\]',
        answer["error"],
    )


def test_a_folder_that_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard("part-00000.parquet", 1, 1, 4, "")
    path = tmp_path / shard.name
    monkeypatch.setattr(cluster_job, "_LOOK_SECONDS", 0.01)
    writing = Thread(target=lambda: (time.sleep(0.1), path.write_bytes(b"1234")))  # NFS may show it later
    writing.start()
    cluster_job._check_seen(path, shard)
    writing.join()
    monkeypatch.setattr(cluster_job, "_SEEN_SECONDS", 0.0)
    with pytest.raises(
        OutputError, match="it is not there on this machine; give a folder that all nodes share"
    ):
        cluster_job._check_seen(path, replace(shard, bytes=5))


def test_options_of_the_other_engine(model_path: Path, folder: Path) -> None:
    for options in (("--address", "auto"), ("--workers", "2"), ("--cpus-per-worker", "2")):
        refused(
            recae("score", "--out", "recs", *options, model=model_path),
            f"{options[0]} goes with --engine ray",
        )
    assert not list(folder.iterdir())
