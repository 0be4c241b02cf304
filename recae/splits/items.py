"""Protocols that hold out items of users who are learned from: weak generalisation, leave-last-out, a given pair."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.ids import IdMap, shown
from recae.interactions import Interactions
from recae.sparse import pattern, take_entries, without
from recae.splits.held_out import Keys, choose_validation_users
from recae.splits.keys import user_keys
from recae.splits.parts import hold_out_items, last_bought
from recae.splits.tasks import Pair, Parts, ProtocolOptions, Purchases, Task, counted, make_task
from recae.splits.time import check_times

_SHOWN = 3  # examples in a message


def weak(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Hold out random items of every user with enough of them and learn from the others (weak generalisation)."""
    interactions = purchases.interactions
    matrix, keys = interactions.matrix, Keys(interactions, seed)
    eligible = _large_enough(matrix, options)
    whole = _only(matrix, eligible)
    _, held_out = hold_out_items(whole, keys.of(whole), options.held_out)
    train = without(matrix, held_out)
    fit, validation = _fold_in_validation(train, options, keys)
    parts = Parts(
        held=f"{options.percent} of the items of {{users}} ({{interactions}}), chosen at random, are to be found "
        "from their other items, which are learned from",
        chosen="of whose other items as many are taken out",
        train=train,
        fit=fit,
        validation=validation,
        users=eligible,
        histories=sp.csr_matrix(train[eligible]),
        held_out=sp.csr_matrix(held_out[eligible]),
        not_tested=_below_minimum(interactions.n_users - eligible.size, options),
    )
    return [make_task("weak", interactions, parts, options)]


