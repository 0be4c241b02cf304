"""JSON in DuckDB: lines, an array, one document around a list, or columns; every key of the whole file is a column.

Values are exact text, as in delimited text: digits of whole numbers, without a point; null for empty text. What is
inside an object has a dotted name; lists stay JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recae.errors import ColumnError, SourceError
from recae.reading.encodings import survey, transcoded
from recae.reading.engine import Engine, first_line, quoted, text
from recae.reading.formats import new_path, read_head
from recae.reading.options import ReadOptions
from recae.reading.said import Skipped, skipped_lines, unique_names
from recae.reading.table import Note, Table
from recae.reading.values import text_of

if TYPE_CHECKING:
    import pyarrow as pa

_HEAD: Final = 1 << 20
_LONGEST: Final = 1 << 24  # bytes of an object, as DuckDB has it
_DOCUMENT: Final = 1 << 28  # bytes of a document that is one value
_KEYS: Final = 1_000  # of an object from which on they are values themselves
_COLUMNS: Final = 20_000


def open_records(engine: Engine, path: Path, name: str, options: ReadOptions) -> Table:
    """Return the table that a file of JSON holds.

    Raises:
        SourceError: it is empty or broken, or holds no objects; the message names the line.
    """
    found = survey(path, name, options.encoding)
    if not found.is_utf8:
        path = transcoded(engine, path, found)
    head = read_head(path, _HEAD).removeprefix(b"\xef\xbb\xbf")
    shape = _shape_of(head)
    if shape in ("lists", "lines of lists") or (shape == "document" and _is_columns(path, head)):
        return _from_columns(engine, path, name, shape == "lines of lists")
    notes = [Note(found.note, code="encoding")] * bool(found.note)
    skipped: list[Skipped] = []
    if shape == "lines" and options.bad_lines == "skip":
        path, skipped = _good_lines(engine, path, name)
    objects, structure, shape = _objects(engine, path, name, shape)
    if shape == "unstructured":
        objects, structure, note = _unwrapped(engine, objects, structure)
        notes += [note] if note else []
    if structure in ({}, "NULL"):
        raise SourceError(f"'{name}' is empty; a line with a JSON object for each purchase is needed")
    if not isinstance(structure, dict):
        raise SourceError(
            f"'{name}' is JSON, but not of objects such as "
            '{"user_id": "42", "item_id": "P017"}; write one object for each purchase'
        )
    leaves = list(_leaves(structure, ()))
    if len(leaves) > _COLUMNS:
        raise SourceError(f"'{name}' has {len(leaves):,} different keys, but a table of purchases has a few")
    names, _ = unique_names([".".join(keys) for keys, _ in leaves])
    view = engine.view(_select(objects, leaves, names), "records")
    rejected, said = skipped_lines(engine, skipped)
    return Table(
        name=name,
        engine=engine,
        relation=view,
        types=engine.describe(view),
        files=(path,),
        notes=(*notes, *said),
        skipped=len(skipped),
        rejected=rejected,
    )


def _shape_of(head: bytes) -> str:
    """Return how a file writes its records: "lines", "array", "document", "lists" or "lines of lists"."""
    start = head.lstrip()
    if start.startswith(b"["):
        lines = [line for line in head.split(b"\n") if line.strip()]
        if re.match(rb"\[\s*\[", start):
            return "lists"
        if len(lines) > 1 and all(isinstance(_parsed(line), list) for line in lines[:2]):
            return "lines of lists"
        return "array"
    lines = [line for line in head.splitlines() if line.strip()]
    whole = lines if len(head) < _HEAD else lines[:-1]
    if whole and isinstance(_parsed(whole[0]), dict):
        return "lines" if len(lines) > 1 else "document"
    # one object over several lines, unless the first line is broken
    text_of_first = whole[0].strip() if whole else b""
    return "lines" if text_of_first.endswith(b"}") and len(text_of_first) > 2 else "document"


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _objects(engine: Engine, path: Path, name: str, shape: str) -> tuple[str, Any, str]:
    """Return a query of a file's objects (json), their common structure, and the shape that they are written in."""
    import duckdb

    way = {"array": "array", "document": "unstructured"}.get(shape, "newline_delimited")
    if shape == "document" and path.stat().st_size > _DOCUMENT:
        raise _too_long(name)
    # of the size of the longest object DuckDB keeps several
    size = path.stat().st_size + 1024 if way == "unstructured" else _LONGEST
    file = text(str(path))
    how = f"format = '{way}', compression = 'none', hive_partitioning = false, maximum_object_size = {size}"
    objects = f"read_json_objects({file}, {how})"
    try:
        found = engine.value(f"SELECT json_group_structure(json) FROM {objects}")
    except (duckdb.InvalidInputException, duckdb.IOException) as error:
        raise _explained(path, name, shape, error) from error
    except SourceError as error:  # too little memory
        if any(len(line) > _LONGEST for _, line in _lines(path)):
            raise _too_long(name) from error
        raise
    structure = json.loads(found) if found else {}
    if not isinstance(structure, dict) and engine.value(
        f"SELECT bool_and(json_type(json) = 'OBJECT') FROM {objects}"
    ):
        structure = {}  # objects without a key
    if shape == "lines" and not isinstance(structure, dict):
        raise _explained(path, name, shape, None)
    return f"SELECT json FROM {objects}", structure, way


