"""What purchases weigh: the formula against plain loops, its bounds, and where the numbers come from."""

import math
from datetime import date
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import recae
from recae.confidence import LARGEST, Facts, Weighting, places_of
from recae.errors import ColumnError, ConfigError
from recae.interactions import NO_TIME, SECOND, Events

DAY = 86_400 * SECOND


def facts(times: list[int] | None = None, quantities: list[float] | None = None) -> Facts:
    n = len(times if times is not None else quantities or [])
    matrix = sp.csr_matrix((np.ones(n, np.float32), np.arange(n), [0, n]), shape=(1, n))
    return Facts(
        matrix,
        None if times is None else np.array(times, np.int64),
        None if quantities is None else np.array(quantities, np.float32),
    )


def capped(values: list[float]) -> list[float]:
    """min(s · v, LARGEST) of mean 1, the scale s by bisection."""
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        mean = sum(min(middle * v, LARGEST) for v in values) / len(values)
        low, high = (middle, high) if mean < 1 else (low, middle)
    return [min(low * v, LARGEST) for v in values]


@given(
    rows=st.lists(
        st.tuples(st.none() | st.integers(0, 4000), st.floats(0.015625, 1e6, width=32)),
        min_size=1,
        max_size=60,
    ),
    half_life=st.floats(0.5, 3000),
    quantity=st.booleans(),
)
def test_weights_are_those_of_the_plain_formula(
    rows: list[tuple[int | None, float]], half_life: float, quantity: bool
) -> None:
    days = [day for day, _ in rows if day is not None]
    recency = {day: 0.5 ** min((max(days) - day) / half_life, 10) for day in days}
    mean = sum(recency[day] for day in days) / len(days) if days else 1.0
    plain = [mean if day is None else recency[day] for day, _ in rows]
    if quantity:
        plain = [w * (1 + math.log(1 + min(q, 1e4))) for w, (_, q) in zip(plain, rows, strict=True)]
    times = [NO_TIME if day is None else DAY * day for day, _ in rows]
    found = Weighting(half_life, quantity).confidence(facts(times, [q for _, q in rows]))
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, capped(plain), rtol=1e-5)
    assert found.mean() == pytest.approx(1, rel=1e-5)
    assert 0 < found.min() <= found.max() <= LARGEST


def test_a_purchase_weighs_half_when_it_is_a_half_life_older() -> None:
    found = Weighting(half_life=30).confidence(facts([0, 30 * DAY, 60 * DAY]))
    np.testing.assert_allclose(found, np.array([1, 2, 4]) * 3 / 7, rtol=1e-6)


def test_one_date_far_in_the_future_leaves_the_others_as_they_are() -> None:
    found = Weighting(half_life=30).confidence(facts([*[0] * 999, 30_000 * DAY]))
    assert found is not None
    assert found[-1] == LARGEST
    np.testing.assert_allclose(found[:-1], (1000 - LARGEST) / 999, rtol=1e-6)


def test_nothing_asked_for_is_no_weights() -> None:
    assert Weighting().confidence(facts([1, 2])) is None
    assert not Weighting()
    assert Weighting().as_dict() == Weighting().identity(None) == {}
    assert Weighting().in_words() == Weighting().options() == ""


def test_what_is_asked_for_in_words() -> None:
    both = Weighting(90, True)
    assert both.as_dict() == {"half_life": 90.0, "quantity_as_confidence": True}
    assert both.in_words() == "half-life 90 days, quantity as confidence"
    assert both.options() == "--half-life 90 --quantity-as-confidence"
    told = both.identity(np.ones(3, np.float32))
    assert told | {"data.weights": ""} == {
        "weights.half_life": 90.0,
        "weights.quantity_as_confidence": True,
        "data.weights": "",
    }
    assert told != both.identity(np.full(3, 2, np.float32))


@pytest.mark.parametrize("days", [0, -1, math.nan, math.inf, 1e7, True, "90"])
def test_half_lives_out_of_range(days: Any) -> None:
    with pytest.raises(ConfigError, match="half_life is a number of days above 0"):
        Weighting(days)
    with pytest.raises(ConfigError, match="quantity_as_confidence is true or false"):
        Weighting(None, 1)  # type: ignore[arg-type]  # the wrong type is the point


def test_what_was_not_read_is_named() -> None:
    with pytest.raises(ColumnError, match=r"--half-life needs the time .* --time-column"):
        Weighting(half_life=3).confidence(facts(None, [1.0]))
    with pytest.raises(ColumnError, match=r"--quantity-as-confidence needs how much .* --quantity-column"):
        Weighting(quantity_as_confidence=True).confidence(facts([1]))


def test_facts_of_events_are_the_last_time_and_the_sum() -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 5, 60), rng.integers(0, 4, 60)
    time, quantity = rng.integers(0, 9, 60), rng.random(60) + 0.1
    events = Events.of(user, item, time, 6, 4, time, quantity)
    last: dict[tuple[int, int], int] = {}
    total: dict[tuple[int, int], float] = {}
    for u, i, t, q in zip(user.tolist(), item.tolist(), time.tolist(), quantity.tolist(), strict=True):
        last[u, i] = max(t, last.get((u, i), -1))
        total[u, i] = total.get((u, i), 0) + q
    found = Facts.of_events(events)
    assert found.times is not None
    assert found.quantities is not None
    coo = found.matrix.tocoo()
    pairs = list(zip(coo.row.tolist(), coo.col.tolist(), strict=True))
    assert pairs == sorted(last)
    assert found.times.tolist() == [last[pair] for pair in pairs]
    np.testing.assert_allclose(found.quantities, [total[pair] for pair in pairs], rtol=1e-6)
    without = Facts.of_events(Events.of(user, item, time, 6, 4))
    assert without.times is None
    assert without.quantities is None
    earlier = events.before_last()
    assert earlier.quantity is not None
    assert earlier.quantity.size == earlier.n_events


def test_places_of_pairs() -> None:
    matrix = sp.csr_matrix(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 1]], np.float32))
    users, items = np.array([2, 0, 0]), np.array([0, 2, 1])
    assert places_of(matrix, users, items).tolist() == [2, 1, 0]


def test_confidence_is_of_the_learners_alone_and_the_histories_stay_as_they_are(tmp_path) -> None:
    """What held-out users bought, and when, changes nothing; a model scores plain histories."""
    rng = np.random.default_rng(1)
    rows = [(u, i, int(rng.integers(0, 400))) for u in range(40) for i in rng.choice(25, 6, replace=False)]

    def shop(rows: list[tuple[int, int, int]]) -> recae.Interactions:
        path = tmp_path / "shop.csv"
        lines = [f"u{u:02},i{i:02},{date.fromordinal(737_000 + d)}" for u, i, d in rows]
        path.write_text("user,item,date\n" + "\n".join(lines) + "\n")
        return recae.read_interactions(path)

    options = {"kind": "ease", "confidence": recae.Weighting(half_life=50)}
    model = recae.train(shop(rows), **options)
    learners = model.learners
    assert learners is not None
    assert not learners.all()
    moved = [(u, i, d if learners[u] else d + 900) for u, i, d in rows]
    again = recae.train(shop(moved), **options)
    np.testing.assert_array_equal(model.model.arrays()["weights"], again.model.arrays()["weights"])
    plain = recae.train(shop(rows), kind="ease")
    assert np.abs(plain.model.arrays()["weights"] - model.model.arrays()["weights"]).max() > 1e-3
    assert model.histories is not None
    assert set(model.histories.data.tolist()) == {1.0}
    assert model.metadata["weights"] == {"half_life": 50.0}
    assert "weights" not in plain.metadata
