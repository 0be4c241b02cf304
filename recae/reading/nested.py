"""Nested tables: structs become columns, and lists of what was bought become one row an item.

Documents hold orders, orders hold lines, lines hold products. At each level the list is unfolded that brings what is
still missing, a user or an item; what is outside is repeated beside each element.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from recae.errors import ColumnError
from recae.reading import hints
from recae.reading.engine import Engine, quoted, text
from recae.reading.options import ReadOptions
from recae.reading.table import Note, Table

if TYPE_CHECKING:
    from duckdb import sqltypes

_WRAPPERS: Final = {"edges", "node", "nodes", "_source", "element", "attributes", "fields", "data"}
_GENERIC: Final = {
    "id", "uuid", "guid", "gid", "name", "code", "number", "no", "nr", "num", "key", "value", "title", "handle", "type",
}  # fmt: skip
_OWN: Final = re.compile(
    r".[_ ]?(id|no|nr|number|code|key|sku|asin|isbn)$|^(e_?mail|sku|asin|isbn|ean|gtin|upc)$"
)
_CLEAR: Final = 2  # by how much the best list's score must be above the next one's
_SAMPLE: Final = 20_000
_KEYS: Final = 5  # from which on the keys of an object may be users
_SHOWN: Final = 6  # lists that are named in a message


@dataclass(frozen=True)
class _Column:
    """A column on its way out of a nested one.

    Attributes:
        path: the keys that lead to it, from the outside.
        inner: how many of them are above the innermost list's elements.
        sql: the SQL that reads it.
        kind: its DuckDB type.
    """

    path: tuple[str, ...]
    inner: int
    sql: str
    kind: sqltypes.DuckDBPyType

    @property
    def dotted(self) -> str:
        """The path as one name."""
        return ".".join(self.path)

    @property
    def is_list(self) -> bool:
        """Whether it holds lists."""
        return self.kind.id in {"list", "array", "map"}

    def named(self, name: str) -> bool:
        """Tell whether a column's name is this path, or its end, or one of something inside it."""
        wanted = name.replace("[]", "").lower()
        ways = (".".join(self.path[start:]).lower() for start in range(len(self.path)))
        return any(wanted == way or wanted.startswith(way + ".") for way in ways)


def is_nested(table: Table) -> bool:
    """Tell whether a table has columns of structs, lists or JSON."""
    return any(
        kind == "JSON" or kind.endswith("]") or kind[:3] in {"STR", "MAP"} for kind in table.types.values()
    )


def keyed(table: Table) -> Table:
    """Return the table of an object whose keys are users and whose values are their lists; else the table itself."""
    kinds = set(table.types.values())
    if len(kinds) > 1 or len(table.columns) < _KEYS or not next(iter(kinds)).endswith(("]", "JSON")):
        return table
    known = (
        hints.is_user,
        hints.is_item,
        hints.is_basket,
        hints.is_time,
        hints.is_quantity,
        hints.is_item_list,
    )
    if any(is_known(name) for name in table.columns for is_known in known):
        return table
    if table.engine.value(f"SELECT count(*) FROM (SELECT 1 FROM {table.relation} LIMIT 2)") != 1:
        return table
    arrays = " AND ".join(f"json_type({quoted(name)}) = 'ARRAY'" for name in table.columns)
    if kinds == {"JSON"} and not table.engine.value(f"SELECT {arrays} FROM {table.relation}"):
        return table
    pairs = ", ".join(f"{{'user': {text(name)}, 'items': {quoted(name)}}}" for name in table.columns)
    view = table.engine.view(f"SELECT unnest([{pairs}], max_depth := 2) FROM {table.relation}", "keyed")
    return replace(table, relation=view, types=table.engine.describe(view), _samples={})


