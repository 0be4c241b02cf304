"""What a comparison says in plain words: Holm's correction, a sentence on each model, and the verdict on them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recae.errors import DataError
from recae.evaluation import html_words as words
from recae.evaluation.html_view import AHEAD, BEHIND, EVEN, Entry, View, figure

_NO_AUTOENCODERS = frozenset({"popularity", "frequency", "itemknn", "als", "bpr"})
"""Kinds that the verdict calls by their names, also where they are asked for as models and not as baselines."""

_NETWORKS = frozenset({"sigmoid", "deep", "multvae", "recvae"})
"""Kinds that are an autoencoder with a bottleneck and nothing else, of which a blend's success says nothing yet."""


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values corrected for being several, by Holm's step-down method, in the order given.

    With the m values in ascending order, p_(1) ≤ … ≤ p_(m), the corrected i-th is

        max_{j ≤ i}  min(1, (m − j + 1) p_(j))

    (Holm 1979, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6). To
    call a difference whatever is below a level then errs anywhere among the m with a chance of at most that level,
    however the comparisons hang together: they all share the best baseline and the users.

    p_values  (m,) numbers from 0 to 1; NaN, where nothing was compared, stays NaN and does not count

    Returns float64 (m,). Raises DataError for anything else.
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p)
    if p.ndim != 1 or (p[known] < 0).any() or (p[known] > 1).any():
        raise DataError(
            f"p-values are numbers from 0 to 1, one a comparison, but got {p.tolist()}; find out where they come from"
        )
    corrected = np.full(p.shape, np.nan)
    found = p[known]
    order = np.argsort(found, kind="stable")
    stepped = np.minimum(1, found[order] * np.arange(found.size, 0, -1))
    corrected[np.flatnonzero(known)[order]] = np.maximum.accumulate(stepped)
    return corrected


def verdict_on(view: View, entry: Entry) -> str:
    """One sentence on one model, for people: how it stands to the best baseline, and how sure that is."""
    metric = words.metric_name(view.metric)
    if entry.failed is not None:
        return f"{entry.name} could not be measured: {entry.failed}"
    if entry is view.rival:
        return (
            f"{entry.name} is the best baseline, the one to beat: its {metric} is {words.score(entry.mean)}."
        )
    if entry.status is None:
        return f"{entry.name} was compared with no baseline; its {metric} is {words.score(entry.mean)}."
    rival = str(entry.difference.get("to"))
    if entry.status == EVEN:
        return f"{entry.name} is not distinguishable from {rival} on these data: {_chance(view, entry)}."
    side, more = ("ahead of", "higher") if entry.status == AHEAD else ("behind", "lower")
    gap = words.score(abs(words.finite(entry.difference.get("mean")) or 0.0))
    return f"{entry.name} is {side} {rival}: its {metric} is {more} by {gap} ({_sure(view, entry)})."


def verdict(view: View) -> str:
    """The answer to "is an autoencoder worth it on these data?" in a few sentences, the first one the answer.

    It speaks of the leader, the best model that is no baseline. Taking the best of several flatters it, but all
    differences are corrected together, so a leader that is called ahead is ahead with the certainty that is stated.
    """
    if view.best is None:
        return "Nothing could be measured: every model failed. Mend what the reasons name and run the command again."
    parts = [*_answer(view, view.best), *_alone(view), *_missing(view)]
    return " ".join(parts)


