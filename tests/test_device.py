"""Which device is chosen, and that memory is looked at before it is taken."""

import pytest
import scipy.sparse as sp
import torch

from recae.errors import ConfigError, DeviceError, TrainingError
from recae.training.config import SigmoidSettings, resolve
from recae.training.device import choose_device, device_name, memory_left
from recae.training.kinds import sigmoid as choice
from recae.training.kinds.sigmoid import make_trainer


@pytest.mark.parametrize(
    ("asked", "batch_size", "gpu", "expected"),
    [
        ("cpu", 1, True, "cpu"),
        ("cpu", 256, True, "cpu"),
        ("auto", 1, True, "cpu"),
        ("auto", 256, True, "cuda"),
        ("auto", 256, False, "cpu"),
        ("cuda", 1, True, "cuda"),
    ],
)
def test_choice(
    asked: str, batch_size: int, gpu: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert choose_device(asked, batch_size) == expected


def test_no_gpu_and_no_such_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="found none: use 'auto' or 'cpu'"):
        choose_device("cuda", 256)
    with pytest.raises(ConfigError, match="one of auto, cpu, cuda, found 'tpu'"):
        choose_device("tpu", 256)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert device_name("cpu") == "the CPU"
    assert device_name("cuda") == "NVIDIA H200"


def test_a_catalogue_that_does_not_fit_is_refused_before_anything_is_allocated() -> None:
    matrix = sp.csr_matrix(([1.0], ([0], [0])), shape=(2, 2_000_000_000))
    with pytest.raises(TrainingError, match=r"2,000,000,000 items needs [\d,.]+ GiB .* has [\d,.]+ GiB left"):
        make_trainer(matrix, SigmoidSettings(factors=16_384), "cpu")


def test_the_limit_of_the_gpu_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**20, 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    with pytest.raises(TrainingError, match=r"NVIDIA H200 has 0\.0 GiB left"):
        make_trainer(sp.csr_matrix(([1.0], ([0], [0])), shape=(2, 50_000)), SigmoidSettings(), "cuda")


@pytest.mark.thorough
def test_the_estimate_covers_what_is_allocated() -> None:
    matrix = sp.random(300, 5000, density=0.01, format="csr", rng=0)
    config = SigmoidSettings(factors=64, batch_size=8)
    trainer = make_trainer(sp.csr_matrix(matrix), config, "cpu")
    held = sum(array.nbytes for array in trainer.state().values())
    assert held <= choice.memory_needed(trainer.config, 300, 5000, matrix.nnz, "cpu") < 3 * held


def test_the_estimate_for_a_gpu_counts_purchases_and_the_rows_of_a_block() -> None:
    config = resolve(
        SigmoidSettings(factors=256, batch_size=16_384), sp.random(9, 9, density=0.5, format="csr")
    )
    shape = (10_000_000, 1_000_000, 500_000_000)
    on_cpu, on_gpu = (choice.memory_needed(config, *shape, where) for where in ("cpu", "cuda"))
    rows_of_a_block = 16_384 * 50 * 257 * 4
    assert on_gpu - on_cpu > shape[2] * 4 + 4 * rows_of_a_block
    assert on_gpu < 100 * 2**30, "ten million users and a million items fit on a card of 140 GB"


def test_memory_left_is_read() -> None:
    left = memory_left("cpu")
    assert left is None or left > 0
