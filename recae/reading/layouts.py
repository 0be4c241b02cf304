"""`unfold`: tables that are not one row a purchase become rows: baskets, lists, one-hot tables, nested orders.

Whatever is certain by names and values is unfolded, and said. What is not stops with the option that does it. Where a
basket is all there is, each basket stands for a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from recae.errors import ColumnError, ConfigError
from recae.reading import cells, crosstab, hints, nested
from recae.reading.engine import quoted, text
from recae.reading.options import ReadOptions
from recae.reading.ragged import open_lines, ragged_layout
from recae.reading.roles import ROLES
from recae.reading.table import Note, Table

__all__ = ["open_lines", "ragged_layout", "unfold"]

_SAMPLE: Final = 20_000
_ROWS_ADVICE: Final = "--layout rows takes the table as it is"
_MARKS: Final = 20  # more different values than these are no marks or counts
_MOST_COLUMNS: Final = 300  # columns of which each may hold lists


def unfold(table: Table, options: ReadOptions) -> Table:
    """Return a table of one row a purchase, where its layout is another; else the table itself.

    Args:
        table: as it was opened.
        options: the layout, where somebody says it, and the columns by name.

    Raises:
        ColumnError: it may be another layout than rows, or its lists may be two things.
        ConfigError: it is not of the layout that the options say.
    """
    if table.layout != "rows":
        return table  # its lines were unfolded as it was opened
    if options.layout != "rows":
        table = cells.with_objects(table)
    if nested.is_nested(table):
        table = nested.keyed(table)
        flat = nested.flatten(table, options, unfold=options.layout != "rows")
        if flat.layout != "rows":
            return flat
        table = flat
    if options.layout == "rows":
        return table
    named = _labelled(_with_header(table, options), options)
    unfolded = _told(named, options) if options.layout is None else _asked(named, options)
    return table if unfolded is named else unfolded


def _with_header(table: Table, options: ReadOptions) -> Table:
    """Return a table whose header was taken for a row, since it looks like one among words or numbers, with it."""
    if table.header or options.header is False or options.columns:
        return table
    names = crosstab.header_of(table)
    if names is None:
        return table
    picked = ", ".join(f"{quoted(c)} AS {quoted(name)}" for c, name in zip(table.columns, names, strict=True))
    view = table.engine.view(f"SELECT {picked} FROM {table.relation} OFFSET 1", "headed")
    return replace(table, relation=view, types=table.engine.describe(view), header=True, _samples={})


def _labelled(table: Table, options: ReadOptions) -> Table:
    """Return a table without a header with the names that ``--columns`` gives its columns."""
    if table.header or not options.columns:
        return table
    given = [name if name not in ("", "-") else None for name in options.columns]
    names = [
        (given[place] if place < len(given) else None) or name for place, name in enumerate(table.columns)
    ]
    if len(set(map(str.lower, names))) < len(names):
        return table
    picked = ", ".join(f"{quoted(c)} AS {quoted(name)}" for c, name in zip(table.columns, names, strict=True))
    view = table.engine.view(f"SELECT {picked} FROM {table.relation}", "labelled")
    return replace(table, relation=view, types=table.engine.describe(view), header=True, _samples={})


@dataclass(frozen=True)
class _Unfolding:
    """How a table becomes rows.

    Attributes:
        layout: as `Table.layout`.
        rest: the columns that are repeated beside each item.
        opened: SQL of the columns, named, that open lists beside them, from the table.
        picked: SQL of all columns in their order, made of these and of the rest.
        condition: SQL of the rows that count; "" where all do.
        note: what is done, in words.
    """

    layout: str
    rest: list[str]
    opened: list[str]
    picked: list[str]
    condition: str
    note: str


def _told(table: Table, options: ReadOptions) -> Table:
    """Return the table as rows where its names and values tell another layout.

    Raises:
        ColumnError: they tell so, but not for certain.
    """
    given = _given(table, options)
    item = given.get("item")
    # whoever names a column as the item knows that items have one
    if item is None and _has_items(table):
        return table
    if item is None:
        for find in (_matrix, _wide):
            found = find(table, options, list(given.values()))
            if found is not None:
                return _unfolded(table, found, options)
    if len(table.columns) <= _MOST_COLUMNS:
        found = _lists(table, options, given)
        if found is not None:
            return _unfolded(table, found, options)
    return table


def _has_items(table: Table) -> bool:
    """Tell whether a column is known as the item by its name and holds one in each cell, and other columns cannot."""
    if not table.header or any(map(hints.is_item_list, table.columns)):
        return False
    named = [column for column in table.columns if hints.is_item(column)]
    if not named or len(crosstab.numbered(named)) < len(named):
        return False
    # a column of a one-hot table may be called "Wine", too
    tests = ", ".join(f"count(DISTINCT {quoted(column)}) > {_MARKS}" for column in named)
    return any(table.engine.row(f"SELECT {tests} FROM {table.sample(_SAMPLE)}")) and not cells.list_columns(
        table, named
    )


def _asked(table: Table, options: ReadOptions) -> Table:
    """Return the table as rows of the layout that the options say.

    Raises:
        ConfigError: it is not of that layout.
    """
    given = _given(table, options)
    if options.layout == "matrix":
        others = [column for role, column in given.items() if role != "item"]
        matrix = crosstab.find_matrix(table, others, asked=True)
        if matrix is None:
            raise ConfigError(
                f"--layout matrix needs a column for each item, with 0, 1 or a count in its cells, but none of the "
                f"columns of {table.name} is so; found: {_listed(table.columns)}; leave --layout out"
            )
        return _unfolded(table, _of_matrix(matrix), options)
    found = _asked_lists(table, options, given)
    if found is None:
        raise ConfigError(
            f"--layout {options.layout} needs several items in a cell, as in 'a, b, c', or in columns such as "
            f"Item 1 and Item 2, but {table.name} has none; found: {_listed(table.columns)}; leave --layout out"
        )
    return _unfolded(table, found, options)


def _asked_lists(table: Table, options: ReadOptions, given: dict[str, str]) -> _Unfolding | None:
    """Return how a table becomes rows of which somebody says that it holds lists or baskets."""
    item = given.get("item")
    spread = not table.header and options.layout == "lists"  # then the first column is the user
    wide = crosstab.find_wide(table) if item is None and not spread else None
    if wide is not None:
        return _of_wide(table, wide)
    taken = set(given.values()) - {item}
    names = [item] if item else [column for column in table.columns if column not in taken]
    ways = [way for way in cells.list_columns(table, names) if way.lists > 0]
    ways = [way for way in ways if item or not (hints.is_user(way.column) or hints.is_basket(way.column))]
    if ways:
        best = max(ways, key=lambda way: (hints.is_item_list(way.column), way.is_likely, way.ratio))
        return _of_cells(table, best, options)
    if item is None and not table.header and len(table.columns) > 1:
        first, *others = table.columns
        if options.layout == "lists":
            return _spread(table, [first], tuple(others))
        return _spread(table, [], tuple(table.columns))
    wide = crosstab.find_wide(table, asked=True) if item is None else None
    return _of_wide(table, wide) if wide is not None else None


def _spread(table: Table, rest: list[str], columns: tuple[str, ...]) -> _Unfolding:
    """Return how all columns but the rest become items."""
    found = _of_wide(table, crosstab.Wide({"item": columns}, "item", None, True, True))
    return replace(found, rest=rest, layout="lists" if rest else "baskets")


# ---- what the values tell -------------------------------------------------------------------------------------------


def _matrix(table: Table, options: ReadOptions, given: list[str]) -> _Unfolding | None:
    """Return how a one-hot table becomes rows; None where it is none."""
    matrix = crosstab.find_matrix(table, given)
    if matrix is None or not (matrix.sure or matrix.alike):
        return None
    if not matrix.sure:
        raise ColumnError(
            f"{table.name} may have a column for each item: {_listed(matrix.columns, 4)} hold mostly zeros or nothing; "
            "give --layout matrix where each of them is an item, or --layout rows where each row is a purchase"
        )
    return _of_matrix(matrix)


def _wide(table: Table, options: ReadOptions, given: list[str]) -> _Unfolding | None:
    """Return how numbered columns become rows; None where there are none."""
    if not table.header and not given and crosstab.is_user_and_items(table):
        return _spread(table, table.columns[:1], tuple(table.columns[1:]))
    wide = crosstab.find_wide(table)
    if wide is None or set(wide.columns) & set(given):
        return None
    rest = [column for column in table.columns if column not in wide.columns]
    if table.header and any(hints.is_item(column) for column in rest):
        return None
    if not wide.sure:
        columns = wide.groups[wide.item]
        raise ColumnError(
            f"{table.name} may have several items in each row, in {_listed(columns, 4)}; give --layout baskets where "
            "each of these columns holds an item, or --layout rows where each row is a purchase"
        )
    return _of_wide(table, wide)


def _lists(table: Table, options: ReadOptions, given: dict[str, str]) -> _Unfolding | None:
    """Return how lists in cells become rows; None where there are none.

    Raises:
        ColumnError: cells may be lists, or several columns may be.
    """
    item = given.get("item")
    others = [column for role, column in given.items() if role != "item"]
    names = [item] if item else [column for column in table.columns if column not in others]
    ways = [way for way in cells.list_columns(table, names) if item or not hints.is_attribute(way.column)]
    if not ways:
        return None
    listed = {way.column for way in ways}
    if (
        item is None
        and table.header
        and any(hints.is_item(column) for column in names if column not in listed)
    ):
        return None
    sure = [way for way in ways if _is_sure(table, way, item is not None)]
    if sure:
        best = max(
            sure, key=lambda way: (hints.is_item_list(way.column), hints.is_item(way.column), way.ratio)
        )
        beside = cells.parallel_columns(table, best, names)
        alternatives = [way.column for way in sure if way is not best and way.column not in beside]
        alternatives = [
            column
            for column in alternatives
            if hints.is_item_list(column) or not hints.is_item_list(best.column)
        ]
        if alternatives:
            both = [column for column in table.columns if column in {best.column, *alternatives}]
            raise ColumnError(
                f"{table.name} has lists in {len(both)} columns of which each could be what was bought: "
                f"{_listed(both)}; choose one, such as with --item-column {both[0]!r}"
            )
        return _of_cells(table, best, options)
    for way in ways:
        if _is_doubtful(table, way):
            raise ColumnError(
                f"column {way.column!r} of {table.name} may hold lists of items, such as {_example(table, way)}; give "
                "--layout lists where each part is an item, or --layout rows where each cell is one"
            )
    return None


def _is_sure(table: Table, way: cells.ListColumn, named: bool) -> bool:
    """Tell whether a column holds lists of items for certain.

    Args:
        table: its table.
        way: the column with what its values say.
        named: whether somebody names it as the item.
    """
    if way.separator == cells.BRACKETS:
        return named or not table.header or hints.is_item_list(way.column) or hints.is_item(way.column)
    if not table.header and not named:
        # without names: beside a list there must be somebody, and nothing else that could be an item
        others = [column for column in table.columns if column != way.column]
        alone = len(others) > 1 and all(
            _is_unique(table, column) for column in others
        )  # as in a table of items
        return way.is_likely and bool(others) and not alone and not any(_is_words(table, c) for c in others)
    if named or hints.is_item_list(way.column):
        return way.mixed >= 0.3 and (way.cells >= 0.2 or way.is_likely)
    if hints.is_item(way.column):
        return way.mixed >= 0.5 and way.ratio >= 1.5 and (way.cells >= 0.2 or way.is_likely)
    return way.is_likely and any(map(hints.is_user, table.columns))


def _is_doubtful(table: Table, way: cells.ListColumn) -> bool:
    """Tell whether a column may hold lists of items, so that somebody must say it."""
    if not table.header:
        # films and their genres are no purchases: each title is there once
        others = [column for column in table.columns if column != way.column]
        if len(others) > 1 and all(_is_unique(table, column) for column in others):
            return False
        return way.is_likely and not any(_is_words(table, c) and _is_unique(table, c) for c in others)
    if hints.is_item_list(way.column):
        # parts that have their places, and are always as many, are those of a name
        return way.cells >= 0.5 and way.ratio >= 2 and (way.mixed >= 0.1 or way.varied)
    return way.is_likely and way.separator != cells.BRACKETS


def _is_unique(table: Table, column: str) -> bool:
    """Tell whether nearly all values of a column are there once."""
    cell = quoted(column)
    return bool(
        table.engine.value(
            f"SELECT count(DISTINCT {cell}) >= 0.9 * count({cell}) FROM {table.sample(_SAMPLE)}"
        )
    )


def _is_words(table: Table, column: str) -> bool:
    """Tell whether a column holds words rather than ids, numbers or dates."""
    cell = quoted(column)
    words = f"regexp_matches({cell}, '^\\D*$') OR regexp_matches({cell}, '[[:alpha:]]{{3}}.* ')"
    return bool(table.engine.value(f"SELECT avg(({words})::INT) > 0.3 FROM {table.sample(_SAMPLE)}"))


def _example(table: Table, way: cells.ListColumn) -> str:
    """Return a cell with several parts, in quotes."""
    cell = str(
        table.engine.value(
            f"SELECT {quoted(way.column)} FROM {table.sample(_SAMPLE)} WHERE len({way.parts}) > 1 LIMIT 1"
        )
    )
    return repr(cell if len(cell) < 60 else cell[:57] + "…")


# ---- how it is done -------------------------------------------------------------------------------------------------


def _of_matrix(matrix: crosstab.Matrix) -> _Unfolding:
    """Return how columns become items."""
    pairs = ", ".join(
        f"{{'item': {text(column.strip())}, 'value': {crosstab.bought(column)}}}" for column in matrix.columns
    )
    entry = quoted(_free("entry", matrix.rest))
    opened = f"unnest(list_filter([{pairs}], lambda entry: entry.value IS NOT NULL)) AS {entry}"
    picked = [*map(quoted, matrix.rest), f"{entry}.item AS {quoted(_free('item', matrix.rest))}"]
    if matrix.value:
        picked.append(f"{entry}.value AS {quoted(_free(matrix.value, matrix.rest))}")
    said = {
        "": "a cell says whether it was bought",
        "quantity": "a cell is a quantity",
        "rating": "a cell is a rating",
    }
    note = (
        f"{len(matrix.columns):,} columns, from {matrix.columns[0]!r} to {matrix.columns[-1]!r}, are an item each; "
        f"{said[matrix.value]}"
    )
    return _Unfolding("matrix", list(matrix.rest), [opened], picked, "", note)


def _of_wide(table: Table, wide: crosstab.Wide) -> _Unfolding:
    rest = [column for column in table.columns if column not in wide.columns]
    names = {group: quoted(_free(group, rest)) for group in wide.groups}
    opened = [
        f"unnest([{', '.join(crosstab.filled(column) for column in columns)}]) AS {names[group]}"
        for group, columns in wide.groups.items()
    ]
    columns = wide.groups[wide.item]
    note = f"the {len(columns)} columns from {columns[0]!r} to {columns[-1]!r} hold one item each"
    note += f", {wide.count!r} says how many" if wide.count else ""
    firsts = {group[0]: names[name] for name, group in wide.groups.items()}
    picked = [
        firsts.get(column, quoted(column)) for column in table.columns if column in firsts or column in rest
    ]
    return _Unfolding("baskets", rest, opened, picked, f"{names[wide.item]} IS NOT NULL", note)


def _of_cells(table: Table, way: cells.ListColumn, options: ReadOptions) -> _Unfolding:
    """Return how the lists in a column become rows, with those that run in parallel."""
    beside = cells.parallel_columns(table, way, table.columns)
    rest = [column for column in table.columns if column != way.column and column not in beside]
    named = way.column in _given(table, options).values() or options.columns is not None
    item = way.column if named or hints.is_item(way.column) else _free("item", [*rest, *beside])
    parts = cells.aligned_parts(table, way) if beside else way.parts
    opened = [f"unnest(coalesce({parts}, [NULL])) AS {quoted(item)}"]
    opened += [f"unnest(coalesce({sql}, [NULL])) AS {quoted(column)}" for column, sql in beside.items()]
    cell = quoted(item)
    pattern = None if beside or "quantity" in map(str.lower, rest) else cells.counted_pattern(table, way)
    entry = cell if pattern is None else f"{cells.counted(cell, pattern, 'i')} AS {cell}"
    picked = [entry if column == way.column else quoted(column) for column in table.columns]
    if pattern is not None:
        picked.append(f"{cells.counted(cell, pattern, 'n')} AS quantity")
    condition = f"{cell} IS NULL OR {cell} <> ''"
    mark = {",": "commas", ";": "semicolons", "|": "vertical bars", "\n": "line ends", " ": "blanks"}.get(
        way.separator
    )
    note = (
        f"the lists in column {way.column!r}"
        + (f", apart by {mark}," if mark else "")
        + " become a row for each item"
    )
    if item != way.column:
        note += f", in column {item!r}"
    if beside:
        note += f"; {_listed(list(beside))} run in parallel"
    if pattern is not None:
        note += "; the number beside each item is its quantity"
    return _Unfolding("lists", rest, opened, picked, condition, note)


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that no column has, this one if possible."""
    used = {column.lower() for column in taken}
    ways = [name, *(f"{name}_{number}" for number in range(2, len(used) + 3))]
    return next(way for way in ways if way.lower() not in used)


