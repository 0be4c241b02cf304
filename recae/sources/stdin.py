"""The standard input as a source: kept in a temporary file without a name, since purchases are read more than once."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from recae.errors import SourceError
from recae.sources.base import Table
from recae.sources.fields import Fields
from recae.sources.files import open_unnamed

_NAME = "standard input"


class StdinSource(Table):
    """What comes through the standard input, in any format that a file may have.

    A header is read before the rows, Parquet keeps its schema at its end, and the line number of an error is
    found by a second reading; a pipe allows none of that. So it is written to a file in ``$TMPDIR`` first, in a few
    blocks of memory. The file is removed from its folder before it is written to: however the process ends, its
    space is free again.

    Attributes:
        name: for messages.
        schema: the columns.

    Raises:
        SourceError: nothing comes, it cannot be kept, or it is broken at its beginning.
    """

    def __init__(self) -> None:
        self.name = _NAME
        if sys.stdin is None:
            raise SourceError(
                "the standard input is closed; pipe the purchases in, or give a path in place of -"
            )
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the source
        try:
            shutil.copyfileobj(sys.stdin.buffer, self._file, 1 << 20)
            self._file.flush()
        except OSError as error:
            raise SourceError(
                f"the standard input cannot be read and kept in '{tempfile.gettempdir()}': {error.strerror}; "
                "set TMPDIR to a folder with room for it"
            ) from error
        if self._file.tell() == 0:
            raise SourceError("the standard input is empty; a table of purchases is needed")
        # Linux opens an open file once more, with a position of its own, even where it has no name left.
        self._table = open_unnamed(Path(f"/proc/self/fd/{self._file.fileno()}"), _NAME)
        self.schema = self._table.schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns, as the source of its format does."""
        yield from self._table.batches(columns)

    def blocks(self, columns: Sequence[str]) -> Iterator[Fields | pa.RecordBatch]:
        """Yield the named columns, as the source of its format does."""
        yield from (
            self._table.blocks(columns) if isinstance(self._table, Table) else self._table.batches(columns)
        )
