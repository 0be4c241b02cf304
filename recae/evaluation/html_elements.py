"""HTML elements as safe text: whatever is not already markup is escaped, so that no name can become a tag."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

# characters that a page may not hold or that a file cannot: controls, halves of a pair, non-characters
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"br", "hr", "link", "meta", "wbr"})


class Markup(str):
    """HTML that is safe to put into a page as it is; only `element`, `escape` and `raw` make it."""

    __slots__ = ()


# False, so that a part may be written `condition and element(…)`
Child: TypeAlias = "str | int | Iterable[Child] | None"


def escape(text: object) -> Markup:
    """The text as HTML, also inside an attribute; characters that HTML forbids become U+FFFD."""
    return Markup(html.escape(_FORBIDDEN.sub("�", str(text)), quote=True))


def raw(text: str) -> Markup:
    """What the package itself wrote, a stylesheet or a script, as it is; never anything from the data."""
    return Markup(text)


def join(*children: Child) -> Markup:
    """The children one after another: markup as it is, other text escaped, None and False as nothing."""
    return Markup("".join(_parts(children)))


def element(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """One element, as `element("td", "a < b", class_="best", aria_label="…")`.

    A trailing underscore of an attribute's name is left out, the others become hyphens. None and False leave the
    attribute out, True writes its name alone.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{escape(value)}"')
    opened = f"<{name}{''.join(written)}>"
    return Markup(opened if name in _VOID else f"{opened}{join(*children)}</{name}>")


def data_text(value: object, **attributes: str | int | float | bool | None) -> Markup:
    """A text from the data: apart from its surroundings where it is written from right to left."""
    return element("bdi", str(value), **attributes)


def _parts(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str) or (isinstance(child, int) and not isinstance(child, bool)):
            yield escape(child)
        elif child is not None and not isinstance(child, bool):
            yield from _parts(child)
