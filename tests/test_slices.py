"""Slices: who and what is in each, against loops over users, and at the edges."""

import dataclasses
import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recae.errors import ConfigError, DataError
from recae.evaluation import Slice, slices
from recae.evaluation.slices import popularity_classes
from recae.ids import IdMap
from recae.metrics import METRICS
from recae.splits.tasks import Task


def matrix(rows, n_items: int) -> sp.csr_matrix:
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.array([i for row in rows for i in sorted(row)], dtype=np.int32)
    return sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), n_items))


def make(histories, held_out, train=None, n_items: int = 10, exclude_owned: bool = True) -> Task:
    histories, held_out = matrix(histories, n_items), matrix(held_out, n_items)
    train = histories if train is None else matrix(train, n_items)
    return Task(
        protocol="weak",
        rule="",
        fit=train,
        validation=None,
        histories=histories,
        held_out=held_out,
        test_users=tuple(map(str, range(histories.shape[0]))),
        items=IdMap(pa.array([str(i) for i in range(n_items)])),
        exclude_owned=exclude_owned,
        lost=0,
        fold=0,
        train=train,
    )


def of_lengths(*lengths: int) -> dict[str, int]:
    """Names and users of the history slices of users with so many items."""
    task = make([range(n) for n in lengths], [{0}] * len(lengths), n_items=max(lengths, default=1))
    ranked = np.zeros((len(lengths), 1), dtype=np.int32)
    return {s.name: s.n_users for s in slices(ranked, task, k=1)["history"]}


def test_thirds_of_the_history_lengths():
    assert of_lengths(9, 2, 3, 7, 4, 30) == {"2–3 items": 2, "4–7 items": 2, "9–30 items": 2}
    assert of_lengths(1, 2, 3) == {"1 item": 1, "2 items": 1, "3 items": 1}
    assert of_lengths(1, 1, 2, 2, 2, 2, 5, 6, 7) == {
        "1–2 items": 6,
        "5–7 items": 3,
    }  # those of 2 stay together
    assert of_lengths(2, 3, 4, 5) == {"2–3 items": 2, "4 items": 1, "5 items": 1}
    assert of_lengths(999, 1000, 1234) == {"999 items": 1, "1,000 items": 1, "1,234 items": 1}


def test_few_users_and_users_alike():
    assert of_lengths() == {}
    assert of_lengths(5) == {"5 items": 1}
    assert of_lengths(5, 1) == {"1 item": 1, "5 items": 1}
    assert of_lengths(4, 4, 4, 4, 4) == {"4 items": 5}
    assert of_lengths(0, 3) == {"0 items": 1, "3 items": 1}


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_users, n_items = draw(st.integers(1, 25)), draw(st.integers(2, 12))

    def some(low: int) -> list[set[int]]:
        return [
            set(rng.permutation(n_items)[: rng.integers(low, n_items + 1)].tolist()) for _ in range(n_users)
        ]

    task = make(some(0), some(0), some(1), n_items, exclude_owned=draw(st.booleans()))
    ranked = np.stack([rng.permutation(n_items)[:2] for _ in range(n_users)])
    return ranked, task


@given(problems(), st.sampled_from(sorted(METRICS)))
def test_agrees_with_loops_over_users(problem, metric):
    ranked, task = problem
    found = slices(ranked, task, metric, 2)
    n_users, n_items = task.held_out.shape

    def measured(user: int, held: set[int]) -> float:
        return METRICS[metric](ranked[[user]], matrix([held], n_items), 2)[0]

    held = [set(task.held_out[u].indices.tolist()) for u in range(n_users)]
    owned = [set(task.histories[u].indices.tolist()) for u in range(n_users)]

    # history: each user who has a value in exactly one slice, and shorter ones in earlier slices
    whole = [measured(u, held[u]) for u in range(n_users)]
    values = np.array([s.values for s in found["history"]]).reshape(-1, n_users)
    for u in range(n_users):
        inside = values[np.isfinite(values[:, u]), u]
        assert inside.tolist() == ([] if math.isnan(whole[u]) else [whole[u]])
    lengths = [{len(owned[u]) for u in range(n_users) if np.isfinite(row[u])} for row in values]
    for shorter, longer in itertools.pairwise(lengths):
        assert max(shorter) < min(longer)
    assert all(s.n_users == np.isfinite(s.values).sum() > 0 for s in found["history"])

    # popularity: head until half of the purchases are reached, torso until four fifths
    counts = np.bincount(task.train.indices, minlength=n_items).tolist()
    done, classes = 0, {}
    for item in sorted(range(n_items), key=lambda i: (-counts[i], i)):
        head, torso = done < 0.5 * sum(counts), done * 10 < 8 * sum(counts)
        classes[item] = "head" if head else "torso" if torso else "tail"
        done += counts[item]
    assert [s.name for s in found["popularity"]] == ["head", "torso", "tail"]
    for part in found["popularity"]:
        wanted = [measured(u, {i for i in held[u] if classes[i] == part.name}) for u in range(n_users)]
        np.testing.assert_array_equal(part.values, wanted)

    assert ("repeat" in found) is not task.exclude_owned
    if not task.exclude_owned:
        new, before = found["repeat"]
        assert (new.name, before.name) == ("new items", "bought before")
        np.testing.assert_array_equal(new.values, [measured(u, held[u] - owned[u]) for u in range(n_users)])
        np.testing.assert_array_equal(
            before.values, [measured(u, held[u] & owned[u]) for u in range(n_users)]
        )


