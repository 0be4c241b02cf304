"""`update`: as `recae update`, for whatever Python has instead of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recae.arguments import check_flag, check_path, check_text
from recae.errors import ConfigError
from recae.filters import Filters
from recae.interactions import Interactions
from recae.interface.keywords import Words
from recae.interface.purchases import taken
from recae.modelfile import load
from recae.reading import ReadOptions
from recae.recommender import Recommender
from recae.selection.progress import Progress
from recae.updating.update import update as run


def update(
    model: Recommender | str | Path,
    source: Any,
    *,
    since_last: bool = False,
    take_back: bool = True,
    device: str = "auto",
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    progress: Progress | bool | None = None,
    **words: Any,
) -> Recommender:
    """Let a model learn from new purchases, as `recae update` does; nothing is written.

    Args:
        model: a recommender with histories, or the path of its file.
        source: the new purchases, as for `recae.read`; they may hold old ones, too.
        since_last: read only rows later than the last purchase that the model knows.
        take_back: whether a row with a quantity below zero takes an earlier purchase out of the history.
        device: "auto", "cpu" or "cuda".
        reading: how to read the table; None: by its names and values, and the words.
        filters: which of the purchases count; None: those that the model was trained with.
        progress: as for `recae.train`.
        words: options on reading and filters as keywords, such as ``user_column="customer"``.

    Returns:
        the recommender that knows the new purchases, too; the given one where nothing has changed. Its metadata says
        under ``updates`` what has come since the training, whose figures it holds.

    Raises:
        ConfigError: the model cannot be updated, with the reason; an option is unknown or does not fit.
        DataError: the purchases cannot be used.
        TrainingError: a fit fails.
    """
    check_flag("since_last", since_last)
    check_flag("take_back", take_back)
    check_text("device", device, "cpu")
    if not isinstance(model, Recommender):
        check_path("the path of a model", model)
        model = load(model)
    asked = Words("update", words)
    given = taken(source, asked)
    if not isinstance(given, Interactions) and isinstance(getattr(given, "interactions", None), Interactions):
        raise ConfigError("an update takes a table or what recae.read returned, not the parts of a protocol")
    options = asked.options(reading, filters)
    chosen = None if options is None else options.filters
    asked.finish()
    return run(
        model,
        given,
        since_last=since_last,
        take_back=take_back,
        device=device,
        reading=options,
        filters=chosen,
        progress=progress,
    ).recommender
