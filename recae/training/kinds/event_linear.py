"""`event-linear`, solved: purchases, carts and views as inputs, purchases as targets, by one inverse of all inputs.

With the inputs Z = [X, s₁V₁, …, s_K V_K] (U, M), M = (1 + K) · I, purchases X and events V_e with strengths s_e, each
item's weights are those of a ridge regression in which no input of the item itself may speak for it:

    b_i = argmin ‖x_i − Z b‖² + bᵀΛb   with   b_j = 0 for j in S_i = {i, I + i, …, K·I + i}

Since P = (ZᵀZ + Λ)⁻¹ gives P Zᵀx_i = e_i − λ_i P e_i, the solution is, with multipliers for the 1 + K constraints,

    b_i = e_i − P_{·S} (P_{SS})⁻¹ e_1,                        S = S_i, e_1 the first unit vector of 1 + K numbers

which without events is EASE's −P_{·i}/P_ii (Steck 2019, arXiv:1905.03375). One inverse serves all items.

The item's own events are left out as its purchase is: who buys an item has mostly looked at it just before. A model
that may use that view learns nothing else, and what it learns is of no use for items that are looked at and not bought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import model_validator

from recae.errors import ConfigError, TrainingError
from recae.inputs import EventInputs
from recae.kinds import exact_solve
from recae.kinds.cost import BLOCK
from recae.machine import processors
from recae.models import EventLinear
from recae.models.event_linear import EventWorth
from recae.settings import Settings, redefined, setting
from recae.training.callbacks import Gain, Hooks, Judge
from recae.training.checkpoint import Epoch
from recae.training.device import memory_left
from recae.training.kinds.linear import EdlaeSettings, announce, from_items, from_users, l2_of, user_weights

STRENGTHS: Final = (1.0, 0.5, 2.0)
"""Factors of an event's inputs that are tried: a weak input is shrunk more than a strong one by the same l2."""

_LARGEST: Final = 1e3  # of a strength


class EventLinearSettings(Settings):
    """Settings of the linear model of purchases and other events; None: chosen from the data."""

    l2: float | None = setting(None, "λ, what is added to the diagonal of ZᵀZ", ge=1e-3, le=1e9)
    dropout: float = setting(
        0.3,
        "p in [0, 1): fraction of each history hidden, in expectation; adds p/(1−p) diag(ZᵀZ) to the diagonal",
        ge=0,
        lt=1,
    )
    user_power: float = redefined(EdlaeSettings, "user_power", 0.5)
    strengths: str | None = setting(
        None, 'how strongly each event counts as an input, such as "cart=1,view=0.5"; "": none counts'
    )
    seed: int = redefined(EdlaeSettings, "seed", 0)

    @model_validator(mode="after")
    def _strengths_can_be_read(self) -> Self:
        read_strengths(self.strengths or "")
        return self


def read_strengths(text: str) -> dict[str, float]:
    """Return the strengths of a text such as "cart=1,view=0.5"; those of 0 are left out.

    Raises:
        ConfigError: it is no such text.
    """
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.rpartition("=")
        try:
            number = float(value) if equals and name.strip() else float("nan")
        except ValueError:
            number = float("nan")
        if not 0 <= number <= _LARGEST or name.strip() in found:
            raise ConfigError(
                f"strengths is EVENT=NUMBER,… with each event once and numbers from 0 to {_LARGEST:g}, such as "
                f"cart=1,view=0.5, found {part!r}: give that"
            )
        found[name.strip()] = number
    return {name: number for name, number in found.items() if number}


def write_strengths(strengths: Mapping[str, float]) -> str:
    """Return the text that `read_strengths` reads."""
    return ",".join(f"{name}={number:g}" for name, number in strengths.items())


def fit_event_linear(
    matrix: sp.csr_matrix, config: EventLinearSettings, hooks: Hooks
) -> tuple[EventLinear, list[Epoch]]:
    """Fit the model to (U, I) purchases and to the other events of `hooks.inputs`.

    Which events are used is chosen on the validation users unless `strengths` says so, the most helpful one first:
    with an event and without it, at the best of `STRENGTHS`. The half of the users that an event is measured on
    has not chosen its strength. It is used where the interval of the gain lies above 0.

    Raises:
        ConfigError: `strengths` names an event that is not given, or none are.
        TrainingError: the inverse does not fit in memory, or as `recae.training.kinds.linear.solve`.
    """
    if config.l2 is None:
        config = config.filled(l2=l2_of(matrix))
    inputs, chosen = hooks.inputs, config.strengths
    if inputs is None:
        if chosen:
            raise ConfigError(
                f"strengths are given for events ({chosen}), but none are read: name them with --inputs, or leave "
                "strengths out"
            )
        hooks.on_message(
            "event-linear learns from the purchases alone: --inputs cart,view gives it other events"
        )
    fits = _Fits(matrix, inputs, config, hooks)
    if chosen is None and inputs is not None:
        if hooks.judge is not None:
            return _choose(fits, inputs, hooks.judge), []
        hooks.on_message(
            "event-linear leaves the other events out: without validation users nothing says whether they help"
        )
    strengths = read_strengths(chosen or "")
    unknown = [name for name in strengths if name not in fits.names]
    if unknown:
        raise ConfigError(
            f"strengths name {unknown[0]!r}, but the events are {', '.join(fits.names)}: give one of these"
        )
    return fits.at(strengths), []


