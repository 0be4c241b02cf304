"""Tests of forked processes: training in the child of a process that has trained, and forks beside other threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from commands import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PARENT = """
import os, sys
import numpy as np
import recae
rng = np.random.default_rng(0)
purchases = [(int(u), int(i)) for u, i in zip(rng.integers(0, 60, 900), rng.integers(0, 40, 900))]
def train(kind):
    words = {"epochs": 1} if kind in ("sigmoid", "recvae") else {}
    model = recae.train(purchases, kind=kind, progress=False, **words)
    return [r.item for r in model.recommend(purchases[0][0], n=3)]
"""

FIT = """
import os, sys
import numpy as np
import scipy.sparse as sp
from recae.selection.fit import fit_simple, make_settings
purchases = sp.random(60, 40, 0.3, format="csr", dtype=np.float32, random_state=0)
purchases.data[:] = 1
def train(kind):
    return fit_simple(kind, purchases, make_settings(kind, {}))[0].score(purchases[:1]).tolist()
"""

FORK = """
from recae.forks import works_with_one_thread
for kind in sys.argv[1:]:
    expected = train(kind)
    reading, writing = os.pipe()
    if not os.fork():
        os.write(writing, repr((train(kind) == expected, works_with_one_thread())).encode())
        os._exit(0)
    os.close(writing)
    print(kind, os.read(reading, 100).decode())
    os.wait()
"""

EXECUTORS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
expected = train("als")
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    print([found == expected for found in pool.map(train, ["als", "als"])])
with ProcessPoolExecutor(2, mp_context=context) as executor:
    print([found == expected for found in executor.map(train, ["als", "als"])])
"""

BESIDE = """
import threading
from numba.core.compiler_lock import global_compiler_lock
from recae.loops import BUILDING
inside, done = threading.Event(), threading.Event()
def compile():
    with BUILDING, global_compiler_lock:
        inside.set()
        done.wait(1)
thread = threading.Thread(target=compile)
thread.start()
inside.wait()
pid = os.fork()  # waits for the thread
if not pid:
    with BUILDING, global_compiler_lock:
        os._exit(0)
with BUILDING, global_compiler_lock:
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def output(start: str, code: str, *arguments: str) -> list[str]:
    """Run code in a process of its own with two threads for OpenMP, and return what it prints."""
    found = subprocess.run(
        [sys.executable, "-c", start + code, *arguments], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_a_child_fits_after_its_parent_has() -> None:
    assert output(FIT, FORK, "als") == ["als (True, True)"]


@pytest.mark.thorough
def test_a_child_trains_every_kind() -> None:
    kinds = [
        "popularity",
        "itemknn",
        "ease",
        "sparse-linear",
        "spectral",
        "bpr",
        "als",
        "sigmoid",
        "recvae",
        "blend",
    ]
    assert output(PARENT, FORK, *kinds) == [f"{kind} (True, True)" for kind in kinds]


@pytest.mark.thorough
def test_executors_that_fork() -> None:
    assert output(PARENT, EXECUTORS) == ["[True, True]"] * 2


def test_a_fork_waits_for_a_thread_that_compiles() -> None:
    assert output("import os\n", BESIDE) == ["0"]
