"""The vector of one user under BPR's pairwise objective, with the items' vectors given: Newton's method, compiled."""

from typing import Any

import numpy as np
from numba import njit

from recae.compiled import Floats, Ints

STEPS = 50
"""Most Newton steps; five to ten are usual."""

HALVINGS = 60
"""Most times that a step which leads too far is halved."""

PRECISION = 1e-8
"""Where it stops: length of the gradient, relative to that at the start."""


@njit(nogil=True, cache=True)
def fold_in(
    indptr: Ints, indices: Ints, Y: Floats, bias: Floats, others: Ints, regularization: float, codes: Floats
) -> None:
    """codes (B, d) ← for each history S the p that minimises

        mean over i ∈ S, j ∈ others ∖ S of log(1 + exp(−p·(y_i − y_j) − c_i + c_j))  +  ½ λ ‖p‖²

    Y (I, d), bias c (I,), others (n,) items of which some may occur more than once, λ > 0: strictly convex. The zero
    vector where there is no such pair. Holds len(S) × n numbers at a time. A row does not depend on the others.
    """
    owned = np.zeros(Y.shape[0], dtype=np.bool_)
    for b in range(codes.shape[0]):
        history = indices[indptr[b] : indptr[b + 1]]
        owned[history] = True
        rest = others[~owned[others]]
        owned[history] = False
        codes[b] = 0
        if len(history) and len(rest):
            liked, unliked = Y[history].astype(np.float64), Y[rest].astype(np.float64)
            codes[b] = _minimise(liked, unliked, bias[history], bias[rest], regularization)


@njit(nogil=True, cache=True)
def _minimise(A: Floats, B: Floats, a: Floats, b: Floats, regularization: float) -> Any:
    """A (m, d), a (m,) of the history, B (n, d), b (n,) of the others → p (d,) float64."""
    p = np.zeros(A.shape[1])
    z, g = _gradient(A, B, a, b, regularization, p)
    enough = PRECISION * np.sqrt(g @ g)
    for _ in range(STEPS):
        if np.sqrt(g @ g) <= enough:
            break
        s = _newton_step(A, B, z, g, regularization)
        slope = g @ s  # below 0; the loss falls along s until it is 0
        t = 1.0
        for _ in range(HALVINGS):
            z, g = _gradient(A, B, a, b, regularization, p + t * s)
            if g @ s <= -0.1 * slope:
                break
            t /= 2
        p += t * s
    return p


@njit(nogil=True, cache=True)
def _gradient(A: Floats, B: Floats, a: Floats, b: Floats, regularization: float, p: Floats) -> Any:
    """z (m, n), σ(score of j − score of i) for each pair, and the gradient (d,)."""
    u, v = A @ p + a, B @ p + b
    middle = 0.5 * (u.mean() + v.mean())
    # one exponential an item and none a pair, unless their products would not be numbers
    near = max(np.abs(u - middle).max(), np.abs(v - middle).max()) < 300
    up, down = np.exp(u - middle), np.exp(middle - v)
    z = np.empty((u.size, v.size))
    of_liked, of_unliked = np.zeros(u.size), np.zeros(v.size)
    for i in range(u.size):
        for j in range(v.size):
            odds = up[i] * down[j] if near else np.exp(u[i] - v[j])
            z[i, j] = 1 / (1 + odds)
            of_liked[i] += z[i, j]
            of_unliked[j] += z[i, j]
    return z, regularization * p + (of_unliked @ B - of_liked @ A) / z.size


@njit(nogil=True, cache=True)
def _newton_step(A: Floats, B: Floats, z: Floats, g: Floats, regularization: float) -> Any:
    """s (d,) with H s = −g to a hundredth, by conjugate gradients.

    H = λ 1 + mean over the pairs of z(1 − z)(y_i − y_j)(y_i − y_j)ᵀ; of it only products with vectors are made.
    """
    h = z * (1 - z) / z.size
    of_liked, of_unliked = h.sum(axis=1), h.sum(axis=0)
    s = np.zeros(g.size)
    r = -g
    direction = r.copy()
    square = r @ r
    enough = 1e-4 * square
    for _ in range(2 * g.size):
        if square <= enough:
            break
        x, y = A @ direction, B @ direction
        product = regularization * direction
        product += (of_liked * x - h @ y) @ A + (of_unliked * y - x @ h) @ B
        step = square / (direction @ product)
        s += step * direction
        r -= step * product
        new_square = r @ r
        direction = r + (new_square / square) * direction
        square = new_square
    return s
