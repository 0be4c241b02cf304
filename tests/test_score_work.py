"""Batch jobs: the lists of each user alone, in blocks of a fixed grid; one file; the same bits for any threads."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from fitting import FIT
from numpy.typing import NDArray
from scorejobs import ITEMS, SCHEMA, USERS, assert_same, by_hand, purchases, read, rows_of, run, shop, work_of
from threadpoolctl import threadpool_limits

from recae.errors import ConfigError, OutputError
from recae.ids import IdMap
from recae.models import Popularity, SigmoidAutoencoder
from recae.recommender import Recommender
from recae.scoring.audience import Audience, every_user, rejects
from recae.scoring.folder import OneFile, preflight
from recae.scoring.work import Work, make_work

NAMES = ["r.parquet", "r.pq", "R.PARQUET", "r.csv", "r.jsonl", "r.ndjson"]


def table_of(work: Work) -> pa.Table:
    return pa.Table.from_batches((batch for _, batch in work.batches()), SCHEMA)


@pytest.mark.parametrize("kind", sorted(FIT))
def test_every_kind_of_model(kind: str) -> None:
    work = work_of(shop(FIT[kind](purchases())), 7)
    assert_same(rows_of(table_of(work)), by_hand(work))


@pytest.mark.parametrize("block_users", [1, 7, USERS, 1000])
@pytest.mark.parametrize("exclude_owned", [True, False])
def test_blocks_change_no_list(block_users: int, exclude_owned: bool) -> None:
    work = work_of(block_users=block_users, exclude_owned=exclude_owned)
    batches = list(work.batches())
    assert [done for done, _ in batches] == [
        min(at + block_users, USERS) for at in range(0, USERS, block_users)
    ]
    assert_same(rows_of(table_of(work)), by_hand(work))


def test_a_part_of_the_users() -> None:
    work = work_of()
    found = list(work.batches(13, 42))
    assert [done for done, _ in found] == [23, 33, 42]
    users = every_user(work.recommender).users.ids(np.arange(13, 42)).to_pylist()
    expected = [row for row in by_hand(work) if row[0] in users]
    assert_same(rows_of(pa.Table.from_batches([batch for _, batch in found])), expected)
    assert list(work.batches(5, 5)) == []


def test_short_lists_are_not_padded() -> None:
    work = work_of(n=10**12)  # nor may n decide what is allocated
    assert work.n == ITEMS
    found = rows_of(table_of(work))
    assert_same(found, by_hand(work))
    assert "7" not in {row[0] for row in found}  # who owns everything


def test_barred_items_are_in_no_list() -> None:
    barred = np.arange(ITEMS) % 3 != 0
    work = work_of(n=ITEMS, barred=barred, exclude_owned=False)
    found = rows_of(table_of(work))
    assert_same(found, by_hand(work))
    assert {row[1] for row in found} == set(work.recommender.items.ids(np.flatnonzero(~barred)).to_pylist())


def test_what_was_trained_for_repeats_keeps_owned_items() -> None:
    recommender = shop(metadata={"repeats": True})
    assert not work_of(recommender).exclude_owned
    assert work_of(recommender, exclude_owned=True).exclude_owned
    assert work_of().exclude_owned


def test_the_block_is_bounded_and_does_not_ask_the_machine() -> None:
    items = 1_000_000
    histories = sp.csr_matrix((3, items), dtype=np.float32)
    users = IdMap(["a", "b", "c"])
    recommender = Recommender(
        Popularity(np.zeros(items, np.float32)), users, IdMap(map(str, range(items))), None, histories
    )
    assert make_work(recommender, every_user(recommender), 20).block_users == 16
    assert make_work(recommender, every_user(recommender), items).block_users == 1
    codes, one = np.zeros((items, 1), np.float32), np.zeros(1, np.float32)
    biases = {"encoder_bias": one, "decoder_bias": np.zeros(items, np.float32)}
    arrays = {"encoder": codes, "decoder": codes, **biases}
    tiled = replace(recommender, model=SigmoidAutoencoder.from_arrays({"input_power": 0.5}, arrays, items))
    assert make_work(tiled, every_user(tiled), 1).block_users == 2**31 // items  # no array of users × items
    with pytest.raises(ConfigError, match="n must be at least 1, but is 0"):
        make_work(recommender, every_user(recommender), 0)


@pytest.mark.parametrize("kind", ["sigmoid", "blend", "ease", "als"])
def test_threads_change_no_bit(kind: str) -> None:
    """Not even where a matrix product is large enough to be shared among threads."""
    rng = np.random.default_rng(1)
    wide = sp.random(900, 700, density=0.02, random_state=rng, format="csr", dtype=np.float32)
    wide.data[:] = 1
    recommender = Recommender(
        FIT[kind](wide),
        IdMap([f"{n:03}" for n in range(900)]),
        IdMap([f"{n:03}" for n in range(700)]),
        None,
        wide,
    )
    work = make_work(recommender, every_user(recommender), 20)
    processors = os.sched_getaffinity(0)
    with threadpool_limits(1):
        os.sched_setaffinity(0, {min(processors)})
        try:
            alone = table_of(work)
        finally:
            os.sched_setaffinity(0, processors)
    with threadpool_limits(4):
        assert table_of(work).equals(alone)


@pytest.mark.parametrize("taken", [0, 1])
def test_what_a_model_raises_is_passed_on(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = iter([None, None])
    real = Popularity.score

    def score(self: Popularity, histories: sp.csr_matrix) -> NDArray[np.float32]:
        if next(blocks, "no more") is not None:
            raise MemoryError
        return real(self, histories)

    monkeypatch.setattr(Popularity, "score", score)
    found = work_of(shop(Popularity.fit(purchases()))).batches()
    for _ in range(taken):
        next(found)
    with pytest.raises(MemoryError):
        list(found)


# one file


@pytest.mark.parametrize("name", NAMES)
def test_one_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.scoring.folder.GROUP_ROWS", 60)
    work = work_of()
    expected = rows_of(table_of(work))
    assert run(work, OneFile(tmp_path / name)) == len(expected)
    # text holds a score in digits that read back as the same float32
    found = [(*row[:3], np.float32(row[3])) for row in read(tmp_path / name)]
    assert found == [(*row[:3], np.float32(row[3])) for row in expected]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.lower().endswith(("parquet", "pq")):
        assert 1 < pq.ParquetFile(tmp_path / name).num_row_groups < 6  # gathered, not one a block


@pytest.mark.parametrize("name", ["r.csv", "r.parquet", "r.jsonl"])
def test_nobody_to_score(name: str, tmp_path: Path) -> None:
    nobody = shop(users=IdMap([]), histories=sp.csr_matrix((0, ITEMS), dtype=np.float32))
    assert run(work_of(nobody), OneFile(tmp_path / name)) == 0
    assert read(tmp_path / name) == []


@pytest.mark.parametrize("name", ["r.csv", "r.parquet", "r.jsonl"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    name: str, failure: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recae.scoring.folder.GROUP_ROWS", 1)  # so that something is written before
    (tmp_path / name).write_text("older")
    told: list[int] = []

    def tell(done: int) -> None:
        told.append(done)
        if len(told) == 3:
            raise failure

    with pytest.raises(failure):
        OneFile(tmp_path / name).write(work_of(), {}, tell)
    assert told == [10, 20, 30]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "older"


@pytest.mark.parametrize(
    ("name", "message"),
    [("r.json", "but is '.json'"), ("nowhere/r.csv", "nowhere' does not exist"), ("f.csv", "is a folder")],
)
def test_a_bad_path_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(OutputError, match=message):
        OneFile(tmp_path / name).check(tmp_path / "model.recae")


def test_the_model_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("a model")
    with pytest.raises(OutputError, match="it is also the input"):
        OneFile(tmp_path / "m.csv").check(tmp_path / "m.csv")


# said beforehand


def test_what_a_job_will_take() -> None:
    work = work_of()
    job = preflight(work)
    assert (job.users, job.items) == (USERS, ITEMS)
    assert job.seconds > 0
    assert job.memory > 2**20
    nobody = Audience(
        IdMap([]), sp.csr_matrix((0, ITEMS), dtype=np.float32), np.zeros(0, np.int64), rejects()
    )
    assert preflight(work_of(audience=nobody)).seconds == 0


def test_the_time_is_that_of_a_block_for_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert preflight(work_of()).seconds == pytest.approx(0.5 * USERS / 10)


_MEASURED = """
import sys
import numpy as np, scipy.sparse as sp
from scorejobs import run
from recae.ids import IdMap
from recae.machine import peak_memory
from recae.models import Popularity
from recae.recommender import Recommender
from recae.scoring.audience import every_user
from recae.scoring.database import ResultTable
from recae.scoring.folder import OneFile, preflight
from recae.scoring.work import make_work
from pathlib import Path

users, items = int(sys.argv[2]), 3_000
model = Popularity(np.random.default_rng(0).random(items, dtype=np.float32))
ids = IdMap(f"{n:012}" for n in range(users)), IdMap(f"item {n:05}" for n in range(items))
shop = Recommender(model, *ids, None, sp.csr_matrix((users, items), dtype=np.float32))
work = make_work(shop, every_user(shop), 20)
bound = preflight(work).memory
out = sys.argv[1]
run(work, ResultTable(out, "recs") if "://" in out else OneFile(Path(out)))
print(bound, peak_memory())
"""


# a row takes a database four times as long, and four times the memory where it is kept: fewer users
@pytest.mark.parametrize(
    ("out", "users"),
    [
        ("r.parquet", 60_000),  # the format whose groups of rows are gathered
        pytest.param("r.csv", 60_000, marks=pytest.mark.thorough),
        pytest.param("r.jsonl", 60_000, marks=pytest.mark.thorough),
        ("sqlite:///r.db", 20_000),
    ],
)
def test_memory_stays_below_what_was_said(out: str, users: int, tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED, out, str(users)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    bound, peak = map(int, result.stdout.split())
    assert peak <= bound < 2 * peak
