"""Selection of the kind of model on validation users, within a time budget (the kind `auto`)."""

from __future__ import annotations

import difflib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import model_validator

from recae.errors import ConfigError, TrainingError
from recae.evaluation import evaluate
from recae.evaluation.intervals import Interval, Paired, bootstrap_mean, paired_difference
from recae.kinds import MAIN, SETTINGS, Size, find, is_simple, known, parts_of, seconds_for
from recae.models import Model
from recae.models.blend import Blend, Part, summands
from recae.selection.trial import (
    FAILURES,
    EpochDone,
    Fit,
    Message,
    Started,
    Trial,
    TrialEvent,
    TrialTask,
    UsersDone,
    run_trial,
    sentence,
)
from recae.selection.weights import Candidates
from recae.settings import LARGEST_SEED, PARTS, Settings, build_settings, setting
from recae.text import human_seconds
from recae.training.callbacks import Hooks
from recae.training.checkpoint import BEST_EPOCHS, Epoch, best_epoch

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


BUDGET = "a time from 1s to 720h, such as 90s, 10m or 1h"
"""What `AutoSettings.budget` is."""


class AutoSettings(Settings):
    """Settings of the kind `auto`."""

    budget: float | str = setting(
        "10m", "time for all of it: seconds, or such as 90s, 10m, 1h", wanted=BUDGET
    )
    candidates: str | None = setting(
        None,
        "kinds to try, joined by commas, besides popularity and itemknn; None: ease or sparse-linear, sigmoid, blend "
        "and multvae, and frequency with repeat purchases",
    )
    parts: Mapping[str, Any] = setting(
        {}, 'settings of the candidates, by dotted names: "sigmoid.factors" → 256', wanted=PARTS
    )
    seed: int = setting(0, "of everything random, the candidates' included", ge=0, le=LARGEST_SEED)

    @model_validator(mode="after")
    def _candidates_suit(self) -> Self:
        seconds_of(self.budget)
        kinds = self.kinds()
        for name in self.parts:
            kind = name.partition(".")[0]
            if kind not in kinds:
                raise ConfigError(
                    f"the candidates are {', '.join(kinds)}, so that '{name}' sets nothing: leave it out, or name "
                    "that kind in candidates"
                )
        for kind in kinds:
            if is_simple(kind):
                build_settings(kind, SETTINGS[kind], self.settings(kind))
        return self

    def kinds(self) -> tuple[str, ...]:
        """Return what is tried, in no order; ConfigError for a name that no kind has."""
        named = parts_of("auto", self.candidates, repeats=True)
        if self.candidates is None:
            return named
        suiting = [kind for kind in known() if is_simple(kind) or kind == Blend.kind]
        for kind in named:
            if kind not in suiting:
                near = difflib.get_close_matches(kind, suiting, n=1)
                hint = f"did you mean '{near[0]}'?" if near else "choose among these"
                raise ConfigError(
                    f"candidates are some of {', '.join(suiting)} joined by commas, found '{kind}': {hint}"
                )
        return tuple(dict.fromkeys([*always_tried(), *named]))

    def settings(self, kind: str) -> dict[str, Any]:
        """Return the settings of a candidate, without the part of the name before the dot."""
        own = {n.removeprefix(f"{kind}."): v for n, v in self.parts.items() if n.startswith(f"{kind}.")}
        return {"seed": self.seed} | own


def always_tried() -> list[str]:
    """Return what is tried however short the budget is, the cheapest first."""
    return [row.name for row in reversed(tuple(known().values())) if row.auto.always]


def seconds_of(budget: float | str) -> float:
    """Return a budget in seconds: 90, "90", "90s", "10m" or "1h"; ConfigError for anything else, and beyond 30 days."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", str(budget).strip().lower())
    seconds = float(found[1]) * _UNITS[found[2]] if found else math.nan
    if isinstance(budget, bool) or not 1 <= seconds <= 30 * 86_400:
        raise ConfigError(f"budget is {BUDGET}, found {budget!r}: give one")
    return seconds


CLOSE = 0.005
"""Fraction of the best mean that a cheaper model may lack at most."""

BYTES_PER_SECOND = 10e6
"""Bytes of a model that count as much as a second of fitting: 10 MB."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A model that was fitted and measured.

    Attributes:
        name: What it is called, its kind.
        model: As it was fitted.
        epochs: Of its training.
        settings: What it was fitted with, apart from the defaults.
        values: NDCG@20 of each validation user, (B,), NaN for those without anything held out.
        cost: Seconds that fitting it takes by the rule of thumb, the same each time.
        note: What else is to be said of it.
    """

    name: str
    model: Model
    epochs: list[Epoch]
    settings: Mapping[str, Any]
    values: NDArray[np.float64]
    cost: float
    note: str = ""
    interval: Interval = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval", bootstrap_mean(self.values))

    @property
    def mean(self) -> float:
        """Mean NDCG@20 over the users."""
        return self.interval.mean

    @property
    def bytes(self) -> int:
        """Of the model's parameters."""
        return sum(array.nbytes for array in self.model.arrays().values())

    def in_words(self) -> str:
        """Return such as "sigmoid 0.2391 [0.2300, 0.2520]"."""
        return f"{self.name} {self.mean:.4f}{_bounds(self.interval)}"


