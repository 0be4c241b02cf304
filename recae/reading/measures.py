"""The columns beside who, what and when: how much was bought, how it was liked, what was done and what became of it."""

from __future__ import annotations

from typing import Final

from recae.reading.candidates import Candidates
from recae.reading.statuses import STANDS, event_meaning, status_meaning

_MOST_CODES: Final = 20  # values of a column of events that are written as numbers
_TELLING: Final = 100  # rows from which on a quantity is a number in half of them
_RATINGS: Final = 101  # values of a column of ratings: 0 to 100


def choose_quantity(table: Candidates) -> None:
    """Choose the column of quantities: the values are numbers, and of an amount whole ones.

    Args:
        table: gets the column and the notes.
    """
    table.chosen["quantity"] = None
    refused: str | None = None
    for preference, column in table.fitting("quantity"):
        facts = table.profile.facts(column)
        text = not facts.numbers or facts.dates or (facts.rows >= _TELLING and facts.numeric < 0.5)
        if facts.filled and text:
            refused = refused or column
        elif facts.filled and (facts.whole or not 2 <= preference < 3):  # else an amount of money
            table.chosen["quantity"] = column
            break
    if refused is not None:
        quantity = table.chosen["quantity"]
        shown = table.profile.facts(refused).quoted_values()
        said = "it is no quantity" if quantity is None else f"the quantity is {quantity!r}"
        table.note(
            f"{refused!r} holds no numbers ({shown}), so {said}", "quantity-text", refused,
            "--quantity-column names another column" if quantity is None else "",
        )  # fmt: skip


def choose_rating(table: Candidates) -> None:
    """Choose the column of ratings: a small number of levels, which are not the same for all who bought an item.

    Args:
        table: has an item; gets the column.
    """
    table.chosen["rating"] = None
    for _, column in table.fitting("rating"):
        facts = table.profile.facts(column)
        if facts.numeric < 0.9 or not facts.numbers or facts.distinct > _RATINGS:
            continue
        least, most = min(facts.numbers), max(facts.numbers)
        on_scale = least >= -1 and (most <= 10 or (most <= 100 and facts.whole))
        if on_scale and not (facts.distinct > 1 and table.belongs_to(table.chosen["item"], column)):
            table.chosen["rating"] = column
            return


def choose_event(table: Candidates) -> None:
    """Choose the column of events: a small number of words, of which some tell what was done.

    Args:
        table: gets the column and the notes.
    """
    table.chosen["event"] = None
    fits = table.fitting("event")
    for _, column in fits:
        if table.profile.facts(column).telling(event_meaning) > 0:
            table.chosen["event"] = column
            return
    for preference, column in fits:
        facts = table.profile.facts(column)
        if preference < 1 and 2 <= facts.distinct <= _MOST_CODES and facts.numeric >= 0.9:
            rarest = facts.top[-1][0]
            table.note(
                f"{column!r} may say what users did ({facts.quoted_values(6)}), and all of it counts as purchases",
                "event-codes", column, f"""--where "\\"{column}\\" = '{rarest}'" keeps one of them""", doubt=True,
            )  # fmt: skip
            return


def choose_status(table: Candidates) -> None:
    """Choose the column of what became of orders: a small number of known words, best with some that undo an order.

    Args:
        table: gets the column.
    """
    fits = []
    for preference, column in table.fitting("status"):
        facts = table.profile.facts(column)
        if facts.telling(status_meaning) >= 0.3:
            undone = any(status_meaning(word) not in (STANDS, None) for word, _ in facts.top)
            fits.append((not undone, preference, column))
    table.chosen["status"] = min(fits)[2] if fits else None
