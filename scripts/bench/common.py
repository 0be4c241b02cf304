"""What the benchmarks share: purchases, rivals, clocks, and a table with JSON beside it."""

import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp


def gowalla() -> sp.csr_matrix:
    """The training matrix of the Gowalla split, found through RECAE_DATA."""
    folder = os.environ.get("RECAE_DATA")
    if not folder:
        raise SystemExit(
            "this benchmark needs the Gowalla split: set RECAE_DATA to the folder that holds gowalla/"
        )
    matrix = sp.csr_matrix(sp.load_npz(Path(folder) / "gowalla" / "train.npz"), dtype=np.float32)
    matrix.sort_indices()
    return matrix


def synthetic(n_users: int, n_items: int, per_user: int, seed: int = 0, skew: float = 1.0) -> sp.csr_matrix:
    """Purchases with a popularity that falls as rank^-skew; about `per_user` distinct items a user."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(np.arange(1, n_items + 1) ** -skew)
    items = np.searchsorted(edges / edges[-1], rng.random(n_users * per_user)).astype(np.int32)
    items = rng.permutation(n_items).astype(np.int32)[np.minimum(items, n_items - 1)]
    indptr = np.arange(0, n_users * per_user + 1, per_user, dtype=np.int64)
    matrix = sp.csr_matrix((np.ones(len(items), np.float32), items, indptr), shape=(n_users, n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def peak_mib() -> float:
    """Peak memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Processor and cores, in words."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def report(name: str, rows: list[dict[str, Any]], out: Path | None) -> None:
    """Prints a Markdown table; writes JSON to `out` where it is given."""
    print(f"{name}: {machine()}\n")
    headers = list(rows[0])
    print("| " + " | ".join(headers) + " |")
    print("|" + "---|" * len(headers))
    for row in rows:
        print("| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    if out is not None:
        out.write_text(json.dumps({"benchmark": name, "machine": machine(), "rows": rows}, indent=2) + "\n")
