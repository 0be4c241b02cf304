"""Tables for the doctor: a clean one that it has nothing to say of, and ways to spoil it."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from recae.examination import Examination, Finding, examine_source
from recae.reading import ReadOptions

NOW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp()
Row = dict[str, Any]


def clean_rows(n_users: int = 60, n_items: int = 40, each: int = 8) -> list[Row]:
    """Users who bought eight different items on eight of a hundred days, one or two of each."""
    rng = random.Random(0)
    start = dt.datetime(2022, 3, 14, 8, 0)
    rows = []
    for user in range(n_users):
        days = sorted(rng.sample(range(100), each))
        for item, day in zip(rng.sample(range(n_items), each), days, strict=True):
            moment = start + dt.timedelta(days=day, minutes=rng.randrange(600))
            rows.append(
                {
                    "user_id": f"u{user:03d}",
                    "item_id": f"P{item:03d}",
                    "timestamp": f"{moment:%Y-%m-%d %H:%M:%S}",
                    "quantity": str(rng.choice((1, 2))),
                    "title": f"Product {item}",
                }
            )
    return rows


def changed(column: str, change: Callable[[str], str], rows: Iterable[Row] | None = None) -> list[Row]:
    """The clean rows with a column changed."""
    return [{**row, column: change(row[column])} for row in (clean_rows() if rows is None else rows)]


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def examined(folder: Path, rows: list[Row], **options: Any) -> Examination:
    return examine_source(write(folder / "purchases.csv", rows), ReadOptions.of(options), NOW)


def found(folder: Path, rows: list[Row], **options: Any) -> dict[str, Finding]:
    """The findings by code; one code may occur for users and for items, and the last counts."""
    return {finding.code: finding for finding in examined(folder, rows, **options).findings}


def only(folder: Path, rows: list[Row], code: str, **options: Any) -> Finding:
    """The only finding, of that code."""
    (finding,) = examined(folder, rows, **options).findings
    assert finding.code == code
    return finding
