"""The words of the report: numbers as text, the meaning of metrics and terms, and the verdict in words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from recae.evaluation.report.schema import Estimate, Json
from recae.evaluation.report.verdict import BLEND, Doubt, Outcome, Ranked, Ranking, Standing, Verdict
from recae.metrics import METRICS

NONE: Final = "–"
MINUS: Final = "−"
NBSP: Final = "\N{NO-BREAK SPACE}"

SIGNS: Final = {Standing.BETTER: "▲", Standing.EVEN: "≈", Standing.WORSE: "▼"}

SIDES: Final = {
    Standing.BETTER: "ahead of",
    Standing.EVEN: "not distinguishable from",
    Standing.WORSE: "behind",
}
"""How a model stands, in words that the name of the best baseline follows."""

_FIGURES: Final = {
    "recall_repeat": (
        "Recall of repeats",
        "Recall of the held-out items that the user had already bought before. Denominator: the number of those; "
        "users without any are left out.",
    ),
    "recall_new": (
        "Recall of new items",
        "Recall of the held-out items that the user buys for the first time. Denominator: the number of those; users "
        "without any are left out.",
    ),
    "value": (
        "Value of hits",
        "What the held-out items in the first k places cost, for 1,000 recommended items: the sum of their prices, "
        "each for one piece, in the currency of the data. Denominator: k places a user; an item without a price "
        "counts 0.",
    ),
    "value_recall": (
        "Recall by value",
        "The fraction of what all held-out items cost that is found in the first k places. Denominator: the sum of the "
        "user's held-out prices; users without any are left out.",
    ),
    "coverage": (
        "Coverage",
        "The fraction of all items that at least one user is shown in the first k places. Denominator: the number of "
        "items in the catalogue.",
    ),
    "novelty": (
        "Novelty",
        "How surprising the items shown are: the mean of −log₂ of the fraction of users who own an item, in bits. "
        "Denominator: the number of places filled.",
    ),
    "popularity_bias": (
        "Popularity bias",
        "How popular the items shown are: the mean fraction of users who own them. Denominator: the number of places "
        "filled.",
    ),
    "diversity": (
        "Diversity",
        "How different the items of one list are from each other: 1 − the mean similarity of two of them, by who "
        "bought them. Denominator: the number of pairs in a list.",
    ),
}
"""Name and meaning of the figures that are no entry of `METRICS`: a metric of a part, or of all lists together."""

BEYOND_HINTS = {
    "coverage": "Low: all users are shown the same small set of items.",
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
        "A simple, well-known method, tuned with the same effort. A model that is not better is not worth the trouble.",
    ),
    (
        "95 % interval",
        "The uncertainty that comes from the choice of users: with other users like these, the mean would lie about "
        "here 95 times of 100 (bootstrap over the users).",
    ),
    (
        "Difference",
        "Model minus best baseline, user by user, which is far more precise than comparing two intervals.",
    ),
    (
        "p",
        "How often chance alone would bring a difference this large if there were none; corrected (Holm) because "
        "several models were compared at once.",
    ),
    (
        "Not distinguishable",
        "The difference may be due to chance: these users do not show which of the two is better.",
    ),
)


def score(value: float | None) -> str:
    """Write a metric with four decimals, `–` where there is none."""
    return NONE if value is None else f"{value:.4f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """Write a difference with its sign and four decimals, `±0` for one that rounds to nothing."""
    if value is None:
        return NONE
    text = f"{value:+.4f}"
    return "±0" if float(text) == 0 else text.replace("-", MINUS)


def bounds(found: Estimate) -> str | None:
    """Write an interval as `0.3012 to 0.3251`; None where it is not known."""
    if found.low is None or found.high is None:
        return None
    return f"{score(found.low)} to {score(found.high)}"


def signed_bounds(found: Estimate) -> str | None:
    """Write the interval of a difference as `−0.0038 to +0.0198`; None where it is not known."""
    if found.low is None or found.high is None:
        return None
    return f"{signed(found.low)} to {signed(found.high)}"


def percent(value: float | None) -> str:
    """Write a fraction of 1 as per cent with three significant digits at most."""
    if value is None:
        return NONE
    percentage = 100 * value
    if percentage >= 99.95 or percentage == 0:
        return f"{percentage:.0f}{NBSP}%"
    return f"{percentage:.1f}{NBSP}%" if percentage >= 1 else f"{percentage:.2g}{NBSP}%"


def whole(value: float | None) -> str:
    """Write a whole number with commas between thousands."""
    return NONE if value is None else f"{value:,.0f}"


def counted(value: float | None, what: str) -> str:
    """Write `1 user`, `434 users`, `– users`."""
    return f"{whole(value)} {what}{'' if value == 1 else 's'}"


def seconds(value: float | None) -> str:
    """Write a time in seconds as `0.04 s`, `48 s`, `5.2 min` or `2.0 h`."""
    if value is None:
        return NONE
    if value < 0.995:
        return f"{value:.2f} s"
    if value < 99.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 5970 else f"{value / 3600:.1f} h"


def size(n_bytes: float | None) -> str:
    """Write a size in bytes as `999 bytes`, `2 kB`, `412 MB` or `1.0 GB`."""
    if n_bytes is None:
        return NONE
    number = float(n_bytes)
    for unit in ("bytes", "kB", "MB"):
        if number < 999.5:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def p_value(value: float | None) -> str:
    """Write a p-value as `0.21`, `0.013` or `< 0.001`."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.0995 else f"{value:.2f}"


