"""Recommendations for many questions at once: histories are scored together, lists ranked together, answers written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import shown
from recae.ranking import top_k
from recae.serving.problems import Problem
from recae.serving.schemas import RecommendRequest
from recae.serving.served import Served

if TYPE_CHECKING:
    from recae.insight.explain import Explanation

EXPLAINED_HISTORY = 2_000  # items; explaining costs the square of a history's length
_REASONS = 5
_LARGEST = float(np.finfo(np.float32).max)
_quoted = json.encoder.encode_basestring_ascii


@dataclass(frozen=True, slots=True)
class _History:
    """What is scored: rows of items, rising, and their values; None for ones."""

    items: NDArray[np.integer[Any]]
    values: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """The list of one question: rows of its items, best first, and their scores; and what it was made from."""

    question: RecommendRequest
    history: NDArray[np.integer[Any]]
    unknown: list[str]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    values: NDArray[np.float32] | None = None  # of the history; None for ones


def rank(served: Served, questions: Sequence[RecommendRequest]) -> list[Ranked | Problem]:
    """Rank the items for each question; a question that has no answer gets its problem instead.

    All histories are scored at once, (B, I) float32: the caller bounds B. Questions of the same length and the same
    `only` are ranked at once.
    """
    answers: list[Ranked | Problem | None] = [None] * len(questions)
    places: list[int] = []
    histories: list[_History] = []
    unknowns: list[list[str]] = []
    for place, question in enumerate(questions):
        try:
            history, not_known = _history(served, question)
        except Problem as problem:
            answers[place] = problem
            continue
        places.append(place)
        histories.append(history)
        unknowns.append(not_known)
    if not places:
        return [answer for answer in answers if answer is not None]

    n_items = len(served.recommender.items)
    scores = served.recommender.model.score(_matrix(histories, n_items))  # (B, I)
    groups: dict[tuple[int, tuple[str, ...] | None], list[int]] = {}
    for at, place in enumerate(places):
        question = questions[place]
        only = None if question.only is None else tuple(question.only)
        groups.setdefault((min(question.n, n_items), only), []).append(at)
    for (length, only), members in groups.items():
        excluded = [_History(_excluded(served, questions[places[at]], histories[at].items)) for at in members]
        candidates = None if only is None else _marked(served, only)
        part = scores if len(members) == len(places) else scores[members]
        items, values = top_k(
            part, length, exclude=_matrix(excluded, n_items), candidates=candidates, threads=1
        )
        for at, row, value in zip(members, items, values, strict=True):
            kept = int(np.count_nonzero(row >= 0))  # -1 pads a list for which too few items are left
            place = places[at]
            of = histories[at]
            answers[place] = Ranked(
                questions[place], of.items, unknowns[at], row[:kept], value[:kept], of.values
            )
    return [answer for answer in answers if answer is not None]


def written(served: Served, ranked: Sequence[Ranked]) -> list[bytes]:
    """Return each list as the JSON of a `RecommendAnswer`; ids and names of all are looked up together."""
    if not ranked:
        return []
    rows = np.concatenate([one.items for one in ranked])
    scores = _short(np.concatenate([one.scores for one in ranked]))
    # put together by hand, at a tenth of the time that json takes for as many objects
    entries = [
        f'"item_id":{_quoted(item)},"name":{"null" if name is None else _quoted(name)},"score":{score!r}}}'
        for item, name, score in zip(*served.ids_and_names(rows), scores, strict=True)
    ]
    texts, start = [], 0
    for one in ranked:
        stop = start + one.items.size
        found = ",".join(
            f'{{"rank":{rank},{entry}' for rank, entry in enumerate(entries[start:stop], start=1)
        )
        texts.append(_text(served, one, f"[{found}]"))
        start = stop
    return texts


def written_with_reasons(served: Served, one: Ranked) -> bytes:
    """Return one list as the JSON of a `RecommendAnswer` with an explanation of each item.

    Raises:
        Problem: 422, the history is too long to be explained.
    """
    from recae.insight.explain import explain

    if one.history.size > EXPLAINED_HISTORY:
        raise Problem(
            "too-long-to-explain",
            422,
            f"histories of up to {EXPLAINED_HISTORY:,} items can be explained, but this one has "
            f"{one.history.size:,}; ask without 'explain'",
        )
    n_items = len(served.recommender.items)
    explained = explain(served.recommender, _matrix([_History(one.history, one.values)], n_items), one.items)
    ids, names = served.ids_and_names(one.items)
    bases = _short(np.array([explanation.base for explanation in explained]))
    joints = _short(np.array([explanation.joint for explanation in explained]))
    found = [
        {
            "rank": place,
            "item_id": item,
            "name": name,
            "score": score,
            "because": _because(served, explanation),
            "base": base,
            "joint": joint,
        }
        for place, (item, name, score, explanation, base, joint) in enumerate(
            zip(ids, names, _short(one.scores), explained, bases, joints, strict=True), start=1
        )
    ]
    return _text(served, one, json.dumps(found, separators=(",", ":"), allow_nan=False))


def _because(served: Served, explanation: Explanation) -> list[dict[str, Any]]:
    reasons = explanation.reasons(_REASONS)
    ids, names = served.ids_and_names(np.array([item for item, _ in reasons], dtype=np.int64))
    return [
        {"item_id": item, "name": name, "contribution": value}
        for item, name, value in zip(
            ids, names, _short(np.array([value for _, value in reasons])), strict=True
        )
    ]


def _text(served: Served, one: Ranked, found: str) -> bytes:
    asked = {"user": one.question.user, "items": one.question.items, "unknown_items": one.unknown}
    start = json.dumps({"model": served.version, **asked}, separators=(",", ":"))
    return f'{start[:-1]},"recommendations":{found}}}'.encode("ascii")


def _short(values: NDArray[np.floating[Any]]) -> list[float]:
    """Return float32 numbers rounded to nine significant digits, which tell any two apart; infinities made finite."""
    exact = np.clip(values.astype(np.float64), -_LARGEST, _LARGEST)
    magnitude = np.floor(np.log10(np.abs(exact), out=np.zeros(exact.size), where=exact != 0))
    # whole numbers over powers of ten up to 1e22 are exact, so the quotient is the double nearest to the decimal
    scale = 10.0 ** np.clip(8 - magnitude, 0, 22)
    shorter: list[float] = (np.round(exact * scale) / scale).tolist()
    return shorter


def _history(served: Served, question: RecommendRequest) -> tuple[_History, list[str]]:
    """Return a question's history, and the basket's ids that are not known, each once."""
    if question.user is not None:
        row, owned = served.user(question.user)
        return _History(owned, served.values(row)), []
    basket = list(dict.fromkeys(question.items or []))
    rows = served.recommender.items.rows(basket)
    missing = [item for item, row in zip(basket, rows, strict=True) if row < 0]
    if len(missing) == len(basket):
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise Problem(
            "unknown-item",
            404,
            f"no item of the basket is in the model: {shown(missing[0])}{more}",
            unknown=missing[0],
        )
    return _History(np.sort(rows[rows >= 0])), missing


def _excluded(
    served: Served, question: RecommendRequest, history: NDArray[np.integer[Any]]
) -> NDArray[np.integer[Any]]:
    """Return the rows that may not be recommended; repeats do no harm."""
    owned = history if served.recommender.excludes_owned(question.exclude_owned) else history[:0]
    if not question.exclude:
        return owned
    rows = served.recommender.items.rows(question.exclude)
    return np.concatenate([owned, rows[rows >= 0]])


def _marked(served: Served, only: Sequence[str]) -> NDArray[np.bool_]:
    """Return a mark for each item, True for those in `only`."""
    marks = np.zeros(len(served.recommender.items), dtype=np.bool_)
    rows = served.recommender.items.rows(only)
    marks[rows[rows >= 0]] = True
    return marks


def _matrix(rows: Sequence[_History], n_items: int) -> sp.csr_matrix:
    """Return histories as a matrix, (B, I); scipy's own checks would cost more than the rest."""
    indptr = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([row.items.size for row in rows], out=indptr[1:])
    indices = np.concatenate([row.items for row in rows]).astype(np.int32, copy=False)
    values = np.ones(indices.size, np.float32)
    for row, start, stop in zip(rows, indptr, indptr[1:], strict=False):
        if row.values is not None:
            values[start:stop] = row.values
    return sp.csr_matrix((values, indices, indptr), shape=(len(rows), n_items))
