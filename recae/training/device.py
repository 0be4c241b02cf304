"""Devices: which one computes, its name, and how much memory it has left."""

from importlib.util import find_spec

from recae.errors import ConfigError, DeviceError, TrainingError, torch_needed
from recae.memory import free_memory

DEVICES = ("auto", "cpu", "cuda")

GROUP = 64
"""Blocks whose purchases are sorted at once on a GPU."""


def choose_device(device: str, batch_size: int) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda".

    "auto" takes the GPU where there is one and users come in blocks; one user at a time is faster on the CPU.

    Raises:
        ConfigError: another name.
        DeviceError: there is no GPU.
    """
    if device not in DEVICES:
        raise ConfigError(f"device is one of {', '.join(DEVICES)}, found {device!r}: choose one of these")
    if device == "cpu" or (device == "auto" and batch_size == 1):
        return "cpu"
    if device == "auto" and find_spec("torch") is None:
        return "cpu"
    with torch_needed("--device cuda"):
        import torch  # here, since it takes a second

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise DeviceError("device 'cuda' needs a GPU that torch can use, found none: use 'auto' or 'cpu'")
    return "cpu"


def device_name(device: str) -> str:
    """Return "the CPU" for "cpu", or the name of the GPU for "cuda"."""
    if device == "cpu":
        return "the CPU"
    import torch

    return str(torch.cuda.get_device_name())


def check_memory(need: int, device: str, what: str, lower: str = "factors") -> None:
    """Raise TrainingError where the device lacks `need` bytes for `what`; `lower` names the settings to lower."""
    left = memory_left(device)
    if left is not None and need > left:
        where = "this machine" if device == "cpu" else device_name(device)
        raise TrainingError(
            f"{what} needs {need / 2**30:,.1f} GiB of memory, and {where} has {left / 2**30:,.1f} GiB left: lower "
            f"{lower}, leave out rare items, or use a larger machine"
        )


def memory_left(device: str) -> int | None:
    """Return how many bytes can still be allocated on a device, within a container's limit; None where unknown."""
    if device == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info()[0]
        return free
    return free_memory()
