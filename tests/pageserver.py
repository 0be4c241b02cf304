"""A small shop with obvious answers, and the real server of it in a thread, for the tests of the page.

Tea is bought with tea and garden things with garden things. Some names and ids are what a page must not trip over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from commands import PATIENCE

from recae.ids import IdMap
from recae.modelfile import save
from recae.models import Model, SigmoidAutoencoder
from recae.recommender import Recommender

BOLD = '<b>bold</b> & "quotes"'
IMAGE = "<img src=x onerror=alert(1)>"
ITEMS = {  # id: name; the first five are tea, the others of the garden
    "P1": "Tea Pot",
    "P2": "Tea Cup",
    "P3": BOLD,
    "P4": "Tea Towel",
    "P5": "Green Tea",
    "P6": "Garden Fork",
    "P,7": IMAGE,
    "P8": "Seeds",
    "a/b?c#d&e=f%": None,
}
IDS = list(ITEMS)
N_TEA = 5
OWNED = {  # user: rows of items
    "42": [0, 1],
    "421": [0, 1, 2],
    "7": [5, 6],
    "<i>7</i>": [0, 5],
    "all": list(range(len(IDS))),
    "nothing": [],
    "x/y": [0, 2],
}
METADATA: dict[str, Any] = {
    "fingerprint": "35c69cf16e5d4cb1",
    "metrics": {
        "ks": [10, 20],
        "n_users": 400,
        "validation_users": 300,
        "rows": [
            {"model": "sigmoid", "ndcg@20": 0.25, "recall@10": 0.2, "recall@20": 0.375},
            {"model": "popularity", "ndcg@20": 0.1, "recall@10": None, "recall@20": 0.125},
        ],
    },
    "history": [
        {"epoch": 1, "loss": 3.0, "recall@20": 0.2},
        {"epoch": 2, "loss": 2.0, "recall@20": 0.4},
        {"epoch": 3, "loss": 1.5, "recall@20": 0.3},
    ],
    "versions": {"recae": "0.1.0"},
}


def shop(**changes: Any) -> Recommender:
    histories = np.zeros((len(OWNED), len(IDS)), dtype=np.float32)
    for row, owned in enumerate(OWNED.values()):
        histories[row, owned] = 1
    parts: dict[str, Any] = {
        "model": by_hand(),
        "users": IdMap(OWNED),
        "items": IdMap(IDS),
        "item_names": pa.array(ITEMS.values(), pa.large_string()),
        "histories": sp.csr_matrix(histories),
        "metadata": METADATA,
    }
    return Recommender(**(parts | changes))


def by_hand() -> Model:
    """Two factors, tea and garden; items of a kind come in their order, the other kind after them."""
    tea = np.arange(len(IDS)) < N_TEA
    kind = np.stack([tea, ~tea], axis=1).astype(np.float32)  # (I, 2)
    strength = np.linspace(1.0, 0.6, len(IDS), dtype=np.float32)[:, None]
    return SigmoidAutoencoder(
        encoder=2 * kind,
        encoder_bias=np.zeros(2, dtype=np.float32),
        decoder=strength * (kind + 0.05),
        decoder_bias=np.zeros(len(IDS), dtype=np.float32),
        input_power=0.5,
        settings={"factors": 2, "input_power": 0.5},
    )


class Serving:
    """A server under way: its address, and its end."""

    def __init__(self, path: Path, token: str | None, **settings: Any) -> None:
        pytest.importorskip("fastapi", reason="recae[serve] is not installed")
        uvicorn = pytest.importorskip("uvicorn", reason="recae[serve] is not installed")
        from recae.serving.app import create_app
        from recae.serving.metrics import Metrics
        from recae.serving.routes import ServeSettings
        from recae.serving.served import ModelReloader
        from recae.serving.server import bind

        metrics = Metrics()
        app = create_app(
            ModelReloader(path, metrics), metrics, ServeSettings(token=token, reload=False, **settings)
        )
        self._listener = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + PATIENCE
        while not self._server.started:
            assert self._thread.is_alive(), "the server ended at once"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()


@contextmanager
def serving(
    folder: Path, what: Recommender | None = None, token: str | None = None, **settings: Any
) -> Iterator[Serving]:
    path = folder / "model.recae"
    save(what or shop(), path)
    server = Serving(path, token, **settings)
    try:
        yield server
    finally:
        server.stop()
