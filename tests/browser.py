"""A real Chromium without a screen, for the tests of pages; skips, with the reason, where there is none.

A test file says ``from browser import browser, open_page  # noqa: F401`` and takes the fixtures as arguments; `started`
is in conftest.py, so that all files share one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from commands import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

DESKTOP, PHONE = (1280, 800), (390, 844)


def chromium() -> str:
    """The path of Chromium: $CHROMIUM, else Debian's."""
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.skip("Chromium is not installed (apt-get install chromium, or set CHROMIUM to its path)")
    return path


@pytest.fixture(scope="session")
def started() -> Iterator[tuple[Browser, asyncio.AbstractEventLoop | None]]:
    """One Chromium for all tests of a process, which takes two seconds to start, and the event loop that waits for it.

    While Playwright runs, this thread is said to have a running event loop, and no other can begin one: it is said so
    only where `browser` is used.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright's Python client is missing")
    path = chromium()
    with playwright.sync_playwright() as client:
        playwright.expect.set_options(timeout=1000 * PATIENCE)
        running = client.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        yield running, loop
        asyncio._set_running_loop(loop)
        running.close()


@pytest.fixture(scope="module")
def browser(started: tuple[Browser, asyncio.AbstractEventLoop | None]) -> Iterator[Browser]:
    """A running Chromium."""
    running, loop = started
    asyncio._set_running_loop(loop)
    yield running
    asyncio._set_running_loop(None)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a fresh context: ``open_page(url, size=PHONE, dark=True, **context_options)``.

    The page has three lists more than Playwright's: ``errors``, what it threw or logged as an error (a breach of
    the content security policy is logged); ``requests``, every address asked for; ``dialogs``, what alert() and
    its like said (they are dismissed). A test that expects none of them ends with `assert_clean(page)`.
    """
    contexts = []

    def open_one(
        url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False, touch: bool = False, **options: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            has_touch=touch or size == PHONE,
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        page = context.new_page()
        errors: list[str] = []
        requests: list[str] = []
        dialogs: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.errors, page.requests, page.dialogs = errors, requests, dialogs  # type: ignore[attr-defined]
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()


def see(locator: Locator) -> Locator:
    """The element, once it is visible."""
    from playwright.sync_api import expect

    expect(locator).to_be_visible()
    return locator


def count(locator: Locator, n: int) -> None:
    """Waits until there are just `n` such elements: what a page asks for comes after the page."""
    from playwright.sync_api import expect

    expect(locator).to_have_count(n)


def hidden(locator: Locator) -> None:
    """Waits until the element is not to be seen."""
    from playwright.sync_api import expect

    expect(locator).to_be_hidden()


def reads(locator: Locator, text: str) -> None:
    """Waits until the element's text begins with `text`."""
    from playwright.sync_api import expect

    expect(locator).to_have_text(re.compile("^" + re.escape(text)))


def drawn(page: Page) -> None:
    """Waits until the page has drawn itself anew, and then some more: what it logs comes a little later."""
    for _ in range(3):
        page.evaluate(
            "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        )
        page.wait_for_timeout(40)


def assert_clean(page: Page) -> None:
    """Nothing was thrown, logged as an error or said in a dialog."""
    assert page.errors == []  # type: ignore[attr-defined]
    assert page.dialogs == []  # type: ignore[attr-defined]
