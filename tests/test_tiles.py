"""Tests of the bounds of the blocked pass: no rounding of its products may cost a user one of the best items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from recae.models.dots import dots
from recae.ranking import top_k
from recae.scoring import tile_kernels, tiles
from recae.scoring.integers import has_pair_sums, panels_of, rounded
from recae.scoring.tiles import Numbers, best_of_tiles, catalogue, has_bfloat16_units, rounded_up, to_bfloat16

NUMBERS: list[Numbers] = ["float32", "bfloat16", *(["int16"] if has_pair_sums() else [])]


class Given:
    """User u's factors, for a history whose first value is u + 1."""

    kind, trained, item_bias = "given", False, None

    def __init__(self, users: NDArray[np.float32], items: NDArray[np.float32]) -> None:
        self.users, self.item_factors, self.n_items = users, items, len(items)

    def user_factors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        return self.users[histories.data[histories.indptr[:-1]].astype(int) - 1]


def histories(n_users: int, n_items: int) -> sp.csr_matrix:
    """Everybody owns item 0."""
    parts = np.arange(1.0, n_users + 1), np.zeros(n_users, dtype=int), np.arange(n_users + 1)
    return sp.csr_matrix(parts, shape=(n_users, n_items))


def nearly_equal(rng: np.random.Generator, users: int, items: int, width: int) -> Any:
    """Factors in steps that float32 adds up without error, and items so alike that bfloat16 cannot tell them apart."""
    x = rng.integers(-8, 9, (users, width)) / 8
    w = rng.integers(-64, 65, (1, width)) / 16 + rng.integers(-2, 3, (items, width)) / 2**10
    scale = 2.0 ** rng.integers(-3, 4, (items, 1)) if rng.random() < 0.5 else 1.0
    return x.astype(np.float32), (w * scale).astype(np.float32)


@pytest.mark.parametrize("numbers", NUMBERS)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 40), n=st.integers(1, 12))
def test_the_lists_are_those_of_exact_scores(numbers: Numbers, seed: int, width: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    users, items = nearly_equal(rng, 9, 400, width)
    model, barred = Given(users, items), rng.random(400) < 0.2
    known = catalogue(model)  # type: ignore[arg-type]
    assert known is not None
    history = histories(9, 400)
    found, values, left = best_of_tiles(
        known,
        model,
        history,
        n,
        exclude_owned=True,
        barred=barred,
        numbers=numbers,  # type: ignore[arg-type]
    )
    exact = (users.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)
    exact[:, barred] = np.nan
    exact[:, 0] = np.nan
    for u in set(range(9)) - set(left.tolist()):
        order = [j for j in np.lexsort((np.arange(400), -exact[u])) if not np.isnan(exact[u, j])][:n]
        assert found[u].tolist() == order
        assert values[u].tolist() == exact[u, order].tolist()


@pytest.mark.parametrize("numbers", NUMBERS)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 70), n=st.integers(1, 12))
def test_items_that_differ_in_their_last_bits_are_ranked_as_all_scores_are(
    numbers: Numbers, seed: int, width: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    users, one = rng.normal(size=(9, width)), rng.normal(size=(1, width))
    items = (one * (1 + rng.integers(-3, 4, (400, width)) * 2.0**-24)).astype(np.float32)
    model, history = Given(users.astype(np.float32), items), histories(9, 400)
    known = catalogue(model)  # type: ignore[arg-type]
    assert known is not None
    found, values, left = best_of_tiles(
        known,
        model,
        history,
        n,
        exclude_owned=False,
        barred=None,
        numbers=numbers,  # type: ignore[arg-type]
    )
    every = top_k(dots(model.users, items, None), n)
    for u in set(range(9)) - set(left.tolist()):
        assert found[u].tolist() == every.items[u].tolist()
        assert values[u].tobytes() == every.scores[u].tobytes()


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("kind", ["normal", "nearly equal", "one large", "tiny"])
def test_every_upper_bound_holds(kind: str, numbers: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    users, items = rng.normal(size=(40, 33)).astype(np.float32), rng.normal(size=(300, 33)).astype(np.float32)
    if kind == "nearly equal":
        users, items = nearly_equal(rng, 40, 300, 33)
    elif kind == "one large":
        users[:, 5] *= 1000
    elif kind == "tiny":
        users, items = users * np.float32(1e-22), items * np.float32(1e-18)  # products are no normal numbers
    seen: list[Any] = []
    tidy = tile_kernels.settle
    monkeypatch.setattr(
        tile_kernels, "settle", lambda *args: (seen.append([a.copy() for a in args]), tidy(*args))
    )
    model = Given(users, items)
    known = catalogue(model)  # type: ignore[arg-type]
    assert known is not None
    # as many as there are items: everything is a candidate, and the smallest lower bound of all is the threshold
    best_of_tiles(known, model, histories(40, 300), 300, exclude_owned=False, barred=None, numbers=numbers)  # type: ignore[arg-type]
    slack, best, candidates, upper, count = seen[0]
    assert (count == 300).all()
    exact = users.astype(np.float64) @ items.astype(np.float64).T
    assert (
        np.take_along_axis(exact, candidates, axis=1) <= upper.astype(np.float64) + slack[:, None] / 2
    ).all()
    assert (np.sort(best, axis=1) - slack[:, None] / 2 <= np.sort(exact, axis=1)).all()
    looseness = (upper - np.take_along_axis(exact, candidates, axis=1)) / (
        np.linalg.norm(users, axis=1)[:, None] * np.linalg.norm(items, axis=1)[candidates] + 1e-30
    )
    assert kind == "tiny" or looseness.max() < (
        1e-4 if numbers == "float32" else 0.02
    )  # so tight as to be of use


def test_too_many_candidates_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "capacity", lambda n, n_items: 8)
    users = np.array([[1.0], [0.0]], dtype=np.float32)
    model = Given(users, np.arange(100, dtype=np.float32)[::-1, None].copy())
    known = catalogue(model)  # type: ignore[arg-type]
    assert known is not None
    found, _, left = best_of_tiles(
        known,
        model,
        histories(2, 100),
        2,
        exclude_owned=True,
        barred=None,
        numbers="float32",  # type: ignore[arg-type]
    )
    assert left.tolist() == [1]
    assert found[0].tolist() == [1, 2]


def test_bfloat16_is_the_nearest_and_has_no_tiny_numbers() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 2**-7, -3.14159, 1e-39, -1e-38, 2e-38, 0], dtype=np.float32)
    coarse, rounded = to_bfloat16(values)
    np.testing.assert_array_equal(coarse.float().numpy(), rounded)
    np.testing.assert_allclose(rounded[[0, 2, 3, 6]], values[[0, 2, 3, 6]], rtol=2**-8)
    assert rounded[[1, 4, 5, 7]].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("width", [1, 2, 33, 256, 5000])