def _unwrapped(engine: Engine, objects: str, structure: Any) -> tuple[str, Any, Note | None]:
    """Return the objects inside a single document, where it is only the cover of a list of them."""
    if engine.value(f"SELECT count(*) FROM ({objects})") != 1:
        return objects, structure, None
    paths = list(_lists(structure, ()))
    if not paths:
        return objects, structure, None
    counts = engine.row(
        "SELECT "
        + ", ".join(f"json_array_length(json, {text(_pointer(keys))})" for keys, _ in paths)
        + f" FROM ({objects})"
    )
    place = max(range(len(paths)), key=lambda n: counts[n] or 0)
    keys, inside = paths[place]
    dotted = ".".join(keys)
    others = [".".join(other) for n, (other, _) in enumerate(paths) if n != place]
    note = f"its rows are the {counts[place] or 0:,} elements of {dotted!r}"
    if others:
        note += f"; other lists are left out: {', '.join(map(repr, others[:5]))}"
    query = f"SELECT unnest(json_extract(json, {text(_pointer(keys))})::JSON[]) AS json FROM ({objects})"
    return query, inside, Note(note, code="layout")


def _lists(structure: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the paths to lists of objects that are in no other list, with the structure of their elements."""
    if not isinstance(structure, dict):
        return
    for key, value in structure.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield (*keys, key), value[0]
        elif isinstance(value, dict):
            yield from _lists(value, (*keys, key))


def _leaves(structure: dict[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys that lead to each value, and its type: a DuckDB type, "mixed", or "JSON" for a list."""
    for key, value in structure.items():
        path = (*keys, key)
        if isinstance(value, dict) and 0 < len(value) <= _KEYS:
            yield from _leaves(value, path)
        elif isinstance(value, dict | list):
            yield path, "JSON"
        else:
            yield path, "mixed" if value == "JSON" else str(value)


def _pointer(keys: Sequence[str]) -> str:
    """Return a JSON pointer."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _select(objects: str, leaves: Sequence[tuple[tuple[str, ...], str]], names: Sequence[str]) -> str:
    """Return a query of a column for each leaf."""
    texts = [text(_pointer(keys)) for keys, kind in leaves if kind not in ("JSON", "mixed")]
    raws = [text(_pointer(keys)) for keys, kind in leaves if kind in ("JSON", "mixed")]
    inner = ", ".join(
        [f"json_extract_string(json, [{', '.join(texts)}]) AS t"] * bool(texts)
        + [f"json_extract(json, [{', '.join(raws)}]) AS r"] * bool(raws)
    )
    columns, t, r = [], 0, 0
    for (_, kind), name in zip(leaves, names, strict=True):
        if kind in ("JSON", "mixed"):
            r += 1
            value = f"r[{r}]"
            if kind == "JSON":
                sql = f"CASE WHEN json_type({value}) = 'NULL' THEN NULL ELSE {value} END"
            else:
                sql = (
                    f"CASE json_type({value}) WHEN 'NULL' THEN NULL WHEN 'DOUBLE' THEN {_digits(f'{value}::VARCHAR')} "
                    f"ELSE nullif({value}->>'$', '') END"
                )
        else:
            t += 1
            value = f"t[{t}]"
            sql = (
                _digits(value) if kind == "DOUBLE" else f"nullif({value}, '')" if kind == "VARCHAR" else value
            )
        columns.append(f"{sql} AS {quoted(name)}")
    return f"SELECT {', '.join(columns)} FROM (SELECT {inner} FROM ({objects}))"


def _digits(value: str) -> str:
    """Return SQL for a number's text: without a point where it is whole, null for NaN."""
    number = f"TRY_CAST({value} AS DOUBLE)"
    whole = f"TRY_CAST({number} AS HUGEINT)"
    return (
        f"CASE WHEN isnan({number}) THEN NULL WHEN ({value} LIKE '%.0' OR {value} LIKE '%e%') AND {whole} = {number} "
        f"THEN {whole}::VARCHAR ELSE {value} END"
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line


def _good_lines(engine: Engine, path: Path, name: str) -> tuple[Path, list[Skipped]]:
    """Return a file of the lines that are objects, and those that are none."""
    target, odd = new_path(engine, "lines"), []
    with target.open("wb") as file:
        for number, line in _lines(path):
            fault = _fault(line)
            if fault is None:
                file.write(line)
            else:
                odd.append((number, fault, line.decode("utf-8", "replace").rstrip("\r\n")[:10_000]))
    if not odd:
        target.unlink()
        return path, odd
    return target, odd


def _fault(line: bytes) -> str | None:
    """Return what is wrong with a line that should hold an object, or None."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        return "is not UTF-8"
    except RecursionError:
        return None  # which DuckDB reads
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg:
            return "ends in the middle of an object"
        return f"is not JSON ({error.msg}, column {error.colno})"
    except ValueError as error:
        return f"is not JSON ({first_line(error)})"
    if not isinstance(value, dict):
        return "is JSON, but no object"
    if b"\\ud" in line.lower() and re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        return "holds what is not UTF-8"
    return None


_ADVICE: Final = {
    "ends in the middle of an object": "copy the file again if it was cut off, and write each object on one line",
    "is JSON, but no object": 'write one object a line, such as {"user_id": "42", "item_id": "P017"}',
    "is not UTF-8": "save the file as UTF-8",
}


def _explained(path: Path, name: str, shape: str, error: Exception | None) -> SourceError:
    """Return what is wrong with a file that DuckDB does not read: the first line that is no object."""
    said = first_line(error) if error else "it holds no objects"
    if "maximum_object_size" in said:
        return _too_long(name)
    if shape == "lines":
        for number, line in _lines(path):
            if len(line) > _LONGEST:
                return SourceError(
                    f"line {number} of '{name}' is longer than {_LONGEST >> 20} MiB; write one object a line, "
                    "for example with: jq -c ."
                )
            fault = _fault(line)
            if fault is not None:
                advice = _ADVICE.get(fault, "correct that line")
                return SourceError(
                    f"line {number} of '{name}' {fault}; {advice}, or leave out such lines with --bad-lines skip"
                )
    if path.stat().st_size <= _DOCUMENT:
        try:
            json.loads(path.read_bytes().decode("utf-8-sig"))
        except UnicodeDecodeError:
            return SourceError(f"'{name}' is not UTF-8; save the file as UTF-8")
        except json.JSONDecodeError as fault:
            if fault.pos >= len(fault.doc.rstrip()) or "Unterminated" in fault.msg:
                return SourceError(
                    f"line {fault.lineno} of '{name}' ends in the middle of an object; copy the file again"
                )
            return SourceError(
                f"line {fault.lineno} of '{name}' is not JSON ({fault.msg}, column {fault.colno}); correct that line"
            )
        except (ValueError, RecursionError):
            pass
    return SourceError(
        f"'{name}' cannot be read as JSON ({said}); write one object a line, for example with: jq -c '.[]'"
    )


def _too_long(name: str) -> SourceError:
    return SourceError(
        f"'{name}' holds an object of more than {_LONGEST >> 20} MiB, or one of {_DOCUMENT >> 20} MiB around all; "
        "write one object a line, for example with: jq -c '.[]'"
    )


def _is_columns(path: Path, head: bytes) -> bool:
    """Tell whether a document is a table as pandas writes it, and not a list of objects.

    That is {"user": {"0": ...}}, {"0": {"user": ...}}, {"user": [...]}, and those with keys "columns" or "schema".
    """
    known = rb'"(?:columns|schema|data|index)"\s*:'
    first = rb'"(?:[^"\\]|\\.)*"\s*:\s*(?:\{|\[\s*(?:"|-?\d|null))'
    if (
        not re.match(rb"\{\s*(?:" + known + b"|" + first + b")", head.lstrip())
        or path.stat().st_size > _DOCUMENT
    ):
        return False
    document = _parsed(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(document, dict) or not document:
        return False
    if _is_split(document) or (isinstance(document.get("data"), list) and "schema" in document):
        return True
    values = list(document.values())
    if all(isinstance(value, dict) for value in values):
        return len({tuple(value) for value in values}) == 1 and (len(values) > 1 or _is_numbered(values[0]))
    return len(values) > 1 and all(isinstance(v, list) for v in values) and len({len(v) for v in values}) == 1


def _is_numbered(keys: Iterable[str]) -> bool:
    """Tell whether keys are the numbers of rows."""
    return all(key.isdecimal() for key in keys)


def _is_split(document: dict[str, Any]) -> bool:
    return isinstance(document.get("columns"), list) and isinstance(document.get("data"), list)


def _texts(values: Sequence[Any], label: str, name: str) -> pa.Array:
    """Return the values of a column of JSON as text."""
    import pyarrow as pa

    texts: list[str | None] = []
    for value in values:
        try:
            texts.append(_text(value))
        except ColumnError as error:
            raise SourceError(
                f"row {len(texts) + 1:,} of '{name}' {error} in column {label!r}; correct it"
            ) from error
    return pa.array(texts, pa.string())


def _from_columns(engine: Engine, path: Path, name: str, by_line: bool) -> Table:
    """Return the table of a document that is not made of objects by row."""
    import pyarrow as pa

    if path.stat().st_size > _DOCUMENT:
        raise SourceError(
            f"'{name}' is one JSON document of more than {_DOCUMENT >> 20} MiB; write one object a line, "
            "for example with pandas' to_json(orient='records', lines=True)"
        )
    document: Any
    try:
        data = path.read_bytes().decode("utf-8-sig")
        document = (
            [json.loads(line) for line in data.splitlines() if line.strip()] if by_line else json.loads(data)
        )
    except (ValueError, RecursionError) as error:
        raise _explained(path, name, "document", error) from error
    header = isinstance(document, dict)
    if not header or _is_split(document):
        lists = document["data"] if header else document
        width = max((len(row) for row in lists if isinstance(row, list)), default=0)
        if any(not isinstance(row, list) or len(row) != width for row in lists):
            raise SourceError(
                f"'{name}' is a JSON array of lists of several lengths; write one object for each purchase"
            )
        labels = (
            [str(label) for label in document["columns"]] if header else [str(n) for n in range(1, width + 1)]
        )
        columns = [list(column) for column in zip(*lists, strict=True)] if lists else [[] for _ in labels]
    elif isinstance(document.get("data"), list):
        records = document["data"]
        labels = list(dict.fromkeys(key for row in records for key in row))
        columns = [[row.get(label) for row in records] for label in labels]
    else:
        if all(isinstance(value, dict) for value in document.values()) and (
            _is_numbered(document) or (len(document) > 20 and not _is_numbered(next(iter(document.values()))))
        ):  # by row
            rows = list(document.values())
            document = {label: [row[label] for row in rows] for label in rows[0]}
        labels = list(document)
        columns = [list(value.values()) if isinstance(value, dict) else value for value in document.values()]
    names, _ = unique_names(labels)
    texts = [_texts(column, label, name) for column, label in zip(columns, labels, strict=True)]
    data = pa.table(dict(zip(names, texts, strict=True)))
    relation = engine.store(f"SELECT * FROM {engine.register(data)}", "records")
    return Table(
        name=name,
        engine=engine,
        relation=relation,
        types=engine.describe(relation),
        header=header,
        files=(path,),
    )


def _text(value: Any) -> str | None:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return text_of(value) or None
