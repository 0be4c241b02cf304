"""What mini-batches are trained by, whatever the configuration of the model is called."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Settings:
    """What mini-batches are trained by: the fields of this name of a configuration, or these values.

    loss                  "squared", "logistic" or "multinomial"
    learning_rate         step of Adam
    row_learning_rate     step of the row-wise AdaGrad
    output_learning_rate  decoder step ‖h‖²η of the exact output layer, in (0, 1)
    l2                    weight decay a unit of learning rate; the exact output layer has none
    purchase_weight       α ≥ 1, the factor on the loss of a purchase (not for the multinomial loss)
    noise                 share of a history hidden from the network at each step
    emphasis              factor on the loss of what is hidden
    input_norm            p: a history of m items enters as x/m^p; or "l2": as x/‖x‖₂
    tied                  whether the output layer's weights are those of the first layer
    sampled               items drawn for the loss of a step besides the batch's own; None or 0: all items. Not for the
                          squared loss, whose steps read no others anyway, nor for tied weights
    fold_every            users between two folds of the exact output layer
    decoder_scale         standard deviation of the output layer's first weights, times √D
    dtype                 "float32" or "float64"
    """

    loss: str = "multinomial"
    learning_rate: float = 1e-3
    row_learning_rate: float = 0.04
    output_learning_rate: float = 0.02
    l2: float = 0.0
    purchase_weight: float = 1.0
    noise: float = 0.0
    emphasis: float = 1.0
    input_norm: "float | str" = 0.5
    tied: bool = False
    sampled: int | None = None
    fold_every: int = 50_000
    decoder_scale: float = 0.01
    dtype: str = "float32"

    @classmethod
    def of(cls, config: Any) -> Self:
        """Those of a configuration."""
        values: dict[str, Any] = {f.name: getattr(config, f.name, f.default) for f in fields(cls)}
        return cls(**values)
