"""What `recae inspect` shows of settings: those of a blend's parts, TOML, and what --kind auto tried and chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recae.cli.output import message, print_gap, print_table

_IDS = 5  # ids that are shown; --json has them all


def settings_toml(
    kind: str, config: Mapping[str, Any], filters: Mapping[str, Any], weights: Mapping[str, Any]
) -> str:
    """Return a model's settings as a file for `recae train --config`; filters, weights, a blend's parts are tables."""
    from recae.training.fields import settings_of
    from recae.training.settings import FILTERS, WEIGHTS, to_toml
    from recae.workflow import CONFIGS

    def of(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
        known = settings_of(CONFIGS[kind]) if kind in CONFIGS else {}
        return {name: config[name] for name in known if name in config}

    values = of(kind, config)
    parts = config.get("parts")
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Mapping) and isinstance(part.get("config"), Mapping):
            values[str(part.get("kind"))] = of(str(part.get("kind")), part["config"])
    if filters:
        values[FILTERS] = filters
    if weights:
        values[WEIGHTS] = weights
    return to_toml(kind, values)


def with_few_ids(filters: object) -> object:
    """Return filters in which a long list of excluded items is its beginning and its length."""
    if not isinstance(filters, Mapping) or not isinstance(filters.get("exclude_items"), list):
        return filters
    ids = filters["exclude_items"]
    more = f" and {len(ids) - _IDS:,} more" if len(ids) > _IDS else ""
    return {**filters, "exclude_items": f"{', '.join(map(str, ids[:_IDS]))}{more}"}


def with_parts(config: object) -> object:
    """Return a configuration in which each part of a blend is entries of its own: `sigmoid.factors`."""
    parts = config.get("parts") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(parts, list):
        return config
    found = {name: value for name, value in config.items() if name != "parts"}
    for part in parts:
        if isinstance(part, Mapping):
            kind, own = part.get("kind"), part.get("config")
            found[f"{kind}.weight"] = part.get("weight")
            if isinstance(own, Mapping):
                found |= {f"{kind}.{name}": value for name, value in own.items()}
    return found


def print_auto(report: Mapping[str, Any]) -> None:
    """Print what --kind auto tried, best first, what it passed over, and why it chose what it chose."""
    tried = [row for row in report.get("tried") or [] if isinstance(row, Mapping)]
    skipped = [row for row in report.get("skipped") or [] if isinstance(row, Mapping)]
    tried.sort(key=lambda row: -value if isinstance(value := row.get("ndcg@20"), int | float) else 1)
    rows = [
        [
            str(row.get("kind", "-")),
            _figure(row.get("ndcg@20")),
            _interval(row.get("interval")),
            "chosen" if row.get("kind") == report.get("chosen") else "tried",
            str(row.get("note", "")),
        ]
        for row in tried
    ]
    rows += [[str(row.get("kind", "-")), "-", "-", "left out", str(row.get("reason", ""))] for row in skipped]
    n_users = report.get("n_users")
    title = f"Tried by auto, on {n_users} validation users" if n_users else "Tried by auto"
    print_table(["kind", "ndcg@20", "95 %", "what", "note"], rows, title=title)
    message(f"auto: {report.get('why')}")
    print_gap()


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _interval(value: object) -> str:
    known = isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value)
    return f"{value[0]:.4f} to {value[1]:.4f}" if known else "-"  # type: ignore[index]
