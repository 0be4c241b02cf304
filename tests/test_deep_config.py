"""Configuration of the deep autoencoder: its layers, ranges, and what is chosen from the data."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.training.kinds.deep import DeepSettings, half_of, resolve_deep

SMALL = DeepSettings(
    layers="6,3", epochs=2, batch_size=8, output_learning_rate=0.1, purchase_weight=3.0, seed=5
)


def purchases(n_users: int = 40, n_items: int = 30, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.4 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("600,200", [600, 200]), ("600,200,600", [600, 200]), (" 9 , 5,3, 5,9", [9, 5, 3]), ("7", [7])],
)
def test_layers_are_given_by_half_or_whole(layers: str, expected: list[int]) -> None:
    assert half_of(layers) == expected
    assert DeepSettings(layers=layers).sizes == expected


@pytest.mark.parametrize(
    ("layers", "tied", "message"),
    [
        ("200,600", False, r"smaller towards the code.*found '200,600'.*such as '600,200'"),
        ("600,600", False, "smaller towards the code"),
        ("600,200,200,600", False, "the same on the way in and on the way out, found"),
        ("600,200,300", False, r"give '600,200,600', or its first half, '600,200'"),
        ("600,200,300", True, r"way out with tied=true.*found '600,200,300'"),
        ("600,200,600,700", True, "tied=true"),
        ("", False, "whole numbers from 1 to 16384"),
        ("600,", False, "whole numbers"),
        ("600,-2", False, "whole numbers"),
        ("600,2.5", False, "whole numbers"),
        ("20000,200", False, "whole numbers"),
        ("0", False, "whole numbers"),
        (600, False, "found 600"),
    ],
)
def test_layers_that_do_not_get_smaller_or_mirror_are_refused(layers: Any, tied: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeepSettings(layers=layers, tied=tied)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "swish"),
        ("loss", "hinge"),
        ("tied", 1),
        ("tied", "true"),
        ("code_norm", "l3"),
        ("pretrain", True),
        ("dtype", "float16"),
        ("epochs", 0),
        ("batch_size", 1.5),
        ("learning_rate", 0),
        ("encoder_learning_rate", -1),
        ("output_learning_rate", 1),
        ("purchase_weight", 0.5),
        ("input_power", 2),
        ("dropout", 1),
        ("emphasis", 0.9),
        ("code_penalty", -1),
        ("pretrain_epochs", 0),
        ("l2", -1),
        ("sampled", 1.5),
        ("fold_every", 0),
        ("encoder_start", "pca"),
        ("encoder_scale", 0),
        ("decoder_scale", -1),
        ("patience", 0),
        ("seed", -1),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{name} is (one of|true or false|a (whole )?number)( .*)?, found"
    ):
        DeepSettings(**{name: value})


def test_what_is_chosen_suits_the_data() -> None:
    few, many = (
        resolve_deep(DeepSettings(), sp.csr_matrix(np.eye(n, 50, dtype=np.float32))) for n in (9, 900)
    )
    assert few.epochs > many.epochs
    assert few.batch_size == 9
    assert many.batch_size <= 50
    assert max(few.sizes) <= 50
    assert all(getattr(few, name) is not None for name in DeepSettings.model_fields)
    assert resolve_deep(few, purchases()) == few
    assert resolve_deep(DeepSettings(loss="multinomial"), purchases()).purchase_weight == 1
    for shape in ((1, 1), (2, 3)):
        resolve_deep(DeepSettings(), sp.csr_matrix(shape, dtype=np.float32))


def test_steps_that_enlarge_errors_are_refused() -> None:
    config = SMALL.updated(output_learning_rate=0.4, purchase_weight=5.0)
    with pytest.raises(ConfigError, match=r"found 0.4 × 5 × 1 = 2: choose an output_learning_rate below 0.4"):
        resolve_deep(config, purchases())
    resolve_deep(config.updated(tied=True), purchases())
    resolve_deep(config.updated(loss="logistic"), purchases())
    chosen = resolve_deep(DeepSettings(emphasis=1000.0), purchases())
    assert (chosen.output_learning_rate or 9) * (chosen.purchase_weight or 9) * 1000 <= 1 + 1e-9


def test_samples_are_for_large_catalogues_and_losses_that_need_them() -> None:
    large = sp.csr_matrix(([1.0], ([0], [0])), shape=(2, 400_000))
    assert resolve_deep(DeepSettings(loss="multinomial"), large).sampled == 20_000
    assert resolve_deep(DeepSettings(loss="multinomial", sampled=0), large).sampled == 0
    assert resolve_deep(DeepSettings(loss="multinomial"), purchases()).sampled == 0
    assert resolve_deep(DeepSettings(), large).sampled == 0
    for options in ({"loss": "squared"}, {"loss": "logistic", "tied": True}):
        with pytest.raises(ConfigError, match=r"sampled is for the logistic and .* found 5 with loss"):
            resolve_deep(DeepSettings(sampled=5, **options), purchases())


def test_principal_directions_are_for_purchases() -> None:
    assert resolve_deep(DeepSettings(), purchases()).encoder_start == "svd"
    assert resolve_deep(DeepSettings(), purchases() * np.float32(0.5)).encoder_start == "random"
    large = sp.csr_matrix(([1.0], ([0], [0])), shape=(2, 300_001))
    assert resolve_deep(DeepSettings(), large).encoder_start == "random"
    assert resolve_deep(DeepSettings(encoder_start="random"), purchases()).encoder_start == "random"
