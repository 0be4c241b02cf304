"""`recae train` in the processes that torchrun starts: what comes out, who speaks, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE, ROOT, SAMPLE, names, refused
from commands import recae as run_recae
from safetensors.numpy import load_file
from test_blocks import SMALL, purchases
from torch.distributed import HashStore

import recae.training.distributed.torchrun
from recae.errors import DataError, RankLostError, TrainingError
from recae.machine import launched, restarts
from recae.modelfile import load
from recae.training.callbacks import Hooks
from recae.training.distributed.torchrun import Torchrun

OPTIONS = ("--kind", "sigmoid", "--factors", "8", "--batch-size", "64", "--seed", "1")


def torchrun(folder: Path, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Starts `recae train` in two processes, in a folder."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),  # a free port
            *("-m", "recae", "train", *map(str, arguments)),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def own_lines(stderr: bytes) -> list[str]:
    """What recae said, without torchrun's own log."""
    text = stderr.decode()
    known = ("error: ", "read ", "epoch ", "training ", "interrupted: ", "going on ", "terminated: ")
    return [line for line in text.splitlines() if line.startswith(known)]


def wait_for(process: subprocess.Popen[bytes], beginning: bytes) -> bytes:
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        if line.startswith(beginning):
            return said
    raise AssertionError(said.decode())


