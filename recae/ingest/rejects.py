"""The file of `--rejects`: every row that a reading drops, with its number and the reason."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.errors import OutputError
from recae.ingest.codes import as_text
from recae.ingest.columns import Columns
from recae.ingest.report import DUPLICATE
from recae.ingest.rowkeys import KeysOfRows
from recae.ingest.watching import USED, fate_of, reason_of
from recae.tables import check_output, write_table


class Rejects:
    """Rows that are dropped, written to a file at the end of a reading.

    Which rows are duplicates is known only at the end, and a database need not give its rows in the same order again.
    So the columns that are read go, compressed, to a file without a name in ``$TMPDIR`` meanwhile. In memory they cost
    a byte a row, and where there are duplicates 24 bytes more at the end.

    Args:
        path: of the file, by its ending CSV or Parquet.
        columns: the columns read.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        check_output(path)
        self._path, self._columns = path, columns
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the reading
        self._writer: pa.RecordBatchWriter | None = None
        self._fates: list[NDArray[np.uint8]] = []

    def rows(self, batch: pa.RecordBatch, fates: NDArray[np.uint8]) -> None:
        """Keep a batch for the end."""
        with self._kept():
            if self._writer is None:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writer = pa.ipc.new_stream(self._file, batch.schema, options=options)
            self._writer.write_batch(batch)
        self._fates.append(fates)

    def write(self, with_duplicates: bool) -> None:
        """Write the file: the row's number from 1, the reason, and the columns as text; in the order of the rows.

        Args:
            with_duplicates: look for duplicates; it takes a sorting of all rows.

        Raises:
            OutputError: it cannot be written.
        """
        if self._writer is not None:
            with self._kept():
                self._writer.close()
            if with_duplicates:
                self._mark_duplicates()
        names = self._columns.used()
        row, reason = (_free(name, names) for name in ("row", "reason"))
        schema = pa.schema(
            [(row, pa.int64()), (reason, pa.string()), *((name, pa.string()) for name in names)]
        )
        write_table(self._path, schema, self._dropped(schema))

    def _mark_duplicates(self) -> None:
        keys = KeysOfRows(self._columns)
        for batch, fates in self._batches():
            keys.add(batch, fates == USED)
        repeated = keys.finish().duplicates()
        for fates in self._fates:
            kept = np.flatnonzero(fates == USED)
            fates[kept[repeated[: kept.size]]] = fate_of(DUPLICATE)
            repeated = repeated[kept.size :]

    def _dropped(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        first = 1
        for batch, fates in self._batches():
            dropped = np.flatnonzero(fates != USED)
            if dropped.size:
                some = batch.take(pa.array(dropped))
                texts = [as_text(some.column(name), name).cast(pa.string()) for name in schema.names[2:]]
                reasons = pa.array([reason_of(fate) for fate in fates[dropped].tolist()], pa.string())
                yield pa.record_batch([pa.array(first + dropped), reasons, *texts], schema=schema)
            first += batch.num_rows

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, NDArray[np.uint8]]]:
        if self._writer is None:
            return
        with self._kept():
            self._file.seek(0)
            with pa.ipc.open_stream(self._file) as stream:
                yield from zip(stream, self._fates, strict=True)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Say what is wrong where the temporary file cannot be written or read."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"the rows for '{self._path}' cannot be kept in '{tempfile.gettempdir()}' meanwhile: "
                f"{error.strerror or error}; set TMPDIR to a folder with room for them"
            ) from error


def _free(name: str, taken: list[str]) -> str:
    """Return a name that no column has."""
    return _free(f"{name}_", taken) if name in taken else name
