"""`Work`, what a batch job computes: lists for users in blocks of a fixed grid, as Arrow record batches."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.approximate import Approximate, build
from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.inputs import owned_part, readable
from recae.insight.listings import listing_of
from recae.interactions import Interactions
from recae.list_rules import ListRules
from recae.listing import Listing
from recae.ranking import Ranked, rows_per_block
from recae.reading import ReadOptions
from recae.recommender import MODEL, NO_TIMES, POPULAR, Recommender, check_fallback
from recae.results import Stream
from recae.scoring.audience import Audience, every_user, fold_in, folded_days, new_histories, rejects
from recae.scoring.block import best_items, numbers_for
from recae.scoring.columns import item_details
from recae.scoring.rules import barred_items, warn_of_unknown
from recae.selection.displays import CountingDisplay
from recae.selection.progress import Progress, following

SCHEMA: Final = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("rank", pa.int32()), ("score", pa.float32())]
)
"""Columns of recommendations, one a row: by user in the order of the job, then by rank from 1."""

SOURCED: Final = SCHEMA.append(pa.field("source", pa.string()))
"""Columns with a fallback: the source is `recae.recommender.MODEL` or `POPULAR`."""

# What one recommendation takes beside the scores, in float32 numbers: its rank, score, row numbers and both
# ids, in all the arrays that exist at one time. It bounds long lists over a small catalogue.
_NUMBERS_PER_RECOMMENDATION = 32
# Most scores of a block, though they need not be in memory at one time. A block takes seconds, so that progress
# shows, a worker that dies loses little, and the time of a job is known soon.
_SCORES = 2**31


@dataclass(frozen=True, eq=False)
class Work:
    """Lists to compute; `make_work` checks and completes its parts.

    Attributes:
        recommender: whose model scores.
        audience: for whom.
        n: items a user at most, never more than there are.
        exclude_owned: leave out the items of each history.
        barred: bool of shape (items,), items that nobody gets; None for none.
        block_users: users scored together. The last bits of a score depend on how many rows a matrix product has, so
            that this belongs to what makes two runs equal, and neither threads nor free memory decide about it.
        threads: most threads of a block; None for as many as this process has processors. They change no bit.
        fallback: the list, (1, n), of users whose history holds nothing; None: the model's own.
        approximate: finds the lists by an index over the items; None: they are exact.
        details: further columns, a row an item of the model; None: none.
        listing: makes the lists of the scores, where they are not just the best items; its barred items are in
            `barred`, too.
        recent_from: the day from which what a user bought is left out, and nothing else of the history; None:
            `exclude_owned` says what is.
    """

    recommender: Recommender
    audience: Audience
    n: int
    exclude_owned: bool
    barred: NDArray[np.bool_] | None
    block_users: int
    threads: int | None = None
    fallback: Ranked | None = None
    approximate: Approximate | None = None
    details: pa.RecordBatch | None = None
    listing: Listing | None = None
    recent_from: int | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns: `SCHEMA`, or `SOURCED` with a fallback, and what is said of the items."""
        own = SCHEMA if self.fallback is None else SOURCED
        return own if self.details is None else pa.schema([*own, *self.details.schema])

    def batch(self, start: int, stop: int) -> pa.RecordBatch:
        """Return the lists of the users from ``start`` to before ``stop`` as one block; a batch of `schema`."""
        ids, histories = self.audience.part(start, stop)
        lately = None if self.recent_from is None else self.audience.recent(start, stop, self.recent_from)
        ranked, scores = self._lists(histories, lately)
        empty = np.diff(histories.indptr) == 0
        if self.fallback is not None:
            ranked[empty], scores[empty] = self.fallback.items[0], self.fallback.scores[0]
        user, place = np.nonzero(ranked >= 0)  # by user, then by rank; the padding is left out
        columns = [
            ids.take(pa.array(user)).cast(pa.string()),
            self.recommender.items.ids(ranked[user, place]).cast(pa.string()),
            pa.array((place + 1).astype(np.int32)),
            pa.array(scores[user, place]),
        ]
        if self.fallback is not None:
            columns.append(pa.array(np.where(empty[user], POPULAR, MODEL), pa.string()))
        if self.details is not None:
            items = pa.array(ranked[user, place])
            columns += [column.take(items) for column in self.details.columns]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _lists(self, histories: sp.csr_matrix, lately: sp.csr_matrix | None = None) -> Ranked:
        """Return the lists of some histories; exact ones where the index leaves not enough candidates.

        Args:
            histories: (B, I), with events more columns.
            lately: (B, I), what is left out of the lists in place of the histories; None: these, or nothing.
        """

        def exact(histories: sp.csr_matrix) -> Ranked:
            return best_items(
                self.recommender.model,
                histories,
                self.n,
                exclude_owned=self.exclude_owned,
                barred=self.barred,
                threads=self.threads,
            )

        if self.listing is not None:
            return self._listed(self.listing, histories, lately)
        if self.approximate is None:
            return exact(histories)
        owned = histories if self.exclude_owned else None
        model = self.recommender.model
        ranked, left = self.approximate.rank(model, histories, self.n, exclude=owned, threads=self.threads)
        if left.size:
            ranked.items[left], ranked.scores[left] = exact(histories[left])
        return ranked

    def _listed(self, listing: Listing, histories: sp.csr_matrix, lately: sp.csr_matrix | None) -> Ranked:
        """Return the lists of some histories by rules or with diversity, which takes the scores of all items."""
        model, n_items = self.recommender.model, self.recommender.model.n_items
        ranked = Ranked.empty(histories.shape[0], self.n)
        allowed = None if self.barred is None else ~self.barred
        step = rows_per_block(2 * n_items)
        for start in range(0, histories.shape[0], step):
            block = slice(start, start + step)
            read = readable(model, sp.csr_matrix(histories[block]))
            owned = owned_part(read, n_items) if self.exclude_owned else None
            if lately is not None:
                owned = sp.csr_matrix(lately[block])
            lists = listing.rank(model.score(read), self.n, owned, allowed, self.threads)
            ranked.items[block], ranked.scores[block] = lists
        return ranked

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield, block by block, the number of users done so far and their lists.

        One block is computed while the last one is written: two are in memory at a time.

        Args:
            start: the first user, by number.
            stop: the user after the last; by default all users are scored.
        """
        end = len(self.audience) if stop is None else stop
        pending: tuple[int, Future[pa.RecordBatch]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="recae-score") as pool:
            for at in range(start, end, self.block_users):
                done = min(at + self.block_users, end)
                following = (done, pool.submit(self.batch, at, done))
                if pending is not None:
                    yield pending[0], pending[1].result()
                pending = following
            if pending is not None:
                yield pending[0], pending[1].result()


def make_work(
    recommender: Recommender,
    audience: Audience,
    n: int,
    *,
    exclude_owned: bool | None = None,
    barred: NDArray[np.bool_] | None = None,
    fallback: str | None = None,
    approximate: bool = False,
    details: Sequence[str] | None = None,
    listing: Listing | None = None,
) -> Work:
    """Return the work of a batch job.

    Args:
        recommender: whose model scores.
        audience: for whom.
        n: items a user, at least 1.
        exclude_owned: leave out the items of each history; by default unless the model `repeats`.
        barred: bool of shape (items,), items that nobody gets.
        fallback: "popular" for the items that most users own where a history holds nothing; None: the model's list.
        approximate: find the lists by an index over the items, made and measured on some of the users here and now.
        details: what else to say of each item: "name", or columns of the model's table of items.
        listing: rules and diversity; None: without.

    Raises:
        ConfigError: ``n`` is less than 1, there is no such fallback or column, no item is left, approximate lists are
            to follow rules, or `recae.approximate.build` refuses.
        DataError: a fallback is asked for, and the model was saved without histories; nobody has a history to measure
            approximate lists on.
    """
    check_fallback(fallback)
    if listing is not None and approximate and not listing.plain:
        raise ConfigError(
            "approximate lists know no caps, pins, boosts and diversity: leave these or the approximation out"
        )
    if listing is not None and listing.rules is not None:
        barred = listing.rules.barred if barred is None else barred | listing.rules.barred
        if barred.size and barred.all():
            raise ConfigError(
                f"the rules leave none of the {barred.size:,} items to recommend; loosen one of them"
            )
    if listing is not None and listing.plain:
        listing = None  # what is barred is known now, and the fast path does the same
    if n < 1:
        raise ConfigError(f"n must be at least 1, but is {n}; ask for one item a user or more")
    n_items = max(1, recommender.model.n_items)
    length = min(n, n_items)  # no list is longer, and an absurd n allocates nothing
    numbers = numbers_for(recommender.model, length) + _NUMBERS_PER_RECOMMENDATION * length
    rows = max(1, min(rows_per_block(numbers), _SCORES // n_items))
    popular = (
        None
        if fallback is None
        else recommender.most_owned(length, None if barred is None else ~barred, listing)
    )
    owned = recommender.excludes_owned(exclude_owned)
    recent_from = None if listing is None or exclude_owned is True else listing.recent_from
    if recent_from is not None and audience.days is None:
        raise ConfigError(NO_TIMES)
    said = item_details(recommender, details)
    work = Work(
        recommender,
        audience,
        length,
        owned,
        barred,
        rows,
        fallback=popular,
        details=said,
        listing=listing,
        recent_from=recent_from,
    )
    if not approximate:
        return work
    return replace(work, approximate=_index(work))


def _index(work: Work) -> Approximate | None:
    """Return the index of a job, measured on some of the model's users by its rules; None where its lists are exact."""
    model, barred = work.recommender.model, work.barred

    def exact(histories: sp.csr_matrix, n: int) -> Ranked:
        return best_items(model, histories, n, exclude_owned=True, barred=barred)

    histories = work.recommender.histories
    if histories is None and len(work.audience):
        histories = work.audience.histories[work.audience.rows]
    return build(model, histories, work.n, allowed=None if barred is None else ~barred, exact=exact)


