"""Clusters of items: planted ones are found, whatever part of a blend knows them, and named by telling words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from modelfiles import METADATA, popular
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.insight.categories import Categories, categories_for_colours
from recae.insight.clusters import MOST, cluster, find_clusters, telling_names
from recae.insight.map import choose_points
from recae.insight.mapping import draw_map
from recae.insight.vectors import ItemVectors
from recae.item_table import ItemTable
from recae.models.blend import Blend, Part
from recae.models.linear import Ease
from recae.recommender import Recommender


def clusters(whole: Recommender, count: int | None = None, limit: int = 50_000) -> Categories | None:
    return find_clusters(whole, choose_points(whole, "items", limit).rows, ItemVectors(whole), count)


WORDS = [["cup", "tea"], ["lamp", "light"], ["card", "wrap"], ["ring", "gold"]]


def same(first: NDArray[np.int32], second: NDArray[np.int32]) -> bool:
    """Whether two labellings are one but for the numbers."""
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def planted(sizes: tuple[int, ...], d: int = 40, noise: float = 0.25) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(5)
    label = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    rng.shuffle(label)
    vectors = rng.normal(size=(len(sizes), d))[label] + noise * rng.normal(size=(label.size, d))
    return (vectors * rng.uniform(0.01, 90, size=(label.size, 1))).astype(np.float32), label


def shop(
    parts: tuple[int, ...] = (0, 1), n_items: int = 80, names: bool = True
) -> tuple[Recommender, NDArray]:
    """Four groups of items; part 0 of the blend tells only their first bit apart, part 1 only their second."""
    rng = np.random.default_rng(2)
    group = np.arange(n_items) % 4
    models = [
        Ease(
            np.array(
                group[:, None] >> bit == group >> bit if bit else group[:, None] % 2 == group % 2, np.float32
            ),
            {},
        )
        for bit in (0, 1)
    ]
    histories = np.zeros((200, n_items), np.float32)
    for user in range(200):
        histories[user, rng.choice(np.flatnonzero(group == user % 4), 3, replace=False)] = 1
    histories[:, 0] = 1  # owned by everybody, and so drawn first
    texts = [f"{' '.join(WORDS[g])} {i} of the shop".upper() for i, g in enumerate(group)]
    blend = Blend(tuple(Part(models[part], 1.0, (1.0, 0.0)) for part in parts), {})
    return (
        Recommender(
            model=blend,
            metadata=METADATA,
            users=IdMap([f"u{i}" for i in range(200)]),
            items=IdMap([f"i{i}" for i in range(n_items)] if names else texts),
            histories=sp.csr_matrix(histories),
            item_names=pa.array(texts, pa.large_string()) if names else None,
        ),
        group,
    )


def test_planted_clusters_are_found_the_largest_first_and_again_with_the_same_bits() -> None:
    vectors, label = planted((70, 40, 55, 30, 20))
    before = vectors.copy()
    found = cluster(vectors, 5)
    assert same(found, label)
    assert found.dtype == np.int32
    assert np.bincount(found).tolist() == [70, 55, 40, 30, 20]
    assert found.tobytes() == cluster(vectors, 5).tobytes()
    np.testing.assert_array_equal(vectors, before)


def test_the_end_is_as_good_as_that_of_another_implementation() -> None:
    kmeans = pytest.importorskip("sklearn.cluster").KMeans
    vectors, _ = planted((60,) * 9, d=12, noise=1.2)  # so noisy that no end is the obvious one
    unit = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)

    def cost(label: NDArray) -> float:
        return sum(((unit[label == k] - unit[label == k].mean(axis=0)) ** 2).sum() for k in np.unique(label))

    expected = kmeans(9, n_init=20, random_state=0).fit_predict(unit)
    assert cost(cluster(vectors, 9)) <= 1.02 * cost(expected)


def test_vectors_without_a_direction_and_vectors_in_one_place() -> None:
    vectors = np.zeros((6, 3), np.float32)
    assert cluster(vectors, 2).tolist() == [-1] * 6
    vectors[[1, 2, 4]] = [1, 2, 3]
    assert cluster(vectors, 3).tolist() == [-1, 0, 0, -1, 0, -1]
    assert cluster(np.ones((1, 1), np.float32), 1).tolist() == [0]


def test_all_parts_of_a_blend_count() -> None:
    whole, group = shop()
    found = clusters(whole, 4)
    assert found is not None
    assert same(found.codes, group.astype(np.int32))
    for part in (0, 1):
        alone = clusters(shop((part,))[0], 4)
        assert alone is not None
        assert not same(alone.codes, group.astype(np.int32))


@pytest.mark.parametrize("names", [True, False])
def test_clusters_are_named_by_the_words_of_names_or_of_ids_that_are_descriptions(names: bool) -> None:
    whole, group = shop(names=names)
    found = clusters(whole)
    assert found is not None  # 80 items, 4 clusters
    for code, name in enumerate(found.names):
        (own,) = set(group[found.codes == code])
        assert sorted(name.split(", ")) == sorted(WORDS[own])


def test_how_many_clusters_there_are() -> None:
    assert clusters(shop(n_items=36)[0]) is None
    assert clusters(shop(n_items=80)[0], limit=30) is None
    few = clusters(shop()[0], limit=40)
    assert few is not None
    assert len(few.names) == 2
    assert (few.codes >= 0).sum() == 40
    one = clusters(shop(n_items=36)[0], 1)
    assert one is not None
    assert len(one.names) == 1
    for count in (0, MOST + 1):
        with pytest.raises(ConfigError, match="from 1 to 12"):
            clusters(shop()[0], count)
    with pytest.raises(DataError, match="alike"):
        clusters(popular(), 2)


def test_words_are_those_of_the_largest_share_of_the_divergence() -> None:
    rng = np.random.default_rng(0)
    vocabulary = [a + b + c for a in "bcd" for b in "aeiou" for c in "mnt"]
    label = rng.integers(-1, 4, 400).astype(np.int32)
    odds = rng.dirichlet(np.full(len(vocabulary), 0.3), size=5)
    texts = [" ".join(rng.choice(vocabulary, 4, p=odds[one])) for one in label]
    chosen: dict[int, list[str]] = {one: [] for one in range(4)}
    every = Counter(word for text in texts for word in set(text.split()))
    ranked = []
    for one in range(4):
        own = [set(text.split()) for text, of in zip(texts, label, strict=True) if of == one]
        for word in vocabulary:
            p, q = sum(word in words for words in own) / len(own), every[word] / len(texts)
            if p * len(own) > 2.5 and p > q:
                ranked.append((-p * log(p / q), word, one))
    used = set()
    for _, word, one in sorted(ranked):
        if word not in used and len(chosen[one]) < 3:
            chosen[one].append(word)
            used.add(word)
    assert telling_names(texts, label) == [", ".join(chosen[one]) for one in range(4)]


def test_what_no_name_is_made_of() -> None:
    label = np.repeat(np.arange(3), 4).astype(np.int32)
    texts = ["Bags 12 XL", "BAG", "bags", "Bag 3x4"] + ["P017", "P018", "P019", "P020"] + ["T-LIGHT 500"] * 4
    # one word is the beginning of the other; ids of digits say nothing; capitals become small
    assert telling_names(texts, label) == ["like Bags 12 XL", "like P017", "t-light"]
    assert telling_names(
        ["Bags"] * 3 + ["bag"] * 4 + ["ünter"] * 7, np.repeat([0, 1], 7).astype(np.int32)
    ) == [
        "bag",
        "ünter",
    ]
    assert telling_names(["a", "a"], np.array([0, 1], np.int32)) == ["like a", "like a (2)"]
    assert telling_names(["a", "a", "a (2)"], np.arange(3, dtype=np.int32)) == [
        "like a",
        "like a (2)",
        "like a (2) (2)",
    ]
    assert telling_names([], np.zeros(0, np.int32)) == []


def test_names_without_blanks_between_words() -> None:
    texts = [f"红色杯子{i}号" for i in range(4)] + [f"ステンレスマグ350ml {i}" for i in range(4)]
    texts += [f"{n}茶的" for n in ("绿", "红", "白", "花")]
    label = np.repeat(np.arange(3), 4).astype(np.int32)
    assert telling_names(texts, label) == ["杯子, 红色, 色杯", "ステンレスマグ", "茶的"]


@given(st.lists(st.tuples(st.text(max_size=12), st.integers(-1, 4)), max_size=40))
def test_whatever_the_names_are_every_cluster_has_one_and_no_two_are_alike(
    items: list[tuple[str, int]],
) -> None:
    known = sorted({code for _, code in items if code >= 0})
    label = np.array([known.index(code) if code >= 0 else -1 for _, code in items], np.int32)
    names = telling_names([text for text, _ in items], label)
    assert len(names) == len(known) == len(set(names))
    assert all(names)


def test_the_map_of_a_model_without_categories_has_the_clusters() -> None:
    whole, _ = shop()
    drawn = draw_map(whole, method="pca")
    assert (drawn.coloured_by, drawn.categories) == ("clusters", 4)
    assert "colours are clusters of products" in drawn.page
    assert drawn.page == draw_map(whole, method="pca").page
    plain = draw_map(whole, method="pca", clusters=0)
    assert (plain.coloured_by, plain.categories) == (None, None)
    assert "colours are" not in plain.page
    users = draw_map(whole, "users", method="pca", limit=20)
    assert (users.coloured_by, users.points) == ("clusters", 20)


def test_categories_come_first_at_the_narrowest_level_that_the_colours_suffice_for() -> None:
    whole, _ = shop()
    paths = [f"Home > Room {i % 10} > Shelf {i % 40}" if i % 5 else None for i in range(80)]
    table = ItemTable(whole.items, pa.table({"category": pa.array(paths, pa.large_string())}))
    drawn = draw_map(replace(whole, item_table=table), method="pca")
    assert (drawn.coloured_by, drawn.categories) == ("categories", 8)  # rooms 0 and 5 have no known category
    assert "Home > Room 3" in drawn.page
    assert "Shelf" not in drawn.page
    asked = draw_map(replace(whole, item_table=table), method="pca", clusters=2)
    assert (asked.coloured_by, asked.categories) == ("clusters", 2)
    many = [f"Room {i} > Shelf {i}" for i in range(80)]
    table = ItemTable(whole.items, pa.table({"category": pa.array(many, pa.large_string())}))
    found = categories_for_colours(replace(whole, item_table=table), 12)
    assert found is not None
    assert found.names == sorted(f"Room {i}" for i in range(80))
