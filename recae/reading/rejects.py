"""The file of `--rejects`: every row that a reading drops, with its number and the reason, and every line skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from recae.reading.engine import quoted, text
from recae.reading.report import DUPLICATE, REASONS
from recae.reading.roles import Columns
from recae.reading.table import Table
from recae.tables import check_output, write_table


def check_rejects(path: Path) -> None:
    """Make sure, before any work, that the file can be written.

    Raises:
        OutputError: it cannot.
    """
    check_output(path)


def write_rejects(
    path: Path, table: Table, columns: Columns, purchases: str, dropped: Mapping[str, int]
) -> None:
    """Write the file: the row's number from 1, the reason, and the columns as text; in the order of the rows.

    A line that could not be read has the number of its line and its text in the first of the columns.

    Args:
        path: of the file, by its ending CSV or Parquet.
        table: that was read.
        columns: those read.
        purchases: the table (row, user, item, …, fate) of its rows.
        dropped: reasons that occur.

    Raises:
        OutputError: it cannot be written.
    """
    names = columns.used()
    row, reason = (_free(name, names) for name in ("row", "reason"))
    schema = pa.schema([(row, pa.int64()), (reason, pa.string()), *((name, pa.string()) for name in names)])
    write_table(path, schema, _dropped(table, names, purchases, dropped, schema))


def _dropped(
    table: Table, names: list[str], purchases: str, dropped: Mapping[str, int], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    engine = table.engine
    if table.rejected is not None:
        for batch in engine.batches(f"SELECT line, reason, text FROM {table.rejected} ORDER BY line"):
            none = [pa.nulls(batch.num_rows, pa.string())] * (len(names) - 1)
            columns = [batch.column(0).cast(pa.int64()), *(batch.column(k).cast(pa.string()) for k in (1, 2))]
            yield pa.record_batch([*columns, *none], schema=schema)
    if not dropped:
        return
    cases = " ".join(f"WHEN {i} THEN {text(reason)}" for i, reason in enumerate(REASONS, 1))
    fates = f"SELECT row, fate FROM {purchases} WHERE fate > 0"
    if DUPLICATE in dropped:
        described = engine.describe(purchases)
        keys = ["user", "item", "time", *(["quantity"] if "quantity" in described else [])]
        again = (
            f"SELECT row, {REASONS.index(DUPLICATE) + 1}::UTINYINT AS fate FROM {purchases} "
            "WHERE fate = 0 AND time IS NOT NULL "
            f"QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY row) > 1"
        )
        fates = f"{fates} UNION ALL {again}"
    marked = engine.store(fates, "marked")
    texts = ", ".join(f"{_as_text(table, name)} AS {quoted(name)}" for name in names)
    found = (
        f"SELECT m.row, CASE m.fate {cases} END AS reason, s.* EXCLUDE (_row) FROM "
        f"(SELECT {texts}, row_number() OVER () AS _row FROM {table.relation}) s JOIN {marked} m ON s._row = m.row "
        "ORDER BY m.row"
    )
    for batch in engine.batches(found):
        columns = [
            batch.column(0).cast(pa.int64()),
            *(batch.column(k).cast(pa.string()) for k in range(1, len(schema))),
        ]
        yield pa.record_batch(columns, schema=schema)


def _as_text(table: Table, name: str) -> str:
    """Return SQL for a column as text; whole numbers among floats without a point, as ids are."""
    column = quoted(name)
    if table.types[name] not in ("FLOAT", "DOUBLE"):
        return f"{column}::VARCHAR"
    whole = f"{column} = trunc({column}) AND abs({column}) < 1e15"
    return f"CASE WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"


def _free(name: str, taken: list[str]) -> str:
    """Return a name that no column has."""
    return _free(f"{name}_", taken) if name in taken else name
