"""What reading a table gives: purchases written as text or Parquet and read, and their pairs and times by id."""

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.reading import ReadOptions, ReadReport, read


def in_words(report: ReadReport) -> ReadReport:
    """The report with its notes as text."""
    notes: Any = tuple(str(note) for note in report.notes)
    return replace(report, notes=notes)


def read_with_report(source: Any, **options: Any) -> tuple[Interactions, ReadReport]:
    """What reading a table gives, without the baskets."""
    found = read(source, ReadOptions.of(options))
    return found.interactions, in_words(found.report)


def read_events(source: Any, **options: Any) -> tuple[Interactions, Events, ReadReport]:
    """What reading a table with its baskets gives."""
    found = read(source, ReadOptions.of({**options, "baskets": True}))
    assert found.events is not None
    return found.interactions, found.events, in_words(found.report)


def seconds(text: str) -> int:
    """Seconds since 1970 of an ISO time in UTC."""
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp())


def from_csv(folder: Path, text: str, **options: Any) -> tuple[Interactions, ReadReport]:
    """What reading a file with this text gives."""
    path = folder / "purchases.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read_with_report(path, **options)


def from_table(folder: Path, *, layout: str | None = None, **columns: Any) -> tuple[Interactions, ReadReport]:
    """What reading a Parquet file with these columns gives."""
    path = folder / "purchases.parquet"
    parquet.write_table(pa.table(columns), path)
    return read_with_report(path, layout=layout)


def pairs(shop: Interactions) -> dict[tuple[str, str], int]:
    """How often each user bought each item."""
    entries = shop.matrix.tocoo()
    return {
        (shop.users.id(u), shop.items.id(i)): int(c)
        for u, i, c in zip(entries.row, entries.col, shop.counts, strict=True)
    }


def times(shop: Interactions) -> dict[tuple[str, str], int | None]:
    """When each user last bought each item, in seconds since 1970."""
    assert shop.times is not None
    return {
        pair: None if t == NO_TIME else int(t) // SECOND
        for pair, t in zip(pairs(shop), shop.times, strict=True)
    }


def real_data(name: str) -> Path:
    """A file of the folder that RECAE_DATA names; skips where there is none."""
    folder = os.environ.get("RECAE_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"needs {name} in the folder that RECAE_DATA names")
    return Path(folder) / name
