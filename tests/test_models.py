"""The contract that every model in the registry keeps."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from fitting import FIT

from recae.errors import ConfigError, DataError, ModelFileError
from recae.kinds import find, model_class, model_kinds
from recae.models import Model, Spectral
from recae.models.base import Encoder, reads_values
from recae.ranking import top_k

GROUPS, USERS_EACH, ITEMS_EACH = 4, 20, 6
N_ITEMS = GROUPS * ITEMS_EACH


def checkerboard() -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Users own the items of their group and no other; one item of the group is held out of each user."""
    groups = np.arange(GROUPS * USERS_EACH) // USERS_EACH
    whole = (groups[:, None] == np.arange(N_ITEMS) // ITEMS_EACH).astype(np.float32)
    held = np.zeros_like(whole)
    users = np.arange(len(groups))
    held[users, groups * ITEMS_EACH + users % ITEMS_EACH] = 1
    return sp.csr_matrix(whole - held), sp.csr_matrix(held)


HISTORIES, HELD_OUT = checkerboard()


@pytest.fixture(scope="module")
def fitted() -> dict[str, Model]:
    return {}


@pytest.fixture(params=sorted(model_kinds()))
def model(request: pytest.FixtureRequest, fitted: dict[str, Model]) -> Model:
    if request.param not in fitted:
        fitted[request.param] = FIT[request.param](HISTORIES)
    return fitted[request.param]


def test_every_kind_can_be_fitted_here():
    assert set(FIT) == set(model_kinds())


def test_names(model):
    assert model_class(model.kind) is type(model)
    assert isinstance(model.trained, bool)
    assert model.n_items == N_ITEMS


def test_unknown_kind_suggests_the_nearest():
    with pytest.raises(ConfigError, match="no model of kind 'itemknm'; did you mean 'itemknn'"):
        model_class("itemknm")


def test_score_has_one_finite_float32_for_each_item(model):
    scores = model.score(HISTORIES)
    assert scores.shape == HISTORIES.shape
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_the_callers_arrays_stay_apart(model):
    histories = HISTORIES.copy()
    for array in (histories.data, histories.indices, histories.indptr):
        array.flags.writeable = False  # writing to them raises
    first = model.score(histories)
    np.testing.assert_array_equal(histories.toarray(), HISTORIES.toarray())
    kept = first.copy()
    first[:] = np.nan  # the scores are the caller's: the model does not change with them
    np.testing.assert_array_equal(model.score(histories), kept)


def test_only_the_pattern_of_a_history_counts(model):
    histories = HISTORIES.copy()
    histories.data[:] = np.arange(histories.nnz) % 7
    if reads_values(model):
        return  # what their values mean is tested with the model
    np.testing.assert_array_equal(model.score(histories), model.score(HISTORIES))


def test_empty_histories(model):
    scores = model.score(sp.csr_matrix((2, N_ITEMS), dtype=np.float32))
    assert scores.shape == (2, N_ITEMS)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[0], scores[1])
    assert model.score(sp.csr_matrix((0, N_ITEMS), dtype=np.float32)).shape == (0, N_ITEMS)


def test_a_row_does_not_depend_on_the_block(model):
    block = model.score(HISTORIES)
    rows = np.vstack([model.score(HISTORIES[u]) for u in range(HISTORIES.shape[0])])
    # a product of one row may be summed in another order than that of many
    np.testing.assert_allclose(block, rows, rtol=1e-5, atol=1e-5 * np.abs(block).max())
    order = np.random.default_rng(0).permutation(HISTORIES.shape[0])
    np.testing.assert_allclose(
        model.score(HISTORIES[order]), block[order], rtol=1e-5, atol=1e-5 * np.abs(block).max()
    )


def test_arrays_and_configuration_bring_back_the_same_bits(model):
    config = json.loads(json.dumps(model.config()))
    assert config == model.config()
    arrays = {name: array.copy() for name, array in model.arrays().items()}
    assert all(array.flags.c_contiguous for array in model.arrays().values())
    again = type(model).from_arrays(config, arrays, N_ITEMS)
    assert again.score(HISTORIES).tobytes() == model.score(HISTORIES).tobytes()
    assert again.config() == model.config()
    assert again.n_items == N_ITEMS


