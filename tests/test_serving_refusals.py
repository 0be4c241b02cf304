"""Tests of what the HTTP API refuses, how it says so, and what guards it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shopserver import JSON, N_ITEMS, application, client, shop
from starlette.testclient import TestClient

import recae.serving.answers
import recae.serving.app
import recae.serving.batcher
from recae.modelfile import save
from recae.serving.schemas import MAX_EXPLAINED

LIMIT = 200_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(shop(), tmp_path_factory.mktemp("api"), max_body=LIMIT) as opened:
        yield opened


def problem(answer: Any, status: int, kind: str, *parts: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:recae:problem:{kind}"
    assert found["status"] == status
    assert {"title", "detail", "instance"} <= set(found)
    for part in parts:
        assert part in found["detail"]
    return found


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("nonsense", "Invalid JSON"),
        ('{"user": "\\ud800"}', "Invalid JSON"),
        ("[" * 50_000, "Invalid JSON"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "Invalid JSON"),
        ("null", "object"),
        ("[]", "object"),
        ('"u1"', "object"),
        ("{}", "exactly one"),
        ('{"user": null, "items": null}', "exactly one"),
        ('{"user": "u1", "items": ["P01"]}', "exactly one"),
        ('{"user": 1}', "user: "),
        ('{"user": ["u1"]}', "user: "),
        ('{"items": []}', "items: "),
        ('{"items": "P01"}', "items: "),
        ('{"items": ["P01", 1, null]}', "items.1: "),
        ('{"user": "u1", "n": 0}', "n: "),
        ('{"user": "u1", "n": -1}', "n: "),
        ('{"user": "u1", "n": 1001}', "n: "),
        ('{"user": "u1", "n": 1000000000}', "n: "),
        ('{"user": "u1", "n": 1e400}', "n: "),
        ('{"user": "u1", "n": "10"}', "n: "),
        ('{"user": "u1", "n": 1.5}', "n: "),
        ('{"user": "u1", "n": true}', "n: "),
        ('{"user": "u1", "n": null}', "n: "),
        ('{"user": "u1", "n": NaN}', "n: "),
        ('{"user": "u1", "n": -Infinity}', "n: "),
        ('{"user": "u1", "explain": 1}', "explain: "),
        ('{"user": "u1", "exclude_owned": "yes"}', "exclude_owned: "),
        ('{"user": "u1", "exclude": null}', "exclude: "),
        ('{"user": "u1", "only": [[]]}', "only.0: "),
        ('{"user": "u1", "nn": 5}', "nn: "),
        (json.dumps({"items": ["x"] * 10_001}), "10000"),
        (json.dumps({"user": "u1", "exclude": ["x"] * 10_001}), "10000"),
    ],
)
def test_bodies_that_do_not_fit(api: TestClient, body: str, part: str) -> None:
    answer = api.post("/recommend", content=body, headers=JSON)
    found = problem(answer, 422, "invalid-request", part)
    assert found["errors"]
    assert len(answer.content) < 5_000  # what was sent is not sent back


@pytest.mark.parametrize(
    "body",
    [
        {"requests": []},
        {"requests": [{"user": "u1"}] * 257},
        {"requests": [{"user": "u1", "n": 0}]},
        {"requests": {"user": "u1"}},
        {"requests": [{"user": "u1"}], "n": 5},
        {"user": "u1"},
    ],
)
def test_batches_that_do_not_fit(api: TestClient, body: Any) -> None:
    problem(api.post("/recommend/batch", json=body), 422, "invalid-request")


def test_explanations_are_bounded(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"user": "u1", "explain": True, "n": 1}
    most = {"requests": [one] * MAX_EXPLAINED}
    assert api.post("/recommend/batch", json=most).status_code == 200
    more = {"requests": [one] * (MAX_EXPLAINED + 1)}
    problem(api.post("/recommend/batch", json=more), 422, "too-many-to-explain", "16")
    monkeypatch.setattr(recae.serving.answers, "MAX_EXPLAINED_HISTORY", 1)
    problem(api.post("/recommend", json=one), 422, "too-long-to-explain")
    (result,) = api.post("/recommend/batch", json={"requests": [one]}).json()["results"]
    assert result["problem"]["status"] == 422


def test_unknown_ids_name_the_nearest(api: TestClient) -> None:
    found = problem(api.post("/recommend", json={"user": "u4x"}), 404, "unknown-user", "'u4x'", "'u4'")
    assert found["nearest"][0] == "u4"
    found = problem(
        api.post("/recommend", json={"items": ["P3x", "no"]}), 404, "unknown-item", "and 1 more", "nearest"
    )
    assert found["nearest"][0].startswith("P3")
    assert problem(api.get("/similar/P3x"), 404, "unknown-item")["nearest"]
    assert problem(api.get("/users/u4x/items"), 404, "unknown-user")["nearest"][0] == "u4"
    # an id is text: HTML in it stays JSON
    problem(api.post("/recommend", json={"user": "<b>"}), 404, "unknown-user", "'<b>'")
    problem(api.post("/recommend", json={"user": "u" * 5_000}), 404, "unknown-user", "characters)")


@pytest.mark.parametrize(
    "path",
    [
        "/items?limit=0",
        "/items?limit=x",
        "/items?limit=1001",
        f"/items?q={'x' * 201}",
        "/users?limit=-1",
        "/similar/P01?n=0",
        "/similar/P01?n=1e9",
        "/users/u1/items?limit=99999999999999999999",
    ],
)
def test_queries_that_do_not_fit(api: TestClient, path: str) -> None:
    problem(api.get(path), 422, "invalid-request")


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_other_media_types(api: TestClient, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    problem(api.post("/recommend", content=b'{"user": "u1"}', headers=headers), 415, "media-type")
    fine = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert api.post("/recommend", content=b'{"user": "u1", "n": 1e1}', headers=fine).status_code == 200


def test_large_bodies(api: TestClient) -> None:
    body = json.dumps({"user": "u1"}).ljust(LIMIT)
    assert api.post("/recommend", content=body, headers=JSON).status_code == 200
    answer = api.post("/recommend", content=body + " ", headers=JSON)
    problem(answer, 413, "too-large", "200,000")
    assert answer.headers["connection"] == "close"

    def parts() -> Iterator[bytes]:  # without Content-Length
        for _ in range(5):
            yield b" " * (LIMIT // 4)

    problem(api.post("/recommend", content=parts(), headers=JSON), 413, "too-large")


@pytest.mark.parametrize("path", ["/nothing", "/recommend/", "/page", "/health/", "/.git/config", "/map/x"])
def test_no_such_path(api: TestClient, path: str) -> None:
    problem(api.get(path), 404, "no-such-path")


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "%2e%2e/app.py",
        "..%2fapp.py",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "",
        "nothing.js",
        "..",
        "page.css%00",
        "....//....//etc/passwd",
        "index.html/",
        "__init__.py",
    ],
)
def test_no_path_of_the_disk(api: TestClient, name: str) -> None:
    for folder in ("/page/", "/docs/"):
        answer = api.get(folder + name)
        assert answer.status_code in (200, 404)  # "/page/.." is "/" before it is sent
        assert b"root:" not in answer.content
        assert b"import" not in answer.content.split(b"<body", 1)[0][:500]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/recommend", "POST"),
        ("DELETE", "/items", "GET"),
        ("POST", "/health", "GET"),
        ("OPTIONS", "/recommend", "POST"),
        ("PUT", "/recommend/batch", "POST"),
        ("TRACE", "/", "GET"),
        ("PATCH", "/map", "GET"),
        ("QUIRK", "/items", "GET"),
    ],
)
def test_other_methods(api: TestClient, method: str, path: str, allowed: str) -> None:
    answer = api.request(method, path)
    problem(answer, 405, "method-not-allowed", allowed)
    assert answer.headers["allow"] == allowed


def test_head_is_get_without_a_body(api: TestClient) -> None:
    answer = api.head("/health")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert api.head("/recommend").status_code == 405


def test_headers(api: TestClient) -> None:
    answer = api.get("/health")
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    docs = api.get("/docs")
    assert "style-src 'self' 'unsafe-inline'" in docs.headers["content-security-policy"]
    assert "script-src 'self';" in docs.headers["content-security-policy"]
    assert "://" not in docs.text  # nothing from outside


def test_files_are_asked_for_again_and_sent_once(api: TestClient) -> None:
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/map.js", "text/javascript; charset=utf-8"),  # of another room
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        again = api.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for one in (answer, again):
            assert one.headers["cache-control"] == "no-cache"
            assert one.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in one.headers["content-security-policy"]
    problem(api.post("/page/page.js"), 405, "method-not-allowed", "GET")


TOKEN = "s3cret~token"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": b"Bearer \xff"},
    ],
)
def test_the_token(tmp_path: Path, given: dict[str, str]) -> None:
    with client(shop(), tmp_path, token=TOKEN) as api:
        for path in ("/items", "/model", "/metrics", "/users/u1/items", "/similar/P01", "/map", "/nothing"):
            answer = api.get(path, headers=given)
            problem(answer, 401, "no-token", "Bearer")
            assert answer.headers["www-authenticate"] == "Bearer"
        problem(api.post("/recommend", json={"user": "u1"}, headers=given), 401, "no-token")
        for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/docs/start.js"):
            assert api.get(path, headers=given).status_code != 401
        fine = {"Authorization": f"bearer  {TOKEN}"}
        assert api.get("/model", headers=fine).status_code == 200
        assert api.post("/recommend", json={"user": "u1"}, headers=fine).status_code == 200
        paths = api.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            asks = [] if path in ("/health", "/ready") else [{"token": []}]
            assert [operation.get("security", []) for operation in operations.values()] == [asks], path


def test_an_unexpected_error_says_nothing_of_itself(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(recae.serving.batcher, "rank", broken)
    with caplog.at_level(logging.ERROR, "recae.serving"):
        answer = api.post("/recommend", json={"user": "u1"})
    found = problem(answer, 500, "internal")
    assert "secret" not in json.dumps(found)
    assert "/secret/path" in caplog.text  # the log has it
    monkeypatch.undo()
    assert api.post("/recommend", json={"user": "u1"}).status_code == 200


def test_metrics_count_by_route_not_by_id(api: TestClient) -> None:
    for id in ("P01", "P02", "nope"):  # noqa: A001
        api.get(f"/similar/{id}")
    api.get("/nothing/at/all")
    api.get("/page/nothing.js")
    text = api.get("/metrics").text
    assert 'recae_requests_total{method="GET",route="/similar/{item_id}",status="200"} ' in text
    assert 'route="other",status="404"' in text
    assert 'route="/page",status="404"' in text
    assert "P01" not in text
    assert "nothing/at" not in text
    assert "recae_queue_length 0.0" in text
    assert 'recae_model_loaded_timestamp_seconds{kind="sigmoid"' in text


def test_not_ready_when_the_queue_is_full(tmp_path: Path) -> None:
    save(shop(), tmp_path / "m.recae")
    app = application(tmp_path / "m.recae", queue=1)
    with TestClient(app) as api:
        assert api.get("/ready").status_code == 200
        # more than may wait at all are taken when nothing else waits
        found = api.post("/recommend/batch", json={"requests": [{"user": "u1", "n": N_ITEMS}] * 40})
        assert len(found.json()["results"]) == 40