def flatten(table: Table, options: ReadOptions, unfold: bool = True) -> Table:
    """Return a table without structs, and without the lists that hold what was bought.

    Args:
        table: any table.
        options: columns that are named there are found by their path, too.
        unfold: whether lists become rows; False: they stay as they are.

    Raises:
        ColumnError: several lists could be what was bought.
    """
    import duckdb

    columns = _parsed(table)
    query = _select(columns, table.relation)
    columns = _renumbered(columns)
    unfolded: list[_Column] = []
    alone = False
    while unfold and (chosen := _choose(table, query, _within(columns, unfolded), columns, options)):
        of_baskets = bool(unfolded) and unfolded[-1].path == chosen[0].path  # lists in lists
        if _stands_alone(columns, chosen) or (of_baskets and not _names_basket(columns)):
            alone = not any(hints.is_user(_short(column)) for column in columns)
            query = f"SELECT row_number() OVER () AS c{len(columns)}, * FROM ({query})"
            columns.append(_Column(("basket",), 0, f"c{len(columns)}", duckdb.sqltype("BIGINT")))
        unfolded.append(chosen[0])
        query, columns = _unnest(table.engine, query, columns, chosen)
    lists = [column for column in columns if column.is_list]
    remaining = [column for column in columns if not (unfolded and column.is_list)]
    given = _given(options)
    remaining = [_renamed(column, unfolded, remaining, given) for column in remaining]
    names = _names(remaining, given)
    picked = ", ".join(
        f"{column.sql} AS {quoted(name)}" for column, name in zip(remaining, names, strict=True)
    )
    view = table.engine.view(f"SELECT {picked} FROM ({query})", "flat")
    flat = replace(table, relation=view, types=table.engine.describe(view), _samples={})
    if not unfolded:
        return flat
    steps = ".".join(f"{key}[]" for key in _steps(unfolded)).replace(".[]", "[]")
    left = (
        f"; other lists are left out: {', '.join(repr(column.dotted) for column in lists)}" if lists else ""
    )
    left += "; each list is a basket and stands for a user" if alone else ""
    note = Note(f"nested lists become rows: one for each element of '{steps}'{left}", code="layout")
    return replace(flat.with_notes(note), layout="lists", basket_is_user=alone)


def _within(columns: list[_Column], unfolded: list[_Column]) -> list[_Column]:
    """Return the lists inside the elements of the last list that was unfolded; those beside it are not its business."""
    last = unfolded[-1].path if unfolded else ()
    lists = [column for column in columns if column.is_list]
    return [column for column in lists if column.path[: len(last)] == last and column.inner >= len(last)]


def _names_basket(columns: list[_Column]) -> bool:
    """Tell whether a column's name is one of orders or baskets."""
    return any(hints.is_basket(_short(column)) for column in columns if not column.is_list)


def _renamed(column: _Column, unfolded: list[_Column], columns: list[_Column], given: list[str]) -> _Column:
    """Return a column of plain values from a list as the item, where no name says that there is one."""
    plain = unfolded and column.path == unfolded[-1].path and column.inner == len(column.path)
    named = any(column.named(name) for name in given)
    if not plain or named or any(hints.is_item(_short(other)) for other in columns):
        return column
    return replace(column, path=("item",), inner=1)


def _steps(unfolded: list[_Column]) -> list[str]:
    """Return the parts of the path through all lists that were unfolded."""
    steps, before = [], 0
    for column in unfolded:
        steps.append(".".join(column.path[before:]))
        before = len(column.path)
    return steps


def _parsed(table: Table) -> list[_Column]:
    """Return the table's columns with all structs taken apart, JSON read as what it holds."""
    import duckdb

    columns: list[_Column] = []
    for name, kind in table.types.items():
        sql = quoted(name)
        if kind == "JSON":
            shape = table.engine.value(f"SELECT json_group_structure({sql}) FROM {table.relation}")
            sql, kind = _from_json(sql, shape)
        columns += _taken_apart(_Column((name,), 0, sql, duckdb.sqltype(kind)))
    return columns


