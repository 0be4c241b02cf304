"""Weights of a blend after an update: those by which its parts, as they were, find what users have bought since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

import recae as package
from recae.inputs import EventInputs
from recae.models import Blend
from recae.models.blend import Part
from recae.recommender import Recommender
from recae.selection.fit import fit_simple, make_settings
from recae.selection.weights import fit_spread
from recae.training.callbacks import Hooks
from recae.updating.union import joined
from recae.updating.update import Updated
from recae.updating.update import update as updated
from recae.updating.weighing import weighed_again

TASTES = 5
ITEMS = 40


def bought(n_users: int, rng: np.random.Generator, like: float, unlike: float) -> np.ndarray[Any, Any]:
    """Who owns what, (users, ITEMS): items of the user's own group are bought more often than others."""
    same = np.arange(n_users)[:, None] % TASTES == np.arange(ITEMS) % TASTES
    return rng.random((n_users, ITEMS)) < np.where(same, like, unlike)


def shop(seed: int, like: float = 0.4) -> tuple[np.random.Generator, np.ndarray[Any, Any]]:
    """A source of draws, and who owns what of 400 users, each of whom owns something."""
    rng = np.random.default_rng(seed)
    owned = bought(400, rng, like, 0.1)
    owned[:, 0] = True
    return rng, owned


def rows_of(owned: np.ndarray[Any, Any]) -> list[tuple[str, str]]:
    return [(f"u{u:03}", f"i{i:02}") for u, i in np.argwhere(owned)]


def blend_of(owned: np.ndarray[Any, Any], weights: dict[str, float], **metadata: Any) -> Recommender:
    """A recommender whose model is a blend of kinds with these weights."""
    trained = package.train(rows_of(owned), "popularity", progress=False)
    histories = trained.histories
    assert histories is not None
    assert histories.shape[1] == ITEMS
    parts = []
    for kind, weight in weights.items():
        model = fit_simple(kind, histories, make_settings(kind, {}))[0]
        parts.append(Part(model, weight, fit_spread(model, histories)))
    settings = {"components": ",".join(weights), "seed": 0}
    report = {"validation_ndcg@20": {}, "weights": dict(weights)}
    return Recommender(
        model=Blend(tuple(parts), settings),
        users=trained.users,
        items=trained.items,
        item_names=None,
        histories=histories,
        metadata={**trained.metadata, "blend": report, **metadata},
    )


def with_new(old: Recommender, rows: list[tuple[str, str]]) -> tuple[Updated, list[str]]:
    told: list[str] = []
    return updated(old, rows, progress=package.Progress(on_message=told.append)), told


def weights_of(recommender: Recommender) -> dict[str, float]:
    assert isinstance(recommender.model, Blend)
    return {part.model.kind: part.weight for part in recommender.model.parts}


def spreads_of(recommender: Recommender) -> dict[str, tuple[float, float]]:
    assert isinstance(recommender.model, Blend)
    return {part.model.kind: part.spread for part in recommender.model.parts}


def plain_ndcg(old: Recommender, weights: dict[str, float], new: list[tuple[str, str]]) -> float:
    """Mean NDCG@20 over the users with new items, by whole sorted lists in plain Python."""
    assert isinstance(old.model, Blend)
    assert old.users is not None
    assert old.histories is not None
    users = {user: n for n, user in enumerate(old.users.ids(np.arange(len(old.users))).to_pylist())}
    items = {item: n for n, item in enumerate(old.items.ids(np.arange(len(old.items))).to_pylist())}
    wanted: dict[int, set[int]] = {}
    for user, item in new:
        if user in users and item in items and not old.histories[users[user], items[item]]:
            wanted.setdefault(users[user], set()).add(items[item])
    found = []
    for user, asked in wanted.items():
        history = sp.csr_matrix(old.histories[user])
        total = np.zeros(len(items))
        for part in old.model.parts:
            a, b = part.spread
            total += weights[part.model.kind] * part.model.score(history)[0] / (a * history.nnz**b)
        total[history.indices] = -np.inf
        order = sorted(range(len(items)), key=lambda item: -total[item])
        gain = sum(1 / np.log2(place + 2) for place, item in enumerate(order[:20]) if item in asked)
        found.append(gain / sum(1 / np.log2(place + 2) for place in range(min(len(asked), 20))))
    return float(np.mean(found))


