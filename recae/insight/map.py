"""The map: vectors laid out in the plane, so that items bought by the same users lie together."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.insight.categories import Categories
from recae.insight.vectors import ItemVectors, UserVectors
from recae.ranking import DEFAULT_BLOCK_BYTES, rows_per_block, top_k
from recae.recommender import Recommender

METHODS = ("tsne", "pca")

_PERPLEXITY = 30  # effective number of neighbours of a point; openTSNE's own default
_STEPS = ((250, {"exaggeration": 12.0, "momentum": 0.5}), (500, {"exaggeration": 1.0, "momentum": 0.8}))
STEPS = sum(steps for steps, _ in _STEPS)
"""Steps of gradient descent that t-SNE takes."""
_STEPS_PER_CALL = 50  # between two calls of on_steps
_THREADS_FROM = 10_000  # points; with fewer, two threads wait for each other longer than they work


def default_method() -> str:
    """Return "tsne" where openTSNE is installed, else "pca"."""
    return "pca" if importlib.util.find_spec("openTSNE") is None else "tsne"


def layout(
    vectors: NDArray[np.float32],
    *,
    method: str = "tsne",
    seed: int = 0,
    on_steps: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Lay vectors out in the plane by their directions: every vector is scaled to length 1 first.

    Scaled so, distance and cosine agree: |a − b|² = 2 − 2 cos(a, b). A vector of zeros stays one.

    Args:
        vectors: float32 of shape (n, d), n and d at least 1; not modified.
        method: "pca", the two directions of largest variance, or "tsne" (van der Maaten and Hinton 2008, by openTSNE),
            begun from the former and from exact nearest neighbours by cosine, in O(n² d) time and blocks of memory.
        seed: of the random numbers that t-SNE draws; PCA draws none.
        on_steps: is told how many of t-SNE's `STEPS` are done.

    Returns:
        float32 of shape (n, 2), the same bits for the same vectors, method and seed on the same machine.

    Raises:
        ConfigError: no such method, or openTSNE is not installed.
        DataError: the vectors are not a float32 matrix, or not finite.
    """
    check_method(method)
    if vectors.ndim != 2 or vectors.dtype != np.float32 or 0 in vectors.shape:
        raise DataError(
            f"a map needs a float32 matrix of one vector or more, but was given {vectors.dtype} of shape "
            f"{vectors.shape}; give one row for each point"
        )
    if not np.isfinite(vectors).all():
        raise DataError("a map needs finite vectors, but some values are not; train the model again")
    # float64, so that the squares of large values stay finite
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    unit = np.empty_like(vectors, order="C")
    np.divide(vectors, np.where(lengths > 0, lengths, 1), out=unit, casting="same_kind")
    plane = _principal_plane(unit)
    # t-SNE of three points or fewer is of no use
    return plane if method == "pca" or len(unit) < 4 else _tsne(unit, plane, seed, on_steps)


def check_method(method: str) -> None:
    """Raise ConfigError unless `layout` knows the method and can use it here."""
    if method not in METHODS:
        raise ConfigError(f"no layout is called {method!r}; choose one of {', '.join(METHODS)}")
    if method == "tsne" and default_method() != "tsne":
        raise ConfigError("t-SNE needs openTSNE, which is not installed: pip install 'recae[map]'")


