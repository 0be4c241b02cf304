"""The estimator for scikit-learn: its own checks, and that codes and lists are those of the model."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from recae.errors import ConfigError
from recae.selection.fit import fit_kind
from recae.sklearn import Autoencoder

MATRIX = sp.csr_matrix((np.random.default_rng(0).random((60, 12)) < 0.3).astype(np.float64))
SMALL = {"factors": 4, "epochs": 2}

EXPECTED: dict[str, str] = {}
"""Checks of scikit-learn that are known to fail → why. None: what does not apply is said by the estimator's tags, which
are no negative values, and codes of float32 whatever comes in."""


@parametrize_with_checks(
    [Autoencoder(factors=3, epochs=1)], expected_failed_checks=lambda estimator: EXPECTED, xfail_strict=True
)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    if check.func.__name__ == "check_array_api_input":  # which would skip itself
        assert not estimator.__sklearn_tags__().array_api_support
        return
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> Autoencoder:
    return Autoencoder(**SMALL).fit(MATRIX)  # type: ignore[arg-type]


def test_codes_are_those_of_the_model(fitted: Autoencoder) -> None:
    model, _ = fit_kind("sigmoid", {**SMALL, "seed": 0}, sp.csr_matrix(MATRIX.astype(np.float32)))
    np.testing.assert_array_equal(fitted.transform(MATRIX), model.encode(sp.csr_matrix(MATRIX)))  # type: ignore[attr-defined]
    assert fitted.transform(MATRIX).shape == (60, 4)
    assert fitted.get_feature_names_out().tolist() == [f"autoencoder{n}" for n in range(4)]


@pytest.mark.parametrize("exclude_owned", [True, False])
def test_lists_are_the_best_scores(fitted: Autoencoder, exclude_owned: bool) -> None:
    items, scores = fitted.recommend(MATRIX, 3, exclude_owned=exclude_owned, return_scores=True)
    expected = fitted.model_.score(sp.csr_matrix(MATRIX)).astype(np.float64)
    if exclude_owned:
        expected[MATRIX.toarray() > 0] = -np.inf
    order = np.argsort(-expected, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(items, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), rtol=1e-5)


def test_values_zeros_and_duplicates_do_not_matter(fitted: Autoencoder) -> None:
    twice = sp.coo_matrix(MATRIX)
    rows, columns = np.append(twice.row, twice.row), np.append(twice.col, twice.col)
    odd = sp.coo_matrix((np.append(7 * twice.data, 0 * twice.data), (rows, columns)), shape=MATRIX.shape)
    np.testing.assert_array_equal(Autoencoder(**SMALL).fit_transform(odd), fitted.transform(MATRIX))  # type: ignore[arg-type]


def test_columns_with_names_are_recommended_by_name() -> None:
    names = [f"item {n}" for n in range(12)]
    frame = pd.DataFrame(MATRIX.toarray(), columns=names)
    found = Autoencoder(**SMALL).fit(frame).recommend(frame, 100)  # type: ignore[arg-type]
    assert isinstance(found, np.ndarray)
    assert set(found[0]) - {None} == {name for name in names if not frame[name][0]}


def test_it_is_a_part_of_a_pipeline_and_a_grid() -> None:
    near = make_pipeline(Autoencoder(**SMALL), NearestNeighbors(n_neighbors=2)).fit(MATRIX)  # type: ignore[arg-type]
    assert near[-1].kneighbors(near[0].transform(MATRIX[:5]))[1].shape == (5, 2)

    def hits(estimator: Autoencoder, X: Any, y: object = None) -> float:
        return float(estimator.transform(X).std())

    grid = GridSearchCV(Autoencoder(epochs=1), {"factors": [2, 3]}, scoring=hits, cv=2).fit(MATRIX)
    assert grid.best_params_["factors"] in (2, 3)


def test_it_is_copied_and_stored(fitted: Autoencoder) -> None:
    with pytest.raises(NotFittedError):
        clone(fitted).transform(MATRIX)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(MATRIX), fitted.transform(MATRIX))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "ease", "epochs": None}, "a model of kind 'ease' has no codes"),
        ({"kind": "ease"}, "ease has no setting 'epochs'"),
        ({"kind": "nosuch"}, "no model of kind 'nosuch'"),
        ({"settings": {"drop": 0.1}}, "did you mean 'dropout'"),
        ({"random_state": None}, "random_state is a whole number"),
        ({"factors": 0}, "factors"),
    ],
)
def test_parameters_that_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Autoencoder(**{**SMALL, "factors": None, **parameters}).fit(MATRIX)  # type: ignore[arg-type]


def test_negative_values_are_refused(fitted: Autoencoder) -> None:
    with pytest.raises(ValueError, match="Negative values"):
        fitted.transform(-MATRIX)
    with pytest.raises(ConfigError, match="a whole number from 1 on"):
        fitted.recommend(MATRIX, "ten")  # type: ignore[arg-type]  # wrong on purpose


def test_without_scikit_learn_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import recae

    monkeypatch.delitem(sys.modules, "recae.sklearn")
    monkeypatch.delattr(recae, "sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ConfigError, match=r"pip install 'recae\[sklearn\]'"):
        recae.sklearn  # noqa: B018
