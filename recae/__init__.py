"""recae: recommendations from purchases with autoencoders, trained exactly, one customer at a time.

read_interactions(path) → Interactions · train(interactions) → Recommender · save(recommender, path) · load(path)
score(model, histories, n) → record batches of recommendations for many users
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recae.confidence import Weighting as Weighting
    from recae.errors import RecaeError as RecaeError
    from recae.filters import Filters as Filters
    from recae.interactions import Interactions as Interactions
    from recae.modelfile import load as load
    from recae.modelfile import save as save
    from recae.pipeline import train as train
    from recae.reading import ReadOptions as ReadOptions
    from recae.reading import read as read
    from recae.reading import read_interactions as read_interactions
    from recae.recommender import Recommendation as Recommendation
    from recae.recommender import Recommender as Recommender
    from recae.scoring import score as score
    from recae.selection.progress import Progress as Progress

_HOMES = {
    "Filters": "recae.filters",
    "Interactions": "recae.interactions",
    "RecaeError": "recae.errors",
    "Progress": "recae.selection.progress",
    "ReadOptions": "recae.reading",
    "Recommendation": "recae.recommender",
    "Recommender": "recae.recommender",
    "Weighting": "recae.confidence",
    "load": "recae.modelfile",
    "read": "recae.reading",
    "read_interactions": "recae.reading",
    "save": "recae.modelfile",
    "score": "recae.scoring",
    "train": "recae.pipeline",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import recae` and `recae --help` take no time."""
    if name not in _HOMES:
        raise AttributeError(f"module 'recae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
