"""Splits: disjoint, complete, within their sizes, repeatable from the generator, and right about time."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from plainkeys import plain_pair_key
from shops import in_microseconds

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.interactions import NO_TIME, Interactions
from recae.sparse import without
from recae.splits.parts import TIES, fold_in_split, leave_last_out, split_by_time

FRACTIONS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**32 - 1)


def bought(
    pairs: dict[tuple[int, int], int] | None, shape: tuple[int, int], timed: bool = True
) -> Interactions:
    """Interactions from {(user, item): time}."""
    keys = sorted(pairs or {})
    matrix = sp.csr_matrix(
        (np.ones(len(keys), dtype=np.float32), ([u for u, _ in keys], [i for _, i in keys])), shape=shape
    )
    return Interactions(
        matrix,
        IdMap(f"u{u}" for u in range(shape[0])),
        IdMap(f"i{i}" for i in range(shape[1])),
        in_microseconds(pairs[key] for key in keys) if pairs and timed else None,
        np.ones(len(keys), dtype=np.int32),
    )


def pairs_of(matrix: sp.csr_matrix) -> set[tuple[int, int]]:
    rows, columns = matrix.nonzero()
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def check_parts(whole: sp.csr_matrix, history: sp.csr_matrix, held_out: sp.csr_matrix) -> None:
    assert history.shape == held_out.shape == whole.shape
    assert history.dtype == held_out.dtype == whole.dtype
    assert history.has_sorted_indices
    assert history.nnz + held_out.nnz == whole.nnz
    assert not pairs_of(history) & pairs_of(held_out)
    assert pairs_of(history) | pairs_of(held_out) == pairs_of(whole)


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(0, 6), st.integers(1, 30))),
    FRACTIONS,
    SEEDS,
)
def test_fold_in_split(dense, fraction, seed):
    whole = sp.csr_matrix(dense.astype(np.float32))
    before = whole.copy()
    history, held_out = fold_in_split(whole, fraction, rng=np.random.default_rng(seed))
    check_parts(whole, history, held_out)
    for n, n_held in zip(np.diff(whole.indptr), np.diff(held_out.indptr), strict=True):
        assert n_held == (0 if n < 2 else min(max(1, round(fraction * int(n))), n - 1))
    again, _ = fold_in_split(whole, fraction, rng=np.random.default_rng(seed))
    assert pairs_of(again) == pairs_of(history)
    history.data[:] = 7
    np.testing.assert_array_equal(whole.toarray(), before.toarray())


def test_fold_in_split_holds_every_item_out_equally_often():
    whole = sp.csr_matrix(np.ones((4000, 5), dtype=np.float32))
    _, held_out = fold_in_split(whole, 0.2, rng=np.random.default_rng(3))
    share = np.bincount(held_out.indices, minlength=5) / 4000
    # 0.2 each; five standard deviations of a share over 4,000 users
    assert np.abs(share - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 4000)


TIMES = st.sampled_from([NO_TIME, -5, 0, 1, 2, 3])
BOUGHT = st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 6)), TIMES, min_size=1)


@given(BOUGHT, st.integers(0, 2**63 - 1), st.sampled_from(TIES))
def test_leave_last_out(pairs, seed, ties):
    interactions = bought(pairs, (5, 7))
    history, held_out = leave_last_out(interactions, seed, ties)
    check_parts(interactions.matrix, history, held_out)
    wanted = set()
    for user in range(5):
        own = {item: time for (u, item), time in pairs.items() if u == user}
        latest = max(own.values(), default=NO_TIME)
        last = [item for item, time in own.items() if time == latest != NO_TIME and len(own) >= 2]
        if ties == "random":
            last = sorted(last, key=lambda item: plain_pair_key(f"u{user}", f"i{item}", seed))[:1]
        elif len(last) == len(own):
            last = []  # nothing would be left to find it from
        wanted |= {(user, item) for item in last}
    assert pairs_of(held_out) == wanted


@given(BOUGHT, st.integers(-6, 4))
def test_split_by_time(pairs, cut):
    interactions = bought(pairs, (5, 7))
    later = {pair for pair, time in pairs.items() if time != NO_TIME and time >= cut}
    if not later or len(later) == len(pairs):
        with pytest.raises(DataError, match="leaves one side empty"):
            split_by_time(interactions, cut)
        return
    history, held_out = split_by_time(interactions, cut)
    check_parts(interactions.matrix, history, held_out)
    assert pairs_of(held_out) == later


def test_bad_arguments():
    rng = np.random.default_rng(0)
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            fold_in_split(sp.csr_matrix((1, 1)), fraction, rng=rng)
    untimed = bought({(0, 0): 1, (0, 1): 2}, (1, 2), timed=False)
    for split in (leave_last_out, lambda interactions: split_by_time(interactions, 1)):
        with pytest.raises(DataError, match="name a time column"):
            split(untimed)


@given(hnp.arrays(np.bool_, (4, 5)), hnp.arrays(np.bool_, (4, 5)))
def test_without(one, other):
    left = without(sp.csr_matrix(one.astype(np.float32)), sp.csr_matrix(other.astype(np.float32)))
    np.testing.assert_array_equal(left.toarray(), one & ~other)
    assert left.has_sorted_indices
    assert left.dtype == np.float32
