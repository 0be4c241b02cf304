"""Lists in a cell of text, such as "Tea, Candle, Mug" or ['Tea', 'Candle'], told from names that contain commas.

In a list, the parts repeat across cells far more than whole cells do, and one part stands now first, now second. In a
name such as "Candle, red", or in a date or an address, each part has its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from recae.reading import hints
from recae.reading.engine import Engine, quoted, text
from recae.reading.table import BLANKS, Table

SEPARATORS: Final = (",", ";", "|", "\n", " ")
"""What stands between the parts of a list; a blank only where each part is an id with a digit in it."""

BRACKETS: Final = "[]"
"""The mark of lists as JSON, Python, NumPy and PostgreSQL write them."""

_SAMPLE: Final = 20_000
_BLANKS: Final = text(BLANKS)
_OPENING: Final = r"^(frozenset|set|array)?\(?\s*[\[({]\s*"
_CLOSING: Final = r"\s*[\])}]\s*\)?$"
_BRACKETED: Final = _OPENING + ".*" + _CLOSING
_QUOTE: Final = r"""^['"]"""
_QUOTED: Final = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\s'"]+"""
_SPACE: Final = r"\s+"
_LISTED: Final = r"""^\s*(\[\s*)?(\{\s*(\}|["'])|\]\s*$)"""
_MOST: Final = 300  # columns of which each may hold objects
_LONG: Final = 80  # letters that names of items do not have on average
_FIELD: Final = r"""(?:^|{0})\s*("(?:[^"]|"")*"|[^{0}]*)"""
_OBJECTS: Final = r"""^[\[(]?\s*\{.*["']\s*:"""
_IDS: Final = r"^[^\s]*\d[^\s]*( +[^\s]*\d[^\s]*)+$"
_NUMBER: Final = r"^[-+]?(\d{1,3}([.,]\d{3})+|\d+)([.,]\d+)?$"
_MOMENT: Final = r"^\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T]|$)"
_COUNTED: Final = (
    r"^(?P<n>\d+)\s*[x×*]\s+(?P<i>.+)$",
    r"^(?P<i>.+?)\s+[x×*]\s*(?P<n>\d+)$",
    r"^(?P<i>.+?)\s*\([x×]?(?P<n>\d+)[x×]?\)$",
)


@dataclass(frozen=True)
class ListColumn:
    """A column whose cells may be lists.

    Attributes:
        column: its name.
        separator: one of `SEPARATORS`, or `BRACKETS`.
        parts: SQL of the list of a cell's parts; null where the cell is.
        cells: share of the cells that have several parts.
        ratio: how much more often a part occurs than a whole cell does.
        mixed: share of the parts that stand at different places of different cells.
        lists: cells with several parts.
        values: share of cells with several parts that are rather a number or a date.
        varied: whether some cells have more parts than others.
    """

    column: str
    separator: str
    parts: str
    cells: float
    ratio: float
    mixed: float
    lists: int
    values: float
    varied: bool

    @property
    def is_possible(self) -> bool:
        """Whether it may hold lists at all."""
        return self.lists > 1 and (
            self.separator == BRACKETS or (self.ratio >= 1.3 and self.values < 0.95 and self.cells >= 0.02)
        )

    @property
    def is_likely(self) -> bool:
        """Whether its values alone say that it holds lists."""
        if self.separator == BRACKETS:
            return True
        often = self.cells >= 0.5 or (self.mixed >= 0.8 and self.lists >= 10)
        return self.is_possible and often and self.ratio >= 2 and self.mixed >= 0.5


def list_columns(table: Table, columns: Sequence[str]) -> list[ListColumn]:
    """Return the columns of text that may hold lists, with what their values say; at most one entry a column.

    Args:
        table: any table.
        columns: those to look at.
    """
    columns = [column for column in columns if table.types[column] == "VARCHAR"]
    if not columns:
        return []
    found = []
    sample = table.sample(_SAMPLE)
    for column, counts in _counts(table.engine, sample, columns).items():
        filled, bracketed, objects, ids, *separated = counts
        if not filled or objects >= 0.5 * filled:
            continue
        marks = [(count, mark) for count, mark in zip(separated, SEPARATORS, strict=True) if count]
        if bracketed >= 0.95 * filled:
            marks = [(bracketed, BRACKETS)]
        elif ids < 0.95 * max((count for count, mark in marks if mark == " "), default=0):
            marks = [(count, mark) for count, mark in marks if mark != " "]
        # blanks are also beside another separator
        marks.sort(key=lambda entry: (entry[1] != " ", entry[0]), reverse=True)
        ways = [_measured(table, sample, column, mark) for _, mark in marks if mark != " " or len(marks) == 1]
        ways = [way for way in ways if way.is_possible]
        if ways:
            found.append(max(ways, key=lambda way: (way.is_likely, way.ratio)))
    return found


def parallel_columns(table: Table, chosen: ListColumn, columns: Sequence[str]) -> dict[str, str]:
    """Return the columns whose cells have as many parts as those of a list column, each with the SQL of its parts.

    Args:
        table: their table.
        chosen: the list column.
        columns: those to look at.
    """
    others = [column for column in columns if column != chosen.column and table.types[column] == "VARCHAR"]
    ways: list[tuple[str, str]] = []
    sample = table.sample(_SAMPLE)
    for column, (filled, bracketed, _, _, *separated) in _counts(table.engine, sample, others).items():
        if filled and bracketed >= 0.95 * filled:
            ways.append((column, _parts_of(table.engine, sample, column, BRACKETS, keep=True)))
        else:
            marks = [
                mark for count, mark in zip(separated, SEPARATORS, strict=True) if count >= chosen.lists * 0.9
            ]
            ways += [(column, _parts_of(table.engine, sample, column, mark, keep=True)) for mark in marks]
    if not ways:
        return {}
    ours = _parts_of(table.engine, sample, chosen.column, chosen.separator, keep=True)
    differ = ", ".join(f"count(*) FILTER (len({parts}) IS DISTINCT FROM len({ours}))" for _, parts in ways)
    odd = table.engine.row(f"SELECT {differ} FROM {sample}")
    found: dict[str, str] = {}
    for (column, parts), count in zip(ways, odd, strict=True):
        if not count:
            found.setdefault(column, parts)
    return found


def aligned_parts(table: Table, chosen: ListColumn) -> str:
    """Return the SQL of a list column's parts with the empty ones, as parallel columns need it."""
    return _parts_of(table.engine, table.sample(_SAMPLE), chosen.column, chosen.separator, keep=True)


def counted_pattern(table: Table, chosen: ListColumn) -> str | None:
    """Return the pattern by which nearly all parts hold a quantity, such as "2 x Tea"; None where they do not."""
    tests = ", ".join(
        f"avg(regexp_matches(part, {text(_plain_groups(pattern))})::INT)" for pattern in _COUNTED
    )
    fractions = table.engine.row(
        f"SELECT {tests} FROM (SELECT unnest({chosen.parts}) AS part FROM {table.sample(_SAMPLE)})"
    )
    for pattern, fraction in zip(_COUNTED, fractions, strict=True):
        if (fraction or 0) >= 0.95:
            return pattern
    return None


def counted(sql: str, pattern: str, group: str) -> str:
    """Return the SQL of what a part holds by such a pattern: "i" its item, "n" its quantity."""
    place = 1 if pattern.index(f"?P<{group}>") == pattern.index("?P<") else 2
    found = f"regexp_extract({sql}, {text(_plain_groups(pattern))}, {place})"
    return f"coalesce(nullif({found}, ''), {sql if group == 'i' else text('1')})"


def _plain_groups(pattern: str) -> str:
    return pattern.replace("?P<n>", "").replace("?P<i>", "")


def with_objects(table: Table) -> Table:
    """Return a table with its columns of text that are JSON objects, or lists of them, as JSON.

    Python's way of writing them is read, too, as far as its quotes can be told.
    """
    names = [column for column in table.columns if table.types[column] == "VARCHAR"]
    if not names or len(names) > _MOST:
        return table
    # an object by itself is taken apart only where something is looked for in it
    opening = r"\[\s*" if any(map(hints.is_item, table.columns)) else r"(\[\s*)?"
    an_object = rf"""^\s*{opening}\{{\s*["']"""
    starts = ", ".join(f"count(*) FILTER (ltrim({quoted(column)})[1] IN ('[', '{{'))" for column in names)
    some = table.engine.row(f"SELECT {starts} FROM {table.sample(_SAMPLE)}")
    names = [column for column, count in zip(names, some, strict=True) if count]
    if not names:
        return table
    ways = [(column, way) for column in names for way in (quoted(column), _as_json(quoted(column)))]
    tests = ", ".join(
        f"coalesce(bool_or(regexp_matches({quoted(column)}, {text(an_object)})), false) AND "
        f"bool_and(CASE WHEN trim({quoted(column)}) <> '' THEN regexp_matches({quoted(column)}, {text(_LISTED)}) "
        f"AND json_valid({way}) END)"
        for column, way in ways
    )
    found = table.engine.row(f"SELECT {tests} FROM {table.sample(_SAMPLE)}")
    objects: dict[str, str] = {}
    for (column, way), is_json in zip(ways, found, strict=True):
        if is_json:
            objects.setdefault(column, way)
    if not objects:
        return table
    picked = ", ".join(
        f"TRY_CAST({objects[column]} AS JSON) AS {quoted(column)}" if column in objects else quoted(column)
        for column in table.columns
    )
    view = table.engine.view(f"SELECT {picked} FROM {table.relation}", "json")
    return replace(table, relation=view, types=table.engine.describe(view), _samples={})


def _as_json(cell: str) -> str:
    """Return the SQL of a list as Python writes it, as JSON."""
    for written, meant in (("'", '"'), ("None", "null"), ("True", "true"), ("False", "false")):
        cell = f"replace({cell}, {text(written)}, {text(meant)})"
    return cell


def _counts(engine: Engine, sample: str, columns: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return for each column how many cells are filled, bracketed, objects, ids apart by blanks, and with each mark."""
    found: dict[str, tuple[int, ...]] = {}
    for start in range(0, len(columns), 100):
        some = columns[start : start + 100]
        tests = []
        for column in some:
            cell = f"trim({quoted(column)}, {_BLANKS})"
            opened = " OR ".join(f"contains({cell}, '{bracket}')" for bracket in "[({")
            tests += [f"count(nullif({cell}, ''))", f"count(*) FILTER ({opened})"]
            tests += [f"count(*) FILTER (contains({cell}, {text(mark)}))" for mark in SEPARATORS]
        row = engine.row(f"SELECT {', '.join(tests)} FROM {sample}")
        each = 2 + len(SEPARATORS)
        counts = {column: row[i * each : (i + 1) * each] for i, column in enumerate(some)}
        # compiling a pattern takes longer than looking at a small table: only where it may match
        blank = 2 + SEPARATORS.index(" ")
        patterned = [column for column, (_, opened, *_) in counts.items() if opened or counts[column][blank]]
        of_patterns = _patterns(engine, sample, patterned)
        for column, (filled, _, *separated) in counts.items():
            found[column] = (filled, *of_patterns.get(column, (0, 0, 0)), *separated)
    return found


def _patterns(engine: Engine, sample: str, columns: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return for each column how many cells are bracketed, objects, and ids apart by blanks."""
    if not columns:
        return {}
    ways = (_BRACKETED, _OBJECTS, _IDS)
    tests = [
        f"count(*) FILTER (regexp_matches(trim({quoted(column)}, {_BLANKS}), {text(way)}, 's'))"
        for column in columns
        for way in ways
    ]
    row = engine.row(f"SELECT {', '.join(tests)} FROM {sample}")
    return {column: tuple(row[i * len(ways) : (i + 1) * len(ways)]) for i, column in enumerate(columns)}


def _parts_of(engine: Engine, sample: str, column: str, separator: str, keep: bool = False) -> str:
    """Return the SQL of the list of a cell's parts without blanks and quotes around them.

    Args:
        engine: knows the sample.
        sample: rows of the table.
        column: the column's name.
        separator: one of `SEPARATORS`, or `BRACKETS`.
        keep: keep empty parts.
    """
    cell = f"trim({quoted(column)}, {_BLANKS})"
    if separator == BRACKETS:
        inner = f"regexp_replace(regexp_replace({cell}, {text(_OPENING)}, ''), {text(_CLOSING)}, '')"
        starts = f"regexp_matches(nullif({inner}, ''), {text(_QUOTE)})"
        json_text, quotes, commas = engine.row(
            f"SELECT bool_and(json_valid({cell})), avg({starts}::INT) >= 0.5, "
            f"bool_or(contains({inner}, ',')) FROM {sample} WHERE {cell} <> ''"
        )
        if json_text and quotes:
            found = f"""from_json(CASE WHEN json_valid({cell}) THEN {cell} END, '["VARCHAR"]')"""
        elif quotes:
            found = _unquoted(f"regexp_extract_all({inner}, {text(_QUOTED)})")
        elif commas:
            found = _unquoted(f"regexp_extract_all({inner}, {text(_FIELD.format(','))}, 1)")
        else:
            found = f"string_split_regex({inner}, {text(_SPACE)})"
    elif separator == " ":
        found = f"string_split_regex({cell}, {text(_SPACE)})"
    else:
        starts = text(f'(^|[{separator}])\\s*"')
        field = text(_FIELD.format(separator))
        quotes = engine.value(f"SELECT bool_or(regexp_matches({cell}, {starts})) FROM {sample}")
        split = f"string_split({cell}, {text(separator)})"
        found = _unquoted(f"regexp_extract_all({cell}, {field}, 1)") if quotes else split
    trimmed = stripped(found, quoted(column))
    return trimmed if keep else f"list_filter({trimmed}, lambda part: part <> '')"


def stripped(parts: str, whole: str) -> str:
    """Return the SQL of a list's parts without blanks around them.

    Args:
        parts: SQL of the list.
        whole: SQL of the text that it is made of. Other blanks than spaces are looked for only where it has some: that
            is ten times slower.
    """
    rare = f"regexp_matches({whole}, {text('[' + BLANKS.strip(' ') + ']')})"
    slow = f"list_transform({parts}, lambda part: trim(part, {_BLANKS}))"
    return f"CASE WHEN {rare} THEN {slow} ELSE list_transform({parts}, lambda part: trim(part)) END"


def _unquoted(parts: str) -> str:
    """Return the SQL of a list's parts without the quotes that they stand in."""
    part = f"trim(part, {_BLANKS})"
    bare = f"({part})[2:-2]"
    for written, meant in (("\\'", "'"), ('\\"', '"'), ('""', '"')):
        bare = f"replace({bare}, {text(written)}, {text(meant)})"
    inside = f"CASE WHEN regexp_matches({part}, {text(_QUOTE)}) THEN {bare} ELSE part END"
    return f"list_transform({parts}, lambda part: {inside})"


def _measured(table: Table, sample: str, column: str, separator: str) -> ListColumn:
    """Return what the values of a column say about lists."""
    parts = _parts_of(table.engine, sample, column, separator)
    cell = f"trim({quoted(column)}, {_BLANKS})"
    odd = f"regexp_matches(c, {text(_NUMBER)}) OR regexp_matches(c, {text(_MOMENT)}) OR len(c) > {_LONG} * len(l)"
    cells, different, lists, values, lengths = table.engine.row(
        f"SELECT count(*), count(DISTINCT c), count(*) FILTER (len(l) > 1), "
        f"coalesce(avg(({odd})::INT) FILTER (len(l) > 1), 0), count(DISTINCT len(l)) FILTER (len(l) > 0) "
        f"FROM (SELECT {cell} AS c, {parts} AS l FROM {sample}) WHERE c <> ''"
    )
    if not lists:
        return ListColumn(column, separator, parts, 0, 0, 0, 0, 0, False)
    occurring, distinct, mixed = table.engine.row(
        "SELECT sum(occurring), count(*), coalesce(sum(beside) FILTER (places > 1), 0) / sum(beside) FROM ("
        "SELECT count(*) AS occurring, count(*) FILTER (n > 1) AS beside, count(DISTINCT least(place, 3)) AS places "
        "FROM (SELECT len(l) AS n, unnest(l) AS part, generate_subscripts(l, 1) AS place "
        f"FROM (SELECT {parts} AS l FROM {sample})) GROUP BY part)"
    )
    ratio = float(occurring / distinct) / (cells / different)
    return ListColumn(
        column, separator, parts, lists / cells, ratio, float(mixed), lists, float(values), lengths > 1
    )
