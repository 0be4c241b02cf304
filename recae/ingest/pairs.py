"""Folded rows become one entry a (user, item) pair, in id order, without duplicates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.ingest.baskets import Purchases, joined
from recae.ingest.filtering import FATES, RowFilter
from recae.ingest.names import Names
from recae.ingest.narrow import Column, sort_rows
from recae.ingest.quantities import from_tokens
from recae.ingest.runs import Runs, starts_of
from recae.ingest.tally import PairCounts
from recae.ingest.times import Times
from recae.interactions import NO_TIME

_INT32: Final = 2**31  # entries from which on their places take 64 bits
_FLOAT32: Final = np.finfo(np.float32)


@dataclass(frozen=True)
class Layout:
    """Which columns the rows have beside user and item, in this order.

    Attributes:
        time: two columns, the kind and the token of `Times`, and the token of a quantity.
        name, basket: the number of a text, −1 for none.
        quantity: whether quantities are to be kept: without times, a column with their tokens comes first.
    """

    time: bool
    name: bool
    basket: bool
    quantity: bool = False

    @property
    def keys(self) -> int:
        """How many columns there are."""
        return self.leading + self.name + self.basket

    @property
    def leading(self) -> int:
        """How many columns come before the numbers of texts."""
        return 3 if self.time else int(self.quantity)

    @property
    def with_first(self) -> bool:
        """Whether it matters which of equal rows came first."""
        return self.name or self.basket


@dataclass
class Gathered:
    """What `gather` has made of the rows.

    Attributes:
        matrix, times, counts: as in `Interactions`.
        duplicates: how many rows repeat an earlier one: same user, item, known time and quantity.
        names: of the items; None without a name column.
        rows: the purchases kept, where they were asked for.
        filtered: how many purchases the filter left out, by its fates, shape (fates,); None without a filter.
        period: seconds of the first and the last purchase that it left, None where none has a time.
        quantities: as in `Interactions`.
    """

    matrix: sp.csr_matrix[np.float32]
    times: NDArray[np.int64] | None
    counts: NDArray[np.int32]
    duplicates: int
    names: Names | None
    rows: Purchases | None
    filtered: NDArray[np.int64] | None
    period: tuple[int, int] | None
    quantities: NDArray[np.float32] | None


def text_order(texts: pa.LargeStringArray) -> tuple[NDArray[np.int64], NDArray[np.int32], IdMap]:
    """Number distinct ids by text order, so that the order of the rows in the file does not matter.

    Returns:
        the places in ``texts`` in text order, the rank of each text, both of shape (ids,), and the map.
    """
    order = pc.sort_indices(texts)
    places = order.to_numpy().astype(np.int64)
    rank = np.empty(len(texts), dtype=np.int32)
    rank[places] = np.arange(len(texts), dtype=np.int32)
    return places, rank, IdMap(texts.take(order))


def gather(
    runs: Runs,
    layout: Layout,
    users: NDArray[np.int64],
    item_rank: NDArray[np.int32],
    times: Times | None,
    with_rows: bool,
    row_filter: RowFilter | None = None,
) -> Gathered:
    """Gather rows into interactions, a block of users at a time, and drop duplicates.

    Of equal rows the earliest is kept. Without times none are equal, because two purchases could not be told from
    one row written twice.

    Args:
        runs: the rows, with the columns of ``layout``.
        users: their numbers in the order of the rows of the matrix.
        item_rank: the column of each item.
        times: settled; None where there are none.
        with_rows: keep the purchases too.
        row_filter: which of the purchases, without the duplicates, count; users and items of which none does keep
            their rows and columns.
    """
    total = int(runs.rows_of_users(users.size).sum())
    # No more pairs than rows; the memory is given out only as it is written to.
    indices = np.empty(total, dtype=np.int32)
    counts = np.empty(total, dtype=np.int32)
    last = None if times is None else np.empty(total, dtype=np.int64)
    amounts = np.empty(total, dtype=np.float32) if layout.quantity else None
    lengths = np.zeros(users.size, dtype=np.int64)
    names = Names(item_rank.size) if layout.name else None
    rows: list[Purchases] = []
    done = duplicates = 0
    filtered = None if row_filter is None else np.zeros(FATES, dtype=np.int64)
    period: list[int] = []
    for start, stop, block in _sorted(runs.blocks(users), layout, item_rank, times):
        duplicates += block.duplicates
        if row_filter is not None and filtered is not None:
            block, left_out = block.where(row_filter)
            filtered += left_out
            period += block.period()
        pairs = starts_of([block.owners, block.items])
        after = done + pairs.size
        indices[done:after] = block.items[pairs]
        counts[done:after] = np.add.reduceat(block.counts, pairs)
        if last is not None and block.seconds is not None:  # the last of a pair is its latest
            last[done:after] = block.seconds[np.append(pairs[1:], block.owners.size)[: pairs.size] - 1]
        if amounts is not None and block.quantities is not None and pairs.size:
            sums = np.add.reduceat(block.quantities, pairs)
            amounts[done:after] = np.clip(sums, _FLOAT32.tiny, _FLOAT32.max)
        lengths[start:stop] = np.bincount(block.owners[pairs], minlength=stop - start)
        if names is not None and block.names is not None and block.firsts is not None:
            names.add(block.items, block.names, block.counts, block.firsts)
        if with_rows:
            rows.append(block.purchases(start))
        done = after
    for array in (indices, counts, last, amounts):
        if array is not None:
            array.resize(done, refcheck=False)  # in place, where a slice would hold on to the whole
    kept = joined(rows) if with_rows else None
    matrix = _pattern(indices, lengths, item_rank.size)
    first_and_last = (min(period), max(period)) if period else None
    return Gathered(matrix, last, counts, duplicates, names, kept, filtered, first_and_last, amounts)


def gather_pairs(
    pairs: PairCounts,
    users: NDArray[np.int64],
    item_rank: NDArray[np.int32],
    row_filter: RowFilter | None = None,
) -> Gathered:
    """Gather rows that are nothing but a user and an item, as `gather` does; they leave ``pairs``."""
    lengths, indices, counts = pairs.pairs(users, item_rank)
    filtered = None if row_filter is None else np.zeros(FATES, dtype=np.int64)
    if row_filter is not None and row_filter.excluded is not None:
        fates = row_filter.fates(indices, None)
        out, kept = fates > 0, fates == 0
        filtered = np.bincount(fates[out], weights=counts[out], minlength=FATES).astype(np.int64)
        pointers = row_pointers(lengths)
        lengths = np.diff(np.append(0, np.cumsum(kept))[pointers])
        indices, counts = indices[kept], counts[kept]
    matrix = _pattern(indices, lengths, item_rank.size)
    return Gathered(matrix, None, counts, 0, None, None, filtered, None, None)


def _pattern(indices: NDArray[np.int32], lengths: Column, n_items: int) -> sp.csr_matrix[np.float32]:
    """Return the matrix of ones whose rows have as many entries as the lengths say."""
    ones = np.ones(indices.size, dtype=np.float32)
    matrix: sp.csr_matrix[np.float32] = sp.csr_matrix(
        (ones, indices, row_pointers(lengths)), shape=(lengths.size, n_items)
    )
    return matrix


def _sorted(
    blocks: Iterator[tuple[int, int, list[Column]]],
    layout: Layout,
    item_rank: NDArray[np.int32],
    times: Times | None,
) -> Iterator[tuple[int, int, _Block]]:
    """Yield the blocks in their order, one being sorted while the next is copied together and the last is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="recae-sort") as thread:
        coming: deque[tuple[int, int, Future[_Block]]] = deque()
        for start, stop, columns in blocks:
            coming.append((start, stop, thread.submit(_Block.of, columns, layout, item_rank, times)))
            if len(coming) == 2:
                start, stop, block = coming.popleft()
                yield start, stop, block.result()
        for start, stop, block in coming:
            yield start, stop, block.result()


