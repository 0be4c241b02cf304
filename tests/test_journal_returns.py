"""Returns in a journal: what is left of purchases, in the server, beside a model and in an update, against a loop."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import recae
from hypothesis import given, settings
from hypothesis import strategies as st
from shopserver import application, shop
from starlette.testclient import TestClient
from test_journal_update import START, made

from recae.errors import JournalConflictError, JournalError
from recae.journal import Journal, Purchase
from recae.journal import database as databases
from recae.journal.balance import balance
from recae.modelfile import load, save
from recae.recommender import Recommender
from recae.serving.owned import bought_by, owned_by
from recae.serving.served import load_served
from recae.updating.pending import pending, update_from_journal, with_pending

OLD = [(f"u{n % 5}", f"i{n % 7}", n) for n in range(30)]


def oracle(events: list[tuple[str, str, float]], old: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What users own after events, one after the other: pieces bought since, and what the model still has."""
    pieces: dict[tuple[str, str], float] = {}
    before = set(old)
    for user, item, quantity in events:
        pair = user, item
        if quantity > 0:
            pieces[pair] = pieces.get(pair, 0) + quantity
            continue
        missing = -quantity - pieces.get(pair, 0)
        pieces[pair] = max(pieces.get(pair, 0) + quantity, 0)
        if missing > 0:
            before.discard(pair)
    return before | {pair for pair, number in pieces.items() if number > 0}


def pairs_of(model: Recommender) -> set[tuple[str, str]]:
    assert model.users is not None
    assert model.histories is not None
    return {
        (user, model.items.id(int(column)))
        for row, user in enumerate(model.users)
        for column in model.histories[row].indices
    }


def test_in_words() -> None:
    keys = ["a", "a", "b", "a", "c", "c", "d"]
    quantities = [2, -1, 1, -1, -1, 1, -2]
    # both pieces of a came back; b stays; c came back from before and was bought again; d came back from before
    assert balance(keys, quantities) == ([False, False, True, False, False, True, False], ["c", "d"])
    assert balance(["a", "a"], [1, -3]) == ([False, False], ["a"])
    assert balance([], []) == ([], [])


