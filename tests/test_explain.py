"""Tests of explanations: sums without a rest, additive parts exactly, and paths and sampling against slow oracles."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from fitting import FIT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap
from recae.insight.explain import Explanation, explain
from recae.models import (
    ALS,
    BPR,
    Blend,
    DeepAutoencoder,
    DenseLinear,
    ItemKNN,
    Model,
    MultVAE,
    Popularity,
    RecVAE,
    SigmoidAutoencoder,
    SparseLinear,
)
from recae.models import attribution as module
from recae.models.attribution import attribute, shapley_values
from recae.models.base import Additive, Attributed
from recae.models.deep import ACTIVATIONS
from recae.recommender import Recommender

N_USERS, N_ITEMS = 40, 24
Matrix = NDArray[np.float64]


def purchases() -> sp.csr_matrix:
    """Two groups of users who prefer one half of the items each; user 0 owns nothing, user 1 one item."""
    rng = np.random.default_rng(5)
    likes = np.where(np.add.outer(np.arange(N_USERS), np.arange(N_ITEMS) // 12) % 2 == 0, 0.5, 0.1)
    dense = (rng.random((N_USERS, N_ITEMS)) < likes).astype(np.float32)
    dense[0] = 0
    dense[1] = 0
    dense[1, 7] = 1
    return sp.csr_matrix(dense)


MATRIX = purchases()
_FITTED: dict[str, Model] = {}


def model_of(kind: str) -> Any:
    if kind not in _FITTED:
        _FITTED[kind] = FIT[kind](MATRIX)
    return _FITTED[kind]


def shop(model: Model, **parts: Any) -> Recommender:
    ids = IdMap([f"i{n}" for n in range(model.n_items)])
    return Recommender(**({"model": model, "users": None, "items": ids} | parts))


@pytest.fixture(params=sorted(FIT))
def fitted(request: pytest.FixtureRequest) -> Recommender:
    return shop(model_of(request.param))


def history(*items: int, n_items: int = N_ITEMS) -> sp.csr_matrix:
    dense = np.zeros((1, n_items), dtype=np.float32)
    dense[0, list(items)] = 1
    return sp.csr_matrix(dense)


class Bare:
    """A model of which nothing is known but its scores, as a plugin's may be."""

    kind, trained = "bare", False

    def __init__(self, model: Model) -> None:
        self.model, self.n_items, self.most = model, model.n_items, 0

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.int64]) -> NDArray[np.float32]:
        self.most = max(self.most, histories.nnz)
        return self.model.score_items(histories, items)


def parts_of(model: Model, owned: list[int]) -> list[tuple[float, Any]]:
    """Factors and models that the score is the sum of, by the formula of the blend."""
    if not isinstance(model, Blend):
        return [(1.0, model)]
    m = max(len(owned), 1)
    return [(p.weight / (p.spread[0] * m ** p.spread[1]), p.model) for p in model.parts]


@pytest.mark.parametrize("user", [0, 1, 2, 3, 20])
def test_nothing_is_left_over(fitted: Recommender, user: int) -> None:
    row = sp.csr_matrix(MATRIX[user])
    owned = sorted(row.indices.tolist())
    items = [0, 23, 7, 12]  # in no order, owned ones among them
    stated = fitted.model.score(row)[0, items]
    raw = attribute(fitted.model, row, np.array(items))
    nothing = history()
    for at, (item, found) in enumerate(zip(items, explain(fitted, row, items, stated), strict=True)):
        base = sum(f * float(m.score(nothing)[0, item]) for f, m in parts_of(fitted.model, owned))
        size = abs(base) + np.abs(found.contributions).sum() + abs(found.score)
        assert (found.item, found.owned.tolist()) == (item, owned)
        assert found.base == pytest.approx(base, abs=1e-5 * size)
        assert found.score == stated[at]
        assert found.error == 0
        assert found.base + found.contributions.sum() == pytest.approx(found.score, abs=1e-12 * size)
        # before float32's rounding was shared out, too
        assert raw.base[at] + raw.contributions[:, at].sum() == pytest.approx(stated[at], abs=1e-5 * size)


@pytest.mark.parametrize("kind", ["ease", "edlae", "sparse-linear", "itemknn"])
def test_additive_kinds_are_their_weights(kind: str) -> None:
    model = model_of(kind)
    weights = model.item_weights.toarray() if isinstance(model, Additive) else model.weights
    assert isinstance(model, DenseLinear | ItemKNN | SparseLinear)
    owned = [1, 5, 6, 14, 20]
    for found in explain(shop(model), history(*owned), range(N_ITEMS)):
        np.testing.assert_allclose(found.contributions, weights[owned, found.item], rtol=1e-5, atol=1e-7)
        assert found.base == 0


