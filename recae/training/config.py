"""Configuration of training: frozen, checked by name, type and range, and written into the model file."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import ConfigError


@dataclass(frozen=True)
class SigmoidConfig:
    """How the sigmoid autoencoder is trained; None means: chosen from the data by `resolve`.

    factors                size of the code, d
    epochs                 passes over the users
    learning_rate          decoder step ‖h‖²η, in (0, 1): the step is normalised by the squared norm of the code
    encoder_learning_rate  encoder step before row-wise AdaGrad
    purchase_weight        α ≥ 1, the weight of a purchase's squared error relative to a non-purchase's
    input_power            p in 0..1: a history of m items enters the encoder as x/m^p
    dropout                share of a history hidden from the encoder at each step
    batch_size             users whose codes are computed together; 1: the encoder, too, moves after every user
    fold_every             users between two folds of U into V, at most; it is folded sooner when it needs to be
    encoder_scale          standard deviation of the encoder's first weights, times √d
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
    input_power: float = 0.35
    dropout: float = 0.5
    batch_size: int = 1
    fold_every: int = 50_000
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
        check_range("batch_size", self.batch_size, 1, 1_000_000, whole=True)
        check_range("fold_every", self.fold_every, 1, 1_000_000, whole=True)
        check_range("encoder_scale", self.encoder_scale, 0, 1000, open_low=True)
        check_range("decoder_scale", self.decoder_scale, 0, 1000)
        check_range("patience", self.patience, 1, 100_000, whole=True)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype is 'float32' or 'float64', found {self.dtype!r}")

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


def resolve(config: SigmoidConfig, matrix: sp.csr_matrix) -> ResolvedConfig:
    """`config` with every None filled in from the shape of the data ((U, I) CSR pattern).

    The rules were fitted by eye to what was best on validation users of four data sets, from 2,000 users × 600 items
    with 3 % of all pairs bought to 30,000 × 41,000 with 0.07 %: the sparser the purchases, the more one must weigh,
    and the smaller the step; the more users, the fewer passes.
    """
    n_users, n_items = matrix.shape
    density = max(matrix.nnz, 1) / (n_users * n_items)
    weight = config.purchase_weight
    if weight is None:
        weight = round(float(np.clip(0.082 * density**-0.75, 1, 50)), 2)
    chosen = {
        "factors": min(512 if n_users <= 100_000 else 256, max(n_items, 16)),
        "epochs": max(5, round(16 * (30_000 / n_users) ** 0.2)),
        "learning_rate": min(round(float(np.clip(0.05 / weight, 0.01, 0.025)), 4), 1 / weight),
        "purchase_weight": weight,
    }
    values: dict[str, Any] = {
        name: chosen.get(name) if value is None else value for name, value in asdict(config).items()
    }
    # A step takes the error of a purchase, 1 − w·h, times 1 − α·learning_rate: beyond 2 the step itself enlarges it.
    step = values["purchase_weight"] * values["learning_rate"]
    if step >= 2:
        raise ConfigError(
            f"purchase_weight × learning_rate is below 2, or each step enlarges the error it should reduce, found "
            f"{values['purchase_weight']:g} × {values['learning_rate']:g} = {step:g}: choose a learning_rate below "
            f"{2 / values['purchase_weight']:.3g}, or a smaller purchase_weight"
        )
    return ResolvedConfig(**values)


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
