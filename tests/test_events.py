"""Events: baskets in their order, weights as slow counting gives them, and a last basket that leaves no trace."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plainkeys import MASK, mix, plain_pair_key

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.interactions import NO_TIME, SECOND, Events
from recae.splits.keys import item_keys, user_keys
from recae.splits.parts import last_basket_out, without_basket_ties

USERS, ITEMS = 5, 6
ROWS = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(-3, 4)), max_size=40
)
DECAYS = st.sampled_from([1.0, 0.95, 0.5, 0.1])


def events_of(rows: list[tuple[int, int, int]], timed: bool = False) -> Events:
    users, items, when = (
        (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
        if rows
        else (np.zeros(0, np.int64),) * 3
    )
    return Events.of(users, items, when, USERS, ITEMS, when * 10 if timed else None)


def baskets_of(rows: list[tuple[int, int, int]]) -> list[list[set[int]]]:
    """The oracle: each user's baskets in order, as sets of items."""
    return [
        [
            {i for v, i, w in rows if v == u and w == when}
            for when in sorted({w for v, _, w in rows if v == u})
        ]
        for u in range(USERS)
    ]


def slow_weights(baskets: list[list[set[int]]], decay: float) -> np.ndarray:
    dense = np.zeros((USERS, ITEMS))
    for u, own in enumerate(baskets):
        for b, basket in enumerate(own):
            for i in basket:
                dense[u, i] += decay ** (len(own) - 1 - b)
    return dense


@given(ROWS)
def test_rows_come_into_order(rows: list[tuple[int, int, int]]) -> None:
    events = events_of(rows, timed=True)
    expected = [
        (u, b, i)
        for u, own in enumerate(baskets_of(rows))
        for b, basket in enumerate(own)
        for i in sorted(basket)
    ]
    found = list(zip(events.user.tolist(), events.basket.tolist(), events.item.tolist(), strict=True))
    assert found == expected
    assert events.baskets.tolist() == [len(own) for own in baskets_of(rows)]
    assert events.n_baskets == sum(map(len, baskets_of(rows)))
    assert events.n_events == len(expected)
    assert events.time is not None
    moments = {(u, b): sorted({w for v, _, w in rows if v == u})[b] * 10 for u, b, _ in expected}
    assert events.time.tolist() == [moments[u, b] for u, b, _ in expected]


@given(ROWS, DECAYS)
def test_weights_are_those_of_slow_counting(rows: list[tuple[int, int, int]], decay: float) -> None:
    weights = events_of(rows).weights(decay)
    assert weights.dtype == np.float32
    assert weights.has_sorted_indices
    assert (weights.data > 0).all()
    np.testing.assert_allclose(weights.toarray(), slow_weights(baskets_of(rows), decay), rtol=1e-6)


@given(ROWS, DECAYS)
def test_the_last_basket_is_held_out(rows: list[tuple[int, int, int]], decay: float) -> None:
    baskets = baskets_of(rows)
    history, held_out = last_basket_out(events_of(rows), decay)
    earlier = [own[:-1] if len(own) > 1 else own for own in baskets]
    np.testing.assert_allclose(history.toarray(), slow_weights(earlier, decay), rtol=1e-6)
    last = np.zeros((USERS, ITEMS))
    for u, own in enumerate(baskets):
        if len(own) > 1:
            last[u, list(own[-1])] = 1
    np.testing.assert_array_equal(held_out.toarray(), last)
    assert held_out.dtype == np.float32


@given(ROWS, st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=4))
def test_nothing_of_the_last_basket_is_in_the_history(
    rows: list[tuple[int, int, int]], other: list[int]
) -> None:
    """Whatever the last baskets hold, the histories are the same bits."""
    last = {u: max(w for v, _, w in rows if v == u) for u in {u for u, _, _ in rows}}
    repeats = {u for u in last if len({w for v, _, w in rows if v == u}) > 1}
    changed = [row for row in rows if row[0] not in repeats or row[2] != last[row[0]]]
    changed += [(u, i, last[u]) for u in repeats for i in other]
    one, two = last_basket_out(events_of(rows), 0.7)[0], last_basket_out(events_of(changed), 0.7)[0]
    assert one.data.tobytes() == two.data.tobytes()
    assert one.indices.tolist() == two.indices.tolist()
    assert one.indptr.tolist() == two.indptr.tolist()


