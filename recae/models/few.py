"""The reconstruction of a few histories, compiled: for less than some thirty rows it beats BLAS, which first rearranges
the whole decoder, and it runs without the interpreter's lock from end to end."""

from typing import Any

import numpy as np
from numba import njit

from recae.compiled import FAST, Floats, Ints, fetch_row

FEW = 32
"""Histories up to which this is faster."""

AHEAD = 8
"""Rows of the decoder between the one that is used and the one that is fetched from memory."""


@njit(nogil=True, cache=True, fastmath=FAST)
def encode(indptr: Ints, indices: Ints, E: Floats, bias: Floats, power: float, codes: Floats) -> None:
    """codes (B, d) ← 2σ(bias + Σ E_j / m^power) − 1 = tanh of half of that, over the m items j of each history."""
    two = E.dtype.type(2)
    for b in range(codes.shape[0]):
        z = codes[b]
        z[:] = bias
        first, last = indptr[b], indptr[b + 1]
        scale = E.dtype.type(max(last - first, 1) ** -power)
        for p in range(first, last):
            row = E[indices[p]]
            for k in range(z.shape[0]):
                z[k] += scale * row[k]
        for k in range(z.shape[0]):
            z[k] = np.tanh(z[k] / two)


@njit(nogil=True, cache=True, fastmath=FAST)
def decode(codes: Floats, W: Floats, bias: Floats, scores: Floats) -> None:
    """scores (B, I) ← codes Wᵀ + bias; a row's sums are the same whatever the other rows."""
    n_rows, n_items = scores.shape
    whole = n_items - n_items % 4
    for j in range(0, whole, 4):
        if j + AHEAD + 4 <= n_items:
            for i in range(j + AHEAD, j + AHEAD + 4):
                fetch_row(W, i)
        for b in range(0, n_rows, 2):
            # one place in the code for odd and even numbers of rows, so that all sums are made in the same order
            other = b + 1 if b + 1 < n_rows else b
            _two_by_four(codes[b], codes[other], W, j, bias, scores[b], scores[other])
    for j in range(whole, n_items):
        for b in range(n_rows):
            total = W[j, 0] - W[j, 0]
            for k in range(codes.shape[1]):
                total += W[j, k] * codes[b, k]
            scores[b, j] = total + bias[j]


@njit(nogil=True, cache=True, fastmath=FAST, inline="always")
def _two_by_four(x: Floats, y: Floats, W: Floats, j: int, bias: Floats, out_x: Floats, out_y: Floats) -> Any:
    v, w, s, t = W[j], W[j + 1], W[j + 2], W[j + 3]
    zero = v[0] - v[0]
    xv, xw, xs, xt = zero, zero, zero, zero
    yv, yw, ys, yt = zero, zero, zero, zero
    for k in range(x.shape[0]):
        xv += v[k] * x[k]
        xw += w[k] * x[k]
        xs += s[k] * x[k]
        xt += t[k] * x[k]
        yv += v[k] * y[k]
        yw += w[k] * y[k]
        ys += s[k] * y[k]
        yt += t[k] * y[k]
    out_x[j], out_x[j + 1] = xv + bias[j], xw + bias[j + 1]
    out_x[j + 2], out_x[j + 3] = xs + bias[j + 2], xt + bias[j + 3]
    out_y[j], out_y[j + 1] = yv + bias[j], yw + bias[j + 1]
    out_y[j + 2], out_y[j + 3] = ys + bias[j + 2], yt + bias[j + 3]
