"""Baskets of products, and tables and documents that hold them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from recae.reading.engine import Engine, quoted, text
from recae.reading.layouts import unfold
from recae.reading.options import ReadOptions
from recae.reading.table import Table

PRODUCTS = (
    "Tea", "Candle, red", "Men's mug", 'Bowl "Ada"', "Soap", "Plate", "Honey", "Coffee", "Cup", "Spoon", "Fork",
    "Knife",
)  # fmt: skip
PLAIN = tuple(product for product in PRODUCTS if not set(product) & set(",'\""))


def baskets_of(products: Sequence[str], rows: int = 200, seed: int = 1) -> list[list[str]]:
    drawn = random.Random(seed)
    return [drawn.sample(products, drawn.randint(1, 5)) for _ in range(rows)]


BASKETS = baskets_of(PLAIN)
SPECIAL = baskets_of(PRODUCTS)
USERS = [f"c{random.Random(2 * i).randrange(60)}" for i in range(len(BASKETS))]
DATES = [f"2024-01-{i % 28 + 1:02}" for i in range(len(BASKETS))]
NUMBERS = [str(i + 1) for i in range(len(BASKETS))]


def table(engine: Engine, columns: Mapping[str, Sequence[Any]], header: bool = True) -> Table:
    relation = engine.register(pa.table({name: pa.array(values) for name, values in columns.items()}))
    return Table("orders.csv", engine, relation, engine.describe(relation), header=header)


def documents(engine: Engine, path: Path, *entries: Any) -> Table:
    path.write_text("\n".join(map(json.dumps, entries)))
    relation = engine.view(f"SELECT * FROM read_json({text(str(path))})")
    return Table("orders.json", engine, relation, engine.describe(relation))


def rows(table: Table, *columns: str) -> list[tuple[Any, ...]]:
    named = ", ".join(map(quoted, columns))
    return table.engine.rows(f"SELECT {named} FROM {table.relation}")


def texts(table: Table, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(map(str, row)) for row in rows(table, *columns)]


def in_quotes(item: str) -> str:
    return '"' + item.replace('"', '""') + '"' if set(item) & set(',"') else item


def pairs(owners: Sequence[str], baskets: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [(owner, item) for owner, basket in zip(owners, baskets, strict=True) for item in basket]


def padded(baskets: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, list[str | None]]:
    return {
        name: [basket[place] if place < len(basket) else None for basket in baskets]
        for place, name in enumerate(names)
    }


def unchanged(table: Table, **options: Any) -> bool:
    return unfold(table, ReadOptions(**options)) is table
