"""What the page shows when it has little to show: unknown ids, waiting, errors, a token, models that lack a part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import browser, count, drawn, open_page, see  # noqa: F401
from pageserver import BOLD, ITEMS, N_TEA, by_hand, serving, shop

from recae.models import Blend, ItemKNN, Popularity
from recae.models.blend import Part

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

Open = Callable[..., Any]
# Chromium itself logs every answer of 400 and more, and every refused connection, as an error.
EXPECTED = "Failed to load resource"


@pytest.fixture(scope="module")
def url(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: F811
    with serving(tmp_path_factory.mktemp("page")) as server:
        yield server.url


@pytest.fixture
def visit(open_page: Open) -> Iterator[Open]:  # noqa: F811
    """Opens an address; at the end nothing was thrown and nothing refused by the content policy."""
    pages = []

    def at(address: str, **options: Any) -> Page:
        page = open_page(address, **options)
        pages.append(page)
        return page

    yield at
    for page in pages:
        assert [error for error in page.errors if EXPECTED not in error] == []
        assert page.dialogs == []


def problem(route: Route, status: int, kind: str, detail: str, **headers: str) -> None:
    body = {"type": f"urn:recae:problem:{kind}", "title": "", "status": status, "detail": detail}
    route.fulfill(
        status=status, headers={"Content-Type": "application/problem+json", **headers}, body=json.dumps(body)
    )


def test_an_unknown_customer_is_offered_the_nearest_ids(visit: Open, url: str) -> None:
    page = visit(url + "#user=422")
    box = see(page.locator(".notice.bad"))
    assert "This model does not know the customer" in box.inner_text()
    assert "422" in box.locator("p").first.inner_text()
    see(box.get_by_role("link", name="421", exact=True))
    assert not page.locator("#history").is_visible()
    box.get_by_role("link", name="42", exact=True).click()
    see(page.get_by_role("heading", name="For customer 42"))
    assert see(page.locator(".pick h2").first).inner_text() == BOLD
    page.go_back()
    see(page.locator(".notice.bad"))


@pytest.mark.thorough
def test_an_unknown_customer_is_offered_ids_that_begin_alike(visit: Open, url: str) -> None:
    page = visit(url)
    page.route("**/recommend", lambda route: problem(route, 404, "unknown-user", "no user '4299'"))
    page.get_by_label("Customer", exact=True).fill("4299")
    page.keyboard.press("Enter")
    see(page.locator(".near a").first)
    assert page.locator(".near a").all_inner_texts() == ["42", "421"]


def test_unknown_products_are_named(visit: Open, url: str) -> None:
    page = visit(url + "#basket=P1,P99")
    see(page.get_by_text("Not in this model, so left out: P99"))
    see(page.locator(".pick").first)
    page.goto(url + "#basket=P99")
    see(page.get_by_text("This model knows none of the products"))
    page.goto(url + "#item=P99")
    panel = see(page.locator("dialog.product"))
    see(panel.get_by_text("Nothing to show for this product"))


@pytest.mark.thorough
def test_searching_for_nothing_there_says_so(visit: Open, url: str) -> None:
    page = visit(url)
    page.get_by_label("Basket", exact=True).fill("spaceship")
    see(page.get_by_text("No product name contains all of these words.").first)
    assert page.locator("[role=option]:visible").count() == 0
    page.keyboard.press("Enter")
    assert page.url == url
    page.get_by_label("Customer", exact=True).fill("zzz")
    see(page.get_by_text("No customer id contains this.").first)


def test_a_server_that_is_gone_is_said_and_asked_again(visit: Open, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        page = visit(server.url + "#user=42")
        see(page.locator(".pick").first)
        server.stop()
        page.get_by_label("Include owned").check()
        see(page.get_by_role("heading", name="The server is gone"))
        page.get_by_label("Basket", exact=True).fill("tea")
        see(page.get_by_text("The server does not answer.").last)
        again = page.get_by_role("button", name="Try again")
        page.route(
            "**/recommend", lambda route: route.fulfill(json={"recommendations": [], "unknown_items": []})
        )
        again.click()
        see(page.get_by_role("heading", name="Nothing is left to recommend"))


def test_a_busy_server_is_asked_again_when_it_says(visit: Open, url: str) -> None:
    page = visit(url)
    asked: list[str] = []

    def busy(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) > 1:
            return route.fallback()
        return problem(route, 503, "overloaded", "too many requests wait", **{"Retry-After": "1"})

    page.route("**/recommend", busy)
    page.get_by_role("link", name="Customer 42", exact=True).click()
    see(page.get_by_text("The server is busy").first)
    see(page.locator(".pick").first)
    assert len(asked) == 2


@pytest.mark.thorough
def test_the_map_waits_until_it_is_drawn(visit: Open, url: str) -> None:
    page = visit(url)
    drawn = {
        "model": "x",
        "method": "pca",
        "item_id": ["P1", "P2"],
        "name": ["A", None],
        "owners": None,
        "x": [0, 1],
        "y": [0, 1],
    }
    answers = iter(
        [lambda route: problem(route, 503, "not-ready", "the map is being laid out", **{"Retry-After": "1"})]
    )
    page.route("**/map", lambda route: next(answers, lambda one: one.fulfill(json=drawn))(route))
    page.get_by_role("link", name="Map", exact=True).click()
    see(page.get_by_role("heading", name="The map is being drawn"))
    see(page.get_by_text("2 products, laid out by principal components"))
    see(page.locator("canvas").first)


def test_the_map_has_the_colours_and_the_legend_of_the_categories(visit: Open, url: str) -> None:
    page = visit(url)
    drawn = {
        "model": "x",
        "method": "neighbours",
        "item_id": ["P1", "P2", "P3", "P4"],
        "name": ["A", None, "C", "D"],
        "owners": [4, 3, 2, 1],
        "x": [0, 1, 0, 1],
        "y": [0, 1, 1, 0],
        "category": [1, 0, 1, -1],
        "categories": ["Garden", "<i>Tea</i>"],
        "coloured_by": "categories",
    }
    page.route("**/map", lambda route: route.fulfill(json=drawn))
    page.get_by_role("link", name="Map", exact=True).click()
    see(page.get_by_text("4 products, laid out by nearest neighbours"))
    see(page.get_by_text("Colours are categories."))
    legend = page.locator(".recae-map-legend button[aria-pressed]")
    see(legend.first)
    assert [line.split("\n")[0] for line in legend.all_inner_texts()] == ["<i>Tea</i>", "Garden", "Not known"]
    shown = [
        swatch.evaluate("(one) => getComputedStyle(one).backgroundColor")
        for swatch in page.locator(".recae-map-legend .recae-map-swatch").all()
    ]
    assert len(set(shown)) == 3


@pytest.mark.thorough
def test_a_failure_of_the_server_is_shown(visit: Open, url: str) -> None:
    page = visit(url)
    page.route(
        "**/model", lambda route: problem(route, 500, "internal", "the server failed; its log says how")
    )
    page.get_by_role("link", name="Model", exact=True).click()
    see(page.get_by_role("heading", name="The server failed"))
    see(page.locator("#model").get_by_text("The server failed; its log says how."))
    page.unroute("**/model")
    page.get_by_role("button", name="Try again").click()
    see(page.locator(".measures"))


@pytest.mark.thorough
def test_an_answer_that_comes_late_does_not_replace_a_newer_one(visit: Open, url: str) -> None:
    page = visit(url)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if json.loads(route.request.post_data or "")["user"] == "7":
            held.append(route)
        else:
            route.fallback()

    page.route("**/recommend", hold)
    page.get_by_role("link", name="Customer 7", exact=True).click()
    see(page.get_by_role("heading", name="For customer 7"))
    page.get_by_label("Customer", exact=True).fill("42")
    page.keyboard.press("Enter")
    see(page.locator(".pick").first)
    held[0].fulfill(json={"recommendations": [], "unknown_items": []})
    drawn(page)
    assert page.locator(".pick h2").first.inner_text() == BOLD


def test_nothing_is_left_for_who_owns_everything(visit: Open, url: str) -> None:
    page = visit(url + "#user=all")
    see(page.get_by_role("heading", name="Nothing is left to recommend"))
    page.get_by_role("button", name="Include what is owned").click()
    see(page.locator(".pick").nth(len(ITEMS) - 1))
    page.goto(url + "#user=nothing")
    see(page.get_by_text("So these are the recommendations that any new customer would get."))
    see(page.get_by_text("Nothing in the history raised this score").first)


@pytest.mark.thorough
def test_a_history_too_long_to_explain_gets_recommendations_all_the_same(visit: Open, url: str) -> None:
    page = visit(url)

    def refuse(route: Route) -> None:
        if json.loads(route.request.post_data or "").get("explain"):
            problem(route, 422, "too-long-to-explain", "histories of up to 2 items can be explained")
        else:
            route.fallback()

    page.route("**/recommend", refuse)
    page.get_by_role("link", name="Customer 42", exact=True).click()
    see(page.get_by_text("Without reasons: histories of up to 2 items can be explained"))
    assert see(page.locator(".pick h2").first).inner_text() == BOLD
    assert page.locator(".why").count() == 0


def test_a_token_is_asked_for_and_kept_in_the_tab(visit: Open, tmp_path: Path) -> None:
    with serving(tmp_path, token="open sesame") as server:
        page = visit(server.url + "#user=42")
        dialog = see(page.get_by_role("dialog", name="This server asks for a token"))
        page.get_by_label("Token", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        see(dialog.get_by_text("That token is not the server's."))
        page.keyboard.press("Escape")
        see(page.get_by_role("heading", name="A token is needed").first)
        page.locator("#recommend").get_by_role("button", name="Try again").click()
        page.get_by_label("Token", exact=True).fill("open sesame")
        page.get_by_role("button", name="Go on").click()
        see(page.locator(".pick").first)
        page.reload()
        see(page.locator(".pick").first)
        assert not dialog.is_visible()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_a_model_without_codes_histories_or_measurement_says_so(visit: Open, tmp_path: Path) -> None:
    histories = shop().histories
    assert histories is not None
    bare = shop(model=Popularity.fit(histories), users=None, histories=None, metadata={})
    with serving(tmp_path, bare) as server:
        page = visit(server.url)
        see(page.get_by_text("This model was saved without histories; build a basket instead."))
        count(page.locator(".begin .lines .name"), 8)
        page.goto(server.url + "#user=42")
        see(page.locator(".notice.bad").get_by_text("saved without histories"))
        page.goto(server.url + "#basket=P1")
        assert see(page.locator(".pick h2").first).inner_text() == "Tea Cup"  # of those owned most, the first
        page.goto(server.url + "#basket=P1&item=P2")
        see(page.locator("dialog").get_by_text("a model of kind 'popularity' scores every history alike"))
        page.goto(server.url + "#map")
        see(page.get_by_role("heading", name="This model has no map"))
        page.goto(server.url + "#model")
        see(page.get_by_role("heading", name="Not measured"))
        assert "not stored" in page.locator("#model").inner_text()


@pytest.mark.thorough
def test_without_codes_there_is_still_what_is_bought_together(visit: Open, tmp_path: Path) -> None:
    histories = shop().histories
    assert histories is not None
    with serving(tmp_path, shop(model=Popularity.fit(histories))) as server:
        page = visit(server.url + "#item=P2")
        see(page.get_by_text("This kind of model scores every customer alike"))
        see(page.locator("ul[aria-label='Products bought together']").get_by_role("link", name="Tea Pot"))


def test_the_shop_of_these_tests_is_what_it_says() -> None:
    best = [recommendation.item for recommendation in shop().recommend("42", n=7)]
    assert best[:3] == list(ITEMS)[2:N_TEA]


@pytest.mark.thorough
def test_the_epochs_of_a_blend_are_said_to_be_those_of_a_part(visit: Open, tmp_path: Path) -> None:
    parts = (Part(by_hand(), 0.25, (1.0, 0.0)), Part(ItemKNN.fit(shop().histories, k=3), 0.75, (1.0, 0.0)))
    with serving(tmp_path, shop(model=Blend(parts, {}))) as server:
        page = visit(server.url + "#model")
        see(page.get_by_role("heading", name="How its part sigmoid learned"))
        text = page.locator("#model").inner_text()
        assert "Epoch 2 was the best on the validation customers: its part is the one here" in text
        assert "figures of the part alone" in text
        assert "itemknn 0.75, sigmoid 0.25" in text
