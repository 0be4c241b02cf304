"""What the values of a table of items mean, as SQL: paths of categories, flags, addresses of the web, text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recae.item_table import SEPARATOR
from recae.reading.engine import quoted, text
from recae.reading.table import Note, Table

_AVAILABLE: Final = (
    "true", "yes", "y", "t", "in stock", "instock", "in_stock", "available", "active", "preorder", "pre-order",
    "backorder", "limited availability", "ja", "j", "auf lager", "lieferbar", "verfügbar", "vorrätig", "oui",
    "en stock", "disponible", "si", "sí", "sì", "disponibile", "sim", "disponível", "op voorraad", "на складе",
    "в наличии", "在庫あり", "有货", "有貨", "https://schema.org/instock", "http://schema.org/instock",
)  # fmt: skip
_GONE: Final = (
    "false", "no", "n", "f", "out of stock", "outofstock", "out_of_stock", "sold out", "soldout", "unavailable",
    "not available", "inactive", "discontinued", "nein", "ausverkauft", "nicht lieferbar", "nicht verfügbar",
    "nicht auf lager", "vergriffen", "non", "épuisé", "rupture de stock", "indisponible", "agotado", "no disponible",
    "esaurito", "non disponibile", "não", "esgotado", "nee", "uitverkocht", "нет в наличии", "在庫なし", "缺货", "缺貨",
    "https://schema.org/outofstock", "http://schema.org/outofstock",
)  # fmt: skip

_SIGNS: Final = (">", "»", "›", "|", "/")
"""What may stand between the parts of a path, the surest first."""

_OFTEN: Final = 0.5  # of the categories that hold a slash, from which on it separates the parts of a path


@dataclass(frozen=True)
class Value:
    """A column of the result.

    Attributes:
        sql: its value over the table, null where it is not known.
        dropped: SQL for whether there was a value that is not taken; "" where all are.
        what: such values are, for a sentence.
    """

    sql: str
    dropped: str = ""
    what: str = ""


def texts_of(table: Table, columns: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return a relation with the columns as text beside those of the table, and SQL for each of these texts.

    What is made of a text then looks at it again and again, and its blanks are taken off once.
    """
    word = "text"
    while any(name.casefold().startswith(word) for name in table.columns):
        word += "_"
    of = {column: f"{word}{place}" for place, column in enumerate(dict.fromkeys(columns))}
    trimmed = ", ".join(f"{_trimmed(table, column)} AS {name}" for column, name in of.items())
    if not of:
        return table.relation, {}
    known = ", ".join(
        f"CASE WHEN NOT {Table.missing(name)} THEN {name} END AS {name}" for name in of.values()
    )
    inner = f"SELECT *, {trimmed} FROM {table.relation}"
    return f"(SELECT * EXCLUDE ({', '.join(of.values())}), {known} FROM ({inner}))", of


def value_of(table: Table, name: str, column: str, texts: Mapping[str, str] | None = None) -> Value:
    """Return a column's values; `name` says what they mean, `texts` what `texts_of` has made of the columns."""
    value = (texts or {}).get(column) or _text(table, column)
    if name == "available":
        return _available(table, column, value)
    if name in ("image", "link"):
        # more than one address, or blanks around it: the first counts
        found = rf"nullif(regexp_extract({value}, '^[hH][tT][tT][pP][sS]?://[^\s]+'), '')"
        address = f"regexp_replace({found}, '^[hH][tT][tT][pP]', 'http')"
        address = f"regexp_replace({address}, '^http[sS]', 'https')"
        what = f"{name}s that do not begin with http:// or https://"
        return Value(address, f"({value}) IS NOT NULL AND ({found}) IS NULL", what)
    if name == "embedding":
        return _embedding(table, column, value)
    return Value(value)


def embedding_of(table: Table, columns: Sequence[str]) -> Value:
    """Return an embedding whose numbers stand in a column each."""
    numbers = [f"TRY_CAST({_text(table, column)} AS FLOAT)" for column in columns]
    return _numbers(
        f"[{', '.join(numbers)}]", " OR ".join(f"{_text(table, column)} IS NOT NULL" for column in columns)
    )


