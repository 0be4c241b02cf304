"""Tests of approximate lists: what they hold is exact, what they lack is measured, and nobody's list is short."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae as run
from fitting import FIT
from starlette.testclient import TestClient

import recae
from recae import approximate
from recae.approximate import Approximate, build, rank_approximately
from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.models import Blend, Model, SigmoidAutoencoder
from recae.models.blend import Part
from recae.models.popularity import Popularity
from recae.ranking import rank_histories
from recae.recommender import Recommender
from recae.scoring import score
from recae.scoring.manifest import MANIFEST
from recae.serving.app import create_app
from recae.serving.metrics import Metrics
from recae.serving.routes import ServeSettings
from recae.serving.served import ModelReloader

USERS, ITEMS, WIDTH = 150, 3000, 12


def shop() -> tuple[sp.csr_matrix, np.ndarray]:
    """Histories of users with two tastes each, and vectors of items around their tastes, popular ones longer."""
    rng = np.random.default_rng(1)
    taste = rng.integers(0, 30, ITEMS)
    popular = rng.permutation(np.arange(1, ITEMS + 1) ** -0.7)
    vectors = rng.normal(size=(30, WIDTH))[taste] + 0.3 * rng.normal(size=(ITEMS, WIDTH))
    vectors *= (0.3 + popular**0.25)[:, None]
    owned = [
        np.concatenate(
            [rng.choice(np.flatnonzero(taste == t), 6, replace=False) for t in rng.integers(0, 30, 2)]
        )
        for _ in range(USERS)
    ]
    rows = np.repeat(np.arange(USERS), 12)
    histories = sp.csr_matrix((np.ones(rows.size, np.float32), (rows, np.concatenate(owned))), (USERS, ITEMS))
    histories.sum_duplicates()
    histories.data[:] = 1
    return histories, vectors.astype(np.float32)


def factored() -> Model:
    _, vectors = shop()
    bias = np.random.default_rng(2).normal(size=ITEMS).astype(np.float32) / 10
    return SigmoidAutoencoder(
        vectors, np.zeros(WIDTH, np.float32), vectors.copy(), bias, 0.5, {"input_power": 0.5}
    )


def blend() -> Model:
    histories, vectors = shop()
    other = SigmoidAutoencoder(
        vectors[:, ::-1].copy(), np.zeros(WIDTH, np.float32), vectors, np.zeros(ITEMS, np.float32), 0.0, {}
    )
    popular = Popularity.fit(histories)
    parts = (Part(factored(), 1.0, (1.0, 0.2)), Part(other, 0.5, (2.0, 0.3)), Part(popular, 0.1, (5.0, 0.0)))
    return Blend(parts, {})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let catalogues of a test's size have an index."""
    monkeypatch.setattr(approximate, "FEWEST_ITEMS", 1000)
    monkeypatch.setattr(approximate, "_CANDIDATES", (100, 400, 1000))
    monkeypatch.setattr(approximate, "_TRAINED_ON", 20)


def made(model: Model, **options: Any) -> Approximate:
    index = build(model, shop()[0], 10, **options)
    assert index is not None
    return index


@pytest.mark.parametrize("model", [factored(), blend()], ids=["sigmoid", "blend"])
def test_listed_items_have_their_exact_scores_and_nearly_all_are_found(model: Model) -> None:
    histories, index = shop()[0], made(model)
    found, left = index.rank(model, histories, 10, exclude=histories)
    right = rank_histories(model, histories, 10)
    scores = model.score(histories)
    hits = 0
    for u in set(range(USERS)) - set(left.tolist()):
        items = found.items[u]
        assert (items >= 0).all()
        assert len(set(items.tolist())) == 10
        assert found.scores[u].tobytes() == scores[u, items].tobytes()
        order = sorted(items.tolist(), key=lambda j: (-scores[u, j], j))
        assert items.tolist() == order
        assert not set(items.tolist()) & set(histories[u].indices.tolist())
        hits += len(set(items.tolist()) & set(right.items[u].tolist()))
    assert left.size < USERS / 4
    assert hits >= 0.98 * 10 * (USERS - left.size)
    assert index.measured is not None
    assert index.measured.recall >= 0.99
    assert index.measured.users == USERS // 2


def test_rules_hold_and_users_with_few_candidates_left_are_ranked_exactly() -> None:
    model, histories = factored(), shop()[0]
    allowed = np.zeros(ITEMS, dtype=np.bool_)
    allowed[np.random.default_rng(3).permutation(ITEMS)[:40]] = True
    found = rank_approximately(model, histories, histories, 10, exclude=histories, allowed=allowed)
    right = rank_histories(model, histories, 10, candidates=allowed)
    assert found.items.tolist() == right.items.tolist()
    assert found.scores.tobytes() == right.scores.tobytes()
    each = np.tile(allowed, (USERS, 1))
    each[::2] = True
    found = rank_approximately(model, histories, histories, 10, exclude=None, allowed=each)
    assert (found.items >= 0).all()
    assert found.items[1::2].tolist() == right_without_owned(model, histories, each)[1::2].tolist()


def right_without_owned(model: Model, histories: sp.csr_matrix, allowed: np.ndarray) -> np.ndarray:
    return rank_histories(model, histories, 10, exclude_owned=False, candidates=allowed).items


