"""Tests of forgetting: what goes, what is solved again exactly, and what says that it still knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from fitting import FIT
from modelfiles import TABLE
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import recae
from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap
from recae.inputs import EventInputs
from recae.interactions import Interactions
from recae.kinds import known
from recae.modelfile import load, save
from recae.models import Blend, Model, Popularity
from recae.models.blend import Part
from recae.recommender import LEARNED, TEST, VALIDATION, Recommender
from recae.selection.fit import fit_simple, make_settings
from recae.training.callbacks import Hooks
from recae.updating.forget import IN_STEPS, WEIGHED, forget
from recae.updating.items import with_items


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The last bits of a solve may depend on how BLAS parts it among threads."""
    with threadpool_limits(1):
        yield


N_USERS, N_ITEMS = 24, 15
WHO, ALONE = 5, 14
"""The customer who is forgotten, and an item that nobody else has bought."""

CLOSED = sorted(row.name for row in known().values() if row.model and row.name not in ("blend",)
                and not row.model_class().trained)  # fmt: skip
STEPS = [pytest.param(kind, marks=[] if kind in ("sigmoid", "bpr") else pytest.mark.thorough)
         for kind in sorted(set(FIT) - set(CLOSED) - {"blend"})]  # fmt: skip


def owned(n_users: int = N_USERS) -> NDArray[np.float32]:
    """Random histories (U, I); every item but `ALONE` has three buyers or more besides `WHO`."""
    X = (np.random.default_rng(6).random((n_users, N_ITEMS)) < 0.35).astype(np.float32)
    X[:, ALONE] = 0
    X[WHO, ALONE] = 1
    assert (np.delete(X, WHO, 0)[:, :ALONE].sum(axis=0) >= 3).all()
    return X


X = owned()
QUICK: dict[str, dict[str, Any]] = {
    "aae": {"layers": "8,4", "epochs": 2},
    "als": {"factors": 4, "iterations": 2},
    "bpr": {"factors": 4, "iterations": 3, "others": 64},
    "deep": {"layers": "8,4", "epochs": 2},
    "multvae": {"layers": "8,4", "epochs": 2},
    "recvae": {"factors": 4, "hidden": 8, "epochs": 2},
    "sigmoid": {"factors": 8, "epochs": 2},
    "spectral": {"filter": "two-step", "factors": 6, "neighbours": 20},
    "sparse-linear": {"neighbours": 4},
}


@cache
def fitted(kind: str) -> Model:
    """A model of all customers."""
    return fit_simple(kind, sp.csr_matrix(X), make_settings(kind, {**QUICK.get(kind, {}), "seed": 1}))[0]


def blended(**weights: float) -> Blend:
    """A blend of such models."""
    parts = tuple(Part(fitted(kind), weight, (1 + weight, weight / 2)) for kind, weight in weights.items())
    return Blend(parts, {"components": ",".join(weights), "seed": 1})


USERS = [f"user-{u:02}" for u in range(N_USERS)]
ITEMS = [f"item-{i:02}" for i in range(N_ITEMS)]
LEFT = [user for user in USERS if user != USERS[WHO]]


def shop(model: Model, **changes: Any) -> Recommender:
    given: dict[str, Any] = {
        "users": IdMap(USERS),
        "items": IdMap(ITEMS),
        "item_names": pa.array([f"name of {item}" for item in ITEMS], pa.large_string()),
        "histories": sp.csr_matrix(X),
        "metadata": {"fingerprint": "ab" * 32, "refit": {"users": N_USERS}, "history": []},
        "held_out": np.array([TEST if u == WHO else LEARNED for u in range(N_USERS)], np.uint8),
    }
    return Recommender(model, **(given | changes))


def without() -> sp.csr_matrix:
    return sp.csr_matrix(np.delete(np.delete(X, WHO, 0), ALONE, 1))


def same_arrays(found: Model, expected: Model) -> None:
    one, other = found.arrays(), expected.arrays()
    assert one.keys() == other.keys()
    for name, array in other.items():
        np.testing.assert_array_equal(one[name], array, err_msg=f"{found.kind}: {name}")


