"""Which kinds of model can be fitted, by which configuration and which function."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import scipy.sparse as sp

from recae.errors import ConfigError
from recae.models import Model
from recae.training.baselines import AlsConfig, BprConfig, ItemKNNConfig, PopularityConfig
from recae.training.checkpoint import Epoch
from recae.training.config import SigmoidConfig
from recae.training.deep_config import DeepConfig
from recae.training.frequency import FrequencyConfig
from recae.training.hooks import Hooks
from recae.training.linear_config import EaseConfig, EdlaeConfig, SparseLinearConfig
from recae.training.vae_config import MultVaeConfig, RecVaeConfig


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
    "frequency": Kind(FrequencyConfig, "recae.training.frequency:fit_frequency", weighted=False),
    "popularity": Kind(PopularityConfig, "recae.training.baselines:fit_popularity"),
    "itemknn": Kind(ItemKNNConfig, "recae.training.baselines:fit_itemknn"),
    "als": Kind(AlsConfig, "recae.training.baselines:fit_als"),
    "bpr": Kind(BprConfig, "recae.training.baselines:fit_bpr", weighted=False),
    "sigmoid": Kind(SigmoidConfig, "recae.training.loop:fit_sigmoid"),
    "deep": Kind(DeepConfig, "recae.training.deep:fit_deep"),
    "multvae": Kind(MultVaeConfig, "recae.training.vae:fit_multvae"),
    "recvae": Kind(RecVaeConfig, "recae.training.recvae:fit_recvae"),
    "ease": Kind(EaseConfig, "recae.training.closed_form:fit_ease"),
    "edlae": Kind(EdlaeConfig, "recae.training.closed_form:fit_edlae"),
    "sparse-linear": Kind(SparseLinearConfig, "recae.training.sparse_linear:fit_sparse_linear"),
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
