"""Tests of purchases that are posted: stored before they are acknowledged, and known to the next recommendation."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae, refused
from shopserver import JSON, application, server, shop, wait
from starlette.testclient import TestClient

from recae.cli import live
from recae.ids import IdMap
from recae.interactions import Events
from recae.journal import Journal, Purchase
from recae.modelfile import save
from recae.models import Frequency
from recae.recommender import Recommender
from recae.serving import drift
from recae.serving.metrics import Metrics
from recae.serving.owned import bought_by, owned_by
from recae.serving.problems import Problem
from recae.serving.purchases import PurchaseWriter
from recae.serving.schemas import PurchasesAnswer
from recae.serving.served import load_served


@pytest.fixture(scope="module")
def model() -> Recommender:
    return shop()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "purchases.db") as opened:
        yield opened


@pytest.fixture
def api(model: Recommender, journal: Journal, tmp_path: Path) -> Iterator[TestClient]:
    save(model, tmp_path / "model.recae")
    with TestClient(application(tmp_path / "model.recae", journal)) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(
    model: Recommender, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestClient, Journal]]:
    """A server for what stores nothing."""
    folder = tmp_path_factory.mktemp("refusing")
    save(model, folder / "model.recae")
    with (
        Journal.open(folder / "purchases.db") as journal,
        TestClient(application(folder / "model.recae", journal)) as client,
    ):
        yield client, journal


def recommended(api: TestClient, user: str, **options: Any) -> dict[str, Any]:
    answer = api.post("/recommend", json={"user": user, "n": 40, **options})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_next_recommendation_knows_a_purchase(api: TestClient, model: Recommender) -> None:
    first = recommended(api, "u1")["recommendations"][0]["item_id"]
    answer = api.post("/purchases", json={"user": "u1", "item": first})
    assert answer.status_code == 200
    assert (answer.json()["added"], answer.json()["repeated"], answer.json()["unknown_items"]) == (1, 0, [])
    found = recommended(api, "u1")
    assert first not in {one["item_id"] for one in found["recommendations"]}
    owned = [item["item_id"] for item in api.get("/users/u1/items").json()["items"]]
    assert first in owned
    # the list is that of the whole history, as a basket
    expected = model.recommend(items=owned, n=40)
    assert [one["item_id"] for one in found["recommendations"]] == [one.item for one in expected]
    reasons = recommended(api, "u1", explain=True, n=1)["recommendations"][0]
    assert reasons["others"]["items"] + len(reasons["because"]) == len(owned)


def test_customers_and_items_that_the_model_has_never_seen(api: TestClient, model: Recommender) -> None:
    assert api.post("/recommend", json={"user": "new/one"}).status_code == 404
    answer = api.post(
        "/purchases",
        json={"purchases": [{"user": "new/one", "item": item} for item in ("P12", "P\n?", "P20", "P12")]},
    )
    assert answer.json()["unknown_items"] == ["P\n?"]
    found = recommended(api, "new/one")
    expected = model.recommend(items=["P12", "P20"], n=40)
    assert [one["item_id"] for one in found["recommendations"]] == [one.item for one in expected]
    assert found["unknown_items"] == ["P\n?"]
    assert api.get("/users/new/one/items").json() == {
        "user_id": "new/one",
        "n_items": 3,
        "items": [
            {"item_id": "P12", "name": "Thing 12"},
            {"item_id": "P20", "name": "Thing 20"},
            {"item_id": "P\n?", "name": None, "scored": False},
        ],
    }
    assert len(api.get("/users/new/one/items?limit=1").json()["items"]) == 1
    batch = api.post("/recommend/batch", json={"requests": [{"user": "new/one"}, {"user": "nobody"}]}).json()
    assert "recommendations" in batch["results"][0]
    assert "problem" in batch["results"][1]
    # somebody of whom no item is known gets a list as anybody without a history
    api.post("/purchases", json={"user": "other", "item": "??"})
    assert recommended(api, "other", fallback="popular")["source"] == "popular"
    assert len(recommended(api, "other")["recommendations"]) == 40


def test_ids_are_returned_and_make_a_purchase_count_once(api: TestClient, journal: Journal) -> None:
    one = {"user": "u1", "item": "P10", "event": "order 7/1", "time": "2024-03-01T10:00:00+01:00"}
    assert api.post("/purchases", json=one).json()["events"] == ["order 7/1"]
    again = api.post("/purchases", json={"purchases": [one, {"user": "u1", "item": "P11"}]}).json()
    assert (again["added"], again["repeated"]) == (1, 1)
    made = again["events"][1]
    assert api.post("/purchases", json={"user": "u1", "item": "P11", "event": made}).json()["repeated"] == 1
    other = api.post("/purchases", json={**one, "item": "P12"})
    assert other.status_code == 409
    assert other.json()["type"] == "urn:recae:problem:event-conflict"
    rows = journal.unfolded().table.to_pylist()
    assert [row["item"] for row in rows] == ["P10", "P11"]
    assert rows[0]["time"] == datetime(2024, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "a purchase needs 'user' and 'item'"),
        ({"user": "u"}, "a purchase needs 'user' and 'item'"),
        ({"user": "", "item": "a"}, "user: String should have at least 1 character"),
        ({"user": "u\x00v", "item": "a"}, "user: String should match pattern"),
        ({"user": "u" * 1001, "item": "a"}, "user: String should have at most 1000 characters"),
        ({"user": 7, "item": "a"}, "user: Input should be a valid string"),
        ({"user": "u", "item": "a", "quantity": 1e308}, "quantity: Input should be less than or equal to 1"),
        ({"user": "u", "item": "a", "quantity": 0}, "quantity: a quantity is above 0 for a purchase and below"),
        ({"user": "u", "item": "a", "quantity": -1e10}, "quantity: Input should be greater than or equal to -1"),
        ({"user": "u", "item": "a", "time": "2099-01-01T00:00:00Z"}, "time: it is more than a day after this server"),
        ({"user": "u", "item": "a", "time": "9999-12-31T23:59:59-14:00"}, "time: it is more than a day after"),
        ({"user": "u", "item": "a", "time": "soon"}, "time: give date and time of ISO 8601, such as 2024"),
        ({"user": "u", "item": "a", "time": "20240301"}, "time: give date and time of ISO 8601"),
        ({"user": "u", "item": "a", "time": "1700000000.5"}, "time: give date and time of ISO 8601"),
        ({"user": "u", "item": "a", "time": 1_700_000_000}, "time: give date and time of ISO 8601"),
        ({"user": "u", "item": "a", "time": "2024-03-01"}, "time: give date and time of ISO 8601"),
        ({"user": "u", "item": "a", "time": "2024-02-30T10:00:00Z"}, "time: Input should be a valid datetime"),
        ({"user": "u", "item": "a", "colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"purchases": []}, "purchases: List should have at least 1 item"),
        ({"purchases": [{"user": "u", "item": "a"}], "user": "u"}, "give either one purchase or 'purchases'"),
        (
            {"purchases": [{"user": "u", "item": "a"}, {"user": "u", "item": "a", "time": "2099-01-01T00:00"}]},
            "purchases.1.time: it is more than a day",
        ),
        ({"purchases": [{"user": "u", "item": "a"}, {"user": "v"}]}, "purchases.1.item: Field required"),
        ({"purchases": [{"user": "u", "item": "a"}] * 10_001}, "purchases: List should have at most 10000 items"),
    ],
)  # fmt: skip
def test_purchases_that_do_not_fit(
    refusing: tuple[TestClient, Journal], body: dict[str, Any], said: str
) -> None:
    api, journal = refusing
    answer = api.post("/purchases", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)
    assert journal.last() == 0


def test_a_million_items_are_too_many_bytes(refusing: tuple[TestClient, Journal]) -> None:
    api, journal = refusing
    body = b'{"purchases": [%b]}' % b",".join([b'{"user": "u", "item": "a"}'] * 1_000_000)
    assert api.post("/purchases", content=body, headers=JSON).status_code == 413
    cut = '{"user": "u", "item": "\\ud800"}'
    assert api.post("/purchases", content=cut, headers=JSON).status_code == 422
    assert journal.last() == 0


def test_times_before_1970_and_of_the_clock(api: TestClient, journal: Journal) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=23)).isoformat()
    for time_ in ("0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59.5", soon):
        assert api.post("/purchases", json={"user": "u", "item": "a", "time": time_}).status_code == 200
    assert recommended(api, "u")
    rows = journal.bought_by(["u"])[0].times
    assert rows[1] == -500_000


def test_without_a_journal(model: Recommender, tmp_path: Path) -> None:
    save(model, tmp_path / "model.recae")
    with TestClient(application(tmp_path / "model.recae")) as client:
        answer = client.post("/purchases", json={"user": "u1", "item": "P10"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "this server takes no purchases: start it with --journal"


def test_a_full_disk_refuses_purchases_and_goes_on_reading(
    api: TestClient, journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert api.post("/purchases", json={"user": "u1", "item": "P10"}).status_code == 200
    connect = journal._database._connect

    def connect_to_little() -> sqlite3.Connection:
        connection = connect()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    many = {"purchases": [{"user": "u2", "item": f"{'x' * 500}{n}"} for n in range(500)]}
    with monkeypatch.context() as patch:
        patch.setattr(journal._database, "_connect", connect_to_little)
        journal.close()
        answer = api.post("/purchases", json=many)
        assert answer.status_code == 507
        assert answer.json()["type"] == "urn:recae:problem:journal-full"
        assert recommended(api, "u1")
        assert api.get("/users/u2/items").status_code == 200
        assert api.get("/metrics").status_code == 200
        assert api.post("/purchases", json=many).status_code == 507
        assert caplog.text.count("disk is full") == 1  # and not once a request
    journal.close()
    assert api.post("/purchases", json=many).json()["added"] == 500


def test_a_journal_that_is_gone_or_damaged_is_said(api: TestClient, journal: Journal) -> None:
    assert api.post("/purchases", json={"user": "u1", "item": "P10"}).status_code == 200
    journal.path.rename(journal.path.with_name("elsewhere.db"))
    answer = api.post("/purchases", json={"user": "u1", "item": "P11"})
    assert answer.status_code == 503
    assert "log says why" in answer.json()["detail"]
    assert str(journal.path) not in answer.text
    journal.close()
    answer = api.post("/recommend", json={"user": "u1"})
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:recae:problem:journal-unreadable"
    assert api.post("/recommend", json={"items": ["P10"]}).status_code == 200
    assert np.isnan(counted(api)["recae_journal_unfolded"])


def test_requests_together_take_one_transaction(
    api: TestClient, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write, gate = journal.add_together, threading.Event()

    def slow(requests: Any) -> Any:
        sizes.append(len(requests))
        gate.wait()
        return write(requests)

    monkeypatch.setattr(journal, "add_together", slow)
    answers: list[int] = []
    bodies = [{"user": "u1", "item": "P10", "event": "x"}, {"user": "u1", "item": "P11", "event": "x"}]
    bodies += [{"user": f"u{n}", "item": "P10", "event": f"{n}"} for n in range(6)]
    threads = []
    for body in bodies:
        post = threading.Thread(
            target=lambda body=body: answers.append(api.post("/purchases", json=body).status_code)
        )
        threads.append(post)
        post.start()
        if len(threads) == 1:
            wait(lambda: sizes)
    time.sleep(0.05)
    gate.set()
    for post in threads:
        post.join()
    assert sorted(answers) == [200] * 7 + [409]  # what is wrong with one request stays its own
    assert len(sizes) < len(bodies)
    assert journal.last() >= 7


def test_the_thread_outlives_every_failure(
    api: TestClient, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"user": "u1", "item": "P10", "event": "1"}

    def fails(*_: object, error: BaseException) -> Any:
        raise error

    for target, name, error in (
        (IdMap, "rows", MemoryError()),
        (Journal, "add_together", MemoryError()),
        (Journal, "add_together", SystemExit(1)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, partial(fails, error=error))
            assert api.post("/purchases", json=one).status_code == 500
    assert api.post("/purchases", json=one).json()["repeated"] == 1  # was written, and only the answer failed
    assert journal.counts().purchases == 1


def test_what_waits_at_the_end_is_written(
    journal: Journal, model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(model, tmp_path / "model.recae")
    served, metrics = load_served(tmp_path / "model.recae", journal=journal), Metrics()
    write, gate = journal.add_together, threading.Event()
    monkeypatch.setattr(journal, "add_together", lambda requests: (gate.wait(), write(requests))[1])

    async def serve() -> None:
        lists = drift.Drift(metrics, drift.ShownLists())
        writer = PurchaseWriter(journal, lists, metrics, waiting=4)
        writer.start()
        asked = [asyncio.create_task(writer.add(served, [Purchase(f"u{n}", "P10")])) for n in range(6)]
        await asyncio.sleep(0.05)
        assert [task.done() for task in asked] == [False] * 4 + [True] * 2  # two too many
        end = asyncio.create_task(writer.stop())
        await asyncio.sleep(0)
        gate.set()
        await end
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [PurchasesAnswer] * 4 + [Problem] * 2

    asyncio.run(serve())
    assert journal.counts().purchases == 4
    assert b'recae_overloaded_total{queue="purchases"} 2.0' in metrics.text()


def test_a_new_model_has_some_of_the_purchases_and_the_journal_the_others(
    model: Recommender, journal: Journal, tmp_path: Path
) -> None:
    path = tmp_path / "model.recae"
    save(model, path)
    before = load_served(path, journal=journal)
    journal.add([Purchase("u1", "P10"), Purchase("u1", "P11")])
    unfolded = journal.unfolded(model.metadata)
    histories = model.histories
    assert histories is not None
    assert model.users is not None
    wider = histories.tolil()
    for user, item in zip(
        *(unfolded.table.column(name).to_pylist() for name in ("user", "item")), strict=True
    ):
        wider[model.users.row(user), model.items.row(item)] = 1
    folding = {**model.metadata, **journal.folding(unfolded.sequence)}
    journal.add(Purchase("u1", "P12"))  # while the update runs
    save(replace(model, histories=sp.csr_matrix(wider), metadata=folding), path)
    after = load_served(path, journal=journal)
    assert after.folded == unfolded.sequence
    assert list(bought_by(after, ["u1"])[0].items) == ["P12"]
    assert owned_by(before, "u1", bought_by(before, ["u1"])[0]).items.tolist() == (
        owned_by(after, "u1", bought_by(after, ["u1"])[0]).items.tolist()
    )


def test_how_often_and_lately_is_counted_on_by_baskets(journal: Journal, tmp_path: Path) -> None:
    def events(*rows: tuple[int, int, int]) -> Events:
        user, basket, item = np.array(rows, dtype=np.int32).T
        return Events.of(user, item, basket, 2, 3)

    before = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 2))  # user, basket, item
    first = events(*before)
    decay = 0.5
    histories = first.weights(decay)
    model = Frequency.fit(histories, decay=decay)
    parts = Recommender(
        model=model, users=["0", "1"], items=["a", "b", "c"], histories=histories, metadata={}
    )
    save(parts, tmp_path / "model.recae")
    served = load_served(tmp_path / "model.recae", journal=journal)
    journal.add(Purchase("0", "b", time=10))
    journal.add([Purchase("0", "a", time=20), Purchase("0", "b", time=20), Purchase("0", "a", time=20)])
    journal.add([Purchase("2", "c", time=5), Purchase("2", "?", time=9)])
    later = events(*before[:3], (0, 2, 1), (0, 3, 0), (0, 3, 1), before[3])
    expected = later.weights(decay).toarray()[0]
    found = owned_by(served, "0", bought_by(served, ["0"])[0])
    assert found.items.tolist() == [0, 1]
    assert found.values is not None
    np.testing.assert_allclose(found.values, expected[:2], rtol=1e-6)
    new = owned_by(served, "2", bought_by(served, ["2"])[0])
    assert (new.items.tolist(), new.unknown) == ([2], ["?"])
    assert new.values is not None
    np.testing.assert_allclose(new.values, [0.5])  # a basket of unknown items came after it


def counted(api: TestClient) -> dict[str, float]:
    lines = [line for line in api.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_drift_counts_customers_who_bought_from_their_list(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(drift.time, "time", lambda: clock[0])

    def figures() -> list[float]:
        names = ("recae_customers_listed_total", "recae_customers_hit_total", "recae_journal_unfolded")
        found = counted(api)
        return [
            *(found[name] for name in names),
            *(found[f'recae_purchases_total{{item="{kind}"}}'] for kind in ("known", "unknown")),
        ]

    def buy(user: str, item: str, event: str) -> None:
        api.post("/purchases", json={"user": user, "item": item, "event": event})

    assert counted(api)["recae_model_written_timestamp_seconds"] > 1e9
    best = [one["item_id"] for one in recommended(api, "u1")["recommendations"]]
    recommended(api, "u1")
    recommended(api, "u2")
    assert figures() == [2, 0, 0, 0, 0]
    buy("u1", best[30], "1")  # beyond what is remembered of a list
    buy("u1", "??", "2")
    buy("nobody", "P10", "3")
    assert figures() == [2, 0, 3, 2, 1]
    buy("u1", best[3], "4")
    buy("u1", best[3], "4")
    buy("u1", best[4], "5")
    assert figures() == [2, 1, 5, 4, 1]  # each customer once a day, each purchase once
    clock[0] += drift.DAY + 1
    buy("u2", recommended(api, "u3")["recommendations"][0]["item_id"], "6")
    assert figures() == [3, 1, 6, 5, 1]  # the list of u2 is older than a day
    clock[0] -= 5000  # the clock goes back
    buy("u3", recommended(api, "u3")["recommendations"][0]["item_id"], "7")
    assert figures() == [3, 2, 7, 6, 1]
    assert api.post("/recommend", json={"items": ["P10"]}).status_code == 200
    assert figures()[0] == 3  # a basket is nobody's


def post(connection: HTTPConnection, path: str, body: Any) -> tuple[int, Any]:
    connection.request("POST", path, json.dumps(body), JSON)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def address(url: str) -> str:
    return url.removeprefix("http://")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process only")
def test_workers_know_at_once_what_one_of_them_has_acknowledged(tmp_path: Path) -> None:
    path, journal = tmp_path / "model.recae", tmp_path / "purchases.db"
    save(shop(), path)
    options = ("--journal", str(journal))
    with server(path, "--workers", "2", *options) as (_, url), server(path, *options) as (_, other):
        asked = [HTTPConnection(address(one), timeout=20) for one in (url, url, url, url, other)]
        for n in range(12):
            item = f"P{10 + n}"
            status, _ = post(asked[n % 5], "/purchases", {"user": "new", "item": item, "event": str(n)})
            assert status == 200
            for one in asked:
                status, found = post(one, "/recommend", {"user": "new", "n": 40, "exclude_owned": False})
                owned = {found["item_id"] for found in found["recommendations"]}
                assert status == 200
                one.request("GET", "/users/new/items")
                listed = json.loads(one.getresponse().read())
                assert item in {item["item_id"] for item in listed["items"]}
                assert len(owned) == 40
                assert listed["n_items"] == n + 1
        asked[0].request("GET", "/metrics")
        text = asked[0].getresponse().read().decode()
        assert "recae_journal_unfolded 12.0" in text
    with Journal.open(journal) as opened:
        assert opened.counts().purchases == 12


@pytest.mark.parametrize("times", [pytest.param(3), pytest.param(60, marks=pytest.mark.thorough)])
def test_a_server_killed_at_any_moment_loses_nothing_acknowledged(tmp_path: Path, times: int) -> None:
    path, journal = tmp_path / "model.recae", tmp_path / "purchases.db"
    save(shop(), path)
    rng = random.Random(times)
    acknowledged: set[str] = set()
    for round_ in range(times):
        with server(path, "--journal", str(journal)) as (process, url):

            def write(thread: int, url: str = url, round_: int = round_) -> None:
                connection = HTTPConnection(address(url), timeout=20)
                for n in range(10**6):
                    ids = [f"{round_}-{thread}-{n}-{m}" for m in range(n % 3 + 1)]
                    entries = [{"user": f"u{thread}", "item": "P10", "event": one} for one in ids]
                    try:
                        status, _ = post(connection, "/purchases", {"purchases": entries})
                    except OSError:
                        return
                    except Exception:
                        return  # half of an answer
                    assert status == 200
                    acknowledged.update(ids)

            threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
            for thread in threads:
                thread.start()
            wait(lambda round_=round_: any(one.startswith(f"{round_}-") for one in tuple(acknowledged)))
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
    with sqlite3.connect(journal) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        events = [event for (event,) in connection.execute("SELECT event FROM events")]
    assert max(Counter(events).values()) == 1
    assert acknowledged <= set(events)
    of_requests = Counter(event.rpartition("-")[0] for event in events)
    for request, count in of_requests.items():
        assert count == int(request.rpartition("-")[2]) % 3 + 1  # none half


def test_a_journal_that_cannot_be_used_ends_the_command_in_a_sentence(tmp_path: Path) -> None:
    save(shop(), tmp_path / "model.recae")
    (tmp_path / "purchases.csv").write_text("user,item\n")
    found = recae(
        "serve", "--port", "0", "--journal", tmp_path / "purchases.csv", model=tmp_path / "model.recae"
    )
    refused(found, "is no journal: it is no database of SQLite; give another path")


def test_inspect_prints_what_a_server_says(
    tmp_path: Path, api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.recae"
    best = recommended(api, "u1")["recommendations"][0]["item_id"]
    recommended(api, "u2")
    for item in (best, "??"):
        api.post("/purchases", json={"user": "u1", "item": item})
    monkeypatch.setattr(live, "_fetched", lambda url: api.get(url.removeprefix("http://shop")).text)
    found = json.loads(recae("inspect", "--live", "http://shop/", "--json", model=path).stdout)["live"]
    assert found["model"] == api.get("/model").json()["model"]
    assert 0 <= found["age_seconds"] < 3600
    assert (found["customers_listed"], found["customers_hit"], found["hit_fraction"]) == (2, 1, 0.5)
    assert (found["purchases"], found["unknown_purchases"], found["unfolded"]) == (2, 1, 2)
    lines = recae("inspect", "--live", "http://shop", model=path).stdout
    assert "bought from it within a day\t1 (50.0%)" in lines
    assert "this file" in lines
    save(shop(1), path)
    assert "another file than this one" in recae("inspect", "--live", "http://shop", model=path).stdout
    unreadable = {"/model": '{"model": "ab"}', "/metrics": "recae_journal_unfolded NaN"}
    monkeypatch.setattr(live, "_fetched", lambda url: unreadable[url.removeprefix("http://shop")])
    assert "not yet in the model\t-" in recae("inspect", "--live", "http://shop", model=path).stdout
    found = json.loads(recae("inspect", "--live", "http://shop", "--json", model=path).stdout)["live"]
    assert found["unfolded"] is None
    monkeypatch.setattr(live, "_fetched", lambda url: "[]")
    refused(recae("inspect", "--live", "http://shop", model=path), "is no server of recae")


def test_inspect_says_what_is_wrong_with_a_url(tmp_path: Path) -> None:
    path = tmp_path / "model.recae"
    save(shop(), path)
    refused(recae("inspect", "--live", "localhost:1", model=path), "--live is the URL of a server")
    refused(
        recae("inspect", "--live", "http://127.0.0.1:1", model=path),
        "no server answers at",
        "start recae serve",
    )
