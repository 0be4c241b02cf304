"""Methods of `Recommender` that need the rooms above it; `recae.recommender_methods` documents each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.arguments import check_flag, check_seed, check_text, listed
from recae.errors import ConfigError, DataError, UnknownIdError
from recae.evaluation import evaluate as evaluate_lists
from recae.evaluation.intervals import bootstrap_means
from recae.ids import IdMap, id_texts, shown, written_ids
from recae.inputs import owned_part
from recae.insight import embeddings, neighbours
from recae.insight import explain as explanations
from recae.insight.categories import read_categories
from recae.insight.items import describe_items
from recae.insight.layout import STEPS
from recae.insight.listings import listing_of
from recae.insight.mapping import Map, draw_map
from recae.interactions import Interactions
from recae.interface.forgetting import forget
from recae.interface.keywords import Words, item_columns
from recae.interface.sources import item_source, take_source
from recae.interface.updates import update
from recae.list_rules import ListRules
from recae.messages import say
from recae.modelfile import load, save
from recae.ranking import rows_per_block
from recae.reading import ReadOptions, read
from recae.reading.lists import read_pairs
from recae.recommender import IN_LISTS, Recommender, check_fallback
from recae.results import Table
from recae.scoring.audience import NO_ITEM, NO_KNOWN_ITEM, Audience, fold_in, listed_users
from recae.scoring.rules import warn_of_unknown
from recae.scoring.work import audience_of, make_work
from recae.selection.displays import CountingDisplay
from recae.selection.new_items import with_new_items
from recae.selection.progress import Progress, following
from recae.sparse import stored_in, without
from recae.splits.tasks import counted
from recae.text import brief

__all__ = [
    "bought_together",
    "draw",
    "embed",
    "evaluate",
    "explain",
    "forget",
    "listing_of",
    "load",
    "recommend_many",
    "save",
    "score_pairs",
    "similar_items",
    "similar_users",
    "update",
    "users_for",
    "with_items",
]

_NAMED: Final = 5  # unknown ids that an error spells out


def recommend_many(
    recommender: Recommender,
    users: Any,
    n: int,
    histories: Any,
    exclude: Sequence[str | int] | None,
    only: Sequence[str | int] | None,
    exclude_owned: bool | None,
    fallback: str | None,
    approximate: bool,
    rules: ListRules | Path | str | None,
    diversity: float,
    reading: Mapping[str, Any],
) -> Table[Any]:
    """Return lists for many users; see `Recommender.recommend_many`."""
    _check_count(n)
    check_fallback(fallback)
    check_flag("approximate", approximate)
    audience = _audience(recommender, users, histories, fallback is not None, reading)
    exclude, only = (None if ids is None else id_texts(ids, "item") for ids in (exclude, only))
    allowed = recommender.allowed_items(exclude=exclude, only=only)
    barred = None if allowed is None else ~allowed
    warn_of_unknown(recommender.unknown_items([*(exclude or ()), *(only or ())]))
    work = make_work(
        recommender,
        audience,
        n,
        exclude_owned=exclude_owned,
        barred=barred,
        fallback=fallback,
        approximate=approximate,
        listing=listing_of(recommender, rules, diversity),
    )
    found = pa.Table.from_batches((batch for _, batch in work.batches()), work.schema)
    names = recommender.names_of(recommender.items.rows(found["item_id"]))
    columns = {name: found[name] for name in ("user_id", "rank", "item_id")}
    columns |= {"name": names, "score": found["score"]}
    if fallback is not None:
        columns["source"] = found["source"]
    return Table.of(columns | recommender.details_of(recommender.items.rows(found["item_id"]), IN_LISTS))


def with_items(
    recommender: Recommender, items: Any, columns: Mapping[str, str | Sequence[str]] | None, new_items: str
) -> Recommender:
    """Return a recommender with a table of items; see `Recommender.with_items`."""
    found = describe_items(recommender.of_bought_items(), item_source(items), item_columns(columns))
    extended = with_new_items(found.recommender, new_items)
    for line in (*found.sentences(), *extended.sentences):
        say(line)
    return extended.recommender


def _audience(
    recommender: Recommender, users: Any, histories: Any, everybody: bool, reading: Mapping[str, Any]
) -> Audience:
    if users is not None and histories is not None:
        raise ConfigError(
            "users and histories are both given: leave out users, and the users of the histories are scored"
        )
    words = Words("recommend_many", reading)
    if histories is not None:
        source = take_source(histories, words)
        options = words.options()
        words.finish()
        return audience_of(recommender, source, everybody, options)
    words.finish()
    if users is None:
        return audience_of(recommender, None)
    if isinstance(users, str | int) or hasattr(users, "columns"):
        raise ConfigError(
            f"users is a list of ids, found {type(users).__name__}: give a list, recommend() for one user, or "
            "purchases as histories="
        )
    ids = list(dict.fromkeys(written_ids(users, "user")))
    if not everybody and recommender.users is not None:
        unknown = [user for user, row in zip(ids, recommender.users.rows(ids), strict=True) if row < 0]
        if unknown:
            named = ", ".join(map(shown, unknown[:_NAMED]))
            more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
            raise UnknownIdError(
                f"{len(unknown):,} of {len(ids):,} users are not in the model: {named}{more}; leave them out, or ask "
                'for fallback="popular"'
            )
    return listed_users(recommender, pa.array(ids, pa.large_string()), everybody)


def score_pairs(
    recommender: Recommender, pairs: Any, user_column: str | None, item_column: str | None
) -> Table[Any]:
    """Return the score of each pair; see `Recommender.score_pairs`."""
    own_users, histories = _scored(recommender)
    named = Words("score_pairs", {"user_column": user_column, "item_column": item_column}).reading()
    if named is not None:
        user_column, item_column = named.user_column, named.item_column
    source = take_source(pairs, Words("score_pairs", {}))
    users, items = read_pairs(source, user_column, item_column)
    rows, columns = own_users.rows(users), recommender.items.rows(items)
    scores = np.full(rows.size, np.nan, dtype=np.float32)
    known = np.flatnonzero((rows >= 0) & (columns >= 0))
    known = known[np.argsort(rows[known], kind="stable")]
    distinct, place = np.unique(rows[known], return_inverse=True)
    step = rows_per_block(len(recommender.items))
    for start in range(0, distinct.size, step):
        block = slice(*np.searchsorted(place, [start, start + step]))
        scored = recommender.model.score(sp.csr_matrix(histories[distinct[start : start + step]]))
        scores[known[block]] = scored[place[block] - start, columns[known[block]]]
    missing = np.isnan(scores)
    return Table.of({"user_id": users, "item_id": items, "score": pa.array(scores, mask=missing)})


def _scored(recommender: Recommender) -> tuple[IdMap, sp.csr_matrix]:
    """Return the users, and what the model scores for each, with the events that it reads."""
    users, histories = embeddings.histories_of(recommender)
    return users, histories if recommender.scored is None else recommender.scored


def similar_items(recommender: Recommender, item: str | int, n: int) -> Table[Any]:
    """Return items with similar vectors; see `Recommender.similar_items`."""
    _check_count(n)
    rows, similarity = neighbours.similar_items(recommender, recommender.items.row(item, "item"), n)
    return _ranked_items(recommender, rows, similarity=similarity)


def bought_together(recommender: Recommender, item: str | int, n: int) -> Table[Any]:
    """Return items with common owners; see `Recommender.bought_together`."""
    _check_count(n)
    row = recommender.items.row(item, "item")
    _, histories = embeddings.histories_of(recommender)
    rows, users, lift = neighbours.BoughtTogether(histories).of(row, n)
    return _ranked_items(recommender, rows, users=users, lift=lift)


def _ranked_items(recommender: Recommender, rows: NDArray[np.int32], **figures: Any) -> Table[Any]:
    return Table.of(
        {
            "rank": _ranks(rows.size),
            "item_id": recommender.items.ids(rows),
            "name": recommender.names_of(rows),
            **figures,
        }
    )


def _ranks(number: int) -> NDArray[np.int32]:
    return np.arange(1, number + 1, dtype=np.int32)


def similar_users(recommender: Recommender, user: str | int, n: int) -> Table[Any]:
    """Return users with similar codes; see `Recommender.similar_users`."""
    _check_count(n)
    users, histories = embeddings.histories_of(recommender)
    row = users.row(user, "user")
    rows, similarity = neighbours.similar_users(recommender, row, n)
    own, theirs = histories[row].indices, [histories[other].indices for other in rows]
    return Table.of(
        {
            "rank": _ranks(rows.size),
            "user_id": users.ids(rows),
            "n_items": np.array([items.size for items in theirs], dtype=np.int32),
            "shared": np.array([np.isin(items, own).sum() for items in theirs], dtype=np.int32),
            "similarity": similarity,
        }
    )


def users_for(recommender: Recommender, item: str | int, n: int, exclude_owned: bool | None) -> Table[Any]:
    """Return the users with the highest scores for an item; see `Recommender.users_for`."""
    _check_count(n, "users")
    row = recommender.items.row(item, "item")
    users, histories = _scored(recommender)
    scores = np.empty(len(users), dtype=np.float32)
    step = rows_per_block(len(recommender.items))  # a model may score all items to score one
    for start in range(0, len(users), step):
        block = sp.csr_matrix(histories[start : start + step])
        scores[start : start + step] = recommender.model.score_items(block, np.array([row]))[:, 0]
    candidates = ~np.isnan(scores)
    if recommender.excludes_owned(exclude_owned):
        candidates[
            np.searchsorted(histories.indptr, np.flatnonzero(histories.indices == row), "right") - 1
        ] = False
    rows = np.flatnonzero(candidates)
    best = rows[np.argsort(-scores[rows], kind="stable")[:n]]
    return Table.of({"rank": _ranks(best.size), "user_id": users.ids(best), "score": scores[best]})


def explain(recommender: Recommender, user: Any, item: Any, n: int, items: Any) -> Table[Any]:
    """Return the parts of a score; see `Recommender.explain`."""
    _check_count(n)
    if item is None:
        raise ConfigError("explain needs the item whose score is to be explained: give item=")
    target = recommender.items.row(item, "item")
    history = recommender.history_of(user, items=items)
    stated = recommender.model.score(history)[0, [target]]  # as recommend makes it
    (found,) = explanations.explain(recommender, history, [target], stated)
    parts = found.sum(n)
    own_id, own_name = recommender.id_and_name(target)
    rows: list[tuple[str, str | None, str | None, float]] = [("base", None, None, float(parts.base))]
    rows += [
        (recommender.event_of(row) or "owned", *recommender.id_and_name(row), float(value))
        for row, value in parts.reasons
    ]
    if parts.n_others:
        what = f"{parts.n_others:,} other item{'s' * (parts.n_others > 1)}"
        what += " and events" * (recommender.events is not None)
        rows.append(("others", None, what, float(parts.others)))
    rows.append(("score", own_id, own_name, float(parts.score)))
    part, ids, names, values = zip(*rows, strict=True)
    return Table.of(
        {
            "part": pa.array(part, pa.large_string()),
            "item_id": pa.array(ids, pa.large_string()),
            "name": pa.array(names, pa.large_string()),
            "value": pa.array(values, pa.float64()),
        }
    )


def evaluate(
    recommender: Recommender,
    held_out: Any,
    k: int | Sequence[int],
    metrics: Sequence[str],
    histories: Any,
    exclude_owned: bool | None,
    seed: int,
    reading: Mapping[str, Any],
) -> Table[Any]:
    """Return metrics of one model on purchases; see `Recommender.evaluate`."""
    if held_out is None:
        raise ConfigError(
            "evaluate needs purchases that the model was not trained on: give a table of them; `metrics` holds what "
            "training measured, and recae.evaluate compares kinds of model with baselines"
        )
    lengths = listed("k", k, int, "10 or [10, 20]")
    names = listed("metrics", metrics, str, '["recall", "ndcg"]')
    check_seed(seed)
    if reading.get("inputs") is not None:
        raise ConfigError(
            "evaluate reads purchases alone, and events of the model's own users are in its file: leave inputs out"
        )
    wanted = _fold_in(recommender, held_out, reading)
    if histories is not None:
        seen = _fold_in(recommender, histories, reading)
    else:
        users, own = _scored(recommender)
        seen = Audience(users, own, np.arange(len(users)), wanted.rejected)
    ids = wanted.users.ids(wanted.rows)
    places = seen.users.rows(ids)
    there = places >= 0
    owned = sp.csr_matrix(seen.histories[places[there]])
    looked_for = sp.csr_matrix(wanted.histories[wanted.rows[there]])
    excludes = recommender.excludes_owned(exclude_owned)
    if excludes:
        looked_for = without(looked_for, owned_part(owned, recommender.model.n_items))
        if histories is not None:
            _check_not_learned(recommender, wanted.users.ids(wanted.rows[there]), looked_for)
    if not looked_for.nnz:
        raise DataError(
            f"of the {len(ids):,} users to be measured, the model knows {int(there.sum()):,}, and nothing is left "
            "to be found for them: give purchases of known users and items that they did not own before"
        )
    reasons = wanted.rejected["reason"].to_pylist()
    lost = {"user": int((~there).sum()) + reasons.count(NO_KNOWN_ITEM), "item": reasons.count(NO_ITEM)}
    result = evaluate_lists(
        recommender.model, owned, looked_for, lengths, metrics=names, exclude_owned=excludes
    )
    intervals = list(bootstrap_means(result.values.values(), seed=seed))
    columns = {
        "metric": list(result.values),
        "mean": _known(interval.mean for interval in intervals),
        "low": _known(interval.low for interval in intervals),
        "high": _known(interval.high for interval in intervals),
        "n_users": [int(np.isfinite(values).sum()) for values in result.values.values()],
    }
    said = " and ".join(counted(number, what) for what, number in lost.items() if number)
    left_out = f"; left out as unknown: {said}" if said else ""
    return Table.of(columns, title=f"Measured on {counted(result.n_users, 'user')}{left_out}")


def _check_not_learned(recommender: Recommender, ids: Any, looked_for: sp.csr_matrix) -> None:
    """Check that the model has not learned from the purchases that it is to find.

    Raises:
        ConfigError: it has, so that the figures would not be those of held-out purchases.
    """
    users, owned, learners = recommender.users, recommender.histories, recommender.learners
    if users is None or owned is None or learners is None:
        return
    rows = users.rows(ids)
    learned = (rows >= 0) & learners[np.maximum(rows, 0)]
    known = sp.csr_matrix(owned[rows[learned]])
    again = int(stored_in(sp.csr_matrix(looked_for[learned]), known).sum())
    if again:
        raise ConfigError(
            f"the model has learned from {again:,} of the {looked_for.nnz:,} purchases that it is to find, so that "
            "this would not measure it on held-out ones: give newer purchases, or those of users whom a model trained "
            "with --no-refit (refit=False) has not learned from"
        )


def _known(values: Iterable[float]) -> pa.Array:
    """Return numbers with null for what is not known, such as recall of new items where nobody buys any."""
    return pa.array(list(values), pa.float64(), from_pandas=True)


def _fold_in(recommender: Recommender, source: Any, reading: Mapping[str, Any]) -> Audience:
    words = Words("evaluate", reading)
    taken = take_source(source, words)
    options = (words.options() or ReadOptions()).updated(fewest=1, name_column="")
    words.finish()
    found = taken if isinstance(taken, Interactions) else read(taken, options).interactions
    return fold_in(recommender, found.matrix, found.users, found.items)


def embed(recommender: Recommender, what: str, ids: Sequence[str | int] | None) -> Table[Any]:
    """Return codes or vectors; see `Recommender.embed`."""
    check_text("what", what, "users")
    kind: Any = what  # which is checked now
    schema = embeddings.embedding_schema(recommender, kind)
    covered = embeddings.coverage(recommender)
    title = "" if not covered.left_out else covered.sentence
    if ids is None:
        return Table(pa.Table.from_batches(embeddings.embeddings(recommender, kind), schema), title=title)
    known = recommender.items if what == "items" else embeddings.histories_of(recommender)[0]
    rows = np.array([known.row(one, what[:-1]) for one in id_texts(ids, what[:-1])], dtype=np.int64)
    if what == "items":
        found = pa.Table.from_batches(embeddings.embeddings(recommender, kind), schema)
        return Table(found.take(pa.array(rows)), title=title)
    distinct, place = np.unique(rows, return_inverse=True)  # each is encoded once
    users, histories = embeddings.histories_of(recommender)
    part = replace(
        recommender,
        users=IdMap(users.ids(distinct)),
        histories=sp.csr_matrix(histories[distinct]),
        held_out=None,
    )
    found = pa.Table.from_batches(embeddings.embeddings(part, kind), schema)
    return Table(found.take(pa.array(place)), title=title)


def draw(
    recommender: Recommender,
    kind: str,
    categories: str | Path | None,
    clusters: int | None,
    method: str | None,
    limit: int,
    seed: int,
    progress: Progress | bool | None,
) -> Map:
    """Draw a map; see `Recommender.map`."""
    if categories is not None and clusters is not None:
        raise ConfigError(
            "a map is coloured by categories or by clusters, but both were given; give one of them"
        )
    kinds = None if categories is None else read_categories(categories, recommender.items)
    with following(progress, CountingDisplay) as callbacks:
        return draw_map(
            recommender,
            kind,
            categories=kinds,
            clusters=clusters,
            method=method,
            limit=limit,
            seed=seed,
            on_steps=lambda done: callbacks.on_count("laying out", done, STEPS),
        )


def _check_count(n: object, what: str = "items") -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ConfigError(
            f"n is how many {what} are wanted, a whole number from 1 on, found {brief(n)}: give one"
        )
