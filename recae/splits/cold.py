"""The protocol of new items: some items are held out whole, and found by what else is known of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recae.errors import DataError
from recae.interactions import Interactions
from recae.item_features import features_of, groups_of
from recae.item_table import ItemTable
from recae.sparse import entry_rows, take_entries
from recae.splits.held_out import Keys
from recae.splits.items import fold_in_validation
from recae.splits.keys import item_keys, smallest
from recae.splits.tasks import ColdItems, Parts, ProtocolOptions, Purchases, Task, counted, make_task


def cold_items(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Hold out all purchases of some items; users are asked for these, among these alone, by what else they bought.

    The items with the smallest keys are held out, by seed and id, so that they do not depend on others. Features are
    weighed by the items that are learned from, and name or describe the others.

    Raises:
        DataError: nothing is known of the items beside who bought them, or there are not enough to hold one out.
    """
    interactions = purchases.interactions
    table = _table(interactions, purchases.item_table)
    bought = np.unique(interactions.matrix.indices).astype(np.int64)
    n_held = int(options.held_out * bought.size)
    if not 1 <= n_held < bought.size:
        raise DataError(
            f"holding out items whole needs one at least to find and one to learn from, but {options.percent} of "
            f"{counted(bought.size, 'item')} are {n_held:,}: hold out another fraction, or use more purchases"
        )
    new = np.zeros(interactions.n_items, dtype=np.bool_)
    new[smallest(bought, item_keys(interactions.items, seed), n_held)] = True
    matrix = interactions.matrix
    held = new[matrix.indices]
    train = take_entries(matrix, ~held)
    fit, validation = fold_in_validation(train, options, Keys(interactions, seed))
    users = np.unique(entry_rows(matrix)[held]).astype(np.int64)
    known = np.zeros(interactions.n_items, dtype=np.bool_)
    known[train.indices] = True
    parts = Parts(
        held=f"{counted(n_held, 'item')} of {bought.size:,} ({options.percent}) are held out whole, and {{users}} are "
        "asked which of these they bought ({interactions}), by what else they bought and what is known of the items",
        chosen=f"{options.percent} of whose other items are taken out",
        train=train,
        fit=fit,
        validation=validation,
        users=users,
        histories=sp.csr_matrix(train[users]),
        held_out=sp.csr_matrix(take_entries(matrix, held)[users]),
        cold=ColdItems(new, features_of(table, known), groups_of(table, known)),
        counts={"cold_items": n_held},
    )
    return [make_task("cold-items", interactions, parts, options)]


def _table(interactions: Interactions, table: ItemTable | None) -> ItemTable:
    """Return what is known of the items, in their order; DataError where nothing is."""
    names = interactions.item_names
    if table is not None:
        table = table.of(interactions.items)
        if "name" not in table and names is not None:
            columns = table.columns.add_column(0, "name", pa.chunked_array([names]))
            table = ItemTable(table.ids, columns)
    elif names is not None:
        table = ItemTable(interactions.items, pa.table({"name": names}))
    if table is None:
        raise DataError(
            "the protocol cold-items finds items by what is known of them, but the purchases hold neither names nor "
            "categories: give a table of products with --items"
        )
    return table