def test_the_part_that_finds_what_was_bought_since_weighs_more() -> None:
    rng, owned = shop(1)
    present = {"itemknn": 0.1, "popularity": 0.9}
    old = blend_of(owned, present)
    new = rows_of(bought(400, rng, 0.3, 0.01) & ~owned)
    found, told = with_new(old, new)
    weights = weights_of(found.recommender)
    assert weights["itemknn"] > 0.3
    assert abs(sum(weights.values()) - 1) < 1e-3
    assert plain_ndcg(old, weights, new) > plain_ndcg(old, present, new) + 0.01
    assert found.recommender.metadata["blend"]["weights"] == weights
    assert any(
        "the weights of the blend are now" in line and "users have bought since" in line for line in told
    )
    assert spreads_of(found.recommender)["itemknn"] == spreads_of(old)["itemknn"]
    assert weights_of(old) == present


def test_purchases_without_a_pattern_change_no_weight() -> None:
    rng, owned = shop(2, like=0.3)
    present = {"itemknn": 0.6, "popularity": 0.4}
    old = blend_of(owned, present)
    found, told = with_new(old, rows_of((rng.random(owned.shape) < 0.1) & ~owned))
    assert weights_of(found.recommender) == present
    assert found.recommender.metadata["blend"] == old.metadata["blend"]
    assert any("the weights of the blend stay 0.60 itemknn, 0.40 popularity" in line for line in told)


def test_few_users_change_no_weight() -> None:
    rng, owned = shop(3)
    present = {"itemknn": 0.1, "popularity": 0.9}
    old = blend_of(owned, present)
    new = bought(400, rng, 0.3, 0.01) & ~owned
    new[99:] = False
    strangers = [(f"v{n}", "i01") for n in range(50)]
    unseen = [(f"u{n:03}", "new") for n in range(200, 300)]
    found, told = with_new(old, rows_of(new) + strangers + unseen)
    assert weights_of(found.recommender) == present
    assert any("stay: fewer than 100 known users bought known items" in line for line in told)


def test_a_part_that_weighs_nothing_is_no_blend_to_weigh() -> None:
    rng, owned = shop(4)
    old = blend_of(owned, {"itemknn": 1.0, "popularity": 0.0})
    found, told = with_new(old, rows_of(bought(400, rng, 0.3, 0.01) & ~owned))
    assert weights_of(found.recommender) == {"itemknn": 1.0, "popularity": 0.0}
    assert not any("weights of the blend" in line for line in told)


def test_what_is_bought_again_counts_where_repeats_do() -> None:
    """Items that are owned are to be found there, too, and personal frequency finds nothing else."""
    rng, owned = shop(5)
    present = {"frequency": 0.1, "popularity": 0.9}
    again = owned & (rng.random(owned.shape) < 0.3)
    for repeats in (True, False):
        old = blend_of(owned, present, repeats=repeats)
        union = joined(old, package.read(rows_of(again)).interactions)
        weighing = weighed_again(old, union)
        assert weighing is not None
        assert (weighing.users > 0) == repeats
        assert weighing.changed == repeats
        assert (weighing.model.parts[0].weight > 0.3) == repeats


def test_owned_items_are_not_wanted_of_users_with_other_events() -> None:
    rng, owned = shop(7)
    known = blend_of(owned, {"popularity": 0.5, "itemknn": 0.5})
    assert known.histories is not None
    carts = EventInputs.of(["cart"], [sp.csr_matrix((rng.random((400, ITEMS)) < 0.1).astype(np.float32))])
    settings = make_settings("event-linear", {"strengths": "cart=1", "l2": 20.0})
    linear = fit_simple("event-linear", known.histories, settings, Hooks(inputs=carts))[0]
    assert isinstance(known.model, Blend)
    parts = (known.model.parts[1], Part(linear, 0.5, fit_spread(linear, known.histories)))
    model = replace(known, model=Blend(parts, known.model.settings), events=carts)
    again = [(f"u{u:03}", f"i{i:02}") for u, i in np.argwhere(owned) if u < 300]
    fresh = [(f"u{u:03}", f"i{int(np.flatnonzero(~owned[u])[0]):02}") for u in range(250, 370)]
    purchases = package.read(again + fresh).interactions
    found = weighed_again(model, joined(model, purchases))
    assert found is not None
    assert found.users == len(fresh)  # whoever bought nothing but what they owned says nothing of the weights
