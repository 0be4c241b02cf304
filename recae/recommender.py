"""`Recommender`: a model with its id maps and histories, what answers questions about users and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap, shown
from recae.models import Model
from recae.ranking import PADDING, rank_histories

_NAMED_AT_MOST = 5  # unknown items that an error spells out

LEARNED: Final = 0
"""A user whom the model was learned from; see `Recommender.held_out`."""

VALIDATION: Final = 1
"""A user held out to choose settings and the number of epochs on."""

TEST: Final = 2
"""A user held out to measure on."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item: its rank (1 is best), id, name where it has one, and score (higher is better)."""

    rank: int
    item: str
    name: str | None
    score: float


@dataclass(frozen=True, eq=False)
class Recommender:
    """A model together with what turns its row numbers into a shop's words.

    Attributes:
        model: scores histories over the items.
        users: ids of the histories' rows; None where the model came without histories.
        items: ids of the items, in the model's order.
        item_names: text of shape (items,), null where unknown; None where there are no names.
        histories: shape (users, items), what each user owns; None where it was left out. Its values count only
            for a model that reads them (`recae.models.base.reads_values`): how often and lately it was bought.
        metadata: JSON values stored beside the model, such as fingerprint, metrics, history and versions.
        held_out: uint8 of shape (users,): `LEARNED`, `VALIDATION` or `TEST`; None where that is not known.

    Raises:
        DataError: the parts do not have the same number of items or users, or ``held_out`` holds another code.
    """

    model: Model
    users: IdMap | None
    items: IdMap
    item_names: pa.LargeStringArray | None = None
    histories: sp.csr_matrix | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    held_out: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        n_items = len(self.items)
        if self.model.n_items != n_items:
            raise DataError(
                f"the model scores {self.model.n_items:,} items, but there are {n_items:,} item ids; "
                "both must come from the same purchases"
            )
        if self.item_names is not None and len(self.item_names) != n_items:
            raise DataError(
                f"there are {len(self.item_names):,} item names for {n_items:,} item ids; "
                "give one name or null for each item"
            )
        if self.held_out is not None:
            self._check_held_out(self.held_out)
        if self.histories is None:
            return
        if self.users is None:
            raise DataError("there are histories but no user ids; give both or neither")
        if self.histories.shape != (len(self.users), n_items):
            raise DataError(
                f"the histories have shape {self.histories.shape}, but there are {len(self.users):,} user "
                f"and {n_items:,} item ids; all must come from the same purchases"
            )

    def _check_held_out(self, codes: NDArray[np.uint8]) -> None:
        if self.users is None:
            raise DataError("it is said who was held out, but there are no user ids; give both or neither")
        if codes.dtype != np.uint8 or codes.shape != (len(self.users),) or (codes > TEST).any():
            raise DataError(
                f"who was held out must be uint8 of shape ({len(self.users):,},) with values 0 to {TEST}, one for each "
                f"user, but is {codes.dtype} of shape {codes.shape} or holds others"
            )

    @property
    def learners(self) -> NDArray[np.bool_] | None:
        """Which users the model was learned from, shape (users,); None where that is not known."""
        return None if self.held_out is None else self.held_out == LEARNED

    @property
    def repeats(self) -> bool:
        """Whether the model is of a shop with repeat purchases, so that owned items stay recommendable by default."""
        return self.metadata.get("repeats") is True

    def excludes_owned(self, asked: bool | None = None) -> bool:
        """Return whether owned items are left out: as asked for, or by default unless the model `repeats`."""
        return not self.repeats if asked is None else asked

    def recommend(
        self,
        user: str | None = None,
        *,
        items: Sequence[str] | None = None,
        n: int = 10,
        exclude_owned: bool | None = None,
    ) -> list[Recommendation]:
        """Return the best items for a user, or for a basket of items, best first.

        Args:
            user: a user's id; the user's history is scored.
            items: a basket instead of a user: item ids, scored as the history of somebody new. Repeated items
                count once, unknown ones not at all (`unknown_items` names them).
            n: how many; fewer come back where fewer items are left.
            exclude_owned: leave out the items of the history or basket; by default unless the model `repeats`.

        Raises:
            ConfigError: both or neither of ``user`` and ``items`` are given, ``items`` is empty or not a
                sequence of ids, or ``n`` is less than 1.
            UnknownIdError: the user is not in the model, the model holds no histories, or no item of the
                basket is known.
        """
        history = self.history(user, items=items)
        # A list cannot be longer than the items; the bound keeps an absurd n from allocating.
        length = min(n, max(len(self.items), 1))
        ranked = rank_histories(self.model, history, length, exclude_owned=self.excludes_owned(exclude_owned))
        return [
            Recommendation(rank, *self.id_and_name(int(item)), float(value))
            for rank, (item, value) in enumerate(zip(ranked.items[0], ranked.scores[0], strict=True), start=1)
            if item != PADDING
        ]

    def history(self, user: str | None = None, *, items: Sequence[str] | None = None) -> sp.csr_matrix:
        """Return what the model scores for a user, or for a basket of items, shape (1, I); a basket holds ones.

        Raises:
            ConfigError, UnknownIdError: as `recommend`.
        """
        if (user is None) == (items is None):
            raise ConfigError("give either a user or a basket of items, exactly one of them")
        return self._basket(items) if items is not None else self._history(user)

    def id_and_name(self, item: int) -> tuple[str, str | None]:
        """Return the id of an item's row, and its name where it has one."""
        names = self.item_names
        return self.items.id(item), None if names is None else names[item].as_py()

    def unknown_items(self, items: Sequence[str]) -> list[str]:
        """Return those of ``items`` that the model has not seen, in their order, each once.

        Raises:
            ConfigError: ``items`` is not a sequence of ids.
        """
        _check_basket(items)
        rows = self.items.rows(items)
        return list(dict.fromkeys(item for item, row in zip(items, rows, strict=True) if row < 0))

    def _history(self, user: str | None) -> sp.csr_matrix:
        """Return the user's history, (1, I)."""
        if not isinstance(user, str):
            raise ConfigError(f"a user's id must be text, but is {user!r}; write it as '{user}'")
        if self.users is None or self.histories is None:
            raise UnknownIdError(
                f"user {shown(user)} cannot be looked up, since this model was saved without histories; "
                "give the items that the user owns instead"
            )
        return sp.csr_matrix(self.histories[self.users.row(user, "user")])

    def _basket(self, items: Sequence[str]) -> sp.csr_matrix:
        """Return the known items of a basket as a history, (1, I)."""
        _check_basket(items)
        if len(items) == 0:
            raise ConfigError("the basket is empty; give the id of at least one item")
        rows = self.items.rows(items)
        known = np.unique(rows[rows >= 0])  # sorted, each once
        if known.size == 0:
            unknown = self.unknown_items(items)
            named = ", ".join(map(shown, unknown[:_NAMED_AT_MOST]))
            more = f" and {len(unknown) - _NAMED_AT_MOST:,} more" if len(unknown) > _NAMED_AT_MOST else ""
            near = ", ".join(map(shown, self.items.nearest(unknown[0])))
            raise UnknownIdError(
                f"no item of the basket is in the model: {named}{more}; nearest to {shown(unknown[0])}: {near}"
            )
        ones = np.ones(known.size, dtype=np.float32)
        return sp.csr_matrix((ones, known, [0, known.size]), shape=(1, len(self.items)))


def _check_basket(items: Sequence[str]) -> None:
    # A text is a sequence of its letters: taken for a basket, it would be "unknown" letter by letter.
    if isinstance(items, str) or not all(isinstance(item, str) for item in items):
        raise ConfigError(f"a basket must be a list of item ids as text, but is {items!r:.80}")
