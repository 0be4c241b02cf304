"""The layouts that scripts/published_data.py reads, tiny copies of each, and the archives that it refuses."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from publishedfiles import published_archives, published_data, ratings, ratings_csv, zipped

from recae.errors import RecaeError, SourceError

RATINGS = b"userId,movieId,rating,timestamp\n9,30,4.0,1\n9,2,3.5,1\n10,30,5.0,1\n10,4,4.5,1\n2,4,0.5,1\n"
TRIPLETS = b"bb\tS2\t1\nbb\tS10\t9\na\tS2\t3\n"
MOVIES = {
    "mv_0000003.txt": b"3:\n7,5,2005-09-06\n5,3,2005-09-06\n",
    "mv_0000010.txt": b"10:\n5,4,2005-09-06\n7,4,2005-09-07\n6,1,2004-01-01\n",
    "mv_0000011.txt": b"11:\n",
}
TRAIN, TEST = b"0 5 3 \n2 0\n1\n", b"0 1\n1 6\n3\n"


def pairs_of(found) -> list[tuple[int, int]]:
    return list(zip(found.users.tolist(), found.items.tolist(), strict=True))


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


# layouts


@pytest.fixture(params=["file", "folder", "folder of a folder", "zip"])
def packed(request, tmp_path):
    """A function that packs one file in each of the ways in which it may be given."""

    def pack(name: str, content: bytes) -> Path:
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"some/{name}", content)
                archive.writestr("some/README.txt", b"?")
            return tmp_path / "data.zip"
        folder = tmp_path / "inner" if request.param == "folder of a folder" else tmp_path
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return folder / name if request.param == "file" else tmp_path

    return pack


def test_ratings(packed):
    found = published_data.read_ratings(packed("ratings.csv", RATINGS))
    # users 9, 10 are 0, 1; movies 4, 30 are 0, 1; in the order of the file
    assert pairs_of(found) == [(0, 1), (1, 1), (1, 0)]


def test_triplets(packed):
    found = published_data.read_triplets(packed("train_triplets.txt", TRIPLETS))
    # texts in the order of texts: a, bb and S10, S2
    assert pairs_of(found) == [(1, 1), (1, 0), (0, 1)]


def test_many_ratings(tmp_path):
    rows = ratings()
    (tmp_path / "ratings.csv").write_bytes(ratings_csv(rows))
    ids = [sorted({row[n] for row in rows if row[2] >= 4}) for n in (0, 1)]
    expected = [(ids[0].index(user), ids[1].index(movie)) for user, movie, grade in rows if grade >= 4]
    assert pairs_of(published_data.read_ratings(tmp_path)) == expected
    assert len(expected) > 300


@pytest.mark.parametrize("way", ["folder", "zip", "tar", "tar.gz"])
@pytest.mark.parametrize("form", ["movies", "combined"])
def test_movies(tmp_path, way, form):
    members = MOVIES
    if form == "combined":  # as another site has them: many movies in a file
        members = {
            "combined_data_1.txt": MOVIES["mv_0000003.txt"] + MOVIES["mv_0000011.txt"],
            "combined_data_2.txt": MOVIES["mv_0000010.txt"].replace(b"\n", b"\r\n"),
        }
    members = {f"training_set/{name}": content for name, content in members.items()}
    backwards = dict(reversed(members.items()))  # the order of an archive says nothing
    if way == "zip":
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in backwards.items():
                archive.writestr(name, content)
    elif way == "folder":
        path = tmp_path
        (tmp_path / "training_set").mkdir()
        for name, content in members.items():
            (tmp_path / name).write_bytes(content)
    else:
        path = tarred(tmp_path / f"data.{way}", backwards, "w:gz" if way == "tar.gz" else "w")
    # users 5, 7 are 0, 1; movies 3, 10 are 0, 1
    assert pairs_of(published_data.read_movies(path)) == [(1, 0), (0, 1), (1, 1)]


def test_one_movie_as_a_file(tmp_path):
    path = tmp_path / "mv_0000003.txt"
    path.write_bytes(MOVIES[path.name])
    assert pairs_of(published_data.read_movies(path)) == [(0, 0)]


def expected_lists():
    train, test = np.zeros((4, 7)), np.zeros((4, 7))
    train[0, [5, 3]] = train[2, 0] = 1
    test[0, 1] = test[1, 6] = 1
    return train, test


@pytest.mark.parametrize("way", ["folder", "zip", "two files"])
def test_lists(tmp_path, way):
    (tmp_path / "gowalla-train.txt").write_bytes(TRAIN)
    (tmp_path / "gowalla-test.txt").write_bytes(TEST)
    (tmp_path / "train.txt").write_bytes(TRAIN)
    (tmp_path / "test.txt").write_bytes(TEST)
    paths = {
        "folder": [tmp_path],
        "zip": [zipped(tmp_path / "a.zip", Data__gowalla__train_txt=TRAIN, Data__gowalla__test_txt=TEST)],
        "two files": [tmp_path / "gowalla-train.txt", tmp_path / "gowalla-test.txt"],
    }[way]
    found = published_data.read_lists(*paths)
    for matrix, expected in zip((found.train, found.test), expected_lists(), strict=True):
        np.testing.assert_array_equal(matrix.toarray(), expected)
        assert matrix.dtype == np.float32


def test_lists_as_matrices(tmp_path):
    train, test = expected_lists()
    sp.save_npz(tmp_path / "train.npz", sp.csr_matrix(train[:3]))
    sp.save_npz(tmp_path / "test.npz", sp.csr_matrix(test))
    found = published_data.read_lists(tmp_path)
    np.testing.assert_array_equal(found.train.toarray(), train)
    np.testing.assert_array_equal(found.test.toarray(), test)


def test_lists_with_repeats_and_shared_pairs(tmp_path, capsys):
    (tmp_path / "train.txt").write_bytes(b"0 1 2 2\n0 3\n")
    (tmp_path / "test.txt").write_bytes(b"0 4 2\n")
    found = published_data.read_lists(tmp_path)
    np.testing.assert_array_equal(found.train.toarray(), [[0, 1, 1, 1, 0]])
    np.testing.assert_array_equal(found.test.toarray(), [[0, 0, 1, 0, 1]])
    assert "1 pairs are in both parts" in capsys.readouterr().err


def test_a_pair_that_comes_again_counts_once(tmp_path, capsys):
    (tmp_path / "train_triplets.txt").write_bytes(TRIPLETS + b"bb\tS2\t4\n")
    assert pairs_of(published_data.read_triplets(tmp_path)) == [(1, 1), (1, 0), (0, 1)]
    assert "1 pairs of a user and an item come more than once" in capsys.readouterr().err


# what is refused


def check_refused(call, *words: str) -> None:
    with pytest.raises(SourceError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reader", "name", "content", "words"),
    [
        (
            "ratings",
            "ratings.csv",
            b"user,movie,rating\n1,2,3\n",
            ["ratings.csv is not the published", "userId"],
        ),
        ("ratings", "ratings.csv", b"userId,movieId,rating\n1,x,3\n", ["'x'"]),
        ("ratings", "ratings.csv", b"userId,movieId,rating\n1,2\n", ["ratings.csv is not", "columns"]),
        ("ratings", "ratings.csv", b"userId,movieId,rating\n1,,3\n", ["lines without movieId"]),
        ("ratings", "ratings.csv", b"", ["ratings.csv is not", "mpty"]),
        ("triplets", "train_triplets.txt", b"a,S1,3\n", ["train_triplets.txt is not"]),
        ("triplets", "train_triplets.txt", b"a\tS1\tmany\n", ["many"]),
        ("netflix", "mv_0000001.txt", b"7,5,2005-09-06\n", ["mv_0000001.txt does not begin with the number"]),
        ("netflix", "mv_0000001.txt", b"", ["does not begin with the number"]),
        ("netflix", "mv_0000001.txt", b"1:\n7,five,2005-09-06\n", ["movie 1 of mv_0000001.txt", "five"]),
        ("netflix", "mv_0000001.txt", b"1:\n7,5,2005-09-06\n1:\n", ["movie 1 is there twice"]),
        ("netflix", "other.txt", b"1:\n", ["holds no mv_", "training_set"]),
        ("ratings", "other.csv", b"", ["does not hold ratings.csv"]),
        ("triplets", "other.txt", b"", ["does not hold train_triplets.txt"]),
        ("adjacency", "train.txt", b"0 1\n1 x\n", ["line 2 of train.txt is not a user and items"]),
        ("adjacency", "train.txt", b"0 1\n1 -2\n", ["line 2 of train.txt"]),
        ("adjacency", "train.txt", b"0 99999999999999999999\n", ["line 1 of train.txt"]),
        ("adjacency", "train.txt", b"0 1\n", ["does not hold test.txt"]),
        ("adjacency", "train.txt", b"\n", ["train.txt holds no user"]),
        ("adjacency", "train.npz", b"no archive", ["train.npz"]),
    ],
)
def test_files_that_are_not_the_published_ones(tmp_path, reader, name, content, words):
    (tmp_path / name).write_bytes(content)
    check_refused(lambda: published_data.READERS[reader](tmp_path), *words)


@pytest.mark.parametrize("reader", published_data.READERS)
def test_nothing_there(tmp_path, reader):
    check_refused(
        lambda: published_data.READERS[reader](tmp_path / "none"), "there is no file or folder", "none"
    )


@pytest.mark.parametrize(
    "member", ["../ratings.csv", "/etc/ratings.csv", "a/../../ratings.csv", "..\\ratings.csv"]
)
def test_an_archive_with_a_path_outside(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("ml-20m/ratings.csv", RATINGS)
        archive.writestr(member, RATINGS)
    check_refused(
        lambda: published_data.read_ratings(tmp_path / "bad.zip"), "lies outside of it", member[-11:]
    )
    tarred(tmp_path / "bad.tar", {member: MOVIES["mv_0000003.txt"], **MOVIES})
    check_refused(lambda: published_data.read_movies(tmp_path / "bad.tar"), "lies outside of it")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "bad.zip"]


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"3:\n1,5,2005-09-06\n")
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        link = tarfile.TarInfo("mv_0000003.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    check_refused(lambda: published_data.read_movies(tmp_path / "bad.tar"), "holds no mv_")


def test_archives_that_are_damaged(tmp_path):
    path = zipped(tmp_path / "ml-20m.zip", **{"ml-20m__ratings_csv": ratings_csv(ratings())})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    check_refused(lambda: published_data.read_ratings(path), "ml-20m.zip", "cut short")
    content = bytearray(whole)
    content[200:230] = bytes(30)
    path.write_bytes(bytes(content))
    check_refused(lambda: published_data.read_ratings(path), "ml-20m.zip", "is damaged")

    tarred(tmp_path / "set.tar.gz", {name: content * 300 for name, content in MOVIES.items()}, "w:gz")
    packed = (tmp_path / "set.tar.gz").read_bytes()
    (tmp_path / "set.tar.gz").write_bytes(packed[: len(packed) // 2])
    check_refused(lambda: published_data.read_movies(tmp_path / "set.tar.gz"), "set.tar.gz")
    tarred(tmp_path / "set.tar", MOVIES)
    (tmp_path / "set.tar").write_bytes((tmp_path / "set.tar").read_bytes()[:1540])
    check_refused(lambda: published_data.read_movies(tmp_path / "set.tar"), "set.tar", "damaged")
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"text"))
    check_refused(
        lambda: published_data.read_movies(tmp_path / "notes.gz"), "neither a folder nor a whole zip"
    )


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    def fail(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(published_archives, "_of_folder", fail)
    with pytest.raises(RecaeError, match=r"cannot read .*Permission denied"):
        published_data.read_ratings(tmp_path)
