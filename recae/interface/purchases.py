"""Functions that look at purchases: `read` and `doctor`, which need nothing of what trains and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recae import reading as tables
from recae.errors import ConfigError
from recae.filters import Filters
from recae.interactions import Interactions
from recae.interface.keywords import IDS, Words
from recae.interface.sources import take_source
from recae.reading import Purchases, ReadOptions

if TYPE_CHECKING:
    from recae.examination import Examination


def read(
    source: Any, options: ReadOptions | None = None, *, filters: Filters | None = None, **words: Any
) -> Purchases:
    """Read a table of purchases, as `recae.reading.read` does.

    Args:
        source: a path, a folder, a pattern, "-", the URL of a database, a pandas or polars data frame, an Arrow table,
            an iterable of tuples, a dictionary of columns, or a scipy matrix of users × items.
        options: how to understand it; None: by its names and values.
        filters: which of the purchases count; None: as the words say.
        words: the same as keywords, such as ``user_column="customer"`` or ``where="price > 0"``; filters, such as
            ``since="2024-01-01"``; ``users`` and ``items``, the ids of a matrix.

    Raises:
        ConfigError: an option is unknown, or does not fit the source.
        DataError: the source cannot be read, or too little is left; its subclasses say what is wrong.
    """
    asked = Words("read", words)
    found = taken(source, asked)
    if isinstance(found, Interactions):
        raise ConfigError("these purchases were read already: use them as they are")
    made = asked.options(options, filters)
    asked.finish()
    return tables.read(found, made)


def read_interactions(source: Any, **words: Any) -> Interactions:
    """Read a table of purchases as `read` does and return its interactions."""
    return read(source, **words).interactions


def doctor(
    source: Any, *, reading: ReadOptions | None = None, filters: Filters | None = None, **words: Any
) -> Examination:
    """Check purchases before a model is trained on them, as `recae doctor` does.

    Args:
        source: as for `read`.
        reading: as for `train`.
        filters: as for `train`.
        words: as for `train`, without settings.

    Returns:
        what was found; its ``table`` has a row a finding.

    Raises:
        DataError: the source cannot be read. Purchases that nothing could be learned from are a finding.
        ConfigError: an option is unknown, or does not fit the source.
    """
    from recae.examination import examine_source

    asked = Words("doctor", words)
    found = taken(source, asked)
    if isinstance(found, Interactions):
        raise ConfigError(
            "the doctor checks rows of a table, but these purchases were read already: give the table itself"
        )
    options = asked.options(reading, filters) or ReadOptions()
    asked.finish()
    return examine_source(found, options.updated(baskets=bool(options.basket_column)))


def taken(source: Any, words: Words) -> Any:
    """Return what to read; what `read` returned as its `Interactions`, and other purchases that were read as they are.

    Args:
        source: as for `read`, or purchases that were read already.
        words: of the call; the ids of a matrix are taken out of them.

    Raises:
        ConfigError: there are options on reading for purchases that were read already.
        SourceError: it is nothing that can be read.
    """
    if isinstance(source, Purchases):
        if source.inputs is not None:
            raise ConfigError(
                "other events as inputs are read with the table that is learned from: give the table itself, with "
                f"inputs={','.join(source.inputs.names)!r}"
            )
        source = source.interactions
    if isinstance(source, Interactions) or isinstance(getattr(source, "interactions", None), Interactions):
        if words.take(IDS) or words.reading():
            raise ConfigError(
                "these purchases were read already, so that options on reading come too late: give them to recae.read, "
                "or give the table itself"
            )
        return source
    return take_source(source, words)
