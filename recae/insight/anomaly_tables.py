"""Anomalies as streams of Arrow record batches, ids and names in place of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import DataError
from recae.ids import IdMap
from recae.insight.anomalies import PurchaseAnomalies, UserAnomalies
from recae.recommender import Recommender

WORST: Final = 3
"""How many of a user's purchases are named as a reason."""

USER_SCHEMA: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("user_id", pa.string()),
        ("n_items", pa.int64()),
        ("score", pa.float64()),
        ("tail_probability", pa.float64()),
        *((f"worst_item_{place}", pa.string()) for place in range(1, WORST + 1)),
    ]
)
"""A user a row; the worst items' ids, the most surprising first, null where the history is shorter."""

PURCHASE_SCHEMA: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("name", pa.string()),
        ("owners", pa.int64()),
        ("above", pa.float64()),
        ("score", pa.float64()),
        ("tail_probability", pa.float64()),
    ]
)
"""A purchase a row; `name` is null where the item has none."""

_BATCH_ROWS = 64 * 1024


def user_batches(
    recommender: Recommender, found: UserAnomalies, n: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The n most anomalous users, or all, of `USER_SCHEMA`. Raises DataError when the recommender has no users."""
    users, purchases, worst = _users(recommender), found.purchases, found.worst(WORST)
    for rank, places in _parts(found.ranked()[:n]):
        bought = worst[places]  # (rows, WORST)
        columns = [
            _ids(recommender.items, np.where(place < 0, -1, purchases.items[place])) for place in bought.T
        ]
        head = [rank, _ids(users, found.users[places]), found.n_items[places]]
        yield _batch(USER_SCHEMA, [*head, found.score[places], found.tail[places], *columns])


def purchase_batches(
    recommender: Recommender, found: PurchaseAnomalies, n: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The n most anomalous purchases, or all, of `PURCHASE_SCHEMA`. Raises DataError as `user_batches`."""
    users, names = _users(recommender), recommender.item_names
    for rank, places in _parts(found.ranked()[:n]):
        items = found.items[places]
        named = pa.nulls(items.size, pa.string()) if names is None else names.take(pa.array(items))
        head = [
            rank,
            _ids(users, found.users[places]),
            _ids(recommender.items, items),
            named.cast(pa.string()),
        ]
        numbers = [found.owners[places], found.above[places], found.score[places], found.tail[places]]
        yield _batch(PURCHASE_SCHEMA, [*head, *numbers])


def _users(recommender: Recommender) -> IdMap:
    if recommender.users is None:
        raise DataError("the model was saved without its users, so that nobody can be named; train it again")
    return recommender.users


def _parts(order: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Ranks from 1 and places, some at a time."""
    for start in range(0, order.size, _BATCH_ROWS):
        places = order[start : start + _BATCH_ROWS]
        yield np.arange(start + 1, start + 1 + places.size), places


def _ids(ids: IdMap, rows: NDArray[np.int64]) -> pa.StringArray:
    """The ids of rows, null for −1."""
    known = ids.ids(np.maximum(rows, 0)).cast(pa.string())
    return pc.if_else(pa.array(rows >= 0), known, pa.scalar(None, pa.string()))


def _batch(schema: pa.Schema, columns: list[object]) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
