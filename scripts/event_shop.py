"""A made-up shop with views, carts and purchases: `python scripts/event_shop.py 5000 400 events.csv`.

Every user has a taste and every item a place, both normal in twelve dimensions, and every item a popularity. A user
views some thirty items, drawn by taste and popularity. What is viewed goes into the cart with a probability that rises
with the taste for it, and two of five carted items are bought. So carts tell of a taste before it shows in purchases,
and views tell less of it, since popular items are viewed by everybody.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

DIMENSIONS = 12
VIEWS = 30


def write_shop(users: int, items: int, path: Path, seed: int = 0) -> None:
    """Write the events of a shop, one a row: user_id, item_id, event_type, event_time (seconds)."""
    rng = np.random.default_rng(seed)
    popularity = rng.normal(size=items)
    places, tastes = rng.normal(size=(items, DIMENSIONS)), rng.normal(size=(users, DIMENSIONS))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "event_type", "event_time"])
        for user in range(users):
            liking = 2.4 * (places @ tastes[user]) / DIMENSIONS**0.5 + popularity
            chance = np.exp(liking - liking.max())
            number = min(1 + int(rng.poisson(VIEWS)), items)
            seen = rng.choice(items, size=number, replace=False, p=chance / chance.sum())
            carted = rng.random(number) < 1 / (1 + np.exp(2 - (liking[seen] - np.median(liking)) / 2))
            bought = carted & (rng.random(number) < 0.4)
            time = 1_700_000_000 + int(rng.integers(90 * 86_400))
            for item, *done in zip(seen, carted, bought, strict=True):
                for event in (
                    "view",
                    *(name for name, did in zip(("cart", "purchase"), done, strict=True) if did),
                ):
                    time += 60
                    writer.writerow([f"u{user}", f"i{item}", event, time])


if __name__ == "__main__":
    write_shop(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
