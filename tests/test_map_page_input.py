"""The map in a real browser: pointer, fingers, keys, and the page around it."""

# ruff: noqa: F811  (fixtures are imported, and are arguments)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, assert_clean, browser, drawn, open_page  # noqa: F401
from mappages import middle, open_map, picture, products, settle  # noqa: F401


def test_wheel_drag_and_buttons_move_the_map(open_map: Any) -> None:
    page = open_map(products())
    x, y = middle(page)
    page.mouse.move(x, y)
    for _ in range(4):
        page.mouse.wheel(0, -200)
    drawn(page)
    page.mouse.move(x + 3, y)
    assert (
        page.locator(".recae-map-tip strong").text_content() == "Product 0"
    )  # the place under the pointer stays
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    assert not page.locator(".recae-map-card").is_visible()  # a drag is no click
    page.mouse.move(x + 20, y + 200)
    page.mouse.move(x + 58, y + 30)
    assert page.locator(".recae-map-tip strong").text_content() == "Product 0"
    page.click("[aria-label='Show everything']")
    settle(page)
    page.mouse.move(x, y)
    assert page.locator(".recae-map-tip strong").text_content() == "Product 0"
    for label in ("Zoom in", "Zoom out"):
        before = picture(page)
        page.click(f"[aria-label='{label}']")
        settle(page)
        assert picture(page) != before
    page.mouse.dblclick(x + 200, y + 50)
    assert_clean(page)


def test_two_fingers_zoom_and_one_taps(open_map: Any) -> None:
    page = open_map(products(), size=PHONE)
    x, y = middle(page)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    page.touchscreen.tap(x, y)
    assert page.locator(".recae-map-card strong").text_content() == "Product 0"
    page.locator(".recae-map-close").tap()
    before = picture(page)
    fingers("touchStart", (x - 40, y), (x + 40, y))
    for apart in (60, 80, 100, 120):
        fingers("touchMove", (x - apart, y), (x + apart, y))
    fingers("touchEnd")
    drawn(page)
    assert picture(page) != before
    assert not page.locator(".recae-map-card").is_visible()
    page.touchscreen.tap(x, y)  # the place between the fingers has stayed
    assert page.locator(".recae-map-card strong").text_content() == "Product 0"
    assert_clean(page)


@pytest.mark.thorough
def test_a_broad_picture_is_turned_on_a_phone_held_upright(open_map: Any) -> None:
    broad = {"kind": "items", "item_id": ["a", "b", "c"], "x": [0, 500, 1000], "y": [0, 0, 0]}
    for size, (across, down) in ((DESKTOP, (1, 0)), (PHONE, (0, 1))):
        page = open_map(broad, size=size)
        x, y = middle(page)
        box = page.locator(".recae-map-over").bounding_box()
        space = 22 if min(box["width"], box["height"]) < 500 else 44
        page.mouse.click(x - across * (box["width"] / 2 - space), y - down * (box["height"] / 2 - space))
        assert page.locator(".recae-map-card strong").text_content() == "a"


def test_the_keyboard_does_it_all(open_map: Any) -> None:
    page = open_map(products())
    name = page.locator(".recae-map-card strong")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "application"
    page.keyboard.press("ArrowRight")  # the first is the one in the middle
    assert name.text_content() == "Product 0"
    page.keyboard.press("ArrowRight")
    assert name.text_content() not in ("Product 0", None)
    chosen = products()["item_id"].index(
        page.locator("[role=status]").text_content().split(", ")[0].replace("Product ", "P")
    )
    assert products()["x"][chosen] > 1000
    for key in ("+", "=", "-", "Shift+ArrowUp", "0"):
        before = picture(page)
        page.keyboard.press(key)
        settle(page)
        assert picture(page) != before, key
    before = picture(page)
    page.keyboard.press("q")
    page.keyboard.press("Control+0")
    settle(page)
    assert picture(page) == before
    page.keyboard.press("Escape")
    assert not page.locator(".recae-map-card").is_visible()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator(".recae-map-legend button").first.get_attribute("aria-pressed") == "false"
    assert_clean(page)


def test_the_page_around_it_is_told_and_tells(open_map: Any) -> None:
    page = open_map(products())
    page.evaluate(
        """() => {
            const data = JSON.parse(document.getElementById("data").textContent), box = document.getElementById("map");
            data.category = data.category.map((c) => data.categories[c] ?? null);
            delete data.categories;
            window.told = [];
            window.map = recaeMap(box, data, {onSelect: (index) => told.push(index)});
        }"""
    )
    assert page.locator(".recae-map").count() == 1
    assert page.locator(".recae-map-legend button[aria-pressed] span").all_text_contents()[1] == "Tea"
    page.mouse.click(*middle(page))
    page.mouse.click(*middle(page))
    page.keyboard.press("Escape")
    assert page.evaluate("told") == [0, -1]
    page.evaluate("map.select(7)")
    assert page.locator(".recae-map-card span").first.text_content() == "owned by 62 customers"
    page.evaluate("map.select(-1)")
    assert not page.locator(".recae-map-card").is_visible()
    assert page.evaluate("told") == [0, -1]
    page.evaluate("map.search('P7')")
    assert page.inner_text(".recae-map-count") == "1 found"
    page.evaluate("map.destroy()")
    assert page.locator(".recae-map").count() == 0
    page.set_viewport_size({"width": 700, "height": 500})
    drawn(page)
    assert_clean(page)


@pytest.mark.thorough
def test_it_may_be_made_before_it_is_shown(open_map: Any) -> None:
    page = open_map(products())
    page.evaluate(
        """() => {
            const box = document.getElementById("map"), parent = box.parentNode;
            box.remove();
            window.map = recaeMap(box, JSON.parse(document.getElementById("data").textContent));
            map.search("P3");
            map.search("");
            parent.append(box);
        }"""
    )
    settle(page)
    page.mouse.click(*middle(page))
    assert page.locator(".recae-map-card strong").text_content() == "Product 0"
    assert_clean(page)


@pytest.mark.thorough
def test_it_follows_the_window_and_the_colour_scheme(open_map: Any) -> None:
    page = open_map(products())
    page.set_viewport_size({"width": 800, "height": 500})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    drawn(page)
    width, corner = page.evaluate(
        "(() => { const c = document.querySelector('.recae-map-points');"
        "return [c.width, c.getContext('2d').getImageData(3, 3, 1, 1).data[0]]; })()"
    )
    assert width < 800
    assert corner == 20
    page.mouse.click(*middle(page))
    assert page.locator(".recae-map-card strong").text_content() == "Product 0"
    assert_clean(page)


@pytest.mark.thorough
def test_fifty_thousand_points_are_drawn_and_found(open_map: Any) -> None:
    rng = np.random.default_rng(0)
    n = 50_000
    x, y = rng.integers(0, 65_536, (2, n)).tolist()
    page = open_map(
        {"kind": "items", "item_id": [f"Q{i}" for i in range(n)], "x": x, "y": y, "owners": [1] * n}
    )
    page.fill("input", "Q49999")
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator(".recae-map-card strong").text_content() == "Q49999"
    # Generous, since tests share their machine: a frame was measured at about 7 ms.
    spent = page.evaluate(
        """async () => {
            const over = document.querySelector(".recae-map-over"), times = [];
            const next = window.requestAnimationFrame;
            window.requestAnimationFrame = (act) => next((now) => {
                const begin = performance.now(); act(now); times.push(performance.now() - begin);
            });
            for (let i = 0; i < 20; i++) {
                over.dispatchEvent(new WheelEvent("wheel", {deltaY: i < 10 ? 90 : -30, clientX: 400, clientY: 400}));
                await new Promise((done) => next(() => next(done)));
            }
            return times.sort((a, b) => a - b);
        }"""
    )
    assert len(spent) >= 10
    assert spent[len(spent) // 4] < 150
    assert_clean(page)
