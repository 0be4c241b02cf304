"""The published data, as their files hold them: ratings of MovieLens, triplets of MSD, movies of Netflix, lists."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray
from published_archives import files, only_file
from pyarrow import csv
from recall_data import read_matrix, say

from recae.errors import SourceError

LIKED = 3.5  # a rating above it is an interaction (Liang et al. 2018 keep 4 and 5)

Ids = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Interactions in the order of the file, each once: row numbers of users and items, (n,) both.

    Users and items are numbered by their ids in ascending order (numbers as numbers, texts as texts), in which the
    authors' code goes through them.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lists:
    """A published split: csr (U, I) of what is learned from and of what is to be found, float32 ones."""

    train: sp.csr_matrix
    test: sp.csr_matrix


def read_ratings(path: Path) -> Pairs:
    """MovieLens' ratings.csv (userId, movieId, rating, timestamp), the ratings of 4 and more."""
    columns = {"userId": pa.int64(), "movieId": pa.int64(), "rating": pa.float64()}
    with only_file(path, lambda name: name == "ratings.csv", "ratings.csv") as file:
        table = _table(file, "ratings.csv", columns, header=True)
    kept = np.asarray(table["rating"]) > LIKED
    return numbered(np.asarray(table["userId"])[kept], np.asarray(table["movieId"])[kept])


def read_triplets(path: Path) -> Pairs:
    """The Taste Profile's train_triplets.txt: user, song and number of plays, by tabs; every song played counts."""
    words = pa.dictionary(pa.int32(), pa.string())
    with only_file(path, lambda name: name == "train_triplets.txt", "train_triplets.txt") as file:
        table = _table(
            file, "train_triplets.txt", {"user": words, "song": words, "plays": pa.int64()}, by="\t"
        )
    return Pairs(*_once(_codes(table["user"]), _codes(table["song"])))


def read_movies(path: Path) -> Pairs:
    """The Netflix Prize's mv_0000001.txt … or combined_data_1.txt …, the ratings of 4 and 5.

    A line "1:" opens a movie; a line "1488844,3,2005-09-06" of user, rating and date belongs to the last one opened.
    """
    pattern = re.compile(r"(mv_\d+|combined_data_\d+)\.txt")
    found: dict[int, NDArray[np.int64]] = {}
    for name, file in files(path, lambda name: pattern.fullmatch(name) is not None):
        content = file.read()
        heads = list(re.finditer(rb"^(\d+):\r?\n?", content, re.MULTILINE))
        if not heads or heads[0].start():
            raise SourceError(f"{name} does not begin with the number of a movie, as in '1:'; get it again")
        ends = [head.start() for head in heads[1:]] + [len(content)]
        for head, end in zip(heads, ends, strict=True):
            movie = int(head[1])
            if movie in found:
                raise SourceError(
                    f"movie {movie} is there twice, the second time in {name}; give one copy of it"
                )
            found[movie] = _liked(content[head.end() : end], f"movie {movie} of {name}")
    if not found:
        raise SourceError(
            f"'{path}' holds no mv_….txt or combined_data_….txt; give the folder training_set, or training_set.tar "
            "out of nf_prize_dataset.tar.gz"
        )
    movies = sorted(found)
    users = np.concatenate([found[movie] for movie in movies])
    return numbered(users, np.repeat(movies, [found[movie].size for movie in movies]))


def read_lists(path: Path, second: Path | None = None) -> Lists:
    """LightGCN's train.txt and test.txt, a line a user: "user item item …"; or the same as train.npz and test.npz.

    `path` is a folder or an archive with both, or train.txt itself, with test.txt as `second`. As in the authors' code
    there are as many items as the highest number in either says, and items that nobody has learned of stay in the
    denominators.
    """
    if path.is_dir() and (path / "train.npz").is_file():
        train, test = read_matrix(path / "train.npz"), read_matrix(path / "test.npz")
    else:
        train, test = (
            _adjacency(file, part, second is not None)
            for file, part in ((path, "train"), (second or path, "test"))
        )
    shape = max(train.shape[0], test.shape[0]), max(train.shape[1], test.shape[1])
    train.resize(shape)
    test.resize(shape)
    if shared := int(train.multiply(test).nnz):
        say(
            f"{shared:,} pairs are in both parts; those owned already cannot be found again, as in the authors' code"
        )
    return Lists(train, test)


