"""The linear model of purchases and other events, against a regression item by item, and what it makes of events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, ModelFileError, TrainingError
from recae.inputs import EventInputs, inputs_of, owned_part
from recae.models import EventLinear, Model
from recae.models.attribution import attribute
from recae.models.blend import Blend, Part, narrowed
from recae.models.popularity import Popularity
from recae.ranking import rank_histories
from recae.training.callbacks import Gain, Hooks
from recae.training.kinds import event_linear
from recae.training.kinds.event_linear import EventLinearSettings, fit_event_linear
from recae.training.kinds.linear import EdlaeSettings, fit_edlae

USERS, ITEMS = 70, 9


def pattern(rng: np.random.Generator, density: float, users: int = USERS) -> sp.csr_matrix:
    return sp.csr_matrix((rng.random((users, ITEMS)) < density).astype(np.float32))


def shop(users: int = USERS, seed: int = 0) -> tuple[sp.csr_matrix, EventInputs]:
    """Purchases, of at least one item a user, and carts and views."""
    rng = np.random.default_rng(seed)
    dense = pattern(rng, 0.4, users).toarray()
    dense[np.arange(users), rng.integers(ITEMS, size=users)] = 1
    carts, views = pattern(rng, 0.3, users), pattern(rng, 0.5, users)
    return sp.csr_matrix(dense), EventInputs.of(("cart", "view"), [carts, views])


def by_regression(
    X: sp.csr_matrix,
    blocks: list[sp.csr_matrix],
    scales: list[float],
    config: EventLinearSettings,
    confidence: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The same weights, by a ridge regression for each item from the inputs of all other items."""
    sizes = np.diff(X.indptr)
    weights = sizes**-config.user_power
    weights = weights * sizes.sum() / (weights @ sizes)
    own = X.copy().astype(np.float64)
    own.data = np.ones(X.nnz) if confidence is None else np.sqrt(confidence)
    Z = np.hstack(
        [own.toarray(), *(scale * block.toarray() for scale, block in zip(scales, blocks, strict=True))]
    )
    Z = Z * np.sqrt(weights)[:, None]
    penalty = config.l2 + config.dropout / (1 - config.dropout) * (Z**2).sum(axis=0)
    B = np.zeros((Z.shape[1], ITEMS))
    for item in range(ITEMS):
        others = np.flatnonzero(np.arange(Z.shape[1]) % ITEMS != item)
        A = Z[:, others]
        B[others, item] = np.linalg.solve(A.T @ A + np.diag(penalty[others]), A.T @ Z[:, item])
    return B * np.repeat([1.0, *scales], ITEMS)[:, None]


@pytest.mark.parametrize("users", [USERS, 12])  # fewer users than inputs are inverted by users
@pytest.mark.parametrize("weighted", [False, True])
def test_the_weights_are_those_of_a_regression_without_the_items_own_inputs(
    users: int, weighted: bool
) -> None:
    X, inputs = shop(users)
    config = EventLinearSettings(l2=3.0, dropout=0.2, user_power=0.4, strengths="view=0.5,cart=2")
    confidence = None
    if weighted:
        confidence = np.random.default_rng(1).uniform(0.5, 2, X.nnz).astype(np.float32)
    model, _ = fit_event_linear(X, config, Hooks(inputs=inputs, confidence=confidence))
    blocks = [inputs.block("cart"), inputs.block("view")]
    expected = by_regression(X, blocks, [2.0, 0.5], config, confidence)
    assert np.allclose(model.weights, expected, atol=2e-6)
    histories = inputs.beside(X)
    assert np.allclose(model.score(histories), histories.toarray() @ expected, atol=2e-5)
    assert np.allclose(model.score(X), X.toarray() @ expected[:ITEMS], atol=2e-5)
    items = np.array([3, 0, 3])
    assert np.allclose(model.score_items(histories, items), model.score(histories)[:, items], atol=1e-6)


def test_without_events_it_is_edlae() -> None:
    X, inputs = shop()
    plain, _ = fit_edlae(
        X, EdlaeSettings(l2=3.0, dropout=0.2, item_power=0.0, owned_power=0.0, diagonal=0.0), Hooks()
    )
    for hooks, strengths in ((Hooks(), None), (Hooks(inputs=inputs), ""), (Hooks(inputs=inputs), "view=0")):
        model, _ = fit_event_linear(X, EventLinearSettings(l2=3.0, dropout=0.2, strengths=strengths), hooks)
        assert np.allclose(model.weights, plain.weights, atol=1e-6)
        assert model.used == ()


