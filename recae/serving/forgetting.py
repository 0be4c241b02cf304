"""Forgetting of customers by the server: at once for all answers, and in the model file when it is next written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recae.errors import JournalError
from recae.serving.owned import bought_by
from recae.serving.problems import Problem
from recae.serving.purchases import problem_of
from recae.serving.schemas import ForgetAnswer
from recae.serving.served import ServedModel, unknown

_log = logging.getLogger("recae.serving")

LATER: Final = "at the next recae update, recae refresh or recae forget with this journal"
"""When the customer leaves the model file."""


def forgotten(served: ServedModel, users: Sequence[str]) -> NDArray[np.bool_]:
    """Return which users are unknown to all answers, since the model is to forget them, (n,).

    Raises:
        Problem: 503, the journal cannot be read.
    """
    return np.array([bought.forgotten for bought in bought_by(served, users)], dtype=np.bool_)


def forget(served: ServedModel, user_id: str) -> ForgetAnswer:
    """Remove a customer from the journal, and let every answer from now on be as if the model did not know them.

    The journal says so to all workers, and after a restart. The model file is not changed here: to solve its parts
    again takes the processors that answer requests.

    Args:
        served: the model.
        user_id: exact id.

    Raises:
        Problem: 404, neither the model nor the journal knows the customer, or there is no journal; 503 or 507, the
            journal cannot be used, and nothing is changed.
    """
    journal, users = served.journal, served.recommender.users
    if journal is None:
        raise Problem("no-journal", 404, "this server forgets nobody: start it with --journal")
    (bought,) = bought_by(served, [user_id])
    in_file = users is not None and int(users.rows([user_id])[0]) >= 0
    try:
        # who was forgotten and has come back is forgotten again
        if (bought.forgotten or not in_file) and not journal.knows([user_id]):
            raise unknown("user", user_id)
        removed = journal.order_forgetting(user_id)
    except JournalError as error:
        _log.error("%s", error)
        raise problem_of(error) from None
    return ForgetAnswer(
        model=served.version,
        user_id=user_id,
        journal_rows=removed,
        in_model_file=in_file,
        leaves_model_file=LATER if in_file else None,
    )
