"""scripts/compare.py: what reaches the models, its table against figures made by hand, its cache and its errors."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner, Result

from recae.errors import ConfigError
from recae.evaluation import evaluate, paired_difference
from recae.ingest import read_with_report
from recae.models import ItemKNN, Popularity
from recae.workflow.holdout import hold_out

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "purchases.csv"
FAST = ("--kinds", "popularity,itemknn")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    return importlib.import_module("compare")


@pytest.fixture(scope="module")
def data(script) -> ModuleType:
    return importlib.import_module("compare_data")


@pytest.fixture
def run(script):
    def call(*args) -> Result:
        result = CliRunner().invoke(script.main, [str(arg) for arg in args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture(scope="module")
def baskets(tmp_path_factory) -> Path:
    """60 users with three baskets at three times, of 20 items; each user buys one item every time."""
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,timestamp"]
    for user in range(60):
        favourite = user % 20
        for day in (1, 40, 80):
            items = {favourite, *rng.choice(20, size=4, replace=False).tolist()}
            lines += [f"u{user},i{item},{day * 86_400 + 1_600_000_000}" for item in sorted(items)]
    path = tmp_path_factory.mktemp("baskets") / "baskets.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: ")
    for part in parts:
        assert part in result.stderr


def test_the_table_is_what_evaluation_says_of_the_users_that_train_holds_out(run):
    result = run(SAMPLE, *FAST, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    interactions, _ = read_with_report(SAMPLE)
    held_out = hold_out(interactions, np.random.default_rng([0, 10_000]))
    matrix = sp.csr_matrix(interactions.matrix[held_out.learners])
    best = max(
        (ItemKNN.fit(matrix, k=k) for k in (5, 10, 20, 50, 100, 200)),
        key=lambda model: evaluate(model, *held_out.validation, (20,)).mean("ndcg@20"),
    )
    expected = {
        "popularity": evaluate(Popularity.fit(matrix), *held_out.test, (20,)),
        "itemknn": evaluate(best, *held_out.test, (20,)),
    }
    assert [row["kind"] for row in found["rows"]] == ["popularity", "itemknn"]
    assert (found["users"], found["test_users"]) == (1600, 200)
    for row in found["rows"]:
        for metric in ("recall@20", "ndcg@20"):
            assert row[metric]["mean"] == pytest.approx(expected[row["kind"]].mean(metric), abs=1e-12)
            assert row[metric]["low"] < row[metric]["mean"] < row[metric]["high"]
        assert row["seconds"] >= 0
        assert row["peak_memory_bytes"] > 2**25
    popularity, knn = found["rows"]
    assert knn["config"]["k"] == best.k
    assert (popularity["trials"], knn["trials"]) == (1, 6)
    assert "recall@20_difference" not in knn  # it is the best baseline itself
    difference = paired_difference(
        expected["popularity"].values["recall@20"], expected["itemknn"].values["recall@20"]
    )
    given = popularity["recall@20_difference"]
    assert given["to"] == "itemknn"
    assert (given["mean"], given["low"], given["high"], given["p"]) == pytest.approx(
        (difference.mean, difference.low, difference.high, difference.p)
    )


def test_finished_rows_are_kept_by_kind_settings_and_data(run, tmp_path, baskets, script, monkeypatch):
    args = (baskets, *FAST, "--cache", tmp_path / "rows", "--json")
    first = run(*args)
    assert first.exit_code == 0, first.stderr
    files = sorted(path.name for path in (tmp_path / "rows").iterdir())
    assert [name.split("-")[0] for name in files] == ["itemknn", "popularity"]

    started = []
    real = script.subprocess.run
    monkeypatch.setattr(script.subprocess, "run", lambda *a, **k: started.append(a) or real(*a, **k))
    again = run(*args)
    assert again.stdout == first.stdout
    assert started == []
    assert "itemknn: kept from an earlier run" in again.stderr
    run(*args, "--set", "itemknn.k=3")
    assert len(started) == 1
    run(*args, "--seed", "1")
    assert len(started) == 3
    (tmp_path / "rows" / files[0]).write_text("{")
    assert run(*args).exit_code == 0
    assert len(started) == 4


def test_peak_memory_is_that_of_the_kind_alone(run, baskets):
    ballast = np.ones(60_000_000)  # 480 MB in the process that starts the others
    result = run(baskets, "--kinds", "popularity", "--json")
    assert 2**25 < json.loads(result.stdout)["rows"][0]["peak_memory_bytes"] < ballast.nbytes


def test_text_and_markdown(run, baskets, tmp_path):
    args = (baskets, *FAST, "--cache", tmp_path)
    text, markdown = run(*args).stdout.splitlines(), run(*args, "--markdown").stdout.splitlines()
    assert text[0] == markdown[0]
    assert "60 users" not in text[0]  # twelve of them are held out
    assert "48 users × 20 items" in text[0]
    assert text[2].split("  ")[0] == "model"
    assert [line.split()[0] for line in text[3:]] == ["popularity", "itemknn"]
    assert markdown[2].startswith("| model | Recall@20 [95 %] |")
    assert markdown[3].count("|") == markdown[2].count("|") == markdown[4].count("|") == 11


def test_by_time_nothing_later_reaches_the_model(data, baskets):
    cut = 1_600_000_000 + 50 * 86_400
    task = data.read_task(baskets, "time", cut="2020-11-01", seed=0)
    interactions, _ = read_with_report(baskets)
    dense = np.zeros(interactions.matrix.shape, dtype=np.float32)
    dense[interactions.matrix.nonzero()] = interactions.times < cut
    before = sp.csr_matrix(dense)
    outside = (task.fit - before).toarray()
    assert outside.max() <= 0
    assert outside.sum() == -task.validation[1].nnz  # what is held out to choose on is not learned from
    assert task.validation[1].nnz > 0
    assert not task.test[0].multiply(task.test[1]).nnz
    assert task.test[0].nnz <= before.nnz
    assert task.exclude_owned
    assert (
        data.read_task(baskets, "time", cut=None, seed=0).test[1].nnz == task.test[1].nnz
    )  # the last 30 days


def test_last_baskets_may_hold_what_is_owned(data, baskets, run):
    task = data.read_task(baskets, "last-basket", cut=None, seed=0)
    assert not task.exclude_owned
    assert task.decay is not None
    assert task.test[0].multiply(task.test[1]).nnz >= task.test[0].shape[0]  # the favourite, at least
    result = run(baskets, "--protocol", "last-basket", "--kinds", "popularity,frequency", "--json")
    assert result.exit_code == 0, result.stderr
    popularity, frequency = json.loads(result.stdout)["rows"]
    assert (
        frequency["recall@20"]["mean"] == popularity["recall@20"]["mean"] == 1
    )  # all 20 items are in the list
    assert frequency["ndcg@20"]["mean"] > popularity["ndcg@20"]["mean"]


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    dense = rng.random((40, 15)) < 0.5
    test = dense & (rng.random((40, 15)) < 0.3)
    sp.save_npz(tmp_path / "train.npz", sp.csr_matrix((dense & ~test).astype(np.float32)))
    sp.save_npz(tmp_path / "test.npz", sp.csr_matrix(test.astype(np.float32)))
    return tmp_path


def test_matrices(data, folder):
    train, test = sp.load_npz(folder / "train.npz"), sp.load_npz(folder / "test.npz")
    task = data.read_task(folder, "matrices", cut=None, seed=0)
    tested = np.flatnonzero((np.diff(train.indptr) > 0) & (np.diff(test.indptr) > 0))
    assert (task.test[0] != train[tested]).nnz == (task.test[1] != test[tested]).nnz == 0
    assert task.fit.nnz == train.nnz - task.validation[1].nnz
    assert task.validation[0].shape[0] == 4
    saved = folder / "saved"
    saved.mkdir()
    task.save(saved)
    again = data.Task.load(saved, True, None, task.rule)
    assert again.fingerprint == task.fingerprint
    assert data.read_task(folder, "matrices", cut=None, seed=1).fingerprint != task.fingerprint


def test_matrices_that_do_not_fit(run, folder):
    sp.save_npz(folder / "test.npz", sp.csr_matrix((40, 14), dtype=np.float32))
    refused(run(folder, "--protocol", "matrices"), "(40, 15)", "(40, 14)")
    sp.save_npz(folder / "test.npz", sp.csr_matrix((40, 15), dtype=np.float32))
    refused(run(folder, "--protocol", "matrices"), "nobody has something to learn from")


def test_a_kind_that_fails_leaves_its_reason_and_the_others(run, baskets, script, monkeypatch):
    real = script.subprocess.run

    def fail(command, **options):
        if "itemknn" in command[-1]:
            command = [
                sys.executable,
                "-c",
                "import sys; print('error: no memory', file=sys.stderr); sys.exit(2)",
            ]
        return real(command, **options)

    monkeypatch.setattr(script.subprocess, "run", fail)
    result = run(baskets, *FAST)
    assert result.exit_code == 2
    assert "itemknn failed: no memory" in result.stderr
    assert result.stdout.splitlines()[-1].startswith("itemknn     failed: no memory")
    monkeypatch.setattr(
        script.subprocess, "run", lambda *a, **k: real(["sh", "-c", "kill -9 $$"], **{**k, "stderr": -1})
    )
    assert "popularity failed: signal 9" in run(baskets, *FAST).stderr


def test_interrupted(run, baskets, script, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(script.subprocess, "run", interrupt)
    result = run(baskets, *FAST)
    assert result.exit_code == 130
    assert result.stdout == ""


def test_kinds_and_settings(script):
    assert script.choose_kinds(None, "users")[:4] == ["popularity", "itemknn", "als", "bpr"]
    assert "frequency" in script.choose_kinds(None, "last-basket")
    assert script.choose_kinds("als, bpr,als", "users") == ["als", "bpr"]
    given = script.parse_sets(["als.alpha=2", "itemknn.weighting=bm25"], ["als", "itemknn", "bpr"])
    assert given == {"als": {"alpha": 2.0}, "itemknn": {"weighting": "bm25"}, "bpr": {}}
    trials = script.make_trials("als", {"alpha": 2.0, "factors": 4}, 3, None)
    assert [trial["alpha"] for trial in trials] == [2.0, 2.0]
    assert {trial["factors"] for trial in trials} == {4}
    assert all(trial["seed"] == 3 for trial in trials)
    assert script.make_trials("popularity", {}, 1, 0.5) == [{"seed": 1}]
    assert script.make_trials("frequency", {}, 1, 0.5) == [{"seed": 1, "decay": 0.5}]
    with pytest.raises(ConfigError, match="alpha is a number from"):
        script.make_trials("als", {"alpha": -1.0}, 0, None)


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ((), ["nothing to compare on"]),
        ((SAMPLE, "--kinds", "itemkn"), ["no model of kind 'itemkn'", "did you mean 'itemknn'"]),
        ((SAMPLE, *FAST, "--set", "k=3"), ["--set takes kind.key=value", "'k=3'"]),
        ((SAMPLE, *FAST, "--set", "als.factors=3"), ["no model of kind 'als'"]),
        ((SAMPLE, *FAST, "--set", "itemknn.kk=3"), ["itemknn has no setting 'kk'"]),
        ((SAMPLE, *FAST, "--set", "itemknn.k=0"), ["k is a whole number from 1", "found 0"]),
        ((SAMPLE, *FAST, "--cut", "2020-01-01"), ["--cut is for --protocol time"]),
        ((SAMPLE, *FAST, "--protocol", "matrices"), ["wants a folder with train.npz and test.npz"]),
        ((ROOT / "data", *FAST), ["is a folder"]),
        (("no.csv", *FAST), ["no.csv"]),
    ],
)
def test_refusals(run, args, parts):
    refused(run(*args), *parts)


def test_a_table_that_is_too_small_or_has_no_times(run, tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("user_id,item_id\na,1\nb,2\n")
    refused(run(path, *FAST), "too few users")
    refused(run(path, *FAST, "--protocol", "time"), "needs the time of each purchase")


def test_unknown_figures_are_dashes():
    table = importlib.import_module("compare_table")
    row = {"kind": "a", "trials": 1, "seconds": 0.5, "peak_memory_bytes": 2**20, "validation_ndcg@20": 0.5}
    rows = [row | {"by_user": {"recall@20": [0.25, None], "ndcg@20": [0.5, None]}}]
    table.add_statistics(rows, ["popularity"])
    assert rows[0]["recall@20"] == {"mean": 0.25, "low": None, "high": None}
    assert table.cells(rows[0]) == ["a", ".2500 [–, –]", ".5000 [–, –]", "", "", "", "", "1", "0.5", "1"]
