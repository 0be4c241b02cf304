"""The registry of models: a kind's name, as in the model file and on the command line, to its class."""

import difflib

from recae.errors import ConfigError
from recae.models.base import JSON, Encoder, Model
from recae.models.blend import Blend, find_encoder
from recae.models.deep import DeepAutoencoder
from recae.models.factorisation import ALS, BPR
from recae.models.frequency import Frequency
from recae.models.itemknn import ItemKNN
from recae.models.linear import DenseLinear, Ease, Edlae, SparseLinear
from recae.models.popularity import Popularity
from recae.models.sigmoid import SigmoidAutoencoder
from recae.models.vae import MultVAE, RecVAE

_CLASSES: tuple[type[Model], ...] = (
    DeepAutoencoder,
    Popularity,
    ItemKNN,
    SigmoidAutoencoder,
    Blend,
    ALS,
    BPR,
    Frequency,
    MultVAE,
    RecVAE,
    Ease,
    Edlae,
    SparseLinear,
)
KINDS: dict[str, type[Model]] = {cls.kind: cls for cls in _CLASSES}


def model_class(kind: str) -> type[Model]:
    """The class of a kind of model; ConfigError with the nearest names if there is none of that name."""
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"there is no model of kind '{kind}'; {hint}choose one of {', '.join(sorted(KINDS))}"
        )
    return KINDS[kind]


__all__ = [
    "ALS",
    "BPR",
    "JSON",
    "KINDS",
    "Blend",
    "DeepAutoencoder",
    "DenseLinear",
    "Ease",
    "Edlae",
    "Encoder",
    "Frequency",
    "ItemKNN",
    "Model",
    "MultVAE",
    "Popularity",
    "RecVAE",
    "SigmoidAutoencoder",
    "SparseLinear",
    "find_encoder",
    "model_class",
]
