"""What purchases weigh: the formula against plain loops, its bounds, and where the numbers come from."""

import math
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import recae
from recae.confidence import LARGEST, Facts, Weighting, last_moment, places_of
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


def plain_last(days: list[int], half_life: float) -> int:
    """The last day that is no outlier: of the days in order, the last few are held against the one before them."""
    ordered = sorted(days)
    n = len(ordered)
    most = n // 100 if n >= 100 else 1 if n >= 20 else 0
    if most == 0:
        return ordered[-1]
    high = ordered[-1 - most]
    allowed = max(5 * half_life, (high - ordered[n // 2]) / 20)
    return max(day for day in ordered if day <= high + allowed)


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
    last = plain_last(days, half_life) if days else 0
    recency = {day: 0.5 ** min(max(last - day, 0) / half_life, 10) for day in days}
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


YEAR = [*range(365)] * 3  # three purchases a day


@pytest.mark.parametrize("half_life", [7.0, 90.0])
@pytest.mark.parametrize("wrong", [[7300], [1200, 7300, 2_932_896], [*range(1500, 8000, 650)]])
def test_dates_far_in_the_future_do_not_switch_age_off(half_life: float, wrong: list[int]) -> None:
    """Whatever their number up to a hundredth: they count as bought on the last day, and the others by their age."""
    times = facts([DAY * day for day in [*wrong, *YEAR]])
    found = Weighting(half_life).confidence(times)
    assert found is not None
    plain = [0.5 ** min((364 - min(day, 364)) / half_life, 10) for day in [*wrong, *YEAR]]
    np.testing.assert_allclose(found, capped(plain), rtol=1e-5)
    assert last_moment(np.array(times.times), half_life) == DAY * 364
    latest = np.datetime64(wrong[-1], "D")
    assert Weighting(half_life).note(times) == (
        f"{len(wrong)} of {len(wrong) + 1095:,} purchases that are learned from are dated far later than all others, "
        f"such as {latest}: age is measured from 1970-12-31, and they count as bought then; --as-of sets another moment"
    )


def test_the_last_purchases_of_a_steady_shop_are_no_outliers() -> None:
    rng = np.random.default_rng(0)
    for n, half_life in ((40, 0.5), (200, 1.0), (5000, 0.1), (5000, 30.0)):
        times = np.sort(rng.integers(0, 3000 * DAY, n))
        times[-1] = times[-2] + min(times[-1] - times[-2], DAY)  # no pause before the very last one
        assert last_moment(times, half_life) == times[-1]
        assert Weighting(half_life).note(facts(times.tolist())) == ""
    assert last_moment(np.array([1, 2, 10**9 * DAY]), 1.0) == 10**9 * DAY  # of three times none can be told
    assert last_moment(np.array([5]), 1.0) == 5


def test_age_at_a_moment_that_is_given() -> None:
    times = facts([DAY * day for day in (0, 30, 60, 90)])
    found = Weighting(30, as_of="1970-03-02").confidence(times)  # day 60
    np.testing.assert_allclose(found, np.array([1, 2, 4, 4]) * 4 / 11, rtol=1e-6)
    for same in (date(1970, 3, 2), datetime(1970, 3, 2), 60 * 86_400, str(60 * 86_400), "19700302",
                 "1970-03-02T01:00+01:00"):  # fmt: skip
        assert Weighting(30, as_of=same) == Weighting(30, as_of="1970-03-02")
    assert Weighting(30, as_of="1970-03-02").note(times) == (
        "1 of 4 purchases that are learned from are later than --as-of 1970-03-02, such as 1970-04-01, and count as "
        "bought then"
    )
    assert Weighting(30, as_of="1970-04-01").note(times) == ""
    assert Weighting(30).note(times) == Weighting(None, True).note(facts(None, [1.0])) == ""
    # the moment that is found and the same one given are the same
    rng = np.random.default_rng(1)
    many = facts((DAY * rng.integers(0, 800, 500)).tolist())
    moment = Weighting(9).moment(many)
    assert moment is not None
    given = Weighting(9, as_of=moment // SECOND).confidence(many)
    np.testing.assert_array_equal(given, Weighting(9).confidence(many))


def test_moments_at_which_all_count_alike_are_refused() -> None:
    times = facts([DAY * day for day in (100, 130)])
    with pytest.raises(
        ConfigError, match=r"--as-of 1970-01-05, before all purchases .* 1970-04-11 to 1970-05-11"
    ):
        Weighting(30, as_of="1970-01-05").confidence(times)
    with pytest.raises(ConfigError, match="10 half-lives or more after all purchases"):
        Weighting(30, as_of="2031-01-01").confidence(times)
    assert Weighting(30, as_of="2031-01-01").confidence(facts([NO_TIME, NO_TIME])).tolist() == [1, 1]


@pytest.mark.parametrize("as_of", ["yesterday", "2011-13-01", "", 2.5, True, 2**60])
def test_moments_that_are_none(as_of: Any) -> None:
    with pytest.raises(ConfigError, match="as_of is "):
        Weighting(30, as_of=as_of)
    with pytest.raises(ConfigError, match="without half_life age does not matter"):
        Weighting(as_of="2011-12-09")


def test_nothing_asked_for_is_no_weights() -> None:
    assert Weighting().confidence(facts([1, 2])) is None
    assert not Weighting()
    assert Weighting().as_dict() == Weighting().identity(None) == {}
    assert Weighting().in_words() == Weighting().options() == ""


def test_what_is_asked_for_in_words() -> None:
    dated = Weighting(90, as_of=date(2011, 12, 9))
    assert dated.as_dict() == {"half_life": 90.0, "as_of": "2011-12-09"}
    assert Weighting.of(dated.as_dict()) == dated
    assert dated.in_words() == "half-life 90 days as of 2011-12-09"
    assert dated.options() == "--half-life 90 --as-of 2011-12-09"
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

    options = {"kind": "ease", "confidence": recae.Weighting(half_life=50), "refit": False}
    model = recae.train(shop(rows), **options)
    learners = model.learners
    assert learners is not None
    assert not learners.all()
    moved = [(u, i, d if learners[u] else d + 900) for u, i, d in rows]
    again = recae.train(shop(moved), **options)
    np.testing.assert_array_equal(model.model.arrays()["weights"], again.model.arrays()["weights"])
    plain = recae.train(shop(rows), kind="ease", refit=False)
    assert np.abs(plain.model.arrays()["weights"] - model.model.arrays()["weights"]).max() > 1e-3
    assert model.histories is not None
    assert set(model.histories.data.tolist()) == {1.0}
    assert model.metadata["weights"] == {"half_life": 50.0}
    assert "weights" not in plain.metadata
