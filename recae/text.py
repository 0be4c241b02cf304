"""Text for readers: safe to print, without control characters, and sizes in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Control characters, Unicode's two line ends, and the marks that force the direction of writing.
# A text, which is compiled where it is needed: that would take a tenth of what `recae --help` takes beside click.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"


def clean(text: str) -> str:
    """Return the text with control characters escaped: an item's name must not steer a terminal."""
    if text.isprintable():  # which none of these characters is
        return text
    return re.sub(_CONTROL, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def human_bytes(size: int) -> str:
    """Return a size as text, in units of 1,024: 831 B, 1.5 KiB, 40.0 MiB."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration as text: 1.5 s, 42 s, 3.2 min, 1.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.2g} min" if seconds < 5940 else f"{seconds / 3600:.3g} h"


def refit_words(refit: object) -> str:
    """Return "fitted once more on all 2,000 users" for the metadata of such a model; empty for any other."""
    users = refit.get("users") if isinstance(refit, Mapping) else None
    return f"fitted once more on all {users:,} users" if isinstance(users, int) else ""


def updates_words(updates: object) -> str:
    """Return "updated 3 times since then by 1,208 pairs" for the metadata of such a model; empty for any other."""
    if not isinstance(updates, Mapping):
        return ""
    number, pairs = updates.get("number"), updates.get("pairs")
    if not isinstance(number, int) or not isinstance(pairs, int) or not number:
        return ""
    times = f"{number:,} times" if number != 1 else "once"
    return f"updated {times} since then, by {pairs:,} pairs of a user and an item"


def brief(value: object, at_most: int = 80) -> str:
    """Return a value for a message, on one line and not too long; of a data frame or the like its type."""
    if type(value).__module__.partition(".")[0] not in ("builtins", "numpy", "datetime", "pathlib", "uuid"):
        return f"a {type(value).__name__}"
    return " ".join(repr(value).split())[:at_most]
