"""Tests of how `recae train` ends early: signals, full disks and closed streams leave no partial file."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE, RECAE, SAMPLE, TINY, names, recae, start, trained

from recae.modelfile import load


def old_model(folder: Path) -> Path:
    path = folder / "model.recae"
    path.write_bytes(b"the model of last week")
    return path


def untouched(folder: Path) -> bool:
    return (
        names(folder) == ["model.recae"]
        and (folder / "model.recae").read_bytes() == b"the model of last week"
    )


STOPS = [(signal.SIGINT, 130, b"interrupted: "), (signal.SIGTERM, 143, b"terminated: ")]


@pytest.mark.parametrize(("number", "code", "line"), STOPS)
def test_a_signal_while_it_reads(
    number: int, code: int, line: bytes, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("long") / "long.csv"
    block = "".join(f"user{n * 7919 % 20_000},item{n * 104_729 % 5_000}\n" for n in range(100_000))
    source.write_text("user_id,item_id\n" + block * 20)
    process = start("train", source, "--out", old_model(folder), stderr=subprocess.PIPE)

    def reads() -> bool:
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                if entry.readlink() == source:
                    return True
            except OSError:  # closed in between
                continue
        return False

    if not Path("/proc/self/fd").is_dir():
        process.kill()
        pytest.skip("only Linux's /proc tells which files a process has opened")
    deadline = time.monotonic() + PATIENCE
    while not reads():
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert stderr.splitlines()[-1] == line + b"no partial file is left"
    assert untouched(folder)


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "code", "line"), STOPS)
def test_a_signal_while_it_trains(number: int, code: int, line: bytes, folder: Path) -> None:
    process = start(
        *("train", SAMPLE, "--out", old_model(folder), "--factors", "8"),
        *("--epochs", "100000", "--patience", "100000"),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith(b"epoch 2/"):
            break
    assert process.poll() is None
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert stderr.splitlines()[-1] == line + b"no partial file is left"
    assert b"Traceback" not in stderr
    assert untouched(folder)


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted: no partial file is left"),
        (OSError(28, "No space left on device"), 2, "error: cannot write"),
    ],
)
def test_a_failure_while_it_writes(
    failure: BaseException, code: int, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recae import modelfile as write

    def half(file: Any, *_: object) -> None:
        file.write(b"half of it")
        file.flush()
        assert len(names(folder)) == 2  # the old one and the temporary one
        raise failure

    old_model(folder)
    monkeypatch.setattr(write, "write_tensors", half)
    result = recae("train", "../purchases.csv", *TINY)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith(line)
    assert untouched(folder)


def test_a_closed_pipe(folder: Path) -> None:
    process = start(
        *("train", folder.parent / "purchases.csv", "--out", folder / "m.recae", *TINY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()  # long before there is a table to print
    process.stdout = None
    _, stderr = process.communicate()
    assert process.returncode == 141
    assert b"Traceback" not in stderr
    assert load(folder / "m.recae")  # written before the table


@pytest.fixture
def full() -> Any:
    path = Path("/dev/full")
    if not path.exists() or not stat.S_ISCHR(path.stat().st_mode):
        pytest.skip("this machine has no /dev/full")
    with path.open("wb") as file:
        yield file


def test_a_full_disk_behind_stdout(folder: Path, full: Any) -> None:
    process = start(
        *("train", folder.parent / "purchases.csv", "--out", folder / "m.recae", *TINY),
        stdout=full,
        stderr=subprocess.PIPE,
    )
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert stderr.splitlines()[-1].startswith(b"error: cannot write the result to stdout: No space left")
    assert b"Traceback" not in stderr
    assert load(folder / "m.recae")


def test_a_full_disk_behind_stderr_is_no_reason_to_stop(folder: Path, full: Any) -> None:
    process = start(
        *("train", folder.parent / "purchases.csv", "--out", folder / "m.recae", "--json", *TINY),
        stdout=subprocess.PIPE,
        stderr=full,
    )
    stdout, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(stdout)["n_users"] == 60


@pytest.mark.some(1)
@pytest.mark.parametrize("stream", [1, 2])
def test_closed_streams_are_no_reason_to_stop(folder: Path, stream: int) -> None:
    trained("../purchases.csv")
    command = ["sh", "-c", f'exec "$0" "$@" {stream}>&-', *RECAE, "recommend", "--items", "i1,x"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert [found.stdout, found.stderr][stream - 1] == ""
    assert [found.stdout, found.stderr][2 - stream] != ""
    assert "Traceback" not in found.stderr
