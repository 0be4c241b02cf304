"""The time of the last purchase that a model knows, which its metadata holds, so that an update begins after it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.confidence import last_moment
from recae.interactions import NO_TIME, SECOND

LAST_PURCHASE: Final = "last_purchase"
"""Entry of the metadata: seconds since 1970-01-01 UTC, rounded down."""

_HALF_LIFE: Final = 20.0  # days; see `last_moment`: what is 100 days later than all others may be wrong
_TOMORROW: Final = 86_400  # seconds: clocks of shops may be ahead, and in other zones


def last_purchase(times: NDArray[np.int64] | None, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the entry of the metadata for purchases of these times; empty where none is known.

    A single purchase dated 2099 must not hide all that are bought until then. So times after tomorrow do not count
    where there are others, and neither do outliers; see `recae.confidence.last_moment`.

    Args:
        times: int64 (n,), in microseconds since 1970-01-01 UTC, `NO_TIME` where unknown; None: there are none.
        before: metadata of a model that knows earlier purchases, too; None: there are none.
    """
    found = known_last(before or {})
    if times is not None:
        known = times[times != NO_TIME]
        past = known[known <= int(time.time() + _TOMORROW) * SECOND]
        known = past if past.size or found is not None else known
        if known.size:
            newest = last_moment(known, _HALF_LIFE) // SECOND
            found = newest if found is None else max(found, newest)
    return {} if found is None else {LAST_PURCHASE: found}


def known_last(metadata: Mapping[str, Any]) -> int | None:
    """Return the entry of a model's metadata, in seconds; None where it does not say."""
    value = metadata.get(LAST_PURCHASE)
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62 // SECOND
        else None
    )


def first_unknown(metadata: Mapping[str, Any]) -> int | None:
    """Return the first second in which nothing was bought that a model knows; None where it does not say."""
    last = known_last(metadata)
    return None if last is None else last + 1
