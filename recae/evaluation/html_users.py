"""For whom it works: slices of the users and items, what the lists look like, and single users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recae.evaluation import html_words as words
from recae.evaluation.html_elements import Child, Markup, data_text, element, join
from recae.evaluation.html_tables import Column, Row, fold, model_name, row_class, section, swatch, table
from recae.evaluation.html_view import Entry, View, mapping, objects
from recae.evaluation.svg import bar

SHOWN = 12
"""Items of a long history that are shown before the rest is folded away."""

_SLICES = {
    "history": ("By how much is known of the user", "Users by the number of items in their history."),
    "popularity": (
        "By how popular the item is",
        "Head: the few items that make up half of all purchases; torso: the next 30 %; tail: the many items that "
        "share the last 20 %.",
    ),
    "repeat": ("New or bought before", "Whether the user already had the held-out item."),
}


def slices(view: View) -> Markup | None:
    """The metric apart for parts of the users and items."""
    kinds = [k for k in _SLICES if any(_parts(e, k) for e in view.measured)]
    if not kinds:
        return None
    return section(
        "slices",
        "For whom, and for which items",
        f"{words.metric_name(view.metric)} apart for parts of the users and items: a model can lead on average and "
        "still fail for those who matter. In each column the best model is marked “best”.",
        [_slice(view, kind) for kind in kinds],
    )


def _parts(entry: Entry, kind: str) -> list[Mapping[str, Any]]:
    return objects(mapping(entry.model.get("slices")).get(kind))


def _slice(view: View, kind: str) -> Markup:
    title, hint = _SLICES[kind]
    shown = [e for e in view.measured if _parts(e, kind)]
    names = list(dict.fromkeys(str(p.get("name")) for e in shown for p in _parts(e, kind)))
    found = {e.name: {str(p.get("name")): p for p in _parts(e, kind)} for e in shown}
    means = {n: [words.finite(found[e.name].get(n, {}).get("mean")) for e in shown] for n in names}
    best = {n: max((v for v in vs if v is not None), default=None) for n, vs in means.items()}
    most = max((v for v in best.values() if v is not None), default=0.0)

    def cell(entry: Entry, name: str) -> Markup:
        part = found[entry.name].get(name, {})
        mean = words.finite(part.get("mean"))
        span = words.bounds(part.get("low"), part.get("high"))
        mark = (
            len(shown) > 1
            and mean is not None
            and mean == best[name]
            and element("span", "best", class_="tag good")
        )
        share = mean / most if mean is not None and most > 0 else None
        return join(
            mark or None,
            " ",
            element("b", words.score(mean)),
            span and element("small", span),
            bar(share, entry.colour),
        )

    def users(name: str) -> str | None:
        count = next((p[name]["n_users"] for p in found.values() if name in p and "n_users" in p[name]), None)
        return None if count is None else words.counted(count, "user")

    columns = [Column("Model"), *(Column(data_text(n), users(n), "barred") for n in names)]
    rows = [
        Row([model_name(view, e, tags=False), *(cell(e, n) for n in names)], row_class(view, e))
        for e in shown
    ]
    return join(
        element("h3", title), element("p", hint, class_="hint"), table(title, columns, rows, "values slices")
    )


def beyond(view: View) -> Markup | None:
    """What the lists look like, apart from whether they are right."""
    by_length = words.by_length(n for e in view.measured for n in mapping(e.model.get("sets")))
    if not by_length:
        return None
    shown = view.k if view.k in by_length else next(iter(by_length))
    return section(
        "beyond",
        "What the lists look like",
        "Being right is not all: these figures say how wide, how surprising and how varied the recommendations are. "
        "More is not always better.",
        _figures(
            view, by_length.pop(shown), "Coverage, novelty, popularity and diversity of the recommendations"
        ),
        by_length
        and element(
            "div",
            [
                fold(
                    f"Lists of {k}" if k else "Without a length",
                    _figures(view, names, f"The same for lists of {k}" if k else "The same without a length"),
                )
                for k, names in by_length.items()
            ],
            class_="folds",
        ),
    )


def _figures(view: View, names: Sequence[str], caption: str) -> Markup:
    rows = [
        Row(
            [
                model_name(view, e, tags=False),
                *(words.set_value(n, mapping(e.model.get("sets")).get(n)) for n in names),
            ],
            row_class(view, e),
        )
        for e in view.measured
    ]
    columns = [
        Column("Model"),
        *(Column(words.metric_name(n), words.BEYOND_HINTS.get(n.partition("@")[0])) for n in names),
    ]
    return table(caption, columns, rows, "values hints")


def examples(view: View) -> Markup | None:
    """Single users: what the models saw, what was hidden, what each recommends."""
    users = objects(view.report.get("examples"))
    if not users:
        return None
    listed = [
        item for u in users for found in mapping(u.get("recommended")).values() for item in objects(found)
    ]
    scored = any(words.finite(item.get("score")) is not None for item in listed)
    return section(
        "examples",
        "A few users, one by one",
        "What the models saw of a user, which items were hidden, and what each model recommends. A check mark says "
        "that the item is one of the hidden ones."
        + (
            " The number below an item is the score that ranked it: what an autoencoder reconstructs, and for other "
            "models a number on a scale of their own."
            if scored
            else ""
        ),
        [_example(view, user) for user in users],
    )


def _example(view: View, user: Mapping[str, Any]) -> Markup:
    lists = mapping(user.get("recommended"))
    order = [e for e in view.entries if e.name in lists]
    hits: dict[str, list[str]] = {}
    for entry in order:
        for item in objects(lists[entry.name]):
            if item.get("hit"):
                hits.setdefault(str(item.get("item")), []).append(entry.name)
    history, held = objects(user.get("history")), objects(user.get("held_out"))
    return element(
        "article",
        element("h3", "User ", data_text(user.get("user"))),
        element(
            "div",
            _items(f"Known: {words.counted(len(history), 'item')}", [_item(i) for i in history], "known"),
            _items(
                f"Hidden: {words.counted(len(held), 'item')}",
                [join(_item(i), _found(hits.get(str(i.get("item")), []))) for i in held],
                "held",
            ),
            class_="pair",
        ),
        element("div", [_recommended(e, objects(lists[e.name])) for e in order], class_="picks"),
        class_="card example",
    )


def _recommended(entry: Entry, items: Sequence[Mapping[str, Any]]) -> Markup:
    n_hits = sum(bool(i.get("hit")) for i in items)
    lines = [
        element(
            "li",
            _item(i, tag_hit() if i.get("hit") else None, _score(i.get("score"))),
            class_="hit" if i.get("hit") else None,
        )
        for i in items
    ]
    return element(
        "div",
        element("h4", swatch(entry), data_text(entry.name)),
        element("p", f"{n_hits} of {len(items)} are among the hidden", class_="hint"),
        element("ol", lines),
    )


def tag_hit() -> Markup:
    return element("span", element("span", "✓", aria_hidden="true"), " hit", class_="tag good")


def _found(names: Sequence[str]) -> Child:
    if not names:
        return element("small", "found by none", class_="soft")
    return element(
        "small", "✓ found by ", [join(", " if n else "", data_text(name)) for n, name in enumerate(names)]
    )


def _items(title: str, items: Sequence[Child], classes: str) -> Markup:
    lines = [element("li", item) for item in items]
    rest = lines[SHOWN:]
    return element(
        "div",
        element("h4", title),
        element("ul", lines[:SHOWN]),
        rest and fold(f"and {len(rest)} more", element("ul", rest)),
        class_=f"items {classes}",
    )


def _score(value: object) -> str | None:
    """What the model gave the item: an autoencoder its reconstruction, others a number on a scale of their own."""
    number = words.finite(value)
    return None if number is None else f"{number:#.3g}".rstrip(".").replace("-", "−")


def _item(item: Mapping[str, Any], note: Child = None, score: str | None = None) -> Markup:
    """An item by its name and, smaller, its id and score; by its id alone where it has no name."""
    name, key = item.get("name"), item.get("item")
    text = data_text(key if name is None or name == "" else name, class_="name")
    known = name is not None and name not in ("", key)
    parts = [data_text(key, class_="id") if known else None, score and element("span", score, class_="score")]
    told = [part for part in parts if part]
    small = (
        element("small", [join(" · " if n else "", part) for n, part in enumerate(told)]) if told else None
    )
    return join(text, note and join(" ", note), small and join(" ", small))
