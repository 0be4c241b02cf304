"""Customers, and single purchases, that a model cannot reconstruct from the rest of the history.

Every owned item is hidden in turn and placed among the other candidates by the scores of the rest of the history
(`heldout_ranks`); what is compared is the fraction of candidates ranked above it, a number from 0 (first) to 1 (last).

A purchase's score is Φ⁻¹(1 − tail), where the tail is the fraction of purchases of items with about as many owners that
are ranked as low or lower (`calibrate.upper_tails`): 0 is an ordinary purchase, 3 one in 741.

A user's score is the mean over the owned items of Φ⁻¹(1 − t), where t is that fraction among all purchases, each user
counted alike, made comparable between lengths of history (`calibrate.standardised`): 0 is an ordinary user of that many
items, 1 is one robust standard deviation. Its tail is that of a normal distribution. Purchases are not matched by
popularity here: matched, the score of a user rises with the popularity of what was bought (Spearman 0.56 on Gowalla,
0.43 on Online Retail; unmatched 0.00 and 0.07), since a niche that is hard in general then excuses every user who buys
from it.

A model has adapted to the users that it learned from, even item by item: half of the users held out of the training of
Online Retail would be 4 standard deviations away from those. Hence each group is compared within itself.

What the scores cannot say: whether an unusual customer is a fraud, a shop, a family or an uncommon taste; and
nothing absolute, since a habit that most users have is not an anomaly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import ndtri

from recae.errors import DataError
from recae.ids import IdMap
from recae.insight.calibrate import heldout_ranks, normal_tails, standardised, upper_tails
from recae.ranking import DEFAULT_BLOCK_BYTES
from recae.recommender import Recommender


@dataclass(frozen=True, eq=False)
class PurchaseAnomalies:
    """Each purchase of the users that can be judged, by user and item; all arrays have shape (n,).

    Attributes:
        users: int64, rows of the histories.
        items: int64, item rows.
        owners: int64, number of users who own the item.
        above: float64, fraction of the other candidates that the model ranks above the item, 0 to 1.
        score: float64, higher is more surprising; 0 for an ordinary purchase of an item with as many owners.
        tail: float64, fraction of such purchases that are at least as surprising; score = Φ⁻¹(1 − tail).
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    owners: NDArray[np.int64]
    above: NDArray[np.float64]
    score: NDArray[np.float64]
    tail: NDArray[np.float64]

    def ranked(self) -> NDArray[np.int64]:
        """Return the purchases' places, most surprising first; of equal scores the one that is ranked lower."""
        return np.lexsort((self.items, self.users, -self.above, -self.score))


@dataclass(frozen=True, eq=False)
class UserAnomalies:
    """Each user that can be judged, by row; the arrays have shape (n,).

    Attributes:
        users: int64, rows of the histories.
        n_items: int64, length of the history, 2 at least.
        score: float64, z-value: higher is harder to explain, 0 is ordinary for that length.
        tail: float64, probability that an ordinary user's score is at least as high, were these scores normal.
        purchases: their purchases.
    """

    users: NDArray[np.int64]
    n_items: NDArray[np.int64]
    score: NDArray[np.float64]
    tail: NDArray[np.float64]
    purchases: PurchaseAnomalies

    def ranked(self) -> NDArray[np.int64]:
        """Return the users' places, the hardest to explain first; of equal scores the lower row."""
        return np.lexsort((self.users, -self.score))

    def worst(self, n: int) -> NDArray[np.int64]:
        """Return the places in `purchases` of each user's n most surprising ones, (users, n), padded with -1."""
        order = self.purchases.ranked()
        order = order[np.argsort(self.purchases.users[order], kind="stable")]
        starts = np.cumsum(self.n_items) - self.n_items
        places = starts[:, None] + np.arange(n)
        inside = np.arange(n) < self.n_items[:, None]
        worst: NDArray[np.int64] = np.where(inside, order[np.where(inside, places, 0)], -1)
        return worst


def purchase_anomalies(
    recommender: Recommender,
    *,
    learners: NDArray[np.bool_] | None = None,
    folds: int = 5,
    seed: int = 0,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    on_users: Callable[[int], None] | None = None,
) -> PurchaseAnomalies:
    """Return how surprising each purchase is, given the rest of its user's history and the item's popularity.

    Args:
        recommender: with histories.
        learners: bool of shape (users,), which users the model learned from; these and the others are compared apart.
            None: all together.
        folds: as for `heldout_ranks`, like the rest.
        seed: decides the split into folds.
        block_bytes: about how many bytes of scores are held at a time.
        on_users: is told after each block how many users are done.

    Raises:
        DataError: the recommender has no histories, no user owns two items, or `learners` does not fit the users.
        ConfigError: as for `heldout_ranks`.
    """
    histories, groups = _groups(recommender, learners)
    lengths = np.diff(histories.indptr)
    fractions = heldout_ranks(
        recommender.model, histories, folds=folds, seed=seed, block_bytes=block_bytes, on_users=on_users
    )
    judged = np.flatnonzero(~np.isnan(fractions))
    users = np.repeat(np.arange(lengths.size), lengths)[judged]
    items = histories.indices[judged].astype(np.int64)
    owners = np.bincount(histories.indices, minlength=histories.shape[1])[items]
    above, tail = fractions[judged], np.empty(judged.size)
    for group in groups:
        mine = group[users]
        tail[mine] = upper_tails(above[mine], np.log(owners[mine]), np.ones(int(mine.sum())))
    return PurchaseAnomalies(users, items, owners, above, -ndtri(tail), tail)


