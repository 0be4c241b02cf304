"""The evaluation report as one HTML file that needs no network: the frame, the parts in their order, the policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from recae.evaluation import html_curves as curves
from recae.evaluation import html_method as method
from recae.evaluation import html_results as results
from recae.evaluation import html_summary as summary
from recae.evaluation import html_users as users
from recae.evaluation.html_elements import Markup, data_text, element, join, raw
from recae.evaluation.html_view import make_view

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' "
    "rx='7' fill='%23125a49'/%3E%3Cpath d='M7 7v18M13 11v10M19 11v10M25 7v18' stroke='%23f3f6f2' stroke-width='3' "
    "stroke-linecap='round'/%3E%3C/svg%3E"
)
_MARK = "M3 2v20M9.5 6v12M16 9.5v5M22.5 6v12M29 2v20"


def report_html(report: Mapping[str, Any]) -> str:
    """The report as a page for people, in one file.

    `report` is the evaluation report as `recae evaluate --json` prints it. Parts that are missing or null (no
    difference, no epochs, an interval that one user cannot have, a model that failed) are left out or named as missing;
    nothing is raised for them. Every text of the report is escaped; the page may load nothing and run nothing but its
    own script, which only adds what the table below each drawing says anyway. The same report gives the same text,
    to be written as UTF-8.
    """
    view = make_view(report)
    assets = files("recae.evaluation") / "assets"
    css, script = ((assets / name).read_text("utf-8") for name in ("report.css", "report.js"))
    parts = [
        ("measured", "What was measured", summary.measured(view)),
        ("models", "The models side by side", results.models(view)),
        ("lengths", "Length of the list", curves.lengths(view)),
        ("slices", "For whom", users.slices(view)),
        ("cost", "What it costs", results.cost(view)),
        ("metrics", "Every metric", results.metrics(view)),
        ("beyond", "What the lists look like", users.beyond(view)),
        ("training", "Training", curves.training(view)),
        ("examples", "Single users", users.examples(view)),
        ("tuning", "Tuning", method.tuning(view)),
        ("repeat", "Repeat it", method.repeat(view)),
        ("glossary", "Glossary", method.glossary(view)),
    ]
    shown = [part for part in parts if part[2] is not None]
    source = view.part("data").get("source")
    title = f"Evaluation of {source}" if source else "Evaluation"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(css)}'; script-src 'sha256-{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="referrer", content="no-referrer"),
            element("title", f"{title} – recae"),
            element("link", rel="icon", href=_ICON),
            element("style", raw(css)),
        ),
        "\n",
        element(
            "body",
            element("a", "Skip to the verdict", class_="skip", href="#verdict"),
            _top(source),
            element(
                "div",
                _contents([("verdict", "Verdict"), *((name, short) for name, short, _ in shown)]),
                element("main", summary.head(view), [join("\n", part) for *_, part in shown]),
                class_="frame",
            ),
            element(
                "footer",
                "Made by ",
                element("b", "recae evaluate"),
                ". This file loads nothing and sends nothing.",
            ),
            element("script", raw(script)),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _top(source: object) -> Markup:
    mark = element(
        "svg",
        element("path", d=_MARK),
        class_="mark",
        viewBox="0 0 32 24",
        aria_hidden="true",
        focusable="false",
    )
    of = element("p", "Evaluation of ", data_text(source)) if source else element("p", "Evaluation")
    return element("div", element("span", mark, element("span", "recae"), class_="brand"), of, class_="top")


def _contents(links: list[tuple[str, str]]) -> Markup:
    return element(
        "nav",
        element("ol", [element("li", element("a", title, href=f"#{name}")) for name, title in links]),
        aria_label="Contents",
    )
