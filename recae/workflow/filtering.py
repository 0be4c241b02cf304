"""Filters on their way to where purchases are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recae.errors import ConfigError
from recae.evaluation.tasks import Purchases
from recae.filters import Filters
from recae.interactions import Interactions


def reading_options(
    source: object, columns: Mapping[str, Any] | None, filters: Filters | None
) -> dict[str, Any]:
    """Return the options of `recae.ingest.read_with_report`, the filters among them where any are asked for.

    Raises:
        ConfigError: purchases that were read already are to be filtered.
    """
    options = dict(columns or {})
    if not filters:
        return options
    if isinstance(source, Interactions | Purchases):
        raise ConfigError(
            f"filters ({filters}) apply while a table is read, but what is given was read already: give them to "
            "read_interactions, or give the path of the table"
        )
    return {**options, "filters": filters}
