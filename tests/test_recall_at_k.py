"""scripts/recall_at_k.py: its figures against a slow count, what reaches the model, and its one-line errors."""

import importlib.util
import json
import math
import os
import pickle
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner, Result

from recae.models import ItemKNN
from recae.training import SigmoidConfig, train_sigmoid
from recae.training.config import resolve

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "recall_at_k.py"
METRICS = ("recall", "capped_recall", "ndcg")
Sets = list[set[int]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recall_at_k", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recall_at_k"] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script):
    def call(*args) -> Result:
        result = CliRunner().invoke(script.main, [str(arg) for arg in args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def results(run):
    def call(*args) -> dict:
        result = run(*args, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return call


@pytest.fixture
def seen(script, monkeypatch) -> dict:
    """What the models are fitted to, and what they are asked, by name."""
    record: dict = {}
    fit, ask = script.train_sigmoid, script.evaluate

    def spy_fit(matrix, *args, **kwargs):
        record["fit"] = matrix.copy()
        record["sorted"] = all((np.diff(matrix[u].indices) > 0).all() for u in range(matrix.shape[0]))
        return fit(matrix, *args, **kwargs)

    def spy_ask(model, histories, held_out, ks):
        record.update(model=model, histories=histories.copy(), held_out=held_out.copy())
        return ask(model, histories, held_out, ks)

    monkeypatch.setattr(script, "train_sigmoid", spy_fit)
    monkeypatch.setattr(script, "evaluate", spy_ask)
    return record


QUICK = ("--factors", 4, "--epochs", 1)


def sets(matrix: sp.csr_matrix) -> Sets:
    return [set(matrix[u].indices.tolist()) for u in range(matrix.shape[0])]


def matrix_of(rows: Sets, n_items: int) -> sp.csr_matrix:
    dense = np.zeros((len(rows), n_items))
    for user, items in enumerate(rows):
        dense[user, sorted(items)] = 1
    return sp.csr_matrix(dense)


def popularity(fit: Sets, n_items: int, n_users: int) -> list[list[float]]:
    owners = Counter(item for items in fit for item in items)
    return [[owners[item] for item in range(n_items)]] * n_users


def slow(scores, histories: Sets, held_out: Sets, ks) -> dict[str, float]:
    """The definitions, a user and an item at a time."""
    values: dict[str, list[float]] = {f"{name}@{k}": [] for name in METRICS for k in ks}
    for row, history, wanted in zip(scores, histories, held_out, strict=True):
        if not wanted:
            continue
        ranked = sorted((item for item in range(len(row)) if item not in history), key=lambda i: (-row[i], i))
        for k in ks:
            hits = [item in wanted for item in ranked[:k]]
            gain = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)
            best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
            values[f"recall@{k}"].append(sum(hits) / len(wanted))
            values[f"capped_recall@{k}"].append(sum(hits) / min(k, len(wanted)))
            values[f"ndcg@{k}"].append(gain / best)
    return {name: sum(of_users) / len(of_users) for name, of_users in values.items()}


@pytest.fixture
def pair(tmp_path) -> tuple[Sets, Sets, int, Path]:
    """Train and test sets of 60 users × 40 items in a folder; some users have no test item, one has no history."""
    rng = np.random.default_rng(7)
    n_items, train, test = 40, [], []
    for user in range(60):
        items = rng.permutation(n_items)[: rng.integers(3, 20)]
        n_test = 0 if user % 7 == 0 else int(rng.integers(1, len(items)))
        test.append(set(items[:n_test].tolist()))
        train.append(set() if user == 5 else set(items[n_test:].tolist()))
    sp.save_npz(tmp_path / "train.npz", matrix_of(train, n_items))
    sp.save_npz(tmp_path / "test.npz", matrix_of(test, n_items))
    return train, test, n_items, tmp_path


@pytest.fixture
def purchases(tmp_path) -> tuple[list[tuple[int, int, int]], Path]:
    """(user, item, day) rows, each pair once, in a CSV: users u00-u29, items i00-i19, days of October 2021."""
    rng = np.random.default_rng(11)
    rows = []
    for user in range(30):
        first_day = 20 if user >= 27 else 1  # three users come late
        items = rng.permutation(20)[: rng.integers(1, 9)].tolist()
        days = (first_day + rng.permutation(10)[: len(items)]).tolist()
        rows += [(user, item, day) for item, day in zip(items, days, strict=True)]
        rows += [(user, 19 - user % 2, day) for day in [28] if (19 - user % 2) not in items]
    path = tmp_path / "purchases.csv"
    lines = [f"u{user:02},i{item:02},2021-10-{day:02}" for user, item, day in rows]
    path.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return rows, path


# figures


@pytest.mark.parametrize("as_folder", [True, False])
def test_popularity_of_a_pair(pair, results, as_folder):
    train, test, n_items, folder = pair
    data = [folder] if as_folder else ["--train", folder / "train.npz", "--test", folder / "test.npz"]
    found = results(*data, "--kind", "popularity", "-k", 3, "-k", 10, "-k", 100)
    expected = slow(popularity(train, n_items, 60), train, test, (3, 10, 100))
    assert found["metrics"] == pytest.approx(expected, abs=1e-12)
    assert len(set(expected.values())) > 6  # the definitions differ on this input
    assert found["n_users"] == sum(map(bool, test)) < 60
    assert found["data"] == {
        "rule": "train and test matrices",
        "users": 60,
        "items": n_items,
        "interactions": sum(map(len, train)),
        "held_out": sum(map(len, test)),
    }
    assert found["seconds_per_epoch"] is None
    assert found["config"] == {}


def test_item_knn_of_a_pair(pair, results):
    train, test, n_items, folder = pair
    found = results(folder, "--kind", "itemknn", "--set", "k=7", "--set", "weighting=cosine", "-k", 5)
    matrix = matrix_of(train, n_items).astype(np.float32)
    scores = ItemKNN.fit(matrix, k=7, weighting="cosine").score(matrix)
    assert found["metrics"] == pytest.approx(slow(scores.tolist(), train, test, (5,)), abs=1e-12)
    assert found["config"] == {"k": 7, "weighting": "cosine"}


def test_sigmoid_of_a_pair(pair, results, run):
    train, test, n_items, folder = pair
    settings = [
        "--factors",
        6,
        "--epochs",
        3,
        "--seed",
        5,
        "--set",
        "dropout=0.25",
        "--set",
        "learning_rate=0.05",
    ]
    found = results(folder, *settings)
    config = SigmoidConfig(factors=6, epochs=3, seed=5, dropout=0.25, learning_rate=0.05)
    matrix = matrix_of(train, n_items).astype(np.float32)
    scores = train_sigmoid(matrix, config)[0].score(matrix)
    assert found["metrics"] == pytest.approx(slow(scores.tolist(), train, test, (10, 20, 50)), abs=1e-12)
    assert found["config"] == resolve(config, matrix).as_dict()
    assert found["training_seconds"] >= found["seconds_per_epoch"] > 0
    assert 2**20 < found["peak_memory_bytes"] < 2**40


def test_the_resolved_number_of_epochs_is_reported(pair, results):
    train, _, n_items, folder = pair
    chosen = resolve(SigmoidConfig(), matrix_of(train, n_items)).epochs
    assert results(folder, "--factors", 2, "--set", "epochs=none")["config"]["epochs"] == chosen


def test_the_printed_table(pair, run):
    train, test, n_items, folder = pair
    result = run(folder, "--factors", 3, "--epochs", 4, "-k", 10)
    assert result.exit_code == 0
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.stdout.splitlines())
    assert set(lines) >= {"recall@10", "capped_recall@10", "ndcg@10", "peak memory", "config.dropout"}
    assert "recall@20" not in lines
    assert lines["users evaluated"] == str(sum(map(bool, test)))
    assert lines["config.factors"] == "3"
    assert re.fullmatch(r"\d+\.\d\d s", lines["training"])
    assert re.fullmatch(r"\d+\.\d\d s \(median\)", lines["an epoch"])
    epochs = re.findall(r"^epoch (\d): loss \S+, [\d.]+ s, [\d,]+ users/s$", result.stderr, re.MULTILINE)
    assert epochs == ["1", "2", "3", "4"]

    printed = run(folder, "--kind", "popularity", "-k", 10).stdout
    for name, value in slow(popularity(train, n_items, 60), train, test, (10,)).items():
        assert re.search(rf"^{re.escape(name)} +{value:.5f}$", printed, re.MULTILINE)


# what reaches the model


def test_the_trainer_gets_the_pattern(pair, run, seen):
    train, test, _, folder = pair
    matrix = sp.load_npz(folder / "train.npz")
    matrix.data[:] = np.arange(2, matrix.nnz + 2)
    sp.save_npz(folder / "train.npz", matrix.tocsc())
    result = run(folder, *QUICK)
    assert result.exit_code == 0
    assert "values other than 1" in result.stderr
    fit = seen["fit"]
    assert fit.format == "csr"
    assert fit.dtype == np.float32
    assert seen["sorted"]
    assert (fit.data == 1).all()
    assert sets(fit) == sets(seen["histories"]) == train
    assert sets(seen["held_out"]) == test


def test_unsorted_repeated_and_zero_entries(tmp_path, script):
    data, row, column = [3, 1, -1, 0, 2], [0, 0, 0, 1, 1], [2, 1, 1, 0, 2]  # 1 and -1 must not cancel
    sp.save_npz(tmp_path / "coo.npz", sp.coo_matrix((data, (row, column)), shape=(2, 3)))
    unsorted = sp.csr_matrix((np.ones(4), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 3))
    sp.save_npz(tmp_path / "csr.npz", unsorted)
    for name, columns in {"coo": [1, 2, 2], "csr": [0, 2, 1]}.items():
        matrix = script.read_matrix(tmp_path / f"{name}.npz")
        assert matrix.indptr.tolist() == [0, 2, 3]
        assert matrix.indices.tolist() == columns
        assert matrix.data.tolist() == [1, 1, 1]


def test_validate_leaves_the_test_file_alone(pair, results, seen):
    train, _, _, folder = pair
    arguments = (folder, *QUICK, "--validate", 0.3, "-k", 5)
    found = results(*arguments)
    fit, held_out = sets(seen["fit"]), sets(seen["held_out"])
    for whole, kept, held in zip(train, fit, held_out, strict=True):
        assert kept | held == whole
        assert not kept & held
        assert len(held) == (min(max(1, round(0.3 * len(whole))), len(whole) - 1) if len(whole) > 1 else 0)
    assert sets(seen["histories"]) == fit
    expected = slow(seen["model"].score(seen["histories"]).tolist(), fit, held_out, (5,))
    assert found["metrics"] == pytest.approx(expected, abs=1e-12)

    (folder / "test.npz").write_text("no matrix")
    assert results(*arguments)["metrics"] == found["metrics"]
    (folder / "test.npz").unlink()
    assert results(*arguments)["metrics"] == found["metrics"]
    assert results("--train", folder / "train.npz", *arguments[1:])["metrics"] == found["metrics"]
    assert results(*arguments, "--seed", 1)["data"] == found["data"]
    results(*arguments, "--split-seed", 1)
    assert sets(seen["held_out"]) != held_out


def rows_as_sets(rows, n_users=30) -> Sets:
    return [{item for of, item, _ in rows if of == user} for user in range(n_users)]


def test_split_users(purchases, results, seen):
    rows, path = purchases
    found = results(path, "--split", "users", "--test-fraction", 0.4, *QUICK)
    whole, fit = rows_as_sets(rows), sets(seen["fit"])
    histories, held_out = sets(seen["histories"]), sets(seen["held_out"])
    assert len(fit) == 18
    assert len(held_out) == 12
    tested = [history | held for history, held in zip(histories, held_out, strict=True)]
    assert sorted(map(sorted, fit + tested)) == sorted(
        map(sorted, whole)
    )  # every user is in one part, and whole
    for history, held in zip(histories, held_out, strict=True):
        assert not history & held
        assert len(held) == (max(1, round(0.2 * len(history | held))) if len(history | held) > 1 else 0)
    expected = slow(seen["model"].score(seen["histories"]).tolist(), histories, held_out, (10, 20, 50))
    assert found["metrics"] == pytest.approx(expected, abs=1e-12)


def test_split_items(purchases, results, seen):
    rows, path = purchases
    found = results(path, "--split", "items", "--test-fraction", 0.5, *QUICK, "-k", 4)
    fit, held_out = sets(seen["fit"]), sets(seen["held_out"])
    assert sets(seen["histories"]) == fit
    for whole, kept, held in zip(rows_as_sets(rows), fit, held_out, strict=True):
        assert kept | held == whole
        assert not kept & held
        assert len(held) == (min(max(1, round(0.5 * len(whole))), len(whole) - 1) if len(whole) > 1 else 0)
    expected = slow(seen["model"].score(seen["histories"]).tolist(), fit, held_out, (4,))
    assert found["metrics"] == pytest.approx(expected, abs=1e-12)


def test_split_last(purchases, results):
    rows, path = purchases
    found = results(path, "--split", "last", "--kind", "popularity", "-k", 2, "-k", 5)
    last = {user: max((day, item) for of, item, day in rows if of == user) for user in range(30)}
    held = [(user, item, day) for user, item, day in rows if last[user] == (day, item)]
    held_out, fit = rows_as_sets(held), rows_as_sets([row for row in rows if row not in held])
    assert all(len(items) == 1 for items in held_out)
    assert found["metrics"] == pytest.approx(slow(popularity(fit, 20, 30), fit, held_out, (2, 5)), abs=1e-12)


def test_split_time(purchases, results, run):
    rows, path = purchases
    arguments = (path, "--split", "time", "--cut", "2021-10-06", "--kind", "popularity", "-k", 2, "-k", 5)
    found = results(*arguments)
    fit = rows_as_sets([row for row in rows if row[2] < 6])
    after = rows_as_sets([row for row in rows if row[2] >= 6])
    new = sum(1 for before, later in zip(fit, after, strict=True) if later and not before)
    asked = [later if before else set() for before, later in zip(fit, after, strict=True)]
    assert found["metrics"] == pytest.approx(slow(popularity(fit, 20, 30), fit, asked, (2, 5)), abs=1e-12)
    assert found["n_users"] == sum(map(bool, asked))
    assert found["data"]["interactions"] == sum(map(len, fit))
    assert new >= 3
    assert f"{new} users have no history before 2021-10-06" in run(*arguments).stderr


def test_a_cut_is_a_moment_in_utc(script, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert script.seconds_of("1970-01-02") == 86_400
    time.tzset()
    assert script.seconds_of("1970-01-02") == 86_400
    assert script.seconds_of("1970-01-02T01:00:00") == 90_000
    assert script.seconds_of("1970-01-02T01:00:00+01:00") == 86_400


@pytest.mark.parametrize("rule", ["users", "items", "last", "time"])
def test_validate_on_a_table_stays_in_the_training_part(purchases, results, seen, rule):
    cut = ["--cut", "2021-10-06"] if rule == "time" else []
    results(purchases[1], "--split", rule, *cut, *QUICK)
    training = sets(seen["fit"])
    found = results(purchases[1], "--split", rule, *cut, *QUICK, "--validate", 0.2)
    parts = [a | b for a, b in zip(sets(seen["fit"]), sets(seen["held_out"]), strict=True)]
    assert parts == training
    assert found["data"]["held_out"] > 0
    assert found["data"]["rule"].startswith(f"validate 0.2 of the training part of split {rule}")


def test_held_out_items_without_an_owner_are_said(tmp_path, run):
    sp.save_npz(tmp_path / "train.npz", sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 0]])))
    sp.save_npz(tmp_path / "test.npz", sp.csr_matrix(np.array([[0, 0, 1, 1], [0, 1, 1, 0]])))
    result = run(tmp_path, "--kind", "popularity", "-k", 1)
    assert "3 of 4 held-out interactions are of items that nobody in the training part owns" in result.stderr
    assert re.search(r"^recall@1 +0\.50000$", result.stdout, re.MULTILINE)  # by item number: 1/2 and 1/2


