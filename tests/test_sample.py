"""Tests of the sample data: the committed file is what the script makes, and holds what its README says."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "purchases.csv"
Row = dict[str, str]


@pytest.fixture(scope="module")
def make_sample() -> ModuleType:
    name = "make_sample"
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def baskets(rows: list[Row]) -> dict[str, set[str]]:
    """user id -> items bought."""
    owned: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if int(row["quantity"]) > 0:
            owned[row["user_id"]].add(row["item_id"])
    return owned


@pytest.fixture(scope="module")
def made(make_sample: ModuleType) -> Any:
    """The lines that the script makes, which takes it two seconds."""
    return make_sample.purchases()


def test_regenerates_the_committed_bytes(make_sample: ModuleType, made: Any) -> None:
    assert make_sample.as_csv(made) == SAMPLE.read_bytes()


def test_size_and_shape(make_sample: ModuleType, rows: list[Row], baskets: dict[str, set[str]]) -> None:
    assert SAMPLE.stat().st_size < 4_000_000
    assert tuple(rows[0]) == make_sample.COLUMNS
    assert set(baskets) == {str(n) for n in range(1, 2001)}
    items = {(r["item_id"], r["item_name"], r["category"], r["price"]) for r in rows}
    assert len(items) == 600
    assert len({i[0] for i in items}) == len({i[1] for i in items}) == 600
    assert Counter(i[2] for i in items) == dict.fromkeys(make_sample.CATEGORIES, 50)
    assert len({(r["user_id"], r["item_id"], r["timestamp"]) for r in rows}) == len(rows)
    assert f"{len(rows):,} rows" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")


def test_times_are_ordered_iso_over_two_years(rows: list[Row]) -> None:
    times = [datetime.fromisoformat(r["timestamp"]) for r in rows]
    assert times == sorted(times)
    assert [t.year for t in (times[0], times[-1])] == [2023, 2024]
    assert (times[-1] - times[0]).days >= 725
    winter = sum(t.month in (11, 12) for t in times)
    assert winter / len(times) > 1.3 * 2 / 12


def test_every_return_follows_a_purchase(rows: list[Row]) -> None:
    kept: Counter[tuple[str, str]] = Counter()
    n_returns = 0
    for row in rows:  # in order of time
        quantity = int(row["quantity"])
        assert quantity != 0
        n_returns += quantity < 0
        pair = (row["user_id"], row["item_id"])
        kept[pair] += quantity
        assert kept[pair] >= 0, row
    assert 0.005 < n_returns / len(rows) < 0.02


def test_repeats_and_popularity_are_skewed(rows: list[Row], baskets: dict[str, set[str]]) -> None:
    bought = [r for r in rows if int(r["quantity"]) > 0]
    repeated = 1 - sum(len(b) for b in baskets.values()) / len(bought)
    assert 0.1 < repeated < 0.5
    buyers = Counter(item for b in baskets.values() for item in b)
    counts = sorted(buyers.values(), reverse=True)
    assert sum(counts[:60]) > 0.25 * sum(counts)  # a tenth of the items, a quarter of the pairs
    assert min(counts) >= 10


def test_bots_are_regular_and_tasteless(make_sample: ModuleType, rows: list[Row]) -> None:
    bots = make_sample.bots()
    assert len(bots) == 20
    assert "42" not in bots
    times: dict[str, list[datetime]] = defaultdict(list)
    categories: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        times[row["user_id"]].append(datetime.fromisoformat(row["timestamp"]))
        categories[row["user_id"]][row["category"]] += 1
    for user, moments in times.items():
        steps = {b - a for a, b in pairwise(moments)}
        assert (len(steps) == 1 and len(moments) >= 150) == (user in bots), user
    for user in bots:
        assert max(categories[user].values()) < 0.25 * sum(categories[user].values())


def test_tastes_and_brands_are_planted(make_sample: ModuleType, rows: list[Row]) -> None:
    assert {make_sample.taste_of(c) for c in make_sample.CATEGORIES} == set(make_sample.TASTES)
    with pytest.raises(KeyError):
        make_sample.taste_of("Ironmongery")
    planted = {c.user_id: c for c in make_sample.customers() if not c.is_bot}
    inside = liked = total = 0
    for row in rows:
        customer = planted.get(row["user_id"])
        if customer is None:
            continue
        total += 1
        if make_sample.taste_of(row["category"]) in customer.tastes:
            inside += 1
            liked += row["item_name"].startswith(customer.brands[row["category"]])
    assert 0.85 < inside / total < 0.95
    assert 0.75 < liked / inside < 0.95
    assert Counter(len(c.tastes) for c in planted.values()).keys() == {1, 2, 3}


def test_customer_42_likes_the_kitchen(make_sample: ModuleType, rows: list[Row]) -> None:
    mine = [r for r in rows if r["user_id"] == "42"]
    assert 20 <= len(mine) <= 40
    assert sum(make_sample.taste_of(r["category"]) == "kitchen" for r in mine) >= 0.75 * len(mine)


def test_the_command_writes_the_file(
    make_sample: ModuleType, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "again.csv"
    monkeypatch.setattr(sys, "argv", ["make_sample.py", "--out", str(out)])
    monkeypatch.setattr(make_sample, "purchases", lambda: made)
    make_sample.main()
    assert out.read_bytes() == SAMPLE.read_bytes()
