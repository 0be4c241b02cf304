"""Several tables: lines of orders joined with their orders, names from a table of items, and what a folder holds.

The column that joins two tables is found by names and checked by values: it identifies the rows of one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from recae.errors import ColumnError, SourceError
from recae.reading.engine import Engine, quoted, text
from recae.reading.names import Name, plain
from recae.reading.options import ReadOptions
from recae.reading.table import Note, Table

_GENERIC: Final = ("id", "no", "nr", "number", "key", "code", "name", "index", "row", "rowid", "#")
"""Names that every table may have for something of its own."""

_SHOWN: Final = 30  # columns named in a message
_TOLD: Final = 8  # tables described in a message
_COMPARED: Final = 30  # tables compared with each other
_BRIEF: Final = 6  # columns of each
_MANY: Final = 20  # orders from which on it is no accident that each has another user
_NAMED: Final = 0.5  # of the values: names differ more than that, categories do not


@dataclass(frozen=True)
class _Key:
    """The columns that join lines with their orders.

    Attributes:
        lines, orders: their names there.
        distinct: whether orders that are repeated as a whole count once.
    """

    lines: str
    orders: str
    distinct: bool = False


def join(table: Table, options: ReadOptions) -> Table:
    """Join lines of orders with the orders that ``options.orders`` names, by the column that both share.

    Either table may be the orders: it is the one whose rows that column identifies. The rows are those of the lines, in
    their order; lines without an order stay, without the orders' values.

    Args:
        table: the lines, or the orders.
        options: how it was opened, and where the other one is.

    Raises:
        SourceError: the other table cannot be read, or no value joins them.
        ColumnError: no column joins the tables, or several would.
    """
    if options.orders is None:
        return table
    lines, orders, key = _oriented(table, _opened(table.engine, options.orders, options))
    engine, used = table.engine, {plain(name) for name in lines.columns}
    selected = [f"l.{quoted(name)}" for name in lines.columns]
    for name in orders.columns:
        if plain(name) == plain(key.lines) and name == key.orders:
            continue
        selected.append(f"o.{quoted(name)} AS {quoted(_free(name, orders, used))}")
    row, number, lacking = (
        _unused(word, [*lines.columns, *orders.columns]) for word in ("row", "number", "lacking")
    )
    distinct = "DISTINCT " if key.distinct else ""
    # a join need not keep the order of rows
    stored = engine.store(
        f"SELECT {', '.join(selected)}, o.{number} IS NULL AS {lacking} FROM "
        f"(SELECT *, {_value(lines, key.lines)} AS {number}, row_number() OVER () AS {row} FROM {lines.relation}) l "
        f"LEFT JOIN (SELECT {distinct}*, {_value(orders, key.orders)} AS {number} FROM {orders.relation}) o "
        f"ON l.{number} = o.{number} ORDER BY l.{row}",
        "joined",
    )
    joined = engine.view(f"SELECT * EXCLUDE ({lacking}) FROM {stored}", "joined_rows")
    rows, without = engine.row(f"SELECT count(*), count(*) FILTER (WHERE {lacking}) FROM {stored}")
    notes = [
        Note(f"'{lines.name}' is joined with the orders in '{orders.name}' by {_by(key)}", column=key.lines)
    ]
    if rows and without == rows:
        raise SourceError(
            f"'{lines.name}' and '{orders.name}' share column {_by(key)}, but no value of it; check that they belong "
            "together"
        )
    if without:
        notes.append(
            Note(
                f"{key.lines}: {without:,} of {rows:,} rows have no order in '{orders.name}'",
                doubt=True,
                code="rows-without-order",
                column=key.lines,
                rows=int(without),
            )
        )
    commas = {lines.decimal_comma, orders.decimal_comma} - {None}
    return replace(
        lines,
        relation=joined,
        types=engine.describe(joined),
        files=(*lines.files, *orders.files),
        notes=(*table.notes, *notes),
        decimal_comma=commas.pop() if len(commas) == 1 else None,
        skipped=lines.skipped + orders.skipped,
        rejected=lines.rejected or orders.rejected,
        _samples={},
    )


def item_names(engine: Engine, options: ReadOptions, ids: str | None = None) -> str | None:
    """Return the names of items in the table that ``options.items`` names; None where none is named.

    Args:
        engine: to read it with.
        options: how the purchases are read.
        ids: relation (id VARCHAR) of the items that were bought; the column of ids is the one that holds most of them.
            None: it is told by its name.

    Returns:
        a relation (id VARCHAR, name VARCHAR), a row an id; the most frequent name of each, the first seen of equals.

    Raises:
        SourceError: the table cannot be read.
        ColumnError: no column holds ids of items.
    """
    if options.items is None:
        return None
    table = _opened(engine, options.items, options)
    given = {meaning: names for meaning, names in options.items_columns or () if meaning in ("id", "name")}
    for meaning, names in given.items():
        if any(name not in table.types for name in names):
            raise ColumnError(
                f"--items-columns names {', '.join(map(repr, names))} as {meaning}, which '{table.name}' does not "
                f"have; found: {_names(table)}"
            )
    column = given["id"][0] if given.get("id") else id_column(table, ids)
    told = "name" in given
    named = next(iter(given["name"]), None) if told else name_column(table, column, options.name_column)
    name = "NULL::VARCHAR" if named is None else table.as_text(named)
    if named is not None:
        name = f"CASE WHEN NOT {Table.missing(name)} THEN {name} END"
    rows = f"SELECT {_value(table, column)} AS id, {name} AS name, row_number() OVER () AS row FROM {table.relation}"
    return engine.store(
        f"SELECT id, name FROM (SELECT id, name, count(*) AS n, min(row) AS first FROM ({rows}) WHERE id IS NOT NULL "
        "GROUP BY id, name) "
        "QUALIFY row_number() OVER (PARTITION BY id ORDER BY name IS NULL, n DESC, first) = 1",
        "item_names",
    )


def folder_advice(tables: Sequence[Table]) -> str:
    """Return what a folder of different tables holds and how to join them, as a sentence without its full stop.

    Args:
        tables: those of the folder.
    """
    alike: dict[frozenset[str], list[Table]] = {}
    for table in tables:
        alike.setdefault(frozenset(table.columns), []).append(table)
    tables = [same[0] for same in alike.values()]
    shown = [
        f"{_base(same[0])} ({_brief(same[0])}{f'; {len(same) - 1} more like it' if len(same) > 1 else ''})"
        for same in list(alike.values())[:_TOLD]
    ]
    tables, more_tables = tables[:_COMPARED], len(tables) - _TOLD
    more = f" and {more_tables} more" if more_tables > 0 else ""
    said = f"it holds different tables: {'; '.join(shown)}{more}"
    pair = _lines_and_orders(tables)
    if pair is None:
        whole = [table for table in tables if _has(table, "user") and _has(table, "item")]
        if not whole:
            return f"{said}; name the one with the purchases, or join them with --query"
        purchases = max(whole, key=_rows)
        return (
            f"{said}; read the one with the purchases: recae train {_shell(purchases.name)}"
            f"{_beside(tables, purchases)}"
        )
    lines, orders, key = pair
    query = f"select * from {text(_base(orders))} join {text(_base(lines))} {_condition(lines, orders, key)}"
    beside = _beside([table for table in tables if table is not orders], lines)
    customers = _customers(tables, orders)
    if customers is not None:
        known, user = customers
        query += f" join {text(_base(known))} using ({_word(user)})"
    folder = Path(lines.name).parent
    by_query = f'recae train {_shell(str(folder))} --query "{_escaped(query)}"{beside}'
    if customers is not None:
        return (
            f"{said}; {user!r} of {_base(orders)} has a value of its own for each order, so join the customers, too: "
            f"{by_query}"
        )
    command = f"recae train {_shell(lines.name)} --orders {_shell(orders.name)}{beside}"
    return f"{said}; join the lines with their orders: {command}, or say how: {by_query}"


# the column that joins


def _oriented(table: Table, other: Table) -> tuple[Table, Table, _Key]:
    """Return the lines, the orders, and the columns that join them."""
    for bare in (table, other):
        if not bare.header:
            raise ColumnError(
                f"'{bare.name}' has no header, so nothing says which column joins it; join the tables with --query, in "
                'which its columns are "1", "2" and so on'
            )
    pairs = _pairs(table, other)
    if not pairs:
        raise ColumnError(
            f"'{table.name}' and '{other.name}' share no column that could join them; join them with --query "
            f'"select … from {text(table.name)} join {text(other.name)} on …"; found: {_names(table)} in the one, '
            f"{_names(other)} in the other"
        )
    for lines, orders, turned in ((table, other, False), (other, table, True)):
        found = []
        for mine, its in pairs:
            ours, theirs = (its, mine) if turned else (mine, its)
            distinct = _identifies(orders, theirs)
            if distinct is not None:
                found.append(_Key(ours, theirs, distinct))
        if len(found) == 1:
            return lines, orders, found[0]
        if found:
            raise ColumnError(
                f"'{table.name}' and '{other.name}' share several columns that could join them "
                f'({", ".join(_by(key) for key in found)}); say which with --query "select * from {text(orders.name)} '
                f'join {text(lines.name)} using ({found[0].lines})"'
            )
    mine, its = pairs[0]
    if len(pairs) > 1:
        raise ColumnError(
            f"'{table.name}' and '{other.name}' share several columns "
            f"({', '.join(repr(pair[0]) for pair in pairs)}), and "
            f'none alone identifies a row; join them with --query "select * from {text(other.name)} join '
            f'{text(table.name)} using ({", ".join(pair[0] for pair in pairs)})"'
        )
    value = _value(other, its)
    example, times = other.engine.row(
        f"SELECT v, count(*) FROM (SELECT {value} AS v FROM {other.relation}) WHERE v IS NOT NULL GROUP BY v "
        "ORDER BY count(*) DESC, v LIMIT 1"
    )
    raise ColumnError(
        f"column {its!r}, which '{table.name}' and '{other.name}' share, identifies no row of either: {example!r} has "
        f"{times:,} rows in '{other.name}'; give a table with one row an order, or join them with --query"
    )


def _pairs(table: Table, other: Table) -> list[tuple[str, str]]:
    """Return the columns of two tables that may mean the same: of one name, or "id" and "order_id"."""
    theirs = {plain(name): name for name in reversed(other.columns)}
    same = [(name, theirs[plain(name)]) for name in table.columns if plain(name) in theirs]
    telling = [pair for pair in same if plain(pair[0]) not in _GENERIC and _share(table, other, *pair)]
    orders = [pair for pair in telling if Name(pair[0]).preference("basket") is not None]
    if telling:
        # dates, shops and users are shared as well, and join nothing where there is an order's number
        return orders if len(orders) == 1 else telling
    by_order = [
        pair
        for pair in _generic_pairs(table, other) + [(b, a) for a, b in _generic_pairs(other, table)]
        if _share(table, other, *pair)
    ]
    return by_order or [pair for pair in same if _share(table, other, *pair)] or same[:1]


def _generic_pairs(lines: Table, orders: Table) -> list[tuple[str, str]]:
    """Return (order_id of the lines, id of the orders)."""
    numbers = [name for name in lines.columns if Name(name).preference("basket") is not None]
    ids = [name for name in orders.columns if plain(name) in _GENERIC]
    return [(number, name) for number in numbers for name in ids]


def _share(table: Table, other: Table, mine: str, its: str) -> float:
    """Return the share of the values of some rows of a column that another table's column holds."""
    value = _value(table, mine)
    found, values = table.engine.row(
        f"SELECT count(*) FILTER (WHERE v IN (SELECT {_value(other, its)} FROM {other.relation})), count(*) "
        f"FROM (SELECT DISTINCT {value} AS v FROM {table.sample()}) WHERE v IS NOT NULL"
    )
    return float(found / values) if values else 0.0


