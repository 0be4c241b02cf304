"""`recae train --engine ray`: on a real cluster whose workers and machines die, and the parts against stand-ins."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import SAMPLE, recae, refused

from recae.errors import CheckpointError, ClusterError, ConfigError
from recae.evaluation import evaluate
from recae.ingest import read_with_report
from recae.modelfile import load
from recae.splits.held_out import hold_out
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.config import SigmoidSettings
from recae.training.distributed.ray import MAX_FAILURES, Mailbox, OnRay, _Relay
from recae.training.kinds.sigmoid import train_sigmoid

CONFIG = SigmoidSettings(factors=16, batch_size=64, epochs=8, patience=8, encoder_start="random", seed=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head node that does no work, and two nodes of one processor."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from clusters import cluster as made

    with pytest.MonkeyPatch.context() as patch, made(2) as found:
        # so that what a node that has just died would have had is not waited for long
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
        yield found


@pytest.fixture(scope="module")
def shop() -> tuple[sp.csr_matrix, tuple[sp.csr_matrix, sp.csr_matrix]]:
    """The sample's learners, and the held-out users to choose on."""
    interactions, _ = read_with_report(SAMPLE)
    held_out = hold_out(interactions, 5)
    assert held_out.validation is not None
    return sp.csr_matrix(interactions.matrix[held_out.learners]), held_out.validation


def test_the_command_trains_on_the_cluster_and_writes_the_model(cluster: Any, tmp_path: Path) -> None:
    options = ("--kind", "sigmoid", "--batch-size", "64", "--factors", "8", "--epochs", "2", "--seed", "1")
    found = []
    for name, engine in (
        ("one.recae", ()),
        ("two.recae", ("--engine", "ray", "--address", cluster.address, "--workers", "2")),
    ):
        result = recae("train", SAMPLE, *options, *engine, "--out", tmp_path / name, "--json")
        assert result.exit_code == 0, result.stderr
        found.append(json.loads(result.stdout)["metrics"]["rows"][0])
        lines = [line.partition(":")[0] for line in result.stderr.splitlines() if line.startswith("epoch ")]
        assert lines == ["epoch 1/2", "epoch 2/2"]
    assert "training by 2 workers of 1 processor on a Ray cluster" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.recae", "two.recae"]
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
def test_the_death_of_a_worker_and_of_a_node_in_the_middle(cluster: Any, shop: Any, tmp_path: Path) -> None:
    from recae.cluster import connected

    matrix, pair = shop
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
            (found,) = (n for n in cluster.worker_nodes if n.node_id == node)
            cluster.remove_node(found, allow_graceful=False)

    checkpoints = Checkpoints(tmp_path / "checkpoint", every=500, identity={"data.fingerprint": "x"})
    hooks = Hooks(
        validate=watched(tmp_path, pair),
        checkpoints=checkpoints,
        on_epoch=on_epoch,
        on_message=said.append,
    )
    with connected(cluster.address) as ray:
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


# stand-ins


