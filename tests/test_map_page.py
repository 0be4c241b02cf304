"""The map in a real browser: what a person sees and finds; and that names stay text."""

# ruff: noqa: F811  (fixtures are imported, and are arguments)

from __future__ import annotations

import re
from typing import Any

import pytest
from browser import DESKTOP, PHONE, assert_clean, browser, drawn, open_page  # noqa: F401
from mappages import middle, open_map, picture, products, settle  # noqa: F401

HOSTILE = [
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(2)">',
    "<!-- <script>",
    "{{script}} {{data}}",
    "\u202ereversed \\ \" ' & &amp;",
    "line\nbreak\u2028 \x00 \x1b[31m",
    "O'Brien's Éclair ☕",
]


@pytest.mark.some(2)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_it_fits_every_screen_and_asks_the_network_for_nothing(
    open_map: Any, size: tuple[int, int], dark: bool
) -> None:
    page = open_map(products(), "Map of <b>products</b>", size=size, dark=dark)
    assert page.inner_text("h1") == "Map of <b>products</b>"
    assert "60 products" in page.inner_text("header p")
    assert "A note." in page.inner_text("header p")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    box = page.locator(".recae-map-stage").bounding_box()
    assert box["height"] > 250
    assert box["y"] + box["height"] <= size[1]
    corner = page.evaluate(
        "[...document.querySelector('.recae-map-points').getContext('2d').getImageData(3, 3, 1, 1).data]"
    )
    assert corner == ([20, 23, 27, 255] if dark else [251, 251, 249, 255])
    assert len(page.requests) == 1
    assert_clean(page)


def test_the_policy_blocks_what_the_page_did_not_bring(open_map: Any) -> None:
    page = open_map(products())
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        "document.body.append(s); fetch('https://example.com/').catch(() => {}); }"
    )
    drawn(page)
    assert page.evaluate("window.broken") is None
    assert len(page.requests) == 1
    assert any("Content Security Policy" in error for error in page.errors)


def test_hostile_names_stay_text(open_map: Any) -> None:
    n = len(HOSTILE)
    data = products(n, name=HOSTILE, item_id=[f"{text} {i}" for i, text in enumerate(HOSTILE)])
    data |= {"category": list(range(n)), "categories": HOSTILE}
    page = open_map(data, HOSTILE[0])
    assert page.inner_text("h1") == HOSTILE[0]
    legend = page.locator(".recae-map-legend button[aria-pressed] span").all_text_contents()
    assert sorted(legend) == sorted(HOSTILE)
    for i, text in enumerate(HOSTILE):
        page.fill("input", data["item_id"][i].replace("\n", " "))
        page.keyboard.press("Enter")
        assert page.locator(".recae-map-card strong").text_content() == text
        assert page.locator(".recae-map-card .recae-map-id").text_content() == data["item_id"][i]
    settle(page)
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert_clean(page)


def test_hover_shows_what_a_dot_is_and_a_click_selects_it(open_map: Any) -> None:
    page = open_map(products())
    tip, card = page.locator(".recae-map-tip"), page.locator(".recae-map-card")
    assert not tip.is_visible()
    page.mouse.move(*middle(page))
    assert tip.locator("> *").all_text_contents() == ["Product 0", "P0", "owned by 500 customers"]
    page.mouse.move(middle(page)[0] + 100, middle(page)[1] + 60)
    assert not tip.is_visible()
    page.mouse.click(*middle(page))
    assert card.locator("strong").text_content() == "Product 0"
    assert "Product 0" in page.locator("[role=status]").text_content()
    assert card.locator("li").count() == 5
    page.click("text=×")
    assert not card.is_visible()
    assert_clean(page)


def test_search_highlights_lists_and_flies(open_map: Any) -> None:
    page = open_map(products())
    before = picture(page)
    page.fill("input", "PRODUCT 4")
    options = page.locator("[role=option] span")
    assert options.all_text_contents() == [
        f"Product {i}" for i in (4, 14, 24, 34, 40, 42, 44, 46)
    ]  # by owners
    assert page.inner_text(".recae-map-count") == "10 found"
    drawn(page)
    assert picture(page) != before
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = page.get_attribute("input", "aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.locator(".recae-map-card strong").text_content() == "Product 46"
    settle(page)
    page.mouse.move(*middle(page))  # it has been flown to
    assert page.locator(".recae-map-card strong").text_content() == "Product 46"
    page.focus("input")
    page.fill("input", "p5")
    assert page.locator("[role=option] span").first.text_content() == "P5"
    page.fill("input", "nothing like it")
    assert page.inner_text(".recae-map-count") == "nothing found"
    page.keyboard.press("Escape")
    assert page.input_value("input") == ""
    assert page.inner_text(".recae-map-count") == ""
    assert_clean(page)


def test_an_exact_id_is_found_first_and_accents_do_not_count(open_map: Any) -> None:
    data = products(30)
    data["name"][2] = "Crème Brûlée"
    page = open_map(data)
    page.fill("input", "creme brulee")
    assert page.locator("[role=option]").count() == 1
    page.fill("input", "P29")
    assert page.locator("[role=option] span").first.text_content() == "P29"
    page.fill("input", "P2")
    assert page.locator("[role=option] small").first.text_content() == "P2"


def test_the_legend_hides_and_shows_categories(open_map: Any) -> None:
    page = open_map(products())
    tea = page.get_by_role("button", name=re.compile("^Tea"))
    names = page.locator(".recae-map-legend button[aria-pressed] span").all_text_contents()
    assert names == ["Garden", "Tea", "Not known"]
    everything = page.get_by_role("button", name="Show all", exact=True)
    assert not everything.is_visible()
    page.mouse.move(2, 2)
    before = picture(page)
    page.get_by_role("button", name=re.compile("^Not known")).click()
    page.mouse.move(*middle(page))  # P0 has no category, so it is gone
    assert not page.locator(".recae-map-tip").is_visible()
    tea.click()
    assert tea.get_attribute("aria-pressed") == "false"
    page.fill("input", "P2")  # P2 is Tea: going there shows it again
    page.keyboard.press("Enter")
    assert tea.get_attribute("aria-pressed") == "true"
    everything.click()
    assert not everything.is_visible()
    page.keyboard.press("Escape")
    page.click("text=×")
    page.fill("input", "")
    page.click("[aria-label='Show everything']")
    settle(page)
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(2, 2)
    drawn(page)
    assert picture(page) == before
    assert_clean(page)


@pytest.mark.thorough
def test_many_categories_share_the_last_colour(open_map: Any) -> None:
    data = products(60, category=[i % 20 for i in range(60)], categories=[f"K{i:02d}" for i in range(20)])
    page = open_map(data)
    lines = page.locator(".recae-map-legend button[aria-pressed]").all_text_contents()
    assert len(lines) == 13
    assert lines[-1] == "Other (8 kinds)24"
    page.fill("input", "P19")
    page.keyboard.press("Enter")
    assert "K19" in page.inner_text(".recae-map-card")
    swatches = page.evaluate(
        "[...document.querySelectorAll('.recae-map-legend i')].map(i => getComputedStyle(i).backgroundColor)"
    )
    assert len(set(swatches)) == 13


@pytest.mark.thorough
def test_without_categories_names_owners_or_points(open_map: Any) -> None:
    bare = {
        "kind": "users",
        "item_id": ["u1", "u2", "u3"],
        "x": [0, 5, 10],
        "y": [0, 5, 10],
        "owners": [1, 1, 1],
    }
    page = open_map(bare)
    assert not page.locator(".recae-map-legend").is_visible()
    page.mouse.click(*middle(page))
    assert page.locator(".recae-map-card > *").all_text_contents()[1:3] == ["u2", "owns 1 product"]
    assert_clean(page)
    one = open_map(
        {"kind": "items", "item_id": ["a"], "x": [0], "y": [0], "category": [0], "categories": ["K"]}
    )
    one.mouse.click(*middle(one))
    assert one.locator(".recae-map-card").inner_text().startswith("×\na\nK")
    assert_clean(one)
    assert_clean(open_map({"kind": "items", "item_id": [], "x": [], "y": []}))