def test_an_event_that_is_not_used_is_not_looked_at() -> None:
    X, inputs = shop()
    model, _ = fit_event_linear(X, EventLinearSettings(strengths="view=1"), Hooks(inputs=inputs))
    assert (model.inputs, model.used_inputs) == (("cart", "view"), ("view",))
    views = inputs.taking(["view"])
    assert views is not None
    small = model.narrowed()
    assert small.inputs == ("view",)
    assert np.array_equal(model.score(inputs.beside(X)), small.score(views.beside(X)))
    row = inputs.rows(np.array([5])).beside(X[5])
    added = model.contributions(row, np.arange(ITEMS))
    assert np.allclose(added.sum(axis=0), model.score(row)[0], atol=1e-5)
    assert not added[(row.indices >= ITEMS) & (row.indices < 2 * ITEMS)].any()


class Referee:
    """Says of each model what a table gives for the strengths that it was fitted with."""

    def __init__(self, gains: dict[str, NDArray[np.float64]]) -> None:
        self.gains, self.asked = gains, 0

    def values(self, model: Model) -> NDArray[np.float64]:
        self.asked += 1
        return self.gains[str(model.config()["strengths"])]

    def gain(self, values: NDArray[np.float64], before: NDArray[np.float64]) -> Gain:
        found = values - before
        return Gain(float(found.mean()), float(found.min()), float(found.max()))


def test_an_event_is_used_where_its_interval_lies_above_nothing() -> None:
    X, inputs = shop()
    flat = np.zeros(10)
    referee = Referee(
        {
            "": flat,
            "cart=1": flat + 1,
            "cart=0.5": flat + 2,
            "cart=2": flat,
            **{f"view={s}": flat + 1 for s in ("1", "0.5", "2")},
            # views are good for most users and harm one
            **{f"cart=0.5,view={s}": flat + 3 - 4 * (np.arange(10) == 7) for s in ("1", "0.5", "2")},
        }
    )
    said: list[str] = []
    hooks = Hooks(inputs=inputs, judge=referee, on_message=said.append)
    model, _ = fit_event_linear(X, EventLinearSettings(), hooks)
    assert model.used_inputs == ("cart",)
    assert model.settings["strengths"] == "cart=0.5"
    assert referee.asked == 10
    cart, view = model.worth
    assert (cart.event, cart.gain, cart.used, cart.strength) == ("cart", 2.0, True, 0.5)
    assert (view.event, view.used, view.strength) == ("view", False, 0.0)
    assert "the event 'cart' brings +2.0000 NDCG@20" in said[0]
    assert "is used with strength 0.5" in said[0]
    assert "is left out" in said[1]


def test_the_most_helpful_event_comes_first() -> None:
    """Carts help alone, and no more once views are known: in the order of the events both would be used."""
    X, inputs = shop()
    flat, strengths = np.zeros(10), ("1", "0.5", "2")
    gains = {
        "": flat,
        **{f"cart={s}": flat + 1 for s in strengths},
        **{f"view={s}": flat + 2 for s in strengths},
        **{f"cart={s},view=1": flat + 1.5 for s in strengths},
    }
    said: list[str] = []
    hooks = Hooks(inputs=inputs, judge=Referee(gains), on_message=said.append)
    model, _ = fit_event_linear(X, EventLinearSettings(), hooks)
    assert model.settings["strengths"] == "view=1"
    view, cart = model.worth
    assert (view.event, view.gain, view.used) == ("view", 2.0, True)
    assert (cart.event, cart.gain, cart.used) == ("cart", -0.5, False)
    assert "the event 'view' brings +2.0000 NDCG@20" in said[0]
    assert "the event 'cart' brings -0.5000 NDCG@20" in said[1]


def test_users_do_not_measure_the_strength_that_they_have_chosen() -> None:
    X, inputs = shop()
    even = np.arange(10) % 2 == 0
    views = EventInputs.of(("view",), [inputs.block("view")])
    # each half is best at a strength that does the other half no good
    gains = {"": np.zeros(10), "view=1": even * 1.0, "view=0.5": ~even * 1.0, "view=2": np.full(10, -1.0)}
    model, _ = fit_event_linear(X, EventLinearSettings(), Hooks(inputs=views, judge=Referee(gains)))
    assert model.worth[0].gain == 0
    assert model.used == ()


def test_without_validation_users_no_event_is_used_and_that_is_said() -> None:
    X, inputs = shop()
    said: list[str] = []
    model, _ = fit_event_linear(X, EventLinearSettings(), Hooks(inputs=inputs, on_message=said.append))
    assert model.used == ()
    assert any("without validation users" in line for line in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("view", "EVENT=NUMBER"),
        ("view=x", "EVENT=NUMBER"),
        ("view=-1", "from 0 to 1000"),
        ("view=1,view=2", "each event once"),
        ("view=nan", "EVENT=NUMBER"),
    ],
)
def test_strengths_that_are_none_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EventLinearSettings(strengths=text)


