"""Pairs of user and item: sorted at once, numbered first or grouped, they are what plain Python counts."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recae.interactions import NO_TIME
from recae.reading import pairs as pairing
from recae.reading import read
from recae.reading.engine import Engine
from recae.reading.pairs import Selection, gather_pairs

DAY = 86_400_000_000
Row = tuple[int, int, int | None, float, int]
TIMES = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.builds(lambda day, unit: day * unit, st.integers(-3, 3), st.sampled_from((DAY, 10**6, 10**3, 1))),
)
AMOUNTS = st.one_of(st.integers(-2, 5).map(float), st.sampled_from([0.5, 1e12, 3.0]))
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), TIMES, AMOUNTS, st.integers(0, 1)), max_size=40
)


@pytest.fixture(scope="module")
def engine():
    with Engine() as engine:
        yield engine


def counted_plainly(
    rows: list[Row], timed: bool, amounts: bool
) -> dict[tuple[int, int], tuple[int, int, float]]:
    """Count, last time and sum of quantities of each pair; equal rows of one known time count once."""
    seen: set[tuple[int | float, ...]] = set()
    found: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
    for user, item, time, amount, fate in rows:
        if fate:
            continue
        key = (user, item, time or 0, amount) if amounts else (user, item, time or 0)
        if timed and time is not None and (key in seen or seen.add(key)):  # type: ignore[func-returns-value]
            continue
        found[user, item].append((NO_TIME if time is None else time, amount))
    return {
        pair: (len(ones), max(time for time, _ in ones), sum(amount for _, amount in ones))
        for pair, ones in found.items()
    }


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("most", "way"), [(2**64, "at once"), (2**20, "some of each"), (2, "grouped")], ids=str
)
@pytest.mark.parametrize("timed", [True, False], ids=["timed", "untimed"])
@pytest.mark.parametrize("amounts", [True, False], ids=["amounts", "plain"])
@given(rows=ROWS)
def test_every_way_counts_the_same(
    engine: Engine, most: int, way: str, timed: bool, amounts: bool, rows: list[Row]
) -> None:
    columns = {
        "row": pa.array(range(1, len(rows) + 1), pa.int32()),
        "user": pa.array([row[0] for row in rows], pa.int32()),
        "item": pa.array([row[1] for row in rows], pa.int32()),
        "fate": pa.array([row[4] for row in rows], pa.uint8()),
    }
    columns |= {"time": pa.array([row[2] for row in rows], pa.int64())} if timed else {}
    columns |= {"quantity": pa.array([row[3] for row in rows], pa.float64())} if amounts else {}
    name = engine.register(pa.table(columns))
    selection = Selection(name, frozenset(columns), "true", len(rows), 4, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairing, "_MOST", most)
        patch.setattr(pairing, "_CHUNK", 7)
        found = gather_pairs(engine, selection, quantities=amounts)
    engine.unregister(name)
    expected = counted_plainly(rows, timed, amounts)
    assert list(zip(found.users.tolist(), found.items.tolist(), strict=True)) == sorted(expected)
    assert found.counts.tolist() == [expected[pair][0] for pair in sorted(expected)]
    if timed:
        assert found.times is not None
        assert found.times.tolist() == [expected[pair][1] for pair in sorted(expected)]
    else:
        assert found.times is None
    if amounts:
        assert found.quantities is not None
        sums = np.array([expected[pair][2] for pair in sorted(expected)], np.float64)
        tiny = np.finfo(np.float32).tiny
        np.testing.assert_allclose(found.quantities, np.maximum(sums, tiny), rtol=1e-6, atol=1e-6)


def test_pairs_are_numbered_first_where_they_do_not_fit_with_their_times(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    user, item = rng.integers(0, 2**20, 500), rng.integers(0, 2**19, 500)
    time = rng.integers(0, 2**31, 500) * 10**6
    again = rng.integers(0, 500, 300)  # some rows twice
    table = {
        "user": np.append(user, user[again]).astype(np.int32),
        "item": np.append(item, item[again]).astype(np.int32),
        "time": np.append(time, time[again]),
        "fate": np.zeros(800, np.uint8),
    }
    name = engine.register(pa.table(table))
    selection = Selection(name, frozenset(table), "true", 800, 2**20, 2**19)

    def refused(*_: object) -> None:
        raise AssertionError("grouped")

    monkeypatch.setattr(pairing, "_grouped", refused)
    found = gather_pairs(engine, selection, quantities=False)
    last: dict[tuple[int, int], int] = {}
    for u, i, t in zip(user.tolist(), item.tolist(), time.tolist(), strict=True):
        last[u, i] = max(last.get((u, i), 0), t)
    assert list(zip(found.users.tolist(), found.items.tolist(), strict=True)) == sorted(last)
    assert found.times is not None
    assert found.times.tolist() == [last[pair] for pair in sorted(last)]
    assert int(found.counts.sum()) == 500


def test_times_that_lie_too_far_apart_for_a_number_are_grouped(engine: Engine) -> None:
    times = [-(2**62) - 2**61, 2**62 + 2**61, 2**62 + 2**61]
    table = {
        "user": pa.array([0, 0, 0], pa.int32()),
        "item": pa.array([0, 0, 0], pa.int32()),
        "time": pa.array(times, pa.int64()),
        "fate": pa.array([0, 0, 0], pa.uint8()),
    }
    name = engine.register(pa.table(table))
    found = gather_pairs(engine, Selection(name, frozenset(table), "true", 3, 1, 1), quantities=False)
    assert found.counts.tolist() == [2]
    assert found.times is not None
    assert found.times.tolist() == [2**62 + 2**61]


@pytest.mark.parametrize("step", [1, 10**9], ids=["near", "far"])
def test_numbers_as_ids_are_looked_up_or_joined_alike(step: int) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(-50, 50, 2000) * step, rng.integers(0, 70, 2000) * step
    rows = list(zip(users.tolist(), items.tolist(), strict=True))
    shop = read([(str(u), str(i)) for u, i in rows]).interactions
    assert list(shop.users) == sorted({str(u) for u, _ in rows})
    found = shop.matrix.tocoo()
    entries = [(shop.users.id(u), shop.items.id(i)) for u, i in zip(found.row, found.col, strict=True)]
    expected = defaultdict(int)
    for u, i in rows:
        expected[str(u), str(i)] += 1
    assert dict(zip(entries, shop.counts.tolist(), strict=True)) == expected


def test_texts_that_come_late_are_not_lost() -> None:
    """The sample holds numbers alone; what comes behind it is stored when it is met."""
    rows = [(str(k % 400), str(k % 300)) for k in range(60_000)]
    for place in (31_000, 59_999):
        rows[place] = ("late", "0007")
    shop = read(rows).interactions
    assert "late" in set(shop.users)
    assert "0007" in set(shop.items)
    assert shop.n_users == 401
    assert shop.n_items == 301
