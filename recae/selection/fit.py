"""Fitting a model of any kind: those by themselves, and those that are put together from several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import scipy.sparse as sp

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.kinds import SETTINGS, find, is_simple, parts_of, title
from recae.models import Model
from recae.settings import build_config
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints, Epoch

Pair = tuple[sp.csr_matrix, sp.csr_matrix]
"""Histories and the items held out of them, (B, I) each."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model, its epochs (none for a closed form), and what is to be kept of how it was chosen, as JSON values."""

    model: Model
    epochs: list[Epoch]
    report: Mapping[str, Any] = field(default_factory=dict)


def fit_kind(
    kind: str,
    values: Mapping[str, Any],
    matrix: sp.csr_matrix,
    validation: Pair | None = None,
    hooks: Hooks | None = None,
    *,
    exclude_owned: bool = True,
) -> tuple[Model, list[Epoch]]:
    """`fit_config` of the configuration that `values` make."""
    config = make_config(kind, values)
    fitted = fit_config(kind, config, matrix, validation, hooks, exclude_owned=exclude_owned)
    return fitted.model, fitted.epochs


def fit_config(
    kind: str,
    config: Any,
    matrix: sp.csr_matrix,
    validation: Pair | None = None,
    hooks: Hooks | None = None,
    *,
    exclude_owned: bool = True,
) -> Fitted:
    """Fits a model to the rows of `matrix` ((U, I) CSR).

    `validation` are users to choose on, by recall@20 where epochs are concerned (unless `hooks.validate` says
    otherwise); without them all epochs are run, and a blend holds out some of the matrix itself. With `exclude_owned`
    off, what a user owns may be recommended. Raises ConfigError for settings that do not suit the data, TrainingError
    when fitting fails.
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
    return Fitted(*fit_simple(kind, matrix, config, hooks))


def fit_simple(
    kind: str, matrix: sp.csr_matrix, config: Any, hooks: Hooks | None = None
) -> tuple[Model, list[Epoch]]:
    """Fit a model of a kind by itself to the rows of `matrix` ((U, I) CSR pattern); no epochs for a closed form.

    Raises ConfigError for purchases of different confidence where the kind cannot take it.
    """
    hooks = hooks or Hooks()
    if hooks.weights is not None:
        check_confidence(kind)
    fitted: tuple[Model, list[Epoch]] = find(kind).fit_function()(matrix, config, hooks)
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
            f"{title(kind)} ranks what a user owns, which is left out unless people rebuy: add --repeats "
            f"(repeats=True), or {otherwise}"
        )


def check_checkpoints(kind: str, checkpoints: Checkpoints | None) -> None:
    """Raise ConfigError for a kind that cannot go on from a checkpoint, where one is asked for."""
    if checkpoints is not None and not find(kind).resumable:
        raise ConfigError(
            f"a checkpoint holds one training, and {kind} tries several: train it without checkpoints, or train "
            "one kind"
        )


def check_weighting(kind: str, config: Any, weighting: Weighting, repeats: bool = False) -> None:
    """Raises ConfigError, before anything is read, where purchases are to weigh and the kind cannot weigh them.

    Of a blend all parts must be able to, and of the candidates of auto one that is named; but not one with a decay of
    its own, where people rebuy.
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
    """Whether a kind learns from weighted purchases; those that are put together do, where their parts do."""
    return not find(kind).no_confidence


def batch_size_of(config: Any) -> int:
    """Users whose codes are computed together, of a blend in its main part; 2 where it is chosen from the data later.

    A kind that is not trained by users counts as 1.
    """
    if main := getattr(config, "main_part", ""):
        return int(config.parts.get(f"{main}.batch_size", 1))
    return getattr(config, "batch_size", 1) or 2


def make_config(kind: str, settings: Mapping[str, Any]) -> Any:
    """The configuration of a kind of model. Raises ConfigError for an unknown kind, name or value."""
    return build_config(kind, find(kind).settings_class(), settings, kinds=SETTINGS)
