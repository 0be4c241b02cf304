"""The split of scripts/published_split.py against the steps of the authors' code, taken one user at a time."""

from collections import Counter

import numpy as np
import pytest
from publishedfiles import published_data, published_split, ratings

from recae.errors import DataError

Row = tuple[int, int]


def slow(rows: list[Row], held_out: int, at_least: tuple[int, int]):
    """Users' items by role: {user: items} of those learned from, [{user: (history, held out)}] of the others; counts.

    Step by step what https://github.com/dawenl/vae_cf does with data frames, with sets and dictionaries.
    """
    owners = Counter(item for _, item in rows)
    rows = [row for row in rows if owners[row[1]] >= at_least[1]]
    sizes = Counter(user for user, _ in rows)
    rows = [row for row in rows if sizes[row[0]] >= at_least[0]]
    users = sorted({user for user, _ in rows})
    counts = len(users), len({item for _, item in rows}), len(rows)

    np.random.seed(98765)  # noqa: NPY002
    shuffled = [users[place] for place in np.random.permutation(len(users))]  # noqa: NPY002
    learners = set(shuffled[: len(users) - 2 * held_out])
    chosen = set(shuffled[len(users) - 2 * held_out : len(users) - held_out])
    tested = set(shuffled[len(users) - held_out :])
    known = {item for user, item in rows if user in learners}

    learned = {user: {item for who, item in rows if who == user} for user in learners}
    others = []
    for part in (chosen, tested):
        np.random.seed(98765)  # noqa: NPY002
        found = {}
        for user in sorted(part):
            items = [item for who, item in rows if who == user and item in known]
            if len(items) < 5:
                continue
            drawn = np.random.choice(len(items), size=int(0.2 * len(items)), replace=False)  # noqa: NPY002
            held = {items[place] for place in drawn}
            found[user] = set(items) - held, held
        others.append(found)
    return learned, others, counts, sorted(known)


def named(matrix, known) -> list[set[int]]:
    assert (matrix.data == 1).all()
    assert matrix.has_sorted_indices
    return [{known[place] for place in matrix[row].indices} for row in range(matrix.shape[0])]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("held_out", "at_least"), [(10, (5, 0)), (4, (6, 12)), (1, (1, 0)), (20, (5, 3))])
def test_the_split_is_the_authors(held_out, at_least, shuffled):
    rows = [(user, movie) for user, movie, grade in ratings() if grade >= 4]
    if shuffled:  # as in MSD, where a user's songs come in any order
        rows = [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]
    pairs = published_data.numbered(*np.array(rows).T)
    found = published_split.strong_split(pairs, held_out, at_least)
    learned, others, counts, known = slow(rows, held_out, at_least)
    assert found.counts == counts
    assert named(found.train, known) == [learned[user] for user in sorted(learned)]
    for pair, expected in zip((found.validation, found.test), others, strict=True):
        histories, held = (named(part, known) for part in pair)
        assert histories == [expected[user][0] for user in sorted(expected)]
        assert held == [expected[user][1] for user in sorted(expected)]
        assert all(held)
        assert len(held) <= held_out
    assert len(others[1]) > 0


def test_something_is_dropped_by_each_rule():
    """Otherwise the test above could not tell the rules apart."""
    rows = [(user, movie) for user, movie, grade in ratings() if grade >= 4]
    plain, rare = slow(rows, 4, (1, 0)), slow(rows, 4, (6, 12))
    assert rare[2][0] < plain[2][0]
    assert rare[2][1] < plain[2][1]
    _, others, _, known = slow(rows, 20, (5, 3))
    assert len(known) < len({movie for _, movie in rows})
    assert min(len(other) for other in others) < 20  # of some user too few items are known


def test_too_few_users():
    pairs = published_data.numbered(np.arange(10), np.zeros(10))
    with pytest.raises(DataError, match=r"5 users to test .* of 1 items or more there are 10 users"):
        published_split.strong_split(pairs, 5, (1, 0))
    with pytest.raises(DataError, match="there are 0 users"):
        published_split.strong_split(pairs, 1, (5, 0))
