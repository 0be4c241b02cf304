"""The core is what a slow peeling leaves, one user or item at a time; and the subsets of purchases that go with it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from shops import peeled

from recae.ids import IdMap
from recae.interactions import Events, Interactions
from recae.kcore import IN_CORE, RARE_ITEM, SHORT_HISTORY, core_of

Pairs = set[tuple[int, int]]


def matrix_of(pairs: Pairs, n_users: int, n_items: int) -> sp.csr_matrix:
    rows = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows[:, 0], rows[:, 1])), shape=(n_users, n_items))


@given(
    st.sets(st.tuples(st.integers(0, 8), st.integers(0, 7)), max_size=60),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 5),
)
def test_the_core_is_what_peeling_in_any_order_leaves(
    pairs: Pairs, least_items: int, least_users: int, seed: int
) -> None:
    core = core_of(matrix_of(pairs, 9, 8), least_items, least_users)
    left = peeled(pairs, least_items, least_users, np.random.default_rng(seed))
    assert core.users.tolist() == sorted({u for u, _ in left})
    assert core.items.tolist() == sorted({i for _, i in left})
    assert {
        pair for pair, fate in zip(sorted(pairs), core.fates.tolist(), strict=True) if fate == IN_CORE
    } == left
    assert bool(core.rounds) == (left != pairs)
    if core.steps:
        assert core.steps[0][2] < len(pairs)
    if 0 < core.rounds <= len(core.steps):
        assert core.steps[-1] == (core.users.size, core.items.size, len(left))


def test_who_left_a_purchase_out_first() -> None:
    """u0 goes for want of items; then i3 for want of users, and u3 with it in the next round."""
    pairs = {(0, 3), (1, 0), (1, 1), (2, 0), (2, 1), (3, 3), (3, 0)}
    core = core_of(matrix_of(pairs, 5, 4), 2, 2)
    fates = dict(zip(sorted(pairs), core.fates.tolist(), strict=True))
    assert {pair for pair, fate in fates.items() if fate == SHORT_HISTORY} == {(0, 3), (3, 0)}
    assert {pair for pair, fate in fates.items() if fate == RARE_ITEM} == {(3, 3)}
    assert (core.users.tolist(), core.items.tolist()) == ([1, 2], [0, 1])
    assert core.steps == ((3, 2, 5), (2, 2, 4))
    assert core.rounds == 2


def test_a_chain_takes_as_many_rounds_as_it_is_long() -> None:
    """u0-i0-u1-i1-...: each round takes one user and one item off its end, a path has no core of two."""
    n = 2_000
    pairs = {(u, u) for u in range(n)} | {(u + 1, u) for u in range(n - 1)}
    core = core_of(matrix_of(pairs, n, n), 2, 2)
    assert (core.users.size, core.items.size, (core.fates == IN_CORE).sum()) == (0, 0, 0)
    assert core.rounds == n // 2
    ring = core_of(matrix_of(pairs | {(0, n - 1)}, n, n), 2, 2)
    assert (ring.users.size, ring.rounds, ring.steps) == (n, 0, ())


def shop(with_times: bool = True, with_names: bool = True) -> Interactions:
    rng = np.random.default_rng(0)
    matrix = sp.csr_matrix((rng.random((7, 6)) < 0.5).astype(np.float32))
    return Interactions(
        matrix,
        IdMap([f"u{n}" for n in range(7)]),
        IdMap([f"i{n}" for n in range(6)]),
        rng.integers(0, 100, matrix.nnz) if with_times else None,
        rng.integers(1, 9, matrix.nnz).astype(np.int32),
        pa.array([f"name {n}" for n in range(6)], pa.large_string()) if with_names else None,
    )


def entries(found: Interactions) -> dict[tuple[str, str], tuple[object, ...]]:
    users, items = list(found.users), list(found.items)
    coo = found.matrix.tocoo()
    return {
        (users[u], items[i]): (
            None if found.times is None else int(found.times[n]),
            int(found.counts[n]),
            None if found.item_names is None else found.item_names[int(i)].as_py(),
        )
        for n, (u, i) in enumerate(zip(coo.row, coo.col, strict=True))
    }


@pytest.mark.parametrize("whole", [True, False])
@given(st.sets(st.integers(0, 6)), st.sets(st.integers(0, 5)))
def test_a_subset_of_interactions_keeps_what_belongs_to_each_pair(
    whole: bool, users: set[int], items: set[int]
) -> None:
    everything = shop(whole, whole)
    found = everything.subset(np.array(sorted(users), np.int64), np.array(sorted(items), np.int64))
    assert list(found.users) == [f"u{n}" for n in sorted(users)]
    assert list(found.items) == [f"i{n}" for n in sorted(items)]
    wanted = {f"u{n}" for n in users}, {f"i{n}" for n in items}
    assert entries(found) == {
        pair: what
        for pair, what in entries(everything).items()
        if pair[0] in wanted[0] and pair[1] in wanted[1]
    }


@pytest.mark.parametrize("timed", [True, False])
@given(st.sets(st.integers(0, 4)), st.sets(st.integers(0, 5)), st.integers(0, 20))
def test_a_subset_of_events_is_numbered_as_if_the_others_had_never_been(
    timed: bool, users: set[int], items: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    user, item, when = rng.integers(0, 5, 60), rng.integers(0, 6, 60), rng.integers(0, 9, 60)
    events = Events.of(user, item, when, 5, 6, when if timed else None)
    rows = {u: n for n, u in enumerate(sorted(users))}
    columns = {i: n for n, i in enumerate(sorted(items))}
    left = [
        (rows[u], columns[i], t)
        for u, i, t in zip(user.tolist(), item.tolist(), when.tolist(), strict=True)
        if u in rows and i in columns
    ]
    part = np.array(left, dtype=np.int64).reshape(-1, 3).T
    wanted = Events.of(part[0], part[1], part[2], len(users), len(items), part[2] if timed else None)
    found = events.subset(np.array(sorted(users), np.int64), np.array(sorted(items), np.int64))
    assert found.fingerprint == wanted.fingerprint
    if timed:
        np.testing.assert_array_equal(found.time, wanted.time)
