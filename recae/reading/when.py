"""The column of times, and the time of day that may stand beside a date."""

from __future__ import annotations

import shlex
from typing import Final

from recae.reading.candidates import LOOKED_AT, Candidates, plain_columns
from recae.reading.names import KNOWN_NAMES, Name, plain
from recae.reading.profile import MANY, Facts

_KNOWN: Final = frozenset(map(plain, KNOWN_NAMES["time"]))
_LAST_DAY: Final = 99_999_999  # numbers above hold more than YYYYMMDD


def choose_time(table: Candidates) -> None:
    """Choose the column of times: of those whose values are times, the order's own, then the fullest.

    Args:
        table: has a user and an item; gets the column and the notes.
    """
    fits: list[tuple[float, float, float, str]] = []
    unread: list[str] = []
    counters: list[str] = []
    for preference, column in table.fitting("time"):
        facts = table.profile.facts(column)
        if not facts.filled:
            continue
        if not reads_as_time(table, column):
            if preference < 2 and not facts.times_of_day:
                (counters if facts.numeric >= 0.5 else unread).append(column)
            continue
        # when a film came out, when a user signed up: no purchase's time
        owners = (table.chosen.get("user"), table.chosen.get("item"))
        if preference >= 2 and any(table.belongs_to(owner, column) for owner in owners):
            continue
        full = min(round(facts.share_filled / 0.95, 1), 1.0)
        bare = 0.5 if 1 <= preference < 1.5 and "day" in table.names[column].words else 0.0
        fits.append((int(preference) + bare, -full, preference, column))
    if not fits:
        undeclared = _undeclared(table)
        fits = [] if undeclared is None else [(5.0, -1.0, 5.0, undeclared)]
    fits.sort()
    # a list is no time, which whoever reads times says better
    nested = [column for column in table.table.types if column not in plain_columns(table.table)]
    unread += [column for column in nested if Name(column).preference("time") is not None]
    table.chosen["time"] = fits[0][3] if fits else next(iter(unread), None)
    if fits:
        tier, full, _, time = fits[0]
        others = [
            c for other, its, _, c in fits[1:] if (other, its) == (tier, full) and _apart(table, time, c)
        ]
        if others:
            table.note(
                f"time {time!r}; {others[0]!r} would fit as well", "time-alternative", others[0],
                f"--time-column {shlex.quote(others[0])} takes it",
            )  # fmt: skip
    elif unread and table.profile.rows >= MANY:
        table.note(
            f"{unread[0]!r} holds nothing that is known as a time "
            f"({table.profile.facts(unread[0]).quoted_values()})",
            "times-unreadable", unread[0], "--time-column names another column", doubt=True,
        )  # fmt: skip
    elif counters:
        table.note(
            f"{counters[0]!r} holds numbers that are no times "
            f"({table.profile.facts(counters[0]).quoted_values()}), so it is not used",
            "times-none", counters[0], "--time-column names a column of times",
        )  # fmt: skip


def reads_as_time(table: Candidates, column: str) -> bool:
    """Tell whether a column's values are times, or numbers that a name such as "timestamp" makes times."""
    if table.typed_time(column):
        return True
    facts, name = table.profile.facts(column), table.names[column]
    if not facts.filled or table.table.types[column].startswith("TIME"):
        return False
    if facts.dates or facts.dated_numbers or (facts.excel_days and name.preference("time") is not None):
        return True
    # a few small numbers, as in examples: only a name that says nothing else makes them times
    of_day = facts.times_of_day and facts.rows >= MANY and max(facts.numbers, default=0) >= 100
    return plain(name.text) in _KNOWN and facts.numeric >= 0.9 and not of_day


def _apart(table: Candidates, one: str, other: str) -> bool:
    """Tell whether two columns of times are more than two forms of the same: neither determines the other."""
    return max(table.profile.determined(one, other)[0], table.profile.determined(other, one)[0]) < 0.98


def _undeclared(table: Candidates) -> str | None:
    """Return the only column whose values are times where no name says so."""
    found = []
    for column, name in list(table.free().items())[:LOOKED_AT]:
        if name.has("never", "late", "date", "at"):
            continue
        facts = table.profile.facts(column)
        dated = table.table.is_text(column) and facts.dates and facts.share_filled > 0.5
        owners = (table.chosen.get("user"), table.chosen.get("item"))
        if (dated or table.typed_time(column)) and not any(
            table.belongs_to(owner, column) for owner in owners
        ):
            found.append(column)
    if len(found) != 1:
        return None
    table.note(
        f"time {found[0]!r}, by its values", "time-by-values", found[0],
        "--time-column names another column, or '' for none",
    )  # fmt: skip
    return found[0]


def choose_clock(table: Candidates) -> None:
    """Choose the time of day that stands beside a column of dates.

    Args:
        table: has a column of times, or none; gets the column.
    """
    table.chosen["clock"] = None
    time = table.chosen.get("time")
    if time is None or not _days_alone(table, time):
        return
    for _, column in table.fitting("clock"):
        facts = table.profile.facts(column)
        typed = table.table.types[column].startswith("TIME") and not table.typed_time(column)
        # 8 is an hour of the day, as in "order_hour"; where 1517 is meant, there are greater numbers than 99
        hours = facts.numeric >= 0.9 and max(facts.numbers, default=0) < 100
        if facts.filled and (typed or (facts.times_of_day and not facts.dates and not hours)):
            table.chosen["clock"] = column
            return


def _days_alone(table: Candidates, time: str) -> bool:
    """Tell whether a column of times holds days, without a time of day."""
    facts: Facts = table.profile.facts(time)
    if facts.with_time or table.table.types[time].startswith("TIMESTAMP"):
        return False
    return facts.dates or (facts.dated_numbers and max(facts.numbers) <= _LAST_DAY)
