"""Baselines: popularity, item-kNN, `implicit`'s ALS and BPR, and personal frequency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.machine import blas_libraries, without_widget_warning
from recae.models import Model
from recae.models.factorisation import ALS, BPR
from recae.models.frequency import Frequency
from recae.models.itemknn import ItemKNN, Neighbours, Weighting
from recae.models.popularity import Popularity
from recae.settings import LARGEST_SEED, Settings, setting
from recae.sparse import pattern, with_values
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch

NEIGHBOURS = (5, 10, 20, 50, 100, 200)
"""Neighbours of item-kNN tried on validation users."""


class PopularitySettings(Settings):
    """Settings of popularity."""

    seed: int = setting(
        0,
        "by which users are held out to measure on; the counts do not depend on it",
        ge=0,
        le=LARGEST_SEED,
    )


class ItemKNNSettings(Settings):
    """Settings of item-kNN; None: chosen from the data."""

    k: int | None = setting(
        None,
        "neighbours of each item, itself included; None: the best of 5, 10, 20, 50, 100 and 200 on the "
        "validation users, and 20 where there are none",
        ge=1,
        le=100_000,
    )
    weighting: Weighting = setting(
        "tfidf", "of the purchases before items are compared: tfidf, bm25 or cosine"
    )
    seed: int = setting(
        0,
        "by which users are held out to choose and measure on; the model does not depend on it otherwise",
        ge=0,
        le=LARGEST_SEED,
    )


class AlsSettings(Settings):
    """Settings of ALS (Hu, Koren and Volinsky 2008); None: chosen from the data by `resolve_als`."""

    factors: int | None = setting(None, "length of the vectors", ge=1, le=4096)
    iterations: int = setting(
        15, "times that all users' and all items' vectors are solved for", ge=1, le=10_000
    )
    regularization: float | None = setting(
        None, "λ, the weight of the vectors' squared lengths", ge=1e-6, le=1e6
    )
    alpha: float | None = setting(
        None, "confidence in a purchase, relative to 1 for a pair that was not bought", ge=1e-3, le=1e6
    )
    seed: int = setting(0, "of the first vectors", ge=0, le=LARGEST_SEED)


class BprSettings(Settings):
    """Settings of BPR (Rendle et al. 2009, arXiv:1205.2618); None: chosen from the data by `resolve_bpr`."""

    factors: int | None = setting(None, "length of the vectors", ge=1, le=4096)
    iterations: int = setting(
        100, "passes over the purchases, each with an item that its user does not own", ge=1, le=100_000
    )
    learning_rate: float = setting(0.05, "size of a step", gt=0, le=10)
    regularization: float = setting(
        0.03, "λ, the weight of the vectors' squared lengths in each step", ge=1e-6, le=10
    )
    others: int = setting(
        256,
        "items drawn by popularity with which the items of a history are compared to fold it in",
        ge=1,
        le=1_000_000,
    )
    seed: int = setting(0, "of everything random", ge=0, le=LARGEST_SEED)


def resolve_als(config: AlsSettings, matrix: sp.csr_matrix) -> AlsSettings:
    """Return `config` with nothing left to be chosen for (U, I) purchases."""
    return config.filled(factors=min(256, max(matrix.shape[1], 1)), regularization=10.0, alpha=3.0)


def resolve_bpr(config: BprSettings, matrix: sp.csr_matrix) -> BprSettings:
    """Return `config` with nothing left to be chosen for (U, I) purchases."""
    return config.filled(factors=min(64, max(matrix.shape[1], 1)))


def fit_popularity(
    matrix: sp.csr_matrix, config: PopularitySettings, hooks: Hooks
) -> tuple[Popularity, list[Epoch]]:
    """Count the owners of each item of (U, I) purchases, or add up the confidences in their purchases."""
    return replace(Popularity.fit(matrix, hooks.confidence), settings=config.as_dict()), []


def fit_itemknn(matrix: sp.csr_matrix, config: ItemKNNSettings, hooks: Hooks) -> tuple[ItemKNN, list[Epoch]]:
    """Compare the items of (U, I) purchases; without a k, the best of `NEIGHBOURS` by `hooks.validate` is taken.

    Of equal ones it is the smallest. The items are compared once for all k, and with `hooks.neighbours` once for all
    fits.
    """
    ks = (config.k,) if config.k else NEIGHBOURS if hooks.validate is not None else (20,)
    neighbours = _neighbours(matrix, max(ks), config.weighting, hooks)
    if len(ks) == 1 or hooks.validate is None:
        model = neighbours.model(ks[0])
    else:
        model = max((neighbours.model(k) for k in ks), key=hooks.validate)
        hooks.on_message(f"item-kNN: k = {model.k} is the best of {len(ks)} on the validation users")
    return replace(model, settings={**config.as_dict(), "k": model.k}), []


def _neighbours(matrix: sp.csr_matrix, k: int, weighting: Weighting, hooks: Hooks) -> Neighbours:
    """Return the k most similar items to each, or more: those of an earlier fit where there are enough."""
    shared = hooks.neighbours
    if shared is None:
        return Neighbours.of(matrix, k, weighting, hooks.confidence)
    most, found = shared.get(weighting, (0, None))
    if found is None or most < k:
        most = max(k, *NEIGHBOURS)
        found = Neighbours.of(matrix, most, weighting, hooks.confidence)
        shared[weighting] = most, found
    return found


def fit_als(matrix: sp.csr_matrix, config: AlsSettings, hooks: Hooks) -> tuple[ALS, list[Epoch]]:
    """Factorise (U, I) purchases with `implicit`'s ALS, on all processors; the same seed gives the same bits.

    The confidence in a purchase is alpha times its weight (Hu, Koren and Volinsky 2008).

    Raises:
        TrainingError: there are no purchases, or a vector is not finite.
    """
    with without_widget_warning():
        from implicit.cpu.als import AlternatingLeastSquares

    config = resolve_als(config, matrix)
    purchases = _purchases(matrix, hooks.confidence)
    # threads of BLAS below those of implicit make it ten times as slow
    with blas_libraries().limit(limits=1):
        solver = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            alpha=config.alpha,
            iterations=config.iterations,
            random_state=config.seed,
        )
        factors = _fit(solver, purchases, "raise regularization")
    return ALS(factors, float(config.regularization or 0), float(config.alpha or 0), config.as_dict()), []


def fit_bpr(matrix: sp.csr_matrix, config: BprSettings, hooks: Hooks) -> tuple[BPR, list[Epoch]]:
    """Train `implicit`'s BPR on (U, I) purchases, on one thread.

    Several threads race for the same vectors, so that no two runs would give the same bits.

    Raises:
        TrainingError: there are no purchases, or a vector is not finite.
    """
    with without_widget_warning():
        from implicit.cpu.bpr import BayesianPersonalizedRanking

    config = resolve_bpr(config, matrix)
    purchases = _purchases(matrix)
    with blas_libraries().limit(limits=1):
        trainer = BayesianPersonalizedRanking(
            factors=config.factors,
            learning_rate=config.learning_rate,
            regularization=config.regularization,
            iterations=config.iterations,
            num_threads=1,
            random_state=config.seed,
        )
        vectors = _fit(trainer, purchases, "lower learning_rate")  # the last number of each is its constant
    model = BPR(
        item_factors=np.ascontiguousarray(vectors[:, :-1]),
        item_bias=np.ascontiguousarray(vectors[:, -1]),
        others=sample_by_popularity(purchases, config.others),
        regularization=config.regularization,
        settings=config.as_dict(),
    )
    return model, []


def sample_by_popularity(matrix: sp.csr_matrix, number: int) -> NDArray[np.int64]:
    """Return `number` items of (U, I) purchases, (number,) int64 rising: every so many purchases, sorted by item, one.

    An item with a fraction s of the purchases is there s · number times, rounded up or down. Nothing is random.
    """
    bought = np.sort(matrix.indices)
    places = ((np.arange(number) + 0.5) * bought.size / number).astype(np.int64)
    return bought[places].astype(np.int64)


def _purchases(matrix: sp.csr_matrix, confidence: NDArray[np.float32] | None = None) -> sp.csr_matrix:
    """Return the pattern, or the confidences, as `implicit` wants it: rows sorted, arrays that may be written to."""
    if not matrix.nnz:
        raise TrainingError(
            f"{matrix.shape[0]:,} users × {matrix.shape[1]:,} items hold no purchase, so there is nothing to learn: "
            "use more data"
        )
    purchases = pattern(matrix)
    if confidence is not None:
        purchases = with_values(matrix, confidence)
    found: sp.csr_matrix = purchases.sorted_indices()  # a copy
    return found


def _fit(trainer: Any, purchases: sp.csr_matrix, advice: str) -> NDArray[np.float32]:
    """Return the items' vectors after the training of one of `implicit`'s models."""
    from implicit.recommender_base import ModelFitError

    try:
        trainer.fit(purchases, show_progress=False)
        finite = np.isfinite(trainer.item_factors).all()
    except ModelFitError:
        finite = False
    if not finite:
        raise TrainingError(f"the items' vectors are no longer finite: {advice}")
    return np.ascontiguousarray(trainer.item_factors, dtype=np.float32)


POPULARITIES = (0.001, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Tried on validation users where there are any; the first one only orders what the user has never bought."""