@dataclass(frozen=True, eq=False)
class _Fits:
    """Fits of the model to the same purchases and events, at different strengths.

    Attributes:
        matrix: (U, I) purchases.
        inputs: other events of the same users; None where there are none.
        config: the settings, with l2.
        hooks: of the fits.
    """

    matrix: sp.csr_matrix
    inputs: EventInputs | None
    config: EventLinearSettings
    hooks: Hooks

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the events."""
        return () if self.inputs is None else self.inputs.names

    def at(self, strengths: Mapping[str, float]) -> EventLinear:
        """Return the model with these strengths by event; those that are not named are not used."""
        used = tuple(place for place, name in enumerate(self.names) if name in strengths)
        ordered = {self.names[place]: strengths[self.names[place]] for place in used}
        weights = solve(self.matrix, self.inputs, ordered, self.config, self.hooks)
        settings = {**self.config.as_dict(), "strengths": write_strengths(ordered)}
        return EventLinear(weights, self.names, used, settings)

    def trial(
        self, name: str, strengths: Mapping[str, float], before: NDArray[np.float64], judge: Judge
    ) -> _Trial:
        """Return what an event brings beside `strengths` of others, where NDCG@20 is `before` (B,) without it."""
        models = [self.at({**strengths, name: strength}) for strength in STRENGTHS]
        tried = np.array([judge.values(model) for model in models])
        best = _best(tried)
        gain = judge.gain(_crossed(tried), before)
        return _Trial(name, gain, STRENGTHS[best], models[best], tried[best])


@dataclass(frozen=True, eq=False)
class _Trial:
    """An event beside those that are used already, at the strength that is best for all validation users.

    Attributes:
        name: of the event.
        gain: of NDCG@20, each half of the users at the strength that is best for the other half.
        strength: the best one.
        model: with it.
        values: NDCG@20 of each validation user, (B,).
    """

    name: str
    gain: Gain
    strength: float
    model: EventLinear
    values: NDArray[np.float64]


def _choose(fits: _Fits, inputs: EventInputs, judge: Judge) -> EventLinear:
    """Return the model with the events that help, the most helpful one taken first."""
    strengths: dict[str, float] = {}
    worth: list[EventWorth] = []
    model = fits.at(strengths)
    values = judge.values(model)
    left = list(inputs.names)
    while left:
        trials = [fits.trial(name, strengths, values, judge) for name in left]
        best = max(trials, key=lambda trial: trial.gain.mean)  # of equals the first
        used = best.gain.low > 0
        # where the best one does not help, none of the others is used either
        for trial in [best] if used else trials:
            gain = trial.gain
            fits.hooks.on_message(
                f"event-linear: the event {trial.name!r} brings {gain.mean:+.4f} NDCG@20 on the validation users "
                f"(95 % interval {gain.low:+.4f} to {gain.high:+.4f}) "
                + (f"and is used with strength {trial.strength:g}" if used else "and is left out")
            )
            strength = trial.strength if used else 0.0
            worth.append(EventWorth(trial.name, gain.mean, gain.low, gain.high, used, strength))
        if not used:
            break
        left.remove(best.name)
        strengths[best.name], model, values = best.strength, best.model, best.values
    return replace(model, worth=tuple(worth))


def _crossed(tried: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the value of each user (B,) at the strength that is best for the other half, of values (S, B)."""
    found = np.empty(tried.shape[1])
    half = np.arange(found.size) % 2
    for mine in (0, 1):
        found[half == mine] = tried[_best(tried[:, half != mine]), half == mine]
    return found


def _best(tried: NDArray[np.float64]) -> int:
    """Return the place of the strength with the best mean, of values (S, B); NaN is of users who are not measured."""
    known = tried[:, np.isfinite(tried).all(axis=0)]
    return int(np.argmax(known.mean(axis=1))) if known.size else 0


