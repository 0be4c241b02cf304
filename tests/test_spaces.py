"""The spaces of settings: for every kind, valid from end to end, and narrowed by what is chosen already."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.kinds import SETTINGS
from recae.kinds.space import DIGITS, REACH, Dimension
from recae.models.itemknn import ItemKNN, Neighbours, Weighting
from recae.selection.fit import fit_kind, make_settings
from recae.selection.space import space, trials
from recae.training.kinds.baselines import NEIGHBOURS

SEARCHED = [kind for kind in SETTINGS if kind not in ("auto", "event-linear", "popularity")]


@pytest.mark.parametrize("kind", SEARCHED)
def test_every_end_of_every_range_is_a_valid_setting(kind: str) -> None:
    dimensions = space(kind)
    assert dimensions
    corners = itertools.product((0.0, 1.0), repeat=len(dimensions))
    if len(dimensions) > 9:  # those of a blend's parts together have thousands
        drawn = np.random.default_rng(0).integers(0, 2, (500, len(dimensions))).astype(float)
        corners = iter([*map(tuple, drawn.tolist()), *map(tuple, np.eye(len(dimensions)).tolist())])
    for ends in corners:
        make_settings(kind, {d.name: d.at(end) for d, end in zip(dimensions, ends, strict=True)})
    for dimension in dimensions:
        for n in range(len(dimension.choices)):
            make_settings(kind, {dimension.name: dimension.choices[n]})


@pytest.mark.parametrize("kind", [*SEARCHED, "popularity"])
def test_trials_begin_with_the_defaults_and_are_all_different(kind: str) -> None:
    found = trials(kind, 12)
    assert found[0] == {}
    assert 1 <= len(found) <= 12
    assert all(found.count(each) == 1 for each in found)
    assert trials(kind, 5) == found[:5]
    for settings in found:
        make_settings(kind, settings)
        for name, value in settings.items():
            (dimension,) = [d for d in space(kind) if d.name == name]
            if dimension.scale == "list":
                assert value in dimension.choices
            else:
                assert dimension.low <= value <= dimension.high


def test_trials_of_itemknn_compare_the_items_once_a_weighting(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    original = Neighbours.of

    def counted(matrix: sp.csr_matrix, k: int, weighting: Weighting = "tfidf", *rest: Any) -> Neighbours:
        compared.append(weighting)
        return original(matrix, k, weighting, *rest)

    monkeypatch.setattr(Neighbours, "of", counted)
    bought = sp.random(
        60, 30, density=0.3, format="csr", dtype=np.float32, random_state=np.random.default_rng(1)
    )
    held_out = sp.random(
        60, 30, density=0.1, format="csr", dtype=np.float32, random_state=np.random.default_rng(2)
    )
    chosen = [
        fit_kind("itemknn", settings, bought, (bought, held_out), exclude_owned=False)[0].config()
        for settings in trials("itemknn", 12)
    ]
    assert compared == ["tfidf", "bm25", "cosine"] == [config["weighting"] for config in chosen]
    for config in chosen:
        best = max(
            NEIGHBOURS,
            key=lambda k: recall(original(bought, k, config["weighting"]).model(k), bought, held_out),
        )
        assert config["k"] == best


def recall(model: ItemKNN, bought: sp.csr_matrix, held_out: sp.csr_matrix) -> float:
    return evaluate(model, bought, held_out, (20,), exclude_owned=False).mean("recall@20")


def test_another_seed_fills_the_space_elsewhere() -> None:
    assert trials("ease", 4) == trials("ease", 4)
    assert trials("ease", 4) != trials("ease", 4, seed=1)
    assert trials("ease", 0) == []


def test_trials_fill_the_middle_of_the_first_settings_evenly() -> None:
    low, high = 2.0, 5000.0
    shares = [(settings["l2"] / low, settings["user_power"]) for settings in trials("ease", 41)[1:]]
    logs = [math.log(ratio) / math.log(high / low) for ratio, _ in shares]
    for values in (logs, [power for _, power in shares]):
        assert min(values) >= 0.2 - 1e-3
        assert max(values) <= 0.8 + 1e-3
        for quarter in range(4):  # 10 of 40 in each, within the discrepancy of the sequence
            inside = [v for v in values if 0.2 + 0.15 * quarter <= v < 0.35 + 0.15 * quarter]
            assert 7 <= len(inside) <= 13


def test_what_is_chosen_is_not_searched() -> None:
    assert "factors" in [d.name for d in space("sigmoid")]
    assert "factors" not in [d.name for d in space("sigmoid", {"factors": 32})]
    tied = [d.name for d in space("sigmoid", {"tied": True})]
    assert "learning_rate" not in tied
    assert "encoder_learning_rate" not in tied
    deep = [d.name for d in space("deep", {"loss": "multinomial"})]
    assert "purchase_weight" not in deep
    assert "output_learning_rate" not in deep
    assert "encoder_learning_rate" not in [d.name for d in space("deep", {"tied": True})]


def test_a_blend_has_the_first_settings_of_its_parts() -> None:
    found = [d.name for d in space("blend", {"components": "ease, itemknn", "ease.l2": 3.0})]
    assert found == [
        "ease.user_power",
        "ease.item_power",
        "ease.owned_power",
        "itemknn.k",
        "itemknn.weighting",
    ]
    kinds = ("sigmoid", "sparse-linear", "ease", "spectral", "itemknn")  # popularity has no settings
    assert [d.name for d in space("blend")] == [f"{kind}.{d.name}" for kind in kinds for d in space(kind)[:3]]


def test_kinds_without_a_space() -> None:
    assert space("popularity") == space("event-linear") == ()
    assert trials("popularity", 5) == [{}]
    with pytest.raises(ConfigError, match="auto tries several kinds by itself"):
        space("auto")
    with pytest.raises(ConfigError, match="did you mean 'sigmoid'"):
        space("sigmod")


# dimensions


def test_values_are_spread_as_the_scale_says() -> None:
    assert Dimension("a", "float", 1, 3).at(0.5) == 2
    assert Dimension("a", "log-float", 1, 100).at(0.5) == pytest.approx(10)
    whole = Dimension("a", "log-int", 10, 1000).at(0.5)
    assert whole == 100
    assert isinstance(whole, int)
    choice = Dimension("a", "list", choices=("x", "y"))
    assert [choice.at(share) for share in (0, 0.49, 0.5, 1)] == ["x", "x", "y", "y"]


def test_values_are_tidied() -> None:
    assert Dimension("a", "float", 0, 1).tidy(0.123456) == float(f"{0.123456:.{DIGITS}g}")
    assert Dimension("a", "log-float", 0.5, 2).tidy(7) == 2
    assert Dimension("a", "int", 1, 9).tidy(3.6) == 4
    assert Dimension("a", "list", choices=("x",)).tidy("x") == "x"


def test_around_a_default() -> None:
    even = Dimension("a", "float", 0, 1).around(0.5)
    assert (even.low, even.high) == pytest.approx((0.5 - REACH, 0.5 + REACH))
    edge = Dimension("a", "float", 0, 1).around(0.9)
    assert (edge.low, edge.high) == pytest.approx((0.9 - REACH, 1.0))
    beyond = Dimension("a", "log-float", 1, 100).around(
        400
    )  # a default that lies outside is in reach all the same
    assert beyond.low <= 100
    assert beyond.high == 400
    log = Dimension("a", "log-float", 1, 100).around(10)
    assert log.low == pytest.approx(10 / 100**REACH, rel=1e-2)
    assert log.high == pytest.approx(10 * 100**REACH, rel=1e-2)
    choice = Dimension("a", "list", choices=("x", "y"))
    assert choice.around("x") == choice
    assert choice.around("z").choices == ("x", "y", "z")


def test_in_words() -> None:
    assert Dimension("l2", "log-float", 2, 5000).in_words() == "l2 2 to 5000"
    assert Dimension("w", "list", choices=("a", "b")).in_words() == "w a or b"
