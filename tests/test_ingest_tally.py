"""Counting pairs of users and items a word at a time, beside counting them one by one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recae.filters import Filters
from recae.ingest import read_with_report, tally
from recae.ingest.tally import PairCounts

Pairs = Counter[tuple[int, int]]


def counted(held: PairCounts, users: np.ndarray, rank: np.ndarray) -> Pairs:
    """The counts of all pairs, by the numbers of both, once their order has been looked at."""
    lengths, items, counts = held.pairs(users, rank)
    assert (items.dtype, counts.dtype) == (np.int32, np.int32)
    for mine in np.split(items, np.cumsum(lengths)[:-1]):
        assert (np.diff(mine) > 0).all()
    number = np.argsort(rank)
    found = zip(np.repeat(users, lengths).tolist(), number[items].tolist(), strict=True)
    return Pairs(dict(zip(found, counts.tolist(), strict=True)))


def filled(
    rng: np.random.Generator, n_users: int, n_items: int, rows: int, parts: int
) -> tuple[PairCounts, Pairs]:
    """Rows of which many repeat, in some parts; users that come late are among them."""
    held, expected = PairCounts(), Pairs()
    for part in range(parts):
        known = max(1, n_users * (part + 1) // parts)
        users = np.minimum(rng.geometric(min(1, 4 / n_users), rows), known).astype(np.int32) - 1
        items = (rng.integers(0, min(n_items, 9), rows) * max(1, n_items // 9) % n_items).astype(np.int32)
        held.add(users, items)
        expected.update(zip(users.tolist(), items.tolist(), strict=True))
    return held, expected


@pytest.mark.parametrize("seed", range(16))
def test_pairs_are_counted_in_the_order_asked_for(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # With a small limit some runs are folded, more than once.
    for name, size in (
        ("_BUFFER", 300),
        ("_PENDING", [10**9, 400][seed % 2]),
        ("_ROWS", [50, 10**6][seed % 3 == 0]),
    ):
        monkeypatch.setattr(tally, name, size)
    n_users, n_items = [1, 15, 700, 3000][seed % 4], [1, 7, 300, 70_000, 20_000_000][seed % 5]
    held, expected = filled(rng, n_users, n_items, 250, 12)
    user, item = next(iter(expected))
    assert held.count_of(user=user) == sum(count for (who, _), count in expected.items() if who == user)
    assert held.count_of(item=item) == sum(count for (_, what), count in expected.items() if what == item)
    assert held.count_of(user=n_users + 5000) == held.count_of(item=n_items) == 0
    everyone = max(user for user, _ in expected) + 1  # some of whom may have nothing
    assert counted(held, rng.permutation(everyone), rng.permutation(n_items).astype(np.int32)) == expected
    assert held.count_of(user=user) == 0  # the rows are gone, and so is their memory


@pytest.mark.parametrize("bits", [64, 30, 10])
def test_counts_beside_the_words_where_these_are_full(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(tally, "_BUFFER", 200)
    monkeypatch.setattr(tally, "_PENDING", 500)
    monkeypatch.setattr(tally, "_WORD", bits)
    rng = np.random.default_rng(bits)
    held, expected = filled(rng, 700, 300, 150, 20)
    assert held._folded  # so that there are counts before the last time
    assert counted(held, np.arange(700), np.arange(300, dtype=np.int32)) == expected


def test_rows_that_occur_very_often_take_words_of_64_bits() -> None:
    held = PairCounts()
    users, items = np.array([0, 1], np.int32), np.array([2**23, 3], np.int32)
    for _ in range(3):
        held.add(users, items)
    held._fold()
    (run,) = held._runs
    assert (run.words.dtype, run.more is not None and run.more.tolist()) == (np.uint32, [2, 2])
    held._runs = [tally._Run(run.ends, run.words, np.array([2**20, 5], np.uint32))]
    rank = np.arange(2**23 + 1, dtype=np.int32)
    assert counted(held, np.arange(2), rank) == {(0, 2**23): 2**20 + 1, (1, 3): 6}


def test_nothing() -> None:
    lengths, items, counts = PairCounts().pairs(np.zeros(0, np.int64), np.zeros(0, np.int32))
    assert lengths.size == items.size == counts.size == 0


def test_what_filters_leave_of_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"i{i}") for u, i in zip(rng.integers(0, 40, 500), rng.integers(0, 25, 500), strict=True)
    ]
    path = tmp_path / "p.csv"
    path.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in rows))
    out = {"i3", "i7"}
    left = Counter(row for row in rows if row[1] not in out)
    owned = Counter(user for user, _ in left)
    expected = {row: count for row, count in left.items() if owned[row[0]] >= 6}
    found, report = read_with_report(path, filters=Filters(exclude_items=[*out, "i99"], min_user_purchases=6))
    matrix = found.matrix.tocoo()
    users, items = list(found.users), list(found.items)
    pairs = ((users[row], items[column]) for row, column in zip(matrix.row, matrix.col, strict=True))
    assert dict(zip(pairs, found.counts.tolist(), strict=True)) == expected
    assert report.filtered == {
        "excluded item": sum(item in out for _, item in rows),
        "user of too few items": left.total() - sum(expected.values()),
    }
    assert 0 < len(expected) < len(left)
