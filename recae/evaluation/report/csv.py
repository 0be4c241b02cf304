"""A comparison as tables: one row for each model and metric, and one for each user, model and metric."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recae.evaluation.comparison import Comparison, Measured
from recae.evaluation.intervals import Interval
from recae.files import atomic_path
from recae.tables import write_table

COLUMNS: Final = (
    "model",
    "kind",
    "baseline",
    "metric",
    "part",
    "mean",
    "low",
    "high",
    "n_users",
    "difference",
    "difference_low",
    "difference_high",
    "difference_to",
    "p",
    "p_corrected",
    "failed",
)
"""Of the table of models and metrics; an empty field where there is nothing to say.

model, kind, baseline  as in the report; baseline is true or false
metric                 such as recall@20, or coverage@20 for the lists together
part                   empty for all users; "history: 2–7 items", "popularity: tail", … for a part of them
mean, low, high        the mean over the users and its 95 % interval (none for figures of the lists together)
n_users                how many users the mean rests on
difference …           of the model to the best baseline, difference_to, with its 95 % interval and p-values, in the row
                       of the metric that models are judged by
failed                 why a model was not measured: it has this one row
"""

USER_SCHEMA: Final = pa.schema(
    [("user_id", pa.string()), ("model", pa.string()), ("metric", pa.string()), ("value", pa.float64())]
)
"""Of the table of users. A user without a value, such as one who buys nothing again, has no row for that metric."""


def csv_rows(comparison: Comparison) -> Iterator[list[object]]:
    """Give the rows below `COLUMNS`, model by model.

    Every metric at every k, the recalls of the curve that are not among them, the figures of the lists, then the parts.

    Args:
        comparison: The comparison.

    Yields:
        The fields of a row: text, numbers, and None for an empty field.
    """
    for found in comparison.models:
        if found.run.failed is not None:
            yield _row(found, "", failed=found.run.failed)
            continue
        for name, mean in found.metrics.items():
            yield _row(
                found, name, mean, found.n_users(name), difference=_difference(found, name, comparison.metric)
            )
        n_users = len(comparison.test_users)
        for k, mean in found.curve.items():
            if f"recall@{k}" not in found.metrics:
                yield _row(found, f"recall@{k}", mean, n_users)
        for name, value in found.sets.items():
            yield _row(found, name, Interval(value, math.nan, math.nan), n_users)
        for kind, parts in found.slices.items():
            for part in parts:
                yield _row(found, comparison.metric, part.interval, part.n_users, part=f"{kind}: {part.name}")


def write_csv(path: Path | str, comparison: Comparison) -> None:
    """Write `csv_rows` below a header as UTF-8, whole or not at all.

    Args:
        path: Where to write.
        comparison: The comparison.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(csv_rows(comparison))


def write_users(path: Path | str, comparison: Comparison) -> int:
    """Write the value of every user, model and metric as `USER_SCHEMA`, to Parquet or CSV as the path ends.

    The rows go model by model, metric by metric, in the order of the test users.

    Args:
        path: Where to write.
        comparison: The comparison.

    Returns:
        The number of rows.

    Raises:
        OutputError: As `write_table`.
    """
    users = pa.array(comparison.test_users, pa.string())

    def batches() -> Iterator[pa.RecordBatch]:
        for found in comparison.models:
            for name, values in found.values.items():
                known = np.flatnonzero(np.isfinite(values))
                columns = [
                    users.take(pa.array(known)),
                    pa.repeat(pa.scalar(found.run.name), known.size),
                    pa.repeat(pa.scalar(name), known.size),
                    pa.array(values[known]),
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=USER_SCHEMA)

    return write_table(path, USER_SCHEMA, batches(), group_rows=1_000_000)


def _row(
    found: Measured,
    metric: str,
    mean: Interval | None = None,
    n_users: int | None = None,
    *,
    part: str | None = None,
    difference: tuple[object, ...] = (None,) * 6,
    failed: str | None = None,
) -> list[object]:
    run = found.run
    figures = (None,) * 3 if mean is None else (_known(mean.mean), _known(mean.low), _known(mean.high))
    baseline = "true" if run.baseline else "false"
    return [run.name, run.kind, baseline, metric or None, part, *figures, n_users, *difference, failed]


def _difference(found: Measured, name: str, metric: str) -> tuple[object, ...]:
    gap = found.difference
    if gap is None or name != metric:
        return (None,) * 6
    paired = gap.paired
    return (
        *(_known(value) for value in (paired.mean, paired.low, paired.high)),
        gap.to,
        _known(paired.p),
        _known(gap.p_corrected),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