@dataclass(frozen=True)
class Selected:
    """The trial that was chosen, why, and how far each trial falls short of the best, in the order of the trials."""

    chosen: Tried
    why: str
    behind: tuple[Paired, ...]


def choose(trials: Sequence[Tried]) -> Selected:
    """Choose the trial with the best mean, or the cheapest one close to it.

    Close is what cannot be told from the best and lacks at most `CLOSE` of its mean. Two trials cannot be told apart
    where the 95 % interval of the paired difference over the users holds 0, or is not known, as with a single user.
    Cheap is what takes little time to fit and little space to store.
    """
    best = max(trials, key=lambda trial: (trial.mean, -_price(trial)))
    behind = tuple(paired_difference(best.values, trial.values) for trial in trials)
    same = [
        trial
        for trial, gap in zip(trials, behind, strict=True)
        if trial is not best and not gap.low > 0  # NaN: one user tells nothing
    ]
    close = [trial for trial in same if trial.mean >= (1 - CLOSE) * best.mean]
    chosen = min([best, *close], key=_price)
    return Selected(chosen, _why(trials, behind, best, same, chosen), behind)


def _why(
    trials: Sequence[Tried], behind: Sequence[Paired], best: Tried, same: Sequence[Tried], chosen: Tried
) -> str:
    others = sorted((t for t in trials if t is not best), key=lambda t: -t.mean)
    if chosen is not best:
        return (
            f"{best.in_words()}; {chosen.name} {chosen.mean:.4f}: not distinguishable, "
            f"chosen because it is {_cheaper(chosen, best)}"
        )
    if not others:
        return f"{best.in_words()} is chosen, since nothing else could be tried"
    if not same:
        gap = behind[list(trials).index(others[0])]
        return (
            f"{best.in_words()} is chosen, the best; {others[0].name} {others[0].mean:.4f} comes next, "
            f"{gap.mean:.4f}{_bounds(gap)} behind"
        )
    listed = ", ".join(f"{trial.name} {trial.mean:.4f}" for trial in sorted(same, key=lambda t: -t.mean))
    return (
        f"{best.in_words()} is chosen, the best; not distinguishable from it, but more than "
        f"{CLOSE:.1%} lower or no cheaper: {listed}"
    )


def _price(trial: Tried) -> float:
    return trial.cost + trial.bytes / BYTES_PER_SECOND


def _cheaper(trial: Tried, than: Tried) -> str:
    smaller, faster = trial.bytes < than.bytes, trial.cost < than.cost
    return "smaller and faster to fit" if smaller and faster else "smaller" if smaller else "faster to fit"


def _bounds(interval: Interval | Paired) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:.4f}, {interval.high:.4f}]"


PARTS_AT_MOST = 3
"""Number of models that are blended: the best of those tried."""

TRUST = 10.0
"""Seconds for which the rule of thumb is believed before what ran corrects it."""


