"""The fallback: the most popular items for unknown users and empty baskets, where it is asked for, and marked."""

from __future__ import annotations

import csv
import json
import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from commands import recae as command
from commands import refused
from shopserver import client
from shopserver import shop as served_shop
from starlette.testclient import TestClient

import recae
from recae.errors import ConfigError, DataError, UnknownIdError
from recae.recommender import Recommender
from recae.scoring.audience import listed_users
from recae.scoring.ray import Common, Part, stream_of
from recae.scoring.work import make_work


def most_owned(shop: Recommender, n: int, without: set[str] = frozenset()) -> list[tuple[str, float]]:  # type: ignore[assignment]
    """Item ids by falling number of owners, then by their order, counted one purchase at a time."""
    assert shop.histories is not None
    owners = Counter(shop.histories.indices.tolist())
    order = sorted(range(len(shop.items)), key=lambda item: (-owners[item], item))
    found = [(shop.items.id(item), float(owners[item])) for item in order]
    return [(item, count) for item, count in found if item not in without][:n]


def listed(found: Any) -> list[tuple[str, float]]:
    return [(row.item_id, row.score) for row in found]


@pytest.mark.parametrize("asked", [{"user": "nobody"}, {"items": []}, {"items": ["gone", "lost"]}])
def test_who_is_not_known_gets_the_most_popular(shop: Recommender, asked: dict[str, Any]) -> None:
    found = shop.recommend(**asked, n=5, fallback="popular")
    assert listed(found) == most_owned(shop, 5)
    assert {row.source for row in found} == {"popular"}
    assert [row.rank for row in found] == [1, 2, 3, 4, 5]
    best = most_owned(shop, 1)[0][0]
    assert listed(shop.recommend(**asked, n=5, fallback="popular", exclude=[best])) == most_owned(
        shop, 5, {best}
    )
    only = shop.recommend(**asked, n=5, fallback="popular", only=["P001", "P002"])
    assert sorted(row.item_id for row in only) == ["P001", "P002"]
    with pytest.raises((UnknownIdError, ConfigError)):
        shop.recommend(**asked, n=5)


def test_who_is_known_gets_the_own_list_and_it_is_marked(shop: Recommender) -> None:
    found = shop.recommend(42, 5, fallback="popular")
    assert found["source"].tolist() == ["model"] * 5
    assert listed(found) == listed(shop.recommend(42, 5))
    assert "source" not in shop.recommend(42, 5).columns


def test_many_users_and_histories(shop: Recommender) -> None:
    found = shop.recommend_many([42, "nobody", 42, 7], n=3, fallback="popular")
    assert found["user_id"].tolist() == ["42"] * 3 + ["nobody"] * 3 + ["7"] * 3
    assert found["source"].tolist() == ["model"] * 3 + ["popular"] * 3 + ["model"] * 3
    assert listed(found[3:6]) == most_owned(shop, 3)
    assert found["item_id"][:3].tolist() == shop.recommend(42, 3)["item_id"].tolist()
    with pytest.raises(UnknownIdError, match=r"1 of 3 users are not in the model: 'nobody'; .*fallback"):
        shop.recommend_many([42, "nobody", 7], n=3)
    table = {"user": ["a", "a", "b"], "item": ["P017", "P203", "gone"]}
    batches = recae.score(shop, table, n=2, fallback="popular").table()
    assert batches["user_id"].tolist() == ["a", "a", "b", "b"]
    assert batches["source"].tolist() == ["model", "model", "popular", "popular"]
    assert [row.item_id for row in batches][2:] == [item for item, _ in most_owned(shop, 2)]
    assert set(recae.score(shop, table, n=2).table()["user_id"]) == {"a"}


def test_without_histories_nobody_knows_what_is_popular(shop: Recommender) -> None:
    bare = Recommender(shop.model, None, shop.items)
    with pytest.raises(DataError, match="saved without histories"):
        bare.recommend("nobody", fallback="popular")
    with pytest.raises(ConfigError, match="'popular' or None"):
        shop.recommend("nobody", fallback="random")


def test_the_command_recommend(shop: Recommender, model_path: Path) -> None:
    asked = ("recommend", "--user", "nobody", "-n", "2", "--model", model_path, "--fallback", "popular")
    result = command(*asked, "--json")
    answer = json.loads(result.stdout)
    assert answer["source"] == "popular"
    assert [(r["item_id"], r["score"]) for r in answer["recommendations"]] == most_owned(shop, 2)
    assert "most users own" in result.stderr
    header, *rows = csv.reader(command(*asked, "--csv").stdout.splitlines())
    assert header == ["rank", "item_id", "name", "score", "source"]
    assert [row[4] for row in rows] == ["popular", "popular"]
    known = command("recommend", "--user", "42", "--fallback", "popular", "--json", "--model", model_path)
    assert json.loads(known.stdout)["source"] == "model"
    assert known.stderr == ""
    refused(command(*asked, "--explain"), "--explain", "--fallback")
    refused(command("recommend", "--user", "nobody", "--model", model_path), "no user 'nobody'")


