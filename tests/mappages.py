"""Pages of small maps, opened in a real browser, and where to point in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import drawn

from recae.insight.map import map_page


def products(n: int = 60, **changes: Any) -> dict[str, Any]:
    """A ring of products, P0 owned most and in the middle; every third is Tea, Garden or without a category."""
    angle = np.arange(n) * 2 * np.pi / max(n - 1, 1)
    x, y = 1000 + 900 * np.cos(angle), 1000 + 900 * np.sin(angle)
    x[0] = y[0] = 1000
    data = {
        "kind": "items",
        "item_id": [f"P{i}" for i in range(n)],
        "name": [f"Product {i}" if i % 2 == 0 else None for i in range(n)],
        "owners": [max(500 // (i + 1), 1) for i in range(n)],
        "x": np.rint(x).astype(int).tolist(),
        "y": np.rint(y).astype(int).tolist(),
        "category": [i % 3 - 1 for i in range(n)],
        "categories": ["Garden", "Tea"],
    }
    return data | changes


@pytest.fixture
def open_map(open_page: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def open_one(data: dict[str, Any], title: str = "Map", **options: Any) -> Any:
        path = tmp_path / "map.html"
        path.write_text(map_page(data, title=title, method="pca", note="A note."), encoding="utf-8")
        return open_page(path.as_uri(), **options)

    return open_one


def middle(page: Any) -> tuple[float, float]:
    box = page.locator(".recae-map-over").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def picture(page: Any) -> str:
    """What is drawn: the points and the marks over them."""
    found: str = page.evaluate(
        "[...document.querySelectorAll('.recae-map canvas')].map((c) => c.toDataURL()).join()"
    )
    return found


def settle(page: Any) -> None:
    """Waits for the end of a flight: until the picture stays as it is."""
    now = picture(page)
    for _ in range(200):
        before = now
        drawn(page)
        now = picture(page)
        if now == before:
            return
    raise AssertionError("the picture does not come to rest")
