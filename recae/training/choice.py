"""Which trainer a configuration and a device ask for."""

import scipy.sparse as sp

from recae.training.config import SigmoidConfig
from recae.training.per_user import PerUserTrainer
from recae.training.trainer import Trainer


def make_trainer(matrix: sp.csr_matrix, config: SigmoidConfig, device: str) -> Trainer:
    """The trainer for (U, I) purchases on "cpu" or "cuda"."""
    return PerUserTrainer(matrix, config)