def test_a_blend_takes_its_parts_at_the_length_of_the_history() -> None:
    blend = model_of("blend")
    owned = [1, 5, 6, 14, 20]
    row, items = history(*owned), np.arange(N_ITEMS)
    expected = sum(f * attribute(m, row, items).contributions for f, m in parts_of(blend, owned))
    np.testing.assert_allclose(attribute(blend, row, items).contributions, expected, rtol=1e-5, atol=1e-9)
    # item-kNN's part, by hand: weight 0.4 over the spread 2·5^0.1
    knn = blend.parts[1].model.similarity.toarray()[owned] * 0.4 / (2 * 5**0.1)
    sigmoid = blend.parts[0].model.contributions(row, items) * 0.6 / (0.3 * 5**0.5)
    np.testing.assert_allclose(expected, knn + sigmoid, rtol=1e-5, atol=1e-9)


# autoencoders: integrated gradients, the layers written anew in torch, in 2,000 steps


def integrated(
    hidden: Callable[[torch.Tensor], torch.Tensor], first: Matrix, start: Matrix, out: Matrix, steps: int
) -> Matrix:
    """∫ of the gradient of out·hidden(start + αΣ first) over α, times first: (m, n), by the midpoint rule."""
    inputs, begin = torch.tensor(first), torch.tensor(start)
    alpha = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    z = (begin + alpha[:, None] * inputs.sum(0)).requires_grad_()
    scores = hidden(z) @ torch.tensor(out).T
    slopes = [
        torch.autograd.grad(scores[:, t].sum(), z, retain_graph=True)[0].mean(0) for t in range(len(out))
    ]
    return (inputs @ torch.stack(slopes).T).numpy()


def tensors(layers: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    def double(array: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(array, np.float64))

    return [(double(weight), double(bias)) for weight, bias in layers]


def hidden_of(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    if isinstance(model, SigmoidAutoencoder):
        return lambda z: 2 * torch.sigmoid(z) - 1
    if isinstance(model, DeepAutoencoder):
        act = {
            "sigmoid": lambda z: 2 * torch.sigmoid(z) - 1,
            "tanh": torch.tanh,
            "relu": torch.relu,
            "selu": torch.selu,
            "silu": torch.nn.functional.silu,
        }[model.activation]

        def deep(z: torch.Tensor) -> torch.Tensor:
            h = act(z)
            for weight, bias in tensors([*model.encoder[1:], *model.decoder]):
                h = act(h @ weight + bias)
            return h

        return deep
    if isinstance(model, MultVAE):

        def multvae(z: torch.Tensor) -> torch.Tensor:
            for weight, bias in tensors(model.encoder_dense):
                z = torch.tanh(z) @ weight + bias
            for weight, bias in tensors(model.decoder_dense):
                z = torch.tanh(z @ weight + bias)
            return z

        return multvae
    assert isinstance(model, RecVAE)

    def recvae(z: torch.Tensor) -> torch.Tensor:
        hidden: list[torch.Tensor] = []
        for (weight, bias), (gain, shift) in zip(
            tensors(model.encoder_dense), tensors(model.norms), strict=True
        ):
            u = torch.nn.functional.silu(sum(hidden, z))
            hidden.append(torch.nn.functional.layer_norm(u, u.shape[-1:], gain, shift, 0.1))
            z = hidden[-1] @ weight + bias
        return z

    return recvae


def by_integral(model: Any, owned: list[int], items: list[int], steps: int = 2000) -> Matrix:
    encoder, start = (
        model.encoder[0] if isinstance(model.encoder, tuple) else (model.encoder, model.encoder_bias)
    )
    out = model.output if isinstance(model, DeepAutoencoder) else model.decoder
    first = encoder[owned].astype(np.float64) / len(owned) ** model.input_power
    return integrated(hidden_of(model), first, start.astype(np.float64), out[items].astype(np.float64), steps)


@pytest.mark.parametrize("kind", ["sigmoid", "deep", "aae", "multvae", "recvae"])
def test_autoencoders_are_integrated_along_the_path(kind: str) -> None:
    model = model_of(kind)
    owned, items = [0, 2, 3, 7, 13, 22], [4, 7, 19]
    found = attribute(model, history(*owned), np.array(items)).contributions
    expected = by_integral(model, owned, items)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation(activation: str) -> None:
    rng = np.random.default_rng(2)

    def layer(*shape: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[1]).astype(np.float32)

    encoder, decoder = (layer(N_ITEMS, 6), layer(6, 3)), (layer(3, 6),)
    output, bias = layer(6, N_ITEMS)
    out = np.ascontiguousarray(output.T)
    model = DeepAutoencoder(encoder, decoder, out, bias, False, activation, "squared", 0.5, {})
    owned, items = [1, 4, 9, 16], [0, 4]
    found = attribute(model, history(*owned), np.array(items))
    expected = by_integral(model, owned, items, 20_000)
    np.testing.assert_allclose(found.contributions, expected, rtol=0, atol=5e-3 * np.abs(expected).max())
    stated = model.score(history(*owned))[0, items]
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=0), stated, rtol=1e-5, atol=1e-5)