def _identifies(table: Table, column: str) -> bool | None:
    """Tell whether a column identifies the rows of a table: False for yes, True where repeated rows must go; None."""
    value, engine = _value(table, column), table.engine
    rows, values = engine.row(f"SELECT count({value}), count(DISTINCT {value}) FROM {table.relation}")
    if rows == values:
        return False
    if values < rows // 2:
        return None
    whole = engine.value(f"SELECT count({value}) FROM (SELECT DISTINCT * FROM {table.relation})")
    return True if whole == values else None


def _value(table: Table, column: str) -> str:
    """Return SQL for a key as text, whole numbers alike whatever type they have."""
    kind = table.types[column]
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        name = quoted(column)
        whole = f"{name} = trunc({name}) AND abs({name}) < 1e18"
        return f"CASE WHEN {whole} THEN {name}::BIGINT::VARCHAR ELSE {name}::VARCHAR END"
    return table.as_text(column)


# the table of items


def id_column(table: Table, ids: str | None) -> str:
    """Return the column of a table of items that holds their ids."""
    engine = table.engine
    single = [
        name
        for name, kind in table.types.items()
        if not kind.endswith("]") and not kind.startswith(("STRUCT", "MAP"))
    ]
    if ids is None:
        ranked = [(tier, name) for name in single if (tier := Name(name).preference("item")) is not None]
        plain_ids = [name for name in single if plain(name) in _GENERIC]
        # a mere name tells less than a column called id
        sure = [fit for fit in ranked if fit[0] < 4]
        named = [[name for _, name in sorted(fits)[:1]] for fits in (sure, ranked)]
        found = next(iter([*named[0], *plain_ids, *named[1], *single]), None)
        if found is None:
            raise ColumnError(f"'{table.name}' has no column of ids of items; found: {_names(table)}")
        return found
    shared = []
    for place, name in enumerate(single):
        known = engine.value(
            f"SELECT count(*) FROM {ids} WHERE id IN (SELECT {_value(table, name)} FROM {table.relation})"
        )
        shared.append((-int(known), Name(name).preference("item") is None, place, name))
    best = min(shared, default=None)
    if best is None or not best[0]:
        examples = ", ".join(
            repr(str(row[0])) for row in engine.rows(f"SELECT id FROM {ids} ORDER BY id LIMIT 3")
        )
        raise ColumnError(
            f"no column of '{table.name}' holds ids of the items that were bought, such as {examples}; give a table of "
            f"items with --items, or leave it out; found: {_names(table)}"
        )
    return best[3]


