"""Updates of models that read other events than purchases, such as carts and views, beside reading all at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from commands import recae
from eventshops import event_rows

from recae import read, train
from recae.errors import ColumnError, ConfigError
from recae.inputs import EventInputs
from recae.journal import Journal, Purchase
from recae.modelfile import load, save
from recae.models import EventLinear
from recae.models.blend import Blend, Part
from recae.reading import ReadOptions
from recae.recommender import Recommender
from recae.selection.fit import fit_simple, make_settings
from recae.selection.refit import parts_of_model
from recae.settings import settings_of
from recae.training.callbacks import Hooks
from recae.training.kinds.event_linear import EventLinearSettings
from recae.updating.pending import update_from_journal
from recae.updating.update import update

KIND = {"kind": "event-linear", "l2": 5.0}


def pairs_of(model: Recommender, event: str | None = None) -> set[tuple[str, str]]:
    assert model.users is not None
    assert model.events is not None
    matrix = model.histories if event is None else model.events.block(event)
    assert matrix is not None
    return {
        (user, model.items.id(int(column)))
        for row, user in enumerate(model.users)
        for column in matrix[row].indices
    }


def pairs_in(table: pd.DataFrame, event: str) -> set[tuple[str, str]]:
    rows = table[table["event_type"] == event]
    return set(zip(rows["user_id"], rows["item_id"], strict=True))


@pytest.fixture(scope="module")
def every() -> pd.DataFrame:
    return event_rows().to_pandas()


@pytest.fixture(scope="module")
def parts(every: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first purchase of all users but some and a part of the events; then all others, some of them twice."""
    rng = np.random.default_rng(5)
    first = (rng.random(len(every)) < 0.6) & ~every["user_id"].isin(["u007", "u200"])
    return every[first], pd.concat([every[~first], every[first].sample(50, random_state=1)])


@pytest.fixture(scope="module")
def model(parts: tuple[pd.DataFrame, pd.DataFrame]) -> Recommender:
    return train(parts[0], inputs="cart,view", progress=False, **KIND)


def test_events_and_purchases_are_those_of_all_rows(
    every: pd.DataFrame, parts: tuple[pd.DataFrame, pd.DataFrame], model: Recommender
) -> None:
    old, new = parts
    found = update(model, new, reading=read_options("cart", "view"), progress=False)
    after = found.recommender
    whole = read(every, inputs="cart,view")
    assert list(after.users or ()) == list(whole.interactions.users)
    assert list(after.items) == list(whole.interactions.items)
    assert pairs_of(after) == pairs_in(every, "purchase")
    # what was done before a user or an item had a purchase in the model's file is known of the new rows alone
    known_users, known_items = set(model.users or ()), set(model.items)
    assert tuple(model.events.names) == ("cart",)  # type: ignore[union-attr]  # views bring nothing
    for event, word in (("cart", "add_to_cart"),):
        before = {pair for pair in pairs_in(old, word) if pair[0] in known_users and pair[1] in known_items}
        after_all = {
            pair
            for pair in before | pairs_in(new, word)
            if pair[0] in set(after.users or ()) and pair[1] in set(after.items)
        }
        assert pairs_of(after, event) == after_all
    assert found.added_events == after.events.matrix.nnz - model.events.matrix.nnz > 0  # type: ignore[union-attr]
    assert f"{found.added_events:,} new pairs of other events" in found.sentence()
    again = update(after, new, reading=read_options("cart", "view"), progress=False)
    assert again.recommender is after


def test_the_part_is_solved_again_on_purchases_and_events(
    parts: tuple[pd.DataFrame, pd.DataFrame], model: Recommender
) -> None:
    after = update(model, parts[1], reading=read_options("cart", "view"), progress=False).recommender
    (part,) = parts_of_model(after.model)
    assert isinstance(part.model, EventLinear)
    assert after.scored is not None
    own = model.model.config()
    values = {name: own[name] for name in settings_of(EventLinearSettings) if own.get(name) is not None}
    expected, _ = fit_simple(
        "event-linear",
        sp.csr_matrix(after.histories),
        make_settings("event-linear", values),
        Hooks(inputs=after.events),
    )
    np.testing.assert_allclose(
        after.model.score(after.scored), expected.score(after.scored), rtol=1e-4, atol=1e-5
    )


def test_events_alone_change_the_model_too(model: Recommender) -> None:
    owned = min(pairs_of(model))
    others = [item for item in model.items if (owned[0], item) not in pairs_of(model, "cart")][:2]
    rows = [(*owned, "purchase"), *((owned[0], item, "add_to_cart") for item in others)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "event_type"])
    fresh = pairs_in(table, "add_to_cart") - pairs_of(model, "cart")
    found = update(model, table, reading=read_options("cart"), progress=False)
    assert found.added == 0
    assert found.added_events == len(fresh)
    assert fresh
    assert pairs_of(found.recommender, "cart") == pairs_of(model, "cart") | fresh


