"""Jobs of a comparison: one kind tries its settings on the validation users, and the best ranks the test users."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.machine import peak_memory
from recae.models import Model
from recae.ranking import PADDING, rank_histories
from recae.selection.cold import rank_cold
from recae.selection.diverse import rank_diverse
from recae.selection.fit import fit_kind
from recae.selection.trial import (
    EpochDone,
    Message,
    Pair,
    Solved,
    Trial,
    TrialEvent,
    TrialTask,
    ignore,
    run_trial,
)
from recae.sparse import take_columns
from recae.splits.tasks import ColdItems, Task

QUALITY: Final = "ndcg@20"
"""The metric by which settings are chosen on the validation users."""

LEFT_FOR_RANKING: Final = 0.15
"""Fraction of the time given that is left for ranking and what cannot be foreseen."""

_CONFIDENCE = "confidence.npy"
_COLD, _FEATURES = "cold.npz", "features"
_MATRICES = ("fit", "histories", "validation_histories", "validation_held_out")


@dataclass(frozen=True, eq=False)
class Inputs:
    """All that a job sees of a task: no held-out items of the test users, so that nothing of them can leak.

    Attributes:
        fit: csr (U, I), what is learned from.
        histories: csr (B, I) of the test users.
        validation: Histories and held-out items of the validation users, csr (V, I) each; None without any.
        confidence: That in each entry of `fit`, in its order, float32 (nnz,); None: 1.
        cold: Items that are held out whole, and what is known of all; None: none are.
    """

    fit: sp.csr_matrix
    histories: sp.csr_matrix
    validation: Pair | None
    confidence: NDArray[np.float32] | None = None
    cold: ColdItems | None = None

    @classmethod
    def of(cls, task: Task) -> Inputs:
        """Return what may be seen of a task."""
        return cls(task.fit, task.histories, task.validation, task.confidence, task.cold)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over shapes, places and values; the same on every machine."""
        digest = hashlib.sha256(b"recae inputs 1")
        for name, matrix in self._named().items():
            digest.update(f"{name} {matrix.shape} {matrix.nnz}".encode())
            for array, kind in ((matrix.indptr, "<i8"), (matrix.indices, "<i8"), (matrix.data, "<f4")):
                digest.update(np.ascontiguousarray(array, dtype=kind).data)
        if self.confidence is not None:
            digest.update(b"weights" + np.ascontiguousarray(self.confidence, dtype="<f4").tobytes())
        if self.cold is not None:
            digest.update(b"cold" + self.cold.new.tobytes() + self.cold.groups.astype("<i4").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the matrices into a folder, one .npz each, and the confidence as .npy."""
        for name, matrix in self._named().items():
            sp.save_npz(folder / f"{name}.npz", matrix, compressed=False)
        if self.confidence is not None:
            np.save(folder / _CONFIDENCE, self.confidence, allow_pickle=False)
        if self.cold is not None:
            np.savez(folder / _COLD, new=self.cold.new, groups=self.cold.groups)

    @classmethod
    def load(cls, folder: Path) -> Inputs:
        """Return what `save` wrote."""
        found = {
            name: sp.csr_matrix(sp.load_npz(path))
            for name in (*_MATRICES, _FEATURES)
            if (path := folder / f"{name}.npz").exists()
        }
        features, histories = found.get(_FEATURES), found.get("validation_histories")
        pair = None if histories is None else (histories, found["validation_held_out"])
        confidence = folder / _CONFIDENCE
        return cls(
            found["fit"],
            found["histories"],
            pair,
            np.load(confidence, allow_pickle=False) if confidence.exists() else None,
            None if features is None else _load_cold(folder, features),
        )

    @property
    def learned(self) -> Inputs:
        """What models are fitted to and chosen on: without the columns of items that are held out whole."""
        if self.cold is None:
            return self
        known = np.flatnonzero(~self.cold.new)
        fit, histories = take_columns(self.fit, known), take_columns(self.histories, known)
        pair = self.validation
        validation = None if pair is None else (take_columns(pair[0], known), take_columns(pair[1], known))
        return Inputs(fit, histories, validation, self.confidence)

    def _named(self) -> dict[str, sp.csr_matrix]:
        own = dict(zip(_MATRICES, (self.fit, self.histories, *(self.validation or ())), strict=False))
        return own if self.cold is None else own | {_FEATURES: self.cold.features}


def _load_cold(folder: Path, features: sp.csr_matrix) -> ColdItems:
    with np.load(folder / _COLD, allow_pickle=False) as found:
        return ColdItems(found["new"], features, found["groups"])


@dataclass(frozen=True)
class Job:
    """What is to be done: try settings, take the best by NDCG@20 on the validation users, rank the test users.

    Attributes:
        kind: Of the model.
        trials: Settings to try, complete, in this order; the first of equal ones is taken.
        exclude_owned: Whether lists leave out what a history holds.
        length: Of the ranked lists.
        diversities: Lists are also made with each of these, of length `diverse_length`; see `rank_diverse`.
        diverse_length: Of these lists.
    """

    kind: str
    trials: tuple[dict[str, Any], ...]
    exclude_owned: bool
    length: int
    diversities: tuple[float, ...] = ()
    diverse_length: int = 20

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a job.

    Attributes:
        config: The settings that were measured, resolved.
        qualities: NDCG@20 on the validation users, one for each trial that was begun; None where it failed.
        seconds: Wall time of trying, choosing and ranking.
        peak_bytes: The most memory that the process has held; None where that is not known.
        epochs: Of the training that was measured: {"epoch", "loss", "recall@20"}.
        ranked: int32 (B, length), items, best first, -1 padded.
        scores: float32 (B, length), NaN at padding.
        cut: What was left out for lack of time, in words; None where nothing was.
        diverse: int32 (D, B, k), the lists with each diversity; None, or D = 0: there are none.
    """

    config: dict[str, Any]
    qualities: list[float | None]
    seconds: float
    peak_bytes: int | None
    epochs: list[dict[str, Any]]
    ranked: NDArray[np.int32]
    scores: NDArray[np.float32]
    cut: str | None = None
    diverse: NDArray[np.int32] | None = None

    def write(self, file: BinaryIO) -> None:
        """Write an .npz: the arrays, and the rest as JSON in bytes."""
        facts = {
            name: value for name, value in vars(self).items() if name not in ("ranked", "scores", "diverse")
        }
        text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        arrays: dict[str, Any] = {"ranked": self.ranked, "scores": self.scores, "facts": text}
        if self.diverse is not None:
            arrays["diverse"] = self.diverse
        np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """Return what `write` wrote.

        Raises:
            ValueError: the file is no such result.
            OSError: it cannot be read.
        """
        content = io.BytesIO(path.read_bytes())
        try:
            with np.load(content) as arrays:  # which never unpickles
                facts = json.loads(arrays["facts"].tobytes())
                found = cls(**facts, **{name: arrays[name] for name in arrays.files if name != "facts"})
        except Exception as error:  # a broken archive raises almost anything
            raise ValueError(f"'{path}' is not the result of a job ({error})") from error
        if (
            found.ranked.dtype != np.int32
            or found.ranked.ndim != 2
            or found.scores.shape != found.ranked.shape
        ):
            raise ValueError(f"'{path}' is not the result of a job (its lists are not)")
        return found


@dataclass(frozen=True)
class TrialDone:
    """A trial of a job has ended.

    Attributes:
        number: From 1.
        of: How many there may be.
        quality: NDCG@20 on the validation users; None where there are none, or it failed.
        seconds: That it took.
        failed: Why there is no model; None where there is one.
    """

    number: int
    of: int
    quality: float | None
    seconds: float
    failed: str | None


JobEvent = TrialDone | EpochDone | Message
"""What a job tells."""


def do_job(
    job: Job,
    inputs: Inputs,
    on_event: Callable[[JobEvent], None] = ignore,
    seconds: float | None = None,
) -> Outcome:
    """Try the settings of a job on the validation users, and ranks the test users with the best of them.

    Args:
        job: What to do.
        inputs: The purchases to do it on.
        on_event: Called with the events of the job.
        seconds: No trial is begun that is likely to outlast them, and one that is trained in epochs is stopped, so
            that its best epoch counts; None: no limit.

    Raises:
        TrainingError: No trial gives a model; the reason of the first.
    """
    started = time.monotonic()
    deadline = None if seconds is None else started + (1 - LEFT_FOR_RANKING) * seconds
    learned = inputs.learned
    task = TrialTask(learned.fit, learned.validation, learned.confidence, job.exclude_owned, metric=QUALITY)
    solved: Solved = {}
    qualities: list[float | None] = []
    reasons: list[str] = []
    best: Trial | None = None
    cut, slowest = None, 0.0

    def tell(event: TrialEvent) -> None:
        if isinstance(event, EpochDone | Message):
            on_event(event)

    for number, settings in enumerate(job.trials, start=1):
        if qualities and deadline is not None and time.monotonic() + slowest > deadline:
            cut = f"{len(qualities)} of {len(job.trials)} trials fitted into its share of the budget"
            break
        trial = run_trial(job.kind, settings, task, deadline, tell, fit=fit_kind, solved=solved)
        qualities.append(trial.mean)
        slowest = max(slowest, trial.seconds)
        reason: str | None = None
        if trial.ended == "deadline":
            end = "had not finished an epoch at" if trial.model is None else "was stopped by"
            cut = f"trial {number} {end} the end of its share of the budget"
        if trial.model is None:
            reason = cut if trial.ended == "deadline" else trial.reason
            reasons.append(reason or "")
        elif best is None or _order(trial) > _order(best):  # only the best one stays in memory
            best = trial
        on_event(TrialDone(number, len(job.trials), trial.mean, trial.seconds, reason))
    if best is None or best.model is None:
        raise TrainingError(reasons[0])
    config = dict(best.model.config())
    diverse = None
    if inputs.cold is None:
        ranked, scores = rank_with_scores(best.model, inputs, job)
        if job.diversities:
            diverse = rank_diverse(
                best.model,
                inputs.fit,
                inputs.histories,
                job.diversities,
                job.diverse_length,
                exclude_owned=job.exclude_owned,
                on_message=lambda text: on_event(Message(text)),
            )
    else:
        (ranked, scores), chosen = rank_cold(
            best.model, learned.fit, learned.histories, inputs.cold, job.length
        )
        config |= chosen
    return Outcome(
        config=config,
        qualities=[] if inputs.validation is None else qualities,
        seconds=time.monotonic() - started,
        peak_bytes=peak_memory(),
        epochs=[{"epoch": e.epoch, "loss": e.loss, "recall@20": e.recall} for e in best.epochs],
        ranked=ranked,
        scores=scores,
        cut=cut,
        diverse=diverse,
    )


def _order(trial: Trial) -> float:
    return -np.inf if trial.mean is None else trial.mean


def rank_with_scores(model: Model, inputs: Inputs, job: Job) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the test users' lists and their scores, NaN where a list is padded, (B, length) both."""
    ranked, scores = rank_histories(model, inputs.histories, job.length, exclude_owned=job.exclude_owned)
    scores[ranked == PADDING] = np.nan
    return ranked, scores