def test_als_is_linear_once_the_equation_is_the_history_s() -> None:
    model: ALS = model_of("als")
    Y = model.item_factors.astype(np.float64)
    owned = [0, 2, 3, 7, 13]
    A = Y.T @ Y + model.regularization * np.eye(Y.shape[1])
    for i in owned:
        A += (model.alpha - 1) * np.outer(Y[i], Y[i])
    found = attribute(model, history(*owned), np.arange(N_ITEMS)).contributions
    expected = [[model.alpha * Y[i] @ np.linalg.inv(A) @ Y[j] for j in range(N_ITEMS)] for i in owned]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_bpr_is_the_sum_over_the_pairs_at_its_minimum() -> None:
    model: BPR = model_of("bpr")
    Y, c = model.item_factors.astype(np.float64), model.item_bias.astype(np.float64)
    owned = [0, 2, 3, 7, 13]
    p = model.encode(history(*owned))[0].astype(np.float64)
    others = [int(j) for j in model.others if j not in owned]
    expected = np.zeros((len(owned), N_ITEMS))
    for at, i in enumerate(owned):
        for j in others:
            wrong = 1 / (1 + np.exp(p @ (Y[i] - Y[j]) + c[i] - c[j]))
            expected[at] += wrong * Y @ (Y[i] - Y[j])
    expected /= model.regularization * len(owned) * len(others)
    found = attribute(model, history(*owned), np.arange(N_ITEMS)).contributions
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    everything = history(*range(N_ITEMS))  # no pair is left
    assert not attribute(model, everything, np.array([3])).contributions.any()


# any other model: Shapley values


def by_orders(model: Model, owned: list[int], item: int) -> Matrix:
    """The definition: the mean over all orders of what an item adds to those before it."""
    added = np.zeros(len(owned))
    orders = list(permutations(range(len(owned))))
    for order in orders:
        before: list[int] = []
        for at in order:
            scores = [float(model.score(history(*some))[0, item]) for some in (before, [*before, owned[at]])]
            added[at] += scores[1] - scores[0]
            before.append(owned[at])
    return added / len(orders)


def test_short_histories_of_any_model_have_exact_shapley_values() -> None:
    inner = model_of("sigmoid")
    owned = [0, 3, 7, 13]
    bare: Any = Bare(inner)
    for found in explain(shop(bare), history(*owned), [2, 7]):
        np.testing.assert_allclose(
            found.contributions, by_orders(inner, owned, found.item), rtol=0, atol=1e-5
        )
        assert found.error == 0


def test_sampled_values_sum_exactly_and_are_within_their_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    bare: Any = Bare(model_of("sigmoid"))
    row, items = history(0, 2, 3, 7, 13, 20), np.array([2, 7])
    exact, none = shapley_values(bare, row, items)
    assert not none.any()
    monkeypatch.setattr(module, "SUBSETS_OF", 3)
    monkeypatch.setattr(module, "_ASKED", 240)
    values, error = shapley_values(bare, row, items, seed=3)
    assert (error > 0).any()
    assert (np.abs(values - exact) <= 5 * error + 1e-5).all()
    np.testing.assert_allclose(values.sum(axis=0), exact.sum(axis=0), rtol=0, atol=1e-5)
    again, _ = shapley_values(bare, row, items, seed=3)
    np.testing.assert_array_equal(again, values)
    (found, _) = explain(shop(bare), row, items)
    assert found.error > 0
    assert found.error == pytest.approx(shapley_values(bare, row, items)[1][:, 0].max())
    assert found.base + found.contributions.sum() == pytest.approx(found.score, abs=1e-12)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 12)  # two histories at a time
    bare.most = 0
    parts, _ = shapley_values(bare, row, items, seed=3)
    np.testing.assert_allclose(parts, values, rtol=0, atol=1e-6)
    assert bare.most <= 12


