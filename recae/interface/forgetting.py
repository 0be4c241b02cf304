"""`forget`: customers leave a recommender, as `recae forget` does it in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recae.arguments import check_flag, check_path, check_text
from recae.messages import say
from recae.modelfile import load
from recae.recommender import Recommender
from recae.training.callbacks import Hooks
from recae.training.device import choose_device
from recae.updating.forget import forget as run


def forget(
    model: Recommender | str | Path,
    users: Sequence[str | int],
    *,
    retrain: bool = False,
    device: str = "auto",
) -> Recommender:
    """Let a model forget customers, as `recae forget` does; nothing is written.

    Parts in closed form are then those of a training without them. What is trained in steps keeps its weights, which
    have learned from them, unless it is trained again.

    Args:
        model: a recommender with histories, or the path of its file.
        users: ids of the customers.
        retrain: whether what is trained in steps is trained again, too.
        device: "auto", "cpu" or "cuda", for what is fitted again.

    Returns:
        a recommender without them. Its metadata says under ``forgotten`` how many were forgotten, and which parts have
        learned from them.

    Raises:
        UnknownIdError: the model does not know one of them.
        ConfigError: the ids are none, or there are none.
        DataError: nobody would be left, or the parts cannot be trained again from what the model holds.
        TrainingError: a fit fails.
    """
    check_flag("retrain", retrain)
    check_text("device", device, "cpu")
    if not isinstance(model, Recommender):
        check_path("the path of a model", model)
        model = load(model)
    hooks = Hooks(device=choose_device(device, 1), on_message=say)
    return run(model, users, retrain=retrain, hooks=hooks)[0]
