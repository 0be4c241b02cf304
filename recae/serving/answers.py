"""Recommendations for many requests: histories scored and ranked together, lists written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import shown
from recae.inputs import inputs_of, readable
from recae.journal import NOTHING, Bought
from recae.ranking import Ranked, rank_histories
from recae.recommender import MODEL, POPULAR
from recae.serving.filters import is_filtered, marks_of
from recae.serving.owned import Owned, bought_by, owned_by
from recae.serving.problems import Problem
from recae.serving.schemas import Because, Others, RecommendAnswer, Recommendation, RecommendRequest
from recae.serving.served import ServedModel

MAX_EXPLAINED_HISTORY = 10_000  # items; a number is held for each of them and recommendation
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class RankedList:
    """The list for one request, and what it was made from.

    Attributes:
        request: what was asked for.
        history: item indices (m,), rising.
        unknown: ids of the basket, or of what the user has bought, that the model does not know, each once.
        items: item indices (k,), best first.
        scores: their scores (k,).
        values: values of the history (m,); None for ones.
        source: `MODEL`, or `POPULAR` for a fallback.
        events: columns of other events, rising; None without any.
    """

    request: RecommendRequest
    history: NDArray[np.integer[Any]]
    unknown: list[str]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    values: NDArray[np.float32] | None = None
    source: Literal["model", "popular"] = MODEL
    events: NDArray[np.integer[Any]] | None = None


def rank(served: ServedModel, requests: Sequence[RecommendRequest]) -> list[RankedList | Problem]:
    """Rank the items for each request; a request that cannot be answered gets its problem instead.

    All are scored and ranked together, (B, I) float32, whatever their lengths and filters, which reads the model once;
    the caller bounds B.

    Args:
        served: the model.
        requests: of any number of users and baskets.

    Returns:
        A list or a problem for each request, in their order.
    """
    answers: list[RankedList | Problem | None] = [None] * len(requests)
    places: list[int] = []  # of the requests that are scored
    histories: list[Owned] = []
    users = [request.user for request in requests if request.user is not None]
    failed, bought = None, dict[str, Bought]()
    try:
        bought = dict(zip(users, bought_by(served, users), strict=True))
    except Problem as problem:
        failed = problem
    for place, request in enumerate(requests):
        try:
            if failed is not None and request.user is not None:
                raise failed
            history = _history(served, request, bought.get(request.user or "", NOTHING))
            if is_filtered(request):
                marks_of(served, request)  # which says whether it can be
        except Problem as problem:
            stays = request.fallback is None or problem.kind == "no-filter"
            answers[place] = problem if stays else _popular(served, request)
            continue
        if request.fallback is not None and not history.items.size and not _has_events(history):
            answers[place] = _popular(served, request)
            continue
        places.append(place)
        histories.append(history)
    if places:
        scored = [requests[place] for place in places]
        n_items = len(served.recommender.items)
        excluded = [
            Owned(_excluded(served, request, history))
            for request, history in zip(scored, histories, strict=True)
        ]
        matrix, barred = _scored(served, histories), _matrix(excluded, n_items)
        lengths = np.minimum([request.n for request in scored], n_items)
        allowed = _candidates(served, scored)
        if served.rules is not None or any(request.diversity for request in scored):
            ranked = _by_rules(served, scored, matrix, lengths, barred, allowed, answers, places)
        elif served.approximate:
            ranked = _approximately(served, matrix, lengths, barred, allowed)
        else:
            ranked = rank_histories(
                served.recommender.model,
                matrix,
                lengths,
                exclude_owned=False,
                exclude=barred,
                candidates=allowed,
                block_bytes=4 * n_items * len(places),
                threads=1,
            )
        for place, history, items, scores in zip(places, histories, *ranked, strict=True):
            if answers[place] is not None:  # a problem with its diversity
                continue
            size = int(np.count_nonzero(items >= 0))  # -1 pads a list where items run out
            answers[place] = RankedList(
                requests[place],
                history.items,
                history.unknown,
                items[:size],
                scores[:size],
                history.values,
                events=history.events,
            )
    return [answer for answer in answers if answer is not None]


def _by_rules(
    served: ServedModel,
    requests: Sequence[RecommendRequest],
    histories: sp.csr_matrix,
    lengths: NDArray[np.integer[Any]],
    exclude: sp.csr_matrix,
    allowed: NDArray[np.bool_] | None,
    answers: list[RankedList | Problem | None],
    places: Sequence[int],
) -> Ranked:
    """Return lists by the server's rules and each request's diversity; what cannot be answered becomes its problem."""
    model = served.recommender.model
    scores = model.score(readable(model, histories))
    ranked = Ranked.empty(len(requests), int(lengths.max(initial=1)))
    for diversity in dict.fromkeys(request.diversity for request in requests):
        rows = np.flatnonzero([request.diversity == diversity for request in requests])
        try:
            listing = served.listing(diversity)
        except Problem as problem:
            for row in rows:
                answers[places[int(row)]] = problem
            continue
        own = None if allowed is None else allowed[rows]
        found = listing.rank(scores[rows], lengths[rows], exclude[rows], own, threads=1)
        width = found.items.shape[1]
        ranked.items[rows, :width], ranked.scores[rows, :width] = found
    return ranked


def _approximately(
    served: ServedModel,
    histories: sp.csr_matrix,
    lengths: NDArray[np.integer[Any]],
    exclude: sp.csr_matrix,
    allowed: NDArray[np.bool_] | None,
) -> Ranked:
    """Return lists by the index, which is there since the model was loaded."""
    from recae.approximate import rank_approximately

    known = served.recommender
    return rank_approximately(
        known.model, known.histories, histories, lengths, exclude=exclude, allowed=allowed, threads=1
    )


def to_json(served: ServedModel, lists: Sequence[RankedList]) -> list[bytes]:
    """Write each list as the JSON of a `RecommendAnswer`; ids and names of all are looked up together.

    Args:
        served: the model that made the lists.
        lists: without explanations.

    Returns:
        ASCII, one text a list.
    """
    if not lists:
        return []
    items = np.concatenate([one.items for one in lists])
    scores = _rounded(np.concatenate([one.scores for one in lists]))
    # put together by hand, at a tenth of the time that json takes for as many objects
    entries = [
        f'{item.text},"score":{score!r}}}'
        for item, score in zip(served.shown_items(items), scores, strict=True)
    ]
    texts, start = [], 0
    for one in lists:
        stop = start + one.items.size
        found = ",".join(
            f'{{"rank":{rank},{entry}' for rank, entry in enumerate(entries[start:stop], start=1)
        )
        asked = {"user": one.request.user, "items": one.request.items, "unknown_items": one.unknown}
        asked |= {} if one.request.fallback is None else {"source": one.source}
        head = json.dumps({"model": served.version, **asked}, separators=(",", ":"))
        texts.append(f'{head[:-1]},"recommendations":[{found}]}}'.encode("ascii"))
        start = stop
    return texts


def explained_json(served: ServedModel, one: RankedList) -> bytes:
    """Write one list as the JSON of a `RecommendAnswer` with an explanation of each item.

    Args:
        served: the model that made the list.
        one: the list.

    Returns:
        UTF-8.

    Raises:
        Problem: 422, the history is too long to be explained.
    """
    from recae.insight.explain import REASONS, explain

    if one.source == POPULAR:
        return to_json(served, [one])[0]  # there is no history that could speak for it
    size = one.history.size + (0 if one.events is None else one.events.size)
    if size > MAX_EXPLAINED_HISTORY:
        raise Problem(
            "too-long-to-explain",
            422,
            f"histories of up to {MAX_EXPLAINED_HISTORY:,} items can be explained, but this one has "
            f"{size:,}; ask without 'explain'",
        )
    history = _scored(served, [Owned(one.history, one.values, one.events)])
    found = []
    for place, (item, name, more, score, explanation) in enumerate(
        zip(
            *served.ids_and_names(one.items),
            served.details(one.items),
            _rounded(one.scores),
            explain(served.recommender, history, one.items, one.scores),
            strict=True,
        ),
        start=1,
    ):
        parts = explanation.sum(REASONS, positive=True, score=Decimal(str(score)))
        owned = np.array([row for row, _ in parts.reasons], dtype=np.int64)
        because = [
            Because(item_id=item_id, name=its_name, contribution=float(value), **_event(served, row))
            for item_id, its_name, (row, value) in zip(
                *served.ids_and_names(owned % len(served.recommender.items)), parts.reasons, strict=True
            )
        ]
        others = Others(items=parts.n_others, contribution=float(parts.others))
        base = float(parts.base)
        found.append(
            Recommendation(
                rank=place,
                item_id=item,
                name=name,
                score=score,
                because=because,
                base=base,
                others=others,
                **more,
            )
        )
    answer = RecommendAnswer(
        model=served.version,
        user=one.request.user,
        items=one.request.items,
        unknown_items=one.unknown,
        recommendations=found,
        **({} if one.request.fallback is None else {"source": one.source}),
    )
    return answer.model_dump_json(exclude_unset=True).encode()


def _rounded(values: NDArray[np.floating[Any]]) -> list[float]:
    """Return float32 numbers rounded to nine significant digits, which tell any two apart; infinities made finite."""
    exact = np.clip(values.astype(np.float64), -_LARGEST, _LARGEST)
    magnitude = np.floor(np.log10(np.abs(exact), out=np.zeros(exact.size), where=exact != 0))
    # whole numbers over powers of ten up to 1e22 are exact, so the quotient is the double nearest to the decimal
    scale = 10.0 ** np.clip(8 - magnitude, 0, 22)
    rounded: list[float] = (np.round(exact * scale) / scale).tolist()
    return rounded


def _history(served: ServedModel, request: RecommendRequest, bought: Bought) -> Owned:
    """Return a request's history: what the user owns, with what was bought beside, or the basket."""
    if request.user is not None:
        return owned_by(served, request.user, bought)
    basket = list(dict.fromkeys(request.items or []))
    items = served.recommender.items.rows(basket)
    # of an item that nobody has bought nothing is learned
    bought_by_some = (items >= 0) & (items < served.recommender.n_bought)
    missing = [item for item, known in zip(basket, bought_by_some, strict=True) if not known]
    events = None if request.events is None else _events(served, request.events)
    known = np.sort(items[items >= 0])
    # what is in a basket was bought now
    recent = None if served.rules is None or served.rules.recent_from is None else known
    if events is not None and events.size:
        return Owned(known, None, events, missing, recent)
    if request.events is not None and not basket and request.fallback is None:
        raise Problem("unknown-item", 404, "no item of the events is in the model")
    if missing and len(missing) == len(basket):
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise Problem(
            "unknown-item",
            404,
            f"no item of the basket is in the model, or has been bought: {shown(missing[0])}{more}",
            unknown=missing[0],
        )
    return Owned(known, unknown=missing, recent=recent)


