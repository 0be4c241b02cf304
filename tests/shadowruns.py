"""What every kind does on a CUDA device that is not there, as JSON: run by test_shadow_device.py in its own process."""

from __future__ import annotations

from shadowdevice import MixedError, shadow_device  # before torch  # isort: skip

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recae.errors import RecaeError
from recae.interface.functions import train
from recae.models import Model
from recae.selection.fit import fit_simple, make_settings
from recae.training.callbacks import Hooks
from recae.training.device import choose_device, device_name
from recae.training.exact.cuda import DeviceBlockTrainer
from recae.training.kinds.sigmoid import make_trainer
from recae.training.trainer import Trainer

KINDS: dict[str, dict[str, Any]] = {
    "deep": {"epochs": 2, "batch_size": 64},
    "deep, multinomial": {"epochs": 2, "batch_size": 64, "loss": "multinomial"},
    "multvae": {"epochs": 2, "batch_size": 64},
    "recvae": {"epochs": 2, "batch_size": 64, "factors": 8, "hidden": 16},
    "aae": {"epochs": 2, "batch_size": 64},
    "sigmoid, tied": {"epochs": 2, "batch_size": 64, "factors": 8, "tied": True},
}


def purchases(users: int = 300, items: int = 200, density: float = 0.06) -> sp.csr_matrix:
    matrix = sp.random(users, items, density=density, format="csr", rng=0)
    matrix.data = np.ones(matrix.nnz, np.float32)
    return matrix


def refused(run: Callable[[], Any]) -> str | None:
    try:
        run()
    except (MixedError, RecaeError) as error:
        return str(error)
    return None


def twin_draws() -> torch.Tensor:
    """Draw on the device by a generator of the CPU with the seed of one of the device."""
    torch.Generator("cuda").manual_seed(11)
    return torch.rand(3, device="cuda", generator=torch.Generator().manual_seed(11))


def faults() -> dict[str, str | None]:
    with shadow_device():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        return {
            "mixed": refused(lambda: there + here),
            "generator": refused(lambda: torch.rand(3, device="cuda", generator=torch.Generator())),
            "twin": refused(twin_draws),
            "numpy": refused(there.numpy),
            "another device": refused(lambda: torch.ones(3, device="cuda:7")),
            "a number of the host": refused(lambda: there * torch.tensor(2.0)),
        }


def noted() -> dict[str, list[str]]:
    with shadow_device() as shadow:
        values = torch.arange(6.0, device="cuda")
        places = torch.tensor([0, 0, 1, 1, 2, 2], device="cuda")
        shadow.clear()
        torch.zeros(3, device="cuda").index_add_(0, places, values)
        torch.zeros(3, dtype=torch.int64, device="cuda").index_add_(0, places, places)
        atomics = [note.name for note in shadow.float_atomics]
        shadow.clear()
        values.sum().item()
        values[values > 2].cpu()
        values.view(2, 3)
        torch.bincount(places)
        return {
            "atomics": atomics,
            "waits": [note.name for note in shadow.waits],
            "launches": [note.name for note in shadow.launches],
        }


def largest_gap(one: Model, other: Model) -> float:
    arrays, others = one.arrays(), other.arrays()
    assert set(arrays) == set(others)
    return max(
        float(
            np.abs(arrays[name].astype(np.float64) - others[name]).max()
            / max(np.abs(others[name]).max(), 1e-9)
        )
        for name in arrays
        if arrays[name].size
    )


