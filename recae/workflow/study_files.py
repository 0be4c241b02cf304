"""The file of a study: an Optuna journal that is begun, gone on with, checked and never shared.

The journal (`optuna.storages.journal.JournalFileBackend`) is one JSON object a line, written at its end only, so that
whatever stops a tuning leaves all trials that ended.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from recae.errors import CheckpointError, ConfigError, OutputError
from recae.files import check_writable
from recae.workflow.studies import Study

if TYPE_CHECKING:
    import optuna

_NAME = "recae"
_IDENTITY = "identity"

SEARCHED = "searched"
"""Entry of a study's identity that says in words what is searched, between which bounds."""


def check_optuna() -> None:
    """Raises ConfigError where Optuna is missing, with the command that installs it."""
    try:
        import optuna  # noqa: F401  (asked for here, used below)
    except ImportError as error:
        raise ConfigError("tuning needs Optuna, which is not installed: pip install 'recae[tune]'") from error


def check_study(path: Path, resume: bool) -> None:
    """Makes sure, before any work, that a study can be begun, or with `resume` gone on with, in this file.

    Raises OutputError when it cannot be written to or, to begin, is there already, CheckpointError when there is none.
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
    """A new study, or with `resume` the one in the file; with no path it is in memory only.

    Nobody else goes on with the file meanwhile. A file that holds no complete trial at the end is removed.
    Raises what `check_study` raises, and CheckpointError when the file is no study, damaged or in use, or belongs to
    another `identity`, with the list of what differs.
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
        with path.open("ab") as held:
            _hold(held, path)
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
    """Takes off the line that was being written when the power went; only of a file that is a study."""
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


def _hold(held: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CheckpointError(
            f"the study '{path}' is in use by another tuning: wait for its end, or name another one with --study"
        ) from error


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
