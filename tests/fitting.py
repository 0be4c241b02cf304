"""One way to get a fitted model of each kind, for the tests that run over the whole registry."""

from collections.abc import Callable

import scipy.sparse as sp

from recae.models import ItemKNN, Model, Popularity
from recae.training import SigmoidConfig, train_sigmoid

SIGMOID = SigmoidConfig(factors=16, epochs=60, dropout=0.2, seed=1)

# a new kind of model needs one line here to come under the contract
FIT: dict[str, Callable[[sp.csr_matrix], Model]] = {
    "popularity": Popularity.fit,
    "itemknn": ItemKNN.fit,
    "sigmoid": lambda matrix: train_sigmoid(matrix, SIGMOID)[0],
}
