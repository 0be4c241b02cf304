"""One job of a comparison: what its process is handed, what it gives back, and what becomes of one that fails."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from jobs import interactions, task

from recae.errors import TrainingError
from recae.evaluation import evaluate
from recae.models import ItemKNN, Popularity
from recae.models.itemknn import Neighbours
from recae.ranking import rank_histories
from recae.selection import executor, trial
from recae.selection.executor import InProcess, InProcesses
from recae.selection.jobs import Inputs, Job, JobEvent, Outcome, TrialDone, do_job
from recae.selection.trial import EpochDone, sentence


def job(kind: str = "popularity", *trials: dict[str, Any], length: int = 10) -> Job:
    return Job(kind, trials or ({},), True, length)


LONG: dict[str, Any] = {"factors": 4, "epochs": 100_000, "patience": 100_000}
"""A training that does not end by itself."""


def processes_of(pid: int) -> list[int]:
    """The processes that a process started, but multiprocessing's for semaphores, and the one the tests fork from."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and command and b"resource_tracker" not in command and b"forking.py" not in command:
            found.append(int(path.parent.name))
    return found


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
    events: list[JobEvent] = []
    trials = ({"k": 2}, {"k": 8}, {"k": 20})
    outcome = do_job(job("itemknn", *trials), inputs, events.append)
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
    assert [event.number for event in events if isinstance(event, TrialDone)] == [1, 2, 3]
    assert outcome.cut is None
    assert outcome.seconds > 0
    assert outcome.peak_bytes is not None
    assert outcome.peak_bytes > 2**20


def test_items_are_compared_once_for_all_numbers_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    real, compared = Neighbours.of, []

    def of(matrix: Any, k: int, weighting: Any = "tfidf", weights: Any = None) -> Neighbours:
        compared.append(weighting)
        return real(matrix, k, weighting, weights)

    monkeypatch.setattr(Neighbours, "of", of)
    trials: tuple[dict[str, Any], ...] = ({}, {"k": 50}, {"k": 5}, {"weighting": "cosine", "k": 5}, {"k": 7})
    do_job(job("itemknn", *trials), Inputs.of(task()))
    assert compared == ["tfidf", "cosine"]


def test_a_trial_that_fails_does_not_end_the_others() -> None:
    inputs = Inputs.of(task())
    bad = {
        "purchase_weight": 3.0,
        "learning_rate": 0.9,
        "factors": 4,
        "epochs": 1,
    }  # its product is too large
    good = {"factors": 4, "epochs": 2}
    events: list[JobEvent] = []
    outcome = do_job(job("sigmoid", bad, good), inputs, events.append)
    assert outcome.qualities[0] is None
    assert outcome.qualities[1] is not None
    assert outcome.config["factors"] == 4
    assert len(outcome.epochs) == 2
    told = [event.failed for event in events if isinstance(event, TrialDone)]
    assert "learning_rate" in str(told[0])
    assert told[1] is None
    with pytest.raises(TrainingError, match="learning_rate"):
        do_job(job("sigmoid", bad), inputs, events.append)


def test_without_users_to_choose_on_the_first_trial_counts() -> None:
    whole = task(validation_users=0)
    outcome = do_job(job(), Inputs.of(whole), lambda event: None)
    assert outcome.qualities == []
    np.testing.assert_array_equal(
        outcome.ranked, rank_histories(Popularity.fit(whole.fit), whole.histories, 10).items
    )


def test_what_the_time_does_not_suffice_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs.of(task())
    clock = iter(range(0, 10_000, 10))  # every look at the clock, ten seconds have gone
    monkeypatch.setattr(trial.time, "monotonic", lambda: float(next(clock)))
    neighbours = ({"k": 2}, {"k": 3}, {"k": 4})
    outcome = do_job(job("itemknn", *neighbours), inputs, lambda event: None, 60.0)
    assert outcome.cut is not None
    assert "of 3 trials fitted into its share of the budget" in outcome.cut
    assert len(outcome.qualities) < 3
    long = {"factors": 4, "epochs": 50, "patience": 50}
    outcome = do_job(job("sigmoid", long), inputs, lambda event: None, 100.0)
    assert outcome.cut == "trial 1 was stopped by the end of its share of the budget"
    assert 0 < len(outcome.epochs) < 50
    with pytest.raises(TrainingError, match="had not finished an epoch"):
        do_job(job("sigmoid", long), inputs, lambda event: None, 5.0)


def test_reasons_in_a_sentence() -> None:
    assert sentence(MemoryError()) == "there is not enough memory for it"
    assert sentence(MemoryError("9 GiB")) == "there is not enough memory for it (9 GiB)"
    assert sentence(TrainingError("a\n b")) == "a b"
    assert sentence(ValueError("x")) == "ValueError: x"
    assert sentence(ValueError()) == "ValueError"


# in a process of its own


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs.of(task())


def test_a_process_does_the_same(inputs: Inputs) -> None:
    told: list[list[JobEvent]] = []
    found = []
    for place in (InProcess(), InProcesses(threads=1)):
        events: list[JobEvent] = []
        with place:
            found.append(
                place.run(job("sigmoid", {"factors": 4, "epochs": 2}), inputs, on_event=events.append)
            )
        told.append(events)
    here, there = found
    assert there.qualities == here.qualities
    np.testing.assert_array_equal(there.ranked, here.ranked)
    np.testing.assert_array_equal(there.scores, here.scores)
    for events in told:
        assert [event.number for event in events if isinstance(event, TrialDone)] == [1]
        assert [event.epoch.epoch for event in events if isinstance(event, EpochDone)] == [1, 2]


