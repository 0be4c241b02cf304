"""Jobs several at a time: their order, their shares of a budget, and that an interruption ends all of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import task, tasks

from recae.errors import TrainingError
from recae.selection import compare as comparing
from recae.selection import process as side_by_side
from recae.selection.compare import compare
from recae.selection.process import Clock, Running, at_once, run_all

QUICK = {"sigmoid": {"factors": 4, "epochs": 2}, "blend": {"sigmoid.factors": 4, "sigmoid.epochs": 2}}


def sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_only_what_keeps_one_processor_busy_runs_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "processors", lambda: 4)
    monkeypatch.setattr(side_by_side, "memory_left", lambda device: 10**12)
    small = task()
    assert at_once("sigmoid", small, None) == at_once("blend", small, 8) == 4
    assert at_once("sigmoid", small, 3) == 3
    assert at_once("ease", small, None) == at_once("deep", small, None) == 1
    monkeypatch.setattr(side_by_side, "memory_left", lambda device: 2_100_000_000)
    assert at_once("sigmoid", small, None) == 2
    monkeypatch.setattr(side_by_side, "memory_left", lambda device: 1_000)
    assert at_once("sigmoid", small, None) == 1
    monkeypatch.setattr(side_by_side, "memory_left", lambda device: None)
    assert at_once("sigmoid", small, None) == 1


def test_neighbours_run_together_and_all_others_alone() -> None:
    begun: list[tuple[str, int]] = []
    meet = threading.Barrier(2, timeout=60)  # passed only if both are there at a time

    def do(job: str, running: Running, together: int) -> None:
        begun.append((job, together))
        if job.startswith("pair"):
            meet.wait()

    run_all(["a", "pair 1", "pair 2", "b"], lambda job: 2 if job.startswith("pair") else 1, do)
    assert begun[0] == ("a", 1)
    assert sorted(begun[1:3]) == [("pair 1", 2), ("pair 2", 2)]
    assert begun[3] == ("b", 1)


def test_one_alone_runs_in_this_thread() -> None:
    where: list[tuple[threading.Thread, int]] = []
    run_all(["a"], lambda job: 5, lambda job, running, n: where.append((threading.current_thread(), n)))
    assert where == [(threading.main_thread(), 1)]


def test_what_is_raised_ends_the_others() -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def do(job: int, running: Running, together: int) -> None:
        if job == 1:
            while not processes:
                time.sleep(0.01)
            raise KeyboardInterrupt
        process = sleeping()
        running.add(process)
        processes.append(process)
        process.wait()

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all([0, 1, 2], lambda job: 2, do)
    assert time.monotonic() - started < 60
    assert {process.wait(30) for process in processes} <= {-15, -9}


def test_a_process_that_begins_too_late_is_ended() -> None:
    running = Running()
    first, second = sleeping(), sleeping()
    running.add(first)
    running.end()
    assert running.ended
    assert first.wait(30) == -15
    running.add(second)
    assert second.wait(30) == -9
    running.remove(first)


def test_a_process_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    from recae.selection import process as processes

    monkeypatch.setattr(processes, "_TO_END", 0.2)
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    deaf.stdout.readline()
    running = Running()
    running.add(deaf)
    running.end()
    assert deaf.wait(30) == -9
    deaf.stdout.close()


def test_shares_of_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side.time, "monotonic", lambda: 100.0)
    clock = Clock(4, 180.0)
    assert clock.share(1) == 20  # a quarter of what is left
    assert clock.share(2) == pytest.approx(80 * 2 / 3)  # three are left, two run at a time
    assert clock.share(2) == 80
    assert clock.share(2) == 80  # never more than there is
    assert Clock(1, 90.0).share(1) == 1
    assert Clock(1, None).share(1) is None


def test_results_are_those_of_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(together: int) -> list[Any]:
        monkeypatch.setattr(comparing, "at_once", lambda *arguments: together)
        return compare(
            tasks("k-fold", folds=2), ["blend", "sigmoid"], ["popularity"], trials=2, settings=QUICK
        )

    for one, other in zip(runs(1), runs(3), strict=True):
        assert (one.name, one.config) == (other.name, other.config)
        assert one.tuned == other.tuned
        np.testing.assert_array_equal(one.ranked, other.ranked)


def test_a_fold_that_fails_is_the_reason_whatever_runs_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(comparing, "at_once", lambda *arguments: 3)
    parts = tasks("k-fold", folds=3)
    told: list[str] = []

    def fail(job: Any, inputs: Path, folder: Path, **options: Any) -> Any:
        raise TrainingError(f"no {inputs.name}")

    monkeypatch.setattr(comparing, "run_job", fail)
    (run,) = compare(parts, ["sigmoid"], trials=1, tell=lambda name, event: told.append(event["event"]))
    assert run.failed in [f"fold {fold + 1}: no task-{fold}" for fold in range(3)]
    assert told.count("failed") >= 1
    monkeypatch.setattr(comparing, "at_once", lambda *arguments: 1)
    (run,) = compare(parts, ["sigmoid"], trials=1)
    assert run.failed == "fold 1: no task-0"
    assert run.ranked.size == 0
