"""Settings of the sigmoid autoencoder, and the rules that choose the open ones from the data."""

from typing import Literal

import numpy as np
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.settings import LARGEST_SEED, Settings, redefined, setting

SVD_ITEMS_AT_MOST = 300_000
"""Items up to which the encoder begins at the principal directions, which then take less than an epoch or two."""

TIED_RATE = 3e-3
"""Step of Adam for the tied autoencoder: on validation users of Online Retail far better than .001 and .01."""


class SigmoidSettings(Settings):
    """Settings of the sigmoid autoencoder; None: chosen from the data by `resolve`."""

    factors: int | None = setting(None, "size of the code, d", ge=1, le=16_384)
    epochs: int | None = setting(None, "passes over the users", ge=1, le=100_000)
    learning_rate: float | None = setting(
        None,
        "decoder step ‖h‖²η, in (0, 1): the step is normalised by the squared norm of the code; tied, the step of "
        "Adam, which then moves everything",
        gt=0,
        lt=1,
    )
    encoder_learning_rate: float = setting(0.04, "encoder step before row-wise AdaGrad", ge=0, le=100)
    purchase_weight: float | None = setting(
        None,
        "α ≥ 1, the weight of a purchase's squared error relative to a non-purchase's",
        ge=1,
        le=1e6,
    )
    input_power: float | None = setting(
        None, "p in 0..1: a history of m items enters the encoder as x/m^p", ge=0, le=1
    )
    dropout: float = setting(0.5, "fraction of a history hidden from the encoder at each step", ge=0, lt=1)
    batch_size: int = setting(
        1,
        "users whose codes are computed together; 1: the encoder, too, moves after every user. With any of the next "
        "four settings training goes by mini-batches, and 1 stands for a size that suits the number of users",
        ge=1,
        le=1_000_000,
    )
    tied: bool = setting(False, "whether the decoder's weights are the encoder's, transposed and stored once")
    emphasis: float = setting(1.0, "weight ≥ 1 of the error of what dropout hides", ge=1, le=1000)
    code_penalty: float = setting(0.0, "weight of the code's norm in a user's loss", ge=0, le=1e6)
    code_norm: Literal["l1", "l2"] = setting("l2", "l1, Σ|h|, or l2, Σh²")
    pretrain: Literal["none", "layerwise"] = setting(
        "none", "none, or layerwise: pretrain_epochs more epochs, since there is but one layer"
    )
    pretrain_epochs: int = setting(3, "epochs of that", ge=1, le=100_000)
    fold_every: int = setting(
        50_000,
        "users after which U is consolidated into V, at most; it is consolidated sooner when needed",
        ge=1,
        le=1_000_000,
    )
    encoder_start: Literal["svd", "random"] | None = setting(
        None,
        "svd: the encoder begins at the principal directions of the purchases; random; None: svd up to 300,000 items, "
        "unless tied",
    )
    encoder_scale: float = setting(
        1.0,
        "standard deviation of a random encoder's first weights, times √d; with svd, that of the first "
        "pre-activations, times 4",
        gt=0,
        le=1000,
    )
    decoder_scale: float = setting(
        0.01, "standard deviation of the decoder's first weights, times √d", ge=0, le=1000
    )
    patience: int = setting(
        10, "epochs without a better validation recall@20 after which training stops", ge=1, le=100_000
    )
    dtype: Literal["float32", "float64"] = setting("float32", "float32 or float64")
    seed: int = setting(0, "of everything random", ge=0, le=LARGEST_SEED)

    @property
    def by_minibatch(self) -> bool:
        """Whether it asks for what the exact engine does not do."""
        return self.tied or self.emphasis != 1 or self.code_penalty > 0 or self.pretrain != "none"


class ResolvedSettings(SigmoidSettings):
    """Settings in which nothing is left to be chosen."""

    factors: int = redefined(SigmoidSettings, "factors", 512)
    epochs: int = redefined(SigmoidSettings, "epochs", 16)
    learning_rate: float = redefined(SigmoidSettings, "learning_rate", 0.02)
    purchase_weight: float = redefined(SigmoidSettings, "purchase_weight", 10.0)
    input_power: float = redefined(SigmoidSettings, "input_power", 0.35)
    encoder_start: Literal["svd", "random"] = redefined(SigmoidSettings, "encoder_start", "svd")