def _events(served: ServedModel, events: Mapping[str, list[str]]) -> NDArray[np.integer[Any]]:
    """Return the columns of events in a scored history, rising; unknown items do not count.

    Raises:
        Problem: 404, the model does not read one of the events.
    """
    read = inputs_of(served.recommender.model)
    for name in events:
        if name not in read:
            reads = f"reads {', '.join(read)}" if read else "reads no other events than purchases"
            raise Problem(
                "unknown-event", 404, f"events names {shown(name)}, but the model {reads}; leave it out"
            )
    n_items, found = len(served.recommender.items), [np.zeros(0, dtype=np.int64)]
    for place, name in enumerate(read, start=1):
        rows = served.recommender.items.rows(events.get(name, []))
        found.append(np.unique(rows[rows >= 0]) + place * n_items)
    return np.concatenate(found)


def _has_events(history: Owned) -> bool:
    return history.events is not None and history.events.size > 0


def _event(served: ServedModel, column: int) -> dict[str, Any]:
    """Return the field of the event that a reason is of; none for what is owned."""
    event = served.recommender.event_of(column)
    return {} if event is None else {"event": event}


def _popular(served: ServedModel, request: RecommendRequest) -> RankedList | Problem:
    """Return the items that most users own, within the request's rules; a problem where that is not known."""
    if served.owners is None:
        return Problem(
            "no-histories",
            404,
            "the most popular items are not known, since this model was saved without histories; leave the fallback "
            "out, or send a basket of items",
        )
    items = served.recommender.items
    allowed = np.ones(len(items), dtype=np.bool_)
    if request.only is not None:
        allowed[:] = False
        only = items.rows(request.only)
        allowed[only[only >= 0]] = True
    if is_filtered(request):
        try:
            allowed &= marks_of(served, request)
        except Problem as problem:
            return problem
    excluded = items.rows(request.exclude)
    allowed[excluded[excluded >= 0]] = False
    basket = list(dict.fromkeys(request.items or []))
    listing = None if served.rules is None else served.listing(0)
    ranked = served.recommender.most_owned(min(request.n, max(len(items), 1)), allowed, listing)
    size = int(np.count_nonzero(ranked.items[0] >= 0))
    nothing = np.empty(0, dtype=np.int64)
    return RankedList(
        request, nothing, basket, ranked.items[0][:size], ranked.scores[0][:size], source=POPULAR
    )


