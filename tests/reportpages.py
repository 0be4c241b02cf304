"""Reads a report's page as text: strictly, and by what a test wants of it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "hr", "wbr"}


class Page(HTMLParser):
    """Reads a page strictly: tags must close in order; keeps elements with their text and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        part = {"tag": tag, "attrs": dict(attrs), "text": "", "above": [p["tag"] for p in self.open]}
        part["parent"] = self.open[-1] if self.open else None
        self.found.append(part)
        if tag not in VOID:
            self.open.append(part)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for part in self.open:
            part["text"] += data

    def all(self, tag: str, **attrs: str) -> list[dict[str, Any]]:
        return [
            part
            for part in self.found
            if part["tag"] == tag and all(value in (part["attrs"].get(k) or "") for k, value in attrs.items())
        ]

    def one(self, tag: str, **attrs: str) -> dict[str, Any]:
        (part,) = self.all(tag, **attrs)
        return part

    def within(self, tag: str, part: dict[str, Any]) -> list[dict[str, Any]]:
        def inside(other: dict[str, Any] | None) -> bool:
            return other is not None and (other is part or inside(other["parent"]))

        return [p for p in self.all(tag) if inside(p["parent"])]

    def table(self, name: str) -> list[list[str]]:
        """The cells of the table in the box of this name, row by row."""
        box = self.one("div", **{"class": "scroll", "aria-label": name})
        return [
            [squeeze(c["text"]) for c in self.found if c["tag"] in ("th", "td") and c["parent"] is row]
            for row in self.within("tr", box)
        ]


def squeeze(text: str) -> str:
    return " ".join(text.split())


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a JSON value, itself included."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from leaves(part, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    at(value, path[:-1])[path[-1]] = new
