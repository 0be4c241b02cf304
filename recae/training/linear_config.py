"""Configurations of the linear models, and what of them is chosen from the data."""

from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.training.config import check_range


@dataclass(frozen=True)
class EaseConfig:
    """How EASE is solved; None means: chosen from the data by `resolve`.

    l2          λ, what is added to the diagonal of XᵀX
    user_power  p in 0..1: the squared errors of a user of m items weigh m^−p, relative to the mean purchase's; 0: alike
    item_power  a in 0..1: the score of an item of n owners is divided by n^a; 0: not
    seed        has no effect: nothing here is random
    """

    l2: float | None = None
    user_power: float = 0.0
    item_power: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("l2", self.l2, 1e-3, 1e9)
        check_range("user_power", self.user_power, 0, 1)
        check_range("item_power", self.item_power, 0, 1)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EdlaeConfig(EaseConfig):
    """How EDLAE is solved: as EASE, and

    dropout     p in [0, 1): share of each history hidden, in expectation; adds p/(1−p) diag(XᵀX) to the diagonal

    Users' errors are weighted by default: on validation users of three data sets that was better or as good.
    """

    user_power: float = 0.5
    dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("dropout", self.dropout, 0, 1, open_high=True)


@dataclass(frozen=True)
class SparseLinearConfig(EdlaeConfig):
    """How the sparse linear model is solved: as EDLAE, and

    neighbours  items from which each item is predicted

    It hides more than EDLAE by default, and weighs users more alike: on the validation users of Gowalla, Online Retail
    (by users and by time) and the sample that ranked better, on those of Ta-Feng as well.
    """

    user_power: float = 0.3
    dropout: float = 0.5
    neighbours: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("neighbours", self.neighbours, 1, 10_000, whole=True)


Config = TypeVar("Config", bound=EaseConfig)


def resolve(config: Config, matrix: sp.csr_matrix) -> Config:
    """`config` with l2 filled in from the purchases ((U, I) CSR pattern).

    20 times the root of the purchases per item: on validation users of two data sets, of 16 and 40 purchases per item,
    the best of a coarse grid (50 or 100, and 100) lay near it.
    """
    if config.l2 is not None:
        return config
    per_item = max(matrix.nnz, 1) / matrix.shape[1]
    return replace(config, l2=round(float(np.clip(20 * per_item**0.5, 1, 5000)), 2))


def user_weights(matrix: sp.csr_matrix, power: float) -> NDArray[np.float64]:
    """Weight of each user's squared errors, float64 (U,): m^−power for m items, 1 in the mean over all purchases.

    Raises TrainingError when there is no purchase.
    """
    sizes = np.diff(matrix.indptr).astype(np.float64)
    if not sizes.any():
        raise TrainingError("there is no purchase to learn from: every history is empty")
    weights = np.maximum(sizes, 1) ** -power
    return np.asarray(weights * (sizes.sum() / (weights @ sizes)))


def item_squares(
    matrix: sp.csr_matrix, weights: NDArray[np.float64], purchases: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """The diagonal of XᵀX with the users weighted, float64 (I,).

    `purchases` (nnz,) is what each purchase weighs in the order of `matrix`, X holding its root; None: 1.
    """
    each = np.repeat(weights, np.diff(matrix.indptr))
    if purchases is not None:
        each = each * purchases
    return np.bincount(matrix.indices, weights=each, minlength=matrix.shape[1]).astype(np.float64)


def penalties(config: EaseConfig, squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is added to the diagonal of XᵀX, Λ = λ + p/(1−p) diag(XᵀX), float64 (I,); `config` resolved."""
    if config.l2 is None:
        raise AssertionError("a resolved configuration gives l2")
    dropout = config.dropout if isinstance(config, EdlaeConfig) else 0.0
    return np.asarray(config.l2 + dropout / (1 - dropout) * squares)


def score_scales(config: EaseConfig, matrix: sp.csr_matrix) -> NDArray[np.float64]:
    """What the scores of each item are multiplied with, n^−item_power for n owners, float64 (I,)."""
    owners = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return np.asarray(np.maximum(owners, 1) ** -float(config.item_power))
