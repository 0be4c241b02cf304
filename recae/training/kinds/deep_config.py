"""Configuration of the deep autoencoder, and what is chosen from the data."""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import scipy.sparse as sp

from recae.errors import ConfigError
from recae.training.config import (
    SVD_ITEMS_AT_MOST,
    batch_for,
    check_choice,
    check_range,
    output_rate,
    weight_of_purchases,
)

ACTIVATIONS = ("sigmoid", "tanh", "relu", "selu", "silu")
LOSSES = ("squared", "logistic", "multinomial")

SAMPLED_BEYOND = 300_000
"""Items from which those losses are taken on a sample of them unless the configuration says otherwise."""


@dataclass(frozen=True)
class DeepConfig:
    """How the deep autoencoder is trained; None means: chosen from the data by `resolve_deep`.

    layers                 sizes from the items to the code, narrowing, such as "600,200", which are mirrored back out;
                           or all of them, "600,200,600"
    activation             of all hidden layers, the code included: sigmoid, tanh, relu, selu or silu
    loss                   squared, logistic or multinomial
    tied                   whether the decoder's weights are the transposes of the encoder's
    epochs                 passes over the users
    batch_size             users of one step
    learning_rate          step of Adam, for all but the first layer and the output layer of the squared loss
    encoder_learning_rate  step of the first layer's row-wise AdaGrad; tied, the first layer moves by Adam
    output_learning_rate   step ‖h‖²η of the output layer of the squared loss, in (0, 1); tied, it moves by Adam
    purchase_weight        α ≥ 1, the weight of a purchase's error relative to a non-purchase's (not multinomial)
    input_power            p in 0..1: a history of m items enters as x/m^p
    noise                  share of a history hidden from the network at each step
    emphasis               weight ≥ 1 of the error of what is hidden
    code_penalty           weight of the code's norm in a user's loss
    code_norm              "l1", Σ|h|, or "l2", Σh²
    pretrain               "none", or "layerwise": each layer first learns to reconstruct the one before it
    pretrain_epochs        epochs of that for each layer
    sampled                items drawn for a step's logistic or multinomial loss besides the batch's own; 0: all items
    l2                     weight decay a unit of learning rate
    fold_every             users between two folds of the output layer of the squared loss
    encoder_start          "svd": the first layer begins at the principal directions of the purchases, and the others
                           by passing them on; "random"; None: svd for purchases up to 300,000 items, unless tied
    encoder_scale          standard deviation of a random first layer's first weights, times √n for a layer of n; with
                           svd, that of the first pre-activations, times 4
    decoder_scale          standard deviation of the output layer's first weights, times √n
    patience               epochs without a better validation recall@20 after which training stops
    dtype                  float32 or float64
    seed                   of everything random
    """

    layers: str | None = None
    activation: str = "tanh"
    loss: str = "squared"
    tied: bool = False
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    encoder_learning_rate: float = 0.04
    output_learning_rate: float | None = None
    purchase_weight: float | None = None
    input_power: float = 0.5
    noise: float = 0.5
    emphasis: float = 1.0
    code_penalty: float = 0.0
    code_norm: str = "l2"
    pretrain: str = "none"
    pretrain_epochs: int = 3
    sampled: int | None = None
    l2: float = 0.0
    fold_every: int = 50_000
    encoder_start: str | None = None
    encoder_scale: float = 1.0
    decoder_scale: float | None = None
    patience: int = 10
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("loss", self.loss, LOSSES)
        check_choice("tied", self.tied, (False, True))
        check_choice("code_norm", self.code_norm, ("l1", "l2"))
        check_choice("pretrain", self.pretrain, ("none", "layerwise"))
        check_choice("dtype", self.dtype, ("float32", "float64"))
        if self.layers is not None:
            half_of(self.layers, self.tied)
        check_range("epochs", self.epochs, 1, 100_000, whole=True)
        check_range("batch_size", self.batch_size, 1, 1_000_000, whole=True)
        check_range("learning_rate", self.learning_rate, 0, 1, open_low=True)
        check_range("encoder_learning_rate", self.encoder_learning_rate, 0, 100)
        check_range("output_learning_rate", self.output_learning_rate, 0, 1, open_low=True, open_high=True)
        check_range("purchase_weight", self.purchase_weight, 1, 1e6)
        check_range("input_power", self.input_power, 0, 1)
        check_range("noise", self.noise, 0, 1, open_high=True)
        check_range("emphasis", self.emphasis, 1, 1000)
        check_range("code_penalty", self.code_penalty, 0, 1e6)
        check_range("pretrain_epochs", self.pretrain_epochs, 1, 100_000, whole=True)
        check_range("sampled", self.sampled, 0, 10_000_000, whole=True)
        check_range("l2", self.l2, 0, 1000)
        check_range("fold_every", self.fold_every, 1, 1_000_000, whole=True)
        if self.encoder_start is not None:
            check_choice("encoder_start", self.encoder_start, ("svd", "random"))
        check_range("encoder_scale", self.encoder_scale, 0, 1000, open_low=True)
        check_range("decoder_scale", self.decoder_scale, 0, 1000)
        check_range("patience", self.patience, 1, 100_000, whole=True)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)

    @property
    def sizes(self) -> list[int]:
        """The sizes of `layers` from the items to the code."""
        return half_of(self.layers or "", self.tied)

    @property
    def input_norm(self) -> float:
        """`input_power`, as the trainer of mini-batches calls it."""
        return self.input_power

    @property
    def row_learning_rate(self) -> float:
        """`encoder_learning_rate`, as the trainer of mini-batches calls it."""
        return self.encoder_learning_rate

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)


