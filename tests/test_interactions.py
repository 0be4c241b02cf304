"""Interactions: parts that fit, nothing that changes, a fingerprint of the content."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from recae import interactions
from recae.errors import DataError
from recae.ids import IdMap
from recae.interactions import NO_TIME, Interactions


@pytest.fixture
def shop() -> Interactions:
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]], dtype=np.float32))
    return Interactions(
        matrix,
        IdMap(["anna", "bert", "cleo", "dora"]),
        IdMap(["x", "y", "z"]),
        np.array([10, 20, 30, NO_TIME, 50]),
        np.array([1, 2, 3, 4, 5], dtype=np.int32),
        pa.array(["ex", None, "zet"], pa.large_string()),
    )


def csr(data: Any, indices: Any, indptr: Any, shape: tuple[int, int] = (2, 3)) -> sp.csr_matrix:
    matrix = sp.csr_matrix(shape, dtype=np.float32)
    matrix.data = np.array(data, dtype=np.float32)
    matrix.indices, matrix.indptr = np.array(indices, dtype=np.int32), np.array(indptr, dtype=np.int32)
    return matrix


def test_sizes(shop: Interactions) -> None:
    assert (shop.n_users, shop.n_items, shop.n_interactions) == (4, 3, 5)


def test_nothing_can_be_changed(shop: Interactions) -> None:
    with pytest.raises(FrozenInstanceError):
        shop.counts = shop.counts  # type: ignore[misc]  # wrong on purpose
    arrays = (shop.matrix.data, shop.matrix.indices, shop.matrix.indptr, shop.times, shop.counts)
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_callers_arrays_stay_writable() -> None:
    matrix, counts = csr([1], [0], [0, 1, 1]), np.ones(1, dtype=np.int32)
    Interactions(matrix, IdMap(["a", "b"]), IdMap(["x", "y", "z"]), None, counts)
    counts[0] = 2
    matrix.data[0] = 1


def test_a_frozen_matrix_still_multiplies_and_slices(shop: Interactions) -> None:
    assert (shop.matrix @ np.ones(3)).tolist() == [2, 0, 2, 1]
    assert shop.matrix[[2, 0]].toarray().tolist() == [[0, 1, 1], [1, 1, 0]]
    assert shop.matrix.T.tocsr().sum() == 5


def test_users_subset_keeps_rows_together(shop: Interactions) -> None:
    part = shop.users_subset(np.array([2, 1, 0]))
    assert list(part.users) == ["cleo", "bert", "anna"]
    assert part.items is shop.items
    assert part.matrix.toarray().tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert part.times is not None
    assert part.times.tolist() == [30, NO_TIME, 10, 20]
    assert part.counts.tolist() == [3, 4, 1, 2]
    assert part.item_names is shop.item_names
    assert shop.users_subset(np.zeros(0, dtype=np.int64)).n_users == 0


def test_users_subset_refuses_repeats_and_strangers(shop: Interactions) -> None:
    with pytest.raises(DataError, match="twice"):
        shop.users_subset(np.array([1, 1]))
    for row in (-1, 4):
        with pytest.raises(IndexError, match=str(row)):
            shop.users_subset(np.array([row]))


def test_the_fingerprint_depends_on_content_only(shop: Interactions) -> None:
    wide = sp.csr_matrix(
        (shop.matrix.data, shop.matrix.indices.astype(np.int64), shop.matrix.indptr.astype(np.int64)),
        shape=shop.matrix.shape,
    )
    again = replace(shop, matrix=wide, users=IdMap(list(shop.users)), item_names=None)
    assert again.fingerprint == shop.fingerprint
    assert len(shop.fingerprint) == 64
    other_matrix = shop.matrix.copy()
    other_matrix.indices = np.array([0, 2, 1, 2, 0], dtype=np.int32)
    changed = [
        replace(shop, matrix=other_matrix),
        replace(shop, users=IdMap(["anna", "bert", "cleod", "ora"])),  # the same letters, cut elsewhere
        replace(shop, items=IdMap(["x", "z", "y"])),
        replace(shop, times=None),
        replace(shop, times=np.array([10, 20, 30, 40, 50])),
        replace(shop, counts=np.array([1, 2, 3, 4, 6], dtype=np.int32)),
    ]
    assert len({shop.fingerprint, *(other.fingerprint for other in changed)}) == len(changed) + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": IdMap(["a"])}, "4 rows and 3 columns, but there are 1 user ids"),
        ({"items": IdMap(["a"])}, "1 item ids"),
        ({"times": np.zeros(4, np.int64)}, "times must be int64 of shape"),
        ({"times": np.zeros(5)}, "times must be int64"),
        ({"counts": np.ones(6, np.int32)}, "counts must be int32"),
        ({"counts": np.zeros(5, np.int32)}, "at least 1"),
        ({"item_names": pa.array(["a"])}, "1 item names for 3 items"),
        ({"matrix": np.ones((4, 3))}, "csr_matrix"),
    ],
)
def test_parts_that_do_not_fit(shop: Interactions, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(shop, **changes)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (csr([1, 1], [1, 0], [0, 2, 2]), "rise"),
        (csr([1, 1], [1, 1], [0, 2, 2]), "rise"),
        (csr([1, 2], [0, 1], [0, 1, 2]), "ones"),
        (csr([1], [3], [0, 1, 1]), "not a valid CSR"),
    ],
)
def test_a_matrix_that_is_no_pattern(matrix: sp.csr_matrix, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Interactions(
            matrix, IdMap(["a", "b"]), IdMap(["x", "y", "z"]), None, np.ones(matrix.data.size, np.int32)
        )


def test_falling_columns_across_empty_rows_are_fine() -> None:
    matrix = csr([1, 1], [2, 0], [0, 1, 1, 2, 2], (4, 3))
    shop = Interactions(matrix, IdMap(list("abcd")), IdMap(list("xyz")), None, np.ones(2, np.int32))
    assert shop.n_interactions == 2


@pytest.mark.parametrize("seed", range(30))
def test_columns_must_rise_within_each_row_wherever_a_piece_ends(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(interactions, "_CHECKED", seed % 5 + 1)
    rng = np.random.default_rng(seed)
    rows = [sorted(rng.choice(5, rng.integers(0, 5), replace=False).tolist()) for _ in range(6)]
    ids = IdMap(list("abcdef")), IdMap(list("vwxyz"))

    def made(entries: list[list[int]]) -> Interactions:
        flat = [column for row in entries for column in row]
        matrix = csr(np.ones(len(flat)), flat, np.cumsum([0, *map(len, entries)]), (6, 5))
        return Interactions(matrix, *ids, None, np.ones(len(flat), np.int32))

    made(rows)
    for row in range(6):
        if len(rows[row]) > 1:
            for wrong in (rows[row][::-1], [rows[row][0], *rows[row][:-1]]):
                with pytest.raises(DataError, match="rise within each row"):
                    made([*rows[:row], wrong, *rows[row + 1 :]])
