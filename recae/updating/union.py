"""`Union`: the purchases of a model and new ones as one table, numbered as reading both together numbers them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.inputs import EventInputs
from recae.interactions import Events, Interactions
from recae.last_bought import days_at, days_of, placed_days
from recae.reading.returns import Returned
from recae.recommender import Recommender
from recae.sparse import entry_keys, entry_rows, pattern
from recae.training.growth import Growth


@dataclass(frozen=True, eq=False)
class Union:
    """Old and new purchases together.

    Attributes:
        users: ids of the rows. They are in text order where those of the model are, as reading numbers them; otherwise
            the new ones follow the old ones.
        items: ids of the columns, likewise.
        item_names: text (items,), null where unknown: the model's where it has one; None where there are none.
        histories: csr (users, items), sorted; values other than 1 only where the model reads them.
        given: csr (users, items), the pattern of the new purchases, sorted; the model may know some of them.
        old_users: int64 (users of the model,), their rows.
        old_items: int64 (items of the model,), their columns.
        changed: int64 (n,), rows of users whose purchases are others than before, rising.
        new_users: how many users the model did not know.
        new_items: int64 (n,), columns of items that it did not know, rising.
        added: how many pairs of a user and an item are new.
        known: how many of the given pairs the model knew already.
        taken_back: how many pairs are gone, since the item was returned.
        last_bought: int32 (pairs,), the day on which each was bought last; None where the model does not hold them.
    """

    users: IdMap
    items: IdMap
    item_names: pa.LargeStringArray | None
    histories: sp.csr_matrix
    given: sp.csr_matrix
    old_users: NDArray[np.int64]
    old_items: NDArray[np.int64]
    changed: NDArray[np.int64]
    new_users: int
    new_items: NDArray[np.int64]
    added: int
    known: int
    taken_back: int
    last_bought: NDArray[np.int32] | None

    @property
    def matrix(self) -> sp.csr_matrix:
        """The pattern of the histories, in arrays of its own that may be written to."""
        return pattern(self.histories.copy())

    @property
    def growth(self) -> Growth:
        """What has changed, as the functions of the kinds take it."""
        return Growth(self.old_items, self.changed)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over ids and histories; the same however many updates have brought them together."""
        return fingerprint_of(self.users, self.items, self.histories)


def fingerprint_of(users: IdMap, items: IdMap, histories: sp.csr_matrix) -> str:
    """Return the SHA-256 in hexadecimal over ids and histories."""
    digest = hashlib.sha256(b"recae union 1")
    parts: list[tuple[NDArray[Any], str]] = [
        (histories.indptr, "<i8"),
        (histories.indices, "<i8"),
        (histories.data, "<f4"),
    ]
    for ids in (users, items):
        data, offsets = ids.to_arrays()
        parts += [(data, "u1"), (offsets, "<i8")]
    for array, kind in parts:
        # the length first, so that the end of one part cannot pass for the beginning of the next
        digest.update(array.size.to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(array, dtype=kind).data)
    return digest.hexdigest()


def joined(
    recommender: Recommender,
    purchases: Interactions,
    events: Events | None = None,
    returned: Returned | None = None,
    decay: float | None = None,
) -> Union:
    """Return the purchases of a model, which has histories, and new ones as one table.

    A returned pair is taken out of the histories unless the new purchases hold it, too. Where the values of histories
    count, and it was bought anew, it has the value of that alone.

    Args:
        recommender: of the old purchases.
        purchases: the new ones.
        events: those by basket, of the same users and items, all later than the old ones; None where the values of
            histories do not count.
        returned: pairs of which there are returns; None: none.
        decay: what a purchase counts one basket later, with events.
    """
    old = recommender.histories
    if old is None or recommender.users is None:
        raise AssertionError("checked before: there are histories")
    users, old_users, new_users = _joined_ids(recommender.users, purchases.users)
    items, old_items, new_items = _joined_ids(recommender.items, purchases.items)
    shape = (len(users), len(items))
    given = purchases.matrix if events is None else pattern(events.weights())
    before, given = (
        _placed(old, old_users, old_items, shape),
        _placed(given, new_users, new_items, shape),
    )
    keys_before, keys_given = entry_keys(before), entry_keys(given)
    added = _places(keys_given, keys_before) < 0
    gone = np.zeros(before.nnz, np.bool_)
    if returned is not None and len(returned.users):
        rows, columns = users.rows(returned.users), items.rows(returned.items)
        there = (rows >= 0) & (columns >= 0)
        keys = rows[there] * shape[1] + columns[there]
        if events is None or not returned.balanced:
            keys = np.setdiff1d(keys, keys_given)
        places = _places(keys, keys_before)
        gone[places[places >= 0]] = True
    if events is None:
        values = (
            np.ones(before.nnz, np.float32) if not gone.any() else np.where(gone, 0, 1).astype(np.float32)
        )
        histories = sp.csr_matrix((values, before.indices, before.indptr), shape=shape) + pattern(given)
        histories = sp.csr_matrix(histories)
        histories.eliminate_zeros()
        histories.data[:] = 1
        touched = entry_rows(given)[added]
    else:
        histories = _aged(before, gone, events, new_users, new_items, float(decay or 1.0), shape)
        touched = entry_rows(given)
    histories.sort_indices()
    changed = np.unique(np.concatenate([touched, entry_rows(before)[gone]]))
    fresh = np.ones(shape[1], np.bool_)
    fresh[old_items] = False
    return Union(
        users=users,
        items=items,
        item_names=_names(recommender, purchases, old_items, new_items, shape[1]),
        histories=histories,
        given=given,
        old_users=old_users,
        old_items=old_items,
        changed=changed,
        new_users=shape[0] - old_users.size,
        new_items=np.flatnonzero(fresh),
        added=int(added.sum()),
        known=int(given.nnz - added.sum()),
        taken_back=int((gone & ~np.isin(keys_before, keys_given)).sum()),
        last_bought=_days(recommender, purchases, histories, (old_users, old_items), (new_users, new_items)),
    )


