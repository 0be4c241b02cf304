"""What a manager asks the server: customers of an item, filters, the dashboard, pictures, a second model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from shopserver import HOSTILE, N_ITEMS, N_USERS, client, shop
from starlette.testclient import TestClient

from recae.errors import ConfigError
from recae.ids import IdMap
from recae.item_table import ItemTable
from recae.modelfile import save
from recae.models import Popularity
from recae.recommender import Recommender
from recae.serving.hosts import parse_image_hosts
from recae.serving.metrics import Metrics
from recae.serving.served import load_served
from recae.serving.traffic import Traffic

CATEGORIES = ["Home > Kitchen > Mugs", "Home > Kitchen", "Garden", None, "Homeware"]


def with_table() -> Recommender:
    model = shop()
    rows = range(N_ITEMS)
    columns = pa.table(
        {
            "category": pa.array([CATEGORIES[row % 5] for row in rows], pa.large_string()),
            "price": pa.array([None if row % 7 == 0 else float(row) for row in rows], pa.float64()),
            "image": pa.array([f"https://cdn.example.com/{row}.png" for row in rows], pa.large_string()),
        }
    )
    ids = IdMap([model.items.id(row) for row in rows])
    return dataclasses.replace(
        model, item_table=ItemTable(ids, columns), metadata={"last_purchase": 1_700_000_000}
    )


@pytest.fixture(scope="module")
def model() -> Recommender:
    return with_table()


@pytest.fixture(scope="module")
def api(model: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("manager")
    save(shop(1), folder / "other.recae")
    with client(
        model, folder, image_hosts=("cdn.example.com",), beside=load_served(folder / "other.recae")
    ) as opened:
        yield opened


def scores_of(model: Recommender) -> np.ndarray:
    assert model.histories is not None
    return np.asarray(model.model.score(model.histories))


def owns(model: Recommender) -> np.ndarray:
    assert model.histories is not None
    return model.histories.toarray() > 0


def test_the_best_users_of_an_item_are_those_with_the_highest_scores(
    api: TestClient, model: Recommender
) -> None:
    row = 12
    item = model.items.id(row)
    found = api.get(f"/items/{item}/customers", params={"n": 5}).json()
    scores, owned = scores_of(model)[:, row], owns(model)[:, row]
    best = sorted((u for u in range(N_USERS) if not owned[u]), key=lambda u: (-scores[u], u))[:5]
    assert [one["user_id"] for one in found["likely"]] == [model.users.id(u) for u in best]  # type: ignore[union-attr]
    assert [one["score"] for one in found["likely"]] == pytest.approx([scores[u] for u in best], rel=1e-5)
    assert found["owners"] == owned.sum()
    missing = api.get("/items/nothing/customers")
    assert missing.status_code == 404
    assert missing.json()["type"].endswith("unknown-item")


def test_a_model_that_scores_everybody_alike_names_nobody(tmp_path: Path) -> None:
    plain = shop()
    assert plain.histories is not None
    with client(shop(model=Popularity.fit(plain.histories)), tmp_path) as opened:
        assert opened.get("/items/P12/customers").json()["likely"] == []


def test_customers_are_found_by_what_they_own(api: TestClient, model: Recommender) -> None:
    owned = owns(model)
    for rows in ([3], [3, 8], [3, 8, 3]):
        items = [model.items.id(row) for row in rows]
        found = api.get("/users", params={"q": "", "owns": items, "limit": 100}).json()
        expected = {model.users.id(u) for u in np.flatnonzero(owned[:, rows].all(axis=1))}  # type: ignore[union-attr]
        assert {one["user_id"] for one in found["users"]} == expected
    among = api.get("/users", params={"q": "u1", "owns": [model.items.id(3)], "limit": 100}).json()["users"]
    assert all("u1" in one["user_id"] for one in among)
    assert api.get("/users", params={"owns": "nothing"}).status_code == 404


def fits(row: int, categories: list[str] | None, low: float | None, high: float | None) -> bool:
    category, price = CATEGORIES[row % 5], None if row % 7 == 0 else float(row)
    if categories is not None and not any(
        category is not None and (category == one or category.startswith(f"{one} > ")) for one in categories
    ):
        return False
    if low is not None and (price is None or price < low):
        return False
    return high is None or (price is not None and price <= high)


@pytest.mark.parametrize(
    ("categories", "low", "high"),
    [
        (["Home"], None, None),
        (["Home > Kitchen > Mugs", "Garden"], None, None),
        (None, 10.0, 20.0),
        (["Home"], 5, None),
        (["nowhere"], None, None),
        (None, 30.0, 20.0),
    ],
)
def test_filters_leave_the_best_of_what_fits(
    api: TestClient, model: Recommender, categories: list[str] | None, low: float | None, high: float | None
) -> None:
    body = {"categories": categories, "price_from": low, "price_to": high, "n": 10}
    for user in ("u1", "u5"):
        found = api.post("/recommend", json={"user": user, **body}).json()["recommendations"]
        place = model.users.row(user)  # type: ignore[union-attr]
        scores, owned = scores_of(model)[place], owns(model)[place]
        rows = [row for row in range(N_ITEMS) if not owned[row] and fits(row, categories, low, high)]
        expected = sorted(rows, key=lambda row: (-scores[row], row))[:10]
        assert [one["item_id"] for one in found] == [model.items.id(row) for row in expected]
    popular = api.post("/recommend", json={"items": [], "fallback": "popular", **body}).json()[
        "recommendations"
    ]
    assert all(fits(model.items.row(one["item_id"]), categories, low, high) for one in popular)


def test_a_filter_needs_a_table(tmp_path: Path) -> None:
    with client(shop(), tmp_path) as opened:
        for body in (
            {"user": "u1"},
            {"items": [], "fallback": "popular"},
            {"user": "?", "fallback": "popular"},
        ):
            answer = opened.post("/recommend", json={**body, "categories": ["Home"]})
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:recae:problem:no-filter")
        assert opened.get("/filters").json()["categories"] == []
        assert opened.post("/beside", json={"user": "u1"}).status_code == 404


def test_categories_and_prices_are_listed(api: TestClient) -> None:
    found = api.get("/filters").json()
    assert {one["category"]: one["items"] for one in found["categories"]} == {
        "Home": 16, "Home > Kitchen": 16, "Home > Kitchen > Mugs": 8, "Garden": 8, "Homeware": 8,
    }  # fmt: skip
    assert (found["price_from"], found["price_to"], found["more"]) == (1.0, 39.0, False)


def test_the_dashboard_sums_up_the_lists(api: TestClient, model: Recommender) -> None:
    api.get("/dashboard")
    answer = api.get("/dashboard").json()
    lists = answer["lists"]
    owned, scores = owns(model), scores_of(model)
    given = np.zeros(N_ITEMS)
    active = np.flatnonzero(owned.any(axis=1))
    for user in active:
        rows = [row for row in range(N_ITEMS) if not owned[user, row]]
        given[sorted(rows, key=lambda row: (-scores[user, row], row))[:10]] += 1
    top = sorted(range(N_ITEMS), key=lambda row: (-owned[:, row].sum(), row))[: N_ITEMS // 10]
    assert lists["customers"] == active.size
    assert lists["items_given"] == (given > 0).sum()
    assert lists["top_share"] == pytest.approx(given[top].sum() / given.sum())
    assert lists["top_share_owned"] == pytest.approx(owned[:, top].sum() / owned.sum())
    assert {"route": "/dashboard", "answers": 1, "failed": 0} in answer["traffic"]


def test_postage_in_lists_is_named(tmp_path: Path) -> None:
    lists = [[one.item for one in shop().recommend(f"u{n}", n=10)] for n in range(N_USERS - len(HOSTILE))]
    popular = max((item for one in lists for item in one), key=lambda item: sum(item in one for one in lists))
    row = shop().items.row(popular)
    names = pa.array(["POSTAGE" if n == row else f"Mug {n}" for n in range(N_ITEMS)], pa.large_string())
    model = shop(item_names=names)
    with client(model, tmp_path) as opened:
        found = opened.get("/dashboard").json()["lists"]
    users = [user for user, owned in zip(model.users, owns(model), strict=True) if owned.any()]  # type: ignore[arg-type]
    given = sum(any(one.item == popular for one in model.recommend(user, n=10)) for user in users)
    assert [(one["name"], one["lists"]) for one in found["services"]] == [("POSTAGE", given)]
    assert found["services"][0]["share"] == pytest.approx(given / len(users))


def test_traffic_is_that_of_the_last_day() -> None:
    now, metrics = [0.0], Metrics()
    traffic = Traffic(metrics.answers, lambda: now[0])
    metrics.answered("/recommend", "POST", 200, 0.01)
    traffic.look()
    expected = []
    for hour in range(1, 40):
        now[0] = hour * 3600.0
        metrics.answered("/recommend", "POST", 500 if hour == 30 else 200, 0.01)
        expected.append(hour)
        traffic.look()
    now[0] += 60
    seconds, counts = traffic.last_day()
    assert seconds == 86_460
    assert counts == {("/recommend", 200): 23, ("/recommend", 500): 1}


def test_the_model_says_its_dates(api: TestClient, model: Recommender) -> None:
    found = api.get("/model").json()
    assert found["last_purchase"] == "2023-11-14T22:13:20+00:00"
    assert found["written_at"] is not None
    assert found["image_hosts"] == ["cdn.example.com"]


def test_pictures_come_from_allowed_hosts_only(api: TestClient, tmp_path: Path) -> None:
    policy = api.get("/").headers["content-security-policy"]
    assert "img-src 'self' data: cdn.example.com;" in policy
    assert "cdn.example.com" not in api.get("/docs").headers["content-security-policy"]
    with client(shop(), tmp_path) as opened:
        assert "img-src 'self' data:;" in opened.get("/").headers["content-security-policy"]
    assert parse_image_hosts(" CDN.example.com, *.shop.de:8443 ,") == ("cdn.example.com", "*.shop.de:8443")
    for wrong in (
        "https://x.de",
        "*",
        "x.de; script-src *",
        "x.de/a",
        "'unsafe-inline'",
        "a b",
        "*.",
        "data:",
    ):
        with pytest.raises(ConfigError, match="--image-hosts"):
            parse_image_hosts(wrong)


def test_the_second_model_answers_beside_the_first(api: TestClient, tmp_path: Path) -> None:
    other = shop(1)
    found = api.post("/beside", json={"user": "u1", "n": 5}).json()
    assert [one["item_id"] for one in found["recommendations"]] == [
        one.item for one in other.recommend("u1", n=5)
    ]
    assert found["model"] == api.get("/model").json()["beside"] != api.get("/model").json()["model"]
    assert api.post("/beside", json={"user": "nobody"}).status_code == 404
    assert not math.isnan(found["recommendations"][0]["score"])
