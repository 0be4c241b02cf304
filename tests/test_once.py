"""A process that answers once: what it loads for that, and that its answer has the bits of one that runs on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from commands import ROOT
from modelfiles import HISTORIES, recommender

from recae import loops, ranking
from recae.inputs import EventInputs
from recae.modelfile import save
from recae.models import Edlae, EventLinear, Model, SparseLinear, linear
from recae.models.blend import Blend, Part
from recae.serving.served import warm_up

UNUSED = ("duckdb", "numba", "pandas", "pydantic", "scipy.linalg", "torch")


def some(density: float, n_items: int = 300, n_users: int = 40) -> sp.csr_matrix:
    rng = np.random.default_rng(6)
    matrix = sp.random(n_users, n_items, density, "csr", dtype=np.float32, random_state=rng)
    matrix.data[:] = 1
    return sp.csr_matrix(matrix.sorted_indices())


def weights(rows: int, columns: int) -> np.ndarray:
    found = np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32)
    for block in range(0, rows, columns):
        np.fill_diagonal(found[block : block + columns], 0)
    return found


def sparse(n_items: int) -> SparseLinear:
    thinned = weights(n_items, n_items)
    thinned[np.abs(thinned) < 1.2] = 0
    return SparseLinear(sp.csr_matrix(thinned), {})


def models(n_items: int) -> list[Model]:
    dense = Edlae(weights(n_items, n_items), {})
    parts = (Part(dense, 0.7, (1.5, 0.2)), Part(sparse(n_items), 0.3, (0.8, 0.1)))
    return [dense, sparse(n_items), Blend(parts, {})]


def both_ways(model: Model, histories: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found = []
    for numpy_is_sooner in (True, False):
        for module in (linear, ranking):
            monkeypatch.setattr(module, "numpy_is_sooner", lambda numbers, chosen=numpy_is_sooner: chosen)
        lists = ranking.rank_histories(model, histories, 20)
        found.append(
            b"".join((model.score(histories).tobytes(), lists.items.tobytes(), lists.scores.tobytes()))
        )
    return found


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("users", [1, 40])
def test_numpy_comes_to_the_same_bits(at: int, users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = sp.csr_matrix(some(0.1)[:users])
    once, again = both_ways(models(300)[at], histories, monkeypatch)
    assert once == again


def test_numpy_comes_to_the_same_bits_with_other_events(monkeypatch: pytest.MonkeyPatch) -> None:
    model = EventLinear(weights(600, 300), ("view",), (0,), {})
    events = EventInputs.of(("view",), [some(0.05)])
    once, again = both_ways(model, sp.hstack([some(0.1), events.matrix], format="csr"), monkeypatch)
    assert once == again


@pytest.fixture
def young(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process had neither answered nor loaded numba."""
    monkeypatch.setattr(loops._Once, "numbers", 0)
    monkeypatch.delitem(sys.modules, "numba", raising=False)


@pytest.mark.usefixtures("young")
def test_numpy_takes_over_a_little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loops.numpy_is_sooner(10_000)
    monkeypatch.setitem(sys.modules, "numba", sys)
    assert not loops.numpy_is_sooner(1)


@pytest.mark.usefixtures("young")
def test_numpy_does_not_take_over_much_work_at_once_or_bit_by_bit() -> None:
    assert sum(loops.numpy_is_sooner(10**6) for _ in range(100)) == 4
    assert not loops.numpy_is_sooner(10**9)


@pytest.mark.usefixtures("young")
def test_a_server_answers_by_compiled_loops() -> None:
    warm_up(recommender(model=sparse(HISTORIES.shape[1])))
    assert not loops.numpy_is_sooner(0)


@pytest.mark.parametrize("command", ["recommend", "inspect", "similar"])
def test_a_linear_model_answers_without_numba_and_pandas(command: str, tmp_path: Path) -> None:
    """Each of them takes longer to load than all the rest of the answer."""
    path = tmp_path / "m.recae"
    save(recommender(model=sparse(HISTORIES.shape[1])), path)
    options = {
        "recommend": ["--model", str(path), "--user", "42", "-n", "3"],
        "inspect": [str(path)],
        "similar": ["--model", str(path), "--item", "0"],
    }[command]
    code = (
        "import json, sys; own = set(sys.modules)\n"
        "from recae.cli import main\n"
        f"main({[command, *options]!r}, standalone_mode=False)\n"
        f"print(json.dumps(sorted(set({UNUSED!r}) & set(sys.modules) - own)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
