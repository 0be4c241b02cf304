"""Personal frequency: repeat purchases by how often and how lately; popularity fills the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ModelFileError
from recae.models.base import JSON, check_histories, check_items, take_array, take_number


@dataclass(frozen=True, eq=False)
class Frequency:
    """Scores an item by how often and how lately the user bought it, and a little by how many others own it.

        score(u, i) = x_ui + popularity · owned_by_i

    x_ui is the value stored in the history: Σ over the baskets that hold i of decay^(baskets ago), as
    `Events.weights` counts it (the recency-weighted item frequency of TIFU-kNN, Hu et al. 2020, arXiv 2006.00556; with
    decay 1 and a tiny popularity the G-P-TopFreq of Li et al. 2023, arXiv 2109.14233). A history that knows no
    frequencies, such as a basket, holds ones.

    Attributes:
        owned_by: fraction of the users who own each item, float32 (I,), 0 to 1; `shares` in the model file.
        settings: `decay`, with which the histories are to be weighted; `popularity`, at least 0; and what else is
            recorded.
    """

    kind: ClassVar[str] = "frequency"
    trained: ClassVar[bool] = False
    uses_values: ClassVar[bool] = True

    owned_by: NDArray[np.float32]
    settings: Mapping[str, JSON]

    @classmethod
    def fit(
        cls, matrix: sp.csr_matrix, *, decay: float = 0.9, popularity: float = 4.0, seed: int = 0
    ) -> Self:
        """Count the owners of each item of a csr_matrix of shape (users, I) without duplicate entries.

        The defaults had the best NDCG@20 together on validation users of Ta-Feng and Online Retail, last baskets held
        out, of decays from .3 to 1 and popularities from .001 to 32.
        """
        owners = np.bincount(matrix.indices, minlength=matrix.shape[1])
        owned_by = (owners / max(matrix.shape[0], 1)).astype(np.float32)
        return cls(owned_by, {"decay": decay, "popularity": popularity, "seed": seed})

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return int(self.owned_by.size)

    @property
    def decay(self) -> float:
        """What a purchase still weighs one basket later, in the histories that the model is to score."""
        return take_number(self.settings, "decay", 0, 1)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the histories' values plus the items' popularity, (B, I); DataError unless they have I columns."""
        check_histories(histories, self.n_items)
        scores: NDArray[np.float32] = histories.astype(np.float32).toarray()
        scores += self._from_popularity(self.owned_by)
        return scores

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the items' columns of `score`, (B, n); DataError as `Model.score_items` says."""
        check_histories(histories, self.n_items)
        rows = check_items(items, self.n_items)
        scores: NDArray[np.float32] = histories.astype(np.float32)[:, rows].toarray()
        scores += self._from_popularity(self.owned_by[rows])
        return scores

    @property
    def item_weights(self) -> sp.csr_matrix:
        """The identity: an owned item speaks for itself alone."""
        return sp.identity(self.n_items, dtype=np.float32, format="csr")

    @property
    def item_bias(self) -> NDArray[np.float32]:
        """What popularity adds, float32 (I,)."""
        return self._from_popularity(self.owned_by)

    def _from_popularity(self, owned_by: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.float32(take_number(self.settings, "popularity", 0, 1e6)) * owned_by

    def config(self) -> dict[str, JSON]:
        """Return `decay`, `popularity` and `seed`, as they were fitted."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `shares`, float32 (I,)."""
        return {"shares": self.owned_by}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these fractions.

        Raises:
            ModelFileError: something is missing or out of range.
        """
        if take_number(config, "decay", 0, 1) == 0:
            raise ModelFileError("the model file's 'decay' is 0, but must be above; train the model again")
        take_number(config, "popularity", 0, 1e6)
        owned_by = take_array(arrays, "shares", np.float32, (n_items,))
        if owned_by.size and not 0 <= owned_by.min() <= owned_by.max() <= 1:
            raise ModelFileError(
                "the model file's array 'shares' holds values outside 0 .. 1; train the model again"
            )
        return cls(owned_by, dict(config))
