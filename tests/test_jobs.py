"""One job of a comparison: what its process is handed, what it gives back, and what becomes of one that fails."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from jobs import interactions, task

from recae.errors import TrainingError
from recae.evaluation import evaluate
from recae.models import ItemKNN, Popularity
from recae.ranking import rank_histories
from recae.selection import process as processes
from recae.selection import worker
from recae.selection.jobs import Inputs, Job, Outcome
from recae.selection.process import run_job


def job(kind: str = "popularity", *trials: dict[str, Any], length: int = 10) -> Job:
    return Job(kind, trials or ({},), True, length)


def saved(folder: Path) -> Path:
    place = folder / "task"
    place.mkdir()
    Inputs.of(task()).save(place)
    return place


# what a process is handed


def test_nothing_that_is_to_be_found_is_handed_on(tmp_path: Path) -> None:
    whole = task()
    Inputs.of(whole).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fit.npz", "histories.npz", "validation_held_out.npz", "validation_histories.npz",
    ]  # fmt: skip
    handed = [sp.csr_matrix(sp.load_npz(path)) for path in tmp_path.iterdir()]
    row_of = {user: row for row, user in enumerate(whole.test_users)}
    purchases = interactions()
    for user, row in row_of.items():
        owned = set(purchases.matrix[purchases.users.row(user)].indices)
        held = {int(purchases.items.row(whole.items.id(int(i)))) for i in whole.held_out[row].indices}
        assert held
        assert held < owned
        # the only row of the test user in all that is handed on lacks what is held out
        known = {int(purchases.items.row(whole.items.id(int(i)))) for i in whole.histories[row].indices}
        assert known == owned - held
    assert sum(matrix.nnz for matrix in handed) == purchases.matrix.nnz - whole.held_out.nnz - whole.lost


def test_the_fingerprint_is_of_all_that_is_handed_on(tmp_path: Path) -> None:
    inputs = Inputs.of(task())
    inputs.save(tmp_path)
    again = Inputs.load(tmp_path)
    assert again.fingerprint == inputs.fingerprint
    assert (again.fit != inputs.fit).nnz == 0
    other = inputs.fit.copy()
    other.data[0] = 2
    assert Inputs(other, inputs.histories, inputs.validation).fingerprint != inputs.fingerprint
    assert Inputs(inputs.fit, inputs.histories, None).fingerprint != inputs.fingerprint
    (tmp_path / "validation_histories.npz").unlink()
    assert Inputs.load(tmp_path).validation is None


def test_an_outcome_is_read_back_and_anything_else_refused(tmp_path: Path) -> None:
    lists = np.array([[3, 1, -1]], dtype=np.int32)
    scores = np.array([[2, 1, np.nan]], dtype=np.float32)
    outcome = Outcome({"k": 3}, [0.5, None], 1.5, 1000, [{"epoch": 1}], lists, scores)
    with (tmp_path / "o.npz").open("wb") as file:
        outcome.write(file)
    found = Outcome.read(tmp_path / "o.npz")
    assert (found.config, found.qualities, found.seconds, found.cut) == ({"k": 3}, [0.5, None], 1.5, None)
    assert found.ranked.tolist() == lists.tolist()
    content = (tmp_path / "o.npz").read_bytes()
    for broken in (b"", b"nonsense", content[: len(content) // 2]):
        (tmp_path / "b.npz").write_bytes(broken)
        with pytest.raises(ValueError, match="is not the result of a job"):
            Outcome.read(tmp_path / "b.npz")
    wrong = Outcome({}, [], 1.0, None, [], lists.astype(np.int64), scores)  # type: ignore[arg-type]
    with (tmp_path / "b.npz").open("wb") as file:
        wrong.write(file)
    with pytest.raises(ValueError, match="its lists are not"):
        Outcome.read(tmp_path / "b.npz")


# the work itself


def test_the_best_trial_on_the_validation_users_ranks_the_test_users() -> None:
    whole = task()
    inputs = Inputs.of(whole)
    events: list[dict[str, Any]] = []
    trials = ({"k": 2}, {"k": 8}, {"k": 20})
    outcome = worker.work(job("itemknn", *trials), inputs, events.append)
    assert whole.validation is not None
    expected = [
        evaluate(ItemKNN.fit(whole.fit, k=t["k"]), *whole.validation, (20,)).mean("ndcg@20") for t in trials
    ]
    assert outcome.qualities == pytest.approx(expected)
    best = trials[int(np.argmax(expected))]
    assert outcome.config["k"] == best["k"]
    np.testing.assert_array_equal(
        outcome.ranked, rank_histories(ItemKNN.fit(whole.fit, **best), whole.histories, 10).items
    )
    assert [event["number"] for event in events if event["event"] == "trial"] == [1, 2, 3]
    assert outcome.cut is None
    assert outcome.seconds > 0
    assert outcome.peak_bytes is not None
    assert outcome.peak_bytes > 2**20


def test_a_trial_that_fails_does_not_end_the_others() -> None:
    inputs = Inputs.of(task())
    bad = {
        "purchase_weight": 3.0,
        "learning_rate": 0.9,
        "factors": 4,
        "epochs": 1,
    }  # its product is too large
    good = {"factors": 4, "epochs": 2}
    events: list[dict[str, Any]] = []
    outcome = worker.work(job("sigmoid", bad, good), inputs, events.append)
    assert outcome.qualities[0] is None
    assert outcome.qualities[1] is not None
    assert outcome.config["factors"] == 4
    assert len(outcome.epochs) == 2
    told = [event["failed"] for event in events if event["event"] == "trial"]
    assert "learning_rate" in told[0]
    assert told[1] is None
    with pytest.raises(TrainingError, match="learning_rate"):
        worker.work(job("sigmoid", bad), inputs, events.append)


def test_without_users_to_choose_on_the_first_trial_counts() -> None:
    whole = task(validation_users=0)
    outcome = worker.work(job(), Inputs.of(whole), lambda event: None)
    assert outcome.qualities == []
    np.testing.assert_array_equal(
        outcome.ranked, rank_histories(Popularity.fit(whole.fit), whole.histories, 10).items
    )


def test_what_the_time_does_not_suffice_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs.of(task())
    clock = iter(range(0, 10_000, 10))  # every look at the clock, ten seconds have gone
    monkeypatch.setattr(worker.time, "monotonic", lambda: float(next(clock)))
    outcome = worker.work(job("itemknn", {"k": 2}, {"k": 3}, {"k": 4}), inputs, lambda event: None, 60.0)
    assert outcome.cut is not None
    assert "of 3 trials fitted into its share of the budget" in outcome.cut
    assert len(outcome.qualities) < 3
    long = {"factors": 4, "epochs": 50, "patience": 50}
    outcome = worker.work(job("sigmoid", long), inputs, lambda event: None, 100.0)
    assert outcome.cut == "trial 1 was stopped by the end of its share of the budget"
    assert 0 < len(outcome.epochs) < 50
    with pytest.raises(TrainingError, match="had not finished an epoch"):
        worker.work(job("sigmoid", long), inputs, lambda event: None, 5.0)


def test_a_job_in_its_folder(tmp_path: Path) -> None:
    place = saved(tmp_path)
    told = {"job": job().as_dict(), "inputs": str(place), "threads": None, "end": None}
    (tmp_path / "job.json").write_text(json.dumps(told))
    events: list[dict[str, Any]] = []
    assert worker.run(tmp_path, events.append)
    assert Outcome.read(tmp_path / "result.npz").ranked.shape[1] == 10
    for broken, text in (
        ({"inputs": str(tmp_path / "nowhere")}, "KeyError"),
        ({"job": job("sigmoid", {"factors": -1}).as_dict()}, "factors is a whole number"),
    ):
        events.clear()
        (tmp_path / "job.json").write_text(json.dumps(told | broken))
        assert not worker.run(tmp_path, events.append)
        assert [event["event"] for event in events][-1] == "error"
        assert text in events[-1]["text"]


def test_reasons_in_a_sentence() -> None:
    assert worker._reason(MemoryError()) == "there is not enough memory for it"
    assert worker._reason(MemoryError("9 GiB")) == "there is not enough memory for it (9 GiB)"
    assert worker._reason(TrainingError("a\n b")) == "a b"
    assert worker._reason(ValueError("x")) == "ValueError: x"
    assert worker._reason(ValueError()) == "ValueError"


# in a process of its own


def test_a_process_does_the_same(tmp_path: Path) -> None:
    place = saved(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    events: list[Mapping[str, Any]] = []
    found = run_job(job("itemknn", {"k": 3}, {"k": 9}), place, folder, threads=1, on_event=events.append)
    here = worker.work(job("itemknn", {"k": 3}, {"k": 9}), Inputs.load(place), lambda event: None)
    assert found.qualities == here.qualities
    np.testing.assert_array_equal(found.ranked, here.ranked)
    np.testing.assert_array_equal(found.scores, here.scores)
    assert [event["number"] for event in events if event["event"] == "trial"] == [1, 2]


def test_a_model_that_cannot_be_fitted_says_why(tmp_path: Path) -> None:
    place = saved(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    with pytest.raises(TrainingError, match="factors is a whole number from 1") as error:
        run_job(job("sigmoid", {"factors": 0}), place, folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGKILL, "killed (SIGKILL), which is what happens when memory runs out"),
        (signal.SIGABRT, "SIGABRT"),
    ],
)
def test_a_process_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, text: str
) -> None:
    original, started = subprocess.Popen, []

    def popen(*arguments: Any, **options: Any) -> Any:
        started.append(original(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    place = saved(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    long = {"factors": 4, "epochs": 100_000, "patience": 100_000}

    def kill(event: Mapping[str, Any]) -> None:
        os.kill(started[-1].pid, number)

    with pytest.raises(TrainingError, match=text.replace("(", r"\(").replace(")", r"\)")):
        run_job(job("sigmoid", long), place, folder, on_event=kill)
    assert started[-1].poll() is not None


def test_whatever_happens_here_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, started = subprocess.Popen, []

    def popen(*arguments: Any, **options: Any) -> Any:
        started.append(original(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    place = saved(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()

    def interrupt(event: Mapping[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job("sigmoid", {"factors": 4, "epochs": 100_000}), place, folder, on_event=interrupt)
    assert started[-1].poll() is not None


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    place = saved(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    with pytest.raises(TrainingError, match=r"had not finished when its 0\.05 s of the budget were over"):
        run_job(job(), place, folder, seconds=0.05)


def test_why_a_process_ended() -> None:
    assert processes._reason_of_end(3, "one\n\ntwo\n \n") == "its process ended with code 3: two"
    assert processes._reason_of_end(3, "") == "its process ended with code 3: it said nothing"
    assert processes._reason_of_end(-250, "") == "its process was ended by signal 250"


def test_the_process_ends_with_whoever_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    os.close(writer)
    ended: list[int] = []
    real = os.read
    monkeypatch.setattr(worker.os, "read", lambda fd, n: real(reader, n))
    monkeypatch.setattr(worker.os, "_exit", ended.append)
    worker._end_with_the_starter()
    os.close(reader)
    assert ended == [3]


def test_an_outcome_goes_through_memory() -> None:
    buffer = io.BytesIO()
    Outcome({}, [], 0.0, None, [], np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)).write(buffer)
    assert buffer.getvalue()[:2] == b"PK"  # a plain archive of arrays, nothing that could run
