"""Figures of the lists: against their definitions in loops over sets, by hand, and where there is nothing to count."""

import itertools
import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recae.errors import ConfigError, DataError
from recae.evaluation import set_figures, sets


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def slow(ranked: list[list[int]], owners: list[set[int]], n_users: int, k: int) -> dict[str, float]:
    """The definitions, with the set of users who own each item."""
    lists = [[i for i in row[:k] if i != -1] for row in ranked]
    shown = [i for row in lists for i in row]

    def cosine(i: int, j: int) -> float:
        size = math.sqrt(len(owners[i])) * math.sqrt(len(owners[j]))
        return len(owners[i] & owners[j]) / size if size else 0.0

    return {
        f"coverage@{k}": len(set(shown)) / len(owners),
        f"novelty@{k}": mean([-math.log2(max(len(owners[i]), 1) / n_users) for i in shown]),
        f"popularity_bias@{k}": mean([len(owners[i]) / n_users for i in shown]),
        f"diversity@{k}": mean(
            [
                1 - mean([cosine(i, j) for i, j in itertools.combinations(row, 2)])
                for row in lists
                if len(row) > 1
            ]
        ),
    }


@st.composite
def problems(draw):
    """Lists with padding anywhere, and owners of items, some of which nobody owns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_users, n_items = draw(st.integers(1, 12)), draw(st.integers(1, 15))
    n_lists, n = draw(st.integers(0, 9)), draw(st.integers(1, 10))
    ranked = np.full((n_lists, n), -1)
    for row in ranked:
        places = rng.permutation(n)[: rng.integers(0, min(n, n_items) + 1)]
        row[places] = rng.permutation(n_items)[: len(places)]
    train = sp.csr_matrix(
        (rng.random((n_users, n_items)) < rng.choice([0, 0.2, 0.9], n_items)).astype(np.float32)
    )
    return ranked, train, draw(st.lists(st.integers(1, n), min_size=1, max_size=4, unique=True))


@given(problems())
def test_agrees_with_the_definitions(problem):
    ranked, train, ks = problem
    owners = [set(train[:, i].nonzero()[0]) for i in range(train.shape[1])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = set_figures(ranked, train, ks)
    assert list(found) == [f"{name}@{k}" for name in sets.FIGURES for k in ks]
    for k in ks:
        for name, value in slow(ranked.tolist(), owners, train.shape[0], k).items():
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True)


def test_diversity_is_one_minus_the_mean_of_the_dense_cosines():
    rng = np.random.default_rng(8)
    train = sp.csr_matrix((rng.random((300, 50)) < rng.uniform(0.01, 0.6, 50)).astype(np.float32))
    ranked = np.stack([rng.permutation(50)[:20] for _ in range(700)])  # enough for several threads
    dense = train.toarray().astype(np.float64)
    cosines = dense.T @ dense / np.outer(*[np.linalg.norm(dense, axis=0)] * 2)
    above = np.triu_indices(20, 1)
    wanted = 1 - np.mean([cosines[np.ix_(row, row)][above].mean() for row in ranked])
    found = [set_figures(ranked, train, (5, 20), threads=threads) for threads in (1, 2, None)]
    assert found[0]["diversity@20"] == pytest.approx(wanted, rel=1e-12)
    assert found[0] == found[1] == found[2]


def test_by_hand():
    # item 0 is owned by all four users, 1 by one, 2 by two, 3 by nobody
    train = sp.csr_matrix(
        np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=np.float32)
    )
    found = set_figures(np.array([[0, 1], [0, 2], [3, -1]], dtype=np.int32), train, (1, 2))
    assert found["coverage@1"] == 2 / 4
    assert found["coverage@2"] == 1
    assert found["novelty@2"] == (0 + 2 + 0 + 1 + 2) / 5  # the item that nobody owns as one of one owner
    assert found["popularity_bias@2"] == (1 + 1 / 4 + 1 + 2 / 4 + 0) / 5
    assert found["diversity@2"] == pytest.approx(1 - (1 / 2 + 2 / math.sqrt(8)) / 2)
    assert math.isnan(found["diversity@1"])  # no list has a pair


def test_items_of_the_same_owners_are_all_alike_and_those_of_others_all_different():
    train = sp.csr_matrix(np.repeat(np.eye(2, dtype=np.float32), 3, axis=1))
    assert set_figures(np.array([[0, 1, 2]]), train, (3,))["diversity@3"] == pytest.approx(0, abs=1e-12)
    assert set_figures(np.array([[0, 3]]), train, (2,))["diversity@2"] == 1


def test_lists_without_items():
    found = set_figures(np.full((3, 4), -1), sp.csr_matrix(np.eye(5, dtype=np.float32)), (4,))
    assert found.pop("coverage@4") == 0
    assert len(found) == 3
    assert all(math.isnan(value) for value in found.values())


def test_purchases_are_a_pattern():
    # stored twice, or with the value 0, is owned once; the matrix stays as it was
    columns, ends = np.array([0, 1, 1, 1, 0]), np.array([0, 4, 5])
    often = sp.csr_matrix((np.array([0.0, 3.0, 1.0, 2.0, 7.0]), columns, ends), shape=(2, 2))
    once = sp.csr_matrix(np.array([[1, 1], [1, 0]], dtype=np.float32))
    ranked = np.array([[0, 1]])
    assert set_figures(ranked, often, (2,)) == set_figures(ranked, once, (2,))
    assert often.nnz == 5


def test_bad_arguments():
    train = sp.csr_matrix(np.eye(3, dtype=np.float32))
    ranked = np.array([[0, 1]])
    for k in (0, 3):
        with pytest.raises(ConfigError, match=f"figures at {k} need .* but they have 2"):
            set_figures(ranked, train, (1, k))
    with pytest.raises(ConfigError, match="threads must be at least 1"):
        set_figures(ranked, train, (1,), threads=0)
    with pytest.raises(DataError, match=r"matrix \(users, places\)"):
        set_figures(ranked[0], train, (1,))
    with pytest.raises(DataError, match=r"outside -1 \.\. 2"):
        set_figures(np.array([[0, 3]]), train, (1,))
    with pytest.raises(DataError, match="same item twice"):
        set_figures(np.array([[1, 1]]), train, (1,))
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(DataError, match="need training users and items"):
            set_figures(ranked, sp.csr_matrix(shape, dtype=np.float32), (1,))