def test_events_need_not_be_named(parts: tuple[pd.DataFrame, pd.DataFrame], model: Recommender) -> None:
    named = update(model, parts[1], reading=read_options("cart"), progress=False)
    found = update(model, parts[1], progress=False)
    assert found.added_events == named.added_events > 0
    same_model(found.recommender, named.recommender)
    assert found.recommender.metadata["inputs"]["pairs"]["cart"] == len(pairs_of(found.recommender, "cart"))
    # of a day on which nobody used a cart
    bought = parts[1][parts[1]["event_type"] == "purchase"]
    found = update(model, bought, progress=False)
    assert found.added == named.added
    assert found.added_events == 0
    assert pairs_of(found.recommender, "cart") == pairs_of(model, "cart")
    with pytest.raises(ColumnError, match="--inputs names 'cart', but column 'event_type' has"):
        update(model, bought, reading=read_options("cart"), progress=False)
    with pytest.raises(
        ConfigError, match=r"--inputs names 'like', but of other events .* the model reads cart"
    ):
        update(model, parts[1], reading=read_options("like"), progress=False)
    plain = train(bought, "itemknn", progress=False)
    with pytest.raises(ConfigError, match="the model reads none"):
        update(plain, parts[1], reading=read_options("cart"), progress=False)


def test_purchases_alone_leave_the_old_events(
    parts: tuple[pd.DataFrame, pd.DataFrame], model: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    bought = parts[1][parts[1]["event_type"] == "purchase"].drop(columns="event_type")
    found = update(model, bought, progress=False)
    assert "no column of events is recognised in the new rows" in caplog.text
    assert found.added > 0
    assert found.added_events == 0
    assert pairs_of(found.recommender, "cart") == pairs_of(model, "cart")
    caplog.clear()
    again = update(model, bought, reading=ReadOptions(event_column=""), progress=False)
    assert not caplog.text
    same_model(again.recommender, found.recommender)
    condition = ReadOptions(where="event_type = 'purchase'")
    again = update(model, parts[1], reading=condition, progress=False)
    assert "with --where the new rows are read without them" in caplog.text
    same_model(again.recommender, found.recommender)


@pytest.mark.parametrize("seed", range(5))
def test_with_all_rows_again_the_events_are_those_of_one_table(seed: int, every: pd.DataFrame) -> None:
    rng = np.random.default_rng(seed)
    old = every[rng.random(len(every)) < rng.choice([0.05, 0.3, 0.8])]
    whole = read(every, inputs="cart,view")
    assert whole.inputs is not None
    found = update(solved(old), every.sample(frac=1, random_state=seed), progress=False).recommender
    expected = solved(every)
    same_model(found, expected)
    assert found.events is not None
    assert found.events.fingerprint == whole.inputs.fingerprint
    # in pieces, each of which reaches back to the beginning
    model = solved(old)
    for end in (len(every) // 2, len(every)):
        model = update(model, every[:end], progress=False).recommender
    same_model(model, expected)


def solved(table: pd.DataFrame) -> Recommender:
    """What a training with these settings gives, without its figures."""
    found = read(table, inputs="cart,view")
    bought = found.interactions
    settings = make_settings("event-linear", {"l2": 5.0, "strengths": "cart=1,view=0.5"})
    model, _ = fit_simple("event-linear", bought.matrix.copy(), settings, Hooks(inputs=found.inputs))
    metadata = {"reading": dict(found.report.counting)}
    return Recommender(model, bought.users, bought.items, None, bought.matrix, metadata, events=found.inputs)


def same_model(one: Recommender, other: Recommender) -> None:
    """Ids, histories and events are the same, and so is the solution."""
    assert one.users == other.users
    assert one.items == other.items
    assert one.histories is not None
    assert other.histories is not None
    assert one.events is not None
    assert other.events is not None
    assert one.events.fingerprint == other.events.fingerprint
    np.testing.assert_array_equal(one.histories.indptr, other.histories.indptr)
    np.testing.assert_array_equal(one.histories.indices, other.histories.indices)
    assert isinstance(one.model, EventLinear)
    assert isinstance(other.model, EventLinear)
    np.testing.assert_allclose(one.model.weights, other.model.weights, rtol=1e-4, atol=1e-6)


def test_where_events_alone_are_new_the_autoencoder_stays(every: pd.DataFrame) -> None:
    known = solved(every)
    assert known.histories is not None
    settings = make_settings("sigmoid", {"factors": 4, "epochs": 1})
    sigmoid, _ = fit_simple("sigmoid", known.histories, settings)
    parts = (Part(sigmoid, 0.5, (1.0, 0.0)), Part(known.model, 0.5, (1.0, 0.0)))
    blend = Blend(parts, {"components": "sigmoid,event-linear", "seed": 0})
    model = replace(known, model=blend)
    user, item = min(pairs_of(model))
    free = next(other for other in model.items if (user, other) not in pairs_of(model, "cart"))
    rows = [(user, item, "purchase"), (user, free, "add_to_cart")]
    found = update(model, pd.DataFrame(rows, columns=["user_id", "item_id", "event_type"]), progress=False)
    assert dict(found.parts) == {"sigmoid": "stays as it is", "event-linear": "solved again"}
    assert isinstance(found.recommender.model, Blend)
    for name, array in found.recommender.model.parts[0].model.arrays().items():
        np.testing.assert_array_equal(array, sigmoid.arrays()[name])
    assert pairs_of(found.recommender, "cart") == pairs_of(model, "cart") | {(user, free)}
    # with a purchase it goes on
    rows.append(
        (user, next(other for other in model.items if (user, other) not in pairs_of(model)), "purchase")
    )
    found = update(model, pd.DataFrame(rows, columns=["user_id", "item_id", "event_type"]), progress=False)
    assert dict(found.parts) == {"sigmoid": "went on", "event-linear": "solved again"}


def test_a_refresh_takes_the_events_of_the_new_rows(
    parts: tuple[pd.DataFrame, pd.DataFrame], every: pd.DataFrame, tmp_path: Path
) -> None:
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(len(every)), "h")
    timed = every.sample(frac=1, random_state=3).assign(time=days)
    old, new = timed[: len(timed) * 2 // 3], timed[len(timed) * 2 // 3 :]
    save(train(old, inputs="cart", strengths="cart=1", progress=False, **KIND), tmp_path / "m.recae")
    new.to_csv(tmp_path / "new.csv", index=False)
    expected = update(load(tmp_path / "m.recae"), new, progress=False).recommender
    done = recae("refresh", tmp_path / "m.recae", tmp_path / "new.csv")
    assert done.exit_code == 0, done.stderr
    assert "warning" not in done.stderr
    found = load(tmp_path / "m.recae")
    assert pairs_of(found) == pairs_of(expected)
    assert (
        pairs_of(found, "cart")
        == pairs_of(expected, "cart")
        > pairs_in(old, "add_to_cart") & pairs_of(found, "cart")
    )


def test_the_command_and_a_journal(
    parts: tuple[pd.DataFrame, pd.DataFrame], model: Recommender, tmp_path: Path
) -> None:
    save(model, tmp_path / "m.recae")
    parts[1].to_csv(tmp_path / "new.csv", index=False)
    done = recae("update", tmp_path / "m.recae", tmp_path / "new.csv", "--inputs", "cart,view", "--json")
    assert done.exit_code == 0, done.stderr
    assert "new pairs of other events" in done.stderr
    again = load(tmp_path / "m.recae")
    assert again.events is not None
    assert again.events.matrix.nnz - model.events.matrix.nnz == json.loads(done.stdout)["events"] > 0  # type: ignore[union-attr]
    with Journal.open(tmp_path / "purchases.db") as journal:
        journal.add([Purchase("u001", "i47"), Purchase("brand new", "i02")])
        folded = update_from_journal(again, journal, progress=False).recommender
    assert pairs_of(folded) == pairs_of(again) | {("u001", "i47"), ("brand new", "i02")}
    assert pairs_of(folded, "cart") == pairs_of(again, "cart")


def read_options(*events: str) -> ReadOptions:
    return ReadOptions.of({"inputs": events})


def test_events_of_a_union_are_those_of_both() -> None:
    """A small one by hand: old and new ids between each other, an event that the new rows do not have."""
    from recae.ids import IdMap
    from recae.updating.union import Union, joined_inputs

    old = EventInputs.of(["cart", "view"], [sp.csr_matrix([[1, 0], [0, 1]]), sp.csr_matrix([[0, 1], [0, 0]])])
    new = EventInputs.of(["view"], [sp.csr_matrix([[1, 0, 1], [0, 1, 0]])])

    class Known:
        events = old

    union = Union(
        users=IdMap(["a", "b", "c"]),
        items=IdMap(["w", "x", "y"]),
        item_names=None,
        histories=sp.csr_matrix((3, 3)),
        given=sp.csr_matrix((3, 3)),
        old_users=np.array([0, 2]),
        old_items=np.array([0, 2]),
        changed=np.zeros(0, np.int64),
        new_users=1,
        new_items=np.array([1]),
        added=0,
        known=0,
        taken_back=0,
        last_bought=None,
    )
    found = joined_inputs(Known(), union, (new, IdMap(["b", "c"]), IdMap(["y", "x", "w"])))  # type: ignore[arg-type]
    assert found is not None
    np.testing.assert_array_equal(found.block("cart").toarray(), [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(found.block("view").toarray(), [[0, 0, 1], [1, 0, 1], [0, 1, 0]])
