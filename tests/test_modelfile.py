"""Tests of the model file: the written format byte by byte, and round trips."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse as sp
from modelfiles import (
    HELD_OUT,
    HISTORIES,
    ITEMS,
    METADATA,
    NAMES,
    TABLE,
    USERS,
    pack,
    parts,
    popular,
    recommender,
    saved,
)

from recae import modelfile as write
from recae.errors import ConfigError, DataError, ModelFileError, OutputError
from recae.ids import IdMap
from recae.modelfile import describe, load, save
from recae.models import Frequency
from recae.recommender import Recommender

# The written format


def test_the_bytes_are_those_of_the_written_format(tmp_path: Path) -> None:
    data = saved(tmp_path, popular())
    n = int.from_bytes(data[:8], "little")
    assert n % 8 == 0
    header_text = data[8 : 8 + n].decode("ascii")
    header = json.loads(header_text)
    assert header_text.startswith('{"__metadata__":{"recae":"')
    assert header_text.rstrip(" ").endswith("}")
    assert list(header["__metadata__"]) == ["recae"]
    assert header["__metadata__"]["recae"] == (
        '{"config":{},"fingerprint":"ab12","format_version":2,"history":[{"epoch":1,"loss":0.5}],'
        '"kind":"popularity","metrics":{"recall@20":0.25},"n_items":5,"n_users":4}'
    )
    layout = [(name, e["dtype"], e["shape"]) for name, e in header.items() if name != "__metadata__"]
    assert layout == [
        ("histories.indptr", "I64", [5]),
        ("items.offsets", "I64", [6]),
        ("names.offsets", "I64", [6]),
        ("users.offsets", "I64", [5]),
        ("histories.indices", "I32", [8]),
        ("model.counts", "F32", [5]),
        ("items.data", "U8", [43]),
        ("names.data", "U8", [19]),
        ("names.valid", "U8", [5]),
        ("users.data", "U8", [14]),
        ("users.held_out", "U8", [4]),
    ]
    ends = [0] + [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
    begins = [e["data_offsets"][0] for name, e in header.items() if name != "__metadata__"]
    assert begins == ends[:-1]
    assert len(data) == 8 + n + ends[-1]
    _, tensors = parts(data)
    assert tensors["histories.indptr"].tolist() == [0, 3, 3, 5, 8]
    assert tensors["histories.indices"].tolist() == [0, 1, 4, 1, 2, 0, 3, 4]
    assert tensors["model.counts"].tolist() == [2, 2, 1, 1, 2]
    assert tensors["items.data"].tobytes().decode() == "".join(ITEMS)
    assert tensors["items.offsets"].tolist() == [0, 6, 7, 10, 13, 43]
    assert tensors["users.data"].tobytes().decode() == "".join(USERS)
    assert tensors["users.offsets"].tolist() == [0, 2, 5, 10, 14]
    assert tensors["users.held_out"].tolist() == [0, 0, 1, 2]
    assert tensors["names.data"].tobytes().decode() == "MugKaffee ☕Spoon\n"
    assert tensors["names.offsets"].tolist() == [0, 3, 3, 3, 13, 19]
    assert tensors["names.valid"].tolist() == [1, 0, 1, 1, 1]


def test_safetensors_own_reader_agrees(tmp_path: Path) -> None:
    data = saved(tmp_path, recommender())
    theirs, (_, ours) = safetensors.numpy.load(data), parts(data)
    assert theirs.keys() == ours.keys()
    for name, array in theirs.items():
        assert array.dtype == ours[name].dtype
        np.testing.assert_array_equal(array, ours[name])


@pytest.mark.parametrize("make", [popular, recommender])
def test_the_same_bytes_twice_and_after_a_round_trip(tmp_path: Path, make: Callable[[], Recommender]) -> None:
    first = saved(tmp_path, make())
    assert saved(tmp_path, make()) == first
    reordered = dict(reversed(METADATA.items()))
    assert saved(tmp_path, dataclasses.replace(make(), metadata=reordered)) == first
    assert saved(tmp_path, load(tmp_path / "saved.recae")) == first


def test_unsorted_and_repeated_histories_are_written_canonically(tmp_path: Path) -> None:
    tangled = sp.csr_matrix(
        (np.ones(9, np.float32), [4, 1, 0, 4, 2, 1, 4, 3, 0], [0, 4, 4, 6, 9]), shape=HISTORIES.shape
    )
    assert saved(tmp_path, recommender(histories=tangled)) == saved(tmp_path, recommender())
    assert tangled.indices.tolist() == [4, 1, 0, 4, 2, 1, 4, 3, 0]


# Round trips


def test_everything_comes_back(tmp_path: Path) -> None:
    before = recommender()
    save(before, tmp_path / "m.recae")
    after = load(str(tmp_path / "m.recae"))
    assert after.users == before.users
    assert after.items == before.items
    assert after.item_names is not None
    assert after.item_names.to_pylist() == NAMES
    assert after.histories is not None
    assert after.histories.dtype == np.float32
    np.testing.assert_array_equal(after.histories.toarray(), HISTORIES)
    assert after.metadata == METADATA
    assert after.held_out is not None
    assert after.held_out.tolist() == HELD_OUT
    assert after.model.kind == "itemknn"
    assert after.model.config() == before.model.config()
    queries = sp.csr_matrix(HISTORIES)
    np.testing.assert_array_equal(after.model.score(queries), before.model.score(queries))
    for user in USERS:
        assert after.recommend(user, n=9) == before.recommend(user, n=9)
    assert after.recommend(items=["☕"]) == before.recommend(items=["☕"])


def test_histories_and_users_can_be_left_out(tmp_path: Path) -> None:
    data = saved(tmp_path, recommender(), histories=False)
    after = load(tmp_path / "saved.recae")
    assert after.users is None
    assert after.histories is None
    assert after.recommend(items=["☕"]) == recommender().recommend(items=["☕"])
    for user in USERS:
        if len(user) > 2:
            assert user.encode() not in data
    assert parts(data)[0]["n_users"] is None


def test_a_file_of_version_1_does_not_say_who_was_held_out(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender()))
    del tensors["users.held_out"]
    for version in (1, 2):
        (tmp_path / "old.recae").write_bytes(pack(metadata | {"format_version": version}, tensors))
        old = load(tmp_path / "old.recae")
        assert old.held_out is old.learners is None
        assert old.recommend("42") == recommender().recommend("42")
        assert describe(tmp_path / "old.recae")["held_out"] is None


def test_who_was_held_out(tmp_path: Path) -> None:
    saved(tmp_path, recommender(held_out=np.array([2, 0, 2, 1], np.uint8)))
    assert describe(tmp_path / "saved.recae")["held_out"] == {"validation_users": 1, "test_users": 2}
    learners = load(tmp_path / "saved.recae").learners
    assert learners is not None
    assert learners.tolist() == [False, True, False, False]
    for codes in ([0, 1, 2], [0, 1, 2, 3], [[0, 1, 2, 0]]):
        with pytest.raises(
            DataError, match=r"must be uint8 of shape \(4,\) with values 0 to 2, .* but is uint8"
        ):
            recommender(held_out=np.array(codes, np.uint8))
    with pytest.raises(DataError, match="but is int64"):
        recommender(held_out=np.zeros(4, np.int64))
    with pytest.raises(DataError, match="there are no user ids"):
        recommender(users=None, histories=None, held_out=np.zeros(4, np.uint8))


def test_user_ids_without_histories_and_no_names(tmp_path: Path) -> None:
    saved(tmp_path, recommender(histories=None, item_names=None))
    after = load(tmp_path / "saved.recae")
    assert after.users == IdMap(USERS)
    assert after.histories is None
    assert after.item_names is None


def test_numbers_that_json_has_not(tmp_path: Path) -> None:
    metadata = {"a": float("nan"), "b": [np.float32(0.5), np.int64(3), float("-inf")], "c": ("x", True, None)}
    saved(tmp_path, popular(metadata=metadata))
    assert load(tmp_path / "saved.recae").metadata == {"a": None, "b": [0.5, 3, None], "c": ["x", True, None]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"kind": "x"}, "'kind' belongs to the model file's format"),
        ({"a": [{"b": object()}]}, r"metadata\.a\[0\]\.b must be a JSON value, but is a object"),
        ({"a": {1: 2}}, "must have text as keys, but has 1"),
        ({"a": b"x"}, "bytes"),
    ],
)
def test_metadata_that_cannot_be_written(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        save(popular(metadata=metadata), tmp_path / "m.recae")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved(tmp_path, popular())

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(write, "write_tensors", fail)
    with pytest.raises(OutputError, match="No space left"):
        save(recommender(), tmp_path / "saved.recae")
    assert (tmp_path / "saved.recae").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["saved.recae"]


def test_the_file_has_an_ordinary_mode(tmp_path: Path) -> None:
    saved(tmp_path, popular())
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("saved.recae", "plain")}
    assert len(modes) == 1


def test_describe(tmp_path: Path) -> None:
    data = saved(tmp_path, popular())
    found = describe(tmp_path / "saved.recae")
    assert found["path"] == str(tmp_path / "saved.recae")
    assert found["bytes"] == len(data)
    assert found["metadata"] == parts(data)[0]
    assert found["metadata"]["metrics"] == {"recall@20": 0.25}
    tensors = {t["name"]: t for t in found["tensors"]}
    assert tensors["model.counts"] == {"name": "model.counts", "dtype": "F32", "shape": [5], "bytes": 20}
    assert {name: t["bytes"] for name, t in tensors.items()} == {
        n: a.nbytes for n, a in parts(data)[1].items()
    }
    assert list(tensors) == sorted(tensors)
    json.dumps(found)


def test_describe_does_not_read_weights(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, popular()))
    path = tmp_path / "nan.recae"
    path.write_bytes(pack(metadata, tensors | {"model.counts": np.full(5, np.nan, np.float32)}))
    assert describe(path)["metadata"]["kind"] == "popularity"
    with pytest.raises(ModelFileError):
        load(path)


# Values of histories

WEIGHTS = np.where(HISTORIES > 0, np.arange(1, 21).reshape(4, 5) / 8, 0).astype(np.float32)


def with_repeats(weights: Any = None) -> Recommender:
    matrix = sp.csr_matrix(WEIGHTS) if weights is None else weights
    return recommender(model=Frequency.fit(matrix), histories=matrix)


def test_values_are_kept_where_the_model_reads_them(tmp_path: Path) -> None:
    data = saved(tmp_path, with_repeats())
    values = parts(data)[1]["histories.values"]
    assert values.dtype == np.dtype("<f4")
    assert values.tolist() == WEIGHTS[WEIGHTS > 0].tolist()
    after = load(tmp_path / "saved.recae")
    assert after.histories is not None
    np.testing.assert_array_equal(after.histories.toarray(), WEIGHTS)
    assert saved(tmp_path, after) == data
    for user in USERS:
        assert after.recommend(user, n=9, exclude_owned=False) == with_repeats().recommend(
            user, n=9, exclude_owned=False
        )


def test_values_are_left_out_where_no_model_reads_them(tmp_path: Path) -> None:
    assert saved(tmp_path, recommender(histories=sp.csr_matrix(WEIGHTS))) == saved(tmp_path, recommender())
    assert saved(tmp_path, with_repeats(), histories=False)
    assert not [name for name in parts((tmp_path / "saved.recae").read_bytes())[1] if "hist" in name]


def test_repeated_entries_add_up(tmp_path: Path) -> None:
    halves = sp.csr_matrix(WEIGHTS)
    twice = sp.csr_matrix(
        (np.repeat(halves.data / 2, 2), np.repeat(halves.indices, 2), halves.indptr * 2), shape=halves.shape
    )
    model = Frequency.fit(halves)
    assert saved(tmp_path, recommender(model=model, histories=twice)) == saved(tmp_path, with_repeats())


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, 1e39])
def test_values_that_cannot_be_written(tmp_path: Path, value: float) -> None:
    matrix = sp.csr_matrix(WEIGHTS.astype(np.float64))
    matrix.data[3] = value
    with pytest.raises(DataError, match="finite and above 0"):
        save(with_repeats(matrix), tmp_path / "m.recae")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "'histories.values' is missing, which its kind of model reads"),
        ([1, 1, 1, 1, 1, 1, 1], "does not hold a number above 0 for each of 8 purchases"),
        ([1] * 9, "does not hold a number above 0 for each of 8"),
        ([1, 1, 1, 0, 1, 1, 1, 1], "a number above 0"),
        ([1, 1, 1, -0.5, 1, 1, 1, 1], "a number above 0"),
        ([1, 1, 1, np.nan, 1, 1, 1, 1], "'histories.values' holds numbers that are not finite"),
        ([1, 1, 1, np.inf, 1, 1, 1, 1], "'histories.values' holds numbers that are not finite"),
        (np.ones(8), "'histories.values' should be F32, but is F64"),
        (np.ones((8, 1), np.float32), "one axis, but has 2"),
    ],
)
def test_hostile_values(tmp_path: Path, change: Any, message: str) -> None:
    metadata, tensors = parts(saved(tmp_path, with_repeats()))
    del tensors["histories.values"]
    if change is not None:
        tensors["histories.values"] = np.array(change, np.float32) if isinstance(change, list) else change
    path = tmp_path / "hostile.recae"
    path.write_bytes(pack(metadata, tensors))
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_values_without_the_rest_or_without_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "hostile.recae"
    metadata, tensors = parts(saved(tmp_path, with_repeats()))
    for missing in (["histories.indptr"], ["histories.indices"], ["histories.indptr", "histories.indices"]):
        left = {name: array for name, array in tensors.items() if name not in missing}
        path.write_bytes(pack(metadata, left))
        with pytest.raises(ModelFileError, match=f"'histories.ind{'ices' if len(missing) > 1 else ''}"):
            load(path)
    metadata, others = parts(saved(tmp_path, recommender()))
    path.write_bytes(pack(metadata, others | {"histories.values": np.ones(8, np.float32)}))
    with pytest.raises(
        ModelFileError, match=r"it holds 'histories\.values', which its kind of model does not read"
    ):
        load(path)


# A table of items


def test_a_table_of_items_comes_back(tmp_path: Path) -> None:
    data = saved(tmp_path, recommender(item_table=TABLE))
    metadata, tensors = parts(data)
    assert metadata["format_version"] == 4
    layout = {name: (array.dtype.str, array.shape) for name, array in tensors.items() if name[:5] == "table"}
    assert layout == {
        "table.ids.data": ("|u1", (16,)),
        "table.ids.offsets": ("<i8", (4,)),
        "table.columns.data": ("|u1", (27,)),
        "table.columns.offsets": ("<i8", (5,)),
        "table.0.data": ("|u1", (11,)),
        "table.0.offsets": ("<i8", (4,)),
        "table.0.valid": ("|u1", (3,)),
        "table.1.data": ("<f8", (3,)),
        "table.1.valid": ("|u1", (3,)),
        "table.2.data": ("|u1", (3,)),
        "table.2.valid": ("|u1", (3,)),
        "table.3.data": ("|u1", (4,)),
        "table.3.offsets": ("<i8", (4,)),
        "table.3.valid": ("|u1", (3,)),
    }
    assert tensors["table.1.data"].tolist() == [0.0, 12.5, 0.0]
    found = load(tmp_path / "saved.recae")
    assert found.item_table is not None
    assert found.item_table.ids == TABLE.ids
    assert found.item_table.columns.equals(TABLE.columns)
    assert [row[:4] for row in found.recommend("42")] == [row[:4] for row in recommender().recommend("42")]
    assert saved(tmp_path, found) == data
    # neither how its arrays are cut nor what lies under a null decides about the bytes
    swapped = np.array([2, 1, 0])
    assert saved(tmp_path, recommender(item_table=TABLE.take(swapped).take(swapped))) == data


def test_a_table_of_items_stays_where_the_histories_are_left_out(tmp_path: Path) -> None:
    data = saved(tmp_path, recommender(item_table=TABLE), histories=False)
    assert parts(data)[0]["format_version"] == 4
    assert load(tmp_path / "saved.recae").item_table is not None
