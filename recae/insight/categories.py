"""Categories of items, read from a table of items or of purchases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.ids import IdMap
from recae.ingest import KNOWN_NAMES
from recae.ingest.codes import Codes, as_text, without_point_zero
from recae.ingest.columns import choose_column
from recae.sources import open_source

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


def read_categories(
    path: str | Path, items: IdMap, *, item_column: str | None = None, category_column: str | None = None
) -> Categories:
    """Read the category of each item from a table; the one of most rows counts, the first by text among equals.

    Items that ``items`` lacks and rows without an item or a category are passed over.

    Args:
        path: a CSV, TSV or Parquet file as in `recae.sources.open_source`; the purchases themselves will do.
        items: the model's item ids.
        item_column: the exact name of the column of ids; by default recognised as in `recae.ingest.KNOWN_NAMES`.
        category_column: the exact name of the column of categories; by default "category" or one of its like.

    Raises:
        SourceError: the file cannot be read.
        ColumnError: a column is not there, or occurs twice, or cannot be told.
        DataError: no item of the model has a category in the table.
    """
    table = open_source(path)
    names = table.column_names
    item = choose_column(names, item_column, "item", KNOWN_NAMES["item"], table.name)
    category = choose_column(names, category_column, "category", _KNOWN, table.name)
    item_texts, category_texts = Codes(), Codes()
    for batch in table.batches(list(dict.fromkeys((item, category)))):
        item_texts.add(as_text(batch.column(item), item))
        texts = pc.utf8_trim_whitespace(as_text(batch.column(category), category))
        category_texts.add(pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts))
    item_codes, ids = item_texts.finish()
    category_codes, kinds = category_texts.finish()
    whole = without_point_zero(ids)
    rows = items.rows(
        ids if whole is None else whole
    )  # row of each distinct id, −1 for those not in the model
    order = pc.sort_indices(kinds).to_numpy()
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    both = (item_codes >= 0) & (category_codes >= 0)
    rows_of, kinds_of = rows[item_codes[both]], rank[category_codes[both]]
    known = rows_of >= 0
    if not known.any():
        raise DataError(
            f"no item of the model has a category in '{table.name}' (items from column {item!r}, categories "
            f"from {category!r}); check that the file belongs to the model, or name the columns"
        )
    shape = (len(items), len(kinds))
    ones = np.ones(int(known.sum()), np.int64)
    counts = sp.coo_matrix((ones, (rows_of[known], kinds_of[known])), shape=shape)
    counts.sum_duplicates()
    return Categories(kinds.take(pa.array(order)).to_pylist(), _most_frequent(counts, len(items)))


def _most_frequent(counts: sp.coo_matrix, n_rows: int) -> NDArray[np.int32]:
    """Return the column of the largest count in each row, the first of equals; -1 for a row without counts."""
    order = np.lexsort((-counts.col, counts.data, counts.row))  # the winner of a row comes last, and stays
    winners = np.full(n_rows, -1, dtype=np.int32)
    winners[counts.row[order]] = counts.col[order]
    return winners
