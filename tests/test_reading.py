"""Reading as a whole: whatever the rows are, what is left is what plain Python makes of them."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plainreading import read_plainly

from recae.errors import ConfigError, DataError
from recae.interactions import NO_TIME
from recae.reading import Reading, ReadOptions, read
from recae.reading.engine import Engine, parse_memory

HEADER = ("user_id", "item_id", "timestamp", "quantity", "title")
IDS = st.one_of(
    st.integers(0, 30).map(str),
    st.sampled_from(
        [
            "007",
            "07",
            "7",
            "a",
            "A",
            "é",
            "",
            " ",
            "\\N",
            "nan",
            "12345678901234567890",
            "-5",
            "1.0",
            "x y",
            "a,b",
            'q"',
        ]
    ),
)
TIMES = st.one_of(
    st.just(""),
    st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 3)).map(lambda m: m.isoformat(" ")),
    st.sampled_from(["2020-01-01 10:00:00.000001", "2020-01-01 10:00:00.000002", "2020-01-01 10:00:00"]),
)
ROW = st.tuples(
    IDS,
    IDS,
    TIMES,
    st.sampled_from(["", "1", "2", "-1", "0", "2.5", "x"]),
    st.sampled_from(["", "Tea", " Tea ", "Pen"]),
)
ROWS = st.lists(ROW, min_size=1, max_size=8) | st.lists(ROW, min_size=30, max_size=80)


def write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([HEADER, *rows])
    return path


@settings(max_examples=settings().max_examples // 3)  # each reads a table
@given(rows=ROWS)
def test_what_is_left_is_what_plain_python_leaves(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    # these make sure of two users and items, of times and of quantities
    rows = [
        *rows,
        ("first", "one", "2020-01-01 00:00:00", "1", ""),
        ("second", "two", "2020-01-02 00:00:00", "2", ""),
    ]
    path = write(tmp_path_factory.mktemp("rows") / "purchases.csv", rows)
    plain = read_plainly(path)
    named = {
        f"{role}_column": name
        for role, name in zip(("user", "item", "time", "quantity", "name"), HEADER, strict=True)
    }
    found = read(path, ReadOptions(**named, quantities=True))
    shop, report = found.interactions, found.report
    entries = shop.matrix.tocoo()
    pairs = [(shop.users.id(u), shop.items.id(i)) for u, i in zip(entries.row, entries.col, strict=True)]
    assert dict(zip(pairs, shop.counts.tolist(), strict=True)) == plain.counts
    assert shop.times is not None
    times = {pair: None if t == NO_TIME else t for pair, t in zip(pairs, shop.times.tolist(), strict=True)}
    assert times == plain.times
    assert shop.quantities is not None
    np.testing.assert_allclose([plain.quantities[pair] for pair in pairs], shop.quantities, rtol=1e-6)
    assert report.dropped == plain.dropped
    assert report.rows == len(rows)
    assert report.rows == report.interactions + report.repeats + sum(report.dropped.values())
    assert shop.item_names is not None
    names = dict(zip(shop.items, shop.item_names.to_pylist(), strict=True))
    assert {item: name for item, name in names.items() if name is not None} == plain.names
    assert list(shop.users) == sorted(shop.users, key=str.encode)
    assert list(shop.items) == sorted(shop.items, key=str.encode)


def test_rows_that_are_milliseconds_apart_are_two_purchases_in_their_order(tmp_path: Path) -> None:
    rows = [
        ("a", "x", "2020-01-01 10:00:00.654", "", ""),
        ("a", "y", "2020-01-01 10:00:00.000", "", ""),
        ("a", "x", "2020-01-01 10:00:00.000", "", ""),
        ("b", "x", "2020-01-01 10:00:00.000", "", ""),
    ]
    found = read(write(tmp_path / "p.csv", rows), ReadOptions(baskets=True))
    assert found.report.dropped == {}
    assert found.interactions.counts.tolist() == [2, 1, 1]
    assert found.events is not None
    assert found.events.baskets.tolist() == [2, 1]


def test_memory_limit_is_kept_or_said(tmp_path: Path) -> None:
    assert parse_memory("1.5 GiB") == 3 * 2**29
    assert parse_memory("512MB") == 512_000_000
    for words in ("much", "12 parsecs", "1 MB", "-1GB"):
        with pytest.raises(ConfigError, match="--memory-limit is"):
            parse_memory(words)
    with Engine(2**27) as engine:
        folder = engine.folder
        assert folder.is_dir()
        assert "128" in engine.value("SELECT current_setting('memory_limit')")
    assert not folder.exists()


def test_nothing_stays_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = write(tmp_path / "p.csv", [("a", "x", "", "", ""), ("b", "y", "", "", "")])
    rows = ReadOptions(layout="rows")  # so few tell nothing by their values
    read(path, rows)
    with pytest.raises(DataError):
        read(write(tmp_path / "q.csv", [("a", "x", "", "", "")]), rows)
    with Reading(path, rows) as reading:
        reading.purchases()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv", "q.csv"]
