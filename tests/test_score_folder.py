"""A job into a folder: shards and manifest, going on after an end of any kind, other runs refused, a full disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scorejobs import ITEMS, USERS, contents, read_folder, rows_of, run, shop, work_of

from recae.errors import OutputError
from recae.ids import IdMap
from recae.scoring.folder import FORMATS, Folder
from recae.scoring.manifest import MANIFEST, PLAN, read_state, settings_of
from recae.scoring.work import Work


def write(
    work: Work, folder: Folder, stop_at: int | None = None, failure: type[BaseException] = MemoryError
) -> None:
    """Do a job, and end it by an exception once so many users are done."""

    def tell(done: int) -> None:
        if stop_at is not None and done >= stop_at:
            raise failure

    folder.write(work, settings_of(work, "a model", **folder.settings(work)), tell)


@pytest.mark.parametrize("form", FORMATS)
def test_shards_and_manifest(form: str, tmp_path: Path) -> None:
    work = work_of()
    rows = run(work, Folder(tmp_path / "recs", form, shard_users=25))
    names = [f"part-{number:05d}.{form}" for number in range(3)]
    assert sorted(contents(tmp_path / "recs")) == [MANIFEST, *names]
    found = read_folder(tmp_path / "recs")
    assert [row[:3] for row in found] == [row[:3] for _, batch in work.batches() for row in rows_of(batch)]
    manifest = json.loads((tmp_path / "recs" / MANIFEST).read_bytes())
    assert list(manifest) == ["rows", "run", "settings", "shards", "users"]
    assert (manifest["rows"], manifest["users"], len(found)) == (rows, USERS, rows)
    assert manifest["settings"]["n"] == 5
    assert [shard["name"] for shard in manifest["shards"]] == names
    assert [shard["users"] for shard in manifest["shards"]] == [25, 25, 7]
    for shard in manifest["shards"]:
        data = (tmp_path / "recs" / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_folder_of_parquet_is_read_as_one_table(tmp_path: Path) -> None:
    rows = run(work_of(), Folder(tmp_path / "recs", shard_users=20))
    assert pq.read_table(tmp_path / "recs").num_rows == rows  # the manifest is passed over


def test_the_usual_shard_is_of_whole_blocks(tmp_path: Path) -> None:
    work = work_of(block_users=10)
    folder = Folder(tmp_path / "recs")
    each = folder.settings(work)["shard_users"]
    assert isinstance(each, int)
    assert each % 10 == 0
    assert 0.9 * 2**21 < each * work.n <= 2**21
    assert folder.describe(work) == f"1 file of at most {each:,} users"
    assert Folder(tmp_path / "recs", shard_users=20).describe(work) == "3 files of at most 20 users"


def test_nobody_to_score(tmp_path: Path) -> None:
    nobody = shop(users=IdMap([]), histories=sp.csr_matrix((0, ITEMS), dtype="float32"))
    assert run(work_of(nobody), Folder(tmp_path / "recs")) == 0
    assert pq.read_table(tmp_path / "recs").num_rows == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed job writes."""
    folder = tmp_path_factory.mktemp("whole") / "recs"
    run(work_of(), Folder(folder, shard_users=12))
    return contents(folder)


@settings(max_examples=examples(10, 400))  # each scores everybody, up to five times
@given(stops=st.lists(st.integers(1, USERS), max_size=4), damage=st.sets(st.integers(0, 4)), data=st.data())
def test_whatever_happened_resuming_gives_the_same_bytes(
    stops: list[int], damage: set[int], data: st.DataObject, whole: dict[str, bytes]
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "recs"
        folder = Folder(path, shard_users=12, resume=True)
        for stop in stops:
            folder.check(Path("model"))
            with pytest.raises(MemoryError):
                write(work_of(), folder, stop)
            assert MANIFEST not in contents(path)
            for name, found in contents(path).items():
                assert name == PLAN or found == whole[name]  # a shard is whole or not there
        for number in damage:
            shard = path / f"part-{number:05d}.parquet"
            if shard.exists() and data.draw(st.booleans()):
                shard.unlink()
            elif shard.exists():
                shard.write_bytes(shard.read_bytes()[:-1] + b"?")
        if path.exists():
            (path / ".part-00001.parquet.0123456789ab.tmp").write_bytes(b"left by a kill")
        run(work_of(), folder)
        assert contents(path) == whole


def test_an_ended_job_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        write(work_of(), Folder(tmp_path / "recs", shard_users=12), 30, KeyboardInterrupt)
    assert caught.value.__notes__ == [
        f"2 of 5 files are finished in '{tmp_path / 'recs'}', and --resume goes on there"
    ]
    assert sorted(contents(tmp_path / "recs")) == [PLAN, "part-00000.parquet", "part-00001.parquet"]


def test_finished_shards_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "recs", shard_users=20, resume=True)
    with pytest.raises(MemoryError):
        write(work_of(), folder, 40)
    made: list[tuple[int, int]] = []
    real = Work.batch
    monkeypatch.setattr(Work, "batch", lambda self, *part: made.append(part) or real(self, *part))
    run(work_of(), folder)
    assert made == [(20, 30), (30, 40), (40, 50), (50, 57)]  # the second was stopped before it had its name


