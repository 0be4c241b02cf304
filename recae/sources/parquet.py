"""A Parquet file as a stream of Arrow record batches; the columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from recae.errors import ColumnError, SourceError

_ROWS = 131_072  # rows in one batch


class ParquetSource:
    """A Parquet file: one purchase a row, columns of their native types.

    Args:
        path: the file.

    Attributes:
        name: the path, for messages.
        column_names: names of the top-level columns.

    Raises:
        SourceError: the file is not Parquet, or it is damaged or truncated.
    """

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.name = str(path)
        try:
            with parquet.ParquetFile(self.name) as file:
                self.column_names: list[str] = list(file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns batch by batch, at most 131,072 rows each.

        Raises:
            ColumnError: the file has no such column.
            SourceError: a part of the file is damaged.
        """
        from pyarrow import parquet

        missing = [column for column in columns if column not in self.column_names]
        if missing:
            raise ColumnError(
                f"'{self.name}' has no column {missing[0]!r}; it has {', '.join(self.column_names)}"
            )
        try:
            with parquet.ParquetFile(self.name) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
                    yield batch.select(list(columns))
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> SourceError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
        return SourceError(
            f"'{self.name}' is not a valid Parquet file ({reason}); write or download it again"
        )