class FrequencySettings(Settings):
    """Settings of personal frequency; None: chosen on validation users, or else by `resolve`."""

    decay: float | None = setting(
        None,
        "what a purchase still weighs one basket later, above 0 to 1; 1: all baskets count alike. The histories given "
        "to the model are weighted by it, so it is chosen where they are made",
        gt=0,
        le=1,
    )
    popularity: float | None = setting(
        None,
        "what an item that everybody owns scores, in purchases of the last basket; 0: none",
        ge=0,
        le=1e6,
    )
    seed: int = setting(0, "recorded; nothing is random", ge=0, le=LARGEST_SEED)


def resolve(config: FrequencySettings, matrix: sp.csr_matrix) -> FrequencySettings:
    """Return `config` with every None filled in by the defaults of `Frequency.fit`, whatever the (U, I) matrix."""
    return config.filled(decay=0.9, popularity=4.0)


def fit_frequency(
    matrix: sp.csr_matrix, config: FrequencySettings, hooks: Hooks
) -> tuple[Model, list[Epoch]]:
    """Count the owners of each item of `matrix` ((U, I) CSR); no epochs.

    A popularity that is not given is the one of `POPULARITIES` that is best by `hooks.validate`.
    """
    settings = resolve(config, matrix).as_dict()
    model = Frequency.fit(matrix, **settings)
    if config.popularity is None and hooks.validate is not None:
        validate, best = hooks.validate, hooks.validate(model)
        for popularity in POPULARITIES:
            other = Frequency(model.owned_by, {**settings, "popularity": popularity})
            if (quality := validate(other)) > best:
                model, best = other, quality
    return model, []
