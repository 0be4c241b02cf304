"""Reading: a table of purchases, in whatever form it is stored, becomes `Interactions` and a report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recae.reading.names import BASKET_NAMES as BASKET_NAMES
    from recae.reading.names import KNOWN_NAMES as KNOWN_NAMES
    from recae.reading.open import hide_password as hide_password
    from recae.reading.open import is_file_name as is_file_name
    from recae.reading.open import is_url as is_url
    from recae.reading.open import local_files as local_files
    from recae.reading.open import resolved as resolved
    from recae.reading.open import shows_password as shows_password
    from recae.reading.options import ReadOptions as ReadOptions
    from recae.reading.purchases import Purchases as Purchases
    from recae.reading.purchases import Reading as Reading
    from recae.reading.purchases import read as read
    from recae.reading.purchases import read_interactions as read_interactions
    from recae.reading.report import ReadReport as ReadReport
    from recae.reading.roles import Columns as Columns

_HOMES = {
    "BASKET_NAMES": "recae.reading.names",
    "Columns": "recae.reading.roles",
    "KNOWN_NAMES": "recae.reading.names",
    "Purchases": "recae.reading.purchases",
    "ReadOptions": "recae.reading.options",
    "ReadReport": "recae.reading.report",
    "Reading": "recae.reading.purchases",
    "hide_password": "recae.reading.open",
    "is_file_name": "recae.reading.open",
    "is_url": "recae.reading.open",
    "local_files": "recae.reading.open",
    "resolved": "recae.reading.open",
    "shows_password": "recae.reading.open",
    "read": "recae.reading.purchases",
    "read_interactions": "recae.reading.purchases",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the reader brings DuckDB."""
    if name not in _HOMES:
        raise AttributeError(f"module 'recae.reading' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