def name_column(table: Table, ids: str, given: str | None, without: Sequence[str] = ()) -> str | None:
    """Return the column of a table of items that holds their names, none of some others; None where none does."""
    if given and given in table.types:
        return given
    others = [name for name in table.columns if name != ids and table.is_text(name) and name not in without]
    letters, marks = r"'\p{L}{2}'", r"'^(https?://|/|[\[{]|\d[^\p{L}]*$)'"
    day = r"'\d{1,2}-\p{L}{3}-\d{4}'"
    if not others:
        return None
    parts = []
    for name in others:
        value = table.as_text(name)
        words = f"regexp_matches({value}, {letters}) AND NOT regexp_matches({value}, {marks})"
        dates = f"TRY_CAST({value} AS TIMESTAMP) IS NOT NULL OR regexp_full_match({value}, {day})"
        parts += [
            f"count(DISTINCT {value})",
            f"count({value})",
            f"count(*) FILTER (WHERE {words} AND NOT ({dates}))",
        ]
    figures = table.engine.row(f"SELECT {', '.join(parts)} FROM {table.sample()}")
    fits = []
    for place, name in enumerate(others):
        distinct, values, words = figures[3 * place : 3 * place + 3]
        if not values or words < _NAMED * values:
            continue
        tier = Name(name).preference("name") if table.header else None
        if tier is None and distinct < _NAMED * values:
            continue
        long = plain(name).startswith(("desc", "beschreibung", "text", "detail"))
        fits.append((9.0 if tier is None else tier, long, place, name))
    return min(fits)[3] if fits else None


