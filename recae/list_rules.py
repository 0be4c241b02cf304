"""`ListRules`: what lists may hold and in which order, read from a TOML file, and the same for the items of a model."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recae.errors import ConfigError
from recae.ids import IdMap, id_texts, shown
from recae.item_table import SEPARATOR, ItemTable

MOST_BYTES: Final = 64 * 2**20
"""Bytes of a file of rules at most."""

_EXAMPLES: Final = 3  # of what is unknown, in a sentence

Ids = Annotated[list[str | int], Field(min_length=1)]
Words = Annotated[list[str], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Selection(_Table):
    """Some items, by what is known of them; nothing where no key is given.

    Attributes:
        ids: item ids.
        categories: each a path or the beginning of one: "Home" is "Home > Kitchen > Mugs", too.
        brands: as the table has them.
        price_from: the lowest price that is one of them.
        price_to: the highest.
        available: true for items that are available, false for those that are not; unknown is neither.
        age_from: days at least since the date in `age_column`.
        age_to: days at most.
        age_column: the column of the table of items that holds the date since when it is on sale, such as 2024-11-30.
    """

    ids: Ids | None = None
    categories: Words | None = None
    brands: Words | None = None
    price_from: float | None = Field(default=None, ge=0)
    price_to: float | None = Field(default=None, ge=0)
    available: bool | None = None
    age_from: float | None = Field(default=None, ge=0)
    age_to: float | None = Field(default=None, ge=0)
    age_column: str | None = None

    @model_validator(mode="after")
    def _ages_have_dates(self) -> Selection:
        if (self.age_from is None and self.age_to is None) != (self.age_column is None):
            raise ValueError("age_from and age_to go with age_column, the column of dates")
        return self


class Caps(_Table):
    """How many items of one category or brand a list holds at most; items without one are not counted.

    Attributes:
        category: of one category.
        level: how many parts of a path count as its category, from 1, the widest; None: the whole path.
        brand: of one brand.
    """

    category: int | None = Field(default=None, ge=1)
    level: int | None = Field(default=None, ge=1)
    brand: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _level_is_of_a_category(self) -> Caps:
        if self.level is not None and self.category is None:
            raise ValueError("level says which part of a category counts: give category, too")
        return self


class Pin(_Table):
    """An item at a place of every list, unless it may not be recommended.

    Attributes:
        id: of the item.
        place: from 1.
    """

    id: str | int
    place: int = Field(default=1, ge=1, le=10_000)


class Boost(Selection):
    """Items that come earlier, or later with a number below 0.

    Attributes:
        by: what is added to their scores, in standard deviations of the user's scores over all items.
    """

    by: float = Field(ge=-100, le=100)


class ListRules(_Table):
    """Rules for lists.

    Attributes:
        exclude: nobody gets what any of its keys names.
        only: nobody gets anything else than what all of its keys name.
        caps: of one list.
        pins: at most one at a place.
        boosts: add up where an item is in several; each is of what all of its keys name.
        bought_within_days: what a customer has bought within so many days is left out, and what was bought earlier may
            come again, whether the model is of repeat purchases or not; None: owned items are left out, or not, as the
            model and the options say.
        as_of: the day from which ages and days count; None: today, UTC.
    """

    exclude: Selection | None = None
    only: Selection | None = None
    caps: Caps | None = None
    pins: list[Pin] = []
    boosts: list[Boost] = []
    bought_within_days: float | None = Field(default=None, gt=0, le=100_000)
    as_of: dt.date | None = None

    @model_validator(mode="after")
    def _one_pin_a_place(self) -> ListRules:
        for name, values in (
            ("place", [pin.place for pin in self.pins]),
            ("id", [str(pin.id) for pin in self.pins]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two pins have the same {name}: give each one of its own")
        return self


def read_list_rules(path: Path | str) -> ListRules:
    """Read rules from a TOML file.

    Raises:
        ConfigError: it cannot be read, or a rule is wrong; the message names the file and the rule.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"the rules '{path}' cannot be read: {reason}; give the path of a TOML file"
        ) from error
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"the rules '{path}' are larger than {MOST_BYTES >> 20} MiB: name categories or brands instead of ids"
        )
    try:
        return ListRules.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ConfigError(f"the rules '{path}' are not UTF-8 text: give a TOML file") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f"the rules '{path}' are not TOML ({error}): write lines such as [exclude] and ids = [\"POST\"]"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        said = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"the rules '{path}': {where}: {said}, found {first['input']!r:.80}") from error


