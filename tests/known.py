"""A model that knows what some users want, whose NDCG is therefore known, and data for choosing between such models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

USERS, ITEMS = 40, 80


@dataclass(frozen=True, eq=False)
class Known:
    """Knows what users `first` to `known` want (user b owns item b, wants item 40 + b), is wrong about others."""

    known: int
    size: int = 1
    first: int = 0
    wrong: float = -1
    kind: ClassVar[str] = "known"
    trained: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        return ITEMS

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        scores = np.zeros(histories.shape, dtype=np.float32)
        for row in range(histories.shape[0]):
            user = histories[row].indices[0]
            scores[row, USERS + user] = 1 if self.first <= user < self.known else self.wrong
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"a": np.zeros(self.size, dtype=np.int8)}

    def config(self) -> dict[str, Any]:
        return {}


def pair() -> tuple[sp.csr_matrix, sp.csr_matrix]:
    own, want = np.zeros((2, USERS, ITEMS), dtype=np.float32)
    own[np.arange(USERS), np.arange(USERS)] = 1
    want[np.arange(USERS), USERS + np.arange(USERS)] = 1
    return sp.csr_matrix(own), sp.csr_matrix(want)


PAIR = pair()
MATRIX = sp.csr_matrix(
    sp.random(200, ITEMS, density=0.1, format="csr", rng=0, dtype=np.float32) > 0, dtype=np.float32
)
