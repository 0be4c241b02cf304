"""The processes that train one model together, as a trainer sees them; here the simplest case, one by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Ranks:
    """A process that trains by itself. `group.Group` is one of several, which divide the items among them.

    Item j belongs to process j mod size and is number j div size there: rare and popular items, old and new ones are
    spread evenly whatever the order of the catalogue. What belongs to an item (a row of the encoder and of the
    decoder, a column of the purchases) is held by that process alone. Of the small matrices of the decoder each
    process keeps a range of rows or columns up to date. Everything else is held by all.

    Attributes:
        rank: the number of this process, from 0; process 0 coordinates: it reads, decides, measures and writes.
        size: how many processes there are.
    """

    rank: int = 0
    size: int = 1

    def count(self, n_items: int) -> int:
        """Return how many of the items belong to this process."""
        return len(range(self.rank, n_items, self.size))

    def range(self, width: int) -> slice:
        """Return which of `width` rows or columns of a small matrix this process keeps up to date."""
        return slice(width * self.rank // self.size, width * (self.rank + 1) // self.size)

    def join_rows(self, matrix: NDArray[Any]) -> None:
        """Bring all rows of a small matrix up to date, each from the process that keeps it so."""

    def sum(self, array: NDArray[Any]) -> None:
        """Replace a contiguous array of floats by its sum over the processes, which is the same bits in each."""

    def agree(self, array: NDArray[Any]) -> None:
        """Replace a contiguous array by that of process 0, so that rounding cannot part the decisions made on it."""

    def gather(self, mine: NDArray[Any], n_items: int) -> NDArray[Any]:
        """Return the rows of all items (n_items, …) at process 0 alone; elsewhere `mine` itself."""
        return mine

    def scatter(self, every: NDArray[Any] | None, mine: NDArray[Any]) -> None:
        """Fill `mine` with this process's rows of `every` (n_items, …), which process 0 alone has to give."""
        if every is not None:
            mine[...] = every

    def normal_rows(
        self, rng: np.random.Generator, n_items: int, width: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """Return this process's rows of `rng.standard_normal((n_items, width))`; all numbers are drawn."""
        mine = np.empty((self.count(n_items), width), dtype)
        step = ROWS * self.size
        for first in range(0, n_items, step):  # a stream: in pieces it gives the same numbers
            rows = rng.standard_normal((min(step, n_items - first), width), dtype=dtype)[
                self.rank :: self.size
            ]
            mine[first // self.size : first // self.size + len(rows)] = rows
        return mine


ROWS = 8192
"""Rows of each process that are drawn or sent at once."""

ALONE = Ranks()
