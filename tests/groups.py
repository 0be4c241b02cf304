"""Several processes that train together, played by threads of this one; the connections are real."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

from recae.training.exact.group import Group


def together(size: int, *roles: Callable[[Group], Any], minutes: float = 1) -> list[Any]:
    """What each of `size` processes returns; the last role is that of all others. The first one's error is raised."""
    store = dist.HashStore()
    found: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def play(rank: int) -> None:
        try:
            found[rank] = roles[min(rank, len(roles) - 1)](Group(store, rank, size, minutes))
        except BaseException as error:
            errors[rank] = error

    threads = [threading.Thread(target=play, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
    return found
