"""Errors that recae raises on purpose; the command line catches the root and nothing else.

RecaeError                      root: one sentence for a person, exit code 2
├── DataError                   the purchases cannot be used as they are
│   ├── SourceError             a file cannot be read: missing, empty, broken, not UTF-8, ragged
│   └── ColumnError             the table's columns are not the ones needed
├── ConfigError                 an option or configuration value is outside its range
├── DeviceError                 the computing device asked for is not there
├── ClusterError                the cluster asked for cannot be used, or has no worker left
├── TrainingError               training could not go on (a non-finite number, nothing to learn from)
│   ├── CheckpointError         a file is not a checkpoint that this training can go on from
│   └── RankLostError           another process that trains the same model has gone
├── ModelFileError              a file is not a usable model: truncated, foreign, newer, inconsistent
├── JournalError                a journal of purchases cannot be used
│   ├── JournalBusyError        others have used it for too long
│   ├── JournalConflictError    the id of an event is there with another purchase
│   └── JournalFullError        the disk is full
├── OutputError                 a result cannot be written where it was asked for
└── UnknownIdError              a user or item that the model has not seen
"""

from collections.abc import Iterator
from contextlib import contextmanager


class RecaeError(Exception):
    """Root of the tree: says what was wanted, what was found, where, and what to do next."""

    exit_code = 2


class DataError(RecaeError):
    """The purchases cannot be used as they are."""


class SourceError(DataError):
    """A source cannot be read: missing, empty, broken, not UTF-8, or ragged."""


class ColumnError(DataError):
    """The table's columns are not the ones needed."""


class ConfigError(RecaeError):
    """An option or configuration value is unknown or outside its range."""


class DeviceError(RecaeError):
    """The computing device asked for is not there."""


class ClusterError(RecaeError):
    """The cluster asked for cannot be used, or has no worker left."""


class TrainingError(RecaeError):
    """Training could not go on."""


class CheckpointError(TrainingError):
    """A file is not a checkpoint that this training can go on from."""


class RankLostError(TrainingError):
    """Another process that trains the same model has gone."""


class ModelFileError(RecaeError):
    """A file is not a usable model."""


class ServeError(RecaeError):
    """The server cannot go on."""


class JournalError(RecaeError):
    """A journal of purchases cannot be used."""


class JournalBusyError(JournalError):
    """Others have used the journal for too long."""


class JournalConflictError(JournalError):
    """The id of an event is in the journal with another purchase."""


class JournalFullError(JournalError):
    """The disk is too full for more purchases."""


class OutputError(RecaeError):
    """A result cannot be written where it was asked for."""


class UnknownIdError(RecaeError):
    """A user or an item that the model has not seen."""


@contextmanager
def torch_needed(what: str) -> Iterator[None]:
    """Say which install brings torch, where a block needs it and it is not there.

    Args:
        what: needs it, such as "the kind 'deep'".

    Raises:
        ConfigError: torch is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ConfigError(
            f"{what} needs torch, which is not installed: run pip install torch, or choose what does without it, such "
            "as --kind sigmoid with --batch-size 1, or --kind ease"
        ) from error
