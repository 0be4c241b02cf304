"""`IdMap`: the frozen correspondence between external ids (any text) and row numbers.

Ids are text. Where Python gives a whole number for an id, its digits are meant: 42, ``numpy.int64(42)`` and "42" are
the same user. A float without a fraction is such a number, too: a data frame makes floats of whole numbers as soon as
one is missing, and the reading of tables takes them so. Other types are refused.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.arrow import arrow_numbers, numpy_numbers
from recae.errors import ConfigError, DataError, UnknownIdError
from recae.summary import Summarised, Summary
from recae.text import brief

_NEAREST_BYTES = 40  # longer ids are compared by their first bytes; it bounds the cost of `nearest`
_SHOWN = 80  # characters of an id in a message
_NEAREST_CHUNK = 32_768  # ids compared at once: the distances of a chunk stay in the processor's cache


class IdMap(Summarised):
    """External id text <-> row number, frozen; row numbers run from 0 to ``len(self) - 1``.

    Ids are exact text: nothing is trimmed, case-folded or read as a number. They are held as one Arrow array
    (no Python object per id), with a sorting permutation of 8 bytes per id unless they come in text order.

    Args:
        ids: in row order: text, or whole numbers, of which the digits are taken.

    Raises:
        DataError: an id is missing, occurs twice, is of another type, or cannot be written as UTF-8.
    """

    __slots__ = ("_order", "_values")

    def __init__(self, ids: Iterable[str | int] | pa.Array | pa.ChunkedArray) -> None:
        """Hold the ids, after a check that they are text and distinct."""
        values = _text_array(ids)
        if values.null_count:
            row = int(pc.index(pc.is_null(values), True).as_py())
            raise DataError(f"ids must not be missing, but the id of row {row} is; drop such rows first")
        self._values = values
        # Text order is what reading produces, and it proves by itself that no id occurs twice.
        self._order: NDArray[np.int64] | None = None
        if not _all(pc.less(values[:-1], values[1:])):
            order = pc.sort_indices(values)
            sorted_values = values.take(order)
            same = pc.equal(sorted_values[:-1], sorted_values[1:])
            if pc.any(same).as_py():
                twice = sorted_values[pc.index(same, True).as_py()].as_py()
                raise DataError(f"ids must be distinct, but {twice!r} occurs twice; merge its rows first")
            self._order = numpy_numbers(order).astype(np.int64)

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids, in row order."""
        for start in range(0, len(self), 65_536):
            yield from self._values[start : start + 65_536].to_pylist()

    def __eq__(self, other: object) -> bool:
        """Return whether the ids are the same, in the same order."""
        if not isinstance(other, IdMap):
            return NotImplemented
        return bool(self._values.equals(other._values))

    __hash__ = None  # type: ignore[assignment]  # equality by content makes a hash cost a pass over all ids

    def __contains__(self, id: object) -> bool:  # noqa: A002  # the word of the field
        """Return whether an id, text or a whole number, is in the map; False for what can be no id."""
        try:
            return self._find(id_text(id)) >= 0
        except ConfigError:
            return False

    @property
    def in_text_order(self) -> bool:
        """Whether the ids rise as text, by their UTF-8 bytes, as reading numbers them."""
        return self._order is None

    def summary(self) -> Summary:
        """Return the number of ids and the first ones."""
        first = ", ".join(shown(value) for value in self._values[:3].to_pylist())
        return Summary(f"IdMap({len(self):,} ids: {first}{', …' if len(self) > 3 else ''})")

    def id(self, row: int) -> str:
        """Return the id of a row; IndexError for a row outside 0 .. len - 1, negative rows too."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is outside 0..{len(self) - 1}")
        return str(self._values[int(row)].as_py())

    def ids(self, rows: NDArray[np.integer[Any]]) -> pa.LargeStringArray:
        """Return the ids of many rows, in their order.

        Args:
            rows: integers of shape (n,), repeats allowed.

        Raises:
            IndexError: a row is outside 0 .. len - 1, negative rows too.
        """
        rows = np.asarray(rows)
        if rows.size == 0:
            return self._values[:0]
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or high >= len(self):
            raise IndexError(f"row {low if low < 0 else high} is outside 0..{len(self) - 1}")
        return self._values.take(arrow_numbers(rows.astype(np.int64, copy=False)))

    def row(self, id: str | int, what: str = "id") -> int:  # noqa: A002  # the word of the field
        """Return the row of an id.

        Args:
            id: exact text, or a whole number.
            what: what the id stands for in the error's sentence, such as ``"user"``.

        Raises:
            UnknownIdError: the id is not in the map; its message names the nearest ids.
            ConfigError: it is of a type that no id has.
        """
        id = id_text(id, what)  # noqa: A001  # the word of the field
        row = self._find(id)
        if row < 0:
            near = ", ".join(shown(value) for value in self.nearest(id))
            raise UnknownIdError(
                f"no {what} {shown(id)} in the model" + (f"; nearest: {near}" if near else "")
            )
        return row

    def rows(self, ids: Iterable[str | int] | pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the row of each id, −1 where it is unknown; shape (n,).

        Raises:
            ConfigError: one is of a type that no id has.
        """
        if not isinstance(ids, pa.Array | pa.ChunkedArray):
            texts = id_texts(ids)
            # A search of log n steps each beats hashing the whole map for as little as a basket.
            if len(texts) * 50 < len(self) or any(_utf8(value) is None for value in texts):
                return np.fromiter((self._find(value) for value in texts), dtype=np.int64, count=len(texts))
            ids = texts
        found = pc.index_in(_text_array(ids), value_set=self._values, skip_nulls=True)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False)).astype(np.int64)

    def nearest(self, id: str, n: int = 3) -> list[str]:  # noqa: A002  # the word of the field
        """Return the ``n`` known ids at the smallest edit distance, nearest first.

        Levenshtein distance over the first 40 UTF-8 bytes; ties go to the longer common beginning, then to
        text order. Exact over all ids: lengths too different to win are skipped, the rest is vectorised.
        """
        if n < 1:
            return []
        query = np.frombuffer(id.encode("utf-8", "replace")[:_NEAREST_BYTES], dtype=np.uint8)
        data, offsets = self.to_arrays()
        lengths = np.minimum(np.diff(offsets), _NEAREST_BYTES)
        best: list[tuple[int, int, str]] = []
        for length in sorted(set(np.unique(lengths).tolist()), key=lambda value: abs(value - query.size)):
            # The difference of the lengths is a lower bound of the distance.
            if len(best) == n and abs(length - query.size) > best[-1][0]:
                break
            rows = np.flatnonzero(lengths == length)
            for start in range(0, rows.size, _NEAREST_CHUNK):
                part = rows[start : start + _NEAREST_CHUNK]
                letters = data[offsets[part] + np.arange(length)[:, None]]  # (length, ids)
                distances = _edit_distances(query, letters)
                shared = _common_prefixes(query, letters)
                bar = np.partition(distances, n - 1)[n - 1] if part.size > n else distances.max()
                near = np.flatnonzero(distances <= (min(bar, best[-1][0]) if len(best) == n else bar))
                ranking = np.lexsort((part[near], -shared[near], distances[near]))
                if self._order is None:  # rows are in text order, so the rest cannot win a tie
                    ranking = ranking[:n]
                chosen = near[ranking]
                texts = self.ids(part[chosen]).to_pylist()
                keys = zip(distances[chosen].tolist(), (-shared[chosen]).tolist(), texts, strict=True)
                best = sorted([*best, *keys])[:n]
        return [text for _, _, text in best]

    def to_arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the ids' UTF-8 bytes, shape (bytes,), and where each begins and ends, shape (n + 1,)."""
        if not len(self):
            return np.zeros(0, np.uint8), np.zeros(1, np.int64)
        _, offset_buffer, data_buffer = self._values.buffers()
        first = self._values.offset
        offsets = np.frombuffer(offset_buffer, dtype=np.int64)[first : first + len(self) + 1]
        data = np.frombuffer(data_buffer if data_buffer is not None else b"", dtype=np.uint8)
        return data[offsets[0] : offsets[-1]], offsets - offsets[0]

    @classmethod
    def from_arrays(cls, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> IdMap:
        """Rebuild a map from the arrays of `to_arrays`, trusting nothing.

        Raises:
            DataError: the offsets do not start at 0, decrease, or do not end at the number of bytes; the
                bytes of an id are not UTF-8; an id occurs twice.
        """
        data, offsets = np.ascontiguousarray(data), np.ascontiguousarray(offsets)
        if data.dtype != np.uint8 or offsets.dtype != np.int64 or data.ndim != 1 or offsets.ndim != 1:
            raise DataError(
                "ids must be stored as uint8 bytes and int64 offsets of one dimension each, "
                f"not {data.dtype} of {data.ndim} and {offsets.dtype} of {offsets.ndim}"
            )
        if (
            not offsets.size
            or offsets[0] != 0
            or offsets[-1] != data.size
            or (offsets[1:] < offsets[:-1]).any()
        ):
            raise DataError("the offsets of stored ids must rise from 0 to the number of bytes; these do not")
        try:
            data.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"stored ids must be UTF-8, but byte {error.start} of them is not") from error
        inner = offsets[offsets < data.size]
        if ((data[inner] & 0xC0) == 0x80).any():  # an id that begins with the second byte of a character
            raise DataError("stored ids must be UTF-8 each, but an offset cuts a character in two")
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        return cls(pa.LargeStringArray.from_buffers(offsets.size - 1, buffers[1], buffers[2]))

    def _find(self, id: str) -> int:  # noqa: A002  # the word of the field
        wanted = _utf8(id)
        if wanted is None:
            return -1
        order, values = self._order, self._values

        def text(position: int) -> bytes:
            row = position if order is None else int(order[position])
            return bytes(values[row].as_buffer())

        # Arrow sorts text by its UTF-8 bytes, and so does Python compare bytes.
        position = bisect_left(range(len(values)), wanted, key=text)
        if position == len(values) or text(position) != wanted:
            return -1
        return position if order is None else int(order[position])


