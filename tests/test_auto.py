"""Trying kinds of model: which, in which order, within which budget, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from known import MATRIX, PAIR, USERS, Known

from recae.errors import TrainingError
from recae.files import json_text
from recae.kinds import SETTINGS
from recae.models import Model
from recae.models.blend import Blend
from recae.selection import auto as search
from recae.selection import trial
from recae.selection.auto import AutoSettings, fit_auto
from recae.selection.fit import fit_settings, make_settings
from recae.text import human_seconds
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


Fit = Callable[[Hooks], Known]


@dataclass
class World:
    clock: Clock
    fits: dict[str, Fit]
    tried: list[tuple[str, dict[str, Any]]]
    said: list[str]

    def fit(
        self, kind: str, values: Any, matrix: Any, validation: Any = None, hooks: Any = None, **rest: Any
    ) -> Any:
        self.tried.append((kind, dict(values)))
        return self.fits[kind](hooks), []

    def run(self, **config: Any) -> tuple[Model, list[Epoch], dict[str, Any]]:
        hooks = Hooks(on_message=self.said.append)
        model, epochs, report = fit_auto(MATRIX, AutoSettings(**config), PAIR, hooks, fit=self.fit)
        json_text(report, "report")  # JSON values alone
        return model, epochs, report["auto"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Fits that take no time, of models that know ever more, unless a test says otherwise."""
    ranks = ["popularity", "itemknn", "sparse-linear", "ease", "sigmoid", "multvae"]

    def fit_of(kind: str) -> Fit:
        return lambda hooks: Known(5 + 5 * ranks.index(kind) if kind in ranks else 1)

    world = World(Clock(), {kind: fit_of(kind) for kind in SETTINGS}, [], [])
    for module in (search, trial):
        monkeypatch.setattr(module, "time", world.clock)
    monkeypatch.setattr(
        search, "seconds_for", lambda kind, size: {"multvae": 50.0, "sigmoid": 20.0}.get(kind, 1.0)
    )
    return world


def kinds(report: dict[str, Any]) -> list[str]:
    return [row["kind"] for row in report["tried"]]


def reasons(report: dict[str, Any]) -> dict[str, str]:
    return {row["kind"]: row["reason"] for row in report["skipped"]}


# what is tried


def test_everything_is_tried_in_the_order_of_value_for_time(world: World) -> None:
    model, epochs, report = world.run(candidates="als,ease,sigmoid,multvae")
    assert kinds(report) == ["popularity", "itemknn", "ease", "als", "sigmoid", "multvae"]
    assert isinstance(model, Known)
    assert model.known == 30
    assert epochs == []
    assert report["chosen"] == "multvae"
    assert report["skipped"] == []
    assert report["n_users"] == USERS
    assert [row["ndcg@20"] for row in report["tried"]] == pytest.approx(
        [n / 40 for n in (5, 10, 20, 1, 25, 30)]
    )
    best, gap = report["tried"][-1], report["tried"][0]
    assert best["behind_the_best"] == [0, 0, 0]
    assert gap["behind_the_best"][0] == pytest.approx(25 / 40)
    assert gap["behind_the_best"][1] > 0
    low, high = best["interval"]
    assert low < 0.75 < high
    assert world.said[0].startswith("trying popularity, itemknn, ease, als, sigmoid, multvae within 10 min")
    assert world.said[-1] == f"auto: {report['why']}"
    assert any(line.startswith("als 0.0250 [") for line in world.said)


def test_ease_stands_for_its_approximation(world: World) -> None:
    _, _, report = world.run()
    assert "ease" in kinds(report)
    assert reasons(report)["sparse-linear"] == "ease fits, of which it is an approximation"
    assert "frequency" not in reasons(report)  # nothing that people should be told of


def test_sparse_linear_takes_the_place_of_what_does_not_fit(world: World) -> None:
    def large(hooks: Hooks) -> Known:
        raise TrainingError("a weight for each pair needs 99 GiB: use the kind 'sparse-linear'")

    world.fits["ease"] = large
    _, _, report = world.run()
    assert "99 GiB" in reasons(report)["ease"]
    assert "sparse-linear" in kinds(report)
    assert any(line.startswith("ease is left out: a weight") for line in world.said)


def test_all_that_are_named_are_tried(world: World) -> None:
    _, _, report = world.run(candidates="sparse-linear, ease,,popularity")
    assert sorted(kinds(report)) == ["ease", "itemknn", "popularity", "sparse-linear"]