READERS: dict[str, Callable[..., Pairs | Lists]] = {
    "ratings": read_ratings,
    "triplets": read_triplets,
    "netflix": read_movies,
    "adjacency": read_lists,
}


def numbered(users: Ids, items: Ids) -> Pairs:
    """Pairs of ids as row numbers by ascending id; a pair that comes again is dropped."""
    return Pairs(*_once(*(np.unique(ids, return_inverse=True)[1].reshape(-1) for ids in (users, items))))


def _once(users: Ids, items: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs without those that came before."""
    width = int(items.max(initial=0)) + 1
    _, first = np.unique(users.astype(np.int64) * width + items, return_index=True)
    if dropped := users.size - first.size:
        say(f"{dropped:,} pairs of a user and an item come more than once; each counts once")
    first.sort()
    return users[first].astype(np.int64), items[first].astype(np.int64)


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """The place of each text among the different texts, ascending."""
    array = column.combine_chunks()
    texts = array.dictionary.to_numpy(zero_copy_only=False)
    rank = np.empty(len(texts), dtype=np.int64)
    rank[np.argsort(texts.astype(str), kind="stable")] = np.arange(len(texts))
    return rank[np.asarray(array.indices)]


def _table(
    file: IO[bytes], name: str, columns: dict[str, pa.DataType], *, by: str = ",", header: bool = False
) -> pa.Table:
    try:
        table = csv.read_csv(
            file,
            read_options=csv.ReadOptions(column_names=None if header else list(columns), block_size=1 << 24),
            parse_options=csv.ParseOptions(delimiter=by, quote_char=False),
            convert_options=csv.ConvertOptions(column_types=columns, include_columns=list(columns)),
        ).unify_dictionaries()
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        reason = str(error).strip('"').splitlines()[0]
        raise SourceError(f"{name} is not the published file ({reason}); get it again") from error
    if empty := [column for column in columns if table[column].null_count]:
        raise SourceError(
            f"{name} has lines without {empty[0]}, so it is not the published file; get it again"
        )
    return table


def _liked(content: bytes, where: str) -> NDArray[np.int64]:
    """The users who gave a movie 4 or 5, (n,)."""
    if not content.strip():
        return np.empty(0, dtype=np.int64)
    columns = {"user": pa.int64(), "rating": pa.float64(), "date": pa.string()}
    table = _table(io.BytesIO(content), where, columns)
    return np.asarray(table["user"])[np.asarray(table["rating"]) > LIKED]


def _adjacency(path: Path, part: str, named: bool) -> sp.csr_matrix:
    """The lines of one part, csr (U, I), float32 ones; a user without items has a row, too."""
    rows: list[NDArray[np.int64]] = []
    name = path.name if named else f"{part}.txt"
    looked_for = f"{name} (or, as a folder, train.npz and test.npz)"
    with only_file(path, lambda found: found == name, looked_for) as file:
        for number, line in enumerate(file, start=1):
            try:
                values = np.array(line.split(), dtype=np.int64)
                if (values < 0).any():
                    raise ValueError
            except (ValueError, OverflowError):
                raise SourceError(
                    f"line {number} of {name} is not a user and items by number, as in '0 5 17'; get it again"
                ) from None
            if values.size:
                rows.append(values)
    if not rows:
        raise SourceError(f"{name} holds no user; get it again")
    users = np.repeat([row[0] for row in rows], [row.size - 1 for row in rows])
    items = np.concatenate([row[1:] for row in rows])
    shape = (1 + max(int(row[0]) for row in rows), 1 + int(items.max(initial=-1)))
    matrix = sp.csr_matrix((np.ones(users.size, dtype=np.float32), (users, items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
