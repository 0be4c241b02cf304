"""One shard of a folder of results: written whole, then described; and all of a job's, one after another, here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from recae.scoring.file import write_part
from recae.scoring.manifest import Shard, sha256_of
from recae.scoring.work import Work

Bounds = Mapping[str, tuple[int, int]]
"""Names of shards, and from which to before which user each goes."""

Writer = Callable[[Work, Path, Bounds, Callable[[int], None]], Iterator[Shard]]
"""Writes shards into a folder and yields each as it is finished, in any order; tells how many users are done."""


def write_shard(
    work: Work, path: Path, start: int, stop: int, on_users: Callable[[int], None] = lambda done: None
) -> Shard:
    """Write the lists of the users from ``start`` to before ``stop``; arguments and errors as for `write_part`."""
    rows = write_part(work, path, start, stop, on_users)
    return Shard(path.name, stop - start, rows, path.stat().st_size, sha256_of(path))


def one_after_another(
    work: Work, folder: Path, bounds: Bounds, on_users: Callable[[int], None]
) -> Iterator[Shard]:
    """Write shards in this process: a `Writer`."""
    for name, (start, stop) in bounds.items():
        yield write_shard(work, folder / name, start, stop, on_users)
        on_users(stop)
