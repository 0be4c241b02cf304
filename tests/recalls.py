"""What the tests of scripts/recall_at_k.py share: the script, its runs, a slow count of its figures, and data."""

import importlib.util
import json
import math
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy.sparse as sp
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "recall_at_k.py"
METRICS = ("recall", "capped_recall", "ndcg")
QUICK = ("--factors", 4, "--epochs", 1)
Sets = list[set[int]]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recall_at_k", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recall_at_k"] = module
    spec.loader.exec_module(module)
    return module


script = _load()
recall_data = sys.modules["recall_data"]


def run(*args) -> Result:
    """Runs the script in this process; an exception that it should have caught fails the test."""
    result = CliRunner().invoke(script.main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def results(*args) -> dict:
    """What the script prints with --json."""
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def check_error(result: Result, *words: str) -> None:
    """One sentence on stderr, nothing on stdout, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert result.stderr.count("error: ") == 1
    for word in words:
        assert word in line


def spy(monkeypatch) -> dict:
    """A record of what the models are fitted to, and what they are asked, by name."""
    record: dict = {}
    fit, ask = script.fit_settings, script.evaluate

    def spy_fit(kind, config, matrix, **kwargs):
        record["fit"] = matrix.copy()
        record["sorted"] = all((np.diff(matrix[u].indices) > 0).all() for u in range(matrix.shape[0]))
        return fit(kind, config, matrix, **kwargs)

    def spy_ask(model, histories, held_out, ks):
        record.update(model=model, histories=histories.copy(), held_out=held_out.copy())
        return ask(model, histories, held_out, ks)

    monkeypatch.setattr(script, "fit_settings", spy_fit)
    monkeypatch.setattr(script, "evaluate", spy_ask)
    return record


def sets(matrix: sp.csr_matrix) -> Sets:
    return [set(matrix[u].indices.tolist()) for u in range(matrix.shape[0])]


def matrix_of(rows: Sets, n_items: int) -> sp.csr_matrix:
    dense = np.zeros((len(rows), n_items))
    for user, items in enumerate(rows):
        dense[user, sorted(items)] = 1
    return sp.csr_matrix(dense)


def popularity(fit: Sets, n_items: int, n_users: int) -> list[list[float]]:
    owners = Counter(item for items in fit for item in items)
    return [[owners[item] for item in range(n_items)]] * n_users


def slow(scores, histories: Sets, held_out: Sets, ks) -> dict[str, float]:
    """The definitions, a user and an item at a time."""
    values: dict[str, list[float]] = {f"{name}@{k}": [] for name in METRICS for k in ks}
    for row, history, wanted in zip(scores, histories, held_out, strict=True):
        if not wanted:
            continue
        ranked = sorted((item for item in range(len(row)) if item not in history), key=lambda i: (-row[i], i))
        for k in ks:
            hits = [item in wanted for item in ranked[:k]]
            gain = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)
            best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
            values[f"recall@{k}"].append(sum(hits) / len(wanted))
            values[f"capped_recall@{k}"].append(sum(hits) / min(k, len(wanted)))
            values[f"ndcg@{k}"].append(gain / best)
    return {name: sum(of_users) / len(of_users) for name, of_users in values.items()}


def make_pair(folder: Path) -> tuple[Sets, Sets, int, Path]:
    """Train and test sets of 60 users × 40 items in a folder; some users have no test item, one has no history."""
    rng = np.random.default_rng(7)
    n_items, train, test = 40, [], []
    for user in range(60):
        items = rng.permutation(n_items)[: rng.integers(3, 20)]
        n_test = 0 if user % 7 == 0 else int(rng.integers(1, len(items)))
        test.append(set(items[:n_test].tolist()))
        train.append(set() if user == 5 else set(items[n_test:].tolist()))
    sp.save_npz(folder / "train.npz", matrix_of(train, n_items))
    sp.save_npz(folder / "test.npz", matrix_of(test, n_items))
    return train, test, n_items, folder


def make_purchases(folder: Path) -> tuple[list[tuple[int, int, int]], Path]:
    """(user, item, day) rows, each pair once, in a CSV: users u00-u29, items i00-i19, days of October 2021."""
    rng = np.random.default_rng(11)
    rows = []
    for user in range(30):
        first_day = 20 if user >= 27 else 1  # three users come late
        items = rng.permutation(20)[: rng.integers(1, 9)].tolist()
        days = (first_day + rng.permutation(10)[: len(items)]).tolist()
        rows += [(user, item, day) for item, day in zip(items, days, strict=True)]
        rows += [(user, 19 - user % 2, day) for day in [28] if (19 - user % 2) not in items]
    path = folder / "purchases.csv"
    lines = [f"u{user:02},i{item:02},2021-10-{day:02}" for user, item, day in rows]
    path.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return rows, path


def rows_as_sets(rows, n_users=30) -> Sets:
    return [{item for of, item, _ in rows if of == user} for user in range(n_users)]
