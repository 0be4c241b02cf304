"""Small shops for the tests of the protocols: rows of (user, item, time) as purchases, and a random shop."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.splits.protocols import Purchases

Row = tuple[str, str, int]
START = 1_300_000_000  # seconds: March 2011


def in_microseconds(seconds: Iterable[int]) -> NDArray[np.int64]:
    """Times as purchases have them."""
    return np.array([t if t == NO_TIME else t * SECOND for t in seconds], np.int64)


def purchases_of(rows: list[Row], timed: bool = True, test: list[Row] | None = None) -> Purchases:
    """What reading a table of these rows gives; its moments are the baskets."""
    users, items = sorted({u for u, _, _ in rows}), sorted({i for _, i, _ in rows})
    row = {u: r for r, u in enumerate(users)}
    column = {i: c for c, i in enumerate(items)}
    last: dict[tuple[int, int], int] = {}
    for u, i, t in rows:
        last[row[u], column[i]] = max(t, last.get((row[u], column[i]), NO_TIME))
    pairs = sorted(last)
    matrix = sp.csr_matrix(
        (np.ones(len(pairs), np.float32), tuple(np.array(pairs).T)), shape=(len(users), len(items))
    )
    interactions = Interactions(
        matrix,
        IdMap(users),
        IdMap(items),
        in_microseconds(last[pair] for pair in pairs) if timed else None,
        np.ones(len(pairs), np.int32),
        pa.array([f"name of {i}" for i in items], pa.large_string()),
    )
    times = in_microseconds(t for _, _, t in rows)
    where = (np.array([row[u] for u, _, _ in rows]), np.array([column[i] for _, i, _ in rows]))
    events = Events.of(*where, times, len(users), len(items), times if timed else None)
    given = None if test is None else purchases_of(test).interactions
    return Purchases(interactions, events, given)


BADGES = 7


def random_shop(seed: int = 0, n_users: int = 24, basket: int = 3) -> list[Row]:
    """Users u00, u01, ... with 5 to 8 baskets of up to `basket` items; items come back, and some have one buyer.

    The first basket of each user holds `BADGES` items that nobody else buys, so that a row tells whose it is; their
    ids, such as "~u07-3", follow those of all other items. No two rows share a time but those of one basket.
    """
    rng = np.random.default_rng(seed)
    rows = []
    moments = START + 60 * rng.permutation(n_users * 9)
    for u in range(n_users):
        own = np.sort(moments[9 * u : 9 * u + int(rng.integers(5, 9))]).tolist()
        rows += [(f"u{u:02}", f"~u{u:02}-{b}", own[0] - 10 * b * (basket == 1)) for b in range(BADGES)]
        for time in own[1:]:
            # low numbers are popular; the highest have one buyer or none
            bought = {int(40 * rng.random() ** 2) for _ in range(int(rng.integers(1, basket + 1)))}
            rows += [(f"u{u:02}", f"i{i:02}", time) for i in sorted(bought)]
    return rows


Id = TypeVar("Id", int, str)


def peeled(
    pairs: set[tuple[Id, Id]], least_items: int, least_users: int, rng: np.random.Generator
) -> set[tuple[Id, Id]]:
    """What is left when somebody with too little is taken out, whoever it is, until there is nobody."""
    left = set(pairs)
    while True:
        users = [u for u, _ in left]
        items = [i for _, i in left]
        few = [(0, u) for u in sorted(set(users)) if users.count(u) < least_items]
        few += [(1, i) for i in sorted(set(items)) if items.count(i) < least_users]
        if not few:
            return left
        side, who = few[int(rng.integers(len(few)))]
        left = {pair for pair in left if pair[side] != who}


def owner(item_ids: Iterable[str]) -> str:
    """Whose row it is, by the badges among its items."""
    found = {item[1:4] for item in item_ids if item.startswith("~")}
    assert len(found) == 1, f"whose row is {item_ids}?"
    return found.pop()


def rows_of(matrix: sp.csr_matrix, items: IdMap) -> list[set[str]]:
    """The ids of each row's items."""
    return [set(items.ids(row.indices).to_pylist()) for row in matrix]


def pairs_of(matrix: sp.csr_matrix, items: IdMap) -> set[tuple[str, str]]:
    """The (user, item) of a matrix whose rows hold badges."""
    return {(owner(row), item) for row in rows_of(matrix, items) for item in row}
