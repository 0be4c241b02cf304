"""The process that does one job of a comparison: `python -m recae.selection.worker FOLDER`, with job.json inside.

It tells how far it is by lines of JSON on stdout, writes result.npz beside the job, and ends with whoever started it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.errors import RecaeError, TrainingError
from recae.evaluation import evaluate
from recae.kinds import take_over
from recae.machine import peak_memory
from recae.models import Model
from recae.ranking import PADDING, rank_histories
from recae.selection.fit import fit_config, make_config, weighs
from recae.selection.jobs import Inputs, Job, Outcome
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch

Tell = Callable[[dict[str, Any]], None]

QUALITY = "ndcg@20"
"""What settings are chosen by, on the validation users."""

LEFT_FOR_RANKING = 0.15
"""Share of the time given that is left for ranking and what cannot be foreseen."""


class _OutOfTimeError(Exception):
    """The time ended within a trial."""


def main() -> None:
    """Does the job in the folder that the command line names; exit code 1 if it failed, told as an event."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; who started this ends it
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no event
    threading.Thread(target=_end_with_the_starter, daemon=True).start()

    def tell(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    if not run(Path(sys.argv[1]), tell):
        sys.exit(1)


def run(folder: Path, tell: Tell) -> bool:
    """Does the job in a folder; whether there is a result, else an event "error" has said in a sentence why not."""
    told = json.loads((folder / "job.json").read_text("utf-8"))
    _use_processors(told["threads"])
    try:
        if (kinds := folder / "kinds.pickle").exists():
            take_over(kinds.read_bytes())
        inputs = Inputs.load(Path(told["inputs"]))
        left = None if told["end"] is None else told["end"] - time.time()
        outcome = work(Job.from_dict(told["job"]), inputs, tell, left)
        with (folder / "result.npz").open("wb") as file:
            outcome.write(file)
    except Exception as error:  # whatever it is, the other models go on
        tell({"event": "error", "text": _reason(error)})
        return False
    return True


def work(job: Job, inputs: Inputs, tell: Tell, seconds: float | None = None) -> Outcome:
    """Tries the settings of a job on the validation users, and ranks the test users with the best of them.

    With `seconds` no trial is begun that is likely to outlast them, and one that is trained in epochs is stopped, so
    that its best epoch counts. Raises TrainingError, with the reason of the first, when no trial gives a model.
    """
    started = time.monotonic()
    deadline = None if seconds is None else started + (1 - LEFT_FOR_RANKING) * seconds
    qualities: list[float | None] = []
    reasons: list[str] = []
    best: tuple[float, Model, list[Epoch]] | None = None
    cut, slowest = None, 0.0
    solved: dict[tuple[str, Any], Model] = {}
    for number, settings in enumerate(job.trials, start=1):
        began = time.monotonic()
        if number > 1 and deadline is not None and began + slowest > deadline:
            cut = f"{number - 1} of {len(job.trials)} trials fitted into its share of the budget"
            break
        quality: float | None = None
        try:
            model, epochs, stopped = _fit(job, settings, inputs, tell, deadline, solved)
            quality = _quality(job, model, inputs)
            if stopped:
                cut = f"trial {number} was stopped by the end of its share of the budget"
            if best is None or quality > best[0]:
                best = quality, model, epochs
        except _OutOfTimeError:
            cut = f"trial {number} had not finished an epoch at the end of its share of the budget"
            reasons.append(cut)
        except (RecaeError, MemoryError) as error:
            reasons.append(_reason(error))
        qualities.append(None if quality is None or np.isnan(quality) else quality)
        slowest = max(slowest, time.monotonic() - began)
        tell(
            {
                "event": "trial",
                "number": number,
                "of": len(job.trials),
                QUALITY: qualities[-1],
                "seconds": time.monotonic() - began,
                "failed": reasons[-1] if quality is None else None,
            }
        )
    if best is None:
        raise TrainingError(reasons[0])
    _, model, epochs = best
    ranked, scores = rank_with_scores(model, inputs, job)
    return Outcome(
        config=dict(model.config()),
        qualities=[] if inputs.validation is None else qualities,
        seconds=time.monotonic() - started,
        peak_bytes=peak_memory(),
        epochs=[{"epoch": e.epoch, "loss": e.loss, "recall@20": e.recall} for e in epochs],
        ranked=ranked,
        scores=scores,
        cut=cut,
    )


def _fit(
    job: Job,
    settings: Mapping[str, Any],
    inputs: Inputs,
    tell: Tell,
    deadline: float | None,
    solved: dict[tuple[str, Any], Model],
) -> tuple[Model, list[Epoch], bool]:
    """A model, its epochs, and whether the deadline stopped it."""
    best: list[tuple[float, Model]] = []
    epochs: list[Epoch] = []
    planned = 0

    def validate(model: Model) -> float:
        recall = _mean(job, model, inputs, "recall")
        if not best or recall > best[0][0]:
            best[:] = [(recall, model)]
        return recall

    def on_start(number: int, n_users: int) -> None:
        nonlocal planned
        planned = number

    def on_users(done: int) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise _OutOfTimeError

    def on_epoch(epoch: Epoch) -> None:
        epochs.append(epoch)
        tell({"event": "epoch", "epoch": epoch.epoch, "of": planned, "recall@20": epoch.recall})

    hooks = Hooks(
        # the best epoch is kept here only where it may be needed: it is another model in memory
        validate=validate if deadline is not None and inputs.validation is not None else None,
        on_start=on_start,
        on_users=on_users,
        on_epoch=on_epoch,
        on_message=lambda text: tell({"event": "message", "text": text}),
        solved=solved,
        weights=inputs.weights if weighs(job.kind) else None,
    )
    config = make_config(job.kind, settings)
    try:
        fitted = fit_config(
            job.kind, config, inputs.fit, inputs.validation, hooks, exclude_owned=job.exclude_owned
        )
    except _OutOfTimeError:
        if not best:
            raise
        return best[0][1], epochs, True
    return fitted.model, fitted.epochs, False


def _quality(job: Job, model: Model, inputs: Inputs) -> float:
    return _mean(job, model, inputs, "ndcg") if inputs.validation is not None else float("nan")


def _mean(job: Job, model: Model, inputs: Inputs, metric: str) -> float:
    """A metric of lists of 20 on the validation users."""
    if inputs.validation is None:
        raise AssertionError
    found = evaluate(model, *inputs.validation, (20,), metrics=(metric,), exclude_owned=job.exclude_owned)
    return found.mean(f"{metric}@20")


def rank_with_scores(model: Model, inputs: Inputs, job: Job) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The test users' lists and the scores of what is in them, NaN where a list is padded, (B, length) both."""
    ranked, scores = rank_histories(model, inputs.histories, job.length, exclude_owned=job.exclude_owned)
    scores[ranked == PADDING] = np.nan
    return ranked, scores


def _use_processors(threads: int | None) -> None:
    """Leaves this process so many of the processors it may use, where the system can say so."""
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _end_with_the_starter() -> None:
    """Ends this process when stdin does: whoever started it holds the other end, and is gone."""
    # not by sys.stdin, whose lock this thread would still hold when Python ends, which then aborts
    while os.read(0, 4096):
        pass
    os._exit(3)


def _reason(error: BaseException) -> str:
    """One sentence on what went wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, RecaeError):
        return text
    if isinstance(error, MemoryError):
        return f"there is not enough memory for it{text and f' ({text})'}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main()
