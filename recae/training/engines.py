"""What trains the sigmoid autoencoder with more than this process, and what it cannot train."""

from __future__ import annotations

from typing import Any, Protocol

import scipy.sparse as sp

from recae.errors import ConfigError
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.checkpoint import Epoch
from recae.training.config import SigmoidConfig


class Engine(Protocol):
    """Several processes that train one model."""

    def describe(self) -> str:
        """How many processes there are, and where, for people."""
        ...

    def fit(
        self, matrix: sp.csr_matrix, config: SigmoidConfig, hooks: Any
    ) -> tuple[SigmoidAutoencoder, list[Epoch]]:
        """As `loop.fit_sigmoid`, with `hooks` as `Hooks`."""
        ...


def check_kind(kind: str, config: Any, device: str, *, weighted: bool = False) -> None:
    """Raises ConfigError for what several processes do not train: all but the sigmoid autoencoder by blocks of users.

    Its settings of mini-batches (tied weights among them), purchases that do not weigh alike and GPUs are refused, too.
    """
    remedy = "--kind sigmoid --batch-size 256"
    if not isinstance(config, SigmoidConfig):
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
            "several processes learn from purchases that weigh alike, found weights: leave out --half-life and "
            "--quantity-as-confidence, or train in one process"
        )
    if device == "cuda":
        raise ConfigError(
            "several processes train on CPUs, found --device cuda: leave it out, or train in one process on the GPU"
        )


def check_number(processes: int, n_items: int) -> None:
    """Raises ConfigError when there are more processes than items to share out among them."""
    if n_items < processes:
        raise ConfigError(
            f"{processes:,} processes share the items out among them, and there are {n_items:,} items: start at most "
            "as many processes"
        )