def test_a_kind_whose_contributions_do_not_sum_up_is_refused() -> None:
    class Wrong(Bare):
        def contributions(self, history: sp.csr_matrix, items: NDArray[np.int64]) -> Matrix:
            return np.ones((history.nnz, len(items)))

    wrong: Any = Wrong(model_of("itemknn"))
    assert isinstance(wrong, Attributed)
    with pytest.raises(DataError, match="the kind 'bare' has a faulty"):
        explain(shop(wrong), history(1, 2), [3])


# histories of every kind


def test_popularity_does_not_look_at_the_history() -> None:
    (found,) = explain(shop(Popularity.fit(MATRIX)), history(1, 2), [3])
    assert found.base == found.score > 0
    assert found.contributions.tolist() == [0, 0]
    assert found.reasons() == []


def test_empty_history(fitted: Recommender) -> None:
    (found,) = explain(fitted, history(), [3])
    assert found.owned.size == found.contributions.size == 0
    assert found.score == found.base == pytest.approx(float(fitted.model.score(history())[0, 3]), rel=1e-5)
    assert found.reasons() == []
    shown = found.sum()
    assert (shown.base, shown.n_others, shown.others) == (shown.score, 0, 0)


def test_one_item_explains_everything(fitted: Recommender) -> None:
    (found,) = explain(fitted, history(7), [3])
    assert found.contributions[0] == pytest.approx(found.score - found.base, abs=1e-9)


def test_no_items_to_explain(fitted: Recommender) -> None:
    assert explain(fitted, history(1, 2), []) == []