# settings


def test_every_setting_of_the_configuration_can_be_given(script):
    defaults = SigmoidConfig().as_dict()
    assert set(script.SETTINGS["sigmoid"]) == set(defaults)
    read = script.parse_settings("sigmoid", [f"{key}={value}" for key, value in defaults.items()])
    assert read == defaults
    assert {key: type(value) for key, value in read.items()} == {key: type(defaults[key]) for key in read}
    assert all(kind in script.TYPE_NAMES for kinds in script.SETTINGS.values() for kind in kinds.values())


def test_patience_is_said_to_do_nothing(pair, run):
    result = run(pair[3], *QUICK, "--set", "patience=3")
    assert result.exit_code == 0
    assert "patience has no effect" in result.stderr


# errors


def check_error(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert result.stderr.count("error: ") == 1
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "factor=8"], ["no setting 'factor'", "'factors'"]),
        (["--set", "zzz=8"], ["no setting 'zzz'", "choose one of factors, epochs"]),
        (["--set", "factors"], ["key=value", "'factors'"]),
        (["--set", "factors=1.5"], ["factors is a whole number", "'1.5'"]),
        (["--factors", "many"], ["factors is a whole number", "'many'"]),
        (["--epochs", "few"], ["epochs is a whole number or 'none'", "'few'"]),
        (["--set", "dropout=half"], ["dropout is a number", "'half'"]),
        (["--set", "dropout=1.5"], ["dropout", "1.5"]),
        (["--set", "dropout=nan"], ["dropout", "nan"]),
        (["--set", "dtype=int8"], ["dtype", "int8"]),
        (["--factors", "8", "--set", "factors=9"], ["'factors' is given twice"]),
        (["--kind", "sigmoids"], ["'sigmoids'", "did you mean 'sigmoid'?"]),
        (["--kind", "popularity", "--seed", "1"], ["popularity has no settings", "'seed'"]),
        (["--kind", "itemknn", "--set", "weights=bm25"], ["no setting 'weights'", "'weighting'"]),
        (["--kind", "itemknn", "--set", "k=0"], ["k must be at least 1"]),
        (["--kind", "itemknn", "--set", "weighting=bm52"], ["bm52", "bm25"]),
        (["-k", "10", "-k", "0"], ["at least 1", "is 0"]),
        (["-k", "-3"], ["at least 1", "is -3"]),
        (["--validate", "1"], ["between 0 and 1", "1.0"]),
        (["--split", "items"], ["--split is for tables"]),
        (["--cut", "2021-10-06"], ["--cut is for tables"]),
        (["--user-column", "who"], ["--user-column is for tables"]),
        (["--train", "other.npz"], ["one or the other"]),
    ],
)
def test_wrong_options(pair, run, options, words):
    check_error(run(pair[3], *options), *words)


