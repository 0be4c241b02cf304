"""Tasks: the purchases read, the options of a protocol, and what a protocol makes of them for an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.confidence import Facts, Weighting
from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.interactions import Events, Interactions
from recae.item_table import ItemTable
from recae.settings import check_option, check_range
from recae.sparse import pattern, rows_in_use, take_columns, without
from recae.splits.parts import TIES

Pair = tuple[sp.csr_matrix, sp.csr_matrix]
"""Histories (B, I) and held-out items (B, I)."""


@dataclass(frozen=True, eq=False)
class Purchases:
    """The purchases that were read.

    Attributes:
        interactions: all of them, or the training part of a given pair.
        events: every purchase with its time or the number of its basket, rows and columns as in the interactions;
            None where they were not read. "time" and "next-basket" need them.
        test: the test part of a given pair, with ids of its own; None otherwise.
        item_table: what is known of the items beside their names; None where nothing is.
    """

    interactions: Interactions
    events: Events | None = None
    test: Interactions | None = None
    item_table: ItemTable | None = None


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of a protocol.

    Attributes:
        test_users: users to test: a fraction (above 0, below 1; at most 10,000 users) or a number (1 or more).
            "strong" and "next-basket" take that many; the other protocols test everybody who has something held out.
        held_out: fraction of each test user's items that is held out ("strong", "weak", "k-fold"); or the fraction of
            all purchases that lies from the cut on ("time", where no cut is given); or of all items ("cold-items").
        folds: number of parts of the users ("k-fold").
        cut: first moment that is held out, in seconds since 1970 UTC ("time"); None: chosen by `held_out`.
        repeats: whether owned items stay recommendable and count when they are bought again ("time", "next-basket").
            The histories then hold how often and how lately each item was bought.
        min_items: items that a user needs to be tested, held-out ones included; users with fewer are learned from.
        validation_users: validation users, a fraction or a number as `test_users`; 0: none, everything is learned
            from; None: as many as are tested ("strong", "next-basket"), or 10 %, at most 10,000. "time" holds out a
            period instead of users, unless this is 0.
        min_user_purchases: items that each user has before the cut at least, to be learned from ("time"); with
            `min_item_purchases` to a fixed point. The other protocols split what the filters of the reading leave.
        min_item_purchases: users that each item has before the cut at least; likewise.
        decay: what a purchase counts one basket later, in (0, 1], with `repeats`; None: the best of `held_out.DECAYS`
            for personal frequency on the validation users.
        weighting: confidence of the purchases that are learned from; all others count alike.
        ties: what is held out of several items that a user bought at the last moment ("last-out"): one that the seed
            chooses ("random"), or all of them ("moment").

    Raises:
        ConfigError: a value is out of its range.
    """

    test_users: int | float = 0.1
    held_out: float = 0.2
    folds: int = 5
    cut: int | None = None
    repeats: bool = False
    min_items: int = 2
    validation_users: int | float | None = None
    decay: float | None = None
    min_user_purchases: int = 1
    min_item_purchases: int = 1
    weighting: Weighting = field(default_factory=Weighting)
    ties: str = "random"

    def __post_init__(self) -> None:
        """Check the options."""
        _check_number_of_users("test_users", self.test_users)
        if self.validation_users != 0:
            _check_number_of_users("validation_users", self.validation_users)
        check_range("held_out", self.held_out, 0, 1, open_low=True, open_high=True)
        check_range("folds", self.folds, 2, 1000, whole=True)
        check_range("cut", self.cut, -(2**60), 2**60, whole=True)
        check_option("repeats", self.repeats, (False, True))
        check_range("min_items", self.min_items, 2, 1_000_000, whole=True)
        check_range("decay", self.decay, 0, 1, open_low=True)
        check_option("ties", self.ties, TIES)
        least = ("min_user_purchases", "min_item_purchases")
        for name in least:
            check_range(name, getattr(self, name), 1, 2**31 - 1, whole=True)
        for name in ("test_users", "held_out", "folds", "min_items", *least):
            if getattr(self, name) is None:
                raise ConfigError(f"{name} is a number, found None: give one, or leave it out")

    @property
    def percent(self) -> str:
        """Return `held_out` in words."""
        return f"{100 * self.held_out:g} %"


def _check_number_of_users(name: str, value: int | float | None) -> None:
    if isinstance(value, float):
        check_range(name, value, 0, 1, open_low=True, open_high=True)
    else:
        check_range(name, value, 1, 10**9, whole=True)


