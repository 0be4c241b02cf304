"""Mutants of model files, checkpoints, tables and requests, and what becomes of each: `scripts/fuzz` runs this.

    python scripts/fuzzing.py --mutants 50000 [--kind model] [--seed 0] [--keep found]

A mutant is a good file or request with some of its bytes or values changed. It must end in an answer or in one
sentence, a `RecaeError` without a line break, within some seconds. Mutants run in processes of their own, a few hundred
each, so that one which ends its process is found, too. The same seed makes the same mutants.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

import recae
from recae.cli.inspect import settings_toml
from recae.errors import RecaeError
from recae.ids import IdMap
from recae.modelfile import describe, load, save
from recae.models import ALS, BPR, Ease, Frequency, ItemKNN, Model, Popularity, SigmoidAutoencoder
from recae.recommender import Recommender
from recae.training.checkpoint import Checkpoints, Progress
from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import make_trainer

KINDS = ("model", "checkpoint", "table", "request")
BATCH = 250
SECONDS = 60
"""Seconds until a mutant counts as hanging; generous, since the machine may have other things to do."""

Found = dict[int, str]
"""The number of each mutant that ended wrongly, and what came of it."""

_USERS, _ITEMS = 12, 9
_JSON = {"Content-Type": "application/json"}
_NUMBERS = [0, 1, -1, 2, 7, 255, 2**31 - 1, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**30]
_VALUES = [
    *_NUMBERS,
    0.5,
    1e-320,
    3e38,
    1e308,
    None,
    True,
    False,
    "",
    "x",
    "\ud800",
    "\x1b[2J",
    [],
    {},
    [[]],
    {"a": 1},
]
_FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, -3e38, 1e19, float("inf"), float("nan")]

Run = Callable[[bytes, Path], None]


class HangingError(BaseException):
    """A mutant takes longer than any may."""


def mutant(data: bytes, rng: random.Random) -> bytes:
    """Return a file with one to five of its parts changed; every other one of a tensor file by its values."""
    changed = bytearray(data)
    if rng.random() < 0.5 and (made := _by_value(data, rng)) is not None:
        return made
    for _ in range(rng.randint(1, 5)):
        size = len(changed)
        at = rng.randrange(size + 1)
        length = min(rng.choice([1, 2, 4, 8, 32, 256]), size - at)
        way = rng.randrange(6)
        if way == 0 and at < size:
            changed[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            changed[at : at + length] = rng.randbytes(length)
        elif way == 2:
            changed[at:at] = bytes(
                rng.choice([b"\x00", b"\xff", b'"', b"\n", b",", b"{", b"[" * 300, b"\xed\xa0\x80"])
            )
        elif way == 3:
            del changed[at : at + length]
        elif way == 4:
            number = rng.choice(_NUMBERS) % 2**64
            changed[at : at + 8] = number.to_bytes(8, "little")
        else:
            other = rng.randrange(size + 1)
            changed[at:at] = changed[other : other + length]
    return bytes(changed)


def _by_value(data: bytes, rng: random.Random) -> bytes | None:
    """Return a tensor file with changed values of its header, its metadata or a tensor; None for another file."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length < len(data):
        return None
    header, tensors = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    way = rng.randrange(4)
    key = next(iter(header["__metadata__"]))
    names = [name for name in header if name != "__metadata__"]
    if way == 0:
        content = json.loads(header["__metadata__"][key])
        _change(content, rng)
        header["__metadata__"][key] = json.dumps(content)
    elif way == 1:
        _change(header, rng)
    else:
        entry = header[rng.choice(names)]
        begin, end = entry["data_offsets"]
        kind = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64}.get(
            entry["dtype"], np.uint8
        )
        values = np.frombuffer(bytes(tensors[begin:end]), kind).copy()
        given = _FLOATS if values.dtype.kind == "f" else [n for n in _NUMBERS if _fits(n, values.dtype)]
        with np.errstate(over="ignore"):
            for _ in range(min(rng.randint(1, 4), values.size)):
                values[rng.randrange(values.size)] = rng.choice(given)
            if rng.random() < 0.2:
                values[:] = rng.choice(given)
        tensors[begin:end] = values.tobytes()
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(tensors)


