"""What fitting a model may be given besides data and configuration, and whom it tells."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.models import Model
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.engines import Engine
from recae.training.sigmoid import largest_of


@dataclass(frozen=True)
class Hooks:
    """What fitting may be given and whom it tells; each defaults to nothing.

    device       what `choose_device` gave
    validate     quality of a model, higher is better: asked after each epoch
    checkpoints  where and when training leaves what it can go on from
    on_start     is told the number of epochs and of users
    on_users     is told how many users of the epoch are done
    on_epoch     is told what an epoch did
    on_message   is told in words what takes long
    engine       the processes that train a sigmoid autoencoder together, instead of this one alone
    solved       (kind, configuration) → the parts of blends that are not trained in epochs; what is there is not fitted
                 again. For several fits to the same matrix and validation users
    weights      what each purchase weighs in the loss, float32 (nnz,) in the order of the matrix's entries, 1 in the
                 mean (see `recae.weighting`); None: all 1
    """

    device: str = "cpu"
    validate: Callable[[Model], float] | None = None
    checkpoints: Checkpoints | None = None
    on_start: Callable[[int, int], None] | None = None
    on_users: Callable[[int], None] | None = None
    on_epoch: Callable[[Epoch], None] | None = None
    on_message: Callable[[str], None] = lambda text: None
    engine: Engine | None = None
    solved: dict[tuple[str, Any], Model] | None = None
    weights: NDArray[np.float32] | None = None

    @property
    def largest(self) -> float:
        """The largest weight of a purchase."""
        return largest_of(self.weights)