def test_decay_never_wears_a_purchase_down_to_nothing() -> None:
    rows = [(0, 3, 0), *((0, 1, when) for when in range(1, 400))]
    weights = events_of(rows).weights(0.5)
    assert weights[0, 3] > 0
    assert weights[0, 1] == pytest.approx(2)


@pytest.mark.parametrize("decay", [0, -0.5, 1.01, np.nan, np.inf, True, "0.5", None])
def test_decays_out_of_range(decay: Any) -> None:
    events = events_of([(0, 0, 0)])
    with pytest.raises(ConfigError, match="decay is a number above 0 to 1, found"):
        events.weights(decay)
    with pytest.raises(ConfigError, match="decay"):
        last_basket_out(events, decay)


def test_before_last_keeps_the_times_that_belong_together() -> None:
    events = events_of([(0, 0, 1), (0, 1, 2), (2, 4, 3)], timed=True).before_last()
    assert events.user.tolist() == [0, 2]
    assert events.item.tolist() == [0, 4]
    assert events.time is not None
    assert events.time.tolist() == [10, 30]


def test_the_fingerprint_is_of_the_content_and_its_order() -> None:
    rows = [(0, 0, 1), (0, 1, 2), (0, 0, 3), (1, 2, 1)]
    one = events_of(rows)
    assert one.fingerprint == events_of(rows[::-1]).fingerprint
    assert len(one.fingerprint) == 64
    others = ([*rows, (1, 2, 2)], [(0, 0, 1), (0, 1, 2), (0, 0, 2), (1, 2, 1)], [(0, 1, 1), *rows[1:]])
    assert len({one.fingerprint, *(events_of(other).fingerprint for other in others)}) == 4
    wider = Events(one.user, one.item, one.basket, None, USERS, ITEMS + 1)
    assert wider.fingerprint != one.fingerprint


