"""Bootstrap intervals against SciPy's and a plain loop, Holm's correction against the procedure, and the edges."""

import itertools
import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recae.errors import ConfigError, DataError
from recae.evaluation import Interval, Paired, bootstrap_mean, intervals, paired_difference
from recae.evaluation.intervals import DRAWS, bootstrap_means, draws_for, holm, paired_differences

NAN = float("nan")


@pytest.fixture
def recalls() -> tuple[np.ndarray, np.ndarray]:
    """Two models on 200 users, the first a little better."""
    rng = np.random.default_rng(5)
    base = rng.beta(1, 3, size=200)
    return base + rng.normal(0.02, 0.1, size=200), base


def drawn_by_loop(values: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """The same random numbers, one draw at a time."""
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        total = 0.0
        for place in rng.integers(0, len(values), size=len(values)):
            total += values[place]
        means.append(total / len(values))
    return np.sort(means)


def bounds(means: np.ndarray, level: float) -> list[float]:
    """Linear interpolation between the ordered means."""
    found = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        at = share * (len(means) - 1)
        below = math.floor(at)
        above = min(below + 1, len(means) - 1)
        found.append(means[below] + (at - below) * (means[above] - means[below]))
    return found


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_is_that_of_a_plain_loop(recalls, level):
    values = recalls[0]
    interval = bootstrap_mean(values, seed=3, level=level, draws=300)
    assert interval.mean == pytest.approx(sum(values) / 200, rel=1e-12)
    assert [interval.low, interval.high] == pytest.approx(
        bounds(drawn_by_loop(values, 3, 300), level), abs=1e-12
    )
    assert interval.low < interval.mean < interval.high


def test_the_interval_is_scipys_percentile_interval(recalls):
    for values in recalls:
        ours = bootstrap_mean(values, draws=20_000)
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)  # two samples of 20,000 draws
        assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_about_95_of_100_intervals_hold_the_true_mean():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        interval = bootstrap_mean(rng.exponential(size=100), seed=trial, draws=400)
        held += interval.low <= 1 <= interval.high
    assert 0.88 < held / 300 < 0.98


def test_the_paired_difference_is_that_of_a_plain_loop(recalls):
    a, b = recalls[0] - 0.01, recalls[1]
    found = paired_difference(a, b, seed=7, draws=400)
    means = drawn_by_loop(a - b, 7, 400)
    assert [found.low, found.high] == pytest.approx(bounds(means, 0.95), abs=1e-12)
    fewer = min(sum(means <= 0), sum(means >= 0))
    assert fewer > 0  # or the p-value would be the smallest possible whatever the formula
    assert found.p == pytest.approx(2 * (1 + fewer) / 401)
    other = paired_difference(b, a, seed=7, draws=400)
    assert (other.mean, other.low, other.high) == pytest.approx(
        (-found.mean, -found.high, -found.low), abs=1e-12
    )
    assert other.p == found.p


def test_p_is_small_exactly_where_the_interval_leaves_0_out(recalls):
    a, b = recalls
    for shift in np.linspace(-0.06, 0.03, 19):
        found = paired_difference(a + shift, b, draws=2000)
        if abs(found.p - 0.05) > 0.005:
            assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_without_a_difference_p_is_evenly_spread():
    rng = np.random.default_rng(2)
    ps = [
        paired_difference(rng.normal(size=60), rng.normal(size=60), seed=trial, draws=400).p
        for trial in range(200)
    ]
    assert 0.02 < np.mean(np.array(ps) < 0.1) < 0.18
    assert 0.35 < np.mean(np.array(ps) < 0.5) < 0.65


def test_pairing_is_sharper_than_two_intervals():
    rng = np.random.default_rng(3)
    base = rng.uniform(size=300)
    better = base + rng.normal(0.01, 0.02, size=300)
    first, second = bootstrap_mean(better), bootstrap_mean(base)
    assert first.low < second.high  # the intervals overlap
    assert paired_difference(better, base).p < 0.01


def test_the_size_of_the_blocks_does_not_matter(recalls, monkeypatch):
    whole = bootstrap_mean(recalls[0], seed=1, draws=50)
    for size in (1, 16 * 200 * 7):
        monkeypatch.setattr(intervals, "BLOCK_BYTES", size)
        assert bootstrap_mean(recalls[0], seed=1, draws=50) == whole