def test_nothing_given(run, pair):
    check_error(run(), "nothing to evaluate")
    check_error(run("--test", pair[3] / "test.npz"), "--train and --test")
    check_error(run("--train", pair[3] / "train.npz"), "without --test", "--validate")
    check_error(run(pair[3] / "train.npz"), "is one matrix")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["needs a rule", "users, items, last or time"]),
        (["--split", "time"], ["--cut go together"]),
        (["--split", "last", "--cut", "2021-10-06"], ["--cut go together"]),
        (["--split", "time", "--cut", "yesterday"], ["ISO date", "'yesterday'"]),
        (["--split", "time", "--cut", "1999-01-01"], ["one side empty"]),
        (["--split", "last", "--test-fraction", "0.1"], ["--test-fraction does not go with --split last"]),
        (["--split", "users", "--test-fraction", "0"], ["between 0 and 1"]),
        (["--split", "items", "--user-column", "who"], ["who"]),
    ],
)
def test_wrong_options_of_a_table(purchases, run, options, words):
    check_error(run(purchases[1], *options, "--kind", "popularity"), *words)


def test_a_table_without_times_or_that_is_missing(tmp_path, run):
    path = tmp_path / "plain.csv"
    path.write_text("user_id,item_id\na,x\na,y\nb,x\nb,y\n")
    check_error(run(path, "--split", "last"), "time")
    check_error(run(tmp_path / "none.csv", "--split", "items"), "none.csv")


