"""Configurations of the variational autoencoders, Mult-VAE and RecVAE, and what is chosen from the data."""

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, TypeVar

import scipy.sparse as sp

from recae.errors import ConfigError
from recae.models.vae import parse_layers
from recae.training.config import check_range

SAMPLED_BEYOND = 300_000
"""Items from which the loss is taken on a sample of them unless the configuration says otherwise."""


@dataclass(frozen=True)
class VaeConfig:
    """What the variational autoencoders have in common; None means: chosen from the data by `resolve`.

    epochs         passes over the users
    batch_size     users of one step
    learning_rate  step of Adam (Kingma and Ba, 2014, arXiv:1412.6980)
    row_learning_rate  step of row-wise AdaGrad, which moves the first layer where items are sampled
    noise          share of a history hidden from the encoder at each step
    emphasis       factor on the loss of what is hidden
    input_power    p in 0..1: a history of m items enters the encoder as x/m^p; 0.5 gives it length 1, as published
    sampled        items drawn for the softmax of a step besides the batch's own; 0: all items
    l2             weight decay
    encoder_scale  standard deviation of the first layer's first weights, times √n for a layer of n
    decoder_scale  standard deviation of the output's first weights, times √D for D of them an item
    patience       epochs without a better validation recall@20 after which training stops
    dtype          float32 or float64
    seed           of everything random
    """

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    row_learning_rate: float = 0.04
    noise: float = 0.5
    emphasis: float = 1.0
    input_power: float = 0.5
    sampled: int | None = None
    l2: float = 0.0
    encoder_scale: float = 1.0
    decoder_scale: float = 0.1
    patience: int = 10
    dtype: str = "float32"
    seed: int = 0

    # what the trainer of mini-batches asks of all configurations and is fixed here
    loss: ClassVar[str] = "multinomial"
    tied: ClassVar[bool] = False
    purchase_weight: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        check_range("epochs", self.epochs, 1, 100_000, whole=True)
        check_range("batch_size", self.batch_size, 1, 1_000_000, whole=True)
        check_range("learning_rate", self.learning_rate, 0, 1, open_low=True)
        check_range("row_learning_rate", self.row_learning_rate, 0, 100)
        check_range("noise", self.noise, 0, 1, open_high=True)
        check_range("emphasis", self.emphasis, 0, 1000)
        check_range("input_power", self.input_power, 0, 1)
        check_range("sampled", self.sampled, 0, 10_000_000, whole=True)
        check_range("l2", self.l2, 0, 1000)
        check_range("encoder_scale", self.encoder_scale, 0, 1000, open_low=True)
        check_range("decoder_scale", self.decoder_scale, 0, 1000)
        check_range("patience", self.patience, 1, 100_000, whole=True)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype is 'float32' or 'float64', found {self.dtype!r}: give one of the two")

    @property
    def input_norm(self) -> float:
        """`input_power`, as the trainer of mini-batches calls it."""
        return self.input_power

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class MultVaeConfig(VaeConfig):
    """How Mult-VAE is trained (Liang et al., 2018, arXiv:1802.05814); None means: chosen from the data by `resolve`.

    layers  sizes from the items to the code, narrowing, such as "600,200"; the decoder has them in reverse
    beta    largest weight of the divergence of the code's posterior from its prior
    anneal  share of the training's steps over which that weight rises from 0, in a straight line
    """

    layers: str = "200"
    beta: float | None = None
    anneal: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = parse_layers(self.layers)
        if sizes is None or sizes[0] > 16_384:
            raise ConfigError(
                "layers is a list of whole numbers from 16384 to 1, each smaller than the one before, such as "
                f"'600,200', found {self.layers!r}: give sizes that narrow to the code"
            )
        check_range("beta", self.beta, 0, 1000)
        check_range("anneal", self.anneal, 0, 1)

    @property
    def sizes(self) -> list[int]:
        """`layers` as numbers."""
        return parse_layers(self.layers) or []


@dataclass(frozen=True)
class RecVaeConfig(VaeConfig):
    """How RecVAE is trained (Shenbin et al., 2020, arXiv:1912.11160); None means: chosen from the data by `resolve`.

    factors         size of the code
    hidden          size of the encoder's hidden layers
    hidden_layers   number of the encoder's hidden layers
    gamma           a user of m purchases weighs the divergence from the prior by gamma · m
    encoder_epochs  epochs of the encoder, with noise, between two turns of the decoder
    decoder_epochs  epochs of the decoder, without noise, that follow them; 0: both learn together
    """

    factors: int = 200
    hidden: int = 600
    hidden_layers: int = 5
    gamma: float | None = None
    encoder_epochs: int = 3
    decoder_epochs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("factors", self.factors, 1, 16_384, whole=True)
        check_range("hidden", self.hidden, 1, 16_384, whole=True)
        check_range("hidden_layers", self.hidden_layers, 1, 100, whole=True)
        check_range("gamma", self.gamma, 0, 1000)
        check_range("encoder_epochs", self.encoder_epochs, 1, 1000, whole=True)
        check_range("decoder_epochs", self.decoder_epochs, 0, 1000, whole=True)


def resolve_multvae(config: MultVaeConfig, matrix: sp.csr_matrix) -> MultVaeConfig:
    """`config` with every None filled in from the shape of the data ((U, I) CSR pattern).

    The rules go through what did well on validation parts of two data sets, 3,500 users × 3,700 items and 30,000 ×
    41,000: few users want more passes and less weight on the divergence.
    """
    users = max(matrix.shape[0], 1)
    epochs = max(5, round(12 * (30_000 / users) ** 0.2))
    beta = round(min(max(0.2 * (users / 30_000) ** 0.9, 0.01), 0.2), 3)
    return _fill(config, matrix, {"epochs": epochs, "learning_rate": 4e-3, "beta": beta})


def resolve_recvae(config: RecVaeConfig, matrix: sp.csr_matrix) -> RecVaeConfig:
    """`config` with every None filled in from the shape of the data ((U, I) CSR pattern)."""
    cycle = config.encoder_epochs + config.decoder_epochs
    turns = max(4, round(12 * (30_000 / max(matrix.shape[0], 1)) ** 0.2))
    return _fill(config, matrix, {"epochs": cycle * turns, "learning_rate": 1e-3, "gamma": 0.005})


_Config = TypeVar("_Config", MultVaeConfig, RecVaeConfig)


def _fill(config: _Config, matrix: sp.csr_matrix, chosen: dict[str, Any]) -> _Config:
    users = int((matrix.indptr[1:] > matrix.indptr[:-1]).sum())
    # some sixty steps an epoch or more: what small data lacks in steps, epochs alone would not bring
    chosen["batch_size"] = min(max(users, 1), max(16, min(256, users // 60)))
    chosen["sampled"] = 0 if matrix.shape[1] <= SAMPLED_BEYOND else 20_000
    missing = {name: value for name, value in chosen.items() if getattr(config, name) is None}
    return replace(config, **missing)