def members(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that torchrun started, by their rank."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == process.pid:
                environment = (status.parent / "environ").read_bytes().split(b"\0")
                ranks = [word for word in environment if word.startswith(b"RANK=")]
                found[int(ranks[0].partition(b"=")[2])] = int(status.parent.name)
        except (OSError, IndexError):  # it ended in between, or is something else
            continue
    return [found[rank] for rank in sorted(found)]


def test_the_model_is_that_of_one_process_and_one_of_them_speaks(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "-", *OPTIONS, "--epochs", "3", stdin=SAMPLE.open("rb"))
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr.decode()
    assert "training by 2 processes" in own_lines(stderr)
    epochs = [line[:7] for line in own_lines(stderr) if line.startswith("epoch")]
    again = load(tmp_path / "model.recae").metadata["best_epochs"][
        "sigmoid"
    ]  # on all users, by the same processes
    assert epochs == [f"epoch {n}" for n in (1, 2, 3, *range(1, again + 1))]
    assert stdout.count(b"sigmoid") == 1
    assert names(tmp_path) == ["model.recae"]
    straight = tmp_path / "straight.recae"
    assert run_recae("train", SAMPLE, *OPTIONS, "--epochs", "3", "--out", straight).exit_code == 0
    one, two = (load_file(path) for path in (straight, tmp_path / "model.recae"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        scale = max(float(abs(array).max()), 1e-9)
        assert abs(array - two[name]).max() <= 1e-3 * scale, name
    metrics = [load(path).metadata["metrics"]["rows"][0] for path in (straight, tmp_path / "model.recae")]
    for name, value in metrics[0].items():
        if name != "model":
            assert metrics[1][name] == pytest.approx(value, abs=0.002), name


@pytest.mark.thorough
def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "no-such.csv", *OPTIONS)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert stdout == b""
    (line,) = (text for text in own_lines(stderr) if text.startswith("error: "))
    assert "no-such.csv" in line
    assert names(tmp_path) == []


def test_a_cluster_under_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    refused(run_recae("train", SAMPLE, "--engine", "ray"), "torchrun has started several processes")


LONG = (SAMPLE, *OPTIONS, "--epochs", "100000", "--patience", "100000", "--checkpoint", "c")


@pytest.mark.thorough
def test_ctrl_c_leaves_a_checkpoint_from_which_one_process_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = torchrun(tmp_path, *LONG)
    wait_for(process, b"epoch 2/")
    process.send_signal(signal.SIGINT)  # which torchrun passes on
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    lines = own_lines(stderr)
    assert lines[-1].startswith("interrupted: 'c' holds epoch "), stderr.decode()
    assert names(tmp_path) == ["c"]
    monkeypatch.chdir(tmp_path)
    result = run_recae("train", *LONG, "--resume", "--seed", "2")
    assert result.exit_code == 2
    assert "seed: was 1, is 2" in result.stderr


@pytest.mark.thorough
def test_the_death_of_process_0_ends_the_other(tmp_path: Path) -> None:
    process = torchrun(tmp_path, *LONG)
    wait_for(process, b"epoch 2/")
    both = members(process)
    os.kill(both[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "Traceback" not in "".join(own_lines(stderr))
    assert len(both) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in both)
    assert names(tmp_path) == ["c"]


@pytest.mark.thorough
def test_torchrun_starts_again_from_the_checkpoint(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
            *("-m", "recae", "train", str(SAMPLE), *OPTIONS, "--epochs", "15", "--patience", "15"),
            *("--checkpoint", "c"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(process, b"epoch 2/")
    os.kill(members(process)[1], signal.SIGKILL)  # process 0 ends by itself, and torchrun starts both again
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr.decode()
    assert any(line.startswith("going on from epoch ") for line in own_lines(stderr))
    assert names(tmp_path) == ["model.recae"]


def test_which_of_several_processes_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert launched() is None
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "h", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launched() == (1, 3)
    monkeypatch.setenv("WORLD_SIZE", "1")  # torchrun with one process is as without it
    assert launched() is None


# the parts, in threads: process 0 beside this one, which is process 1


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store that both reach; the signals are as before in the end."""
    shared = HashStore()
    monkeypatch.setattr(recae.training.distributed.torchrun, "_store", lambda: shared)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def beside(lead: Callable[[Torchrun], Any]) -> tuple[Any, int]:
    """What process 0 returned or raised, and the exit code of process 1."""
    found: list[Any] = []

    def run() -> None:
        try:
            with recae.training.distributed.torchrun.launched(2) as engine:
                found.append(lead(engine))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    code = recae.training.distributed.torchrun.take_part(1, 2)
    thread.join()
    return found[0], code


def fit(engine: Torchrun) -> Any:
    return engine.fit(purchases(90, 60), SMALL.updated(epochs=2), Hooks())


@pytest.mark.usefixtures("store")
def test_both_end_well() -> None:
    (model, history), code = beside(fit)
    assert (len(history), code) == (2, 0)
    assert model.n_items == 60


@pytest.mark.usefixtures("store")
def test_process_1_goes_where_process_0_does_not_get_to_training() -> None:
    def fail(engine: Torchrun) -> None:
        raise DataError("no column")

    error, code = beside(fail)
    assert str(error) == "no column"
    assert code == 2


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingError("too little memory"), "too little memory"),
        (ZeroDivisionError("x"), "ZeroDivisionError: x"),
    ],
)
def test_what_goes_wrong_in_process_1_is_said_by_process_0(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(group: Any) -> None:
        raise error

    monkeypatch.setattr(recae.training.distributed.torchrun, "follow", fail)
    found, code = beside(fit)
    assert isinstance(found, TrainingError)
    assert str(found) == f"process 1 of 2 failed: {said}"
    assert code == 2


@pytest.mark.usefixtures("store")
def test_a_connection_that_breaks_is_said_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(group: Any) -> None:
        group.hear()
        group.close()
        raise RankLostError("gone")

    monkeypatch.setattr(recae.training.distributed.torchrun, "follow", leave)
    found, code = beside(fit)
    assert isinstance(found, RankLostError)
    assert code == 2


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise RuntimeError("connection refused")

    monkeypatch.setattr(recae.training.distributed.torchrun, "_store", none)
    assert recae.training.distributed.torchrun.take_part(1, 2) == 2


def test_only_what_torchrun_starts_counts_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert restarts() == 0
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert restarts() == 2
