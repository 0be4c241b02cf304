"""New items: whether features predict who buys them, judged on items held out whole, and the extended model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.evaluation.intervals import Paired, paired_difference
from recae.ids import IdMap
from recae.inputs import inputs_of
from recae.item_features import features_of, groups_of
from recae.item_table import ItemTable
from recae.models import Model
from recae.models.new_items import NewItems, own_fractions, predicted, solver_of
from recae.ranking import PADDING, rows_per_block, top_k
from recae.recommender import Recommender

NEW_ITEMS: Final = "new_items"
"""Entry of the metadata of a model that scores new items: what they were judged by."""

MODES: Final = ("auto", "on", "off")
"""Whether new items are scored: where it helps, always, or never."""

LENGTH: Final = 20
"""Length of the lists by whose NDCG it is judged."""

RIDGES: Final = (0.3, 1.0, 3.0, 10.0)
"""Ridges that are tried."""

POWERS: Final = (0.0, 0.5)
"""Powers of an item's number of users that are tried as its weight."""

_RIDGE, _POWER = 3.0, 0.0  # where nothing can be judged
_HELD_OUT: Final = 0.2  # of the items
_USERS: Final = 2_000  # by whom it is judged, at most
_LEAST_USERS: Final = 20
_LEAST_ITEMS: Final = 10  # held out