@pytest.mark.parametrize("kind", ["itemknn", "frequency"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_way_knows_what_is_left(kind: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    number = st.tuples(
        st.integers(0, 6), st.integers(0, 8), st.sampled_from([1.0, 2.0, 1.0, -1.0, -1.0, -2.0, 0.5])
    )
    events = [(f"u{u}", f"i{i}", q) for u, i, q in data.draw(st.lists(number, max_size=25))]
    folder = tmp_path_factory.mktemp("returns")
    known = made(*OLD, kind=kind)
    save(known, folder / "model.recae")
    with Journal.open(folder / "purchases.db") as journal:
        for place, (user, item, quantity) in enumerate(events):
            journal.add(Purchase(user, item, START + (60 + place) * 86_400_000_000, quantity))
        wanted = oracle(events, pairs_of(known))
        scored = {pair for pair in wanted if pair[1] in set(known.items)}
        beside = with_pending(known, pending(known, journal))
        assert pairs_of(beside) == scored
        served = load_served(folder / "model.recae", journal=journal)
        for user in sorted({user for user, _, _ in events} | {user for user, _, _ in OLD}):
            (bought,) = bought_by(served, [user])
            if not bought.known and user not in set(known.users or ()):
                continue  # whom nobody knows
            owned = owned_by(served, user, bought)
            items = {known.items.id(int(row)) for row in owned.items} | set(owned.unknown)
            assert {(user, item) for item in items} == {pair for pair in wanted if pair[0] == user}
            if (
                kind == "frequency"
                and owned.items.size
                and beside.users is not None
                and beside.histories is not None
            ):
                assert owned.values is not None
                assert (owned.values > 0).all()
                own = beside.histories[beside.users.row(user)]
                np.testing.assert_array_equal(own.indices, owned.items)
                np.testing.assert_allclose(own.data, owned.values, rtol=1e-5)
        updated = update_from_journal(known, journal, progress=False)
        assert pairs_of(updated.recommender) == wanted
        again = update_from_journal(updated.recommender, journal, progress=False)
        assert pairs_of(again.recommender) == wanted
        assert again.taken_back == 0


@pytest.fixture
def api(tmp_path: Path) -> Any:
    save(shop(), tmp_path / "model.recae")
    with (
        Journal.open(tmp_path / "purchases.db") as journal,
        TestClient(application(tmp_path / "model.recae", journal)) as client,
    ):
        yield client


def owned(api: TestClient, user: str) -> list[str]:
    return [item["item_id"] for item in api.get(f"/users/{user}/items").json()["items"]]


def test_what_comes_back_may_be_recommended_again(api: TestClient) -> None:
    mine = owned(api, "u1")[0]

    def listed() -> set[str]:
        answer = api.post("/recommend", json={"user": "u1", "n": 40}).json()
        return {one["item_id"] for one in answer["recommendations"]}

    assert mine not in listed()
    back = {"user": "u1", "item": mine, "quantity": -1, "event": "return 9/1"}
    assert api.post("/purchases", json=back).json()["added"] == 1
    assert mine in listed()
    assert mine not in owned(api, "u1")
    assert api.post("/purchases", json=back).json() | {"events": []} == {
        "events": [],
        "added": 0,
        "repeated": 1,
        "unknown_items": [],
    }
    conflict = api.post("/purchases", json=back | {"quantity": 1})
    assert conflict.status_code == 409
    # bought anew, in one request with the return of something that nobody knows
    both = [{"user": "u1", "item": mine}, {"user": "u1", "item": "unheard of", "quantity": -3}]
    assert api.post("/purchases", json={"purchases": both}).json()["unknown_items"] == []
    assert mine not in listed()
    assert mine in owned(api, "u1")


def test_a_customer_who_returns_everything_owns_nothing(api: TestClient) -> None:
    api.post("/purchases", json={"user": "new", "item": "P12"})
    assert owned(api, "new") == ["P12"]
    api.post("/purchases", json={"user": "new", "item": "P12", "quantity": -1})
    answer = api.get("/users/new/items")
    assert answer.status_code == 200
    assert answer.json()["items"] == []


def test_the_commands_fold_returns_in(tmp_path: Path) -> None:
    model, path = tmp_path / "model.recae", tmp_path / "purchases.db"
    known = made(*OLD)
    save(known, model)
    gone = next(iter(sorted(pairs_of(known))))
    with Journal.open(path) as journal:
        journal.add(
            [Purchase(*gone, quantity=-1.0), Purchase("u9", "i1"), Purchase("u9", "i2", quantity=-1.0)]
        )
        assert (journal.counts().purchases, journal.counts().returns, journal.counts().unfolded) == (1, 2, 3)
    shown = recae("recommend", "--user", gone[0], "--journal", path, "-n", "20", "--csv", model=model)
    assert gone[1] in shown.stdout
    done = recae("update", model, "--journal", path)
    assert done.exit_code == 0, done.stderr
    assert "taken back" in done.stderr + done.stdout
    assert pairs_of(load(model)) == pairs_of(known) - {gone} | {("u9", "i1")}
    with Journal.open(path) as journal:
        assert journal.counts(load(model).metadata).unfolded == 0


def test_a_journal_without_returns_gets_the_new_format_and_an_older_recae_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "purchases.db"
    with monkeypatch.context() as older:
        older.setattr(databases, "STEPS", databases.STEPS[:2])
        with Journal.open(path) as journal:
            journal.add(Purchase("u", "a", event="1"))
    with Journal.open(path) as journal:
        journal.add(Purchase("u", "a", quantity=-1.0, event="2"))
        assert journal.bought_by(["u"])[0].items == ()
        with pytest.raises(JournalConflictError):
            journal.add(Purchase("u", "a", quantity=1.0, event="2"))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 3
    connection.close()
    monkeypatch.setattr(databases, "STEPS", databases.STEPS[:2])
    with pytest.raises(JournalError, match="of format 3"):
        Journal.open(path)


def test_values_of_what_is_left_are_those_of_the_purchases(tmp_path: Path) -> None:
    """Where histories say how often and lately, a returned item is gone with its value, and the others stay."""
    known = made(*OLD, kind="frequency")
    save(known, tmp_path / "model.recae")
    gone = sorted(pairs_of(known))[0]
    with Journal.open(tmp_path / "purchases.db") as journal:
        journal.add([Purchase(*gone, START + 90 * 86_400_000_000, -1.0)])
        served = load_served(tmp_path / "model.recae", journal=journal)
        (bought,) = bought_by(served, [gone[0]])
        after = owned_by(served, gone[0], bought)
    row = known.users.row(gone[0])  # type: ignore[union-attr]
    before = dict(zip(known.histories[row].indices.tolist(), known.histories[row].data.tolist(), strict=True))  # type: ignore[index]
    assert after.values is not None
    found = dict(zip(after.items.tolist(), after.values.tolist(), strict=True))
    del before[known.items.row(gone[1])]
    assert found == pytest.approx(before)
    assert np.isfinite(after.values).all()


def test_what_is_bought_anew_after_a_return_has_the_value_of_that_alone(tmp_path: Path) -> None:
    known = made(*OLD, kind="frequency")
    user, item = sorted(pairs_of(known))[0]
    with Journal.open(tmp_path / "purchases.db") as journal:
        journal.add(
            [
                Purchase(user, item, START + (90 + day) * 86_400_000_000, 1.0 - 2 * (day == 0))
                for day in range(3)
            ]
        )
        found = update_from_journal(known, journal, progress=False)
    assert found.taken_back == 0
    after = found.recommender
    assert after.users is not None
    assert after.histories is not None
    # two baskets, each of which makes what was before count half
    assert after.histories[after.users.row(user), after.items.row(item)] == pytest.approx(1.5)