def test_settings_reach_the_candidates(world: World) -> None:
    world.run(candidates="sigmoid", parts={"sigmoid.factors": 3, "sigmoid.seed": 9}, seed=4)
    assert dict(world.tried) == {
        "popularity": {"seed": 4},
        "itemknn": {"seed": 4},
        "sigmoid": {"seed": 9, "factors": 3},
    }


def test_frequency_is_for_repeat_purchases(world: World) -> None:
    _, _, report = world.run(candidates="frequency")
    assert "repeat purchases" in reasons(report)["frequency"]
    report = fit_auto(MATRIX, AutoSettings(), PAIR, Hooks(), exclude_owned=False, fit=world.fit)[2]["auto"]
    assert "frequency" in kinds(report)


def test_memory_that_runs_out_is_a_reason(world: World) -> None:
    def large(hooks: Hooks) -> Known:
        raise MemoryError

    world.fits["sigmoid"] = large
    assert reasons(world.run(candidates="sigmoid")[2]) == {"sigmoid": "there is not enough memory for it"}
    for kind in ("popularity", "itemknn"):
        world.fits[kind] = large
    with pytest.raises(
        TrainingError, match=r"none of the candidates .*popularity: there is not enough memory"
    ):
        world.run(candidates="sigmoid")


def test_an_interruption_is_not_swallowed(world: World) -> None:
    def interrupted(hooks: Hooks) -> Known:
        raise KeyboardInterrupt

    world.fits["ease"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        world.run()
    assert [kind for kind, _ in world.tried] == ["popularity", "itemknn", "ease"]


# the budget


def test_what_does_not_fit_into_the_budget_is_left_out(world: World) -> None:
    def as_expected(hooks: Hooks) -> Known:
        world.clock.now += 21
        return Known(25)

    world.fits["sigmoid"] = as_expected
    _, _, report = world.run(budget="30s", candidates="sigmoid,multvae")
    assert kinds(report) == ["popularity", "itemknn", "sigmoid"]
    assert reasons(report) == {"multvae": "it takes about 47 s, and of 30 s 9.0 s are left"}


def test_popularity_and_item_knn_are_tried_however_short_it_is(world: World) -> None:
    def slow(hooks: Hooks) -> Known:
        world.clock.now += 50
        return Known(3)

    world.fits["popularity"] = slow
    _, _, report = world.run(budget=1, candidates="als")
    assert kinds(report) == ["popularity", "itemknn"]
    assert reasons(report) == {"als": "it takes about 4.9 s, and of 1.0 s 0.0 s are left"}


def test_what_ran_corrects_what_is_expected(world: World) -> None:
    def slow(hooks: Hooks) -> Known:
        world.clock.now += 46
        return Known(3)

    world.fits["ease"] = slow
    _, _, report = world.run(budget="101s", candidates="ease,sigmoid")
    # 10 s that were expected and 3 of the first three, of which the last took 45 besides the imports
    assert reasons(report) == {"sigmoid": "it takes about 85 s, and of 1.7 min 55 s are left"}


def test_a_small_surprise_does_not_stop_what_takes_long(world: World) -> None:
    def slow(hooks: Hooks) -> Known:
        world.clock.now += 8  # a library is imported, say: eight times as long as expected
        return Known(3)

    world.fits["ease"] = slow
    _, _, report = world.run(budget="60s", candidates="ease,sigmoid")
    assert "sigmoid" in kinds(report)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (99, "99 s"),
        (100, "1.7 min"),
        (600, "10 min"),
        (5939, "99 min"),
        (7200, "2 h"),
    ],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def trained(world: World, epochs: int, seconds: float) -> Fit:
    """A training of epochs that take long, each knowing one user more."""

    def fit(hooks: Hooks) -> Known:
        model = Known(20)
        for epoch in range(1, epochs + 1):
            for done in (1, 2):
                world.clock.now += seconds / 2
                assert hooks.on_users is not None
                hooks.on_users(done)
            model = Known(20 + epoch)
            assert hooks.validate is not None
            recall = hooks.validate(model)
            assert recall == pytest.approx((20 + epoch) / 40)
            assert hooks.on_epoch is not None
            hooks.on_epoch(Epoch(epoch, 1.0, seconds, 1.0, recall))
        return model

    return fit


def test_a_training_is_stopped_by_the_end_of_the_budget_and_its_best_epoch_counts(world: World) -> None:
    world.fits["sigmoid"] = trained(world, 10, 10)
    model, epochs, report = world.run(budget="35s", candidates="sigmoid,als")
    assert isinstance(model, Known)
    assert model.known == 23
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert report["tried"][-1]["note"] == "stopped after epoch 3 by the end of the budget"


