"""How each model gets its parameters."""

from recae.training.config import SigmoidConfig
from recae.training.per_user import Epoch, train_sigmoid

__all__ = ["Epoch", "SigmoidConfig", "train_sigmoid"]
