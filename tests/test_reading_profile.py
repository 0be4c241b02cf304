"""What the columns of a table are like, against plain Python: in one batch of columns and across two."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest
from countedrows import table_of

from recae.reading.engine import Engine
from recae.reading.profile import Profile
from recae.reading.table import MISSING

COLUMNS = [
    "rowid",
    "user",
    "c2",
    "r",
    "v",
    "c",
    "few",
    "many",
    "gone",
    *(f"more {n}" for n in range(9)),
    "item",
]
ROWS = 3000


def cells() -> dict[str, list[str | None]]:
    """Values with blanks around them, markers for none, ids that repeat, and columns named as the SQL names its own."""
    chance = random.Random(5)
    item = [chance.randrange(200) for _ in range(ROWS)]
    made: dict[str, list[str | None]] = {
        name: [chance.choice(["a", " a", "b ", "N/A", "-", None, " ", "NaN", "c\u00a0"]) for _ in range(ROWS)]
        for name in COLUMNS
    }
    made["item"] = [f"i{i}" for i in item]
    made["rowid"] = [str(n % 7) for n in range(ROWS)]
    made["user"] = [f"u{chance.randrange(90)}" for _ in range(ROWS)]
    made["few"] = [f"kind {i % 5}" if chance.random() < 0.95 else f"kind {chance.randrange(5)}" for i in item]
    made["many"] = [f"order {n // 2}" for n in range(ROWS)]
    made["gone"] = [None] * ROWS
    return {name: made[name] for name in COLUMNS}


def value(cell: str | None) -> str | None:
    text = "" if cell is None else cell.strip(" \t\n\r\u00a0\u3000")
    return None if not text or text.lower() in MISSING else text


@pytest.fixture(scope="module")
def profile() -> Iterator[Profile]:
    made = cells()
    with Engine() as engine:
        yield Profile(table_of(engine, [{name: made[name][n] for name in COLUMNS} for n in range(ROWS)]))


def test_facts(profile: Profile) -> None:
    for name, column in reversed(cells().items()):
        values = [found for cell in column if (found := value(cell)) is not None]
        first = {found: place for place, found in reversed(list(enumerate(values)))}
        ranking = sorted(Counter(values).items(), key=lambda pair: (-pair[1], first[pair[0]]))
        facts = profile.facts(name)
        assert (facts.rows, facts.filled, facts.distinct) == (ROWS, len(values), len(ranking)), name
        assert facts.top == tuple(ranking[:1000]), name
        assert facts.first == (values[0] if values else ""), name


@pytest.mark.parametrize("by", ["rowid", "item", "few", "many", "more 8"])
def test_how_far_one_column_determines_another(by: str, profile: Profile) -> None:
    made = cells()
    for name in ("user", "few", "item", "c", "gone"):
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for one, other in zip(made[by], made[name], strict=True):
            a, b = value(one), value(other)
            if a is not None and b is not None:
                groups[a][b] += 1
        repeated = [group for group in groups.values() if group.total() > 1]
        rows = sum(group.total() for group in repeated)
        most = sum(max(group.values()) for group in repeated)
        if by != name:
            assert profile.determined(by, name) == (pytest.approx(most / rows if rows else 1), rows), name


def test_lines_are_numbered_in_each_order_whatever_other_columns_are_called() -> None:
    """Two columns have the names that the SQL gives its own, and no value where the orders have theirs."""
    rows = [
        {"order": f"o{n // 3}", "line": str(n % 3 + 1), "total": str(n), "a": None, "v": None}
        for n in range(300)
    ]
    with Engine() as engine:
        profile = Profile(table_of(engine, [*rows, dict.fromkeys(rows[0], "1")]))
        assert profile.restarts("line", "order")
        assert not profile.restarts("total", "order")