def category_of(
    table: Table, columns: Sequence[str], texts: Mapping[str, str] | None = None
) -> tuple[Value, Note | None]:
    """Return the path of categories, and how it was found.

    Args:
        table: of the columns.
        columns: the widest part first; one that holds a path as a whole, or a part each.
        texts: what `texts_of` has made of the columns.
    """
    of = {column: _text(table, column) for column in columns} | dict(texts or {})
    if len(columns) > 1:
        parts = ", ".join(of[column] for column in columns)
        return Value(f"nullif(concat_ws({text(SEPARATOR)}, {parts}), '')"), None
    kind, name = table.types[columns[0]], quoted(columns[0])
    if kind.endswith("[]") and not kind.startswith(("STRUCT", "MAP")):
        return Value(_joined(f"{name}::VARCHAR[]")), None
    plain = r"regexp_replace(replace({}, '&gt;', '>'), '\s*[-=]>\s*', '>', 'g')"
    asked = [f"count(*) FILTER (WHERE contains(v, {text(sign)}))" for sign in _SIGNS]
    dotted = r"regexp_full_match(v, '[a-z_]+(\.[a-z_]+)+')"  # furniture.kitchen.table, as feeds have it
    row = table.engine.row(
        f"SELECT count(v), {', '.join(asked)}, count(*) FILTER (WHERE {dotted}) "
        f"FROM (SELECT DISTINCT {plain.format(_text(table, columns[0]))} AS v FROM {table.sample()})"
    )
    filled, *counts, dots = row
    found = next(
        (s for s, n in zip(_SIGNS, counts, strict=True) if n and (s != "/" or n >= _OFTEN * filled)), None
    )
    if found is None and dots >= _OFTEN * filled and dots:
        found = "."
    if found is None:
        return Value(of[columns[0]]), None
    note = Note(f"category {columns[0]!r} is a path, its parts separated by {found!r}", column=columns[0])
    return Value(_joined(f"string_split({plain.format(of[columns[0]])}, {text(found)})")), note


def _joined(parts: str) -> str:
    """Return SQL for the parts of a path, a list of text, as one text."""
    trimmed = f"[trim(part) for part in {parts} if part IS NOT NULL AND trim(part) <> '']"
    return f"nullif(array_to_string({trimmed}, {text(SEPARATOR)}), '')"


def _text(table: Table, column: str) -> str:
    """Return SQL for a column as text, null where it stands for no value."""
    value = _trimmed(table, column)
    return f"CASE WHEN NOT {Table.missing(f'({value})')} THEN ({value}) END"


def _trimmed(table: Table, column: str) -> str:
    kind = table.types[column]
    if kind == "BLOB":
        return Table.trimmed(f"try(decode({quoted(column)}))")
    if kind in ("FLOAT", "DOUBLE"):  # 536.0 is how a column with gaps writes 536
        name = quoted(column)
        whole = f"{name} = trunc({name}) AND abs({name}) < 1e15"
        return f"CASE WHEN isnan({name}) THEN NULL WHEN {whole} THEN {name}::BIGINT::VARCHAR ELSE {name}::VARCHAR END"
    return table.as_text(column)


def _embedding(table: Table, column: str, value: str) -> Value:
    """Return the numbers of a list, or of a text such as "[0.1, 0.2]", "0.1 0.2" or "0.1;0.2"."""
    kind = table.types[column]
    if kind.endswith("]") and not kind.startswith(("STRUCT", "MAP")):
        return _numbers(f"try_cast({quoted(column)} AS FLOAT[])", f"{quoted(column)} IS NOT NULL")
    parts = rf"string_split(trim(regexp_replace({value}, '[\[\](){{}},;|\s]+', ' ', 'g')), ' ')"
    return _numbers(f"[TRY_CAST(part AS FLOAT) FOR part IN {parts}]", f"({value}) IS NOT NULL")


def _numbers(numbers: str, given: str) -> Value:
    """Return a list of numbers as text, null where one of them is none or not finite."""
    whole = f"len({numbers}) > 0 AND len([x FOR x IN {numbers} IF x IS NULL OR NOT isfinite(x)]) = 0"
    found = f"CASE WHEN {whole} THEN array_to_string([printf('%.6g', x) FOR x IN {numbers}], ' ') END"
    return Value(found, f"({given}) AND ({found}) IS NULL", "embeddings that are no numbers")


def _available(table: Table, column: str, value: str) -> Value:
    kind, name = table.types[column], quoted(column)
    if kind == "BOOLEAN":
        return Value(name)
    lower = f"lower({value})"
    stock = f"TRY_CAST({value} AS DOUBLE)"
    flag = (
        f"CASE WHEN {lower} IN ({', '.join(map(text, _AVAILABLE))}) THEN true "
        f"WHEN {lower} IN ({', '.join(map(text, _GONE))}) THEN false "
        f"WHEN isnan({stock}) THEN NULL WHEN {stock} > 0 THEN true WHEN {stock} <= 0 THEN false END"
    )
    return Value(
        flag, f"({value}) IS NOT NULL AND ({flag}) IS NULL", "words on availability that are not understood"
    )
