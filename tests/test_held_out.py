"""Who and what is held out: by ids and seed alone, against hashes in plain Python, and nearly the same every night."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from plainkeys import plain_keys, plain_pair_key

from recae.ids import IdMap
from recae.interactions import Events, Interactions
from recae.recommender import LEARNED, TEST, VALIDATION
from recae.splits.held_out import HeldOut, held_out_users, hold_out, hold_out_repeats
from recae.splits.keys import item_keys, pair_keys, smallest, user_keys
from recae.splits.protocols import ProtocolOptions, Purchases, Task, make_tasks

IDS = ["42", "007", "7", "", " a b ", "Zoë", "☕", "日本語" * 50, "x" * 10_000, "a\0b", "a", "\U0001f600"]
SEEDS = st.integers(0, 2**63 - 1)


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True), SEEDS)
def test_keys_are_those_of_plain_hashes(ids: list[str], seed: int) -> None:
    keys_are_plain(ids, seed)


def test_keys_of_odd_ids_are_those_of_plain_hashes() -> None:
    for seed in (0, 7, 2**63 - 1):
        keys_are_plain(IDS, seed)


def keys_are_plain(ids: list[str], seed: int) -> None:
    keys = user_keys(IdMap(ids), seed)
    found = np.column_stack([keys.test, keys.validation, keys.items])
    assert found.dtype == np.uint64
    assert found.tolist() == [plain_keys(text, seed, b"recae user", 3) for text in ids]
    assert item_keys(IdMap(ids), seed).tolist() == [plain_keys(i, seed, b"recae item", 1)[0] for i in ids]
    dense = np.random.default_rng(len(ids)).random((len(ids), len(ids))) < 0.3
    matrix = sp.csr_matrix(dense.astype(np.float32))
    pairs = pair_keys(matrix, keys.items, item_keys(IdMap(ids), seed))
    wanted = [plain_pair_key(ids[u], ids[i], seed) for u, i in zip(*np.nonzero(dense), strict=True)]
    assert pairs.tolist() == wanted


def test_many_ids_and_none() -> None:
    many = IdMap(f"u{n}" for n in range(70_000))  # more than are hashed at a time
    keys = user_keys(many, 3)
    for row in (0, 65_535, 65_536, 69_999):
        assert int(keys.test[row]) == plain_keys(f"u{row}", 3, b"recae user", 3)[0]
    assert user_keys(IdMap([]), 3).test.shape == item_keys(IdMap([]), 3).shape == (0,)
    part = IdMap(many.ids(np.arange(10, 20)))  # its texts begin inside of the array's
    np.testing.assert_array_equal(user_keys(part, 3).items, keys.items[10:20])


def test_known_keys() -> None:
    """Figures that no machine, library or version may change."""
    keys = user_keys(IdMap(["42", "Zoë"]), 1)
    assert [f"{key:016x}" for key in (*keys.test, *keys.validation, *keys.items)] == KNOWN


KNOWN = [
    "e71c2439122c1404",
    "2875809d869a3a1a",
    "0a790184fc5e5087",
    "93d37ae5a72e0014",
    "ef3983c7bb2860d6",
    "9e3e07bf5d17b734",
]


def test_the_hash_seed_of_python_does_not_matter() -> None:
    code = (
        "from recae.ids import IdMap; from recae.splits.keys import user_keys; "
        "print(user_keys(IdMap(['42', 'Zoë']), 1).test.tolist())"
    )
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # than that of this process
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": other, "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
    ).stdout
    assert found == f"{user_keys(IdMap(['42', 'Zoë']), 1).test.tolist()}\n".encode()


def test_smallest() -> None:
    keys = np.array([5, 2**64 - 1, 0, 3, 3], np.uint64)
    assert smallest(np.array([0, 1, 2, 3, 4]), keys).tolist() == [2, 3, 4, 0, 1]
    assert smallest(np.array([0, 1, 4]), keys, 2).tolist() == [4, 0]
    assert smallest(np.array([], np.int64), keys, 2).size == 0


# Chances


def test_every_user_and_every_item_has_the_same_chance() -> None:
    """Over many seeds: how often each is held out, and how often two are together, against the binomial."""
    shop = bought(np.ones((20, 10), bool))
    n = 1000
    roles = np.stack([hold_out(shop, seed).codes for seed in range(n)])  # (n, users)
    for role in (TEST, VALIDATION):
        share = (roles == role).mean(0)
        assert np.abs(share - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / n)
        together = ((roles == role).T.astype(float) @ (roles == role))[np.triu_indices(20, 1)] / n
        expected = 0.1 * 1 / 19
        assert np.abs(together - expected).max() < 5 * np.sqrt(expected / n)
    items = np.zeros(10)
    for seed in range(200):
        held_out = hold_out(shop, seed)
        assert held_out.test is not None
        items += held_out.test[1].getnnz(axis=0)
    assert np.abs(items / items.sum() - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / items.sum())


def test_keys_are_uniform_and_independent() -> None:
    users = IdMap(f"customer-{n}" for n in range(20_000))
    keys = user_keys(users, 0)
    unit = np.stack([keys.test, keys.validation, keys.items, user_keys(users, 1).test]) / 2.0**64
    for row in unit:  # chi squared of 100 cells: 99 ± 14 by chance
        counts = np.bincount((row * 100).astype(int), minlength=100)
        assert ((counts - 200) ** 2 / 200).sum() < 99 + 5 * 14.1
    correlations = np.corrcoef(unit)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)


# What does not matter


def bought(
    dense: np.ndarray[Any, Any], users: list[str] | None = None, items: list[str] | None = None
) -> Interactions:
    matrix = sp.csr_matrix(dense.astype(np.float32))
    return Interactions(
        matrix,
        IdMap(users or [f"u{u:03}" for u in range(matrix.shape[0])]),
        IdMap(items or [f"i{i:03}" for i in range(matrix.shape[1])]),
        None,
        np.ones(matrix.nnz, np.int32),
    )


def random_shop(n_users: int, n_items: int = 40, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).random((n_users, n_items)) < 0.15


def named(shop: Interactions, held_out: HeldOut) -> dict[str, tuple[int, set[str], set[str]]]:
    """Of each held-out user the code, the ids of the history, and the ids of the held-out items."""
    found = {}
    for code, pair in ((VALIDATION, held_out.validation), (TEST, held_out.test)):
        rows = np.flatnonzero(held_out.codes == code)
        assert (pair[0].shape[0] if pair else 0) == rows.size
        for place, row in enumerate(rows):
            assert pair is not None
            history, held = (set(shop.items.ids(part[place].indices).to_pylist()) for part in pair)
            found[shop.users.id(int(row))] = (code, history, held)
    return found


@given(st.integers(3, 80), SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_does_not_matter(n_users: int, seed: int, random: Any) -> None:
    dense = random_shop(n_users)
    users, items = [f"u{u}" for u in range(n_users)], [f"i{i}" for i in range(dense.shape[1])]
    rows, columns = random.sample(range(n_users), n_users), random.sample(range(len(items)), len(items))
    shop = bought(dense, users, items)
    other = bought(dense[rows][:, columns], [users[r] for r in rows], [items[c] for c in columns])
    assert named(shop, hold_out(shop, seed)) == named(other, hold_out(other, seed))


def test_held_out_users_are_those_of_the_smallest_plain_hashes() -> None:
    dense = random_shop(200)
    dense[::3] = False
    dense[::3, 5] = True  # who cannot be parted
    shop = bought(dense)
    eligible = [u for u in shop.users if dense[int(u[1:])].sum() >= 2]
    keys = {u: plain_keys(u, 9, b"recae user", 3) for u in eligible}
    test = sorted(eligible, key=lambda u: keys[u][0])[:20]
    validation = sorted(set(eligible) - set(test), key=lambda u: keys[u][1])[:20]
    found = named(shop, hold_out(shop, 9))
    assert {u for u, (code, _, _) in found.items() if code == TEST} == set(test)
    assert {u for u, (code, _, _) in found.items() if code == VALIDATION} == set(validation)
    for user, (_, history, held) in found.items():
        ordered = sorted(history | held, key=lambda i: plain_pair_key(user, i, 9))
        assert held == set(ordered[: max(1, round(0.2 * len(ordered)))])


# From one night to the next


def moved(before: dict[str, int], after: dict[str, int]) -> tuple[set[str], set[str]]:
    """Of the users of both nights: who is no longer held out, and who is held out for something else."""
    held = {u for u, code in before.items() if code != LEARNED and u in after}
    left = {u for u in held if after[u] == LEARNED}
    return left, {u for u in held - left if after[u] != before[u]}


def codes_of(shop: Interactions, codes: np.ndarray[Any, Any]) -> dict[str, int]:
    return dict(zip(shop.users, codes.tolist(), strict=True))


def laid_out(held_out: HeldOut) -> np.ndarray[Any, Any]:
    """What is known (1) and what is to be found (2) of each held-out user, (users, items); 0 for all others."""
    assert held_out.validation is not None
    assert held_out.test is not None
    found = np.zeros((held_out.codes.size, held_out.test[0].shape[1]), np.uint8)
    for code, (histories, held) in ((VALIDATION, held_out.validation), (TEST, held_out.test)):
        found[held_out.codes == code] = histories.toarray() + 2 * held.toarray()
    return found


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_one_user_more_or_less_among_300_exchanges_two_at_most(seed: int) -> None:
    dense = random_shop(300)
    whole = hold_out(bought(dense), seed)
    parts = laid_out(whole)
    assert (whole.codes != LEARNED).sum() == 60
    exchanged = []
    for gone in range(seed % 4, 300, 4):  # another quarter of them with each seed
        left = np.delete(np.arange(300), gone)
        found = hold_out(bought(dense[left], [f"u{u:03}" for u in left]), seed)
        # both ways: the user goes, and the user comes
        nights = (whole.codes[left], found.codes)
        for before, after in (nights, nights[::-1]):
            held = before != LEARNED
            out = (held & (after == LEARNED)).sum()
            swapped = (held & (after != LEARNED) & (after != before)).sum()
            assert out <= 2
            assert swapped <= 1
            exchanged.append(out + swapped)
        both = (nights[0] != LEARNED) & (nights[1] != LEARNED)
        np.testing.assert_array_equal(parts[left][both], laid_out(found)[both])  # the same items of them
    assert np.mean(exchanged) < 0.5


def test_a_growing_shop_keeps_who_is_held_out() -> None:
    """With twice as many users twice as many are held out, those of before among them, hardly one for another role."""
    dense = random_shop(2000)
    whole = bought(dense)
    half = Interactions(
        sp.csr_matrix(whole.matrix[:1000]),
        IdMap(whole.users.ids(np.arange(1000))),
        whole.items,
        None,
        np.ones(int(whole.matrix.indptr[1000]), np.int32),
    )
    nights = [codes_of(shop, hold_out(shop, 4).codes) for shop in (half, whole)]
    left, swapped = moved(*nights)
    held = sum(code != LEARNED for code in nights[0].values())
    assert held == 200
    assert len(left) < 0.2 * held  # the share of the smallest hashes is about the same
    assert len(swapped) < 0.05 * held


def test_one_purchase_more_exchanges_an_item_at_most() -> None:
    dense = random_shop(60)
    shop = bought(dense)
    before = named(shop, hold_out(shop, 2))
    user = next(iter(before))
    row = shop.users.row(user)
    for item in np.flatnonzero(~dense[row]):
        more = dense.copy()
        more[row, item] = True
        after = named(bought(more), hold_out(bought(more), 2))
        assert after.keys() == before.keys()
        assert len(before[user][2] - after[user][2]) <= 1
        assert all(after[u] == before[u] for u in before if u != user)


def test_seeds_hold_out_other_users() -> None:
    shop = bought(random_shop(300))
    codes = [hold_out(shop, seed).codes for seed in range(20)]
    for one, other in pairwise(codes):
        assert ((one == TEST) & (other == TEST)).sum() < 12  # 3 by chance
    assert len({code.tobytes() for code in codes}) == 20


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), SEEDS)
def test_nobody_has_two_roles(n_users: int, n_test: int, n_validation: int, seed: int) -> None:
    keys = user_keys(IdMap(f"u{u}" for u in range(n_users)), seed)
    eligible = np.flatnonzero(np.arange(n_users) % 3 > 0)
    test, validation = held_out_users(eligible, n_test, n_validation, keys)
    assert test.size == min(n_test, eligible.size)
    assert validation.size == min(n_validation, eligible.size - test.size)
    both = np.concatenate([test, validation])
    assert np.unique(both).size == both.size
    assert np.isin(both, eligible).all()


# Next baskets, and the protocols


def visits(n_users: int, skip: int = -1) -> tuple[Events, IdMap]:
    """Purchases of users who come 1 to 4 times; without one of the users, if asked for."""
    rows = [
        (u, (7 * u + 3 * b + k) % 20, b) for u in range(n_users) for b in range(1 + u % 4) for k in range(3)
    ]
    users = [u for u in range(n_users) if u != skip]
    place = {u: row for row, u in enumerate(users)}
    numbers = np.array([(place[u], i, b) for u, i, b in rows if u != skip]).T
    return Events.of(*numbers, len(users), 20), IdMap(f"u{u:03}" for u in users)


@pytest.mark.parametrize("gone", range(0, 300, 13))
def test_next_baskets_change_hands_as_little(gone: int) -> None:
    nights = []
    for skip in (-1, gone):
        events, users = visits(300, skip)
        held_out = hold_out_repeats(events, users, 5, 0.9)
        assert (events.baskets[held_out.codes != LEARNED] >= 2).all()
        nights.append(dict(zip(users, held_out.codes.tolist(), strict=True)))
    for before, after in (nights, nights[::-1]):
        out, swapped = moved(before, after)
        assert len(out) <= 2
        assert len(swapped) <= 1


def task_users(protocol: str, shop: Interactions, seed: int, **options: Any) -> list[Task]:
    return make_tasks(Purchases(shop), protocol, ProtocolOptions(**options), seed)


def test_the_first_fold_begins_with_the_users_of_strong() -> None:
    shop = bought(random_shop(100))
    (strong,) = task_users("strong", shop, 3)
    folds = task_users("k-fold", shop, 3, folds=5)
    assert set(strong.test_users) <= set(folds[0].test_users)
    assert sorted(u for task in folds for u in task.test_users) == sorted(shop.users)


def test_folds_change_hands_at_their_borders_alone() -> None:
    dense = random_shop(100)
    before = task_users("k-fold", bought(dense), 3, folds=5)
    left = [u for u in range(100) if u != 50]
    after = task_users("k-fold", bought(dense[left], [f"u{u:03}" for u in left]), 3, folds=5)
    fold = {u: task.fold for task in before for u in task.test_users}
    changed = [u for task in after for u in task.test_users if fold[u] != task.fold]
    assert len(changed) <= 4


@pytest.mark.parametrize("protocol", ["weak", "pair"])
def test_items_of_everybody_are_held_out_by_user_and_item(protocol: str) -> None:
    """With a user less, the same items of all others are held out to test, and to choose on."""
    dense = random_shop(60)
    found = []
    for left in (list(range(60)), [u for u in range(60) if u != 30]):
        shop = bought(dense[left], [f"u{u:03}" for u in left])
        test = bought(~dense[left], [f"u{u:03}" for u in left]) if protocol == "pair" else None
        (task,) = make_tasks(Purchases(shop, None, test), protocol, ProtocolOptions(), 8)
        rows = zip(task.histories, task.held_out, strict=True)
        parts = [[set(task.items.ids(part.indices).to_pylist()) for part in row] for row in rows]
        found.append(dict(zip(task.test_users, parts, strict=True)))
    assert found[1] == {u: parts for u, parts in found[0].items() if u != "u030"}
