"""Columns without names: the user first, the item next, and what the values of the others tell.

The known data sets without a header are so: MovieLens and NCF (user, item, rating, time), LightGCN and Pinterest (user,
item), UserBehavior (user, item, category, behaviour, time), Steam (user, game, behaviour, hours), Yoochoose (session,
time, item, …), Gowalla (user, time, latitude, longitude, place), Last.fm (user, time, artist, name, track, name).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from recae.reading.advice import no_purchases
from recae.reading.profile import MANY, Profile
from recae.reading.statuses import event_meaning
from recae.reading.table import Note

_ASIN: Final = re.compile(r"B0[0-9A-Z]{8}|\d{9}[\dX]")
_FEWEST: Final = 5  # rows from which on a table with a row an item is one of items
_REVIEWER: Final = re.compile(r"A[0-9A-Z]{9,21}")


def kind_of(profile: Profile, column: str) -> str:
    """Return what the values of a column are like: time, event, number, small, constant, empty or id."""
    facts = profile.facts(column)
    if not facts.filled:
        return "empty"
    kind = profile.table.types[column]
    if kind.startswith(("DATE", "TIMESTAMP")) or facts.dates or (facts.dated_numbers and facts.distinct > 1):
        return "time"
    if facts.telling(event_meaning, most=30) >= 0.9:
        return "event"
    if facts.distinct == 1 and facts.rows >= MANY:
        return "constant"
    if facts.numeric >= 0.99 and facts.numbers:
        halves = all((2 * n).is_integer() and -1 <= n <= 10 for n in facts.numbers)
        if halves and facts.distinct <= 21 and (facts.rows >= 3 * facts.distinct or not facts.whole):
            return "small"
        if not facts.whole:
            return "number"
    return "id"


def choose_by_position(
    profile: Profile, columns: Sequence[str], given: Mapping[str, str | None]
) -> tuple[dict[str, str | None], Note | None]:
    """Choose the roles of columns without names.

    Args:
        profile: what the values are like.
        columns: those that have no role yet, in their order.
        given: the roles that are given.

    Returns:
        The column of each role that is found, and what to say about it.

    Raises:
        ColumnError: it is a table of items or users, with one row each.
    """
    kinds = {column: kind_of(profile, column) for column in columns}
    # the first columns are ids even if they are few and small, as long as nothing else is told by their values
    ids = [c for c in columns if kinds[c] == "id"]
    early = [c for c in columns[:2] if kinds[c] in ("id", "small", "constant")]
    ids = sorted({*ids, *early}, key=list(columns).index)
    chosen: dict[str, str | None] = {}
    if not given and len(ids) > 2 and _numbers_rows(profile, ids[0]):
        ids = ids[1:]
    user = given.get("user") or (ids[0] if ids else None)
    ids = [c for c in ids if c != user]
    item = given.get("item") or (ids[0] if ids else None)
    if user is None or item is None:
        return chosen, None
    facts = profile.facts(user)
    told = {"time", "event", "small"} & {kinds.get(c, "") for c in columns if c not in (user, item)}
    named = profile.table.is_text(item) and profile.facts(item).numeric < 0.9
    alone = facts.distinct == facts.rows >= _FEWEST and not given
    if alone and (facts.rows >= MANY or (named and not told)):
        raise no_purchases(profile.table, user)
    if "item" not in given and facts.rows >= MANY:
        for other in ids[1:]:
            # a track knows its artist, an artist not the track: the item is what determines the other
            knows, rows = profile.determined(other, item)
            finer = profile.determined(item, other)[0] < 0.98
            if rows >= MANY and knows >= 0.98 and finer:
                item = other
    if not given and profile.facts(user).share(_ASIN) >= 0.9 and profile.facts(item).share(_REVIEWER) >= 0.9:
        user, item = item, user
    chosen = {"user": user, "item": item}
    for column in columns:
        kind = {"small": "rating"}.get(kinds[column], kinds[column])
        if kind not in ("time", "event", "rating") or kind in chosen or column in (user, item):
            continue
        share, rows = profile.determined(item, column)
        if kind != "rating" or share < 0.98 or rows < MANY:  # else something of the item, such as its kind
            chosen[kind] = column
    said = ", ".join(f"{role} {column}" for role, column in {**chosen, **given}.items() if column)
    places = {column: role for role, column in {**chosen, **given}.items() if column}
    listed = ",".join(places.get(c, "-") for c in profile.table.columns).rstrip(",-")
    certain = profile.table.columns[:2] == [user, item]
    note = Note(
        f"the table has no header; its columns are taken as {said}",
        doubt=not certain, code="columns-by-position", advice=f"--columns {listed} names them otherwise",
    )  # fmt: skip
    return chosen, note


def _numbers_rows(profile: Profile, column: str) -> bool:
    """Tell whether a column counts the rows from 0 or 1 on."""
    facts = profile.facts(column)
    if facts.distinct != facts.rows or facts.numeric < 1 or facts.first not in ("0", "1"):
        return False
    numbers = facts.numbers
    return len(numbers) > 2 and max(numbers) - min(numbers) == len(numbers) - 1
