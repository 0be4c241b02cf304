"""Scoring and training on one real Ray cluster of two nodes, which give the same, also where one of them dies."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from clusters import add_node, cluster
from commands import PATIENCE, SAMPLE, recae, start, table
from readings import read_with_report
from scorejobs import contents, read_folder, run, work_of

from recae.cluster import connected
from recae.errors import ClusterError, ConfigError, OutputError, RecaeError
from recae.evaluation import evaluate
from recae.ids import IdMap
from recae.modelfile import describe, load, save
from recae.models import Popularity
from recae.recommender import Recommender
from recae.scoring import ray as cluster_job
from recae.scoring.folder import Folder, OneFile
from recae.scoring.manifest import MANIFEST, PLAN, settings_of
from recae.scoring.ray import Cluster, Order, spread
from recae.scoring.work import Work
from recae.splits.held_out import hold_out
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.config import SigmoidSettings
from recae.training.distributed.ray import OnRay
from recae.training.kinds.sigmoid import train_sigmoid

ray = pytest.importorskip("ray", reason="needs pip install 'recae[ray]'")

CONFIG = SigmoidSettings(factors=16, batch_size=64, epochs=8, patience=8, encoder_start="random", seed=1)
MANY, WIDE = 1200, 20_000  # users and items of a job that takes a while


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """A head node that does no work, and two nodes of one processor; to be had by `made`."""
    with pytest.MonkeyPatch.context() as patch:
        # so that what a node that has just died would have had is not waited for long
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
        with cluster() as found:
            yield found


@pytest.fixture
def made(started: Any) -> Iterator[Any]:
    """The cluster; a node that a test has removed is replaced after it."""
    yield started
    while len(started.worker_nodes) < 2:
        add_node(started)
    started.wait_for_nodes(timeout=PATIENCE)


@pytest.fixture
def workers(made: Any) -> Iterator[Cluster]:
    """Both nodes' workers."""
    with connected(made.address) as module:
        yield Cluster.of(module)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A job of sixty shards of twenty users."""
    return work_of(long_shop(), 3, block_users=20)


@pytest.fixture(scope="module")
def long_bytes(long: Work, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What it writes where nothing happens."""
    path = tmp_path_factory.mktemp("long") / "recs"
    run(long, into(path))
    return contents(path)


def long_shop() -> Recommender:
    model = Popularity(np.random.default_rng(0).random(WIDE, dtype=np.float32))
    histories = sp.csr_matrix((MANY, WIDE), dtype=np.float32)
    return Recommender(model, IdMap(map(str, range(MANY))), IdMap(map(str, range(WIDE))), None, histories)


def into(path: Path, **changes: Any) -> Folder:
    return replace(Folder(path, shard_users=20), **changes)


def spread_run(work: Work, target: Any, workers: Cluster) -> int:
    work_there, there = spread(work, target, workers)
    return run(work_there, there)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(path: Path) -> int:
    return len(list(path.glob("part-*.parquet")))


