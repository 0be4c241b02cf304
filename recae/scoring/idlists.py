"""Lists of ids from files: one id a line, or a column of any table that recae reads."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from recae.errors import SourceError
from recae.ingest.codes import Codes, as_text, not_blank, without_point_zero
from recae.ingest.columns import KNOWN_NAMES, choose_column
from recae.sources import open_source


def read_ids(source: str | Path, role: str, column: str | None = None) -> pa.LargeStringArray:
    """Return the ids of a list, each once, in the order of their first appearance.

    Args:
        source: a text file (``.txt``, or without an ending) with one id a line, blank lines aside; or a table, as in
            `recae.sources.open_source`.
        role: ``"user"`` or ``"item"``, whose column is looked for in a table.
        column: its exact name; by default recognised as in `recae.ingest.KNOWN_NAMES`.

    Raises:
        SourceError: the file cannot be read, or a line is not UTF-8.
        ColumnError: the table has no such column.
    """
    ids = Codes()
    if Path(source).suffix.lower() in ("", ".txt") and os.path.isfile(source) and column is None:  # noqa: PTH113
        ids.add(_lines(Path(source)))
        return ids.finish()[1]
    table = open_source(source)
    chosen = choose_column(table.column_names, column, role, KNOWN_NAMES[role], table.name)
    for batch in table.batches([chosen]):
        texts = as_text(batch.column(0), chosen)
        ids.add(texts.filter(pa.array(not_blank(texts))))
    found = ids.finish()[1]
    whole = without_point_zero(found)
    return found if whole is None else whole


def _lines(path: Path) -> pa.LargeStringArray:
    """Return the lines of a file that are not blank, without their ends."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"'{path}' should hold one id a line in UTF-8, but byte {error.start:,} is not; save it as UTF-8"
        ) from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return pa.array([line for line in lines if line.strip()], pa.large_string())
