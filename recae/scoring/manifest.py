"""The manifest of a folder of results: the settings that identify a run, and each shard's counts and checksum.

While a job goes on, `PLAN` holds what is finished; `MANIFEST` takes its place at the very end. Both have the same
form. Their names begin with an underscore, which readers of Parquet folders ignore::

    {"run": "0f3a…",                 SHA-256 of the settings
     "settings": {"format": "parquet", "model": "9b1c…", "n": 20, "users": 2000, …},
     "users": 2000, "rows": 40000,   in all shards listed
     "shards": [{"name": "part-00000.parquet", "users": 2000, "rows": 40000, "bytes": 301722, "sha256": "5e88…"}]}

They hold no time and no path: a run that was killed and resumed ends with the same bytes as another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from recae.errors import OutputError
from recae.files import atomic_path
from recae.listing import Listing
from recae.machine import installed
from recae.models import JSON
from recae.recommender import POPULAR
from recae.scoring.columns import details_digest
from recae.scoring.work import Work

MANIFEST: Final = "_manifest.json"
PLAN: Final = "_plan.json"


@dataclass(frozen=True)
class Shard:
    """A finished file of a folder: its name, how many users and rows it stands for, its size and SHA-256."""

    name: str
    users: int
    rows: int
    bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def release() -> str:
    """Return the release of recae that is installed, or "unknown"."""
    return installed("recae") or "unknown"


def settings_of(work: Work, model_sha256: str, **more: JSON) -> dict[str, JSON]:
    """Return everything that the result depends on, as JSON values: equal settings give equal bytes."""
    barred = None if work.barred is None else hashlib.sha256(np.packbits(work.barred).data).hexdigest()
    return {
        "recae": release(),
        "model": model_sha256,
        "audience": work.audience.fingerprint,
        "users": len(work.audience),
        "items": len(work.recommender.items),
        "n": work.n,
        "exclude_owned": work.exclude_owned,
        "items_barred": 0 if work.barred is None else int(work.barred.sum()),
        "barred": barred,
        "block_users": work.block_users,
        **({} if work.fallback is None else {"fallback": POPULAR}),
        **({} if work.listing is None else _of_listing(work.listing)),
        **({} if work.approximate is None else {"approximate": work.approximate.settings()}),
        **(
            {}
            if work.details is None
            else {"columns": list(work.details.schema.names), "columns_sha256": details_digest(work.details)}
        ),
        **more,
    }


def _of_listing(listing: Listing) -> dict[str, JSON]:
    rules = {} if listing.rules is None else {"rules": listing.rules.fingerprint}
    return {**rules, "diversity": listing.diversity}


def run_of(settings: Mapping[str, JSON]) -> str:
    """Return the identity of a run: SHA-256 of its settings, in hexadecimal."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def write_state(path: Path, settings: Mapping[str, JSON], shards: Sequence[Shard]) -> None:
    """Write a plan or a manifest, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    value = {
        "run": run_of(settings),
        "settings": dict(settings),
        "users": sum(shard.users for shard in shards),
        "rows": sum(shard.rows for shard in shards),
        # no asdict, which would take as long as all else: this is written after each of the shards
        "shards": [vars(shard) for shard in shards],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="ascii")


def read_state(path: Path) -> tuple[dict[str, Any], list[Shard]] | None:
    """Return the settings and the shards of a plan or manifest; None where there is none.

    Raises:
        OutputError: it is not one that recae wrote.
    """
    try:
        value = json.loads(path.read_bytes())
        shards = [
            Shard(**{field.name: entry[field.name] for field in fields(Shard)}) for entry in value["shards"]
        ]
        settings = value["settings"]
        if not isinstance(settings, dict):
            raise TypeError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"'{path}' cannot be read as what a job left there ({type(error).__name__}); choose another folder"
        ) from error
    return settings, shards


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """Return the settings in which two runs differ, for a message: ``n (10 there, 20 now), model``."""
    found = []
    for key in sorted({*here, *there}):
        if here.get(key) != there.get(key):
            values = [side.get(key) for side in (there, here)]
            short = all(not isinstance(value, str) or len(value) < 20 for value in values)
            found.append(f"{key} ({values[0]} there, {values[1]} now)" if short else key)
    return ", ".join(found)
