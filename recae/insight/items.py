"""What is known of a model's items: a table read and joined to the model, and what the two do not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from recae.ids import IdMap
from recae.item_table import ItemTable
from recae.reading.item_table import ItemReport, read_item_table
from recae.recommender import Recommender


@dataclass(frozen=True)
class Shared:
    """What a table of items and purchases do not share.

    Attributes:
        n_items: that were bought.
        unbought: items of the table that occur in no purchase.
        undescribed: items that were bought and that the table lacks.
        their_purchases: pairs of a user and such an item; None where the histories are not known.
    """

    n_items: int
    unbought: int
    undescribed: int
    their_purchases: int | None

    @classmethod
    def of(cls, table: ItemTable, items: IdMap, histories: sp.csr_matrix | None) -> Shared:
        """Compare a table with the items that were bought, and the histories (users, items) of them."""
        lacking = table.rows(items) < 0
        pairs = None if histories is None else int(lacking[histories.indices].sum())
        return cls(len(items), int(table.unbought(items).size), int(lacking.sum()), pairs)

    def sentences(self) -> list[str]:
        """Return it in words, a line each; none where both have the same items."""
        found = []
        if self.undescribed:
            bought = "" if self.their_purchases is None else f", with {self.their_purchases:,} purchases"
            found.append(
                f"{self.undescribed:,} of {self.n_items:,} items that were bought are not in the table{bought}"
            )
        if self.unbought:
            found.append(f"{self.unbought:,} items of the table occur in no purchase")
        return found


@dataclass(frozen=True)
class Described:
    """A recommender that knows more of its items: with a table, how that was read, and what both do not share."""

    recommender: Recommender
    shared: Shared
    report: ItemReport | None = None

    def sentences(self) -> list[str]:
        """Return how the table was read and what it and the purchases do not share, a line each."""
        return [*([] if self.report is None else self.report.sentences()), *self.shared.sentences()]


@dataclass(frozen=True)
class ItemSource:
    """A table of items that a run takes in place of the model's.

    Attributes:
        source: where it is.
        columns: what is meant to the names of columns, as `recae.reading.item_table.read_item_table` takes them.
    """

    source: str
    columns: Mapping[str, Sequence[str]]

    def given_to(self, recommender: Recommender) -> Described:
        """Return the recommender with the table, as `describe_items`."""
        return describe_items(recommender, self.source, self.columns)


def describe_items(
    recommender: Recommender,
    source: Any,
    columns: Mapping[str, Sequence[str]] | None = None,
    *,
    bad_lines: str = "stop",
) -> Described:
    """Return a recommender whose table of items is another one.

    Names of the table take the place of those that the model has; where it has none for an item, the old one stays.

    Args:
        recommender: stays as it is.
        source: a table of items, as `recae.reading.item_table.read_item_table` takes it, or an `ItemTable`.
        columns: as there.
        bad_lines: as there.

    Raises:
        SourceError, ColumnError, DataError: the table cannot be read, or holds none of the model's items.
    """
    report = None
    if isinstance(source, ItemTable):
        table = source
    else:
        table, report = read_item_table(source, columns, known=recommender.items, bad_lines=bad_lines)
    found = with_item_table(recommender, table)
    return Described(found, Shared.of(table, recommender.items, recommender.histories), report)


def with_item_table(recommender: Recommender, table: ItemTable | None) -> Recommender:
    """Return a recommender with a table of items and its names; with none, the same one."""
    if table is None:
        return recommender
    names = recommender.item_names
    if "name" in table:
        rows = table.rows(recommender.items)
        places = pa.array(np.maximum(rows, 0), mask=rows < 0, type=pa.int64())
        found = table.column("name").take(places)
        names = found if names is None else pc.coalesce(found, names)
    return replace(recommender, item_names=names, item_table=table)
