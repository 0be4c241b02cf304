"""Paths from an empty history to a whole one: what each item adds to the scores of a model of several layers.

Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) along the straight path α·x, α from 0 to 1, with the
scale of the input, 1/m^p, held at the history's own m. The path is cut into `STEPS` pieces. On each piece every layer
is replaced by the straight line through its values at the two ends (the rescale rule of Shrikumar et al. 2017,
arXiv:1704.02685), so that the contributions sum to the difference of the scores exactly, whatever the number of pieces;
with more pieces they come near the integral, with an error that falls with the square of their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]
Pull: TypeAlias = Callable[[Doubles], Doubles]
"""Turns slopes by a layer's output, (STEPS, n, out), into slopes by its input, (STEPS, n, in)."""

STEPS: Final = 32
"""Pieces of the path."""

_TARGETS: Final = 64  # items taken apart at one time
_NEAR: Final = 1e-6  # values nearer than that have no usable line through them
_BESIDE: Final = 1e-4  # and the slope is taken from this far on either side


def slopes(function: Callable[[Doubles], Doubles], x: Doubles, y: Doubles) -> Doubles:
    """Return the slopes of a function of single numbers between neighbouring rows of x (S + 1, n), as (S, n)."""
    rise, run = np.diff(y, axis=0), np.diff(x, axis=0)
    near = np.abs(run) < _NEAR
    found = np.divide(rise, run, out=np.zeros_like(run), where=~near)
    if near.any():
        middle = ((x[1:] + x[:-1]) / 2)[near]
        found[near] = (function(middle + _BESIDE) - function(middle - _BESIDE)) / (2 * _BESIDE)
    return found


def elementwise(function: Callable[[Any], Any], x: Doubles) -> tuple[Doubles, Pull]:
    """Return function(x), (S + 1, n), and its pull."""
    y = np.asarray(function(x), dtype=np.float64)
    slope = slopes(function, x, y)[:, None, :]
    return y, lambda pulled: pulled * slope


def linear(weight: NDArray[Any], bias: NDArray[Any], x: Doubles) -> tuple[Doubles, Pull]:
    """Return x · weight + bias, (S + 1, out), and its pull."""
    weight = weight.astype(np.float64)
    return x @ weight + bias, lambda pulled: pulled @ weight.T


def normalised(x: Doubles, epsilon: float) -> tuple[Doubles, Pull]:
    """Return x without its rows' means, over the root of their variance plus epsilon, and its pull.

    With c the centred row and r = 1/σ, the difference of c·r over a piece is linear in that of c:
    r̄ Δc + c̄ Δr, with Δr = −mean(Δc (c₀ + c₁)) / (σ₀ σ₁ (σ₀ + σ₁)).
    """
    c = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((c * c).mean(axis=1, keepdims=True) + epsilon)
    low, high = deviation[:-1, None], deviation[1:, None]  # (S, 1, 1)
    both = (c[:-1] + c[1:])[:, None, :]  # (S, 1, n)
    inverse = (1 / low + 1 / high) / 2
    turn = 1 / (low * high * (low + high) * x.shape[1])

    def pull(pulled: Doubles) -> Doubles:
        along = (pulled * both).sum(axis=2, keepdims=True) / 2
        of_centred = inverse * pulled - turn * along * both
        return np.asarray(of_centred - of_centred.mean(axis=2, keepdims=True))

    return c / deviation, pull


def contributions(
    inputs: Doubles, start: NDArray[Any], layers: Callable[[Doubles], Pull], vectors: NDArray[Any]
) -> Doubles:
    """Return what each item of a history adds to the scores of some items, (m, n).

    Args:
        inputs: (m, k), what each item of the history adds to the first layer.
        start: (k,), the first layer without any.
        layers: what comes after: of the first layer along the path, (S + 1, k), the pull of the last hidden one.
        vectors: (n, D), what the items' scores weigh the last hidden layer by.
    """
    path = start + np.linspace(0, 1, STEPS + 1)[:, None] * inputs.sum(axis=0)
    pull = layers(np.asarray(path, dtype=np.float64))
    found = np.empty((len(inputs), len(vectors)))
    for first in range(0, len(vectors), _TARGETS):
        some = slice(first, first + _TARGETS)
        vector = vectors[some].astype(np.float64)
        slope = pull(np.broadcast_to(vector, (STEPS, *vector.shape))).mean(axis=0)  # (n, k)
        found[:, some] = inputs @ slope.T
    return found


def chain(pulls: list[Pull]) -> Pull:
    """Return the pull of layers after one another."""

    def pull(pulled: Doubles) -> Doubles:
        for one in reversed(pulls):
            pulled = one(pulled)
        return pulled

    return pull


def scaled_inputs(encoder: NDArray[Any], items: NDArray[np.integer[Any]], power: float) -> Doubles:
    """Return rows of a first layer over m^power, float64 (m, k): what each of m items adds to it."""
    scale = float(max(items.size, 1)) ** -power
    return np.asarray(encoder[items].astype(np.float64) * scale)