def test_whole_numbers_are_near_and_their_sums_fit_into_32_bits(width: int) -> None:
    vectors = np.random.default_rng(2).normal(size=(21, width))
    vectors[3], vectors[4] = 0, 1e-42
    numbers, scales = rounded(vectors)
    largest = np.abs(vectors).max(axis=1)
    most = int(np.abs(numbers.astype(int)).max())
    assert width * most**2 < 2**31
    taken = numbers[:, :width] * scales[:, None].astype(np.float64)
    assert (np.abs(taken - vectors) <= 0.51 * np.maximum(largest / (most - 1), 1e-37)[:, None]).all()
    panels = panels_of(numbers).view(np.int16).reshape(2, -1, 16, 2)
    for item in range(21):
        assert panels[item // 16, :, item % 16].reshape(-1).tolist() == numbers[item].tolist()


def test_rounding_up_never_rounds_down() -> None:
    values = np.concatenate([10 ** np.random.default_rng(0).uniform(-30, 30, 1000), [0.0]])
    assert (rounded_up(values).astype(np.float64) > values).all()


@pytest.mark.parametrize(
    ("features", "mkldnn", "supported", "found"),
    [
        ({"amx-bf16": True, "avx512bf16": True}, True, True, True),
        ({"amx-bf16": False, "avx512bf16": True}, True, True, True),  # AMD since Zen 4
        ({"bf16": True, "neon": True}, True, True, True),  # Arm
        ({"bf16": True, "neon": True}, True, False, False),
        ({"avx512bf16": True}, False, True, False),
        ({"avx2": True, "fma": True, "avx512bf16": False}, True, True, False),
        ({}, True, True, False),
    ],
)
def test_bfloat16_is_used_where_the_processor_has_units_and_torch_reaches_them(
    features: dict[str, bool], mkldnn: bool, supported: bool, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles.binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: mkldnn)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    assert has_bfloat16_units.__wrapped__() is found


def test_without_torch_there_is_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles.binding, "get_host_cpu_features", lambda: {"amx-bf16": True})
    monkeypatch.setattr(tiles, "find_spec", lambda name: None)
    assert not has_bfloat16_units.__wrapped__()


def test_bits_are_read_as_the_number_that_they_are() -> None:
    values = np.array([0, -0.0, 1.5, -3e38, 1e-45, np.inf], dtype=np.float32)
    float_of = tile_kernels.float_of.compiled
    read = njit(lambda bits: [float_of(b) for b in bits])
    assert read(values.view(np.uint32)) == values.tolist()
