"""Tests of the server's parts: batching and its queue, the map, figures in answers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from shopserver import N_ITEMS, application, question, shop, wait
from starlette.testclient import TestClient

import recae.insight.layout
import recae.serving.batcher
from recae.modelfile import save
from recae.serving.answers import RankedList, _rounded, rank, to_json
from recae.serving.batcher import Batcher, LookupPool
from recae.serving.item_map import ItemMap
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem, invalid
from recae.serving.schemas import RecommendRequest
from recae.serving.served import ServedModel, load_served
from recae.serving.server import bind, check_installed, serve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(shop(0), tmp_path / "m.recae")
    return tmp_path / "m.recae"


@pytest.fixture
def served(path: Path) -> ServedModel:
    return load_served(path)


class Gate:
    """Holds scoring up, so that requests must wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.sizes = threading.Event(), []  # type: tuple[threading.Event, list[int]]

        def gated(served: ServedModel, questions: Any) -> Any:
            self.open.wait(20)
            self.sizes.append(len(questions))
            if any(q.user == "poison" for q in questions):
                raise ZeroDivisionError
            return rank(served, questions)

        monkeypatch.setattr(recae.serving.batcher, "rank", gated)


def test_a_full_queue_refuses_at_once_and_what_was_taken_is_answered_right(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, metrics = Gate(monkeypatch), Metrics()
    users = [f"u{n}" for n in range(40)]

    async def run() -> list[Any]:
        batcher = Batcher(metrics, waiting=30, threads=1)
        batcher.start()
        tasks = [asyncio.create_task(batcher.ask(served, [question(user)])) for user in users]
        while sum(task.done() for task in tasks) < 10:  # those beyond the bound, while nothing is scored
            await asyncio.sleep(0)
        assert not batcher.ready
        tasks[1].cancel()
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher.ready
        await batcher.stop()
        assert not batcher.ready
        return list(results)

    results = asyncio.run(run())
    assert metrics.registry.get_sample_value("recae_overloaded_total", {"queue": "scoring"}) == 10
    assert isinstance(results[1], asyncio.CancelledError)
    for n, result in enumerate(results[:30]):
        if n != 1:
            assert json.loads(result[0])["user"] == users[n]
            expected = [r.item for r in served.recommender.recommend(users[n])]
            assert [r["item_id"] for r in json.loads(result[0])["recommendations"]] == expected
    for result in results[30:]:
        assert isinstance(result, Problem)
        assert (result.status, result.headers["Retry-After"]) == (503, "1")
    assert max(gate.sizes) > 1  # those that waited together were scored together
    assert len(gate.sizes) <= 3


def test_models_do_not_mix_in_a_batch(
    served: ServedModel, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(shop(1), path)
    other, gate = load_served(path), Gate(monkeypatch)

    async def run() -> list[Any]:
        batcher = Batcher(Metrics(), waiting=100, threads=1)
        batcher.start()
        asked = [batcher.ask(served if n % 2 else other, [question(f"u{n}")]) for n in range(20)]
        tasks = [asyncio.create_task(one) for one in asked]
        await asyncio.sleep(0)
        gate.open.set()
        results = await asyncio.gather(*tasks)
        await batcher.stop()
        return results

    for n, (text,) in enumerate(asyncio.run(run())):
        model, found = (served if n % 2 else other), json.loads(text)
        assert found["model"] == model.version
        assert [r["item_id"] for r in found["recommendations"]] == [
            r.item for r in model.recommender.recommend(f"u{n}")
        ]


def test_what_is_wrong_with_one_request_stays_its_own(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    async def run() -> list[Any]:
        batcher = Batcher(Metrics(), waiting=100, threads=1)
        batcher.start()
        users = ["u1", "poison", "u2", "u3"]
        tasks = [asyncio.create_task(batcher.ask(served, [question(user)])) for user in users]
        await asyncio.sleep(0)
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.stop()
        return list(results)

    results = asyncio.run(run())
    assert isinstance(results[1], ZeroDivisionError)
    assert [json.loads(results[n][0])["user"] for n in (0, 2, 3)] == ["u1", "u2", "u3"]


def test_questions_beyond_a_batch_are_scored_in_the_order_they_came(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    gate.open.set()
    users = [f"u{n % 45}" for n in range(200)]

    async def run() -> list[Any]:
        batcher = Batcher(Metrics(), waiting=10, threads=1)
        batcher.start()
        found = await batcher.ask(served, [question(user) for user in users])
        await batcher.stop()
        return found

    assert [json.loads(text)["user"] for text in asyncio.run(run())] == users
    assert max(gate.sizes) <= 64 + 16


def test_a_lane_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recae.serving.batcher, "_MAX_LOOKUPS", 3)
    gate = threading.Event()

    async def run() -> list[Any]:
        pool = LookupPool(Metrics(), threads=1)
        tasks = [asyncio.create_task(pool.run(gate.wait, 20)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert pool.busy
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not pool.busy
        return list(results)

    results = asyncio.run(run())
    assert results[:3] == [True] * 3
    assert all(isinstance(result, Problem) and result.status == 503 for result in results[3:])


def test_a_failed_map_is_tried_again(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = ItemMap(served.recommender, served.vectors, served.owners, "v")
    monkeypatch.setattr(recae.insight.layout, "layout", lambda *args, **options: 1 / 0)

    def fails() -> bool:
        try:
            assert picture.answer() is None
        except ZeroDivisionError:
            return True
        return False

    wait(fails)
    monkeypatch.undo()
    monkeypatch.setattr("recae.serving.item_map.MAX_MAP_ITEMS", 10)
    monkeypatch.setattr("recae.serving.item_map.MAX_TSNE_ITEMS", 5)
    wait(lambda: picture.answer() is not None)
    found = json.loads(picture.answer() or b"")
    assert found["method"] == "neighbours"
    owners = np.asarray(served.owners)
    assert found["owners"] == sorted(owners.tolist(), reverse=True)[:10]


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=30))
def test_figures_are_short_and_keep_every_bit(values: list[float]) -> None:
    exact = np.array(values, dtype=np.float32)
    short = np.array(_rounded(exact), dtype=np.float64)
    largest = float(np.finfo(np.float32).max)
    bounded = np.clip(exact.astype(np.float64), -largest, largest)
    usual = np.abs(bounded) > 1e-13  # below, 22 decimals do not hold nine digits
    np.testing.assert_array_equal(short.astype(np.float32)[usual], bounded.astype(np.float32)[usual])
    np.testing.assert_allclose(short[~usual], bounded[~usual], atol=1e-21)
    figures = np.array([0.75, 1 / 3, -12345.678, 0], dtype=np.float32)
    assert _rounded(figures) == [0.75, 0.333333343, -12345.6777, 0.0]


def test_an_empty_list_of_questions_and_errors(served: ServedModel) -> None:
    assert rank(served, []) == []
    assert to_json(served, []) == []
    assert rank(served, [question("nobody")])[0].status == 404  # type: ignore[union-attr]
    assert invalid([]).status == 422
    long = rank(served, [question(n=1000)])[0]
    assert isinstance(long, RankedList)
    assert long.items.size == N_ITEMS - long.history.size


def test_requests_of_all_lengths_and_filters_are_ranked_together(served: ServedModel) -> None:
    rng = np.random.default_rng(4)
    ids = [served.recommender.items.id(at) for at in range(N_ITEMS)]
    asked: list[dict[str, Any]] = []
    for at in range(24):
        who: dict[str, Any] = {"items": ids[at : at + 3]} if at % 4 == 0 else {"user": f"u{at}"}
        some = {"only": [*rng.choice(ids, 9), "nope"]} if at % 3 == 0 else {}
        asked.append(
            {
                **who,
                **some,
                "n": [1, 4, 1000][at % 3],
                "exclude": list(rng.choice(ids, at % 5)),
                "exclude_owned": at < 16,
            }
        )
    asked[3]["only"] = []
    together = rank(served, [RecommendRequest(**one) for one in asked])
    for one, found in zip(asked, together, strict=True):
        assert isinstance(found, RankedList)
        history = np.zeros((1, N_ITEMS), dtype=np.float32)
        history[0, found.history] = 1
        scores = served.recommender.model.score(sp.csr_matrix(history))[0]
        left_out = {*one["exclude"], *([ids[at] for at in found.history] if one["exclude_owned"] else [])}
        may = [at for at, item in enumerate(ids) if item not in left_out and item in one.get("only", ids)]
        wanted = sorted(may, key=lambda at: (-scores[at], at))[: one["n"]]
        assert found.items.tolist() == wanted
        np.testing.assert_allclose(found.scores, scores[wanted], rtol=1e-5, atol=1e-6)


def test_a_busy_lane_still_says_who_is_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(application(path)) as api:
        monkeypatch.setattr(recae.serving.batcher, "_MAX_LOOKUPS", 0)
        found = api.post("/recommend", json={"user": "u1x"})
        assert (found.status_code, found.json()["nearest"]) == (404, [])  # to find the nearest takes long
        for body in ({"user": "u1", "explain": True}, {"requests": [{"user": "u1", "explain": True}]}):
            found = api.post("/recommend/batch" if "requests" in body else "/recommend", json=body)
            assert (found.status_code, found.json()["type"]) == (503, "urn:recae:problem:overloaded")
        assert api.get("/items").headers["retry-after"] == "1"
        monkeypatch.setattr(Batcher, "ready", False)
        assert api.get("/ready").status_code == 503


def test_serving_ends_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def started(what: str) -> None:
        told.append(what)
        signal.raise_signal(signal.SIGINT)

    check_installed()
    listener = bind("127.0.0.1", 0)
    monkeypatch.setattr(
        sys, "setswitchinterval", lambda seconds: None
    )  # the tests' own process stays as it is
    with pytest.raises(KeyboardInterrupt):
        serve(path, listener, on_start=started)
    assert told == [f"sigmoid {load_served(path).version}, 40 items, 60 users"]
    assert listener.fileno() == -1


@pytest.mark.parametrize("bound", [2**18, 4])
def test_what_is_remembered_of_items_is_what_the_model_says(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    """Twice, since the second time is of memory; with room for a few items only, too."""
    monkeypatch.setattr("recae.serving.served._REMEMBERED", bound)
    monkeypatch.setattr("recae.serving.served._SHOWN", bound)
    items = np.array([3, 1, 3, 0, 2, 5, 4])
    ids, names = served.ids_and_names(items)
    asked = [*ids, "nowhere", ids[0]]
    for _ in range(2):
        found = served.shown_items(items)
        assert [json.loads(f"{{{one.text}}}") for one in found] == [
            {"item_id": item, "name": name} for item, name in zip(ids, names, strict=True)
        ]
        assert [one.code for one in found] == [zlib.crc32(item.encode()) for item in ids]
        assert served.item_rows(asked).tolist() == [*items.tolist(), -1, 3]
        assert served.item_rows(["nowhere"]).tolist() == [-1]
    assert len(served._shown_items) <= bound
    assert len(served._item_rows) <= bound
    assert served.item_rows([]).size == 0
    assert served.shown_items(items[:0]) == []