# what a folder holds


def _lines_and_orders(tables: Sequence[Table]) -> tuple[Table, Table, _Key] | None:
    """Return the table of what was bought in each order, that of who ordered, and what joins them."""
    found = []
    for lines in tables:
        if not _has(lines, "item") or _has(lines, "user"):
            continue
        for orders in tables:
            if orders is lines or not _has(orders, "user"):
                continue
            pairs = _pairs(lines, orders)
            keys = [
                _Key(mine, its, distinct)
                for mine, its in pairs
                if (distinct := _identifies(orders, its)) is not None and _share(lines, orders, mine, its)
            ]
            if len(keys) == 1:
                rows = lines.engine.value(f"SELECT count(*) FROM {lines.relation}")
                found.append(
                    (-_share(lines, orders, keys[0].lines, keys[0].orders), -rows, lines, orders, keys[0])
                )
    best = min(found, key=lambda one: one[:2], default=None)
    return None if best is None else best[2:]


def _items_table(tables: Sequence[Table], lines: Table) -> Table | None:
    """Return the table whose rows are items of the lines, with a name for each."""
    for table in tables:
        if table is lines or _has(table, "user"):
            continue
        theirs = {plain(name): name for name in table.columns}
        for name in lines.columns:
            its = theirs.get(plain(name))
            if its is None or Name(name).preference("item") is None or _identifies(table, its) is None:
                continue
            if _share(lines, table, name, its) and name_column(table, its, None) is not None:
                return table
    return None


