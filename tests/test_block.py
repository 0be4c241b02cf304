"""Tests of the best items of a block of users: those of all scores, sorted one user at a time, by any path."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from math import isnan
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from fitting import FIT
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from recae.errors import ConfigError, DataError
from recae.models import Blend, Model
from recae.models.base import Additive, Factored
from recae.models.blend import Part
from recae.models.dots import dots
from recae.ranking import rank_histories
from recae.scoring import tiles as catalogues
from recae.scoring.block import best_items, numbers_for, one_torch_thread
from recae.scoring.integers import has_pair_sums
from recae.scoring.tiles import catalogue

USERS, ITEMS = 70, 150
PATHS = ["plain", "float32", "bfloat16", *(["int16"] if has_pair_sums() else [])]


def purchases(n_users: int = USERS, n_items: int = ITEMS, seed: int = 5) -> sp.csr_matrix:
    """Random histories with popular items; user 0 owns nothing, user 1 everything, user 2 all but three items."""
    rng = np.random.default_rng(seed)
    dense = (rng.random((n_users, n_items)) < 0.4 * rng.random(n_items) ** 2).astype(np.float32)
    dense[0], dense[1], dense[2] = 0, 1, np.arange(n_items) >= 3
    return sp.csr_matrix(dense)


class Products:
    """A model whose user factors are given: user u's history holds u + 1 as its first value."""

    kind, trained = "products", False

    def __init__(self, users: Any, items: Any, bias: Any = None) -> None:
        self.users = np.asarray(users, dtype=np.float32)
        self.item_factors = np.asarray(items, dtype=np.float32)
        self.item_bias = None if bias is None else np.asarray(bias, dtype=np.float32)
        self.n_items = len(self.item_factors)
        self.scored = 0

    def histories(self) -> sp.csr_matrix:
        """Everybody owns the last item and no other."""
        n_users = len(self.users)
        values, owned = np.arange(1, n_users + 1), np.full(n_users, self.n_items - 1)
        return sp.csr_matrix((values, owned, np.arange(n_users + 1)), shape=(n_users, self.n_items))

    def user_factors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        return self.users[histories.data[histories.indptr[:-1]].astype(np.int64) - 1]

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        self.scored += histories.shape[0]
        users = self.user_factors(histories)
        return dots(users, self.item_factors, self.item_bias)


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `best_items` take one path, in small tiles, whatever the processor, the users and the items."""
    take(request.param, monkeypatch)
    return str(request.param)


def take(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.scoring.tiles.TILE", 37)
    monkeypatch.setattr("recae.scoring.tiles.WIDE_TILE", 41)
    monkeypatch.setattr("recae.scoring.block.SMALL_BATCH", 0 if path != "plain" else 10**9)
    monkeypatch.setattr("recae.scoring.block._WORTH_PREPARING", 0)
    monkeypatch.setattr("recae.scoring.block.has_bfloat16_units", lambda: path == "bfloat16")
    monkeypatch.setattr("recae.scoring.block.has_pair_sums", lambda: path == "int16")
    monkeypatch.setattr("recae.scoring.block._tiled", lambda model, n: catalogue(model))


def sorted_lists(
    scores: NDArray[np.float32], owned: sp.csr_matrix | None, barred: NDArray[np.bool_] | None
) -> Iterator[list[tuple[int, float]]]:
    """The oracle: everything that may be ranked, sorted."""
    bar = set() if barred is None else set(np.flatnonzero(barred).tolist())
    for u, row in enumerate(scores.tolist()):
        left = set(range(len(row))) - bar
        left -= set() if owned is None else set(owned.indices[owned.indptr[u] : owned.indptr[u + 1]].tolist())
        ranked = sorted((-score, j) for j, score in enumerate(row) if j in left and not isnan(score))
        yield [(j, row[j]) for _, j in ranked]


def check(model: Any, histories: sp.csr_matrix, n: int, **options: Any) -> None:
    """Against the oracle: the same lists and the same scores, to the last bit."""
    barred, owned = options.get("barred"), options.setdefault("exclude_owned", True)
    kept = histories.copy()
    items, values = best_items(model, histories, n, **options)
    assert (histories != kept).nnz == 0
    assert (items.shape, items.dtype, values.dtype) == ((histories.shape[0], n), np.int32, np.float32)
    scores = model.score(histories)
    expected = sorted_lists(scores, histories if owned else None, barred)
    for u, every in enumerate(expected):
        right = every[:n]
        found = [(int(j), float(v)) for j, v in zip(items[u], values[u], strict=True) if j >= 0]
        assert items[u, len(right) :].tolist() == [-1] * (n - len(right))
        assert (values[u, len(right) :] == -np.inf).all()
        assert found == right


@cache
def fitted(kind: str) -> Model:
    return FIT[kind](purchases())


@pytest.mark.some(14)
@pytest.mark.parametrize("kind", sorted(FIT))
def test_every_kind_gives_what_all_its_scores_give(kind: str, path: str) -> None:
    histories = purchases()
    model = fitted(kind)
    barred = np.arange(ITEMS) % 4 == 1
    check(model, histories, 7)
    check(model, histories, 7, exclude_owned=False, threads=1)
    check(model, histories, 200, barred=barred, threads=3)
    check(model, histories, 1, barred=np.ones(ITEMS, dtype=bool))
    check(model, histories[:0], 3)
    check(model, histories[:1], 3)
    check(model, histories, 5, block_bytes=1)


@pytest.mark.parametrize("kind", sorted(FIT))
def test_a_user_alone_has_the_same_bits_as_among_others(kind: str) -> None:
    model, histories = fitted(kind), purchases()
    scores = model.score(histories)
    items = np.arange(ITEMS)[::-7]
    some = model.score_items(histories, items)
    assert some.tobytes() == scores[:, items].tobytes()
    for u in range(USERS):
        assert model.score(histories[u]).tobytes() == scores[u : u + 1].tobytes()
        assert model.score_items(histories[u], items[:3]).tobytes() == some[u : u + 1, :3].tobytes()
    for start, stop in ((1, 3), (5, 38), (11, 70)):
        assert model.score(histories[start:stop]).tobytes() == scores[start:stop].tobytes()


@pytest.mark.parametrize("kind", ["als", "blend", "deep", "multvae", "sigmoid", "spectral"])
def test_lists_are_the_same_alone_and_among_others(kind: str, path: str) -> None:
    model, histories = fitted(kind), purchases()
    together = best_items(model, histories, 6, exclude_owned=True)
    for u in range(0, USERS, 9):
        alone = rank_histories(model, histories[u], 6)
        assert alone.items[0].tolist() == together.items[u].tolist()
        assert alone.scores[0].tobytes() == together.scores[u].tobytes()


def test_which_kinds_have_a_catalogue() -> None:
    tiled = {kind for kind in FIT if catalogue(fitted(kind))}
    assert tiled == {"aae", "als", "blend", "bpr", "deep", "multvae", "recvae", "sigmoid", "spectral"}
    assert {kind for kind in FIT if isinstance(fitted(kind), Factored)} == tiled - {"blend", "spectral"}
    assert {k for k in FIT if isinstance(fitted(k), Additive)} == {"frequency", "itemknn", "sparse-linear"}


@pytest.mark.parametrize("kind", ["aae", "als", "bpr", "deep", "multvae", "recvae", "sigmoid"])
def test_factors_and_constants_make_the_score(kind: str) -> None:
    model = fitted(kind)
    assert isinstance(model, Factored)
    scores = model.user_factors(purchases()) @ model.item_factors.T
    if model.item_bias is not None:
        scores += model.item_bias
    np.testing.assert_allclose(scores, model.score(purchases()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["frequency", "itemknn", "sparse-linear"])
def test_weights_and_constants_make_the_score(kind: str) -> None:
    histories = purchases()
    model = fitted(kind)
    assert isinstance(model, Additive)
    scores = (histories @ model.item_weights).toarray()
    if model.item_bias is not None:
        scores += model.item_bias
    np.testing.assert_allclose(scores, model.score(histories), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kinds",
    [
        ("sigmoid", "als", "itemknn"),
        ("sigmoid", "sparse-linear", "frequency"),
        ("bpr",),
        ("sigmoid", "sparse-linear", "spectral"),
    ],
)
def test_blends_of_many_forms(kinds: tuple[str, ...], path: str) -> None:
    histories = purchases()
    histories.data[:] = np.random.default_rng(0).random(histories.nnz)  # which only `frequency` reads
    models = [fitted(kind) for kind in kinds]
    model = Blend(tuple(Part(m, 0.3 + p, (0.2 * p + 0.1, 0.4)) for p, m in enumerate(models)), {})
    check(model, histories, 6)
    check(model, histories, 6, barred=np.arange(ITEMS) < 90, exclude_owned=False)


def test_a_blend_with_a_part_of_another_form_is_scored_as_it_is(path: str) -> None:
    models = [fitted(kind) for kind in ("sigmoid", "popularity")]
    model = Blend(tuple(Part(m, 0.5, (1.0, 0.0)) for m in models), {})
    assert catalogue(model) is None
    check(model, purchases(), 6)


def test_unsorted_histories_and_weights(path: str) -> None:
    histories, model = purchases(), fitted("blend")
    expected = best_items(model, histories, 8, exclude_owned=True)
    for u in range(USERS):
        row = slice(histories.indptr[u], histories.indptr[u + 1])
        histories.indices[row] = histories.indices[row][::-1]
    histories.has_sorted_indices = False
    found = best_items(model, histories, 8, exclude_owned=True)
    np.testing.assert_array_equal(found[0], expected[0])


def test_whole_numbers_are_ranked_exactly_and_ties_by_item(path: str) -> None:
    rng = np.random.default_rng(2)
    model = Products(
        rng.integers(-3, 4, (50, 6)), rng.integers(-3, 4, (ITEMS, 6)), rng.integers(-2, 3, ITEMS)
    )
    check(model, model.histories(), 9)
    check(model, model.histories(), 9, barred=rng.random(ITEMS) < 0.5, threads=1)


def test_all_scores_equal(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.scoring.tiles.capacity", lambda n, n_items: 12)
    model = Products(np.zeros((40, 5)), np.ones((ITEMS, 5)))
    check(model, model.histories(), 4)


@pytest.mark.parametrize("large", [np.nan, np.inf, 3e38, 1e30])
def test_numbers_that_are_not_finite_or_too_large(large: float, path: str) -> None:
    rng = np.random.default_rng(3)
    model = Products(rng.normal(size=(40, 5)), rng.normal(size=(ITEMS, 5)))
    with np.errstate(all="ignore"):
        model.users[[3, 7]] *= np.float32(large)
    check(model, model.histories(), 4)


def test_tiny_numbers(path: str) -> None:
    rng = np.random.default_rng(4)
    model = Products(rng.normal(size=(40, 5)) * 1e-25, rng.normal(size=(ITEMS, 5)) * 1e-20)
    check(model, model.histories(), 4)


def test_short_lists_over_many_items_leave_nobody_to_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.scoring.block.has_bfloat16_units", lambda: True)
    monkeypatch.setattr("recae.scoring.block._WORTH_PREPARING", 0)
    rng = np.random.default_rng(6)
    model = Products(rng.normal(size=(100, 32)), rng.normal(size=(3000, 32)))
    best_items(model, model.histories(), 10, exclude_owned=True)
    assert model.scored == 0
    check(model, model.histories(), 10)


@pytest.mark.some(4)
@pytest.mark.parametrize("coarse", ["float32", "int16", "bfloat16"])
@pytest.mark.parametrize("n_items", [600, 1700])  # all scores at once, and tiles
@pytest.mark.parametrize("n_users", [150, 2000])
def test_threads_change_no_bit_of_wide_products(
    n_users: int, n_items: int, coarse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of many terms, whose order depends on how many rows a product has, and on who shares it."""

    monkeypatch.setattr("recae.scoring.block.has_bfloat16_units", lambda: coarse == "bfloat16")
    monkeypatch.setattr("recae.scoring.block.has_pair_sums", lambda: coarse == "int16" and has_pair_sums())
    monkeypatch.setattr("recae.scoring.block._WORTH_PREPARING", 0)
    rng = np.random.default_rng(9)
    model = Products(rng.normal(size=(n_users, 512)), rng.normal(size=(n_items, 512)))
    found = []
    for threads in (1, 2, 3, 7):
        with threadpool_limits(threads):
            found.append(best_items(model, model.histories(), 20, exclude_owned=True, threads=threads))
    one, *others = found
    for other in others:
        for array, same in zip(one, other, strict=True):
            assert array.tobytes() == same.tobytes()


