"""`Audience`, whom a batch job scores: every user of the model, some of them, or histories that it has not seen."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, SourceError
from recae.ids import IdMap
from recae.inputs import EventInputs, inputs_of
from recae.interactions import Interactions
from recae.last_bought import days_of, placed_days, recent
from recae.messages import say
from recae.models.base import decay_of, reads_values
from recae.reading import Reading, ReadOptions
from recae.reading.lists import read_id_list
from recae.recommender import NO_TIMES, Recommender
from recae.sparse import pattern, take_entries


def read_ids(source: str | Path, role: str, column: str | None = None) -> pa.LargeStringArray:
    """Return the ids of a list, each once, in the order of their first appearance.

    Args:
        source: a text file (``.txt``, or without an ending) with one id a line, blank lines aside; or a table, as in
            `recae.reading.read`.
        role: ``"user"`` or ``"item"``, whose column is looked for in a table.
        column: its exact name; by default recognised as in `recae.reading.KNOWN_NAMES`.

    Raises:
        SourceError: the file cannot be read, or a line is not UTF-8.
        ColumnError: the table has no such column.
    """
    if Path(source).suffix.lower() in ("", ".txt") and os.path.isfile(source) and column is None:  # noqa: PTH113
        return pc.unique(_lines(Path(source)))
    return read_id_list(source, role, column)


def _lines(path: Path) -> pa.LargeStringArray:
    """Return the lines of a file that are not blank, without their ends."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"'{path}' should hold one id a line in UTF-8, but byte {error.start:,} is not; save it as UTF-8"
        ) from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return pa.array([line for line in lines if line.strip()], pa.large_string())


NO_USER: Final = "no such user in the model"
NO_ITEM: Final = "no such item in the model"
NO_KNOWN_ITEM: Final = "no item of this user is in the model"

REJECTS: Final = pa.schema([("id", pa.string()), ("reason", pa.string())])
"""Columns of rejected ids: the id as it came in, and the reason."""


