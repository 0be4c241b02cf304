"""Protocols that hold out users: strong generalisation, k-fold, and next baskets."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.sparse import pattern, without
from recae.splits.held_out import Keys, choose_decay, choose_users, choose_validation_users
from recae.splits.keys import item_keys, smallest, user_keys
from recae.splits.parts import last_basket_out, without_basket_ties
from recae.splits.tasks import Learned, Pair, Parts, ProtocolOptions, Purchases, Task, counted, make_task
from recae.splits.time import check_times, check_units


def strong(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Hold out users: part of each test user's items is to be found from the rest (strong generalisation).

    As in Liang et al. 2018 (Mult-VAE, arXiv 1802.05814), where a fifth of the items of 10,000 (ML-20M), 40,000
    (Netflix) or 50,000 (MSD) users is held out, and as many users for validation.
    """
    interactions = purchases.interactions
    matrix, keys = interactions.matrix, Keys(interactions, seed)
    test, chosen = choose_users(_large_enough(matrix, options), options, keys.users, _who(options))
    learners = np.setdiff1d(np.arange(interactions.n_users), np.concatenate([test, chosen]))
    histories, held_out = keys.part(matrix, test, options.held_out)
    parts = Parts(
        held=f"{options.percent} of the items of {{users}} who are not learned from ({{interactions}}), chosen at "
        "random, are to be found from their other items",
        chosen="held out alike",
        train=sp.csr_matrix(matrix[np.union1d(learners, chosen)]),
        fit=sp.csr_matrix(matrix[learners]),
        validation=keys.part(matrix, chosen, options.held_out) if chosen.size else None,
        users=test,
        histories=histories,
        held_out=held_out,
        train_of=Learned(np.union1d(learners, chosen)),
        fit_of=Learned(learners),
    )
    return [make_task("strong", interactions, parts, options)]


def k_fold(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Make tasks as `strong`, one for each of `options.folds` parts of the users; each is tested once.

    The parts follow one another in the order in which "strong" takes test users, so that the first part has those.
    """
    interactions = purchases.interactions
    matrix, keys = interactions.matrix, Keys(interactions, seed)
    eligible = _large_enough(matrix, options)
    if eligible.size < options.folds:
        raise DataError(
            f"{options.folds} folds need as many {_who(options)}, but of {interactions.n_users:,} users "
            f"{eligible.size:,} are such; use fewer folds, or more purchases"
        )
    tasks = []
    for fold, members in enumerate(np.array_split(smallest(eligible, keys.users.test), options.folds)):
        test = np.sort(members)
        others = np.setdiff1d(np.arange(interactions.n_users), test)
        chosen = choose_validation_users(np.setdiff1d(eligible, test), options, keys.users, spare=1)
        learners = np.setdiff1d(others, chosen)
        histories, held_out = keys.part(matrix, test, options.held_out)
        parts = Parts(
            held=f"part {fold + 1} of {options.folds} of the users: {options.percent} of the items of {{users}} "
            "who are not learned from ({interactions}), chosen at random, are to be found from their other items",
            chosen="held out alike",
            train=sp.csr_matrix(matrix[others]),
            fit=sp.csr_matrix(matrix[learners]),
            validation=keys.part(matrix, chosen, options.held_out) if chosen.size else None,
            users=test,
            histories=histories,
            held_out=held_out,
            fold=fold,
            train_of=Learned(others),
            fit_of=Learned(learners),
        )
        tasks.append(make_task("k-fold", interactions, parts, options))
    return tasks


def next_basket(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
    """Hold out users: the last basket of each test user is to be found from the earlier ones.

    Of several baskets that began at the last moment the ids and the seed decide which is the last. With
    `options.repeats` all of the last basket counts, otherwise only what the user did not own. All other users
    are learned from with all their baskets, and so are those with one basket.
    """
    interactions, events = purchases.interactions, purchases.events
    if events is None:
        raise DataError(
            "next baskets need to know which purchases were made together; read the table with read_events, and with "
            "a time or a basket column"
        )
    if events.time is not None:
        check_units(events.time)
    keys = user_keys(interactions.users, seed)
    events, tied = without_basket_ties(events, keys.items, item_keys(interactions.items, seed))
    earlier, last = last_basket_out(events)
    wanted = last if options.repeats else without(last, earlier)
    enough = np.diff(earlier.indptr) + np.diff(wanted.indptr) >= options.min_items
    eligible = np.flatnonzero((events.baskets >= 2) & (np.diff(wanted.indptr) > 0) & enough)
    who = f"users of two baskets or more{'' if options.repeats else ', something new in the last,'} and enough items"
    if eligible.size < 2 and events.time is not None and (events.baskets < 2).all():
        check_times(events.time)  # which says if they are all the same
    test, chosen = choose_users(eligible, options, keys, who)
    learners = np.setdiff1d(np.arange(events.n_users), np.concatenate([test, chosen]))
    fit = sp.csr_matrix(interactions.matrix[learners])
    before = events.before_last()
    decay = None
    if options.repeats:
        decay = options.decay or choose_decay(
            fit, lambda tried: sp.csr_matrix(before.weights(tried)[chosen]), sp.csr_matrix(last[chosen])
        )
    weighted = pattern(earlier) if decay is None else before.weights(decay)

    def pair(users: NDArray[np.int64]) -> Pair:
        return sp.csr_matrix(weighted[users]), sp.csr_matrix(last[users])

    histories, held_out = pair(test)
    n_tied = int(tied[test].sum())
    said = f"{counted(n_tied, 'test user')} began several baskets at the last moment: one is chosen at random"
    parts = Parts(
        held="the last baskets of {users} who are not learned from ({interactions}"
        + (", owned items among them" if options.repeats else " of items that they did not own")
        + ") are to be found from their earlier baskets"
        + (f"; {said}" if n_tied else ""),
        chosen="whose last baskets are held out alike",
        train=sp.csr_matrix(interactions.matrix[np.union1d(learners, chosen)]),
        fit=fit,
        validation=pair(chosen) if chosen.size else None,
        users=test,
        histories=histories,
        held_out=held_out,
        decay=decay,
        train_of=Learned(np.union1d(learners, chosen)),
        fit_of=Learned(learners),
        counts={"users_with_ties": n_tied},
    )
    return [make_task("next-basket", interactions, parts, options)]


def _large_enough(matrix: sp.csr_matrix, options: ProtocolOptions) -> NDArray[np.int64]:
    return np.flatnonzero(np.diff(matrix.indptr) >= options.min_items)


def _who(options: ProtocolOptions) -> str:
    return f"users of {options.min_items} items or more"