class Search:
    """The candidates tried so far, and the time that is left."""

    def __init__(
        self,
        matrix: sp.csr_matrix,
        config: AutoSettings,
        validation: tuple[sp.csr_matrix, sp.csr_matrix],
        hooks: Hooks,
        exclude_owned: bool,
        fit: Fit,
    ) -> None:
        self.fit, self.config, self.validation, self.hooks = fit, config, validation, hooks
        shared = {} if hooks.neighbours is None else hooks.neighbours
        self.task = TrialTask(
            matrix, validation, hooks.confidence, exclude_owned, hooks.device, neighbours=shared
        )
        self.exclude_owned = exclude_owned
        self.budget = seconds_of(config.budget)
        self.deadline = time.monotonic() + self.budget
        self.size = Size.of(matrix, validation[0].shape[0])
        self.trials: list[Tried] = []
        self.skipped: dict[str, str] = {}
        self._took, self._cost = (
            TRUST,
            TRUST,
        )  # seconds that were taken, and that were expected by the rule of thumb

    def run(self) -> None:
        """Try one candidate after the other."""
        queue = self._order()
        n_users = self.validation[0].shape[0]
        self.hooks.on_message(
            f"trying {', '.join(queue)} within {human_seconds(self.budget)}, comparing NDCG@20 on {n_users:,} users"
        )
        for kind in queue:
            reason = self._reason_to_skip(kind)
            if reason is None:
                reason = self._try(kind)
            if reason is not None:
                self.skipped[kind] = reason
                self.hooks.on_message(f"{kind} is left out: {reason}")

    def report(self, selected: Selected) -> dict[str, Any]:
        """Return what was tried and why one was chosen, as JSON values; without times, which differ each time."""
        return {
            "metric": "ndcg@20",
            "n_users": int(np.isfinite(selected.chosen.values).sum()),
            "budget": self.config.budget,
            "tried": [
                {
                    "kind": trial.name,
                    "settings": dict(trial.settings if trial.name == "blend" else trial.model.config()),
                    "ndcg@20": trial.mean,
                    "interval": _finite(trial.interval.low, trial.interval.high),
                    "behind_the_best": _finite(gap.mean, gap.low, gap.high),
                    "bytes": trial.bytes,
                    "note": trial.note,
                }
                for trial, gap in zip(self.trials, selected.behind, strict=True)
            ],
            "skipped": [{"kind": kind, "reason": reason} for kind, reason in self.skipped.items()],
            "chosen": selected.chosen.name,
            "why": selected.why,
        }

    def best_epochs(self, chosen: Tried) -> dict[str, int]:
        """Return kind → the epoch whose model was taken, of what was chosen, or of the parts of the blend."""
        kinds = [part.model.kind for part in summands(chosen.model)]
        tried = [trial for trial in self.trials if trial.name in kinds and trial.epochs]
        return {trial.name: best_epoch(trial.epochs) for trial in tried}

    def _order(self) -> list[str]:
        """Return the cheap ones that are always tried, then the others by their promise per second."""
        rows = [find(kind) for kind in self.config.kinds()]
        if self.exclude_owned and self.config.candidates is None:
            rows = [row for row in rows if not row.needs_repeats]
        rest = [row for row in rows if not row.auto.always]
        rest.sort(key=lambda row: (row.auto.turn, seconds_for(row.name, self.size) / row.auto.promise))
        return [*(row.name for row in rows if row.auto.always), *(row.name for row in rest)]

    def _expected(self, kind: str) -> float:
        """Return the expected seconds, by the rule of thumb and the speed of this machine so far."""
        return self._took / self._cost * seconds_for(kind, self.size)

    def _reason_to_skip(self, kind: str) -> str | None:
        row = find(kind)
        if row.auto.always:
            return None
        if row.needs_repeats and self.exclude_owned:
            return "it ranks what a user owns, which is left out without repeat purchases (--repeats)"
        if kind == "blend" and len(self._blendable()) < 2:
            return "it needs two models to blend, besides popularity"
        left, expected = self.deadline - time.monotonic(), self._expected(kind)
        if expected > left:
            of, left_over = human_seconds(self.budget), human_seconds(max(left, 0))
            return f"it takes about {human_seconds(expected)}, and of {of} {left_over} are left"
        better = row.auto.instead_of
        if better and self.config.candidates is None and any(trial.name == better for trial in self.trials):
            return f"{better} fits, of which it is an approximation"
        return None

    def _try(self, kind: str) -> str | None:
        """Fit and measure a candidate; return why it could not be done, None if it could."""
        started = time.monotonic()
        cost = seconds_for(kind, self.size)
        if kind == "blend":
            try:
                found = self._blend(cost)
            except FAILURES as error:
                return sentence(error)
        else:
            trial = self._trial(kind)
            if trial.model is None or trial.quality is None:
                return trial.reason
            note = ""
            if trial.ended == "deadline":
                after = f"after epoch {len(trial.epochs)} " if trial.epochs else ""
                note = f"stopped {after}by the end of the budget"
            found = Tried(kind, trial.model, trial.epochs, trial.settings, trial.quality, cost, note)
        self.trials.append(found)
        took = time.monotonic() - started
        if not found.note.startswith("stopped"):
            self._took, self._cost = self._took + max(took - 1, 0), self._cost + cost  # a second for imports
        size, note = f"{found.bytes / 2**20:,.1f} MiB", found.note and f", {found.note}"
        self.hooks.on_message(f"{found.in_words()} in {human_seconds(took)}, {size}{note}")
        return None

    def _trial(self, kind: str) -> Trial:
        """Return a candidate, fitted until the budget ends."""
        return run_trial(
            kind,
            self.config.settings(kind),
            self.task,
            self.deadline,
            self._tell,
            fit=self.fit,
            solved=self.hooks.solved,
        )

    def _tell(self, event: TrialEvent) -> None:
        hooks = self.hooks
        match event:
            case Started() if hooks.on_start is not None:
                hooks.on_start(event.epochs, event.users)
            case UsersDone() if hooks.on_users is not None:
                hooks.on_users(event.done)
            case EpochDone() if hooks.on_epoch is not None:
                hooks.on_epoch(event.epoch)
            case Message():
                hooks.on_message(event.text)

    def _blendable(self) -> list[Tried]:
        """Return the models of a blend: the best of those tried."""
        found = [trial for trial in self.trials if is_simple(trial.name) and find(trial.name).personal]
        return sorted(found, key=lambda trial: -trial.mean)[:PARTS_AT_MOST]

    def _blend(self, cost: float) -> Tried:
        """Return a blend of models that are there already; only the weights are chosen."""
        of = self._blendable()
        models = [trial.model for trial in of]
        candidates = Candidates.of(models, self.validation, exclude_owned=self.exclude_owned)
        weights, spreads = candidates.choose(), candidates.spreads
        used = [(t, float(w), s) for t, w, s in zip(of, weights, spreads, strict=True) if w > 0]
        if len(used) < 2:
            raise TrainingError(f"no blend is distinguishably better than {used[0][0].name} alone")
        names = ",".join(trial.name for trial, _, _ in used)
        model = Blend(
            tuple(Part(trial.model, weight, spread) for trial, weight, spread in used),
            {"components": names, "seed": self.config.seed},
        )
        epochs = next((trial.epochs for trial, _, _ in used if trial.epochs), [])
        note = " + ".join(f"{weight:.2f} {trial.name}" for trial, weight, _ in used)
        values = evaluate(model, *self.validation, (20,), exclude_owned=self.exclude_owned).values["ndcg@20"]
        cost += sum(t.cost for t, _, _ in used)
        return Tried("blend", model, epochs, {"components": names}, values, cost, note)


