"""Which kinds of model can be fitted, by which configuration and which function."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import scipy.sparse as sp

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
    """

    config: type[Any]
    fit: str


KINDS_OF_TRAINING: dict[str, Kind] = {
    "frequency": Kind(FrequencyConfig, "recae.training.frequency:fit_frequency"),
    "popularity": Kind(PopularityConfig, "recae.training.baselines:fit_popularity"),
    "itemknn": Kind(ItemKNNConfig, "recae.training.baselines:fit_itemknn"),
    "als": Kind(AlsConfig, "recae.training.baselines:fit_als"),
    "bpr": Kind(BprConfig, "recae.training.baselines:fit_bpr"),
    "sigmoid": Kind(SigmoidConfig, "recae.training.loop:fit_sigmoid"),
    "deep": Kind(DeepConfig, "recae.training.deep:fit_deep"),
    "multvae": Kind(MultVaeConfig, "recae.training.vae:fit_multvae"),
    "recvae": Kind(RecVaeConfig, "recae.training.recvae:fit_recvae"),
    "ease": Kind(EaseConfig, "recae.training.closed_form:fit_ease"),
    "edlae": Kind(EdlaeConfig, "recae.training.closed_form:fit_edlae"),
    "sparse-linear": Kind(SparseLinearConfig, "recae.training.sparse_linear:fit_sparse_linear"),
}


def fit(
    kind: str, matrix: sp.csr_matrix, config: Any, hooks: Hooks | None = None
) -> tuple[Model, list[Epoch]]:
    """Fits a model of a kind to the rows of `matrix` ((U, I) CSR pattern); the epochs are empty for a closed form."""
    module, _, name = KINDS_OF_TRAINING[kind].fit.partition(":")
    fitted: tuple[Model, list[Epoch]] = getattr(import_module(module), name)(matrix, config, hooks or Hooks())
    return fitted
