"""`recae.score`: recommendations for many users as a stream of Arrow record batches, for any job to use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recae.errors import DataError
from recae.ids import IdMap
from recae.interactions import Interactions
from recae.recommender import Recommender
from recae.scoring.audience import Audience, every_user, fold_in, new_histories, rejects
from recae.scoring.rules import barred_items
from recae.scoring.work import make_work
from recae.sources import Source
from recae.sources.base import Table


class ArrowSource(Table):
    """A table of purchases that is in memory already."""

    def __init__(self, table: pa.Table) -> None:
        self.name = "the table"
        self.schema = table.schema
        self._table = table

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns; ColumnError if there is no such column."""
        yield from self._table.select(self.positions(columns)).to_batches(max_chunksize=65_536)


def score(
    model: Recommender | Path | str,
    histories: Interactions
    | tuple[sp.csr_matrix, Sequence[str]]
    | pa.Table
    | Source
    | Path
    | str
    | None = None,
    n: int = 20,
    *,
    exclude_owned: bool | None = None,
    exclude_items: Sequence[str] | None = None,
    only_items: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream the best items of many users, a block of users at a time; memory does not grow with their number.

    Args:
        model: a recommender, or the path of a model file.
        histories: whom to score; one of

            - None: every user of the model, in its order;
            - `Interactions`, or anything that `recae.read_interactions` reads, or an Arrow table with a user and an
              item column: these histories are folded in, in the order of their ids' text; items that the model does not
              know are left out, and users of whom it knows no item get no rows;
            - a csr_matrix of shape (users, items), whose columns are the model's items, and its users' ids.
        n: how many items a user; a user with fewer items left gets fewer rows.
        exclude_owned: leave out the items of the history; by default unless the model `repeats`.
        exclude_items: ids that nobody gets.
        only_items: ids of which all others are left out.

    Returns:
        record batches of ``user_id`` and ``item_id`` (string), ``rank`` (int32, from 1) and ``score`` (float32): by
        user, then by rank. The same call gives the same bits, whatever the number of threads. A batch may be empty.

    Raises:
        ConfigError: ``n`` is less than 1, or no item is left to recommend.
        DataError: the model was saved without histories and none are given, or the matrix does not fit the model;
            its subclasses where a table cannot be read.
        ModelFileError: the model file cannot be used.
    """
    if not isinstance(model, Recommender):
        from recae.modelfile import load

        model = load(model)
    barred, _ = barred_items(model.items, exclude=exclude_items, only=only_items)
    work = make_work(model, _audience(model, histories), n, exclude_owned=exclude_owned, barred=barred)
    return (batch for _, batch in work.batches())


def _audience(
    model: Recommender,
    histories: Interactions | tuple[sp.csr_matrix, Sequence[str]] | pa.Table | Source | Path | str | None,
) -> Audience:
    if histories is None:
        return every_user(model)
    if isinstance(histories, Interactions):
        return fold_in(model, histories.matrix, histories.users, histories.items)
    if isinstance(histories, pa.Table):
        return new_histories(model, ArrowSource(histories))
    if not isinstance(histories, tuple):
        return new_histories(model, histories)
    matrix, ids = histories
    users = IdMap(ids)
    wanted = (len(users), len(model.items))
    if matrix.shape != wanted:
        raise DataError(
            f"the histories have shape {matrix.shape}, but there are {wanted[0]:,} user ids, and the model has "
            f"{wanted[1]:,} items; number the items as the model does"
        )
    return Audience(users, sp.csr_matrix(matrix), np.arange(len(users)), rejects())
