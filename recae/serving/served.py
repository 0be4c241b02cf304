"""A loaded model with its lookups, and the watch that reloads it when its file changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, RecaeError
from recae.ids import IdMap, shown
from recae.insight.listings import rules_of
from recae.interactions import SECOND
from recae.journal import Journal
from recae.list_rules import AppliedRules, ListRules, apply_list_rules
from recae.listing import Listing, unit_vectors
from recae.loops import answer_often
from recae.models.base import decay_of, reads_values
from recae.ranking import rank_histories, rows_per_block
from recae.recency import first_unknown
from recae.recommender import NO_TIMES, Recommender
from recae.serving.item_map import ItemMap
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem
from recae.serving.schemas import ListsSummary

if TYPE_CHECKING:
    from recae.insight.items import ItemSource
    from recae.insight.neighbours import BoughtTogether
    from recae.insight.vectors import ItemVectors

_REMEMBERED = 2**18  # users whose rows are held in a dictionary, and items likewise: some 30 MB each
_SHOWN = 2**16  # items of lists of which the text is held: some 20 MB where names have 40 letters
_WARM_UP = 64  # histories, as many as are scored together

_quoted = json.encoder.encode_basestring_ascii
_log = logging.getLogger("recae.serving")


class ItemSearch:
    """Items by words in their id or name, most owned first, then by index.

    Plain scans, made by Arrow outside the interpreter's lock.

    Args:
        items: ids of the items.
        names: text of shape (I,), null where unknown; None without names.
        owners: int64 of shape (I,), how many users own each; None where that is not known.
    """

    def __init__(
        self, items: IdMap, names: pa.LargeStringArray | None, owners: NDArray[np.int64] | None
    ) -> None:
        """Prepare the texts to search."""
        everything = np.arange(len(items))
        self._order = everything if owners is None else np.argsort(-owners, kind="stable")
        texts = items.ids(self._order)
        if names is not None:
            # a line break between them: no word that is asked for holds one
            taken = names.take(pa.array(self._order)).fill_null("")
            texts = pc.binary_join_element_wise(texts, taken, pa.scalar("\n", pa.large_string()))
        self._texts = pc.utf8_lower(texts)

    def find(self, query: str, limit: int) -> tuple[NDArray[np.int64], bool]:
        """Find items that hold every word of a query.

        Args:
            query: words between blanks, whatever the case; none finds every item.
            limit: how many at most.

        Returns:
            Item indices (k,), and whether there are more.
        """
        words = pc.utf8_lower(pa.array(list(dict.fromkeys(query.split())), pa.large_string())).to_pylist()
        left, at = self._texts, np.arange(self._order.size)
        # words by falling length: the rarest first, and the next ones look at what is left only
        for word in sorted(words, key=len, reverse=True):
            found = pc.match_substring(left, word)
            left, at = left.filter(found), at[found.to_numpy(zero_copy_only=False)]
        return self._order[at[:limit]], at.size > limit


class UserSearch:
    """Users by a part of their id, whatever the case: ids that begin with it first, then shorter ids, then text order.

    Args:
        users: ids of the users.
    """

    def __init__(self, users: IdMap) -> None:
        """Prepare the ids to search."""
        ids = users.ids(np.arange(len(users)))
        table = pa.table({"length": pc.utf8_length(ids), "id": ids})
        order = pc.sort_indices(table, sort_keys=[("length", "ascending"), ("id", "ascending")])
        self._order = order.to_numpy().astype(np.int64)
        self._texts = pc.utf8_lower(ids.take(order))

    def find(
        self, query: str, limit: int, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], bool]:
        """Find users whose id holds a text.

        Args:
            query: a part of the id, whatever the case; an empty one finds every user.
            limit: how many at most.
            among: marks of the users that are looked at, (U,); None: all of them.

        Returns:
            Rows of users (k,), and whether there are more.
        """
        part = pc.utf8_lower(pa.scalar(query, pa.large_string())).as_py()
        begins = pc.starts_with(self._texts, part).to_numpy(zero_copy_only=False)
        inside = pc.match_substring(self._texts, part).to_numpy(zero_copy_only=False)
        at = np.concatenate([np.flatnonzero(begins), np.flatnonzero(inside & ~begins)])
        if among is not None:
            at = at[among[self._order[at]]]
        return self._order[at[:limit]], at.size > limit


class ShownItem(NamedTuple):
    """What is written and noted of an item in every list.

    Attributes:
        text: the fields `item_id` and `name`, and those that the table of items has, as JSON in ASCII, without braces.
        code: CRC-32 of its id.
    """

    text: str
    code: int


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model as it is served; a request uses one to its end.

    Attributes:
        recommender: the model with its ids, names and histories.
        version: the first 16 hexadecimal digits of the SHA-256 of its file.
        loaded_at: when it was loaded, UTC.
        items: finds items by words.
        users: finds users by their id; None where there are no histories.
        together: what is bought together; None where there are no histories.
        vectors: of the items, made when they are first asked for.
        map: the map of the items; None where the model has none.
        approximate: whether lists are found by an index over the items.
        written_at: when its file was written, UTC; None where that is not known.
        journal: of purchases that count, too; None without.
        folded: the sequence up to which the model has them.
        unknown_from: the time from which purchases of the journal are new, microseconds since 1970; None: all are.
        decay: what a purchase still weighs one basket later, for a model that reads it; else 1.
        rules: that all lists follow; None without.
        filters: which items, (I,), fit each filter that was asked for, as `recae.serving.filters` remembers it.
        summary: of the lists of a sample of customers, once it was asked for.
    """

    recommender: Recommender
    version: str
    loaded_at: datetime
    items: ItemSearch
    users: UserSearch | None
    together: BoughtTogether | None
    vectors: ItemVectors = field(repr=False)
    map: ItemMap | None = field(repr=False)
    approximate: bool = False
    written_at: datetime | None = None
    journal: Journal | None = field(default=None, repr=False)
    folded: int = 0
    unknown_from: int | None = None
    decay: float = 1.0
    rules: AppliedRules | None = field(default=None, repr=False)
    filters: dict[Any, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    summary: list[ListsSummary] = field(default_factory=list, repr=False)
    _user_rows: dict[str, int] = field(default_factory=dict, repr=False)
    _item_rows: dict[str, int] = field(default_factory=dict, repr=False)
    _shown_items: dict[int, ShownItem] = field(default_factory=dict, repr=False)

    def tell(self, metrics: Metrics) -> None:
        """Let the metrics name this model as the one in use."""
        written = None if self.written_at is None else self.written_at.timestamp()
        metrics.model(self.version, self.recommender.model.kind, self.loaded_at.timestamp(), written)

    @cached_property
    def unit_vectors(self) -> NDArray[np.float32]:
        """Vectors of the items for lists with diversity, of length 1 or 0; made when they are first asked for."""
        return unit_vectors(self.vectors.vectors)

    def listing(self, diversity: float) -> Listing:
        """Return how lists of that diversity are made.

        Raises:
            Problem: 422, the model scores every history alike, so that nothing tells items apart.
        """
        if not diversity:
            return Listing(self.rules)
        try:
            return Listing(self.rules, diversity, self.unit_vectors)
        except DataError as error:
            raise Problem("no-diversity", 422, str(error)) from None

    @property
    def owners(self) -> NDArray[np.int64] | None:
        """How many users own each item, (I,); None without histories."""
        return None if self.together is None else self.together.owners

    def ids_and_names(self, items: NDArray[np.integer[Any]]) -> tuple[list[str], list[str | None]]:
        """Return the ids and names of many items, in the order of their indices."""
        ids = self.recommender.items.ids(items).to_pylist()
        names = self.recommender.item_names
        return ids, [None] * len(ids) if names is None else names.take(pa.array(items)).to_pylist()

    def details(self, items: NDArray[np.integer[Any]]) -> list[dict[str, Any]]:
        """Return what the table of items says of many items, in their order: what is known of each, by name."""
        columns = self.recommender.details_of(items)
        if not columns:
            return [{}] * len(items)
        rows = zip(*(column.to_pylist() for column in columns.values()), strict=True)
        return [
            {name: value for name, value in zip(columns, row, strict=True) if value is not None}
            for row in rows
        ]

    def shown_items(self, items: NDArray[np.integer[Any]]) -> list[ShownItem]:
        """Return what lists say of many items, in the order of their indices (n,)."""
        rows = items.tolist()
        missing = [row for row in dict.fromkeys(rows) if row not in self._shown_items]
        found = {}
        if missing:
            found = {
                row: ShownItem(
                    f'"item_id":{_quoted(item)},"name":{"null" if name is None else _quoted(name)}{_fields(more)}',
                    zlib.crc32(item.encode()),
                )
                for row, item, name, more in zip(
                    missing,
                    *self.ids_and_names(np.array(missing)),
                    self.details(np.array(missing)),
                    strict=True,
                )
            }
            if len(self._shown_items) + len(found) <= _SHOWN:
                self._shown_items.update(found)
        return [found.get(row) or self._shown_items[row] for row in rows]

    def item_rows(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Return the index of each of some items (n,), −1 where it is unknown."""
        missing = [item for item in items if item not in self._item_rows]
        found = {}
        if missing:
            found = dict(zip(missing, self.recommender.items.rows(missing).tolist(), strict=True))
            if len(self._item_rows) + len(found) <= _REMEMBERED:  # no unknown one: there is no end of these
                self._item_rows.update((item, row) for item, row in found.items() if row >= 0)
        return np.array(
            [found[item] if item in found else self._item_rows[item] for item in items], dtype=np.int64
        )

    def item(self, item_id: str) -> int:
        """Return an item's index.

        Raises:
            Problem: 404 with the nearest ids, the item is unknown.
        """
        index = int(self.recommender.items.rows([item_id])[0])
        if index < 0:
            raise unknown("item", item_id, self.recommender.items.nearest(item_id))
        return index

    def user(self, user_id: str) -> tuple[int, NDArray[np.integer[Any]]]:
        """Return a user's row and the indices of the items owned (m,).

        Raises:
            Problem: 404, the user is unknown or there are no histories. It is without the nearest ids: to find them
                takes a pass over all ids.
        """
        users, histories = self.recommender.users, self.recommender.histories
        if users is None or histories is None:
            raise without_histories()
        row = self._user_rows.get(user_id, -1)
        if row < 0:
            row = int(users.rows([user_id])[0])
            if row < 0:
                raise unknown("user", user_id)
            # a user who comes back is found a hundred times as fast, without the interpreter's lock held that long
            if len(self._user_rows) < _REMEMBERED:
                self._user_rows[user_id] = row
        return row, histories.indices[histories.indptr[row] : histories.indptr[row + 1]]

    def events(self, row: int) -> NDArray[np.integer[Any]] | None:
        """Return the columns of the user's other events in a scored history, see `recae.inputs`; None without any."""
        events = self.recommender.events
        if events is None:
            return None
        matrix = events.matrix
        columns = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
        return np.asarray(columns + np.int32(len(self.recommender.items)), dtype=np.int32)

    def values(self, row: int) -> NDArray[np.float32] | None:
        """Return how often and lately the user of a row bought each item owned (m,); None unless the model reads it."""
        histories = self.recommender.histories
        if histories is None or not reads_values(self.recommender.model):
            return None
        values: NDArray[np.float32] = histories.data[histories.indptr[row] : histories.indptr[row + 1]]
        return values


def _fields(details: dict[str, Any]) -> str:
    """Return what is known of an item as further fields of a JSON object, a comma before each."""
    return "," + json.dumps(details, separators=(",", ":"))[1:-1] if details else ""


def unknown(what: str, id: str, nearest: list[str] | None = None) -> Problem:  # noqa: A002  # the word of the field
    """Return the 404 problem of an id that the model does not know."""
    near = f"; nearest: {', '.join(map(shown, nearest))}" if nearest else ""
    return Problem(f"unknown-{what}", 404, f"no {what} {shown(id)} in the model{near}", nearest=nearest or [])


def without_histories() -> Problem:
    """Return the 404 problem of a request about users to a model that came without them."""
    return Problem(
        "no-histories",
        404,
        "users cannot be looked up, since this model was saved without histories; send a basket of items instead",
    )


def load_served(
    path: Path,
    warm: bool = True,
    approximate: bool = False,
    journal: Journal | None = None,
    rules: ListRules | None = None,
    items: ItemSource | None = None,
) -> ServedModel:
    """Load a model file, prepare what requests need, and warm up, so that the first request is not a slow one.

    Args:
        path: the model file.
        warm: whether to warm up, which may start threads. A process that forks others leaves that to them.
        approximate: make an index over the items, and find lists by it.
        journal: of purchases that count beside those of the model.
        rules: that all lists follow; None: those that are stored with the model, empty ones: none at all.
        items: a table of items in place of the model's, read each time.

    Returns:
        The model, ready to answer.

    Raises:
        ModelFileError: as `recae.modelfile.load`.
        ConfigError: the rules do not fit the model.
        DataError: the table of items cannot be read.
    """
    from recae.insight.neighbours import BoughtTogether
    from recae.insight.vectors import ItemVectors
    from recae.modelfile import load

    recommender = load(path)
    with path.open("rb") as file:
        version = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        written_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    if items is not None:
        described = items.given_to(recommender)
        recommender = described.recommender
        for line in described.sentences():
            _log.info("%s", line)
    applied = None
    if rules is None:
        rules = rules_of(recommender.metadata)
    if rules is not None and rules != ListRules():
        if approximate:
            raise ConfigError(
                "approximate lists know no rules, and some are stored with the model: leave out --approximate, or add "
                "--rules none"
            )
        applied = apply_list_rules(rules, recommender.items, recommender.item_table)
        for remark in applied.remarks:
            _log.warning("%s", remark)
        if applied.recent_from is not None and recommender.days is None:
            raise ConfigError(NO_TIMES)
    histories = recommender.histories
    together = None if histories is None else BoughtTogether(histories)
    owners = None if together is None else together.owners
    if warm:
        warm_up(recommender)
    if approximate:
        from recae.approximate import USUAL_LENGTH, index_of

        index_of(recommender.model, histories, USUAL_LENGTH)
    by_value, unknown_from, folded = reads_values(recommender.model), None, 0
    if journal is not None:
        folded = journal.folded_up_to(recommender.metadata)
        journal.number_beyond(folded)
        # nothing else tells those that the table of the training had; for a pair it makes no difference
        since = first_unknown(recommender.metadata) if by_value and not folded else None
        unknown_from = None if since is None else since * SECOND
    users = None if recommender.users is None or histories is None else UserSearch(recommender.users)
    search = ItemSearch(recommender.items, recommender.item_names, owners)
    vectors = ItemVectors(recommender)
    item_map = ItemMap(recommender, vectors, owners, version) if len(recommender.items) else None
    return ServedModel(
        recommender,
        version,
        datetime.now(UTC),
        search,
        users,
        together,
        vectors,
        item_map,
        approximate=approximate,
        written_at=written_at,
        journal=journal,
        folded=folded,
        unknown_from=unknown_from,
        decay=(decay_of(recommender.model.config()) or 1.0) if by_value else 1.0,
        rules=applied,
    )


def warm_up(recommender: Recommender) -> None:
    """Score and rank once: memory is touched, BLAS has its threads, and the loops are compiled."""
    answer_often()
    n_items = len(recommender.items)
    if not n_items:
        return
    nothing = np.zeros(0, np.int32)
    for size in (1, min(_WARM_UP, rows_per_block(n_items))):
        indptr = np.zeros(size + 1, np.int32)
        empty = sp.csr_matrix((np.zeros(0, np.float32), nothing, indptr), shape=(size, n_items))
        rank_histories(recommender.model, empty, 10, threads=1)


class _Signature(NamedTuple):
    """Identity and times of a file, which change when it is replaced or written to."""

    size: int
    mtime_ns: int
    inode: int


class Models(Protocol):
    """Where requests find the model in use."""

    @property
    def current(self) -> ServedModel:
        """The model that answers now. A request takes it once and uses it to its end."""

    def start(self) -> None:
        """Begin to look for a new one."""

    def stop(self) -> None:
        """End that."""


@dataclass(frozen=True)
class OneModel:
    """A model that stays in use as long as the process runs."""

    current: ServedModel

    def start(self) -> None:
        """Look for nothing."""

    def stop(self) -> None:
        """End nothing."""


class ModelReloader:
    """The model in use, replaced when its file is. A request takes `current` once and uses it to its end.

    Args:
        path: the model file, loaded at once.
        metrics: told of every model loaded or refused.
        seconds: between two checks of the file.
        warm: as of `load_served`.
        approximate: find lists by an index over the items of each model.
        journal: as of `load_served`.
        items: as of `load_served`.
        rules: as of `load_served`; ages of items count from the day on which a model is loaded.

    Raises:
        ModelFileError: the file cannot be used; later on, a bad file is refused and the model in use stays.
    """

    def __init__(
        self,
        path: Path,
        metrics: Metrics,
        seconds: float = 1.0,
        warm: bool = True,
        approximate: bool = False,
        journal: Journal | None = None,
        rules: ListRules | None = None,
        items: ItemSource | None = None,
    ) -> None:
        """Load the model; `start` begins the watch."""
        self._path, self._metrics, self._seconds = path, metrics, seconds
        self._warm, self._approximate, self._journal = warm, approximate, journal
        self._rules, self._items = rules, items
        # taken before the file is read: what changes it while it is read is then found by the first check
        self._handled = self._seen = self._signature()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._current = load_served(path, warm, approximate, journal, rules, items)
        self._tell()

    @property
    def current(self) -> ServedModel:
        """The model that answers now."""
        return self._current

    def start(self) -> None:
        """Begin to watch the file, in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="recae-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch; one that is loading a model is waited for a second at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def check(self) -> None:
        """Look at the file once; load it when it has changed, and log once what became of it."""
        before, self._seen = self._seen, self._signature()
        now = self._seen
        if now == self._handled:
            return
        if now is None:
            self._handled = now
            _log.warning("the model file '%s' is gone; the model loaded from it goes on", self._path)
            return
        replaced = self._handled is None or now.inode != self._handled.inode
        if not replaced and now != before:
            return  # written to in place, and perhaps still so: wait until it rests
        self._handled = now
        self._load()

    def _load(self) -> None:
        try:
            new = load_served(
                self._path, self._warm, self._approximate, self._journal, self._rules, self._items
            )
        except MemoryError:
            self._refuse("there is not enough memory for it beside the model in use")
            return
        except (RecaeError, OSError) as error:
            self._refuse(str(error))
            return
        except BaseException:  # a panic of a compiled library is no Exception; the model in use goes on
            self._refuse("it could not be loaded", trace=True)
            return
        if self._signature() != self._handled:
            return  # changed while it was read: the parts may be of two files; the next check tries again
        if new.version == self._current.version:
            return
        self._current = new
        self._tell()
        self._metrics.reloads.labels("loaded").inc()
        _log.warning("model %s from '%s' answers now", new.version, self._path)

    def _refuse(self, why: str, trace: bool = False) -> None:
        self._metrics.reloads.labels("refused").inc()
        _log.warning(
            "the new model file is refused, model %s goes on: %s", self._current.version, why, exc_info=trace
        )

    def _tell(self) -> None:
        self._current.tell(self._metrics)

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.check()
            except BaseException:  # the watch must not end, whatever becomes of the log line
                with contextlib.suppress(BaseException):
                    self._metrics.reloads.labels("failed").inc()
                    _log.exception("looking at the model file failed")

    def _signature(self) -> _Signature | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return _Signature(status.st_size, status.st_mtime_ns, status.st_ino)
