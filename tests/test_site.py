"""Tests of the documentation site: it builds strictly and without a network, and holds what the code holds."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from documents import PAGES, ROOT

from recae.cli import main
from recae.kinds.rows import BUILT_IN
from recae.settings import settings_of

LARGEST = 150 * 1024
"""Bytes of a picture, at most."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `scripts/docs` does: a broken link or anchor, or a warning, is an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        from mkdocs.commands.build import build
        from mkdocs.config import load_config

        folder = tmp_path_factory.mktemp("site")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return folder


class Page(HTMLParser):
    """What a page says, what it loads, and its formulas."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.formulas = 0
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.links.append(found.get("href") or "")
        if tag in ("img", "script", "source", "iframe"):
            self.loads.append(found.get("src") or "")
        if tag == "link" and found.get("rel") in ("stylesheet", "preconnect", "icon", "preload"):
            self.loads.append(found.get("href") or "")
        self.formulas += tag == "math"

    def handle_data(self, data: str) -> None:
        self.text += data


def path_of(site: Path, page: str) -> Path:
    """The built page of a Markdown file."""
    name = page.removeprefix("docs/").removesuffix(".md").removesuffix("index")
    return site / name / "index.html"


def test_every_page_is_built_and_loads_nothing_from_other_hosts(site: Path) -> None:
    for page in PAGES:
        if page.startswith("docs/") and "notebooks/" not in page:
            found = Page(path_of(site, page))
            assert [address for address in found.loads if "//" in address] == [], page
            assert "<!-- generated" not in found.text
            dollars = len(re.findall(r"^\$\$", PAGES[page], re.MULTILINE))
            assert found.formulas >= dollars, page
            assert "$$" not in found.text, page


def test_notebooks_are_pages(site: Path) -> None:
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        text = Page(site / "notebooks" / notebook.stem / "index.html").text
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                assert "".join(cell["source"]).strip() in text
        home = Page(site / "guides" / "notebooks" / "index.html")
        assert notebook.stem in "".join(home.links)


def test_settings_are_those_of_the_registry(site: Path) -> None:
    for row in BUILT_IN:
        text = Page(path_of(site, f"docs/models/{row.name}.md")).text
        for setting in settings_of(row.settings_class()).values():
            assert setting.name in text
            assert " ".join(setting.meaning.split()) in " ".join(text.split()), (row.name, setting.name)


def test_commands_and_options_are_those_of_the_program(site: Path) -> None:
    text = Page(path_of(site, "docs/reference/cli.md")).text
    for name, command in main.commands.items():
        assert f"recae {name}" in text
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(option in text for option in parameter.opts), (name, parameter.opts)


def test_the_http_reference_has_every_path(site: Path) -> None:
    text = Page(path_of(site, "docs/reference/http.md")).text
    for path in (
        "POST /recommend",
        "POST /recommend/batch",
        "GET /similar/{item_id}",
        "GET /map",
        "GET /model",
        "GET /health",
    ):
        assert path in text


def test_the_python_reference_has_its_docstrings(site: Path) -> None:
    text = Page(path_of(site, "docs/reference/python.md")).text
    for part in ("Train a model on purchases", "How to read a table", "UnknownIdError", "recommend("):
        assert part in text


def test_pictures_are_small_and_used() -> None:
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    for path in pictures:
        assert path.stat().st_size <= LARGEST, path.name
        assert any(f"pictures/{path.name})" in text for text in PAGES.values()), path.name
