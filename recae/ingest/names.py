"""`Names`: the most frequent name of each item, the first seen of equals, in memory for the distinct ones."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from recae.ingest.narrow import Column, order_of
from recae.ingest.runs import starts_of

_MERGE_AT: Final = 1 << 20  # entries that are worth a merge


class Names:
    """How often each name occurs with each item, and where first.

    Args:
        n_items: how many items there are.
    """

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items
        self._parts: list[list[Column]] = []
        self._pending = self._merged = 0

    def add(self, items: Column, names: Column, counts: Column, firsts: Column) -> None:
        """Take rows.

        Args:
            items, names: their numbers, a name's is −1 for none; shape (rows,).
            counts: how many purchases each row stands for.
            firsts: a number that rises with the place of the first of them in the source.
        """
        named = names >= 0
        part = _once([column[named] for column in (items, names, counts, firsts)])
        self._parts.append(part)
        self._pending += part[0].size
        if self._pending >= max(_MERGE_AT, self._merged):
            self._merge()

    def best(self, texts: pa.LargeStringArray) -> pa.LargeStringArray:
        """Return the name of each item among the texts that the numbers stand for, null where it has none."""
        self._merge()
        items, names, counts, firsts = self._parts[0]
        order = order_of([items, -counts, firsts])
        best = order[starts_of([items[order]])]
        chosen = np.full(self._n_items, -1, dtype=np.int64)
        chosen[items[best]] = names[best]
        return texts.take(pa.array(chosen, mask=chosen < 0))

    def _merge(self) -> None:
        if len(self._parts) != 1:
            empty = [np.zeros(0, dtype=np.int64)] * 4
            parts = self._parts or [empty]
            self._parts = [_once([np.concatenate(columns) for columns in zip(*parts, strict=True)])]
        self._pending, self._merged = 0, self._parts[0][0].size


def _once(columns: list[Column]) -> list[Column]:
    """Return each (item, name) once, with the sum of its counts and its smallest number."""
    order = order_of([columns[0], columns[1]])
    items, names, counts, firsts = (column[order] for column in columns)
    new = starts_of([items, names])
    if not new.size:
        return [items, names, counts, firsts]
    return [items[new], names[new], np.add.reduceat(counts, new), np.minimum.reduceat(firsts, new)]