def test_the_command_score(shop: Recommender, model_path: Path, folder: Path) -> None:
    (folder / "who.txt").write_text("42\nnobody\n")
    job = ("score", "--users", "who.txt", "-n", "2", "--fallback", "popular", "--model", model_path, "--out")
    result = command(*job, "r.csv")
    assert result.exit_code == 0, result.stderr
    assert "left out" not in result.stderr
    header, *rows = csv.reader((folder / "r.csv").read_text().splitlines())
    assert header == ["user_id", "item_id", "rank", "score", "source"]
    assert [(row[0], row[4]) for row in rows] == [("42", "model")] * 2 + [("nobody", "popular")] * 2
    assert [(row[1], float(row[3])) for row in rows[2:]] == most_owned(shop, 2)

    assert command(*job, "parts/").exit_code == 0
    plain = [argument for argument in job if argument not in ("--fallback", "popular")]
    other = command(*plain, "parts/", "--resume")
    assert other.exit_code == 2
    assert "another run, which differs in audience, fallback" in other.stderr

    for arguments in (job, plain, job):  # a table of either form is one of ours
        done = command(*arguments, "sqlite:///r.db", "--table", "recs")
        assert done.exit_code == 0, done.stderr
    with closing(sqlite3.connect(folder / "r.db")) as connection:
        stored = connection.execute("select user_id, source from recs order by user_id, rank").fetchall()
    assert stored == [("42", "model")] * 2 + [("nobody", "popular")] * 2


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(served_shop(), tmp_path_factory.mktemp("api")) as opened:
        yield opened


@pytest.mark.parametrize("asked", [{"user": "nobody"}, {"items": []}, {"items": ["gone", "gone"]}])
@pytest.mark.parametrize("explain", [False, True])
def test_the_api(api: TestClient, asked: dict[str, Any], explain: bool) -> None:
    shop = served_shop()
    answer = api.post("/recommend", json={**asked, "n": 4, "fallback": "popular", "explain": explain}).json()
    assert answer["source"] == "popular"
    assert [(r["item_id"], r["score"]) for r in answer["recommendations"]] == most_owned(shop, 4)
    assert answer["unknown_items"] == (["gone"] if asked.get("items") else [])
    best = most_owned(shop, 1)[0][0]
    rules = {"exclude": [best], "only": [best, "P01", "nothing"]}
    answer = api.post("/recommend", json={**asked, **rules, "fallback": "popular"}).json()
    assert [r["item_id"] for r in answer["recommendations"]] == ["P01"]
    assert api.post("/recommend", json={**asked, "n": 4}).status_code in (404, 422)


def test_the_api_marks_what_the_model_made(api: TestClient) -> None:
    for explain in (False, True):
        answer = api.post("/recommend", json={"user": "u1", "fallback": "popular", "explain": explain}).json()
        plain = api.post("/recommend", json={"user": "u1", "explain": explain}).json()
        assert answer.pop("source") == "model"
        assert answer == plain
    empty = api.post("/recommend", json={"user": served_shop().users.id(3), "fallback": "popular"}).json()  # type: ignore[union-attr]
    assert empty["source"] == "popular"
    batch = [{"user": "u1"}, {"user": "nobody", "fallback": "popular"}, {"user": "nobody"}]
    results = api.post("/recommend/batch", json={"requests": batch}).json()["results"]
    assert [result.get("source") for result in results] == [None, "popular", None]
    assert results[2]["problem"]["status"] == 404
    refusal = api.post("/recommend", json={"user": "u1", "fallback": "random"})
    assert refusal.status_code == 422


def test_the_api_without_histories(tmp_path: Path) -> None:
    with client(served_shop(histories=None, users=None), tmp_path) as bare:
        answer = bare.post("/recommend", json={"user": "u1", "fallback": "popular"})
        assert answer.status_code == 404
        assert "popular items are not known" in answer.json()["detail"]


def test_owners_are_counted_over_all_histories() -> None:
    shop = served_shop()
    assert shop.histories is not None
    np.testing.assert_array_equal(shop.owners, (shop.histories.toarray() > 0).sum(axis=0))


def test_a_worker_of_a_cluster_writes_the_same_lists() -> None:
    shop = served_shop()
    audience = listed_users(shop, pa.array(["u1", "nobody", "u5"], pa.large_string()), everybody=True)
    work = make_work(shop, audience, 3, fallback="popular")
    common = pickle.loads(pickle.dumps(Common.of(work)))  # as Ray sends it
    part = pickle.loads(pickle.dumps(Part.of(work, 0, 3)))
    theirs = part.work(common, common.recommender(), 1)
    found = pa.ipc.open_stream(stream_of(theirs)).read_all()
    assert found.equals(pa.Table.from_batches([batch for _, batch in work.batches()]))
    assert found["source"].to_pylist() == ["model"] * 3 + ["popular"] * 3 + ["model"] * 3
