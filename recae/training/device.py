"""Devices: which one computes, its name, and how much memory it has left."""

import re
from importlib.util import find_spec
from pathlib import Path

from recae.errors import ConfigError, DeviceError, TrainingError, torch_needed
from recae.memory import free_memory

DEVICES = ("auto", "cpu", "cuda")

DRIVER = Path("/proc/driver/nvidia/version")
"""There where the driver of a GPU is loaded, whatever torch can do with it."""

_ONE_OF_SEVERAL = re.compile(r"cuda:(\d{1,3})")

GROUP = 64
"""Blocks whose purchases are sorted at once on a GPU."""


def is_gpu(device: str) -> bool:
    """Return whether a device that `choose_device` gave is a GPU."""
    return device != "cpu"


def choose_device(device: str, batch_size: int) -> str:
    """Return "cpu", "cuda" or such as "cuda:1" for "auto", "cpu", "cuda" or one of several GPUs.

    "auto" takes the GPU where there is one and users come in blocks; one user at a time is faster on the CPU.

    Raises:
        ConfigError: another name.
        DeviceError: there is no GPU, or none of that number.
    """
    numbered = _ONE_OF_SEVERAL.fullmatch(device)
    if device not in DEVICES and numbered is None:
        raise ConfigError(
            f"device is one of {', '.join(DEVICES)}, or such as cuda:1 for one of several GPUs, found {device!r}: "
            "choose one of these"
        )
    if device == "cpu" or (device == "auto" and batch_size == 1):
        return "cpu"
    if device == "auto" and find_spec("torch") is None:
        return "cpu"
    with torch_needed("--device cuda"):
        import torch  # here, since it takes a second

    if not torch.cuda.is_available():
        if device == "auto":
            return "cpu"
        there = "found none: use 'auto' or 'cpu'" if (why := _unusable()) is None else why
        raise DeviceError(f"device {device!r} needs a GPU that torch can use, {there}")
    if numbered is not None and int(numbered[1]) >= (count := torch.cuda.device_count()):
        there = "cuda:0 alone" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise DeviceError(
            f"device {device!r} is not there, and torch finds {there}: use one of these, or 'auto'"
        )
    return "cuda" if device == "auto" else device


def _unusable() -> str | None:
    """Return why torch cannot use the GPU that is there, and what to do, to stand behind a comma; None without one."""
    import torch

    if not DRIVER.exists():
        return None
    if torch.version.cuda is None:
        return (
            "but the one that is there needs another torch, since this was built for the CPU alone: install a build "
            "with CUDA, as pytorch.org says for this system, or use 'cpu'"
        )
    return (
        f"but the driver of the one that is there may be older than CUDA {torch.version.cuda} asks for: update the "
        "driver, install a build of torch for it, or use 'cpu'"
    )


def device_name(device: str) -> str:
    """Return "the CPU" for "cpu", or the name of the GPU for "cuda" or such as "cuda:1"."""
    if not is_gpu(device):
        return "the CPU"
    import torch

    return str(torch.cuda.get_device_name(*_number(device)))


def where_and_why(asked: str, chosen: str, batch_size: int) -> str:
    """Return the name of the device that was chosen, with the reason where another one might be expected."""
    name = device_name(chosen)
    if asked != "auto" or is_gpu(chosen):
        return name
    if not DRIVER.exists():
        return name
    if batch_size == 1:
        return f"{name}, where one user at a time is faster than on the GPU (--batch-size 256 takes that)"
    return f"{name}, since a GPU is there {_unusable()}"


def _number(device: str) -> tuple[int, ...]:
    """Return the number of one of several GPUs, as the argument of torch's functions; none for the present one."""
    numbered = _ONE_OF_SEVERAL.fullmatch(device)
    return () if numbered is None else (int(numbered[1]),)


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
    if is_gpu(device):
        import torch

        free: int = torch.cuda.mem_get_info(*_number(device))[0]
        return free
    return free_memory()
