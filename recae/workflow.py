"""From purchases to recommendations: hold users out, train, compare with baselines, put everything together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.files import check_writable
from recae.ingest import IngestReport, read_with_report
from recae.interactions import Interactions
from recae.models import ItemKNN, Model, Popularity
from recae.recommender import Recommender
from recae.splits import fold_in_split
from recae.training import Checkpoints, Epoch, SigmoidConfig, choose_device, device_name, train_sigmoid

KS = (10, 20, 50)
"""List lengths of the table that training ends with."""

NEIGHBOURS = (5, 10, 20, 50, 100, 200)
"""Sizes of neighbourhood tried for the item-kNN baseline on the validation users."""

HELD_OUT_SHARE = 0.1
HELD_OUT_AT_MOST = 10_000
HELD_OUT_ITEMS = 0.2

TRAINABLE = ("sigmoid",)
"""The kinds that `train` takes."""


@dataclass(frozen=True)
class Progress:
    """What a caller may want to be told while training goes on; each defaults to silence."""

    on_report: Callable[[IngestReport], None] = lambda report: None
    on_start: Callable[[int, int], None] = lambda epochs, users: None
    on_users: Callable[[int], None] = lambda done: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_message: Callable[[str], None] = lambda text: None


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Who learns and who is held out: rows of the interactions, and the held-out users' histories in two parts."""

    learners: NDArray[np.int64]
    validation: tuple[sp.csr_matrix, sp.csr_matrix] | None
    test: tuple[sp.csr_matrix, sp.csr_matrix] | None