def id_text(value: object, what: str = "id") -> str:
    """Return an id as text: text as it is, a whole number as its digits.

    Args:
        value: the id.
        what: what it stands for in the error's sentence, such as ``"user"``.

    Raises:
        ConfigError: it is missing, a truth value, a number with a fraction, or of another type.
    """
    if isinstance(value, str):
        return str(value)  # of NumPy's own texts, too
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, UUID):
        return str(value)
    of = "an id" if what == "id" else f"the id of {'an' if what == 'item' else 'a'} {what}"
    found = f"{of} is text or a whole number, found {brief(value)}"
    if value is None or (isinstance(value, float | np.floating) and value != value):
        raise ConfigError(f"{found}: leave out rows without one")
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        raise ConfigError(f"{found}: give one id here, or use what takes a list of them")
    raise ConfigError(f"{found}: write it as text, exactly as in the purchases")


def id_texts(ids: Iterable[object], what: str = "id") -> list[str]:
    """Return ids as a list of text, `id_text` each.

    Raises:
        ConfigError: they are no list (a text would be taken letter by letter), or as `id_text`.
    """
    several = "ids" if what == "id" else f"ids of {what}s"
    if isinstance(ids, str | bytes):
        raise ConfigError(f"{several} are given as a list, found the text {brief(ids)}: write [{brief(ids)}]")
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        ids = ids.to_pylist()
    if hasattr(ids, "columns") or hasattr(ids, "column_names"):  # iterating gives the names of the columns
        raise ConfigError(f"{several} are given as a list, found a table: give one of its columns")
    if hasattr(ids, "readline"):
        raise ConfigError(
            f"{several} are given as a list, found an open file: read the ids and give a list of them"
        )
    if not isinstance(ids, Iterable) or isinstance(ids, Mapping) or getattr(ids, "ndim", 1) == 0:
        raise ConfigError(f"{several} are given as a list, found {brief(ids)}: write [{brief(ids)}]")
    return [value if type(value) is str else id_text(value, what) for value in ids]


