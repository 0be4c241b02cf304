"""Item-kNN: items like those in the history, by weighted co-occurrence of items.

The weightings are those of `implicit.nearest_neighbours`. Of the similarities only the k largest of each item stay, the
item itself among them; of equal ones those of the higher item numbers, which is what `implicit` mostly leaves. A
history's score of an item is the sum of its items' similarities to that item.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal, Self, cast, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.errors import ConfigError
from recae.loops import loop
from recae.machine import processors, without_widget_warning
from recae.models.base import (
    JSON,
    check_histories,
    check_items,
    item_weights_arrays,
    take_int,
    take_item_weights,
    take_name,
)
from recae.ranking import heap_rise, heap_sink
from recae.sparse import joined_ranges, pattern, row_lengths

Weighting = Literal["bm25", "tfidf", "cosine"]

_ITEMS_PER_THREAD: Final = 64  # below this many a second thread costs more to start than it saves


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The items most similar to each item: what item-kNN models of every k up to K are made of.

    Attributes:
        starts: where the neighbours of each item begin, int64 (I,).
        lengths: how many they are, int64 (I,), K at most.
        items: int32, the neighbours of one item after those of the other, the most similar first; of equal ones the
            higher item number.
        similarities: float64, of the same shape.
        weighting: how the purchases were weighted before the items were compared.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    items: NDArray[np.int32]
    similarities: NDArray[np.float64]
    weighting: Weighting

    @classmethod
    def of(
        cls,
        matrix: sp.csr_matrix,
        k: int,
        weighting: Weighting = "tfidf",
        confidence: NDArray[np.float32] | None = None,
    ) -> Self:
        """Compare the items of purchases, csr_matrix (users, I), once, for every number of neighbours up to k.

        Args:
            matrix: purchases; all stored ones count alike, unless there is `confidence`.
            k: neighbours of each item at most, itself included.
            weighting: "tfidf", "bm25" or "cosine".
            confidence: float32 (nnz,), in the order of the matrix: each stands where `implicit` expects how often an
                item was bought. tf-idf takes its root, BM25 lets it saturate, cosine takes it as it is.

        Raises:
            ConfigError: `k` is less than 1, or `weighting` is unknown.
        """
        if k < 1:
            raise ConfigError(f"item-kNN's k must be at least 1, but is {k}; ask for one neighbour or more")
        if weighting not in get_args(Weighting):
            known = ", ".join(get_args(Weighting))
            raise ConfigError(f"item-kNN has no weighting '{weighting}'; choose one of {known}")
        by_item = _weighted(matrix, weighting, confidence)  # (I, users)
        by_user = by_item.T.tocsr()
        return cls(*largest_products(by_item, by_user, k), weighting)

    def model(self, k: int) -> ItemKNN:
        """Return the item-kNN model of k neighbours, the same as fitted for that k alone, since ties break alike."""
        lengths = np.minimum(self.lengths, k)
        places = joined_ranges(self.starts, lengths)
        similarity = sp.csr_matrix(
            (
                self.similarities[places].astype(np.float32),
                self.items[places],
                np.append(0, np.cumsum(lengths)),
            ),
            shape=(lengths.size, lengths.size),
        )
        similarity.eliminate_zeros()  # a similarity may vanish in float32
        similarity.sort_indices()
        return ItemKNN(similarity, k, self.weighting)


def largest_products(
    by_item: sp.csr_matrix, by_user: sp.csr_matrix, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Return the k largest products of each item's row with all items' rows, as `Neighbours` holds them.

    Args:
        by_item: values of each item's users, csr_matrix (I, users).
        by_user: its transpose.
        k: at least 1; an item's product with itself is one of them.
    """
    n_items = by_item.shape[0]
    # an item meets no more items than its users own; memory is taken where neighbours are written, not before
    met = np.asarray(pattern(by_item).astype(np.float64) @ row_lengths(by_user), dtype=np.int64)
    ends = np.cumsum(np.minimum(met, min(k, n_items)))
    starts = np.append(0, ends)[:-1]
    lengths = np.zeros(n_items, dtype=np.int64)
    n_most = int(ends[-1]) if n_items else 0
    items, products = np.empty(n_most, dtype=np.int32), np.empty(n_most)
    arrays = (*_kernel_arrays(by_item), *_kernel_arrays(by_user))
    workers = min(processors(), 1 + n_items // _ITEMS_PER_THREAD)
    # more ranges than workers, so that one slow range does not leave the others idle
    bounds = np.linspace(0, n_items, 8 * workers + 1).astype(np.int64)
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_nearest, *arrays, k, starts, lengths, items, products, start, stop)
            for start, stop in pairwise(bounds)
        ]
        for job in jobs:
            job.result()
    return starts, lengths, items, products


def _weighted(
    matrix: sp.csr_matrix, weighting: Weighting, confidence: NDArray[np.float32] | None
) -> sp.csr_matrix:
    """Return the purchases of each item, weighted: csr_matrix (I, users) float64."""
    with without_widget_warning():
        from implicit import nearest_neighbours as nn

    by_user = pattern(matrix).astype(np.float64)
    if confidence is not None:
        by_user.data[:] = confidence
    purchases = by_user.T
    # tf-idf divides 0 by 0 for an item whose owners own nearly everything; zero similarity is meant
    with np.errstate(divide="ignore", invalid="ignore"):
        if weighting == "bm25":
            defaults = nn.BM25Recommender()
            weighted = nn.bm25_weight(purchases, defaults.K1, defaults.B)
        else:
            weighted = nn.normalize(nn.tfidf_weight(purchases) if weighting == "tfidf" else purchases)
    return sp.csr_matrix(weighted)


