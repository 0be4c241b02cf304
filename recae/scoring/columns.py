"""What results say of items beside their ids: names, categories, prices and other columns of a table of items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from recae.errors import ConfigError
from recae.recommender import Recommender

NAME: Final = "name"
"""The column of the names, which a model may have without a table of items."""

OWN: Final = ("user_id", "item_id", "rank", "score", "source")
"""Columns that results have of themselves."""


def item_details(recommender: Recommender, columns: Sequence[str] | None) -> pa.RecordBatch | None:
    """Return columns of the items, a row an item of the model, null where unknown; None where none are asked for.

    Args:
        recommender: whose items they are.
        columns: "name", or columns of its table of items.

    Raises:
        ConfigError: one is not there, is asked for twice, or is called like a column of the results.
    """
    if not columns:
        return None
    table = recommender.item_table
    known = [
        *([NAME] if recommender.item_names is not None else []),
        *(table.names if table is not None else []),
    ]
    known = list(dict.fromkeys(known))
    for place, name in enumerate(columns):
        if name not in known:
            found = (
                f"it knows {', '.join(known)}" if known else "it knows none: give it some with 'recae items'"
            )
            raise ConfigError(f"the model does not know {name!r:.80} of its items; {found}")
        if name in OWN or name in columns[:place]:
            raise ConfigError(f"the results would have two columns {name!r:.80}; leave one out")
    rows = np.arange(len(recommender.items))
    found_of = recommender.details_of(rows, columns)
    if NAME in columns:
        found_of[NAME] = recommender.names_of(rows)
    arrays = [found_of[name] for name in columns]
    plain = [array.cast(pa.string()) if pa.types.is_large_string(array.type) else array for array in arrays]
    return pa.RecordBatch.from_arrays(plain, names=list(columns))


def table_digest(recommender: Recommender) -> str | None:
    """Return the SHA-256 of a model's table of items in the order of its items, in hexadecimal; None without one."""
    table = recommender.item_table
    if table is None:
        return None
    batch = table.of(recommender.items).columns.combine_chunks().to_batches()
    return hashlib.sha256("".join(map(details_digest, batch)).encode()).hexdigest()


def details_digest(details: pa.RecordBatch) -> str:
    """Return the SHA-256 of columns, in hexadecimal: the same for the same values."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, details.schema) as writer:
        writer.write_batch(details)
    return hashlib.sha256(sink.getvalue()).hexdigest()