def last_out(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Hold out the item that each user bought last; the earlier ones are learned from.

    The time of a pair is its last purchase, as in `splits.leave_last_out`. For validation, the item before the
    held-out one is taken out of the histories of some users.
    """
    interactions = purchases.interactions
    matrix = interactions.matrix
    check_times(interactions.times)
    times: NDArray[np.int64] = np.asarray(interactions.times)
    eligible = _large_enough(matrix, options)
    held = last_bought(matrix, times) & _of(matrix, eligible)
    train = take_entries(matrix, ~held)
    enough = _large_enough(train, options)
    chosen = choose_validation_users(enough, options, user_keys(interactions.users, seed), spare=0)
    second = last_bought(train, times[~held]) & _of(train, chosen)
    taken = take_entries(train, second)
    parts = Parts(
        held="the item that each of {users} bought last ({interactions}) is to be found from the earlier ones, which "
        "are learned from",
        chosen="the last of whose earlier items are taken out",
        train=train,
        fit=take_entries(train, ~second),
        validation=(sp.csr_matrix(take_entries(train, ~second)[chosen]), sp.csr_matrix(taken[chosen])),
        users=eligible,
        histories=sp.csr_matrix(train[eligible]),
        held_out=sp.csr_matrix(take_entries(matrix, held)[eligible]),
        not_tested=_below_minimum(interactions.n_users - eligible.size, options),
    )
    return [make_task("last-out", interactions, parts, options)]


def given_pair(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Make the task of a given test part, with a given training part that is learned from.

    For validation, some items of some users are taken out of the training part, unless `options.validation_users` is
    0.
    """
    interactions, test = purchases.interactions, purchases.test
    if test is None:
        raise ConfigError("the protocol 'pair' needs a test part beside the training part: give both")
    held_out = _in_ids_of(interactions, test)
    train = interactions.matrix
    fit, validation = _fold_in_validation(train, options, Keys(interactions, seed))
    users = np.flatnonzero(np.diff(held_out.indptr))
    parts = Parts(
        held="the given test part of {users} ({interactions}) is to be found from the given training part",
        chosen=f"{options.percent} of whose training items are taken out",
        train=train,
        fit=fit,
        validation=validation,
        users=users,
        histories=sp.csr_matrix(train[users]),
        held_out=sp.csr_matrix(held_out[users]),
    )
    return [make_task("pair", interactions, parts, options)]


def pair_of_matrices(train: sp.csr_matrix, test: sp.csr_matrix) -> Purchases:
    """Return a given pair of sparse matrices (users, items) as purchases.

    Every entry that is not zero is an interaction. The ids are the row and column numbers. A test matrix may have
    fewer rows and columns than the training matrix; where it has purchases outside of it, `make_tasks` raises
    DataError.

    Raises:
        DataError: a value is not finite.
    """
    return Purchases(_numbered(train, "training"), None, _numbered(test, "test"))


def _numbered(matrix: sp.csr_matrix, which: str) -> Interactions:
    """Return a matrix as interactions whose ids are row and column numbers."""
    own = sp.csr_matrix(matrix, copy=True)
    if not np.isfinite(own.data).all():
        raise DataError(f"the {which} matrix holds values that are not finite; what is bought should be 1")
    own.sum_duplicates()
    own.eliminate_zeros()
    own.sort_indices()
    users, items = (IdMap(map(str, range(size))) for size in own.shape)
    return Interactions(pattern(own), users, items, None, np.ones(own.nnz, dtype=np.int32))


def _in_ids_of(train: Interactions, test: Interactions) -> sp.csr_matrix:
    """Return the test part with the rows and columns of the training part.

    Raises:
        DataError: it has purchases of ids that the training part lacks.
    """
    own = test.matrix.tocoo()
    where = [mine.rows(theirs.ids(np.arange(len(theirs)))) for mine, theirs in
             ((train.users, test.users), (train.items, test.items))]  # fmt: skip
    unknown = []
    for what, rows, used, ids in (
        ("users", where[0], own.row, test.users),
        ("items", where[1], own.col, test.items),
    ):
        occurring = np.unique(used)
        lacking = occurring[rows[occurring] < 0]
        if lacking.size:
            examples = ", ".join(shown(text) for text in ids.ids(lacking[:_SHOWN]).to_pylist())
            unknown.append(f"{lacking.size:,} of its {occurring.size:,} {what}, such as {examples},")
    if unknown:
        raise DataError(
            f"the test part must have the ids of the training part, but {' and '.join(unknown)} are not in it; "
            "number both alike, or leave them out of the test part"
        )
    return sp.csr_matrix((own.data, (where[0][own.row], where[1][own.col])), shape=train.matrix.shape)


def _fold_in_validation(
    train: sp.csr_matrix, options: ProtocolOptions, keys: Keys
) -> tuple[sp.csr_matrix, Pair | None]:
    """Return the training side without the held-out items of validation users, and the pair of these users."""
    chosen = choose_validation_users(_large_enough(train, options), options, keys.users, spare=0)
    if not chosen.size:
        return train, None
    whole = _only(train, chosen)
    histories, held_out = hold_out_items(whole, keys.of(whole), options.held_out)
    return without(train, held_out), (sp.csr_matrix(histories[chosen]), sp.csr_matrix(held_out[chosen]))


def _large_enough(matrix: sp.csr_matrix, options: ProtocolOptions) -> NDArray[np.int64]:
    """Return rows with at least `options.min_items` items, (n,)."""
    return np.flatnonzero(np.diff(matrix.indptr) >= options.min_items)


def _of(matrix: sp.csr_matrix, users: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stored entries are of these users, (nnz,)."""
    chosen = np.zeros(matrix.shape[0], dtype=np.bool_)
    chosen[users] = True
    return chosen.repeat(np.diff(matrix.indptr))


def _only(matrix: sp.csr_matrix, users: NDArray[np.int64]) -> sp.csr_matrix:
    """Return the matrix (B, I) with the rows of all other users empty."""
    return take_entries(matrix, _of(matrix, users))


def _below_minimum(number: int, options: ProtocolOptions) -> tuple[str, ...]:
    """Return the count of users who only learn, for the rule."""
    return (f"{counted(number, 'user')} of fewer than {options.min_items} items",) if number else ()