def row_pointers(lengths: NDArray[np.int64]) -> NDArray[np.int32] | NDArray[np.int64]:
    """Return where the entries of each row begin, and where the last ones end: int32 where that can hold it."""
    pointers = np.append(0, np.cumsum(lengths))
    return pointers if pointers[-1] >= _INT32 else pointers.astype(np.int32)


@dataclass(frozen=True)
class _Block:
    """The purchases of some users, sorted by user, item and time, without duplicates.

    Every array has shape (rows,); `firsts` are the numbers of the rows that each stands for first, `counts` how many
    purchases it stands for, `quantities` how much was bought in them together.
    """

    owners: Column
    items: Column
    seconds: Column | None
    names: Column | None
    baskets: Column | None
    firsts: Column | None
    counts: Column
    duplicates: int
    quantities: NDArray[np.float64] | None

    @classmethod
    def of(
        cls, columns: list[Column], layout: Layout, item_rank: NDArray[np.int32], times: Times | None
    ) -> _Block:
        owners, items, *rest = columns
        counts = rest.pop()
        first = [rest.pop()] if layout.with_first else []
        timed, texts = rest[: layout.leading], rest[layout.leading :]
        keys = [owners, item_rank[items].astype(np.int64)]
        unknown = 0
        if times is not None:
            seconds = times.seconds(timed[0], timed[1])
            unknown = (
                0 if times.first is None else times.first - 1
            )  # what is far away would not fit into a word
            keys += [np.where(seconds == NO_TIME, unknown, seconds), timed[2]]
        # with times the quantities are among the keys already
        tokens = [timed[-1]] if layout.quantity and times is None else []
        keys = sort_rows([*keys, *first, *texts, *tokens, counts])
        counts, total = keys[-1], int(keys[-1].sum())
        if times is not None:
            known = keys[2] != unknown
            kept = ~known
            kept[starts_of(keys[:4])] = True
            counts = np.where(known, 1, counts)
            if not kept.all():
                keys, counts = [key[kept] for key in keys], counts[kept]
        quantities = None
        if layout.quantity:
            quantities = from_tokens(keys[3 if times is not None else -2]) * counts
        rest = keys[2 if times is None else 4 : -1 - len(tokens)]
        return cls(
            owners=keys[0],
            items=keys[1],
            seconds=None if times is None else np.where(keys[2] == unknown, NO_TIME, keys[2]),
            names=rest[1] if layout.name else None,
            baskets=rest[-1] if layout.basket else None,
            firsts=rest[0] if layout.with_first else None,
            counts=counts,
            duplicates=total - int(counts.sum()),
            quantities=quantities,
        )

    def where(self, row_filter: RowFilter) -> tuple[_Block, NDArray[np.int64]]:
        """Return the block with the purchases that count, and how many of each fate there were."""
        fates = row_filter.fates(self.items, self.seconds)
        numbers = np.bincount(fates, weights=self.counts, minlength=FATES).astype(np.int64)
        kept = fates == 0
        if kept.all():
            return self, numbers

        def of_kept(array: Column | None) -> Column | None:
            return None if array is None else array[kept]

        block = replace(
            self,
            owners=self.owners[kept],
            items=self.items[kept],
            seconds=of_kept(self.seconds),
            names=of_kept(self.names),
            baskets=of_kept(self.baskets),
            firsts=of_kept(self.firsts),
            counts=self.counts[kept],
            quantities=None if self.quantities is None else self.quantities[kept],
        )
        return block, numbers

    def period(self) -> list[int]:
        """Return the seconds of the first and the last purchase that have a time; nothing where none has one."""
        if self.seconds is None:
            return []
        known = self.seconds[self.seconds != NO_TIME]
        return [int(known.min()), int(known.max())] if known.size else []

    def purchases(self, start: int) -> Purchases:
        """Return the rows, the first user of the block being the row ``start`` of the matrix."""
        return Purchases(
            (self.owners + start).astype(np.int32),
            self.items.astype(np.int32),
            self.seconds,
            None if self.baskets is None else self.baskets.astype(np.int32),
            self.quantities,
        )
