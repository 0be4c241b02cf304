"""Which device is chosen, and that memory is looked at before it is taken."""

import re
from pathlib import Path

import pytest
import scipy.sparse as sp
import torch

from recae.errors import ConfigError, DeviceError, TrainingError
from recae.training import device as devices
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
    for wrong in ("tpu", "cuda:", "cuda:-1", "cuda:1.5", "CUDA", ""):
        with pytest.raises(ConfigError, match=r"one of auto, cpu, cuda, or such as cuda:1 .*, found"):
            choose_device(wrong, 256)


def test_one_of_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1", 1) == "cuda:1"
    with pytest.raises(
        DeviceError, match="'cuda:7' is not there, and torch finds cuda:0 to cuda:1: use one of these"
    ):
        choose_device("cuda:7", 256)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="torch finds cuda:0 alone"):
        choose_device("cuda:1", 256)
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *number: (asked.append(number), (5, 9))[1])
    assert (memory_left("cuda"), memory_left("cuda:1")) == (5, 5)
    assert asked == [(), (1,)]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *number: f"GPU {number}")
    assert device_name("cuda:1") == "GPU (1,)"


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (None, "built for the CPU alone: install a build with CUDA"),
        ("13.0", r"may be older than CUDA 13\.0 asks for: update the driver"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_said_with_the_way_out(
    built: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module")
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(DeviceError, match=said):
        choose_device("cuda", 256)
    with pytest.raises(DeviceError, match=said):
        choose_device("cuda:1", 256)
    assert choose_device("auto", 256) == "cpu"
    assert re.search(said, devices.where_and_why("auto", "cpu", 256))
    assert "one user at a time is faster" in devices.where_and_why("auto", "cpu", 1)
    assert devices.where_and_why("cpu", "cpu", 256) == "the CPU"
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    assert devices.where_and_why("auto", "cpu", 256) == "the CPU"


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
