"""`gather_pairs`: purchases become one entry a user and item, with counts, last times, quantities and confidences.

Where user, item, time and quantity of a purchase fit into one whole number of 64 bits, the numbers are sorted: equal
ones are duplicates, and those of a pair stand side by side. Where they do not fit, pairs are numbered by sorting them
first. What does not fit even then, such as quantities with decimals, is grouped by DuckDB.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.interactions import NO_TIME
from recae.reading.engine import Engine

_FLOAT32: Final = np.finfo(np.float32)
_PIECE: Final = 10_000_000  # rows that DuckDB groups at a time
_MOST: Final = 2**64  # different numbers
_CHUNK: Final = 1_000_000  # numbers that are looked at at a time
_UNITS: Final = (86_400_000_000, 1_000_000, 1_000)  # microseconds that all times may be a multiple of
_NAMES: Final = ("user", "item", "counts", "times", "quantities", "confidences")


@dataclass(frozen=True)
class Pairs:
    """An entry for each user and item, by user and then by item; every array has shape (pairs,).

    Attributes:
        users, items: int32 codes.
        counts: int32, how many purchases each is.
        times: int64 microseconds of the last of them, `NO_TIME` where none is known; None without times.
        quantities: float32, their sum; None where it was not asked for.
        confidences: likewise.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    counts: NDArray[np.int32]
    times: NDArray[np.int64] | None = None
    quantities: NDArray[np.float32] | None = None
    confidences: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Selection:
    """Which purchases are gathered.

    Attributes:
        purchases: the relation, with columns user, item, fate and some of time, quantity, basket, confidence.
        columns: of it.
        where: SQL for those that count.
        n_rows: how many rows the source had.
        n_users, n_items: codes are less than these.
    """

    purchases: str
    columns: frozenset[str]
    where: str
    n_rows: int
    n_users: int
    n_items: int

    def without_duplicates(self, where: str = "true") -> str:
        """Return a relation of the purchases without duplicates, with n, how many rows each stands for.

        Of equal rows the earliest counts. Without times none are equal: two purchases could not be told from one row
        written twice.
        """
        chosen = f"{self.purchases} WHERE fate = 0 AND {self.where} AND {where}"
        if "time" not in self.columns:
            return f"(SELECT *, 1 AS n FROM {chosen})"
        keys = ["user", "item", "time", *(["quantity"] if "quantity" in self.columns else [])]
        extra = {"n": "CASE WHEN time IS NULL THEN count(*) ELSE 1 END"}
        if "confidence" in self.columns:
            extra["confidence"] = (
                "CASE WHEN time IS NULL THEN avg(confidence) ELSE arg_min(confidence, row) END"
            )
        group = list(keys)
        if "basket" in self.columns:
            group.append("CASE WHEN time IS NULL THEN basket END")
            extra["basket"] = "arg_min_null(basket, row)"
        others = ", ".join(f"{sql} AS {name}" for name, sql in extra.items())
        return f"(SELECT {', '.join(keys)}, {others} FROM {chosen} GROUP BY {', '.join(group)})"


def gather_pairs(engine: Engine, selection: Selection, quantities: bool) -> Pairs:
    """Return the pairs of purchases.

    Args:
        engine: that holds them.
        selection: which ones.
        quantities: whether to add up how much was bought.
    """
    packing = None
    if "confidence" not in selection.columns:
        packing = _Packing.of(engine, selection, quantities)
    if packing is not None:
        at_once = max(selection.n_users, 1) * packing.n_items * packing.of_pair < _MOST
        if at_once or max(selection.n_rows, 1) * packing.of_pair < _MOST:
            return _sorted(engine, selection, packing, at_once, quantities)
    return _grouped(engine, selection, quantities)