def _fits(number: int, kind: np.dtype[Any]) -> bool:
    bounds = np.iinfo(kind)
    return int(bounds.min) <= number <= int(bounds.max)


def _change(value: Any, rng: random.Random) -> None:
    """Change one to three entries somewhere inside a JSON value."""
    for _ in range(rng.randint(1, 3)):
        at = value
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
                at = at[key]
                continue
            if isinstance(at, dict) and rng.random() < 0.2:
                del at[key]
            else:
                at[key] = deepcopy(rng.choice(_VALUES))  # a later change may go into it
            break


# what mutants are made of, and what is done with them


def _matrix() -> sp.csr_matrix:
    dense = np.random.default_rng(0).random((_USERS, _ITEMS)) < 0.4
    dense[:, 0] = True
    return sp.csr_matrix(dense.astype(np.float32))


def models() -> Iterator[Model]:
    """Yield small models of several kinds, made and not trained."""
    rng, matrix, d = np.random.default_rng(1), _matrix(), 3
    floats = [rng.normal(size=shape).astype(np.float32) for shape in ((_ITEMS, d), d, (_ITEMS, d), _ITEMS)]
    weights = rng.normal(size=(_ITEMS, _ITEMS)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    yield Popularity.fit(matrix)
    yield ItemKNN.fit(matrix, k=3, weighting="cosine")
    yield Frequency.fit(matrix)
    yield Ease(weights, {})
    yield ALS(floats[0], 0.1, 2.0, {"factors": d})
    yield BPR(floats[0], floats[3], np.array([1, 3, 5]), 0.1, {"factors": d})
    yield SigmoidAutoencoder(*floats, input_power=0.5, settings={"factors": d, "input_power": 0.5})


def recommender(model: Model) -> Recommender:
    """Return a model with ids, names and histories."""
    return Recommender(
        model,
        IdMap([f"u{n}" for n in range(_USERS)]),
        IdMap([f"i{n}" for n in range(_ITEMS)]),
        pa.array([None, "", *(f"Item {n} ☕" for n in range(_ITEMS - 2))], pa.large_string()),
        _matrix(),
        {
            "metrics": {"recall@20": 0.5},
            "history": [{"epoch": 1, "loss": 0.5}],
            "filters": {"exclude_items": ["i9"]},
        },
    )


def _use_model(data: bytes, folder: Path) -> None:
    path = folder / "mutant.recae"
    path.write_bytes(data)
    metadata = describe(path)["metadata"]
    found = (metadata.get(name) for name in ("config", "filters", "weights"))
    tables = [value if isinstance(value, dict) else {} for value in found]
    try:
        settings_toml(str(metadata["kind"]), *tables)
    finally:
        model = load(path)
        repr(model)
        for user in ["u1", "u3"]:
            if model.users is not None and user in model.users:
                for found_one in model.recommend(user, n=5):
                    json.dumps(found_one.score)
        if len(model.items):
            first = next(iter(model.items))
            model.recommend(items=[first], n=5)
            model.explain(items=[first], item=first)
            save(model, folder / "again.recae")


def _checkpoint(folder: Path) -> tuple[Any, Path]:
    settings = SigmoidSettings(factors=3, epochs=2, seed=1)
    return make_trainer(_matrix(), settings, "cpu"), folder / "mutant.checkpoint"


def _use_checkpoint(data: bytes, folder: Path) -> None:
    trainer, path = _checkpoint(folder)
    path.write_bytes(data)
    Checkpoints(path, resume=True).load(trainer, "cpu")


def _tables(folder: Path) -> list[bytes]:
    rng = random.Random(2)  # noqa: S311
    rows = [
        (f"u{rng.randrange(9)}", f"i{rng.randrange(9)}", f"2024-01-{rng.randrange(1, 29):02}")
        for _ in range(40)
    ]
    names = ("user_id", "item_id", "bought_at")
    table = pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=list(names))
    encoded = table.set_column(1, "item_id", table.column(1).dictionary_encode())
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    texts = [
        "\n".join([",".join(names), *map(",".join, rows)]),
        "\n".join(
            [";".join(f'"{name}"' for name in names), *(";".join(f'"{v}"' for v in row) for row in rows)]
        ),
        "\n".join(map(json.dumps, objects)),
        json.dumps({"orders": objects}),
        "%%MatrixMarket matrix coordinate pattern general\n4 5 3\n1 2\n3 4\n4 5\n",
    ]
    found = [text.encode() for text in texts]
    pq.write_table(table, folder / "t")
    found.append((folder / "t").read_bytes())
    for data, make in ((table, pa.ipc.new_file), (encoded, pa.ipc.new_file), (encoded, pa.ipc.new_stream)):
        with pa.OSFile(str(folder / "t"), "wb") as file, make(file, data.schema) as writer:
            writer.write_table(data)
        found.append((folder / "t").read_bytes())
    sp.save_npz(folder / "t.npz", _matrix())
    found.append((folder / "t.npz").read_bytes())
    import sqlite3

    shop = sqlite3.connect(folder / "t.db")
    shop.execute("create table p (user_id text, item_id text, bought_at text)")
    shop.executemany("insert into p values (?, ?, ?)", rows)
    shop.commit()
    shop.close()
    found.append((folder / "t.db").read_bytes())
    return found


