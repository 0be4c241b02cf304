"""Which column of a table of items is which: by an option, by its name, or by the ids that it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recae.errors import ColumnError, ConfigError
from recae.item_table import MEANINGS, MOST_COLUMNS
from recae.reading.candidates import listed
from recae.reading.engine import text
from recae.reading.item_words import meaning_of, path_order
from recae.reading.joining import id_column, name_column
from recae.reading.names import Name, plain
from recae.reading.table import Note, Table

ID: Final = "id"
_ONE: Final = r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?"
_NUMBER: Final = rf"\s*{_ONE}\s*"
_SEVERAL_NUMBERS: Final = rf"\s*[\[({{]?\s*({_ONE}[\s,;|]+){{3,}}{_ONE}\s*[\])}}]?\s*"
_MOSTLY: Final = 0.9  # of the filled values
_SURE: Final = 4  # from which on a name may mean something else than customers


@dataclass(frozen=True)
class ItemColumns:
    """The columns of a table of items.

    Attributes:
        id: of the item.
        single: column of the result to the one it is from: all but the category, the price and the embedding.
        category: the columns of the category, the widest part first; none where there is none.
        price: the column of the price.
        embedding: the columns of the embedding: one that holds all its numbers, or one for each; none without.
        order: the columns of the result, in their order.
        left_out: columns for which there is no place.
        notes: what was decided.
    """

    id: str
    single: Mapping[str, str]
    category: tuple[str, ...]
    price: str | None
    embedding: tuple[str, ...]
    order: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[Note, ...]

    def sources(self) -> dict[str, tuple[str, ...]]:
        """Return the columns that each column of the result is from, in its order."""
        more = {"category": self.category, "price": (self.price,) if self.price is not None else ()}
        more["embedding"] = self.embedding
        return {name: more.get(name) or (self.single[name],) for name in self.order}


def choose_item_columns(
    table: Table, given: Mapping[str, Sequence[str]], bought: str | None = None
) -> ItemColumns:
    """Choose the columns of a table of items.

    Args:
        table: as it stands.
        given: "id" or a meaning to the exact names of its columns; none of them: no column has this meaning.
        bought: relation (id VARCHAR) of items that were bought; None where they are not known.

    Raises:
        ConfigError: a meaning is unknown, or has more columns than it can have.
        ColumnError: a column is not there or has two meanings, or none holds ids.
    """
    _check_given(table, given)
    ids = given[ID][0] if given.get(ID) else id_column(table, bought)
    taken = {ids, *(name for names in given.values() for name in names)}
    users = [name for name in table.columns if name not in taken and is_user(name)]
    taken.update(users)
    free: dict[str, list[tuple[int, int, str]]] = {}
    for place, name in enumerate(table.columns):
        if name not in taken and (found := meaning_of(name)) is not None:
            free.setdefault(found[0], []).append((found[1], place, name))
    chosen: dict[str, tuple[str, ...]] = {m: tuple(names) for m, names in given.items() if m != ID and names}
    notes = [
        Note(f"not taken, since it says who bought: {name!r}", column=name, advice="name=NAME takes it")
        for name in users
    ]
    for meaning in ("category", "brand", "price", "available", "image", "link", "embedding"):
        if meaning in given or not (fits := sorted(free.get(meaning, []))):
            continue
        if meaning == "embedding" and not (fits := _embeddings(table, fits)):
            continue
        names = [name for _, _, name in fits]
        chosen[meaning] = path_of(names) if meaning == "category" else (names[0],)
        if meaning == "embedding":
            chosen[meaning] = tuple(sorted(names, key=_place_of)) if _counted(names) else (names[0],)
        if len(chosen[meaning]) < len(names):
            others = ", ".join(repr(name) for name in names if name not in chosen[meaning])
            notes.append(
                Note(
                    f"{meaning} {' > '.join(map(repr, chosen[meaning]))}; {others} would fit as well",
                    column=chosen[meaning][0],
                    advice=f"{meaning}=NAME takes another",
                )
            )
    taken |= {name for names in chosen.values() for name in names}
    if "name" not in given:
        without = [*taken, *(n for m, fits in free.items() if m != "text" for _, _, n in fits)]
        called = name_column(table, ids, None, without)
        if called is not None:
            chosen["name"] = (called,)
            taken.add(called)
    if "text" not in given:
        left = [name for _, _, name in sorted(free.get("text", [])) if name not in taken]
        if left:
            chosen["text"] = (left[0],)
            taken.add(left[0])
    return _columns(table, ids, chosen, taken, notes)


def _columns(
    table: Table, ids: str, chosen: Mapping[str, tuple[str, ...]], taken: set[str], notes: list[Note]
) -> ItemColumns:
    order = [meaning for meaning in MEANINGS if meaning in chosen]
    single = {m: chosen[m][0] for m in order if m not in ("category", "price", "embedding")}
    left_out = []
    for name in table.columns:
        if name in taken:
            continue
        if len(order) >= MOST_COLUMNS:
            left_out.append(name)
            continue
        called, number = name, 2
        while called in MEANINGS or called in single:
            called, number = f"{name}_{number}", number + 1
        single[called] = name
        order.append(called)
    if not order:
        raise ColumnError(
            f"'{table.name}' says nothing of items but their ids; give a table with names, categories, prices or others"
        )
    price = chosen["price"][0] if "price" in chosen else None
    return ItemColumns(
        ids,
        single,
        chosen.get("category", ()),
        price,
        chosen.get("embedding", ()),
        tuple(order),
        tuple(left_out),
        tuple(notes),
    )


def _embeddings(table: Table, fits: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Return the columns that are called an embedding and hold one, or a number of one each."""
    names = [name for _, _, name in fits]
    if _counted(names) and all(_fraction(table, name, _NUMBER) >= _MOSTLY for name in names):
        return fits
    return [
        fit
        for fit in fits
        if re.fullmatch(r"(FLOAT|DOUBLE|DECIMAL.*|[A-Z]*INT)\[\d*\]", table.types[fit[2]])
        or _fraction(table, fit[2], _SEVERAL_NUMBERS) >= _MOSTLY
    ]


