"""The columns of the plain reading: texts, and times whose unit and order of day and month all rows tell."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError
from recae.ingest.datetexts import read_date_texts
from recae.interactions import NO_TIME

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_UNIT_NAMES: Final = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
_NUMERIC: Final = r"^[+-]?\d+(\.\d*)?$"
_DATE_AND_TIME: Final = r"^\d{14}$"  # 20101201083000, which as a number could be milliseconds


class Codes:
    """A growing column of text: a code for each row, and each distinct text once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._codes: list[int] = []

    def add(self, texts: pa.LargeStringArray) -> None:
        for text in texts.to_pylist():
            self._codes.append(-1 if text is None else self._known.setdefault(text, len(self._known)))

    def finish(self) -> tuple[NDArray[np.int32], pa.LargeStringArray]:
        return np.array(self._codes, np.int32), pa.array(list(self._known), pa.large_string())


class Times:
    """A growing column of times, finished at its end: its unit and the order of day and month need all rows.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970-01-01 UTC by the magnitude of
    their median. Times without a zone are taken as UTC. A row costs 8 bytes until then, except in batches
    whose texts are neither all ISO nor all numbers: those keep each distinct text.

    Args:
        name: the column's name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._texts = Codes()
        # One part a batch: seconds (int64), numbers of a unit still unknown (float64), or a count of texts.
        self._parts: list[NDArray[np.int64] | NDArray[np.float64] | int] = []

    def add(self, column: pa.Array) -> None:
        """Append the rows of a batch.

        Raises:
            ColumnError: the type is no time, such as a list.
        """
        kind = column.type
        if pa.types.is_dictionary(kind):
            self.add(column.dictionary_decode())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            texts = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
            self._add_texts(pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._parts.append(_numbers(column))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self._parts.append(_arrow_seconds(column))
        elif pa.types.is_null(kind):
            self._parts.append(np.full(len(column), NO_TIME))
        else:
            raise ColumnError(
                f"column {self._name!r} is of type {kind}, which is no time; "
                "name another column with --time-column"
            )

    def finish(self) -> tuple[NDArray[np.int64], int, list[str]]:
        """Return the seconds of every row (`NO_TIME` where unknown), how many could not be read, and notes.

        Missing times are not among those that could not be read.
        """
        codes, texts = self._texts.finish()
        distinct, notes = read_date_texts(texts, self._name)
        matches = pc.match_substring_regex(texts, _NUMERIC).to_numpy(zero_copy_only=False)
        numeric = np.asarray(matches, dtype=np.bool_) & (distinct == NO_TIME)
        parts = [part for part in self._parts if isinstance(part, np.ndarray) and part.dtype == np.float64]
        # All numbers together, wherever they come from, tell the unit.
        numbers = np.concatenate([_numbers(texts.filter(pa.array(numeric))), *parts])
        from_numbers = self._from_numbers(numbers, notes)
        distinct[numeric] = from_numbers[: int(numeric.sum())]
        coded = np.append(distinct, NO_TIME)[codes]  # the last one stands for null
        bad = (coded == NO_TIME) & (codes >= 0)
        unreadable = int(bad.sum())
        unreadable += sum(int(np.isinf(part).sum()) for part in parts)
        if bad.any():
            first = texts[int(codes[bad.argmax()])].as_py()
            notes.append(
                f"{self._name}: {int(bad.sum()):,} times could not be read (the first: {first!r}), "
                "kept without a time"
            )
        return self._join(coded, from_numbers[int(numeric.sum()) :]), unreadable, notes

    def _add_texts(self, texts: pa.LargeStringArray) -> None:
        numeric = pc.match_substring_regex(texts, _NUMERIC)
        if pc.all(numeric).as_py() and not pc.any(pc.match_substring_regex(texts, _DATE_AND_TIME)).as_py():
            self._parts.append(_numbers(texts))
            return
        try:
            self._parts.append(_arrow_seconds(texts.cast(pa.timestamp("us"))))
        except pa.ArrowInvalid:  # not all of them are ISO without a zone
            self._texts.add(texts)
            self._parts.append(len(texts))

    def _join(self, coded: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Put the parts together in the order of the rows."""
        joined: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
        for part in self._parts:
            if isinstance(part, int):
                joined.append(coded[:part])
                coded = coded[part:]
            elif part.dtype == np.float64:
                joined.append(numbers[: part.size])
                numbers = numbers[part.size :]
            else:
                joined.append(part.astype(np.int64, copy=False))
        return np.concatenate(joined)

    def _from_numbers(self, numbers: NDArray[np.float64], notes: list[str]) -> NDArray[np.int64]:
        """Return seconds for numbers of a unit that their median tells; NaN and infinity have no time."""
        seconds = np.full(numbers.size, NO_TIME)
        known = np.isfinite(numbers)
        if not known.any():
            return seconds
        values = numbers[known]
        as_dates = _compact_dates(values)
        if as_dates is not None:
            notes.append(f"{self._name}: numbers like {int(values[0])} are read as dates (year, month, day)")
            seconds[known] = as_dates
            return seconds
        middle = float(np.median(np.abs(values)))
        # 1e11 seconds are the year 5138, 1e11 milliseconds are 1973; each unit has three more digits.
        factor = next((f for bound, f in ((1e11, 1), (1e14, 10**3), (1e17, 10**6)) if middle < bound), 10**9)
        if factor > 1:
            notes.append(f"{self._name}: read as {_UNIT_NAMES[factor]} since 1970")
        scaled = np.floor(values / factor)
        inside = np.abs(scaled) < 2**62
        seconds[np.flatnonzero(known)[inside]] = scaled[inside].astype(np.int64)
        return seconds


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers, or texts of numbers, as float64; null becomes NaN."""
    texts = pa.types.is_large_string(column.type)
    numbers = column.cast(pa.float64()) if texts else column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _compact_dates(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return seconds when every number is a calendar date such as 20101201, else None.

    As seconds since 1970 such numbers would all lie in August 1970 or so, where no shop's data do.
    """
    if not ((values >= 19_000_101) & (values <= 21_001_231)).all():
        return None
    texts = pa.array(np.unique(values).astype(np.int64)).cast(pa.large_string())
    dashed = pc.replace_substring_regex(texts, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
    seconds, _ = read_date_texts(dashed, "")
    if (seconds == NO_TIME).any():
        return None
    return np.asarray(seconds[np.unique(values, return_inverse=True)[1]])


def _arrow_seconds(column: pa.Array) -> NDArray[np.int64]:
    """Return the seconds of Arrow dates and timestamps, rounded down, one by one; null has no time."""
    kind = column.type
    if pa.types.is_date(kind):
        unit = Fraction(86_400) if pa.types.is_date32(kind) else Fraction(1, 1_000)
    else:
        unit = Fraction(1, _PER_SECOND[kind.unit])
    found = [NO_TIME if not value.is_valid else math.floor(value.value * unit) for value in column]
    return np.array(found, dtype=np.int64)