def kind(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train, validate after each epoch, and compare with the CPU; what the loop waits for is noted apart."""
    matrix, inside = purchases(), Counter[str]()
    steps = 0

    def advance(self: Trainer) -> None:
        nonlocal steps
        before = len(shadow.waits)
        plain(self)
        steps += 1
        inside.update(map(str, shadow.waits[before:]))

    plain = Trainer.advance
    made = make_settings(name.partition(",")[0], settings)
    asked: list[float] = []

    def validate(model: Model) -> float:
        asked.append(float(np.abs(model.score(matrix[:5])).sum()))
        return -float(len(asked))

    with shadow_device() as shadow:
        Trainer.advance = advance  # type: ignore[method-assign]
        try:
            model, epochs = fit_simple(made_kind(name), matrix, made, Hooks(device="cuda", validate=validate))
        finally:
            Trainer.advance = plain  # type: ignore[method-assign]
        atomics = shadow.most(shadow.float_atomics)
        launches = len(shadow.launches)
    same, others = fit_simple(made_kind(name), matrix, made, Hooks(device="cpu", validate=lambda m: -1.0))
    return {
        "gap": largest_gap(model, same),
        "losses": [[float(e.loss), float(o.loss)] for e, o in zip(epochs, others, strict=False)],
        "validated": len(asked),
        "atomics": atomics,
        "waits a step": {line: count / steps for line, count in inside.items()},
        "launches a step": launches / steps,
    }


def made_kind(name: str) -> str:
    return name.partition(",")[0]


def blocks() -> dict[str, Any]:
    """One block after the other, beside the same trainer on the CPU; then on from a checkpoint."""
    matrix = purchases()
    settings = make_settings("sigmoid", {"factors": 8, "batch_size": 64, "epochs": 3, "seed": 2})

    def trained(trainer: Trainer, epochs: int = 3) -> Model:
        for _ in range(epochs):
            while trainer.done < trainer.n_users:
                trainer.advance()
            trainer.end_epoch()
        return trainer.model()

    same = trained(DeviceBlockTrainer(matrix, settings, "cpu"))
    with shadow_device() as shadow:
        trainer = make_trainer(matrix, settings, "cuda")
        kind_of = type(trainer).__name__
        trained(trainer, 1)
        state = {name: array.copy() for name, array in trainer.state().items()}
        order, epoch = trainer._order, trainer.epoch
        shadow.clear()
        whole = trained(trainer, 2)
        waits, atomics = shadow.most(shadow.waits), shadow.most(shadow.float_atomics)
        again = make_trainer(matrix, settings, "cuda")
        again.epoch, again.done, again._order = epoch, 0, order
        again.restore(state)
        resumed = trained(again, 2)
    return {
        "trainer": kind_of,
        "gap": largest_gap(whole, same),
        "resumed": largest_gap(resumed, whole),
        "atomics": atomics,
        "waits": waits,
    }


def launches(batch_size: int, together: int | None = None) -> dict[str, float]:
    """Operations a block of users, in the middle of an epoch."""
    from recae.training.exact import steps

    matrix = purchases(4 * batch_size, 2000, 0.01)
    settings = make_settings(
        "sigmoid", {"factors": 16, "batch_size": batch_size, "epochs": 2, "encoder_start": "random"}
    )
    most = steps.MAX_TOGETHER_ON_GPU
    if together is not None:
        steps.MAX_TOGETHER_ON_GPU = together
    try:
        with shadow_device() as shadow:
            trainer = make_trainer(matrix, settings, "cuda")
            trainer.advance()
            shadow.clear()
            trainer.advance()
            trainer.advance()
            return {"launches": len(shadow.launches) / 2, "waits": len(shadow.waits) / 2}
    finally:
        steps.MAX_TOGETHER_ON_GPU = most


def devices() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    table = {
        "user": [f"u{n}" for n in rng.integers(0, 90, 1500)],
        "item": [f"i{n}" for n in rng.integers(0, 50, 1500)],
    }
    with shadow_device() as shadow:
        found = {
            "auto, blocks": choose_device("auto", 64),
            "auto, one by one": choose_device("auto", 1),
            "cuda": choose_device("cuda", 1),
            "name": device_name("cuda"),
        }
        model = train(table, "sigmoid", batch_size=32, factors=4, epochs=2, progress=False)
        found["launches of a training"] = len(shadow.launches)
        found["list"] = len(model.recommend("u1", 5))
    with shadow_device(free=2**20):
        big = sp.csr_matrix((np.ones(4, np.float32), ([0, 1, 2, 3], [0, 5, 90_000, 7])), shape=(4, 100_000))
        found["too little memory"] = refused(
            lambda: make_trainer(big, make_settings("sigmoid", {"factors": 64, "batch_size": 2}), "cuda")
        )
    return found


def main() -> None:
    torch.set_num_threads(1)
    runs: dict[str, Callable[[], Any]] = {
        "faults": faults,
        "noted": noted,
        "blocks": blocks,
        "devices": devices,
        "launches": lambda: {
            "256": launches(256),
            "1024": launches(1024),
            "1024, 128 together": launches(1024, 128),
        },
        **{name: lambda name=name: kind(name, KINDS[name]) for name in KINDS},  # type: ignore[misc]
    }
    json.dump({name: run() for name, run in runs.items()}, sys.stdout)


if __name__ == "__main__":
    main()