def _answer(view: View, best: Entry) -> list[str]:
    metric = words.metric_name(view.metric)
    leader, rival = view.leader, view.rival
    if rival is None:
        failed = any(e.baseline for e in view.entries)
        return [
            "Every baseline failed, so there is nothing to compare with."
            if failed
            else "There is no baseline to compare with.",
            f"The {metric} of {best.name} is {_with_interval(view, best)}; whether that is worth more than a simple "
            "method only a run with baselines can tell.",
        ]
    if leader is None:
        failed = any(not e.baseline for e in view.entries)
        return [
            f"No autoencoder could be measured; the best baseline is {rival.name}."
            if failed
            else f"Only baselines were measured; the best is {rival.name}.",
            f"Its {metric} is {_with_interval(view, rival)}.",
            "Mend what the reasons name and run the command again."
            if failed
            else "Whether an autoencoder is worth it is not known: add one with --kind.",
        ]
    means = f"{words.score(leader.mean)} against {words.score(rival.mean)}"
    figures = f"Its {metric} is {means}, and {_told(view, leader)}."
    several = sum(not e.baseline for e in view.measured) > 1
    autoencoder = leader.model.get("kind") not in _NO_AUTOENCODERS
    blended = leader.model.get("kind") == "blend"
    subject = "A blend" if blended else "An autoencoder" if autoencoder else leader.name
    who = f"{leader.name}, the best of them," if several and autoencoder else leader.name
    if leader.status == AHEAD:
        return [
            f"{subject} is worth it on these data: {leader.name} is ahead of {rival.name}, the best baseline.",
            figures,
            f"To use it, train it with {_command(view, leader)}.",
        ]
    if leader.status == BEHIND:
        return [
            f"{subject} is not worth it on these data: {who} is behind {rival.name}, the best baseline.",
            figures,
            f"Take {rival.name} ({_command(view, rival)}); only longer tuning (--trials) or more purchases may change "
            "that.",
        ]
    return [
        f"{leader.name} is not distinguishable from {rival.name}, the best baseline, on these data.",
        figures,
        f"Take {rival.name} ({_command(view, rival)}), the simpler of the two, unless more test users or longer "
        "tuning (--trials) part them.",
    ]


def _alone(view: View) -> Sequence[str]:
    """How the best network by itself stands to the best baseline, where the leader is a blend of several kinds."""
    if view.leader is None or view.rival is None or view.leader.model.get("kind") != "blend":
        return []
    networks = [e for e in view.measured if not e.baseline and e.model.get("kind") in _NETWORKS]
    return [f"The autoencoder alone: {verdict_on(view, networks[0])}"] if networks else []


def _missing(view: View) -> Sequence[str]:
    """Which models are not part of the answer."""
    failed = [e.name for e in view.entries if e.failed is not None]
    return [f"Not measured: {', '.join(failed)}."] if failed else []


def _command(view: View, entry: Entry) -> str:
    repeats = " --repeats" if view.part("protocol").get("exclude_owned") is False else ""
    return f"recae train --kind {entry.model.get('kind')}{repeats}"


def _with_interval(view: View, entry: Entry) -> str:
    found = figure(entry.model, view.metric)
    span = words.bounds(found.get("low"), found.get("high"))
    return f"{words.score(entry.mean)} (95 %: {span})" if span else words.score(entry.mean)


def _told(view: View, entry: Entry) -> str:
    """What the difference is and whether it is more than chance, to stand after "and"."""
    if entry.status == EVEN:
        return _chance(view, entry)
    gap = entry.difference
    span = words.bounds(gap.get("low"), gap.get("high"), words.signed)
    p = _p(view, entry)
    return (
        f"the difference of {words.signed(gap.get('mean'))}{f' (95 %: {span})' if span else ''} is more than chance"
        f"{f' ({p})' if p else ''}"
    )


def _chance(view: View, entry: Entry) -> str:
    """Why a difference is none that can be relied on."""
    gap = entry.difference
    low, high = words.finite(gap.get("low")), words.finite(gap.get("high"))
    said = f"the difference of {words.signed(gap.get('mean'))}"
    if low is None or high is None:
        return f"{said} may be chance, of which one user says nothing"
    if low == high == 0:
        return "the two are equally good for every user"
    sure = _sure(view, entry)
    if low > 0 or high < 0:
        return f"{said} may be chance, since of several comparisons one may leave 0 out by luck ({sure})"
    return f"{said} may be chance ({sure})"


def _sure(view: View, entry: Entry) -> str:
    span = words.bounds(entry.difference.get("low"), entry.difference.get("high"), words.signed)
    return ", ".join(part for part in (span and f"95 %: {span}", _p(view, entry)) if part)


def _p(view: View, entry: Entry) -> str | None:
    """The corrected p-value, and what it is corrected for."""
    p = words.p_value(entry.difference.get("p_corrected"))
    if p == words.NONE:
        return None
    n = sum(words.finite(e.difference.get("p_corrected")) is not None for e in view.measured)
    corrected = f", corrected for {n} comparisons" if n > 1 else ""
    return f"{f'p {p}' if p.startswith('<') else f'p = {p}'}{corrected}"
