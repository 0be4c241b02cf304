"""Quantities as people write them, and how much of an item a user bought in all, against plain loops over the rows."""

from pathlib import Path

import numpy as np
import pytest
from readings import read_events

from recae.confidence import Facts
from recae.errors import ColumnError, DataError
from recae.interactions import Interactions
from recae.reading import read_interactions

QUANTITIES = {"1": 1.0, "2": 2.0, "2.0": 2.0, '"1,5"': 1.5, "0.1": 0.1, "": 1.0, "80995": 80995.0, "3": 3.0}
TIMES = ["2011-03-01", "2011-03-02", "2011-03-03", ""]


# Of a row


# Of a user and an item in all


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "header", ["timed", "timed named", "untimed", "untimed named", "no times to be read"]
)
def test_quantities_are_the_sums_of_the_rows(header: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(header))
    timed, named, unread = header.startswith("timed"), "named" in header, header.startswith("no")
    columns = ["user", "item", "qty", *["date"] * (timed or unread), *["title", "order_id"] * named]
    lines, totals, seen = [",".join(columns)], dict[tuple[str, str], float](), set()
    for _ in range(400):
        u, i = f"u{rng.integers(5)}", f"i{rng.integers(6)}"
        q, t = str(rng.choice(list(QUANTITIES))), str(rng.choice(TIMES))
        cells = [u, i, q, *([t] if timed else ["soon"] if unread else [])]
        cells += [str(rng.choice(["Ex", "Why"])), str(rng.integers(1, 4))] * named
        lines.append(",".join(cells))
        amount = QUANTITIES[q]
        if timed and t:  # the same once more is a row written twice
            if (u, i, t, amount) in seen:
                continue
            seen.add((u, i, t, amount))
        totals[u, i] = totals.get((u, i), 0.0) + amount
    path = tmp_path / "shop.csv"
    path.write_text("\n".join(lines) + "\n")
    found = read_interactions(path, quantities=True)
    assert found.quantities is not None
    for (u, i), total in totals.items():
        matrix = found.matrix
        row = found.users.row(u)
        place = matrix.indptr[row] + np.searchsorted(
            matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]], found.items.row(i)
        )
        assert found.quantities[place] == pytest.approx(total, rel=1e-6)
    plain = read_interactions(path)
    assert plain.quantities is None
    assert plain.fingerprint != found.fingerprint
    for name in ("counts", "times"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(found, name))
    if plain.item_names is not None and found.item_names is not None:
        assert plain.item_names.to_pylist() == found.item_names.to_pylist()
    some = found.users_subset(np.array([3, 1]))
    of_these = [totals[pair] for u in ("u3", "u1") for pair in sorted(totals) if pair[0] == u]
    np.testing.assert_allclose(some.quantities, of_these, rtol=1e-6)
    if timed or named:
        interactions, events, _ = read_events(path, quantities=True)
        assert events.quantity is not None
        assert interactions.quantities is not None
        summed = Facts.of_events(events).quantities
        np.testing.assert_allclose(summed, interactions.quantities, rtol=1e-5)


def test_without_a_column_of_quantities_they_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("user,item\na,x\nb,y\n")
    with pytest.raises(ColumnError, match=r"shop.csv': --quantity-as-confidence needs .* --quantity-column"):
        read_interactions(path, quantities=True)
    path.write_text("user,item,pieces\na,x,2\nb,y,1e300\nb,y,1e300\n")
    found = read_interactions(path, quantities=True)
    assert found.quantities is not None
    assert found.quantities.tolist() == [2.0, float(np.finfo(np.float32).max)]


@pytest.mark.parametrize(
    ("quantities", "message"),
    [
        (np.array([1.0, 0.0], np.float32), "finite numbers above 0"),
        (np.array([1.0, np.inf], np.float32), "finite numbers above 0"),
        (np.array([1.0]), "quantities must be float32"),
    ],
)
def test_quantities_that_are_none_are_refused(tmp_path: Path, quantities: np.ndarray, message: str) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("user,item\na,x\nb,y\n")
    shop = read_interactions(path)
    with pytest.raises(DataError, match=message):
        Interactions(shop.matrix, shop.users, shop.items, None, shop.counts, quantities=quantities)
