"""Item-kNN: items like those in the history, by `implicit`'s weighted co-occurrence of items.

The similarities are those of `implicit.nearest_neighbours`; only the k largest of each item are kept (the
item itself among them). A history's score of an item is the sum of its items' similarities to that item.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, cast, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, ModelFileError
from recae.models.base import JSON, check_histories, check_items, pattern, take_array, take_int

Weighting = Literal["bm25", "tfidf", "cosine"]


@dataclass(frozen=True, eq=False)
class ItemKNN:
    """Scores an item by its similarity to the items of the history: histories @ similarity.

    Parameters
    ----------
    similarity : float32 csr_matrix of shape (I, I)
        Row i holds the k items most similar to i, sorted by item number.
    k : int
        Neighbours kept for each item, itself included.
    weighting : "bm25", "tfidf" or "cosine"
        How the purchases are weighted before the items are compared.
    settings : mapping
        The configuration it was fitted with, kept for the record.
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
        weights: NDArray[np.float32] | None = None,
    ) -> Self:
        """Compares the items of a csr_matrix of shape (users, I), all stored purchases weighing the same.

        With `weights` (nnz,), in the order of the matrix, each stands where `implicit` expects how often an item was
        bought: tf-idf takes its root, BM25 lets it saturate, cosine takes it as it is.

        The defaults had the best recall@20 of the three weightings and k from 3 to 4,000 on held-out
        validation users of Online Retail (3,665 items). tf-idf also led on Ta-Feng, with k = 10, and on
        Gowalla, where recall still grew at k = 400: no k suits all, so choose it on validation users.

        Raises
        ------
        ConfigError
            `k` is less than 1 or `weighting` is unknown.
        """
        if k < 1:
            raise ConfigError(f"item-kNN's k must be at least 1, but is {k}; keep one neighbour or more")
        if weighting not in get_args(Weighting):
            known = ", ".join(get_args(Weighting))
            raise ConfigError(f"item-kNN has no weighting '{weighting}'; choose one of {known}")
        from implicit import nearest_neighbours as nn

        by_user = pattern(matrix).astype(np.float64)
        if weights is not None:
            by_user.data[:] = weights
        purchases = by_user.T  # (I, users)
        # tf-idf divides 0 by 0 for an item whose owners own nearly everything; zero similarity is meant
        with np.errstate(divide="ignore", invalid="ignore"):
            if weighting == "bm25":
                defaults = nn.BM25Recommender()
                weighted = nn.bm25_weight(purchases, defaults.K1, defaults.B)
            else:
                weighted = nn.normalize(nn.tfidf_weight(purchases) if weighting == "tfidf" else purchases)
        # its own recommenders pass COO on, and warn the user of the conversion
        recommender = nn.ItemItemRecommender(K=k)
        recommender.fit(weighted.T.tocsr(), show_progress=False)
        similarity = sp.csr_matrix(recommender.similarity, dtype=np.float32)
        similarity.data[~np.isfinite(similarity.data)] = 0
        similarity.eliminate_zeros()
        similarity.sort_indices()
        return cls(similarity, k, weighting)

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return int(self.similarity.shape[0])

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """histories @ similarity, (B, I); DataError if the histories do not have I columns."""
        check_histories(histories, self.n_items)
        return cast(NDArray[np.float32], (pattern(histories) @ self.similarity).toarray())

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """histories @ similarity[:, items], (B, n); DataError as `Model.score_items` says."""
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
        """The settings it was fitted with; `k` and `weighting` at least."""
        return {**self.settings, "k": self.k, "weighting": self.weighting}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The similarity matrix: `data` float32 (n,), `indices` int32 (n,), `indptr` int64 (I + 1,)."""
        return {
            "data": self.similarity.data,
            "indices": self.similarity.indices.astype(np.int32, copy=False),
            "indptr": self.similarity.indptr.astype(np.int64, copy=False),
        }

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """The model of this similarity matrix; ModelFileError if something is missing or does not fit."""
        k, weighting = take_int(config, "k", at_least=1), config.get("weighting")
        if weighting not in get_args(Weighting):
            raise ModelFileError(
                f"the model file names an unknown item-kNN weighting {weighting!r}; train it again"
            )
        data = take_array(arrays, "data", np.float32, (None,))
        indices = take_array(arrays, "indices", np.int32, (data.size,))
        indptr = take_array(arrays, "indptr", np.int64, (n_items + 1,))
        if indptr[0] != 0 or indptr[-1] != data.size or (indptr[1:] < indptr[:-1]).any():
            raise ModelFileError(
                "the model file's array 'indptr' does not part the neighbours by item; train the model again"
            )
        if data.size and (indices.min() < 0 or indices.max() >= n_items):
            raise ModelFileError(
                f"the model file's array 'indices' holds items outside 0 .. {n_items - 1}; "
                "train the model again"
            )
        similarity = sp.csr_matrix((data, indices, indptr), shape=(n_items, n_items))
        return cls(similarity, k, cast(Weighting, weighting), dict(config))
