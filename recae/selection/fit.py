"""Fitting a model of any kind: the registered ones, and those that are put together from several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import scipy.sparse as sp

from recae.confidence import Weighting
from recae.evaluation import evaluate
from recae.kinds import KINDS_OF_TRAINING, check_weighted
from recae.kinds import fit as fit_registered
from recae.models import Model
from recae.selection.auto import AutoConfig, fit_auto
from recae.selection.blend import BlendConfig, fit_blend
from recae.settings import build_config, choose_kind
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch

Pair = tuple[sp.csr_matrix, sp.csr_matrix]
"""Histories and the items held out of them, (B, I) each."""

CONFIGS: dict[str, type[Any]] = {
    **{name: kind.config for name, kind in KINDS_OF_TRAINING.items()},
    "blend": BlendConfig,
    "auto": AutoConfig,
}
"""The configuration class of every kind that can be asked for."""

DEFAULT_KIND = "blend"
"""What is trained where no kind is named: on every data set it was tried on, ahead of each of its parts or level."""


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
    if kind == "blend":
        return Fitted(*fit_blend(matrix, config, validation, hooks, exclude_owned=exclude_owned))
    if kind == "auto":
        return Fitted(*fit_auto(matrix, config, validation, hooks, exclude_owned=exclude_owned, fit=fit_kind))
    if validation is not None and hooks.validate is None:
        pair = validation

        def recall(model: Model) -> float:
            return evaluate(model, *pair, (20,), exclude_owned=exclude_owned).mean("recall@20")

        hooks = replace(hooks, validate=recall)
    return Fitted(*fit_registered(kind, matrix, config, hooks))


def check_weighting(kind: str, config: Any, weighting: Weighting, repeats: bool = False) -> None:
    """Raises ConfigError, before anything is read, where purchases are to weigh and the kind cannot weigh them.

    Of a blend all parts must be able to, and of the candidates of auto one that is named; but not personal frequency,
    where people rebuy.
    """
    if not weighting:
        return
    named = [kind]
    if kind in ("blend", "auto"):
        text = config.components if kind == "blend" else config.candidates
        named = [part.strip() for part in (text or "").split(",")]
        named = [part for part in named if part != "frequency" or not repeats]
    for part in named:
        if part in KINDS_OF_TRAINING:
            check_weighted(part)


def weighs(kind: str) -> bool:
    """Whether a kind learns from weighted purchases; those that are put together do, where their parts do."""
    return kind not in KINDS_OF_TRAINING or KINDS_OF_TRAINING[kind].weighted


def batch_size_of(config: Any) -> int:
    """Users whose codes are computed together, of a blend in its main part; 2 where it is chosen from the data later.

    A kind that is not trained by users counts as 1.
    """
    if isinstance(config, BlendConfig):
        return int(config.parts.get(f"{config.main_part}.batch_size", 1))
    return getattr(config, "batch_size", 1) or 2


def make_config(kind: str, settings: Mapping[str, Any]) -> Any:
    """The configuration of a kind of model. Raises ConfigError for an unknown kind, name or value."""
    return build_config(kind, CONFIGS[choose_kind(kind, CONFIGS)], settings, kinds=CONFIGS)
