"""recae: recommendations from purchases with autoencoders, trained exactly, one customer at a time.

train(purchases) → Recommender · evaluate, tune, doctor (purchases) → report · load(path) → Recommender ·
score(model) → record batches of recommendations for many users

Purchases are a path, a data frame, an Arrow table, tuples or a scipy matrix; options of the command line are keywords.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recae.forks import watch

if TYPE_CHECKING:
    from recae.confidence import Weighting as Weighting
    from recae.errors import RecaeError as RecaeError
    from recae.filters import Filters as Filters
    from recae.interactions import Interactions as Interactions
    from recae.interface.associating import associations as associations
    from recae.interface.forgetting import forget as forget
    from recae.interface.functions import evaluate as evaluate
    from recae.interface.functions import score as score
    from recae.interface.functions import train as train
    from recae.interface.functions import tune as tune
    from recae.interface.purchases import doctor as doctor
    from recae.interface.purchases import read as read
    from recae.interface.purchases import read_interactions as read_interactions
    from recae.interface.updates import update as update
    from recae.modelfile import load as load
    from recae.modelfile import save as save
    from recae.reading import ReadOptions as ReadOptions
    from recae.recommender import Recommendation as Recommendation
    from recae.recommender import Recommender as Recommender
    from recae.results import Table as Table
    from recae.selection.progress import Progress as Progress

    __version__: str

watch()

_HOMES = {
    "Filters": "recae.filters",
    "Interactions": "recae.interactions",
    "RecaeError": "recae.errors",
    "Progress": "recae.selection.progress",
    "ReadOptions": "recae.reading",
    "Recommendation": "recae.recommender",
    "Recommender": "recae.recommender",
    "Table": "recae.results",
    "Weighting": "recae.confidence",
    "associations": "recae.interface.associating",
    "doctor": "recae.interface.purchases",
    "evaluate": "recae.interface.functions",
    "forget": "recae.interface.forgetting",
    "load": "recae.modelfile",
    "read": "recae.interface.purchases",
    "read_interactions": "recae.interface.purchases",
    "save": "recae.modelfile",
    "score": "recae.interface.functions",
    "train": "recae.interface.functions",
    "tune": "recae.interface.functions",
    "update": "recae.interface.updates",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import recae` and `recae --help` take no time."""
    if name == "__version__":
        return _version()
    if name == "sklearn":
        return import_module("recae.sklearn")
    if name not in _HOMES:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        hint = f"; did you mean recae.{near[0]}?" if near else ""
        raise AttributeError(f"module 'recae' has no attribute {name!r}{hint}")
    return getattr(import_module(_HOMES[name]), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("recae")
    except PackageNotFoundError:  # a copy of the sources that was not installed
        return "unknown"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
