"""Times to part by: where to cut, which are known, and units that do not belong together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recae.errors import DataError
from recae.interactions import NO_TIME, SECOND
from recae.splits.time import check_times, check_units, cut_for, shown_time

SPRING = 1_300_000_000 * SECOND  # March 2011
DAY = 86_400 * SECOND


@given(
    st.lists(st.integers(-5, 5), min_size=2, max_size=30).filter(lambda t: len(set(t)) > 1),
    st.floats(0.01, 0.99),
)
def test_the_cut(times: list[int], fraction: float) -> None:
    cut = cut_for(np.array(times, np.int64), fraction)
    distinct = sorted(set(times))
    fits = [m for m in distinct[1:] if sum(t >= m for t in times) <= fraction * len(times)]
    assert cut == (fits[0] if fits else distinct[-1])


def test_times_in_words() -> None:
    assert shown_time(SPRING) == "2011-03-13 07:06:40"
    assert shown_time(86_400 * SECOND) == "1970-01-02"
    assert shown_time(-1) == "1969-12-31 23:59:59"


def test_which_times_are_known() -> None:
    times = np.array([NO_TIME, 5, NO_TIME, 7], np.int64)
    assert check_times(times).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("unit", "factor", "mostly"),
    [
        ("milliseconds", 10**3, "seconds"),  # of smaller units the numbers are too large for any time
        ("milliseconds", 10**3, "the other"),
        ("microseconds", 10**6, "the other"),
        ("nanoseconds", 10**9, "the other"),
    ],
)
def test_mixed_units(unit: str, factor: int, mostly: str) -> None:
    """As reading leaves them: the unit of most was told, and all were divided by it."""
    seconds = SPRING + DAY * np.arange(300, dtype=np.int64)
    times = seconds.copy()
    if mostly == "seconds":
        times[::100] *= factor
        counts = "297 lie near 2011-03-1., 3 near|297 lie near 2011-03-1. .*, 3 near"
    else:
        times[::100] //= factor
        counts = "3 lie near 1970-01-.* 297 near 2011-03-1"
    with pytest.raises(DataError, match=f"mix seconds and {unit}: (?:{counts})"):
        check_units(times)
    with pytest.raises(DataError, match="write all of them in one unit"):
        check_times(np.append(times, NO_TIME))


@pytest.mark.parametrize(
    "times",
    [
        SPRING + DAY * np.arange(300),
        np.arange(1_000),  # days, or the number of a week, counted from a beginning
        np.array([1, 500, 1_000, 500_000, 10**7]),
        np.array([0, -5, SPRING, SPRING + SECOND]),
        np.array([NO_TIME, SPRING, SPRING + SECOND]),
        np.array([DAY * 365, SPRING]),  # an order of 1971
        np.array([100 * SECOND, SPRING, SPRING * 2]),  # too far off for any unit
        np.array([SPRING]),
        np.array([], dtype=np.int64),
    ],
)
def test_times_of_one_unit(times: np.ndarray) -> None:
    check_units(times.astype(np.int64))
