"""One way to get a fitted model of each kind, for the tests that run over the whole registry."""

from collections.abc import Callable

import scipy.sparse as sp

from recae.models import Blend, Frequency, ItemKNN, Model, Popularity
from recae.models.blend import Part
from recae.selection.fit import fit_simple
from recae.training.callbacks import Hooks
from recae.training.config import SigmoidSettings
from recae.training.kinds.aae import AaeSettings, fit_aae
from recae.training.kinds.baselines import AlsSettings, BprSettings, fit_als, fit_bpr
from recae.training.kinds.deep import DeepSettings, fit_deep
from recae.training.kinds.event_linear import EventLinearSettings, fit_event_linear
from recae.training.kinds.linear import EaseSettings, EdlaeSettings, SparseLinearSettings
from recae.training.kinds.recvae import RecVaeSettings
from recae.training.kinds.sigmoid import train_sigmoid
from recae.training.kinds.spectral import SpectralSettings, fit_spectral
from recae.training.kinds.vae import MultVaeSettings

# as few steps as teach the groups of test_models with every seed tried: what is learned here is read by a dozen files
MULTVAE = MultVaeSettings(layers="12,8", epochs=12, learning_rate=0.05, batch_size=20, seed=1)
RECVAE = RecVaeSettings(
    factors=8, hidden=16, hidden_layers=2, epochs=15, learning_rate=0.03, batch_size=20, seed=1
)
SIGMOID = SigmoidSettings(factors=16, epochs=60, dropout=0.2, seed=1)


def blend(matrix: sp.csr_matrix) -> Blend:
    """A sigmoid autoencoder and item-kNN, of different spreads."""
    parts = (
        Part(train_sigmoid(matrix, SIGMOID)[0], 0.6, (0.3, 0.5)),
        Part(ItemKNN.fit(matrix), 0.4, (2.0, 0.1)),
    )
    return Blend(parts, {"components": "sigmoid,itemknn", "seed": 1})


ALS = AlsSettings(factors=8, regularization=0.1, alpha=5.0, seed=1)
BPR = BprSettings(factors=8, learning_rate=0.1, others=64, seed=1)
AAE = AaeSettings(layers="16,8", epochs=20, batch_size=20, learning_rate=0.03, dropout=0.2, seed=1)
DEEP = DeepSettings(layers="16,8", epochs=20, batch_size=20, learning_rate=0.03, dropout=0.2, seed=1)
SPECTRAL = SpectralSettings(filter="two-step", factors=6, neighbours=20)

# a new kind of model needs one line here to come under the contract
FIT: dict[str, Callable[[sp.csr_matrix], Model]] = {
    "aae": lambda matrix: fit_aae(matrix, AAE, Hooks())[0],
    "als": lambda matrix: fit_als(matrix, ALS, Hooks())[0],
    "bpr": lambda matrix: fit_bpr(matrix, BPR, Hooks())[0],
    "blend": blend,
    "deep": lambda matrix: fit_deep(matrix, DEEP, Hooks())[0],
    # without other events it is the linear model of purchases that the contract is about
    "event-linear": lambda matrix: fit_event_linear(matrix, EventLinearSettings(), Hooks())[0],
    "ease": lambda matrix: fit_simple("ease", matrix, EaseSettings())[0],
    "edlae": lambda matrix: fit_simple("edlae", matrix, EdlaeSettings())[0],
    "sparse-linear": lambda matrix: fit_simple("sparse-linear", matrix, SparseLinearSettings(neighbours=4))[
        0
    ],
    "spectral": lambda matrix: fit_spectral(matrix, SPECTRAL, Hooks())[0],
    "popularity": Popularity.fit,
    "frequency": Frequency.fit,
    "itemknn": ItemKNN.fit,
    "sigmoid": lambda matrix: train_sigmoid(matrix, SIGMOID)[0],
    "multvae": lambda matrix: fit_simple("multvae", matrix, MULTVAE)[0],
    "recvae": lambda matrix: fit_simple("recvae", matrix, RECVAE)[0],
}
