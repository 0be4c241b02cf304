"""A shop whose carts tell what is bought next, and whose views tell nothing: events as rows of a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

GROUPS = 8


def event_rows(users: int = 300, per_group: int = 6, seed: int = 0) -> pa.Table:
    """Return user_id, item_id, event_type: users of a group buy two of its items and cart three others.

    Views are of items drawn at random, whatever the group. Two users only look, and an item is only looked at.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str]] = []
    for user in range(users):
        own = rng.permutation(per_group) + (user % GROUPS) * per_group
        rows += [(f"u{user:03}", f"i{item:02}", "purchase") for item in own[:2]]
        rows += [(f"u{user:03}", f"i{item:02}", "add_to_cart") for item in own[1:5]]
        seen = rng.choice(GROUPS * per_group, 4, replace=False)
        rows += [(f"u{user:03}", f"i{item:02}", "view") for item in seen]
    rows += [("lurker", "i00", "view"), ("looker", "i01", "view"), ("u000", "shown", "view")]
    return pa.table(
        dict(zip(("user_id", "item_id", "event_type"), map(list, zip(*rows, strict=True)), strict=True))
    )
