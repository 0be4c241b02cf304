"""Words of events that are inputs beside the purchases, such as view and cart."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import Final

from recae.errors import ColumnError
from recae.reading import statuses
from recae.reading.statuses import MOST_WORDS, Words, numbered

_MEANT: Final = (statuses.VIEW, statuses.CART, statuses.USE)


def choose_inputs(
    column: str, found: Words, asked: Sequence[str], purchases: Sequence[str], absent: bool = False
) -> dict[str, list[str]]:
    """Return the words of a column of events that each input is of.

    An input is named by a word of the table, or by what words mean: "view" is also `product_view` or `pv`.

    Args:
        column: of events.
        found: its words.
        asked: the inputs, in their order.
        purchases: words that count as purchases.
        absent: whether an input may be of no word.

    Raises:
        ColumnError: no word is meant, or one that counts as a purchase.
    """
    counts = found.counts
    if len(counts) > MOST_WORDS:
        raise ColumnError(
            f"column {column!r} holds more than {MOST_WORDS:,} different values, so it is none of events; name another "
            "with --event-column"
        )
    chosen: dict[str, list[str]] = {}
    for name in asked:
        words = _meant(column, name, counts, absent)
        taken = [word for word in words if word in purchases]
        if taken:
            raise ColumnError(
                f"--inputs names {name!r}, but {numbered(counts, taken)} of column {column!r} count as purchases; name "
                "other events, or say which are purchases with --event-weights, such as purchase=1"
            )
        twice = [word for word in words if any(word in others for others in chosen.values())]
        if twice:
            raise ColumnError(f"--inputs names {twice[0]!r} of column {column!r} twice; name each event once")
        chosen[name] = words
    return chosen


def _meant(column: str, name: str, counts: Counter[str | None], absent: bool) -> list[str]:
    words = [word for word in counts if word is not None]
    plain = statuses.plain_words(name)
    found = [word for word in words if word == name]
    found = found or [word for word in words if statuses.plain_words(word) == plain]
    if not found and plain in _MEANT:
        found = [word for word, meaning in statuses.meanings_of(column, counts).items() if meaning == plain]
    if found or absent:
        return found
    near = difflib.get_close_matches(name.casefold(), [word.casefold() for word in words], 1, 0.6)
    hint = next((f" did you mean {word!r}?" for word in words if near and word.casefold() == near[0]), "")
    raise ColumnError(
        f"--inputs names {name!r}, but column {column!r} has {numbered(counts)};{hint or ' name one of these'}"
    )


def known_inputs(column: str, counts: Counter[str | None]) -> list[str]:
    """Return the inputs that a table of events could give, those nearest to a purchase first."""
    meanings = set(statuses.meanings_of(column, counts).values())
    return [meaning for meaning in (statuses.CART, statuses.VIEW) if meaning in meanings]
