"""When it was bought: numbers, texts and Arrow times as seconds since 1970-01-01 UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError
from recae.ingest.datetexts import read_date_texts
from recae.ingest.dictionary import Dictionary
from recae.ingest.digits import EXACT, NONE, whole_numbers
from recae.ingest.magnitudes import Magnitudes
from recae.ingest.narrow import Column
from recae.ingest.report import Settled
from recae.interactions import NO_TIME

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_UNIT_NAMES: Final = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
_NUMERIC: Final = r"^[+-]?\d+(\.\d*)?$"
_DATE_AND_TIME: Final = r"^\d{14}$"  # 20101201083000, which as a number could be milliseconds


MISSING, SECONDS, WHOLE, FLOAT, TEXT = range(5)
"""What a row's token is: nothing, seconds, a whole number or the bits of a float of a unit still unknown, a text."""

Tokens = tuple[NDArray[np.int8], NDArray[np.int64]]


class Times:
    """A column of times, understood at its end: the unit and the order of day and month need all rows.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970-01-01 UTC by the magnitude of
    their median. Times without a zone are taken as UTC. Until the end a row is a kind and a token, equal for
    equal values of one kind; of batches whose texts are neither all ISO nor all numbers each distinct text is kept.

    Args:
        name: the column's name, for messages.
        untimed: what becomes of rows whose time cannot be read, likewise.

    Attributes:
        unreadable: after `settle`, how many rows hold something that is no time.
        unreadable_texts: the first three texts of which no time could be made.
        missing: how many rows hold nothing.
        first, last: seconds of the earliest and the latest row; None where no row has a time.
        notes: on how the values were understood.
    """

    def __init__(self, name: str, untimed: str = "kept without a time") -> None:
        self.notes: list[str] = []
        self.unreadable_texts: list[str] = []
        self.unreadable = self.missing = 0
        self.first: int | None = None
        self.last: int | None = None
        self._name, self._untimed = name, untimed
        self._texts = Dictionary()
        self._text_rows = np.zeros(0, dtype=np.int64)
        self._numbers = Magnitudes()
        self._of_texts = np.zeros(0, dtype=np.int64)
        self._factor: int | None = 1  # None: numbers like 20101201 are dates

    def add(self, column: pa.Array) -> Tokens:
        """Return the kind and the token of each row of a batch, two arrays of shape (rows,).

        Raises:
            ColumnError: the type is no time, such as a list.
        """
        kind = column.type
        if pa.types.is_dictionary(kind):
            return self.add(column.dictionary_decode())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return self._add_texts(column.cast(pa.large_string()))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return self._add_floats(_numbers(column))
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return _seconds_tokens(_arrow_seconds(column))
        if pa.types.is_null(kind):
            return _seconds_tokens(np.full(len(column), NO_TIME))
        raise ColumnError(
            f"column {self._name!r} is of type {kind}, which is no time; name another column with --time-column"
        )

    def settle(self, rows: Callable[[], Iterator[tuple[Column, Column, Column]]]) -> None:
        """Decide what the values mean, after the last batch, and count what could not be read.

        Args:
            rows: gives the kinds, the tokens and the number of rows that have them, part by part, each time
                that it is called; every pair that `add` returned is among them.
        """
        texts = self._texts.texts()
        self._of_texts, self.notes = read_date_texts(texts, self._name)
        matches = pc.match_substring_regex(texts, _NUMERIC).to_numpy(zero_copy_only=False)
        numeric = np.asarray(matches, dtype=np.bool_) & (self._of_texts == NO_TIME)
        numbers = _numbers(texts.filter(pa.array(numeric)))
        # All numbers together, wherever they come from, tell the unit.
        self._choose_unit(numbers, rows)
        self._of_texts[numeric] = self._scaled(numbers)
        bad = np.flatnonzero(self._of_texts == NO_TIME)
        if bad.size:
            lost = int(self._text_rows[bad].sum())
            self.unreadable += lost
            self.unreadable_texts = texts.take(pa.array(bad[:3])).to_pylist()
            self.notes.append(
                f"{self._name}: {lost:,} times could not be read (the first: {texts[int(bad[0])].as_py()!r}), "
                f"{self._untimed}"
            )
        self.unreadable += self._numbers.infinite
        for kinds, tokens, counts in rows():
            times = self.seconds(kinds, tokens)
            known = times[times != NO_TIME]
            self.missing += int(counts[times == NO_TIME].sum())
            if known.size:
                low, high = int(known.min()), int(known.max())
                self.first = low if self.first is None else min(self.first, low)
                self.last = high if self.last is None else max(self.last, high)
        self.missing -= self.unreadable

    def seconds(self, kinds: Column, tokens: Column) -> Column:
        """Return the seconds of kinds and tokens after `settle`, `NO_TIME` where there is no time."""
        if kinds.size and kinds[0] == SECONDS and (kinds == SECONDS).all():
            return tokens
        seconds = np.where(kinds == SECONDS, tokens, NO_TIME)
        rows = np.flatnonzero(kinds == WHOLE)
        seconds[rows] = self._scaled(tokens[rows])
        rows = np.flatnonzero(kinds == FLOAT)
        seconds[rows] = self._scaled(tokens[rows].view(np.float64))
        rows = np.flatnonzero(kinds == TEXT)
        seconds[rows] = self._of_texts[tokens[rows]]
        return seconds

    def _add_texts(self, texts: pa.LargeStringArray) -> Tokens:
        whole = whole_numbers(texts)  # most columns of numbers need no other look
        if whole is not None:
            missing = whole == NONE
            self._numbers.add(whole[~missing] if missing.any() else whole)
            return np.where(missing, MISSING, WHOLE).astype(np.int8), np.where(missing, 0, whole)
        texts = pc.utf8_trim_whitespace(texts)
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts)
        try:
            return _seconds_tokens(_arrow_seconds(texts.cast(pa.timestamp("us"))))
        except pa.ArrowInvalid:  # not all of them are ISO without a zone
            pass
        numeric = pc.match_substring_regex(texts, _NUMERIC)
        if pc.all(numeric).as_py() and not pc.any(pc.match_substring_regex(texts, _DATE_AND_TIME)).as_py():
            return self._add_floats(_numbers(texts))
        codes = self._texts.encode(texts)
        rows = np.bincount(codes[codes >= 0], minlength=len(self._texts))
        rows[: self._text_rows.size] += self._text_rows
        self._text_rows = rows
        return np.where(codes < 0, MISSING, TEXT).astype(np.int8), np.maximum(codes, 0).astype(np.int64)

    def _add_floats(self, numbers: NDArray[np.float64]) -> Tokens:
        self._numbers.add(numbers)
        missing = np.isnan(numbers)
        whole = (np.abs(numbers) <= EXACT) & (numbers == np.floor(numbers))
        tokens = np.where(whole, 0, numbers.view(np.int64))
        tokens[whole] = numbers[whole].astype(np.int64)
        tokens[missing] = 0
        return np.where(missing, MISSING, np.where(whole, WHOLE, FLOAT)).astype(np.int8), tokens

    def _choose_unit(
        self, of_texts: NDArray[np.float64], rows: Callable[[], Iterator[tuple[Column, Column, Column]]]
    ) -> None:
        """Choose the unit of all numbers by their median, unless each of them is a date such as 20101201."""
        numbers = Magnitudes.of(of_texts).with_others(self._numbers)
        if numbers.first is None:
            return
        # As seconds since 1970 such numbers would all lie in August 1970 or so, where no shop's data do.
        if numbers.lowest >= 19_000_101 and numbers.highest <= 21_001_231:
            distinct = set(of_texts[np.isfinite(of_texts)].astype(np.int64).tolist())
            for kinds, tokens, _ in rows():
                distinct.update(np.unique(tokens[kinds == WHOLE]).tolist())
                floats = tokens[kinds == FLOAT].view(np.float64)
                distinct.update(floats[np.isfinite(floats)].astype(np.int64).tolist())
            if (_compact_dates(np.array(sorted(distinct))) != NO_TIME).all():
                text = f"{self._name}: numbers like {int(numbers.first)} are read as dates (year, month, day)"
                self.notes.append(Settled(text))
                self._factor = None
                return
        self._factor = numbers.unit()
        if self._factor > 1:
            self.notes.append(Settled(f"{self._name}: read as {_UNIT_NAMES[self._factor]} since 1970"))

    def _scaled(self, numbers: NDArray[np.float64] | Column) -> Column:
        """Return the seconds of numbers; NaN, infinity and what int64 cannot hold have no time."""
        if self._factor == 1 and numbers.dtype == np.int64:
            return np.asarray(numbers)
        scaled = np.full(numbers.size, NO_TIME)
        known = np.flatnonzero(np.isfinite(numbers))
        if self._factor is None:
            scaled[known] = _compact_dates(numbers[known].astype(np.int64))
            return scaled
        seconds = np.floor(numbers[known] / self._factor)
        inside = np.abs(seconds) < 2**62
        scaled[known[inside]] = seconds[inside].astype(np.int64)
        return scaled


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers, or texts of numbers, as float64; null becomes NaN."""
    texts = pa.types.is_large_string(column.type)
    numbers = column.cast(pa.float64()) if texts else column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _compact_dates(numbers: Column) -> Column:
    """Return the seconds of numbers such as 20101201, `NO_TIME` for what is no date of the calendar."""
    distinct, places = np.unique(numbers, return_inverse=True)
    texts = pa.array(distinct).cast(pa.large_string())
    dashed = pc.replace_substring_regex(texts, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
    return np.asarray(read_date_texts(dashed, "")[0][places])


def _seconds_tokens(seconds: Column) -> Tokens:
    missing = seconds == NO_TIME
    return np.where(missing, MISSING, SECONDS).astype(np.int8), np.where(missing, 0, seconds)


def _arrow_seconds(column: pa.Array) -> NDArray[np.int64]:
    """Return the seconds of Arrow dates and timestamps, rounded down; null has no time."""
    kind = column.type
    if pa.types.is_date32(kind):
        counts, per_day, per_second = column.cast(pa.int32()).cast(pa.int64()), 86_400, 1
    elif pa.types.is_date64(kind):
        counts, per_day, per_second = column.cast(pa.int64()), 1, 1_000
    else:
        counts, per_day, per_second = column.cast(pa.int64()), 1, _PER_SECOND[kind.unit]
    missing = counts.is_null().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(missing, NO_TIME, numbers * per_day // per_second)
