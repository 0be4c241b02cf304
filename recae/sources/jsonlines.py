"""JSON Lines, plain or compressed, as a stream of Arrow record batches in which every value is text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recae.errors import ColumnError, SourceError
from recae.sources.base import Table, damaged, first_line, refuse_foreign, text_schema
from recae.sources.texts import is_exact, text_column, text_of

_HEAD = 1 << 20  # bytes whose lines tell the keys
_BLOCK = 1 << 24  # bytes of text in one batch
_LONGEST = 1 << 26  # bytes of one line
_BOM: Final = b"\xef\xbb\xbf"
_KINDS: Final = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


class JsonLinesSource(Table):
    """A file of JSON Lines: one object a line, one purchase an object.

    The columns are the keys in the first MiB; a key that a line lacks is null there, and keys that come only
    later are not read. Text is exact and empty text null, as in delimited text; a number becomes its digits,
    without a point where it is whole. Blank lines are ignored.

    Args:
        path: the file.
        compression: ``"gzip"``, ``"zstd"``, ``"bz2"``, or None for plain text.
        name: what to call it in messages; by default the path.

    Attributes:
        name: for messages.
        schema: text columns by the keys, in the order of their appearance.

    Raises:
        SourceError: the file is empty or broken, or its first lines are not JSON objects.
    """

    def __init__(self, path: Path, compression: str | None = None, name: str | None = None) -> None:
        self.name = name or str(path)
        self._path = path
        self._compression = compression
        # What Arrow is to expect in each column; a guess, since `_slowly` takes over where it does not hold.
        self._types: dict[str, pa.DataType] = {}
        head, number = next(self._blocks(_HEAD), (b"", 1))
        refuse_foreign(self.name, head, "JSON Lines", "jsonl")
        if not head.strip():
            raise SourceError(
                f"'{self.name}' is empty; a line with a JSON object for each purchase is needed"
            )
        if head.lstrip().startswith(b"["):
            raise SourceError(
                f"'{self.name}' begins a JSON array, but one object a line is needed; "
                "write it so, for example with: jq -c '.[]'"
            )
        names: dict[str, None] = {}
        for _, row in self._objects(head, number):
            for key, value in row.items():
                names[key] = None
                if value is not None:
                    self._expect(key, value)
        self.schema = text_schema(list(names))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns batch by batch, as text; memory stays at a few blocks of 16 MiB.

        Raises:
            ColumnError: no such key is among the first lines.
            SourceError: the rest of the file cannot be read, or a value is a list or an object; the message names
                the line.
        """
        self.positions(columns)
        for block, number in self._blocks(_BLOCK):
            if block.strip():
                arrays = self._fast(block, columns) or self._slowly(block, number, columns)
                yield pa.record_batch(arrays, schema=text_schema(columns))

    def _blocks(self, size: int) -> Iterator[tuple[bytes, int]]:
        """Yield whole lines, some ``size`` bytes at a time, each with the number of its first line."""
        number, rest = 1, b""
        try:
            with pa.input_stream(str(self._path), compression=self._compression) as stream:
                while data := stream.read(size):
                    rest += data
                    if number == 1:
                        rest = rest.removeprefix(_BOM)
                    end = rest.rfind(b"\n") + 1
                    if end:
                        yield rest[:end], number
                        number, rest = number + rest.count(b"\n", 0, end), rest[end:]
                    elif len(rest) > _LONGEST:
                        raise SourceError(
                            f"line {number} of '{self.name}' is longer than {_LONGEST >> 20} MiB; "
                            "write one object a line, for example with: jq -c ."
                        )
        except (pa.ArrowInvalid, OSError) as error:
            raise damaged(self.name, self._compression, error, self._path.suffix) from error
        if rest:
            yield rest, number

    def _fast(self, block: bytes, columns: Sequence[str]) -> list[pa.Array] | None:
        """Return the columns as Arrow reads them, or None where a value is not of the type expected."""
        from pyarrow import json as arrow_json

        schema = pa.schema([(name, self._types.get(name, pa.string())) for name in columns])
        try:
            table = arrow_json.read_json(
                pa.BufferReader(block),
                parse_options=arrow_json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="ignore"
                ),
            )
            table.validate(full=True)  # Arrow does not look whether text is UTF-8
        except pa.ArrowException:
            return None
        arrays = [_joined(column) for column in table.select(list(columns)).columns]
        if not all(is_exact(array) for array in arrays if pa.types.is_floating(array.type)):
            return None
        return [_without_empty(text_column(array)) for array in arrays]

    def _slowly(self, block: bytes, number: int, columns: Sequence[str]) -> list[pa.Array]:
        """Return the columns line by line, or say which line is wrong."""
        texts: dict[str, list[str | None]] = {name: [] for name in columns}
        for line, row in self._objects(block, number):
            for name, values in texts.items():
                value = row.get(name)
                try:
                    values.append(text_of(value))
                except ColumnError as error:
                    raise SourceError(
                        f"line {line} of '{self.name}': {name!r} {error}, but text or a number is needed"
                    ) from error
                if value is not None:
                    self._expect(name, value)
        return [_without_empty(pa.array(texts[name], type=pa.string())) for name in columns]

    def _objects(self, block: bytes, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each line's number and object."""
        for line, data in enumerate(block.split(b"\n"), number):
            if not data.strip():
                continue
            try:
                row = json.loads(data.decode())
            except UnicodeDecodeError as error:
                raise SourceError(
                    f"line {line} of '{self.name}' is not UTF-8; save the file as UTF-8"
                ) from error
            except (ValueError, RecursionError) as error:
                raise self._broken(line, error) from error
            if not isinstance(row, dict):
                raise SourceError(
                    f"line {line} of '{self.name}' is JSON, but no object such as "
                    '{"user_id": "42", "item_id": "P017"}; write one object a line'
                )
            yield line, row

    def _broken(self, line: int, error: Exception) -> SourceError:
        if isinstance(error, RecursionError):
            reason = "nested too deeply"
        elif not isinstance(error, json.JSONDecodeError):
            reason = first_line(error)
        elif error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg:
            return SourceError(
                f"line {line} of '{self.name}' ends in the middle of an object; "
                "copy the file again if it was cut off, and write each object on one line"
            )
        else:
            reason = f"{error.msg}, column {error.colno}"
        return SourceError(f"line {line} of '{self.name}' is not JSON ({reason}); correct that line")

    def _expect(self, name: str, value: Any) -> None:
        """Take a value as an example of its column; after whole numbers a fraction widens the type."""
        kind = _KINDS.get(type(value), pa.string())
        known = self._types.get(name)
        if known is None or (known == pa.int64() and kind == pa.float64()):
            self._types[name] = kind


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _without_empty(texts: pa.Array) -> pa.Array:
    """Return texts with null in place of empty ones."""
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
