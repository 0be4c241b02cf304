"""Settings under the names of earlier versions, as their files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {"noise": "dropout"}
"""Old name of a setting → today's name."""


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a file of an earlier version under the names of today, those of a blend's parts likewise.

    Where a file holds a setting under both names, the old one counted.
    """
    found = {name: value for name, value in values.items() if name.rpartition(".")[2] not in RENAMED}
    for name, value in values.items():
        part, dot, own = name.rpartition(".")
        if own in RENAMED and value is not None:
            found[part + dot + RENAMED[own]] = value
    parts = found.get("parts")
    if isinstance(parts, list):
        found["parts"] = [
            {**part, "config": current_names(part["config"])}
            if isinstance(part, dict) and isinstance(part.get("config"), dict)
            else part
            for part in parts
        ]
    return found