def archive(**changed):
    """save() of a 2 × 2 CSR archive with some members changed; None leaves one out."""
    members = {
        "format": np.array(b"csr"),
        "shape": np.array([2, 2]),
        "data": np.ones(2),
        "indices": np.array([0, 1]),
        "indptr": np.array([0, 1, 2]),
        **changed,
    }
    return lambda path: np.savez(path, **{key: value for key, value in members.items() if value is not None})


def truncated(path: Path) -> None:
    archive()(path)
    path.write_bytes(path.read_bytes()[:-80])


def corrupt(path: Path) -> None:
    sp.save_npz(path, sp.identity(300, format="csr"))
    content = bytearray(path.read_bytes())
    content[50:150] = bytes(100)
    path.write_bytes(content)


def as_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


BROKEN = {
    "missing": (lambda path: None, "there is no file"),
    "a folder": (lambda path: path.mkdir(), "there is no file"),
    "empty": (lambda path: path.write_bytes(b""), "not an npz file"),
    "text": (lambda path: path.write_text("user,item\n"), "not an npz file"),
    "an array": (as_npy, "not an npz file"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(sp.identity(2))), "not an npz file"),
    "truncated": (truncated, "not an npz file"),
    "corrupt": (corrupt, "not a sparse users × items matrix"),
    "other arrays": (lambda path: np.savez(path, a=np.ones(2)), "not a sparse users × items matrix"),
    "object data": (
        archive(data=np.array([1, None], dtype=object)),
        "pickled objects, which are never loaded",
    ),
    "object format": (archive(format=np.array([b"csr"], dtype=object)), "pickled objects"),
    "no data": (archive(data=None), "not a sparse users × items matrix"),
    "text data": (archive(data=np.array(["a", "b"])), "of numbers"),
    "nan": (archive(data=np.array([1, np.nan])), "not finite"),
    "unknown format": (archive(format=np.array(b"lil")), "not a sparse"),
    "large index": (archive(indices=np.array([0, 9])), "not a sparse"),
    "negative index": (archive(format=np.array(b"csc"), indices=np.array([-5, 1])), "not a sparse"),
    "falling indptr": (archive(indptr=np.array([0, 3, 2])), "not a sparse"),
    "wrong shape": (archive(shape=np.array([3, 3])), "not a sparse"),
    "one dimension": (lambda path: sp.save_npz(path, sp.coo_array(np.ones(4))), "1 dimensions"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("part", ["train", "test"])
def test_broken_matrices(tmp_path, run, name, part):
    save, words = BROKEN[name]
    archive(indices=np.array([1, 0]))(tmp_path / f"{'test' if part == 'train' else 'train'}.npz")
    save(tmp_path / f"{part}.npz")
    check_error(run(tmp_path, "--kind", "popularity"), f"{part}.npz", words)


def test_a_pickle_is_not_run(tmp_path, run):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    archive(data=np.array([Trap()], dtype=object))(tmp_path / "train.npz")
    check_error(run(tmp_path, "--validate", 0.2), "pickled objects")
    assert not (tmp_path / "sprung").exists()


def test_pairs_that_do_not_fit_together(tmp_path, run):
    train, test = tmp_path / "train.npz", tmp_path / "test.npz"
    sp.save_npz(train, sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 1]])))
    sp.save_npz(test, sp.csr_matrix(np.array([[0, 1, 1], [0, 1, 1]])))
    check_error(run(tmp_path, "--kind", "popularity"), "3 of the 4 pairs", "test.npz", "train.npz")
    sp.save_npz(test, sp.csr_matrix(np.ones((2, 4))))
    check_error(run(tmp_path, "--kind", "popularity"), "2 users × 3 items", "2 × 4")
    sp.save_npz(test, sp.csr_matrix((2, 3)))
    check_error(run(tmp_path, "--kind", "popularity"), "nothing is held out")
    sp.save_npz(train, sp.csr_matrix((2, 3)))
    check_error(run(tmp_path, "--kind", "popularity"), "no interaction")
    sp.save_npz(train, sp.identity(3, format="csr"))
    check_error(run(tmp_path, "--kind", "popularity", "--validate", 0.5), "nothing is held out")