def test_nothing_can_be_changed_and_the_callers_arrays_can() -> None:
    user, item, basket = (np.zeros(1, np.int32) for _ in range(3))
    events = Events(user, item, basket, np.zeros(1, np.int64), 1, 1)
    for name in ("user", "item", "basket", "time"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(events, name)[0] = 1
    item[0] = 0


GOOD: dict[str, Any] = {
    "user": [0, 0, 0, 1], "item": [1, 2, 0, 3], "basket": [0, 0, 1, 0], "time": None, "n_users": 2, "n_items": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": [0, 0, 1, 0]}, "rise by user"),
        ({"user": [0, 0, 0, 2]}, r"user numbers must lie in 0 \.\. 1"),
        ({"user": [-1, 0, 0, 1]}, r"user numbers must lie in 0 \.\. 1"),
        ({"item": [1, 4, 0, 3]}, r"item numbers must lie in 0 \.\. 3"),
        ({"item": [2, 2, 0, 3]}, "rise by user"),
        ({"item": [2, 1, 0, 3]}, "rise by user"),
        ({"basket": [0, 0, 2, 0]}, "numbered 0, 1, 2"),
        ({"basket": [1, 1, 2, 0]}, "numbered 0, 1, 2"),
        ({"basket": [0, 0, 1, 1]}, "numbered 0, 1, 2"),
        ({"basket": [0, 1, 0, 0]}, "numbered 0, 1, 2"),
        ({"basket": [0, 0, 1]}, "basket must be int32 with one entry for each purchase"),
        ({"time": np.zeros(4, np.int32)}, "time must be int64"),
        ({"item": np.zeros(4, np.int64)}, "item must be int32"),
        ({"user": np.zeros((2, 2), np.int32)}, r"user must be .* not int32 of shape \(2, 2\)"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    def made(parts: dict[str, Any]) -> Events:
        return Events(**{k: np.array(v, np.int32) if isinstance(v, list) else v for k, v in parts.items()})

    assert made(GOOD).baskets.tolist() == [2, 1]
    with pytest.raises(DataError, match=message):
        made(GOOD | changes)


def test_rows_of_different_lengths() -> None:
    two, one = np.zeros(2, np.int64), np.zeros(1, np.int64)
    for parts in ((two, two, one), (two, one, two)):
        with pytest.raises(DataError, match="one entry for each purchase"):
            Events.of(*parts, 1, 1)
    with pytest.raises(DataError, match="one entry for each purchase"):
        Events.of(two, two, two, 1, 1, one)


def test_a_choice_of_purchases_numbers_the_baskets_anew() -> None:
    rows = [(0, 3, 1), (0, 0, 2), (0, 1, 2), (0, 4, 5), (1, 2, 0), (3, 5, 4), (3, 5, 9)]
    events = events_of(rows, timed=True)
    assert events.time is not None
    kept = (events.time >= 20) & (events.item != 0)
    assert kept.tolist() == [False, False, True, True, False, True, True]
    part = events.where(kept)
    assert part.time is not None
    found = zip(part.user.tolist(), part.basket.tolist(), part.item.tolist(), part.time.tolist(), strict=True)
    assert list(found) == [(0, 0, 1, 20), (0, 1, 4, 50), (3, 0, 5, 40), (3, 1, 5, 90)]
    assert (part.n_users, part.n_items) == (USERS, ITEMS)
    assert events_of(rows).where(kept).time is None
    assert events.where(np.zeros(7, np.bool_)).n_events == 0


def test_an_item_twice_in_a_basket_has_its_first_time() -> None:
    """Whatever the order of the rows."""
    same, when, times = np.zeros(3, np.int64), np.array([1, 1, 2]), np.array([50, 40, 60])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1]):
        events = Events.of(same, same, when[order], 1, 1, times[order])
        assert events.time is not None
        assert events.time.tolist() == [40, 60]


def test_baskets_of_one_moment_are_ordered_by_keys_alone() -> None:
    """Which of them is the last depends on ids and seed; all else stays, and so do purchases without ties."""
    rng = np.random.default_rng(2)
    names = [f"i{i}" for i in range(ITEMS)]
    rows = []  # user, item, number of the basket, its time; baskets of equal thirds begin together
    for user in range(USERS):
        n = int(rng.integers(1, 8))
        rows += [(user, int(i), b, b // 3) for b in range(n) for i in rng.permutation(ITEMS)[: 1 + b % 3]]
    for seed in (0, 1):
        users = user_keys(IdMap(f"u{u}" for u in range(USERS)), seed).items
        items = item_keys(IdMap(names), seed)

        def key(user: int, basket: list[int], seed: int = seed) -> int:
            total = sum(plain_pair_key(f"u{user}", names[i], seed) for i in basket) & MASK
            return mix(total)

        u, i, b, t = np.array(rows).T
        renamed = rng.permutation(100)  # other numbers for the baskets, in the order of time
        orders = [b, 1000 * t + renamed[b]]
        found = [
            without_basket_ties(Events.of(u, i, when, USERS, ITEMS, times=t * SECOND), users, items)
            for when in orders
        ]
        for events, tied in found:
            assert events.fingerprint == found[0][0].fingerprint
            for user in range(USERS):
                numbers = {(t, b) for v, _, b, t in rows if v == user}
                held_by = {(t, b): [j for v, j, c, _ in rows if (v, c) == (user, b)] for t, b in numbers}
                baskets = sorted(held_by.items(), key=lambda pair: (pair[0][0], key(user, pair[1])))
                own = events.user == user
                listed = [
                    sorted(events.item[own & (events.basket == n)].tolist()) for n in range(len(baskets))
                ]
                assert listed == [sorted(held) for _, held in baskets]
                times = [time for (time, _), _ in baskets]
                assert tied[user] == (times.count(times[-1]) > 1)
    untied = Events.of(u, i, b, USERS, ITEMS, times=b * SECOND)
    assert without_basket_ties(untied, users, items)[0] is untied
    unknown = Events.of(u, i, b, USERS, ITEMS, times=np.full(u.size, NO_TIME))
    assert without_basket_ties(unknown, users, items)[0] is unknown