def resolve(config: SigmoidSettings, matrix: sp.csr_matrix, largest: float = 1.0) -> ResolvedSettings:
    """Return `config` with every None filled in from the shape of the data ((U, I) CSR pattern).

    `largest` is the largest confidence in a purchase, a factor on α; the learning rate is small enough for it.

    The rules were fitted by eye to what was best on validation users of four data sets, from 2,000 users × 600 items
    with 3 % of all pairs bought to 30,000 × 41,000 with 0.07 %: the sparser the purchases, the more one must weigh,
    and the smaller the step; the more users, the fewer passes.
    """
    n_users, n_items = matrix.shape
    weight = config.purchase_weight
    if weight is None:
        weight = weight_of_purchases(matrix)
    chosen = config.filled(
        factors=min(factors_for(n_users), max(n_items, 16)),
        epochs=max(5, round(16 * (30_000 / n_users) ** 0.2)),
        learning_rate=TIED_RATE if config.tied else output_rate(weight * config.emphasis, largest),
        purchase_weight=weight,
        input_power=power_for(matrix),
        # tied, the encoder decodes too, and the principal directions are of no use for that
        encoder_start="svd" if n_items <= SVD_ITEMS_AT_MOST and not config.tied else "random",
    )
    resolved = ResolvedSettings(**dict(chosen))
    if resolved.by_minibatch and resolved.batch_size == 1:
        resolved = resolved.updated(batch_size=batch_for(matrix))
    # A step takes the error of a purchase, 1 − w·h, times 1 − α·learning_rate: beyond 2 the step itself enlarges it.
    step = resolved.purchase_weight * resolved.learning_rate * resolved.emphasis * largest
    if step >= 2 and not config.tied:
        factors = {"purchase_weight": resolved.purchase_weight, "learning_rate": resolved.learning_rate}
        if config.emphasis != 1:
            factors["emphasis"] = resolved.emphasis
        if largest != 1:
            factors["the largest weight of a purchase"] = largest
        raise ConfigError(
            f"{' × '.join(factors)} is below 2, or each step enlarges the error it should reduce, found "
            f"{' × '.join(f'{value:g}' for value in factors.values())} = {step:g}: choose a learning_rate below "
            f"{2 * resolved.learning_rate / step:.3g}, or a smaller purchase_weight"
        )
    return resolved


def factors_for(n_users: int) -> int:
    """Return the size of the code for a number of users.

    A step takes time in the square of it. On the sample, of 2,000 users, 128 are worse than 512 by themselves, and
    blended with sparse-linear the two cannot be told apart (`docs/measurements.md` has the intervals); beyond
    100,000 users the passes take longest.
    """
    return 128 if n_users < 3_000 else 512 if n_users <= 100_000 else 256


def output_rate(weight: float, largest: float = 1.0) -> float:
    """Return the step of an exact output layer for purchases of mean weight `weight`, at most `largest` times that."""
    return min(round(float(np.clip(0.05 / weight, 0.01, 0.025)), 4), 1 / (weight * largest))


def batch_for(matrix: sp.csr_matrix) -> int:
    """Return a batch size for (U, I) purchases: some sixty steps an epoch on small data, 512 users on large."""
    users = max(int((np.diff(matrix.indptr) > 0).sum()), 1)
    return min(users, int(np.clip(users // 60, 16, 512)))


def weight_of_purchases(matrix: sp.csr_matrix) -> float:
    """Return α for (U, I) purchases: the sparser they are, the larger."""
    return round(float(np.clip(1 + 0.0051 * density_of(matrix) ** -1.1, 1, 50)), 2)


def power_for(matrix: sp.csr_matrix) -> float:
    """Return p for (U, I) purchases: the sparser they are, the nearer to inputs of one length."""
    return round(float(np.clip(0.35 + 0.23 * np.log10(0.003 / density_of(matrix)), 0.35, 0.5)), 2)


def density_of(matrix: sp.csr_matrix) -> float:
    """Return the fraction of all pairs that are purchases, above 0."""
    n_users, n_items = matrix.shape
    return max(matrix.nnz, 1) / (n_users * n_items)
