"""The page in a real browser on the real server: what a person does with it, by mouse and by keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from browser import PHONE, assert_clean, browser, count, open_page, see  # noqa: F401
from commands import PATIENCE
from pageserver import BOLD, IMAGE, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE = Path(__file__).parent.parent / "recae" / "serving" / "page"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def url(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: F811
    with pytest.MonkeyPatch.context() as patch, serving(tmp_path_factory.mktemp("page")) as server:
        patch.setattr(
            "recae.insight.layout.default_method", lambda: "pca"
        )  # the other one takes seconds to import
        deadline = time.monotonic() + PATIENCE
        while not ready(server.url + "map"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield server.url


def ready(address: str) -> bool:
    try:
        urlopen(address).close()
    except HTTPError:
        return False
    return True


@pytest.fixture
def go(open_page: Open, url: str) -> Iterator[Open]:  # noqa: F811
    """Opens a state of the page; at the end nothing was thrown, refused by the content policy, or asked outside."""
    pages = []

    def at(state: str = "", **options: Any) -> Page:
        page = open_page(url + state, **options)
        pages.append(page)
        return page

    yield at
    for page in pages:
        assert_clean(page)
        assert [address for address in page.requests if not address.startswith((url, "data:"))] == []


def test_the_documentation_shows_every_route(go: Open) -> None:
    page = go("docs")
    see(page.locator("h1, h2").get_by_text("recae"))
    count(page.locator(".opblock"), 16)
    page.get_by_role("button", name="/recommend", exact=False).first.click()
    see(page.get_by_text("Recommend items to a user or for a basket."))
    see(page.locator(".response").get_by_text("the model does not know it"))
    assert "Unable to render" not in page.locator("body").inner_text()
    health = page.locator(".opblock").filter(has_text="/health")
    health.get_by_role("button", name="/health", exact=False).first.click()
    health.get_by_role("button", name="Try it out").click()
    health.get_by_role("button", name="Execute").click()
    see(health.locator(".live-responses-table").get_by_text("200", exact=True).first)


def names(page: Page, where: str = ".pick h2") -> list[str]:
    see(page.locator(where).first)
    return page.locator(where).all_inner_texts()


def focused(page: Page, property_: str = "id") -> str:
    return str(page.evaluate(f"document.activeElement.{property_}"))


def test_a_customer_is_found_and_gets_recommendations_with_reasons(go: Open) -> None:
    page = go()
    page.get_by_label("Customer", exact=True).fill("4")
    assert names(page, "#user-list [role=option] > span:first-child") == ["42", "421"]
    page.get_by_role("option", name="42, 2 products").click()
    assert names(page)[:3] == [BOLD, "Tea Towel", "Green Tea"]
    first = page.locator(".pick").first
    assert sorted(first.locator(".reasons a").all_inner_texts()) == ["Tea Cup", "Tea Pot"]
    assert all(text.startswith("+0.") for text in first.locator(".reasons .value").all_inner_texts())
    widths = first.locator(".reasons .bar > span").evaluate_all("bars => bars.map(bar => bar.offsetWidth)")
    assert min(widths) > 20
    assert page.url.endswith("#user=42")
    assert page.title() == "Customer 42 · recae"
    assert names(page, "#history .name") == ["Tea Pot", "Tea Cup"]


@pytest.mark.thorough
def test_the_whole_sum_adds_up_to_the_score(go: Open) -> None:
    page = go("#user=421")
    page.get_by_text("The whole sum").first.click()
    cells = page.locator(".sum[open] td").all_inner_texts()
    *parts, score = [Decimal(cell.replace("−", "-")) for cell in cells]
    assert sum(parts) == score  # as they are shown
    assert f"score {cells[-1]}" in page.locator(".pick").first.inner_text()


def test_a_basket_is_built_by_product_names(go: Open) -> None:
    page = go()
    search = page.get_by_label("Basket", exact=True)
    search.fill("fork gard")
    page.get_by_role("option").filter(has_text="Garden Fork").click()
    assert page.url.endswith("#basket=P6")
    assert names(page)[:2] == [IMAGE, "Seeds"]
    search.fill("SEED")
    see(page.locator("#basket-list [role=option]"))
    search.press("Enter")
    see(page.get_by_role("heading", name="For a basket of 2 products"))
    page.get_by_role("button", name="Remove Garden Fork from the basket").click()
    see(page.get_by_role("heading", name="For a basket of 1 product"))
    assert page.url.endswith("#basket=P8")
    page.go_back()
    see(page.get_by_role("heading", name="For a basket of 2 products"))


def test_a_product_opens_with_similar_ones_and_those_bought_together(go: Open) -> None:
    page = go("#user=42")
    page.locator(".pick").first.get_by_role("link", name=BOLD).first.click()
    panel = see(page.get_by_role("dialog", name=BOLD))
    assert page.url.endswith("#user=42&item=P3")
    similar = names(page, "ul[aria-label='Similar products'] .name")
    assert set(similar[:4]) == {"Tea Pot", "Tea Cup", "Tea Towel", "Green Tea"}
    assert "correlation of the items’ scores" in panel.inner_text().replace("'", "’")
    together = page.locator("ul[aria-label='Products bought together'] li").first
    assert together.locator(".name").inner_text() == "Tea Pot"
    # 421, all and x/y own both; four of seven... P3: 3 of 7 users, P1: 5 of 7, both: 3 of 7
    assert together.locator(".value").inner_text() == "3 · 1.4×"
    panel.get_by_role("button", name=f"Add to basket: {BOLD}").click()
    see(panel.get_by_role("button", name=f"In basket: {BOLD}"))
    assert page.locator("#chips").inner_text() == BOLD
    assert names(page)[0] == BOLD  # the customer's recommendations stay
    panel.get_by_role("link", name="Tea Towel").first.click()
    see(page.get_by_role("dialog", name="Tea Towel"))
    page.go_back()
    see(page.get_by_role("dialog", name=BOLD))
    page.keyboard.press("Escape")
    page.wait_for_url("**/#user=42&basket=P3")
    page.get_by_role("button", name="Recommend for the basket").click()
    see(page.get_by_role("heading", name="For a basket of 1 product"))


@pytest.mark.thorough
def test_number_and_owned_products_can_be_chosen(go: Open) -> None:
    page = go("#user=42")
    assert len(names(page)) == 7
    see(page.get_by_text("There is nothing more to recommend."))
    page.get_by_label("Include owned").check()
    count(page.locator(".pick"), 9)
    page.get_by_label("How many").select_option("5")
    count(page.locator(".pick"), 5)
    assert page.url.endswith("#user=42&n=5&owned=1")
    page.reload()
    assert len(names(page)) == 5
    assert page.get_by_label("Include owned").is_checked()


def test_ids_of_any_text_survive_the_address(go: Open) -> None:
    page = go("#basket=P%2C7,a%2Fb%3Fc%23d%26e%3Df%25")
    see(page.get_by_role("heading", name="For a basket of 2 products"))
    see(page.locator("#chips").get_by_text("onerror"))
    assert page.locator("#chips .chip > span").all_inner_texts() == [IMAGE, "a/b?c#d&e=f%"]
    page.get_by_label("Customer", exact=True).fill("<i>")
    page.get_by_role("option", name="<i>7</i>, 2 products").click()
    see(page.get_by_role("heading", name="For customer <i>7</i>"))
    assert page.locator("#history .name").first.inner_text() == "Tea Pot"
    page.goto(page.url.split("#")[0] + "#item=a%2Fb%3Fc%23d%26e%3Df%25")
    see(page.get_by_role("dialog", name="a/b?c#d&e=f%"))
    assert len(names(page, "ul[aria-label='Similar products'] .name")) == 8


def test_a_product_on_the_map_opens(go: Open) -> None:
    page = go("#map")
    see(page.get_by_text("9 products, laid out by"))
    plot = see(page.get_by_role("application"))
    plot.focus()
    page.keyboard.press("ArrowRight")
    panel = see(page.locator("dialog.product[open]"))
    assert "item=" in page.url
    assert panel.locator("h2").inner_text()
    page.get_by_role("link", name="Model", exact=True).click()
    see(page.get_by_role("heading", name="The model"))
    assert not panel.is_visible()
    page.go_back()
    see(panel)


def test_the_model_is_shown_beside_its_baselines(go: Open) -> None:
    page = go("#model")
    see(page.get_by_text("37.5 %"))
    header = names(page, ".measures thead th")
    assert header == ["Model", "recall@10", "recall@20", "ndcg@20"]
    rows = [row.inner_text().split() for row in page.locator(".measures tbody tr").all()]
    assert rows == [
        ["sigmoid", "this", "one", "0.2000", "0.3750", "0.2500"],
        ["popularity", "–", "0.1250", "0.1000"],
    ]
    text = page.locator("#model").inner_text()
    assert "Measured on 400 customers held out of the training" in text
    assert "were chosen on 300 others" in text
    assert "±0.05" in text  # 2 · 0.5 / √400
    assert "Epoch 2 was the best on the validation customers: its model is the one here" in text
    assert "35c69cf16e5d4cb1" in text
    chart = page.get_by_role("img", name="Validation recall@20")
    assert "best 0.400 in epoch 2" in (chart.get_attribute("aria-label") or "")
    assert chart.locator("polyline").get_attribute("points").count(",") == 3


def test_everything_works_by_keyboard_alone(go: Open) -> None:
    page = go()
    press = page.keyboard.press
    see(page.get_by_role("link", name="Customer 42", exact=True))
    press("Tab")
    assert focused(page) == "skip"
    press("Enter")
    assert focused(page) == "main"
    page.get_by_label("Basket", exact=True).focus()
    page.keyboard.type("tea")
    options = page.locator("#basket-list [role=option]")
    see(options.first)
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowUp")
    press("ArrowUp")
    last = options.count() - 1
    assert page.locator("#basket").get_attribute("aria-activedescendant") == f"basket-list-{last}"
    assert options.nth(last).get_attribute("aria-selected") == "true"
    press("Home")
    assert options.first.get_attribute("aria-selected") == "true"
    press("Enter")
    see(page.get_by_role("heading", name="For a basket of 1 product"))
    assert page.locator("#chips").inner_text() == "Tea Pot"
    page.keyboard.type("cup")
    see(options.first)
    press("Escape")
    assert not options.first.is_visible()
    assert page.locator("#basket").get_attribute("aria-expanded") == "false"
    press("Escape")
    assert page.locator("#basket").input_value() == ""
    press("Tab")
    assert focused(page, "ariaLabel") == "Remove Tea Pot from the basket"
    press("Enter")
    see(page.get_by_role("heading", name="Who is it for?"))
    assert focused(page) == "basket"
    page.get_by_label("Customer", exact=True).focus()
    page.keyboard.type("42")
    press("Enter")
    see(page.get_by_role("heading", name="For customer 42"))
    page.locator(".pick h2 a").first.focus()
    press("Enter")
    see(page.get_by_role("dialog", name=BOLD))
    assert focused(page) == "product-title"
    press("Escape")
    count(page.locator("dialog.product[open]"), 0)
    assert focused(page, "innerText") == BOLD  # back where it was opened


@pytest.mark.thorough
def test_results_are_told_to_a_screen_reader(go: Open) -> None:
    page = go("#user=42")
    count(page.locator("#said", has_text="7 recommendations. First: <b>bold</b>"), 1)
    fields = page.locator("input:visible, select:visible").evaluate_all(
        "all => all.map(one => one.labels.length)"
    )
    assert fields == [1, 1, 1, 1]


@pytest.mark.some(1)
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_scrolling_sideways(go: Open, url: str, dark: bool) -> None:
    page = go(size=PHONE, dark=dark)
    views = {
        "": ".begin .lines .name",
        "#user=42&basket=P1,P2,P3": ".pick",
        "#map": "canvas",
        "#model": ".measures",
        "#user=42&item=P3": "dialog .lines .name",
    }
    for state, what in views.items():
        page.goto(url + state)
        see(page.locator(what).first)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], state
    ground, ink = page.evaluate(
        "(({backgroundColor: a, color: b}) => [a, b])(getComputedStyle(document.documentElement))"
    )
    lightness = [sum(map(int, colour[4:-1].split(","))) for colour in (ground, ink)]
    assert (
        (lightness[0] < 150 and lightness[1] > 600) if dark else (lightness[0] > 600 and lightness[1] < 150)
    )
    # the product lies over the page, which the keyboard then cannot reach
    assert page.locator("dialog.product").evaluate("panel => panel.matches(':modal')")
    page.get_by_role("button", name="Close the product").click()
    page.wait_for_url("**/#user=42")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what bounds a field or shows a figure."""
    light, dark = re.findall(r":root \{(.*?)\}", (PAGE / "page.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): #(\w{6});", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): #(\w{6});", dark))
    for ink in ("ink", "soft", "accent", "warm-ink", "bad"):
        for ground in ("ground", "surface", "sunk"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for ink, ground in (("on-accent", "accent"), ("accent", "tint"), ("ink", "tint"), ("soft", "tint")):
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for mark in ("accent", "warm", "edge"):
        assert contrast(colours[mark], colours["surface"]) >= 3, mark


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_files_are_few_and_plain() -> None:
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        assert "innerHTML" not in text, file.name
        assert "eval(" not in text, file.name
        assert ' style="' not in text, file.name
        assert "https://" not in text, file.name