@dataclass(frozen=True)
class Judged:
    """What features predict of items held out whole.

    Attributes:
        ridge: that did best on half of the users.
        power: of the items' numbers of users as weights, likewise.
        ndcg: NDCG@20 on the other half.
        popularity: NDCG@20 of popularity in the category on these.
        gain: the paired difference of both.
        users: how many these are.
        items: how many items were held out.
    """

    ridge: float
    power: float
    ndcg: float
    popularity: float
    gain: Paired
    users: int
    items: int

    @property
    def helps(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.gain.low > 0

    def sentence(self) -> str:
        """Return it in words."""
        return (
            f"NDCG@{LENGTH} {self.ndcg:.4f} on {self.items:,} items held out whole, popularity in the category "
            f"{self.popularity:.4f} (difference {self.gain.mean:+.4f} [{self.gain.low:+.4f}, {self.gain.high:+.4f}], "
            f"{self.users:,} users)"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what the model's metadata hold."""
        return {
            "ridge": self.ridge,
            "power": self.power,
            f"ndcg@{LENGTH}": self.ndcg,
            f"popularity_ndcg@{LENGTH}": self.popularity,
            "difference": [self.gain.mean, self.gain.low, self.gain.high],
            "users": self.users,
            "items": self.items,
        }


@dataclass(frozen=True)
class Extended:
    """A recommender that scores new items, or why it does not.

    Attributes:
        recommender: the new one, or the one that was given.
        sentences: what was done and why; none where there are no new items.
    """

    recommender: Recommender
    sentences: tuple[str, ...] = ()


def check_mode(mode: object) -> None:
    """Raise ConfigError for what is none of `MODES`."""
    if mode not in MODES:
        raise ConfigError(f"new_items is one of {', '.join(MODES)}, found {mode!r:.40}: give one of these")


def as_before(recommender: Recommender, before: Recommender) -> Recommender:
    """Return a recommender that scores new items if, and as, the one did that it came from."""
    own = {name: value for name, value in recommender.metadata.items() if name != NEW_ITEMS}
    recommender = replace(recommender, metadata=own)
    model = before.model
    if not isinstance(model, NewItems):
        return recommender
    judged = before.metadata.get(NEW_ITEMS)
    power = judged.get("power") if isinstance(judged, Mapping) else None
    power = float(power) if isinstance(power, int | float) else _POWER
    return _extended(recommender, model.ridge, power, judged or {}, arriving(recommender, before))


def arriving(recommender: Recommender, before: Recommender | None) -> NDArray[np.bool_]:
    """Return which items were new in the recommender that this one came from, or were on their way there, bool (I,).

    Args:
        recommender: of I items that were bought.
        before: the one that it came from; None: no item was new.
    """
    found = np.zeros(len(recommender.items), dtype=np.bool_)
    if before is None or not isinstance(before.model, NewItems):
        return found
    model = before.model
    rows = np.concatenate([model.arriving, np.arange(model.known, model.n_items)])
    places = recommender.items.rows(before.items.ids(rows))
    found[places[places >= 0]] = True
    return found


def with_new_items(
    recommender: Recommender, mode: str = "auto", seed: int = 0, before: Recommender | None = None
) -> Extended:
    """Return a recommender that scores the items of its table that nobody has bought, too.

    Args:
        recommender: with a table of items; new items that it scores by now are chosen anew.
        mode: one of `MODES`; "auto" scores them where features predict more than popularity in the category.
        seed: decides which items are held out to judge that.
        before: the recommender that this one came from by an update, where items that have been bought since were new.

    Raises:
        ConfigError: there is no such mode.
    """
    check_mode(mode)
    own = {name: value for name, value in recommender.metadata.items() if name != NEW_ITEMS}
    recommender = replace(recommender.of_bought_items(), metadata=own)
    if recommender.item_table is None or mode == "off":
        return Extended(recommender)
    number = recommender.item_table.unbought(recommender.items).size
    coming = arriving(recommender, before)
    if not number and not coming.any():
        return Extended(recommender)
    if inputs_of(recommender.model):
        return Extended(
            recommender, (f"{number:,} new items are not scored, since the model reads other events",)
        )
    judged = None
    if recommender.histories is not None:
        whole, known = _whole(recommender)
        n = len(recommender.items)
        features, groups = features_of(whole, known)[:n], groups_of(whole, known)[:n]
        judged = judge(recommender.model, recommender.histories, features, groups, seed)
    if mode == "auto" and (judged is None or not judged.helps):
        why = "too little was bought to judge whether it helps" if judged is None else judged.sentence()
        return Extended(
            recommender,
            (f"{number:,} new items are not scored, since that is not distinguishably better: {why}",),
        )
    if judged is None:
        return Extended(
            _extended(recommender, _RIDGE, _POWER, {}, coming),
            (f"{number:,} new items are scored, unjudged",),
        )
    said = f"{number:,} new items are scored by what is known of them: {judged.sentence()}"
    return Extended(_extended(recommender, judged.ridge, judged.power, judged.as_dict(), coming), (said,))


def _whole(recommender: Recommender) -> tuple[ItemTable, NDArray[np.bool_]]:
    """Return what is known of the items that were bought and, after them, the new ones; and which were bought."""
    table, items = recommender.item_table, recommender.items
    if table is None:
        raise AssertionError("there are new items only in a table")
    ids = pa.concat_arrays([items.ids(np.arange(len(items))), table.ids.ids(table.unbought(items))])
    whole = table.of(IdMap(ids))
    if "name" not in whole and recommender.item_names is not None:
        whole = _named(whole, recommender.item_names)
    return whole, np.arange(len(whole.ids)) < len(items)


def _extended(
    recommender: Recommender,
    ridge: float,
    power: float,
    judged: Mapping[str, Any],
    coming: NDArray[np.bool_],
) -> Recommender:
    """Return a recommender of the items that were bought, with the new ones of its table.

    Args:
        recommender: of I items that were bought.
        ridge: of the regression.
        power: of the items' numbers of users, which they weigh in it.
        judged: what it was judged by.
        coming: items that were new a short while ago, bool (I,).
    """
    table = recommender.item_table
    if table is None or (not table.unbought(recommender.items).size and not coming.any()):
        return recommender
    whole, known = _whole(recommender)
    n = len(recommender.items)
    owners = np.ones(n) if recommender.histories is None else recommender.owners
    fractions = own_fractions(owners, coming)
    model = NewItems.of(
        recommender.model, features_of(whole, known), weights_of(owners, power), ridge, fractions
    )
    names = recommender.item_names
    if "name" in whole:
        old = pa.nulls(n, pa.large_string()) if names is None else names
        names = pa.concat_arrays([old, whole.column("name")[n:]])
    return replace(
        recommender,
        model=cast(Model, model),
        items=whole.ids,
        item_names=names,
        histories=None if recommender.histories is None else _wider(recommender.histories, len(whole.ids)),
        metadata={**recommender.metadata, NEW_ITEMS: dict(judged)},
    )


def judge(
    model: Model, histories: sp.csr_matrix, features: sp.csr_matrix, groups: NDArray[np.int32], seed: int = 0
) -> Judged | None:
    """Judge features by items held out whole: their scores and purchases are hidden, those of the others predict them.

    Users are asked for their purchases among the held-out items, from these alone, by what else they bought. The
    parameters of the model have seen the held-out items, whose own scores are not used; `scripts/bench/new_items.py`
    fits without them. The ridge and the weights are chosen on half of the users and judged on the others.

    Args:
        model: of I items.
        histories: pattern (U, I).
        features: float32 csr (I, F).
        groups: the category of each item (I,), -1 where it has none.
        seed: decides which items are held out.

    Returns:
        None where too little was bought.
    """
    owners = np.bincount(histories.indices, minlength=model.n_items)
    bought = np.flatnonzero(owners)
    chosen = np.random.default_rng([seed, 19]).permutation(bought)[: int(_HELD_OUT * bought.size)]
    if chosen.size < _LEAST_ITEMS:
        return None
    out = np.zeros(model.n_items, dtype=np.bool_)
    out[chosen] = True
    held, left = np.flatnonzero(out), np.flatnonzero(~out)
    wanted = sp.csr_matrix(histories[:, held])
    others = sp.csr_matrix(histories.multiply(~out[None]))
    others.eliminate_zeros()
    users = np.flatnonzero((np.diff(wanted.indptr) > 0) & (np.diff(others.indptr) > 0))
    if users.size < 2 * _LEAST_USERS:
        return None
    if users.size > _USERS:
        users = users[np.arange(_USERS) * users.size // _USERS]
    wanted, others = sp.csr_matrix(wanted[users]), sp.csr_matrix(others[users])
    options = list(product(RIDGES, POWERS))
    solved = {}
    for ridge, power in options:
        weights = weights_of(owners[left], power)
        solved[ridge, power] = weights, solver_of(features[left], weights, ridge)
    values = {option: np.empty(users.size) for option in options}
    popular, step = np.empty(users.size), rows_per_block(2 * model.n_items)
    by_group = popularity_of(owners[left], groups[left], groups[held])
    for start in range(0, users.size, step):
        block = slice(start, start + step)
        scores = model.score(sp.csr_matrix(others[block]))[:, left]
        for option, (weights, solver) in solved.items():
            found = predicted(scores, features[left], features[held], weights, solver)
            values[option][block] = ndcg(found, wanted[block])
        popular[block] = ndcg(np.tile(by_group, (scores.shape[0], 1)), wanted[block])
    half = np.arange(users.size) % 2 == 0
    best = max(options, key=lambda option: float(values[option][half].mean()))
    mine, theirs = values[best][~half], popular[~half]
    gain = paired_difference(mine, theirs, seed=seed)
    return Judged(*best, float(mine.mean()), float(theirs.mean()), gain, int((~half).sum()), held.size)


def weights_of(owners: NDArray[Any], power: float) -> NDArray[np.float32]:
    """Return what each known item weighs in the regression (I,): its number of users to a power, 1 on the mean."""
    weights = np.maximum(owners, 1).astype(np.float64) ** power
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def popularity_of(
    owners: NDArray[Any], groups: NDArray[np.int32], wanted: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the mean number of users of the known items (I,) in the group of each item (n,); of all without one."""
    sums = np.bincount(
        groups[groups >= 0], weights=owners[groups >= 0], minlength=int(wanted.max(initial=0)) + 1
    )
    counts = np.bincount(groups[groups >= 0], minlength=sums.size)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), owners.mean())
    return np.where(wanted >= 0, means[np.maximum(wanted, 0)], owners.mean()).astype(np.float32)


def ndcg(scores: NDArray[np.float32], wanted: sp.csr_matrix) -> NDArray[np.float64]:
    """Return NDCG@20 of scores (B, n) for the items that each user bought, pattern (B, n) with one a row at least."""
    ranked = top_k(np.ascontiguousarray(scores), min(LENGTH, scores.shape[1])).items
    hits = np.zeros(scores.shape, dtype=np.bool_)
    hits[np.repeat(np.arange(len(scores)), np.diff(wanted.indptr)), wanted.indices] = True
    found = np.take_along_axis(hits, np.maximum(ranked, 0), axis=1) & (ranked != PADDING)
    gains = 1 / np.log2(np.arange(2, ranked.shape[1] + 2))
    most = np.minimum(np.diff(wanted.indptr), ranked.shape[1])
    return np.asarray((found * gains).sum(axis=1) / np.cumsum(gains)[most - 1])


def _named(table: ItemTable, names: pa.LargeStringArray) -> ItemTable:
    """Return a table with names, null for the items after those that have any."""
    whole = pa.concat_arrays([names, pa.nulls(len(table.ids) - len(names), pa.large_string())])
    return ItemTable(table.ids, table.columns.add_column(0, "name", pa.chunked_array([whole])))


def _wider(histories: sp.csr_matrix, n_items: int) -> sp.csr_matrix:
    """Return histories with columns for items that nobody has bought."""
    return sp.csr_matrix(
        (histories.data, histories.indices, histories.indptr), shape=(histories.shape[0], n_items)
    )
