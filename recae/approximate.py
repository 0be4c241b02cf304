"""Approximate lists over large catalogues: candidates from an index over the items' vectors, scored again exactly.

The index is faiss's: the items' vectors are gathered in clusters, and each is held as two bits a number. For a user it
looks at some clusters and returns the items whose products seem largest. These are scored as `Model.score` scores, to
the last bit, and ranked; so a list may lack an item, and what is in it has its exact score and place. How many clusters
and candidates there are is chosen on some of the users, and what it finds is measured on others, before it is used.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Protocol, cast
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.errors import ConfigError, DataError
from recae.loops import loop
from recae.machine import processors
from recae.messages import say
from recae.models.base import JSON, Factored, Model
from recae.models.blend import part_factors, summands
from recae.models.dots import as_operand, write_dots_at
from recae.models.popularity import Popularity
from recae.models.products import Products
from recae.ranking import PADDING, Ranked, rank_histories, top_k

FEWEST_ITEMS: Final = 50_000
"""Items below which all are scored: an index would save nothing."""

USUAL_LENGTH: Final = 20
"""Items of the lists that an index is measured by which is not made for one length; shorter ones do not count."""

WANTED: Final = 0.99
"""Of the items of the exact lists, the fraction that the lists must hold."""

_AIM: Final = 0.993  # while the settings are chosen, so that other users reach what is wanted
_SAMPLE: Final = 256  # users, half to choose the settings on and half to measure on
_TRAINED_ON: Final = 48  # vectors a cluster
_PROBES: Final = (8, 16, 32, 64, 128, 256, 512, 1024)
_CANDIDATES: Final = (500, 1000, 2000, 4000)
_CANDIDATE: Final = 4000  # codes of two numbers that are read in the time in which a candidate is scored
_AT_ONCE: Final = 256  # users searched at a time
_SPARE: Final = 2  # times the length of a list that must be left of the candidates once rules are applied


class Exact(Protocol):
    """Ranks all items, by the same rules: what the lists are compared with."""

    def __call__(self, histories: sp.csr_matrix, n: int) -> Ranked:
        """Return lists of n items for histories, (B, I), without the items that they hold."""
        ...


@dataclass(frozen=True)
class Measured:
    """What the approximate lists come to on some users.

    Attributes:
        users: how many they are.
        n: items of their lists.
        recall: fraction of the items of the exact lists that the approximate ones hold.
        seconds: of an approximate list.
        exact_seconds: of an exact one.
        build_seconds: what the index took.
    """

    users: int
    n: int
    recall: float
    seconds: float
    exact_seconds: float
    build_seconds: float

    @property
    def times(self) -> float:
        """How many times as fast as exact lists."""
        return self.exact_seconds / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        """Return it as a sentence."""
        return (
            f"approximate lists: {100 * self.recall:.1f} % of the exact top {self.n} of {self.users:,} users, "
            f"{self.times:,.0f} times as fast; the index took {self.build_seconds:,.1f} s"
        )


@dataclass(eq=False)
class Approximate:
    """An index over the items of a model, which it does not keep alive; `build` makes and measures one.

    Attributes:
        index: faiss's.
        held: what the index points to.
        candidates: items that are scored again.
        allowed: bool (I,), the rule that it was measured with; None: without one.
        measured: what it comes to.
    """

    index: Any
    held: tuple[Any, ...]
    allowed: NDArray[np.bool_] | None = None
    candidates: int = 0
    measured: Measured | None = None

    def settings(self) -> dict[str, JSON]:
        """Return what the lists depend on and how many are found, for a manifest: no times, which differ each run."""
        found = cast(Measured, self.measured)
        return {
            "clusters": int(self.index.nlist),
            "probes": int(self.index.nprobe),
            "candidates": self.candidates,
            "recall": round(found.recall, 4),
            "recall_at": found.n,
            "measured_users": found.users,
        }

    def rank(
        self,
        model: Model,
        histories: sp.csr_matrix,
        n: int | NDArray[np.integer[Any]],
        *,
        exclude: sp.csr_matrix | None = None,
        allowed: NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> tuple[Ranked, NDArray[np.intp]]:
        """Return the best items among the candidates, and the users of whom not enough are left.

        Enough are twice the list, or half of the candidates where other items are left out than the
        index was measured with: what the list should hold may lie too far down to be among them.

        Args:
            model: whose index this is; scores the items.
            histories: csr_matrix (B, I) with sorted indices.
            n: length of the lists, or of each, (B,).
            exclude: csr_matrix (B, I), items that a list leaves out, such as the owned ones.
            allowed: bool (I,) or (B, I); only items marked True are listed; None: those that it was measured with.
            threads: most threads to use; by default the processors this process may run on.

        Returns:
            The lists, (B, n), undefined for the users of the second array: they are to be ranked exactly.
        """
        products = check_model(model)
        n_users, n_items = histories.shape
        lengths = np.full(n_users, n, dtype=np.int64)
        longest = int(lengths.max(initial=1))
        ranked = Ranked.empty(n_users, longest)
        fewest = _SPARE * lengths
        if allowed is None:
            allowed = self.allowed
        elif allowed is not self.allowed:
            fewest = np.maximum(fewest, self.candidates // 2)
        marks = np.ones((1, n_items), dtype=np.bool_) if allowed is None else np.atleast_2d(allowed)
        barred = histories[:, :0] if exclude is None else exclude

        def rank_part(start: int) -> NDArray[np.intp]:
            part = slice(start, min(start + _AT_ONCE, n_users))
            history, excluded = histories[part], barred[part].sorted_indices()
            found = self._search(products, history)
            count = np.zeros(len(found), dtype=np.int64)
            apply_rules(
                found,
                excluded.indptr.astype(np.int64),
                excluded.indices.astype(np.int32),
                np.ascontiguousarray(marks if len(marks) == 1 else marks[part]),
                count,
            )
            scores = scores_of(model, history, found, count)
            places, values = top_k(scores, lengths[part], threads=1)
            items = np.take_along_axis(found, np.maximum(places, 0), axis=1)
            width = places.shape[1]
            ranked.items[part, :width] = np.where(places < 0, PADDING, items)
            ranked.scores[part, :width] = values
            return np.flatnonzero(count < fewest[part]) + start

        starts = range(0, n_users, _AT_ONCE)
        with ThreadPoolExecutor(min(threads or processors(), max(1, len(starts)))) as pool:
            left = list(pool.map(rank_part, starts))
        return ranked, np.concatenate(left) if left else np.zeros(0, dtype=np.intp)

    def _search(self, products: Products, histories: sp.csr_matrix) -> NDArray[np.int32]:
        """Return the candidates of each history, int32 (B, candidates), each row by item number; -1 for none."""
        check_installed().omp_set_num_threads(1)  # of this thread's calls
        _, found = self.index.search(_users_of(products, histories, self.index.d), self.candidates)
        return np.sort(found, axis=1).astype(np.int32)


def check_installed() -> Any:
    """Return faiss; ConfigError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "approximate lists need faiss, which is not installed: pip install 'recae[approximate]', or leave "
            "--approximate (approximate=True) out"
        ) from error
    return faiss


