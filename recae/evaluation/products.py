"""What is known of products, as the report needs it: slices by category and price, and the value of hits in money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation.slices import Slice
from recae.item_table import ItemTable
from recae.metrics import compute
from recae.sparse import entry_rows, take_entries
from recae.splits.tasks import Task

MONEY: Final = ("value", "value_recall")
"""Names of the figures in money, see `money`."""

MOST_CATEGORIES: Final = 8
"""Categories that have a slice of their own: those with most held-out purchases."""

OTHERS: Final = "other categories"
NO_CATEGORY: Final = "no category"
NO_PRICE: Final = "no price"

_BANDS: Final = 4
_DEAREST: Final = 1e15
"""What a price may be at most; more is a mistake in the table, and sums of it would not be finite."""


@dataclass(frozen=True, eq=False)
class Products:
    """Category and price of the items of each task.

    Attributes:
        categories: names, in the order of their held-out purchases, most first; of equals the first by text.
        codes: for each task int32 (I,), the row of each item's category in `categories`; -1 where none is known.
        prices: for each task float64 (I,); NaN where none is known.
    """

    categories: tuple[str, ...]
    codes: tuple[NDArray[np.int32], ...]
    prices: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, tasks: Sequence[Task], table: ItemTable) -> Products | None:
        """Take categories and prices of a table; None where it has neither for any item of the tasks.

        Of a category that is a path, such as "Home > Kitchen > Mugs", the first level counts at which the items of the
        first task are in several categories.
        """
        tables = [table.of(task.items) for task in tasks]
        paths = [of_task.path(_level(tables[0])) for of_task in tables]
        names = pc.unique(pa.chunked_array(paths, pa.large_string()).drop_null())
        held = np.zeros(len(names), dtype=np.int64)
        codes = []
        for task, path in zip(tasks, paths, strict=True):
            rows = pc.fill_null(pc.index_in(path, value_set=names), -1).to_numpy(zero_copy_only=False)
            codes.append(rows.astype(np.int32))
            found = codes[-1][task.held_out.indices]
            held += np.bincount(found[found >= 0], minlength=len(names))
        texts: list[str] = names.to_pylist()
        order = sorted(range(len(texts)), key=lambda row: (-held[row], texts[row]))
        place = np.full(len(texts) + 1, -1, dtype=np.int32)  # the last is that of no category
        place[order] = np.arange(len(texts), dtype=np.int32)
        prices = [_prices(of_task) for of_task in tables]
        if not texts and all(np.isnan(known).all() for known in prices):
            return None
        return cls(tuple(texts[row] for row in order), tuple(place[rows] for rows in codes), tuple(prices))

    @property
    def priced(self) -> bool:
        """Whether an item has a price."""
        return any(np.isfinite(prices).any() for prices in self.prices)

    def counts(self, tasks: Sequence[Task]) -> dict[str, int]:
        """Return how many held-out purchases have no category, and how many no price, where others have one."""
        found = {}
        if self.categories:
            found["held_out_without_category"] = sum(
                int((codes[task.held_out.indices] < 0).sum())
                for task, codes in zip(tasks, self.codes, strict=True)
            )
        if self.priced:
            found["held_out_without_price"] = sum(
                int(np.isnan(prices[task.held_out.indices]).sum())
                for task, prices in zip(tasks, self.prices, strict=True)
            )
        return found

    def slices(
        self, ranked: Sequence[NDArray[np.integer]], tasks: Sequence[Task], metric: str, k: int
    ) -> dict[str, list[Slice]]:
        """Return a metric at k by category and by price of the held-out items, the whole lists against each part.

        Args:
            ranked: for each task item numbers (B, n), best first, padded with -1.
            tasks: those that the products are of.
            metric: a name of `METRICS`.
            k: places that count, 1 <= k <= n.

        Returns:
            "category": those of most held-out purchases, then the others together and those without any; "price": four
            bands with as many held-out purchases each, as far as equal prices allow, and those without. What there is
            none of is left out.
        """
        found = {}
        if self.categories:
            most = np.int32(MOST_CATEGORIES)
            parts = [np.where(codes < 0, most + 1, np.minimum(codes, most)) for codes in self.codes]
            names = [self._named(place) for place in range(min(len(self.categories), MOST_CATEGORIES))]
            names += [""] * (MOST_CATEGORIES - len(names)) + [OTHERS, NO_CATEGORY]
            found["category"] = _measured(ranked, tasks, parts, names, metric, k)
        if self.priced:
            bands, names = self._bands(tasks)
            found["price"] = _measured(ranked, tasks, bands, names, metric, k)
        return found

    def _named(self, place: int) -> str:
        name = self.categories[place]
        return f"category {name!r}" if name in (OTHERS, NO_CATEGORY) else name

    def _bands(self, tasks: Sequence[Task]) -> tuple[list[NDArray[np.int32]], list[str]]:
        """Return the band of each item of each task, (I,) each, and the names of the bands."""
        held = np.sort(
            np.concatenate(
                [prices[task.held_out.indices] for task, prices in zip(tasks, self.prices, strict=True)]
            )
        )
        held = held[np.isfinite(held)]
        # up to which price each band goes, as `slices.history` does with lengths: integers, so exactly
        limits = (
            sorted({float(held[-(-held.size * part // _BANDS) - 1]) for part in range(1, _BANDS + 1)})
            if held.size
            else []
        )
        bands = [
            np.where(
                np.isnan(prices),
                len(limits),
                np.minimum(np.searchsorted(limits, prices), max(len(limits) - 1, 0)),
            ).astype(np.int32)
            for prices in self.prices
        ]
        names = [f"up to {limits[0]:,.2f}"] if len(limits) > 1 else ["any price"] if limits else []
        names += [f"{low:,.2f} to {high:,.2f}" for low, high in pairwise(limits[:-1])]
        names += [f"above {limits[-2]:,.2f}"] if len(limits) > 1 else []
        return bands, [*names, NO_PRICE]


def money(
    ranked: NDArray[np.integer], held_out: sp.csr_matrix, prices: NDArray[np.float64], ks: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Return what the hits in the lists cost, user by user.

    Args:
        ranked: item numbers (B, n), best first, padded with -1, each at most once in a list.
        held_out: csr (B, I), the items that count.
        prices: (I,); NaN where none is known. A hit without a price counts 0.
        ks: places that count, 1 <= k <= n.

    Returns:
        "value@k": float64 (B,), 1,000/k times the sum of the prices of the hits in the first k places: over users the
        mean is the value of the hits in 1,000 recommendations. "value_recall@k": the same sum divided by that of all
        held-out items of the user; NaN where that is 0.
    """
    n_users = held_out.shape[0]
    known = np.nan_to_num(prices, nan=0.0)
    held = sp.csr_matrix((known[held_out.indices], held_out.indices, held_out.indptr), shape=held_out.shape)
    total = np.zeros(n_users)
    np.add.at(total, entry_rows(held_out), held.data)
    wanted = max(ks)
    listed = ranked[:, :wanted]
    filled = listed >= 0
    rows = np.broadcast_to(np.arange(n_users)[:, None], listed.shape)
    worth = np.zeros(listed.shape)
    worth[filled] = np.asarray(held[rows[filled], listed[filled]]).ravel()
    summed = np.cumsum(worth, axis=1)
    found: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        found[f"value@{k}"] = summed[:, k - 1] * (1000 / k)
    for k in ks:
        with np.errstate(invalid="ignore"):
            found[f"value_recall@{k}"] = np.where(
                total > 0, summed[:, k - 1] / np.where(total > 0, total, 1), np.nan
            )
    return found


