"""The report as one HTML file that needs no network: the template with stylesheet, script and security policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from recae.evaluation.report.schema import Report
from recae.evaluation.report.view import make_page

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE: Final = "report.html.j2"

# characters that a page may not hold or that a file cannot: controls, halves of a pair, non-characters
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def report_html(report: Report) -> str:
    """Write the report as a page, in one file.

    Parts that are not known (no difference, no epochs, an interval that one user cannot have, a model that failed) are
    left out or named as missing; nothing is raised for them. Every text of the report is escaped; the page may load
    nothing and run nothing but its own script, which only adds what the table below each chart says anyway.

    Args:
        report: The report, also one that `Report.from_json` read.

    Returns:
        The page, to be written as UTF-8; the same report gives the same text.
    """
    css, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(css)}'; script-src 'sha256-{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().render(page=make_page(report), policy=policy, css=css, script=script)


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(_asset(TEMPLATE))


def _printable(value: object) -> object:
    """Replace what HTML forbids by U+FFFD, wherever the template writes a text that is not markup already."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return _FORBIDDEN.sub("�", value)
    return value


def _asset(name: str) -> str:
    return (files("recae.evaluation.report") / name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
