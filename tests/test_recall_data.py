"""scripts/recall_data.py: what reaches the model from matrices and tables, and what is refused."""

import json
import pickle
import re
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from recalls import (
    QUICK,
    check_error,
    make_pair,
    make_purchases,
    popularity,
    recall_data,
    results,
    rows_as_sets,
    run,
    script,
    sets,
    slow,
    spy,
)

from recae.errors import ConfigError, DataError, SourceError


@pytest.fixture
def pair(tmp_path):
    return make_pair(tmp_path)


@pytest.fixture
def purchases(tmp_path):
    return make_purchases(tmp_path)


@pytest.fixture
def seen(monkeypatch):
    return spy(monkeypatch)


# what reaches the model


def test_the_trainer_gets_the_pattern(pair, seen):
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


def test_unsorted_repeated_and_zero_entries(tmp_path):
    data, row, column = [3, 1, 1, 0, 2], [0, 0, 0, 1, 1], [2, 1, 1, 0, 2]
    sp.save_npz(tmp_path / "coo.npz", sp.coo_matrix((data, (row, column)), shape=(2, 3)))
    unsorted = sp.csr_matrix((np.ones(4), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 3))
    sp.save_npz(tmp_path / "csr.npz", unsorted)
    for name, columns in {"coo": [1, 2, 2], "csr": [0, 2, 1]}.items():
        matrix = recall_data.read_matrix(tmp_path / f"{name}.npz")
        assert matrix.indptr.tolist() == [0, 2, 3]
        assert matrix.indices.tolist() == columns
        assert matrix.data.tolist() == [1, 1, 1]
    unsorted.data[0] = -1
    sp.save_npz(tmp_path / "negative.npz", unsorted)
    with pytest.raises(SourceError, match="1 negative value, which is no purchase"):
        recall_data.read_matrix(tmp_path / "negative.npz")


def test_validate_leaves_the_test_file_alone(pair, seen):
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


def test_split_users(purchases, seen):
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


def test_split_items(purchases, seen):
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


def test_split_last(purchases):
    rows, path = purchases
    found = results(path, "--split", "last", "--kind", "popularity", "-k", 2, "-k", 5)
    last = {user: max((day, item) for of, item, day in rows if of == user) for user in range(30)}
    held = [(user, item, day) for user, item, day in rows if last[user] == (day, item)]
    held_out, fit = rows_as_sets(held), rows_as_sets([row for row in rows if row not in held])
    assert all(len(items) == 1 for items in held_out)
    assert found["metrics"] == pytest.approx(slow(popularity(fit, 20, 30), fit, held_out, (2, 5)), abs=1e-12)


def test_split_time(purchases):
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


def test_a_cut_is_a_moment_in_utc(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert recall_data.seconds_of("1970-01-02") == 86_400
    time.tzset()
    assert recall_data.seconds_of("1970-01-02") == 86_400
    assert recall_data.seconds_of("1970-01-02T01:00:00") == 90_000
    assert recall_data.seconds_of("1970-01-02T01:00:00+01:00") == 86_400


@pytest.mark.parametrize("rule", ["users", "items", "last", "time"])
def test_validate_on_a_table_stays_in_the_training_part(purchases, seen, rule):
    cut = ["--cut", "2021-10-06"] if rule == "time" else []
    results(purchases[1], "--split", rule, *cut, *QUICK)
    training = sets(seen["fit"])
    found = results(purchases[1], "--split", rule, *cut, *QUICK, "--validate", 0.2)
    parts = [a | b for a, b in zip(sets(seen["fit"]), sets(seen["held_out"]), strict=True)]
    assert parts == training
    assert found["data"]["held_out"] > 0
    assert found["data"]["rule"].startswith(f"validate 0.2 of the training part of split {rule}")


def test_held_out_items_without_an_owner_are_said(tmp_path):
    sp.save_npz(tmp_path / "train.npz", sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 0]])))
    sp.save_npz(tmp_path / "test.npz", sp.csr_matrix(np.array([[0, 0, 1, 1], [0, 1, 1, 0]])))
    result = run(tmp_path, "--kind", "popularity", "-k", 1)
    assert "3 of 4 held-out interactions are of items that nobody in the training part owns" in result.stderr
    assert re.search(r"^recall@1 +0\.50000$", result.stdout, re.MULTILINE)  # by item number: 1/2 and 1/2


# what is refused


