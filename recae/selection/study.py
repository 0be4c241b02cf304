"""Study of a tuning: Optuna proposes settings and stores the result of every trial.

Proposals depend on the trials that ended and on the number of the next one, not on how often the tuning was
interrupted: the random numbers begin anew with each trial.

The file of a study is an Optuna journal (`optuna.storages.journal.JournalFileBackend`), one JSON object a line,
written at its end only, so that whatever stops a tuning leaves all trials that ended. It is begun, resumed and
checked here, and never shared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recae.errors import CheckpointError, ConfigError, OutputError
from recae.files import atomic_path, check_writable
from recae.kinds import Dimension
from recae.locks import locked
from recae.renamed import RENAMED, current_names
from recae.selection.space import State, TunedTrial

if TYPE_CHECKING:
    import optuna

RANDOM_TRIALS = 8
"""Number of trials before proposals follow the results, and before an importance of settings is given."""

UNPRUNED_TRIALS = 4
"""Number of complete trials before another is compared with their median."""


class Study:
    """Trials that ended, and what to try next; in memory or in a file."""

    def __init__(self, study: optuna.Study, path: Path | None) -> None:
        """Wrap an Optuna study; `path` is its file, None in memory."""
        self._study, self._path = study, path

    @property
    def trials(self) -> list[TunedTrial]:
        """Return the trials that ended, in their order, without interrupted ones."""
        from optuna.trial import TrialState

        states: dict[TrialState, State] = {
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "pruned",
            TrialState.FAIL: "failed",
        }
        found: list[TunedTrial] = []
        for trial in self._study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            failed = trial.state == TrialState.FAIL
            if (
                trial.state not in states
                or "reason" not in attributes
                or (failed and not attributes["reason"])
            ):
                continue
            value = None if failed or trial.value is None else float(trial.value)
            found.append(
                TunedTrial(
                    len(found) + 1,
                    states[trial.state],
                    value,
                    attributes["settings"],
                    attributes["epochs"],
                    attributes["seconds"],
                    attributes["reason"],
                )
            )
        return found

    def add(
        self,
        ended: TunedTrial,
        dimensions: Sequence[Dimension],
        params: Mapping[str, Any],
        by_epoch: Mapping[int, float],
    ) -> None:
        """Store a trial that was not proposed here: the defaults, with values for all dimensions."""
        from optuna.trial import create_trial

        known = ended.state != "failed"
        with self._writing():
            self._study.add_trial(
                create_trial(
                    state=_state(ended.state),
                    value=ended.value,
                    params=dict(params) if known else {},
                    distributions={d.name: _distribution(d) for d in dimensions} if known else {},
                    user_attrs=_attributes(ended),
                    intermediate_values=dict(by_epoch),
                )
            )

    def ask(self, dimensions: Sequence[Dimension], number: int, seed: int) -> optuna.Trial:
        """Propose the parameters of a trial: at random at first, later by TPE (Bergstra et al. 2011)."""
        from optuna.samplers import TPESampler

        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=drawn, constant_liar=False)
        with self._writing():
            return self._study.ask({d.name: _distribution(d) for d in dimensions})

    def lags(self, trial: optuna.Trial, value: float, epoch: int, epochs: int) -> bool:
        """Store the value after an epoch; return whether the trial is to be stopped.

        It is where the best of its epochs so far is below the median that the complete trials had at this epoch, but
        not in the first third of the epochs.
        """
        from optuna.pruners import MedianPruner

        self._study.pruner = MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=epochs // 3)
        with self._writing():
            trial.report(value, epoch)
            return trial.should_prune()

    def finish(self, trial: optuna.Trial, ended: TunedTrial) -> None:
        """Store the result of a proposed trial."""
        with self._writing():
            for name, value in _attributes(ended).items():
                trial.set_user_attr(name, value)
            complete = ended.state == "complete"
            self._study.tell(trial, ended.value if complete else None, state=_state(ended.state))

    def importance(self) -> dict[str, float]:
        """Return how much each setting decides which trials do well, as fractions of 1, the greatest first.

        By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255); empty before there are `RANDOM_TRIALS` complete trials
        that differ.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        values = [trial.value for trial in self.trials if trial.state == "complete"]
        if len(values) < RANDOM_TRIALS or len(set(values)) < 2:
            return {}
        found = get_param_importances(
            self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=1 / 3)
        )
        return {name: float(fraction) for name, fraction in found.items()}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write to the study '{self._path}': {error.strerror or error}; free some space, or choose "
                "another path with --study"
            ) from error


def _state(state: State) -> Any:
    from optuna.trial import TrialState

    return {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state]


def _attributes(ended: TunedTrial) -> dict[str, Any]:
    return {
        "settings": dict(ended.settings),
        "epochs": ended.epochs,
        "seconds": ended.seconds,
        "reason": ended.reason,
    }


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.scale == "list":
        return CategoricalDistribution(dimension.choices)
    if dimension.whole:
        return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


_NAME = "recae"
_IDENTITY = "identity"

SEARCHED = "searched"
"""Entry of a study's identity that says in words what is searched, and between which bounds."""


