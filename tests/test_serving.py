"""Tests of the HTTP API's answers, compared with the recommender and the data themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from shopserver import HOSTILE, N_ITEMS, N_USERS, client, shop
from starlette.testclient import TestClient

from recae.ids import IdMap
from recae.insight.explain import explain
from recae.item_table import ItemTable
from recae.models import ItemKNN, Popularity
from recae.recommender import Recommender


@pytest.fixture(scope="module")
def model() -> Recommender:
    return shop()


@pytest.fixture(scope="module")
def api(model: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(model, tmp_path_factory.mktemp("api")) as opened:
        yield opened


def ask(api: TestClient, path: str = "/recommend", **body: Any) -> Any:
    answer = api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def close(found: list[dict[str, Any]], expected: list[Any]) -> None:
    assert [(r["rank"], r["item_id"], r["name"]) for r in found] == [
        (r.rank, r.item, r.name) for r in expected
    ]
    np.testing.assert_allclose([r["score"] for r in found], [r.score for r in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("user", [*HOSTILE, "u0", "u50"])
@pytest.mark.parametrize("exclude_owned", [True, False])
def test_users_get_what_the_recommender_says(
    api: TestClient, model: Recommender, user: str, exclude_owned: bool
) -> None:
    found = ask(api, user=user, n=12, exclude_owned=exclude_owned)
    assert (found["user"], found["items"], found["unknown_items"]) == (user, None, [])
    close(found["recommendations"], model.recommend(user, n=12, exclude_owned=exclude_owned))
    assert not {"because", "base", "others"} & set(found["recommendations"][0])


def test_a_basket_of_repeated_and_unknown_items(api: TestClient, model: Recommender) -> None:
    basket = ["P05", "nope", *HOSTILE, "P05", "nope", "P01"]
    found = ask(api, items=basket, n=1000)
    assert found["items"] == basket
    assert found["unknown_items"] == ["nope"]
    close(found["recommendations"], model.recommend(items=basket, n=N_ITEMS))


def test_ten_thousand_ids(api: TestClient, model: Recommender) -> None:
    basket = ["P05", *(f"x{n}" for n in range(9_998)), "P01"]
    found = ask(api, items=basket, n=5)
    assert len(found["unknown_items"]) == 9_998
    close(found["recommendations"], model.recommend(items=["P01", "P05"], n=5))


def test_excluded_and_only(api: TestClient, model: Recommender) -> None:
    whole = [r.item for r in model.recommend("u1", n=N_ITEMS)]
    found = ask(api, user="u1", n=40, exclude=[*whole[:3], "nope", whole[0]])["recommendations"]
    assert [r["item_id"] for r in found] == whole[3:]
    owned = next(item for item in model.items if item not in whole)
    only = [whole[9], owned, whole[4], "nope"]
    found = ask(api, user="u1", only=only, exclude=[])["recommendations"]
    assert [r["item_id"] for r in found] == [whole[4], whole[9]]
    assert owned in [
        r["item_id"] for r in ask(api, user="u1", only=only, exclude_owned=False)["recommendations"]
    ]
    assert ask(api, user="u1", only=[])["recommendations"] == []
    assert ask(api, user="u1", only=only, exclude=only, explain=True)["recommendations"] == []


def test_reasons_sum_to_the_score_as_it_is_written(api: TestClient, model: Recommender) -> None:
    history = model.history_of("u0")
    plain = ask(api, user="u0", n=3)["recommendations"]
    answer = api.post("/recommend", json={"user": "u0", "n": 3, "explain": True})
    exact = json.loads(answer.text, parse_float=Decimal)["recommendations"]
    for r, written, without in zip(answer.json()["recommendations"], exact, plain, strict=True):
        assert r["score"] == without["score"]
        (found,) = explain(model, history, [model.items.row(r["item_id"])])
        expected = found.reasons(5)
        assert [b["item_id"] for b in r["because"]] == [model.items.id(row) for row, _ in expected]
        np.testing.assert_allclose(
            [b["contribution"] for b in r["because"]], [value for _, value in expected], rtol=1e-5, atol=1e-6
        )
        assert r["others"]["items"] == history.nnz - len(r["because"])
        parts = [written["base"], *(b["contribution"] for b in written["because"])]
        assert sum(parts) + written["others"]["contribution"] == written["score"]


def test_a_user_without_purchases(api: TestClient, model: Recommender) -> None:
    user = model.users.id(3)  # type: ignore[union-attr]
    found = ask(api, user=user, n=5, explain=True)["recommendations"]
    close(found, model.recommend(user, n=5))
    assert all(r["because"] == [] for r in found)
    # by way of all items and of a few: the same to float32's rounding, whatever the processor
    for r in found:
        assert r["base"] == pytest.approx(r["score"], rel=1e-6, abs=1e-7)


def test_a_batch_keeps_order_and_problems_apart(api: TestClient, model: Recommender) -> None:
    users = [f"u{n}" for n in range(40)]
    requests: list[Any] = [{"user": user, "n": 1 + n % 3} for n, user in enumerate(users)]
    requests[5] = {"user": "nobody"}
    requests[6] = {"items": ["nope", "neither"]}
    requests[7] = {"items": ["P01"], "explain": True, "n": 2}
    found = ask(api, "/recommend/batch", requests=requests)
    assert len(found["results"]) == len(requests)
    for n, result in enumerate(found["results"]):
        if n in (5, 6):
            assert set(result) == {"problem"}
            assert result["problem"]["status"] == 404
            continue
        expected = model.recommend(items=["P01"], n=2) if n == 7 else model.recommend(users[n], n=1 + n % 3)
        assert result["model"] == found["model"]
        close(result["recommendations"], expected)
    assert "because" in found["results"][7]["recommendations"][0]


def test_similar_items(api: TestClient, model: Recommender) -> None:
    scores = model.model.score(sp.csr_matrix(model.histories)).astype(np.float64)
    scores = scores[np.diff(model.histories.indptr) > 0]  # type: ignore[union-attr]
    vectors = (scores - scores.mean(axis=0)).T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owns = model.histories.toarray().astype(bool)  # type: ignore[union-attr]
    for item in [*(h for h in HOSTILE if h != ".."), "P07"]:
        row = model.items.row(item)
        found = api.get(f"/similar/{quote(item, safe='')}", params={"n": 4}).json()
        assert found["item_id"] == item
        assert found["name"] == model.item_names[row].as_py()  # type: ignore[index]
        cosines = np.delete(vectors @ vectors[row], row)
        np.testing.assert_allclose(
            [s["similarity"] for s in found["similar"]], np.sort(cosines)[::-1][:4], rtol=1e-4
        )
        for other in found["bought_together"]:
            at = model.items.row(other["item_id"])
            assert other["users"] == (owns[:, row] & owns[:, at]).sum()
            chance = owns[:, row].mean() * owns[:, at].mean()
            assert other["lift"] == pytest.approx(other["users"] / N_USERS / chance, rel=1e-5)
        assert found["metric"]


def test_items_are_found_by_words(api: TestClient, model: Recommender) -> None:
    owners = np.asarray(model.histories.sum(axis=0)).ravel()  # type: ignore[union-attr]
    texts = [
        (item, name or "")
        for item, name in zip(model.items, model.item_names.to_pylist(), strict=True)  # type: ignore[union-attr]
    ]

    def slow(query: str) -> list[str]:
        words = query.lower().split()
        hits = [
            n for n, text in enumerate(texts) if all(any(w in part.lower() for part in text) for w in words)
        ]
        return [texts[n][0] for n in sorted(hits, key=lambda n: (-owners[n], n))]

    for query in (
        "",
        "tea",
        "TEA pot",
        "pot tea",
        "☕",
        "<B>",
        "p0",
        "thing 1",
        "nothing",
        "zoË",
        " ",
        "tea tea",
        '"',
    ):
        found = api.get("/items", params={"q": query, "limit": 1000}).json()
        assert [i["item_id"] for i in found["items"]] == slow(query), query
        assert found["more"] is False
        assert all(i["owners"] == owners[model.items.row(i["item_id"])] for i in found["items"])
    first = api.get("/items", params={"limit": 3}).json()
    assert [i["item_id"] for i in first["items"]] == slow("")[:3]
    assert first["more"] is True


def test_users_are_found_by_a_part_of_the_id(api: TestClient, model: Recommender) -> None:
    ids = list(model.users)  # type: ignore[arg-type]
    for query in ("", "u1", "1", "U5", "/", "nobody", "ZO", "%"):
        q = query.lower()
        hits = [(not user.lower().startswith(q), len(user), user.encode(), user) for user in ids]
        slow = [hit[-1] for hit in sorted(hits) if q in hit[-1].lower()]
        found = api.get("/users", params={"q": query, "limit": 100}).json()
        assert [u["user_id"] for u in found["users"]] == slow, query
    assert api.get("/users", params={"q": "u", "limit": 2}).json()["more"] is True
    lengths = model.histories.getnnz(axis=1)  # type: ignore[union-attr]
    for user in found["users"]:
        assert user["n_items"] == lengths[ids.index(user["user_id"])]


@pytest.mark.parametrize("user", ["a/b", "line\nbreak", "50%", " ", "u7"])
def test_what_a_user_owns(api: TestClient, model: Recommender, user: str) -> None:
    owned = np.flatnonzero(model.histories[model.users.row(user)].toarray())  # type: ignore[index,union-attr]
    found = api.get(f"/users/{quote(user, safe='/')}/items").json()
    assert found["n_items"] == owned.size
    assert [i["item_id"] for i in found["items"]] == [model.items.id(int(row)) for row in owned]
    assert len(api.get(f"/users/{quote(user, safe='')}/items?limit=1").json()["items"]) == min(1, owned.size)


def test_the_model_and_the_map(api: TestClient, model: Recommender) -> None:
    found = api.get("/model").json()
    assert (found["kind"], found["n_items"], found["n_users"]) == ("sigmoid", N_ITEMS, N_USERS)
    assert found["n_interactions"] == model.histories.nnz  # type: ignore[union-attr]
    assert found["metrics"] == {"recall@20": None}  # NaN is not JSON
    for _ in range(600):
        answer = api.get("/map")
        if answer.status_code == 200:
            break
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.05)
    picture = answer.json()
    assert sorted(picture["item_id"]) == sorted(model.items)
    assert {len(picture[name]) for name in ("item_id", "name", "owners", "x", "y")} == {N_ITEMS}
    assert picture["owners"] == sorted(picture["owners"], reverse=True)
    assert picture["model"] == found["model"]
    assert (picture["coloured_by"], len(picture["categories"])) == ("clusters", 2)  # one for every 20 items
    assert set(picture["category"]) == {0, 1}
    assert len(picture["category"]) == N_ITEMS


def test_the_map_knows_the_categories_of_the_table(tmp_path: Any) -> None:
    model = shop()
    ids = list(model.items)
    kinds = {item: ("Tea", "Garden > Tools")[at % 2] for at, item in enumerate(ids) if at}
    table = ItemTable(IdMap(list(kinds)), pa.table({"category": pa.array(kinds.values(), pa.large_string())}))
    with client(replace(model, item_table=table), tmp_path) as api:
        for _ in range(600):
            answer = api.get("/map")
            if answer.status_code == 200:
                break
            time.sleep(0.05)
        picture = answer.json()
    assert picture["coloured_by"] == "categories"
    of = {
        item: None if code < 0 else picture["categories"][code]
        for item, code in zip(picture["item_id"], picture["category"], strict=True)
    }
    assert of == {ids[0]: None} | kinds


def test_models_without_codes_and_histories(tmp_path: Any) -> None:
    histories = shop().histories
    assert histories is not None
    with client(shop(model=ItemKNN.fit(histories, k=5)), tmp_path) as api:
        assert len(api.get("/similar/P07", params={"n": 3}).json()["similar"]) == 3
        assert ask(api, user="u1", explain=True)["recommendations"]
    with client(shop(model=Popularity.fit(histories)), tmp_path) as api:
        found = api.get("/similar/P07").json()
        assert (found["metric"], found["similar"]) == (None, [])
        assert found["bought_together"]
        for _ in range(100):  # laid out in the background, which finds that there is nothing to lay out
            answer = api.get("/map")
            if answer.status_code != 503:
                break
            time.sleep(0.05)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:recae:problem:no-map")
    bare = shop(model=Popularity.fit(histories), histories=None, users=None, item_names=None)
    with client(bare, tmp_path) as api:
        assert api.get("/similar/P07").json()["type"].endswith("not-comparable")
        for path in ("/users", "/users/u1/items"):
            answer = api.get(path)
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:recae:problem:no-histories")
        answer = api.post("/recommend", json={"user": "u1"})
        assert (answer.status_code, "without histories" in answer.json()["detail"]) == (404, True)
        close(ask(api, items=["P01"], n=3)["recommendations"], bare.recommend(items=["P01"], n=3))
        assert api.get("/items?q=P01").json()["items"] == [{"item_id": "P01", "name": None, "owners": None}]
        found = api.get("/model").json()
        assert (found["n_users"], found["n_interactions"]) == (None, None)
        assert api.get("/health").json() == api.get("/ready").json() == {"status": "ok"}
