"""Choosing the kind of model on validation users, within a time budget."""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

from recae.errors import ConfigError, TrainingError
from recae.models import Model
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.hooks import Hooks
from recae.workflow.auto_config import AutoConfig
from recae.workflow.choosing import choose
from recae.workflow.search import Search, fit_kind

__all__ = ["AutoConfig", "fit_auto", "refuse_checkpoints"]


def fit_auto(
    matrix: sp.csr_matrix,
    config: AutoConfig,
    validation: tuple[sp.csr_matrix, sp.csr_matrix] | None,
    hooks: Hooks,
    *,
    exclude_owned: bool = True,
) -> tuple[Model, list[Epoch], dict[str, Any]]:
    """Tries the candidates on `matrix` ((U, I) CSR) and chooses by NDCG@20 on the validation users (`choosing.choose`).

    The most is tried that the budget allows, what promises most for its time first. A candidate is passed over when it
    is expected to take longer than is left, or says that memory is short; one that is trained in epochs is stopped at
    the end of the budget, and its best epoch counts. Returns the model, its epochs, and under "auto" what was tried,
    what was not and why, and why this one was chosen, as JSON values. Without validation users it trains the
    sigmoid autoencoder. Raises ConfigError for checkpoints, TrainingError when nothing could be fitted.
    """
    refuse_checkpoints(hooks.checkpoints)
    if validation is None or not validation[1].nnz:
        why = "nobody is held out whom the kinds could be compared on"
        hooks.on_message(f"{why}: training sigmoid")
        model, epochs = fit_kind("sigmoid", config.settings("sigmoid"), matrix, None, hooks)
        return model, epochs, {"auto": {"tried": [], "skipped": [], "chosen": "sigmoid", "why": why}}
    search = Search(matrix, config, validation, hooks, exclude_owned)
    search.run()
    if not search.trials:
        reasons = "; ".join(f"{kind}: {reason}" for kind, reason in search.skipped.items())
        raise TrainingError(f"none of the candidates could be fitted ({reasons}): name others in candidates")
    choice = choose(search.trials)
    report = search.report(choice)
    hooks.on_message(f"auto: {report['why']}")
    return choice.chosen.model, choice.chosen.epochs, {"auto": report}


def refuse_checkpoints(checkpoints: Checkpoints | None) -> None:
    """ConfigError when checkpoints are asked for."""
    if checkpoints is not None:
        raise ConfigError(
            "a checkpoint holds one training, and auto tries several: train it without checkpoints, or train one kind"
        )