def _finite(*numbers: float) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in numbers]


__all__ = ["AutoSettings", "fit_auto"]


def fit_auto(
    matrix: sp.csr_matrix,
    config: AutoSettings,
    validation: tuple[sp.csr_matrix, sp.csr_matrix] | None,
    hooks: Hooks,
    *,
    exclude_owned: bool = True,
    fit: Fit,
) -> tuple[Model, list[Epoch], dict[str, Any]]:
    """Try the candidates on `matrix` ((U, I) CSR) and choose by NDCG@20 on the validation users; see `choose`.

    As much is tried as the budget allows, the most promising for its time first. A candidate is skipped when it is
    expected to take longer than is left, or when memory is short; one that is trained in epochs is stopped at the end
    of the budget, and its best epoch counts. Without validation users the sigmoid autoencoder is trained.

    Returns:
        The model, its epochs, and under "auto" what was tried, what was skipped and why, and why this one was chosen,
        as JSON values.

    Raises:
        TrainingError: nothing could be fitted.
    """
    if validation is None or not validation[1].nnz:
        why = "there are no validation users to compare the kinds on"
        hooks.on_message(f"{why}: training {MAIN}")
        model, epochs = fit(MAIN, config.settings(MAIN), matrix, None, hooks)
        return model, epochs, {"auto": {"tried": [], "skipped": [], "chosen": MAIN, "why": why}}
    search = Search(matrix, config, validation, hooks, exclude_owned, fit)
    search.run()
    if not search.trials:
        reasons = "; ".join(f"{kind}: {reason}" for kind, reason in search.skipped.items())
        raise TrainingError(f"none of the candidates could be fitted ({reasons}): name others in candidates")
    selected = choose(search.trials)
    report = search.report(selected)
    hooks.on_message(f"auto: {report['why']}")
    chosen = selected.chosen
    best = search.best_epochs(chosen)
    return chosen.model, chosen.epochs, {"auto": report, **({BEST_EPOCHS: best} if best else {})}