def p_equals(value: float | None) -> str | None:
    """Write `p = 0.21` or `p < 0.001`; None where there is none."""
    if value is None:
        return None
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _figures() -> dict[str, tuple[str, str]]:
    """Return name and meaning of all figures of a list, in the order of the glossary."""
    return {name: (metric.title, metric.meaning) for name, metric in METRICS.items()} | _FIGURES


def metric_name(name: str) -> str:
    """Write `ndcg@20` as `NDCG@20`; a metric that is not known keeps its name."""
    base, at, k = name.partition("@")
    title, _ = _figures().get(base, (base, ""))
    return title + at + k


def metric_rank(name: str) -> tuple[int, str]:
    """Give a metric its place among the others: in the order of the glossary, unknown ones last."""
    base = name.partition("@")[0]
    order = list(_figures())
    return (order.index(base) if base in order else len(order), base)


def by_length(names: Iterable[str]) -> dict[str, list[str]]:
    """Group metrics by their lengths k, "" for one without; lengths and metrics in order."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names), key=metric_rank):
        found.setdefault(name.partition("@")[2], []).append(name)
    return dict(sorted(found.items(), key=lambda part: (int(part[0]) if part[0].isdecimal() else 0, part[0])))


def sentence(text: str) -> str:
    """Write the text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def set_value(name: str, value: float | None) -> str:
    """Write a figure of the lists together: coverage and popularity as per cent, novelty in bits."""
    base = name.partition("@")[0]
    if value is None:
        return NONE
    if base in ("coverage", "popularity_bias"):
        return percent(value)
    return f"{value:.2f} bits" if base == "novelty" else f"{value:.3f}"


def amount(value: float | None) -> str:
    """Write an amount of money with four significant digits at least, in the currency of the data: `1,234`, `12.34`."""
    if value is None:
        return NONE
    decimals = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def signed_amount(value: float | None) -> str:
    """Write a difference in money with its sign, `±0` for one that rounds to nothing."""
    if value is None:
        return NONE
    text = amount(value)
    return "±0" if not text.strip(f"{MINUS}0.,") else text if value < 0 else f"+{text}"


def item_score(value: float | None) -> str | None:
    """Write what a model gave an item, on whatever scale, with three significant digits; None where there is none."""
    return None if value is None else f"{value:#.3g}".rstrip(".").replace("-", MINUS)


def setting(value: Json) -> str:
    """Write the value of a setting: numbers with six significant digits, text as it is, the rest as JSON."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def glossary(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Give the terms of the report with their meanings, then those of the metrics that were measured."""
    bases = sorted({name.partition("@")[0] for name in names}, key=metric_rank)
    figures = _figures()
    known = [(f"{title}@k", meaning) for title, meaning in (figures[b] for b in bases if b in figures)]
    return (*TERMS, *known)