def hold_out(interactions: Interactions, rng: np.random.Generator) -> HeldOut:
    """Holds out 10 % of the users (at most 10,000) to choose on, and as many others to measure on.

    A fifth of each held-out history is to be found from the rest; histories of one item cannot be parted and stay with
    the learners. With fewer than three histories of two items or more, nobody is held out.
    """
    matrix = interactions.matrix
    divisible = np.flatnonzero(np.diff(matrix.indptr) >= 2)
    everybody = np.arange(interactions.n_users)
    if len(divisible) < 3:
        return HeldOut(everybody, None, None)
    number = int(
        min(max(1, round(HELD_OUT_SHARE * interactions.n_users)), HELD_OUT_AT_MOST, len(divisible) // 3)
    )
    chosen = rng.permutation(divisible)[: 2 * number]
    parts = [
        fold_in_split(sp.csr_matrix(matrix[np.sort(users)]), HELD_OUT_ITEMS, rng=rng)
        for users in (chosen[:number], chosen[number:])
    ]
    return HeldOut(np.setdiff1d(everybody, chosen), parts[0], parts[1])


def learners_of(recommender: Recommender) -> NDArray[np.bool_] | None:
    """Which users `train` let the model learn from, (users,), found again by the seed; None where that is not known."""
    metrics, seed = recommender.metadata.get("metrics"), recommender.model.config().get("seed")
    users, histories = recommender.users, recommender.histories
    if users is None or histories is None or not isinstance(metrics, Mapping):
        return None
    if not isinstance(seed, int) or seed < 0:
        return None
    once = np.ones(histories.nnz, dtype=np.int32)
    purchases = Interactions(histories, users, recommender.items, None, once)
    held_out = hold_out(purchases, np.random.default_rng([seed, HELD_OUT_AT_MOST]))
    parts = (held_out.test, held_out.validation)
    found = [None if part is None else part[0].shape[0] for part in parts]
    if found != [metrics.get("n_users"), metrics.get("validation_users")]:
        return None  # another way of holding out
    learners = np.zeros(len(users), dtype=np.bool_)
    learners[held_out.learners] = True
    return learners


def train(
    source: Interactions | str | Path,
    *,
    kind: str = "sigmoid",
    device: str = "auto",
    progress: Progress | None = None,
    columns: dict[str, str | None] | None = None,
    checkpoints: Checkpoints | None = None,
    **settings: Any,
) -> Recommender:
    """Trains a model on purchases and measures it on users it has not seen, beside popularity and item-kNN.

    source    Interactions, or the path of a table of purchases (`columns`: see `recae.ingest.read_with_report`)
    kind      name of the model: "sigmoid"
    device    "auto", "cpu" or "cuda"
    checkpoints  where and when to write checkpoints, or to go on from one; the file is the caller's to remove
    settings  fields of `recae.training.SigmoidConfig`, such as factors, epochs or seed

    The recommender's metadata holds `metrics` (the table), `history` (an entry an epoch), `fingerprint` (of the data)
    and `versions`; no times, so that the same seed gives the same model file. Raises ConfigError for an unknown kind
    or setting, DeviceError when there is no such device, DataError for purchases that cannot be used, and TrainingError
    when training fails.
    """
    progress = progress or Progress()
    config = make_config(kind, settings)
    chosen = choose_device(device, config.batch_size)
    if checkpoints is not None:
        check_writable(checkpoints.path)  # before the training, not in the middle of it
    if isinstance(source, Interactions):
        interactions = source
    else:
        interactions, report = read_with_report(source, **(columns or {}))
        progress.on_report(report)
    held_out = hold_out(interactions, np.random.default_rng([config.seed, HELD_OUT_AT_MOST]))
    matrix = sp.csr_matrix(interactions.matrix[held_out.learners])
    validation = held_out.validation
    if validation is None:
        progress.on_message("too few users with two items or more to hold any out: nothing is measured")

    def recall(model: Model, k: int = 20) -> float:
        return evaluate(model, *validation, (k,)).mean(f"recall@{k}") if validation else 0.0

    if checkpoints is not None:
        identity = {**checkpoints.identity, "data.fingerprint": interactions.fingerprint}
        checkpoints.identity, checkpoints.on_message = identity, progress.on_message
    progress.on_message(f"training on {device_name(chosen)}")
    model, history = train_sigmoid(
        matrix,
        config,
        device=chosen,
        checkpoints=checkpoints,
        validate=recall if validation else None,
        on_start=progress.on_start,
        on_users=progress.on_users,
        on_epoch=progress.on_epoch,
    )
    metrics = None
    if held_out.test is not None:
        n_users = held_out.test[0].shape[0]
        progress.on_message(f"measuring it beside popularity and item-kNN on {n_users:,} held-out users")
        neighbours = max(NEIGHBOURS, key=lambda k: recall(ItemKNN.fit(matrix, k=k)))
        rivals: dict[str, Model] = {
            kind: model,
            "popularity": Popularity.fit(matrix),
            f"item-kNN (tf-idf, k={neighbours})": ItemKNN.fit(matrix, k=neighbours),
        }
        metrics = measure(rivals, held_out)
    return Recommender(
        model=model,
        users=interactions.users,
        items=interactions.items,
        item_names=interactions.item_names,
        histories=interactions.matrix,
        metadata={
            "fingerprint": interactions.fingerprint,
            "metrics": metrics,
            "history": [
                {"epoch": epoch.epoch, "loss": epoch.loss, "recall@20": epoch.recall, "drift": epoch.drift}
                for epoch in history
            ],
            "versions": _versions(),
        },
    )


def measure(models: dict[str, Model], held_out: HeldOut) -> dict[str, Any]:
    """The table of recall@10/20/50 and NDCG@20 on the held-out test users, as JSON values."""
    if held_out.test is None or held_out.validation is None:
        raise ConfigError("nobody is held out, so that nothing can be measured; use more purchases")
    rows, n_users = [], 0
    for name, model in models.items():
        result = evaluate(model, *held_out.test, KS)
        n_users = result.n_users
        figures = {metric: result.mean(metric) for metric in (*(f"recall@{k}" for k in KS), "ndcg@20")}
        rows.append({"model": name, **figures})
    return {
        "n_users": n_users,
        "validation_users": held_out.validation[0].shape[0],
        "ks": list(KS),
        "rows": rows,
    }


def make_config(kind: str, settings: dict[str, Any]) -> SigmoidConfig:
    """The configuration of a kind of model. Raises ConfigError for an unknown kind, name or value."""
    if kind not in TRAINABLE:
        raise ConfigError(
            f"kind is one of {', '.join(TRAINABLE)}, found {kind!r}: {_advice(str(kind), TRAINABLE)}"
        )
    names = [f.name for f in fields(SigmoidConfig)]
    for name in settings:
        if name not in names:
            raise ConfigError(
                f"a {kind} model has the settings {', '.join(names)}, found {name!r}: {_advice(name, names)}"
            )
    return SigmoidConfig(**settings)


def _advice(found: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(found, known, n=1)
    return f"did you mean '{near[0]}'?" if near else "choose one of these"


def _versions() -> dict[str, str | None]:
    """Of recae and what decides about a model's bits; null for what is imported without being installed."""
    versions: dict[str, str | None] = {}
    for name in ("recae", "numpy", "scipy", "numba", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions
