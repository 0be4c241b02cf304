"""What is written on a map: rectangles that meet no other, at every size and zoom, and none left out without need."""

# ruff: noqa: F811  (fixtures are imported, and are arguments)

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, assert_clean, browser, open_page  # noqa: F401
from mappages import open_map  # noqa: F401

NOUNS = ["tea", "cup", "jar", "lamp", "card", "wrap", "sign", "bag", "ring", "bell", "clock", "doll"]
NAMES = [f"{noun}, {noun} holder, large {noun}" for noun in NOUNS]


def crowded(apart: float) -> dict[str, Any]:
    """Twelve clusters of 50 products whose middles lie `apart` of their width from each other, in three rows."""
    rng = np.random.default_rng(1)
    label = np.arange(600) % 12
    places = 1000 * rng.normal(size=(600, 2)) + apart * 1000 * np.stack([label % 4, label // 4], axis=1)
    x, y = np.rint(places - places.min(axis=0)).astype(int).T.tolist()
    return {
        "kind": "items",
        "item_id": [f"P{i}" for i in range(600)],
        "name": [f"Product number {i} of the shop" for i in range(600)],
        "owners": list(range(600, 0, -1)),
        "x": x,
        "y": y,
        "category": label.tolist(),
        "categories": NAMES,
        "coloured_by": "clusters",
    }


def shown(page: Any, zooms: int = 0) -> list[dict[str, Any]]:
    """Draw the map once more, so that it can be asked what it wrote, after some steps of the zoom."""
    page.evaluate(
        "zooms => { window.shown = recaeMap(document.getElementById('map'),"
        " JSON.parse(document.getElementById('data').textContent), {kind: 'items'});"
        " for (let i = 0; i < zooms; i++) document.querySelector('.recae-map-over').dispatchEvent("
        "new WheelEvent('wheel', {deltaY: -120, clientX: 300, clientY: 400, cancelable: true})); }",
        zooms,
    )
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found: list[dict[str, Any]] = page.evaluate("window.shown.labels()")
    return found


def assert_apart(page: Any, labels: list[dict[str, Any]]) -> None:
    """Every rectangle is in the picture and meets neither another one nor the buttons, by all pairs."""
    stage = page.locator(".recae-map-stage").bounding_box()
    buttons = page.locator(".recae-map-zooms").bounding_box()
    left, top = buttons["x"] - stage["x"], buttons["y"] - stage["y"]
    boxes = [label["box"] for label in labels]
    for box in boxes:
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= stage["width"]
        assert box[3] <= stage["height"]
        assert box[2] - box[0] > 10
    boxes.append([left, top, left + buttons["width"], top + buttons["height"]])
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


@pytest.mark.some(4)
@pytest.mark.parametrize("zooms", [0, 2, 5, 12])
@pytest.mark.parametrize("apart", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_no_label_meets_another(open_map: Any, size: tuple[int, int], apart: float, zooms: int) -> None:
    page = open_map(crowded(apart), size=size)
    labels = shown(page, zooms)
    assert labels or zooms == 12  # so near that there may be nothing
    assert_apart(page, labels)
    assert_clean(page)


@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_every_category_is_named_where_there_is_room_even_where_all_lie_in_one_place(
    open_map: Any, apart: float
) -> None:
    page = open_map(crowded(apart), size=DESKTOP)
    named = [label["text"] for label in shown(page) if label["category"]]
    assert sorted(named) == sorted(NAMES)


def test_a_legend_shows_whole_names(open_map: Any) -> None:
    page = open_map(crowded(2.0), size=DESKTOP)
    cut = page.evaluate(
        "[...document.querySelectorAll('.recae-map-legend button > span')]"
        ".filter((span) => span.scrollWidth > span.clientWidth || span.scrollHeight > span.clientHeight + 1).length"
    )
    assert cut == 0


def test_a_name_stands_beside_its_products_where_there_is_room(open_map: Any) -> None:
    label = np.arange(400) % 2
    places = 30 * np.random.default_rng(3).normal(size=(400, 2)) + np.stack([2000 * label, 0 * label], axis=1)
    x, y = np.rint(places - places.min(axis=0)).astype(int).T.tolist()
    changes = {"x": x, "y": y, "category": label.tolist(), "categories": ["left", "right"]}
    columns = {key: crowded(1.0)[key][:400] for key in ("item_id", "name", "owners")}
    page = open_map({"kind": "items"} | columns | changes)
    labels = {one["text"]: one["box"] for one in shown(page) if one["category"]}
    stage = page.locator(".recae-map-stage").bounding_box()
    scale = (stage["width"] - 2 * 44) / np.ptp(x)
    for code, name in enumerate(["left", "right"]):
        own = places[label == code]
        across = stage["width"] / 2 + (own[:, 0] - (places[:, 0].min() + places[:, 0].max()) / 2) * scale
        down = stage["height"] / 2 - (own[:, 1] - (places[:, 1].min() + places[:, 1].max()) / 2) * scale
        left, top, right, bottom = labels[name]
        hidden = (across > left) & (across < right) & (down > top) & (down < bottom)
        assert hidden.sum() <= 10  # of 200; in the middle of them it would hide most
        assert abs((left + right) / 2 - across.mean()) < 150
