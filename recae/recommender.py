"""`Recommender`: a model with its id maps and histories, and the lists that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.arguments import check_flag
from recae.arrow import arrow_numbers
from recae.baskets import basket_history, basket_ids, ids_of, session_history, unknown_of
from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap, id_text, shown
from recae.inputs import EventInputs, inputs_of, owned_part, readable
from recae.item_table import SHOWN, ItemTable
from recae.last_bought import placed_days, recent
from recae.models import Model
from recae.models.new_items import base_of
from recae.models.summary import summary_of
from recae.plots import history_figure
from recae.ranking import PADDING, Ranked, rank_histories, top_k
from recae.recommender_methods import RecommenderMethods, queries
from recae.results import Table
from recae.summary import Summary
from recae.text import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from recae.list_rules import ListRules  # which loads pydantic
    from recae.listing import Listing

LEARNED: Final = 0
"""A user whom the model was learned from; see `Recommender.held_out`."""

VALIDATION: Final = 1
"""A user held out to choose settings and the number of epochs on."""

TEST: Final = 2
"""A user held out to measure on."""

REFIT: Final = "refit"
"""Entry of the metadata of a model that was fitted once more on all users, held-out ones too: {"users": number}."""

RULES: Final = "rules"
"""Entry of the metadata: the rules that lists follow where no others are given."""

MODEL: Final = "model"
"""Source of a list that the model made."""

POPULAR: Final = "popular"
"""Source of a list of the items that most users own, and the name of that fallback."""


class Recommendation(NamedTuple):
    """One recommended item.

    Attributes:
        rank: 1 is best.
        item_id: id of the item.
        name: its name; None where it has none.
        score: higher is better; of a fallback the number of users who own the item.
        source: `MODEL`, or `POPULAR` where the fallback stepped in.
        category, price: as the model's table of items has them; None where it does not.
    """

    rank: int
    item_id: str
    name: str | None
    score: float
    source: str = MODEL
    category: str | None = None
    price: float | None = None

    @property
    def item(self) -> str:
        """The id of the item."""
        return self.item_id


NO_TIMES: Final = (
    "the rules leave out what was bought within so many days, and when is not known here: train with --repeats, or "
    "with --rules FILE, from a table with times, or leave the rule bought_within_days out"
)
"""What is said where a rule needs the times of purchases, and there are none."""

IN_LISTS: Final = ("category", "price")
"""Columns of the table of items that a list of recommendations has."""


def _recommendation(names: Sequence[str], *values: Any) -> Recommendation:
    return Recommendation(**dict(zip(names, values, strict=True)))


@dataclass(frozen=True, eq=False, repr=False)
class Recommender(RecommenderMethods):
    """A model together with what turns its row numbers into a shop's words.

    Attributes:
        model: scores histories over the items.
        users: ids of the histories' rows; None where the model came without histories.
        items: ids of the items, in the model's order.
        item_names: text of shape (items,), null where unknown; None where there are no names.
        histories: shape (users, items), what each user owns; None where it was left out. Its values count only
            for a model that reads them (`recae.models.base.reads_values`): how often and lately it was bought.
        metadata: JSON values stored beside the model, such as fingerprint, metrics, history and versions.
        held_out: uint8 of shape (users,): `LEARNED`, `VALIDATION` or `TEST`, who was held out when the model was
            measured; None where that is not known.
        events: what the users did beside buying, for a model that reads it (see `recae.inputs`); None where it reads
            none, or the histories were left out.
        item_table: what is known of items beside who bought them, with ids of its own; None where nothing is.
            ``item_table.of(items)`` brings it into the model's order.
        last_bought: int32 of shape (pairs,), aligned with ``histories.indices``: the day since 1970-01-01 UTC on which
            the user bought the item last, `recae.last_bought.NO_DAY` where unknown; None where no rule needs it.

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
    events: EventInputs | None = None
    item_table: ItemTable | None = None
    last_bought: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other; plain lists of ids become maps."""
        for name in ("users", "items"):
            ids = getattr(self, name)
            if ids is not None and not isinstance(ids, IdMap):
                object.__setattr__(self, name, IdMap(ids))
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
        if self.events is not None:
            self._check_events(self.events)
        pairs = None if self.histories is None else int(self.histories.nnz)
        if self.last_bought is not None and self.last_bought.shape != (pairs,):
            raise DataError(
                f"there are {self.last_bought.size:,} days of last purchases for {pairs or 0:,} pairs of a user and an "
                "item; both must come from the same purchases"
            )
        if self.histories is None:
            return
        if self.users is None:
            raise DataError("there are histories but no user ids; give both or neither")
        if self.histories.shape != (len(self.users), n_items):
            raise DataError(
                f"the histories have shape {self.histories.shape}, but there are {len(self.users):,} user "
                f"and {n_items:,} item ids; all must come from the same purchases"
            )

    def _check_events(self, events: EventInputs) -> None:
        shape = None if self.histories is None else self.histories.shape
        if events.names != inputs_of(self.model) or (events.matrix.shape[0], events.n_items) != shape:
            raise DataError(
                f"the events {', '.join(events.names)} of {events.matrix.shape[0]:,} users and {events.n_items:,} "
                f"items do not fit a model that reads {', '.join(inputs_of(self.model)) or 'none'} and histories of "
                f"shape {shape}; all must come from the same purchases"
            )

    @cached_property
    def scored(self) -> sp.csr_matrix | None:
        """What the model scores for each user: the histories, and beside them the events that it reads."""
        if self.histories is None or self.events is None:
            return self.histories
        return self.events.beside(self.histories)

    @cached_property
    def days(self) -> sp.csr_matrix | None:
        """The day on which each user bought each item last, in the places of the histories; None where not stored."""
        if self.histories is None or self.last_bought is None:
            return None
        return placed_days(self.histories, self.last_bought)

    def bought_from(self, user: str | int, first: int) -> NDArray[np.bool_]:
        """Return which items a user has bought on a day since 1970-01-01 UTC or after it, bool (I,).

        Raises:
            UnknownIdError: there is no such user.
            ConfigError: the model holds no times.
        """
        if self.days is None or self.histories is None or self.users is None:
            raise ConfigError(NO_TIMES)
        row = self.users.row(user, "user")
        found = recent(sp.csr_matrix(self.histories[row]), sp.csr_matrix(self.days[row]), first)
        marks = np.zeros(len(self.items), dtype=np.bool_)
        marks[found.indices] = True
        return marks

    def summary(self) -> Summary:
        """Return the kind, the sizes, the settings and the table of held-out metrics."""
        users = None if self.users is None else len(self.users)
        owned = None if self.histories is None else int(self.histories.nnz)
        return summary_of(self.model, users, len(self.items), owned, self.metadata)

    def _check_held_out(self, codes: NDArray[np.uint8]) -> None:
        if self.users is None:
            raise DataError("it is said who was held out, but there are no user ids; give both or neither")
        if codes.dtype != np.uint8 or codes.shape != (len(self.users),) or (codes > TEST).any():
            raise DataError(
                f"who was held out must be uint8 of shape ({len(self.users):,},) with values 0 to {TEST}, one for each "
                f"user, but is {codes.dtype} of shape {codes.shape} or holds others"
            )

    @property
    def n_bought(self) -> int:
        """How many items were bought; those after them are new, and a history of them alone says nothing."""
        return base_of(self.model).n_items

    def of_bought_items(self) -> Recommender:
        """Return the recommender of the items that were bought alone; this one where it scores no new ones."""
        model = base_of(self.model)
        if model is self.model:
            return self
        n, names, histories = model.n_items, self.item_names, self.histories
        return replace(
            self,
            model=model,
            items=IdMap(self.items.ids(np.arange(n))),
            item_names=None if names is None else names[:n],
            histories=None if histories is None else sp.csr_matrix(histories[:, :n]),
        )

    @property
    def learners(self) -> NDArray[np.bool_] | None:
        """Which users the model was learned from, shape (users,); None where that is not known.

        All of them where it was fitted once more on all users after it was measured.
        """
        if self.held_out is None:
            return None
        return np.ones(self.held_out.size, np.bool_) if self.refitted else self.held_out == LEARNED

    @property
    def refitted(self) -> bool:
        """Whether the model was fitted once more on all users after it was measured on held-out ones."""
        return bool(self.metadata.get(REFIT))

    @property
    def repeats(self) -> bool:
        """Whether the model is of a shop with repeat purchases, so that owned items stay recommendable by default."""
        return self.metadata.get("repeats") is True

    def excludes_owned(self, asked: bool | None = None) -> bool:
        """Return whether owned items are left out: as asked for, or by default unless the model `repeats`."""
        check_flag("exclude_owned", asked)
        return not self.repeats if asked is None else asked

    def recommend(
        self,
        user: str | int | None = None,
        n: int = 10,
        *,
        items: Sequence[str | int] | None = None,
        events: Mapping[str, Sequence[str | int]] | None = None,
        exclude: Sequence[str | int] | None = None,
        only: Sequence[str | int] | None = None,
        exclude_owned: bool | None = None,
        fallback: str | None = None,
        approximate: bool = False,
        rules: ListRules | Path | str | None = None,
        diversity: float = 0.0,
    ) -> Table[Recommendation]:
        """Return the best items for a user, or for a basket of items, best first.

        Args:
            user: a user's id; the user's history is scored.
            n: how many; fewer come back where fewer items are left.
            items: a basket instead of a user: item ids, scored as the history of somebody new. Repeated items
                count once, unknown ones not at all (`unknown_items` names them).
            events: what somebody new did beside buying, such as {"view": ["a", "b"]}, for a model that reads such
                events; with a basket, or in its place. Those of a user are stored with the model.
            exclude: ids of items to leave out; unknown ones do no harm.
            only: ids of items outside of which nothing is recommended.
            exclude_owned: leave out the items of the history or basket; by default unless the model `repeats`.
            fallback: "popular" for the items that most users own where the user is not known, or no item of the
                basket; None: an error.
            approximate: find the list by an index over the items, which is made and measured at the first call and
                lives as long as the model (`recae.approximate`): for catalogues of a million items.
            rules: what lists may hold and in which order, or the path of a TOML file of it; see `recae.list_rules`.
            diversity: from 0, the best items by score, to 1, those least like each other; see `recae.listing`.

        Returns:
            a table with the columns ``rank``, ``item_id``, ``name`` and ``score``, a `Recommendation` a row; with a
            fallback also ``source``: "model", or "popular" where it stepped in; and ``category`` and ``price`` where
            the model's table of items has them.

        Raises:
            ConfigError: both or neither of ``user`` and ``items`` are given, ``items`` is empty or not a
                sequence of ids, ``n`` is less than 1, or the rules leave no item.
            UnknownIdError: the user is not in the model, the model holds no histories, or no item of the
                basket is known, and there is no fallback.
        """
        _check_number(n)
        check_flag("approximate", approximate)
        check_fallback(fallback)
        items = None if items is None else basket_ids(items)
        source = MODEL
        try:
            if fallback is not None and items is not None and not items and not events:
                raise UnknownIdError("an empty basket")
            history = self.history_of(user, items=items, events=events)
            if fallback is not None and not history.nnz:
                source = POPULAR
        except UnknownIdError:
            if fallback is None:
                raise
            source = POPULAR
        allowed = self.allowed_items(exclude=exclude, only=only)
        # A list cannot be longer than the items; the bound keeps an absurd n from allocating.
        length = min(n, max(len(self.items), 1))
        owned = self.excludes_owned(exclude_owned)
        asked = rules is not None or diversity or self.metadata.get(RULES)
        listing = queries().listing_of(self, rules, diversity) if asked else None
        first = None if listing is None else listing.recent_from
        if first is not None and source != POPULAR and exclude_owned is not True:
            owned = user is None  # what is in a basket was bought now
            if user is not None:
                lately = self.bought_from(user, first)
                allowed = ~lately if allowed is None else allowed & ~lately
        if source == POPULAR:
            ranked = self.most_owned(length, allowed, listing)
        elif listing is None:
            ranked = self._ranked(history, length, owned, allowed, approximate)
        elif approximate:
            raise ConfigError(
                "approximate lists know neither rules nor diversity: leave one of them out, such as stored rules by "
                "--rules none"
            )
        else:
            read = readable(self.model, history)
            out = owned_part(read, self.model.n_items) if owned else None
            ranked = listing.rank(self.model.score(read), length, out, allowed)
        found = ranked.items[0] != PADDING
        rows = ranked.items[0][found]
        columns: dict[str, Any] = {
            "rank": np.arange(1, rows.size + 1, dtype=np.int32),
            "item_id": self.items.ids(rows),
            "name": self.names_of(rows),
            "score": ranked.scores[0][found],
        }
        if fallback is not None:
            columns["source"] = [source] * rows.size
        columns |= self.details_of(rows, IN_LISTS)
        return Table.of(columns, partial(_recommendation, tuple(columns)))

    def _ranked(
        self,
        history: sp.csr_matrix,
        n: int,
        exclude_owned: bool,
        allowed: NDArray[np.bool_] | None,
        approximate: bool,
    ) -> Ranked:
        if not approximate:
            return rank_histories(self.model, history, n, exclude_owned=exclude_owned, candidates=allowed)
        from recae.approximate import rank_approximately

        owned = history if exclude_owned else None
        return rank_approximately(self.model, self.histories, history, n, exclude=owned, allowed=allowed)

    def history_of(
        self,
        user: str | int | None = None,
        *,
        items: Sequence[str | int] | None = None,
        events: Mapping[str, Sequence[str | int]] | None = None,
    ) -> sp.csr_matrix:
        """Return what the model scores for a user, or for a basket of items, shape (1, I); a basket holds ones.

        Of a model that reads other events, those of the user follow in further columns, see `recae.inputs`.

        Raises:
            ConfigError, UnknownIdError: as `recommend`.
        """
        if events is not None:
            if user is not None:
                raise ConfigError(
                    "the events of a user are stored with the model: give events with a basket of items, or without"
                )
            return session_history(self.items, inputs_of(self.model), items, events)
        if (user is None) == (items is None):
            raise ConfigError("give either a user or a basket of items, exactly one of them")
        return basket_history(self.items, self.n_bought, items) if items is not None else self._history(user)

    def id_and_name(self, item: int) -> tuple[str, str | None]:
        """Return the id of an item's row, and its name where it has one; of a column of an event, its item's."""
        names, row = self.item_names, item % len(self.items)
        return self.items.id(row), None if names is None else names[row].as_py()

    def event_of(self, column: int) -> str | None:
        """Return the event that a column of a history is of; None for what is owned."""
        block = column // max(len(self.items), 1)
        return inputs_of(self.model)[block - 1] if block else None

    def names_of(self, rows: NDArray[np.integer[Any]]) -> pa.LargeStringArray:
        """Return the names of items by their rows, null where there is none."""
        names = self.item_names
        if names is None:
            return pa.nulls(len(rows), pa.large_string())
        return names.take(arrow_numbers(np.asarray(rows, dtype=np.int64)))

    def details_of(
        self, rows: NDArray[np.integer[Any]], columns: Sequence[str] = SHOWN
    ) -> dict[str, pa.Array]:
        """Return what the table of items says of items by their rows (n,): column to values, null where unknown.

        Args:
            rows: of the items.
            columns: which; those that the table lacks are left out.
        """
        table, places = self.item_table, self._places
        if table is None or places is None:
            return {}
        found = places[np.asarray(rows, dtype=np.int64)]
        taken = pa.array(np.maximum(found, 0), mask=found < 0, type=pa.int64())
        return {name: table.column(name).take(taken) for name in columns if name in table}

    @cached_property
    def _places(self) -> NDArray[np.int64] | None:
        """The row of each item in the table of items (I,), -1 where it is not there; None without a table."""
        return None if self.item_table is None else self.item_table.rows(self.items)

    def unknown_items(self, items: Sequence[str | int]) -> list[str]:
        """Return those of ``items`` that the model has not seen, in their order, each once.

        Raises:
            ConfigError: ``items`` is not a sequence of ids.
        """
        return unknown_of(self.items, basket_ids(items))

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """How many users own each item, (I,).

        Raises:
            DataError: the model was saved without histories.
        """
        if self.histories is None:
            raise DataError(
                "how many users own an item is not known, since this model was saved without histories; "
                "use a model file that was saved with them, or leave the fallback out"
            )
        counts = np.bincount(self.histories.indices, minlength=len(self.items))
        return counts.astype(np.int64, copy=False)

    def most_owned(
        self, n: int, allowed: NDArray[np.bool_] | None = None, listing: Listing | None = None
    ) -> Ranked:
        """Return one list of the ``n`` items that most users own, (1, n), among those ``allowed``, bool (I,).

        Raises:
            DataError: the model was saved without histories.
        """
        rank = top_k if listing is None else listing.rank
        return rank(self.owners.astype(np.float32)[None], n, candidates=allowed)

    def allowed_items(
        self, *, exclude: Sequence[str | int] | None = None, only: Sequence[str | int] | None = None
    ) -> NDArray[np.bool_] | None:
        """Return which items may be recommended, bool (I,); None for all.

        Raises:
            ConfigError: what is given is no list of ids, or no item is left.
        """
        if exclude is None and only is None:
            return None
        allowed = np.ones(len(self.items), dtype=np.bool_)
        for ids, others in ((exclude, False), (only, True)):
            if ids is None:
                continue
            rows = self.items.rows(ids_of("exclude=" if ids is exclude else "only=", ids))
            named = np.zeros(len(self.items), dtype=np.bool_)
            named[rows[rows >= 0]] = True
            allowed &= named if others else ~named
        if not allowed.any():
            raise ConfigError(
                f"exclude and only leave none of the model's {len(self.items):,} items to recommend; loosen one of them"
            )
        return allowed

    def owned(self, user: str | int) -> Table[Any]:
        """Return the items of a user's history, by id.

        Returns:
            a table with the columns ``item_id`` and ``name``.

        Raises:
            UnknownIdError: the user is not in the model, or the model holds no histories.
        """
        rows = np.sort(owned_part(self.history_of(user), len(self.items)).indices)
        return Table.of({"item_id": self.items.ids(rows), "name": self.names_of(rows)})

    @property
    def metrics(self) -> Table[Any]:
        """What training measured on held-out users, the model and baselines a row each; no rows where nothing was."""
        measured = self.metadata.get("metrics") or {}
        rows = measured.get("rows") or []
        columns = {name: [row.get(name) for row in rows] for name in (rows[0] if rows else ("model",))}
        title = (
            f"Measured on {measured['n_users']:,} held-out users" if rows and "n_users" in measured else ""
        )
        return Table.of(columns, title=title)

    @property
    def history(self) -> Table[Any]:
        """The course of training, an epoch a row; no rows for a model that is not trained in epochs."""
        names = ("epoch", "loss", "recall@20", "drift")
        rows = self.metadata.get("history") or []
        return Table.of({name: [row.get(name) for row in rows] for name in names})

    def plot_history(self) -> Figure:
        """Draw the loss and the validation recall@20 of each epoch, as `recae inspect --plot` does.

        Returns:
            a figure of matplotlib, which a notebook shows; ``savefig`` writes it.

        Raises:
            DataError: the model was not trained in epochs.
            ConfigError: matplotlib is missing.
        """
        return history_figure(self.metadata.get("history") or [], f"Training of {self.model.kind}")

    def _history(self, user: str | int | None) -> sp.csr_matrix:
        """Return the user's history, (1, I); with the events that the model reads it is wider."""
        if isinstance(user, list | tuple | set | np.ndarray):
            raise ConfigError(
                f"one user's id is taken, found {brief(user)}: give a list of users to recommend_many, or a basket as "
                "items=[…]"
            )
        text = id_text(user, "user")
        if self.users is None or self.histories is None:
            raise UnknownIdError(
                f"user {shown(text)} cannot be looked up, since this model was saved without histories; "
                "give the items that the user owns instead"
            )
        row = self.users.row(text, "user")
        history = sp.csr_matrix(self.histories[row])
        return history if self.events is None else self.events.rows(np.array([row])).beside(history)


def check_fallback(fallback: str | None) -> None:
    """Raise ConfigError for a fallback that there is not."""
    if fallback is not None and not (isinstance(fallback, str) and fallback == POPULAR):
        raise ConfigError(
            f"a fallback is '{POPULAR}' or None for none, found {brief(fallback)}: give one of them"
        )


def _check_number(n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ConfigError(
            f"n is how many items are wanted, a whole number from 1 on, found {brief(n)}: give one"
        )
