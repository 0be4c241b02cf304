"""The user's column: the name proposes, and a value of its own for every order, or for guests alone, disposes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from recae.reading.candidates import LOOKED_AT, Candidates
from recae.reading.profile import MANY

_GUESTS: Final = frozenset({"0", "-1", "guest", "gast", "anonymous", "00000000-0000-0000-0000-000000000000"})
_OWN: Final = 0.98  # users an order, from which on each order has its own
_FILLED: Final = 0.5  # of the rows of the fullest column, below which another one gives way


def choose_user(table: Candidates) -> None:
    """Choose the column of users, where there is one.

    Args:
        table: gets the column and the notes.

    Raises:
        ColumnError: two columns fit and would lead to very different models.
    """
    fits = table.fitting("user")
    fits = [(p, c) for p, c in fits if table.profile.facts(c).filled] or fits[:1]
    if not fits or fits[0][0] >= 4:
        known = {column for _, column in fits}
        free = [c for c in table.free() if c not in known and table.table.is_text(c)]
        fits += [(3.0, c) for c in free[:LOOKED_AT] if table.profile.facts(c).emails]
    if not fits:
        return
    fullest = max(_present(table, column) for _, column in fits)

    def flaw(column: str) -> int:
        facts = table.profile.facts(column)
        if facts.rows >= MANY and (facts.distinct == 1 or facts.dates):
            return 2
        return int(_present(table, column) < _FILLED * fullest)

    ranked = sorted(fits, key=lambda fit: (flaw(fit[1]), fit[0]))
    preference, user = ranked[0]
    others = [fit for fit in ranked[1:] if flaw(fit[1]) < 2]
    wider = _known_again(table, user, [c for p, c in others if p < 4])
    first = min(fits)[1]
    if wider is not None:
        table.note(
            f"user {wider!r}, not {user!r}, which has a value of its own for nearly every order",
            "user-one-an-order", user, f"--user-column {shlex.quote(user)} takes it all the same",
        )  # fmt: skip
        user = wider
    elif first != user and flaw(first) == 1:
        table.note(
            f"user {user!r}, as {first!r} is empty or a guest's in {1 - _present(table, first):.0%} of the rows",
            "user-alternative", first, f"--user-column {shlex.quote(first)} takes it all the same", doubt=True,
        )  # fmt: skip
    elif preference >= 5:
        table.note(
            f"nothing but their names ({user!r}) tells users apart, so those of the same name are one",
            "user-by-name", user, "--user-column names another column", doubt=True,
        )  # fmt: skip
    else:
        table.name_alternatives("user", user, preference, others)
        _note_orders(table, user)
    table.chosen["user"] = user


def _note_orders(table: Candidates, user: str) -> None:
    """Say where each order has a user of its own, and where orders tell more than users that are mostly missing."""
    if table.order is None:
        return
    profile, order = table.profile, table.order
    present, whole = _present(table, user), profile.facts(order).share_filled
    if present < _FILLED * whole:
        table.note(
            f"user {user!r} is missing in {1 - present:.0%} of the rows", "user-alternative", order,
            f"--user-column {shlex.quote(order)} lets each of its values stand for a user", doubt=True,
        )  # fmt: skip
    elif profile.facts(user).distinct >= _OWN * profile.facts(order).distinct >= MANY:
        users, orders = profile.distinct(user, order)
        # numbers that begin anew for each user tell nothing
        if users >= _OWN * orders and profile.determined(order, user)[0] >= _OWN:
            table.note(
                f"nearly every {order!r} has a {user!r} of its own, so it is not known which orders are one user's",
                "user-one-an-order", user, "--user-column names another column",
            )  # fmt: skip


def _present(table: Candidates, column: str) -> float:
    """Return the share of rows in which a column says who it was; a heap of zeros stands for guests."""
    facts = table.profile.facts(column)
    guests = sum(count for value, count in facts.top[:3] if value.casefold() in _GUESTS)
    heap = guests >= 0.05 * facts.rows and facts.rows >= MANY
    return (facts.filled - guests * heap) / facts.rows if facts.rows else 0.0


def _known_again(table: Candidates, user: str, others: Sequence[str]) -> str | None:
    """Return the column that knows a user again where the first one has a new value for each order, as Olist's."""
    profile = table.profile
    for other in others:
        if profile.determined(user, other)[0] < 0.99:
            continue
        if table.order is None:
            if "unique" in table.names[other].words and profile.determined(other, user)[0] < 0.999:
                return other
            continue
        users, wider, orders = profile.distinct(user, other, table.order)
        own = orders >= MANY and users >= _OWN * orders and wider < 0.995 * users
        if own and profile.determined(table.order, user)[0] >= _OWN:
            return other
    return None
