"""Which of several models is chosen and why, and what may be asked of --kind auto."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from known import ITEMS, MATRIX, PAIR, Known

from recae.errors import ConfigError
from recae.kinds import SETTINGS, Size, seconds_for
from recae.selection.auto import AutoSettings, Tried, choose, fit_auto, seconds_of
from recae.selection.fit import fit_kind, fit_settings
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints

# the choice


def trial(name: str, values: list[float], cost: float = 1.0, size: int = 1) -> Tried:
    return Tried(name, Known(0, size), [], {}, np.array(values), cost)


def noisy(mean: float, seed: int = 0) -> list[float]:
    values = np.random.default_rng(seed).uniform(-0.2, 0.2, 200)
    return list(mean + values - values.mean())


def test_the_best_is_chosen_where_it_stands_out() -> None:
    choice = choose([trial("a", noisy(0.3)), trial("b", noisy(0.5, 1), cost=100), trial("c", noisy(0.4, 2))])
    assert choice.chosen.name == "b"
    assert choice.why.startswith("b 0.5000 [0.4")
    assert "is chosen, the best; c 0.4000 comes next, 0.1000 [0.0" in choice.why
    assert [round(gap.mean, 6) for gap in choice.behind] == [0.2, 0, 0.1]


def test_the_cheaper_of_two_that_cannot_be_told_apart_is_chosen() -> None:
    best, cheap = trial("blend", noisy(0.5), 100, 10**6), trial("sigmoid", noisy(0.499, 1), 10, 10**3)
    choice = choose([cheap, best])
    assert choice.chosen is cheap
    assert choice.why == (
        f"blend 0.5000 [{best.interval.low:.4f}, {best.interval.high:.4f}]; sigmoid 0.4990: not distinguishable, "
        "chosen because it is smaller and faster to fit"
    )


@pytest.mark.parametrize(
    ("cost", "size", "words"),
    [(200, 1, "smaller"), (1, 10**9, "faster to fit"), (1, 10, "smaller and faster to fit")],
)
def test_what_makes_it_cheaper_is_said(cost: float, size: int, words: str) -> None:
    best, other = (
        trial("a", noisy(0.5), 150, 2 * 10**9 if size < 10**9 else 10**8),
        trial("b", noisy(0.4999, 1), cost, size),
    )
    if size == 10**9:
        best = trial("a", noisy(0.5), 150, 10**8)
    assert choose([best, other]).why.endswith(f"chosen because it is {words}")


def test_half_a_percent_is_too_much_for_being_cheap() -> None:
    best, cheap = trial("a", noisy(0.5), 100), trial("b", noisy(0.497, 1), 1)
    choice = choose([best, cheap])
    assert choice.behind[1].low < 0 < choice.behind[1].high  # not to be told apart
    assert choice.chosen is best
    assert "more than 0.5% lower or no cheaper: b 0.4970" in choice.why


def test_being_distinguishable_is_too_much_for_being_cheap() -> None:
    values = noisy(0.5)
    best, cheap = trial("a", values, 100), trial("b", [value - 0.001 for value in values], 1)
    assert choose([best, cheap]).chosen is best  # each user is served a little better


def test_one_user_tells_nothing_apart() -> None:
    choice = choose([trial("a", [0.5, np.nan], 10), trial("b", [0.5, np.nan], 1)])
    assert choice.chosen.name == "b"
    assert "[" not in choice.why
    alone = choose([trial("a", [0.25])])
    assert alone.why == "a 0.2500 is chosen, since nothing else could be tried"


# configuration and refusals


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1.5h", 5400),
        (" 2 M ", 120),
        ("45", 45),
        (45, 45),
        (1.5, 1.5),
        (".1h", 360),
    ],
)
def test_budgets(budget: float | str, seconds: float) -> None:
    assert seconds_of(budget) == seconds
    assert AutoSettings(budget=budget).as_dict()["budget"] == budget


@pytest.mark.parametrize(
    "budget", ["", "0", "10 minutes", "m", "-5m", "nan", "1e3", "721h", 0, -1, float("nan"), True, "٣m٣"]
)
def test_budgets_refused(budget: Any) -> None:
    with pytest.raises(ConfigError, match="budget is a time from 1s to 720h, such as 90s, 10m or 1h, found"):
        AutoSettings(budget=budget)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"candidates": "sigmoid,eese"}, "found 'eese': did you mean 'ease'?"),
        ({"candidates": "auto"}, "found 'auto'"),
        ({"candidates": "forest"}, "found 'forest': choose among these"),
        ({"candidates": "ease", "parts": {"sigmoid.factors": 3}}, "'sigmoid.factors' sets nothing"),
        ({"parts": {"factors": 3}}, "'factors' sets nothing"),
        ({"parts": {"sigmoid.factors": 0}}, "factors is a whole number from 1"),
        ({"parts": {"sigmoid.factor": 3}}, "did you mean 'factors'"),
        ({"seed": -1}, "seed is"),
    ],
)
def test_configurations_refused(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as error:
        AutoSettings(**settings)
    assert part in str(error.value)


def test_checkpoints_are_refused(tmp_path: Any) -> None:
    hooks = Hooks(checkpoints=Checkpoints(tmp_path / "c"))
    with pytest.raises(ConfigError, match="auto tries several"):
        fit_settings("auto", AutoSettings(), MATRIX, PAIR, hooks)


@pytest.mark.parametrize("validation", [None, (PAIR[0], sp.csr_matrix(PAIR[1].shape))])
def test_without_validation_users_it_is_the_sigmoid(validation: Any) -> None:
    said: list[str] = []
    config = AutoSettings(parts={"sigmoid.factors": 2, "sigmoid.epochs": 2})
    model, epochs, report = fit_auto(MATRIX, config, validation, Hooks(on_message=said.append), fit=fit_kind)
    assert model.kind == report["auto"]["chosen"] == "sigmoid"
    assert len(epochs) == 2
    assert "there are no validation users" in report["auto"]["why"]
    assert said[0] == "there are no validation users to compare the kinds on: training sigmoid"


# expectations


def test_expected_times_grow_with_the_data() -> None:
    small = Size.of(MATRIX, 40)
    assert (small.users, small.items, small.interactions) == (200, ITEMS, MATRIX.nnz)
    assert small.pairs == sum(len(MATRIX[u].indices) ** 2 for u in range(200))
    large = Size(100_000, 50_000, 5_000_000, 10**9, 10_000, 512, 10)
    for kind in [*SETTINGS, "unheard-of"]:
        assert 0 < seconds_for(kind, small) < seconds_for(kind, large)
    assert seconds_for("unheard-of", large) == max(
        seconds_for(kind, large) for kind in SETTINGS if kind != "auto"
    )
    assert seconds_for("popularity", large) < seconds_for("sigmoid", large) < seconds_for("multvae", large)
