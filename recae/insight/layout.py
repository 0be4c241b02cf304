"""The layout of a map: vectors in the plane, by their directions."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.ranking import rows_per_block, top_k

METHODS = ("tsne", "neighbours", "pca")

_PERPLEXITY = 30  # effective number of neighbours of a point; openTSNE's own default
_STEPS = ((250, {"exaggeration": 12.0, "momentum": 0.5}), (500, {"exaggeration": 1.0, "momentum": 0.8}))
STEPS = sum(steps for steps, _ in _STEPS)
"""Steps of gradient descent that t-SNE takes; other methods tell theirs as parts of as many."""
_STEPS_PER_CALL = 50  # between two calls of on_steps
_ATTRACTING = 10  # nearest neighbours that draw a point of the method "neighbours"
_REPELLING = 12  # points drawn by chance in each of its steps that push it away
_PUSH = 5.0  # what all others push, for what the neighbours draw
_NEAR = 0.05  # squared distance below which the push no longer grows
_PULLS = 300  # steps of that method
_FIRST_STEP = 3.0  # the length of the first; they become shorter evenly
_SPREAD = 4.0  # standard deviation of the start, in units in which the push of a point falls off
_THREADS_FROM = 10_000  # points; with fewer, two threads wait for each other longer than they work


def default_method() -> str:
    """Return "tsne" where openTSNE is installed, else "neighbours"."""
    return "neighbours" if importlib.util.find_spec("openTSNE") is None else "tsne"


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
        method: "pca", the two directions of largest variance; "tsne" (van der Maaten and Hinton 2008, by openTSNE); or
            "neighbours", a plainer embedding that needs no other library. The latter two begin from the first and from
            exact nearest neighbours by cosine, in O(n² d) time and blocks of memory.
        seed: of the random numbers that are drawn; PCA draws none.
        on_steps: is told how many of `STEPS` are done.

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
    unit = unit_rows(vectors)
    plane = np.zeros((len(unit), 2), dtype=np.float32)
    directions = principal(unit, 2)
    plane[:, : directions.shape[1]] = directions
    if method == "pca" or len(unit) < 4:  # there is nothing to gain with three points or fewer
        return plane
    return (_tsne if method == "tsne" else _by_neighbours)(unit, plane, seed, on_steps)


def check_method(method: str) -> None:
    """Raise ConfigError unless `layout` knows the method and can use it here."""
    if method not in METHODS:
        raise ConfigError(f"no layout is called {method!r}; choose one of {', '.join(METHODS)}")
    if method == "tsne" and default_method() != "tsne":
        raise ConfigError("t-SNE needs openTSNE, which is not installed: pip install 'recae[map]'")


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors, (n, d), each scaled to length 1; a vector of zeros stays one."""
    # float64, so that the squares of large values stay finite
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    unit = np.empty_like(vectors, order="C")
    np.divide(vectors, np.where(lengths > 0, lengths, 1), out=unit, casting="same_kind")
    return unit


def principal(unit: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the coordinates along the eigenvectors of the covariance with the largest eigenvalues.

    Args:
        unit: of shape (n, d).
        count: how many coordinates; d at most.

    Returns:
        float64 of shape (n, count), or (n, d) where d is less; the largest variance first.
    """
    centred = unit - unit.mean(axis=0, dtype=np.float64)  # (n, d) float64
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]  # (d, ≤ count)
    # An eigenvector may point either way; its largest entry shall be positive.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1.0, 1.0)
    return np.asarray(centred @ directions)


def _tsne(
    unit: NDArray[np.float32],
    start: NDArray[np.float32],
    seed: int,
    on_steps: Callable[[int], None] | None,
) -> NDArray[np.float32]:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    # not the machine's number of processors: sums depend on how they are split
    jobs = 1 if len(unit) < _THREADS_FROM else 2
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


def _by_neighbours(
    unit: NDArray[np.float32],
    start: NDArray[np.float32],
    seed: int,
    on_steps: Callable[[int], None] | None,
) -> NDArray[np.float32]:
    """Draw every point to its nearest neighbours and push it away from points drawn by chance, as LargeVis does.

    With d = y_i − y_j a neighbour draws by 2 w_ij d / (1 + d²), and a random point pushes by 2 d/((0.05 + d²)(1 + d²)),
    at most 4 along an axis (Tang et al. 2016; McInnes et al. 2018). All points move at once, so that nothing depends on
    the number of threads.
    """
    n = len(unit)
    neighbours, _ = _nearest(unit, min(n - 1, _ATTRACTING))
    k = neighbours.shape[1]
    directed = sp.csr_matrix((np.ones(n * k), neighbours.ravel(), np.arange(n + 1) * k), shape=(n, n))
    graph = (directed + directed.T).tocoo()
    own, other = graph.row, graph.col
    degree = np.bincount(own, graph.data, n)
    pull = 2 * graph.data / np.sqrt(degree[own] * degree[other])
    rng = np.random.default_rng(seed)
    places = start * (_SPREAD / max(float(start.std()), 1e-30)) + rng.normal(size=start.shape) * 1e-4
    for step in range(_PULLS):
        apart = places[own] - places[other]  # (edges, 2)
        force = pull / (1 + np.einsum("ea,ea->e", apart, apart))
        moved = np.stack([np.bincount(own, -force * apart[:, axis], n) for axis in (0, 1)], axis=1)
        apart = places[:, None] - places[rng.integers(0, n, (n, _REPELLING))]  # (n, repelling, 2)
        square = np.einsum("nra,nra->nr", apart, apart)[:, :, None]
        moved += _PUSH * np.clip(2 * apart / ((_NEAR + square) * (1 + square)), -4, 4).mean(axis=1)
        places += _FIRST_STEP * (1 - step / _PULLS) * moved
        if on_steps is not None and (step + 1) % (_PULLS // 15) == 0:
            on_steps(STEPS * (step + 1) // _PULLS)
    return places.astype(np.float32)


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
