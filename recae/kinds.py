"""Which kinds of model can be fitted, by which configuration and which function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.models import Model
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.config import SigmoidConfig, resolve
from recae.training.kinds.baselines import (
    AlsConfig,
    BprConfig,
    FrequencyConfig,
    ItemKNNConfig,
    PopularityConfig,
)
from recae.training.kinds.deep import DeepConfig
from recae.training.kinds.linear import EaseConfig, EdlaeConfig, SparseLinearConfig
from recae.training.kinds.recvae import RecVaeConfig
from recae.training.kinds.vae import MultVaeConfig


@dataclass(frozen=True)
class Kind:
    """A kind of model that can be fitted.

    config  its configuration, a frozen dataclass
    fit     "module:function", (matrix (U, I), config, hooks) → (model, epochs); imported when it is called, since some
            bring torch
    weighted  whether it learns from weighted purchases (`Hooks.weights`)
    """

    config: type[Any]
    fit: str
    weighted: bool = True


KINDS_OF_TRAINING: dict[str, Kind] = {
    "frequency": Kind(FrequencyConfig, "recae.training.kinds.baselines:fit_frequency", weighted=False),
    "popularity": Kind(PopularityConfig, "recae.training.kinds.baselines:fit_popularity"),
    "itemknn": Kind(ItemKNNConfig, "recae.training.kinds.baselines:fit_itemknn"),
    "als": Kind(AlsConfig, "recae.training.kinds.baselines:fit_als"),
    "bpr": Kind(BprConfig, "recae.training.kinds.baselines:fit_bpr", weighted=False),
    "sigmoid": Kind(SigmoidConfig, "recae.training.kinds.sigmoid:fit_sigmoid"),
    "deep": Kind(DeepConfig, "recae.training.kinds.deep:fit_deep"),
    "multvae": Kind(MultVaeConfig, "recae.training.kinds.vae:fit_multvae"),
    "recvae": Kind(RecVaeConfig, "recae.training.kinds.recvae:fit_recvae"),
    "ease": Kind(EaseConfig, "recae.training.kinds.linear:fit_ease"),
    "edlae": Kind(EdlaeConfig, "recae.training.kinds.linear:fit_edlae"),
    "sparse-linear": Kind(SparseLinearConfig, "recae.training.kinds.sparse_linear:fit_sparse_linear"),
}


def check_weighted(kind: str) -> None:
    """Raises ConfigError for a kind that cannot learn from weighted purchases."""
    if not KINDS_OF_TRAINING[kind].weighted:
        why = {
            "bpr": "the BPR of implicit draws pairs of items and knows no weights",
            "frequency": "personal frequency has a decay of its own by baskets",
        }[kind]
        raise ConfigError(
            f"{kind} cannot weigh purchases, since {why}: leave out --half-life and --quantity-as-confidence, or "
            "choose another kind"
        )


def fit(
    kind: str, matrix: sp.csr_matrix, config: Any, hooks: Hooks | None = None
) -> tuple[Model, list[Epoch]]:
    """Fits a model of a kind to the rows of `matrix` ((U, I) CSR pattern); the epochs are empty for a closed form.

    Raises ConfigError for weighted purchases where the kind cannot weigh them.
    """
    if hooks is not None and hooks.weights is not None:
        check_weighted(kind)
    module, _, name = KINDS_OF_TRAINING[kind].fit.partition(":")
    fitted: tuple[Model, list[Epoch]] = getattr(import_module(module), name)(matrix, config, hooks or Hooks())
    return fitted


@dataclass(frozen=True)
class Size:
    """The data that is learned from, and the users that are validated on after each epoch.

    pairs  Σ m² over the histories of m items: what counting items bought together takes
    """

    users: int
    items: int
    interactions: int
    pairs: int
    validation_users: int
    factors: int
    epochs: int

    @classmethod
    def of(cls, matrix: sp.csr_matrix, validation_users: int) -> Size:
        """The size of (U, I) CSR purchases; code and epochs as the sigmoid autoencoder would choose them."""
        lengths = np.diff(matrix.indptr).astype(np.int64)
        shallow = resolve(SigmoidConfig(), matrix)
        return cls(
            *matrix.shape,
            int(matrix.nnz),
            int((lengths**2).sum()),
            validation_users,
            shallow.factors,
            shallow.epochs,
        )


def _counting(size: Size) -> float:
    return 2e-8 * size.pairs + 2e-5 * size.items


def _inverse(size: Size) -> float:
    by_users = size.users**3 + 10 * size.interactions * (size.users + size.items)
    return _counting(size) + 7e-12 * min(size.items**3, by_users) + 3e-9 * size.items**2


def _validating(size: Size, factors: int) -> float:
    return size.validation_users * size.items * (1e-10 * factors + 5e-9)  # of an epoch


def _exact(size: Size) -> float:
    step = 3e-4 * (size.factors / 512) ** 2 + 2e-5
    return size.epochs * (size.users * step + _validating(size, size.factors))


def _dense(size: Size) -> float:
    epoch = (
        size.users * size.items * 600 * 6 / 5e10
    )  # logits of a hidden layer of 600, forwards and backwards
    return 40 * (epoch + _validating(size, 600))


_SECONDS: dict[str, Callable[[Size], float]] = {
    "popularity": lambda size: 1e-8 * size.interactions + 1e-3,
    "frequency": lambda size: 1e-7 * size.interactions + 1e-3,
    "itemknn": _counting,
    "ease": _inverse,
    "edlae": _inverse,
    "sparse-linear": lambda size: _counting(size) + 1e-3 * size.items,
    "als": lambda size: 15 * (2e-7 * size.interactions + 5e-5 * (size.users + size.items)),
    "bpr": lambda size: 100 * 2e-7 * size.interactions,
    "sigmoid": _exact,
    "deep": lambda size: 3 * _exact(size),
    "multvae": _dense,
    "recvae": lambda size: 3 * _dense(size),
    # the weights of a blend of models that are there already
    "blend": lambda size: 4e-3 * size.validation_users + 3 * _validating(size, size.factors),
}


def seconds_for(kind: str, size: Size) -> float:
    """Seconds that fitting a kind at its defaults takes on two ordinary processor cores, to within a factor of a few.

    A rule of thumb in the number of operations, the same for the same data, so that what is decided by it is decided
    alike again; of a kind that it does not know it expects the worst.
    """
    known = _SECONDS.get(kind)
    return known(size) if known is not None else max(of_kind(size) for of_kind in _SECONDS.values())
