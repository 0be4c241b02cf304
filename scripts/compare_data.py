"""What scripts/compare.py fits models to, chooses on and measures on, by protocol; and the same as files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from recall_data import read_matrix, say, seconds_of

from recae.errors import ConfigError, DataError
from recae.ingest import read_events, read_with_report
from recae.interactions import NO_TIME
from recae.splits import fold_in_split, split_by_time
from recae.workflow.holdout import HELD_OUT_AT_MOST, HELD_OUT_ITEMS, HELD_OUT_SHARE, hold_out
from recae.workflow.repeats import hold_out_repeats

PROTOCOLS = ("users", "time", "last-basket", "matrices")
LAST_MONTH = 30 * 86_400  # seconds
NAMES = ("fit", "validation_histories", "validation_held_out", "test_histories", "test_held_out")


@dataclass(frozen=True, eq=False)
class Task:
    """A model is fitted to `fit` (U, I), chosen on `validation`, measured on `test`: histories and what is held out.

    exclude_owned  lists leave out what a history holds
    decay          with which the values of the histories are weighted, None where they have none
    rule           the protocol in words
    """

    fit: sp.csr_matrix
    validation: tuple[sp.csr_matrix, sp.csr_matrix]
    test: tuple[sp.csr_matrix, sp.csr_matrix]
    exclude_owned: bool
    decay: float | None
    rule: str

    @property
    def matrices(self) -> tuple[sp.csr_matrix, ...]:
        """In the order of `NAMES`."""
        return self.fit, *self.validation, *self.test

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all matrices and of what is left out of the lists."""
        digest = hashlib.sha256(f"{self.exclude_owned} {self.decay}".encode())
        for matrix in self.matrices:
            digest.update(str(matrix.shape).encode())
            for array, kind in ((matrix.indptr, "<i8"), (matrix.indices, "<i8"), (matrix.data, "<f4")):
                digest.update(np.ascontiguousarray(array, dtype=kind).data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Writes the matrices into a folder."""
        for name, matrix in zip(NAMES, self.matrices, strict=True):
            sp.save_npz(folder / f"{name}.npz", matrix, compressed=False)

    @classmethod
    def load(cls, folder: Path, exclude_owned: bool, decay: float | None, rule: str) -> "Task":
        """What `save` wrote."""
        fit, *others = (sp.csr_matrix(sp.load_npz(folder / f"{name}.npz")) for name in NAMES)
        return cls(fit, (others[0], others[1]), (others[2], others[3]), exclude_owned, decay, rule)


def read_task(data: Path, protocol: str, *, cut: str | None, seed: int, **columns: str | None) -> Task:
    """The task of a table of purchases or a folder of two matrices.

    Raises ConfigError for options that do not go together, DataError where nobody can be held out.
    """
    rng = np.random.default_rng([seed, HELD_OUT_AT_MOST])  # the users that `recae train` holds out
    if cut is not None and protocol != "time":
        raise ConfigError(f"--cut is for --protocol time, but the protocol is {protocol}; leave it out")
    if protocol == "matrices":
        if not data.is_dir():
            raise ConfigError(
                f"--protocol matrices wants a folder with train.npz and test.npz, found '{data}'"
            )
        history, held = read_matrix(data / "train.npz"), read_matrix(data / "test.npz")
        if history.shape != held.shape:
            raise DataError(
                f"train.npz is of shape {history.shape}, test.npz of {held.shape}; number both alike"
            )
        return _within(history, held, "train and test matrices", rng)
    if data.is_dir():
        raise ConfigError(f"'{data}' is a folder; give a table of purchases, or --protocol matrices")
    if protocol == "last-basket":
        interactions, events, _ = read_events(data, name_column="", **columns)
        repeats = hold_out_repeats(events, rng)
        return _checked(
            interactions, repeats, False, repeats.decay, "last baskets of held-out users, owned items allowed"
        )
    interactions, report = read_with_report(data, name_column="", **columns)
    for line in report.lines():
        say(line)
    if protocol == "users":
        return _checked(interactions, hold_out(interactions, rng), True, None, "held-out users")
    times = interactions.times
    if cut is None and times is not None and (times != NO_TIME).any():
        moment = int(times.max()) - LAST_MONTH
    elif cut is None:
        raise DataError(
            "a split by time needs the time of each purchase, but there is none; name a time column"
        )
    else:
        moment = seconds_of(cut)
    history, held = split_by_time(interactions, moment)
    when = np.datetime64(moment, "s")
    return _within(history, held, f"purchases from {when} on, of users with earlier ones", rng)


def _checked(interactions: Any, held_out: Any, exclude_owned: bool, decay: float | None, rule: str) -> Task:
    if held_out.validation is None or held_out.test is None:
        raise DataError("too few users with enough purchases to hold any out; use more purchases")
    fit = sp.csr_matrix(interactions.matrix[held_out.learners])
    return Task(fit, held_out.validation, held_out.test, exclude_owned, decay, rule)


def _within(history: sp.csr_matrix, held: sp.csr_matrix, rule: str, rng: np.random.Generator) -> Task:
    """Test users are learned from, too: a fifth of the items of 10 % of the users is taken out to choose on."""
    divisible = np.flatnonzero(np.diff(history.indptr) >= 2)
    tested = np.flatnonzero((np.diff(history.indptr) > 0) & (np.diff(held.indptr) > 0))
    if not divisible.size or not tested.size:
        raise DataError(
            f"nobody has something to learn from and something held out ({rule}); use more purchases"
        )
    number = min(max(1, round(HELD_OUT_SHARE * history.shape[0])), HELD_OUT_AT_MOST, len(divisible))
    chosen = np.sort(rng.permutation(divisible)[:number])
    pair = fold_in_split(sp.csr_matrix(history[chosen]), HELD_OUT_ITEMS, rng=rng)
    place = sp.csr_matrix(
        (np.ones(number, np.float32), (chosen, np.arange(number))), (history.shape[0], number)
    )
    fit = sp.csr_matrix(history - place @ pair[1])
    fit.eliminate_zeros()
    fit.sort_indices()
    return Task(fit, pair, (sp.csr_matrix(history[tested]), sp.csr_matrix(held[tested])), True, None, rule)