def shorten(text: str, length: int) -> str:
    """Give the text, or its beginning with an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def model_text(ranking: Ranking, found: Ranked) -> str:
    """Say in one sentence how a model stands to the best baseline, and how certain that is."""
    metric = metric_name(ranking.metric)
    model = found.model
    if model.failed is not None:
        return f"{model.name} could not be measured: {model.failed}"
    if found is ranking.best_baseline:
        return f"{model.name} is the best baseline, the one to beat: its {metric} is {score(found.mean)}."
    if found.standing is None or model.difference is None:
        return f"{model.name} was compared with no baseline; its {metric} is {score(found.mean)}."
    to, side = model.difference.to, SIDES[found.standing]
    if found.standing is Standing.EVEN:
        return f"{model.name} is {side} {to} on these data: {_doubted(ranking, found)}."
    more = "higher" if found.standing is Standing.BETTER else "lower"
    gap = score(abs(model.difference.mean or 0.0))
    return f"{model.name} is {side} {to}: its {metric} is {more} by {gap} ({_certainty(ranking, found)})."


def money_text(ranking: Ranking) -> str | None:
    """Say in one sentence what the hits of the best model and the best baseline are worth; None without prices."""
    value = f"value@{ranking.metric.partition('@')[2]}"
    two = [found for found in (ranking.best_model, ranking.best_baseline) if found is not None]
    told = [(found, mean) for found in two if (mean := found.model.estimate(value).mean) is not None]
    if not told:
        return None
    text = f"The hits in 1,000 recommendations are worth {amount(told[0][1])} with {told[0][0].name}"
    if len(told) == 2:
        text += f" and {amount(told[1][1])} with {told[1][0].name}"
        gap = told[0][0].model.worth
        if gap is not None and gap.low is not None:
            span = f"{signed_amount(gap.low)} to {signed_amount(gap.high)}"
            text += f" (difference {signed_amount(gap.mean)}, 95 %: {span})"
    return f"{text}, each item for one piece."


def diversity_text(ranking: Ranking) -> str | None:
    """Say in one sentence how diversity changes the best model's figures; None where it was not asked for."""
    best = ranking.best_model
    if best is None or not best.model.diversified:
        return None
    name, k = metric_name(ranking.metric), ranking.metric.partition("@")[2]
    told = []
    for lists in best.model.diversified:
        span = signed_bounds(lists.cost)
        change = f"by {signed(lists.cost.mean)}{f' (95 %: {span})' if span else ''}"
        brings = set_value("diversity", lists.sets.get(f"diversity@{k}"))
        told.append(
            f"--diversity {lists.diversity or 0:g} changes {name} {change}, to a diversity of {brings}"
        )
    own = set_value("diversity", (best.model.sets or {}).get(f"diversity@{k}"))
    return f"The lists of {best.name} have a diversity of {own}: {'; '.join(told)}."


def verdict_text(verdict: Verdict) -> str:
    """Answer "is a model worth it on these data?" in some sentences, the first one the answer."""
    answer = _compared if verdict.outcome in _COMPARED else _not_compared
    parts = answer(verdict)
    if verdict.single is not None:
        parts.append(f"The best single model: {model_text(verdict.ranking, verdict.single)}")
    if verdict.failed and verdict.outcome is not Outcome.NOTHING_MEASURED:
        parts.append(f"Not measured: {', '.join(verdict.failed)}.")
    return " ".join(parts)


_COMPARED = (Outcome.BETTER, Outcome.EVEN, Outcome.WORSE)
_MEND = "Fix the causes given and run the command again."


