"""What a comparison hands to a process that fits one kind of model, and what it gets back: plain files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.splits.tasks import Pair, Task

_WEIGHTS = "weights.npy"
_MATRICES = ("fit", "histories", "validation_histories", "validation_held_out")


@dataclass(frozen=True, eq=False)
class Inputs:
    """All that a process sees of a task. What is to be found is not among it, so that nothing of it can leak.

    fit         csr (U, I): what is learned from
    histories   csr (B, I) of the test users
    validation  histories and what is held out of them, csr (V, I) each, to choose on; None where nobody is
    weights     what each entry of `fit` weighs in its order, float32 (nnz,); None: 1
    """

    fit: sp.csr_matrix
    histories: sp.csr_matrix
    validation: Pair | None
    weights: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, task: Task) -> Inputs:
        """What may be seen of a task."""
        return cls(task.fit, task.histories, task.validation, task.weights)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over shapes, places and values; the same on every machine."""
        digest = hashlib.sha256(b"recae inputs 1")
        for name, matrix in self._named().items():
            digest.update(f"{name} {matrix.shape} {matrix.nnz}".encode())
            for array, kind in ((matrix.indptr, "<i8"), (matrix.indices, "<i8"), (matrix.data, "<f4")):
                digest.update(np.ascontiguousarray(array, dtype=kind).data)
        if self.weights is not None:
            digest.update(b"weights" + np.ascontiguousarray(self.weights, dtype="<f4").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Writes the matrices into a folder, one .npz each, and the weights as .npy."""
        for name, matrix in self._named().items():
            sp.save_npz(folder / f"{name}.npz", matrix, compressed=False)
        if self.weights is not None:
            np.save(folder / _WEIGHTS, self.weights, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Inputs:
        """What `save` wrote."""
        found = {
            name: sp.csr_matrix(sp.load_npz(path))
            for name in _MATRICES
            if (path := folder / f"{name}.npz").exists()
        }
        histories = found.get("validation_histories")
        pair = None if histories is None else (histories, found["validation_held_out"])
        weights = folder / _WEIGHTS
        return cls(
            found["fit"],
            found["histories"],
            pair,
            np.load(weights, allow_pickle=False) if weights.exists() else None,
        )

    def _named(self) -> dict[str, sp.csr_matrix]:
        return dict(zip(_MATRICES, (self.fit, self.histories, *(self.validation or ())), strict=False))


@dataclass(frozen=True)
class Job:
    """What one process does: try settings, keep the best by NDCG@20 on the validation users, rank the test users.

    kind           of the model
    trials         settings to try, complete, in this order; of equals the first is kept
    exclude_owned  whether lists leave out what a history holds
    length         of the ranked lists
    """

    kind: str
    trials: tuple[dict[str, Any], ...]
    exclude_owned: bool
    length: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Job:
        """What `as_dict` gave."""
        return cls(**{**fields, "trials": tuple(fields["trials"])})


@dataclass(frozen=True, eq=False)
class Outcome:
    """What comes of a job.

    config      the settings that were measured, resolved
    qualities   NDCG@20 on the validation users, one for each trial that was begun; None where it failed
    seconds     wall time of trying, choosing and ranking
    peak_bytes  most memory that the process has held; None where that is not known
    epochs      of the training that was measured: {"epoch", "loss", "recall@20"}
    ranked      int32 (B, length) items, best first, -1 padded
    scores      float32 (B, length), NaN at padding
    cut         what the time did not suffice for; None where it did
    """

    config: dict[str, Any]
    qualities: list[float | None]
    seconds: float
    peak_bytes: int | None
    epochs: list[dict[str, Any]]
    ranked: NDArray[np.int32]
    scores: NDArray[np.float32]
    cut: str | None = None

    def write(self, file: BinaryIO) -> None:
        """Writes an .npz: the two arrays, and the rest as JSON in bytes."""
        facts = {name: value for name, value in vars(self).items() if name not in ("ranked", "scores")}
        text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        np.savez_compressed(file, ranked=self.ranked, scores=self.scores, facts=text)

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """What `write` wrote. Raises ValueError for what is no such file, OSError where it cannot be read."""
        content = io.BytesIO(path.read_bytes())
        try:
            with np.load(content) as arrays:  # which never unpickles
                facts = json.loads(arrays["facts"].tobytes())
                found = cls(**facts, ranked=arrays["ranked"], scores=arrays["scores"])
        except Exception as error:  # a broken archive raises almost anything
            raise ValueError(f"'{path}' is not the result of a job ({error})") from error
        if (
            found.ranked.dtype != np.int32
            or found.ranked.ndim != 2
            or found.scores.shape != found.ranked.shape
        ):
            raise ValueError(f"'{path}' is not the result of a job (its lists are not)")
        return found