@dataclass(frozen=True, eq=False)
class AppliedRules:
    """Rules for the items of a model, in I items.

    Attributes:
        barred: bool (I,), items that nobody gets.
        boost: float32 (I,), what is added to the scores, in standard deviations of them; None without boosts.
        caps: for each cap the group of each item, int32 (I,), -1 for none, and how many of a group a list holds.
        pins: place, from 0, and item of each, by place.
        bought_within: days within which what was bought is left out; None: that is no rule.
        as_of: the day from which they count; None: today, UTC.
        remarks: sentences on what in the rules names nothing of the model.
        fingerprint: SHA-256 of all of it, in hexadecimal.
    """

    barred: NDArray[np.bool_]
    boost: NDArray[np.float32] | None
    caps: tuple[tuple[NDArray[np.int32], int], ...]
    pins: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...] = field(default=())
    bought_within: float | None = None
    as_of: dt.date | None = None

    @property
    def only_bar(self) -> bool:
        """Whether they do nothing else than keep items out of lists, as the fast path does, too."""
        return self.boost is None and not self.caps and not self.pins and self.bought_within is None

    @property
    def recent_from(self) -> int | None:
        """The day since 1970-01-01 UTC from which what was bought is left out; None: that is no rule."""
        if self.bought_within is None:
            return None
        today = self.as_of or dt.datetime.now(dt.UTC).date()
        return (today - dt.date(1970, 1, 1)).days - math.floor(self.bought_within)

    @property
    def fingerprint(self) -> str:
        """What tells two runs apart; the same on every machine."""
        digest = hashlib.sha256(np.packbits(self.barred).tobytes())
        if self.boost is not None:
            digest.update(self.boost.astype("<f4").tobytes())
        for codes, most in self.caps:
            digest.update(codes.astype("<i4").tobytes())
            digest.update(most.to_bytes(8, "little"))
        digest.update(json.dumps(self.pins).encode())
        if self.bought_within is not None:
            digest.update(f"bought from {self.recent_from}".encode())
        return digest.hexdigest()


def apply_list_rules(rules: ListRules, items: IdMap, table: ItemTable | None) -> AppliedRules:
    """Return rules for the items of a model.

    Args:
        rules: as they were read.
        items: of the model.
        table: of items; None where there is none, so that only ids can be named.

    Raises:
        ConfigError: a rule needs a table of items, or a column, that is not there, or a column holds no dates; or the
            rules leave no item.
    """
    known = _Known(items, table, rules.as_of)
    barred = np.zeros(len(items), dtype=np.bool_)
    if rules.exclude is not None:
        for mark in known.marks("exclude", rules.exclude):
            barred |= mark
    if rules.only is not None:
        for mark in known.marks("only", rules.only):
            barred |= ~mark
    if len(items) and barred.all():
        raise ConfigError(
            f"the rules leave none of the model's {len(items):,} items to recommend; loosen one of them"
        )
    boost = np.zeros(len(items), dtype=np.float32) if rules.boosts else None
    for number, one in enumerate(rules.boosts, start=1):
        marks = list(known.marks(f"boost {number}", one))
        if boost is not None and marks:
            boost[np.logical_and.reduce(marks)] += np.float32(one.by)
    caps = []
    if rules.caps is not None and rules.caps.category is not None:
        groups = known.table("caps", "category").path(rules.caps.level)
        caps.append((_codes(groups), rules.caps.category))
    if rules.caps is not None and rules.caps.brand is not None:
        caps.append((_codes(known.table("caps", "brand").column("brand")), rules.caps.brand))
    rows = known.rows("pins", [pin.id for pin in rules.pins])
    pins = sorted((pin.place - 1, int(row)) for pin, row in zip(rules.pins, rows, strict=True) if row >= 0)
    return AppliedRules(
        barred, boost, tuple(caps), tuple(pins), tuple(known.remarks), rules.bought_within_days, rules.as_of
    )


def selected(selection: Selection, items: IdMap, table: ItemTable | None) -> NDArray[np.bool_]:
    """Return which of a model's items are of a selection, bool (I,); all where it has no key.

    Args:
        selection: of items; what it names and nobody knows selects nothing.
        items: of the model.
        table: of items; None where there is none.

    Raises:
        ConfigError: the selection needs a table of items, or a column, that is not there.
    """
    found = np.ones(len(items), dtype=np.bool_)
    for mark in _Known(items, table, None).marks("the filter", selection):
        found &= mark
    return found


