"""The plain reading, as an oracle: rows of text in Python's own dictionaries, one after the other.

It shares nothing with `recae.reading` but the meaning of a row: who bought, what, when and how much.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MISSING = {"nan", "none", "null", "nil", "n/a", "na", "<na>", "\\n", "undefined", "unknown", "missing", "-", "?",
           "n.a.", "#n/a", "#ref!", "#value!", "#name?", "#null!", "#num!", "#div/0!"}  # fmt: skip


@dataclass
class Plain:
    """What is left of a table, by ids.

    Attributes:
        dropped: number of rows by reason.
        counts: how often each (user, item) was bought.
        times: microseconds of its last purchase, None where no time is known.
        quantities: how much of it was bought.
        names: the most frequent name of each item, the first seen of equals.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    times: dict[tuple[str, str], int | None] = field(default_factory=dict)
    quantities: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    names: dict[str, str] = field(default_factory=dict)


def microseconds(text: str) -> int | None:
    """The time that ISO text means; None for none."""
    if not text.strip():
        return None
    moment = dt.datetime.fromisoformat(text.strip())
    since = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - dt.datetime(
        1970, 1, 1, tzinfo=dt.UTC
    )
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def number(text: str) -> float | None:
    """The quantity that a text means, one where there is none; None for what is no number."""
    try:
        return float(text) if text.strip() else 1.0
    except ValueError:
        return None


def is_id(text: str) -> bool:
    """Whether a text stands for somebody or something."""
    return bool(text.strip()) and text.strip().casefold() not in MISSING


def read_plainly(
    path: Path, columns: Sequence[str] = ("user_id", "item_id", "timestamp", "quantity", "title")
) -> Plain:
    """Read a CSV file with a header, whose columns of these roles may be lacking from the third on."""
    found = Plain()
    seen: set[tuple[str, str, int, float]] = set()
    names: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            user, item, time, quantity, name = (row.get(column) or "" for column in columns)
            if is_id(item) and name.strip():
                names[item][name.strip()] += 1
            bought = number(quantity)
            reason = None
            if not is_id(user):
                reason = "no user"
            elif not is_id(item):
                reason = "no item"
            elif bought is None:
                reason = "quantity is not a number"
            elif bought <= 0:
                reason = "quantity is zero or less"
            moment = microseconds(time)
            if reason is None and bought is not None and moment is not None:
                key = (user, item, moment, bought)
                reason = "duplicate" if key in seen else None
                seen.add(key)
            if reason is not None or bought is None:
                found.dropped[str(reason)] += 1
                continue
            pair = (user, item)
            found.counts[pair] += 1
            found.quantities[pair] += bought
            last = found.times.get(pair)
            found.times[pair] = moment if last is None else last if moment is None else max(last, moment)
    bought_items = {item for _, item in found.counts}
    found.names = {item: max(c, key=lambda n: c[n]) for item, c in names.items() if item in bought_items}
    return found
