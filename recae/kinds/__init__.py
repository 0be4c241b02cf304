"""The registry of kinds of model: one row a kind, read by whatever lists kinds; plugins add rows of their own.

A row is light: strings, numbers and flags. Classes and functions stand in it as "module:name" and are imported when
they are first used, so that listing the kinds imports neither NumPy nor torch.

A plugin registers by an entry point of the group `recae.kinds`, whose name is the kind's and whose object is a `Kind`:

    [project.entry-points."recae.kinds"]
    toy = "toykinds:TOY"

or from Python by `register(Kind(...))`. Everything else follows from the row.
"""

from recae.kinds.cost import ExactSolve, Size, exact_solve
from recae.kinds.kind import Candidate, Kind
from recae.kinds.registry import (
    SETTINGS,
    baselines,
    decay_setting,
    evaluated,
    find,
    hand_over,
    has_models,
    is_simple,
    known,
    model_class,
    model_kinds,
    nearest,
    parts_of,
    register,
    seconds_for,
    simple_kinds,
    take_over,
    title,
)
from recae.kinds.rows import DEFAULT, MAIN
from recae.kinds.space import Dimension

__all__ = [
    "DEFAULT",
    "MAIN",
    "SETTINGS",
    "Candidate",
    "Dimension",
    "ExactSolve",
    "Kind",
    "Size",
    "baselines",
    "decay_setting",
    "evaluated",
    "exact_solve",
    "find",
    "hand_over",
    "has_models",
    "is_simple",
    "known",
    "model_class",
    "model_kinds",
    "nearest",
    "parts_of",
    "register",
    "seconds_for",
    "simple_kinds",
    "take_over",
    "title",
]
