"""The protocol "time": what is bought from a cut on is held out, and nothing of it is learned from."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.interactions import NO_TIME, SECOND, Events
from recae.kcore import core_of
from recae.sparse import pattern
from recae.splits.held_out import DECAY, VALIDATION_FRACTION, choose_decay
from recae.splits.tasks import Learned, Pair, Parts, ProtocolOptions, Purchases, Task, counted, make_task

_UNITS = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
_EPOCH_SIZED = 10**8 * SECOND  # the year 1973: counts from another beginning stay below
_FAR_APART = 100  # between two units lie three digits; no shop's purchases of one unit leave such a gap


def shown_time(moment: int) -> str:
    """Return microseconds since 1970 as text in UTC, such as 2011-12-09 12:50:00; the day alone at midnight."""
    day, _, time = str(np.datetime64(int(moment) // SECOND, "s")).partition("T")
    return day if time == "00:00:00" else f"{day} {time}"


def check_times(times: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Return which times are known, (n,).

    Args:
        times: int64 (n,), microseconds since 1970 UTC, `NO_TIME` where unknown; None where there is no time column.

    Raises:
        DataError: no time is known, all known ones are the same moment, or they mix units; the message names
            examples.
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
            f"{shown_time(first)}; name another column with --time-column, or choose another protocol"
        )
    return known


def check_units(times: NDArray[np.int64]) -> None:
    """Check that all times have the same unit.

    A column whose unit was told from most of its values holds the others 1,000 (10⁶, 10⁹) times too small or too
    large. So two groups are sought with nothing between them over two powers of ten, such that the lower times this
    factor fall where the upper ones lie.

    Raises:
        DataError: some times look as if they were written in another unit than the others; the message names
            examples.
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
                f"{shown_time(low[0])} ({low[0] // SECOND:,} s), {above:,} near {shown_time(high[0])} "
                f"({high[0] // SECOND:,} s), which is "
                f"about {factor:,} times as much; write all of them in one unit"
            )


def cut_for(times: NDArray[np.int64], fraction: float) -> int:
    """Return the earliest cut from which on at most `fraction` of the times (n,), all known, lie; never the first one.

    Where the last moment alone holds more than that, it is the cut. At least two different times are needed.
    """
    distinct, counts = np.unique(times, return_counts=True)
    from_then_on = counts[::-1].cumsum()[::-1]  # how many lie at or after each moment
    fits = np.flatnonzero(from_then_on <= fraction * times.size)
    return int(distinct[max(int(fits[0]) if fits.size else distinct.size - 1, 1)])


def global_time(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Hold out what users buy from a cut on; everything before it is the history.

    Every purchase counts by its own time. A pair bought before and after the cut is in the history, and what comes
    after is a repeat purchase, which counts only with `options.repeats`. Purchases without a known time are left out,
    since they could be of either side. Users and items first seen after the cut are unknown; so are, where a minimum
    is asked for, those below the minimum before the cut. For validation, the last tenth of the purchases
    before the cut is held out. Nothing here is random: `seed` changes nothing.

    Purchases that were read with minimums are refused, since the minimums looked beyond the cut.
    """
    interactions, events = purchases.interactions, purchases.events
    if interactions.filters is not None and interactions.filters.has_minimum:
        raise ConfigError(
            f"the purchases were read with minimums ({interactions.filters}), which counted what was bought after the "
            "cut, too: read them without, and give min_user_purchases and min_item_purchases to ProtocolOptions"
        )
    if events is None or events.time is None:
        check_times(interactions.times if events is None else None)
        raise DataError(
            "a split by time needs the time of each single purchase; read the table with read_events"
        )
    known = check_times(events.time)
    times = events.time
    cut = cut_for(times[known], options.held_out) if options.cut is None else options.cut * SECOND
    before, after = events.where(known & (times < cut)), events.where(known & (times >= cut))
    if not before.n_events or not after.n_events:
        raise DataError(
            f"the cut at {shown_time(cut)} leaves {before.n_events:,} purchases before it and {after.n_events:,} from "
            f"it on: the times go from {shown_time(times[known].min())} to {shown_time(times[known].max())}; "
            "choose a cut in between"
        )
    customers = np.unique(before.user)
    whole, before = before, _core(before, options)
    users = np.unique(before.user).astype(np.int64)
    period = _period(before, options)
    pair: Pair | None = None
    fit, decay, learned = _pattern(before), None, before
    if period is not None:
        start, earlier, later = period
        learned = earlier
        known_then = np.unique(earlier.user)
        fit, held_out = _pattern(earlier), sp.csr_matrix(_pattern(later)[known_then])
        if options.repeats:
            decay = options.decay or choose_decay(
                fit, lambda tried: sp.csr_matrix(earlier.weights(tried)[known_then]), held_out
            )
        pair = sp.csr_matrix((fit if decay is None else earlier.weights(decay))[known_then]), held_out
    elif options.repeats:
        decay = options.decay or DECAY
    histories = _pattern(before) if decay is None else before.weights(decay)
    newcomers = np.setdiff1d(after.user, customers).size
    small = np.intersect1d(np.setdiff1d(customers, users), after.user).size
    lacking, left = int((~known).sum()), whole.n_events - before.n_events
    outside = f"{counted(small, 'user')} of too little before the cut"
    of_core = f"{counted(left, 'purchase')} before the cut below the minimums"
    first_after = f"{counted(newcomers, 'user')} who first bought after the cut"
    without_time = f"{counted(lacking, 'purchase')} without a known time"
    parts = Parts(
        held=f"what {{users}} bought from {shown_time(cut)} UTC on ({{interactions}}"
        + (", owned items among them" if options.repeats else " of items that they did not own")
        + ") is to be found from what they bought before",
        chosen=f"by what they bought from {shown_time(start)} UTC on" if period else "",
        train=_pattern(before),
        fit=fit,
        validation=pair,
        users=users,
        histories=sp.csr_matrix(histories[users]),
        held_out=sp.csr_matrix(_pattern(after)[users]),
        decay=decay,
        not_tested=(*([first_after] if newcomers else []), *([outside] if small else [])),
        left_out=(*([without_time] if lacking else []), *([of_core] if left else [])),
        train_of=Learned(events=before),
        fit_of=Learned(events=learned),
    )
    return [make_task("time", interactions, parts, options)]


def _core(before: Events, options: ProtocolOptions) -> Events:
    """Return the purchases before the cut that the minimums leave.

    Raises:
        DataError: none is left; the message holds the counts.
    """
    least = options.min_user_purchases, options.min_item_purchases
    if max(least) == 1:
        return before
    core = core_of(_pattern(before), *least)
    if not core.users.size:
        raise DataError(
            f"no user of {least[0]:,} items with {least[1]:,} users each is left of the "
            f"{counted(before.n_events, 'purchase')} before the cut, by {np.unique(before.user).size:,} users of "
            f"{np.unique(before.item).size:,} items; lower --min-user-purchases or --min-item-purchases, or choose a "
            "later cut"
        )
    return before.where(np.isin(before.user, core.users) & np.isin(before.item, core.items))


def _period(before: Events, options: ProtocolOptions) -> tuple[int, Events, Events] | None:
    """Return when the validation period starts, the purchases before it and those in it; None where there is none.

    Its length depends on the purchases before the cut alone.
    """
    times: NDArray[np.int64] = np.asarray(before.time)
    if options.validation_users == 0 or times.min() == times.max():
        return None
    start = cut_for(times, VALIDATION_FRACTION)
    return start, before.where(times < start), before.where(times >= start)


def _pattern(events: Events) -> sp.csr_matrix:
    return pattern(events.weights())
