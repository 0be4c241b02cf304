#!/usr/bin/env python3
"""sparse-linear beside the sparse factors of SANSA (Spišák et al. 2023), in the same run on Gowalla.

\b
  scripts/bench/sansa.py                        # fits to train less a fifth of each user's items, every 7th user
  scripts/bench/sansa.py --test                 # fits to train, measures on test.npz, all users

SANSA's idea, written anew: A = XᵀX + λI is factored incompletely, A ≈ LDLᵀ, with at most `density` · I entries a column
of L, and a multiple of diag(XᵀX) added to A where the factor breaks down (Lin and Moré 1999); L⁻¹ is approximated by a
matrix M as sparse, by truncated steps M ← M + α M(I − LM) of least residual; and with A⁻¹ ≈ MᵀD⁻¹M the scores of a
history x are (xMᵀ) (D⁻¹M / diag(MᵀD⁻¹M)), so that no items × items matrix of weights is ever made. Items come in the
order of their owners, rare ones first, which fills least.
"""

import argparse
import resource
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from common import gowalla, machine
from numba import njit
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.evaluation import evaluate
from recae.models.base import check_histories, check_items
from recae.training.callbacks import Hooks
from recae.training.kinds.linear import SparseLinearSettings, resolve
from recae.training.kinds.sparse_linear import fit_sparse_linear

SHIFTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 4.0, 8.0)
"""Multiples of diag(XᵀX) that are added until the incomplete factor is positive."""

STEPS = 8
"""Steps of least residual from M = I on."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Scores = (x Mᵀ) W, W = −D⁻¹M / diag(MᵀD⁻¹M), with the sign and scale that EASE gives the other items."""

    Mt: sp.csr_matrix
    W: sp.csr_matrix
    shift: float
    kind = "sansa"
    trained = False

    @property
    def n_items(self) -> int:
        return int(self.Mt.shape[0])

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        check_histories(histories, self.n_items)
        ones = sp.csr_matrix(
            (np.ones(histories.nnz, np.float32), histories.indices, histories.indptr), histories.shape
        )
        return np.asarray((ones @ self.Mt @ self.W).toarray(), dtype=np.float32)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(self.score(histories)[:, check_items(items, self.n_items)])


def fit(X: sp.csr_matrix, density: float, l2: float, least: float = 0.0) -> Factors:
    """The factors of purchases X (U, I); `least` is the smallest shift that is tried."""
    n = X.shape[1]
    most = max(round(density * n), 1)
    order = np.argsort(np.bincount(X.indices, minlength=n), kind="stable")
    P = sp.csr_matrix(X[:, order], dtype=np.float32)
    P.sort_indices()
    owners = P.tocsc()
    for shift in (s for s in SHIFTS if s >= least):
        starts, rows, values, d = _factor(P.indptr, P.indices, owners.indptr, owners.indices, l2, shift, most)
        if d.all():
            break
    else:
        raise SystemExit("the incomplete factor breaks down")
    L = sp.csc_matrix((values, rows, starts), shape=(n, n)) + sp.identity(n, format="csc")
    M = _inverse(L, most + 1)
    diagonal = np.asarray(M.multiply(M).T @ (1 / d))
    back = np.argsort(order)
    M = sp.csr_matrix(M)[:, back]
    W = sp.csr_matrix(sp.diags_array(-1 / d) @ M @ sp.diags_array(1 / diagonal[back]), dtype=np.float32)
    return Factors(sp.csr_matrix(M.T, dtype=np.float32), W, shift)


