"""The race of a blend's trained part: when it is judged, by what, and that it ends nothing that brings something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recae.models import ItemKNN, Model, Popularity
from recae.selection.blend import BlendSettings, fit_blend
from recae.selection.fit import fit_kind
from recae.selection.race import EPOCHS_AT_LEAST, Race, Weighed
from recae.splits.parts import fold_in_split
from recae.training.callbacks import Hooks
from recae.training.config import SigmoidSettings
from recae.training.kinds.baselines import ItemKNNSettings, PopularitySettings
from recae.training.kinds.sigmoid import fit_sigmoid

Pair = tuple[sp.csr_matrix, sp.csr_matrix]


def tastes(n_users: int, seed: int) -> sp.csr_matrix:
    """Users of four tastes, each with a quarter of 40 items and some noise."""
    rng = np.random.default_rng(seed)
    owned = rng.random((n_users, 40)) < np.where(
        np.arange(n_users)[:, None] % 4 == np.arange(40) % 4, 0.5, 0.04
    )
    owned[:, :2] |= owned.sum(1)[:, None] < 2
    return sp.csr_matrix(owned.astype(np.float32))


@pytest.fixture(scope="module")
def pair() -> Pair:
    return fold_in_split(tastes(80, 5), 0.3, rng=np.random.default_rng(5))


CONFIGS: dict[str, Any] = {
    "sigmoid": SigmoidSettings(factors=8, epochs=40),
    "itemknn": ItemKNNSettings(k=5),
    "popularity": PopularitySettings(),
}


def race(pair: Pair, hooks: Hooks | None = None, **of_sigmoid: Any) -> Race | None:
    configs = {**CONFIGS, "sigmoid": CONFIGS["sigmoid"].updated(**of_sigmoid)}
    return Race.of(tastes(120, 0), configs, pair, hooks or Hooks(), exclude_owned=True, judged=80)


def test_a_part_is_judged_once_the_others_are_there(pair: Pair) -> None:
    found = race(pair, factors=1024)  # which takes so long that they are
    assert found is not None
    assert found.epoch == EPOCHS_AT_LEAST
    quick = race(pair)
    assert quick is not None
    assert EPOCHS_AT_LEAST < quick.epoch <= 20
    assert quick.epoch == (race(pair) or quick).epoch


@pytest.mark.parametrize(
    "settings", [{"epochs": 30}, {"factors": 1024, "epochs": 9}, {"factors": 1024, "tied": True}]
)
def test_nothing_is_judged_where_little_would_be_saved(pair: Pair, settings: dict[str, Any]) -> None:
    assert race(pair, **settings) is None


def test_nothing_is_judged_without_others_or_in_several_processes(pair: Pair) -> None:
    matrix, alone = tastes(120, 0), {"sigmoid": SigmoidSettings(factors=1024, epochs=40)}
    assert Race.of(matrix, alone, pair, Hooks(), exclude_owned=True, judged=80) is None
    engine: Any = object()
    assert race(pair, Hooks(engine=engine), factors=1024) is None


def test_the_loop_ends_where_it_is_told(pair: Pair) -> None:
    asked: list[tuple[int, Model]] = []

    def enough(model: Model, epoch: int) -> bool:
        asked.append((epoch, model))
        return epoch == 3

    qualities = iter([0.2, 0.3, 0.1, 0.5])
    hooks = Hooks(validate=lambda model: next(qualities), enough=enough)
    model, epochs = fit_sigmoid(tastes(120, 0), SigmoidSettings(factors=8, epochs=6), hooks)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert [epoch for epoch, _ in asked] == [1, 2, 3]
    assert asked[1][1] is asked[2][1] is model  # the best so far


def put_together(pair: Pair, worst: bool, messages: list[str]) -> tuple[Model, list[Any], dict[str, Any]]:
    """Fit a blend whose sigmoid part scores in no order at all if it is the worst."""

    def fit(
        kind: str, values: Mapping[str, Any], matrix: sp.csr_matrix, validation: Pair | None, hooks: Hooks
    ) -> Any:
        if kind == "sigmoid" and worst:
            rng = np.random.default_rng(0)
            matrix = sp.csr_matrix((rng.random(matrix.shape) < 0.2).astype(np.float32))
        if kind == "itemknn" and not worst:
            matrix = sp.csr_matrix(matrix.multiply(np.arange(40) % 2))  # knows half of the items only
            matrix.eliminate_zeros()
        return fit_kind(kind, values, matrix, validation, replace(hooks, solved=None, neighbours=None))

    parts = {"sigmoid.factors": 8, "sigmoid.epochs": 12, "sigmoid.patience": 12, "itemknn.k": 5}
    config = BlendSettings(components="sigmoid,itemknn,popularity", parts=parts)
    return fit_blend(tastes(120, 0), config, pair, Hooks(on_message=messages.append), fit=fit)


@pytest.mark.parametrize("worst", [True, False])
def test_only_what_brings_nothing_is_ended(pair: Pair, worst: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Race, "of", lambda *args, **options: Race(5, pair, exclude_owned=True))
    messages: list[str] = []
    _, epochs, report = put_together(pair, worst, messages)
    said = "sigmoid ends after 5 epochs: the other parts are no better with it"
    assert (said in messages) is worst
    assert len(epochs) == (5 if worst else 12)
    assert ("sigmoid" in report["blend"]["weights"]) is not worst
    assert set(report["blend"]["validation_ndcg@20"]) == {"sigmoid", "itemknn", "popularity", "blend"}


def test_it_is_weighed_by_the_rule_of_the_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = tastes(120, 0)
    models: dict[str, Model] = {"sigmoid": Popularity.fit(tastes(30, 9)), "itemknn": ItemKNN.fit(matrix, k=5)}
    found = Race(5, pair, exclude_owned=True)
    weighed = Weighed.of(models, pair, exclude_owned=True)
    assert found.ends(models) is (weighed.weights["sigmoid"] == 0) is True
    assert found.lost is not None
    assert found.lost.weights == weighed.weights
    assert weighed.alone("itemknn") == pytest.approx(weighed.together())
    better = Race(5, pair, exclude_owned=True)
    assert not better.ends({"sigmoid": models["itemknn"], "popularity": models["sigmoid"]})
    assert better.lost is None


def test_it_ends_alike_with_one_processor(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from recae.selection import beside

    monkeypatch.setattr(Race, "of", lambda *args, **options: Race(5, pair, exclude_owned=True))
    found = []
    for number in (1, 2):
        monkeypatch.setattr(beside, "processors", partial(int, number))
        messages: list[str] = []
        model, epochs, _ = put_together(pair, True, messages)
        found.append((len(epochs), {name: array.tobytes() for name, array in model.arrays().items()}))
        assert messages.count("fitting itemknn") == 1
    assert found[0] == found[1]
