"""`take_source`: what Python gives for purchases, as something that `recae.reading.read` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recae.errors import ColumnError, ConfigError, DataError, SourceError
from recae.ids import IdMap, written_ids
from recae.interface.keywords import IDS, Words
from recae.reading.matrix import LabelledMatrix
from recae.text import brief

_SOURCES = (
    "a path, a URL, a pandas or polars data frame, an Arrow table, a list of (user, item) or (user, item, time), a "
    "dictionary of columns, or a scipy matrix of users × items"
)


def take_source(source: Any, words: Words) -> Any:
    """Return a source of purchases as it can be read; the ids of a matrix are taken out of the words.

    Args:
        source: as for `recae.reading.read`, or a mapping of column names to columns.
        words: of the call; ``users`` and ``items`` are the ids of a matrix's rows and columns. For anything else
            ``items`` is a table of items, and stays.

    Raises:
        ConfigError: ids are given for something else than a matrix, or are not distinct ids.
        SourceError: it is nothing that can be read.
    """
    if is_matrix(source):
        return _with_ids(source, words.take(IDS))
    if "users" in words.left:
        raise ConfigError(
            "users are the ids of a matrix's rows, but the purchases are no scipy matrix; leave users out, or name the "
            "column of users with user_column"
        )
    items = words.left.get("items")
    if isinstance(items, list | tuple | np.ndarray) and items is not None:
        raise ConfigError(
            "items as a list are the ids of a matrix's columns, but the purchases are no scipy matrix; leave items "
            "out, or give a table of items and their names"
        )
    if isinstance(items, Mapping):
        words.left["items"] = _columns(items)
    if isinstance(source, Mapping):
        return _columns(source)
    if isinstance(source, np.ndarray):
        raise SourceError(
            f"purchases are {_SOURCES}, found a NumPy array of shape {source.shape}: wrap a matrix of users × items as "
            'scipy.sparse.csr_matrix(array), and rows as pandas.DataFrame(array, columns=["user", "item"])'
        )
    if source is None or isinstance(source, bool | int | float | bytes):
        raise SourceError(f"purchases are {_SOURCES}, found {brief(source)}: give one of these")
    if isinstance(source, str) and not source.strip():
        raise SourceError(f"purchases are {_SOURCES}, found an empty text: give the path of a table")
    return source


def item_source(items: Any) -> Any:
    """Return a table of items as it can be read: a dictionary of columns becomes a table.

    Raises:
        SourceError: it is nothing that can be read.
    """
    return _columns(items) if isinstance(items, Mapping) else items


def is_matrix(source: Any) -> bool:
    """Return whether a source is a scipy matrix."""
    return bool(sp.issparse(source))


def _columns(source: Mapping[Any, Any]) -> pa.Table:
    from recae.reading.values import texts_of

    lengths = {}
    arrays = {}
    for name, values in source.items():
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise SourceError(
                f"a dictionary of purchases holds a list a column, but {name!r} is {brief(values)}: give "
                '{"user": [...], "item": [...]}'
            )
        listed = list(values)
        lengths[name] = len(listed)
        try:
            arrays[str(name)] = texts_of(listed)
        except ColumnError as error:
            raise SourceError(
                f"column {name!r} {error}, but text or a number is needed: correct it"
            ) from error
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
        raise SourceError(
            f"the columns of a dictionary are of one length, found {told}: give a value each row"
        )
    return pa.table(arrays)


def _with_ids(matrix: Any, ids: Mapping[str, Any]) -> Any:
    ids = {name: given for name, given in ids.items() if given is not None}
    if not ids:
        return matrix
    table_given = [name for name, given in ids.items() if isinstance(given, str | Path)]
    if table_given:
        raise ConfigError(
            f"{table_given[0]} of a matrix are a list of ids, found {ids[table_given[0]]!r:.80}: give the list"
        )
    users, items = (
        _names(ids.get(name), size, name, axis)
        for name, size, axis in zip(IDS, matrix.shape, ("rows", "columns"), strict=True)
    )
    return LabelledMatrix(matrix, users, items)


def _names(given: Any, size: int, name: str, axis: str) -> IdMap:
    if given is None:
        return IdMap([str(number) for number in range(size)])
    texts = written_ids(given, name[:-1])
    if len(texts) != size:
        raise ConfigError(
            f"{name} are the ids of the matrix's {size:,} {axis}, found {len(texts):,}: give one each, in order"
        )
    try:
        return IdMap(texts)
    except DataError as error:
        raise ConfigError(f"{name}: {error}") from error