def _from_json(sql: str, shape: str | None) -> tuple[str, str]:
    """Return SQL that reads JSON as nested columns of text, and their type.

    Numbers become text: an id looks as before, as far as JSON preserves it.
    """

    def texts(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: texts(value) for key, value in node.items()}
        return [texts(value) for value in node] if isinstance(node, list) else "VARCHAR"

    def kind(node: Any) -> str:
        if isinstance(node, dict):
            return f"STRUCT({', '.join(f'{quoted(key)} {kind(value)}' for key, value in node.items())})"
        return f"{kind(node[0]) if node else 'VARCHAR'}[]" if isinstance(node, list) else "VARCHAR"

    found = texts(json.loads(shape)) if shape else "VARCHAR"
    if isinstance(found, str) or not found:
        return f"({sql} ->> '$')", "VARCHAR"
    return f"from_json({sql}, {text(json.dumps(found))})", kind(found)


def _taken_apart(column: _Column) -> list[_Column]:
    """Return a column's fields, theirs likewise, or the column itself where it is no struct."""
    import duckdb

    if str(column.kind) == "JSON":  # of several kinds, or null wherever it was looked
        return [replace(column, sql=f"({column.sql} ->> '$')", kind=duckdb.sqltype("VARCHAR"))]
    if column.kind.id != "struct":
        return [column]
    apart: list[_Column] = []
    for key, kind in _inside(column.kind):
        sql = f"struct_extract({column.sql}, {text(str(key))})"
        apart += _taken_apart(_Column((*column.path, str(key)), column.inner, sql, kind))
    return apart


def _inside(kind: sqltypes.DuckDBPyType) -> list[tuple[str, sqltypes.DuckDBPyType]]:
    """Return the types inside a nested one, with their names."""
    return cast("list[tuple[str, sqltypes.DuckDBPyType]]", kind.children)


def _select(columns: list[_Column], relation: str) -> str:
    """Return the query of columns, named c0, c1, … so that no two names are one."""
    picked = ", ".join(f"{column.sql} AS c{number}" for number, column in enumerate(columns))
    return f"SELECT {picked} FROM {relation}"


def _renumbered(columns: list[_Column]) -> list[_Column]:
    """Return columns as `_select` names them."""
    return [replace(column, sql=f"c{number}") for number, column in enumerate(columns)]


def _unnest(
    engine: Engine, query: str, columns: list[_Column], chosen: list[_Column]
) -> tuple[str, list[_Column]]:
    """Return the query and columns with a row for each element of the lists chosen, which run in parallel.

    A list that is null gives one row without an element: that something is missing there is counted later. An empty one
    gives none.
    """
    remaining = [column for column in columns if column not in chosen]
    opened: list[_Column] = []
    picked = [column.sql for column in remaining]
    for number, column in enumerate(chosen):
        if column.kind.id == "map":
            entries, kind = f"map_entries({column.sql})", ""
        else:
            entries, kind = column.sql, str(_inside(column.kind)[0][1])
            entries = f"{entries}::{kind}[]" if column.kind.id == "array" else entries
        picked.append(f"unnest(coalesce({entries}, [NULL])) AS e{number}")
        sql = f"e{number}"
        if kind == "JSON":
            shape = engine.value(
                f"SELECT json_group_structure(e) FROM (SELECT unnest({entries}) AS e FROM ({query}))"
            )
            sql, kind = _from_json(sql, shape)
        opened += _element(column, sql, kind) if kind else _entry(column, sql)
    both = [*remaining, *opened]
    return _select(both, f"(SELECT {', '.join(picked)} FROM ({query}))"), _renumbered(both)


def _element(column: _Column, sql: str, kind: str) -> list[_Column]:
    """Return the columns of a list's elements."""
    import duckdb

    element = _Column(column.path, len(column.path), sql, duckdb.sqltype(kind))
    return _taken_apart(element)


