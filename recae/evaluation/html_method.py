"""The end of the report: how the models were tuned, how to repeat it, and what the words mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from recae.evaluation import html_words as words
from recae.evaluation.html_elements import Markup, data_text, element, join
from recae.evaluation.html_tables import Column, Row, fold, section, swatch, table
from recae.evaluation.html_view import Entry, View, mapping, objects


def tuning(view: View) -> Markup | None:
    """The budget, what was tried, and the configuration each model was measured with."""
    budget = view.part("budget")
    trials = words.finite(budget.get("trials_per_model"))
    said = budget.get("text") or (
        trials is not None
        and f"Every model got {words.counted(trials, 'trial')} on the same validation data."
    )
    tried = [_tried(view, e) for e in view.entries]
    if not said and not any(tried):
        return None
    return section(
        "tuning",
        "How the models were tuned",
        said and data_text(words.sentence(str(said))),
        element(
            "p",
            "Settings were chosen on validation data only, never on the users whom the figures above rest on.",
        ),
        element("div", tried, class_="folds"),
    )


def _tried(view: View, entry: Entry) -> Markup | None:
    trials = objects(entry.model.get("tuned"))
    config = mapping(entry.model.get("config"))
    if not trials and not config:
        return None
    names = list(
        dict.fromkeys(k for t in trials for k in t if k.partition("@")[1] and words.finite(t[k]) is not None)
    )
    metric = view.metric if view.metric in names else next(iter(names), None)
    scores = [words.finite(t.get(metric)) if metric else None for t in trials]
    groups = [words.finite(t.get("fold")) for t in trials]
    # the first of equals is chosen; of k-fold each group chooses for itself
    chosen = {
        max((n for n, of in enumerate(groups) if of == group), key=lambda n: _ranked(scores[n]))
        for group in dict.fromkeys(groups)
    }
    several = len(set(groups)) > 1
    rows = []
    for n, (trial, group) in enumerate(zip(trials, groups, strict=True)):
        taken = n in chosen and scores[n] is not None
        cells = [
            _settings(mapping(trial.get("settings"))),
            *([words.whole(group)] if several else []),
            *(words.score(trial.get(name)) for name in names),
            "chosen" if taken else None,
        ]
        rows.append(Row(cells, "lead" if taken else None))
    columns = [
        Column("Settings"),
        *([Column("Group")] if several else []),
        *(Column(words.metric_name(n), "validation") for n in names),
        Column(element("span", "chosen", class_="unseen")),
    ]
    counted = words.counted(len(trials), "trial") if trials else "nothing to choose"
    return fold(
        element("span", swatch(entry), data_text(entry.name), " ", element("small", counted), class_="model"),
        bool(rows) and table(f"Trials of {entry.name}", columns, rows, "trials"),
        config and [element("h3", "Measured with"), element("p", _settings(config))],
    )


def _ranked(value: float | None) -> float:
    return -math.inf if value is None else value


def _settings(values: Mapping[str, Any]) -> Markup:
    """`factors = 256, dropout = 0.5`, as the data has them."""
    if not values:
        return element("span", "the defaults", class_="soft")
    parts = [element("span", f"{key} = {_value(value)}") for key, value in values.items()]
    return element("code", [[part, " "] for part in parts], class_="settings")


def _value(value: object) -> str:
    if isinstance(value, float):
        return words.NONE if words.finite(value) is None else f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def repeat(view: View) -> Markup:
    """The command, the versions and the fingerprint of the data."""
    protocol, data, versions = view.part("protocol"), view.part("data"), view.part("versions")
    facts = [
        *((str(name), str(version)) for name, version in versions.items()),
        ("seed", protocol.get("seed")),
        ("fingerprint of the data", data.get("fingerprint")),
    ]
    command = view.report.get("command")
    return section(
        "repeat",
        "How to repeat it",
        "The same command, data and versions give the same figures; only times and memory differ.",
        command and element("pre", element("code", _command(str(command))), tabindex=0, aria_label="Command"),
        element(
            "dl",
            [
                element("div", element("dt", data_text(k)), element("dd", data_text(v)))
                for k, v in facts
                if v is not None
            ],
            class_="facts mono",
        ),
    )


def _command(text: str) -> list[Markup]:
    """The command in pieces that a narrow screen keeps together: an option and its value."""
    first, *options = re.split(r" (?=--)", text)
    return [element("span", first), *(join(" ", element("span", option)) for option in options)]


def glossary(view: View) -> Markup:
    """What the words mean; of the metrics those that were measured."""
    names = {
        str(name) for e in view.entries for part in ("metrics", "sets") for name in mapping(e.model.get(part))
    }
    return section("glossary", "What the words mean", None, words.glossary(names | {view.metric}))
