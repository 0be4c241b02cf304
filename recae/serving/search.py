"""Finding items by words and users by a part of their id: plain scans, made by Arrow outside the interpreter's lock."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.ids import IdMap


class ItemSearch:
    """Items by words in their id or name, most owned first, then by row.

    Args:
        items: ids of the items.
        names: text of shape (I,), null where unknown; None without names.
        owners: int64 of shape (I,), how many users own each; None where that is not known.
    """

    def __init__(
        self, items: IdMap, names: pa.LargeStringArray | None, owners: NDArray[np.int64] | None
    ) -> None:
        rows = np.arange(len(items))
        self._order = rows if owners is None else np.argsort(-owners, kind="stable")
        ids = items.ids(self._order)
        if names is None:
            texts = ids
        else:
            # a line break between them: no word that was asked for holds one
            taken = names.take(pa.array(self._order)).fill_null("")
            texts = pc.binary_join_element_wise(ids, taken, pa.scalar("\n", pa.large_string()))
        self._texts = pc.utf8_lower(texts)

    def find(self, query: str, limit: int) -> tuple[NDArray[np.int64], bool]:
        """Return the rows of at most ``limit`` items that hold every word, and whether there are more."""
        words = pc.utf8_lower(pa.array(list(dict.fromkeys(query.split())), pa.large_string())).to_pylist()
        if not words:
            return self._order[:limit], self._order.size > limit
        # words by falling length: the rarest first, and the next ones look at what is left only
        left, at = self._texts, np.arange(self._order.size)
        for word in sorted(words, key=len, reverse=True):
            found = pc.match_substring(left, word)
            left, at = left.filter(found), at[found.to_numpy(zero_copy_only=False)]
        return self._order[at[:limit]], at.size > limit


class UserSearch:
    """Users by a part of their id, whatever the case: ids that begin with it first, then shorter ids, then text order.

    Args:
        users: ids of the users.
    """

    def __init__(self, users: IdMap) -> None:
        ids = users.ids(np.arange(len(users)))
        lengths = pc.utf8_length(ids)
        table = pa.table({"length": lengths, "id": ids})
        order = pc.sort_indices(table, sort_keys=[("length", "ascending"), ("id", "ascending")])
        self._order = order.to_numpy().astype(np.int64)
        self._texts = pc.utf8_lower(ids.take(order))

    def find(self, query: str, limit: int) -> tuple[NDArray[np.int64], bool]:
        """Return the rows of at most ``limit`` users, and whether there are more."""
        part = pc.utf8_lower(pa.scalar(query, pa.large_string())).as_py()
        begins = pc.starts_with(self._texts, part).to_numpy(zero_copy_only=False)
        inside = pc.match_substring(self._texts, part).to_numpy(zero_copy_only=False)
        at = np.concatenate([np.flatnonzero(begins), np.flatnonzero(inside & ~begins)])
        return self._order[at[:limit]], at.size > limit