def test_the_seed_decides(recalls):
    assert bootstrap_mean(recalls[0], seed=1) == bootstrap_mean(recalls[0], seed=1)
    assert bootstrap_mean(recalls[0], seed=1) != bootstrap_mean(recalls[0], seed=2)
    assert paired_difference(*recalls, seed=1) == paired_difference(*recalls, seed=1)
    assert paired_difference(*recalls, seed=1) != paired_difference(*recalls, seed=2)


def test_users_with_nothing_held_out_are_left_out():
    values = [0.5, NAN, 0.25, 1.0, NAN]
    assert bootstrap_mean(values) == bootstrap_mean([0.5, 0.25, 1.0])
    a, b = [0.5, NAN, 0.25, 1.0], [0.25, 0.5, NAN, 0.5]
    assert paired_difference(a, b) == paired_difference([0.5, 1.0], [0.25, 0.5])


@pytest.mark.parametrize("values", [[], [NAN], [NAN, NAN]])
def test_without_users_nothing_is_known(values):
    assert repr(bootstrap_mean(values)) == repr(Interval(NAN, NAN, NAN))
    assert repr(paired_difference(values, values)) == repr(Paired(NAN, NAN, NAN, NAN))


def test_one_user_has_a_mean_and_no_interval():
    assert repr(bootstrap_mean([0.25, NAN])) == repr(Interval(0.25, NAN, NAN))
    assert repr(paired_difference([0.75], [0.25])) == repr(Paired(0.5, NAN, NAN, NAN))


def test_a_constant_has_an_interval_of_no_width():
    assert bootstrap_mean([0.1] * 7) == Interval(0.1, 0.1, 0.1)
    assert paired_difference([0.3] * 5, [0.3] * 5) == Paired(0, 0, 0, 1)
    always = paired_difference([0.75] * 8, [0.25] * 8, draws=99)
    assert (always.mean, always.low, always.high, always.p) == (0.5, 0.5, 0.5, 0.02)


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_a_handful_of_users_cannot_be_surer_than_their_signs(n):
    """However often they are drawn: the oracle goes through all signs that chance could have given."""
    rng = np.random.default_rng(n)
    values = rng.uniform(0.1, 1, size=n)
    signs = np.array(list(itertools.product((-1, 1), repeat=n)))
    as_far = np.abs(signs @ values) >= values.sum() - 1e-12
    found = paired_difference(values, np.zeros(n), draws=20_000)
    assert found.low > 0
    assert found.p == pytest.approx(max(as_far.mean(), 2 / 20_001))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 0}, "level is a number above 0 and below 1, found 0"),
        ({"level": 1.0}, "level"),
        ({"level": NAN}, "level"),
        ({"draws": 0}, "draws is a whole number from 1"),
        ({"draws": 1.5}, "draws"),
        ({"seed": -1}, "seed is a whole number from 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        bootstrap_mean([0.1, 0.2], **settings)
    with pytest.raises(ConfigError, match=message):
        paired_difference([0.1, 0.2], [0.2, 0.3], **settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.1, 0.2]], r"shape \(1, 2\)"),
        (0.5, r"shape \(\)"),
        ([0.1, float("inf")], "infinite"),
        (["a", "b"], "one number a user"),
        ([None, {}], "one number a user"),
    ],
)
def test_what_is_not_a_number_a_user(values, message):
    with pytest.raises(DataError, match=message):
        bootstrap_mean(values)


def test_the_same_users_twice():
    with pytest.raises(DataError, match="there are 2 and 3 values"):
        paired_difference([0.1, 0.2], [0.1, 0.2, 0.3])


def test_many_at_once_are_as_one_by_one(recalls):
    rng = np.random.default_rng(9)
    a, b = recalls
    few = np.where(rng.random(200) < 0.5, a, NAN)
    hits = (a > 0.3).astype(float)
    columns = [
        a,
        few,
        b,
        hits,
        np.full(200, 0.1),
        [NAN] * 200,
        [NAN] * 199 + [0.5],
        few - 0.1,
        [0.25, 0.5, 1],
    ]
    for settings in ({}, {"seed": 4, "level": 0.8, "draws": 300}):
        found = bootstrap_means(columns, **settings)
        assert len(found) == len(columns)
        for column, interval in zip(columns, found, strict=True):
            one = bootstrap_mean(column, **settings)
            assert astuple(interval) == pytest.approx(astuple(one), abs=1e-12, nan_ok=True)
        pairs = [(a, b), (few, b), (hits, few), (b, b), (few - 0.02, b)]
        for (one, other), paired in zip(pairs, paired_differences(pairs, **settings), strict=True):
            alone = paired_difference(one, other, **settings)
            assert astuple(paired) == pytest.approx(astuple(alone), abs=1e-12)
    assert bootstrap_means([]) == []
    assert paired_differences([]) == []