def test_classes_of_popularity():
    def classes(*counts: int) -> list[int]:
        rows = [[i for i, n in enumerate(counts) if n > user] for user in range(max(counts, default=0))]
        return popularity_classes(matrix(rows, len(counts))).tolist()

    assert classes(10, 1, 5, 2, 2) == [0, 2, 1, 1, 2]  # 10 of 20; 5 and 2 more reach 16 with 17, not with 15
    assert classes(1, 1, 1, 1, 1, 1, 1, 1, 1, 1) == [0] * 5 + [1] * 3 + [2] * 2
    assert classes(3) == [0]
    assert classes(0, 4, 0) == [2, 0, 2]  # what nobody bought is tail
    assert classes(0, 0) == [2, 2]


def test_an_empty_class_has_no_users():
    task = make([{0, 1}, {0}], [{2}, {2}], [{2}, {2}, {2}], 3, exclude_owned=False)
    found = slices(np.array([[2], [1]]), task, "recall", 1)
    assert {s.name: s.n_users for s in found["popularity"]} == {"head": 2, "torso": 0, "tail": 0}
    assert {s.name: s.n_users for s in found["repeat"]} == {"new items": 2, "bought before": 0}
    assert found["popularity"][0].values.tolist() == [1, 0]
    assert np.isnan(found["repeat"][1].values).all()


def test_a_user_with_nothing_held_out_is_in_no_slice():
    task = make([{0}, {0, 1}, {0, 1, 2}], [{3}, set(), {4}])
    found = slices(np.array([[3], [3], [3]]), task, "recall", 1)
    assert {s.name: s.n_users for s in found["history"]} == {"1 item": 1, "3 items": 1}
    assert all(np.isnan(s.values[1]) for kind in found.values() for s in kind)
    nobody = make([{0}], [set()])
    assert slices(np.array([[3]]), nobody, "recall", 1)["history"] == []


def test_folds_follow_one_another_each_with_its_own_items():
    first = make([{0}, {0, 1, 2}], [{3}, {1}], [{3}, {3}], 5, exclude_owned=False)
    second = make([{0, 1}], [{6, 2}], [{6}, {6}, {1}], 8, exclude_owned=False)
    ranked = np.array([[3, 0], [1, 0], [7, 6]])
    found = slices(ranked, [first, second], "recall", 2)
    assert [s.name for s in found["history"]] == ["1 item", "2 items", "3 items"]  # thirds of all users
    whole = np.nanmax([s.values for s in found["history"]], axis=0)
    assert whole.tolist() == [1, 1, 0.5]
    head, _, tail = found["popularity"]
    np.testing.assert_array_equal(head.values, [1, np.nan, 1])
    np.testing.assert_array_equal(tail.values, [np.nan, 1, 0])
    np.testing.assert_array_equal(found["repeat"][1].values, [np.nan, 1, np.nan])


def test_bad_arguments():
    task = make([{0}, {1}], [{2}, {3}])
    ranked = np.array([[2, 3], [2, 3]])
    with pytest.raises(ConfigError, match="no metric 'auc'"):
        slices(ranked, task, "auc", 2)
    with pytest.raises(ConfigError, match="metrics at 20 need lists of 20 items, but they have 2"):
        slices(ranked, task)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        slices(ranked, task, k=0)
    with pytest.raises(ConfigError, match="need a task"):
        slices(ranked, [], k=1)
    for wrong in (ranked[:1], np.vstack([ranked, ranked])):
        with pytest.raises(DataError, match="one list for each user"):
            slices(wrong, task, k=2)
        with pytest.raises(DataError, match="one list for each user"):
            slices(wrong, [task, dataclasses.replace(task, fold=1)], k=2) if len(wrong) < 2 else slices(
                wrong[:3], [task, task], k=2
            )


def test_a_slice_counts_those_with_a_value():
    assert Slice("head", np.array([0.0, np.nan, 1.0])).n_users == 2
