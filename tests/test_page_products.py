"""The page with a table of products: facts, filters, customers of a product, CSV, the dashboard, two models."""

from __future__ import annotations

import csv
import http.server
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from browser import PHONE, assert_clean, browser, count, open_page, reads, see  # noqa: F401
from pageserver import IDS, METADATA, serving, shop

from recae.ids import IdMap
from recae.item_table import ItemTable
from recae.modelfile import save
from recae.models import Popularity
from recae.recommender import Recommender
from recae.serving.served import load_served

Open = Callable[..., Any]
FORMULA = "=HYPERLINK(1)"
LINEN = "Home > <b>Linen</b>"


def described(image: str = "https://elsewhere.example.com/a.png", **changes: Any) -> Recommender:
    text = pa.large_string()
    columns = pa.table(
        {
            "category": pa.array(["Home > Kitchen"] * 3 + [LINEN, "Food", *["Garden"] * 3, None], text),
            "price": pa.array([12.5, 4.0, None, 7.95, 3.5, 19.0, 2.0, 1.25, 8.0]),
            "image": pa.array([image] * len(IDS), text),
            "link": pa.array(["https://shop.example.com/1"] * len(IDS), text),
        }
    )
    names = ["Tea Pot", "Tea Cup", FORMULA, "Tea Towel", "Green Tea", "Garden Fork", "Spade", "Seeds", None]
    parts: dict[str, Any] = {
        "item_names": pa.array(names, text),
        "item_table": ItemTable(IdMap(IDS), columns),
        "metadata": METADATA | {"last_purchase": 1_700_000_000},
    }
    return shop(**(parts | changes))


@pytest.fixture(scope="module")
def url(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: F811
    with serving(tmp_path_factory.mktemp("products"), described()) as server:
        yield server.url


def test_products_show_what_is_known_and_filters_change_the_list(open_page: Open, url: str) -> None:  # noqa: F811
    page = open_page(url + "#user=42")
    towel = page.locator(".pick").filter(has_text="Tea Towel")
    see(towel.get_by_text("7.95"))
    see(towel.get_by_text(LINEN))  # as text
    assert towel.get_by_role("link", name="in the shop").get_attribute("rel") == "noopener noreferrer"
    see(page.get_by_text("purchases up to Nov 14, 2023"))
    page.get_by_label("Category").select_option("Garden")
    count(page.locator(".pick"), 3)
    page.get_by_label("Price to").fill("10")
    page.get_by_label("Price to").press("Enter")
    count(page.locator(".pick"), 2)
    assert page.url.endswith("#user=42&category=Garden&to=10")
    page.get_by_label("Price to").fill("1")
    page.get_by_label("Price to").press("Enter")
    see(page.get_by_role("heading", name="Nothing fits the filters"))
    page.get_by_role("button", name="Show all products").click()
    count(page.locator(".pick"), 7)
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(saving.value.path()).read_text(encoding="utf-8-sig"))))
    assert {row["item_id"] for row in rows} == set(IDS[2:])
    assert {row["name"] for row in rows} >= {f"'{FORMULA}", "Tea Towel"}
    assert [address for address in page.requests if not address.startswith((url, "data:", "blob:"))] == []
    assert_clean(page)


@pytest.mark.thorough
def test_customers_of_a_product_and_the_dashboard(open_page: Open, url: str) -> None:  # noqa: F811
    page = open_page(url + "#user=42&item=P6")
    panel = see(page.get_by_role("dialog"))
    likely = panel.locator("ul[aria-label='Customers who would buy this'] a")
    see(likely.first)
    assert "Customer all" not in likely.all_inner_texts()  # who owns it
    panel.get_by_role("button", name="who own it").click()
    see(panel.locator("ul[aria-label='Customers who own this']").get_by_role("link", name="Customer all"))
    page.get_by_role("link", name="At a glance").click()
    reads(see(page.locator("#dashboard .figure").first), "37.5 %")
    see(page.get_by_role("heading", name="Coverage of the catalogue"))
    assert_clean(page)


@pytest.mark.thorough
def test_a_phone_does_not_scroll_sideways(open_page: Open, url: str) -> None:  # noqa: F811
    for state in ("#user=42", "#dashboard", "#basket=P1&category=Garden"):
        page = open_page(url + state, size=PHONE, dark=True)
        see(page.locator("h1:visible"))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        assert_clean(page)


class Pictures(http.server.BaseHTTPRequestHandler):
    """A host of pictures: one of 1 × 1."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/svg+xml")
        self.end_headers()
        self.wfile.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.thorough
def test_two_models_side_by_side_with_pictures_of_an_allowed_host_and_on_paper(
    open_page: Open,  # noqa: F811
    tmp_path: Path,
) -> None:
    pictures = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=pictures.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{pictures.server_port}"
    other = described(model=Popularity.fit(shop().histories))  # type: ignore[arg-type]
    save(other, tmp_path / "other.recae")
    beside = load_served(tmp_path / "other.recae")
    try:
        with serving(
            tmp_path, described(f"http://{host}/a.svg"), image_hosts=(host,), beside=beside
        ) as server:
            page = open_page(server.url + "#user=42")
            own = page.locator("ol.picks").first
            see(own.locator("img.picture").first)
            page.wait_for_function("document.querySelector('img.picture').naturalWidth > 0")
            assert any(address == f"http://{host}/a.svg" for address in page.requests)
            page.get_by_label("Beside the other model").check()
            theirs = page.get_by_label("Recommendations of the other model").locator(".pick")
            count(theirs, 7)
            wanted = [row.item_id for row in other.recommend("42", 7)]
            shown = theirs.locator("h2 a").evaluate_all("links => links.map(a => a.href.split('item=')[1])")
            assert [unquote(item.split("&")[0]) for item in shown] == wanted
            listed = {row.item_id for row in described().recommend("42", 7)}
            count(theirs.get_by_text("in both"), len(listed & set(wanted)))
            count(theirs.get_by_text("only here"), len(set(wanted) - listed))
            assert "beside=1" in page.url
            page.emulate_media(media="print")
            assert not page.locator(".controls").first.is_visible()
            assert theirs.first.is_visible()
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert_clean(page)
    finally:
        pictures.shutdown()


@pytest.mark.thorough
def test_recall_has_the_interval_that_was_measured(open_page: Open, tmp_path: Path) -> None:  # noqa: F811
    own = METADATA["metrics"]["rows"][0]["model"]
    measured = METADATA["metrics"] | {"intervals": {own: {"recall@20": [0.3125, 0.4375]}}}
    with serving(tmp_path, described(metadata=METADATA | {"metrics": measured})) as server:
        page = open_page(server.url + "#dashboard")
        see(page.get_by_text("between 31.3 % and 43.8 %: the 95 % interval over customers like these"))
        assert_clean(page)