def test_many_at_once_refuse_what_one_refuses():
    with pytest.raises(DataError, match="there are 2 and 3 values"):
        paired_differences([([0.1, 0.2], [0.1, 0.2, 0.3])])
    with pytest.raises(DataError, match="infinite"):
        bootstrap_means([[0.1, 0.2], [float("inf"), 1]])
    with pytest.raises(ConfigError, match="level"):
        bootstrap_means([[0.1, 0.2]], level=1)


def test_the_size_of_the_blocks_does_not_matter_for_many(recalls, monkeypatch):
    whole = bootstrap_means(recalls, seed=1, draws=50)
    for size in (1, 16 * 200 * 7):
        monkeypatch.setattr(intervals, "BLOCK_BYTES", size)
        for found, before in zip(bootstrap_means(recalls, seed=1, draws=50), whole, strict=True):
            assert astuple(found) == pytest.approx(astuple(before), abs=1e-15)


def rejected(p_values: list[float], level: float) -> set[int]:
    """Holm's sequentially rejective procedure, as section 3 of Holm (1979) words it, at one level.

    The smallest p-value is held against level / m, the next against level / (m − 1), and so on; the first that is
    larger ends it.
    """
    left = set(range(len(p_values)))
    done: set[int] = set()
    while left:
        smallest = min(left, key=lambda n: p_values[n])
        if p_values[smallest] > level / len(left):
            break
        left.remove(smallest)
        done.add(smallest)
    return done


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 1))
def test_a_corrected_p_is_below_a_level_where_the_procedure_rejects_at_it(
    p: list[float], level: float
) -> None:
    corrected = holm(p)
    # away from the corrected values themselves, where rounding decides
    if min(abs(corrected - level)) < 1e-9:
        return
    if level < 1:
        assert {n for n, value in enumerate(corrected) if value <= level} == rejected(p, level)


def test_holm_by_hand() -> None:
    # p.adjust(c(.01, .04, .03, .005), "holm") of R 4: .03 .06 .06 .02
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.5, 0.9]).tolist() == [1, 1]
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("users", [1, 40, 10_000, 10**8])
@pytest.mark.parametrize("m", [1, 2, 7, 50, 400])
def test_there_are_draws_enough_for_all_comparisons(m: int, users: int) -> None:
    """The smallest p-value that so many draws can give is far below 0.05 after the correction."""
    draws = draws_for(m, users)
    smallest = 2 / (draws + 1)
    assert draws >= DRAWS
    assert holm([smallest] * m)[0] < (0.002 if draws * users <= 5e8 else 0.01)
    assert draws * users <= max(5e8, 200 * m * users, DRAWS * users)


def test_clear_differences_stay_clear_among_many() -> None:
    """60 models beside a baseline: those that are better are found, and of those that are not hardly any.

    The oracle is the t-test of the same differences, corrected by R's rule in plain Python.
    """
    rng = np.random.default_rng(4)
    base = rng.uniform(size=80)
    gaps = np.where(np.arange(60) < 30, 0.05, 0)
    models = [base + gap + rng.normal(0, 0.04, size=80) for gap in gaps]
    pairs = [(model, base) for model in models]
    found = holm([paired.p for paired in paired_differences(pairs, draws=draws_for(60, 80))])
    tested = [scipy.stats.ttest_rel(model, base).pvalue for model in models]
    order = sorted(range(60), key=lambda n: tested[n])
    wanted, highest = [0.0] * 60, 0.0
    for rank, n in enumerate(order):
        highest = max(highest, min(1.0, (60 - rank) * tested[n]))
        wanted[n] = highest
    assert [p < 0.05 for p in found] == [p < 0.05 for p in wanted] == [gap > 0 for gap in gaps]
    # with the draws of an interval nothing could be told
    assert min(holm([paired.p for paired in paired_differences(pairs)])) > 0.05


def test_what_was_not_compared_does_not_count() -> None:
    found = holm([NAN, 0.01, NAN, 0.04])
    assert found[[1, 3]] == pytest.approx([0.02, 0.04])
    assert np.isnan(found[[0, 2]]).all()


@pytest.mark.parametrize("p", [[[0.1]], 0.5, [-0.1], [0.2, 1.5]])
def test_what_are_no_p_values(p: Any) -> None:
    with pytest.raises(DataError, match=r"p-values are numbers from 0 to 1"):
        holm(p)
