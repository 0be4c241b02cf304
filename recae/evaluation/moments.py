"""Times fit to part purchases by: known, not all the same, of one unit; and where to cut them."""

import numpy as np
from numpy.typing import NDArray

from recae.errors import DataError
from recae.interactions import NO_TIME

_UNITS = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
_EPOCH_SIZED = 10**8  # seconds, the year 1973: counts from another beginning stay below
_FAR_APART = 100  # between two units lie three digits; no shop's purchases of one unit leave such a gap


def moment(seconds: int) -> str:
    """Seconds since 1970 as text in UTC, such as 2011-12-09 12:50:00; the day alone at midnight."""
    day, _, time = str(np.datetime64(int(seconds), "s")).partition("T")
    return day if time == "00:00:00" else f"{day} {time}"


def check_times(times: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Which times are known, (n,).

    Parameters
    ----------
    times : int64 ndarray of shape (n,), optional
        Seconds since 1970 UTC, `NO_TIME` where unknown; None where there is no time column.

    Raises
    ------
    DataError
        No time is known, all known ones are the same moment, or they mix units; the message names examples.
    """
    if times is None:
        raise DataError(
            "a split by time needs the time of each purchase, but there is no time column; "
            "name one with --time-column, or choose another protocol"
        )
    known: NDArray[np.bool_] = times != NO_TIME
    if not known.any():
        raise DataError(
            f"a split by time needs the time of each purchase, but none of the {times.size:,} purchases has one; "
            "name another column with --time-column, or choose another protocol"
        )
    check_units(times)
    first = int(times[known].min())
    if first == int(times.max()):
        raise DataError(
            f"a split by time needs purchases at different times, but all {int(known.sum()):,} known times are "
            f"{moment(first)}; name another column with --time-column, or choose another protocol"
        )
    return known


def check_units(times: NDArray[np.int64]) -> None:
    """Raises DataError, with examples, where some times look as if they were written in another unit than the others.

    A column whose unit was told from most of its values holds the others 1,000 (10⁶, 10⁹) times too small or too
    large. So two groups are sought with nothing between them over two powers of ten, of which the lower, times such a
    factor, falls where the upper lies.
    """
    values = np.unique(times[times > 0])
    if values.size < 2:
        return
    ratios = values[1:] / values[:-1]
    gap = int(ratios.argmax())
    low, high = values[: gap + 1], values[gap + 1 :]
    if ratios[gap] < _FAR_APART or high[0] < _EPOCH_SIZED:
        return
    for factor, name in _UNITS.items():
        # twice as far, since the lower ones were rounded to whole seconds
        if 2 * float(low[-1]) * factor >= high[0] and float(low[0]) * factor <= 2 * float(high[-1]):
            below = int(((times > 0) & (times <= low[-1])).sum())
            above = int((times > low[-1]).sum())
            raise DataError(
                f"a split by time needs times of one unit, but they mix seconds and {name}: {below:,} lie near "
                f"{moment(low[0])} ({low[0]:,} s), {above:,} near {moment(high[0])} ({high[0]:,} s), which is "
                f"about {factor:,} times as much; write all of them in one unit"
            )


def cut_for(times: NDArray[np.int64], share: float) -> int:
    """The earliest moment from which on there are at most `share` of the times (n,), all known; never the first one.

    Where already the last moment holds more, it is the last one. At least two different times are needed.
    """
    moments, counts = np.unique(times, return_counts=True)
    from_then_on = counts[::-1].cumsum()[::-1]  # how many lie at or after each moment
    fits = np.flatnonzero(from_then_on <= share * times.size)
    return int(moments[max(int(fits[0]) if fits.size else moments.size - 1, 1)])