def half_of(layers: Any, tied: bool = False) -> list[int]:
    """The sizes to the code of "600,200", or of all layers, "600,200,600".

    Raises ConfigError when they are no sizes, do not narrow, or are not mirrored.
    """
    texts = [part.strip() for part in layers.split(",")] if isinstance(layers, str) else []
    if not texts or not all(text.isascii() and text.isdigit() and 1 <= int(text) <= 16_384 for text in texts):
        raise ConfigError(
            f"layers is a list of whole numbers from 1 to 16384 such as '600,200', found {layers!r}: give the sizes of "
            "the layers from the items to the code"
        )
    sizes = [int(text) for text in texts]
    half = sizes[: sizes.index(min(sizes)) + 1]
    back = sizes[len(half) :]
    if (back and len(half) == 1) or any(later >= earlier for earlier, later in pairwise(half)):
        raise ConfigError(
            f"layers narrow to the code, each smaller than the one before, found '{layers}': give sizes such as "
            f"'{','.join(str(size) for size in sorted(set(sizes), reverse=True))}'"
        )
    if back and back != half[-2::-1]:
        mirrored = ",".join(str(size) for size in [*half, *half[-2::-1]])
        why = " with tied=true, whose decoder has the encoder's weights" if tied else ""
        raise ConfigError(
            f"layers are the same on the way in and on the way out{why}, found '{layers}': give '{mirrored}', or its "
            f"first half, '{','.join(map(str, half))}'"
        )
    return half


def resolve_deep(config: DeepConfig, matrix: sp.csr_matrix, largest: float = 1.0) -> DeepConfig:
    """`config` with every None filled in from the shape of the data ((U, I) CSR).

    `largest` is the factor on the loss of the purchase that weighs most; see `config.resolve`.

    Raises ConfigError when output_learning_rate, purchase_weight and emphasis together make steps that enlarge errors.
    """
    n_users, n_items = matrix.shape
    weight = config.purchase_weight
    if weight is None:
        weight = 1.0 if config.loss == "multinomial" else weight_of_purchases(matrix)
    widest = max(8, n_items)
    principal = n_items <= SVD_ITEMS_AT_MOST and not config.tied and bool((matrix.data == 1).all())
    chosen: dict[str, Any] = {
        "encoder_start": "svd" if principal else "random",
        "layers": ",".join(str(size) for size in (min(600, widest), min(200, widest * 2 // 3))),
        "epochs": max(6, round(20 * (30_000 / max(n_users, 1)) ** 0.2)),
        "batch_size": batch_for(matrix),
        "learning_rate": 1e-3,
        "purchase_weight": weight,
        "output_learning_rate": output_rate(weight * config.emphasis, largest),
        "sampled": 0 if n_items <= SAMPLED_BEYOND or config.loss == "squared" or config.tied else 20_000,
        # Adam leaves small first weights of an output layer for the mean of the data; exact steps do not
        "decoder_scale": 0.01 if config.loss == "squared" else 1.0,
    }
    missing = {name: value for name, value in chosen.items() if getattr(config, name) is None}
    resolved = replace(config, **missing)
    if resolved.sampled and (config.loss == "squared" or config.tied):
        raise ConfigError(
            f"sampled is for the logistic and the multinomial loss without tied weights, found {resolved.sampled} with "
            f"loss '{config.loss}'{' and tied=true' if config.tied else ''}: leave it out"
        )
    check_output_step(resolved, largest)
    return resolved


def check_output_step(config: Any, largest: float = 1.0) -> None:
    """Raises ConfigError when a step of an exact output layer would enlarge the errors it should reduce."""
    if config.loss != "squared" or config.tied:
        return
    weight = config.purchase_weight * config.emphasis * largest
    further, factor = (" × the largest weight of a purchase", f" × {largest:g}") if largest != 1 else ("", "")
    step = config.output_learning_rate * weight
    if step >= 2:
        raise ConfigError(
            f"output_learning_rate × purchase_weight × emphasis{further} is below 2, or each step enlarges the error "
            f"it should reduce, found {config.output_learning_rate:g} × {config.purchase_weight:g} × "
            f"{config.emphasis:g}{factor} = {step:g}: choose an output_learning_rate below {2 / weight:.3g}, or "
            "smaller weights"
        )
