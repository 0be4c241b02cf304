"""What `auto` is asked for: its candidates, their settings, and its budget."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recae.errors import ConfigError
from recae.training.config import check_range
from recae.training.kinds import KINDS_OF_TRAINING
from recae.training.settings import build_config

ALWAYS = ("popularity", "itemknn")
"""What is tried however short the budget is."""

DEFAULT = (*ALWAYS, "frequency", "ease", "sparse-linear", "sigmoid", "blend", "multvae")
"""What is tried when nothing is named; what does not suit the data is passed over."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class AutoConfig:
    """What is tried, and for how long.

    budget      time for all of it: seconds, or such as 90s, 10m, 1h
    candidates  kinds to try, joined by commas, besides popularity and itemknn; None: ease or sparse-linear, sigmoid,
                blend and multvae, and frequency where people rebuy
    parts       settings of the candidates, by dotted names: "sigmoid.factors" → 256
    seed        of everything random, the candidates' included
    """

    budget: float | str = "10m"
    candidates: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        seconds_of(self.budget)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)
        kinds = self.kinds()
        for name in self.parts:
            kind = name.partition(".")[0]
            if kind not in kinds:
                raise ConfigError(
                    f"the candidates are {', '.join(kinds)}, so that '{name}' sets nothing: leave it out, or name "
                    "that kind in candidates"
                )
        for kind in kinds:
            if kind in KINDS_OF_TRAINING:
                build_config(kind, KINDS_OF_TRAINING[kind].config, self.settings(kind))

    def kinds(self) -> tuple[str, ...]:
        """What is tried, in no order; ConfigError for a name that no kind has."""
        known = (*KINDS_OF_TRAINING, "blend")
        if self.candidates is None:
            return tuple(kind for kind in DEFAULT if kind in known)
        named = [part.strip() for part in self.candidates.split(",") if part.strip()]
        for kind in named:
            if kind not in known:
                near = difflib.get_close_matches(kind, known, n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ConfigError(
                    f"candidates are some of {', '.join(known)} joined by commas, found '{kind}': "
                    f"{hint or 'choose among these'}".rstrip()
                )
        always = [kind for kind in ALWAYS if kind in known]
        return tuple(dict.fromkeys([*always, *named]))

    def settings(self, kind: str) -> dict[str, Any]:
        """The settings of a candidate, without the part of the name before the dot."""
        own = {n.removeprefix(f"{kind}."): v for n, v in self.parts.items() if n.startswith(f"{kind}.")}
        return {"seed": self.seed} | own

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)


def seconds_of(budget: float | str) -> float:
    """A budget in seconds: 90, "90", "90s", "10m" or "1h"; ConfigError for anything else, and beyond 30 days."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", str(budget).strip().lower())
    seconds = float(found[1]) * _UNITS[found[2]] if found else math.nan
    if isinstance(budget, bool) or not 1 <= seconds <= 30 * 86_400:
        raise ConfigError(
            f"budget is a time from 1s to 720h, such as 90s, 10m or 1h, found {budget!r}: give one"
        )
    return seconds