@dataclass(frozen=True)
class _Packing:
    """How a purchase becomes a number: ((user · n_items + item) · n_times + time) · n_amounts + amount.

    Attributes:
        n_items: of the selection.
        n_times: places of times: one for no time, and one a unit from the first time to the last.
        first: the first time, in microseconds.
        unit: in microseconds.
        n_amounts: whole quantities from the least to the greatest.
        least: the least quantity.
    """

    n_items: int
    n_times: int = 1
    first: int = 0
    unit: int = 1
    n_amounts: int = 1
    least: int = 0

    @classmethod
    def of(cls, engine: Engine, selection: Selection, quantities: bool) -> _Packing | None:
        """Return how purchases are packed, or None where they do not fit."""
        asked = []
        if "time" in selection.columns:
            asked += ["min(time)", "max(time)"]
            asked += [f"bool_and(time % {unit} = 0)" for unit in _UNITS]
        # quantities tell rows of one time apart, and are added up where that is asked for
        amounts = "quantity" in selection.columns and (quantities or "time" in selection.columns)
        if amounts:
            asked += ["min(quantity)", "max(quantity)", "bool_and(quantity = trunc(quantity))"]
        n_items = max(selection.n_items, 1)
        parts: dict[str, int] = {}
        if asked:
            found = engine.row(
                f"SELECT {', '.join(asked)} FROM {selection.purchases} WHERE fate = 0 AND {selection.where}"
            )
            first, last, *whole = found[: 2 + len(_UNITS)] if "time" in selection.columns else (None, None)
            if first is not None:
                if last - first >= 2**63:  # more than DuckDB subtracts
                    return None
                unit = next((unit for unit, fits in zip(_UNITS, whole, strict=True) if fits), 1)
                parts |= {"n_times": (last - first) // unit + 2, "first": first, "unit": unit}
            if amounts and found[-3] is not None:
                least, greatest, are_whole = found[-3:]
                if not are_whole or greatest - least >= 2**31 or greatest >= 2**53:
                    return None
                parts |= {"n_amounts": int(greatest - least) + 1, "least": int(least)}
        return cls(n_items, **parts)

    @property
    def of_pair(self) -> int:
        """How many numbers a pair has."""
        return self.n_times * self.n_amounts

    @property
    def pair(self) -> str:
        """The number of a purchase's pair, UBIGINT."""
        return f"(user::UBIGINT * {self.n_items}::UBIGINT + item::UBIGINT)"

    @property
    def within(self) -> str:
        """The number of a purchase within its pair, UBIGINT."""
        number = "0::UBIGINT"
        if self.n_times > 1:
            number = f"coalesce((time - ({self.first})) // {self.unit} + 1, 0)::UBIGINT"
        if self.n_amounts > 1:
            amount = f"(quantity::BIGINT - ({self.least}))::UBIGINT"
            number = f"({number} * {self.n_amounts}::UBIGINT + {amount})"
        return number


def _sorted(
    engine: Engine, selection: Selection, packing: _Packing, at_once: bool, quantities: bool
) -> Pairs:
    """Return the pairs by sorting a number a purchase."""
    if at_once:
        number = f"{packing.pair} * {packing.of_pair}::UBIGINT + {packing.within}"
        (numbers,) = _fetched(engine, selection, number)
        numbers.sort()
        known = None
    else:
        pairs, within = _fetched(engine, selection, packing.pair, packing.within)
        numbers, known = _numbered(pairs, within, packing)
        del pairs, within
    if packing.n_times > 1:
        numbers = numbers[: _drop_equal(numbers, packing)]
    return _unpacked(numbers, known, packing, "time" in selection.columns, quantities)


def _unpacked(
    numbers: NDArray[np.uint64],
    known: NDArray[np.uint64] | None,
    packing: _Packing,
    has_times: bool,
    has_quantities: bool,
) -> Pairs:
    """Return what different sorted numbers mean, some pairs at a time, so that little memory is needed beside them.

    Args:
        numbers: a number a purchase.
        known: which pair each number of a pair means; None where it is the pair itself.
        packing: how they were made.
        has_times: whether pairs have times, be they known or not.
        has_quantities: whether to add up quantities.
    """
    firsts = _firsts(numbers, packing.of_pair)
    size = firsts.size
    users, items, counts = (np.empty(size, np.int32) for _ in range(3))
    times = np.full(size, NO_TIME) if has_times else None
    sums = np.empty(size, np.float32) if has_quantities else None
    for start in range(0, size, _CHUNK):
        part = slice(start, min(start + _CHUNK, size))
        begins = firsts[part]
        end = firsts[part.stop] if part.stop < size else numbers.size
        counts[part] = counted = np.diff(begins, append=end)
        pairs = numbers[begins] // packing.of_pair if known is None else known[part]
        users[part] = pairs // packing.n_items
        items[part] = pairs % packing.n_items
        if times is not None and packing.n_times > 1:
            # no time is the least, and the last of a pair the greatest
            lasts = numbers[begins + counted - 1] // packing.n_amounts % packing.n_times
            last = lasts.astype(np.int64)
            times[part] = np.where(last > 0, (last - 1) * packing.unit + packing.first, NO_TIME)
        if sums is not None:
            amounts = numbers[begins[0] : end] % packing.n_amounts
            added = np.add.reduceat(amounts, begins - begins[0]).astype(np.float64)
            sums[part] = _within_float32(added + packing.least * counted)
    return Pairs(users, items, counts, times, sums)


def _fetched(engine: Engine, selection: Selection, *numbers: str) -> list[NDArray[np.uint64]]:
    """Return numbers of the purchases, an array (purchases,) each."""
    chosen = f"{selection.purchases} WHERE fate = 0 AND {selection.where}"
    size, stop = int(engine.value(f"SELECT count(*) FROM {chosen}")), 0
    found = [np.empty(size, np.uint64) for _ in numbers]
    listed = ", ".join(f"{sql} AS n{k}" for k, sql in enumerate(numbers))
    for batch in engine.batches(f"SELECT {listed} FROM {chosen}"):
        start, stop = stop, stop + batch.num_rows
        for k, array in enumerate(found):
            array[start:stop] = batch.column(k).to_numpy()
    return found


def _numbered(
    pairs: NDArray[np.uint64], within: NDArray[np.uint64], packing: _Packing
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return sorted numbers whose pairs are counted from 0, and which pair each of these is."""
    order = np.argsort(pairs)
    pairs, within = pairs[order], within[order]
    del order
    begins = np.flatnonzero(_changes(pairs, None))
    numbers = np.zeros(pairs.size, np.uint64)
    numbers[begins[1:]] = 1
    np.cumsum(numbers, out=numbers)
    numbers *= np.uint64(packing.of_pair)
    numbers += within
    numbers.sort()
    return numbers, pairs[begins]


def _changes(values: NDArray[np.uint64], previous: np.uint64 | None) -> NDArray[np.bool_]:
    """Return which values differ from the one before."""
    changes = np.empty(values.size, np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    changes[:1] = previous is None or values[:1] != previous
    return changes


def _drop_equal(numbers: NDArray[np.uint64], packing: _Packing) -> int:
    """Move the different ones of sorted numbers to the front and return how many they are.

    Purchases without a time are all different.
    """
    end, previous = 0, None
    for start in range(0, numbers.size, _CHUNK):
        part = numbers[start : start + _CHUNK].copy()
        stays = _changes(part, previous)
        stays |= part // packing.n_amounts % packing.n_times == 0
        previous = part[-1]
        left = part[stays]
        numbers[end : end + left.size] = left
        end += left.size
    return end


def _firsts(numbers: NDArray[np.uint64], of_pair: int) -> NDArray[np.int64]:
    """Return the places of the first number of each pair, (pairs,)."""
    begins, previous = np.empty(numbers.size, np.bool_), None
    for start in range(0, numbers.size, _CHUNK):
        pairs = numbers[start : start + _CHUNK] // of_pair
        begins[start : start + _CHUNK] = _changes(pairs, previous)
        previous = pairs[-1]
    return np.flatnonzero(begins)


def _grouped(engine: Engine, selection: Selection, quantities: bool) -> Pairs:
    """Return the pairs by DuckDB's grouping.

    A part of the users at a time: what is told apart by a hash table then fits into little memory.
    """
    parts = {"counts": "sum(n)::INTEGER"}
    if "time" in selection.columns:
        parts["times"] = f"coalesce(max(time), {NO_TIME})"
    if quantities:
        parts["quantities"] = "sum(quantity * n)::DOUBLE"
    if "confidence" in selection.columns:
        parts["confidences"] = "sum(confidence * n)::DOUBLE"
    columns = ", ".join(f"{sql} AS {name}" for name, sql in parts.items())
    kinds: Mapping[str, Any] = {"user": np.int32, "item": np.int32, "counts": np.int32, "times": np.int64}
    names = ("user", "item", *parts)
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    pieces = max(1, -(-selection.n_rows // _PIECE))
    edges = np.linspace(0, max(selection.n_users, 1), pieces + 1).astype(np.int64)
    for start, stop in itertools.pairwise(edges.tolist()):
        piece = selection.without_duplicates(f"user >= {start} AND user < {stop}" if pieces > 1 else "true")
        query = f"SELECT user, item, {columns} FROM {piece} GROUP BY user, item ORDER BY user, item"
        for batch in engine.batches(query):
            for name in names:
                values = batch.column(name).to_numpy(zero_copy_only=False)
                if name in ("quantities", "confidences"):
                    values = _within_float32(values)
                found[name].append(values.astype(kinds.get(name, np.float32)))
    arrays = {
        name: np.concatenate([np.empty(0, kinds.get(name, np.float32)), *found.pop(name)]) for name in names
    }
    return Pairs(*(arrays.get(name) for name in _NAMES))  # type: ignore[arg-type]


def _within_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    clipped: NDArray[np.float32] = np.clip(values, _FLOAT32.tiny, _FLOAT32.max).astype(np.float32)
    return clipped
