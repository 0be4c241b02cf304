"""The reading in folded runs gives exactly what a plain one gives that keeps every row."""

import csv
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plainreading import PlainReading

from recae.errors import RecaeError
from recae.ingest import IngestReport, choose_columns, runs
from recae.ingest.codes import field_texts
from recae.ingest.reading import Reading
from recae.interactions import Events, Interactions
from recae.sources import csv as csv_module
from recae.sources.csv import CsvSource
from recae.sources.fields import Fields

Read = tuple[Interactions, Events | None, IngestReport]

SHORT = [
    "a",
    "b",
    "c",
    "7",
    "007",
    "NA",
    "d" * 15,
    "e" * 16,
    "e" * 17,
    "e" * 40,
    "é",
    " x",
    "",
    " ",
    "\u2003",
    None,
]
WHOLE = ["1.0", "2.0", "17.0", None]
TIMES = {
    "seconds": ["1291191960", "1291191961", "5", "-3", "+5", "", None],
    "milliseconds": ["1291191960999", "1291191960000", "1291191961000", "7", None],
    "fractions": ["1291191960.7", "1291191960.2", "1291191960", "1e9", None],
    "huge": ["9007199254740993", "9007199254740992", "1291191960999000000", "9" * 30, "1" * 400, "5"],
    "days": ["20101201", "20101202", "20101201.5", "20101201.0", None],
    "no days": ["20101201", "20101399", None],
    "iso": ["2010-12-01 08:26:00", "2010-12-01T08:26", "2010-12-02", None],
    "mixed": ["2010-12-01 08:26:00", "13/01/2010", "01/02/2010", "5000", "soon", " ", "20101201082600", None],
    "none": ["soon", "later", "", None],
    "edge": ["99999999999", "100000000000", "100000000001", "99999999999999", "100000000000000", "3.5"],
}
QUANTITIES = ["1", "2", "2.0", "1,5", "0.1", "0", "-1", "x", "", "1e300", "9007199254740993", None]
NAMES = ["Ex", " Ex ", "Why", "", "n" * 20, None]
BASKETS = ["1", "2", "10", "-5", "", None]