def _not_compared(verdict: Verdict) -> list[str]:
    """Say what there is where no model could be compared with a baseline."""
    ranking = verdict.ranking
    metric, best = metric_name(ranking.metric), ranking.best
    if best is None:
        return [f"Nothing could be measured: every model failed. {_MEND}"]
    figure = _with_interval(ranking, best)
    if verdict.outcome in (Outcome.NO_BASELINE, Outcome.BASELINES_FAILED):
        failed = verdict.outcome is Outcome.BASELINES_FAILED
        return [
            "Every baseline failed, so there is nothing to compare with."
            if failed
            else "There is no baseline to compare with.",
            f"The {metric} of {best.name} is {figure}; whether that is worth more than a simple method only a run "
            "with baselines can tell.",
        ]
    failed = verdict.outcome is Outcome.MODELS_FAILED
    baseline = ranking.best_baseline or best
    return [
        f"No model but baselines could be measured; the best baseline is {baseline.name}."
        if failed
        else f"Only baselines were measured; the best is {baseline.name}.",
        f"Its {metric} is {_with_interval(ranking, baseline)}.",
        _MEND if failed else "Whether a model is worth it is not known: add one with --kind.",
    ]


def _compared(verdict: Verdict) -> list[str]:
    """Say how the best model stands to the best baseline, and what to do."""
    ranking = verdict.ranking
    best, baseline = ranking.best_model, ranking.best_baseline
    if best is None or baseline is None:
        raise ValueError(f"the outcome {verdict.outcome} needs a model and a baseline that were measured")
    subject = "A blend" if best.model.kind == BLEND else "A model"
    means = f"{score(best.mean)} against {score(baseline.mean)}"
    figures = f"Its {metric_name(ranking.metric)} is {means}, and {_significance(ranking, best)}."
    if verdict.outcome is Outcome.BETTER:
        return [
            f"{subject} is worth it on these data: {best.name} is ahead of {baseline.name}, the best baseline.",
            figures,
            f"To use it, train it with {_command(verdict, best)}.",
        ]
    if verdict.outcome is Outcome.WORSE:
        who = f"{best.name}, the best of them," if verdict.several else best.name
        return [
            f"{subject} is not worth it on these data: {who} is behind {baseline.name}, the best baseline.",
            figures,
            f"Take {baseline.name} ({_command(verdict, baseline)}); only longer tuning (--trials) or more purchases "
            "may change that.",
        ]
    return [
        f"{best.name} is not distinguishable from {baseline.name}, the best baseline, on these data.",
        figures,
        f"Take {baseline.name} ({_command(verdict, baseline)}), the simpler of the two, unless more test users or "
        "longer tuning (--trials) tell them apart.",
    ]


def _command(verdict: Verdict, found: Ranked) -> str:
    return f"recae train --kind {found.model.kind}{' --repeats' if verdict.repeats else ''}"


def _with_interval(ranking: Ranking, found: Ranked) -> str:
    span = bounds(found.model.estimate(ranking.metric))
    return f"{score(found.mean)} (95 %: {span})" if span else score(found.mean)


def _significance(ranking: Ranking, found: Ranked) -> str:
    """Say what the difference is and whether it is more than chance, to stand after "and"."""
    if found.standing in (None, Standing.EVEN):
        return _doubted(ranking, found)
    span, p = signed_bounds(found.model.gap), _p(ranking, found)
    return (
        f"the difference of {signed(found.model.gap.mean)}{f' (95 %: {span})' if span else ''} is more than chance"
        f"{f' ({p})' if p else ''}"
    )


def _doubted(ranking: Ranking, found: Ranked) -> str:
    """Say why a difference is none that can be relied on."""
    said = f"the difference of {signed(found.model.gap.mean)}"
    if found.doubt is None or found.doubt is Doubt.ONE_USER:
        return f"{said} may be chance, of which one user says nothing"
    if found.doubt is Doubt.IDENTICAL:
        return "the two are equally good for every user"
    certainty = _certainty(ranking, found)
    if found.doubt is Doubt.CORRECTION:
        return f"{said} may be chance, since of several comparisons one may leave 0 out by luck ({certainty})"
    return f"{said} may be chance ({certainty})"


def _certainty(ranking: Ranking, found: Ranked) -> str:
    span = signed_bounds(found.model.gap)
    return ", ".join(part for part in (span and f"95 %: {span}", _p(ranking, found)) if part)


def _p(ranking: Ranking, found: Ranked) -> str | None:
    """Write the corrected p-value, and what it is corrected for."""
    p = p_equals(found.model.p_corrected)
    n = ranking.n_comparisons
    return p and p + (f", corrected for {n} comparisons" if n > 1 else "")