def test_a_training_without_an_epoch_in_time_is_left_out(world: World) -> None:
    world.fits["sigmoid"] = trained(world, 1, 100)
    _, _, report = world.run(budget="35s", candidates="sigmoid")
    assert reasons(report) == {"sigmoid": "it did not finish an epoch within the budget"}


def test_a_search_for_neighbours_stops_in_time(world: World) -> None:
    def neighbours(hooks: Hooks) -> Known:
        for known in (7, 9, 8, 11):
            world.clock.now += 10
            assert hooks.validate is not None
            hooks.validate(Known(known))
        return Known(11)

    world.fits["itemknn"] = neighbours
    model, _, report = world.run(budget="25s", candidates="als")
    assert isinstance(model, Known)
    assert model.known == 9
    assert report["tried"][1]["note"] == "stopped by the end of the budget"


def test_progress_is_handed_on(world: World) -> None:
    world.fits["sigmoid"] = trained(world, 2, 1)
    told: list[Any] = []
    hooks = Hooks(on_users=told.append, on_epoch=lambda epoch: told.append(epoch.epoch))
    fit_auto(MATRIX, AutoSettings(candidates="sigmoid"), PAIR, hooks, fit=world.fit)
    assert told == [1, 2, 1, 1, 2, 2]


# blends


@pytest.fixture
def halves(world: World) -> World:
    """Two kinds that know half of the users each, and one that knows a few."""
    world.fits["itemknn"] = lambda hooks: Known(20, wrong=0)
    world.fits["ease"] = lambda hooks: Known(USERS, first=20, wrong=0)
    return world


def test_a_blend_is_of_those_that_were_tried(halves: World) -> None:
    model, _, report = halves.run(candidates="ease,blend")
    found = {row["kind"]: row for row in report["tried"]}
    assert report["chosen"] == model.kind == "blend"
    assert found["blend"]["ndcg@20"] == 1.0
    assert found["ease"]["ndcg@20"] == found["itemknn"]["ndcg@20"] == 0.5
    assert sorted(found["blend"]["settings"]["components"].split(",")) == ["ease", "itemknn"]
    assert " + " in found["blend"]["note"]
    assert isinstance(model, Blend)
    assert {type(part.model) for part in model.parts} == {Known}
    assert [kind for kind, _ in halves.tried] == ["popularity", "itemknn", "ease"]  # nothing is fitted twice


def test_a_blend_is_of_three_at_most(halves: World) -> None:
    for kind, first, last in (("als", 0, 23), ("bpr", 19, USERS), ("sigmoid", 9, 31)):
        halves.fits[kind] = lambda hooks, first=first, last=last: Known(last, first=first, wrong=0)
    _, _, report = halves.run(candidates="ease,als,bpr,sigmoid,blend")
    parts = report["tried"][-1]["settings"]["components"].split(",")
    assert 2 <= len(parts) <= 3
    assert set(parts) <= {"sigmoid", "bpr", "als"}


def test_a_blend_of_one_is_none(halves: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.Candidates, "choose", lambda self: np.array([0.0, 1.0]))
    _, _, report = halves.run(candidates="ease,blend")
    assert reasons(report)["blend"].startswith("no blend is distinguishably better than ")


def test_a_blend_needs_two(world: World) -> None:
    _, _, report = world.run(candidates="blend")
    assert reasons(report) == {"blend": "it needs two models to blend, besides popularity"}


def test_all_kinds_for_real() -> None:
    """No stand-ins: a small shop, a budget, and the registry as it is."""
    said: list[str] = []
    pairs = (sp.csr_matrix(MATRIX[:50]), sp.csr_matrix(MATRIX[50:100] - MATRIX[50:100].multiply(MATRIX[:50])))
    pairs[1].eliminate_zeros()
    parts = {"sigmoid.factors": 4, "sigmoid.epochs": 2, "multvae.layers": "4", "multvae.epochs": 1}
    config = make_settings("auto", {"budget": "5m", **parts})
    fitted = fit_settings("auto", config, MATRIX[100:], pairs, Hooks(on_message=said.append))
    report = fitted.report["auto"]
    assert {"popularity", "itemknn", "ease", "sigmoid", "multvae"} <= set(kinds(report))
    assert fitted.model.kind == report["chosen"]
    again = fit_settings("auto", config, MATRIX[100:], pairs, Hooks())
    assert again.report == fitted.report
    assert json_text(again.model.config(), "c") == json_text(fitted.model.config(), "c")