def _use_table(data: bytes, folder: Path) -> None:
    path = folder / "mutant"
    path.write_bytes(data)
    recae.read(path)


def _requests() -> list[bytes]:
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/recommend", {"user": "u1", "n": 5}),
        ("POST", "/recommend", {"items": ["i1", "i2"], "n": 3, "explain": True, "exclude": ["i3"]}),
        ("POST", "/recommend/batch", {"requests": [{"user": "u1"}, {"items": ["i1"]}]}),
        ("GET", "/similar/i1?n=5", None),
        ("GET", "/items?q=Item&limit=5", None),
        ("GET", "/users?q=u&limit=3", None),
        ("GET", "/users/u1/items?limit=3", None),
        ("GET", "/model", None),
    ]
    return [json.dumps(body).encode() for body in bodies]


@contextmanager
def _server(folder: Path) -> Iterator[Run]:
    """Give a function that sends a request to the application in this process."""
    from fastapi.testclient import TestClient

    from recae.serving.app import create_app
    from recae.serving.metrics import Metrics
    from recae.serving.routes import ServeSettings
    from recae.serving.served import ModelReloader

    path = folder / "served.recae"
    save(recommender(list(models())[-1]), path)
    metrics = Metrics()
    app = create_app(ModelReloader(path, metrics), metrics, ServeSettings(reload=False))
    with TestClient(app, raise_server_exceptions=True) as client:

        def send(data: bytes, folder: Path) -> None:
            method, _, rest = data.partition(b"\n")
            target, _, body = rest.partition(b"\n")
            url = "".join(chr(c) if 33 <= c < 127 else f"%{c:02x}" for c in target) or "/"
            answer = client.request(
                method.decode(), f"http://localhost/{url.lstrip('/')}", content=body, headers=_JSON
            )
            if answer.status_code >= 500 and answer.status_code != 503:
                raise AssertionError(f"{answer.status_code}: {answer.text[:500]}")

        yield send


def _changed_request(data: bytes, rng: random.Random) -> bytes:
    method, target, body = json.loads(data)
    if isinstance(body, dict) and rng.random() < 0.5:
        _change(body, rng)
    text = b"" if body is None else json.dumps(body).encode()
    if rng.random() < 0.5:
        text = mutant(text, rng) if text else text
        target = mutant(target.encode(), rng).decode("latin-1")
    return b"\n".join([method.encode(), target.replace("\n", "\x0b").encode("latin-1", "replace"), text])


@contextmanager
def _ready(
    kind: str, folder: Path
) -> Iterator[tuple[list[bytes], Run, Callable[[bytes, random.Random], bytes]]]:
    """Give the good files or requests of a kind, what uses one, and what makes a mutant."""
    if kind == "model":
        seeds = []
        for model in models():
            save(recommender(model), folder / "good.recae")
            seeds.append((folder / "good.recae").read_bytes())
        yield seeds, _use_model, mutant
    elif kind == "checkpoint":
        trainer, path = _checkpoint(folder)
        Checkpoints(path).save(trainer, "cpu", Progress())
        yield [path.read_bytes()], _use_checkpoint, mutant
    elif kind == "table":
        yield _tables(folder), _use_table, mutant
    else:
        with _server(folder) as send:
            yield _requests(), send, _changed_request


