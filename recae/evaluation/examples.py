"""Single users of an evaluation: what was known of them, what was hidden, and what the models recommended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation.comparison import Run
from recae.ids import IdMap
from recae.splits.tasks import Task

PLACES: Final = (0.1, 0.5, 0.9)
"""Where the users shown stand among all by the length of their histories: a short, a middle and a long one."""
SHOWN: Final = 10
"""Recommendations of each model."""


def examples(
    tasks: Sequence[Task],
    runs: Sequence[Run],
    names: Mapping[str, str] | Callable[[str], str | None] | None = None,
    places: Sequence[float] = PLACES,
) -> list[dict[str, Any]]:
    """A few test users, by how much is known of them and never by how well they are served.

    The test users of all tasks are put in the order of the number of items in their histories (equal ones in their own
    order), and those at the shares `places` of that order are taken, each once: the same tasks give the same users.

    Returns
    -------
    list of dict
        user (the id); history and held_out, [{item, name}], in the order of the items' ids; recommended, name of the
        run → [{item, name, hit, score}], the first 10 of its list, best first. A name is None where there is none,
        a score where the run kept none.
    """
    lengths = np.concatenate([np.diff(task.histories.indptr) for task in tasks])
    order = np.argsort(lengths, kind="stable")
    rows = dict.fromkeys(int(order[int(share * (order.size - 1) + 0.5)]) for share in places)
    starts = np.cumsum([0, *(len(task.test_users) for task in tasks)])
    name_of = names if callable(names) else (names or {}).get
    found = []
    for row in rows:
        fold = int(np.searchsorted(starts, row, side="right")) - 1
        found.append(_example(tasks[fold], row - int(starts[fold]), row, runs, name_of))
    return found


def _example(
    task: Task, row: int, place: int, runs: Sequence[Run], name_of: Callable[[str], str | None]
) -> dict[str, Any]:
    """Row `row` of the task, which is row `place` of the runs' lists."""

    def named(columns: NDArray[np.integer]) -> list[dict[str, Any]]:
        return [{"item": item, "name": name_of(item) or None} for item in ids_of(task.items, columns)]

    held = _row(task.held_out, row)
    recommended = {}
    for run in runs:
        listed = run.ranked[place, :SHOWN]
        scores = np.full(listed.shape, np.nan) if run.scores is None else run.scores[place, :SHOWN]
        filled = listed >= 0
        recommended[run.name] = [
            {**item, "hit": bool(hit), "score": float(score)}
            for item, hit, score in zip(
                named(listed[filled]), np.isin(listed[filled], held), scores[filled], strict=True
            )
        ]
    return {
        "user": task.test_users[row],
        "history": named(_row(task.histories, row)),
        "held_out": named(held),
        "recommended": recommended,
    }


def ids_of(items: IdMap, columns: NDArray[np.integer]) -> list[str]:
    """The ids of some columns."""
    ids: list[str] = items.ids(columns).to_pylist()
    return ids


def _row(matrix: sp.csr_matrix, row: int) -> NDArray[np.integer]:
    """The columns stored in a row, ascending."""
    return np.sort(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]])