@pytest.mark.parametrize("kind", CLOSED)
def test_a_closed_form_is_that_of_a_training_without_the_customer(kind: str) -> None:
    model = fitted(kind)
    left, said = forget(shop(model), [USERS[WHO]])
    settings = {
        name: value for name, value in model.config().items() if name in dict(make_settings(kind, {}))
    }
    expected, _ = fit_simple(kind, without(), make_settings(kind, settings))
    same_arrays(left.model, expected)
    assert left.model.config() == {**model.config(), **expected.config()}
    assert said.solved == (kind,)
    assert said.remembering == {}


def test_ease_is_the_inverse_without_the_customer() -> None:
    left, _ = forget(
        shop(fit_simple("ease", sp.csr_matrix(X), make_settings("ease", {"l2": 3}))[0]), [USERS[WHO]]
    )
    R = without().toarray().astype(np.float64)
    P = np.linalg.inv(R.T @ R + 3 * np.eye(N_ITEMS - 1))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    np.testing.assert_allclose(left.model.arrays()["weights"], B, atol=1e-6)


def test_events_of_the_customer_are_gone_from_the_model_that_reads_them() -> None:
    rng = np.random.default_rng(9)
    views = EventInputs.of(["view"], [sp.csr_matrix((rng.random(X.shape) < 0.4).astype(np.float32))])
    settings = make_settings("event-linear", {"l2": 4.0, "strengths": "view=0.5"})
    model, _ = fit_simple("event-linear", sp.csr_matrix(X), settings, Hooks(inputs=views))
    left, said = forget(shop(model, events=views), [USERS[WHO]])
    rest = np.delete(np.delete(views.block("view").toarray(), WHO, 0), ALONE, 1)
    expected, _ = fit_simple(
        "event-linear", without(), settings, Hooks(inputs=EventInputs.of(["view"], [sp.csr_matrix(rest)]))
    )
    same_arrays(left.model, expected)
    assert said.events == views.matrix[WHO].nnz > 0
    assert left.events is not None
    np.testing.assert_array_equal(left.events.block("view").toarray(), rest)


@pytest.mark.parametrize("kind", STEPS)
def test_what_is_trained_in_steps_keeps_its_weights_and_says_so(kind: str) -> None:
    model = fitted(kind)
    left, said = forget(shop(model), [USERS[WHO]])
    assert said.solved == ()
    assert said.remembering == {kind: IN_STEPS}
    assert left.metadata["forgotten"] == {"users": 1, "remembering": [kind]}
    assert left.model.n_items == N_ITEMS - 1
    if kind != "bpr":  # which compares with a sample of the items, of which one is gone
        histories = without()
        wide = np.zeros((N_USERS - 1, N_ITEMS), np.float32)
        wide[:, :ALONE] = histories.toarray()
        before = model.score(sp.csr_matrix(wide))
        np.testing.assert_allclose(left.model.score(histories), before[:, :ALONE], rtol=1e-5, atol=1e-6)
    again, said = forget(left, [LEFT[0]], retrain=True)
    assert said.solved == (kind,)
    assert said.remembering == {}
    assert again.metadata["forgotten"] == {"users": 2, "remembering": []}
    assert any((again.model.arrays()[n] != array).any() for n, array in left.model.arrays().items())


def test_retrained_is_the_fit_without_the_customer() -> None:
    settings = make_settings("sigmoid", {"factors": 8, "epochs": 3, "seed": 2})
    model, _ = fit_simple("sigmoid", sp.csr_matrix(X), settings)
    recommender = shop(model, metadata={"refit": {"users": N_USERS}, "best_epochs": {"sigmoid": 2}})
    left, _ = forget(recommender, [USERS[WHO]], retrain=True)
    expected, _ = fit_simple(
        "sigmoid", without(), make_settings("sigmoid", model.config()), Hooks(last_epoch=2)
    )
    same_arrays(left.model, expected)


def test_a_blend_solves_what_it_can_and_retains_weights_and_spreads() -> None:
    before = blended(sigmoid=0.6, ease=0.3, popularity=0.1)
    left, said = forget(shop(before), [USERS[WHO]])
    assert said.solved == ("ease", "popularity")
    assert said.remembering == {"sigmoid": IN_STEPS}
    assert isinstance(left.model, Blend)
    assert [part.weight for part in left.model.parts] == [0.6, 0.3, 0.1]
    assert [part.spread for part in left.model.parts[:2]] == [(1.6, 0.3), (1.3, 0.15)]
    same_arrays(left.model.parts[2].model, Popularity.fit(without()))
    same_arrays(left.model.parts[0].model, with_items(fitted("sigmoid"), np.arange(ALONE)))