class _Known:
    """What is known of a model's items, and what the rules name that is not."""

    def __init__(self, items: IdMap, table: ItemTable | None, as_of: dt.date | None) -> None:
        self._items, self._as_of = items, as_of or dt.datetime.now(dt.UTC).date()
        self._table = None if table is None else table.of(items)
        self.remarks: list[str] = []

    def table(self, where: str, column: str) -> ItemTable:
        """Return the table of the items; ConfigError without one, or without a column."""
        if self._table is None:
            raise ConfigError(
                f"{where}: a rule by {column} needs a table of items, which this model has not: give one by "
                "recae items, or name ids"
            )
        if column not in self._table:
            there = ", ".join(self._table.names) or "none"
            raise ConfigError(
                f"{where}: a rule by {column} needs that column, but the table of items has {there}: name one of these"
            )
        return self._table

    def rows(self, where: str, ids: Sequence[str | int]) -> NDArray[np.int64]:
        """Return the row of each id, (n,); -1 for what the model does not know, which is remarked."""
        texts = id_texts(ids, "item")
        rows = self._items.rows(texts)
        self._remark(where, "ids", [text for text, row in zip(texts, rows, strict=True) if row < 0])
        return rows

    def marks(self, where: str, selection: Selection) -> Iterable[NDArray[np.bool_]]:
        """Yield which items each key names, bool (I,)."""
        if selection.ids is not None:
            rows = self.rows(where, selection.ids)
            mark = np.zeros(len(self._items), dtype=np.bool_)
            mark[rows[rows >= 0]] = True
            yield mark
        for name, values, matching in (
            ("categories", selection.categories, _within),
            ("brands", selection.brands, pc.equal),
        ):
            if values is not None:
                column = "category" if name == "categories" else "brand"
                yield self._named(where, name, values, self.table(where, column).column(column), matching)
        if selection.price_from is not None:
            yield _true(pc.greater_equal(self._prices(where), selection.price_from))
        if selection.price_to is not None:
            yield _true(pc.less_equal(self._prices(where), selection.price_to))
        if selection.available is not None:
            available = self.table(where, "available").column("available")
            yield _true(available if selection.available else pc.invert(available))
        if selection.age_column is not None:
            days = self._ages(where, selection.age_column)
            if selection.age_from is not None:
                yield days >= selection.age_from  # NaN, an unknown date, is neither
            if selection.age_to is not None:
                yield days <= selection.age_to

    def _named(
        self,
        where: str,
        what: str,
        values: list[str],
        column: pa.Array,
        matching: Callable[[pa.Array, str], pa.Array],
    ) -> NDArray[np.bool_]:
        mark = np.zeros(len(self._items), dtype=np.bool_)
        unknown = []
        for value in values:
            own = _true(matching(column, value))
            mark |= own
            if not own.any():
                unknown.append(value)
        self._remark(where, what, unknown)
        return mark

    def _prices(self, where: str) -> pa.Array:
        return self.table(where, "price").column("price")

    def _ages(self, where: str, column: str) -> NDArray[np.float64]:
        """Return the days since each item's date, NaN where it is unknown."""
        texts = self.table(where, column).column(column).to_pylist()
        days = np.full(len(texts), np.nan)
        wrong = []
        for row, text in enumerate(texts):
            if text is None or not text.strip():
                continue
            try:
                days[row] = (self._as_of - dt.datetime.fromisoformat(text.strip()).date()).days
            except ValueError:
                wrong.append(text)
        if wrong and np.isnan(days).all():
            raise ConfigError(
                f"{where}: column {column!r} holds no dates such as 2024-11-30, found {wrong[0]!r:.40}: name another"
            )
        self._remark(where, f"dates in {column!r}", wrong)
        return days

    def _remark(self, where: str, what: str, unknown: Sequence[str]) -> None:
        if unknown:
            examples = ", ".join(map(shown, unknown[:_EXAMPLES])) + (
                ", …" if len(unknown) > _EXAMPLES else ""
            )
            self.remarks.append(f"{where}: not in the model, {len(unknown):,} of the {what}: {examples}")


def _within(column: pa.Array, path: str) -> pa.Array:
    """Return whether each category is this one or below it."""
    return pc.or_(pc.equal(column, path), pc.starts_with(column, path + SEPARATOR))


def _true(flags: pa.Array) -> NDArray[np.bool_]:
    """Return flags (I,), unknown ones as False."""
    found: NDArray[np.bool_] = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return found


def _codes(texts: pa.Array) -> NDArray[np.int32]:
    """Return the number of each text's group, int32 (I,); -1 where it is unknown."""
    indices: Any = texts.dictionary_encode().indices
    found: NDArray[np.int32] = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return found
