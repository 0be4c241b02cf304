"""The unit of a column of times, by the exact median of numbers of which only a few counts are kept."""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

# 1e11 seconds are the year 5138, 1e11 milliseconds are 1973; each unit has three more digits.
_BOUNDS: Final = np.array([1e11, 1e14, 1e17])


class Magnitudes:
    """How many numbers fall between the bounds that tell seconds, milliseconds, microseconds and nanoseconds apart.

    With the smallest and the largest of each range these tell in which one the median lies, exactly.

    Attributes:
        first: the first finite number; None before there is one.
        lowest, highest: of the finite numbers.
        infinite: how many are infinite.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self.lowest, self.highest = np.inf, -np.inf
        self.infinite = 0
        self._counts = np.zeros(4, dtype=np.int64)
        self._smallest, self._largest = np.full(4, np.inf), np.full(4, -np.inf)

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> Self:
        """Return what is kept of numbers, shape (n,)."""
        found = cls()
        found.add(numbers)
        return found

    def add(self, numbers: NDArray[Any]) -> None:
        """Take numbers, int64 or float64, shape (n,); NaN is passed over."""
        if numbers.dtype != np.int64:
            self.infinite += int(np.isinf(numbers).sum())
            numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return
        if self.first is None:
            self.first = float(numbers[0])
        low, high = float(numbers.min()), float(numbers.max())
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)
        if low >= 0 and np.searchsorted(_BOUNDS, low, "right") == np.searchsorted(_BOUNDS, high, "right"):
            place = int(np.searchsorted(_BOUNDS, low, "right"))  # as with all batches of nearly all files
            self._take(place, numbers.size, low, high)
            return
        sizes = np.abs(numbers)
        places = np.searchsorted(_BOUNDS, sizes, "right")
        for place in np.unique(places).tolist():
            inside = sizes[places == place]
            self._take(place, inside.size, float(inside.min()), float(inside.max()))

    def with_others(self, others: Magnitudes) -> Magnitudes:
        """Return what would be kept of these numbers and then others."""
        both = Magnitudes()
        both.first = others.first if self.first is None else self.first
        both.lowest, both.highest = min(self.lowest, others.lowest), max(self.highest, others.highest)
        both.infinite = self.infinite + others.infinite
        both._counts = self._counts + others._counts
        both._smallest = np.minimum(self._smallest, others._smallest)
        both._largest = np.maximum(self._largest, others._largest)
        return both

    def unit(self) -> int:
        """Return how many of the unit make a second, by the median magnitude; there must be a finite number."""
        total = int(self._counts.sum())
        ends = np.cumsum(self._counts)
        lower, upper = (
            int(np.searchsorted(ends, place, "right")) for place in ((total - 1) // 2, total // 2)
        )
        if lower == upper:
            return int(1000**lower)
        # the two in the middle are the last of one range and the first of another
        middle = float(np.mean([self._largest[lower], self._smallest[upper]]))
        return int(1000 ** int(np.searchsorted(_BOUNDS, middle, "right")))

    def _take(self, place: int, count: int, low: float, high: float) -> None:
        self._counts[place] += count
        self._smallest[place] = min(self._smallest[place], low)
        self._largest[place] = max(self._largest[place], high)
