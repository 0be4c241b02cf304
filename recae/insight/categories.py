"""Categories of items, read from a table of items or of purchases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.ids import IdMap
from recae.item_table import SEPARATOR
from recae.reading.lists import read_categories_of
from recae.recommender import Recommender

_KNOWN: Final = ("category", "category_name", "item_category", "product_category", "department", "genre")


@dataclass(frozen=True, eq=False)
class Categories:
    """The category of each item.

    Attributes:
        names: the categories, in the order of their text.
        codes: int32 of shape (items,), the row of each item's category in ``names``; -1 where none is known.
    """

    names: list[str]
    codes: NDArray[np.int32]

    def of_users(self, histories: sp.csr_matrix) -> NDArray[np.int32]:
        """Return the category of most items of each history, the first of equals; -1 where none is known.

        Args:
            histories: pattern of shape (users, items).

        Returns:
            int32 of shape (users,).
        """
        known = np.flatnonzero(self.codes >= 0)
        shape = (self.codes.size, len(self.names))
        one_hot = sp.csr_matrix((np.ones(known.size, np.int32), (known, self.codes[known])), shape=shape)
        owned = np.ones(histories.indices.size, np.int32)
        counts = sp.csr_matrix((owned, histories.indices, histories.indptr), shape=histories.shape) @ one_hot
        return _most_frequent(counts.tocoo(), histories.shape[0])


@dataclass(frozen=True, eq=False)
class Colours:
    """By what the points of a map are coloured.

    Attributes:
        kinds: the categories or clusters of the items.
        by: which of these they are.
    """

    kinds: Categories
    by: Literal["categories", "clusters"]


def categories_of(recommender: Recommender, level: int | None = None) -> Categories | None:
    """Return the categories of a model's items by its table of items; None where that has none of them.

    Args:
        recommender: with a table of items or without.
        level: of the paths, from 1, the widest; None: the whole path.
    """
    table = recommender.item_table
    if table is None or "category" not in table:
        return None
    paths = table.of(recommender.items).path(level)
    names = pc.unique(paths.drop_null())
    names = names.take(pc.sort_indices(names))
    if not len(names):
        return None
    codes = pc.fill_null(pc.index_in(paths, value_set=names), -1)
    return Categories(names.to_pylist(), codes.to_numpy(zero_copy_only=False).astype(np.int32))


def categories_for_colours(recommender: Recommender, most: int) -> Categories | None:
    """Return the categories of a model's items that a picture of so many colours can show; None without any.

    These are the narrowest level of their paths that has no more than `most` categories, else the widest level.

    Args:
        recommender: with a table of items or without.
        most: how many colours there are.
    """
    whole = categories_of(recommender)
    if whole is None or len(whole.names) <= most:
        return whole
    depth = 1 + max(name.count(SEPARATOR) for name in whole.names)
    for level in range(depth - 1, 0, -1):
        found = categories_of(recommender, level)
        if found is not None and (level == 1 or len(found.names) <= most):
            return found
    return whole


def read_categories(
    path: str | Path, items: IdMap, *, item_column: str | None = None, category_column: str | None = None
) -> Categories:
    """Read the category of each item from a table; the one of most rows counts, the first by text among equals.

    Items that ``items`` lacks and rows without an item or a category are passed over.

    Args:
        path: a CSV, TSV or Parquet file as in `recae.reading.read`; the purchases themselves will do.
        items: the model's item ids.
        item_column: the exact name of the column of ids; by default recognised as in `recae.reading.KNOWN_NAMES`.
        category_column: the exact name of the column of categories; by default "category" or one of its like.

    Raises:
        SourceError: the file cannot be read.
        ColumnError: a column is not there, or occurs twice, or cannot be told.
        DataError: no item of the model has a category in the table.
    """
    counted, name, item, category = read_categories_of(path, item_column, category_column, _KNOWN)
    rows = items.rows(
        counted.column("id").combine_chunks().cast(pa.large_string())
    )  # −1 for those not in the model
    known = rows >= 0
    if not known.any():
        raise DataError(
            f"no item of the model has a category in '{name}' (items from column {item!r}, categories "
            f"from {category!r}); check that the file belongs to the model, or name the columns"
        )
    texts = counted.column("category").combine_chunks()
    kinds = pc.unique(texts)
    kinds = kinds.take(pc.sort_indices(kinds))
    kinds_of = pc.index_in(texts, value_set=kinds).to_numpy(zero_copy_only=False)
    numbers = counted.column("n").to_numpy().astype(np.int64)
    shape = (len(items), len(kinds))
    counts = sp.coo_matrix((numbers[known], (rows[known], kinds_of[known])), shape=shape)
    counts.sum_duplicates()
    return Categories(kinds.to_pylist(), _most_frequent(counts, len(items)))


def _most_frequent(counts: sp.coo_matrix, n_rows: int) -> NDArray[np.int32]:
    """Return the column of the largest count in each row, the first of equals; -1 for a row without counts."""
    order = np.lexsort((-counts.col, counts.data, counts.row))  # the winner of a row comes last, and stays
    winners = np.full(n_rows, -1, dtype=np.int32)
    winners[counts.row[order]] = counts.col[order]
    return winners
