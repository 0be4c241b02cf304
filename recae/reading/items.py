"""The item's column and its name's: no number of a line, no name of a person."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from recae.reading.candidates import Candidates
from recae.reading.profile import MANY

_FILLED: Final = 0.5  # of the rows of the fullest column, below which another one gives way
_OF_ITS_ITEM: Final = 0.9  # of the rows that must carry the most frequent name of their item
_LINE_NUMBER, _USELESS, _GIVES_WAY = 3, 2, 1  # what is wrong with a column of items, the worst first


def choose_item(table: Candidates) -> None:
    """Choose the column of items, where there is one.

    Args:
        table: gets the column, the notes, and why columns were refused.

    Raises:
        ColumnError: two columns fit and would lead to very different models.
    """
    fits = _fitting(table)
    flaws = {column: _flaw(table, column, several=len(fits) > 1) for _, column in fits}
    filled = {column: table.profile.facts(column).share_filled for column in flaws}
    fullest = max((filled[c] for c in flaws if not flaws[c]), default=0.0)
    flaws |= {c: _GIVES_WAY for c in flaws if not flaws[c] and filled[c] < _FILLED * fullest}
    # what has a value of its own in every row serves where only its name says that it is the item
    ranked = sorted((flaws[c], p, c) for p, c in fits if flaws[c] < (_LINE_NUMBER if p < 4 else _USELESS))
    if not ranked:
        return
    flaw, preference, item = ranked[0]
    for other_flaw, other_preference, other in ranked[1:]:
        # names say the same of track and artist: what determines the other is the item
        alike = (other_flaw, other_preference) == (flaw, preference)
        if alike and table.belongs_to(other, item) and not table.belongs_to(item, other):
            item = other
    table.chosen["item"] = item
    better = [c for p, c in sorted(fits) if p < preference and flaws[c] > flaw and filled[c]]
    if flaw == _USELESS:
        table.note(
            f"item {item!r} {table.refused.get(item, 'is empty')}, so nothing can be learned about it",
            "item-one-a-row", item, "--item-column names another column", doubt=True,
        )  # fmt: skip
    elif better:
        reason = table.refused.get(better[0]) or "is mostly empty"
        table.note(
            f"item {item!r}, as {better[0]!r} {reason}",
            "item-alternative", better[0], f"--item-column {shlex.quote(better[0])} takes it all the same",
        )  # fmt: skip
    elif preference >= 4:
        _note_makeshift(table, item, left_over=5 <= preference < 6)
    else:
        table.name_alternatives(
            "item", item, preference, [(p, c) for f, p, c in ranked if not f and p < 4 and c != item]
        )
    fuller = [c for f, _, c in ranked if not f and filled[c] > filled[item] + 0.05]
    if flaw < _USELESS and filled[item] < 0.95 and fuller:
        table.note(
            f"item {item!r} is empty in {1 - filled[item]:.0%} of the rows, {fuller[0]!r} in fewer",
            "item-alternative", fuller[0], f"--item-column {shlex.quote(fuller[0])} takes it", doubt=True,
        )  # fmt: skip


def check_given_item(table: Candidates) -> None:
    """Say where a column that an option names as the item cannot teach anything.

    Args:
        table: has an item; gets the note.
    """
    item = table.chosen.get("item")
    if item is not None and table.profile.rows >= MANY and _flaw(table, item, several=False) >= _USELESS:
        numbers = item in table.refused and "lines" in table.refused[item]
        table.note(
            f"item {item!r} {table.refused.get(item, 'is empty')}",
            "item-restarts" if numbers else "item-one-a-row", item, "--item-column names another column", doubt=True,
        )  # fmt: skip


def _fitting(table: Candidates) -> list[tuple[float, str]]:
    """Return (preference, column) of the columns that may be the item, be it for an unknown noun before an id."""
    user = table.chosen.get("user")
    fits = [(p, c) for p, c in table.fitting("item") if c != table.order]
    fits = [(p, c) for p, c in fits if p < 4 or not table.belongs_to(user, c)]
    known = {column for _, column in fits}
    for place, (column, name) in enumerate(table.free().items()):
        if (
            column in known
            or column == table.order
            or name.preference("item") is not None
            or name.leftover() is None
        ):
            continue
        facts = table.profile.facts(column)
        if facts.distinct > 1 and facts.share_filled >= _FILLED and not table.belongs_to(user, column):
            fits.append((5.0 + place / 1000, column))
    return fits


def _flaw(table: Candidates, column: str, several: bool) -> int:
    """Return what is wrong with a column of items, 0 for nothing; store the reason."""
    facts = table.profile.facts(column)
    if not facts.filled:
        return _USELESS
    if facts.rows < 3:
        return 0
    if table.order is not None and table.profile.restarts(column, table.order):
        table.refused[column] = "numbers the lines of each order"
        return _LINE_NUMBER
    if facts.dates or facts.emails:
        table.refused[column] = "holds dates" if facts.dates else "holds email addresses"
        return _LINE_NUMBER
    alone = facts.distinct == facts.rows
    if alone and (facts.rows >= MANY or (several and _consecutive(facts.numbers))):
        table.refused[column] = "has a value of its own in every row"
    elif facts.distinct == 1 and facts.rows >= MANY:
        table.refused[column] = f"is {facts.first!r} in every row"
    elif facts.numeric >= 0.9 and not facts.whole:
        table.refused[column] = "holds numbers with decimals"
        return _GIVES_WAY
    return _USELESS if column in table.refused else 0


def _note_makeshift(table: Candidates, item: str, left_over: bool) -> None:
    advice = "--item-column names another column"
    if left_over:
        table.note(f"item {item!r}, the only id that is left", "item-leftover", item, advice, doubt=True)
    else:
        table.note(f"no item ids: the name {item!r} stands for the item", "item-by-name", item, advice)


def choose_name(table: Candidates) -> None:
    """Choose the column of the items' names: text that belongs to the item, and to nobody who bought it.

    Args:
        table: has a user and an item; gets the column and the notes.
    """
    table.chosen["name"] = None
    user, item = table.chosen["user"], table.chosen["item"]
    if user is None or item is None:
        return
    nouns = table.names[item].nouns() if item in table.names else set()
    fits = table.fitting("name")
    fits.sort(key=lambda fit: (int(fit[0]), not (nouns & table.names[fit[1]].nouns()), fit[0]))
    refused: list[tuple[str, float, bool]] = []
    for preference, column in fits:
        facts = table.profile.facts(column)
        if not facts.filled or facts.dates or facts.emails or (preference >= 3 and facts.numeric > 0.5):
            continue
        share, repeated = table.profile.determined(item, column)
        share = share if repeated >= MANY else 1.0  # few rows tell nothing
        whose, rows = table.profile.determined(user, column)
        of_user = rows >= MANY and whose >= 0.98 and whose >= share
        of_user = (
            of_user and table.profile.determined(column, user)[0] >= _OF_ITS_ITEM
        )  # hardly two of one name
        # where each user bought one thing alone, the item's name belongs to both
        if share >= _OF_ITS_ITEM and not (of_user and not table.belongs_to(user, item)):
            table.chosen["name"] = column
            break
        refused.append((column, share, of_user))
    if refused:
        column, share, of_user = refused[0]
        what = f"the name of the user ({user!r})" if of_user else "something else"
        table.note(
            f"{column!r} is {what}, not the item's name: {share:.0%} of the rows carry the most frequent one of "
            "their item",
            "name-not-of-item", column, f"--name-column {shlex.quote(column)} takes it all the same",
        )  # fmt: skip


def _consecutive(numbers: Sequence[float]) -> bool:
    """Tell whether numbers, different from each other, leave no gap."""
    return len(numbers) > 2 and max(numbers) - min(numbers) == len(numbers) - 1
