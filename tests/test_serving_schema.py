"""schemathesis against the OpenAPI description: no answer of 500, and every answer as it is described."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from examples import examples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from shopserver import application, server, shop
from starlette.testclient import TestClient

from recae.modelfile import save

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.generation.modes import GenerationMode


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    path = tmp_path_factory.mktemp("schema") / "m.recae"
    save(shop(), path)
    with server(path, "--max-body", str(2**26)) as (_, url):  # too many ids are found before too many bytes
        for _ in range(200):  # 503 is right until the map is there, but to schemathesis it is a failure
            with suppress(HTTPError):
                urlopen(f"{url}/map", timeout=20).close()
                break
            time.sleep(0.1)
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does not fit"]
)
def test_answers_are_as_described(description: schemathesis.BaseSchema, mode: GenerationMode) -> None:
    tried = 0
    for found in description.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples(5, 10),  # each builds its strategies anew
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(timeout=20)

        with suppress(Unsatisfiable):  # nothing can be wrong about a GET without parameters
            check()
    assert tried > 20


def test_the_description_is_complete(tmp_path: Path) -> None:
    save(shop(), tmp_path / "m.recae")
    with TestClient(application(tmp_path / "m.recae")) as api:
        found = api.get("/openapi.json").json()
        assert api.get("/docs/", follow_redirects=False).headers["location"] == "../docs"
    assert found["openapi"] == "3.1.0"  # the newest that Swagger's page draws
    paths = {f"{method} {path}" for path, methods in found["paths"].items() for method in methods}
    assert paths == {
        "post /purchases", "post /recommend",
        "post /recommend/batch", "get /similar/{item_id}", "get /items", "get /users",
        "get /users/{user_id}/items", "delete /users/{user_id}", "get /items/{item_id}/customers",
        "get /filters", "get /dashboard", "post /beside", "get /health", "get /ready", "get /model", "get /map",
    }  # fmt: skip
    text = json.dumps(found)
    for name in ("RecommendRequest", "BatchRequest", "ProblemDetails", "RecommendAnswer"):
        assert name in found["components"]["schemas"]
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in found["components"]["schemas"]
    assert "HTTPValidationError" not in text
    for path, asked, answered in (
        ("/recommend", "RecommendRequest", "RecommendAnswer"),
        ("/recommend/batch", "BatchRequest", "BatchAnswer"),
    ):
        operation = found["paths"][path]["post"]
        for part, model in ((operation["requestBody"], asked), (operation["responses"]["200"], answered)):
            assert part["content"]["application/json"]["schema"]["$ref"].endswith(f"/{model}")
        assert set(operation["responses"]) == {"200", "401", "404", "408", "413", "415", "422", "503"}