def _excluded(served: ServedModel, request: RecommendRequest, owns: Owned) -> NDArray[np.integer[Any]]:
    """Return the items that may not be recommended; repeats do no harm."""
    if owns.recent is not None and request.exclude_owned is not True:
        owned = owns.recent  # by the rules
    else:
        excludes = served.recommender.excludes_owned(request.exclude_owned)
        owned = owns.items if excludes else owns.items[:0]
    if not request.exclude:
        return owned
    items = served.recommender.items.rows(request.exclude)
    return np.concatenate([owned, items[items >= 0]])


def _candidates(served: ServedModel, requests: Sequence[RecommendRequest]) -> NDArray[np.bool_] | None:
    """Return a mark for each request and item, True for those it may get; (B, I), None where all may get all."""
    if all(request.only is None and not is_filtered(request) for request in requests):
        return None
    marks = np.ones((len(requests), len(served.recommender.items)), dtype=np.bool_)
    for own, request in zip(marks, requests, strict=True):
        if request.only is not None:
            items = served.recommender.items.rows(request.only)
            own[:] = False
            own[items[items >= 0]] = True
        if is_filtered(request):
            own &= marks_of(served, request)
    return marks


def _scored(served: ServedModel, histories: Sequence[Owned]) -> sp.csr_matrix:
    """Return what the model scores, (B, I), or with events (B, (1 + K) · I)."""
    n_items = len(served.recommender.items)
    if not any(map(_has_events, histories)):
        return _matrix(histories, n_items)
    joined = []
    for one in histories:
        events = np.zeros(0, dtype=np.int32) if one.events is None else one.events
        values = None
        if one.values is not None:
            values = np.concatenate([one.values, np.ones(events.size, dtype=np.float32)])
        joined.append(Owned(np.concatenate([one.items, events]), values))
    return _matrix(joined, (1 + len(inputs_of(served.recommender.model))) * n_items)


def _matrix(histories: Sequence[Owned], n_items: int) -> sp.csr_matrix:
    """Return histories as a matrix, (B, I); scipy's own checks would cost more than the rest."""
    indptr = np.zeros(len(histories) + 1, dtype=np.int32)
    np.cumsum([history.items.size for history in histories], out=indptr[1:])
    indices = np.concatenate([history.items for history in histories]).astype(np.int32, copy=False)
    values = np.ones(indices.size, np.float32)
    for history, start, stop in zip(histories, indptr, indptr[1:], strict=False):
        if history.values is not None:
            values[start:stop] = history.values
    return sp.csr_matrix((values, indices, indptr), shape=(len(histories), n_items))
