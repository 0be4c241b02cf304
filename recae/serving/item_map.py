"""The map of a served model's items, which is laid out in the background."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.recommender import Recommender
from recae.serving.schemas import MapAnswer

if TYPE_CHECKING:
    from recae.insight.vectors import ItemVectors

MAX_MAP_ITEMS = 20_000
# t-SNE takes several times as long as the other method; beyond, a server has better things to do with its processors.
MAX_TSNE_ITEMS = 5_000

_log = logging.getLogger("recae.serving")
_one_layout_at_a_time = threading.Lock()


class ItemMap:
    """The map of one model's most owned items in the plane, laid out in the background when first asked for.

    Args:
        recommender: a model with at least one item.
        vectors: of its items.
        owners: int64 of shape (I,), how many users own each item; None where that is not known.
        version: what the answer names the model by.
    """

    def __init__(
        self,
        recommender: Recommender,
        vectors: ItemVectors,
        owners: NDArray[np.int64] | None,
        version: str,
    ) -> None:
        """Note what to lay out; nothing is computed yet."""
        self._recommender, self._vectors = recommender, vectors
        self._owners, self._version = owners, version
        self._lock = threading.Lock()
        self._job: Future[bytes] | None = None

    def answer(self) -> bytes | None:
        """Return the JSON of a `MapAnswer`, None while it is computed; the first call begins that.

        Raises:
            Exception: what the layout raised; the next call tries again.
        """
        with self._lock:
            if self._job is None:
                self._job = Future()
                # a daemon: a layout of many seconds must not hold up the end of the process
                threading.Thread(target=self._run, args=(self._job,), name="recae-map", daemon=True).start()
            if not self._job.done():
                return None
            if self._job.exception() is None:
                return self._job.result()
            failed, self._job = self._job, None
        return failed.result()

    def _run(self, job: Future[bytes]) -> None:
        try:
            with _one_layout_at_a_time:
                job.set_result(self._layout().model_dump_json().encode())
        except Exception as error:
            job.set_exception(error)

    def _layout(self) -> MapAnswer:
        from recae.insight.clusters import find_colours
        from recae.insight.layout import default_method, layout

        size = min(len(self._recommender.items), MAX_MAP_ITEMS)
        items = np.arange(size)
        if self._owners is not None:
            items = np.argsort(-self._owners, kind="stable")[:size]
        method = default_method() if size <= MAX_TSNE_ITEMS else "neighbours"
        places = layout(np.ascontiguousarray(self._vectors.vectors[items]), method=method)
        colours = find_colours(self._recommender, items, self._vectors)
        names = self._recommender.item_names
        _log.info("the map of %s items is laid out by %s", f"{size:,}", method)
        return MapAnswer(
            model=self._version,
            method=method,
            item_id=self._recommender.items.ids(items).to_pylist(),
            name=[None] * size if names is None else names.take(pa.array(items)).to_pylist(),
            owners=None if self._owners is None else self._owners[items].tolist(),
            # the seventh digit is far below a pixel, at any zoom
            x=[float(f"{value:.6g}") for value in places[:, 0]],
            y=[float(f"{value:.6g}") for value in places[:, 1]],
            category=None if colours is None else colours.kinds.codes[items].tolist(),
            categories=None if colours is None else colours.kinds.names,
            coloured_by=None if colours is None else colours.by,
        )
