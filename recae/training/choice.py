"""Which trainer a configuration and a device ask for."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.training.config import ResolvedConfig, SigmoidConfig, resolve
from recae.training.device import GROUP, check_memory
from recae.training.per_user import PerUserTrainer
from recae.training.sigmoid import largest_of
from recae.training.start import start_memory
from recae.training.trainer import Trainer


def make_trainer(
    matrix: sp.csr_matrix,
    config: SigmoidConfig,
    device: str,
    weights: NDArray[np.float32] | None = None,
) -> Trainer:
    """The trainer for (U, I) purchases on "cpu" or "cuda"; `weights` (nnz,) is what each purchase weighs, None: 1.

    Raises TrainingError when the parameters do not fit in the device's memory, before they are allocated.
    """
    config = resolve(config, matrix, largest_of(weights))
    if config.by_minibatch:
        from recae.training.sigmoid_minibatch import make_minibatch_trainer

        return make_minibatch_trainer(matrix, config, device, weights)
    n_items = matrix.shape[1]
    check_memory(
        memory_needed(config, *matrix.shape, matrix.nnz, device),
        device,
        f"training {config.factors} factors for {n_items:,} items",
    )
    if device == "cpu" and config.batch_size == 1:
        return PerUserTrainer(matrix, config, weights)
    if device == "cpu":
        from recae.training.blocks import BlockTrainer  # brings torch, which takes a second

        return BlockTrainer(matrix, config, weights)
    from recae.training.device_blocks import DeviceBlockTrainer

    return DeviceBlockTrainer(matrix, config, device, weights)


def memory_needed(config: ResolvedConfig, n_users: int, n_items: int, interactions: int, device: str) -> int:
    """Bytes that training takes, about: encoder and decoder, drawn and used, the small matrices, and on a GPU also
    the purchases, those of a group of blocks while they are sorted, and the rows of the purchases of one block.
    """
    size = np.dtype(config.dtype).itemsize
    D = config.factors + 1
    parameters = n_items * (2 * D + 2) * size
    drawing = n_items * D * size  # of the random numbers, while the decoder is made
    small = 16 * D * D * size + 8 * min(config.batch_size, 4096) * (D + config.batch_size) * size
    need = parameters + max(drawing, start_memory(config, n_users, n_items)) + small
    if device == "cuda":
        of_block = min(interactions, -(-config.batch_size * interactions // max(n_users, 1)))
        need += (
            interactions * 4 + n_users * 40
        )  # item numbers; where histories begin, and the order of the users
        need += min(interactions, of_block * GROUP) * 80  # ten whole numbers each
        need += of_block * D * 5 * size  # rows of E and V, weighted, and their products with the codes
    return need