def written_ids(ids: Iterable[object], what: str = "id") -> list[str]:
    """Return ids as `id_texts`, for what is written or read as UTF-8 later.

    Raises:
        ConfigError: as `id_texts`, or one cannot be written as UTF-8.
    """
    texts = id_texts(ids, what)
    for text in texts:
        if _utf8(text) is None:
            raise ConfigError(
                f"ids must be writable as UTF-8, but {text!r} is not: write it in other characters"
            )
    return texts


def shown(id: str) -> str:  # noqa: A002  # the word of the field
    """Return an id for a message: between quotes, escaped, and cut where it would flood the sentence."""
    return repr(id) if len(id) <= _SHOWN else f"{id[:_SHOWN]!r}… ({len(id):,} characters)"


def _text_array(ids: Iterable[str | int] | pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """Return ids of any textual or whole Arrow type, or of Python, as one large_string array."""
    try:
        if not isinstance(ids, pa.Array | pa.ChunkedArray):
            if isinstance(ids, str):
                raise DataError(f"ids are given as a list, found the text {brief(ids)}: write [{brief(ids)}]")
            return pa.array([_text(value) for value in ids], type=pa.large_string())
        kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
        if not (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
            or pa.types.is_integer(kind)
        ):
            raise DataError(f"ids must be text, but these are of type {ids.type}; convert them to text first")
        ids = ids.cast(pa.large_string())
        if isinstance(ids, pa.ChunkedArray):
            ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], type=pa.large_string())
        ids.validate(full=True)  # Arrow takes any bytes for text, and any index for one of a dictionary
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowIndexError, TypeError) as error:
        raise DataError(f"ids must be text, but some are not ({error}); convert them first") from error
    except UnicodeEncodeError as error:
        raise DataError(f"ids must be writable as UTF-8, but {error.object!r} is not") from error
    return ids