def test_nothing_given(pair):
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
def test_wrong_options_of_a_table(purchases, options, words):
    check_error(run(purchases[1], *options, "--kind", "popularity"), *words)


def test_a_table_without_times_or_that_is_missing(tmp_path):
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
def test_broken_matrices(tmp_path, name, part):
    save, words = BROKEN[name]
    archive(indices=np.array([1, 0]))(tmp_path / f"{'test' if part == 'train' else 'train'}.npz")
    save(tmp_path / f"{part}.npz")
    check_error(run(tmp_path, "--kind", "popularity"), f"{part}.npz", words)


def test_a_pickle_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    archive(data=np.array([Trap()], dtype=object))(tmp_path / "train.npz")
    check_error(run(tmp_path, "--validate", 0.2), "pickled objects")
    assert not (tmp_path / "sprung").exists()


def test_pairs_that_do_not_fit_together(tmp_path):
    train, test = tmp_path / "train.npz", tmp_path / "test.npz"
    sp.save_npz(train, sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 1]])))
    sp.save_npz(test, sp.csr_matrix(np.array([[0, 1, 1], [0, 1, 1]])))
    check_error(run(tmp_path, "--kind", "popularity"), "3 of the 4 pairs", "test.npz", "train.npz")
    sp.save_npz(test, sp.csr_matrix(np.array([[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]])))
    check_error(
        run(tmp_path, "--kind", "popularity"), "no pair within the 2 users × 3 items", "alike in both"
    )
    sp.save_npz(test, sp.csr_matrix((2, 3)))
    check_error(run(tmp_path, "--kind", "popularity"), "nothing is held out")
    sp.save_npz(train, sp.csr_matrix((2, 3)))
    check_error(run(tmp_path, "--kind", "popularity"), "no interaction")
    sp.save_npz(train, sp.identity(3, format="csr"))
    check_error(run(tmp_path, "--kind", "popularity", "--validate", 0.5), "nothing is held out")


def test_users_and_items_beyond_the_training_matrix_are_left_out(pair):
    """They are counted, and the figures are those without them; a smaller test matrix has nothing there."""
    _, test, n_items, folder = pair
    arguments = (folder, "--kind", "popularity", "-k", 5)
    expected = results(*arguments)["metrics"]
    whole = sp.lil_matrix((len(test) + 2, n_items + 3))
    for user, items in enumerate(test):
        whole[user, sorted(items)] = 1
    whole[0, n_items] = whole[1, n_items + 2] = whole[len(test), 4] = whole[len(test) + 1, n_items + 2] = 1
    sp.save_npz(folder / "test.npz", sp.csr_matrix(whole))
    result = run(*arguments, "--json")
    assert json.loads(result.stdout)["metrics"] == expected
    assert "4 of the " in result.stderr
    assert (
        "are of 2 users and 2 items that the training matrix does not know, and are left out" in result.stderr
    )
    sp.save_npz(folder / "test.npz", sp.csr_matrix(whole)[:50, :n_items])
    assert results(*arguments)["metrics"] != expected


def test_an_error_comes_before_training(pair, monkeypatch):
    monkeypatch.setattr(script, "fit_settings", lambda *args, **kwargs: pytest.fail("trained"))
    check_error(run(pair[3], "-k", 0), "at least 1")
    sp.save_npz(pair[3] / "test.npz", sp.csr_matrix((60, 40)))
    check_error(run(pair[3]), "nothing is held out")


@pytest.mark.parametrize(("n_users", "fraction"), [(2, 0.01), (2, 0.99), (7, 0.5), (400, 0.2)])
def test_users_to_test(n_users, fraction):
    users = recall_data.users_to_test(n_users, fraction, np.random.default_rng(5))
    assert len(users) == min(max(1, round(fraction * n_users)), n_users - 1)
    assert (np.diff(users) > 0).all()  # rising, none twice
    assert users[0] >= 0
    assert users[-1] < n_users
    again = recall_data.users_to_test(n_users, fraction, np.random.default_rng(5))
    np.testing.assert_array_equal(users, again)
    drawn = [recall_data.users_to_test(n_users, fraction, np.random.default_rng(seed)) for seed in range(200)]
    assert set(np.concatenate(drawn)) == set(range(n_users))


def test_users_that_cannot_be_held_out():
    rng = np.random.default_rng(0)
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            recall_data.users_to_test(10, fraction, rng)
    with pytest.raises(DataError, match="at least 2 users, but there is 1"):
        recall_data.users_to_test(1, 0.2, rng)
