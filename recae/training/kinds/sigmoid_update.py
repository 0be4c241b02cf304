"""Sigmoid autoencoder: it goes on from its parameters where purchases have changed, by exact steps after users."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models.sigmoid import SigmoidAutoencoder
from recae.settings import settings_of
from recae.training.callbacks import Hooks
from recae.training.config import ResolvedSettings, SigmoidSettings, resolve
from recae.training.exact.decoder import FactoredDecoder
from recae.training.exact.parameters import Parameters
from recae.training.exact.per_user import PerUserTrainer
from recae.training.growth import Growth
from recae.training.kinds.sigmoid import check_fits
from recae.training.loop import train

PASSES: Final = 4
"""Passes over the users who have changed and the replayed ones."""

REPLAY: Final = 0.5
"""Fraction of the other users that is replayed, so that what was learned from them stays."""

RATE: Final = 1.0
"""Learning rates, relative to those of the training."""

SAMPLED: Final = 512
"""Users at most by whom AdaGrad's sums are estimated."""


def go_on(
    model: SigmoidAutoencoder, matrix: sp.csr_matrix, growth: Growth, hooks: Hooks
) -> SigmoidAutoencoder | None:
    """Return a model that goes on from another one's parameters, by steps after the users who have changed and others.

    Items that the model does not know begin where the items that their buyers own are in the mean.

    Args:
        model: fitted to earlier purchases.
        matrix: (U, I) pattern of all purchases.
        growth: what has changed.
        hooks: of the training; it is told of the passes.

    Returns:
        The model; None where its settings ask for mini-batches, which the exact step does not do.
    """
    known = settings_of(SigmoidSettings)
    values = {name: value for name, value in model.config().items() if name in known and value is not None}
    config = resolve(SigmoidSettings(**cast("dict[str, Any]", values)), matrix)
    if config.by_minibatch:
        return None
    users = _users(matrix, growth, config.seed)
    if not users.size:
        users = np.flatnonzero(np.diff(matrix.indptr))
    config = config.updated(factors=model.factors)
    check_fits(config, matrix, "cpu")
    start = _start(model, matrix, growth, config)
    config = config.updated(
        epochs=PASSES,
        batch_size=1,
        learning_rate=config.learning_rate * RATE,
        encoder_learning_rate=config.encoder_learning_rate * RATE,
    )
    trainer = PerUserTrainer(sp.csr_matrix(matrix[users]), config, None, start)
    found, _ = train(trainer, hooks)
    return replace(cast(SigmoidAutoencoder, found), settings=model.settings)  # those of the training


def _users(matrix: sp.csr_matrix, growth: Growth, seed: int) -> NDArray[np.int64]:
    """Return the rows of the users who have changed and of those replayed, rising; all of them own something."""
    active = np.diff(matrix.indptr) > 0
    others = active.copy()
    others[growth.changed] = False
    rows = np.flatnonzero(others)
    replayed = np.random.default_rng([seed, len(growth.changed)]).permutation(rows)[
        : round(REPLAY * rows.size)
    ]
    changed = growth.changed[active[growth.changed]]
    return np.sort(np.concatenate([changed, replayed]))


def _start(
    model: SigmoidAutoencoder, matrix: sp.csr_matrix, growth: Growth, config: ResolvedSettings
) -> Parameters:
    """Return the model's parameters with rows for new items, and AdaGrad's sums as a training would have left them."""
    n_items, d, dtype = matrix.shape[1], model.factors, np.dtype(config.dtype)
    encoder = np.zeros((n_items, d), dtype)
    weights = np.zeros((n_items, d + 1), dtype)
    encoder[growth.items] = model.encoder
    weights[growth.items, :d] = model.decoder
    weights[growth.items, d] = model.decoder_bias
    new = growth.new_items(n_items)
    if new.size:
        encoder[new] = _mean_of_company(matrix, encoder, new)
        rng = np.random.default_rng([config.seed, 0])
        weights[new, :d] = rng.standard_normal((new.size, d), dtype=dtype) * (
            config.decoder_scale / np.sqrt(d)
        )
    start = Parameters(
        encoder,
        model.encoder_bias.astype(dtype),
        np.zeros(n_items, dtype),
        np.zeros(1, dtype),
        FactoredDecoder.from_weights(weights),
        n_items,
    )
    _estimate_norms(start, matrix, growth, config)
    return start


def _estimate_norms(
    start: Parameters, matrix: sp.csr_matrix, growth: Growth, config: ResolvedSettings
) -> None:
    """Set AdaGrad's sums to about what the training has added up, which a model does not hold.

    An item's sum grows with each of its purchases that the encoder sees, in each epoch, and by nearly the same for all
    items: in a training on Online Retail nine of ten items had between 0.65 and 1.1 times the median. So some users are
    looked at with steps too small to change anything. New items have learned nothing, so that theirs is 0.
    """
    users = np.flatnonzero(np.diff(matrix.indptr))
    sampled = sp.csr_matrix(
        matrix[users[np.arange(min(SAMPLED, users.size)) * users.size // min(SAMPLED, users.size)]]
    )
    still = config.updated(epochs=1, batch_size=1, learning_rate=1e-30, encoder_learning_rate=0.0)
    encoder_bias = start.encoder_bias.copy()
    train(PerUserTrainer(sampled, still, None, start), Hooks())
    start.encoder_bias[:] = encoder_bias
    owners = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(start.encoder_norms.dtype)
    each = start.encoder_norms.sum() / sampled.nnz * config.epochs
    start.encoder_norms[:] = np.maximum(owners, 1) * each
    start.encoder_norms[growth.new_items(matrix.shape[1])] = 0
    start.bias_norm[:] *= config.epochs * users.size / sampled.shape[0]


def _mean_of_company(
    matrix: sp.csr_matrix, encoder: NDArray[np.floating[Any]], items: NDArray[np.int64]
) -> NDArray[np.floating[Any]]:
    """Return for each of some items the mean row of the known items that its buyers own, (n, d)."""
    owners = sp.csr_matrix(matrix[:, items].T)
    known = matrix.copy()
    fresh = np.zeros(matrix.shape[1], np.bool_)
    fresh[items] = True
    known.data[fresh[known.indices]] = 0
    company = sp.csr_matrix(owners @ known)
    total = np.asarray(company.sum(axis=1)).ravel()
    return np.asarray((company @ encoder) / np.maximum(total, 1)[:, None])