class Batches:
    """A source of given record batches."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self.name = "given"
        self.schema = batches[0].schema
        self._batches = batches

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            yield batch.select(list(columns))


def read(kind: type[Reading], source: Any, given: dict[str, str | None], with_events: bool) -> Any:
    """What a reading gives, or the text of what it refuses."""
    columns = choose_columns(source.column_names, given)
    reading = kind(source, columns)
    try:
        blocks = source.blocks if isinstance(source, CsvSource) else source.batches
        for block in blocks(columns.used()):
            if not isinstance(block, Fields):
                reading.add(block)
            elif kind is Reading:
                reading.add_fields(block)
            else:  # the same rows at a time, since what a time means may depend on it
                texts = [field_texts(block, name).cast(pa.string()) for name in columns.used()]
                reading.add(pa.RecordBatch.from_arrays(texts, columns.used()))
        return reading.finish(time_is_given=bool(given.get("time")), with_events=with_events)
    except RecaeError as error:
        return f"{type(error).__name__}: {error}"


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    shop, events, report = found
    plain, plain_events, plain_report = expected
    assert report == plain_report
    assert shop.fingerprint == plain.fingerprint
    assert shop.matrix.indptr.dtype == plain.matrix.indptr.dtype
    assert (shop.times is None) == (plain.times is None)
    assert (shop.item_names is None) == (plain.item_names is None)
    if plain.item_names is not None:
        assert shop.item_names.to_pylist() == plain.item_names.to_pylist()
    assert (events is None) == (plain_events is None)
    if plain_events is not None:
        for name in ("user", "item", "basket", "time"):
            np.testing.assert_array_equal(getattr(events, name), getattr(plain_events, name))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[pa.RecordBatch], bool]:
    """Batches of text, and whether baskets are asked for."""
    ids = draw(st.sampled_from([SHORT, WHOLE, SHORT[:6]]))
    columns = {"user": ids, "item": ids}
    others = {"qty": QUANTITIES, "name": NAMES, "order_id": BASKETS}
    columns |= {name: values for name, values in others.items() if draw(st.booleans())}
    if draw(st.booleans()):
        kinds = draw(st.lists(st.sampled_from(sorted(TIMES)), min_size=1, max_size=2, unique=True))
        columns["timestamp"] = [value for kind in kinds for value in TIMES[kind]]
    row = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in columns.items()})
    parts = draw(st.lists(st.lists(row, max_size=12), min_size=1, max_size=6))
    schema = pa.schema([(name, pa.string()) for name in columns])
    batches = [pa.RecordBatch.from_pylist(part, schema=schema) for part in parts]
    return batches, draw(st.booleans()) and bool({"order_id", "timestamp"} & columns.keys())


@given(
    tables(),
    st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 10)),
    st.sampled_from([None, "timestamp"]),
    st.sampled_from([None, "order_id"]),
)
def test_every_table_of_text_is_read_as_by_a_plain_reading(
    table: tuple[list[pa.RecordBatch], bool],
    sizes: tuple[int, int, int],
    time: str | None,
    basket: str | None,
) -> None:
    batches, with_events = table
    source = Batches(batches)
    names = source.column_names
    asked: dict[str, str | None] = {"time": time if time in names else None}
    if with_events:
        asked["basket"] = basket if basket in names else None
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("_BUFFER", "_PENDING", "_BLOCK"), sizes, strict=True):
            patch.setattr(runs, name, size)
        assert_same(read(Reading, source, asked, with_events), read(PlainReading, source, asked, with_events))


@given(
    tables(),
    st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 10)),
    st.integers(100, 400),
)
def test_plain_text_is_read_as_by_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory,
    table: tuple[list[pa.RecordBatch], bool],
    sizes: tuple[int, int, int],
    block: int,
) -> None:
    batches, with_events = table
    path = tmp_path_factory.mktemp("folded") / "given.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(batches[0].schema.names)
        for batch in batches:
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    source = CsvSource(path)
    asked: dict[str, str | None] = {"basket": None} if with_events else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("_BUFFER", "_PENDING", "_BLOCK"), sizes, strict=True):
            patch.setattr(runs, name, size)
        patch.setattr(csv_module, "_LARGE", 0)
        patch.setattr(csv_module, "_PLAIN_BLOCK", block)
        assert_same(read(Reading, source, asked, with_events), read(PlainReading, source, asked, with_events))


TYPES: dict[str, list[pa.Array]] = {
    "user": [
        pa.array([3.0, float("nan"), 17850.0, None]),
        pa.array([3.5, 2.0, None]),
        pa.array([2**40, 5, None]),
        pa.array(["x", None, "y" * 30]).dictionary_encode(),
    ],
    "timestamp": [
        pa.array([1291191960, 1291191961, None]),
        pa.array([1291191960123, 1291191960999, 5, None]),
        pa.array([1291191960.5, 1291191960.25, float("inf"), float("nan"), -1.0, 2.0**70]),
        pa.array([20101201, 20101202, None]),
        pa.array([0, -1, 1291191960123456, None], pa.timestamp("us")),
        pa.array([14000, None], pa.date32()),
        pa.array(["2010-12-01", "01/02/2010", "x", None]).dictionary_encode(),
        pa.nulls(3),
        pa.array([-(2**63) + 1, 2**63 - 1, 0], pa.timestamp("s")),
    ],
    "qty": [
        pa.array([1, 2, 0, None], pa.int8()),
        pa.array([0.5, 2.0, float("nan"), float("inf"), 1e17, 0.1]),
        pa.nulls(2),
    ],
}


@pytest.mark.parametrize("seed", range(40))
def test_rows_that_are_folded_many_times_are_read_as_by_a_plain_reading(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for name, size in (("_BUFFER", 60), ("_PENDING", 150), ("_BLOCK", 40)):
        monkeypatch.setattr(runs, name, size)
    kinds = {name: arrays[seed % len(arrays)] for name, arrays in TYPES.items()}
    kinds["item"] = pa.array([f"item {n}" for n in range(9)])
    kinds["name"] = pa.array(["one", "two", "three", None])
    kinds["order_id"] = pa.array([str(n) for n in range(5)])
    dropped = [
        name for name, chance in (("timestamp", 0.2), ("qty", 0.5), ("name", 0.5)) if rng.random() < chance
    ]
    batches = []
    for _ in range(12):
        rows = int(rng.integers(0, 150))
        columns = {
            name: values.take(pa.array(rng.integers(0, len(values), rows)))
            for name, values in kinds.items()
            if name not in dropped
        }
        batches.append(pa.RecordBatch.from_pydict(columns))
    source = Batches(batches)
    for asked, with_events in (({}, False), ({"basket": None}, True), ({"basket": "order_id"}, True)):
        assert_same(read(Reading, source, asked, with_events), read(PlainReading, source, asked, with_events))
