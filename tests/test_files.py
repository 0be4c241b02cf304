"""Files appear whole or not at all, and unwritable paths are found out before the work."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from recae import files
from recae.errors import OutputError
from recae.files import atomic_path, check_writable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail_half_way(path, error())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("write", [check_writable, lambda path: fail_half_way(path, ValueError())])
def test_a_signal_just_after_the_temporary_file_is_made_leaves_none(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def interrupted(descriptor: int) -> None:
        close(descriptor)
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"):
        fail_half_way(tmp_path / "out", OSError(28, "No space left on device"))
    assert names(tmp_path) == []


def test_bytes_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flushed = tmp_path / "out", []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: flushed.append(path.exists()))
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"x")
    assert flushed == [False, True]  # the file before the renaming, the folder after it


def test_a_block_may_write_the_temporary_file_anew(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "out") as temporary:
        temporary.unlink()
        temporary.write_text("anew")
    assert (tmp_path / "out").read_text() == "anew"


def test_the_mode_follows_the_umask_or_the_old_file(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("")
    old.chmod(0o640)
    umask = os.umask(0o022)
    try:
        for path in (new, old):
            with atomic_path(path) as temporary:
                temporary.write_text("x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o644
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "out"
    check_writable(path)
    assert names(tmp_path) == []
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"


def test_a_path_in_the_working_folder_needs_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_writable(Path("model.recae"))
    with atomic_path(Path("model.recae")) as temporary:
        temporary.write_text("x")
    assert (tmp_path / "model.recae").read_text() == "x"


@pytest.mark.parametrize("use", [check_writable, lambda path: fail_half_way(path, AssertionError())])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/out", "does not exist; create it"),
        ("file/out", "is not a folder"),
        ("folder", "is a folder"),
        ("/dev/null", "is a device"),
        ("x" * 300, "too long"),
    ],
)
def test_unwritable_paths(tmp_path: Path, name: str, message: str, use: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    with pytest.raises(OutputError, match=message) as caught:
        use(path)
    assert str(path) in str(caught.value)
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_write_protected_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o444)
    with pytest.raises(OutputError, match="write-protected"):
        check_writable(tmp_path / "file")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            check_writable(tmp_path / "new")
    finally:
        tmp_path.chmod(0o755)
