"""Drift: whether customers buy what was recommended to them, and how many purchases are of unknown items.

The last list of each customer stays in a table of fixed size for a day. It is in memory that workers share, since one
may show a list and another be told of the purchase. A customer has one place in it, by a hash; who comes to a place
later takes it, so that with more customers a day than places the figures are those of a sample. Writers do not wait for
each other: two at the same place at the same time may cost one count, which a fraction of thousands does not show.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.journal import Added, Journal, Purchase
from recae.serving.metrics import Metrics
from recae.serving.served import ServedModel

PLACES: Final = 2**16
"""Customers whose lists are remembered, in 7 MB."""

SHOWN: Final = 20
"""Items of a list that are remembered, the best ones."""

DAY: Final = 86_400.0
"""Seconds after a list within which a purchase counts as a hit."""

_PLACE: Final = struct.Struct(f"=QddII{SHOWN}I")
"""Hash of the user's id, when the user was counted, when the list was shown, hits, its size, hashes of its items."""

_BEFORE: Final = struct.Struct("=QddII")  # what stands before the items
_HIT: Final = struct.Struct("=I")
_HIT_AT: Final = 24
_NOTHING: Final = (0,) * SHOWN


class ShownLists:
    """The table of the last lists, empty. Processes that are forked from this one share it."""

    def __init__(self) -> None:
        """Reserve the memory; the system provides it as it is used."""
        self.memory = mmap.mmap(-1, PLACES * _PLACE.size)


@dataclass(frozen=True)
class Live:
    """What a server learns from while it runs, shared by all its workers.

    Attributes:
        journal: where purchases go.
        lists: that were shown.
    """

    journal: Journal
    lists: ShownLists = field(default_factory=ShownLists)


class Drift:
    """Counts customers with lists, those who bought from them, and purchases of known and unknown items.

    Args:
        metrics: what is counted goes there.
        lists: of all workers.
    """

    def __init__(self, metrics: Metrics, lists: ShownLists) -> None:
        """Begin with what others have shown."""
        self._metrics, self._memory = metrics, lists.memory
        self._known, self._unknown = (metrics.purchases.labels(item) for item in ("known", "unknown"))

    def shown(self, served: ServedModel, user: str, items: NDArray[np.integer[Any]]) -> None:
        """Note a list.

        Args:
            served: the model that made it.
            user: whom it is for.
            items: item indices, best first.
        """
        code, now = _code(user), time.time()
        at = code % PLACES * _PLACE.size
        codes = [one.code for one in served.shown_items(items[:SHOWN])]
        before, since, _, hit, _ = _BEFORE.unpack_from(self._memory, at)
        if before != code or now - since >= DAY:
            self._metrics.listed.inc()
            since, hit = now, 0
        size = len(codes)
        _PLACE.pack_into(self._memory, at, code, since, now, hit, size, *codes, *_NOTHING[size:])

    def bought(self, purchases: Sequence[Purchase], added: Added, known: NDArray[np.bool_]) -> None:
        """Note purchases.

        Args:
            purchases: of one request.
            added: which of them are new; the others were counted before.
            known: whether the model knows the item of each (n,).
        """
        now = time.time()
        for one, new, of_model in zip(purchases, added.new, known.tolist(), strict=True):
            if not new or one.quantity < 0:  # a return
                continue
            (self._known if of_model else self._unknown).inc()
            code = _code(one.user)
            at = code % PLACES * _PLACE.size
            user, _, shown, hit, size, *codes = _PLACE.unpack_from(self._memory, at)
            if user != code or now - shown >= DAY or hit:
                continue
            if zlib.crc32(one.item.encode()) in codes[:size]:
                _HIT.pack_into(self._memory, at + _HIT_AT, 1)
                self._metrics.hits.inc()


def _code(user: str) -> int:
    """Return a hash of a user's id that is never 0, which marks a free place."""
    return int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "little") or 1
