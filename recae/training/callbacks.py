"""`Hooks`: what fitting a model takes besides data and settings, such as validation, checkpoints and callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.inputs import EventInputs
from recae.models import Model
from recae.models.itemknn import Neighbours
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.config import SigmoidSettings
from recae.training.trainer import largest_of


class Engine(Protocol):
    """Several processes that train one model."""

    def describe(self) -> str:
        """Return how many processes there are, and where, as text."""
        ...

    def fit(
        self, matrix: sp.csr_matrix, config: SigmoidSettings, hooks: Any
    ) -> tuple[SigmoidAutoencoder, list[Epoch]]:
        """Fit as `sigmoid.fit_sigmoid` does, with `hooks` as `Hooks`."""
        ...


class Gain(NamedTuple):
    """What one model is better by than another, a mean over users with the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float


class Judge(Protocol):
    """Measures models on the validation users, for what is used only where it helps."""

    def values(self, model: Model) -> NDArray[np.float64]:
        """Return NDCG@20 of each validation user, (B,); NaN for those who do not have it."""
        ...

    def gain(self, values: NDArray[np.float64], before: NDArray[np.float64]) -> Gain:
        """Return the mean gain of the same users, (B,) both."""
        ...


def check_kind(kind: str, config: Any, device: str, *, weighted: bool = False) -> None:
    """Raise ConfigError for what several processes do not train: all but the sigmoid autoencoder by blocks of users.

    Its settings of mini-batches (tied weights among them), purchases of unequal confidence and GPUs are refused, too.
    """
    remedy = "--kind sigmoid --batch-size 256"
    if not isinstance(config, SigmoidSettings):
        raise ConfigError(
            f"several processes train the kind sigmoid by blocks of users, found kind {kind}: add {remedy}, or train "
            "in one process"
        )
    if config.by_minibatch:
        raise ConfigError(
            "several processes train the plain sigmoid autoencoder, found tied, emphasis, code_penalty or pretrain: "
            "leave these out, or train in one process"
        )
    if config.batch_size == 1:
        raise ConfigError(
            "several processes train by blocks of users, found batch_size 1, which is one user after the other: add "
            "--batch-size 256, or train in one process"
        )
    if weighted:
        raise ConfigError(
            "several processes learn from purchases of equal confidence, found unequal ones: leave out --half-life and "
            "--quantity-as-confidence, or train in one process"
        )
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"several processes train on CPUs, found --device {device}: leave it out, or train in one process on the "
            "GPU"
        )


def check_number(processes: int, n_items: int) -> None:
    """Raise ConfigError where there are more processes than items to divide among them."""
    if n_items < processes:
        raise ConfigError(
            f"{processes:,} processes share the items out among them, and there are {n_items:,} items: start at most "
            "as many processes"
        )


@dataclass(frozen=True)
class Hooks:
    """Options and callbacks of a fit; each defaults to nothing.

    Attributes:
        device: what `choose_device` gave.
        validate: quality of a model, higher is better: asked after each epoch.
        checkpoints: where and when training leaves what it can go on from.
        on_start: is told the number of epochs and of users.
        on_users: is told how many users of the epoch are done.
        on_epoch: is told what an epoch did.
        on_message: is told in words what takes long.
        engine: the processes that train a sigmoid autoencoder together, instead of this one alone.
        solved: (kind, configuration) → the parts of blends that are not trained in epochs; what is there is not
            fitted again. For several fits to the same matrix and validation users.
        neighbours: weighting → how many neighbours item-kNN has found for each item, and these; likewise, and for the
            same `confidence`.
        confidence: how much each purchase counts in the loss: float32 (nnz,) in the order of the matrix's
            entries, 1 in the mean (see `recae.confidence`); None: all 1.
        enough: of the best model so far and the epoch, asked after each that is judged: whether training ends there.
        inputs: other events of the users, in the order of the matrix's rows, for models that read them; None: none.
        judge: measures on validation users what is used only where it helps; None: nobody does.
        last_epoch: after which training ends, whatever the settings say; its steps are those of a longer training.
            For a fit that repeats another one up to its best epoch; None: all epochs.
        seconds: kind → seconds that its last fit took, without what `validate` took; filled in by the fit.
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
    neighbours: dict[str, tuple[int, Neighbours]] | None = None
    confidence: NDArray[np.float32] | None = None
    enough: Callable[[Model, int], bool] | None = None
    inputs: EventInputs | None = None
    judge: Judge | None = None
    last_epoch: int | None = None
    seconds: dict[str, float] | None = None

    @property
    def largest(self) -> float:
        """Largest confidence of a purchase."""
        return largest_of(self.confidence)
