"""Tests of embeddings: columns, blocks, files, and that the codes tell what they should."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from fitting import FIT
from modelfiles import HISTORIES, ITEMS, NAMES, USERS, popular, recommender
from numpy.typing import NDArray
from readings import read_with_report

from recae.errors import ConfigError, DataError, OutputError
from recae.ids import IdMap
from recae.insight.embeddings import (
    Coverage,
    What,
    coverage,
    embedding_schema,
    embeddings,
    owner_counts,
    write_embeddings,
)
from recae.models import Blend, ItemKNN, Popularity, SigmoidAutoencoder
from recae.models.blend import Part
from recae.recommender import Recommender
from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import train_sigmoid

ROOT = Path(__file__).resolve().parent.parent
FACTORS = 3


def autoencoder(n_items: int = len(ITEMS)) -> SigmoidAutoencoder:
    rng = np.random.default_rng(7)

    def some(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    shapes: list[tuple[int, ...]] = [(n_items, FACTORS), (FACTORS,), (n_items, FACTORS), (n_items,)]
    return SigmoidAutoencoder(
        *(some(*shape) for shape in shapes), input_power=0.5, settings={"input_power": 0.5}
    )  # type: ignore[arg-type]


def shop(**changes: Any) -> Recommender:
    return recommender(**({"model": autoencoder()} | changes))


def table(what: What, source: Recommender | None = None, **options: Any) -> pa.Table:
    source = source or shop()
    return pa.Table.from_batches(embeddings(source, what, **options), embedding_schema(source, what))


def matrix(found: pa.Table, prefix: str) -> NDArray[np.float32]:
    return np.column_stack([found[f"{prefix}_{j}"].to_numpy() for j in range(FACTORS)])


def test_users() -> None:
    found = table("users")
    assert found.schema == pa.schema(
        [
            ("user_id", pa.string()),
            ("n_items", pa.int32()),
            *((f"code_{j}", pa.float32()) for j in range(FACTORS)),
        ]
    )
    assert found["user_id"].to_pylist() == USERS
    assert found["n_items"].to_pylist() == HISTORIES.sum(axis=1).tolist()
    model = autoencoder()
    for row, owned in zip(matrix(found, "code"), HISTORIES, strict=True):  # the formula, one user at a time
        z = model.encoder_bias + sum(
            (model.encoder[i] / np.sqrt(owned.sum()) for i in np.flatnonzero(owned)), np.zeros(FACTORS)
        )
        np.testing.assert_allclose(row, 2 / (1 + np.exp(-z)) - 1, rtol=1e-5)


def test_items() -> None:
    found = table("items")
    fields = [("item_id", pa.string()), ("name", pa.string()), ("owners", pa.int32())]
    numbers = [*(f"vector_{j}" for j in range(FACTORS)), "bias"]
    assert found.schema == pa.schema(fields + [(name, pa.float32()) for name in numbers])
    assert found["item_id"].to_pylist() == ITEMS
    assert found["name"].to_pylist() == NAMES
    assert found["owners"].to_pylist() == HISTORIES.sum(axis=0).tolist()


def test_codes_vectors_and_biases_make_the_scores() -> None:
    users, items = table("users"), table("items")
    scores = matrix(users, "code") @ matrix(items, "vector").T + items["bias"].to_numpy()
    np.testing.assert_allclose(scores, autoencoder().score(sp.csr_matrix(HISTORIES)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("what", ["users", "items"])
@pytest.mark.parametrize(("block_bytes", "rows"), [(1, 1), (2 * 4 * 4 * 7, 2), (2**25, 5)])
def test_blocks_change_nothing(what: What, block_bytes: int, rows: int) -> None:
    batches = list(embeddings(shop(), what, block_bytes=block_bytes))
    assert max(batch.num_rows for batch in batches) <= rows
    assert len(batches) > 1 or rows == 5
    assert pa.Table.from_batches(batches).equals(table(what))


def test_the_encoder_sees_no_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = SigmoidAutoencoder.encode

    def watched(self: SigmoidAutoencoder, histories: sp.csr_matrix) -> NDArray[np.float32]:
        seen.append(histories.shape[0])
        return encode(self, histories)

    monkeypatch.setattr(SigmoidAutoencoder, "encode", watched)
    for n, _ in enumerate(embeddings(shop(), "users", block_bytes=1), start=1):
        assert seen == [1] * n  # nor does it run ahead


def test_what_a_model_may_lack() -> None:
    without = shop(histories=None, users=None, item_names=None)
    items = table("items", without)
    assert items["owners"].to_pylist() == items["name"].to_pylist() == [None] * len(ITEMS)
    assert items.schema == table("items").schema
    nobody = shop(users=IdMap([]), histories=sp.csr_matrix((0, len(ITEMS)), dtype=np.float32))
    assert table("users", nobody).num_rows == 0

    unbiased = shop(model=FIT["als"](sp.csr_matrix(HISTORIES)))
    assert table("items", unbiased).column_names[-1].startswith("vector_")


def test_owner_counts() -> None:
    counts = owner_counts(sp.csr_matrix(HISTORIES))
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, HISTORIES.sum(axis=0))


# files


@pytest.mark.parametrize("what", ["users", "items"])
def test_files(what: What, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = table(what)
    # two rows a block
    monkeypatch.setattr("recae.insight.embeddings.rows_per_block", lambda *_: 2)
    told: list[int] = []
    for name in ("x.parquet", "x.csv"):
        assert write_embeddings(shop(), what, tmp_path / name, on_rows=told.append) == expected.num_rows
    count = expected.num_rows
    assert told == [*range(2, count, 2), count] * 2
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == -(-count // 2)
    assert file.read().equals(expected)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as text:
        header, *rows = list(csv.reader(text))
    assert header == expected.column_names
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        column = expected[name]
        if pa.types.is_floating(column.type):  # bit for bit
            np.testing.assert_array_equal(np.array(values, np.float32), column.to_numpy())
        else:
            assert list(values) == ["" if v is None else str(v) for v in column.to_pylist()]
    again = tmp_path / "again.parquet"
    write_embeddings(shop(), what, again)
    first = again.read_bytes()
    write_embeddings(shop(), what, again)
    assert again.read_bytes() == first


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recae.insight.embeddings.rows_per_block", lambda *_: 1)
    for name in ("x.parquet", "x.csv"):
        (tmp_path / name).write_text("older")

        def stop(done: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_embeddings(shop(), "users", tmp_path / name, on_rows=stop)
        assert (tmp_path / name).read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.parquet"]


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for call in (embeddings, embedding_schema):  # at the call, not at the first batch
        with pytest.raises(DataError, match="kind 'popularity' has none"):
            call(popular(), "items")
        with pytest.raises(DataError, match="without histories"):
            call(shop(histories=None, users=None), "users")
        with pytest.raises(ConfigError, match="not of 'user'"):
            call(shop(), "user")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="block_bytes"):
        embeddings(shop(), "items", block_bytes=0)
    with pytest.raises(DataError, match="kind 'popularity'"):
        write_embeddings(popular(), "items", path)
    with pytest.raises(OutputError, match=r"is '\.json'"):
        write_embeddings(shop(), "items", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


# what the codes tell


@pytest.fixture(scope="module")
def make_sample() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample", ROOT / "scripts" / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_sample"] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module


@pytest.mark.thorough
def test_the_codes_tell_tastes_better_than_pca(make_sample: ModuleType) -> None:
    """Half of each history is seen; the taste to predict is that of most items of the other half.

    The autoencoder and PCA see the same halves of the same users; the classifier, the same on both, is judged on other
    users. One split of 2,000 users says little, so the figures are means of three.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    size = 32
    tastes = list(make_sample.TASTES)
    number = {
        item.item_id: tastes.index(make_sample.taste_of(item.category)) for item in make_sample.catalogue()
    }
    purchases, _ = read_with_report(ROOT / "data" / "purchases.csv")
    taste = np.array([number[item] for item in purchases.items])
    owned, bots = purchases.matrix, make_sample.bots()
    people = [
        user
        for user, name in enumerate(purchases.users)
        if name not in bots and owned.indptr[user + 1] - owned.indptr[user] >= 2
    ]

    def accuracy(features: NDArray[Any], label: NDArray[Any], learn: NDArray[np.bool_]) -> float:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        return float(classifier.fit(features[learn], label[learn]).score(features[~learn], label[~learn]))

    figures = []
    for split in range(3):
        rng = np.random.default_rng(split)
        seen = np.zeros((len(people), owned.shape[1]), dtype=np.float32)
        label = np.zeros(len(people), dtype=np.int64)
        for row, user in enumerate(people):
            items = rng.permutation(owned[user].indices)
            half = len(items) // 2
            seen[row, items[:half]] = 1
            label[row] = np.bincount(taste[items[half:]], minlength=len(tastes)).argmax()
        learn = rng.random(len(people)) < 0.7
        config = SigmoidSettings(factors=size, epochs=20, seed=1)
        model, _ = train_sigmoid(sp.csr_matrix(seen[learn]), config)
        halves = Recommender(
            model=model,
            users=IdMap([purchases.users.id(user) for user in people]),
            items=purchases.items,
            histories=sp.csr_matrix(seen),
        )
        found = pa.Table.from_batches(embeddings(halves, "users", block_bytes=50_000))
        codes = np.column_stack([found[f"code_{j}"].to_numpy() for j in range(size)])
        components = PCA(size, random_state=0).fit(seen[learn]).transform(seen)
        chance = np.bincount(label[~learn]).max() / (~learn).sum()
        figures.append((accuracy(codes, label, learn), accuracy(components, label, learn), chance))
    code, pca, chance = np.mean(figures, axis=0)
    assert chance < 0.25
    assert code > 0.69  # 0.73; the majority among the items seen, which knows the tastes, gets 0.73
    assert code > pca  # 0.70


