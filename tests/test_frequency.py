"""Personal frequency: its scores by hand, what is chosen, and what is refused."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError, ModelFileError
from recae.kinds import find, model_class, model_kinds
from recae.models import Frequency
from recae.models.base import reads_values
from recae.selection.fit import fit_simple
from recae.training.callbacks import Hooks
from recae.training.kinds.baselines import POPULARITIES, FrequencySettings, fit_frequency, resolve

MATRIX = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 3], [2, 0, 0, 1], [1, 1, 0, 0]], dtype=np.float32))
SHARES = [1.0, 0.5, 0.0, 0.5]  # of the users who own it, whatever the values


def test_a_score_is_the_value_and_the_share() -> None:
    model = Frequency.fit(MATRIX, popularity=2.0)
    histories = sp.csr_matrix(np.array([[0, 1.75, 0, 0.25], [0, 0, 0, 0]], dtype=np.float64))
    expected = [[2, 1 + 1.75, 0, 1 + 0.25], [2, 1, 0, 1]]
    assert model.score(histories).tolist() == expected
    assert model.score_items(histories, np.array([3, 1])).tolist() == [[1.25, 2.75], [1, 1]]


def test_a_small_popularity_only_orders_what_was_never_bought() -> None:
    model = Frequency.fit(MATRIX, popularity=0.001)
    history = sp.csr_matrix(np.array([[0, 0, 0.59, 0.6]], dtype=np.float32))
    assert np.argsort(-model.score(history)[0], kind="stable").tolist() == [3, 2, 0, 1]


def test_a_basket_of_ones_works() -> None:
    basket = sp.csr_matrix(np.array([[0, 0, 1, 0]], dtype=np.float32))
    assert Frequency.fit(MATRIX, popularity=0.5).score(basket).tolist() == [[0.5, 0.25, 1, 0.25]]


def test_only_the_kinds_that_say_so_read_values() -> None:
    assert reads_values(Frequency.fit(MATRIX))
    assert not reads_values(object())
    assert {kind for kind in model_kinds() if reads_values(model_class(kind))} == {"frequency", "blend"}


def test_fitting_by_its_name() -> None:
    model, epochs = fit_simple("frequency", MATRIX, FrequencySettings(decay=0.5, seed=3))
    assert isinstance(model, Frequency)
    assert epochs == []
    assert model.config() == {"decay": 0.5, "popularity": 4.0, "seed": 3}
    assert model.decay == 0.5
    assert model.owned_by.tolist() == SHARES
    assert resolve(FrequencySettings(), MATRIX).as_dict() == Frequency.fit(MATRIX).config()
    assert find("frequency").settings_class() is FrequencySettings


@pytest.mark.parametrize("best", [0.5, 4.0, 8.0])
def test_popularity_is_chosen_on_validation_users(best: float) -> None:
    tried: list[float] = []

    def validate(model: Any) -> float:
        tried.append(model.config()["popularity"])
        return -abs(tried[-1] - best)

    model, _ = fit_frequency(MATRIX, FrequencySettings(), Hooks(validate=validate))
    assert model.config()["popularity"] == best
    assert set(tried) == {*POPULARITIES, 4.0}


def test_of_equally_good_popularities_the_default_stays() -> None:
    model, _ = fit_frequency(MATRIX, FrequencySettings(), Hooks(validate=lambda model: 0.0))
    assert model.config()["popularity"] == 4.0


def test_a_popularity_that_is_given_is_kept() -> None:
    hooks = Hooks(validate=lambda model: pytest.fail("there is nothing to choose"))
    model, _ = fit_frequency(MATRIX, FrequencySettings(popularity=1.5), hooks)
    assert model.config()["popularity"] == 1.5


@pytest.mark.parametrize(
    "values",
    [{"decay": 0}, {"decay": 1.1}, {"decay": "x"}, {"popularity": -1}, {"popularity": np.nan}, {"seed": -1}],
)
def test_settings_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        FrequencySettings(**values)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"popularity": 1.0}, "'decay'"),
        ({"decay": 0, "popularity": 1.0}, "'decay' is 0"),
        ({"decay": 1.5, "popularity": 1.0}, "'decay'"),
        ({"decay": float("nan"), "popularity": 1.0}, "'decay'"),
        ({"decay": 0.5}, "'popularity'"),
        ({"decay": 0.5, "popularity": -1}, "'popularity'"),
        ({"decay": 0.5, "popularity": "4"}, "'popularity'"),
    ],
)
def test_broken_configurations(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        Frequency.from_arrays(config, Frequency.fit(MATRIX).arrays(), 4)


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_broken_shares(share: float) -> None:
    model = Frequency.fit(MATRIX)
    shares = np.array([0, 0, 0, share], dtype=np.float32)
    with pytest.raises(ModelFileError, match="'shares' holds values"):
        Frequency.from_arrays(model.config(), {"shares": shares}, 4)


def test_nobody_and_nothing() -> None:
    model = Frequency.fit(sp.csr_matrix((0, 3), dtype=np.float32))
    assert model.score(sp.csr_matrix((1, 3), dtype=np.float32)).tolist() == [[0, 0, 0]]
    assert Frequency.from_arrays(model.config(), {"shares": np.zeros(0, np.float32)}, 0).n_items == 0
