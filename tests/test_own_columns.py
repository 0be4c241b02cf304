"""Tests of columns of purchases that belong to the items: which are taken, and their values by an independent count."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import SAMPLE, recae

import recae as package
from recae.modelfile import load
from recae.reading import Reading
from recae.reading.own_columns import OwnColumns, read_own_columns


def shop(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Purchases whose category is misspelt in one of thirty rows, and whose price differs by a third at most."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 20, n)
    wrong = rng.random(n) < 1 / 30
    return pd.DataFrame(
        {
            "customer": [f"c{k}" for k in rng.integers(0, 40, n)],
            "sku": [f"i{k}" for k in item],
            "Kategorie": np.where(wrong, "Sonstiges", [f"Gruppe {k % 4}" for k in item]),
            "brand": np.where(rng.random(n) < 0.5, None, [f"Marke {k % 3}" for k in item]),
            "Preis": [f"{(k + 1) * rng.uniform(0.8, 1.2):.2f} €".replace(".", ",") for k in item],
            "genre": rng.choice(["a", "b", "c"], n),  # belongs to nothing
            "image_url": np.where(item % 2, "https://x.de/1.png", "javascript:alert(1)"),
            "total_price": rng.uniform(0, 500, n).round(2),
        }
    )


def read(frame: pd.DataFrame) -> tuple[OwnColumns | None, list[str]]:
    with Reading(frame) as reading:
        items = reading.purchases().interactions.items
        return read_own_columns(reading.table, reading.columns, items), list(items)


def known(values: Any) -> list[Any]:
    return [value for value in values if isinstance(value, str)]


def test_the_most_frequent_value_and_the_median_are_taken() -> None:
    frame = shop()
    found, items = read(frame)
    assert found is not None
    assert found.sources == {
        "category": ("Kategorie",), "brand": ("brand",), "price": ("Preis",), "image": ("image_url",),
    }  # fmt: skip
    assert list(found.table.ids) == items
    rows = dict(zip(items, found.table.columns.to_pylist(), strict=True))
    assert len(rows) == 20
    for item, own in frame.groupby("sku"):
        (category, _), *_ = sorted(Counter(own["Kategorie"]).items(), key=lambda pair: (-pair[1], pair[0]))
        prices = [float(price[:-2].replace(",", ".")) for price in own["Preis"]]
        row = rows[str(item)]
        assert row["category"] == category
        assert row["brand"] == (Counter(known(own["brand"])).most_common(1)[0][0])
        assert row["price"] == pytest.approx(statistics.median(prices))
        assert row["image"] == ("https://x.de/1.png" if int(str(item)[1:]) % 2 else None)
    assert "price 'Preis' (the median)" in found.sentence()


def test_what_belongs_to_nothing_is_not_taken() -> None:
    frame = shop()
    frame["Kategorie"] = np.random.default_rng(1).choice(["a", "b"], len(frame))
    frame["Preis"] = np.random.default_rng(1).uniform(1, 500, len(frame)).round(2)
    found, _ = read(frame[["customer", "sku", "Kategorie", "Preis", "genre"]])
    assert found is None


def test_training_and_the_doctor_say_which_columns_they_are(tmp_path: Path) -> None:
    path = tmp_path / "purchases.csv"
    shop().to_csv(path, index=False)
    out = tmp_path / "model.recae"
    done = recae("train", path, "--kind", "popularity", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "columns that belong to the items are stored with them: category 'Kategorie'" in done.stderr
    model = load(out)
    assert model.item_table is not None
    assert model.item_table.names == ["category", "brand", "price", "image"]
    said = recae("doctor", path).stdout
    assert "of the items\t'Kategorie', 'brand', 'Preis', 'image_url'" in said
    assert "not used\t'genre', 'total_price'" in said
    # a table of its own takes their place
    other = package.train(shop(), "popularity", items={"id": ["i1"], "name": ["One"]}, progress=False)
    assert other.item_table is not None
    assert other.item_table.names == ["name"]


def test_items_that_leave_with_their_only_customer_leave_the_table() -> None:
    frame = shop()
    alone = pd.DataFrame(
        {"customer": ["only"] * 2, "sku": ["rare", "i1"], "Kategorie": ["Geheim", "Gruppe 1"]}
    )
    model = package.train(pd.concat([frame, alone]), "popularity", progress=False)
    assert model.item_table is not None
    assert "rare" in model.item_table.ids
    left = package.forget(model, ["only"])
    assert left.item_table is not None
    assert "rare" not in left.item_table.ids
    assert set(left.item_table.ids) == set(left.items)


def test_the_sample_has_categories_and_prices() -> None:
    frame = pd.read_csv(SAMPLE)
    found, items = read(frame)
    assert found is not None
    medians = frame.groupby("item_id")["price"].median()
    np.testing.assert_allclose(found.table.column("price").to_pylist(), medians[items])
    assert found.table.column("category").to_pylist() == list(
        frame.groupby("item_id")["category"].first()[items]
    )