def _unfolded(table: Table, found: _Unfolding, options: ReadOptions) -> Table:
    """Return the table as rows, with a number for each basket where nothing else tells them apart."""
    numbered, alone = _needs_basket(table, found.rest, options)
    relation, rest, picked = table.relation, list(map(quoted, found.rest)), list(found.picked)
    named = table.header or not rest
    if numbered:
        number = quoted(_free("basket number", table.columns))
        relation = f"(SELECT row_number() OVER () AS {number}, * FROM {table.relation})"
        rest.append(number)
        picked.append(f"{number} AS {quoted(_free('basket', found.rest))}")
    if (
        not table.header
        and len(found.rest) == 1
        and options.columns is None
        and rest[0] not in _given(table, options)
    ):
        picked[picked.index(rest[0])] = f"{rest[0]} AS user"
        named = True
    inside = f"SELECT {', '.join([*rest, *found.opened])} FROM {relation}"
    where = f" WHERE {found.condition}" if found.condition else ""
    view = table.engine.view(f"SELECT {', '.join(picked)} FROM ({inside}){where}", "unfolded")
    note = Note(found.note + ("; each row is a basket and stands for a user" if alone else ""), code="layout")
    note = replace(note, advice=_ROWS_ADVICE if options.layout is None else "")
    return replace(
        table.with_notes(note),
        relation=view,
        types=table.engine.describe(view),
        header=named,
        layout=found.layout,
        basket_is_user=alone,
        _samples={},
    )


