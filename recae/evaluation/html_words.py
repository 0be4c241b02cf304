"""The words of the report: numbers as people read them, and what protocols, metrics and terms mean."""

from __future__ import annotations

import math
from collections.abc import Iterable

from recae.evaluation.html_elements import Markup, element, join

NONE = "–"
_MINUS = "−"

_METRIC_NAMES = {
    "recall": "Recall",
    "capped_recall": "Capped recall",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "ndcg": "NDCG",
    "map": "MAP",
    "mrr": "MRR",
    "recall_repeat": "Recall of repeats",
    "recall_new": "Recall of new items",
    "coverage": "Coverage",
    "novelty": "Novelty",
    "popularity_bias": "Popularity bias",
    "diversity": "Diversity",
}

_METRIC_MEANINGS = {
    "recall": "The share of a user's held-out items that the first k places hold. Denominator: the number of items "
    "held out for that user, also where that is more than k.",
    "capped_recall": "As recall, but a perfect list always reaches 1. Denominator: the smaller of k and the number "
    "of items held out.",
    "precision": "The share of the k places that hold a held-out item. Denominator: k.",
    "hit_rate": "The share of users whose first k places hold at least one held-out item. Denominator: the number of "
    "users.",
    "ndcg": "Hits count more the higher they stand: a hit in place r is worth 1 ÷ log₂(r + 1). Denominator: the "
    "worth of a perfect list, with as many hits in front as k and the held-out items allow.",
    "map": "The precision at each hit, averaged (mean average precision). Denominator: the smaller of k and the "
    "number of items held out.",
    "mrr": "1 ÷ the place of the first hit, 0 without a hit in the first k places (mean reciprocal rank). "
    "Denominator: the number of users in the mean.",
    "recall_repeat": "Recall of the held-out items that the user had already bought before. Denominator: the number "
    "of those; users without any are left out.",
    "recall_new": "Recall of the held-out items that the user buys for the first time. Denominator: the number of "
    "those; users without any are left out.",
    "coverage": "The share of all items that at least one user is shown in the first k places. Denominator: the "
    "number of items in the catalogue.",
    "novelty": "How surprising the items shown are: the mean of −log₂ of the share of users who own an item, in "
    "bits. Denominator: the number of places filled.",
    "popularity_bias": "How popular the items shown are: the mean share of users who own them. Denominator: the "
    "number of places filled.",
    "diversity": "How different the items of one list are from each other: 1 − the mean similarity of two of them, "
    "by who bought them. Denominator: the number of pairs in a list.",
}

BEYOND_HINTS = {
    "coverage": "Low: everybody is shown the same few items.",
    "novelty": "Low: the list holds what everybody knows anyway.",
    "popularity_bias": "High: the list follows the best-sellers.",
    "diversity": "Low: the list holds variants of one thing.",
}

TERMS = (
    ("User, item", "The customer, and the product that the customer bought."),
    (
        "Held out",
        "Items that a user really bought, hidden from the models; a model is good when it names them.",
    ),
    (
        "Baseline",
        "A simple, well-known method, tuned with the same effort; what is not ahead of it is not worth more trouble.",
    ),
    (
        "95 % interval",
        "The spread that comes from which users were measured: with other users like these, the mean would lie about "
        "here 95 times of 100 (bootstrap over the users).",
    ),
    (
        "Difference",
        "Model minus best baseline, user by user, which is far sharper than comparing two intervals.",
    ),
    (
        "p",
        "How often chance alone would bring a difference this large if there were none; corrected (Holm) because "
        "several models were compared at once.",
    ),
    (
        "Not distinguishable",
        "The difference may be chance: with these users nobody can say which of the two is better.",
    ),
)

PROTOCOLS = {
    "strong": (
        "Users the models have never met",
        "Some users were set aside before anything was learned. Of each of them a part of the items was shown to the "
        "models, and the rest was to be found. The figures hold for new users whose first purchases are known.",
    ),
    "weak": (
        "Some items of each user hidden",
        "Of each test user some items, drawn at random, were hidden. The models learned from everything else, the "
        "other items of the same users included. The figures hold for users whom the models know.",
    ),
    "last-out": (
        "The last item of each user hidden",
        "Of each test user the most recent item was hidden, and the models learned from what came before. The "
        "figures say how well the very next item of a known user is found.",
    ),
    "time": (
        "Learned before a date, tested after it",
        "One date divides the data. The models saw nothing from after it, not even which items would exist, and were "
        "to find what users bought later. This is closest to real use, and it is hard.",
    ),
    "next-basket": (
        "The next basket",
        "Some users were set aside before anything was learned. Of each of them the last basket was hidden, and the "
        "models were to find what is in it from the baskets before.",
    ),
    "k-fold": (
        "Every user tested once",
        "The users were divided into groups. Each group was tested with models that had learned from the other "
        "groups, so that every user counts once.",
    ),
    "pair": (
        "A given training and test part",
        "The training part and the test part were given as two files, as published comparisons have them. The models "
        "learned from the first only.",
    ),
}