def run(
    kind: str,
    numbers: range,
    seed: int,
    before: Callable[[int, bytes], None] = lambda number, data: None,
    after: Callable[[int, str], None] = lambda number, what: None,
) -> Found:
    """Try mutants in this process.

    Args:
        kind: one of `KINDS`.
        numbers: of the mutants.
        seed: of them all.
        before: is told of each before it is tried.
        after: is told of each that ended wrongly.

    Returns:
        Those that ended wrongly.
    """
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="recae-fuzz-") as name:
        folder = Path(name)
        with _ready(kind, folder) as (seeds, use, change):
            for number in numbers:
                rng = random.Random(f"{seed} {kind} {number}")  # noqa: S311
                data = change(rng.choice(seeds), rng)
                before(number, data)
                try:
                    with _limited(), np.errstate(all="ignore"):
                        use(data, folder)
                except RecaeError as error:
                    if "\n" in str(error) or len(str(error)) > 2_000:
                        found[number] = f"no sentence: {error}"
                except (Exception, HangingError):
                    found[number] = traceback.format_exc()
                if number in found:
                    after(number, found[number])
    return found


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise HangingError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _in_process(kind: str, numbers: range, seed: int, keep: Path) -> int:
    """Try mutants in a process of its own, and return how many were found; one that ends it is noted, and skipped."""
    command = [sys.executable, __file__, "--batch", kind, str(numbers.start), str(numbers.stop)]
    log = keep / ".log"
    with log.open("w") as messages:
        done = subprocess.run(
            [*command, "--seed", str(seed), "--keep", str(keep)],
            stdout=subprocess.PIPE, stderr=messages, text=True, check=False, timeout=SECONDS * len(numbers),
        )  # fmt: skip
    tried = [int(line) for line in done.stdout.split()]
    if done.returncode == 0:
        return _wrong(tried, kind, seed, keep)
    tried = tried or [numbers.start]  # where not even the good files could be made
    last = tried[-1]
    (keep / f"{kind}-{seed}-{last}.txt").write_text(
        f"ended its process: {done.returncode}\n{log.read_text()[-4000:]}"
    )
    rest = range(last + 1, numbers.stop)
    return _wrong(tried, kind, seed, keep) + (_in_process(kind, rest, seed, keep) if rest else 0)


def _wrong(tried: Sequence[int], kind: str, seed: int, keep: Path) -> int:
    """Return how many mutants ended wrongly, and remove the bytes of the others."""
    wrong = 0
    for number in tried:
        stem = keep / f"{kind}-{seed}-{number}"
        if stem.with_suffix(".txt").exists():
            wrong += 1
        else:
            stem.with_suffix(".bin").unlink()
    return wrong


def main() -> None:
    """Read the options, and try mutants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=50_000)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="folder for what is found")
    parser.add_argument("--batch", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.keep.mkdir(exist_ok=True)
    if given.batch:
        kind, start, stop = given.batch[0], int(given.batch[1]), int(given.batch[2])
        stem = f"{given.keep}/{kind}-{given.seed}"

        def before(number: int, data: bytes) -> None:  # it may end this process
            Path(f"{stem}-{number}.bin").write_bytes(data)
            Path(f"{stem}-{number}.txt").unlink(missing_ok=True)
            print(number, flush=True)

        def after(number: int, what: str) -> None:
            Path(f"{stem}-{number}.txt").write_text(what)

        run(kind, range(start, stop), given.seed, before, after)
        return
    total = 0
    for kind in [given.kind] if given.kind else KINDS:
        began, found_here = time.monotonic(), 0
        mutants = given.mutants if given.kind else given.mutants // len(KINDS)
        for start in range(0, mutants, BATCH):
            found_here += _in_process(kind, range(start, min(start + BATCH, mutants)), given.seed, given.keep)
        print(
            f"{kind}: {mutants:,} mutants in {time.monotonic() - began:,.0f} s, {found_here} found",
            flush=True,
        )
        total += found_here
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
