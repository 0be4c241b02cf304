"""A metric by what sets users and items apart: history length, popularity, and whether an item was bought before."""

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
    """A part of the users, or of what is held out of them.

    name     such as "2–7 items", "head" or "bought before"
    n_users  how many have a value
    values   float64 (B,), the metric of each user; NaN for those who are not in the slice
    """

    name: str
    values: NDArray[np.float64]

    @property
    def n_users(self) -> int:
        return int(np.isfinite(self.values).sum())


def slices(
    ranked: NDArray[np.integer], task: Task | Sequence[Task], metric: str = "ndcg", k: int = 20
) -> dict[str, list[Slice]]:
    """A metric at k in slices of a task, or of several, such as the folds of k-fold, whose users follow one another.

    Parameters
    ----------
    ranked : integer ndarray of shape (B, n)
        Of the test users, best first, -1 is padding; item numbers are those of each user's own task.
    metric : str
        A name of `METRICS`.
    k : int
        Places that count, 1 <= k <= n.

    Returns
    -------
    dict of str to list of Slice
        "history": the users in thirds by the number of items in their histories, shortest first. Users of the same
        number are in the same slice, so that there are fewer than three where most have the same, and one where all do.
        "popularity": what is held out in the classes of `popularity_classes`, always three: the whole lists against
        the held-out items of the class; users with none of them are not in the slice.
        "repeat", where the lists may hold owned items: likewise "new items", which the history does not hold, and
        "bought before".

    Raises
    ------
    ConfigError
        There is no such metric, no task is given, or `k` is less than 1 or more than the lists' length.
    DataError
        The lists are not of the test users, or one repeats an item or holds one that there is not.
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
    """The class of each item, (I,): 0 head, 1 torso, 2 tail, the places in `CLASSES`.

    The items are taken from the most bought one on, of equals the lower number first. The head are the fewest that
    make up half of all purchases in `train` (T, I), the torso the fewest more that make up four fifths together with
    it, the tail all others.
    """
    counts = np.bincount(train.indices, minlength=train.shape[1])
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # purchases of all more popular items
    classes = np.empty(train.shape[1], dtype=np.int8)
    total = counts.sum()
    classes[order] = (2 * before >= total).astype(np.int8) + (5 * before >= 4 * total)
    return classes


def _thirds(sizes: NDArray[np.integer], values: NDArray[np.float64]) -> list[Slice]:
    """Thirds of the users who have a value by history length (B,), those of the same length together."""
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
