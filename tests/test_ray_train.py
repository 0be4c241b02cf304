"""`recae train --engine ray`: the parts against stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import SAMPLE, recae, refused

from recae.errors import CheckpointError, ClusterError, ConfigError
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints
from recae.training.config import SigmoidSettings
from recae.training.distributed.ray import MAX_FAILURES, Mailbox, OnRay, _Relay

CONFIG = SigmoidSettings(factors=16, batch_size=64, epochs=8, patience=8, encoder_start="random", seed=1)


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