def _needs_basket(table: Table, rest: Sequence[str], options: ReadOptions) -> tuple[bool, bool]:
    """Tell whether baskets must be numbered, and whether each of them stands for a user.

    A column that could be the user by its values, under whatever name, is left to be asked for.
    """
    given = _given(table, options)
    users = [given["user"]] if "user" in given else [column for column in rest if hints.is_user(column)]
    if "basket" in given or any(map(hints.is_basket, rest)):
        others = users or options.orders or any(_may_be_user(table, column) for column in rest)
        return False, not others
    if not table.header and rest:
        users.append(rest[0])
    if users:
        cell = quoted(users[0])
        repeated = f"SELECT count(DISTINCT {cell}) < 0.95 * count({cell}) FROM {table.sample(_SAMPLE)}"
        return bool(table.engine.value(repeated)), False
    return True, not any(_may_be_user(table, column) for column in rest)


def _may_be_user(table: Table, column: str) -> bool:
    """Tell whether a column of another name may hold users: many values, of which several occur again, and no times."""
    if hints.is_measure(column) or table.types[column] not in {
        "VARCHAR",
        "BIGINT",
        "INTEGER",
        "UBIGINT",
        "UUID",
    }:
        return False
    cell = f"{quoted(column)}::VARCHAR"
    is_time = (
        rf"regexp_matches({cell}, '^\d{{1,4}}[-./]\d{{1,2}}[-./]\d{{1,4}}|^\d{{1,2}}:\d{{2}}|^\d+[.,]\d+$')"
    )
    different, filled, times = table.engine.row(
        f"SELECT count(DISTINCT {cell}), count({cell}), count(*) FILTER ({is_time}) FROM {table.sample(_SAMPLE)}"
    )
    return bool(max(10, 0.1 * filled) < different < filled and times < 0.5 * filled)


def _given(table: Table, options: ReadOptions) -> dict[str, str]:
    """Return the columns of the table that the options give, by role."""
    found = {role: getattr(options, f"{role}_column") for role in ROLES if role != "clock"}
    for place, role in enumerate(options.columns or ()):
        if role in ROLES and place < len(table.columns):
            found[role] = table.columns[place]
    return {role: column for role, column in found.items() if column and column in table.types}


def _listed(names: Sequence[str], most: int = 8) -> str:
    """Return names in quotes, the first ones where they are many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