def _inverse(L: sp.csc_matrix, most: int) -> sp.csc_matrix:
    """L⁻¹ with at most `most` entries a column: a column changes where its residual becomes less."""
    unit = sp.identity(L.shape[0], format="csc")
    M, R = unit, sp.csc_matrix(unit - L)
    left = _squares(R, R)
    for _ in range(STEPS):
        step = sp.csc_matrix(M @ R)
        moved = L @ step
        length = _squares(moved, moved)
        rate = np.divide(_squares(moved, R), length, out=np.zeros(len(length)), where=length > 0)
        tried = _truncated(sp.csc_matrix(M + step @ sp.diags_array(rate)), most)
        residual = sp.csc_matrix(unit - L @ tried)
        now = _squares(residual, residual)
        better = sp.diags_array((now < left).astype(np.float64))
        worse = sp.diags_array((now >= left).astype(np.float64))
        M, R = sp.csc_matrix(tried @ better + M @ worse), sp.csc_matrix(residual @ better + R @ worse)
        M.eliminate_zeros()
        R.eliminate_zeros()
        left = np.minimum(now, left)
    return M


def _squares(one: sp.csc_matrix, other: sp.csc_matrix) -> NDArray[np.float64]:
    """The products of the columns of two matrices, (n,)."""
    return np.asarray(one.multiply(other).sum(axis=0)).ravel()


@njit(cache=True)
def _factor(
    indptr: Ints, indices: Ints, o_indptr: Ints, owners: Ints, l2: float, shift: float, most: int
) -> Any:
    """The incomplete factor, column by column: at most `most` entries below the diagonal, the largest.

    Where a pivot becomes too small, d holds 0 there and from there on.
    """
    n = o_indptr.shape[0] - 1
    rows, values = np.empty(n * most, dtype=np.int32), np.empty(n * most)
    starts, d = np.zeros(n + 1, dtype=np.int64), np.zeros(n)
    head, after = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)  # columns by their next row
    place = np.zeros(n, dtype=np.int64)
    column, touched, seen = np.zeros(n), np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
    for j in range(n):
        count = 0
        pivot = l2
        for p in range(o_indptr[j], o_indptr[j + 1]):
            u = owners[p]
            for q in range(indptr[u], indptr[u + 1]):
                i = indices[q]
                if i == j:
                    pivot += 1.0
                elif i > j:
                    if not seen[i]:
                        seen[i] = True
                        touched[count] = i
                        count += 1
                    column[i] += 1.0
        pivot += shift * (pivot - l2)
        enough = 1e-2 * pivot
        k = head[j]
        while k >= 0:  # earlier columns with an entry in row j
            follow = after[k]
            p = place[k]
            scale = values[p] * d[k]
            pivot -= scale * values[p]
            for q in range(p + 1, starts[k + 1]):
                i = rows[q]
                if not seen[i]:
                    seen[i] = True
                    touched[count] = i
                    count += 1
                column[i] -= scale * values[q]
            place[k] = p + 1
            if p + 1 < starts[k + 1]:
                after[k] = head[rows[p + 1]]
                head[rows[p + 1]] = k
            k = follow
        if pivot < enough:  # what was dropped is missing
            return starts, rows[:0], values[:0], d
        d[j] = pivot
        size = min(most, count)
        found = touched[:count]
        if count > most:
            sizes = np.empty(count)
            for t in range(count):
                sizes[t] = -abs(column[found[t]])
            kept = np.sort(found[np.argsort(sizes)[:most]])
        else:
            kept = np.sort(found)
        starts[j + 1] = starts[j] + size
        for t in range(size):
            rows[starts[j] + t] = kept[t]
            values[starts[j] + t] = column[kept[t]] / d[j]
        for t in range(count):
            column[found[t]] = 0
            seen[found[t]] = False
        if size:
            place[j] = starts[j]
            after[j] = head[kept[0]]
            head[kept[0]] = j
    return starts, rows[: starts[n]], values[: starts[n]], d


def _truncated(M: sp.csc_matrix, most: int) -> sp.csc_matrix:
    """The largest entries of each column, at most `most`."""
    M.sort_indices()
    kept = _largest(M.indptr, M.data, most)
    columns = np.repeat(np.arange(M.shape[1]), np.diff(M.indptr))[kept]
    return sp.csc_matrix((M.data[kept], (M.indices[kept], columns)), shape=M.shape)


