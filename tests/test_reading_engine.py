"""The DuckDB of a reading: what is kept of it for the next one, and what is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recae.errors import SourceError
from recae.reading import engine as engines
from recae.reading.engine import Engine


@pytest.fixture(autouse=True)
def nothing_kept_before() -> None:
    """Each test begins without a DuckDB that an earlier reading has left."""
    engines._SPARE.close()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_reading_takes_over_what_the_last_one_left_and_sees_nothing_of_it() -> None:
    with Engine(256 * 2**20) as first:
        table, folder = first.store("SELECT 1 AS a"), first.folder
        left = first._instance
    with Engine(512 * 2**20) as second:
        assert second._instance is left
        assert second.rows("SELECT table_name FROM information_schema.tables") == []
        assert second.store("SELECT 2 AS a") == table  # the same name, and nothing in its way
        limit, spilled = second.row(
            "SELECT current_setting('memory_limit'), current_setting('temp_directory')"
        )
        assert (limit, spilled) == ("512.0 MiB", str(second.folder / "spilled"))
    assert not folder.exists()
    assert not second.folder.exists()


def test_two_at_once_are_apart() -> None:
    with Engine() as first, Engine() as second:
        assert first._instance is not second._instance
        first.store("SELECT 1 AS a", "one")
        assert second.rows("SELECT table_name FROM information_schema.tables") == []


def test_none_is_kept_that_closed_its_doors() -> None:
    with Engine() as first:
        first.close_doors([])
        left = first._instance
    with Engine() as second:
        assert second._instance is not left
        second.run("SET TimeZone = 'UTC'")  # what is locked could not be set


def test_none_is_kept_that_holds_much_memory() -> None:
    before = resident()
    with Engine() as engine:
        engine.store("SELECT range AS a, range % 7 AS b FROM range(8_000_000)")
        assert resident() - before > 64 * 2**20
    assert engines._SPARE._instance is None


def test_what_has_spilled_leaves_the_next_one_its_own_folder() -> None:
    with Engine(64 * 2**20) as first:
        table = first.store("SELECT hash(range) AS a, 'text ' || range AS b FROM range(1_000_000)")
        assert first.value(f"SELECT count(*) FROM (SELECT b FROM {table} ORDER BY a)") == 1_000_000
    with Engine() as second:
        assert second.value("SELECT current_setting('temp_directory')") == str(second.folder / "spilled")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes fork only where there is a fork")
def test_a_forked_process_reads() -> None:
    with Engine() as engine:
        engine.value("SELECT 1")
    child = os.fork()
    if child == 0:
        with Engine() as engine:
            os._exit(engine.value("SELECT sum(range) FROM range(100_000)") != 4_999_950_000)
    assert os.waitpid(child, 0)[1] == 0


def test_memory_that_does_not_suffice_is_said_and_the_next_reading_works() -> None:
    with Engine(64 * 2**20) as engine, pytest.raises(SourceError, match="raise --memory-limit"):
        engine.value("SELECT len(string_agg(range || ' a text that is rather long')) FROM range(5_000_000)")
    with Engine() as engine:
        assert engine.value("SELECT sum(range) FROM range(1000)") == 499_500


@pytest.mark.parametrize("free", [0, 2**32, None])
def test_half_of_what_is_free_is_taken(free: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "free_memory", lambda: free)
    with Engine() as engine:
        assert engine.memory_limit == {0: 64 * 2**20}.get(free, 2**31)


def test_memory_that_the_system_refuses_is_not_the_limit_of_duckdb() -> None:
    code = """
import resource
from recae.errors import SourceError
from recae.reading.engine import Engine
with Engine(2**40) as engine:
    engine.value("SELECT 1")
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**28, resource.RLIM_INFINITY))
    try:
        engine.store("SELECT range AS a, repeat('x', 100) || range AS b FROM range(5_000_000)")
    except SourceError as error:
        print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reading needs more memory than the system gives (" in found.stdout
    assert "--memory-limit" not in found.stdout


def test_a_duckdb_that_cannot_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("duckdb.connect", out)
    with pytest.raises(MemoryError):
        Engine()
    assert not list(tmp_path.iterdir())


def test_closing_needs_no_memory_to_find_out_how_much_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *options: object) -> str:
        raise MemoryError

    engine = Engine(2**30)
    monkeypatch.setattr(Path, "read_text", refused)
    engine.close()
    assert not engine.folder.exists()