def test_the_same_run_again(tmp_path: Path) -> None:
    work, folder = work_of(), Folder(tmp_path / "recs", shard_users=20, resume=True)
    run(work, folder)
    before = contents(tmp_path / "recs")
    settings = settings_of(work, "a model", **folder.settings(work))
    assert "complete and unharmed" in str(folder.complete(work, settings))
    assert run(work, folder) == -1
    (tmp_path / "recs" / "part-00001.parquet").unlink()
    assert folder.complete(work, settings) is None
    run(work, folder)
    assert contents(tmp_path / "recs") == before


def test_a_kill_between_manifest_and_the_removal_of_the_plan(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder = Folder(tmp_path / "recs", shard_users=12, resume=True)
    run(work_of(), folder)
    (tmp_path / "recs" / PLAN).write_bytes(whole[MANIFEST])
    run(work_of(), folder)
    assert contents(tmp_path / "recs") == whole


@pytest.mark.parametrize(
    ("changes", "model", "form", "part"),
    [
        ({"n": 6}, "a model", "parquet", "n (5 there, 6 now)"),
        ({"exclude_owned": False}, "a model", "parquet", "exclude_owned (True there, False now)"),
        ({}, "another", "parquet", "model"),
        ({}, "a model", "csv", "format (parquet there, csv now)"),
    ],
)
def test_another_run_is_refused(
    changes: dict[str, Any],
    model: str,
    form: str,
    part: str,
    tmp_path: Path,
) -> None:
    run(work_of(), Folder(tmp_path / "recs", shard_users=20))
    before = contents(tmp_path / "recs")
    with pytest.raises(OutputError, match="holds a complete run of 3 files already"):
        run(work_of(), Folder(tmp_path / "recs", shard_users=20))
    with pytest.raises(OutputError) as caught:
        run(work_of(**changes), Folder(tmp_path / "recs", form, 20, resume=True), model)
    assert f"holds another run, which differs in {part}" in str(caught.value)
    assert contents(tmp_path / "recs") == before


def test_an_unfinished_run_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        write(work_of(), Folder(tmp_path / "recs", shard_users=20), 30)
    with pytest.raises(OutputError, match=r"holds an unfinished run of 1 file already; .*--resume"):
        Folder(tmp_path / "recs").check(Path("model"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    for resume in (True, False):
        with pytest.raises(OutputError, match=r"holds other files, such as 'thesis\.tex'"):
            Folder(tmp_path / "other", resume=resume).check(Path("model"))
    with pytest.raises(OutputError, match="Not a directory"):
        Folder(tmp_path / "other" / "thesis.tex").check(Path("model"))
    with pytest.raises(OutputError, match="does not exist"):
        Folder(tmp_path / "nowhere" / "recs").check(Path("model"))
    (tmp_path / "empty").mkdir()
    Folder(tmp_path / "empty").check(Path("model"))
    assert not contents(tmp_path / "empty")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"settings": 1, "shards": []}', '{"settings": {}, "shards": [{}]}']
)
def test_a_manifest_of_somebody_else(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(OutputError, match="cannot be read as what a job left there"):
        read_state(tmp_path / MANIFEST)
    with pytest.raises(OutputError, match="cannot be read as what a job left there"):
        run(work_of(), Folder(tmp_path, resume=True))
    assert list(contents(tmp_path)) == [MANIFEST]


def test_two_jobs_at_a_time(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another job is writing"):
            run(work_of(), Folder(tmp_path))
    finally:
        os.close(descriptor)
    assert not contents(tmp_path)
    run(work_of(), Folder(tmp_path))


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert run(work_of(), Folder(tmp_path)) > 0


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "gone" / "recs")  # its parent went after the check
    with pytest.raises(OutputError, match=r"cannot write to the folder .*No such file or directory"):
        write(work_of(), folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for a shard or two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    work, folder = work_of(n=20), Folder(small_disk / "recs", "jsonl", 12, resume=True)
    run(work, Folder(tmp_path / "whole", "jsonl", 12))
    whole = contents(tmp_path / "whole")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    with pytest.raises(OutputError, match="No space left on device; free some space") as caught:
        run(work, folder)
    assert "files are finished in" in caught.value.__notes__[0]
    there = contents(small_disk / "recs")
    assert 1 < len(there) < len(whole)
    assert all(whole[name] == data for name, data in there.items() if name != PLAN)
    ballast.unlink()
    run(work, folder)
    assert contents(small_disk / "recs") == whole


def test_a_full_disk_keeps_an_older_file(small_disk: Path) -> None:
    from recae.scoring.folder import OneFile

    (small_disk / "r.jsonl").write_text("older")
    (small_disk / "ballast").write_bytes(bytes(200_000))
    with pytest.raises(OutputError, match="No space left on device"):
        run(work_of(n=20), OneFile(small_disk / "r.jsonl"))
    assert sorted(contents(small_disk)) == ["ballast", "r.jsonl"]
    assert (small_disk / "r.jsonl").read_text() == "older"
