"""Jobs several at a time: their order, their shares of a budget, and that an interruption ends all of them."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from jobs import task, tasks

from recae.errors import TrainingError
from recae.selection import executor
from recae.selection.compare import Clock, JobFailed, Told, compare, run_all
from recae.selection.executor import InProcess, InProcesses
from recae.selection.jobs import Inputs, Job, JobEvent, Outcome

QUICK = {"sigmoid": {"factors": 4, "epochs": 2}, "blend": {"sigmoid.factors": 4, "sigmoid.epochs": 2}}
LONG: dict[str, Any] = {"factors": 4, "epochs": 100_000, "patience": 100_000}


class Several(InProcesses):
    """As many at a time as it is told."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def at_once(self, job: Job, inputs: Inputs) -> int:
        return self.number


def test_only_what_keeps_one_processor_busy_runs_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "processors", lambda: 4)
    monkeypatch.setattr(executor, "memory_left", lambda device: 10**12)
    small = Inputs.of(task())

    def at_once(kind: str, threads: int | None) -> int:
        return InProcesses(threads).at_once(Job(kind, ({},), True, 10), small)

    assert at_once("sigmoid", None) == at_once("blend", 8) == 4
    assert at_once("sigmoid", 3) == 3
    assert at_once("ease", None) == at_once("deep", None) == 1
    assert InProcess().at_once(Job("sigmoid", ({},), True, 10), small) == 1
    monkeypatch.setattr(executor, "memory_left", lambda device: 2_100_000_000)
    assert at_once("sigmoid", None) == 2
    monkeypatch.setattr(executor, "memory_left", lambda device: 1_000)
    assert at_once("sigmoid", None) == 1
    monkeypatch.setattr(executor, "memory_left", lambda device: None)
    assert at_once("sigmoid", None) == 1


def test_neighbours_run_together_and_all_others_alone() -> None:
    begun: list[tuple[str, int]] = []
    meet = threading.Barrier(2, timeout=60)  # passed only if both are there at a time

    def do(job: str, together: int) -> None:
        begun.append((job, together))
        if job.startswith("pair"):
            meet.wait()

    jobs = ["a", "pair 1", "pair 2", "b"]
    run_all(jobs, lambda job: 2 if job.startswith("pair") else 1, do, lambda: None)
    assert begun[0] == ("a", 1)
    assert sorted(begun[1:3]) == [("pair 1", 2), ("pair 2", 2)]
    assert begun[3] == ("b", 1)


def test_one_alone_runs_in_this_thread() -> None:
    where: list[tuple[threading.Thread, int]] = []
    run_all(["a"], lambda job: 5, lambda job, n: where.append((threading.current_thread(), n)), lambda: None)
    assert where == [(threading.main_thread(), 1)]


def test_what_is_raised_ends_the_others() -> None:
    ended = threading.Event()
    begun: list[int] = []

    def do(job: int, together: int) -> None:
        begun.append(job)
        if job == 1:
            while not begun.count(0):
                time.sleep(0.01)
            raise KeyboardInterrupt
        assert ended.wait(60)

    with pytest.raises(KeyboardInterrupt):
        run_all([0, 1, 2], lambda job: 2, do, ended.set)
    assert 0 in begun


def test_an_interruption_ends_all_processes_at_once() -> None:
    inputs = Inputs.of(task())
    there = Several(2)
    going: list[list[JobEvent]] = [[], []]  # of each, since one may tell twice before the other has begun
    reasons: list[str] = []

    def run(heard: list[JobEvent]) -> None:
        try:
            there.run(Job("sigmoid", (LONG,), True, 10), inputs, on_event=heard.append)
        except TrainingError as error:
            reasons.append(str(error))

    threads = [threading.Thread(target=run, args=(heard,)) for heard in going]
    with there:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 120
        while not all(going) and time.monotonic() < deadline:
            time.sleep(0.05)
        started = time.monotonic()
        there.end()
        for thread in threads:
            thread.join(60)
        assert time.monotonic() - started < 30
    assert reasons == ["the comparison ended before it did"] * 2


def test_shares_of_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    clock = Clock(4, 180.0)
    assert clock.share(1) == 20  # a quarter of what is left
    assert clock.share(2) == pytest.approx(80 * 2 / 3)  # three are left, two run at a time
    assert clock.share(2) == 80
    assert clock.share(2) == 80  # never more than there is
    assert Clock(1, 90.0).share(1) == 1
    assert Clock(1, None).share(1) is None


def test_results_are_those_of_one_after_the_other_in_this_process() -> None:
    parts = tasks("k-fold", folds=2)

    def runs(place: InProcess | InProcesses) -> list[Any]:
        return compare(parts, ["sigmoid"], ["popularity"], trials=2, settings=QUICK, executor=place)

    for one, other in zip(runs(InProcess()), runs(Several(3)), strict=True):
        assert (one.name, one.config) == (other.name, other.config)
        assert one.tuned == other.tuned
        np.testing.assert_array_equal(one.ranked, other.ranked)


def test_a_fold_that_fails_is_the_reason_whatever_runs_beside_it() -> None:
    class Failing(Several):
        def run(self, job: Job, inputs: Inputs, *arguments: Any, **options: Any) -> Outcome:
            raise TrainingError(f"no {inputs.fingerprint}")

    parts = tasks("k-fold", folds=3)
    reasons = [f"fold {fold + 1}: no {Inputs.of(part).fingerprint}" for fold, part in enumerate(parts)]
    told: list[Told] = []
    (run,) = compare(parts, ["sigmoid"], trials=1, tell=told.append, executor=Failing(3))
    assert run.failed in reasons
    assert any(isinstance(each.event, JobFailed) for each in told)
    (run,) = compare(parts, ["sigmoid"], trials=1, executor=Failing(1))
    assert run.failed == reasons[0]
    assert run.ranked.size == 0
