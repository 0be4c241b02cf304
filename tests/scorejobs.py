"""A small shop for the tests of batch jobs, its lists by the slow way, and ways to run a job and read what it wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import scipy.sparse as sp

from recae.ids import IdMap
from recae.models import ItemKNN
from recae.recommender import Recommender
from recae.scoring.audience import Audience, every_user
from recae.scoring.folder import Folder, OneFile
from recae.scoring.manifest import settings_of
from recae.scoring.work import SCHEMA, Work, make_work

USERS, ITEMS = 57, 40
ODD_IDS = ["007", "7", "a,b", 'say "x"', "two\nlines", " space ", "é漢"]  # text that no format may change

Row = tuple[str, str, int, float]


def purchases(seed: int = 5) -> sp.csr_matrix:
    """Random histories; user 0 owns nothing and user 1 everything."""
    dense = (np.random.default_rng(seed).random((USERS, ITEMS)) < 0.2).astype(np.float32)
    dense[0], dense[1] = 0, 1
    return sp.csr_matrix(dense)


def shop(model: Any = None, **changes: Any) -> Recommender:
    matrix = purchases()
    parts: dict[str, Any] = {
        "model": ItemKNN.fit(matrix) if model is None else model,
        "users": IdMap([*ODD_IDS, *(f"u{n}" for n in range(USERS - len(ODD_IDS)))]),
        "items": IdMap([*ODD_IDS, *(f"i{n}" for n in range(ITEMS - len(ODD_IDS)))]),
        "histories": matrix,
    }
    return Recommender(**(parts | changes))


def work_of(
    recommender: Recommender | None = None, n: int = 5, audience: Audience | None = None, **changes: Any
) -> Work:
    """A job in blocks of ten users, unless told otherwise."""
    recommender = shop() if recommender is None else recommender
    blocks = {"block_users": changes.pop("block_users", 10)}
    made = make_work(recommender, every_user(recommender) if audience is None else audience, n, **changes)
    return replace(made, **blocks)


def run(work: Work, destination: Folder | OneFile | Any, model: str = "a model") -> int:
    """Do a job as the command does, and return the rows."""
    destination.check(Path("model.recae"))
    settings = settings_of(work, model, **destination.settings(work))
    if destination.complete(work, settings) is not None:
        return -1
    return int(destination.write(work, settings, lambda done: None))


def by_hand(work: Work) -> list[Row]:
    """The lists of a job from the scores of one user at a time and Python's sort."""
    found = []
    for place in range(len(work.audience)):
        ids, history = work.audience.part(place, place + 1)
        scores = work.recommender.model.score(history)[0]
        gone = set(history.indices.tolist()) if work.exclude_owned else set()
        if work.barred is not None:
            gone |= set(np.flatnonzero(work.barred).tolist())
        items = sorted((i for i in range(scores.size) if i not in gone), key=lambda i: (-scores[i], i))
        for rank, item in enumerate(items[: work.n], start=1):
            found.append((ids[0].as_py(), work.recommender.items.id(item), rank, float(scores[item])))
    return found


def rows_of(table: pa.Table) -> list[Row]:
    return list(zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True))


def assert_same(found: list[Row], expected: list[Row]) -> None:
    """The same lists; a score may differ in its last bits, since a block of another size was multiplied."""
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    np.testing.assert_allclose([row[3] for row in found], [row[3] for row in expected], rtol=1e-5, atol=1e-6)


def read(path: Path) -> list[Row]:
    """The rows of a file of results, of any format."""
    if path.suffix.lower() in (".parquet", ".pq"):
        table = pq.read_table(path)
        assert table.schema.equals(SCHEMA)
        return rows_of(table)
    if path.suffix.lower() == ".csv":
        types = pa.csv.ConvertOptions(column_types=SCHEMA)
        return rows_of(
            pa.csv.read_csv(
                path, parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=types
            )
        )
    found = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    assert all(list(line) == SCHEMA.names for line in found)
    return [(*line.values(),) for line in found]  # type: ignore[misc]


def read_folder(folder: Path) -> list[Row]:
    """The rows of all shards, in their order."""
    return [row for path in sorted(folder.glob("part-*")) for row in read(path)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
