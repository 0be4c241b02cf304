"""Purchases of a journal that a model does not have yet: counted beside its histories, or folded into it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.ids import IdMap
from recae.inputs import EventInputs
from recae.interactions import SECOND, Events, Interactions
from recae.journal import Journal
from recae.journal.balance import balance
from recae.last_bought import days_at, placed_days
from recae.messages import say
from recae.models.base import decay_of, reads_values
from recae.reading.returns import Returned
from recae.recency import first_unknown
from recae.recommender import LEARNED, Recommender
from recae.selection.progress import Progress
from recae.training.callbacks import Hooks
from recae.training.device import choose_device
from recae.updating.forget import forget
from recae.updating.orders import ordered_users
from recae.updating.union import joined
from recae.updating.update import New, Updated, check_updatable, filters_of, update


@dataclass(frozen=True, eq=False)
class Pending:
    """Purchases that a model does not have yet.

    Attributes:
        table: `user`, `item`, `time` and `quantity` of each, in the order of arrival; below 0 it is a return.
        sequence: of the journal, up to which a model has all with these.
    """

    table: pa.Table
    sequence: int

    def __len__(self) -> int:
        """Return how many they are."""
        return int(self.table.num_rows)

    def read(self) -> tuple[Interactions, Events]:
        """Return the purchases that are left after returns as what was read of a table: an entry a pair, and by basket.

        What a customer bought at the same time is one basket.
        """
        table = self._balanced[0]
        users, user = _numbered(table.column("user"))
        items, item = _numbered(table.column("item"))
        times = table.column("time").cast(pa.int64()).to_numpy()
        order = np.lexsort((times, item, user))
        user, item, times = user[order], item[order], times[order]
        first = np.ones(user.size, dtype=np.bool_)
        first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
        starts = np.flatnonzero(first)
        ends = np.append(starts, user.size)[1:]
        indptr = np.append(0, np.cumsum(np.bincount(user[first], minlength=len(users))))
        matrix = sp.csr_matrix(
            (np.ones(starts.size, np.float32), item[first].astype(np.int32), indptr.astype(np.int32)),
            shape=(len(users), len(items)),
        )
        interactions = Interactions(
            matrix, users, items, times=times[ends - 1], counts=(ends - starts).astype(np.int32)
        )
        return interactions, Events.of(user, item, times, len(users), len(items), times=times)

    @property
    def returned(self) -> Returned:
        """The pairs of a customer and an item whose earlier purchases have come back."""
        pairs = self._balanced[1]
        users, items = ([pair[place] for pair in pairs] for place in (0, 1))
        return Returned(pa.array(users, pa.large_string()), pa.array(items, pa.large_string()), balanced=True)

    @cached_property
    def _balanced(self) -> tuple[pa.Table, list[tuple[str, str]]]:
        """The purchases that are left, and the pairs whose earlier ones have come back."""
        came_back = pc.less(self.table.column("quantity"), 0)
        if not pc.any(came_back, min_count=0).as_py():
            return self.table, []
        # only pairs of which something came back are looked at one by one
        pairs = _pairs(self.table)
        some = pc.is_in(pairs, value_set=pc.unique(pairs.filter(came_back)))
        touched = self.table.filter(some)
        keys = list(zip(touched.column("user").to_pylist(), touched.column("item").to_pylist(), strict=True))
        remains, taken = balance(keys, touched.column("quantity").to_pylist())
        stays = np.ones(self.table.num_rows, dtype=np.bool_)
        stays[np.flatnonzero(some.to_numpy(zero_copy_only=False))] = remains
        return self.table.filter(pa.array(stays)), taken


def _pairs(table: pa.Table) -> pa.ChunkedArray:
    """Return user and item of each row as one text; an id holds no character 0."""
    between = pa.scalar("\0", pa.large_string())
    return pc.binary_join_element_wise(table.column("user"), table.column("item"), between)


def pending(recommender: Recommender, journal: Journal) -> Pending:
    """Return the purchases of a journal that a model does not have yet, without those that its filters leave out."""
    metadata = recommender.metadata
    found = journal.unfolded(metadata)
    table, filters = found.table, filters_of(metadata)
    times = table.column("time").cast(pa.int64())
    taken = pc.is_valid(times)
    start = filters.start
    if reads_values(recommender.model) and not journal.folded_up_to(metadata):
        # nothing else tells those that the table of the training had
        start = max(filter(None, (start, first_unknown(metadata))), default=None)
    if start is not None:
        taken = pc.and_(taken, pc.greater_equal(times, start * SECOND))
    if filters.exclude_items:
        excluded = pc.is_in(table.column("item"), pa.array(filters.exclude_items, pa.large_string()))
        taken = pc.and_(taken, pc.invert(excluded))
    return Pending(table.filter(taken), found.sequence)


def with_pending(recommender: Recommender, found: Pending) -> Recommender:
    """Return a recommender whose histories hold pending purchases, too; nothing is learned from them.

    New users get rows, also those of whom no item is known. Items that the model has not seen stay out.

    Args:
        recommender: with histories.
        found: of `pending`.

    Raises:
        DataError: the model was saved without histories.
    """
    if recommender.histories is None or recommender.users is None:
        raise DataError(
            "this model was saved without histories, so that the journal cannot be counted beside them; use a model "
            "file that was saved with its histories, or leave --journal out"
        )
    if not len(found):
        return recommender
    interactions, events = found.read()
    by_basket = reads_values(recommender.model)
    decay = decay_of(recommender.model.config())
    union = joined(recommender, interactions, events if by_basket else None, found.returned, decay)
    codes = None
    if recommender.held_out is not None:
        codes = np.full(len(union.users), LEARNED, np.uint8)
        codes[union.old_users] = recommender.held_out
    # unknown items are left out at last: a basket of them is one that came after the others
    histories = sp.csr_matrix(union.histories[:, union.old_items])
    days = None
    if union.last_bought is not None:
        placed = placed_days(union.histories, union.last_bought)
        histories.sort_indices()
        days = days_at(histories, sp.csr_matrix(placed[:, union.old_items]))
    return replace(
        recommender,
        users=union.users,
        histories=histories,
        last_bought=days,
        held_out=codes,
        events=_spread(recommender.events, union.old_users, len(union.users)),
    )


def update_from_journal(
    recommender: Recommender,
    journal: Journal,
    *,
    device: str = "auto",
    progress: Progress | bool | None = None,
) -> Updated:
    """Let a recommender learn from the purchases of a journal that it does not have yet, and forget whom it names.

    Its metadata then say up to which sequence it has them, so that they are not learned from a second time, whatever
    happens between writing the model and `Journal.mark_folded`.

    Args:
        recommender: with histories.
        journal: whose purchases count.
        device: as for `recae.updating.update.update`.
        progress: likewise.

    Raises:
        ConfigError, DataError, TrainingError: likewise.
        JournalError: the journal cannot be read.
    """
    began = time.perf_counter()
    check_updatable(recommender)
    found = pending(recommender, journal)
    # after the purchases were read: an order that comes later has a later number, and is for the next time
    if gone := ordered_users(recommender, journal):
        say(f"{len(gone):,} customers are forgotten, as the journal says")
        recommender, _ = forget(recommender, gone, hooks=Hooks(device=choose_device(device, 1)))
    if len(found):
        interactions, events = found.read()
        new = New(interactions, events if reads_values(recommender.model) else None, found.returned)
        updated = update(recommender, new, device=device, progress=progress)
    else:
        updated = Updated(recommender, 0, 0, 0, 0, 0, parts={}, seconds=time.perf_counter() - began)
    metadata: dict[str, Any] = {**updated.recommender.metadata, **journal.folding(found.sequence)}
    return replace(updated, recommender=replace(updated.recommender, metadata=metadata))


def _numbered(ids: pa.ChunkedArray) -> tuple[IdMap, NDArray[np.int64]]:
    """Return the distinct ids in text order, and the number of each of the given ones."""
    distinct = pc.unique(ids)
    known = IdMap(distinct.take(pc.sort_indices(distinct)))
    return known, known.rows(ids)


def _spread(events: EventInputs | None, rows: NDArray[np.int64], n_users: int) -> EventInputs | None:
    """Return other events with their users at other rows of more; those between have none."""
    if events is None:
        return None
    lengths = np.zeros(n_users, np.int64)
    lengths[rows] = np.diff(events.matrix.indptr)
    order = np.argsort(rows, kind="stable")
    taken = sp.csr_matrix(events.matrix[order])
    ends = np.append(0, np.cumsum(lengths)).astype(taken.indptr.dtype)
    matrix = sp.csr_matrix((taken.data, taken.indices, ends), shape=(n_users, events.matrix.shape[1]))
    return EventInputs(events.names, matrix)
