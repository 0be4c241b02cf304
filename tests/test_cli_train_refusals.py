"""Tests of what `recae train` refuses: one sentence, exit code 2, and nothing written."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from commands import TINY, names, recae, refused, table, trained
from readings import pairs, read_with_report

from recae.modelfile import load


def pair_of(line: str) -> tuple[str, str]:
    user, item = line.split(",")
    return user, item


GOOD = table().encode()
PACKED = gzip.compress(table(300, 300, 40).encode())
BAD_SOURCES: dict[str, tuple[bytes | None, tuple[str, ...]]] = {
    "missing.csv": (None, ("there is no file",)),
    "empty.csv": (b"", ("is empty",)),
    "blank.csv": (b"\xef\xbb\xbf\n\n  \n", ("is empty",)),
    "empty.csv.gz": (gzip.compress(b""), ("is empty",)),
    "header.csv": (b"user_id,item_id\n", ("a header but no rows",)),
    "names.csv": (b"foo,bar\n1,2\n", ("--user-column and --item-column", "'foo', 'bar'")),
    "one-column.csv": (b"user_id\nu\nv\n", ("--item-column", "'user_id'")),
    "truncated.csv.gz": (PACKED[: len(PACKED) // 2], ("a truncated gzip archive",)),
    "damaged.csv.gz": (PACKED[:99] + b"\xff" * 50 + PACKED[149:], ("not a valid gzip archive",)),
    "mixed.csv": (
        GOOD + "u1,café\n".encode() * 3 + b"u2,caf\xe9\nu3,x\n",
        ("line 365", "is not UTF-8", "--encoding", "--bad-lines skip"),
    ),
    "zeros.csv": (GOOD + b"u1,i\x001\n", ("holds zero bytes", "export the table as CSV in UTF-8")),
    "long.csv": (GOOD + b"u1,i1,oops\n", ("line 362", "3 fields", "2")),
    "short.csv": (GOOD + b"u1\nu1,i1\n", ("line 362", "1 field", "2")),
    "quote.csv": (
        GOOD + b'u1,"i1, red"\n' * 3 + b'u1,"i1\nu2,i2\n',
        ("line 365", "never closed", "--bad-lines skip"),
    ),
    "stray.csv": (GOOD + b'u1,"i1"\n' * 9 + b'u1,"i1" x\n', ("line 371", "text after a closing quote")),
    "one-user.csv": (b"user,item\nu,a\nu,b\n", ("one user only, 'u'",)),
    "one-item.csv": (b"user,item\nu,a\nv,a\n", ("one item only, 'a'",)),
    "returns.csv": (b"user,item,quantity\nu,a,-1\nv,b,0\n", ("no purchase is left", "2 dropped: quantity")),
    "sheet.csv": (b"PK\x03\x04" + bytes(60), ("a damaged or truncated ZIP archive", "download it again")),
    "bytes.parquet": (b"PAR1" + bytes(60) + b"PAR1", ("not a valid Parquet file",)),
    "cut.jsonl": (
        b'{"user_id": "u1", "item_id": "i1"}\n{"user_id": "u2", "it',
        ("line 2", "middle of an object"),
    ),
    "array.json": (b'[{"user_id": "u1"}]', ("--item-column", "found: 'user_id'")),
}
UNDERSTOOD: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "plain.csv.gz": (GOOD, ()),
    "text.parquet": (GOOD, ()),
    "purchases": (GOOD, ()),
    "packed": (gzip.compress(GOOD), ()),
    "utf16.csv": (GOOD.decode().encode("utf-16"), ("its text is taken for UTF-16",)),
    "latin.csv": (
        GOOD + "u1,café\nu2,crème\n".encode("latin-1"),
        ("its text is taken for Windows-1252", "--encoding says otherwise"),
    ),
    "latin-header.csv": (
        b"user_id,item_id,caf\xe9" + GOOD.replace(b"\n", b",1\n")[GOOD.index(b"\n") + 2 :],
        ("its text is taken for Windows-1252",),
    ),
    "twice.csv": (
        b"user_id,item_id,user_id\n" + GOOD.replace(b"\n", b",c\n")[GOOD.index(b"\n") + 3 :],
        ("several columns are called 'user_id': column 3 is called 'user_id_2'",),
    ),
    "quote.csv": (
        GOOD + b'u1,"i1\nu2,i2\n',
        ("quotes are plain text", "the one on line 362 is never closed"),
    ),
    "array.json": (
        json.dumps(
            [{"user_id": u, "item_id": i} for u, i in map(pair_of, GOOD.decode().split()[1:])]
        ).encode(),
        (),
    ),
}
MORE = {"latin.csv": [("u1", "café"), ("u2", "crème")], "quote.csv": [("u1", '"i1'), ("u2", "i2")]}


@pytest.mark.some(12)
@pytest.mark.parametrize("name", BAD_SOURCES)
def test_sources_refused(folder: Path, name: str) -> None:
    content, parts = BAD_SOURCES[name]
    if content is not None:
        Path(name).write_bytes(content)
    result = recae("train", name, *TINY)
    refused(result, name, *parts)
    assert names(folder) == ([] if content is None else [name])


@pytest.mark.some(4)
@pytest.mark.parametrize("name", UNDERSTOOD)
def test_sources_understood_by_what_they_hold(folder: Path, name: str) -> None:
    content, said = UNDERSTOOD[name]
    Path(name).write_bytes(content)
    result = recae("train", name, *TINY)
    assert result.exit_code == 0, result.stderr
    for part in said:
        assert part in result.stderr
    expected = Counter([*map(pair_of, GOOD.decode().split()[1:]), *MORE.get(name, [])])
    assert pairs(read_with_report(name)[0]) == expected


def test_sources_that_are_no_files(folder: Path) -> None:
    Path("folder.csv").mkdir()
    refused(recae("train", "folder.csv"), "is a folder without any file of purchases")
    os.mkfifo("pipe.csv")
    refused(recae("train", "pipe.csv"), "a device or a pipe")  # and does not wait for who writes to it
    Path("loop.csv").symlink_to("loop.csv")
    refused(recae("train", "loop.csv"), "loop.csv")
    odd = os.fsdecode(b"caf\xe9.csv")
    shutil.copy("../purchases.csv", odd)
    refused(recae("train", odd), "not UTF-8", "rename the file")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--user-column nope", ("--user-column", "'nope'", "'user_id', 'item_id'")),
        ("--user-column userid", ("did you mean 'user_id'?",)),
        ("--user-column item_id", ("--item-column",)),
        ("--kind sigmod", ("no model of kind 'sigmod'", "did you mean 'sigmoid'?")),
        ("--kind forest", ("no model of kind 'forest'", "choose one of", "sigmoid")),
        ("--device tpu", ("found 'tpu'", "auto, cpu, cuda")),
        ("--epochs 0", ("epochs", "from 1", "found 0")),
        ("--factors 0", ("factors", "from 1", "found 0")),
        ("--factors 1000000", ("factors", "found 1000000")),
        ("--dropout 1", ("dropout", "below 1", "found 1.0")),
        ("--dropout nan", ("dropout", "found nan")),
        ("--learning-rate 1", ("learning_rate", "below 1", "found 1.0")),
        ("--learning-rate nan", ("learning_rate", "found nan")),
        ("--encoder-learning-rate inf", ("encoder_learning_rate", "found inf")),
        ("--purchase-weight 0.5", ("purchase_weight", "from 1", "found 0.5")),
        ("--input-power -1", ("input_power", "found -1.0")),
        ("--fold-every 0", ("fold_every", "found 0")),
        ("--patience 0", ("patience", "found 0")),
        ("--seed -1", ("seed", "found -1")),
    ],
)
def test_options_refused(folder: Path, options: str, parts: tuple[str, ...]) -> None:
    refused(recae("train", "../purchases.csv", *options.split()), *parts)
    assert names(folder) == []


def test_a_gpu_that_is_not_there(folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(
        recae("train", "../purchases.csv", "--device", "cuda"), "'cuda' needs a GPU", "use 'auto' or 'cpu'"
    )
    assert names(folder) == []


@pytest.mark.parametrize(
    ("out", "parts"),
    [
        ("nowhere/m.recae", ("its folder 'nowhere' does not exist",)),
        ("file/m.recae", ("its folder 'file' is not a folder",)),
        ("folder", ("it is a folder",)),
        ("new/", ("names no file",)),
        ("", ("names no file",)),
        ("loop.recae", ("loop",)),
        ("/dev/null", ("a device or a pipe",)),
        ("x" * 300, ("too long",)),
    ],
)
def test_the_output_is_checked_before_anything_else(folder: Path, out: str, parts: tuple[str, ...]) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    Path("loop.recae").symlink_to("loop.recae")
    before = names(folder)
    # Before the source, which is missing, so before training; and before the settings.
    refused(recae("train", "missing.csv", "--out", out, "--epochs", "0"), "cannot write", *parts)
    assert names(folder) == before


def test_a_folder_without_permission(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    refused(recae("train", "missing.csv", "--out", locked / "m.recae"), "Permission denied")


def test_the_source_is_not_replaced_by_its_model(folder: Path) -> None:
    shutil.copy("../purchases.csv", "p.csv")
    Path("link.csv").symlink_to("p.csv")
    before = Path("p.csv").read_bytes()
    for out in ("p.csv", "./p.csv", str(folder / "p.csv"), "link.csv"):
        refused(recae("train", "p.csv", "--out", out, *TINY), "it is also the input")
    refused(recae("train", "link.csv", "--out", "p.csv", *TINY), "it is also the input")
    assert Path("p.csv").read_bytes() == before
    trained("p.csv")
    shutil.move("model.recae", "model.csv")
    refused(recae("score", "--model", "model.csv", "--out", "model.csv"), "it is also the input")
    assert load("model.csv")