def test_memory_does_not_grow_with_users_times_items(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    model = Products(rng.normal(size=(4000, 8)), rng.normal(size=(20_000, 8)))
    histories, block_bytes = model.histories(), 4 * 2**20
    best_items(model, histories[:100], 10, exclude_owned=True)  # compiled, and the catalogue made
    assert numbers_for(model, 10) < 20_000
    tracemalloc.start()
    best_items(model, histories, 10, exclude_owned=True, block_bytes=block_bytes, threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * block_bytes  # all scores would take 320 MB


def test_the_catalogue_is_made_once_and_goes_with_the_model() -> None:
    rng = np.random.default_rng(8)
    model = Products(rng.normal(size=(3, 4)), rng.normal(size=(ITEMS, 4)))
    assert catalogue(model) is catalogue(model)
    gone, before = weakref.ref(model), len(catalogues._known)
    del model
    gc.collect()
    assert gone() is None
    assert len(catalogues._known) == before - 1


def _thread_counts_after_scoring(callers: int) -> tuple[set[int], int, bool]:
    """Torch's thread counts of the callers and of this thread, of 3 before; whether those of BLAS are as they were.

    `callers` new threads score at a time; with 0 this one does.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        take("bfloat16", monkeypatch)
        rng = np.random.default_rng(9)
        model = Products(rng.normal(size=(200, 4)), rng.normal(size=(ITEMS, 4)))
        best_items(model, model.histories(), 3, exclude_owned=True)  # which loads what there is to load
        torch.set_num_threads(3)
        counts = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
        together = threading.Barrier(max(1, callers))  # so that each thread scores, and is asked thereafter

        def caller() -> int:
            for _ in range(2):
                together.wait(60)
                best_items(model, model.histories(), 3, exclude_owned=True)
            together.wait(60)
            return torch.get_num_threads()

        if callers:
            with ThreadPoolExecutor(callers) as pool:
                torch_counts = {job.result() for job in [pool.submit(caller) for _ in range(callers)]}
        else:
            torch_counts = {caller()}
        after = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
        return torch_counts, torch.get_num_threads(), after == counts


@pytest.fixture(scope="module")
def alone() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: thread counts are of a whole process, and threads of other tests change them, too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.some(1)
@pytest.mark.parametrize("callers", [0, 1, 4])
def test_thread_counts_are_given_back(callers: int, alone: ProcessPoolExecutor) -> None:
    assert alone.submit(_thread_counts_after_scoring, callers).result() == ({3}, 3, True)


def _count_of_a_new_thread_while_another_lifts_its_limit() -> int:
    torch.set_num_threads(3)
    inside, lifted, counts = threading.Event(), threading.Event(), []

    def limited() -> None:
        with one_torch_thread():
            inside.set()
            lifted.wait(60)
            counts.append(torch.get_num_threads())

    thread = threading.Thread(target=limited)
    with one_torch_thread():
        thread.start()
        inside.wait(60)
    lifted.set()
    thread.join()
    return counts[0]


def test_a_limit_of_torch_holds_while_another_thread_lifts_its_own(alone: ProcessPoolExecutor) -> None:
    assert alone.submit(_count_of_a_new_thread_while_another_lifts_its_limit).result() == 1


@pytest.mark.parametrize("options", [{"n": 0}, {"n": -1}, {"threads": 0}, {"block_bytes": 0}])
def test_bad_numbers(options: dict[str, Any]) -> None:
    model = fitted("sigmoid")
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, but is {value}"):
        best_items(model, purchases(), **({"n": 3, "exclude_owned": True} | options))


@pytest.mark.parametrize(
    "barred", [np.zeros(ITEMS - 1, dtype=bool), np.zeros(ITEMS), np.zeros((1, ITEMS), dtype=bool)]
)
def test_bad_shapes(barred: Any) -> None:
    model = fitted("sigmoid")
    with pytest.raises(DataError, match=r"barred must be bool of shape \(150,\)"):
        best_items(model, purchases(), 3, exclude_owned=True, barred=barred)
    with pytest.raises(DataError, match="149"):
        best_items(model, purchases()[:, :149], 3, exclude_owned=True)