@dataclass(frozen=True, eq=False)
class Audience:
    """Users in the order in which they are scored, each with a history.

    Attributes:
        users: ids of the histories' rows.
        histories: shape (users, items), in the model's item order; with the events that the model reads, see
            `recae.inputs`, there are more columns.
        rows: int64 of shape (n,), the rows to score; a job's user number is a place in it.
        rejected: the ids that cannot be scored, a table of `REJECTS`.
        days: int64 csr (users, items), the day on which each user bought each item last, see `recae.last_bought`; None
            where that is not known.
    """

    users: IdMap
    histories: sp.csr_matrix
    rows: NDArray[np.int64]
    rejected: pa.Table
    days: sp.csr_matrix | None = None

    def __len__(self) -> int:
        """Return the number of users to score."""
        return int(self.rows.size)

    def part(self, start: int, stop: int) -> tuple[pa.LargeStringArray, sp.csr_matrix]:
        """Return ids and histories, shape (stop - start, items), of the users from ``start`` to before ``stop``."""
        rows = self.rows[start:stop]
        return self.users.ids(rows), sp.csr_matrix(self.histories[rows])

    def recent(self, start: int, stop: int, first: int) -> sp.csr_matrix:
        """Return what the users of `part` bought on a day or after it, (stop - start, items).

        Raises:
            ConfigError: the days are not known.
        """
        if self.days is None:
            raise ConfigError(NO_TIMES)
        days = sp.csr_matrix(self.days[self.rows[start:stop]])
        return recent(pattern(days.copy()), days, first)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the users and their histories."""
        digest = hashlib.sha256(b"recae audience 1")
        data, offsets = self.users.to_arrays()
        matrix = self.histories
        parts: list[tuple[NDArray[Any], str]] = [(data, "u1"), (offsets, "<i8"), (self.rows, "<i8")]
        parts += [(matrix.indptr, "<i8"), (matrix.indices, "<i8"), (matrix.data, "<f4")]
        if self.days is not None:
            parts.append((self.days.data, "<i8"))
        for array, kind in parts:
            digest.update(array.size.to_bytes(8, "little"))
            for start in range(0, array.size, 2**22):  # converted in pieces: a copy of it all could be large
                digest.update(np.ascontiguousarray(array[start : start + 2**22], dtype=kind).data)
        return digest.hexdigest()


def rejects(*groups: tuple[pa.Array, str]) -> pa.Table:
    """Return ids with their reasons as a table of `REJECTS`."""
    parts = [
        pa.Table.from_arrays([ids.cast(pa.string()), pa.array([why] * len(ids), pa.string())], schema=REJECTS)
        for ids, why in groups
    ]
    return pa.concat_tables(parts) if parts else REJECTS.empty_table()


def every_user(recommender: Recommender) -> Audience:
    """Return all users of a model, in its order.

    Raises:
        DataError: the model was saved without histories.
    """
    users, histories = _own(recommender)
    return Audience(users, histories, np.arange(len(users)), rejects(), recommender.days)


def some_users(
    recommender: Recommender, source: str | Path, user_column: str | None = None, everybody: bool = False
) -> Audience:
    """Return the users of a list, in its order, each once.

    Args:
        recommender: a model with histories.
        source: as for `recae.scoring.audience.read_ids`.
        user_column: the exact name of the column of a table; by default recognised.
        everybody: keep users that the model does not know, with an empty history.

    Raises:
        DataError: the model was saved without histories.
        SourceError, ColumnError: as `read_ids`.
    """
    return listed_users(recommender, read_ids(source, "user", user_column), everybody)


def listed_users(recommender: Recommender, ids: pa.LargeStringArray, everybody: bool = False) -> Audience:
    """Return the users of these ids, each once and not null, in their order; as `some_users`.

    Raises:
        DataError: the model was saved without histories.
    """
    users, histories = _own(recommender)
    rows = users.rows(ids)
    if everybody:
        held = _at(histories, rows)
        days = None if recommender.days is None else _at(recommender.days, rows)
        return Audience(IdMap(ids), held, np.arange(rows.size), rejects(), days)
    missing = rejects((ids.filter(pa.array(rows < 0)), NO_USER))
    return Audience(users, histories, rows[rows >= 0], missing, recommender.days)


def _at(matrix: sp.csr_matrix, rows: NDArray[np.int64]) -> sp.csr_matrix:
    """Return some rows of a matrix, (n,), empty ones for -1."""
    known = rows >= 0
    own = sp.csr_matrix(matrix[rows[known]])
    lengths = np.zeros(rows.size, dtype=own.indptr.dtype)
    lengths[known] = np.diff(own.indptr)
    ends = np.append(0, np.cumsum(lengths)).astype(own.indptr.dtype)
    return sp.csr_matrix((own.data, own.indices, ends), shape=(rows.size, matrix.shape[1]))


def new_histories(
    recommender: Recommender,
    source: Any,
    options: ReadOptions | None = None,
    everybody: bool = False,
    times: bool = False,
) -> Audience:
    """Return the users of a table of purchases with the histories that they have there, to be folded in.

    What `recae.reading` drops from purchases is dropped here, too. Users come in the order of their ids' text. Where
    the model reads how often and how lately items were bought, and the table has times, histories are weighted as in
    training; without times they hold the number of purchases.

    Args:
        recommender: whose items the histories are over.
        source: as for `recae.reading.read`.
        options: likewise; one user is enough.
        everybody: as for `fold_in`.
        times: whether the days of purchases are wanted.

    Raises:
        SourceError, ColumnError: the source cannot be read.
        ConfigError: a query or table is given for something else than a database, or both.
        DataError: no purchase is left.
    """
    weighted = reads_values(recommender.model)
    decay = decay_of(recommender.model.config())
    by_basket = weighted and decay is not None
    options = (options or ReadOptions()).updated(fewest=1, name_column="", baskets=by_basket)
    if not by_basket and not times:
        options = options.updated(time_column="")
    read = inputs_of(recommender.model)
    if unread := [name for name in options.inputs or () if name not in read]:
        reads = f"the model reads {', '.join(read)}" if read else "the model reads none"
        raise ConfigError(
            f"--inputs names {unread[0]!r}, but of other events than purchases {reads}: leave it out"
        )
    if read and options.inputs is None:
        say(
            f"warning: the model reads other events, too ({', '.join(read)}), and the histories are read without them: "
            f"name those that the table has, such as --inputs {read[0]} (inputs={read[0]!r})"
        )
    with Reading(source, options) as reading:
        ordered = reading.columns.time is not None or reading.columns.basket is not None
        found = reading.purchases(
            baskets=by_basket and ordered, event_ids=lambda bought: (bought.users, recommender.items)
        )
    interactions, events = found.interactions, found.events
    matrix = interactions.matrix
    if events is not None and decay is not None:
        matrix = events.weights(decay)
    elif weighted:
        counts = interactions.counts.astype(np.float32)
        matrix = sp.csr_matrix((counts, matrix.indices, matrix.indptr), shape=matrix.shape)
    inputs = None
    if found.inputs is not None:
        some = found.inputs.block(found.inputs.names[0])
        nothing = take_entries(some, np.zeros(some.nnz, dtype=np.bool_))
        blocks = [found.inputs.block(name) if name in found.inputs.names else nothing for name in read]
        inputs = EventInputs.of(read, blocks)
    found_in = fold_in(recommender, matrix, interactions.users, interactions.items, everybody, inputs)
    if not times:
        return found_in
    return replace(found_in, days=folded_days(recommender, interactions))


def folded_days(recommender: Recommender, interactions: Interactions) -> sp.csr_matrix | None:
    """Return the day of each purchase in the model's order of items, (users, items); None without times."""
    if interactions.times is None:
        return None
    placed = placed_days(interactions.matrix, days_of(interactions.times))
    places = recommender.items.rows(interactions.items.ids(np.arange(len(interactions.items))))
    columns = places[placed.indices]
    known = columns >= 0
    ends = np.append(0, np.cumsum(known))[placed.indptr]
    shape = (placed.shape[0], len(recommender.items))
    return sp.csr_matrix((placed.data[known], columns[known], ends), shape=shape)