def check_model(model: Model) -> Products:
    """Return the vectors of a model whose scores are products throughout.

    Raises:
        ConfigError: it is another one.
    """
    products = Products.of(model)
    if products is None or not products.whole:
        what = ", ".join(products.left_out) if products else model.kind
        raise ConfigError(
            f"approximate lists are for models whose scores are products of vectors, and {what} is not: leave "
            "--approximate (approximate=True) out, or train a factored kind, such as --kind sigmoid, or a blend of such"
        )
    return products


def build(
    model: Model,
    histories: sp.csr_matrix | None,
    n: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    exact: Exact | None = None,
) -> Approximate | None:
    """Make an index over the items of a model, choose how thoroughly it is searched, and measure what is found.

    Args:
        model: whose lists.
        histories: csr_matrix (U, I) of users, of whom some are the sample; None: there are none.
        n: items of a list.
        allowed: bool (I,), the only items that are listed; None: all.
        exact: ranks all items by this rule; None: `recae.ranking.rank_histories`.

    Returns:
        The index; None where so small a number of items may be listed that exact lists are as fast; that is said.

    Raises:
        ConfigError: faiss is not installed, the model's scores are no products, or fewer of the exact lists' items are
            found than `WANTED`.
        DataError: there are no users to measure on.
    """
    products = check_model(model)
    faiss = check_installed()
    n_items = model.n_items if allowed is None else int(allowed.sum())
    if n_items < max(FEWEST_ITEMS, 100 * n):
        say(
            f"the lists are exact: with {n_items:,} items to list and lists of {n:,} an index would save nothing",
            items=n_items,
        )
        return None
    owners = np.zeros(0, dtype=np.intp) if histories is None else np.flatnonzero(np.diff(histories.indptr))
    if histories is None or owners.size < 2:
        raise DataError(
            "approximate lists are measured on users before they are used, and there are none with a history: use a "
            "model file that was saved with its histories, or leave --approximate (approximate=True) out"
        )
    started = time.perf_counter()
    index, held = _index_of(faiss, products)
    took = time.perf_counter() - started
    made = Approximate(index, held, allowed)
    drawn = np.random.default_rng(0).permutation(owners)[:_SAMPLE]
    sample = sp.csr_matrix(histories[np.sort(drawn)]).sorted_indices()
    rank_exactly: Exact = exact or (
        lambda some, length: rank_histories(model, some, length, candidates=allowed)
    )
    first, second = sample[::2], sample[1::2]
    right = rank_exactly(first, n).items
    a_cluster = float(model.n_items / index.nlist * index.d / 2)

    def cost(setting: tuple[int, int]) -> float:
        return setting[0] * _CANDIDATE + setting[1] * a_cluster

    for candidates, probes in sorted(product(_CANDIDATES, _PROBES), key=cost):
        made.candidates, index.nprobe = max(candidates, 4 * n), min(probes, index.nlist)
        if _recall(made, model, first, right, n) >= _AIM:
            break
    made.measured = _measure(made, model, second, n, rank_exactly, took)
    if made.measured.recall < WANTED:
        raise ConfigError(
            f"approximate lists would hold {100 * made.measured.recall:.1f} % of the exact top {n} of this model's "
            f"users, less than the {100 * WANTED:.0f} % that are wanted: leave --approximate (approximate=True) out"
        )
    say(f"{'' if made.measured.times >= 1 else 'warning: exact lists are faster; '}{made.measured}")
    return made


