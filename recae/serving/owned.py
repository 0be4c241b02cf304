"""What users own: by the model's histories, and by the purchases of the journal that the model does not have yet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.errors import JournalError
from recae.journal import NOTHING, Bought
from recae.last_bought import NO_DAY, days_of
from recae.models.base import reads_values
from recae.serving.problems import Problem
from recae.serving.served import ServedModel
from recae.serving.served import unknown as unknown_problem

_log = logging.getLogger("recae.serving")


@dataclass(frozen=True, slots=True)
class Owned:
    """What a user owns.

    Attributes:
        items: item indices (m,), rising.
        values: how often and lately each was bought (m,); None unless the model reads it.
        events: columns of other events, rising, see `recae.inputs`; None without any.
        unknown: ids of items that were bought and that the model has not seen, each once.
        recent: items that were bought so lately that the rules leave them out; None without such a rule.
    """

    items: NDArray[np.integer[Any]]
    values: NDArray[np.float32] | None = None
    events: NDArray[np.integer[Any]] | None = None
    unknown: list[str] = field(default_factory=list)
    recent: NDArray[np.integer[Any]] | None = None


def bought_by(served: ServedModel, users: Sequence[str]) -> list[Bought]:
    """Return what users have bought that the model does not have yet.

    The journal is asked each time, so that what any worker has acknowledged is known to all.

    Args:
        served: the model.
        users: their ids.

    Raises:
        Problem: 503, the journal cannot be read.
    """
    if served.journal is None or not users:
        return [NOTHING] * len(users)
    try:
        return served.journal.bought_by(users, served.folded, served.unknown_from)
    except JournalError as error:
        _log.error("%s", error)
        raise Problem(
            "journal-unreadable", 503, "the journal of purchases cannot be read; the server's log says why"
        ) from None


def owned_by(served: ServedModel, user_id: str, bought: Bought = NOTHING) -> Owned:
    """Return what a user owns.

    Args:
        served: the model.
        user_id: exact id.
        bought: what the user has bought beside, of `bought_by`.

    Raises:
        Problem: 404, neither the model nor the journal knows the user.
    """
    if bought.forgotten and not bought.known:
        raise unknown_problem("user", user_id)
    if not bought.known:
        row, items = served.user(user_id)
        return Owned(items, served.values(row), served.events(row), recent=_recent(served, row, items))
    rows = served.item_rows(bought.items)
    unknown = list(dict.fromkeys(item for item, row in zip(bought.items, rows, strict=True) if row < 0))
    try:
        row, before = (-1, np.zeros(0, dtype=np.int32)) if bought.forgotten else served.user(user_id)
    except Problem:  # of the journal alone
        row, before = -1, np.zeros(0, dtype=np.int32)
    stays = np.ones(before.size, dtype=np.bool_)
    if bought.returned:
        stays = ~np.isin(before, served.item_rows(bought.returned))
    events = None if row < 0 else served.events(row)
    known = rows >= 0
    items = np.union1d(before[stays], rows[known]).astype(before.dtype)
    recent = _recent(served, row, before)
    if recent is not None:
        recent = recent[np.isin(recent, before[stays])]
    if recent is not None and served.rules is not None:
        first = served.rules.recent_from or 0
        lately = known & (days_of(np.asarray(bought.times, dtype=np.int64)) >= first)
        recent = np.union1d(recent, rows[lately]).astype(before.dtype)
    if not reads_values(served.recommender.model):
        return Owned(items, None, events, unknown, recent)
    values = np.zeros(items.size)
    decay, baskets = served.decay, np.unique(bought.times)
    if row >= 0:
        earlier = served.values(row)
        known_values = np.ones(before.size) if earlier is None else earlier
        values[np.searchsorted(items, before[stays])] = known_values[stays]
    values *= decay**baskets.size
    # what was bought at the same time is one basket, and counts once in it, as in `Events.weights`
    pairs = np.unique(np.stack([rows, np.searchsorted(baskets, bought.times)], axis=1)[known], axis=0)
    ago = baskets.size - 1 - pairs[:, 1]
    np.add.at(values, np.searchsorted(items, pairs[:, 0]), decay**ago)
    return Owned(items, values.astype(np.float32), events, unknown, recent)


def _recent(
    served: ServedModel, row: int, items: NDArray[np.integer[Any]]
) -> NDArray[np.integer[Any]] | None:
    """Return which of a user's items the rules leave out, since they were bought lately; None without such a rule."""
    first = None if served.rules is None else served.rules.recent_from
    days, histories = served.recommender.last_bought, served.recommender.histories
    if first is None:
        return None
    if row < 0 or days is None or histories is None:
        return items[:0]
    own = days[histories.indptr[row] : histories.indptr[row + 1]]
    lately: NDArray[np.integer[Any]] = items[(own >= first) | (own == NO_DAY)]
    return lately