def check_optuna() -> None:
    """Raise ConfigError where Optuna is missing, with the command that installs it."""
    try:
        import optuna  # noqa: F401  (asked for here, used below)
    except ImportError as error:
        raise ConfigError("tuning needs Optuna, which is not installed: pip install 'recae[tune]'") from error


def check_study(path: Path, resume: bool) -> None:
    """Check, before any work, that a study can be begun, or with `resume` resumed, in this file.

    Raises:
        OutputError: it cannot be written to or, to begin, is there already.
        CheckpointError: there is none to resume.
    """
    if resume and not path.exists():
        raise CheckpointError(
            f"there is no study '{path}' to go on from; tune without --resume, or name one with --study"
        )
    check_writable(path)
    if not resume and path.exists():
        raise OutputError(
            f"cannot begin a study in '{path}': the file is there already; go on from it with --resume, remove it, or "
            "choose another path with --study"
        )


@contextmanager
def open_study(path: Path | None, resume: bool, identity: Mapping[str, Any]) -> Iterator[Study]:
    """Open a new study, or with `resume` the one in the file; with no path it is in memory only.

    The file is locked meanwhile. A file that holds no complete trial at the end is removed.

    Raises:
        OutputError: as `check_study`.
        CheckpointError: as `check_study`, or the file is no study, damaged or in use, or belongs to another
            `identity`; the message lists what differs.
    """
    import optuna

    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what is to be said is said here
    try:
        if path is None:
            yield Study(_new(optuna.storages.InMemoryStorage(), identity), None)
            return
        check_study(path, resume)
        if resume:
            _trim(path)
            _rename(path)
        with _held(path):
            study = (_load if resume else _begin)(path, identity)
            try:
                yield study
            finally:
                if not any(trial.state == "complete" for trial in study.trials):
                    path.unlink(missing_ok=True)
    finally:
        optuna.logging.set_verbosity(told)


def _begin(path: Path, identity: Mapping[str, Any]) -> Study:
    return Study(_new(_storage(path), identity), path)


def _new(storage: Any, identity: Mapping[str, Any]) -> optuna.Study:
    import optuna

    study = optuna.create_study(storage=storage, study_name=_NAME, direction="maximize")
    study.set_user_attr(_IDENTITY, dict(identity))
    return study


def _load(path: Path, identity: Mapping[str, Any]) -> Study:
    import optuna
    from optuna.trial import TrialState

    try:
        study = optuna.load_study(
            study_name=_NAME, storage=_storage(path), sampler=optuna.samplers.RandomSampler()
        )
        was = dict(study.user_attrs[_IDENTITY])
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # what an interruption left
        found = Study(study, path)
        found.trials  # noqa: B018  reads them all, so that damage is found here
    except OSError:
        raise
    except Exception as error:  # Optuna raises whatever a damaged line leads to
        raise _damaged(path, error) from error
    _compare(path, was, identity)
    return found


def _storage(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def _trim(path: Path) -> None:
    """Remove the line that was being written when the power went; only of a file that is a study."""
    try:
        content = path.read_bytes()
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        for line in lines:
            if "op_code" not in json.loads(line):
                raise ValueError("a line is no entry of a study")
        if not lines:
            raise ValueError("it has no complete line")
    except OSError as error:
        raise CheckpointError(
            f"cannot read the study '{path}': {error.strerror or error}; name another one with --study"
        ) from error
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from error
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _rename(path: Path) -> None:
    """Give the settings in a study of an earlier version their names of today; the file is replaced whole."""
    with _held(path):
        was = [json.loads(line) for line in path.read_bytes().splitlines()]
        now = [_translated(entry) for entry in was]
        if now != was:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(json.dumps(entry) + "\n" for entry in now), encoding="utf-8")


def _translated(value: Any) -> Any:
    """Return an entry of a study, or a part of it, with the names of today wherever settings are named."""
    if isinstance(value, list):
        return [_translated(part) for part in value]
    if not isinstance(value, dict):
        return value
    found = {key: _translated(part) for key, part in current_names(value).items()}
    if found.get("param_name") in RENAMED:
        found["param_name"] = RENAMED[found["param_name"]]
    if isinstance(found.get(SEARCHED), str):
        found[SEARCHED] = re.sub(r"\w+", lambda word: RENAMED.get(word[0], word[0]), found[SEARCHED])
    return found


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the file of a study, which is created where it is not there."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, os.O_RDWR | os.O_CREAT | os.O_APPEND))
        except BlockingIOError as error:
            raise CheckpointError(
                f"the study '{path}' is in use by another tuning: wait for its end, or name another one with --study"
            ) from error
        yield


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"cannot go on from '{path}': it is empty, damaged or no study of recae tune "
        f"({' '.join(str(error).split())[:200]}); name another one with --study, or tune without --resume"
    )


def _compare(path: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))  # as the file has it
    names = [*now, *(name for name in was if name not in now)]
    differ = [name for name in names if name not in was or name not in now or was[name] != now[name]]
    differ = [name for name in differ if name != SEARCHED] or differ  # which follows from the others
    if differ:
        listed = "; ".join(f"{name}: was {_shown(was, name)}, is {_shown(now, name)}" for name in differ)
        raise CheckpointError(
            f"cannot go on from '{path}': it belongs to other data or other settings ({listed}); give the same, or "
            "tune without --resume and with another --study"
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name])[:60] if name in values else "not there"