def test_wrong_column_count(model):
    for n_items in (N_ITEMS - 1, N_ITEMS + 1):
        histories = sp.csr_matrix((1, n_items), dtype=np.float32)
        with pytest.raises(DataError, match=str(n_items)):
            model.score(histories)
        with pytest.raises(DataError, match=str(n_items)):
            model.score_items(histories, np.array([0]))


@pytest.mark.parametrize("items", [[5], [7, 0, 7, 23], list(range(N_ITEMS)), []])
def test_score_items_is_columns_of_score(model, items):
    found = model.score_items(HISTORIES, np.array(items, dtype=np.int64))
    assert found.dtype == np.float32
    assert found.shape == (HISTORIES.shape[0], len(items))
    expected = model.score(HISTORIES)[:, items]
    # a product of fewer columns may be summed in another order
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(model.score(HISTORIES)).max())
    found[:] = np.nan  # the caller's own
    assert np.isfinite(model.score_items(HISTORIES, np.array(items, dtype=np.int64))).all()


def test_score_items_of_no_history_and_of_empty_ones(model):
    items = np.array([3, 1])
    empty = sp.csr_matrix((2, N_ITEMS), dtype=np.float32)
    np.testing.assert_allclose(
        model.score_items(empty, items), model.score(empty)[:, items], rtol=1e-5, atol=1e-6
    )
    assert model.score_items(empty[:0], items).shape == (0, 2)


@pytest.mark.parametrize(
    ("items", "message"),
    [([0, N_ITEMS], f"but {N_ITEMS} was"), ([-1], "but -1 was"), ([0.5], "float64"), ([[1]], r"\(1, 1\)")],
)
def test_score_items_refuses_what_is_no_item(model, items, message):
    with pytest.raises(DataError, match=message):
        model.score_items(HISTORIES, np.array(items))


def test_codes_and_item_vectors_belong_together(model):
    coded = {"sigmoid", "als", "bpr", "multvae", "recvae", "spectral"}  # a new kind with codes is named here
    assert isinstance(model, Encoder) == (model.kind in coded)
    if not isinstance(model, Encoder):
        return
    codes, vectors = model.encode(HISTORIES), model.item_vectors
    assert codes.dtype == vectors.dtype == np.float32
    assert codes.shape == (HISTORIES.shape[0], vectors.shape[1])
    assert vectors.shape[0] == N_ITEMS
    # apart from each item's own constant, a score is the product of code and item vector
    scores = model.score(HISTORIES)
    if isinstance(model, Spectral):  # and its sparse part
        scores -= (HISTORIES @ model.product.weights).toarray()
    np.testing.assert_allclose(
        scores - scores[0], (codes - codes[0]) @ vectors.T, rtol=1e-4, atol=1e-5 * np.abs(scores).max()
    )


def test_corrupt_arrays(model):
    arrays = model.arrays()
    for name, array in arrays.items():
        for broken in (
            {key: value for key, value in arrays.items() if key != name},
            arrays | {name: array[:-1]},
            arrays | {name: array[None]},
            arrays | {name: array.astype(np.complex64)},
        ):
            with pytest.raises(ModelFileError):
                type(model).from_arrays(model.config(), broken, N_ITEMS)
    with pytest.raises(ModelFileError):
        type(model).from_arrays(model.config(), arrays, N_ITEMS + 1)


# popularity and personal frequency do not learn which items go together, so they cannot know the group
@pytest.mark.some(3)
@pytest.mark.parametrize(
    "kind", sorted(kind for kind in model_kinds() if find(kind).personal and not find(kind).needs_repeats)
)
def test_checkerboard(kind, fitted):
    model = fitted.setdefault(kind, FIT[kind](HISTORIES))
    ranked, _ = top_k(model.score(HISTORIES), 1, exclude=HISTORIES)
    np.testing.assert_array_equal(ranked[:, 0], HELD_OUT.indices)
