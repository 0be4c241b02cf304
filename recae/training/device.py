"""Which device computes: a GPU where one was asked for and is there, else the CPU."""

from recae.errors import ConfigError, DeviceError

DEVICES = ("auto", "cpu", "cuda")


def check_device(device: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda". Raises ConfigError on another name, DeviceError without a GPU.

    Per-user SGD runs on the CPU, so that is what "auto" gives.
    """
    if device not in DEVICES:
        raise ConfigError(f"device is one of {', '.join(DEVICES)}, found {device!r}: choose one of these")
    if device != "cuda":
        return "cpu"
    import torch  # here, since it takes a second

    if not torch.cuda.is_available():
        raise DeviceError("device 'cuda' needs a GPU that torch can use, found none: use 'auto' or 'cpu'")
    return "cuda"
