"""Counting pairs of users and items a word at a time."""

from collections import Counter

import numpy as np
import pytest

from recae.ingest import runs, tally
from recae.ingest.narrow import Narrow
from recae.ingest.pairs import Layout, gather
from recae.ingest.runs import Runs


def counted(found: list[tally.Tally], users: np.ndarray) -> Counter[tuple[int, int]]:
    """The counts of all pairs, the items by rank."""
    counts: Counter[tuple[int, int]] = Counter()
    for part in found:
        owners = np.repeat(users[part.start : part.stop], part.lengths)
        for user, item, count in zip(owners, part.items, part.counts, strict=True):
            assert (user, item) not in counts
            counts[int(user), int(item)] = int(count)
    return counts


@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_counted_in_the_order_asked_for(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # With a small limit some runs are folded, so that their counts take bits of their own.
    for name, size in (("_BUFFER", 30), ("_PENDING", [10**9, 100][seed % 2]), ("_BLOCK", 25)):
        monkeypatch.setattr(runs, name, size)
    n_items = [1, 7, 300, 70_000][seed % 4]
    held, expected = Runs(0), Counter[tuple[int, int]]()
    rank = rng.permutation(n_items).astype(np.int32)
    for _ in range(20):
        users = np.minimum(rng.geometric(0.2, 20), 15).astype(np.int32) - 1
        items = rng.integers(0, min(n_items, 9), 20).astype(np.int32) * (n_items // 10 or 1) % n_items
        held.add(users, items, [])
        expected.update(zip(users.tolist(), rank[items].tolist(), strict=True))
    order = rng.permutation(np.array(sorted({user for user, _ in expected})))
    assert held.rows_of_users(15).sum() >= len(expected)
    found = held.tallies(order, rank)
    assert found is not None
    parts = list(found)
    assert counted(parts, order) == expected
    for part in parts:
        for items in np.split(part.items, np.cumsum(part.lengths)[:-1]):
            assert (np.diff(items) > 0).all()
    assert not held.rows_of_users(15).any()  # their memory is given back


def test_words_are_as_narrow_as_they_can_be() -> None:
    # 17 bits of items, 14 of users and 2 of counts are more than 32; without the counts they are not
    rng = np.random.default_rng(0)
    users, items = np.arange(10_000), rng.integers(0, 2**17, 10_000)
    for most in (1, 3):
        counts = rng.integers(1, most + 1, 10_000)
        counts[:2] = 1, most
        run = tally.Grouped(np.arange(1, 10_001), Narrow.of(items), Narrow.of(counts))
        found = tally.tallies([run], [(0, 10_000, 10_000)], users, np.arange(2**17, dtype=np.int32))
        assert found is not None
        assert counted(list(found), users) == dict(
            zip(zip(users.tolist(), items.tolist(), strict=True), counts.tolist(), strict=True)
        )


def test_what_takes_more_than_a_word_is_sorted_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    held, rank = Runs(0), np.array([2, 0, 1], dtype=np.int32)
    held.add(np.array([0, 1, 0, 1], np.int32), np.array([2, 0, 2, 1], np.int32), [])
    held._group_all()
    run = held._runs[0]
    run.columns[-1] = Narrow.of(np.array([1, 2**62, 1, 1]))
    assert held.tallies(np.array([1, 0]), rank) is None
    run.columns[-1] = Narrow(4, 1, None)
    monkeypatch.setattr(runs, "tallies", lambda *given: None)
    found = gather(held, Layout(False, False, False), np.array([1, 0]), rank, None, with_rows=False)
    assert found.matrix.toarray().tolist() == [[1, 0, 1], [0, 1, 0]]
    assert found.counts.tolist() == [1, 1, 2]


def test_rows_with_more_columns_are_not_tallied() -> None:
    held = Runs(1)
    held.add(np.array([0], np.int32), np.array([0], np.int32), [np.array([5])])
    assert held.tallies(np.array([0]), np.zeros(1, np.int32)) is None
    assert Runs(0).tallies(np.zeros(0, np.int64), np.zeros(0, np.int32)) is None
