"""`Candidates`: the columns of a table whose roles are being chosen, with what names propose and values are like."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from recae.errors import ColumnError
from recae.reading.names import Name
from recae.reading.profile import MANY, Profile
from recae.reading.table import Note, Table

LOOKED_AT: Final = 60
"""Columns whose values are looked at whatever their names."""

_NESTED: Final = ("STRUCT", "MAP", "UNION")
_ENOUGH: Final = 50  # rows from which on it is judged whether two columns say the same


class Candidates:
    """The columns of one table while their roles are chosen.

    Args:
        table: the table.
        labels: what each column that may be used is called.
        chosen: the roles that are given; None where there is to be no column.

    Attributes:
        profile: what the values are like.
        names: the columns by name.
        chosen: the roles that are settled.
        notes: what to say about it.
        order: the column that says which rows were bought together; None where there is none.
        refused: columns that may not be the item, with the reason.
    """

    def __init__(self, table: Table, labels: dict[str, str], chosen: dict[str, str | None]) -> None:
        """Take the names apart; values are looked at as they are needed."""
        self.table = table
        self.profile = Profile(table)
        self.names = {column: Name(label) for column, label in labels.items()}
        self.chosen = chosen
        self.notes: list[Note] = []
        self.refused: dict[str, str] = {}
        self.order = self._find_order()

    def _find_order(self) -> str | None:
        fits = []
        for preference, column in self.fitting("basket"):
            facts = self.profile.facts(column)
            many = facts.rows >= MANY
            alone = facts.distinct == facts.filled and many
            # sale and refund are kinds of transactions, and 12.50 is what one came to
            kinds = facts.distinct < 3 and many
            money = facts.numeric >= 0.9 and not facts.whole
            if facts.distinct and not (alone or kinds or money or facts.dates or facts.emails):
                # order_number may count the orders of each user: the column with more values tells orders apart
                fits.append((-facts.distinct, preference, column))
        if not fits and self.table.basket_is_user:
            return next((column for _, column in self.fitting("basket")), None)
        return min(fits)[2] if fits else None

    def free(self) -> dict[str, Name]:
        """Return the columns that have no role yet."""
        taken = set(self.chosen.values())
        return {column: name for column, name in self.names.items() if column not in taken}

    def fitting(self, role: str, below: float = 99) -> list[tuple[float, str]]:
        """Return (preference, column) of the free columns whose names fit a role, the best first."""
        places = {column: i for i, column in enumerate(self.names)}
        fits = [(p, c) for c, name in self.free().items() if (p := name.preference(role)) is not None]
        return sorted((fit for fit in fits if fit[0] < below), key=lambda fit: (fit[0], places[fit[1]]))

    def belongs_to(self, owner: str | None, column: str) -> bool:
        """Tell whether each value of one column has its one value of another."""
        if owner is None:
            return False
        share, rows = self.profile.determined(owner, column)
        return rows >= MANY and share >= 0.98

    def typed_time(self, column: str) -> bool:
        """Tell whether a column has a type of dates or times."""
        return self.table.types[column].startswith(("DATE", "TIMESTAMP"))

    def note(self, text: str, code: str, column: str | None, advice: str = "", doubt: bool = False) -> None:
        """Add a note."""
        self.notes.append(Note(text, doubt, code, column, advice))

    def name_alternatives(
        self, role: str, column: str, preference: float, others: Sequence[tuple[float, str]]
    ) -> None:
        """Name the columns that would serve as well and say something else; stop where the models differ much.

        Args:
            role: user or item.
            column: the one chosen.
            preference: of its name.
            others: the other columns that fit, with the preferences of their names.

        Raises:
            ColumnError: two columns have names of the same strength, and neither determines the other.
        """
        option = f"--{role}-column"
        for other_preference, other in others:
            there, rows = self.profile.determined(column, other)
            back, rows_back = self.profile.determined(other, column)
            strong = int(preference) == int(other_preference) == 0
            text_of_it = there >= 0.9 and other_preference % 1 >= 0.5 > preference % 1
            if (there >= 0.98 and back >= 0.98) or text_of_it or (not strong and max(there, back) >= 0.9):
                continue
            if strong and max(there, back) < 0.8 and min(rows, rows_back) >= _ENOUGH:
                what = "who bought" if role == "user" else "what was bought"
                raise ColumnError(
                    f"'{self.table.name}': {column!r} and {other!r} may both say {what}, and they do not go "
                    f"together; choose one with {option} {shlex.quote(column)} or {option} {shlex.quote(other)}"
                )
            if strong or (
                other_preference < 4 if role == "user" else int(preference) == int(other_preference)
            ):
                doubt = not strong and max(there, back) < 0.8
                self.note(
                    f"{role} {column!r}; {other!r} would fit as well", f"{role}-alternative", other,
                    f"{option} {shlex.quote(other)} takes it", doubt=doubt,
                )  # fmt: skip


def plain_columns(table: Table) -> list[str]:
    """Return the columns that hold one value a row."""
    return [c for c, kind in table.types.items() if not kind.startswith(_NESTED) and not kind.endswith("]")]


def listed(names: Sequence[str]) -> str:
    """Return the names of columns for a sentence, the first thirty where they are more."""
    shown = ", ".join(map(repr, names[:30]))
    return shown + (f" and {len(names) - 30} more" if len(names) > 30 else "")