# An index lives as long as its model; None where the lists are exact.
_known: WeakKeyDictionary[Model, Approximate | None] = WeakKeyDictionary()
_lock = threading.Lock()


def index_of(model: Model, histories: sp.csr_matrix | None, n: int) -> Approximate | None:
    """Return the index of a model for lists that no rule is known for beforehand, made once; see `build`."""
    with _lock:
        if model not in _known:
            _known[model] = build(model, histories, n)
        return _known[model]


def rank_approximately(
    model: Model,
    users: sp.csr_matrix | None,
    histories: sp.csr_matrix,
    n: int | NDArray[np.integer[Any]],
    *,
    exclude: sp.csr_matrix | None,
    allowed: NDArray[np.bool_] | None,
    threads: int | None = None,
) -> Ranked:
    """Rank the items for histories by the model's index, and exactly for those of whom not enough candidates are left.

    Args:
        model: scores the items.
        users: histories that the index is measured on when it is made.
        histories: csr_matrix (B, I).
        n: length of the lists, or of each, (B,).
        exclude: csr_matrix (B, I), items that a list leaves out.
        allowed: bool (I,) or (B, I); only items marked True are listed.
        threads: most threads to use.

    Returns:
        The lists, (B, n).

    Raises:
        ConfigError, DataError: as `build`.
    """
    index = index_of(model, users, max(int(np.max(n, initial=1)), USUAL_LENGTH))
    rest: NDArray[np.intp] = np.arange(histories.shape[0])
    ranked = Ranked.empty(histories.shape[0], int(np.max(n, initial=1)))
    if index is not None:
        ranked, rest = index.rank(model, histories, n, exclude=exclude, allowed=allowed, threads=threads)
    if rest.size:
        own = rank_histories(
            model,
            histories[rest],
            n[rest] if isinstance(n, np.ndarray) else n,
            exclude_owned=False,
            exclude=None if exclude is None else exclude[rest],
            candidates=allowed if allowed is None or allowed.ndim == 1 else allowed[rest],
            threads=threads,
        )
        width = own.items.shape[1]
        ranked.items[rest], ranked.scores[rest] = PADDING, -np.inf
        ranked.items[rest, :width], ranked.scores[rest, :width] = own
    return ranked