def finite(value: object) -> float | None:
    """The number, or None for anything that is none: null, NaN, infinite, text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def score(value: object) -> str:
    """A metric with four decimals, `–` where there is none."""
    number = finite(value)
    return NONE if number is None else f"{number:.4f}".replace("-", _MINUS)


def signed(value: object) -> str:
    """A difference with its sign and four decimals, `±0` for one that rounds to nothing."""
    number = finite(value)
    if number is None:
        return NONE
    text = f"{number:+.4f}"
    return "±0" if float(text) == 0 else text.replace("-", _MINUS)


def bounds(low: object, high: object, write: object = score) -> str | None:
    """`0.3012 to 0.3251`, or None where an interval is not known."""
    if finite(low) is None or finite(high) is None:
        return None
    form = signed if write is signed else score
    return f"{form(low)} to {form(high)}"


def percent(value: object) -> str:
    number = finite(value)
    if number is None:
        return NONE
    share = 100 * number
    return (
        f"{share:.0f} %"
        if share >= 99.95 or share == 0
        else f"{share:.1f} %"
        if share >= 1
        else f"{share:.2g} %"
    )


def whole(value: object) -> str:
    number = finite(value)
    return NONE if number is None else f"{number:,.0f}"


def counted(value: object, what: str) -> str:
    """`1 user`, `434 users`, `– users`."""
    return f"{whole(value)} {what}{'' if finite(value) == 1 else 's'}"


def seconds(value: object) -> str:
    number = finite(value)
    if number is None:
        return NONE
    if number < 0.995:
        return f"{number:.2f} s"
    if number < 99.5:
        return f"{number:.1f} s" if number < 9.95 else f"{number:.0f} s"
    return f"{number / 60:.1f} min" if number < 5970 else f"{number / 3600:.1f} h"


def size(n_bytes: object) -> str:
    number = finite(n_bytes)
    if number is None:
        return NONE
    for unit in ("bytes", "kB", "MB"):
        if number < 999.5:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def p_value(value: object) -> str:
    number = finite(value)
    if number is None:
        return NONE
    return "< 0.001" if number < 0.001 else f"{number:.3f}" if number < 0.0995 else f"{number:.2f}"


def metric_name(name: str) -> str:
    """`ndcg@20` as `NDCG@20`; a metric that is not known keeps its name."""
    base, at, k = name.partition("@")
    return _METRIC_NAMES.get(base, base) + at + k


def metric_rank(name: str) -> tuple[int, str]:
    """Where a metric stands among the others: in the order of the glossary, unknown ones last."""
    base = name.partition("@")[0]
    order = list(_METRIC_NAMES)
    return (order.index(base) if base in order else len(order), base)


def by_length(names: Iterable[str]) -> dict[str, list[str]]:
    """The metrics by their lengths k, "" for one without, both in order."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names), key=metric_rank):
        found.setdefault(name.partition("@")[2], []).append(name)
    return dict(sorted(found.items(), key=lambda part: (int(part[0]) if part[0].isdecimal() else 0, part[0])))


def sentence(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def set_value(name: str, value: object) -> str:
    """A figure of the recommended sets: shares as per cent, novelty in bits."""
    number = finite(value)
    base = name.partition("@")[0]
    if number is None:
        return NONE
    if base in ("coverage", "popularity_bias"):
        return percent(number)
    return f"{number:.2f} bits" if base == "novelty" else f"{number:.3f}"


def glossary(names: Iterable[str]) -> Markup:
    """What the metrics that were measured mean, then the terms of the report."""
    bases = sorted({name.partition("@")[0] for name in names}, key=metric_rank)
    known = [(f"{_METRIC_NAMES[b]}@k", _METRIC_MEANINGS[b]) for b in bases if b in _METRIC_NAMES]
    return element(
        "dl",
        [join(element("dt", term), element("dd", meaning)) for term, meaning in [*TERMS, *known]],
        class_="glossary",
    )
