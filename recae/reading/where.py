"""`--where`: an SQL condition over a table's own columns, in which text stands for numbers and times.

The columns of a text file are text. A condition such as ``price > 0`` therefore needs a number made of each text. The
condition is taken apart by DuckDB's own parser, and a text that meets a number, a time or a truth value becomes one.
What the parser finds beyond one condition over columns is refused.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from recae.errors import ColumnError, ConfigError
from recae.reading.engine import Engine, first_line, quoted, text
from recae.reading.table import Note, Table

_REFUSED: Final = {
    "SUBQUERY": "a query inside it",
    "WINDOW": "a window function",
    "PARAMETER": "a parameter",
    "STAR": "a *",
    "LAMBDA": "a function of its own",
    "POSITIONAL_REFERENCE": "a column by its place",
    "DEFAULT": "a default",
}
_ORDERED: Final = (
    "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_BETWEEN",
    "COMPARE_NOT_BETWEEN",
)
_MIXED: Final = ("COMPARE_IN", "COMPARE_NOT_IN", "OPERATOR_COALESCE", "OPERATOR_NULLIF")
_NUMBERS: Final = re.compile(
    r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*|BIGNUM)(_LITERAL)?"
)
_TIMES: Final = re.compile(r"(DATE|TIMESTAMP.*)")
_NOW: Final = ("current_date", "current_timestamp", "localtimestamp")  # written like columns
_ISO_DAY: Final = r"\d{4}-\d{2}-\d{2}.*"
_MOSTLY: Final = 0.95  # of a column's values, for the column to be one of numbers or times
_VALUES: Final = 8  # named in a message
_MANY: Final = 12


def number_of(sql: str, decimal_comma: bool = False) -> str:
    """Return SQL for the number that a text means, null where it means none.

    Blanks, currency signs and thousands separators do not count; ``1.200,50`` and ``1,200.50`` are one number.

    Args:
        sql: of the text.
        decimal_comma: whether ``1,200`` is one and a fifth, not one thousand two hundred.
    """
    bare = (
        f"regexp_replace({sql}, '[\\s''’\\x{{a0}}\\x{{202f}}$€£¥₹%]|^[A-Z]{{3}}\\b|\\b[A-Z]{{3}}$', '', 'g')"
    )
    mark, other = (",", ".") if decimal_comma else (".", ",")
    grouped = f"regexp_full_match(x, '[-+−]?[1-9]\\d{{0,2}}(\\{other}\\d{{3}})+(\\{mark}\\d+)?')"
    plain = f"replace(replace(x, '{other}', ''), '{mark}', '.')"
    # the last of the two marks is the decimal one
    last_comma = (
        "contains(x, ',') AND (NOT contains(x, '.') OR strpos(reverse(x), ',') < strpos(reverse(x), '.'))"
    )
    careful = (
        f"list_transform([{bare}], lambda x: TRY_CAST(replace(CASE WHEN {grouped} THEN {plain} WHEN {last_comma} "
        "THEN replace(replace(x, '.', ''), ',', '.') ELSE replace(x, ',', '') END, '−', '-') AS DOUBLE))[1]"
    )
    # most texts are plain numbers; nan, which is more than any number to SQL, is none
    simple = f"TRY_CAST({sql} AS DOUBLE)"
    if decimal_comma:
        simple = f"CASE WHEN NOT contains({sql}, '.') THEN {simple} END"
    return f"nullif(coalesce({simple}, {careful}), 'nan'::DOUBLE)"


def has_decimal_comma(table: Table, column: str) -> bool:
    """Tell whether the numbers of a text column are written with a decimal comma, by its first rows."""
    if table.decimal_comma is not None:
        return table.decimal_comma
    value = table.as_text(column)
    shapes = (r"(\d+|\d{1,3}(\.\d{3})+),(\d{1,2}|\d{4,})", r"[\d,]*\.(\d{1,2}|\d{4,})", r"\d+,\d{3}")
    matches = [f"count(*) FILTER (WHERE regexp_full_match(v, '[-+−]?({shape})'))" for shape in shapes]
    commas, points, grouped, all_values = table.engine.row(
        f"SELECT {', '.join(matches)}, count(v) FROM (SELECT {value} AS v FROM {table.sample()})"
    )
    # with thousands, some values would be below one
    return bool(commas > points or (not points and all_values and grouped == all_values))


def column_number(table: Table, column: str) -> str:
    """Return SQL for a column as a number, null where it is none."""
    kind = table.types[column]
    if _NUMBERS.fullmatch(kind) or kind == "BOOLEAN":
        return f"nullif({quoted(column)}::DOUBLE, 'nan'::DOUBLE)"
    return number_of(table.as_text(column), table.is_text(column) and has_decimal_comma(table, column))


@dataclass(frozen=True)
class Condition:
    """A condition that was understood.

    Attributes:
        sql: over the table's relation; null where a value is missing.
        notes: on what it compares.
    """

    sql: str
    notes: tuple[Note, ...] = ()


def condition(table: Table, words: str) -> Condition:
    """Return a user's condition as SQL over a table's relation.

    The engine's doors must be closed before it runs.

    Args:
        table: whose columns it may name.
        words: what the user wrote.

    Raises:
        ConfigError: it is no condition, or more than one.
        ColumnError: it names a column that the table does not have, or compares one as what it is not.
    """
    return _Reader(table, words).read()


class _Reader:
    def __init__(self, table: Table, words: str) -> None:
        self.table, self.words = table, words.strip().rstrip(";").strip()
        self.engine: Engine = table.engine
        self.notes: list[Note] = []

    def read(self) -> Condition:
        node = self._parsed()
        for part in _walk(node):
            self._check(part)
        node = self._rewritten(node)
        kind = self._kind(node)
        if kind is None:
            raise ConfigError(f"--where {self.words!r} is refused: {self._why(node)}; correct it")
        if kind == "text" and _class(node) == "COLUMN_REF":
            node = self._as_truth(node)
        elif kind not in ("truth", "null"):
            raise ConfigError(
                f'--where {self.words!r} is a {kind}, but a condition is needed that holds or not, such as "price > 0"'
            )
        sql = self._sql(node)
        self._try(sql)
        return Condition(sql, tuple(self.notes))

    def _parsed(self) -> Any:
        """Return the tree of the condition, which is all that the words are."""
        found = _serialized(self.engine, f"SELECT {self.words}")
        if found.get("error"):
            raise ConfigError(
                f"--where {self.words!r} is no condition: {_reason(str(found.get('error_message', '')))}; "
                f"{self._advice()}"
            )
        shapes = []
        for tree in (found, _serialized(self.engine, "SELECT true")):
            shape = copy.deepcopy(tree)
            selected = shape["statements"][0]["node"].pop("select_list", [])
            shape.pop("named_param_map", None)
            shape["statements"][0].pop("named_param_map", None)
            shapes.append((_without_places(shape), len(selected), [part.get("alias") for part in selected]))
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"--where {self.words!r} is more than one condition; give one over the table's columns, such as "
                "\"price > 0 and event = 'purchase'\", and use --query for anything else"
            )
        return found["statements"][0]["node"]["select_list"][0]

    def _advice(self) -> str:
        """Return how to write what is probably meant."""
        for name in sorted(self.table.columns, key=len, reverse=True):
            bare = re.fullmatch(r"[A-Za-z_]\w*", name) is not None
            there = re.search(rf'(?<!["\w]){re.escape(name)}(?!["\w])', self.words, re.IGNORECASE)
            reserved = bare and _serialized(self.engine, f"SELECT {name}").get("error")
            if there and (not bare or reserved):
                return f"write {quoted(name)}, in double quotes"
        return (
            "write it as in SQL, such as \"price > 0 and event = 'purchase'\": text in single quotes, and names with "
            "blanks in double ones"
        )

    def _check(self, node: dict[str, Any]) -> None:
        """Refuse what is no part of a condition over the table's own columns."""
        kind = _class(node)
        if kind in _REFUSED:
            raise ConfigError(
                f"--where {self.words!r} holds {_REFUSED[kind]}, but it is a condition over the columns of one row; "
                "use --query for more"
            )
        if kind == "COLUMN_REF":
            node["column_names"] = self._column(node["column_names"])
        if kind == "FUNCTION":
            self._check_function(node)
        if kind == "CAST" and any(_class(part) == "COLUMN_REF" for part in _walk(node)):
            node["try_cast"] = True  # a value that is none must not end the reading

    def _check_function(self, node: dict[str, Any]) -> None:
        name = str(node["function_name"])
        kinds = {
            str(kind): str(stability)
            for kind, stability in self.engine.rows(
                "SELECT function_type, max(coalesce(stability, '')) FROM duckdb_functions() "
                "WHERE function_name = ? GROUP BY 1",
                [name.lower()],
            )
        }
        if kinds.get("scalar", kinds.get("macro")) == "VOLATILE":
            raise ConfigError(
                f"--where {self.words!r} calls {name}, whose value differs from call to call; leave it out"
            )
        if kinds and not {"scalar", "macro"} & set(kinds):
            raise ConfigError(
                f"--where {self.words!r} calls {name}, which is no function of one row; use --query for more"
            )

    def _column(self, names: list[str]) -> list[str]:
        """Return the column that is meant, as the table writes it."""
        columns = self.table.columns
        wanted = names[0]
        same = [name for name in columns if name.casefold() == wanted.casefold()]
        found = wanted if wanted in columns else same[0] if len(same) == 1 else None
        if found is not None and (len(names) == 1 or self.table.types[found].startswith("STRUCT")):
            return [found, *names[1:]]
        if wanted.casefold() in _NOW:
            return names
        whole = ".".join(names)
        plain = {re.sub(r"[\W_]+", "", name).casefold(): name for name in reversed(columns)}
        near = plain.get(re.sub(r"[\W_]+", "", names[-1]).casefold())
        if near is None:
            matches = difflib.get_close_matches(names[-1].casefold(), [n.casefold() for n in columns], 1, 0.6)
            near = next((name for name in columns if matches and name.casefold() == matches[0]), None)
        if near is not None:
            hint = (
                f"; did you mean {quoted(near) if re.fullmatch(r'[a-z_][a-z0-9_]*', near) is None else near}?"
            )
        elif re.search(rf"\"{re.escape(wanted)}\"|[=<>,(]\s*{re.escape(wanted)}\b", self.words):
            hint = f"; if it is a text, write it in single quotes: {text(whole)}"
        else:
            hint = ""
        shown = ", ".join(map(repr, columns[:30])) + (
            f" and {len(columns) - 30} more" if len(columns) > 30 else ""
        )
        raise ColumnError(f"--where names {whole!r}, which the table does not have{hint}; found: {shown}")

    def _rewritten(self, node: Any) -> Any:
        """Return a node in which texts became numbers, times or truth values where that is meant."""
        if isinstance(node, list):
            return [self._rewritten(part) for part in node]
        if not isinstance(node, dict):
            return node
        if _class(node) in ("CONSTANT", "COLUMN_REF", "TYPE"):
            return node
        node = {name: self._rewritten(part) for name, part in node.items()}
        kind, places = _class(node), _operands(node)
        if kind == "CAST":
            return self._cast(node)
        if kind == "CONJUNCTION" or node.get("type") == "OPERATOR_NOT":
            for holder, key in places:
                if self._kind(holder[key]) == "text" and _class(holder[key]) == "COLUMN_REF":
                    holder[key] = self._as_truth(holder[key])
            return node
        if kind in ("COMPARISON", "BETWEEN") or node.get("type") in _MIXED:
            self._compare(node, places)
        elif self._kind(node) is None and kind in ("FUNCTION", "OPERATOR", "CASE"):
            return self._fitted(node)
        return node

    def _compare(self, node: dict[str, Any], places: list[tuple[Any, Any]]) -> None:
        """Make what is compared of one kind, in place."""
        kinds = [self._kind(holder[key]) for holder, key in places]
        texts = [
            (holder, key)
            for (holder, key), kind in zip(places, kinds, strict=True)
            if kind == "text" and not _is_constant(holder[key])
        ]
        if not texts:
            return
        if "number" in kinds:
            for holder, key in texts:
                holder[key] = self._as_number(holder[key])
        elif "time" in kinds:
            for holder, key in texts:
                holder[key] = self._as_time(holder[key])
        elif "truth" in kinds:
            for holder, key in texts:
                holder[key] = self._as_truth(holder[key])
        elif node.get("type") in _ORDERED:
            self._order_texts(places, texts)

    def _order_texts(self, places: list[tuple[Any, Any]], texts: list[tuple[Any, Any]]) -> None:
        """Order texts as what they stand for: numbers, or times that do not begin with the year."""
        constants = [
            str(self.engine.value(f"SELECT {self._sql(h[k])}")) for h, k in places if _is_constant(h[k])
        ]
        if all(
            self._share(holder[key], number_of(self._sql(holder[key]))) >= _MOSTLY for holder, key in texts
        ) and all(self.engine.value(f"SELECT {number_of(text(word))}") is not None for word in constants):
            for holder, key in places:
                holder[key] = self._as_number(holder[key])
        elif constants and all(re.fullmatch(_ISO_DAY, word) for word in constants):
            for holder, key in texts:
                if (
                    self._share(
                        holder[key],
                        f"nullif(regexp_full_match({self._sql(holder[key])}, '{_ISO_DAY}'), false)",
                    )
                    < _MOSTLY
                ):
                    holder[key] = self._as_time(holder[key])

    def _cast(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return a cast whose text is understood first."""
        if self._kind(node["child"]) == "text" and not _is_constant(node["child"]):
            kind = self._kind(node)
            if kind == "number":
                node["child"] = self._as_number(node["child"])
            elif kind == "time":
                node["child"] = self._as_time(node["child"])
        return node

    def _fitted(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return a node that DuckDB refuses for texts, with numbers or times in their place."""
        for change in (self._as_number, self._as_time, self._as_truth):
            other = copy.deepcopy(node)
            changed = [
                (holder, key)
                for holder, key in _operands(other)
                if self._kind(holder[key]) == "text" and not _is_constant(holder[key])
            ]
            try:
                for holder, key in changed:
                    holder[key] = change(holder[key])
            except ColumnError:
                continue
            if changed and self._kind(other) is not None:
                return other
        raise ConfigError(f"--where {self.words!r} is refused: {self._why(node)}; correct it")

    def _as_number(self, node: Any) -> Any:
        sql = self._sql(node)
        if self._kind(node) == "number":
            return node
        comma = bool(self.table.decimal_comma)
        if _class(node) == "COLUMN_REF" and len(node["column_names"]) == 1:
            comma = has_decimal_comma(self.table, node["column_names"][0])
        number = number_of(sql, comma)
        if not _is_constant(node) and self._share(node, number) == 0:
            raise ColumnError(
                f"--where {self.words!r} takes {self._named(node)} as a number, but it holds none: "
                f"{self._values(node)}; compare it with a text in single quotes"
            )
        return self._node(number)

    def _as_time(self, node: Any) -> Any:
        sql = self._sql(node)
        if self._kind(node) == "time":
            return node
        moment = f"TRY_CAST({sql} AS TIMESTAMP)"
        if not _is_constant(node) and self._share(node, moment) < _MOSTLY:
            raise ColumnError(
                f"--where {self.words!r} takes {self._named(node)} as a time, but its values are written otherwise: "
                f"{self._values(node)}; use --since and --until for a period, which understand them"
            )
        return self._node(moment)

    def _as_truth(self, node: Any) -> Any:
        sql = self._sql(node)
        truth = f"TRY_CAST({sql} AS BOOLEAN)"
        if self._share(node, truth) < _MOSTLY:
            raise ColumnError(
                f"--where {self.words!r} takes {self._named(node)} as true or false, but its values are neither: "
                f"{self._values(node)}; compare it with a text in single quotes"
            )
        return self._node(truth)

    def _share(self, node: Any, sql: str) -> float:
        """Return the share of a node's values in the first rows for which some SQL is not null; 1 where it has none."""
        value = f"trim(({self._sql(node)})::VARCHAR)"
        found, values = self.engine.row(
            f"SELECT count(*) FILTER (WHERE ({sql}) IS NOT NULL), count(*) FROM {self.table.sample()} "
            f"WHERE nullif({value}, '') IS NOT NULL AND NOT {Table.missing(value)}"
        )
        return float(found / values) if values else 1.0

    def _named(self, node: Any) -> str:
        if _class(node) == "COLUMN_REF":
            return f"column {'.'.join(node['column_names'])!r}"
        return f"'{self._sql(node)}'"

    def _values(self, node: Any) -> str:
        found = self.engine.rows(
            f"SELECT v FROM (SELECT ({self._sql(node)})::VARCHAR AS v FROM {self.table.sample()}) WHERE v IS NOT NULL "
            "GROUP BY v ORDER BY count(*) DESC, v LIMIT 3"
        )
        return ", ".join(repr(str(row[0])) for row in found)

    def _kind(self, node: Any) -> str | None:
        """Return what a node gives as DuckDB binds it: number, text, time, truth, null or its type; None: nothing."""
        import duckdb

        try:
            kind = str(self._described(node))
        except duckdb.Error:
            return None
        if _NUMBERS.fullmatch(kind):
            return "number"
        if _TIMES.fullmatch(kind):
            return "time"
        return {"VARCHAR": "text", "STRING_LITERAL": "text", "BOOLEAN": "truth", '"NULL"': "null"}.get(
            kind, kind
        )

    def _described(self, node: Any) -> Any:
        return self.engine.rows(f"DESCRIBE SELECT {self._sql(node)} FROM {self.table.relation}")[0][1]

    def _why(self, node: Any) -> str:
        import duckdb

        try:
            self._described(node)
        except duckdb.Error as error:
            return _reason(str(error))
        return "it gives no value"

    def _sql(self, node: Any) -> str:
        tree = _serialized(self.engine, "SELECT true")
        tree["statements"][0]["node"]["select_list"] = [node]
        return str(
            self.engine.value("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)])
        ).removeprefix("SELECT ")

    def _node(self, sql: str) -> Any:
        return _serialized(self.engine, f"SELECT {sql}")["statements"][0]["node"]["select_list"][0]

    def _try(self, sql: str) -> None:
        """Run the condition, and refuse one that holds for no row."""
        import duckdb

        table = self.table
        try:
            self.engine.rows(f"SELECT count(*) FILTER (WHERE {sql}) FROM {table.sample()}")
            some = self.engine.rows(f"SELECT 1 FROM {table.relation} WHERE {sql} LIMIT 1")
            any_row = some or self.engine.rows(f"SELECT 1 FROM {table.relation} LIMIT 1")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise ConfigError(f"--where {self.words!r} fails: {_reason(str(error))}; correct it") from error
        if some or not any_row:
            return
        raise ColumnError(f"--where {self.words!r} holds for no row{self._found(sql)}; change the condition")

    def _found(self, sql: str) -> str:
        """Return what the columns of a condition hold, the most common values of each."""
        said = []
        for name in self.table.columns:
            if quoted(name) not in sql and not re.search(rf"\b{re.escape(name)}\b", sql):
                continue
            rows = self.engine.rows(
                f"SELECT {self.table.as_text(name)} AS v, count(*) AS n FROM {self.table.sample()} GROUP BY 1 "
                f"ORDER BY n DESC, v LIMIT {_MANY + 1}"
            )
            values = [str(value) for value, _ in rows if value is not None]
            shown = ", ".join(map(repr, values[:_VALUES]))
            said.append(
                f"{name!r} holds {shown or 'nothing in the first rows'}"
                f"{' and others' if len(values) > _VALUES else ''}"
            )
        return f": {'; '.join(said[:3])}" if said else ""


def _serialized(engine: Engine, sql: str) -> dict[str, Any]:
    """Return a statement's tree as DuckDB's parser sees it; nothing of it runs."""
    found: dict[str, Any] = json.loads(engine.value("SELECT json_serialize_sql(?::VARCHAR)", [sql]))
    return found


def _class(node: Any) -> str:
    return str(node.get("class", "")) if isinstance(node, dict) else ""


def _is_constant(node: Any) -> bool:
    return not any(_class(part) == "COLUMN_REF" for part in _walk(node))


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a tree that are expressions."""
    if isinstance(node, list):
        for part in node:
            yield from _walk(part)
    elif isinstance(node, dict):
        if "class" in node:
            yield node
        for part in node.values():
            yield from _walk(part)


def _operands(node: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return where a node holds what it works on, as (holder, key)."""
    found: list[tuple[Any, Any]] = [
        (node, key) for key in ("left", "right", "input", "lower", "upper", "else_expr") if key in node
    ]
    found += [(check, "then_expr") for check in node.get("case_checks", ())]
    children = node.get("children", [])
    found += [(children, place) for place in range(len(children))] if _class(node) != "TYPE" else []
    found += [(part, "expression") for part in node.get("arguments", ()) if "expression" in part]
    return [(holder, key) for holder, key in found if holder[key] is not None]


def _without_places(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_places(part) for part in node]
    if isinstance(node, dict):
        return {
            key: _without_places(part)
            for key, part in node.items()
            if not str(key).startswith("query_location")
        }
    return node


def _reason(said: str) -> str:
    """Return what DuckDB says, in a line."""
    if said.startswith("Only SELECT"):
        return "it is more than one statement"
    line = first_line(ValueError(said))
    return (
        re.sub(r"^(Parser|Binder|Catalog|Conversion|Invalid Input|Not implemented) Error:\s*", "", line)
        or "it cannot be read"
    )