def _text(value: object) -> object:
    """Return an id as text; what can be none stays, for Arrow to refuse."""
    try:
        return value if type(value) is str else id_text(value)
    except ConfigError:
        return value


def _utf8(text: str) -> bytes | None:
    """Return UTF-8 bytes, or None for text that has none (lone surrogates, from undecodable arguments)."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return None


def _all(flags: pa.BooleanArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _edit_distances(query: NDArray[np.uint8], letters: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the Levenshtein distance of one text to many of one length, row by row of the Wagner-Fischer table.

    Args:
        query: bytes of shape (q,).
        letters: bytes of shape (length, ids).

    Returns:
        Distances of shape (ids,); at most 40, so int8 holds them.
    """
    length, count = letters.shape
    table = np.repeat(np.arange(length + 1, dtype=np.int8)[:, None], count, axis=1)  # (length + 1, ids)
    for i, letter in enumerate(query):
        differs = (letters != letter).view(np.int8)
        diagonal = table[:-1] + differs
        table[0] = i + 1
        np.minimum(diagonal, table[1:] + np.int8(1), out=diagonal)
        for j in range(length):
            np.minimum(diagonal[j], table[j] + np.int8(1), out=table[j + 1])
    return np.asarray(table[-1])


def _common_prefixes(query: NDArray[np.uint8], letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the length in bytes of each text's common prefix with the query, shape (ids,)."""
    both = min(query.size, letters.shape[0])
    same = letters[:both] == query[:both, None]
    return np.asarray(np.logical_and.accumulate(same, axis=0).sum(axis=0), dtype=np.int64)
