"""Fit of a model of any kind: single ones, and those that are put together from several."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiling import COMPILING
from recae.confidence import Weighting
from recae.errors import ConfigError, torch_needed
from recae.evaluation import evaluate
from recae.evaluation.intervals import paired_difference
from recae.interactions import Interactions
from recae.kinds import SETTINGS, find, is_simple, known, parts_of, title
from recae.models import Model
from recae.settings import build_settings
from recae.training.callbacks import Gain, Hooks
from recae.training.checkpoint import BEST_EPOCHS, Checkpoints, Epoch, best_epoch

Pair = tuple[sp.csr_matrix, sp.csr_matrix]
"""Histories and held-out items, (B, I) each."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model, its epochs (none for a closed form), and the record of how it was chosen, as JSON values."""

    model: Model
    epochs: list[Epoch]
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ValidationUsers:
    """Measures models on validation users, for what a fit uses only where it helps; a `recae.training.callbacks.Judge`.

    Attributes:
        pair: histories, with the users' other events where there are any, and held-out items.
        exclude_owned: whether lists leave out what a history holds.
    """

    pair: Pair
    exclude_owned: bool = True

    def values(self, model: Model) -> NDArray[np.float64]:
        """Return NDCG@20 of each user, (B,)."""
        found = evaluate(model, *self.pair, (20,), metrics=("ndcg",), exclude_owned=self.exclude_owned)
        return found.values["ndcg@20"]

    def gain(self, values: NDArray[np.float64], before: NDArray[np.float64]) -> Gain:
        """Return the mean gain with its 95 % interval, by the paired bootstrap."""
        found = paired_difference(values, before)
        return Gain(found.mean, found.low, found.high)


def fit_kind(
    kind: str,
    values: Mapping[str, Any],
    matrix: sp.csr_matrix,
    validation: Pair | None = None,
    hooks: Hooks | None = None,
    *,
    exclude_owned: bool = True,
) -> tuple[Model, list[Epoch]]:
    """Fit a kind with settings `values`, as `fit_settings`; return the model and its epochs."""
    config = make_settings(kind, values)
    fitted = fit_settings(kind, config, matrix, validation, hooks, exclude_owned=exclude_owned)
    return fitted.model, fitted.epochs


def fit_settings(
    kind: str,
    config: Any,
    matrix: sp.csr_matrix,
    validation: Pair | None = None,
    hooks: Hooks | None = None,
    *,
    exclude_owned: bool = True,
) -> Fitted:
    """Fit a model to the rows of `matrix` ((U, I) CSR).

    Args:
        kind: of the model.
        config: its settings.
        matrix: what is learned from.
        validation: users to choose on, by recall@20 for epochs (unless `hooks.validate` says otherwise); None: all
            epochs are run, and a blend holds out some of the matrix itself.
        hooks: of the training.
        exclude_owned: whether lists leave out what a user owns.

    Raises:
        ConfigError: the settings do not suit the data.
        TrainingError: fitting fails.
    """
    hooks = hooks or Hooks()
    check_checkpoints(kind, hooks.checkpoints)
    if not is_simple(kind):
        fit_parts = find(kind).fit_function()
        return Fitted(
            *fit_parts(matrix, config, validation, hooks, exclude_owned=exclude_owned, fit=fit_kind)
        )
    if validation is not None and hooks.validate is None:
        pair = validation

        def recall(model: Model) -> float:
            return evaluate(model, *pair, (20,), exclude_owned=exclude_owned).mean("recall@20")

        hooks = replace(hooks, validate=recall)
    if validation is not None and hooks.judge is None:
        hooks = replace(hooks, judge=ValidationUsers(validation, exclude_owned))
    model, epochs = fit_simple(kind, matrix, config, hooks)
    return Fitted(model, epochs, {BEST_EPOCHS: {kind: best_epoch(epochs)}} if epochs else {})


def fit_simple(
    kind: str, matrix: sp.csr_matrix, config: Any, hooks: Hooks | None = None
) -> tuple[Model, list[Epoch]]:
    """Fit a model of a kind by itself to the rows of `matrix` ((U, I) CSR pattern); no epochs for a closed form.

    Raises:
        ConfigError: for purchases of different confidence where the kind cannot take it.
    """
    hooks = hooks or Hooks()
    if hooks.confidence is not None:
        check_confidence(kind)
    validate, validating = hooks.validate, 0.0
    if validate is not None:
        asked = validate

        def timed(model: Model) -> float:
            nonlocal validating
            began = time.perf_counter()
            quality = asked(model)
            validating += time.perf_counter() - began
            return quality

        if hooks.engine is None:  # whose workers are handed the function itself
            hooks = replace(hooks, validate=timed)
    began, compiled = time.perf_counter(), COMPILING.seconds
    with torch_needed(f"the kind '{kind}'"):
        fitted: tuple[Model, list[Epoch]] = find(kind).fit_function()(matrix, config, hooks)
    if hooks.seconds is not None:
        compiling = (
            COMPILING.seconds - compiled
        )  # by whatever runs beside it, too; the next fit need not do it again
        hooks.seconds[kind] = max(time.perf_counter() - began - validating - compiling, 0.0)
    return fitted


