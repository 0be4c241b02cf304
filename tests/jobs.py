"""A small task of recae.evaluation, for the tests of what fits models to it in other processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.ids import IdMap
from recae.interactions import Interactions
from recae.splits.protocols import ProtocolOptions, Purchases, Task, make_tasks

USERS, ITEMS = 60, 24


def interactions(seed: int = 0) -> Interactions:
    """Users of three tastes, each with a third of the items, and some noise."""
    rng = np.random.default_rng(seed)
    taste = np.arange(USERS)[:, None] % 3 == np.arange(ITEMS) % 3
    owned = rng.random((USERS, ITEMS)) < np.where(taste, 0.6, 0.08)
    owned[:, 0] |= owned.sum(axis=1) < 2
    owned[:, 1] |= owned.sum(axis=1) < 2
    matrix = sp.csr_matrix(owned.astype(np.float32))
    users, items = IdMap(f"u{n:02d}" for n in range(USERS)), IdMap(f"i{n:02d}" for n in range(ITEMS))
    return Interactions(matrix, users, items, None, np.ones(matrix.nnz, dtype=np.int32))


def tasks(protocol: str = "strong", **options: Any) -> list[Task]:
    return make_tasks(Purchases(interactions()), protocol, ProtocolOptions(test_users=0.2, **options))


def task(**options: Any) -> Task:
    return tasks(**options)[0]
