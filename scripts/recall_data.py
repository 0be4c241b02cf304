"""What recall_at_k.py fits to and asks for: a pair of sparse matrices, or a table of purchases parted by a rule."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.reading import ReadOptions, read
from recae.reading.matrix import read_matrix as read_npz
from recae.splits.parts import fold_in_split, leave_last_out, split_by_time, tied_users

FRACTION = 0.2  # of the users or of a user's items, held out for testing


@dataclass(frozen=True)
class Task:
    """What the model is fitted to, (U, I), and what it is asked: histories and held-out items, (B, I) both."""

    fit: sp.csr_matrix
    histories: sp.csr_matrix
    held_out: sp.csr_matrix
    rule: str


def read_task(
    *,
    data: Path | None,
    train: Path | None,
    test: Path | None,
    need_test: bool,
    rng: np.random.Generator,
    **table: Any,
) -> Task:
    """The task of the options: a pair of matrices, the pair in a folder, or a table with a rule."""
    if data is not None and (train is not None or test is not None):
        raise ConfigError(f"'{data}' is given beside --train or --test; give one or the other")
    if data is not None and not data.is_dir():
        if data.suffix == ".npz":
            raise ConfigError(
                f"'{data}' is one matrix; give two, as --train and --test, or the folder of both"
            )
        return read_table(data, rng=rng, **table)
    if data is not None:
        train, test = data / "train.npz", data / "test.npz"
    elif train is None:
        raise ConfigError("nothing to evaluate: give a folder, a table with --split, or --train and --test")
    if foreign := [f"--{name.replace('_', '-')}" for name, value in table.items() if value is not None]:
        raise ConfigError(f"{foreign[0]} is for tables, but matrices are given; leave it out")
    return read_pair(train, test, need_test)


def read_pair(train: Path, test: Path | None, need_test: bool) -> Task:
    """Training and test matrix; the test file is opened only if it is needed.

    Rows and columns have the same numbers in both. Users and items of the test matrix beyond the training matrix are
    unknown: they are left out and counted.
    """
    fit = read_matrix(train)
    if not need_test:
        return Task(fit, fit, fit[:0], "train matrix")
    if test is None:
        raise ConfigError("--train is given without --test; give --test, or --validate to do without")
    held_out = read_matrix(test)
    held_out = known_part(held_out, fit.shape, test)
    if shared := fit.multiply(held_out).nnz:
        raise DataError(
            f"{shared:,} of the {held_out.nnz:,} pairs in '{test}' are in '{train}' too, where the model would "
            "see them; take them out of one of the two"
        )
    return Task(fit, fit, held_out, "train and test matrices")


def known_part(held_out: sp.csr_matrix, shape: tuple[int, int], path: Path) -> sp.csr_matrix:
    """The test matrix with the rows and columns of the training matrix, and zeros where it has none.

    Says how many users and items it has beyond these; DataError where nothing else is left.
    """
    whole = sp.coo_matrix(held_out)
    known = (whole.row < shape[0]) & (whole.col < shape[1])
    if lost := int(whole.nnz - known.sum()):
        users = np.unique(whole.row[whole.row >= shape[0]]).size
        items = np.unique(whole.col[whole.col >= shape[1]]).size
        if not known.any():
            raise DataError(
                f"'{path}' has no pair within the {shape[0]:,} users × {shape[1]:,} items of the training matrix; "
                "number users and items alike in both"
            )
        say(
            f"{lost:,} of the {whole.nnz:,} pairs in '{path}' are of {users:,} users and {items:,} items that the "
            "training matrix does not know, and are left out"
        )
    pairs = (whole.row[known], whole.col[known])
    return sp.csr_matrix((whole.data[known], pairs), shape=shape)


def read_matrix(path: Path) -> sp.csr_matrix:
    """The pattern of an .npz matrix, as `recae.reading.matrix.read_matrix`; says what was odd about its entries."""
    matrix, notes = read_npz(path)
    for note in notes:
        say(f"note: '{path}': {note}")
    return matrix


def read_table(
    path: Path,
    *,
    split: str | None,
    test_fraction: float | None,
    cut: str | None,
    rng: np.random.Generator,
    **columns: str | None,
) -> Task:
    """A table of purchases, parted by a rule."""
    if split is None:
        raise ConfigError(f"'{path}' is a table and needs a rule; give --split users, items, last or time")
    if (split == "time") != (cut is not None):
        raise ConfigError("--split time and --cut go together, as in --split time --cut 2011-11-09")
    if test_fraction is not None and split not in ("users", "items"):
        raise ConfigError(f"--test-fraction does not go with --split {split}; leave it out")
    fraction = FRACTION if test_fraction is None else test_fraction
    moment = None if cut is None else seconds_of(cut)
    found = read(path, ReadOptions(name_column="", **columns))
    interactions = found.interactions
    for line in found.report.lines():
        say(line)
    matrix = interactions.matrix
    if split == "users":
        chosen = users_to_test(matrix.shape[0], fraction, rng)
        histories, held_out = fold_in_split(matrix[chosen], FRACTION, rng=rng)
        others = np.setdiff1d(np.arange(matrix.shape[0]), chosen)
        return Task(matrix[others], histories, held_out, f"split users {fraction:g}")
    if split == "items":
        history, held_out = fold_in_split(matrix, fraction, rng=rng)
        return Task(history, history, held_out, f"split items {fraction:g}")
    if moment is None:
        times = interactions.times
        if times is not None and (tied := int(tied_users(matrix, times).sum())):
            say(f"{tied:,} users bought several items at the last moment; one of each is held out at random")
        history, held_out = leave_last_out(interactions, int(rng.integers(2**63)))
        return Task(history, history, held_out, "split last")
    history, held_out = split_by_time(interactions, moment)
    known = np.flatnonzero(np.diff(history.indptr))
    if new := np.count_nonzero(np.diff(held_out.indptr)) - np.count_nonzero(np.diff(held_out[known].indptr)):
        say(f"{new:,} users have no history before {cut} and are not evaluated")
    return Task(history, history[known], held_out[known], f"split time {cut}")


def users_to_test(n_users: int, fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of randomly chosen users to test, rising: a fraction of all, rounded, at least one and never all."""
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction of users to hold out must lie between 0 and 1, but is {fraction}")
    if n_users < 2:
        raise DataError(
            f"holding users out needs at least 2 users, but there is {n_users}; use more purchases"
        )
    number = min(max(1, round(fraction * n_users)), n_users - 1)
    return np.sort(rng.choice(n_users, size=number, replace=False)).astype(np.int64)


def seconds_of(cut: str) -> int:
    """An ISO date or time as seconds since 1970 UTC."""
    try:
        moment = datetime.fromisoformat(cut)
    except ValueError:
        raise ConfigError(f"--cut is an ISO date or time such as 2011-11-09, but '{cut}' is given") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def check_task(task: Task) -> None:
    """DataError, before any training, if there is nothing to fit or to measure; says what cannot be found."""
    if not task.fit.nnz:
        raise DataError(f"the training part has no interaction at all ({task.rule}); give one with purchases")
    if not task.held_out.nnz:
        raise DataError(f"nothing is held out ({task.rule}), so nothing can be measured; hold out more")
    owners = np.bincount(task.fit.indices, minlength=task.fit.shape[1])
    if cold := int((owners[task.held_out.indices] == 0).sum()):
        say(
            f"{cold:,} of {task.held_out.nnz:,} held-out interactions are of items that nobody in the training "
            "part owns"
        )


def say(line: str) -> None:
    """A line on stderr."""
    print(line, file=sys.stderr, flush=True)
