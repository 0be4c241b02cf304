"""Configuration: ranges, and what is chosen from the data."""

import math

import pytest
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.training.config import ResolvedSettings, SigmoidSettings, resolve


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factors", 0),
        ("factors", 2.5),
        ("factors", True),
        ("epochs", 0),
        ("learning_rate", 0),
        ("learning_rate", 1),
        ("learning_rate", math.nan),
        ("encoder_learning_rate", -0.1),
        ("purchase_weight", 0.5),
        ("purchase_weight", math.inf),
        ("input_power", 1.1),
        ("dropout", 1),
        ("dropout", "much"),
        ("fold_every", 0),
        ("encoder_scale", 0),
        ("decoder_scale", -1),
        ("patience", 0),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_names_the_range(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is a (whole )?number (above|from) .*, found"):
        SigmoidSettings(**{name: value})


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="float32"):
        SigmoidSettings(dtype="float16")


def shape(n_users: int, n_items: int, n_pairs: int) -> sp.csr_matrix:
    rows = sp.random(n_users, n_items, density=n_pairs / (n_users * n_items), format="csr", rng=0)
    return sp.csr_matrix(rows)


def test_what_is_given_stays_and_the_rest_is_chosen() -> None:
    given = SigmoidSettings(factors=7, seed=3)
    chosen = resolve(given, shape(500, 100, 1000))
    assert (chosen.factors, chosen.seed) == (7, 3)
    assert all(getattr(chosen, name) is not None for name in ResolvedSettings.model_fields)
    assert resolve(chosen, shape(5, 10, 10)) == chosen


def test_sparser_purchases_weigh_more_and_step_less() -> None:
    dense, sparse = (resolve(SigmoidSettings(), shape(300, 2000, n)) for n in (60_000, 1_200))
    assert dense.purchase_weight < sparse.purchase_weight
    assert dense.learning_rate > sparse.learning_rate


def test_more_users_need_fewer_epochs_and_no_code_is_larger_than_the_catalogue() -> None:
    few, many = (resolve(SigmoidSettings(), shape(n, 30, n)) for n in (100, 200_000))
    assert few.epochs > many.epochs >= 5
    assert few.factors == 30


@pytest.mark.parametrize("shape_", [(1, 1, 1), (2, 3, 0)])
def test_the_smallest_data_have_a_configuration(shape_: tuple[int, int, int]) -> None:
    resolve(SigmoidSettings(), shape(*shape_))
