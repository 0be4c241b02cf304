"""Tests of customers who are forgotten while the server runs: at once, by all workers, and by the model file later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import recae
from shopserver import application, shop
from starlette.testclient import TestClient

from recae.errors import JournalError, JournalFullError
from recae.ids import IdMap
from recae.journal import Journal, Purchase
from recae.modelfile import load, save
from recae.recommender import Recommender

NAME = "Customer/Zoë-839114"
"""An id that occurs nowhere else, not even in part."""


def known() -> Recommender:
    model = shop()
    assert model.users is not None
    ids = model.users.ids(np.arange(len(model.users))).to_pylist()
    return replace(model, users=IdMap([NAME if user == "u1" else user for user in ids]))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "purchases.db") as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.recae"
    save(known(), path)
    return path


@pytest.fixture
def api(model: Path, journal: Journal) -> Iterator[TestClient]:
    with TestClient(application(model, journal)) as client:
        yield client


def asked(api: TestClient, user: str) -> int:
    return api.post("/recommend", json={"user": user, "n": 40}).status_code


def test_nobody_is_known_any_more_at_once(api: TestClient, journal: Journal) -> None:
    for item in ("P12", "P20"):
        assert api.post("/purchases", json={"user": NAME, "item": item}).status_code == 200
    assert asked(api, NAME) == 200
    answer = api.delete(f"/users/{NAME}")
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("model")
    assert body == {
        "user_id": NAME,
        "journal_rows": 2,
        "in_model_file": True,
        "leaves_model_file": "at the next recae update, recae refresh or recae forget with this journal",
    }
    assert asked(api, NAME) == 404
    assert api.get(f"/users/{NAME}/items").status_code == 404
    batch = api.post("/recommend/batch", json={"requests": [{"user": NAME}, {"user": "u2"}]}).json()[
        "results"
    ]
    assert batch[0]["problem"]["status"] == 404
    assert "recommendations" in batch[1]
    assert api.post("/recommend", json={"user": NAME, "fallback": "popular"}).json()["source"] == "popular"
    assert NAME not in {user["user_id"] for user in api.get("/users?limit=1000").json()["users"]}
    near = api.get(f"/users/{NAME}x/items").json()
    assert near["status"] == 404
    assert NAME not in near["nearest"]
    assert api.delete(f"/users/{NAME}").status_code == 404
    assert journal.bought_by([NAME])[0].items == ()


def test_who_comes_back_is_somebody_new(api: TestClient) -> None:
    assert api.delete(f"/users/{NAME}").json()["journal_rows"] == 0
    api.post("/purchases", json={"user": NAME, "item": "P12"})
    found = api.post("/recommend", json={"user": NAME, "n": 40}).json()["recommendations"]
    expected = known().recommend(items=["P12"], n=40)
    assert [one["item_id"] for one in found] == [one.item for one in expected]
    assert api.get(f"/users/{NAME}/items").json()["n_items"] == 1
    body = api.delete(f"/users/{NAME}").json()
    assert (body["journal_rows"], body["in_model_file"]) == (1, True)  # the file was not written since
    assert asked(api, NAME) == 404
    assert api.delete(f"/users/{NAME}").status_code == 404


def test_who_is_in_the_journal_alone(api: TestClient) -> None:
    api.post("/purchases", json={"user": "new", "item": "P12"})
    body = api.delete("/users/new").json()
    assert (body["journal_rows"], body["in_model_file"], body["leaves_model_file"]) == (1, False, None)
    assert asked(api, "new") == 404


def test_refusals(api: TestClient, model: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = api.delete("/users/nobody")
    assert problem.status_code == 404
    assert problem.json()["type"].endswith("unknown-user")
    with TestClient(application(model)) as other:
        without = other.delete(f"/users/{NAME}")
        assert without.status_code == 404
        assert "start it with --journal" in without.json()["detail"]
    for error, status in ((JournalFullError("full"), 507), (JournalError("gone"), 503)):

        def fails(*_: object, error: JournalError = error) -> int:
            raise error

        monkeypatch.setattr(Journal, "order_forgetting", fails)
        assert api.delete(f"/users/{NAME}").status_code == status
        assert asked(api, NAME) == 200


def test_a_token_guards_it(model: Path, journal: Journal) -> None:
    with TestClient(application(model, journal, token="s3cret")) as api:
        assert api.delete(f"/users/{NAME}").status_code == 401
        answer = api.delete(f"/users/{NAME}", headers={"Authorization": "Bearer s3cret"})
        assert answer.status_code == 200


def test_the_journal_holds_no_byte_of_the_id(api: TestClient, journal: Journal, tmp_path: Path) -> None:
    journal.add([Purchase(NAME, f"P{n}", event=f"{NAME} {n}") for n in range(12, 30)])
    api.delete(f"/users/{NAME}")
    journal.clean()
    for path in tmp_path.glob("purchases.db*"):
        assert NAME.encode() not in path.read_bytes()
    assert journal.orders() == {journal.code(NAME)}
    assert journal.orders(journal.last()) == frozenset()
    with Journal.open(tmp_path / "other.db") as other:
        assert other.code(NAME) != journal.code(NAME)


def test_the_model_file_follows_with_the_journal(api: TestClient, model: Path, journal: Journal) -> None:
    api.delete(f"/users/{NAME}")
    api.post("/purchases", json={"user": NAME, "item": "P12"})  # who comes back stays in the journal
    result = recae("forget", model, "--journal", journal.path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("forgotten: 1 customer\n")
    users = load(model).users
    assert users is not None
    assert NAME not in users
    assert NAME.encode() not in model.read_bytes()
    assert journal.bought_by([NAME])[0].items == ("P12",)
    before = model.read_bytes()
    again = recae("forget", model, "--journal", journal.path)
    assert again.exit_code == 0
    assert again.stdout.startswith("nobody is to be forgotten")
    assert model.read_bytes() == before
