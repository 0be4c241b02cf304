"""Slices of a metric: by history length, by popularity, and by whether an item was bought before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.evaluation.evaluate import part_by_history
from recae.metrics import compute
from recae.sparse import take_entries
from recae.splits.tasks import Task

CLASSES = ("head", "torso", "tail")
"""Classes of items by popularity, see `popularity_classes`."""


@dataclass(frozen=True, eq=False)
class Slice:
    """A metric in a slice of the users or of their held-out items.

    Attributes:
        name: such as "2–7 items", "head" or "bought before".
        values: float64 (B,), the metric of each user; NaN for those who are not in the slice.
    """

    name: str
    values: NDArray[np.float64]

    @property
    def n_users(self) -> int:
        """Number of users who have a value."""
        return int(np.isfinite(self.values).sum())


def slices(
    ranked: NDArray[np.integer], task: Task | Sequence[Task], metric: str = "ndcg", k: int = 20
) -> dict[str, list[Slice]]:
    """Return a metric at k in slices of one task, or of several, such as folds, whose users follow one another.

    Args:
        ranked: item numbers (B, n) of the test users, best first, padded with -1; those of each user's own task.
        task: one, or several.
        metric: a name of `METRICS`.
        k: places that count, 1 <= k <= n.

    Returns:
        "history": the users in thirds by the number of items in their histories, shortest first. Users of the same
        number are in the same slice, so that there are fewer than three where many have the same number.
        "popularity": the held-out items in the classes of `popularity_classes`, always three: the whole lists against
        the held-out items of the class; users without any of them are not in the slice.
        "repeat", where lists may hold owned items: likewise "new items", which the history does not hold, and "bought
        before".

    Raises:
        ConfigError: there is no such metric, no task is given, or `k` is less than 1 or more than the lists' length.
        DataError: the lists are not of the test users, or a list repeats an item or holds one that does not exist.
    """
    tasks = [task] if isinstance(task, Task) else list(task)
    if not tasks:
        raise ConfigError("slices need a task whose test users were ranked, but got none; give one at least")
    starts = np.cumsum([0, *(t.held_out.shape[0] for t in tasks)])

    def measured(held_out: list[sp.csr_matrix]) -> NDArray[np.float64]:
        # the last task takes what is left, so that lists of more users than there are do not pass
        parts = [
            compute(ranked[start:stop], held, (metric,), (k,))[f"{metric}@{k}"]
            for held, start, stop in zip(held_out, starts, [*starts[1:-1], None], strict=False)
        ]
        return np.concatenate(parts)

    values = measured([t.held_out for t in tasks])
    sizes = np.concatenate([np.diff(t.histories.indptr) for t in tasks])
    classes = [popularity_classes(t.train)[t.held_out.indices] for t in tasks]
    found = {
        "history": _thirds(sizes, values),
        "popularity": [
            Slice(
                name,
                measured(
                    [take_entries(t.held_out, of == number) for t, of in zip(tasks, classes, strict=True)]
                ),
            )
            for number, name in enumerate(CLASSES)
        ],
    }
    if not any(t.exclude_owned for t in tasks):
        parts = [part_by_history(t.histories, t.held_out) for t in tasks]
        found["repeat"] = [
            Slice("new items", measured([new for _, new in parts])),
            Slice("bought before", measured([again for again, _ in parts])),
        ]
    return found


def popularity_classes(train: sp.csr_matrix) -> NDArray[np.int8]:
    """Return the class of each item, (I,): 0 head, 1 torso, 2 tail, as numbered in `CLASSES`.

    The items are sorted by falling number of purchases, of equal ones the lower number first. The head is the
    smallest number of items that make up half of all purchases in `train` (T, I); head and torso together make up
    four fifths; the tail is all others.
    """
    counts = np.bincount(train.indices, minlength=train.shape[1])
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # purchases of all more popular items
    classes = np.empty(train.shape[1], dtype=np.int8)
    total = counts.sum()
    classes[order] = (2 * before >= total).astype(np.int8) + (5 * before >= 4 * total)
    return classes


def _thirds(sizes: NDArray[np.integer], values: NDArray[np.float64]) -> list[Slice]:
    """Return the users with a value in thirds by history length (B,); equal lengths are in the same third."""
    in_order = np.sort(sizes[np.isfinite(values)])
    n = in_order.size
    # up to which length each third goes: the shortest that holds as many users as it should; integers, so exactly
    limits = sorted({int(in_order[-(-n * part // 3) - 1]) for part in (1, 2, 3)}) if n else []
    parts = []
    for above, limit in zip([-1, *limits], limits, strict=False):
        chosen = (sizes > above) & (sizes <= limit)
        shortest = int(in_order[np.searchsorted(in_order, above, side="right")])
        span = f"{limit:,}" if shortest == limit else f"{shortest:,}–{limit:,}"
        parts.append(Slice(f"{span} item{'' if span == '1' else 's'}", np.where(chosen, values, np.nan)))
    return parts