@njit(cache=True)
def _largest(indptr: Ints, data: Floats, most: int) -> Any:
    kept = np.ones(data.shape[0], dtype=np.bool_)
    for j in range(indptr.shape[0] - 1):
        start, stop = indptr[j], indptr[j + 1]
        if stop - start > most:
            kept[start:stop] = False
            kept[start + np.argsort(-np.abs(data[start:stop]))[:most]] = True
    return kept


def parts(test: bool) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    """What is fitted to, and the histories and held-out items that are measured on."""
    train = gowalla()
    if test:
        import os

        held = sp.csr_matrix(
            sp.load_npz(Path(os.environ["RECAE_DATA"]) / "gowalla" / "test.npz"), dtype=np.float32
        )
        return train, train, held
    rng = np.random.default_rng(1)
    lengths = np.diff(train.indptr)
    users = np.repeat(np.arange(train.shape[0]), lengths)
    order = np.lexsort((rng.random(train.nnz), users))
    rank = np.empty(train.nnz, dtype=np.int64)
    rank[order] = np.arange(train.nnz) - np.repeat(train.indptr[:-1], lengths)
    out = rank < np.floor(0.2 * lengths)[users]
    fitted, held = (
        sp.csr_matrix((np.ones(int(m.sum()), np.float32), (users[m], train.indices[m])), train.shape)
        for m in (~out, out)
    )
    every = np.arange(0, train.shape[0], 7)
    return fitted, sp.csr_matrix(fitted[every]), sp.csr_matrix(held[every])


def _line(
    name: str, model: Any, seconds: float, size: int, pair: tuple[sp.csr_matrix, sp.csr_matrix]
) -> None:
    started = time.perf_counter()
    found = evaluate(model, *pair, (20,)).means
    print(
        f"| {name} | {found['recall@20']:.4f} | {found['ndcg@20']:.4f} | {seconds:.0f} | {size / 2**20:,.0f} | "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} | {time.perf_counter() - started:.0f} |",
        flush=True,
    )


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--test", action="store_true", help="fit to all of train and measure on test.npz")
    parser.add_argument(
        "--density", type=float, nargs="*", default=[5e-5, 5e-4, 2e-3], help="of SANSA's factors"
    )
    parser.add_argument("--l2", type=float, nargs="*", default=[20.0], help="of SANSA")
    parser.add_argument(
        "--shift", type=float, nargs="*", default=[0.0], help="least multiple of the diagonal added"
    )
    parser.add_argument("--without-ours", action="store_true")
    options = parser.parse_args()
    fitted, *pair = parts(options.test)
    print(f"SANSA's factors and sparse-linear: {machine()}\n", file=sys.stderr)
    print("| model | Recall@20 | NDCG@20 | fit, s | model, MiB | peak so far, MiB | measuring, s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    small = sp.csr_matrix(fitted[:200])
    fit(small, 1e-4, 20.0)  # compiles
    for density in options.density:
        for l2, least in product(options.l2, options.shift):
            started = time.perf_counter()
            model = fit(fitted, density, l2, least)
            seconds = time.perf_counter() - started
            size = sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in (model.Mt, model.W))
            name = f"SANSA's factors, density {density:g}, l2 {l2:g}, shift {model.shift:g}"
            _line(name, model, seconds, size, (pair[0], pair[1]))
    if not options.without_ours:
        config = resolve(SparseLinearSettings(), fitted)
        fit_sparse_linear(small, config, Hooks())  # compiles
        started = time.perf_counter()
        ours, _ = fit_sparse_linear(fitted, config, Hooks())
        seconds = time.perf_counter() - started
        _line(
            "sparse-linear", ours, seconds, sum(a.nbytes for a in ours.arrays().values()), (pair[0], pair[1])
        )


if __name__ == "__main__":
    main()