@dataclass(frozen=True, eq=False)
class ColdItems:
    """Items that are held out whole, and what is known of all I items; see `recae.item_features`.

    Attributes:
        new: bool (I,), which are held out: nobody has them on the training side, and lists hold only these.
        features: float32 csr (I, F).
        groups: int32 (I,), the category of each item; -1 where it has none.
    """

    new: NDArray[np.bool_]
    features: sp.csr_matrix
    groups: NDArray[np.int32]

    def taking(self, columns: NDArray[np.int64]) -> ColdItems:
        """Return what is known of some of the items."""
        return ColdItems(self.new[columns], sp.csr_matrix(self.features[columns]), self.groups[columns])


@dataclass(frozen=True, eq=False)
class Task:
    """What a model is fitted to (`fit`), chosen on (`validation`) and measured on (`histories` and `held_out`).

    The training side is everything but the test users' held-out items and what came with them; only its items are
    columns. Only `held_out`, `lost` and `rule` depend on what is held out.

    Attributes:
        protocol: one of `PROTOCOLS`.
        rule: one sentence with counts that says who and what is held out.
        fit: csr (U, I), float32 ones: all that models may learn from; its rows are users with a purchase in it.
        validation: histories and held-out items of the validation users, csr (V, I) each, taken from the training
            side and not part of `fit`; None without validation users.
        histories: csr (B, I) of the test users: ones, or with repeats the values of `Events.weights`.
        held_out: csr (B, I), float32 ones, one in every row at least. Items that the training side does not know are
            left out, neither hits nor misses, and counted in `lost`.
        test_users: ids of the B rows.
        items: ids of the I columns, in the order of the interactions.
        exclude_owned: whether lists leave out the items of the history.
        lost: number of held-out interactions whose items the training side does not know.
        fold: number of the fold that is tested, from 0; 0 where there is only one.
        train: csr (T, I), float32 ones: the whole training side, that is `fit` and what `validation` takes away from
            it; for popularity, and for a fit after the settings are chosen.
        decay: of the histories' values; None where they are ones.
        confidence: of each entry of `fit`, in its order, by the purchases of `fit` alone, (nnz,); None: 1.
        counts: further numbers of the split by name, such as "users_with_ties", for the report.
        cold: items that are held out whole, which stand among the columns, too; None: none are.
    """

    protocol: str
    rule: str
    fit: sp.csr_matrix
    validation: Pair | None
    histories: sp.csr_matrix
    held_out: sp.csr_matrix
    test_users: tuple[str, ...]
    items: IdMap
    exclude_owned: bool
    lost: int
    fold: int
    train: sp.csr_matrix
    decay: float | None = None
    confidence: NDArray[np.float32] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    cold: ColdItems | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """The origin of a matrix to learn from.

    Attributes:
        users: the row of the interactions that each of its rows belongs to, (n,); None: the same.
        events: the purchases that it was made of; None: the interactions, with their times and quantities.
    """

    users: NDArray[np.int64] | None = None
    events: Events | None = None

    def confidence(
        self, fit: sp.csr_matrix, known: NDArray[np.int64], interactions: Interactions, weighting: Weighting
    ) -> tuple[NDArray[np.float32] | None, str]:
        """Return the confidence of the entries in the rows in use of the matrix, in its columns `known` alone.

        Beside it, what is to be said of the times that it is computed from; empty where nothing is.
        """
        if not weighting and interactions.confidences is None:
            return None, ""
        facts = Facts.of(interactions) if self.events is None else Facts.of_events(self.events)
        weighting.check(facts)
        rows = np.arange(interactions.n_users) if self.users is None else self.users
        facts = facts.at(take_columns(fit, known), rows, known)
        return weighting.confidence(facts), weighting.note(facts)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a protocol splits the purchases into, all with the columns of the interactions.

    Attributes:
        held: what is held out, in words, with "{users}" and "{interactions}" for the numbers; `learned` and `chosen`
            go on with what is learned from and what is chosen on.
        users: rows of the users who may be tested, (B,).
        not_tested: further counts for the rule.
        left_out: likewise.
        train_of: origin of the rows of `train`.
        fit_of: origin of the rows of `fit`.
        counts: as `Task.counts`.
        cold: items that are held out whole; None: none are.
    """

    held: str
    chosen: str
    train: sp.csr_matrix
    fit: sp.csr_matrix
    validation: Pair | None
    users: NDArray[np.int64]
    histories: sp.csr_matrix
    held_out: sp.csr_matrix
    decay: float | None = None
    not_tested: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    fold: int = 0
    train_of: Learned = field(default_factory=Learned)
    fit_of: Learned = field(default_factory=Learned)
    counts: Mapping[str, int] = field(default_factory=dict)
    cold: ColdItems | None = None


def make_task(protocol: str, interactions: Interactions, parts: Parts, options: ProtocolOptions) -> Task:
    """Make the task of the items on the training side and the users who can be tested, with the sentence that says so.

    Raises:
        DataError: nothing is left to learn from or nobody to test; the message holds the counts.
    """
    if not parts.fit.nnz:
        raise DataError(
            f"the split '{protocol}' leaves nothing to learn from: of {interactions.n_interactions:,} interactions "
            f"{parts.train.nnz:,} are on the training side, and all of these are held out to choose on; "
            "hold out less, or use more purchases"
        )
    counted_in = np.bincount(parts.train.indices, minlength=interactions.n_items) > 0
    known = np.flatnonzero(counted_in if parts.cold is None else counted_in | parts.cold.new)
    held_out = parts.held_out if options.repeats else without(parts.held_out, parts.histories)
    histories, found = take_columns(parts.histories, known), take_columns(held_out, known)
    sizes = np.diff(histories.indptr), np.diff(found.indptr)
    both = (sizes[0] > 0) & (sizes[1] > 0)
    tested = np.flatnonzero(both & (sizes[0] + sizes[1] >= options.min_items))
    lost, owned = held_out.nnz - found.nnz, parts.held_out.nnz - held_out.nnz
    losses = _losses(parts, len(both) - len(tested), lost, owned, options.min_items)
    if not tested.size:
        raise DataError(
            f"the split '{protocol}' leaves nobody to test: of {counted(len(both), 'user')} "
            f"{int((sizes[0] > 0).sum()):,} have a history, {int((sizes[1] > 0).sum()):,} something held out, "
            f"{int(both.sum()):,} both, and none both with {options.min_items} items or more"
            f"{''.join(f'; {loss}' for loss in losses)}; hold out more, or use more purchases"
        )
    validation = _validation(parts.validation, known, options)
    train = _rows_in_use(take_columns(parts.train, known))
    fit = train if validation is None else _rows_in_use(take_columns(parts.fit, known))
    source, matrix = (parts.train_of, parts.train) if validation is None else (parts.fit_of, parts.fit)
    confidence, note = source.confidence(matrix, known, interactions, options.weighting)
    held_out = sp.csr_matrix(found[tested])
    learned = f"the models learn from {counted(fit.nnz, 'interaction')} of {counted(fit.shape[0], 'user')}"
    chosen = "nobody is held out to choose on"
    if validation is not None:
        users, wanted = counted(validation[0].shape[0], "user"), counted(validation[1].nnz, "interaction")
        chosen = f"are chosen on {users} ({wanted}), {parts.chosen}"
    users, wanted = counted(tested.size, "user"), counted(held_out.nnz, "interaction")
    held = parts.held.format(users=users, interactions=wanted)
    notes = [note] if note else []
    rule = "; ".join([held[0].upper() + held[1:], f"{learned} and {chosen}", *losses, *notes])
    return Task(
        protocol=protocol,
        rule=rule,
        fit=fit,
        validation=validation,
        histories=sp.csr_matrix(histories[tested]),
        held_out=held_out,
        test_users=tuple(interactions.users.ids(parts.users[tested]).to_pylist()),
        items=IdMap(interactions.items.ids(known)),
        exclude_owned=not options.repeats,
        lost=lost,
        fold=parts.fold,
        train=train,
        decay=parts.decay,
        confidence=confidence,
        counts=parts.counts,
        cold=None if parts.cold is None else parts.cold.taking(known),
    )


def _losses(parts: Parts, untested: int, lost: int, owned: int, min_items: int) -> list[str]:
    """Return who is not tested and what is left out, in words with counts; only what occurs."""
    users, what = [*parts.not_tested], [*parts.left_out]
    if untested:
        why = f"with no history, nothing held out or fewer than {min_items} items"
        users.append(f"{counted(untested, 'user')} {why}")
    if lost:
        what.append(f"{counted(lost, 'held-out interaction')} of items that the training side does not know")
    if owned:
        what.append(f"{counted(owned, 'held-out interaction')} of items that are owned already")
    named = {"not tested": users, "left out": what}
    return [f"{name}: {', '.join(found)}" for name, found in named.items() if found]


def counted(number: int, word: str) -> str:
    """Return a number and what it counts, such as "1 user" or "1,432 users"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _validation(pair: Pair | None, known: NDArray[np.int64], options: ProtocolOptions) -> Pair | None:
    """Return the users of a pair who have both a history and held-out items; None where there are none."""
    if pair is None:
        return None
    held_out = pair[1] if options.repeats else without(pair[1], pair[0])
    histories, held_out = take_columns(pair[0], known), take_columns(held_out, known)
    rows = np.flatnonzero((np.diff(histories.indptr) > 0) & (np.diff(held_out.indptr) > 0))
    return (sp.csr_matrix(histories[rows]), sp.csr_matrix(held_out[rows])) if rows.size else None


def _rows_in_use(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return the rows with an entry, as a pattern."""
    return pattern(sp.csr_matrix(matrix[rows_in_use(matrix)]))