def _kernel_arrays(
    matrix: sp.csr_matrix,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Return `indptr`, `indices` and `data` of one type each: the kernel is compiled for a single signature."""
    return (
        np.require(matrix.indptr, np.int64),
        np.require(matrix.indices, np.int32),
        np.require(matrix.data, np.float64),
    )


@dataclass(frozen=True, eq=False)
class ItemKNN:
    """Scores an item by its similarity to the items of the history: histories @ similarity.

    Attributes:
        similarity: float32 csr_matrix (I, I); row i holds the k items most similar to i, sorted by item number.
        k: neighbours of each item, itself included.
        weighting: "bm25", "tfidf" or "cosine": how the purchases are weighted before the items are compared.
        settings: the settings it was fitted with, for the record.
    """

    kind: ClassVar[str] = "itemknn"
    trained: ClassVar[bool] = False

    similarity: sp.csr_matrix
    k: int
    weighting: Weighting
    settings: Mapping[str, JSON] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        matrix: sp.csr_matrix,
        *,
        k: int = 6,
        weighting: Weighting = "tfidf",
        confidence: NDArray[np.float32] | None = None,
    ) -> ItemKNN:
        """Compare the items of purchases, csr_matrix (users, I), for one k; arguments and errors as `Neighbours.of`.

        The defaults had the best recall@20 of the three weightings and k from 3 to 4,000 on held-out
        validation users of Online Retail (3,665 items). tf-idf also led on Ta-Feng, with k = 10, and on
        Gowalla, where recall still grew at k = 400: no k suits all, so choose it on validation users.
        """
        return Neighbours.of(matrix, k, weighting, confidence).model(k)

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return int(self.similarity.shape[0])

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return histories @ similarity, (B, I); DataError if the histories do not have I columns."""
        check_histories(histories, self.n_items)
        return cast(NDArray[np.float32], (pattern(histories) @ self.similarity).toarray())

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return histories @ similarity[:, items], (B, n); DataError as `Model.score_items` says."""
        check_histories(histories, self.n_items)
        columns = self.similarity[:, check_items(items, self.n_items)]
        return cast(NDArray[np.float32], (pattern(histories) @ columns).toarray())

    @property
    def item_weights(self) -> sp.csr_matrix:
        """The similarities."""
        return self.similarity

    @property
    def item_bias(self) -> None:
        """None: items have no constant."""
        return None

    def config(self) -> dict[str, JSON]:
        """Return the settings it was fitted with; `k` and `weighting` at least."""
        return {**self.settings, "k": self.k, "weighting": self.weighting}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the similarities as `item_weights_arrays` has them."""
        return item_weights_arrays(self.similarity)

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of this similarity matrix.

        Raises:
            ModelFileError: something is missing or does not fit.
        """
        k, weighting = take_int(config, "k", at_least=1), take_name(config, "weighting", get_args(Weighting))
        similarity = take_item_weights(arrays, n_items, "neighbours")
        return cls(similarity, k, cast(Weighting, weighting), dict(config))


@loop
def _nearest(
    item_indptr: Ints,  # (I + 1,) of the users who own each item
    item_users: Ints,
    item_values: Floats,
    user_indptr: Ints,  # (U + 1,) of the items that each user owns
    user_items: Ints,
    user_values: Floats,
    k: int,
    starts: NDArray[np.int64],  # (I,)
    lengths: NDArray[np.int64],  # (I,) written
    items: NDArray[np.int32],  # written from starts[i] on, likewise
    similarities: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Return the k largest products of item i's row with all items' rows, for i from start to before stop.

    Products of 0, and those that are not finite, are no similarities. What is found of an item is a heap with the worst
    neighbour on top, and sorted at the end. The heap holds ~j = −j − 1 for item j: of equal entries it takes the lower
    number, which is the higher item.
    """
    n_items = starts.shape[0]
    sums = np.zeros(n_items)
    met = np.zeros(n_items, dtype=np.bool_)
    found = np.empty(n_items, dtype=np.int32)  # the items met, in any order
    for i in range(start, stop):
        n_found = 0
        for p in range(item_indptr[i], item_indptr[i + 1]):
            u, value = item_users[p], item_values[p]
            for q in range(user_indptr[u], user_indptr[u + 1]):
                j = user_items[q]
                if not met[j]:
                    met[j] = True
                    found[n_found] = j
                    n_found += 1
                sums[j] += value * user_values[q]
        heap_item, heap_value = items[starts[i] :], similarities[starts[i] :]
        size = np.int64(0)
        for f in range(n_found):
            j = np.int64(found[f])  # one type for all that goes into the heap
            value = sums[j]
            sums[j] = 0
            met[j] = False
            if value == 0 or not np.isfinite(value):
                continue
            if size < k:
                heap_rise(heap_item, heap_value, size, ~j, value)
                size += 1
            elif value > heap_value[0] or (value == heap_value[0] and ~j < heap_item[0]):
                heap_sink(heap_item, heap_value, k, ~j, value)
        for last in range(size - 1, 0, -1):  # heap sort: the worst goes to the end of what is left
            j, value = np.int64(heap_item[last]), heap_value[last]
            heap_item[last], heap_value[last] = heap_item[0], heap_value[0]
            heap_sink(heap_item, heap_value, last, j, value)
        for place in range(size):
            heap_item[place] = ~heap_item[place]
        lengths[i] = size
