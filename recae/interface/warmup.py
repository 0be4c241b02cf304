"""Warming up: every compiled loop is used on made-up purchases, so that it is stored for later processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recae.compiling import COMPILING
from recae.display.place import quiet
from recae.kinds import DEFAULT, MAIN, find, known
from recae.loop_folder import MODULES, folders
from recae.loops import Loop
from recae.messages import LOGGER

if TYPE_CHECKING:
    from recae.recommender import Recommender

_USERS, _EACH = 80, 24
_SMALL_CATALOGUE, _LARGE_CATALOGUE = 60, 1000
"""Fewer items than users, and so many that a catalogue is scored in tiles and linear models are solved by users."""


def warm_up(on_step: Callable[[str], None] = lambda what: None) -> tuple[int, float, Path | None]:
    """Compile the loops of training, recommending, scoring, evaluating and judging anomalies, and store them.

    Args:
        on_step: is told what is being used.

    Returns:
        How many loops were compiled, the seconds that took, and the folder in which they are, if there is one.
    """
    before, seconds = COMPILING.loops, COMPILING.seconds
    COMPILING.announced = True  # the caller says it
    for options in _trainings():
        on_step(" ".join(str(value) for value in options.values()))
        with _silence():
            _use(options)
    _solve_a_large_catalogue()
    _measure()
    return COMPILING.loops - before, COMPILING.seconds - seconds, folder()


def folder() -> Path | None:
    """Return the folder in which the compiled loops of this version are stored; None where none can be."""
    return folders().write


def loops() -> dict[str, Loop]:
    """Return the compiled loops by module and name."""
    torch = find_spec("torch") is not None
    found = {}
    for name in MODULES:
        # what imports torch at its head
        if not torch and name.rpartition(".")[2] in ("block_kernels", "blocks"):
            continue
        for key, value in vars(import_module(name)).items():
            if isinstance(value, Loop) and value.py_func.__module__ == name:
                found[f"{name}.{key}"] = value
    return found


def _trainings() -> list[dict[str, Any]]:
    """Return the options of the trainings that use the loops of all kinds, as the registry has them."""
    torch = find_spec("torch") is not None
    return [
        {"kind": row.name, **options}
        for row in known().values()
        for options in row.warmed + row.warmed_by_torch * torch
    ]


def _use(options: dict[str, Any]) -> None:
    """Train a model of a kind and use it in every way."""
    from recae.interface.functions import train

    kind = options["kind"]
    # what grows with the cube of the items is solved by users where these are fewer
    large = kind in (DEFAULT, MAIN) or find(kind).memory
    n_items = _LARGE_CATALOGUE if large else _SMALL_CATALOGUE
    limits: dict[str, Any] = {name: 2 for name in ("epochs", "factors") if name in _settings(kind)}
    model = train(_purchases(n_items), progress=False, **limits | options)
    _recommend(model, kind)


def _recommend(model: Recommender, kind: str) -> None:
    from recae.scoring.block import best_items

    histories: Any = model.histories  # which a model that was just trained has
    model.recommend("u0")
    model.recommend(items=[model.items.id(0)], exclude_owned=False)
    model.model.score_items(histories, np.arange(3))
    best_items(model.model, histories, 5, exclude_owned=True, barred=None)
    best_items(model.model, histories, 5, exclude_owned=False, barred=np.arange(model.model.n_items) == 0)
    _some_items(model)
    if kind in (DEFAULT, MAIN):
        from recae.insight.anomalies import purchase_anomalies, user_anomalies

        user_anomalies(model, learners=model.learners)
        purchase_anomalies(model, learners=model.learners)


def _some_items(model: Recommender) -> None:
    """Score some items of each user, as what looks for candidates first does, however many users and items it is for.

    The index of approximate lists is an extra.
    """
    from recae.approximate import apply_rules
    from recae.scoring.integers import has_pair_sums
    from recae.scoring.tiles import best_of_tiles, catalogue, scores_at

    histories: Any = model.histories
    owned = histories.sorted_indices()
    items = np.tile(np.arange(4, dtype=np.int32), (owned.shape[0], 1))
    count = np.zeros(len(items), dtype=np.int64)
    marks = np.ones((1, model.model.n_items), dtype=np.bool_)
    apply_rules(items, owned.indptr.astype(np.int64), owned.indices.astype(np.int32), marks, count)
    found = catalogue(model.model)
    if found is not None:
        codes = [of_part for of_part, _ in found.codes(model.model, owned)]
        scores_at(found, model.model, owned, codes, items, count)
        if has_pair_sums():
            best_of_tiles(found, model.model, owned, 5, exclude_owned=True, barred=None, numbers="int16")


def _solve_a_large_catalogue() -> None:
    """Solve a sparse linear model as where its items are too many for XᵀX, with and without confidence."""
    import scipy.sparse as sp

    from recae.training.callbacks import Hooks
    from recae.training.kinds.linear import SparseLinearSettings, resolve
    from recae.training.kinds.sparse_linear import solve_neighbours

    owners = sp.csr_matrix(np.tri(4, dtype=np.float32))
    config = resolve(SparseLinearSettings(neighbours=2), owners)
    for confidence in (None, owners.data):
        solve_neighbours(owners, config, Hooks(confidence=confidence), held=False)


def _measure() -> None:
    """Use what an evaluation has beside models."""
    import scipy.sparse as sp

    from recae.evaluation.sets import set_figures

    owners = sp.csr_matrix(np.eye(4, dtype=np.float32))
    set_figures(np.array([[0, 1], [2, 3]]), owners, [1, 2], threads=1)


def _settings(kind: str) -> set[str]:
    from recae.settings import settings_of

    return set(settings_of(find(kind).settings_class()))


def _purchases(n_items: int) -> Any:
    """Return purchases of two tastes, with times, quantities and repeats, as a data frame."""
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{(item + user % 2 * n_items // 2) % n_items}", 1 + int(rng.integers(3)))
        for user in range(_USERS)
        for item in rng.integers(0, n_items * 2 // 3, _EACH)
    ]
    table = pd.DataFrame(rows, columns=["user", "item", "quantity"])
    table["time"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, len(table)), unit="D")
    return table


@contextmanager
def _silence() -> Iterator[None]:
    """Let nothing be said of what is trained here."""
    level = LOGGER.level
    with quiet():
        LOGGER.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            LOGGER.setLevel(level)
