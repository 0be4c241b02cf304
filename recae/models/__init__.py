"""Models, a file a kind; the registry `recae.kinds` says which class a kind's models are of."""

from recae.models.base import JSON, Encoder, Model
from recae.models.blend import Blend, find_encoder
from recae.models.deep import DeepAutoencoder
from recae.models.event_linear import EventLinear
from recae.models.factorisation import ALS, BPR
from recae.models.frequency import Frequency
from recae.models.itemknn import ItemKNN
from recae.models.linear import DenseLinear, Ease, Edlae, SparseLinear
from recae.models.popularity import Popularity
from recae.models.sigmoid import SigmoidAutoencoder
from recae.models.spectral import Spectral
from recae.models.vae import MultVAE, RecVAE

__all__ = [
    "ALS",
    "BPR",
    "JSON",
    "Blend",
    "DeepAutoencoder",
    "DenseLinear",
    "Ease",
    "Edlae",
    "Encoder",
    "EventLinear",
    "Frequency",
    "ItemKNN",
    "Model",
    "MultVAE",
    "Popularity",
    "RecVAE",
    "SigmoidAutoencoder",
    "SparseLinear",
    "Spectral",
    "find_encoder",
]