def test_only_the_pattern_of_the_history_counts() -> None:
    model = model_of("itemknn")
    # unsorted, one item twice, odd values
    odd = sp.csr_matrix((np.array([0.0, 5, -1, 2], np.float32), [9, 1, 9, 4], [0, 4]), shape=(1, N_ITEMS))
    kept = odd.indices.copy()
    (found,) = explain(shop(model), odd, [3])
    assert found.owned.tolist() == [1, 4, 9]
    weights = model.similarity.toarray()[[1, 4, 9], 3]
    np.testing.assert_allclose(found.contributions, weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(odd.indices, kept)


def test_ten_thousand_items_are_explained_at_once() -> None:
    n_items = 12_000
    rng = np.random.default_rng(1)
    encoder, decoder = (rng.normal(size=(n_items, 16)).astype(np.float32) for _ in range(2))
    zeros = np.zeros(n_items, dtype=np.float32)
    model = SigmoidAutoencoder(encoder, zeros[:16], decoder, zeros, 0.5, {})
    (found,) = explain(shop(model), history(*range(10_000), n_items=n_items), [11_000])
    assert found.contributions.shape == (10_000,)
    assert found.contributions.sum() == pytest.approx(found.score - found.base, abs=1e-9)


# sums as they are shown


def explanation(score: float, base: float, values: list[float]) -> Explanation:
    rows = np.array([2, 3, 5, 7, 11, 13, 17, 19][: len(values)])
    return Explanation(9, score, base, rows, np.array(values))


def test_reasons_are_the_largest_positive_ones() -> None:
    found = explanation(1.0, 0.0, [0.1, -0.5, 0.3, 0.0, 0.3, 0.2])
    assert found.reasons(3) == [(5, 0.3), (11, 0.3), (13, 0.2)]  # equal ones by their rows
    assert found.reasons() == [(5, 0.3), (11, 0.3), (13, 0.2), (2, 0.1)]


def test_a_sum_names_some_and_adds_the_others() -> None:
    found = explanation(0.5, 0.1, [0.1, -0.5, 0.3, 0.0, 0.3, 0.2])
    raising = found.sum(2, positive=True, decimals=2)
    assert [str(value) for value in (raising.score, raising.base, raising.others)] == [
        "0.50",
        "0.10",
        "-0.20",
    ]
    assert raising.reasons == [(5, Decimal("0.30")), (11, Decimal("0.30"))]
    assert raising.n_others == 4
    assert [row for row, _ in found.sum(2, decimals=2).reasons] == [3, 5]  # whatever the sign
    every = found.sum(10)
    assert (every.n_others, every.others, len(every.reasons)) == (0, 0, 6)


def test_rounding_goes_to_those_it_moved_most() -> None:
    shown = explanation(1.0, 0.0, [1 / 3, 1 / 3, 1 / 3]).sum(decimals=2)
    assert sorted(str(value) for _, value in shown.reasons) == ["0.33", "0.33", "0.34"]
    assert (str(shown.score), str(shown.base)) == ("1.00", "0.00")
    stated = explanation(1.0, 0.0, [0.5, 0.5]).sum(score=Decimal("1.01"), decimals=2)
    assert (str(stated.base), sum(value for _, value in stated.reasons)) == ("0.00", Decimal("1.01"))
    # a base that is nothing but the rounding of a sum in another order
    shown = explanation(1.0, -2e-10, [1 / 3, 1 / 3, 1 / 3]).sum(decimals=2)
    assert str(shown.base) == "0.00"
    assert sum(value for _, value in shown.reasons) == Decimal("1.00")


numbers = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=100, deadline=None)
@given(
    base=numbers,
    values=st.lists(numbers, max_size=8),
    most=st.integers(1, 9),
    decimals=st.none() | st.integers(0, 6),
    positive=st.booleans(),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_what_is_printed_sums_up(
    base: float, values: list[float], most: int, decimals: int | None, positive: bool, scale: float
) -> None:
    base, values = base * scale, [value * scale for value in values]
    score = float(np.float32(base + sum(values)))
    if values:
        values[0] += score - base - sum(values)
    else:
        base = score
    shown = explanation(score, base, values).sum(most, decimals=decimals, positive=positive)
    parts = [shown.base, *(value for _, value in shown.reasons), shown.others]
    assert sum(parts, Decimal(0)) == shown.score
    assert len(shown.reasons) + shown.n_others == len(values)
    if decimals is None:
        assert float(shown.score) == pytest.approx(score, rel=1e-7, abs=1e-30)
        if scale < 1e9:  # JSON's numbers keep the digits, and so the sum
            texts = [Decimal(str(float(part))) for part in (*parts, shown.score)]
            assert sum(texts[:-1], Decimal(0)) == texts[-1]


def test_scores_without_end_are_cut() -> None:
    shown = explanation(float("inf"), float("nan"), [float("inf")]).sum()
    largest = pytest.approx(float(np.finfo(np.float32).max))
    assert [float(part) for part in (shown.score, shown.base, shown.reasons[0][1])] == [largest, 0, largest]


@pytest.mark.parametrize(
    ("given", "items", "message"),
    [
        (sp.csr_matrix((2, N_ITEMS)), [0], "but 2 were given"),
        (sp.csr_matrix((0, N_ITEMS)), [0], "but 0 were given"),
        (sp.csr_matrix((1, N_ITEMS + 1)), [0], f"{N_ITEMS + 1} columns"),
        (history(1), [N_ITEMS], f"but {N_ITEMS} was"),
        (history(1), [-1], "but -1 was"),
        (history(1), ["i1"], "whole numbers"),
    ],
)
def test_what_cannot_be_explained(given: sp.csr_matrix, items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        explain(shop(Popularity.fit(MATRIX)), given, items)


def test_history_of_a_user_or_a_basket() -> None:
    users = IdMap([f"u{n}" for n in range(N_USERS)])
    known = shop(Popularity.fit(MATRIX), users=users, histories=MATRIX)
    np.testing.assert_array_equal(known.history_of("u3").toarray(), MATRIX[3].toarray())
    np.testing.assert_array_equal(
        known.history_of(items=["i4", "x", "i2", "i4"]).toarray(), history(2, 4).toarray()
    )
    for user, items in ((None, None), ("u3", ["i4"])):
        with pytest.raises(ConfigError, match="exactly one"):
            known.history_of(user, items=items)
    with pytest.raises(UnknownIdError, match="no user 'u99'"):
        known.history_of("u99")


def test_id_and_name() -> None:
    names = pa.array(["Mug", None, *["x"] * (N_ITEMS - 2)], pa.large_string())
    named = shop(Popularity.fit(MATRIX), item_names=names)
    assert named.id_and_name(0) == ("i0", "Mug")
    assert named.id_and_name(1) == ("i1", None)
    assert shop(Popularity.fit(MATRIX)).id_and_name(0) == ("i0", None)
