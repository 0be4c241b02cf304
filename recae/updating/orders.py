"""Orders of a journal to forget customers: who in a model they are of, and the model without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from recae.ids import IdMap
from recae.journal import Journal
from recae.recommender import Recommender


def ordered_users(recommender: Recommender, journal: Journal) -> list[str]:
    """Return the customers of a model whom it is to forget by a journal, in the order of their rows.

    Orders from before the model learned from the journal for the last time have been carried out then: who is in it
    again has come back since.
    """
    if recommender.users is None or recommender.histories is None:
        return []
    codes = journal.orders(journal.folded_up_to(recommender.metadata))
    if not codes:
        return []
    users: list[str] = recommender.users.ids(np.arange(len(recommender.users))).to_pylist()
    return [user for user in users if journal.code(user) in codes]


def without_ordered(recommender: Recommender, journal: Journal) -> Recommender:
    """Return a recommender that does not know the customers whom it is to forget; its model is as it was."""
    users, histories = recommender.users, recommender.histories
    gone = ordered_users(recommender, journal)
    if users is None or histories is None or not gone:
        return recommender
    rows = np.setdiff1d(np.arange(len(users)), users.rows(gone), assume_unique=True)
    return replace(
        recommender,
        users=IdMap(users.ids(rows)),
        histories=sp.csr_matrix(histories[rows]),
        last_bought=None
        if recommender.days is None
        else sp.csr_matrix(recommender.days[rows]).data.astype(np.int32),
        held_out=None if recommender.held_out is None else recommender.held_out[rows],
        events=None if recommender.events is None else recommender.events.rows(rows),
    )
