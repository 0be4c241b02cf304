"""Sigmoid autoencoder: the trainer for its settings and device, and the fit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import torch_needed
from recae.models import Model, SigmoidAutoencoder
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.config import ResolvedSettings, SigmoidSettings, resolve
from recae.training.device import GROUP, check_memory, is_gpu
from recae.training.exact.parameters import start_memory
from recae.training.exact.per_user import PerUserTrainer
from recae.training.exact.ranks import ALONE, Ranks
from recae.training.loop import train
from recae.training.trainer import Trainer, largest_of

if TYPE_CHECKING:
    from recae.training.minibatch.trainer import MinibatchTrainer

ADAM_RATE = 1e-3
"""Step of Adam for the bias of the code, where all else moves by its own rule."""


def make_trainer(
    matrix: sp.csr_matrix,
    config: SigmoidSettings,
    device: str,
    confidence: NDArray[np.float32] | None = None,
) -> Trainer:
    """Return the trainer for (U, I) purchases on "cpu" or "cuda".

    `confidence` (nnz,) is how much each purchase counts; None: 1.

    Raises:
        TrainingError: the parameters do not fit in the device's memory; before they are allocated.
    """
    config = resolve(config, matrix, largest_of(confidence))
    if config.by_minibatch:
        return make_minibatch_trainer(matrix, config, device, confidence)
    check_fits(config, matrix, device)
    if device == "cpu" and config.batch_size == 1:
        return PerUserTrainer(matrix, config, confidence)
    if device == "cpu":
        with torch_needed("training by blocks of users (--batch-size above 1)"):
            from recae.training.exact.blocks import BlockTrainer  # brings torch, which takes a second

        return BlockTrainer(matrix, config, confidence)
    from recae.training.exact.cuda import DeviceBlockTrainer

    return DeviceBlockTrainer(matrix, config, device, confidence)


def make_minibatch_trainer(
    matrix: sp.csr_matrix,
    config: ResolvedSettings,
    device: str,
    confidence: NDArray[np.float32] | None = None,
) -> "MinibatchTrainer":
    """Return the mini-batch trainer for (U, I) purchases, with `confidence` (nnz,) in each.

    Raises:
        TrainingError: as `MinibatchTrainer`.
    """
    from recae.training.exact.parameters import first_encoder

    with torch_needed("training by mini-batches (tied, emphasis, code_penalty or pretrain)"):
        from recae.training.minibatch.deep import SigmoidNetwork
        from recae.training.minibatch.trainer import MinibatchSettings, MinibatchTrainer

    settings = MinibatchSettings(
        loss="squared",
        # tied, Adam moves everything; otherwise the bias of the code alone
        learning_rate=config.learning_rate if config.tied else ADAM_RATE,
        row_learning_rate=config.encoder_learning_rate,
        output_learning_rate=config.learning_rate,
        purchase_weight=config.purchase_weight,
        dropout=config.dropout,
        emphasis=config.emphasis,
        input_power=config.input_power,
        tied=config.tied,
        fold_every=config.fold_every,
        decoder_scale=config.decoder_scale,
        dtype=config.dtype,
    )
    trainer = MinibatchTrainer(matrix, config, device, SigmoidNetwork, settings, confidence)
    if config.encoder_start == "svd":
        network = cast(SigmoidNetwork, trainer.network)
        network.begin_at(first_encoder(matrix, config, np.random.default_rng([config.seed, 0])))
    return trainer


class Histories(Protocol):
    """How many purchases there are, of how many users and items."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of users and items."""

    @property
    def nnz(self) -> int:
        """Number of purchases."""


def check_fits(config: ResolvedSettings, matrix: Histories, device: str, ranks: Ranks = ALONE) -> None:
    """Check that this process can hold what it will hold.

    Raises:
        TrainingError: it does not fit in the device's memory.
    """
    n_users, n_items = matrix.shape
    need = memory_needed(config, n_users, n_items, matrix.nnz, device)
    if ranks.size > 1:
        own = memory_needed(config, n_users, ranks.count(n_items), matrix.nnz, device)
        model = n_items * (2 * config.factors + 2) * np.dtype(config.dtype).itemsize
        # process 0 begins with the whole encoder where that is not random, and ends with the whole model
        need = own + max(model, start_memory(config, n_users, n_items)) if ranks.rank == 0 else own
    what = f"training {config.factors} factors for {n_items:,} items"
    if ranks.size > 1:
        what += f" in process {ranks.rank} of {ranks.size}"
    check_memory(need, device, what)


def memory_needed(
    config: ResolvedSettings, n_users: int, n_items: int, interactions: int, device: str
) -> int:
    """Return the bytes that training takes, about.

    They are for encoder and decoder, drawn and used, and the small matrices; on a GPU also for the purchases, those
    of a group of blocks while they are sorted, and the rows of the purchases of one block.
    """
    size = np.dtype(config.dtype).itemsize
    D = config.factors + 1
    parameters = n_items * (2 * D + 2) * size
    random_numbers = n_items * D * size  # while the decoder is made
    small = 16 * D * D * size + 8 * min(config.batch_size, 4096) * (D + config.batch_size) * size
    need = parameters + max(random_numbers, start_memory(config, n_users, n_items)) + small
    if is_gpu(device):
        of_block = min(interactions, -(-config.batch_size * interactions // max(n_users, 1)))
        need += (
            interactions * 4 + n_users * 40
        )  # item numbers; where histories begin, and the order of the users
        need += min(interactions, of_block * GROUP) * 80  # ten whole numbers each
        need += of_block * D * 5 * size  # rows of E and V, weighted, and their products with the codes
    return need


def train_sigmoid(
    matrix: sp.csr_matrix,
    config: SigmoidSettings | None = None,
    *,
    device: str = "cpu",
    validate: Callable[[SigmoidAutoencoder], float] | None = None,
    checkpoints: Checkpoints | None = None,
    on_start: Callable[[int, int], None] | None = None,
    on_users: Callable[[int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[SigmoidAutoencoder, list[Epoch]]:
    """Train on the rows of `matrix` ((U, I) CSR pattern) and return the best model and the history of its epochs.

    The other arguments are those of `Hooks`, with what `train` says of them.

    Raises:
        TrainingError: there is nothing to learn from or the loss becomes non-finite.
        CheckpointError: there is no checkpoint to resume or it belongs to another training.
    """
    hooks = Hooks(
        device=device,
        validate=cast("Callable[[Model], float] | None", validate),
        checkpoints=checkpoints,
        on_start=on_start,
        on_users=on_users,
        on_epoch=on_epoch,
    )
    return fit_sigmoid(matrix, config or SigmoidSettings(), hooks)


def fit_sigmoid(
    matrix: sp.csr_matrix, config: SigmoidSettings, hooks: Hooks
) -> tuple[SigmoidAutoencoder, list[Epoch]]:
    """Fit by `train_sigmoid`, as the registry of kinds calls it; in several processes where `hooks.engine` has them."""
    if hooks.engine is not None:
        return hooks.engine.fit(matrix, config, hooks)
    model, history = train(make_trainer(matrix, config, hooks.device, hooks.confidence), hooks)
    return cast(SigmoidAutoencoder, model), history