def check_confidence(kind: str) -> None:
    """Raise ConfigError for a kind that cannot take confidence, how much a purchase counts."""
    if why := find(kind).no_confidence:
        raise ConfigError(
            f"{kind} cannot weigh purchases, since {why}: leave out --half-life and --quantity-as-confidence, or "
            "choose another kind"
        )


def check_repeats(kind: str, repeats: bool, otherwise: str) -> None:
    """Raise ConfigError for a kind that ranks what a user owns, where that is left out.

    Args:
        kind: Of model.
        repeats: Whether what a user owns may be recommended.
        otherwise: What else to do, to end the sentence with.
    """
    if find(kind).needs_repeats and not repeats:
        raise ConfigError(
            f"{title(kind)} ranks what a user owns, which is left out without repeat purchases: add --repeats "
            f"(repeats=True), or {otherwise}"
        )


ADD_INPUTS = 'add --inputs cart,view (inputs="cart,view"), or take another kind'
"""The way out where a kind lacks other events and they can be given."""


def check_inputs(
    kind: str,
    config: Any,
    events: Sequence[str] | None,
    repeats: bool = False,
    *,
    otherwise: str = ADD_INPUTS,
) -> None:
    """Check, before anything is read, that a kind reads other events where they are given, and has them where it does.

    Args:
        kind: Of model.
        config: Its settings.
        events: Names of the events; None where none are asked for.
        repeats: Whether repeat purchases count.
        otherwise: What to do where they are not given, to end the sentence with.

    Raises:
        ConfigError: It does not, or they are not there.
    """
    row = find(kind)
    parts = parts_of(kind, getattr(config, row.parts), repeats, inputs=True) if row.parts else (kind,)
    reading = [part for part in parts if is_simple(part) and find(part).needs_inputs]
    if events is None:
        named = not row.parts or getattr(config, row.parts) is not None
        if reading and named:
            raise ConfigError(
                f"{reading[0]} reads other events than purchases, and none are given: {otherwise}"
            )
        return
    if not reading:
        able = ", ".join(row.name for row in known().values() if row.needs_inputs)
        raise ConfigError(
            f"--inputs gives other events than purchases ({', '.join(events)}) to a model, and {kind} reads none: take "
            f"the default blend or the kind {able}, or leave --inputs out"
        )
    if repeats:
        raise ConfigError(
            "other events as inputs and repeat purchases do not go together yet: leave out --inputs or --repeats"
        )


def check_checkpoints(kind: str, checkpoints: Checkpoints | None) -> None:
    """Raise ConfigError for a kind that cannot go on from a checkpoint, where one is asked for."""
    if checkpoints is not None and not find(kind).resumable:
        raise ConfigError(
            f"a checkpoint holds one training, and {kind} tries several: train it without checkpoints, or train "
            "one kind"
        )


def check_confidences(kind: str, config: Any, interactions: Interactions, repeats: bool = False) -> None:
    """Check that a kind can take the confidences that purchases bring.

    Raises:
        ConfigError: it cannot.
    """
    if interactions.confidences is not None:
        check_weighting(kind, config, Weighting(quantity_as_confidence=True), repeats)


def check_weighting(kind: str, config: Any, weighting: Weighting, repeats: bool = False) -> None:
    """Check, before anything is read, that a kind can take confidence where it is asked for.

    All parts of a blend must be able to, and the candidates of auto that are named; a part with a decay of its own,
    for repeat purchases, need not.

    Raises:
        ConfigError: it cannot.
    """
    if not weighting:
        return
    row = find(kind)
    named = [kind]
    if row.parts:
        # those that are taken where none are named can, but for those with a decay of their own
        named = [
            part for part in parts_of(kind, getattr(config, row.parts) or "", repeats) if is_simple(part)
        ]
        named = [part for part in named if not (find(part).decay and repeats)]
    for part in named:
        check_confidence(part)


def weighs(kind: str) -> bool:
    """Return whether a kind takes confidence; those that are put together do where their parts do."""
    return not find(kind).no_confidence


def batch_size_of(config: Any) -> int:
    """Return the number of users whose codes are computed together; of a blend, that of its main part.

    It is 2 where it is chosen from the data later, and 1 for a kind that is not trained by users.
    """
    if main := getattr(config, "main_part", ""):
        return int(config.parts.get(f"{main}.batch_size", 1))
    return getattr(config, "batch_size", 1) or 2


def make_settings(kind: str, settings: Mapping[str, Any]) -> Any:
    """Return the settings of a kind of model; ConfigError for an unknown kind, name or value."""
    return build_settings(kind, find(kind).settings_class(), settings, kinds=SETTINGS)
