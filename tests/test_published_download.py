"""Downloads of scripts/published_download.py from a server on 127.0.0.1: whole, broken off, resumed, wrong, missing."""

import hashlib
import threading

import numpy as np
import pytest
from publishedfiles import md5, published_download, serving

from recae.errors import OutputError, SourceError

CONTENT = np.random.default_rng(0).bytes(300_000)
NAME = "data.zip"


@pytest.fixture
def said():
    return []


@pytest.fixture
def fetch(tmp_path, said):
    """fetch() into a cache of its own."""

    def call(remote, **options):
        return published_download.fetch(remote, tmp_path / "cache", said.append, **options)

    return call


@pytest.fixture
def part(tmp_path):
    """The part of an interrupted download; made when it is written to."""
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / f"{NAME}.part"


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_a_file_is_downloaded_once(fetch, tmp_path):
    with serving({NAME: CONTENT}) as server:
        remote = server.remote(NAME, md5(CONTENT))
        path = fetch(remote)
        assert path == tmp_path / "cache" / NAME
        assert path.read_bytes() == CONTENT
        assert fetch(remote) == path
        assert server.asked == [(f"/{NAME}", None)]
    assert left(tmp_path) == [NAME]


def test_a_download_that_broke_off_goes_on(fetch, tmp_path, said):
    with serving({NAME: CONTENT}, breaks_after=100_000) as server:
        remote = server.remote(NAME, md5(CONTENT))
        with pytest.raises(
            SourceError, match=r"broke off after 100,000 of 300,000 bytes\): try again, which goes on"
        ):
            fetch(remote)
        assert (tmp_path / "cache" / f"{NAME}.part").read_bytes() == CONTENT[:100_000]
        server.breaks_after = None
        assert fetch(remote).read_bytes() == CONTENT
        assert server.asked[1] == (f"/{NAME}", "bytes=100000-")
    assert f"{NAME}: going on after 100,000 bytes" in said
    assert left(tmp_path) == [NAME]


def test_a_server_that_does_not_continue_sends_the_whole_again(fetch, part, said):
    part.write_bytes(CONTENT[:1000])
    with serving({NAME: CONTENT}, ranges=False) as server:
        assert fetch(server.remote(NAME, md5(CONTENT))).read_bytes() == CONTENT
        assert server.asked == [(f"/{NAME}", "bytes=1000-")]
    assert any("does not continue a download" in line for line in said)


def test_a_file_that_changed_in_between_is_taken_as_a_whole(fetch):
    with serving({NAME: CONTENT}, breaks_after=1000) as server:
        with pytest.raises(SourceError, match="broke off"):
            fetch(server.remote(NAME))
        server.files[NAME], server.tag, server.breaks_after = CONTENT[::-1], '"two"', None
        assert fetch(server.remote(NAME)).read_bytes() == CONTENT[::-1]


def test_a_weak_tag_is_not_relied_on(fetch, tmp_path):
    with serving({NAME: CONTENT}, breaks_after=1000, tag='W/"one"') as server:
        with pytest.raises(SourceError, match="broke off"):
            fetch(server.remote(NAME))
        assert (tmp_path / "cache" / f"{NAME}.part.tag").read_text() == ""
        server.breaks_after = None
        assert fetch(server.remote(NAME)).read_bytes() == CONTENT


def test_a_part_that_is_complete_already(fetch, part, tmp_path):
    part.write_bytes(CONTENT)
    with serving({NAME: CONTENT}) as server:
        assert fetch(server.remote(NAME, md5(CONTENT))).read_bytes() == CONTENT
        assert len(server.asked) == 1
    assert left(tmp_path) == [NAME]


def test_a_part_that_is_longer_than_the_file_begins_anew(fetch, part):
    part.write_bytes(CONTENT + b"more")
    with serving({NAME: CONTENT}) as server:
        assert fetch(server.remote(NAME, md5(CONTENT))).read_bytes() == CONTENT
        assert [asked for _, asked in server.asked] == ["bytes=300004-", None]


