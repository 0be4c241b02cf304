"""The served map: items in the plane, laid out in the background when first asked for."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.models import find_encoder
from recae.recommender import Recommender

ITEMS_AT_MOST = 20_000
# t-SNE's time grows with the square of the items; beyond, a server has better things to do with its processors.
TSNE_AT_MOST = 5_000

_one_at_a_time = Lock()
_log = logging.getLogger("recae.serving")


class Map:
    """The map of one model's most owned items.

    Args:
        recommender: a model with codes and at least one item.
        owners: int64 of shape (I,), how many users own each item; None where that is not known.
        version: what the answer names the model by.
    """

    def __init__(self, recommender: Recommender, owners: NDArray[np.int64] | None, version: str) -> None:
        self._recommender, self._owners, self._version = recommender, owners, version
        self._lock = Lock()
        self._job: Future[bytes] | None = None

    def answer(self) -> bytes | None:
        """Return the answer as JSON, None while it is computed; the first call begins that.

        Raises:
            Exception: what the layout raised; the next call tries again.
        """
        with self._lock:
            if self._job is None:
                self._job = Future()
                # a daemon: a layout of many seconds must not hold up the end of the process
                Thread(target=self._run, args=(self._job,), name="recae-map", daemon=True).start()
            if not self._job.done():
                return None
            if self._job.exception() is None:
                return self._job.result()
            failed, self._job = self._job, None
        return failed.result()

    def _run(self, job: Future[bytes]) -> None:
        try:
            with _one_at_a_time:
                job.set_result(self._compute())
        except Exception as error:
            job.set_exception(error)

    def _compute(self) -> bytes:
        from recae.insight.map import default_method, layout

        model = find_encoder(self._recommender.model)
        assert model is not None  # noqa: S101  # the constructor's condition
        count = min(len(self._recommender.items), ITEMS_AT_MOST)
        rows = np.arange(count)
        if self._owners is not None:
            rows = np.argsort(-self._owners, kind="stable")[:count]
        method = default_method() if count <= TSNE_AT_MOST else "pca"
        places = layout(np.ascontiguousarray(model.item_vectors[rows]), method=method)
        names = self._recommender.item_names
        content: dict[str, Any] = {
            "model": self._version,
            "method": method,
            "item_id": self._recommender.items.ids(rows).to_pylist(),
            "name": [None] * count if names is None else names.take(pa.array(rows)).to_pylist(),
            "owners": None if self._owners is None else self._owners[rows].tolist(),
            # the seventh digit is far below a pixel, at any zoom
            "x": [float(f"{value:.6g}") for value in places[:, 0]],
            "y": [float(f"{value:.6g}") for value in places[:, 1]],
        }
        _log.info("the map of %s items is laid out by %s", f"{count:,}", method)
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