def score(
    model: Recommender | Path | str,
    histories: Any = None,
    n: int = 20,
    *,
    reading: ReadOptions | None = None,
    exclude_owned: bool | None = None,
    exclude_items: Sequence[str] | None = None,
    only_items: Sequence[str] | None = None,
    fallback: str | None = None,
    approximate: bool = False,
    details: Sequence[str] | None = None,
    rules: ListRules | Path | str | None = None,
    diversity: float = 0.0,
    progress: Progress | bool | None = None,
) -> Stream:
    """Stream the best items of many users, a block of users at a time; memory does not grow with their number.

    Args:
        model: a recommender, or the path of a model file.
        histories: whom to score; one of

            - None: every user of the model, in its order;
            - `Interactions`, or anything that `recae.read` reads, such as a path, a data frame or an Arrow table:
              these histories are folded in, in the order of their ids' text; items that the model does not
              know are left out, and users of whom it knows no item get no rows;
            - a csr_matrix of shape (users, items), whose columns are the model's items, and its users' ids.
        n: how many items a user; a user with fewer items left gets fewer rows.
        reading: how to read a table of histories; None: by its names and values.
        exclude_owned: leave out the items of the history; by default unless the model `repeats`.
        exclude_items: ids that nobody gets.
        only_items: ids outside of which nothing is recommended. Ids in these two that the model does not know are
            logged as a warning.
        fallback: "popular" for the items that most users own where a history holds nothing that the model knows;
            None: users of whom it knows no item get no rows.
        approximate: find the lists by an index over the items (`recae.approximate`); it is measured before it is used.
        details: what else to say of each item: "name", or columns of the model's table of items.
        rules: what lists may hold and in which order, or the path of a TOML file of it.
        diversity: from 0 to 1, see `Listing.rank`.
        progress: whether to show it while the batches are asked for: True, False, or None for in a notebook and on a
            terminal; or callbacks.

    Returns:
        A stream of record batches of ``user_id`` and ``item_id`` (string), ``rank`` (int32, from 1) and ``score``
        (float32): by user, then by rank; with a fallback also ``source``, "model" or "popular". Its ``unknown_items``
        are the ids in the rules that the model does not know. The same call gives the same bits,
        whatever the number of threads. A batch may be empty.

    Raises:
        ConfigError: ``n`` is less than 1, or no item is left to recommend.
        DataError: the model was saved without histories and none are given, or the matrix does not fit the model;
            its subclasses where a table cannot be read.
        ModelFileError: the model file cannot be used.
    """
    if not isinstance(model, Recommender):
        from recae.modelfile import load

        model = load(model)
    barred, unknown = barred_items(model.items, exclude=exclude_items, only=only_items)
    warn_of_unknown(unknown)
    listing = listing_of(model, rules, diversity)
    times = listing is not None and listing.recent_from is not None
    audience = audience_of(model, histories, fallback is not None, reading, times)
    work = make_work(
        model,
        audience,
        n,
        exclude_owned=exclude_owned,
        barred=barred,
        fallback=fallback,
        approximate=approximate,
        details=details,
        listing=listing,
    )
    return Stream(work.schema, _followed(work, progress), unknown)


