"""The parts of the folded reading, each against a slow form of itself."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recae.ingest import digits, runs
from recae.ingest.dictionary import Dictionary
from recae.ingest.magnitudes import Magnitudes
from recae.ingest.names import Names
from recae.ingest.narrow import Growing, Narrow, joined, order_of, pack, sort_rows, unpack
from recae.ingest.pairs import row_pointers
from recae.ingest.runs import Runs
from recae.sources.ahead import ahead

INT64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.sampled_from([0, 255, 256, 2**32]))


# Dictionary


@given(
    st.lists(st.lists(st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["", "a", "\0", "a\0"]))))
)
def test_a_dictionary_numbers_texts_as_they_first_appear(parts: list[list[str | None]]) -> None:
    dictionary, known = Dictionary(), dict[str, int]()
    for part in parts:
        # a slice, since Arrow's arrays need not begin at their first byte
        texts = pa.array(["before", None, *part, "after"], pa.large_string())[2:-1]
        expected = [-1 if text is None else known.setdefault(text, len(known)) for text in part]
        assert dictionary.encode(texts).tolist() == expected
    assert len(dictionary) == len(known)
    assert dictionary.texts().to_pylist() == list(known)


def test_a_dictionary_grows() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 60, 20_000)
    texts = [str(n).rjust(int(length), "x") for n, length in enumerate(lengths.tolist())]
    dictionary = Dictionary()
    for start in range(0, len(texts), 3000):
        part = pa.array(texts[start : start + 3000], pa.large_string())
        assert dictionary.encode(part).tolist() == list(range(start, start + len(part)))
    assert dictionary.texts().to_pylist() == texts
    again = rng.permutation(len(texts))
    assert (dictionary.encode(pa.array([texts[n] for n in again], pa.large_string())) == again).all()


def test_texts_that_begin_alike_or_are_as_long_are_told_apart() -> None:
    texts = (
        ["x" * n for n in range(40)] + ["x" * n + "y" for n in range(40)] + ["\0" * n for n in range(1, 40)]
    )
    codes = Dictionary().encode(pa.array(texts, pa.large_string()))
    assert codes.tolist() == list(range(len(texts)))


# Digits


@given(st.lists(st.one_of(st.none(), st.from_regex(r"[+-]?[0-9]{0,17}[.]?", fullmatch=True))))
def test_whole_numbers_are_read_or_refused(texts: list[str | None]) -> None:
    expected: list[int] | None = []
    for text in texts:
        plain = (text or "0").lstrip("+-")
        fits = plain.isdigit() and len(plain) not in (14, 17) and abs(int(text or "0")) <= digits.EXACT
        if expected is not None:
            expected = [*expected, int(text) if text else digits.NONE] if fits else None
    found = digits.whole_numbers(pa.array(texts, pa.large_string()))
    assert (None if found is None else found.tolist()) == expected


# Narrow columns and sorting


@given(st.lists(INT64), st.data())
def test_narrow_columns_hold_what_they_were_given(values: list[int], data: st.DataObject) -> None:
    column = Narrow.of(np.array(values, np.int64))
    assert column.take(slice(None)).tolist() == values
    assert column.take(slice(1, 3)).tolist() == values[1:3]
    if len(set(values)) == 1:
        assert column.above is None
    order = np.array(data.draw(st.permutations(range(len(values)))), np.int64)
    assert column.take(order).tolist() == column.reordered(order).take(slice(None)).tolist()
    cut = data.draw(st.integers(0, len(values)))
    starts, lengths = np.array([cut, 0]), np.array([len(values) - cut, cut])
    out = np.empty(len(values), np.int64)
    column.copy_slices(starts, lengths, out)
    assert out.tolist() == values[cut:] + values[:cut]
    parts = [Narrow.of(np.array(part, np.int64)) for part in (values[:cut], values[cut:])]
    if values:
        assert joined([part for part in parts if part.size]).take(slice(None)).tolist() == values


@given(st.lists(st.lists(INT64, min_size=1), max_size=5))
def test_columns_grow_as_wide_as_they_must(parts: list[list[int]]) -> None:
    values = [value for part in parts for value in part]
    column = Growing(len(values) + 3, min(values, default=0))
    for part in parts:
        column.append(np.array(part, np.int64))
    found = column.finish()
    assert found.take(slice(None)).tolist() == values
    assert (found.above is None) == (len(set(values)) < 2)


def test_narrow_columns_are_narrow() -> None:
    for top, size in ((255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32, 8)):
        above = Narrow.of(np.array([2**40, 2**40 + top])).above
        assert above is not None
        assert above.itemsize == size
    assert Narrow.of(np.array([-3, 5], np.int32)).take(slice(None)).tolist() == [-3, 5]


rows = st.lists(st.tuples(INT64, st.integers(0, 2), INT64, st.just(7)), min_size=1, max_size=30)
small = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 300), st.just(4)), min_size=1, max_size=30)


@given(st.one_of(rows, small))
def test_rows_are_sorted_whatever_bits_they_take(table: list[tuple[int, ...]]) -> None:
    columns = [np.array(column, np.int64) for column in zip(*table, strict=True)]
    assert list(zip(*(c.tolist() for c in sort_rows(columns)), strict=True)) == sorted(table)
    order = order_of(columns).tolist()
    assert order == sorted(range(len(table)), key=lambda place: (table[place], place))
    narrow = [Narrow.of(column) for column in columns]
    words = pack(narrow)
    if words is not None:
        for before, after in zip(narrow, unpack(words, narrow), strict=True):
            assert after.take(slice(None)).tolist() == before.take(slice(None)).tolist()


# Runs


@pytest.mark.parametrize("spread", [1, 2**40])  # what fits into a word, and what does not
@pytest.mark.parametrize("seed", range(5))
def test_runs_hold_each_row_with_its_count(monkeypatch: pytest.MonkeyPatch, seed: int, spread: int) -> None:
    for name, size in (("_BUFFER", 50), ("_PENDING", 120), ("_BLOCK", 30)):
        monkeypatch.setattr(runs, name, size)
    rng = np.random.default_rng(seed)
    held, expected, first = Runs(2, with_first=True), Counter[tuple[int, ...]](), {}
    done = 0
    for _ in range(30):
        size = int(rng.integers(1, 40))
        table = [rng.integers(0, 8, size), rng.integers(0, 5, size), rng.integers(-2, 2, size) * spread]
        table.append(rng.integers(0, 2, size))
        held.add(table[0], table[1], table[2:], done)
        for place, row in enumerate(zip(*(column.tolist() for column in table), strict=True)):
            expected[row] += 1
            first.setdefault(row, done + place)
        done += size
    order = rng.permutation(8)
    found, firsts = Counter[tuple[int, ...]](), dict[tuple[int, ...], int]()
    blocks = list(held.blocks(order))
    assert [start for start, _, _ in blocks[1:]] == [stop for _, stop, _ in blocks[:-1]]
    for start, _, columns in blocks:
        for owner, item, one, other, number, count in zip(*(c.tolist() for c in columns), strict=True):
            row = (int(order[start + owner]), item, one, other)
            found[row] += count
            firsts[row] = min(firsts.get(row, number), number)
    assert found == expected
    assert firsts == first
    assert sum(int(part[-1].sum()) for part in held.parts()) == done
    assert int(held.rows_of_users(8).sum()) < done  # folded
    assert held.count_of(user=3) == sum(count for row, count in expected.items() if row[0] == 3)
    assert held.count_of(item=3) == sum(count for row, count in expected.items() if row[1] == 3)


def test_rows_wait_until_there_are_as_many_as_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_BUFFER", 2)
    held = Runs(0)
    held.add(np.array([9, 1]), np.array([0, 0]), [])
    assert held._coming is None
    held.add(np.arange(8), np.arange(8), [])
    held.rows_of_users(10)
    assert [run.rows for run in held._runs] == [10]


# Names, magnitudes, pointers


@pytest.mark.parametrize("merge_at", [1, 10, 10**6])
def test_names_are_the_most_frequent_or_the_first(monkeypatch: pytest.MonkeyPatch, merge_at: int) -> None:
    monkeypatch.setattr("recae.ingest.names._MERGE_AT", merge_at)
    rng = np.random.default_rng(merge_at)
    texts = [f"name {n}" for n in range(4)]
    names, counts, first = Names(6), Counter[tuple[int, int]](), dict[tuple[int, int], int]()
    for part in range(20):
        size = int(rng.integers(0, 9))
        item, name, count = rng.integers(0, 5, size), rng.integers(-1, 4, size), rng.integers(1, 3, size)
        number = rng.permutation(10)[:size] + 10 * (19 - part)  # not in the order in which they come
        names.add(item, name, count, number)
        for i, n, c, f in zip(item.tolist(), name.tolist(), count.tolist(), number.tolist(), strict=True):
            counts[i, n] += c
            first[i, n] = min(first.get((i, n), f), f)
    expected = []
    for i in range(6):
        known = sorted((-counts[i, n], first[i, n], n) for n in range(4) if counts[i, n])
        expected.append(texts[known[0][2]] if known else None)
    assert names.best(pa.array(texts, pa.large_string())).to_pylist() == expected


def test_items_without_any_name() -> None:
    assert Names(2).best(pa.array([], pa.large_string())).to_pylist() == [None, None]


MAGNITUDES = st.sampled_from(
    [0.0, 1.0, -5.0, 1e10, 99999999999.0, 1e11, -1e11, 1.00000001e11, 1e14, 3e15, 1e17, 1e18]
)


@given(st.lists(st.lists(MAGNITUDES), min_size=1, max_size=5).filter(lambda parts: any(parts)))
def test_the_unit_is_told_by_the_median(parts: list[list[float]]) -> None:
    found = Magnitudes.of(np.array(parts[0]))
    for part in parts[1:]:
        others = Magnitudes.of(np.array([*part, np.nan]))
        found = found.with_others(others)
    numbers = np.array([number for part in parts for number in part])
    middle = float(np.median(np.abs(numbers)))
    assert found.unit() == (
        1 if middle < 1e11 else 1000 if middle < 1e14 else 10**6 if middle < 1e17 else 10**9
    )
    assert (found.first, found.lowest, found.highest) == (numbers[0], numbers.min(), numbers.max())


def test_pointers_of_more_entries_than_int32_counts() -> None:
    few, many = row_pointers(np.array([3, 0, 2**31 - 4])), row_pointers(np.array([2**31 - 1, 5, 2**33]))
    assert (few.dtype, few.tolist()) == (np.int32, [0, 3, 3, 2**31 - 1])
    assert (many.dtype, many.tolist()) == (np.int64, [0, 2**31 - 1, 2**31 + 4, 2**31 + 4 + 2**33])


# Reading ahead


def test_batches_come_in_their_order_and_errors_where_they_would() -> None:
    batches = [pa.RecordBatch.from_pydict({"n": [n]}) for n in range(5)]

    def broken() -> object:
        yield from batches
        raise ValueError("the sixth")

    assert list(ahead(batches)) == batches
    came = ahead(broken())  # type: ignore[arg-type]  # a generator as any other
    assert [next(came) for _ in batches] == batches
    with pytest.raises(ValueError, match="the sixth"):
        next(came)
    assert list(ahead([])) == []