# which part of the score


def product(source: Recommender) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the columns multiply to, and the scores."""
    users, items = table("users", source), table("items", source)
    width = sum(name.startswith("code_") for name in users.column_names)
    code, vector = (
        np.column_stack([found[f"{prefix}_{j}"].to_numpy() for j in range(width)])
        for prefix, found in (("code", users), ("vector", items))
    )
    bias = items["bias"].to_numpy() if "bias" in items.column_names else 0
    return code @ vector.T + bias, source.model.score(sp.csr_matrix(HISTORIES))


def metadata(source: Recommender) -> Any:
    return json.loads(embedding_schema(source, "items").metadata[b"recae"])


@pytest.mark.parametrize("kind", ["sigmoid", "deep", "aae", "multvae", "recvae", "als", "bpr"])
def test_the_product_is_the_score_of_every_factored_kind(kind: str) -> None:
    source = shop(model=FIT[kind](sp.csr_matrix(np.tile(HISTORIES, (8, 1)))))
    found, scores = product(source)
    np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-5)
    assert metadata(source) == {"parts": [kind], "left_out": [], "whole": True, "share_of_score": 1}


def test_the_product_is_the_score_of_a_blend_of_factored_parts() -> None:
    matrix = sp.csr_matrix(HISTORIES)
    parts = (
        Part(autoencoder(), 0.5, (0.3, 0.5)),
        Part(FIT["als"](matrix), 0.3, (2.0, -0.2)),
        Part(Popularity.fit(matrix), 0.2, (1.5, 0.1)),
    )
    source = shop(model=Blend(parts, {}))
    found, scores = product(source)
    np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-5)
    assert "bias" not in table("items", source).column_names  # it depends on the length of the history
    assert coverage(source).sentence == "code · vector + bias is the score that recommend states"


def test_what_is_left_out_of_a_blend_is_said() -> None:
    matrix = sp.csr_matrix(HISTORIES)
    parts = (Part(ItemKNN.fit(matrix, k=4), 0.7, (0.2, 0.3)), Part(autoencoder(), 0.3, (0.3, 0.5)))
    source = shop(model=Blend(parts, {}))
    found, scores = product(source)
    own = parts[1].model.score(matrix) * 0.3 / (0.3 * np.maximum(HISTORIES.sum(axis=1), 1) ** 0.5)[:, None]
    np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-5)
    fractions = [
        found[user, ~owned].sum() / scores[user, ~owned].sum()
        for user, owned in enumerate(HISTORIES.astype(bool))
        if owned.any()
    ]
    covered = coverage(source)
    assert (covered.parts, covered.left_out) == (("sigmoid",), ("itemknn",))
    assert covered.share == pytest.approx(np.median(fractions), rel=1e-4)
    assert f"{100 * np.median(fractions):.0f} % of the score" in covered.sentence
    assert metadata(source)["whole"] is False
    with pytest.raises(DataError, match="kind 'blend' has none"):
        coverage(shop(model=Blend(parts[:1], {})))
    against = Coverage(("spectral",), ("sparse-linear",), -0.5).sentence
    assert "-0.50 times the score of a user's ten best items and no substitute for it" in against
    assert coverage(shop(model=source.model, histories=None, users=None)).share is None
    assert "the score of sigmoid alone" in repr(source.embed("items"))