def user_anomalies(
    recommender: Recommender,
    *,
    learners: NDArray[np.bool_] | None = None,
    folds: int = 5,
    seed: int = 0,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    on_users: Callable[[int], None] | None = None,
) -> UserAnomalies:
    """Return how hard each user's purchases are to explain by one another, compared with users of as many items.

    Parameters and errors are those of `purchase_anomalies`; users of fewer than two items are left out.
    """
    purchases = purchase_anomalies(
        recommender, learners=learners, folds=folds, seed=seed, block_bytes=block_bytes, on_users=on_users
    )
    _, groups = _groups(recommender, learners)
    users, first, n_items = np.unique(purchases.users, return_index=True, return_counts=True)
    score = np.empty(users.size)
    for group in groups:
        mine, theirs = group[users], group[purchases.users]
        above, weights = purchases.above[theirs], 1 / np.repeat(n_items[mine], n_items[mine])
        surprise = np.zeros(purchases.users.size)
        surprise[theirs] = -ndtri(upper_tails(above, np.zeros(above.size), weights))
        means = np.add.reduceat(surprise, first)[mine] / n_items[mine]
        score[mine] = standardised(means, n_items[mine])
    return UserAnomalies(users, n_items, score, normal_tails(score), purchases)


def _groups(
    recommender: Recommender, learners: NDArray[np.bool_] | None
) -> tuple[sp.csr_matrix, list[NDArray[np.bool_]]]:
    """Return the histories, and masks of shape (users,) for the groups that are compared within themselves."""
    histories = recommender.histories
    if histories is None:
        raise DataError(
            "anomalies are found in the users' histories, but this model was saved without them; "
            "train it again, without --no-histories"
        )
    if not (np.diff(histories.indptr) >= 2).any():
        raise DataError(
            "no user of the model owns two items or more, so that nothing can be explained by the rest "
            "of a history; train on more purchases"
        )
    everybody = np.ones(histories.shape[0], dtype=np.bool_)
    if learners is None:
        return histories, [everybody]
    if learners.shape != everybody.shape or learners.dtype != np.bool_:
        raise DataError(
            f"learners must be bool of shape {everybody.shape}, but are {learners.dtype} of shape "
            f"{learners.shape}; mark each user of the histories True or False"
        )
    return histories, [learners, ~learners]


WORST: Final = 3
"""How many of a user's purchases are named as a reason."""

USER_SCHEMA: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("user_id", pa.string()),
        ("n_items", pa.int64()),
        ("score", pa.float64()),
        ("tail_probability", pa.float64()),
        *((f"worst_item_{place}", pa.string()) for place in range(1, WORST + 1)),
    ]
)
"""A user a row; the worst items' ids, the most surprising first, null where the history is shorter."""

PURCHASE_SCHEMA: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("name", pa.string()),
        ("owners", pa.int64()),
        ("above", pa.float64()),
        ("score", pa.float64()),
        ("tail_probability", pa.float64()),
    ]
)
"""A purchase a row; `name` is null where the item has none."""

_BATCH_ROWS = 64 * 1024


def user_batches(
    recommender: Recommender, found: UserAnomalies, n: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the n most anomalous users, or all, of `USER_SCHEMA`.

    Raises:
        DataError: the recommender has no users.
    """
    users, purchases, worst = _users(recommender), found.purchases, found.worst(WORST)
    for rank, places in _parts(found.ranked()[:n]):
        bought = worst[places]  # (rows, WORST)
        columns = [
            _ids(recommender.items, np.where(place < 0, -1, purchases.items[place])) for place in bought.T
        ]
        head = [rank, _ids(users, found.users[places]), found.n_items[places]]
        yield _batch(USER_SCHEMA, [*head, found.score[places], found.tail[places], *columns])


def purchase_batches(
    recommender: Recommender, found: PurchaseAnomalies, n: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the n most anomalous purchases, or all, of `PURCHASE_SCHEMA`.

    Raises:
        DataError: as `user_batches`.
    """
    users, names = _users(recommender), recommender.item_names
    for rank, places in _parts(found.ranked()[:n]):
        items = found.items[places]
        named = pa.nulls(items.size, pa.string()) if names is None else names.take(pa.array(items))
        head = [
            rank,
            _ids(users, found.users[places]),
            _ids(recommender.items, items),
            named.cast(pa.string()),
        ]
        numbers = [found.owners[places], found.above[places], found.score[places], found.tail[places]]
        yield _batch(PURCHASE_SCHEMA, [*head, *numbers])


def _users(recommender: Recommender) -> IdMap:
    if recommender.users is None:
        raise DataError("the model was saved without its users, so that nobody can be named; train it again")
    return recommender.users


def _parts(order: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield ranks from 1 and places, some at a time."""
    for start in range(0, order.size, _BATCH_ROWS):
        places = order[start : start + _BATCH_ROWS]
        yield np.arange(start + 1, start + 1 + places.size), places


def _ids(ids: IdMap, rows: NDArray[np.int64]) -> pa.StringArray:
    """Return the ids of rows, null for −1."""
    known = ids.ids(np.maximum(rows, 0)).cast(pa.string())
    return pc.if_else(pa.array(rows >= 0), known, pa.scalar(None, pa.string()))


def _batch(schema: pa.Schema, columns: list[object]) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
