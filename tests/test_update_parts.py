"""Parts of an updated model: what goes on from where it was, from which parameters, after which users, and how far."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import recae as package
from recae.models import Blend, SigmoidAutoencoder, Spectral
from recae.recommender import Recommender
from recae.selection.fit import fit_simple, make_settings
from recae.training.callbacks import Hooks
from recae.training.config import SigmoidSettings, resolve
from recae.training.growth import Growth
from recae.training.kinds import sigmoid_update, subspace
from recae.training.kinds.spectral import SpectralSettings, fit_spectral, update_spectral
from recae.updating.parts import renewed
from recae.updating.update import update as updated

SMALL: dict[str, Any] = {"factors": 8, "epochs": 12, "seed": 1}
TASTES = 5


def tastes(n_users: int = 150, n_items: int = 40, seed: int = 3) -> sp.csr_matrix:
    """Users who mostly buy from one of several groups of items: item i belongs to the group i mod TASTES."""
    rng = np.random.default_rng(seed)
    same = np.arange(n_users)[:, None] % TASTES == np.arange(n_items) % TASTES
    owned = rng.random((n_users, n_items)) < np.where(same, 0.5, 0.03)
    owned[:, 0] |= owned.sum(1) == 0
    return sp.csr_matrix(owned.astype(np.float32))


def grown(seed: int = 3) -> tuple[sp.csr_matrix, sp.csr_matrix, Growth]:
    """Purchases before, over the items but the last two of each group; those after; and what has changed."""
    after = tastes(seed=seed)
    hidden = np.random.default_rng(seed).random(after.nnz) < 0.1
    before = after.copy()
    before.data[hidden | (after.indices >= 30)] = 0
    before = sp.csr_matrix(before[:, :30])
    before.eliminate_zeros()
    changed = np.flatnonzero(np.diff(before.indptr) != np.diff(after.indptr))
    return before, after, Growth(np.arange(30), changed)


def fitted(matrix: sp.csr_matrix, kind: str, **settings: Any) -> Any:
    return fit_simple(kind, matrix, make_settings(kind, settings))[0]


def of_tastes(model: Any, history: sp.csr_matrix, items: range) -> float:
    """How often the best of some items for a user is one of the user's own group."""
    scores = model.score(history)[:, items]
    best = np.asarray(items)[scores.argmax(axis=1)]
    return float((best % TASTES == np.arange(history.shape[0]) % TASTES).mean())


def test_the_sigmoid_begins_at_its_parameters() -> None:
    before, after, growth = grown()
    model: SigmoidAutoencoder = fitted(before, "sigmoid", **SMALL)
    config = resolve(SigmoidSettings(**SMALL), after)
    start = sigmoid_update._start(model, after, growth, config)
    begun = start.model(config)
    for name in ("encoder", "decoder", "decoder_bias"):
        np.testing.assert_allclose(getattr(begun, name)[growth.items], getattr(model, name), rtol=1e-6)
    np.testing.assert_array_equal(begun.encoder_bias, model.encoder_bias)
    # a new item is encoded as what its buyers own in the mean, which the model knows
    owned = after.toarray()
    for item in (30, 37):
        company = owned[owned[:, item] > 0, :30]
        np.testing.assert_allclose(
            begun.encoder[item], (company @ model.encoder).sum(axis=0) / company.sum(), rtol=1e-4, atol=1e-6
        )
    assert (start.encoder_norms[30:] == 0).all()
    assert (start.encoder_norms[:30] > 0).all()


def test_the_sigmoid_learns_new_items_and_forgets_no_old_ones() -> None:
    before, after, growth = grown()
    model: SigmoidAutoencoder = fitted(before, "sigmoid", **SMALL)
    found = sigmoid_update.go_on(model, after, growth, Hooks())
    assert found is not None
    assert found.n_items == 40
    assert of_tastes(model, before, range(30)) > 0.9
    assert of_tastes(found, after, range(30)) > 0.9
    assert of_tastes(found, after, range(30, 40)) > 0.9
    again = sigmoid_update.go_on(model, after, growth, Hooks())
    assert again is not None
    for name, array in found.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    assert found.config() == model.config()


def test_steps_are_after_users_who_have_changed_and_some_others(monkeypatch: pytest.MonkeyPatch) -> None:
    after = tastes()
    changed = np.array([3, 50, 149])
    after = sp.csr_matrix(sp.vstack([after, sp.csr_matrix((1, 40))]))  # user 150 has returned everything
    growth = Growth(np.arange(40), np.append(changed, 150))
    monkeypatch.setattr(sigmoid_update, "REPLAY", 0.2)
    users = sigmoid_update._users(after, growth, 1)
    assert set(changed) <= set(users)
    assert 150 not in users
    assert users.size == 3 + round(0.2 * 147)
    assert (np.diff(users) > 0).all()


