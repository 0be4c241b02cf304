"""What several readers say and keep: columns of one name, lines that were skipped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from recae.reading.engine import Engine
from recae.reading.table import Note

Skipped = tuple[int, str, str]
"""A line that was skipped: its number, why, and its text."""


def unique_names(names: Sequence[str]) -> tuple[list[str], list[Note]]:
    """Return names that differ in more than case, for columns, and what to say of those that were given again.

    Surrounding blanks are left out, a column without a name is called by its number, and a name that is there already
    is followed by a number.
    """
    plain = [name.strip().replace("\0", "") for name in names]
    taken = {name.casefold() for name in plain}
    seen: set[str] = set()
    result: list[str] = []
    notes: list[Note] = []
    for place, given in enumerate(plain, 1):
        name = given
        if not given:
            name = _free(f"column {place}", seen | taken)
        elif given.casefold() in seen:
            name = _free(given, seen | taken)
            notes.append(
                Note(f"several columns are called {given!r}: column {place} is called {name!r}", column=name)
            )
        seen.add(name.casefold())
        result.append(name)
    return result, notes


def _free(name: str, taken: set[str]) -> str:
    """Return a name, with a number behind it where it is taken."""
    if name.casefold() not in taken:
        return name
    return next(
        f"{name}_{number}" for number in itertools.count(2) if f"{name}_{number}".casefold() not in taken
    )


def skipped_lines(engine: Engine, skipped: Sequence[Skipped]) -> tuple[str | None, list[Note]]:
    """Return a table (line, reason, text) of lines that were skipped, and what to say of them; nothing for none."""
    import pyarrow as pa

    if not skipped:
        return None, []
    lines, reasons, texts = zip(*skipped, strict=True)
    data = pa.table({"line": pa.array(lines, pa.int64()), "reason": reasons, "text": texts})
    count = len(skipped)
    what = (
        "1 line could not be read and was skipped, it is"
        if count == 1
        else (f"{count:,} lines could not be read and were skipped, the first of them is")
    )
    note = Note(f"{what} line {lines[0]:,}, which {reasons[0]}", code="bad-lines", rows=count)
    return engine.store(f"SELECT * FROM {engine.register(data)}", "rejected"), [note]