def test_an_error_comes_before_training(pair, script, monkeypatch, run):
    monkeypatch.setattr(script, "train_sigmoid", lambda *args, **kwargs: pytest.fail("trained"))
    check_error(run(pair[3], "-k", 0), "at least 1")
    sp.save_npz(pair[3] / "test.npz", sp.csr_matrix((60, 40)))
    check_error(run(pair[3]), "nothing is held out")


# as a program


def program(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_as_a_program(pair):
    done = program(pair[3], "--kind", "popularity", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["kind"] == "popularity"
    failed = program(pair[3] / "nowhere.csv", "--split", "last")
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert len(failed.stderr.splitlines()) == 1
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")


def test_the_definitions_are_in_the_help(run):
    text = run("--help").stdout
    for formula in ("|L_u ∩ T_u| / |T_u|", "|L_u ∩ T_u| / min(k, |T_u|)", "/ log2(i+1)"):
        assert formula in text


def test_popularity_on_gowalla(results):
    folder = Path(os.environ.get("RECAE_DATA", "")) / "gowalla"
    if not os.environ.get("RECAE_DATA") or not folder.is_dir():
        pytest.skip("the Gowalla matrices are not here: RECAE_DATA does not name a folder with gowalla/")
    found = results(folder, "--kind", "popularity", "-k", 20)
    # dict: an npz file decompresses a member anew at every access
    train, test = (dict(np.load(folder / f"{part}.npz")) for part in ("train", "test"))
    by_owners = [
        item for item, _ in sorted(Counter(train["indices"].tolist()).items(), key=lambda p: (-p[1], p[0]))
    ]
    recalls = []
    for user in range(len(train["indptr"]) - 1):
        history, held = (
            set(part["indices"][part["indptr"][user] : part["indptr"][user + 1]].tolist())
            for part in (train, test)
        )
        if held:
            best: list[int] = []
            for item in by_owners:
                if item not in history:
                    best.append(item)
                if len(best) == 20:
                    break
            recalls.append(len(held.intersection(best)) / len(held))
    assert found["metrics"]["recall@20"] == pytest.approx(sum(recalls) / len(recalls), abs=1e-12)
    assert found["n_users"] == len(recalls) == 29_858