def _entry(column: _Column, sql: str) -> list[_Column]:
    """Return the columns of a map's entries: an item and how often, as in {"Tea": 2}; or a user and more of them."""
    (_, key), (_, value) = _inside(column.kind)
    inner = len(column.path)
    of_users = value.id in {"list", "array", "map", "struct"}
    who = _Column(("user",) if of_users else column.path, 0 if of_users else inner, f"{sql}.key", key)
    what = column.path if of_users else (*column.path, "quantity")
    return [who, *_taken_apart(_Column(what, inner, f"{sql}.value", value))]


def _stands_alone(columns: list[_Column], chosen: list[_Column]) -> bool:
    """Tell whether a list is the innermost one, and nothing in or outside it says who bought, or in which order."""
    fields = [field for column in chosen for field in _element_fields(column)]
    known = [_short(column) for column in (*columns, *fields) if not column.is_list]
    known += [column.path[-1] for column in chosen]
    return not any(field.is_list for field in fields) and not any(
        hints.is_user(name) or hints.is_basket(name) for name in known
    )


def _choose(
    table: Table, query: str, lists: list[_Column], columns: list[_Column], options: ReadOptions
) -> list[_Column]:
    """Return the list to unfold next, with those that run in parallel to it; none where all is unfolded.

    Args:
        table: for messages.
        query: its rows as far as they are unfolded.
        lists: those among which to choose.
        columns: all that there are.
        options: columns that are named there choose.

    Raises:
        ColumnError: several could be what was bought.
    """
    if not lists:
        return []
    for wanted in _given(options):
        for column in lists:
            if column.named(wanted):
                return [column, *_parallel(table.engine, query, column, lists)]
    outside = [column for column in columns if not column.is_list]
    missing = {
        role
        for role, known in (("user", hints.is_user), ("item", hints.is_item))
        if not any(known(_short(column)) for column in outside)
    }
    asked = options.layout in {"lists", "baskets"}
    scored = sorted(((_score(column, missing), -place) for place, column in enumerate(lists)), reverse=True)
    best = lists[-scored[0][1]]
    least = 1 if missing else 6  # what is complete is unfolded only for lists that cannot be anything else
    if scored[0][0] < least and not (asked and len(lists) == 1):
        return []
    beside = _parallel(table.engine, query, best, lists)
    alternatives = [lists[-place] for score, place in scored[1:] if score > max(0, scored[0][0] - _CLEAR)]
    alternatives = [column for column in alternatives if column not in beside]
    if alternatives:
        both = [best, *alternatives]
        raise ColumnError(
            f"{table.name} holds {len(both)} lists of which each could be what was bought: "
            f"{', '.join(repr(column.dotted) for column in both[:_SHOWN])}{' …' * (len(both) > _SHOWN)}; "
            f"choose one, such as with --item-column {_example(best)}"
        )
    return [best, *beside]


def _example(column: _Column) -> str:
    """Return the path of the column in a list that would be the item."""
    fields = [field for field in _element_fields(column) if not field.is_list]
    known = next((field for field in fields if hints.is_item(field.path[-1])), None)
    generic = next((field for field in fields if field.path[-1].lower() == "id"), None)
    return (known or generic or (fields[0] if fields else column)).dotted


def _element_fields(column: _Column) -> list[_Column]:
    """Return the columns that a list's elements would give."""
    if column.kind.id == "map":
        return _entry(column, "")
    return _element(column, "", str(_inside(column.kind)[0][1]))


def _score(column: _Column, missing: set[str]) -> int:
    """Return how much a list looks like what was bought: 1 and more where it could be, 6 and more where it must be."""
    name = next((key for key in reversed(column.path) if key.lower() not in _WRAPPERS), column.path[-1])
    if any(hints.is_other_list(key) for key in column.path[column.inner :]):
        return -9
    score = 3 if hints.is_item_list(name) else 2 if hints.is_order_list(name) else 1
    if hints.is_attribute(name) and not hints.is_item_list(name):
        score -= 6
    fields = _element_fields(column)
    if [field.path for field in fields] == [column.path] and not fields[0].is_list:
        return score - (5 if column.kind.id == "map" and not hints.is_item_list(name) else 0)
    names = [_short(field) for field in fields if not field.is_list]
    score += 4 * any(role in missing and any(map(known, names)) for role, known in _ROLES)
    score += any(map(hints.is_quantity, names))
    return max([score, *(_score(field, missing) for field in fields if field.is_list)])


