"""A Parquet file as a stream of Arrow record batches; the columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from recae.errors import SourceError
from recae.sources.base import Table, first_line

_ROWS = 131_072  # rows in one batch


class ParquetSource(Table):
    """A Parquet file: one purchase a row, columns of their native types.

    Args:
        path: the file.
        name: what to call it in messages; by default the path.

    Attributes:
        name: for messages.
        schema: the top-level columns.

    Raises:
        SourceError: the file is not Parquet, or it is damaged or truncated.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        from pyarrow import parquet

        self.name = name or str(path)
        self._path = str(path)
        try:
            with parquet.ParquetFile(self._path) as file:
                self.schema = file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns batch by batch, at most 131,072 rows each.

        Raises:
            ColumnError: the file has no such column.
            SourceError: a part of the file is damaged.
        """
        from pyarrow import parquet

        self.positions(columns)
        try:
            with parquet.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
                    yield batch.select(list(columns))
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> SourceError:
        return SourceError(
            f"'{self.name}' is not a valid Parquet file ({first_line(error)}); write or download it again"
        )