@pytest.mark.parametrize("kind", [*CLOSED, *STEPS])
def test_every_kind_can_lose_items(kind: str) -> None:
    """With the parameters of the others as they were."""
    assert set(FIT) == {*(row.name for row in known().values() if row.of_items is not None), "blend"}
    items = np.array([0, 2, 3, 5, 7, 8, 11])
    history = np.zeros((3, N_ITEMS), np.float32)
    history[np.repeat(range(3), 2), [0, 5, 2, 8, 3, 11]] = 1
    model = fitted(kind)
    left = with_items(model, items)
    if kind in ("bpr", "als"):  # a history's vector is solved for against all items
        np.testing.assert_array_equal(left.arrays()["item_factors"], model.arrays()["item_factors"][items])
        return
    found, expected = left.score(sp.csr_matrix(history[:, items])), model.score(sp.csr_matrix(history))
    np.testing.assert_allclose(found, expected[:, items], rtol=2e-5, atol=2e-6)


def test_what_goes_and_what_stays() -> None:
    codes = np.full(N_USERS, LEARNED, np.uint8)
    codes[[WHO, 8]] = VALIDATION, TEST
    recommender = shop(fitted("itemknn"), held_out=codes)
    left, said = forget(recommender, [USERS[8], USERS[WHO], USERS[WHO]])
    assert said.users == (USERS[WHO], USERS[8])
    assert said.pairs == int(X[[WHO, 8]].sum())
    assert (said.validation_users, said.test_users) == (1, 1)
    assert said.items == (ITEMS[ALONE],)
    rows = np.delete(np.arange(N_USERS), [WHO, 8])
    assert left.users is not None
    assert left.users.ids(np.arange(len(left.users))).to_pylist() == [USERS[row] for row in rows]
    assert left.items.ids(np.arange(len(left.items))).to_pylist() == ITEMS[:ALONE]
    assert left.item_names is not None
    assert left.item_names.to_pylist() == [f"name of {item}" for item in ITEMS[:ALONE]]
    assert left.histories is not None
    np.testing.assert_array_equal(left.histories.toarray(), X[rows, :ALONE])
    assert left.held_out is not None
    np.testing.assert_array_equal(left.held_out, codes[rows])
    assert left.metadata["refit"] == {"users": N_USERS - 2}
    assert left.metadata["fingerprint"] != recommender.metadata["fingerprint"]


def test_the_fingerprint_is_that_of_what_is_left() -> None:
    """Whoever the customer was: two shops that differ by them alone come to the same file."""
    other = X.copy()
    other[WHO] = 0
    other[WHO, [1, 2, ALONE]] = 1
    found = []
    for name, histories in (("user-05", X), ("user-05x", other)):
        users = [name if u == WHO else user for u, user in enumerate(USERS)]
        one = shop(
            Popularity.fit(sp.csr_matrix(histories)), users=IdMap(users), histories=sp.csr_matrix(histories)
        )
        found.append(forget(one, [name])[0])
    assert found[0].metadata == found[1].metadata
    same_arrays(found[0].model, found[1].model)


def test_who_taught_nothing_leaves_the_model_as_it_is() -> None:
    model = fitted("ease")
    codes = np.full(N_USERS, LEARNED, np.uint8)
    codes[7] = TEST
    left, said = forget(shop(model, held_out=codes, metadata={}), [USERS[7]])
    assert left.model is model
    assert (said.solved, said.remembering, said.items) == ((), {}, ())


def test_held_out_users_are_not_learned_from_when_parts_are_solved_again() -> None:
    codes = np.full(N_USERS, LEARNED, np.uint8)
    codes[[2, 9]] = TEST, VALIDATION
    left, _ = forget(shop(fitted("popularity"), held_out=codes, metadata={}), [USERS[WHO]])
    learned = np.delete(X, [2, WHO, 9], 0)[:, :ALONE]
    np.testing.assert_array_equal(left.model.arrays()["counts"], learned.sum(axis=0))