def solve(
    matrix: sp.csr_matrix,
    inputs: EventInputs | None,
    strengths: Mapping[str, float],
    config: EventLinearSettings,
    hooks: Hooks,
) -> NDArray[np.float32]:
    """Return the weights B, float32 ((1 + used) · I, I); the module says of what.

    Args:
        matrix: X, (U, I) pattern of the purchases.
        inputs: events of the same users; None where there are none.
        strengths: event → its strength, in the order of `inputs`; events that are not named are not used.
        config: the settings, with l2.
        hooks: `confidence` in each purchase counts as in EASE, by its root.

    Raises:
        TrainingError: it does not fit in memory (before anything is computed), or the matrix to invert is not positive
            definite in single precision.
    """
    items = matrix.shape[1]
    Z = _inputs(matrix, inputs, strengths, config.user_power, hooks.confidence)
    squares = np.bincount(Z.indices, weights=Z.data**2, minlength=Z.shape[1])
    penalty = (config.l2 or 0.0) + config.dropout / (1 - config.dropout) * squares
    by_users, need = _plan(Z, items)
    Z.data /= np.sqrt(penalty)[Z.indices]
    Z = Z.astype(np.float32)
    announce(Z.shape[0] if by_users else Z.shape[1], "users" if by_users else "inputs", items, need, hooks)
    N = from_users(Z) if by_users else from_items(Z)
    return _weights(N, np.sqrt(penalty), items, np.array([1.0, *strengths.values()]))


def _inputs(
    matrix: sp.csr_matrix,
    inputs: EventInputs | None,
    strengths: Mapping[str, float],
    user_power: float,
    confidence: NDArray[np.float32] | None,
) -> sp.csr_matrix:
    """Return Z of the users with purchases, float64 (users, M), each user's row times the root of its weight."""
    buyers = np.flatnonzero(np.diff(matrix.indptr))
    roots = np.sqrt(user_weights(matrix, user_power)[buyers])
    X = sp.csr_matrix(matrix, dtype=np.float64)
    if confidence is not None:
        X.data = np.sqrt(confidence.astype(np.float64))
    blocks = [sp.csr_matrix(X[buyers])]
    if inputs is not None:
        blocks += [
            sp.csr_matrix(inputs.block(name)[buyers], dtype=np.float64) * strength
            for name, strength in strengths.items()
        ]
    Z = sp.csr_matrix(sp.hstack(blocks, format="csr"))
    Z.data = Z.data * np.repeat(roots, np.diff(Z.indptr))
    return Z


def _plan(Z: sp.csr_matrix, items: int) -> tuple[bool, int]:
    """Return whether to invert users by users, and the bytes that the solution takes; TrainingError without room."""
    left = memory_left("cpu")
    found = exact_solve(*Z.shape, Z.nnz, left, processors(), memory_share=1.0)
    need = found.bytes + 4 * Z.shape[1] * items
    if left is not None and need > left:
        blocks = Z.shape[1] // items - 1
        raise TrainingError(
            f"a weight for each pair of {Z.shape[1]:,} inputs (the purchases and {blocks} other events of {items:,} "
            f"items) needs {need / 2**30:,.1f} GiB of memory, and this machine has {left / 2**30:,.1f} GiB left: name "
            "fewer events in --inputs, leave out rare items with --min-item-purchases, or use the kind 'sparse-linear'"
        )
    return found.by_users, need


def _weights(
    N: NDArray[np.float32], roots: NDArray[np.float64], items: int, scales: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return B of N = (I + Λ^−½ ZᵀZ Λ^−½)⁻¹ for inputs that are not scaled, float32 (M, I).

    Args:
        N: (M, M), symmetric; P = Λ^−½ N Λ^−½.
        roots: of Λ, (M,).
        items: I.
        scales: strengths by which each block of inputs was multiplied, (1 + K,).
    """
    blocks = len(scales)

    def part(block: int) -> slice:
        return slice(block * items, (block + 1) * items)

    own = np.empty((items, blocks, blocks))
    for a in range(blocks):
        for b in range(blocks):
            own[:, a, b] = N[part(a), part(b)].diagonal()
    first = np.zeros((items, blocks, 1))
    first[:, 0] = 1
    try:
        multipliers = np.linalg.solve(own, first)[:, :, 0]  # (P_SS)⁻¹ e_1 but for the roots
    except np.linalg.LinAlgError:
        multipliers = np.full((items, blocks), np.nan)
    if not np.isfinite(multipliers).all():
        raise TrainingError("the inverse lost its precision: give a larger l2")
    columns = (-multipliers * roots[:items, None]).astype(np.float32)
    rows = (np.repeat(scales, items) / roots).astype(np.float32)
    B = np.empty((len(N), items), dtype=np.float32)
    for start in range(0, len(N), BLOCK):
        some = slice(start, min(start + BLOCK, len(N)))
        found = N[some, :items] * columns[:, 0]
        for block in range(1, blocks):
            found += N[some, part(block)] * columns[:, block]
        B[some] = found * rows[some, None]
    for block in range(blocks):
        np.fill_diagonal(B[part(block)], 0)
    if not np.isfinite(B).all():
        raise TrainingError("a weight is not finite: give a larger l2")
    return B