def test_lists_longer_than_the_candidates_are_whole() -> None:
    model, histories = factored(), shop()[0]
    lengths = np.where(np.arange(USERS) % 2, 5, 2900)
    found = rank_approximately(model, histories, histories, lengths, exclude=histories, allowed=None)
    right = rank_histories(model, histories, lengths)
    assert found.items[::2].tolist() == right.items[::2].tolist()
    assert ((found.items[1::2] >= 0).sum(axis=1) == 5).all()


def test_a_rule_of_a_job_is_measured_with_it() -> None:
    model, histories = factored(), shop()[0]
    allowed = np.arange(ITEMS) % 2 == 0
    index = made(model, allowed=allowed)
    found, _ = index.rank(model, histories, 10)
    assert (found.items % 2 == 0).all()


def test_what_cannot_be_approximated_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    histories, model = shop()[0], factored()
    for kind in ("ease", "itemknn", "spectral", "popularity"):
        with pytest.raises(ConfigError, match=r"is not: leave --approximate .*or train a factored kind"):
            build(FIT[kind](histories[:, :60]), histories[:, :60], 10)
    with pytest.raises(DataError, match="saved with its histories"):
        build(model, None, 10)
    with pytest.raises(DataError, match="none with a history"):
        build(model, sp.csr_matrix(histories.shape, dtype=np.float32), 10)
    monkeypatch.setattr(approximate, "_CANDIDATES", (1,))
    monkeypatch.setattr(approximate, "_PROBES", (1,))
    with pytest.raises(ConfigError, match=r"would hold \d+\.\d % of the exact top 10 .* less than the 99 %"):
        build(model, histories, 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install 'recae\[approximate\]'"):
        build(model, histories, 10)


def test_small_catalogues_are_ranked_exactly_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(approximate, "FEWEST_ITEMS", 50_000)
    histories, model = shop()[0], factored()
    with caplog.at_level("INFO", "recae"):
        found = rank_approximately(model, histories, histories, 10, exclude=histories, allowed=None)
    assert "the lists are exact: with 3,000 items" in caplog.text
    right = rank_histories(model, histories, 10)
    assert found.items.tolist() == right.items.tolist()
    assert found.scores.tobytes() == right.scores.tobytes()


def test_an_index_goes_with_its_model() -> None:
    model, histories = factored(), shop()[0]
    rank_approximately(model, histories, histories[:3], 10, exclude=None, allowed=None)
    gone, before = weakref.ref(model), len(approximate._known)
    assert approximate.index_of(model, histories, 10) is not None
    del model
    gc.collect()
    assert gone() is None
    assert len(approximate._known) < before


def recommender(model: Model) -> Recommender:
    histories = shop()[0]
    users, items = (IdMap([f"{kind}{k}" for k in range(n)]) for kind, n in (("u", USERS), ("i", ITEMS)))
    return Recommender(model, users, items, histories=histories)


def test_the_command_says_what_is_found_and_writes_it_into_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recae.save(recommender(factored()), "model.recae")
    done = run("score", "--out", "found", "-n", "10", "--approximate")
    assert done.exit_code == 0, done.stderr
    assert "% of the exact top 10 of 75 users" in done.stderr
    assert "the index took" in done.stderr
    held = json.loads((tmp_path / "found" / MANIFEST).read_text())["settings"]["approximate"]
    assert held["recall"] >= 0.99
    assert (held["recall_at"], held["measured_users"]) == (10, 75)
    assert (
        "holds this run already"
        in run("score", "--out", "found", "-n", "10", "--approximate", "--resume").stderr
    )
    other = run("score", "--out", "found", "-n", "10", "--resume")
    assert other.exit_code == 2
    assert "differs in approximate" in other.stderr
    refused = run("score", "--out", "b", "--approximate", "--engine", "ray")
    assert refused.exit_code == 2
    assert "leave one of them out" in refused.stderr
    one = run("recommend", "--user", "u3", "--approximate")
    assert one.exit_code == 0, one.stderr
    assert "% of the exact top 20" in one.stderr


def test_a_server_answers_by_the_index_of_its_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = recommender(factored())
    recae.save(own, tmp_path / "model.recae")
    metrics = Metrics()
    with caplog.at_level("INFO", "recae"):
        models = ModelReloader(tmp_path / "model.recae", metrics, approximate=True)
    assert "% of the exact top 20 of 75 users" in caplog.text
    with TestClient(create_app(models, metrics, ServeSettings(reload=False))) as client:
        answer = client.post("/recommend", json={"user": "u7", "n": 10})
    assert answer.status_code == 200
    near = own.recommend("u7", n=10, approximate=True)
    assert [row["item_id"] for row in answer.json()["recommendations"]] == [row.item_id for row in near]


def test_python_gives_the_same_lists_in_every_way() -> None:
    own = recommender(factored())
    streamed = score(own, n=10, approximate=True).to_arrow().to_pydict()
    many = own.recommend_many(n=10, approximate=True).to_arrow().to_pydict()
    assert streamed["item_id"] == many["item_id"]
    assert streamed["score"] == many["score"]
    exact = {row.item_id: row.score for row in own.recommend("u7", n=10)}
    near = {row.item_id: row.score for row in own.recommend("u7", n=10, approximate=True)}
    assert len(near) == 10
    assert all(exact[item] == near[item] for item in exact.keys() & near.keys())
    with pytest.raises(ConfigError, match="approximate"):
        own.recommend("u7", approximate="yes")  # type: ignore[arg-type]