def _has(table: Table, role: str) -> bool:
    """Tell whether a column's name proposes a role without doubt."""
    tiers = (Name(name).preference(role) for name in table.columns)
    return any(tier is not None and tier < 4 for tier in tiers)  # from there on it is a mere name


def _beside(tables: Sequence[Table], lines: Table) -> str:
    items = _items_table(tables, lines)
    return f" --items {_shell(items.name)}" if items is not None else ""


def _customers(tables: Sequence[Table], orders: Table) -> tuple[Table, str] | None:
    """Return the table that knows customers again where those of the orders are new in each, and what joins it."""
    users = [(tier, name) for name in orders.columns if (tier := Name(name).preference("user")) is not None]
    if not users:
        return None
    user = min(users)[1]
    value = _value(orders, user)
    rows, distinct = orders.engine.row(
        f"SELECT count({value}), count(DISTINCT {value}) FROM {orders.relation}"
    )
    if rows < _MANY or distinct < rows:
        return None
    for table in tables:
        others = [name for name in table.columns if plain(name) != plain(user)]
        if (
            table is not orders
            and user in table.types
            and any(Name(name).preference("user") is not None for name in others)
            and _identifies(table, user) is not None
            and _share(orders, table, user, user)
        ):
            return table, user
    return None


def _condition(lines: Table, orders: Table, key: _Key) -> str:
    if key.lines == key.orders:
        return f"using ({_word(key.lines)})"
    return f"on {_dotted(lines, key.lines)} = {_dotted(orders, key.orders)}"


def _rows(table: Table) -> int:
    return int(table.engine.value(f"SELECT count(*) FROM {table.relation}"))


# words


def _opened(engine: Engine, source: Any, options: ReadOptions) -> Table:
    """Open a table beside the purchases: rows, whatever they are like."""
    # imported by its name, since opening a folder asks here what to do about it
    open_table = import_module("recae.reading.open").open_table
    found: Table = open_table(engine, source, ReadOptions(layout="rows", bad_lines=options.bad_lines))
    return found


def _free(name: str, orders: Table, used: set[str]) -> str:
    """Return a name for a column of the orders that no column has yet."""
    stem = re.sub(r"\W+", "_", Path(orders.name).name.partition(".")[0]).strip("_") or "orders"
    wanted, number = name, 1
    while plain(wanted) in used:
        wanted = f"{stem}_{name}" if number == 1 else f"{stem}_{name}_{number}"
        number += 1
    used.add(plain(wanted))
    return wanted


def _unused(word: str, names: Sequence[str]) -> str:
    used = {name.casefold() for name in names}
    while word in used:
        word += "_"
    return quoted(word)


def _by(key: _Key) -> str:
    return repr(key.lines) if key.lines == key.orders else f"{key.lines!r} = {key.orders!r}"


def _names(table: Table) -> str:
    names = table.columns
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _brief(table: Table) -> str:
    names = table.columns
    return ", ".join(names[:_BRIEF]) + (", …" if len(names) > _BRIEF else "")


def _base(table: Table) -> str:
    return Path(table.name).name


def _word(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else quoted(name)


def _dotted(table: Table, column: str) -> str:
    stem = Path(table.name).stem  # as --query calls it
    return f"{_word(stem)}.{_word(column)}"


def _shell(path: str) -> str:
    return path if re.fullmatch(r"[\w./:+@%,-]+", path) else "'" + path.replace("'", "'\\''") + "'"


def _escaped(query: str) -> str:
    return query.replace("\\", "\\\\").replace('"', '\\"')