def _followed(work: Work, progress: Progress | bool | None) -> Generator[pa.RecordBatch, None, None]:
    """Yield the batches of the work, and show how many users are done."""
    with following(progress, CountingDisplay) as callbacks:
        for done, batch in work.batches():
            callbacks.on_count("scoring users", done, len(work.audience))
            yield batch


def audience_of(
    model: Recommender,
    histories: Any,
    everybody: bool = False,
    options: ReadOptions | None = None,
    times: bool = False,
) -> Audience:
    """Return whom to score.

    Args:
        model: whose items the histories are to be over.
        histories: as for `score`.
        everybody: keep the users of whom the model knows no item, with an empty history.
        options: how to read a table.
        times: whether the days of purchases are wanted.

    Raises:
        DataError: as `score`.
    """
    if histories is None:
        return every_user(model)
    if isinstance(histories, Interactions):
        found = fold_in(model, histories.matrix, histories.users, histories.items, everybody)
        return replace(found, days=folded_days(model, histories)) if times else found
    if not (isinstance(histories, tuple) and len(histories) == 2 and sp.issparse(histories[0])):
        return new_histories(model, histories, options, everybody, times)
    matrix, ids = histories
    users = IdMap(ids)
    wanted = (len(users), len(model.items))
    if matrix.shape != wanted:
        raise DataError(
            f"the histories have shape {matrix.shape}, but there are {wanted[0]:,} user ids, and the model has "
            f"{wanted[1]:,} items; number the items as the model does"
        )
    return Audience(users, sp.csr_matrix(matrix), np.arange(len(users)), rejects())
