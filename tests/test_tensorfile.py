"""Tensor files that change, do not fit into memory, or lie: refused in a sentence, and never mapped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from modelfiles import popular, recommender, saved

from recae import tensorfile
from recae.errors import ModelFileError
from recae.modelfile import describe, load, save
from recae.tensorfile import TensorFile, TensorFileError, parse_json

EVERY_KIND = {
    "bool": np.array([[True], [False]]),
    **{
        f"{kind}{bits}": np.arange(3, dtype=f"{kind}{bits // 8}") for kind in "iu" for bits in (8, 16, 32, 64)
    },
    **{f"f{bits}": np.array([1.5, -2, 0], f"f{bits // 8}") for bits in (16, 32, 64)},
    "scalar": np.array(3.0, np.float32),
    "nothing": np.zeros((0, 4), np.float32),
}


def test_what_the_library_writes_is_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    safetensors.numpy.save_file(EVERY_KIND, path, metadata={"key": "text"})
    with TensorFile(path) as file:
        assert (file.text("key"), file.text("other")) == ("text", None)
        for name, array in EVERY_KIND.items():
            found = file.take(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(found, array)
            assert found.flags.writeable
            assert found.flags.c_contiguous


def hostile(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


ONE = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
HEADERS: list[tuple[object, bytes, str]] = [
    (b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":1}', b"1234", "a key twice"),
    ({"a": ONE, "b": ONE}, b"1234", "begins at 0, not where"),
    ({"a": ONE | {"data_offsets": [2, 6]}}, b"123456", "begins at 2"),
    ({"a": ONE}, b"12345", "end at byte"),
    ({"a": ONE}, b"123", "end at byte"),
    ({"a": ONE | {"shape": [True, 4]}}, b"1234", "no possible"),
    ({"a": ONE | {"shape": [4.0]}}, b"1234", "no possible"),
    ({"a": ONE | {"shape": [2**64]}}, b"1234", "no possible"),
    ({"a": ONE | {"shape": [5]}}, b"1234", "another size"),
    ({"a": ONE | {"dtype": 3}}, b"1234", "no possible"),
    ({"a": ONE | {"dtype": "F4", "data_offsets": [4, 0]}}, b"", "begins at 4|ends before"),
    ({"a": {"dtype": "U8", "shape": [4]}}, b"1234", "does not give"),
    ({"a": None}, b"", "does not give"),
    ([], b"", "not a JSON object"),
    ({"__metadata__": {"recae": 1}}, b"", "not texts"),
    (b'{"a":NaN}', b"", "NaN is not JSON"),
    (b'{"a":' * 101 + b"1" + b"}" * 101, b"", "nested more than"),
    (b"[" * 90_000, b"", "not valid JSON"),
]


@pytest.mark.parametrize(("header", "data", "message"), HEADERS, ids=lambda value: f"{value!s:.30}")
def test_headers_that_lie(tmp_path: Path, header: object, data: bytes, message: str) -> None:
    with pytest.raises(TensorFileError, match=message):
        TensorFile(hostile(tmp_path / "x", header, data))


def test_truth_values_are_0_or_1(tmp_path: Path) -> None:
    path = hostile(tmp_path / "x", {"a": ONE | {"dtype": "BOOL"}}, bytes([0, 1, 2, 1]))
    with TensorFile(path) as file, pytest.raises(TensorFileError, match="neither 0 nor 1"):
        file.take("a")


def test_json_that_can_be_read_can_be_written() -> None:
    deep = "[" * 100 + "]" * 100
    assert json.dumps(parse_json(deep)) == deep
    with pytest.raises(TensorFileError):
        parse_json(f"[{deep}]")


def test_a_file_that_needs_more_memory_than_there_is_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile(
        tmp_path / "big",
        {"__metadata__": {"recae": "{}"}, "a": ONE | {"shape": [2**30], "data_offsets": [0, 2**30]}},
    )
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**30)  # a hole, of which nothing is on the disk
    monkeypatch.setattr(tensorfile, "free_memory", lambda: 2**29)
    with pytest.raises(ModelFileError, match=r"needs 1\.0 GiB of memory, and 512\.0 MiB are free: end other"):
        load(path)
    monkeypatch.setattr(tensorfile, "free_memory", lambda: None)
    monkeypatch.setattr(np, "empty", no_memory)
    with TensorFile(path) as file, pytest.raises(TensorFileError, match=r"needs 1\.0 GiB"):
        file.take("a")


def no_memory(*_: object, **__: object) -> Any:
    raise MemoryError


def test_memory_that_ends_while_a_model_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, recommender())
    monkeypatch.setattr("recae.modelfile._read_histories", no_memory)
    with pytest.raises(ModelFileError, match="not enough memory for it; end other programs"):
        load(tmp_path / "saved.recae")


def overwrite(path: Path, content: bytes) -> None:
    """What `cp` does: the same file, shortened and written anew."""
    with path.open("wb") as file:
        file.write(content)


@pytest.mark.parametrize(
    "change", [lambda path, old: overwrite(path, old), lambda path, old: os.truncate(path, 100)]
)
def test_a_file_that_is_overwritten_while_it_is_read(
    tmp_path: Path, change: Callable[[Path, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the same bytes, and long before a clock in steps of some milliseconds shows it."""
    path, old = tmp_path / "saved.recae", saved(tmp_path, recommender())
    take = TensorFile.take

    def changing(self: TensorFile, name: str) -> Any:
        if name == "items.offsets":
            change(path, old)
        return take(self, name)

    monkeypatch.setattr(TensorFile, "take", changing)
    with pytest.raises(ModelFileError, match="it has changed while it was read: wait until it is whole"):
        load(path)


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "saved.recae"
    saved(tmp_path, recommender())
    take = TensorFile.take

    def replacing(self: TensorFile, name: str) -> Any:
        monkeypatch.undo()
        save(popular(), path)
        return take(self, name)

    monkeypatch.setattr(TensorFile, "take", replacing)
    assert load(path).model.kind == "itemknn"
    assert load(path).model.kind == "popularity"


def test_a_loaded_model_does_not_stand_on_the_bytes_of_its_file(tmp_path: Path) -> None:
    """A page of a mapped file that is gone ends a process by SIGBUS, so that it runs in another one."""
    saved(tmp_path, recommender())
    code = (
        "import os, sys; from recae.modelfile import load; model = load(sys.argv[1]); os.truncate(sys.argv[1], 0); "
        "print([x.item for x in model.recommend('42')], '.recae' in open('/proc/self/maps').read())"
    )
    path = tmp_path / "saved.recae"
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert found.stdout == f"{[x.item for x in recommender().recommend('42')]} False\n"


def test_nothing_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    before = saved(tmp_path, popular())
    bad = recommender()
    bad.model.arrays()["data"][0] = np.nan
    with pytest.raises(ModelFileError, match=r"is not written to .* could not be read again: .*not finite"):
        save(bad, tmp_path / "saved.recae")
    assert (tmp_path / "saved.recae").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved.recae"]


def test_a_tensor_that_is_there_twice_or_reversed_is_found_without_reading_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="of another kind"):
        describe(hostile(tmp_path / "x", {"a": ONE, "b": ONE}, b"1234"))
