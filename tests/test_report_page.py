"""The report in a real browser: it fits every screen, reads out its curves, prints, and runs nothing foreign."""

# ruff: noqa: F811  (fixtures are imported, and are arguments)

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PHONE, assert_clean, browser, hidden, open_page, reads, see  # noqa: F401
from commands import PATIENCE
from reports import HOSTILE, bare_report, full_report, k_fold_report, typed

from recae.evaluation.report.html import report_html

Open = Callable[..., Any]
REPORTS = {"full": full_report, "k-fold": k_fold_report, "bare": bare_report}


@pytest.fixture
def show(open_page: Open, tmp_path: Path) -> Open:
    def open_one(name: str = "full", **options: Any) -> Any:
        path = tmp_path / f"{name}.html"
        path.write_text(report_html(typed(REPORTS[name]())), encoding="utf-8")
        return open_page(path.as_uri(), **options)

    return open_one


def sideways(page: Any) -> float:
    """Pixels that the page itself is wider than the screen."""
    found: float = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found


def until(page: Any, condition: str) -> None:
    """Waits for it; Playwright's own waiting needs an eval, which the page's policy forbids."""
    for _ in range(20 * PATIENCE):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not in time: {condition}")


@pytest.mark.some(2)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE, (320, 700)])
def test_it_fits_every_screen_and_asks_the_network_for_nothing(
    show: Open, size: tuple[int, int], dark: bool
) -> None:
    page = show(size=size, dark=dark)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert sideways(page) <= 0
    # nothing stands out of what it belongs to, but for what scrolls in its own box
    out = page.evaluate(
        """() => [...document.querySelectorAll("main *:not(svg *, .unseen, .scroll *)")]
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)
            .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert out == []
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(15, 21, 19)" if dark else "rgb(241, 244, 240)")
    assert len(page.requests) == 1
    assert_clean(page)


@pytest.mark.thorough
def test_a_wide_table_scrolls_in_its_own_box_by_the_keyboard_too(show: Open) -> None:
    page = show(size=PHONE)
    box = page.locator(".scroll").first
    assert box.evaluate("(e) => e.scrollWidth > e.clientWidth + 100")
    name = box.locator("tbody th").first
    before = name.bounding_box()["x"]
    box.focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.scroll').scrollLeft > 10")
    assert name.bounding_box()["x"] == before  # the names of the models stay
    assert sideways(page) <= 0
    assert_clean(page)


@pytest.mark.some(2)
@pytest.mark.parametrize("name", ["k-fold", "bare"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_other_reports(show: Open, name: str, size: tuple[int, int]) -> None:
    page = show(name, size=size)
    assert sideways(page) <= 0
    assert_clean(page)


def test_hostile_names_stay_text(show: Open) -> None:
    page = show()
    assert page.locator("#examples h3").nth(1).text_content() == f"User {HOSTILE}"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert_clean(page)


def test_the_policy_blocks_what_the_page_did_not_bring(show: Open) -> None:
    page = show()
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        "document.body.append(s); fetch('https://example.com/').catch(() => {});"
        "document.body.setAttribute('onclick', 'window.broken = 2'); document.body.click();"
        "document.head.append(Object.assign(document.createElement('style'), {textContent: 'h1 {color: red}'})); }"
    )
    for _ in range(20 * PATIENCE):
        if sum("Content Security Policy" in error for error in page.errors) >= 4:
            break
        page.wait_for_timeout(50)  # what is blocked is logged a little later
    else:
        raise AssertionError(f"not four breaches: {page.errors}")
    assert page.evaluate("window.broken") is None
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(22, 33, 29)"
    assert len(page.requests) == 1


@pytest.mark.thorough
def test_the_pointer_reads_the_curves(show: Open) -> None:
    page = show()
    tip = page.locator(".tip")
    hidden(tip)
    page.locator("#lengths .stage").scroll_into_view_if_needed()
    box = page.locator("#lengths .stage > svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.65, box["y"] + 90)  # log 20 / log 100
    reads(tip.locator("p"), "20 items shown")
    lines = [line.split("\n") for line in tip.locator("li").all_inner_texts()]
    expected = [
        [m["name"], f"{m['curve']['recall'][5]['mean']:.4f}"] for m in full_report()["models"] if m["curve"]
    ]
    assert lines == sorted(expected, key=lambda line: -float(line[1]))
    at = tip.bounding_box()
    assert 0 <= at["x"] <= DESKTOP[0] - at["width"]
    page.mouse.move(box["x"] + 1, box["y"] + 90)
    reads(tip.locator("p"), "1 item shown")
    page.mouse.move(2, 2)
    hidden(tip)
    assert_clean(page)


def test_the_keyboard_reads_the_curves(show: Open) -> None:
    page = show(size=PHONE, dark=True)
    stage, said = page.locator("#lengths .stage"), page.locator("[role=status]")
    stage.focus()
    page.keyboard.press("ArrowRight")
    reads(said, "1 item shown: sigmoid 0.1667, EDLAE ")
    for key, start in (
        ("End", "100 items"),
        ("ArrowRight", "100 items"),
        ("ArrowLeft", "50 items"),
        ("Home", "1 i"),
    ):
        page.keyboard.press(key)
        reads(said, start)
        at = page.locator(".tip").bounding_box()
        assert 0 <= at["x"] <= PHONE[0] - at["width"], key
    page.keyboard.press("Escape")
    hidden(page.locator(".tip"))
    assert sideways(page) <= 0
    assert_clean(page)


def test_lines_lie_where_the_figures_are(show: Open) -> None:
    """Each dot's height and place against the figures of the report, by the axis's own labels."""
    page = show()
    dots = page.locator("#lengths circle.dot.s0").evaluate_all(
        """(all) => all.map((e) => {
            const b = e.getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2];
        })"""
    )
    ticks = page.locator("#lengths .grid, #lengths .axis").evaluate_all(
        "(all) => all.map((e) => [Number(e.nextElementSibling.textContent), e.getBoundingClientRect().y])"
    )
    (low, y_low), (high, y_high) = ticks[0], ticks[-1]
    curve = full_report()["models"][0]["curve"]["recall"]
    assert len(dots) == len(curve)
    for (_, y), found in zip(dots, curve, strict=True):
        value = low + (y_low - y) / (y_low - y_high) * (high - low)
        assert value == pytest.approx(found["mean"], abs=0.002)
    labels = page.locator("#lengths .tick.x").evaluate_all(
        "(all) => all.map((e) => { const b = e.getBoundingClientRect(); return b.x + b.width / 2; })"
    )
    assert [x for x, _ in dots] == pytest.approx(labels, abs=1)
    # names at the ends do not cover each other
    ends = page.locator("#lengths .end").evaluate_all(
        "(all) => all.map((e) => [e.getBoundingClientRect().top, e.getBoundingClientRect().bottom])"
    )
    ends.sort()
    assert len(ends) == 8
    assert all(below[0] >= above[1] - 2 for above, below in pairwise(ends))


def test_without_scripts_everything_is_there(show: Open) -> None:
    page = show(java_script_enabled=False)
    see(page.locator("#lengths summary")).click()
    see(page.get_by_role("region", name="Recall by length of the list"))
    assert_clean(page)


@pytest.mark.thorough
def test_the_contents_lead_there(show: Open) -> None:
    page = show()
    page.get_by_role("navigation").get_by_role("link", name="Single users").click()
    until(page, "document.querySelector('nav [aria-current]')?.hash === '#examples'")
    assert page.url.endswith("#examples")
    assert_clean(page)


def test_print_shows_what_is_collapsed_on_white_and_fits_the_paper(show: Open, browser: Any) -> None:
    page = show(size=(688, 900), dark=True)  # A4 without its margins
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() > 5
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert sideways(page) <= 0
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(22, 33, 29)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 5
    assert_clean(page)
