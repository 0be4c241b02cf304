"""Tests of batch scoring: the same lists as one user at a time, in bounded blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from fitting import FIT
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.models import JSON, Popularity
from recae.recommender import Recommender
from recae.scoring import SCHEMA, score_batches

USERS, ITEMS = 57, 40
ODD_IDS = ["007", "7", "a,b", 'say "x"', "two\nlines", " space ", "é漢"]  # text that CSV must not change


def purchases(seed: int = 5) -> sp.csr_matrix:
    """Random histories; user 0 owns nothing and user 1 everything."""
    dense = (np.random.default_rng(seed).random((USERS, ITEMS)) < 0.2).astype(np.float32)
    dense[0], dense[1] = 0, 1
    return sp.csr_matrix(dense)


def shop(model: Any = None, **changes: Any) -> Recommender:
    matrix = purchases()
    parts: dict[str, Any] = {
        "model": Popularity.fit(matrix) if model is None else model,
        "users": IdMap([*ODD_IDS, *(f"u{n}" for n in range(USERS - len(ODD_IDS)))]),
        "items": IdMap([*ODD_IDS, *(f"i{n}" for n in range(ITEMS - len(ODD_IDS)))]),
        "histories": matrix,
    }
    return Recommender(**(parts | changes))


class Watched:
    """A model that records how many rows it is asked for at a time, and fails when told to."""

    kind: ClassVar[str] = "watched"
    trained: ClassVar[bool] = False

    def __init__(self, fail_at: int | None = None, failure: type[BaseException] = KeyboardInterrupt) -> None:
        self.calls: list[int] = []
        self.most_rows = self.rows = 0
        self.fail_at, self.failure = fail_at, failure
        self.lock = threading.Lock()

    n_items = ITEMS

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        with self.lock:
            self.calls.append(histories.shape[0])
            self.rows += histories.shape[0]
            self.most_rows = max(self.most_rows, self.rows)
            if len(self.calls) == self.fail_at:
                raise self.failure
        time.sleep(0.002)  # so that blocks in flight together are seen together
        scores = np.tile(np.arange(ITEMS, dtype=np.float32), (histories.shape[0], 1))
        with self.lock:
            self.rows -= histories.shape[0]
        return scores

    def config(self) -> dict[str, JSON]:
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        return cls()


def one_by_one(recommender: Recommender, n: int, exclude_owned: bool = True) -> list[tuple[str, str, int]]:
    """The oracle: everybody asked alone."""
    assert recommender.users is not None
    return [
        (user, r.item, r.rank)
        for user in recommender.users
        for r in recommender.recommend(user, n=n, exclude_owned=exclude_owned)
    ]


def rows_of(table: pa.Table) -> list[tuple[str, str, int]]:
    return list(zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "rank")), strict=True))


@pytest.mark.parametrize("kind", sorted(FIT))
def test_everybody_gets_what_recommend_gives(kind: str) -> None:
    recommender = shop(FIT[kind](purchases()))
    table = pa.Table.from_batches(score_batches(recommender, 7, block_bytes=10_000, threads=2), SCHEMA)
    assert rows_of(table) == one_by_one(recommender, 7)
    assert recommender.users is not None
    alone = [r.score for user in recommender.users for r in recommender.recommend(user, n=7)]
    np.testing.assert_allclose(table["score"].to_numpy(), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("block_bytes", "threads"), [(1, 1), (2_000, 3), (50_000, 2), (2**26, 1), (2**26, None)]
)
@pytest.mark.parametrize("exclude_owned", [True, False])
def test_blocks_and_threads_change_nothing(
    block_bytes: int, threads: int | None, exclude_owned: bool
) -> None:
    recommender = shop()
    batches = list(
        score_batches(recommender, 5, exclude_owned=exclude_owned, block_bytes=block_bytes, threads=threads)
    )
    assert rows_of(pa.Table.from_batches(batches, SCHEMA)) == one_by_one(recommender, 5, exclude_owned)
    assert len(batches) == USERS or block_bytes > 1


def test_short_lists_are_not_padded() -> None:
    matrix = purchases()
    table = pa.Table.from_batches(score_batches(shop(), 10**12), SCHEMA)  # nor may n decide what is allocated
    per_user = {
        row["values"]: row["counts"] for row in table["user_id"].combine_chunks().value_counts().to_pylist()
    }
    left = dict(zip(shop().users or [], (ITEMS - np.diff(matrix.indptr)).tolist(), strict=True))
    assert left["7"] == 0  # user 1 owns everything
    assert per_user == {user: count for user, count in left.items() if count}
    assert table["rank"].to_numpy().min() == 1


@pytest.mark.parametrize(("threads", "rows"), [(1, 16), (2, 16), (4, 1)])
def test_memory_is_bounded_by_the_block(threads: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.scoring.batches._ROWS_WORTH_A_WORKER", 2)
    model = Watched()
    n = 3
    bound = rows * (4 * ITEMS + n * 4 * 32)
    list(score_batches(shop(model), n, block_bytes=bound, threads=threads))
    assert sum(model.calls) == USERS
    assert model.most_rows <= rows
    assert len(model.calls) >= USERS / rows


def test_long_lists_count_as_memory_too() -> None:
    model = Watched()
    list(score_batches(shop(model), ITEMS, block_bytes=8 * 4 * ITEMS, threads=1))
    assert set(model.calls) == {1}  # eight rows of scores would fit, but not their lists


def test_the_thread_count_of_blas_is_given_back() -> None:
    with threadpool_limits(2, user_api="blas"):  # whatever the machine has
        before = {lib["filepath"]: lib["num_threads"] for lib in threadpool_info()}
        for _ in score_batches(shop(), 5, block_bytes=20_000, threads=1):
            assert {lib["filepath"]: lib["num_threads"] for lib in threadpool_info()} == before


@pytest.mark.parametrize("options", [{"n": 0}, {"n": -3}, {"threads": 0}, {"block_bytes": 0}])
def test_bad_numbers(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, but is {options[name]}"):
        score_batches(shop(), **options)  # at the call, not at the first batch


def test_a_model_without_histories() -> None:
    for recommender in (shop(histories=None), shop(histories=None, users=None)):
        with pytest.raises(DataError, match="without histories"):
            score_batches(recommender)