def worker_of(node: Any) -> list[int]:
    """The processes of workers on a node."""
    raylet = node.all_processes["raylet"][0].process.pid
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = entry.joinpath("stat").read_text().rpartition(") ")[2].split()[1]
            if int(parent) == raylet and entry.joinpath("cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


class Running:
    """A job into a folder in a thread of its own."""

    def __init__(self, work: Work, target: Folder, workers: Cluster) -> None:
        self.failure: RecaeError | None = None
        self.path = target.path

        def go() -> None:
            try:
                spread_run(work, target, workers)
            except RecaeError as error:
                self.failure = error

        self._thread = Thread(target=go)
        self._thread.start()

    def freeze_a_worker(self, made: Any) -> tuple[Any, int]:
        """Stop a worker, which has a part in hand or will be given one; return its node and process."""
        wait_for(lambda: finished(self.path) >= 3)
        node, process = next((node, own[0]) for node in made.worker_nodes if (own := worker_of(node)))
        os.kill(process, signal.SIGSTOP)
        there = finished(self.path)
        assert there < MANY // 20
        wait_for(lambda: finished(self.path) > there + 2)  # the others go on
        return node, process

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


# the same bytes


def test_a_folder(workers: Cluster, tmp_path: Path) -> None:
    work = work_of()
    here, there = (Folder(tmp_path / name, "csv", shard_users=25) for name in ("here", "there"))
    assert spread_run(work, there, workers) == run(work, here)
    assert contents(there.path) == contents(here.path)
    assert spread_run(work, replace(there, resume=True), workers) == -1  # all is done


@pytest.mark.thorough
def test_a_file_and_a_table(workers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sqlalchemy")
    from recae.scoring.database import ResultTable

    monkeypatch.setattr(cluster_job, "GROUP_ROWS", 50)  # so that there are several parts
    work = work_of()
    work_there, _ = spread(work, OneFile(tmp_path / "a.csv"), workers)
    found = [(done, batch) for done, batch in work_there.batches(3, 48)]
    assert found == list(work.batches(3, 48))
    assert spread_run(work, OneFile(tmp_path / "a.parquet"), workers) == run(
        work, OneFile(tmp_path / "b.parquet")
    )
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    rows = spread_run(work, ResultTable(f"sqlite:///{tmp_path}/s.db", "recs"), workers)
    with closing(sqlite3.connect(tmp_path / "s.db")) as database:
        stored = database.execute("select user_id, item_id, rank from recs order by rowid").fetchall()
    expected = [
        row
        for _, batch in work.batches()
        for row in zip(*map(pa.Array.to_pylist, batch.columns[:3]), strict=True)
    ]
    assert stored == expected
    assert rows == len(expected)


@pytest.mark.thorough
def test_the_command_with_new_histories(
    made: Any, model_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    (folder / "h.csv").write_text("user,item\n" + "".join(f"u{n % 90},P{n % 61:03d}\n" for n in range(700)))
    options = ("--histories", "h.csv", "--shard-users", "20", "-n", "5")
    assert recae("score", "--out", "here", *options, model=model_path).exit_code == 0
    result = recae("score", "--out", "there", *options, "--engine", "ray", model=model_path)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    lines = result.stderr.splitlines()
    assert re.fullmatch(
        r"90 users, 600 items, 5 files of at most 20 users, 2 workers of 1 processor; "
        r"at most about [\d.]+ [MG]iB of memory each, about [\d.]+ s once the workers have started",
        next(line for line in lines if " users, " in line and line[0] == "9"),
    )
    assert lines[-1].startswith("wrote 450 rows for 90 users to there in ")
    assert contents(folder / "there") == contents(folder / "here")


# deaths


def test_a_worker_dies(
    made: Any, workers: Cluster, long: Work, long_bytes: dict[str, bytes], tmp_path: Path
) -> None:
    job = Running(long, into(tmp_path / "recs"), workers)
    _, process = job.freeze_a_worker(made)
    (tmp_path / "recs" / ".part-00007.parquet.0f0f0f0f0f0f.tmp").touch()  # as a dead one leaves it
    os.kill(process, signal.SIGKILL)
    job.join()
    assert job.failure is None
    assert contents(tmp_path / "recs") == long_bytes


@pytest.mark.thorough
def test_a_node_dies(
    made: Any,
    workers: Cluster,
    long: Work,
    long_bytes: dict[str, bytes],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    job = Running(long, into(tmp_path / "recs"), workers)
    node, _ = job.freeze_a_worker(made)
    made.remove_node(node, allow_graceful=False)
    job.join()
    assert job.failure is None
    assert contents(tmp_path / "recs") == long_bytes
    assert capfd.readouterr().out == ""


@pytest.mark.thorough
def test_all_nodes_die(
    made: Any, workers: Cluster, long: Work, long_bytes: dict[str, bytes], tmp_path: Path
) -> None:
    job = Running(long, into(tmp_path / "recs"), replace(workers, patience=1.0))
    wait_for(lambda: finished(tmp_path / "recs") >= 3)
    for node in list(made.worker_nodes):
        made.remove_node(node, allow_graceful=False)
    job.join()
    assert str(job.failure).startswith(
        "no node of the Ray cluster is left that has 1 processor(s) for a worker; add"
    )
    assert re.fullmatch(
        r"\d+ of 60 files are finished in '.*', and --resume goes on there", job.failure.__notes__[0]
    )
    assert PLAN in contents(tmp_path / "recs")
    with pytest.raises(
        ClusterError, match=r"wanted workers of 1 processor.*the largest node .* has 0; add a node"
    ):
        Cluster.of(workers.ray)
    run(long, into(tmp_path / "recs", resume=True))
    assert contents(tmp_path / "recs") == long_bytes


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_the_driver_dies(number: int, code: int, made: Any, tmp_path: Path) -> None:
    save(long_shop(), tmp_path / "m.recae")
    recs = tmp_path / "recs"
    options = ("--model", tmp_path / "m.recae", "--shard-users", "15", "-n", "3")
    there = ("--engine", "ray", "--address", made.address)
    process = start("score", "--out", recs, *options, *there, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: finished(recs) >= 3 or process.poll() is not None)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, stderr
    said = [line for line in stderr.splitlines() if not line.startswith("scoring users: ")]
    assert said[0].startswith("1,200 users, 20,000 items, 80 files of at most 15 users, 2 workers")
    if number == signal.SIGKILL:
        assert len(said) == 1
    else:
        assert re.fullmatch(
            r"interrupted: \d+ of 80 files are finished in '.*recs', and --resume goes on there",
            "\n".join(said[1:]),
        )
    assert MANIFEST not in contents(recs)
    again = there if number == signal.SIGKILL else ()
    result = recae("score", "--out", recs, *options, *again, "--resume")
    assert result.exit_code == 0, result.stderr
    assert [row[:3] for row in read_folder(recs)] == [
        (user, *item) for user in map(str, range(MANY)) for item in best_three()
    ]
    assert sorted(contents(recs)) == [MANIFEST, *(f"part-{n:05d}.parquet" for n in range(80))]


def best_three() -> list[tuple[str, int]]:
    scores = np.random.default_rng(0).random(WIDE, dtype=np.float32)
    return [(str(item), rank) for rank, item in enumerate(np.argsort(-scores)[:3], start=1)]


# failures


@pytest.mark.thorough
def test_a_worker_cannot_write(workers: Cluster, tmp_path: Path) -> None:
    target = into(tmp_path / "recs")
    work_there, there = spread(work_of(), target, workers)
    settings = settings_of(work_there, "a model", **there.settings(work_there))
    (tmp_path / "recs" / "part-00001.parquet").mkdir(parents=True)
    with pytest.raises(
        OutputError, match=r"the worker on \S+: cannot write '.*part-00001.parquet': it is a folder"
    ):
        there.write(work_there, settings, lambda done: None)


class Deadly:
    """In the place of a worker: dies of every part, as one does that takes more memory than there is."""

    def __init__(self, order: Order) -> None:
        pass

    def __call__(self, rows: pa.Table) -> pa.Table:
        os.kill(os.getpid(), signal.SIGKILL)
        return rows


@pytest.mark.thorough
def test_a_part_that_kills_its_workers(
    workers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(cluster_job, "Worker", Deadly)
    monkeypatch.setattr(cluster_job, "_RESTARTS", 1)
    try:
        with pytest.raises(
            ClusterError, match=r"the workers on the Ray cluster failed \(ActorDied.*run it again"
        ):
            spread_run(work_of(), into(tmp_path / "recs"), workers)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_numbers_of_workers(workers: Cluster) -> None:
    assert (workers.workers, workers.cpus) == (2, 1)
    assert Cluster.of(workers.ray, 7).describe() == "7 workers of 1 processor"
    with pytest.raises(ConfigError, match="workers must be at least 1, but is 0"):
        Cluster.of(workers.ray, 0)
    with pytest.raises(ClusterError, match=r"wanted workers of 3 processors, but the largest node .* has 1"):
        Cluster.of(workers.ray, None, 3)


# training


@pytest.fixture(scope="module")
def learners() -> tuple[sp.csr_matrix, tuple[sp.csr_matrix, sp.csr_matrix]]:
    """The sample's learners, and the held-out users to choose on."""
    interactions, _ = read_with_report(SAMPLE)
    held_out = hold_out(interactions, 5)
    assert held_out.validation is not None
    return sp.csr_matrix(interactions.matrix[held_out.learners]), held_out.validation


def test_the_command_trains_on_the_cluster_and_writes_the_model(made: Any, tmp_path: Path) -> None:
    options = ("--kind", "sigmoid", "--batch-size", "64", "--factors", "8", "--epochs", "2", "--seed", "1")
    source = tmp_path / "purchases.csv"
    source.write_text(table(n_users=400, n_items=80, each=10))
    found = []
    for name, engine in (
        ("one.recae", ()),
        ("two.recae", ("--engine", "ray", "--address", made.address, "--workers", "2")),
    ):
        result = recae("train", source, *options, *engine, "--out", tmp_path / name, "--json")
        assert result.exit_code == 0, result.stderr
        found.append(json.loads(result.stdout)["metrics"]["rows"][0])
        lines = [line.partition(":")[0] for line in result.stderr.splitlines() if line.startswith("epoch ")]
        best = describe(tmp_path / name)["metadata"]["best_epochs"]["sigmoid"]
        # the fit on all users ends after the best epoch of the measured one
        assert lines == ["epoch 1/2", "epoch 2/2", *(f"epoch {n}/{best}" for n in range(1, best + 1))]
    assert "training by 2 workers of 1 processor on a Ray cluster" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.recae", "purchases.csv", "two.recae"]
    one, two = (load(tmp_path / name).model.arrays() for name in ("one.recae", "two.recae"))
    for name, array in one.items():
        assert np.abs(array - two[name]).max() <= 1e-3 * np.abs(array).max(), name
    for metric, value in found[0].items():
        if metric != "model":
            assert found[1][metric] == pytest.approx(value, abs=0.002)


def watched(folder: Path, pair: tuple[sp.csr_matrix, sp.csr_matrix]) -> Callable[[Any], float]:
    """Recall@20, asked by the worker that leads, which says where it is and waits for its end where one is coming."""

    def recall(model: Any) -> float:
        import ray

        (folder / "next").write_text(f"{os.getpid()} {ray.get_runtime_context().get_node_id()}")
        (folder / "next").replace(folder / "leader")
        while (folder / f"doomed-{os.getpid()}").exists():
            time.sleep(0.05)
        return evaluate(model, *pair, (20,)).mean("recall@20")

    return recall


@pytest.mark.thorough
def test_the_death_of_a_worker_and_of_a_node_in_the_middle(made: Any, learners: Any, tmp_path: Path) -> None:
    from recae.cluster import connected

    matrix, pair = learners
    said: list[str] = []
    epochs: list[Epoch] = []

    def doom() -> tuple[int, str]:
        pid, node = (tmp_path / "leader").read_text().split()
        (tmp_path / f"doomed-{pid}").touch()  # it waits in its next validation, and cannot end before
        return int(pid), node

    def on_epoch(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.epoch == 2:
            os.kill(doom()[0], signal.SIGKILL)
        elif epoch.epoch == 5:
            _, node = doom()
            (found,) = (n for n in made.worker_nodes if n.node_id == node)
            made.remove_node(found, allow_graceful=False)

    checkpoints = Checkpoints(tmp_path / "checkpoint", every=500, identity={"data.fingerprint": "x"})
    hooks = Hooks(
        validate=watched(tmp_path, pair),
        checkpoints=checkpoints,
        on_epoch=on_epoch,
        on_message=said.append,
    )
    with connected(made.address) as ray:
        engine = OnRay(ray)
        assert engine.describe() == "2 workers of 1 processor on a Ray cluster"
        model, history = engine.fit(matrix, CONFIG, hooks)

    assert [epoch.epoch for epoch in history] == list(range(1, 9))
    assert [epoch.epoch for epoch in epochs] == list(range(1, 9))  # each told once
    assert "a worker has gone or come: going on with 2" in said
    assert said[-2:] == [
        "a worker has gone or come: going on with 1",
        next(text for text in reversed(said) if text.startswith("going on from epoch ")),
    ]
    alone, straight = train_sigmoid(
        matrix, CONFIG, validate=lambda model: evaluate(model, *pair, (20,)).mean("recall@20")
    )
    for one, other in zip(straight, history, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.recall == pytest.approx(one.recall, abs=0.002)
    for name, array in alone.arrays().items():
        assert np.isfinite(model.arrays()[name]).all()
        assert model.arrays()[name].shape == array.shape

    # what is left is the file that one process goes on from
    assert checkpoints.saved.startswith("epoch 8 after ")
    again = Checkpoints(checkpoints.path, resume=True, identity=checkpoints.identity)
    _, resumed = train_sigmoid(
        matrix,
        CONFIG,
        checkpoints=again,
        validate=lambda model: evaluate(model, *pair, (20,)).mean("recall@20"),
    )
    assert resumed[-1].recall == pytest.approx(history[-1].recall, abs=0.002)


# the connection


def failure(address: str) -> str:
    with pytest.raises(ClusterError) as caught, connected(address):
        pass
    assert not ray.is_initialized()
    return str(caught.value)


def test_a_cluster_that_runs(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with connected(made.address) as found:
        assert found is ray
        assert signal.getsignal(signal.SIGTERM) is before
        assert ray.cluster_resources()["CPU"] == 2
        for same in (None, "auto", made.address):
            with connected(same):
                pass
            assert ray.is_initialized()  # the connection was there before
        with (
            pytest.raises(ClusterError, match=r"is connected to the one at .* or leave the address out"),
            connected("10.1.2.3:6379"),
        ):
            pass
    assert not ray.is_initialized()
    assert "RAY_BACKEND_LOG_LEVEL" not in os.environ  # as it was

    monkeypatch.setenv("RAY_ADDRESS", made.address)
    with connected():
        assert ray.get_runtime_context().gcs_address == made.address
    monkeypatch.delenv("RAY_ADDRESS")

    monkeypatch.setattr(ray, "__version__", "1.2.3")
    text = failure(made.address)
    assert f"runs Ray {sys.modules['ray._version'].version} and Python 3." in text
    assert "but this process Ray 1.2.3 and Python 3." in text