def _fraction(table: Table, name: str, pattern: str) -> float:
    """Return which fraction of the filled values of a column is of a pattern."""
    value = table.as_text(name)
    found = table.engine.value(
        f"SELECT avg((regexp_full_match(v, {text(pattern)}))::INT) FROM (SELECT {value} AS v FROM {table.sample()}) "
        f"WHERE NOT {Table.missing('v')}"
    )
    return float(found or 0)


def _place_of(name: str) -> int:
    """Return the number at the end of a column's name, such as 12 of emb_12; -1 without one."""
    found = re.search(r"\d+$", name)
    return int(found[0]) if found else -1


def _counted(names: Sequence[str]) -> bool:
    """Return whether columns are numbered through, so that each holds one number of an embedding."""
    stems = {re.sub(r"\d+$", "", name) for name in names}
    places = sorted(map(_place_of, names))
    return (
        len(names) > 1
        and len(stems) == 1
        and places in (list(range(len(names))), list(range(1, len(names) + 1)))
    )


def is_user(name: str) -> bool:
    """Return whether a column names customers, whose ids have no place in a table of items."""
    preference = Name(name).preference("user")
    return preference is not None and preference < _SURE


def path_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that hold the parts of a path, the widest first; the first where they are no path."""
    ranked = sorted(names, key=path_order)
    places = [path_order(name) for name in ranked]
    return tuple(ranked) if len(set(places)) == len(places) else (names[0],)


def _check_given(table: Table, given: Mapping[str, Sequence[str]]) -> None:
    seen: dict[str, str] = {}
    for meaning, names in given.items():
        if meaning != ID and meaning not in MEANINGS:
            raise ConfigError(
                f"a column of items is {', '.join([ID, *MEANINGS])}, found {meaning!r:.80}: name one of these"
            )
        if len(names) > 1 and meaning not in ("category", "embedding"):
            raise ConfigError(
                f"several columns make a path of categories or an embedding alone, and {meaning} is given "
                f"{len(names)}: name one"
            )
        for name in names:
            if name not in table.types:
                same = [column for column in table.columns if plain(column) == plain(name)]
                hint = f"; did you mean {same[0]!r}?" if same else ""
                raise ColumnError(
                    f"'{table.name}': the {meaning} column {name!r:.80} is not in the table{hint}; found: "
                    f"{listed(table.columns)}"
                )
            if name in seen:
                raise ColumnError(
                    f"column {name!r:.80} is named as {seen[name]} and as {meaning}: name it once"
                )
            seen[name] = meaning