def test_the_sigmoid_by_mini_batches_does_not_go_on() -> None:
    before, after, growth = grown()
    model: SigmoidAutoencoder = fitted(before, "sigmoid", **SMALL)
    for other in ({"tied": True}, {"emphasis": 2.0}):
        assert (
            sigmoid_update.go_on(replace(model, settings={**model.settings, **other}), after, growth, Hooks())
            is None
        )


def test_the_directions_of_the_spectral_part_are_found_in_less(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    after = sp.csr_matrix(sp.vstack([tastes(400, 200, 1), tastes(400, 200, 2)]))
    before = after.copy()
    before.data[rng.random(after.nnz) < 0.03] = 0
    before.eliminate_zeros()
    growth = Growth(np.arange(200), np.flatnonzero(np.diff(before.indptr) != np.diff(after.indptr)))
    config = SpectralSettings(factors=TASTES, filter="one-step", beta=0.4, alpha=0.2, neighbours=20)
    products, times = [0], subspace.times
    monkeypatch.setattr(subspace, "OVERSAMPLED", 8)  # so that the block is smaller than the matrix

    def counting(*arguments: Any) -> Any:
        products[0] += 1
        return times(*arguments)

    monkeypatch.setattr(subspace, "times", counting)
    model, _ = fit_spectral(before, config, Hooks())
    products[0] = 0
    found = update_spectral(model, after, growth, Hooks())
    warm, products[0] = products[0], 0
    expected, _ = fit_spectral(after, config, Hooks())
    assert warm < products[0]
    assert isinstance(found, Spectral)
    assert found.config() == expected.config()
    for name in ("scales", "weights"):
        np.testing.assert_allclose(
            getattr(found.code, name), getattr(expected.code, name), rtol=2e-3, atol=1e-5
        )
    np.testing.assert_allclose(
        found.score(after), expected.score(after), rtol=5e-3, atol=5e-3 * expected.score(after).std()
    )
    np.testing.assert_array_equal(found.product.weights.indices, expected.product.weights.indices)


def test_a_spectral_part_of_all_directions_is_that_of_a_fit() -> None:
    before, after, growth = grown()
    model = fitted(before, "spectral")
    found = update_spectral(model, after, growth, Hooks())
    expected = fitted(after, "spectral")
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)


def shop(matrix: sp.csr_matrix, **settings: Any) -> Recommender:
    coo = matrix.tocoo()
    rows = [(f"u{u:03}", f"i{i:02}") for u, i in zip(coo.row, coo.col, strict=True)]
    return package.train(rows, "blend", progress=False, **settings)


def test_a_blend_has_its_weights_and_renewed_parts() -> None:
    before, after, _ = grown()
    old = shop(
        before, components="sigmoid,itemknn,popularity", **{f"sigmoid.{k}": v for k, v in SMALL.items()}
    )
    assert isinstance(old.model, Blend)
    coo = after.tocoo()
    new = [(f"u{u:03}", f"i{i:02}") for u, i in zip(coo.row, coo.col, strict=True)]
    told: list[str] = []
    found = updated(old, new, progress=package.Progress(on_message=told.append))
    model = found.recommender.model
    assert isinstance(model, Blend)
    words = {"sigmoid": "went on", "itemknn": "solved again", "popularity": "solved again"}
    assert found.parts == {part.model.kind: words[part.model.kind] for part in old.model.parts}
    for part, was in zip(model.parts, old.model.parts, strict=True):
        assert part.model.kind == was.model.kind
        assert part.weight == was.weight
        assert part.model.n_items == 40
    assert found.recommender.metadata["metrics"] == old.metadata["metrics"]
    assert "sigmoid" not in found.parts or any("sigmoid went on" in line for line in told)
    twice = updated(old, new)
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(twice.recommender.model.arrays()[name], array)


def test_parts_can_stay_or_be_those_of_a_training() -> None:
    before, _, _ = grown()
    after = sp.csr_matrix(before[1:])
    model = fitted(before, "sigmoid", **SMALL)
    growth = Growth(np.arange(30), np.array([], dtype=np.int64))
    found, done = renewed(model, after, growth, {}, Hooks(), trained="stay")
    assert found is model
    assert done == {"sigmoid": "stays as it is"}
    found, done = renewed(model, after, growth, {"best_epochs": {"sigmoid": 12}}, Hooks(), trained="again")
    assert done == {"sigmoid": "trained again"}
    expected = fitted(after, "sigmoid", **{k: v for k, v in model.config().items() if v is not None})
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)
    spectral = fitted(before, "spectral")
    found, done = renewed(spectral, after, growth, {}, Hooks(), exact=True)
    assert done == {"spectral": "solved again"}