_ROLES: Final = (("user", hints.is_user), ("item", hints.is_item))


def _parallel(engine: Engine, query: str, column: _Column, lists: list[_Column]) -> list[_Column]:
    """Return the lists of plain values that are as long as a list of plain values in each row."""
    if not _is_plain(column):
        return []
    others = [other for other in lists if other is not column and _is_plain(other)]
    if not others:
        return []
    differ = ", ".join(
        f"count(*) FILTER (len({column.sql}) IS DISTINCT FROM len({other.sql}))" for other in others
    )
    found = engine.row(
        f"SELECT max(len({column.sql})), {differ} FROM (SELECT * FROM ({query}) LIMIT {_SAMPLE})"
    )
    if (found[0] or 0) < 2:
        return []
    return [other for other, odd in zip(others, found[1:], strict=True) if not odd]


def _is_plain(column: _Column) -> bool:
    """Tell whether a column holds lists of plain values."""
    return column.kind.id in {"list", "array"} and _inside(column.kind)[0][1].id not in {
        "struct",
        "list",
        "map",
        "array",
    }


def _given(options: ReadOptions) -> list[str]:
    """Return the column names that the options give, the item's first."""
    roles = ("item", "user", "time", "quantity", "name", "basket", "rating", "event", "status", "confidence")
    named = [getattr(options, f"{role}_column") for role in roles]
    return [name for name in named if name]


def _short(column: _Column) -> str:
    """Return the shortest name of a column that still says what it is.

    ``line_items[].product_id`` is product_id; ``products[].id`` is product.id, and ``customer.id`` stays what it is.
    """
    path = [key for key in column.path if not key.startswith("$")] or list(column.path)
    inner = min(column.inner, len(path) - 1) if len(path) > column.inner else len(path)
    own = [key for key in path[inner:] if key.lower() not in _WRAPPERS] or path[-1:]
    if not path[inner:]:  # an element that is a plain value goes by its list's name
        return path[-1]
    last = own[-1]
    if len(own) > 1:
        return last if _OWN.search(last.lower()) and hints.plain(last) not in _GENERIC else ".".join(own[-2:])
    if hints.plain(last) in _GENERIC - {"title", "type"} and inner:
        above = next((key for key in reversed(path[:inner]) if key.lower() not in _WRAPPERS), "")
        return f"{hints.singular(above)}.{last}" if above else last
    return last


def _names(columns: list[_Column], given: list[str]) -> list[str]:
    """Return a name for each column: the one that is given, the shortest that is free, its path, or that with a number.

    What is outside chooses first.
    """
    chosen: dict[int, str] = {}
    taken: set[str] = set()
    wanted = {name.replace("[]", "").lower(): name for name in given}
    order = sorted(
        range(len(columns)),
        key=lambda place: (columns[place].dotted.lower() not in wanted, columns[place].inner),
    )
    for place in order:
        column = columns[place]
        ways = [_short(column), column.dotted]
        exact = [wanted[way] for way in _ends(column.path) if way in wanted]
        ways = [*exact, *ways, *(f"{column.dotted}_{number}" for number in range(2, len(columns) + 2))]
        chosen[place] = next(way for way in ways if way.lower() not in taken)
        taken.add(chosen[place].lower())
    return [chosen[place] for place in range(len(columns))]


def _ends(path: tuple[str, ...]) -> list[str]:
    """Return the path and its ends of two keys and more, in small letters."""
    return [".".join(path[start:]).lower() for start in range(max(1, len(path) - 1))]