def test_values_of_repeat_purchases_stay() -> None:
    values = X * np.random.default_rng(1).uniform(0.5, 3, X.shape).astype(np.float32)
    model = fitted("frequency")
    left, _ = forget(shop(model, histories=sp.csr_matrix(values)), [USERS[WHO]])
    assert left.histories is not None
    np.testing.assert_array_equal(left.histories.toarray(), np.delete(np.delete(values, WHO, 0), ALONE, 1))


@pytest.mark.parametrize(
    "metadata",
    [
        {"weights": {"half_life": 90.0}},
        {"reading": {"confidence": "stars"}},
        {"reading": {"events": {"column": "event", "weights": {"buy": 1.0, "view": 0.1}}}},
    ],
)
def test_confidences_that_the_file_lacks_leave_parts_as_they_are(metadata: dict[str, Any]) -> None:
    recommender = shop(blended(ease=1.0, frequency=1.0), metadata={"refit": {"users": N_USERS}, **metadata})
    left, said = forget(recommender, [USERS[WHO]])
    assert said.remembering == {"ease": WEIGHED}
    assert said.solved == ("frequency",)
    assert isinstance(left.model, Blend)
    same_arrays(left.model.parts[0].model, with_items(fitted("ease"), np.arange(ALONE)))
    with pytest.raises(DataError, match="train it again from the purchases"):
        forget(recommender, [USERS[WHO]], retrain=True)


def test_confidences_of_interactions_are_not_forgotten() -> None:
    """Read elsewhere, they come without a table's word on them."""
    ones = np.ones(int(X.sum()))
    data = Interactions(
        sp.csr_matrix(X), IdMap(USERS), IdMap(ITEMS), None, ones.astype(np.int32),
        confidences=np.linspace(0.5, 2, ones.size, dtype=np.float32),
    )  # fmt: skip
    model = recae.train(data, kind="popularity", progress=False)
    assert model.metadata["reading"] == {"confidence": "the Interactions given"}
    _, said = forget(model, [USERS[WHO]])
    assert said.remembering == {"popularity": WEIGHED}


def test_refusals() -> None:
    recommender = shop(fitted("popularity"))
    with pytest.raises(UnknownIdError, match=r"does not know 'user-99'.*nothing is changed.*nearest.*'user-"):
        forget(recommender, [USERS[WHO], "user-99"])
    with pytest.raises(ConfigError, match="nobody is named"):
        forget(recommender, [])
    with pytest.raises(DataError, match="nobody beside these"):
        forget(recommender, USERS)
    bare = shop(fitted("popularity"), users=None, histories=None, held_out=None)
    with pytest.raises(UnknownIdError, match="saved without histories"):
        forget(bare, ["1"])


def test_in_python_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "model.recae"
    save(shop(fitted("popularity"), users=IdMap([str(u) for u in range(N_USERS)])), path)
    before = path.read_bytes()
    for left in (recae.forget(path, [WHO]), recae.load(path).forget([str(WHO)], device="cpu")):
        assert left.users is not None
        assert str(WHO) not in left.users
        same_arrays(left.model, Popularity.fit(without()))
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="retrain is True or False"):
        recae.forget(path, [WHO], retrain="yes")  # type: ignore[arg-type]


def test_no_byte_of_the_customer_is_left_in_the_file(tmp_path: Path) -> None:
    who, what = "Ünique-Customer-8391", "their-own-item-7745"
    users = [who if u == WHO else user for u, user in enumerate(USERS)]
    items = [what if i == ALONE else item for i, item in enumerate(ITEMS)]
    names = pa.array([f"name of {item}" for item in items], pa.large_string())
    recommender = shop(
        blended(sigmoid=0.6, itemknn=0.4), users=IdMap(users), items=IdMap(items), item_names=names
    )
    path = tmp_path / "model.recae"
    save(recommender, path)
    assert who.encode() in path.read_bytes()
    save(forget(load(path), [who])[0], path)
    data = path.read_bytes()
    assert who.encode() not in data
    assert what.encode() not in data
    assert len(load(path).items) == N_ITEMS - 1


def test_a_table_of_items_stays() -> None:
    model, _ = fit_simple("popularity", sp.csr_matrix(X), make_settings("popularity", {}))
    left, _ = forget(replace(shop(model), item_table=TABLE), [USERS[WHO]])
    assert left.item_table is TABLE