def _days(
    recommender: Recommender,
    purchases: Interactions,
    histories: sp.csr_matrix,
    old: tuple[NDArray[np.int64], NDArray[np.int64]],
    new: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.int32] | None:
    """Return the last day of each pair by the old and the new purchases, whose rows and columns are given.

    None where the model does not hold days.
    """
    if recommender.days is None:
        return None
    shape = (histories.shape[0], histories.shape[1])
    known = [_placed(recommender.days, *old, shape)]
    if purchases.times is not None:
        known.append(_placed(placed_days(purchases.matrix, days_of(purchases.times)), *new, shape))
    return days_at(histories, *known)


def joined_inputs(
    recommender: Recommender, union: Union, new: tuple[EventInputs, IdMap, IdMap] | None
) -> EventInputs | None:
    """Return the other events that a model reads, of the users and items of a union; None where it reads none.

    What somebody did before they, or the item, had a purchase that the model knows is not in its file: only what the
    new rows hold of it counts.

    Args:
        recommender: of the old events.
        union: whose users and items count.
        new: other events with the ids of their rows and items; None: there are none.
    """
    old = recommender.events
    if old is None:
        return None
    shape = (len(union.users), len(union.items))
    blocks = []
    for name in old.names:
        block = _placed(old.block(name), union.old_users, union.old_items, shape)
        if new is not None and name in new[0].names:
            rows, columns = (
                known.rows(ids.ids(np.arange(len(ids))))
                for known, ids in zip((union.users, union.items), new[1:], strict=True)
            )
            block = sp.csr_matrix(block + _placed(new[0].block(name), rows, columns, shape))
        blocks.append(block)
    return EventInputs.of(old.names, blocks)


def ids_with(recommender: Recommender, purchases: Interactions) -> tuple[IdMap, IdMap]:
    """Return the ids of users and items of a model, which has histories, and of new purchases, as a union has them."""
    if recommender.users is None:
        raise AssertionError("checked before: there are histories")
    return _joined_ids(recommender.users, purchases.users)[0], _joined_ids(
        recommender.items, purchases.items
    )[0]


def _joined_ids(old: IdMap, new: IdMap) -> tuple[IdMap, NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of both, and where the old and the new ones are among them."""
    every = new.ids(np.arange(len(new)))
    unknown = every.filter(pa.array(old.rows(every) < 0))
    if not len(unknown):
        return old, np.arange(len(old)), old.rows(every)
    together = pa.concat_arrays([old.ids(np.arange(len(old))), unknown])
    if old.in_text_order:
        together = together.take(pc.sort_indices(together))
    ids = IdMap(together)
    return ids, ids.rows(old.ids(np.arange(len(old)))), ids.rows(every)


def _placed(
    matrix: sp.csr_matrix, rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> sp.csr_matrix:
    """Return the matrix with its rows and columns at other places of a larger one, sorted."""
    where = (rows[entry_rows(matrix)], columns[matrix.indices])
    placed = sp.csr_matrix((matrix.data, where), shape=shape)
    placed.sort_indices()
    return placed


def _places(keys: NDArray[np.int64], rising: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each key is among many different rising ones, −1 where it is not, (keys,)."""
    places = np.searchsorted(rising, keys)
    found = places < rising.size
    found[found] = rising[places[found]] == keys[found]
    return np.where(found, places, -1)


_LEAST = np.finfo(np.float32).tiny  # a purchase counts however small decay has made its value


def _aged(
    before: sp.csr_matrix,
    gone: NDArray[np.bool_],
    events: Events,
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    decay: float,
    shape: tuple[int, int],
) -> sp.csr_matrix:
    """Return the values of histories after some more baskets: each basket makes what was before count `decay` times.

    The sum over all baskets, as `Events.weights` has it, is that of the old ones times decay^n, n new baskets, and that
    of the new ones.
    """
    baskets = np.zeros(shape[0], np.int64)
    baskets[users] = events.baskets
    aged = before.data.astype(np.float64) * float(decay) ** baskets[entry_rows(before)]
    aged = np.maximum(aged, _LEAST)
    aged[gone] = 0
    old = sp.csr_matrix((aged, before.indices, before.indptr), shape=shape)
    new = _placed(events.weights(decay).astype(np.float64), users, items, shape)
    summed = sp.csr_matrix(old + new)
    summed.eliminate_zeros()
    return sp.csr_matrix(summed.astype(np.float32))


def _names(
    recommender: Recommender,
    purchases: Interactions,
    old_items: NDArray[np.int64],
    new_items: NDArray[np.int64],
    n_items: int,
) -> pa.LargeStringArray | None:
    """Return the name of each item: that which the model knows, else the new one."""
    if recommender.item_names is None and purchases.item_names is None:
        return None
    names = np.full(n_items, None, dtype=object)
    for given, places in ((purchases.item_names, new_items), (recommender.item_names, old_items)):
        if given is not None:
            found = np.array(given.to_pylist(), dtype=object)
            known = np.array([name is not None for name in found], dtype=np.bool_)
            names[places[known]] = found[known]
    return pa.array(names.tolist(), pa.large_string())


def pairs_of(metadata: Mapping[str, Any], name: str) -> int:
    """Return a number of the metadata's entry on updates; 0 where there is none, or it is no number."""
    entry = metadata.get(UPDATES)
    value = entry.get(name) if isinstance(entry, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


UPDATES = "updates"
"""Entry of the metadata of a model that was updated: how often, and by how many pairs, users and items in all."""
