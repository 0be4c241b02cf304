"""How each model gets its parameters."""

from recae.training.config import SigmoidConfig
from recae.training.device import DEVICES, check_device
from recae.training.loop import Epoch, train_sigmoid

__all__ = ["DEVICES", "Epoch", "SigmoidConfig", "check_device", "train_sigmoid"]
