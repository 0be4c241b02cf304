"""How each model gets its parameters."""

from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.config import SigmoidConfig
from recae.training.device import DEVICES, choose_device, device_name
from recae.training.loop import train_sigmoid

__all__ = [
    "DEVICES",
    "Checkpoints",
    "Epoch",
    "SigmoidConfig",
    "choose_device",
    "device_name",
    "train_sigmoid",
]
