"""Tests of the model file: hostile files are refused in one sentence, and never crash or mislead."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from modelfiles import TABLE, pack, parts, popular, recommender, saved

from recae.errors import ModelFileError
from recae.kinds import find, register, registry
from recae.modelfile import describe, load
from recae.models import Popularity


def refused(path: Path, message: str = "") -> None:
    """The file is refused in one sentence that names it."""
    with pytest.raises(ModelFileError, match=message or None) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 1000
    assert "; " in text  # what was found; what to do


GONE = object()
METADATA_DEFECTS: list[tuple[str, object, str]] = [
    ("format_version", 6, "format version 6, but .* up to 5; update"),
    ("format_version", 10**4000, "format version 10000"),
    ("format_version", 0, "format_version is 0"),
    ("format_version", "1", "format_version is '1'"),
    ("format_version", True, "format_version is True"),
    ("format_version", 1.0, r"format_version is 1\.0"),
    ("format_version", GONE, "format_version is None"),
    ("kind", "popularty", "of kind 'popularty', but this recae knows .*popularity.*; update"),
    ("kind", "x\n" * 10_000, "of kind 'x.*; update"),
    ("kind", 3, "kind or configuration"),
    ("kind", GONE, "kind or configuration"),
    ("kind", "popularity", ""),  # another kind than the parameters'
    ("config", [], "kind or configuration"),
    ("config", GONE, "kind or configuration"),
    ("config", {}, "'k'"),
    ("config", {"k": "3", "weighting": "cosine"}, "'k'"),
    ("config", {"k": True, "weighting": "cosine"}, "'k'"),
    ("config", {"k": None, "weighting": "cosine"}, "'k'"),
    ("config", {"k": 3, "weighting": ["cosine"]}, "weighting"),
    ("config", {"k": 3, "weighting": {}}, "weighting"),
    ("n_items", "5", "n_items is '5'"),
    ("n_items", GONE, "n_items is None"),
    ("n_items", -1, "n_items is -1"),
    ("n_items", 6, "counts 6 items, but 'items.offsets' holds 6"),
    ("n_items", 10**300, "counts 1000"),
    ("n_users", GONE, "n_users is None"),
    ("n_users", False, "n_users is False"),
    ("n_users", 3, "counts 3 users, but 'users.offsets' holds 5"),
    ("n_users", None, "counts no users, but 'users.offsets' holds 5"),
]


@pytest.mark.parametrize(("key", "value", "message"), METADATA_DEFECTS, ids=lambda value: f"{value!r:.20}")
def test_hostile_metadata(tmp_path: Path, key: str, value: object, message: str) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender()))
    if value is GONE:
        del metadata[key]
    else:
        metadata[key] = value
    path = tmp_path / "hostile.recae"
    path.write_bytes(pack(metadata, tensors))
    refused(path, message)
    if key in ("format_version", "n_users") and "counts" not in message:
        with pytest.raises(ModelFileError, match=message):
            describe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format_version":1,', "not valid JSON"),
        ("", "not valid JSON"),
        ('{"format_version":NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"format_version":' + "9" * 10_000 + "}", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("__import__('os').abort()", "not valid JSON"),
    ],
    ids=lambda value: value[:20],
)
def test_hostile_json(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hostile.recae"
    path.write_bytes(pack(text, parts(saved(tmp_path, recommender()))[1]))
    refused(path, message)


TOP = 2**63 - 1  # TOP - (-2) wraps around to a negative step, -2 - TOP to a positive one
TENSOR_DEFECTS: list[tuple[str, object, str]] = [
    # tensor, its new values (of its own dtype) or the new array or what makes it from the old one, message
    ("extra", np.ones(3, np.float32), "unknown tensor 'extra'"),
    ("items.data", GONE, "'items.data' is missing"),
    ("items.offsets", GONE, "'items.offsets' is missing"),
    ("users.data", GONE, "'users.data' is missing"),
    ("names.valid", GONE, "'names.valid' is missing"),
    ("histories.indptr", GONE, "'histories.indptr' is missing"),
    ("model.data", GONE, "data"),
    ("model.indices", GONE, "indices"),
    ("items.data", np.full(43, 0xFF, np.uint8), "UTF-8"),
    ("items.data", np.full(43, 0x41, np.int8), "'items.data' should be U8, but is I8"),
    ("users.offsets", [0, 2, 5, 13, 14], "UTF-8"),
    ("names.data", np.full(19, 0xFF, np.uint8), "names are not valid UTF-8"),
    ("names.offsets", [0, 3, 3, 3, 12, 19], "names are not valid UTF-8"),
    ("names.offsets", [0, TOP, -2, 3, 13, 19], "'names.offsets' does not rise"),
    ("names.valid", [1, 0, 1, 1, 2], "'names.valid'"),
    ("names.valid", [1, 0, 1, 1], "'names.valid'"),
    ("items.offsets", [0, 7, 6, 10, 13, 43], "'items.offsets' does not rise"),
    ("items.offsets", [1, 6, 7, 10, 13, 43], "'items.offsets' does not rise"),
    ("items.offsets", [0, 6, 7, 10, 13, 42], "'items.offsets' does not rise"),
    ("items.offsets", [0, 6, 7, 10, 99, 43], "'items.offsets' does not rise"),
    ("items.offsets", [0, TOP, -2, 10, 13, 43], "'items.offsets' does not rise"),
    ("items.offsets", [], "counts 5 items, but 'items.offsets' holds 0"),
    ("items.offsets", np.array(3), "one axis, but has 0"),
    ("items.offsets", lambda old: old.reshape(2, 3), "one axis, but has 2"),
    ("items.offsets", lambda old: old.astype(np.int32), "'items.offsets' should be I64"),
    ("items.offsets", lambda old: old.astype(np.float64), "'items.offsets' should be I64"),
    ("users.offsets", [0, -(2**63), 5, 10, 14], "'users.offsets' does not rise"),
    ("users.offsets", [0, 0, 0, 10, 14], "twice|more than once|duplicate|distinct|unique"),
    ("users.held_out", [0, 1, 2], "'users.held_out' does not hold a 0, 1 or 2 for each of 4 users"),
    ("users.held_out", [0, 1, 2, 0, 0], "'users.held_out' does not hold a 0, 1 or 2 for each of 4 users"),
    ("users.held_out", [0, 1, 3, 0], "'users.held_out' does not hold a 0, 1 or 2 for each of 4 users"),
    ("users.held_out", [0, 1, 255, 0], "'users.held_out' does not hold"),
    ("users.held_out", [], "'users.held_out' does not hold"),
    ("users.held_out", np.array(1, np.uint8), "one axis, but has 0"),
    ("users.held_out", lambda old: old.reshape(2, 2), "one axis, but has 2"),
    ("users.held_out", lambda old: old.astype(np.int64), "'users.held_out' should be U8"),
    ("users.held_out", lambda old: old.astype(np.float32), "'users.held_out' should be U8"),
    ("histories.indptr", lambda old: old.astype(np.int32), "'histories.indptr' should be I64"),
    ("histories.indptr", [0, 5, 3, 5, 8], "'histories.indptr' does not rise"),
    ("histories.indptr", [0, TOP, -2, 5, 8], "'histories.indptr' does not rise"),
    ("histories.indptr", [0, 3, 3, 5, 9], "'histories.indptr' does not rise"),
    ("histories.indptr", [0, 3, 5, 8], "'histories.indptr' does not rise"),
    ("histories.indices", lambda old: old.astype(np.int64), "'histories.indices' should be I32"),
    ("histories.indices", [0, 1, 5, 1, 2, 0, 3, 4], r"outside 0 \.\. 4"),
    ("histories.indices", [-1, 1, 4, 1, 2, 0, 3, 4], r"outside 0 \.\. 4"),
    ("histories.indices", [0, 4, 1, 1, 2, 0, 3, 4], "does not rise within each user"),
    ("histories.indices", [0, 1, 4, 1, 2, 0, 3, 3], "does not rise within each user"),
    ("model.data", lambda old: np.append(old[:-1], np.float32("nan")), "'model.data' .* not finite"),
    ("model.data", lambda old: np.append(np.float32("-inf"), old[1:]), "'model.data' .* not finite"),
    ("model.data", lambda old: old.astype(np.float64), "data"),
    ("model.data", lambda old: old.reshape(1, -1), "data"),
    ("model.indices", lambda old: np.append(old[:-1], np.int32(5)), "indices"),
    ("model.indices", lambda old: np.append(old[:-1], np.int32(-1)), "indices"),
    ("model.indptr", lambda old: np.array([0, TOP, -2, old[3], old[4], old[5]]), "indptr"),
]


def test_every_tensor_is_attacked(tmp_path: Path) -> None:
    assert {name for name, _, _ in TENSOR_DEFECTS} >= parts(saved(tmp_path, recommender()))[1].keys()


@pytest.mark.parametrize(("name", "change", "message"), TENSOR_DEFECTS, ids=lambda value: f"{value!s:.20}")
def test_hostile_tensors(tmp_path: Path, name: str, change: Any, message: str) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender()))
    if change is GONE:
        del tensors[name]
    elif isinstance(change, list):
        tensors[name] = np.array(change, dtype=tensors[name].dtype)
    else:
        tensors[name] = change(tensors[name]) if callable(change) else change
    path = tmp_path / "hostile.recae"
    path.write_bytes(pack(metadata, tensors))
    refused(path, message)


TABLE_DEFECTS: list[tuple[str, object, str]] = [
    ("table.ids.data", GONE, "'table.ids.data' is missing"),
    ("table.ids.offsets", GONE, "'table.ids.offsets' is missing"),
    ("table.columns.data", GONE, "'table.columns.data' is missing"),
    ("table.columns.offsets", [], "'table.columns.offsets' does not rise"),
    ("table.columns.offsets", lambda old: old[:-1], "'table.columns.offsets' does not rise"),
    ("table.columns.data", lambda old: old[::-1], "UTF-8|is missing|does not|should be|cannot be used"),
    ("table.ids.offsets", [0, TOP, -2, 16], "'table.ids.offsets' does not rise"),
    ("table.ids.offsets", [0, 0, 0, 16], "distinct"),
    ("table.ids.offsets", lambda old: old.reshape(2, 2), "one axis, but has 2"),
    ("table.0.data", GONE, "'table.0.data' is missing"),
    ("table.0.offsets", GONE, "'table.0.offsets' is missing"),
    ("table.0.valid", GONE, "'table.0.valid' is missing"),
    ("table.0.data", lambda old: np.full_like(old, 0xFF), "not valid UTF-8"),
    ("table.0.data", lambda old: old.astype(np.float64), "'table.0.data' should be U8, but is F64"),
    ("table.0.offsets", [0, TOP, -2, 11], "'table.0.offsets' does not rise"),
    ("table.0.valid", [1, 0, 2], "'table.0.valid' does not hold a 0 or 1 for each of 3 items"),
    ("table.1.data", [0.0, 12.5], "'table.1.data' does not hold a number for each of 3 items"),
    ("table.1.data", [0.0, float("nan"), 0.0], "'table.1.data' holds numbers that are not finite"),
    ("table.1.data", [0.0, -1.0, 0.0], "a price is a finite number of at least 0"),
    ("table.1.data", lambda old: old.astype(np.uint8), "'table.1.data' should be F64, but is U8"),
    ("table.1.data", lambda old: old.astype(np.float32), "should be U8 or F64, but is F32"),
    ("table.2.data", [1, 0, 2], "'table.2.data' does not hold a 0 or 1 for each of 3 items"),
    ("table.2.offsets", np.zeros(4, np.int64), "'table.2.offsets', which no column"),
    ("table.4.data", np.zeros(4, np.uint8), "'table.4.data', which no column"),
    ("table.04.data", np.zeros(4, np.uint8), "unknown tensor 'table.04.data'"),
    ("table.64.data", np.zeros(4, np.uint8), "unknown tensor 'table.64.data'"),
    ("table.0.more", np.zeros(4, np.uint8), "unknown tensor 'table.0.more'"),
]


@pytest.mark.parametrize(("name", "change", "message"), TABLE_DEFECTS, ids=lambda value: f"{value!s:.20}")
def test_hostile_tables_of_items(tmp_path: Path, name: str, change: Any, message: str) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender(item_table=TABLE)))
    if change is GONE:
        del tensors[name]
    elif isinstance(change, list):
        tensors[name] = np.array(change, dtype=tensors[name].dtype)
    else:
        tensors[name] = change(tensors[name]) if callable(change) else change
    path = tmp_path / "hostile.recae"
    path.write_bytes(pack(metadata, {key: np.ascontiguousarray(value) for key, value in tensors.items()}))
    refused(path, message)


def test_a_table_of_items_without_ids(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender(item_table=TABLE)))
    path = tmp_path / "hostile.recae"
    for name in [name for name in tensors if name.startswith(("table.ids", "table.columns"))]:
        del tensors[name]
    path.write_bytes(pack(metadata, tensors))
    refused(path, "'table.ids.data' is missing")


def test_ids_that_do_not_fit_the_rest(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender()))
    path = tmp_path / "hostile.recae"
    fewer = {"users.data": tensors["users.data"][:10], "users.offsets": tensors["users.offsets"][:4]}
    path.write_bytes(pack(metadata | {"n_users": 3}, tensors | fewer))
    refused(path, "'users.held_out' does not hold a 0, 1 or 2 for each of 3 users")
    fewer |= {"users.held_out": tensors["users.held_out"][:3]}
    path.write_bytes(pack(metadata | {"n_users": 3}, tensors | fewer))
    refused(path, "'histories.indptr' does not rise from 0 to 8 in 3 steps")
    fewer = {"items.data": tensors["items.data"][:13], "items.offsets": tensors["items.offsets"][:5]}
    del tensors["names.data"], tensors["names.offsets"], tensors["names.valid"]
    path.write_bytes(pack(metadata | {"n_items": 4}, tensors | fewer))
    refused(path, r"outside 0 \.\. 3")
    del tensors["histories.indptr"], tensors["histories.indices"]
    path.write_bytes(pack(metadata | {"n_items": 4}, tensors | fewer))
    refused(path, r"'indptr' .*\(6,\)")


def test_histories_of_nobody(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender()))
    held_out = tensors.pop("users.held_out")
    del tensors["users.data"], tensors["users.offsets"]
    path = tmp_path / "hostile.recae"
    path.write_bytes(pack(metadata, tensors))
    refused(path, "histories without user ids")
    path.write_bytes(pack(metadata, tensors | {"users.held_out": held_out}))
    refused(path, "'users.data' is missing")
    del tensors["histories.indptr"], tensors["histories.indices"]
    path.write_bytes(pack(metadata, tensors))
    refused(path, "counts users, but it holds no user ids")


def test_the_hostile_files_differ_from_a_good_one_in_their_defect_alone(tmp_path: Path) -> None:
    path = tmp_path / "good.recae"
    path.write_bytes(pack(*parts(saved(tmp_path, recommender()))))
    assert load(path).recommend("42") == recommender().recommend("42")


def test_hostile_files_as_a_whole(tmp_path: Path) -> None:
    good = saved(tmp_path, recommender())
    n = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + n])

    def with_header(changed: object) -> bytes:
        raw = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return len(raw).to_bytes(8, "little") + raw + good[8 + n :]

    def entry(name: str, **changes: object) -> bytes:
        return with_header(header | {name: header[name] | changes})

    tensors = parts(good)[1]
    hostile = {
        "empty": b"",
        "zeros": bytes(1000),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        "text": b"user_id,item_id\n1,2\n" * 50,
        "pickle": b"\x80\x04cos\nabort\n)R.",
        "no recae key": safetensors.numpy.save(tensors, metadata={"format": "pt"}),
        "no metadata": safetensors.numpy.save(tensors),
        "only header length": good[:8],
        "header length huge": b"\xff" * 8 + good[8:],
        "header length 99 MB": (99_000_000).to_bytes(8, "little") + good[8:],
        "header length 0": bytes(8) + good[8:],
        "header too short": (n - 9).to_bytes(8, "little") + good[8:],
        "header too long": (n + 8).to_bytes(8, "little") + good[8:],
        "bytes after the end": good + b"x",
        "header not UTF-8": with_header(b"{\xff}"),
        "header a list": with_header([]),
        "header empty": with_header({}),
        "header deep": with_header(b'{"a":' * 50_000),
        "shape huge": entry("model.data", shape=[2**62, 2**62]),
        "shape empty and huge": entry("names.data", shape=[0, 2**63]),
        "shape negative": entry("model.data", shape=[-1]),
        "shape of many axes": entry("model.data", shape=[*([1] * 100), *header["model.data"]["shape"]]),
        "dtype unknown": entry("model.data", dtype="F31"),
        "dtype foreign": entry("model.data", dtype="BF16"),
        "dtype of half bytes": entry("model.data", dtype="F4"),
        "dtype swapped": entry("model.data", dtype="U32"),
        "offsets reversed": entry("model.data", data_offsets=header["model.data"]["data_offsets"][::-1]),
        "offsets outside": entry("model.data", data_offsets=[0, 2**63]),
        "offsets overlapping": entry("model.data", data_offsets=header["model.indices"]["data_offsets"]),
        "metadata a number": with_header(header | {"__metadata__": {"recae": 1}}),
        "metadata a list": with_header(header | {"__metadata__": []}),
    }
    for name, data in hostile.items():
        path = tmp_path / f"{name}.recae"
        path.write_bytes(data)
        refused(path)
        if name not in {"dtype swapped", "shape of many axes"}:  # found only by looking at the tensor
            with pytest.raises(ModelFileError):
                describe(path)


def test_empty_tensor_of_an_impossible_shape(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender(item_names=pa.array([""] * 5, pa.large_string()))))
    data = pack(metadata, tensors)
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    for shape in ([0, 2**63 - 1], [2**62, 0], [0] * 70):
        header["names.data"]["shape"] = shape
        raw = json.dumps(header).encode()
        path = tmp_path / "shape.recae"
        path.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + n :])
        refused(path)


def test_not_a_file(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.recae", "there is no model file .*recae train")
    refused(tmp_path, "not a regular file")
    refused(tmp_path / ("x" * 300), "name too long")
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "file" / "m.recae", "there is no model file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")
    with pytest.raises(ModelFileError):
        describe(tmp_path / "nothing.recae")


def test_truncated_everywhere(tmp_path: Path) -> None:
    good = saved(tmp_path, popular())
    path = tmp_path / "cut.recae"
    for end in [*range(64), *range(64, len(good), 23), len(good) - 1]:
        path.write_bytes(good[:end])
        refused(path)


def test_a_failure_inside_a_model_is_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clumsy(Popularity):
        kind = "clumsy"

        @classmethod
        def from_arrays(cls, *_: Any) -> Any:
            return {"rank": 3}["factors"]

    metadata, tensors = parts(saved(tmp_path, popular()))
    path = tmp_path / "clumsy.recae"
    path.write_bytes(pack(metadata | {"kind": "clumsy"}, tensors))
    monkeypatch.setattr(registry, "_registry", registry.Registry())
    register(replace(find("popularity"), name="clumsy", model=Clumsy))
    refused(path, "configuration does not describe a model")


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    folder = tmp_path_factory.mktemp("good")
    return folder / "flipped.recae", [saved(folder, recommender()), saved(folder, popular())]


def loads_or_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        loaded = load(path)
    except ModelFileError:
        return
    # What is accepted must also work.
    loaded.recommend(items=[next(iter(loaded.items))], n=3)
    if loaded.users is not None and loaded.histories is not None:
        for user in loaded.users:
            loaded.recommend(user, n=3)
        assert loaded.learners is None or loaded.learners.shape == (len(loaded.users),)
    describe(path)


@given(data=st.data())
def test_damaged_bytes_load_or_are_refused(good_files: tuple[Path, list[bytes]], data: st.DataObject) -> None:
    path, goods = good_files
    good = bytearray(data.draw(st.sampled_from(goods)))
    flips = data.draw(
        st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(1, 255)), min_size=1, max_size=4)
    )
    for position, mask in flips:
        good[position] ^= mask
    end = data.draw(st.one_of(st.none(), st.integers(0, len(good))))
    loads_or_is_refused(path, bytes(good[:end]))


def test_every_header_byte_damaged(good_files: tuple[Path, list[bytes]]) -> None:
    path, (_, good) = good_files
    n = int.from_bytes(good[:8], "little")
    for position in range(8 + n):
        damaged = bytearray(good)
        damaged[position] = (0x22, 0x39, 0xFF)[position % 3]  # a quote, a digit, not UTF-8
        loads_or_is_refused(path, bytes(damaged))


@given(
    text=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    key=st.sampled_from(["format_version", "kind", "config", "n_items", "n_users", "metrics"]),
)
def test_any_json_in_any_place(good_files: tuple[Path, list[bytes]], text: Any, key: str) -> None:
    path, (good, _) = good_files
    metadata, tensors = parts(good)
    loads_or_is_refused(path, pack(metadata | {key: text}, tensors))
