"""Protocols that hold out items of users who are learned from: weak generalisation, leave-last-out, a given pair."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.ids import IdMap, shown
from recae.interactions import Interactions
from recae.sparse import entry_rows, pattern, take_entries, without
from recae.splits.held_out import Keys, choose_validation_users
from recae.splits.parts import hold_out_items, last_bought, tied_users
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
    fit, validation = fold_in_validation(train, options, keys)
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

    The time of a pair is its last purchase. Where a user bought several items at the last moment, `options.ties` says
    which are held out, as in `parts.last_bought`; how many such users there are is said. For validation, the last of
    the other items is taken out of the histories of some users by the same rule.
    """
    interactions, ties = purchases.interactions, options.ties
    matrix = interactions.matrix
    check_times(interactions.times)
    times: NDArray[np.int64] = np.asarray(interactions.times)
    keys = Keys(interactions, seed)
    pair_keys = keys.of(matrix)
    large = _large_enough(matrix, options)
    held = last_bought(matrix, times, pair_keys, ties) & _of(matrix, large)
    tied = int(tied_users(matrix, times)[large].sum())
    # where all that was bought last is held out, a user who bought everything at once has no history, and only teaches
    users = np.intersect1d(large, entry_rows(matrix)[held]) if ties == "moment" else large
    train, left = take_entries(matrix, ~held), times[~held]
    second = last_bought(train, left, pair_keys[~held], ties)
    enough = _large_enough(train, options)
    if ties == "moment":
        enough = np.intersect1d(enough, entry_rows(train)[second])
    chosen = choose_validation_users(enough, options, keys.users, spare=0)
    second &= _of(train, chosen)
    taken, fit = take_entries(train, second), take_entries(train, ~second)
    what = "the item" if ties == "random" else "everything"
    parts = Parts(
        held=f"{what} that each of {{users}} bought last ({{interactions}}) is to be found from the other items, which "
        f"are learned from{_ties_in_words(tied, large.size, ties)}",
        chosen="the last of whose other items are taken out",
        train=train,
        fit=fit,
        validation=(sp.csr_matrix(fit[chosen]), sp.csr_matrix(taken[chosen])),
        users=users,
        histories=sp.csr_matrix(train[users]),
        held_out=sp.csr_matrix(take_entries(matrix, held)[users]),
        not_tested=(
            *_below_minimum(interactions.n_users - large.size, options),
            *(
                [f"{counted(large.size - users.size, 'user')} of a single moment"]
                if large.size > users.size
                else []
            ),
        ),
        counts={"users_with_ties": tied},
    )
    return [make_task("last-out", interactions, parts, options)]


def _ties_in_words(tied: int, n_users: int, ties: str) -> str:
    """Return how many users bought several items last and what is done about it, to go on in the rule."""
    if not tied:
        return ""
    done = "one of these is chosen at random" if ties == "random" else "all of these are held out"
    who = f"{counted(tied, 'user')} ({100 * tied / n_users:.3g} %)"
    return f"; {who} bought several items at the last moment, and {done}"


def given_pair(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Make the task of a given test part, with a given training part that is learned from.

    Users and items that the training part does not know are left out of the test part and counted. For validation,
    some items of some users are taken out of the training part, unless `options.validation_users` is 0.
    """
    interactions, test = purchases.interactions, purchases.test
    if test is None:
        raise ConfigError("the protocol 'pair' needs a test part beside the training part: give both")
    held_out, counts, left_out = _in_ids_of(interactions, test)
    train = interactions.matrix
    fit, validation = fold_in_validation(train, options, Keys(interactions, seed))
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
        left_out=left_out,
        counts=counts,
    )
    return [make_task("pair", interactions, parts, options)]


def pair_of_matrices(train: sp.csr_matrix, test: sp.csr_matrix) -> Purchases:
    """Return a given pair of sparse matrices (users, items) as purchases.

    Every entry that is not zero is an interaction. The ids are the row and column numbers. A test matrix may have
    fewer rows and columns than the training matrix; purchases outside of it are left out and counted by `make_tasks`.

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


def _in_ids_of(
    train: Interactions, test: Interactions
) -> tuple[sp.csr_matrix, dict[str, int], tuple[str, ...]]:
    """Return the test part with the rows and columns of the training part, and what was left out for being unknown.

    Returns:
        The known part, csr (U, I); counts by name; and the same in words for the rule.

    Raises:
        DataError: nothing of the test part is known.
    """
    own = test.matrix.tocoo()
    sides = (
        ("user", train.users, test.users, own.row),
        ("item", train.items, test.items, own.col),
    )
    known, places, said, counts = np.ones(own.nnz, dtype=np.bool_), [], [], {}
    for what, mine, theirs, used in sides:
        rows = mine.rows(theirs.ids(np.arange(len(theirs))))
        occurring = np.unique(used)
        lacking = occurring[rows[occurring] < 0]
        places.append(rows[used])
        known &= rows[used] >= 0
        counts[f"unknown_test_{what}s"] = int(lacking.size)
        if lacking.size:
            examples = ", ".join(shown(text) for text in theirs.ids(lacking[:_SHOWN]).to_pylist())
            said.append(f"{lacking.size:,} of its {counted(occurring.size, what)}, such as {examples}")
    lost = int(own.nnz - known.sum())
    counts["unknown_test_interactions"] = lost
    if own.nnz and not known.any():
        raise DataError(
            f"there is no purchase in the test part whose user and item the training part knows: it lacks "
            f"{' and '.join(said)}; number both parts alike"
        )
    pairs = (places[0][known], places[1][known])
    words = (
        f"{counted(lost, 'interaction')} of the test part, of users or items that the training part does not know: "
        f"{' and '.join(said)}"
    )
    matrix = sp.csr_matrix((own.data[known], pairs), shape=train.matrix.shape)
    return matrix, counts, (words,) if lost else ()


def fold_in_validation(
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
