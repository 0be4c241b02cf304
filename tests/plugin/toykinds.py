"""A kind of model that recae does not know: what a plugin consists of. Tests copy this file to where they want it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.kinds import Kind, Size
from recae.kinds.space import even
from recae.models.base import JSON, check_histories, check_items, take_array, take_number
from recae.settings import LARGEST_SEED, Settings, setting
from recae.training.callbacks import Hooks


class ToySettings(Settings):
    """How the toy counts."""

    damping: float = setting(0.5, "how much popular items are held back", ge=0, le=1)
    seed: int = setting(0, "by which users are held out to measure on", ge=0, le=LARGEST_SEED)


@dataclass(frozen=True, eq=False)
class ToyModel:
    """Scores are sums of how often items were bought together."""

    counts: NDArray[np.float32]
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "toy"
    trained: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        return len(self.counts)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        check_histories(histories, self.n_items)
        ones = sp.csr_matrix(
            (np.ones(histories.nnz, np.float32), histories.indices, histories.indptr), histories.shape
        )
        return np.asarray(ones @ self.counts, dtype=np.float32)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        return self.score(histories)[:, check_items(items, self.n_items)]

    def config(self) -> dict[str, JSON]:
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"counts": self.counts}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        take_number(config, "damping", 0, 1)
        return cls(take_array(arrays, "counts", np.float32, (n_items, n_items)), config)


def fit_toy(matrix: sp.csr_matrix, settings: ToySettings, hooks: Hooks) -> tuple[ToyModel, list[Any]]:
    """Counts pairs; there are no epochs."""
    counts = np.asarray((matrix.T @ matrix).todense(), dtype=np.float32)
    owners = np.maximum(np.diag(counts), 1)
    return ToyModel(np.ascontiguousarray(counts / owners**settings.damping), settings.as_dict()), []


def seconds(size: Size) -> float:
    return 1e-8 * size.pairs


TOY = Kind(
    name="toy",
    title="Toy counts",
    about="counts pairs, for the tests of plugins",
    settings="toykinds:ToySettings",
    fit="toykinds:fit_toy",
    model=ToyModel,
    no_confidence="the toy counts every purchase alike",
    cost=seconds,
    space=(even("damping", 0, 1),),
)