def fold_in(
    recommender: Recommender,
    matrix: sp.csr_matrix,
    users: IdMap,
    items: IdMap,
    everybody: bool = False,
    inputs: EventInputs | None = None,
) -> Audience:
    """Return histories over other items in the model's order; unknown items are left out.

    Users whose items are all unknown are left out, too, but not those whose history is empty, or who have other events.

    Args:
        recommender: whose items the histories are to be over.
        matrix: shape (users, items).
        users: ids of its rows.
        items: ids of its columns.
        everybody: keep the users whose items are all unknown, with an empty history.
        inputs: other events of the users, as the model reads them and in its items' order; None: there are none.
    """
    places = recommender.items.rows(items.ids(np.arange(len(items))))  # of each column, -1 where unknown
    columns = places[matrix.indices]
    known = columns >= 0
    ends = np.append(0, np.cumsum(known))[matrix.indptr]  # (users + 1,)
    histories = sp.csr_matrix(
        (matrix.data[known], columns[known], ends), shape=(len(users), len(recommender.items))
    )
    histories.sort_indices()
    if inputs is not None:
        histories = inputs.beside(histories)
    lost = (np.diff(histories.indptr) == 0) & (np.diff(matrix.indptr) > 0) & (not everybody)
    rejected = rejects(
        (items.ids(np.flatnonzero(places < 0)), NO_ITEM), (users.ids(np.flatnonzero(lost)), NO_KNOWN_ITEM)
    )
    return Audience(users, histories, np.flatnonzero(~lost), rejected)


def _own(recommender: Recommender) -> tuple[IdMap, sp.csr_matrix]:
    if recommender.users is None or recommender.scored is None:
        raise DataError(
            "this model was saved without histories, so that it has no users to score; "
            "use a model file that was saved with its histories, or give new ones"
        )
    return recommender.users, recommender.scored
