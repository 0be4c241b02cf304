"""Recommendations as one file: Parquet, CSV or JSON Lines, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from recae.models import JSON
from recae.scoring.schema import SCHEMA
from recae.scoring.work import Work
from recae.tables import check_output, write_table

GROUP_ROWS = 128 * 1024
"""Rows written together: a Parquet row group of a common size, and some ten megabytes."""


def write_part(
    work: Work,
    path: Path,
    start: int = 0,
    stop: int | None = None,
    on_users: Callable[[int], None] = lambda done: None,
) -> int:
    """Write the lists of the users from ``start`` to before ``stop`` to one file, which appears at the end.

    The columns are ``user_id``, ``item_id`` (text), ``rank`` (int32, from 1) and ``score`` (float32). The form is the
    one of `recae.tables.write_table`: a score of a text file has the fewest digits that read back as the same float32.

    Args:
        path: where to; an existing file is replaced once the new one is complete.
        start, stop: by default all users.
        on_users: told after each block how many users are done, counted from the first user of all.

    Returns:
        The number of rows.

    Raises:
        OutputError: `recae.tables.check_output` refuses the path, or writing fails later.
    """

    def told() -> Iterator[pa.RecordBatch]:
        for done, batch in work.batches(start, stop):
            yield batch
            on_users(done)

    return write_table(path, SCHEMA, told(), GROUP_ROWS)


@dataclass(frozen=True)
class OneFile:
    """A destination: one file for everybody."""

    path: Path

    def check(self, model: Path) -> None:
        """Raise OutputError, before any work, where the file cannot be written or is the model's."""
        check_output(self.path, model)

    def describe(self, work: Work) -> str:
        """Return what will be written, for a message."""
        return "one file"

    def settings(self, work: Work) -> dict[str, JSON]:
        """Return what the bytes depend on beside the work."""
        return {}

    def complete(self, work: Work, settings: Mapping[str, JSON]) -> str | None:
        """Return None: a file does not say what it holds, and is written anew."""
        return None

    def write(self, work: Work, settings: Mapping[str, JSON], on_users: Callable[[int], None]) -> int:
        """Write the file, and return its rows."""
        return write_part(work, self.path, on_users=on_users)
