"""All kinds with a GPU path on a CUDA device that is not there: what it refuses, waits, atomics and launches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shadowguard import NoGuardError, built_guard

MOST_LAUNCHES = {"256": 430, "1024": 1050}
"""A block of users at 16 factors; the fewer, the faster on a GPU, which each costs some microseconds."""

ONCE_A_BLOCK = "block_kernels.py"
"""Where purchases are sorted by item: the exact output layer of deep kinds waits for their number and for sizes, twice
a step."""


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """What `shadowruns` saw, in a process in which torch is imported after the shadow."""
    try:
        built_guard()
    except NoGuardError as error:
        pytest.skip(f"the shadow of a GPU needs a C++ compiler: {error}")
    path = Path(__file__).with_name("shadowruns.py")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


KINDS = ("deep", "deep, multinomial", "multvae", "recvae", "aae", "sigmoid, tied")


def test_it_refuses_what_a_gpu_refuses(runs: dict[str, Any]) -> None:
    faults = runs["faults"]
    assert "tensors of cuda:0 and of the CPU" in faults["mixed"]
    assert "a generator of the CPU" in faults["generator"]
    assert "a generator of the CPU" in faults["twin"]  # whatever its seed
    assert "no NumPy array" in faults["numpy"]
    assert "cuda:7" in faults["another device"]
    assert faults["a number of the host"] is None
    assert runs["noted"] == {
        "atomics": ["index_add_"],  # of floats alone: whole numbers add up to the same in any order
        "waits": ["item", "index by marks", "to the CPU", "bincount"],
        "launches": ["sum", "gt", "index", "_to_copy", "bincount"],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_train_there_to_the_parameters_of_the_cpu(runs: dict[str, Any], kind: str) -> None:
    run = runs[kind]
    assert run["gap"] < 2e-5
    assert run["validated"] == 2  # after each epoch, on the model that was taken from the device
    for one, other in run["losses"]:
        assert one == pytest.approx(other, rel=1e-5)
    assert run["atomics"] == ""  # the same bits in every run


@pytest.mark.parametrize("kind", KINDS)
def test_the_loop_hardly_waits_for_the_device(runs: dict[str, Any], kind: str) -> None:
    waits = runs[kind]["waits a step"]
    sorting = {line: count for line, count in waits.items() if ONCE_A_BLOCK in line}
    assert sum(count for line, count in waits.items() if line not in sorting) <= 0.5, waits
    assert sum(sorting.values()) <= 2, waits
    assert bool(sorting) == (kind in ("deep", "aae")), waits


def test_blocks_train_there_go_on_from_a_checkpoint_and_are_the_same_bits(runs: dict[str, Any]) -> None:
    run = runs["blocks"]
    assert run["trainer"] == "DeviceBlockTrainer"
    assert run["gap"] < 5e-5
    assert run["resumed"] == 0
    assert run["atomics"] == ""


def test_launches_of_a_block_are_bounded(runs: dict[str, Any]) -> None:
    found = runs["launches"]
    for size, most in MOST_LAUNCHES.items():
        assert found[size]["launches"] <= most, found
        assert found[size]["waits"] <= 9, found
    # 512 users take as many calls as 128 do
    assert found["1024"]["launches"] < 0.75 * found["1024, 128 together"]["launches"]


def test_the_device_is_chosen_and_said(runs: dict[str, Any]) -> None:
    found = runs["devices"]
    assert found["auto, blocks"] == found["cuda"] == "cuda"
    assert found["auto, one by one"] == "cpu"
    assert found["name"] == "a shadow"
    assert found["launches of a training"] > 100
    assert found["list"] == 5
    assert (
        "needs 0.1 GiB of memory, and a shadow has 0.0 GiB left: lower factors" in found["too little memory"]
    )
