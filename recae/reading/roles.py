"""`Columns`: which column of a table plays which role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROLES: Final = (
    "user", "item", "time", "clock", "quantity", "name", "basket", "rating", "event", "status", "confidence",
)  # fmt: skip
"""The roles that a column may have, in the order in which they are said."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table by role; None where the table has no such column.

    Attributes:
        user, item: who bought, what was bought.
        time: when; `clock` holds the time of day where it is in a column of its own.
        quantity: how much was bought.
        name: the item's name.
        basket: the number of the order.
        rating: how the user liked it.
        event: what the user did, such as view or purchase.
        status: what became of the order, such as delivered or canceled.
        confidence: how much the row counts.
    """

    user: str
    item: str
    time: str | None = None
    quantity: str | None = None
    name: str | None = None
    basket: str | None = None
    clock: str | None = None
    rating: str | None = None
    event: str | None = None
    status: str | None = None
    confidence: str | None = None

    def used(self) -> list[str]:
        """Return the distinct columns that rows are made of, in the order of the roles."""
        roles = (self.user, self.item, self.time, self.clock, self.quantity, self.name, self.basket)
        return list(dict.fromkeys(column for column in roles if column is not None))

    def __str__(self) -> str:
        """Return the roles with their columns, in words."""
        chosen = {role: getattr(self, role) for role in ROLES}
        return ", ".join(f"{role} {column!r}" for role, column in chosen.items() if column is not None)