def test_another_part_than_the_one_asked_for(fetch, part):
    part.write_bytes(CONTENT[:1000])
    with (
        serving({NAME: CONTENT}, ranges="shifted") as server,
        pytest.raises(SourceError, match="another part than the one from byte 1,000 on"),
    ):
        fetch(server.remote(NAME, md5(CONTENT)))
    assert part.read_bytes() == CONTENT[:1000]


def test_a_wrong_checksum(fetch, tmp_path):
    wanted = md5(b"something else")
    with serving({NAME: CONTENT}) as server, pytest.raises(SourceError) as caught:
        fetch(server.remote(NAME, wanted))
    for words in (
        server.address,
        md5(CONTENT)[4:],
        wanted[4:],
        "the publisher's page",
        "was removed",
        "--from",
    ):
        assert words in str(caught.value)
    assert left(tmp_path) == []


def test_a_part_of_something_else_is_noticed_and_removed(fetch, part, tmp_path):
    part.write_bytes(b"?" * 1000)
    with serving({NAME: CONTENT}) as server:
        with pytest.raises(SourceError, match="was removed: try again"):
            fetch(server.remote(NAME, md5(CONTENT)))
        assert fetch(server.remote(NAME, md5(CONTENT))).read_bytes() == CONTENT
    assert left(tmp_path) == [NAME]


def test_a_wrong_file_in_the_cache(fetch, part):
    part.with_suffix("").write_bytes(b"old")
    with serving({NAME: CONTENT}) as server:
        with pytest.raises(SourceError, match=r"data\.zip' is not what the publisher states.*remove it"):
            fetch(server.remote(NAME, md5(CONTENT)))
        assert server.asked == []
    assert part.with_suffix("").read_bytes() == b"old"


def test_without_a_checksum_what_came_is_said(fetch, said):
    with serving({NAME: CONTENT}) as server:
        fetch(server.remote(NAME))
        fetch(server.remote(NAME))
    lines = [line for line in said if "not checked" in line]
    assert len(lines) == 2  # of a kept copy, too
    assert hashlib.sha256(CONTENT).hexdigest() in lines[0]


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_server_that_refuses(fetch, status, tmp_path):
    with serving({NAME: CONTENT}, status=status) as server, pytest.raises(SourceError) as caught:
        fetch(server.remote(NAME))
    assert f"answers {status} " in str(caught.value)
    assert "--from" in str(caught.value)
    assert left(tmp_path) == []


def test_a_server_that_is_not_there(fetch):
    with serving({}) as server:
        remote = server.remote(NAME)
    with pytest.raises(SourceError, match=r"cannot be read \(.*[Rr]efused.*\): try again"):
        fetch(remote)


def test_a_server_that_says_nothing(fetch):
    with (
        serving({NAME: CONTENT}, silent=threading.Event()) as server,
        pytest.raises(SourceError, match=r"cannot be read \(.*timed out"),
    ):
        fetch(server.remote(NAME), timeout=0.2)


def test_a_server_that_does_not_say_how_much_it_sends(fetch):
    with serving({NAME: CONTENT}, with_length=False) as server:
        assert fetch(server.remote(NAME, md5(CONTENT))).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_to(tmp_path, fetch):
    (tmp_path / "cache").write_text("a file")
    with (
        serving({NAME: CONTENT}) as server,
        pytest.raises(OutputError, match=r"cannot keep data\.zip.*--cache"),
    ):
        fetch(server.remote(NAME))
    assert server.asked == []


def test_a_disk_that_is_full(fetch, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(published_download, "_write", full)
    with serving({NAME: CONTENT}) as server, pytest.raises(OutputError, match="No space left on device"):
        fetch(server.remote(NAME))


def test_names_that_git_gives_to_contents(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert published_download.checksum(path, "git-blob") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    path.write_bytes(b"hello\n")  # echo hello | git hash-object --stdin
    assert published_download.checksum(path, "git-blob") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_folder_of_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert published_download.default_cache() == tmp_path / "recae"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert published_download.default_cache() == tmp_path / "home" / ".cache" / "recae"
