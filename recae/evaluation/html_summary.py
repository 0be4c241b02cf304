"""The top of the report: the verdict in words, four figures, and what was measured how, for who reads nothing else."""

from __future__ import annotations

import re

from recae.evaluation import html_words as words
from recae.evaluation.html_elements import Child, Markup, data_text, element, join
from recae.evaluation.html_tables import section, sign
from recae.evaluation.html_view import AHEAD, BEHIND, EVEN, Entry, View, figure

HEADLINE = 170
"""Letters that a headline may have; a longer first sentence is set as text."""

_CHIPS = {
    AHEAD: "Ahead of the best baseline",
    EVEN: "Not distinguishable from the best baseline",
    BEHIND: "Behind the best baseline",
}


def head(view: View) -> Markup:
    """The verdict, the chip and the four figures."""
    title, rest = _verdict(view)
    status = view.leader.status if view.leader else None
    chip = status and element("p", sign(status), _CHIPS[status], class_=f"chip {status}")
    plain = in_plain_numbers(view)
    return element(
        "header",
        chip,
        element("h1", title),
        rest and element("p", rest, class_="lede"),
        plain and element("p", plain, class_="lede"),
        _tiles(view),
        class_="head",
        id="verdict",
    )


def _verdict(view: View) -> tuple[str, str | None]:
    """The headline and what follows it."""
    text = " ".join(str(view.report.get("verdict") or "").split())
    if not text:
        if view.best is None:
            return "Nothing could be measured", None
        return f"{view.best.name} is first by {words.metric_name(view.metric)}", None
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", text, maxsplit=1)
    if len(sentences[0]) > HEADLINE:
        return "Is an autoencoder worth it on these data?", text
    return sentences[0].removesuffix("."), sentences[1] if len(sentences) == 2 else None


def in_plain_numbers(view: View) -> Child:
    """The recall and the hit rate as a sentence, where they were measured."""
    entries = [e for e in (view.leader, view.rival) if e is not None]
    found = [(e, words.finite(figure(e.model, f"recall@{view.k}").get("mean"))) for e in entries]
    told = [(e, value) for e, value in found if value is not None]
    if not told:
        return None
    parts = [
        join(
            ", that by " if n else "",
            data_text(e.name),
            " " if n else " holds ",
            element("b", words.percent(value)),
        )
        for n, (e, value) in enumerate(told)
    ]
    hits = words.finite(figure(told[0][0].model, f"hit_rate@{view.k}").get("mean"))
    served = hits is not None and join(
        " With ",
        data_text(told[0][0].name),
        f", {words.percent(hits)} of the users find at least one of them.",
    )
    return join(
        f"Of the items hidden from an average user, a list of {view.k} by ", parts, ".", served or None
    )


def _tiles(view: View) -> Markup:
    name = words.metric_name(view.metric)
    protocol = view.part("protocol")
    tiles = [
        _tile("Best model that is no baseline", view.leader, name, view),
        _tile("Best baseline", view.rival, name, view),
    ]
    if view.leader is not None and view.leader.status is not None:
        gap = view.leader.difference
        mean, base = words.finite(gap.get("mean")), view.rival.mean if view.rival else None
        share = f"{100 * mean / base:+.1f} %".replace("-", "−") if mean is not None and base else None
        span = words.bounds(gap.get("low"), gap.get("high"), words.signed)
        tiles.append(
            _figure("Difference", words.signed(mean), [share, span and f"95 %: {span}"], view.leader.status)
        )
    tiles.append(
        _figure(
            "Measured on",
            words.counted(protocol.get("n_test_users"), "user"),
            [words.counted(protocol.get("n_held_out"), "held-out item")],
        )
    )
    return element("dl", tiles, class_="tiles")


def _tile(title: str, entry: Entry | None, metric: str, view: View) -> Markup:
    if entry is None:
        return _figure(title, words.NONE, ["none was measured"])
    found = figure(entry.model, view.metric)
    span = words.bounds(found.get("low"), found.get("high"))
    return _figure(
        title,
        data_text(entry.name),
        [f"{metric} {words.score(entry.mean)}", span and f"95 %: {span}"],
        entry.colour,
    )


def _figure(title: str, value: Child, notes: list[str | None], classes: str = "") -> Markup:
    return element(
        "div",
        element("dt", title),
        element("dd", value, class_="value"),
        [element("dd", note) for note in notes if note],
        class_=f"tile {classes}".strip(),
    )


def measured(view: View) -> Markup:
    """What data and what protocol, in plain words and with the counts."""
    data, protocol = view.part("data"), view.part("protocol")
    kind = str(protocol.get("name") or "")
    title, plain = words.PROTOCOLS.get(kind, (kind or "Not known", None))
    facts = [
        ("Users", words.whole(data.get("n_users"))),
        ("Items", words.whole(data.get("n_items"))),
        ("Interactions", words.whole(data.get("n_interactions"))),
    ]
    lost = words.finite(protocol.get("lost"))
    owned = protocol.get("exclude_owned")
    folds = words.finite(protocol.get("folds"))
    notes = [
        protocol.get("rule") and data_text(protocol["rule"]),
        owned is True and "Items that a user owned before are not recommended.",
        owned is False and "Items that a user owned before may be recommended again.",
        kind == "k-fold" and folds is not None and f"{words.counted(folds, 'group')}.",
        lost is not None
        and lost > 0
        and f"{words.counted(lost, 'held-out interaction')} of items that the training part does not know.",
        protocol.get("seed") is not None and f"Drawn with seed {protocol['seed']}.",
    ]
    lines = data.get("report")
    read = [str(line) for line in lines] if isinstance(lines, list | tuple) else []
    return section(
        "measured",
        "What was measured",
        None,
        element(
            "div",
            element(
                "div",
                element("h3", "The data"),
                element("p", data_text(data.get("source") or "Not named"), class_="source"),
                element(
                    "dl",
                    [element("div", element("dt", k), element("dd", v)) for k, v in facts],
                    class_="facts",
                ),
                read and element("ul", [element("li", data_text(line)) for line in read], class_="read"),
                class_="card",
            ),
            element(
                "div",
                element("h3", "The test: ", title[:1].lower() + title[1:]),
                plain and element("p", plain),
                element("ul", [element("li", note) for note in notes if note], class_="read"),
                class_="card",
            ),
            class_="pair",
        ),
    )