def test_strengths_of_events_that_are_not_there_are_refused() -> None:
    X, inputs = shop()
    with pytest.raises(ConfigError, match="'like', but the events are cart, view"):
        fit_event_linear(X, EventLinearSettings(strengths="like=1"), Hooks(inputs=inputs))
    with pytest.raises(ConfigError, match="none are read"):
        fit_event_linear(X, EventLinearSettings(strengths="view=1"), Hooks())


def test_what_does_not_fit_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    X, inputs = shop()
    monkeypatch.setattr(event_linear, "memory_left", lambda device: 1000)
    with pytest.raises(
        TrainingError, match=r"each pair of 27 inputs .*needs .* GiB.*fewer events in --inputs"
    ):
        fit_event_linear(X, EventLinearSettings(strengths="cart=1,view=1"), Hooks(inputs=inputs))


def test_lists_leave_out_what_is_owned_and_not_what_was_viewed() -> None:
    X, inputs = shop()
    model, _ = fit_event_linear(X, EventLinearSettings(strengths="view=1"), Hooks(inputs=inputs))
    histories = inputs.beside(X)
    plain = Popularity.fit(X)
    for scorer in (model, plain, Blend((Part(model, 1.0, (1.0, 0.5)), Part(plain, 0.5, (3.0, 0.0))), {})):
        lists = rank_histories(scorer, histories, ITEMS, block_bytes=4 * ITEMS * 8).items
        for user in range(USERS):
            assert set(lists[user]) - {-1} == set(range(ITEMS)) - set(X[user].indices)
    assert np.array_equal(rank_histories(plain, histories, 5).items, rank_histories(plain, X, 5).items)
    assert np.array_equal(owned_part(histories, ITEMS).toarray(), X.toarray())


def test_a_blend_gives_events_to_the_part_that_reads_them_and_counts_purchases() -> None:
    X, inputs = shop()
    model, _ = fit_event_linear(X, EventLinearSettings(strengths="cart=1"), Hooks(inputs=inputs))
    plain = Popularity.fit(X)
    blend = Blend((Part(plain, 0.5, (2.0, 0.0)), Part(model, 1.0, (0.3, 0.5))), {"components": "x"})
    histories = inputs.beside(X)
    scale = 0.3 * np.maximum(np.diff(X.indptr), 1)[:, None] ** 0.5
    expected = 0.25 * plain.score(X) + model.score(histories) / scale
    assert np.allclose(blend.score(histories), expected, atol=1e-4)
    items = np.array([4, 1])
    assert np.allclose(blend.score_items(histories, items), expected[:, items], atol=1e-4)
    assert inputs_of(blend) == ("cart", "view")
    assert inputs_of(narrowed(blend)) == ("cart",)
    row = inputs.rows(np.array([3])).beside(X[3])
    found = attribute(blend, row, items)
    total = found.base + found.contributions.sum(axis=0)
    assert np.allclose(total, blend.score(row)[0, items], atol=1e-4)


def test_the_model_comes_back_from_its_arrays_and_damaged_ones_are_refused() -> None:
    X, inputs = shop()
    model, _ = fit_event_linear(X, EventLinearSettings(strengths="view=1"), Hooks(inputs=inputs))
    config, arrays = model.config(), model.arrays()
    again = EventLinear.from_arrays(config, arrays, ITEMS)
    assert np.array_equal(again.score(inputs.beside(X)), model.score(inputs.beside(X)))
    speaking = model.weights.copy()
    speaking[ITEMS, 0] = 1
    wrong: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"inputs": "view"}, {}),
        ({"inputs": ["view", "view"]}, {}),
        ({"used": ["like"]}, {}),
        ({"used": ["view", "cart"]}, {}),
        ({"used": None}, {}),
        ({}, {"weights": model.weights[:-1].copy()}),
        ({}, {"weights": speaking}),
    ]
    for own, parameters in wrong:
        with pytest.raises(ModelFileError):
            EventLinear.from_arrays({**config, **own}, {**arrays, **parameters}, ITEMS)


def test_histories_of_another_width_are_refused() -> None:
    X, inputs = shop()
    model, _ = fit_event_linear(X, EventLinearSettings(strengths="view=1"), Hooks(inputs=inputs))
    views = inputs.taking(["view"])
    assert views is not None
    for histories in (views.beside(X), X[:, :-1]):
        with pytest.raises(DataError, match="for each of cart, view"):
            model.score(sp.csr_matrix(histories))


def test_events_of_held_out_purchases_are_hidden() -> None:
    _, inputs = shop()
    held = sp.csr_matrix(np.eye(USERS, ITEMS, dtype=np.float32))
    hidden = inputs.hiding(held)
    for name in inputs.names:
        expected = inputs.block(name).toarray() * (1 - held.toarray())
        assert np.array_equal(hidden.block(name).toarray(), expected)