@pytest.mark.parametrize("place", [InProcess, InProcesses])
def test_a_model_that_cannot_be_fitted_says_why(inputs: Inputs, place: type[InProcess | InProcesses]) -> None:
    with place() as there, pytest.raises(TrainingError, match="factors is a whole number from 1") as error:
        there.run(job("sigmoid", {"factors": 0}), inputs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", [InProcess, InProcesses])
def test_what_nobody_foresaw_is_one_sentence(inputs: Inputs, place: type[InProcess | InProcesses]) -> None:
    broken = Inputs(inputs.fit[:, :3], inputs.histories, None)
    with place() as there, pytest.raises(TrainingError) as error:
        there.run(job("popularity", {}, length=-1), broken)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGKILL, r"killed \(SIGKILL\), which is what happens when memory runs out"),
        pytest.param(signal.SIGABRT, "SIGABRT", marks=pytest.mark.thorough),
    ],
)
def test_a_process_that_is_killed(inputs: Inputs, number: signal.Signals, text: str) -> None:
    started: set[int] = set()

    def kill(event: JobEvent) -> None:
        if not started:
            started.update(processes_of(os.getpid()))
            for process in started:
                os.kill(process, number)

    with InProcesses() as there:
        with pytest.raises(TrainingError, match=text):
            there.run(job("sigmoid", LONG), inputs, on_event=kill)
        assert len(started) == 1
        assert processes_of(os.getpid()) == []
        # the others go on
        assert there.run(job(), inputs).ranked.shape[1] == 10


def test_whatever_happens_here_ends_the_process_and_leaves_nothing(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupt(event: JobEvent) -> None:
        assert len(processes_of(os.getpid())) == 1
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), InProcesses() as there:
        there.run(job("sigmoid", LONG), inputs, on_event=interrupt)
    assert processes_of(os.getpid()) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TrainingError, match="ended before it began"):
        there.run(job(), inputs)


def test_a_process_that_takes_too_long_is_ended(inputs: Inputs) -> None:
    with InProcesses() as there:
        with pytest.raises(TrainingError, match=r"did not finish within its 0\.05 s of the budget"):
            there.run(job(), inputs, seconds=0.05)
        assert processes_of(os.getpid()) == []


def test_why_a_process_ended(tmp_path: Path) -> None:
    said = tmp_path / "said"
    assert executor._reason_of_end(3, said) == "its process ended with code 3: it said nothing"
    said.write_text("one\n\ntwo\n \n")
    assert executor._reason_of_end(3, said) == "its process ended with code 3: two"
    assert executor._reason_of_end(-250, said) == "its process was ended by signal 250"


# Python programs that start such processes

MODULES = """
import sys
from recae.selection.jobs import Inputs, Job
from recae.selection.executor import InProcesses
sys.path.append({tests!r})
from jobs import task
"""

UNGUARDED = """
print("begun")
with InProcesses(threads=1) as there:
    outcome = there.run(Job("popularity", ({{}},), True, 10), Inputs.of(task()))
print(outcome.ranked.shape[1])
"""

STAYS = """
import os
def tell(event):
    print("going", flush=True)
with InProcesses() as there:
    there.run(Job("sigmoid", ({long!r},), True, 10), Inputs.of(task()), on_event=tell)
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text((MODULES + text).format(tests=str(Path(__file__).parent), long=LONG))
    return path


@pytest.mark.parametrize(
    "how",
    [
        "a script",
        pytest.param("a module", marks=pytest.mark.thorough),
        pytest.param("standard input", marks=pytest.mark.thorough),
    ],
)
def test_a_program_needs_no_guard(tmp_path: Path, how: str) -> None:
    path = program(tmp_path, UNGUARDED)
    # what lies about there is none of the process's business
    for trap in ("random", "socket", "tempfile"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / f"{trap}.py").write_text("raise SystemExit('imported by mistake')")
    arguments = {"a script": [str(path)], "a module": ["-m", "program"], "standard input": ["-P", "-"]}[how]
    found = subprocess.run(
        [sys.executable, *arguments],
        input=path.read_text(),
        capture_output=True,
        text=True,
        cwd=tmp_path if how == "a module" else tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=300,
    )
    assert found.stderr == ""
    assert found.stdout.split() == ["begun", "10"]


def test_the_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, program(tmp_path, STAYS)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"going\n"
    (process,) = processes_of(starter.pid)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


LOADED = """
import recae.selection.worker
light = [name for name in ("numpy", "scipy", "numba", "torch") if name in sys.modules]
from recae.selection.jobs import Inputs, Job, do_job
from pathlib import Path
for kind in ("popularity", "itemknn", "sigmoid"):
    settings = {"factors": 4, "epochs": 1} if kind == "sigmoid" else {}
    do_job(Job(kind, (settings,), True, 10), Inputs.load(Path(sys.argv[1])))
heavy = [name for name in ("pandas", "duckdb", "recae.reading.purchases", "recae.pipeline") if name in sys.modules]
print(light, heavy)
"""


def test_a_process_imports_neither_the_reader_nor_pandas(tmp_path: Path, inputs: Inputs) -> None:
    inputs.save(tmp_path)
    found = subprocess.run(
        [sys.executable, "-P", "-c", "import sys\n" + LOADED, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=300,
    )
    # nothing that counts processors before the process knows how many it may use, and nothing that reads tables after
    assert found.stdout.strip() == "[] []", found.stderr


def test_an_outcome_goes_through_memory() -> None:
    buffer = io.BytesIO()
    Outcome({}, [], 0.0, None, [], np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)).write(buffer)
    assert buffer.getvalue()[:2] == b"PK"  # a plain archive of arrays, nothing that could run
