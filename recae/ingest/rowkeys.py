"""User, item, time and quantity of every row: what tells purchases apart, and so which row is a duplicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.ingest.codes import as_text
from recae.ingest.columns import Columns
from recae.ingest.dictionary import Dictionary
from recae.ingest.narrow import Column
from recae.ingest.quantities import read_quantities
from recae.ingest.times import Times, Tokens
from recae.interactions import NO_TIME


@dataclass(frozen=True, eq=False)
class RowKeys:
    """The kept rows of a table in their order, duplicates among them; every array of rows has shape (rows,).

    Attributes:
        users, items: int32 positions in the texts.
        user_texts, item_texts: the distinct ids, as they are written.
        times: int64 seconds since 1970-01-01 UTC, `NO_TIME` where unknown; None without a time column.
        quantities: float64, 1 where missing; None without a quantity column.
        unreadable: how many times could not be read.
        unreadable_texts: some of them.
        notes: sentences on how times were understood.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    user_texts: pa.LargeStringArray
    item_texts: pa.LargeStringArray
    times: NDArray[np.int64] | None
    quantities: NDArray[np.float64] | None
    unreadable: int
    unreadable_texts: list[str]
    notes: list[str]

    def duplicates(self) -> NDArray[np.bool_]:
        """Return which rows repeat an earlier one: same user, item, known time and quantity; none without times."""
        repeated = np.zeros(self.users.size, dtype=np.bool_)
        if self.times is None:
            return repeated
        pair = self.users.astype(np.int64) * len(self.item_texts) + self.items
        keys = [self.times, pair] if self.quantities is None else [self.quantities, self.times, pair]
        order = np.lexsort(keys)  # stable: the earliest of equal rows comes first
        same = self.times[order[1:]] != NO_TIME
        for key in keys:
            same &= key[order[1:]] == key[order[:-1]]
        repeated[order[1:][same]] = True
        return repeated


class KeysOfRows:
    """Gathers the `RowKeys` of a table batch by batch, at 17 bytes a row and 8 more for a quantity."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._known_users, self._known_items = Dictionary(), Dictionary()
        self._users: list[NDArray[np.int32]] = []
        self._items: list[NDArray[np.int32]] = []
        self._times = None if columns.time is None else Times(columns.time)
        self._tokens: list[Tokens] = []
        self._quantities: list[NDArray[np.float64]] = []

    def add(self, batch: pa.RecordBatch, kept: NDArray[np.bool_]) -> None:
        """Take the rows of a batch that are marked in ``kept``."""
        columns, mask = self._columns, pa.array(kept)
        users, items = (
            as_text(batch.column(name), name).filter(mask) for name in (columns.user, columns.item)
        )
        self._users.append(self._known_users.encode(users))
        self._items.append(self._known_items.encode(items))
        if self._times is not None:
            self._tokens.append(self._times.add(batch.column(columns.time).filter(mask)))
        if columns.quantity is not None:
            self._quantities.append(read_quantities(batch.column(columns.quantity), columns.quantity)[kept])

    def finish(self) -> RowKeys:
        """Put the batches together."""
        nothing = np.zeros(0, dtype=np.int32)
        users, items = (np.concatenate([nothing, *codes]) for codes in (self._users, self._items))
        user_texts, item_texts = self._known_users.texts(), self._known_items.texts()
        times = quantities = None
        unreadable, unread, notes = 0, list[str](), list[str]()
        if self._times is not None:
            parts = [(cast("Column", kinds), tokens) for kinds, tokens in self._tokens]
            self._times.settle(lambda: ((*part, np.ones(part[1].size, dtype=np.int64)) for part in parts))
            seconds = [self._times.seconds(*part) for part in parts]
            times = np.concatenate([np.zeros(0, dtype=np.int64), *seconds])
            unreadable, unread = self._times.unreadable, self._times.unreadable_texts
            notes = self._times.notes
        self._users, self._items, self._tokens = [], [], []
        if self._columns.quantity is not None:
            quantities = np.concatenate([np.zeros(0), *self._quantities])
            self._quantities = []
        return RowKeys(users, items, user_texts, item_texts, times, quantities, unreadable, unread, notes)