def scores_of(
    model: Model, histories: sp.csr_matrix, items: NDArray[np.int32], count: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the scores of some items of each history, as `Model.score` has them; NaN beyond each row's count.

    Args:
        model: one that `check_model` lets pass.
        histories: csr_matrix (B, I).
        items: (B, m).
        count: how many of a row's items are asked for, (B,).

    Returns:
        float32 (B, m).
    """
    there = np.arange(items.shape[1]) < count[:, None]
    at = np.where(there, items, 0)
    scores: NDArray[np.float32] | None = None
    for part in summands(model):
        found = np.zeros(items.shape, dtype=np.float32)
        if isinstance(part.model, Popularity):
            found += part.model.counts[at]
        else:
            own = cast(Factored, part.model)
            bias = np.zeros(model.n_items, dtype=np.float32) if own.item_bias is None else own.item_bias
            codes = as_operand(own.user_factors(histories))
            write_dots_at(codes, as_operand(own.item_factors), as_operand(bias), items, count, found)
        found *= part_factors(part, histories)
        scores = found if scores is None else scores + found
    return np.where(there, cast(NDArray[np.float32], scores), np.float32(np.nan))


def _index_of(faiss: Any, products: Products) -> tuple[Any, tuple[Any, ...]]:
    """Return the index over all items' vectors, with their constants as a further number, and what it points to."""
    n_items, width = products.model.n_items, products.width + (products.bias is not None)
    width += width % 2  # two numbers are coded together
    clusters = int(2 ** np.clip(round(np.log2(2 * n_items**0.5)), 4, 14))
    index = faiss.index_factory(width, f"IVF{clusters},PQ{width // 2}x4fsr", faiss.METRIC_INNER_PRODUCT)
    # The clusters are of vectors near one another, long ones apart from short ones, and those are looked at whose
    # centres have the largest products: clusters of directions alone mix what everybody likes with what nobody does.
    by_distance, by_product = faiss.IndexFlatL2(width), faiss.IndexFlatIP(width)
    index.own_fields, index.quantizer = False, by_distance  # Python holds what the index only points to
    index.cp.spherical = False
    chosen = np.random.default_rng(0).permutation(n_items)[: _TRAINED_ON * clusters]
    index.train(_items_of(products, np.sort(chosen), width))
    step = 2**16
    for start in range(0, n_items, step):
        index.add(_items_of(products, np.arange(start, min(start + step, n_items)), width))
    by_product.add(by_distance.reconstruct_n(0, clusters))
    index.quantizer = by_product
    return index, (by_distance, by_product)


def _items_of(products: Products, items: NDArray[np.integer[Any]], width: int) -> NDArray[np.float32]:
    found = np.zeros((items.size, width), dtype=np.float32)
    found[:, : products.width] = products.item_vectors(items)
    if products.bias is not None:
        found[:, products.width] = products.bias[items]
    return found


def _users_of(products: Products, histories: sp.csr_matrix, width: int) -> NDArray[np.float32]:
    found = np.zeros((histories.shape[0], width), dtype=np.float32)
    found[:, : products.width] = products.user_vectors(histories)
    if products.bias is not None:
        found[:, products.width] = 1
    return found


def _recall(
    made: Approximate, model: Model, histories: sp.csr_matrix, right: NDArray[np.int32], n: int
) -> float:
    """Return the fraction of the items of exact lists that approximate ones hold; users left over have theirs whole."""
    ranked, left = made.rank(model, histories, n, exclude=histories)
    ranked.items[left] = right[left]
    wanted = int((right >= 0).sum())
    found = sum(
        np.intersect1d(own[own >= 0], other).size for own, other in zip(ranked.items, right, strict=True)
    )
    return found / max(wanted, 1)


def _measure(
    made: Approximate, model: Model, histories: sp.csr_matrix, n: int, exact: Exact, build_seconds: float
) -> Measured:
    exact(histories, n)  # what is made once at a first call is made
    started = time.perf_counter()
    right = exact(histories, n).items
    between = time.perf_counter()
    _, left = made.rank(model, histories, n, exclude=histories)
    exact(histories[left], n)
    ended = time.perf_counter()
    users = histories.shape[0]
    return Measured(
        users=users,
        n=n,
        recall=_recall(made, model, histories, right, n),
        seconds=(ended - between) / users,
        exact_seconds=(between - started) / users,
        build_seconds=build_seconds,
    )


@loop()
def apply_rules(
    items: Ints,  # (B, m) candidates by number, -1 for none; on return those that remain come first
    indptr: Ints,  # (B + 1,) and
    indices: Ints,  # (nnz,) sorted: items that a list leaves out
    allowed: Floats,  # bool (1, I) or (B, I)
    count: Ints,  # (B,) written: how many remain
) -> None:
    """Take candidates out that a list may not hold."""
    for b in range(len(items)):
        may = allowed[b] if len(allowed) > 1 else allowed[0]
        p, stop, n = indptr[b], indptr[b + 1], 0
        for i in range(items.shape[1]):
            item = items[b, i]
            if item < 0:
                continue
            while p < stop and indices[p] < item:
                p += 1
            if may[item] and not (p < stop and indices[p] == item):
                items[b, n] = item
                n += 1
        count[b] = n
