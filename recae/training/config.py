"""Configuration of training: frozen, checked by name, type and range, and written into the model file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import ConfigError

SVD_ITEMS_AT_MOST = 300_000
"""Items up to which the encoder begins at the principal directions, which then take less than an epoch or two."""

TIED_RATE = 3e-3
"""Step of Adam for the tied autoencoder: on validation users of Online Retail far better than .001 and .01."""


@dataclass(frozen=True)
class SigmoidConfig:
    """How the sigmoid autoencoder is trained; None means: chosen from the data by `resolve`.

    factors                size of the code, d
    epochs                 passes over the users
    learning_rate          decoder step ‖h‖²η, in (0, 1): the step is normalised by the squared norm of the code; tied,
                           the step of Adam, which then moves everything
    encoder_learning_rate  encoder step before row-wise AdaGrad
    purchase_weight        α ≥ 1, the weight of a purchase's squared error relative to a non-purchase's
    input_power            p in 0..1: a history of m items enters the encoder as x/m^p
    dropout                share of a history hidden from the encoder at each step
    noise                  another name for dropout, which it replaces when it is given
    batch_size             users whose codes are computed together; 1: the encoder, too, moves after every user. With
                           any of the next four settings training goes by mini-batches, and 1 stands for a size that
                           suits the number of users
    tied                   whether the decoder's weights are the encoder's, transposed and stored once
    emphasis               weight ≥ 1 of the error of what dropout hides
    code_penalty           weight of the code's norm in a user's loss
    code_norm              "l1", Σ|h|, or "l2", Σh²
    pretrain               "none", or "layerwise": pretrain_epochs more epochs, since there is but one layer
    pretrain_epochs        epochs of that
    fold_every             users between two folds of U into V, at most; it is folded sooner when it needs to be
    encoder_start          "svd": the encoder begins at the principal directions of the purchases; "random"; None: svd
                           up to 300,000 items, unless tied
    encoder_scale          standard deviation of a random encoder's first weights, times √d; with svd, that of the first
                           pre-activations, times 4
    decoder_scale          standard deviation of the decoder's first weights, times √d
    patience               epochs without a better validation recall@20 after which training stops
    dtype                  float32 or float64
    seed                   of everything random
    """

    factors: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    encoder_learning_rate: float = 0.04
    purchase_weight: float | None = None
    input_power: float | None = None
    dropout: float = 0.5
    noise: float | None = None
    batch_size: int = 1
    tied: bool = False
    emphasis: float = 1.0
    code_penalty: float = 0.0
    code_norm: str = "l2"
    pretrain: str = "none"
    pretrain_epochs: int = 3
    fold_every: int = 50_000
    encoder_start: str | None = None
    encoder_scale: float = 1.0
    decoder_scale: float = 0.01
    patience: int = 10
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("factors", self.factors, 1, 16_384, whole=True)
        check_range("epochs", self.epochs, 1, 100_000, whole=True)
        check_range("learning_rate", self.learning_rate, 0, 1, open_low=True, open_high=True)
        check_range("encoder_learning_rate", self.encoder_learning_rate, 0, 100)
        check_range("purchase_weight", self.purchase_weight, 1, 1e6)
        check_range("input_power", self.input_power, 0, 1)
        check_range("dropout", self.dropout, 0, 1, open_high=True)
        check_range("noise", self.noise, 0, 1, open_high=True)
        check_range("batch_size", self.batch_size, 1, 1_000_000, whole=True)
        check_choice("tied", self.tied, (False, True))
        check_range("emphasis", self.emphasis, 1, 1000)
        check_range("code_penalty", self.code_penalty, 0, 1e6)
        check_choice("code_norm", self.code_norm, ("l1", "l2"))
        check_choice("pretrain", self.pretrain, ("none", "layerwise"))
        check_range("pretrain_epochs", self.pretrain_epochs, 1, 100_000, whole=True)
        check_range("fold_every", self.fold_every, 1, 1_000_000, whole=True)
        if self.encoder_start is not None:
            check_choice("encoder_start", self.encoder_start, ("svd", "random"))
        check_range("encoder_scale", self.encoder_scale, 0, 1000, open_low=True)
        check_range("decoder_scale", self.decoder_scale, 0, 1000)
        check_range("patience", self.patience, 1, 100_000, whole=True)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype is 'float32' or 'float64', found {self.dtype!r}")

    @property
    def by_minibatch(self) -> bool:
        """Whether it asks for what the exact engine does not do."""
        return self.tied or self.emphasis != 1 or self.code_penalty > 0 or self.pretrain != "none"

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ResolvedConfig(SigmoidConfig):
    """A configuration in which nothing is left to be chosen."""

    factors: int = 512
    epochs: int = 16
    learning_rate: float = 0.02
    purchase_weight: float = 10.0
    input_power: float = 0.35
    noise: float = 0.5
    encoder_start: str = "svd"


def resolve(config: SigmoidConfig, matrix: sp.csr_matrix, largest: float = 1.0) -> ResolvedConfig:
    """`config` with every None filled in from the shape of the data ((U, I) CSR pattern).

    `largest` is the factor on α of the purchase that weighs most; the learning rate is small enough for it.

    The rules were fitted by eye to what was best on validation users of four data sets, from 2,000 users × 600 items
    with 3 % of all pairs bought to 30,000 × 41,000 with 0.07 %: the sparser the purchases, the more one must weigh,
    and the smaller the step; the more users, the fewer passes.
    """
    n_users, n_items = matrix.shape
    weight = config.purchase_weight
    if weight is None:
        weight = weight_of_purchases(matrix)
    chosen = {
        "factors": min(512 if n_users <= 100_000 else 256, max(n_items, 16)),
        "epochs": max(5, round(16 * (30_000 / n_users) ** 0.2)),
        "learning_rate": TIED_RATE if config.tied else output_rate(weight * config.emphasis, largest),
        "purchase_weight": weight,
        "input_power": power_for(matrix),
        "noise": config.dropout,
        # tied, the encoder decodes too, and the principal directions are of no use for that
        "encoder_start": "svd" if n_items <= SVD_ITEMS_AT_MOST and not config.tied else "random",
    }
    values: dict[str, Any] = {
        name: chosen.get(name) if value is None else value for name, value in asdict(config).items()
    }
    values["dropout"] = values["noise"]
    if config.by_minibatch and config.batch_size == 1:
        values["batch_size"] = batch_for(matrix)
    # A step takes the error of a purchase, 1 − w·h, times 1 − α·learning_rate: beyond 2 the step itself enlarges it.
    step = values["purchase_weight"] * values["learning_rate"] * values["emphasis"] * largest
    if step >= 2 and not config.tied:
        factors = {name: values[name] for name in ("purchase_weight", "learning_rate")}
        if config.emphasis != 1:
            factors["emphasis"] = config.emphasis
        if largest != 1:
            factors["the largest weight of a purchase"] = largest
        raise ConfigError(
            f"{' × '.join(factors)} is below 2, or each step enlarges the error it should reduce, found "
            f"{' × '.join(f'{value:g}' for value in factors.values())} = {step:g}: choose a learning_rate below "
            f"{2 * values['learning_rate'] / step:.3g}, or a smaller purchase_weight"
        )
    return ResolvedConfig(**values)


def output_rate(weight: float, largest: float = 1.0) -> float:
    """The step of an exact output layer whose purchases weigh `weight` in the mean, and up to `largest` times that."""
    return min(round(float(np.clip(0.05 / weight, 0.01, 0.025)), 4), 1 / (weight * largest))


def batch_for(matrix: sp.csr_matrix) -> int:
    """A size of mini-batches for (U, I) purchases: some sixty steps an epoch on small data, 512 users on large."""
    users = max(int((np.diff(matrix.indptr) > 0).sum()), 1)
    return min(users, int(np.clip(users // 60, 16, 512)))


def weight_of_purchases(matrix: sp.csr_matrix) -> float:
    """α for (U, I) purchases: the sparser they are, the more one weighs."""
    return round(float(np.clip(1 + 0.0051 * density_of(matrix) ** -1.1, 1, 50)), 2)


def power_for(matrix: sp.csr_matrix) -> float:
    """p for (U, I) purchases: the sparser they are, the nearer to inputs of one length."""
    return round(float(np.clip(0.35 + 0.23 * np.log10(0.003 / density_of(matrix)), 0.35, 0.5)), 2)


def density_of(matrix: sp.csr_matrix) -> float:
    """Share of all pairs that are purchases, above 0."""
    n_users, n_items = matrix.shape
    return max(matrix.nnz, 1) / (n_users * n_items)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises ConfigError unless `value` is one of the choices."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        listed = ", ".join(json.dumps(choice) for choice in choices)
        raise ConfigError(f"{name} is one of {listed}, found {value!r}: choose one of these")


def check_range(
    name: str,
    value: float | None,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
    whole: bool = False,
) -> None:
    """Raises ConfigError unless `value` is None or a number in the range, a whole one if it has to be."""
    if value is None:
        return
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    fits = fits and (low < value if open_low else low <= value)
    fits = fits and (value < high if open_high else value <= high)
    if not fits:
        interval = f"{'above' if open_low else 'from'} {low:g} {'and below' if open_high else 'to'} {high:g}"
        number = "whole number" if whole else "number"
        raise ConfigError(f"{name} is a {number} {interval}, found {value!r}: give one in that range")
