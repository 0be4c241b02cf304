"""The layout against independent ones, which points a map shows, and the categories of a table."""

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from modelfiles import HISTORIES, ITEMS, METADATA, USERS, popular

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.insight.layout import METHODS, STEPS, default_method, layout
from recae.insight.map import choose_points, map_data, point_vectors
from recae.models import SigmoidAutoencoder
from recae.recommender import Recommender


def random_vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def planted(groups: int = 6, each: int = 30, d: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Directions around a few centres, of very different lengths."""
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(groups), each)
    vectors = rng.normal(size=(groups, d))[label] + 0.35 * rng.normal(size=(label.size, d))
    return (vectors * rng.uniform(0.01, 50, size=(label.size, 1))).astype(np.float32), label


def agreement(plane: np.ndarray, label: np.ndarray, k: int = 5) -> float:
    """The share of a point's k nearest points that are of its own group, by all distances."""
    apart = ((plane[:, None].astype(float) - plane[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    return float((label[apart.argsort(axis=1)[:, :k]] == label[:, None]).mean())


def sigmoid(**changes: Any) -> Recommender:
    n_items = HISTORIES.shape[1]
    model = SigmoidAutoencoder(
        encoder=random_vectors(n_items, 3, 1),
        encoder_bias=random_vectors(1, 3, 2)[0],
        decoder=random_vectors(n_items, 3, 4),
        decoder_bias=np.zeros(n_items, np.float32),
        input_power=0.5,
        settings={"input_power": 0.5},
    )
    parts = {"users": IdMap(USERS), "items": IdMap(ITEMS), "histories": sp.csr_matrix(HISTORIES)}
    return Recommender(**({"model": model, "metadata": METADATA} | parts | changes))


def test_pca_is_the_singular_value_decomposition_of_the_centred_directions() -> None:
    vectors = random_vectors(80, 7) * np.linspace(0.1, 9, 80, dtype=np.float32)[:, None]
    unit = np.array([v / np.sqrt((v.astype(float) ** 2).sum()) for v in vectors])
    left, values, right = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    plane = layout(vectors, method="pca")
    assert plane.dtype == np.float32
    assert plane.shape == (80, 2)
    for axis in range(2):
        sign = np.sign(right[axis][np.abs(right[axis]).argmax()])
        np.testing.assert_allclose(plane[:, axis], sign * left[:, axis] * values[axis], atol=2e-6)


def test_the_length_of_a_vector_does_not_count_and_none_is_allowed() -> None:
    vectors = random_vectors(20, 4)
    vectors[3] = 0
    longer = vectors * np.array([1e-18, 1, 1e18, 7] * 5, dtype=np.float32)[:, None]
    np.testing.assert_allclose(layout(longer, method="pca"), layout(vectors, method="pca"), atol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 5), (2, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_few_points_and_few_factors(n: int, d: int, method: str) -> None:
    plane = layout(random_vectors(n, d), method=method)
    assert plane.shape == (n, 2)
    assert np.isfinite(plane).all()


@pytest.mark.parametrize("method", METHODS)
def test_points_in_one_place_are_laid_out(method: str) -> None:
    assert np.isfinite(layout(np.ones((8, 3), np.float32), method=method)).all()
    assert np.isfinite(layout(np.zeros((8, 3), np.float32), method=method)).all()


@pytest.mark.parametrize("method", ["tsne", "neighbours"])
def test_planted_groups_stay_together_and_bits_repeat(method: str) -> None:
    vectors, label = planted()
    before = vectors.copy()
    told: list[int] = []
    plane = layout(vectors, method=method, on_steps=told.append)
    assert agreement(plane, label) > 0.95  # by chance 1/6
    assert agreement(layout(vectors, method="pca"), label) < agreement(plane, label)
    assert plane.tobytes() == layout(vectors, method=method, seed=0).tobytes()
    assert plane.tobytes() != layout(vectors, method=method, seed=1).tobytes()
    np.testing.assert_array_equal(vectors, before)
    assert told == sorted(told)
    assert told[-1] == STEPS


def trustworthiness(vectors: np.ndarray, plane: np.ndarray, k: int = 10) -> float:
    """Venna and Kaski 2001: 1 less what the plane's neighbours lack to be true ones, by ranks of the cosine."""
    unit = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    n, lacking = len(unit), 0
    for i in range(n):
        true = [j for j in np.argsort(-(unit @ unit[i]), kind="stable") if j != i]
        rank = {int(j): at + 1 for at, j in enumerate(true)}
        shown = [
            j
            for j in np.argsort(((plane - plane[i]).astype(float) ** 2).sum(axis=1), kind="stable")
            if j != i
        ]
        lacking += sum(max(rank[int(j)] - k, 0) for j in shown[:k])
    return 1 - 2 * lacking / (n * k * (2 * n - 3 * k - 1))


def test_without_another_library_neighbours_are_shown_that_pca_hides() -> None:
    # a closed tube through nine dimensions: two directions show hardly a third of who is whose neighbour
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    turns = [trig(m * angle) for m in (1, 3, 5, 7) for trig in (np.sin, np.cos)]
    vectors = (
        np.stack([*turns, np.full(400, 0.5)], axis=1) + 0.05 * np.random.default_rng(0).normal(size=(400, 9))
    ).astype(np.float32)
    plane = {method: layout(vectors, method=method) for method in METHODS}
    trust = {method: trustworthiness(vectors, plane[method]) for method in METHODS}
    assert trust["neighbours"] > 0.95
    assert trust["neighbours"] > trust["tsne"] - 0.04
    assert trust["pca"] < 0.9
    # and it is no blob: most of the picture is empty
    filled = {}
    for method, points in plane.items():
        cells = np.floor((points - points.min(axis=0)) / np.ptp(points, axis=0).max() * 19.99).astype(int)
        filled[method] = len({tuple(cell) for cell in cells.tolist()})
    assert filled["neighbours"] < 0.4 * 400


def test_neighbours_are_those_of_the_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    from recae.insight import layout as module

    vectors = random_vectors(40, 6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(module, "rows_per_block", lambda n: 7)  # the last block is shorter
    neighbours, distances = module._nearest(unit, 9)
    for i in range(40):
        cosines = [(-float(unit[i] @ unit[j]), j) for j in range(40) if j != i]
        expected = [j for _, j in sorted(cosines)[:9]]
        assert neighbours[i].tolist() == expected
        np.testing.assert_allclose(
            distances[i], [np.linalg.norm(unit[i] - unit[j]) for j in expected], atol=1e-5
        )


@pytest.mark.parametrize(
    "vectors",
    [np.zeros((3, 2)), np.zeros(3, np.float32), np.zeros((0, 2), np.float32), [[np.nan]], [[np.inf]]],
)
def test_vectors_that_cannot_be_laid_out(vectors: Any) -> None:
    with pytest.raises(DataError, match="a map needs"):
        layout(np.asarray(vectors, np.float32) if isinstance(vectors, list) else vectors, method="pca")


def test_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_method() == "tsne"
    with pytest.raises(ConfigError, match="choose one of tsne, neighbours, pca"):
        layout(random_vectors(3, 3), method="umap")
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default_method() == "neighbours"
    with pytest.raises(ConfigError, match=r"pip install 'recae\[map\]'"):
        layout(random_vectors(3, 3))


def test_the_most_owned_items_come_first_and_unowned_ones_are_left_out() -> None:
    shop = sigmoid()
    owners = HISTORIES.sum(axis=0)  # 2 2 1 1 2
    points = choose_points(shop)
    assert points.rows.tolist() == [0, 1, 4, 2, 3]
    assert points.owners is not None
    assert points.owners.tolist() == owners[points.rows].tolist()
    assert (points.empty, points.beyond) == (0, 0)
    lonely = HISTORIES.copy()
    lonely[:, 1] = 0
    points = choose_points(sigmoid(histories=sp.csr_matrix(lonely)), limit=3)
    assert points.rows.tolist() == [0, 4, 2]
    assert (points.empty, points.beyond) == (1, 1)
    vectors = point_vectors(shop, points)
    scores = shop.model.score(sp.csr_matrix(HISTORIES[HISTORIES.any(axis=1)]))
    np.testing.assert_allclose(vectors, (scores - scores.mean(axis=0)).T[[0, 4, 2]], rtol=1e-4, atol=1e-6)


def test_users_are_mapped_by_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = sigmoid()
    points = choose_points(shop, "users")
    assert points.rows.tolist() == [0, 3, 2]  # three, three and two items; user 1 owns nothing
    assert points.empty == 1
    scores = shop.model.score(sp.csr_matrix(HISTORIES))
    whole = scores - scores[[0, 2, 3]].mean(axis=0)
    monkeypatch.setattr("recae.insight.vectors.rows_per_block", lambda n, size=0: 2)
    np.testing.assert_allclose(point_vectors(shop, points), whole[[0, 3, 2]], rtol=1e-4, atol=1e-6)
    data = map_data(shop, points, np.zeros((3, 2), np.float32))
    assert data["item_id"] == ["42", "Zoë", " a b "]
    assert data["owners"] == [3, 3, 2]
    assert "name" not in data


def test_a_model_without_histories_shows_its_items_only() -> None:
    shop = sigmoid(histories=None, users=None)
    points = choose_points(shop, limit=4)
    assert (points.rows.tolist(), points.owners, points.beyond) == ([0, 1, 2, 3], None, 1)
    assert "owners" not in map_data(shop, points, np.zeros((4, 2), np.float32))
    with pytest.raises(DataError, match="without histories"):
        choose_points(shop, "users")


def test_what_cannot_be_mapped() -> None:
    with pytest.raises(ConfigError, match="items or users"):
        choose_points(sigmoid(), "shops")
    with pytest.raises(ConfigError, match="at least 1"):
        choose_points(sigmoid(), limit=0)
    with pytest.raises(DataError, match="nothing to map"):
        choose_points(sigmoid(histories=sp.csr_matrix(HISTORIES.shape, dtype=np.float32)))
    shop = popular()
    with pytest.raises(DataError, match="kind 'popularity' scores every history alike"):
        point_vectors(shop, choose_points(shop))


def test_coordinates_keep_their_proportions() -> None:
    shop = sigmoid(item_names=pa.array(["Mug", None, "", "é", "<b>"], pa.large_string()))
    plane = np.array([[-1, 0], [3, 0], [1, 2], [0, 1], [-1, 1]], np.float32)
    data = map_data(shop, choose_points(shop), plane)
    assert data["x"] == [0, 65535, 32768, 16384, 0]
    assert data["y"] == [0, 0, 32768, 16384, 16384]
    assert data["name"] == ["Mug", None, "<b>", "", "é"]
    one = map_data(shop, choose_points(shop, limit=1), np.ones((1, 2), np.float32))
    assert (one["x"], one["y"]) == ([0], [0])
