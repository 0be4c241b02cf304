"""The kernel for a cluster of thread blocks, run as threads of C++, against the trainer that numba compiles."""

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import recae.training.exact as exact
from recae.training.config import SigmoidSettings
from recae.training.exact import decoder
from recae.training.exact.per_user import ADAGRAD_EPSILON, PerUserTrainer

SOURCE = Path(exact.__file__).parent / "per_user.cu"
HOST = """
#include "per_user.cu"
extern "C" void run(int blocks, int threads, int64 floats, const int64* users, int n_users, const int64* indptr,
    const int* indices, const int8* visible, const int64* positions, const float* confidence, const int* stale,
    int n_stale, int* applied, int pending, const float* directions, const float* factors, float* V, float* U,
    float* U_inv, float* Q, float* E, float* b, float* acc, float* acc_b, double* loss, int I, int d, int longest,
    float lr, float encoder_lr, float alpha, float keep, float power, float epsilon) {
  BLOCKS = blocks; THREADS = threads;
  launch(floats, train_users, users, n_users, indptr, indices, visible, positions, confidence, stale, n_stale, applied,
    pending, directions, factors, V, U, U_inv, Q, E, b, acc, acc_b, loss, I, d, longest, lr, encoder_lr, alpha, keep,
    power, epsilon);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("there is no g++ to compile the kernel with")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "host.cpp").write_text(HOST)
    options = ["-O1", "-std=c++20", "-shared", "-fPIC", "-pthread", "-DEMULATED"]
    folders = ["-I", str(SOURCE.parent), "-I", str(Path(__file__).parent)]
    built = folder / "host.so"
    subprocess.run([compiler, *options, *folders, str(folder / "host.cpp"), "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


def _emulate(
    library: ctypes.CDLL,
    trainer: PerUserTrainer,
    users: np.ndarray,
    visible: np.ndarray,
    blocks: int,
    threads: int,
) -> tuple[dict[str, np.ndarray], float]:
    """Return the parameters after the steps of `users` by the kernel, and the loss; the trainer stays as it is."""
    parameters, config, matrix = trainer.parameters, trainer.config, trainer.matrix
    state = {name: np.array(array, copy=True) for name, array in parameters.state().items()}
    D, n_items = config.factors + 1, matrix.shape[1]
    acc = np.tile(state["encoder_norms"], (blocks, 1))
    acc_b = np.tile(state["bias_norm"], blocks)
    lengths = np.diff(matrix.indptr)[users].astype(np.int64)
    positions = np.cumsum(lengths) - lengths
    longest, width, pending = int(lengths.max()), -(-D // blocks), parameters.decoder.pending
    bought = np.unique(sp.csr_matrix(matrix[users]).indices)
    stale = bought[state["applied"][bought] < pending].astype(np.int32)
    floats = 3 * width * D + 3 * D + blocks * (longest + width + 4) + 7 * width + longest + threads
    loss = np.zeros(1)
    arguments: list[object] = [blocks, threads, ctypes.c_int64(floats)]
    arguments += [users.astype(np.int64), len(users), matrix.indptr.astype(np.int64)]
    arguments += [matrix.indices.astype(np.int32), visible.astype(np.int8), positions, trainer._confidence]
    arguments += [stale, len(stale), state["applied"], pending, state["directions"], state["factors"]]
    arguments += [state[name] for name in ("V", "U", "U_inv", "Q", "encoder", "encoder_bias")]
    arguments += [acc, acc_b, loss, n_items, config.factors, longest]
    numbers = [config.learning_rate, config.encoder_learning_rate, config.purchase_weight]
    numbers += [1 - config.dropout, config.input_power, ADAGRAD_EPSILON]
    arguments += [ctypes.c_float(number) for number in numbers]
    passed = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
    library.run(*passed)
    assert (acc == acc[0]).all(), "each block's copy is the same"
    return {**state, "encoder_norms": acc[0], "bias_norm": acc_b[:1]}, float(loss[0])


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(float) - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(("blocks", "threads"), [(1, 8), (2, 2), (4, 4), (5, 8)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_kernel_takes_the_steps_of_the_cpu(
    library: ctypes.CDLL, blocks: int, threads: int, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "SMALLEST_SINGULAR_VALUE", 0.5)  # rescale after few steps
    matrix = sp.random(60, 150, density=0.06, format="csr", rng=1)
    matrix.data[:] = 1
    confidence = np.random.default_rng(2).uniform(0.5, 2, matrix.nnz).astype(np.float32) if weighted else None
    settings = SigmoidSettings(
        factors=19,
        batch_size=1,
        epochs=4,
        purchase_weight=8.0,
        learning_rate=0.1,
        encoder_start="random",
        decoder_scale=0.5,
        seed=5,
        dropout=0.4,
    )
    trainer = PerUserTrainer(matrix, settings, confidence)
    rng = np.random.default_rng(3)
    pending = 0
    for _ in range(3):
        users = rng.permutation(60).astype(np.int64)
        visible = rng.random(matrix.nnz) < 0.6
        pending = max(pending, trainer.parameters.decoder.pending)
        state, loss = _emulate(library, trainer, users, visible, blocks, threads)
        before = trainer.parameters.encoder.copy()
        # the same steps by numba, without the consolidation that may follow
        trainer.parameters.decoder.consolidate, trainer.parameters.decoder.condition = (_nothing, _nothing)  # type: ignore[method-assign]
        wanted = trainer._steps(users, visible, 1.0)
        del trainer.parameters.decoder.consolidate, trainer.parameters.decoder.condition
        assert loss == pytest.approx(wanted, rel=1e-5)
        after = trainer.parameters.state()
        assert (state["applied"] == after["applied"]).all()
        for name in ("V", "U", "U_inv", "Q", "encoder", "encoder_bias", "encoder_norms", "bias_norm"):
            assert _relative(state[name], after[name]) <= 1e-5, name
        assert _relative(trainer.parameters.encoder, before) > 0.01
        trainer.parameters.decoder.condition()
    assert pending > 0, "rows had rescalings to catch up with"


def _nothing() -> None:
    pass


@pytest.mark.thorough
@pytest.mark.parametrize("architecture", ["sm_90", "sm_100"])
def test_nvrtc_compiles_the_kernel(architecture: str) -> None:
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else list(found.submodule_search_locations or [])
    libraries = [path for place in places for path in Path(place).glob("**/libnvrtc.so*")]
    if not libraries:
        pytest.skip("NVRTC (nvidia-cuda-nvrtc) is not installed")
    nvrtc, program = ctypes.CDLL(str(libraries[0])), ctypes.c_void_p()
    text = SOURCE.read_bytes()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"per_user.cu", 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17", b"-DBLOCKS=8", b"-DTHREADS=512"]
    assert nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * 4)(*options)) == 0
