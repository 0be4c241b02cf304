"""What the values of a table of items mean, as SQL: paths of categories, flags, addresses of the web, text."""

from __future__ import annotations

from collections.abc import Sequence
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


def value_of(table: Table, name: str, column: str) -> Value:
    """Return a column's values; `name` says what they mean."""
    if name == "available":
        return _available(table, column)
    value = _text(table, column)
    if name in ("image", "link"):
        # more than one address, or blanks around it: the first counts
        found = rf"nullif(regexp_extract({value}, '^[hH][tT][tT][pP][sS]?://[^\s]+'), '')"
        address = f"regexp_replace({found}, '^[hH][tT][tT][pP]', 'http')"
        address = f"regexp_replace({address}, '^http[sS]', 'https')"
        what = f"{name}s that do not begin with http:// or https://"
        return Value(address, f"({value}) IS NOT NULL AND ({found}) IS NULL", what)
    return Value(value)


def category_of(table: Table, columns: Sequence[str]) -> tuple[Value, Note | None]:
    """Return the path of categories, and how it was found.

    Args:
        table: of the columns.
        columns: the widest part first; one that holds a path as a whole, or a part each.
    """
    if len(columns) > 1:
        parts = ", ".join(_text(table, column) for column in columns)
        return Value(f"nullif(concat_ws({text(SEPARATOR)}, {parts}), '')"), None
    kind, name = table.types[columns[0]], quoted(columns[0])
    if kind.endswith("[]") and not kind.startswith(("STRUCT", "MAP")):
        return Value(_joined(f"{name}::VARCHAR[]")), None
    value = _text(table, columns[0])
    plain = rf"regexp_replace(replace({value}, '&gt;', '>'), '\s*[-=]>\s*', '>', 'g')"
    asked = [f"count(*) FILTER (WHERE contains(v, {text(sign)}))" for sign in _SIGNS]
    dotted = r"regexp_full_match(v, '[a-z_]+(\.[a-z_]+)+')"  # furniture.kitchen.table, as feeds have it
    row = table.engine.row(
        f"SELECT count(v), {', '.join(asked)}, count(*) FILTER (WHERE {dotted}) "
        f"FROM (SELECT DISTINCT {plain} AS v FROM {table.sample()})"
    )
    filled, *counts, dots = row
    found = next(
        (s for s, n in zip(_SIGNS, counts, strict=True) if n and (s != "/" or n >= _OFTEN * filled)), None
    )
    if found is None and dots >= _OFTEN * filled and dots:
        found = "."
    if found is None:
        return Value(value), None
    note = Note(f"category {columns[0]!r} is a path, its parts separated by {found!r}", column=columns[0])
    return Value(_joined(f"string_split({plain}, {text(found)})")), note


def _joined(parts: str) -> str:
    """Return SQL for the parts of a path, a list of text, as one text."""
    trimmed = f"[trim(part) for part in {parts} if part IS NOT NULL AND trim(part) <> '']"
    return f"nullif(array_to_string({trimmed}, {text(SEPARATOR)}), '')"


def _text(table: Table, column: str) -> str:
    kind = table.types[column]
    if kind == "BLOB":
        value = Table.trimmed(f"try(decode({quoted(column)}))")
    elif kind in ("FLOAT", "DOUBLE"):  # 536.0 is how a column with gaps writes 536
        name = quoted(column)
        whole = f"{name} = trunc({name}) AND abs({name}) < 1e15"
        value = f"CASE WHEN isnan({name}) THEN NULL WHEN {whole} THEN {name}::BIGINT::VARCHAR ELSE {name}::VARCHAR END"
    else:
        value = table.as_text(column)
    return f"CASE WHEN NOT {Table.missing(f'({value})')} THEN ({value}) END"


def _available(table: Table, column: str) -> Value:
    kind, name = table.types[column], quoted(column)
    if kind == "BOOLEAN":
        return Value(name)
    value = _text(table, column)
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