def _prices(table: ItemTable) -> NDArray[np.float64]:
    known = pc.fill_null(table.column("price"), np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
    return np.where(known <= _DEAREST, known, np.nan)


def _level(table: ItemTable) -> int | None:
    """Return the first level at which the paths differ; None, the whole paths, where they do at none."""
    whole = table.path()
    depth = pc.max(pc.count_substring_regex(whole, " > ")).as_py() or 0
    for level in range(1, depth + 1):
        if pc.count_distinct(table.path(level), mode="only_valid").as_py() > 1:
            return level
    return None


def _measured(
    ranked: Sequence[NDArray[np.integer]],
    tasks: Sequence[Task],
    parts: Sequence[NDArray[np.int32]],
    names: Sequence[str],
    metric: str,
    k: int,
) -> list[Slice]:
    """Return the slice of each part of the items that has held-out purchases."""
    found = []
    for number, name in enumerate(names):
        held = [
            take_entries(task.held_out, part[task.held_out.indices] == number)
            for task, part in zip(tasks, parts, strict=True)
        ]
        if not any(part.nnz for part in held):
            continue
        values = [
            compute(of_task, part, (metric,), (k,))[f"{metric}@{k}"]
            for of_task, part in zip(ranked, held, strict=True)
        ]
        found.append(Slice(name, np.concatenate(values)))
    return found