def _principal_plane(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the coordinates along the two eigenvectors of the covariance with the largest eigenvalues."""
    n = len(unit)
    centred = unit - unit.mean(axis=0, dtype=np.float64)  # (n, d) float64
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]  # (d, ≤ 2)
    # An eigenvector may point either way; its largest entry shall be positive.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1.0, 1.0)
    plane = np.zeros((n, 2), dtype=np.float32)
    plane[:, : directions.shape[1]] = centred @ directions
    return plane


def _tsne(
    unit: NDArray[np.float32],
    start: NDArray[np.float32],
    seed: int,
    on_steps: Callable[[int], None] | None,
) -> NDArray[np.float32]:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    jobs = (
        1 if len(unit) < _THREADS_FROM else 2
    )  # not the machine's number: sums depend on how they are split
    # Exact neighbours: the approximate ones of several threads differ from run to run.
    neighbours, distances = _nearest(unit, min(len(unit) - 1, 3 * _PERPLEXITY))
    affinities = PerplexityBasedNN(
        perplexity=min(_PERPLEXITY, neighbours.shape[1] / 3),
        knn_index=PrecomputedNeighbors(neighbours, distances),
        n_jobs=jobs,
    )
    # Points in one place would never part; the noise is far below any difference that shows.
    noise = np.random.default_rng(seed).normal(size=start.shape) * 1e-6
    begin = start / max(float(start[:, 0].std()), 1e-30) * 1e-4 + noise
    embedding = TSNEEmbedding(begin, affinities, n_jobs=jobs, random_state=seed)
    done = 0

    def told(iteration: int, error: float, points: object) -> None:
        if on_steps is not None:
            on_steps(done + iteration)

    for steps, settings in _STEPS:
        embedding.optimize(
            n_iter=steps,
            inplace=True,
            callbacks=told,
            callbacks_every_iters=_STEPS_PER_CALL,
            use_callbacks=True,
            **settings,
        )
        done += steps
    return np.asarray(embedding, dtype=np.float32)


def _nearest(unit: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k other points of largest cosine, (n, k), nearest first, and their distances, in blocks."""
    n = len(unit)
    neighbours = np.empty((n, k), dtype=np.int64)
    distances = np.empty((n, k), dtype=np.float64)
    rows = rows_per_block(n)
    for begin in range(0, n, rows):
        end = min(begin + rows, n)
        size = end - begin
        itself = sp.csr_matrix((np.ones(size), np.arange(begin, end), np.arange(size + 1)), shape=(size, n))
        neighbours[begin:end], cosines = top_k(unit[begin:end] @ unit.T, k, exclude=itself)
        # rounding may leave a cosine a little above 1
        distances[begin:end] = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))
    return neighbours, distances


KINDS = ("items", "users")

_SCALE = 65_535  # coordinates are whole numbers up to here: fewer letters, and finer than any screen
_METHOD_TEXT = {
    "tsne": "t-SNE",
    "pca": "the two main directions (PCA)",
}
_START = """
const data = JSON.parse(document.getElementById("data").textContent);
recaeMap(document.getElementById("map"), data, {kind: data.kind});
"""


@dataclass(frozen=True, eq=False)
class Points:
    """What a map shows.

    Attributes:
        kind: "items" or "users".
        rows: int64 of shape (n,), rows of the recommender, most owners (for users: most items) first.
        owners: int64 of shape (n,), how many users own each item or items each user owns; None if not known.
        empty: how many were left out because nobody owns them (users: because they own nothing).
        beyond: how many were left out because of the limit.
    """

    kind: str
    rows: NDArray[np.int64]
    owners: NDArray[np.int64] | None
    empty: int
    beyond: int


def choose_points(recommender: Recommender, kind: str = "items", limit: int = 50_000) -> Points:
    """Choose the items with the most owners, or the users with the most items; equals in the order of the model.

    Items that nobody owns have no vector that means anything, so they are left out, and users without items
    likewise. Without histories, owners are not known: then the first items of the model are taken.

    Raises:
        ConfigError: the kind is none of `KINDS`, or the limit less than 1.
        DataError: users are asked for, but the model was saved without histories; or nothing is left.
    """
    if kind not in KINDS:
        raise ConfigError(f"a map shows items or users, but {kind!r} was asked for; choose one of them")
    if limit < 1:
        raise ConfigError(f"the limit must be at least 1, but is {limit}; allow one point or more")
    histories = recommender.histories
    if histories is None:
        if kind == "users":
            raise DataError("the model was saved without histories, so it has no users to map; map its items")
        n = len(recommender.items)
        return Points(kind, np.arange(min(n, limit)), None, 0, n - min(n, limit))
    owners = (
        np.bincount(histories.indices, minlength=len(recommender.items))
        if kind == "items"
        else np.diff(histories.indptr)
    ).astype(np.int64)
    owned = int((owners > 0).sum())
    rows = np.argsort(-owners, kind="stable")[: min(limit, owned)]
    if not rows.size:
        raise DataError(
            "nobody in the model owns anything, so there is nothing to map; train it on purchases"
        )
    return Points(kind, rows, owners[rows], owners.size - owned, owned - rows.size)


