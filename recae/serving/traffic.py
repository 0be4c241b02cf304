"""`Traffic`: how many requests came within the last day, by looking at the counters every ten minutes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_EVERY: Final = 600.0  # seconds between two looks
_DAY: Final = 86_400.0

_log = logging.getLogger("recae.serving")


@dataclass(frozen=True)
class Look:
    """What the counters said at a time.

    Attributes:
        at: seconds of a clock that only goes forward.
        counts: route and status to the answers since the start.
    """

    at: float
    counts: Mapping[tuple[str, int], float]


class Traffic:
    """Looks at the counters of answers, as far back as a day.

    Args:
        read: the counters now, of all workers.
        clock: in seconds.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[tuple[str, int], float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; the first look is that of `watch` or of the first question."""
        self._read, self._clock = read, clock
        self._looks: deque[Look] = deque()

    async def watch(self) -> None:
        """Look every ten minutes, in a thread beside the event loop, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _log.exception("the counters could not be read")
            await asyncio.sleep(_EVERY)

    def look(self) -> Look:
        """Note the counters, and drop what is older than a day but for the last such look."""
        now = Look(self._clock(), self._read())
        self._looks.append(now)
        while len(self._looks) > 1 and self._looks[1].at <= now.at - _DAY:
            self._looks.popleft()
        return now

    def last_day(self) -> tuple[float, dict[tuple[str, int], int]]:
        """Return the seconds that are known of, a day and ten minutes at most, and the answers in them."""
        first = self._looks[0] if self._looks else Look(self._clock(), {})
        now = Look(self._clock(), self._read())
        counts = {key: round(count - first.counts.get(key, 0.0)) for key, count in now.counts.items()}
        return now.at - first.at, {key: count for key, count in counts.items() if count > 0}