class Remote:
    """A method of an actor that answers at once."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.remote = method


class Actor:
    """An object whose methods are called like those of an actor."""

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def __getattr__(self, name: str) -> Remote:
        return Remote(getattr(self._inside, name))


def at_once(answer: Any) -> Any:
    return answer


RAY = SimpleNamespace(
    get=at_once,
    nodes=lambda: [
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": True, "Resources": {}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
    ],
)


@pytest.mark.parametrize(
    ("workers", "cpus", "found"),
    [
        (None, 1, "7 workers of 1 processor on a Ray cluster"),
        (None, 2, "3 workers of 2 processors on a Ray cluster"),
        (2, 2, "2 workers of 2 processors on a Ray cluster"),
        (9, 3, "2 workers of 3 processors on a Ray cluster, 9 wanted"),
    ],
)
def test_as_many_workers_as_there_is_room_for(workers: int | None, cpus: int, found: str) -> None:
    assert OnRay(RAY, workers, cpus).describe() == found


def test_no_room_for_a_worker_is_an_error() -> None:
    with pytest.raises(ClusterError, match=r"wanted workers of 5 processors, but the largest node .* has \d"):
        OnRay(RAY, None, 5)


class Training(OnRay):
    """With workers that do what a test says."""

    def __init__(self, ray: Any, does: Callable[[Mailbox], str]) -> None:
        super().__init__(ray, 2)
        self._does = does

    def _open_mailbox(self, begin: bytes | None) -> Any:
        self.begin = begin
        self.mailbox = Mailbox(None if begin is None else np.frombuffer(begin, np.uint8))
        return Actor(self.mailbox)

    def _run(self, task: Any, hooks: Hooks) -> str:
        return self._does(self.mailbox)


class RayError(Exception):
    pass


def training(does: Callable[[Mailbox], str]) -> Training:
    ray = SimpleNamespace(**vars(RAY), put=at_once, exceptions=SimpleNamespace(RayError=RayError))
    return Training(ray, does)


MATRIX = sp.csr_matrix(np.ones((70, 3), np.float32))


def test_workers_that_always_die_are_an_error() -> None:
    with pytest.raises(ClusterError, match=rf"failed {MAX_FAILURES + 1} times \(killed\): see the logs"):
        training(lambda mailbox: "killed").fit(MATRIX, CONFIG, Hooks())


def test_an_error_of_the_training_is_raised_as_it_was() -> None:
    def fail(mailbox: Mailbox) -> str:
        mailbox.end({"error": "ConfigError", "text": "choose another"})
        mailbox.end({"error": "TrainingError", "text": "a consequence"})
        return ""

    with pytest.raises(ConfigError, match=r"^choose another$"):
        training(fail).fit(MATRIX, CONFIG, Hooks())


def test_a_cluster_that_goes_away_is_an_error() -> None:
    def go(mailbox: Mailbox) -> str:
        raise RayError("lost\nthe head node")

    with pytest.raises(ClusterError, match=r"does not answer any more \(the head node\)"):
        training(go).fit(MATRIX, CONFIG, Hooks())


def test_resuming_begins_at_the_checkpoint_and_wants_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", resume=True)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        training(lambda mailbox: "").fit(MATRIX, CONFIG, Hooks(checkpoints=checkpoints))
    (tmp_path / "c").write_bytes(b"abc")
    engine = training(lambda mailbox: "")
    with pytest.raises(ClusterError):
        engine.fit(MATRIX, CONFIG, Hooks(checkpoints=checkpoints))
    assert engine.begin == b"abc"
    assert bytes(engine.mailbox.last_checkpoint()[0]) == b"abc"


def epoch(number: int) -> dict[str, Any]:
    return {
        "epoch": number, "loss": 1.0, "seconds": 1.0, "users_per_second": 1.0, "recall": None, "drift": 0.0
    }  # fmt: skip


def test_what_the_workers_say_is_passed_on(tmp_path: Path) -> None:
    mailbox, heard = Mailbox(None), []
    hooks = Hooks(
        checkpoints=Checkpoints(tmp_path / "c"),
        on_start=lambda epochs, users: heard.append((epochs, users)),
        on_users=heard.append,
        on_epoch=lambda epoch: heard.append(f"epoch {epoch.epoch}"),
        on_message=heard.append,
    )
    relay = _Relay(hooks, 3)
    relay.pass_on(RAY, Actor(mailbox))
    assert heard == []
    for kind, value in (("begin", 2), ("start", (8, 70)), ("users", 64), ("epoch", epoch(1))):
        mailbox.say(kind, value)
    mailbox.keep(np.frombuffer(b"state", np.uint8), "epoch 1 after 70 users")
    relay.pass_on(RAY, Actor(mailbox))
    assert heard == ["beginning with 2 workers, for which there is room now", (8, 70), 64, "epoch 1"]
    assert (tmp_path / "c").read_bytes() == b"state"
    assert hooks.checkpoints is not None
    assert "holds epoch 1 after 70 users" in hooks.checkpoints.describe()
    heard.clear()
    for kind, value in (
        ("begin", 3),
        ("start", (8, 70)),
        ("epoch", epoch(1)),
        ("message", "m"),
        ("epoch", epoch(2)),
    ):
        mailbox.say(kind, value)
    relay.pass_on(RAY, Actor(mailbox))
    assert heard == ["a worker has gone or come: going on with 3", "m", "epoch 2"]


def test_a_cluster_without_room_is_waited_for_and_said_once() -> None:
    heard: list[str] = []
    relay = _Relay(Hooks(on_message=heard.append), 1)
    for _ in range(400):
        relay.pass_on(RAY, Actor(Mailbox(None)))
    assert heard == ["waiting for the Ray cluster to have processors free for a worker"]


def test_a_checkpoint_that_cannot_be_written_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox, heard = Mailbox(None), []
    checkpoints = Checkpoints(tmp_path / "none" / "c", on_message=heard.append)
    relay = _Relay(Hooks(checkpoints=checkpoints), 1)
    for _ in range(2):
        mailbox.keep(np.zeros(1, np.uint8), "epoch 1 after 70 users")
        relay.pass_on(RAY, Actor(mailbox))
    (line,) = heard
    assert line.startswith("warning: no checkpoint: cannot write")
    assert checkpoints.saved == ""


# the command line


def test_options_of_a_cluster_want_one() -> None:
    for option in ("--address", "--workers", "--cpus-per-worker"):
        refused(recae("train", SAMPLE, option, "1"), f"{option} goes with --engine ray")


def test_the_cluster_is_looked_for_before_the_purchases_are_read(folder: Path) -> None:
    result = recae("train", SAMPLE, "--engine", "ray", "--address", "127.0.0.1:1")
    refused(result, "no Ray cluster answers at '127.0.0.1:1'")