def point_vectors(recommender: Recommender, points: Points) -> NDArray[np.float32]:
    """Return the vectors of a map's items or users, made from the scores of the whole model: float32 (n, d).

    Raises:
        DataError: the model scores every history alike.
    """
    if points.kind == "items":
        return np.ascontiguousarray(ItemVectors(recommender).vectors[points.rows])
    assert recommender.histories is not None  # noqa: S101  # choose_points has seen to it
    vectors = UserVectors(recommender)
    chosen = sp.csr_matrix(recommender.histories[points.rows])
    return np.concatenate([block for _, block in vectors.blocks(chosen, DEFAULT_BLOCK_BYTES)])


def map_data(
    recommender: Recommender,
    points: Points,
    plane: NDArray[np.float32],
    categories: Categories | None = None,
) -> dict[str, Any]:
    """Return what map.js draws, as JSON values; coordinates as whole numbers, in their proportions.

    Args:
        recommender: whose ids and names are shown.
        points: which items or users.
        plane: float32 of shape (n, 2), the layout of the points.
        categories: of the recommender's items; a user gets the most frequent one of the history.
    """
    ids = recommender.items if points.kind == "items" else recommender.users
    assert ids is not None  # noqa: S101  # where there are histories there are users
    low = plane.min(axis=0).astype(np.float64)
    span = float((plane.max(axis=0) - low).max()) or 1.0
    x, y = np.rint((plane - low) / span * _SCALE).astype(int).T.tolist()
    data: dict[str, Any] = {"kind": points.kind, "item_id": [ids.id(int(row)) for row in points.rows]}
    if points.kind == "items" and recommender.item_names is not None:
        data["name"] = recommender.item_names.take(points.rows).to_pylist()
    if points.owners is not None:
        data["owners"] = points.owners.tolist()
    data |= {"x": x, "y": y}
    if categories is not None:
        codes = (
            categories.codes[points.rows]
            if points.kind == "items" or recommender.histories is None
            else categories.of_users(recommender.histories[points.rows])
        )
        data |= {"category": codes.tolist(), "categories": categories.names}
    return data


def map_page(data: dict[str, Any], *, title: str, method: str, note: str = "") -> str:
    """Return the page of a map: HTML with everything in it, whose policy forbids it to load anything.

    Args:
        data: from `map_data`. Names and ids are carried as JSON in which no "<" is left, so that none of them
            can end the element that it stands in.
        title: the heading.
        method: how the points were laid out, for the description.
        note: a sentence to add to the description.
    """
    assets = files("recae.insight") / "assets"
    script = (assets / "map.js").read_text("utf-8") + _START
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    n = len(data["item_id"])
    if data["kind"] == "items":
        what, near = (
            "product" if n == 1 else "products",
            "Products that the same customers buy lie close together",
        )
    else:
        what, near = (
            "customer" if n == 1 else "customers",
            "Customers who buy the same products lie close together",
        )
    more = "more owners" if data["kind"] == "items" else "more products"
    sizes = f"; larger dots have {more}" if "owners" in data else ""
    description = f"{n:,} {what}. {near}{sizes}. Laid out by {_METHOD_TEXT[method]}. {note}".strip()
    parts = {
        "policy": f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'",
        "title": html.escape(title),
        "description": html.escape(description),
        "css": (assets / "map.css").read_text("utf-8"),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": script,
    }
    template = (assets / "map.html").read_text("utf-8")
    # in one pass, so that a name like {{script}} stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
