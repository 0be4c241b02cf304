"""No held-out purchase reaches a model, under any protocol: by what a spy sees, and by changing what is held out."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray
from shops import START, Row, owner, pairs_of, peeled, purchases_of, random_shop, rows_of

from recae.ids import IdMap
from recae.splits import held_out as userwise
from recae.splits import items as itemwise
from recae.splits.parts import hold_out_items
from recae.splits.protocols import PROTOCOLS, ProtocolOptions, Task, make_tasks
from recae.splits.tasks import Pair

CUT = START + 60 * 24 * 6  # two thirds of the moments lie before it


@dataclass(frozen=True)
class Case:
    """A protocol with its options, on a shop; `n_tasks` tasks come of it."""

    protocol: str
    options: ProtocolOptions
    basket: int = 3
    n_tasks: int = 1


QUARTER = ProtocolOptions(test_users=0.25)
CASES = {
    "strong": Case("strong", replace(QUARTER, held_out=0.5)),
    "weak": Case("weak", ProtocolOptions(validation_users=0.25)),
    "last-out": Case("last-out", ProtocolOptions(validation_users=0.25), basket=1),
    "time": Case("time", ProtocolOptions(cut=CUT)),
    "time with repeats": Case("time", ProtocolOptions(cut=CUT, repeats=True)),
    "time with a minimum": Case("time", ProtocolOptions(cut=CUT, min_user_purchases=13)),
    "next-basket": Case("next-basket", QUARTER),
    "next-basket with repeats": Case("next-basket", replace(QUARTER, repeats=True)),
    "k-fold": Case("k-fold", ProtocolOptions(folds=4, held_out=0.5), n_tasks=4),
    "pair": Case("pair", ProtocolOptions(validation_users=0.25)),
}


def parts_of(case: Case, seed: int) -> tuple[list[Row], list[Row]]:
    """The rows given, and for a given pair those of its test part."""
    rows = random_shop(seed, basket=case.basket)
    if case.protocol != "pair":
        return rows, []
    rng = np.random.default_rng(seed)
    drawn = {(u, i) for u, i, _ in rows if not i.startswith("~") and rng.random() < 0.3}
    train = [row for row in rows if row[:2] not in drawn]
    known = {i for _, i, _ in train}
    return train, [row for row in rows if row[:2] in drawn and row[1] in known]


Call = dict[str, tuple[set[str], set[str]]]  # of each user what was kept, and what was held out


@dataclass
class Draws:
    """`hold_out_items`, which notes what it held out, call by call; users of `changed` items are parted as before.

    What a user's history was stays the history, so that held-out items may change although new ones have other keys.
    """

    before: list[Call]
    changed: set[tuple[str, str]]
    calls: list[Call]
    items: IdMap

    def __call__(self, histories: sp.csr_matrix, keys: NDArray[np.uint64], fraction: float) -> Pair:
        parts = hold_out_items(histories, keys, fraction)
        rows = [rows_of(matrix, self.items) for matrix in (histories, *parts)]
        owned = {r: owner(row) for r, row in enumerate(rows[0]) if row}
        if any((u, i) in self.changed for r, u in owned.items() for i in rows[0][r]):
            for r, u in owned.items():
                taken = {i for i in rows[0][r] if (u, i) in self.changed}
                rows[2][r] = taken or self.before[len(self.calls)][u][1]
                rows[1][r] = rows[0][r] - rows[2][r]
            parts = tuple(self._matrix(part, histories.shape) for part in rows[1:])
        self.calls.append({u: (rows[1][r], rows[2][r]) for r, u in owned.items()})
        return parts

    def _matrix(self, rows: list[set[str]], shape: tuple[int, int]) -> sp.csr_matrix:
        columns = [np.sort(self.items.rows(list(row))) for row in rows]
        ends = np.cumsum([0, *map(len, columns)])
        return sp.csr_matrix((np.ones(ends[-1], np.float32), np.concatenate(columns), ends), shape=shape)


def tasks_of(
    case: Case,
    rows: list[Row],
    test: list[Row],
    patch: pytest.MonkeyPatch,
    before: list[Call] | None = None,
    changed: set[tuple[str, str]] | None = None,
) -> tuple[list[Task], list[Call]]:
    purchases = purchases_of(rows, test=test or None)
    draws = Draws(before or [], changed or set(), [], purchases.interactions.items)
    for module in (userwise, itemwise):
        patch.setattr(module, "hold_out_items", draws)
    return make_tasks(purchases, case.protocol, case.options, 3), draws.calls


def held_rows(case: Case, task: Task, rows: list[Row], calls: list[Call]) -> set[Row]:
    """The rows that a task holds out, found by the meaning of its protocol or from what was noted."""
    tested = set(task.test_users)
    if case.protocol == "time":
        return {row for row in rows if row[2] >= CUT}
    if case.protocol == "next-basket":
        last = {u: max(t for v, _, t in rows if v == u) for u in tested}
        return {row for row in rows if row[0] in tested and row[2] == last[row[0]]}
    if case.protocol == "last-out":
        final = {u: max((t, i) for v, i, t in rows if v == u)[1] for u in {row[0] for row in rows}}
        return {row for row in rows if row[1] == final[row[0]]}
    if case.protocol == "pair":
        return set()  # they are not among the rows
    histories = dict(zip(task.test_users, rows_of(task.histories, task.items), strict=True))
    (drawn,) = (
        call
        for call in calls
        if tested <= set(call) and all(call[u][0] & set(task.items) == histories[u] for u in tested)
    )
    return {row for row in rows if row[0] in drawn and row[1] in drawn[row[0]][1]}


def seen_by_a_spy(task: Task) -> set[tuple[str, str]]:
    """Every (user, item) that fitting or choosing a model could read, and what is counted, the histories apart."""
    matrices = [task.fit, task.train, *(task.validation or ())[:1]]
    seen = {pair for matrix in matrices for pair in pairs_of(matrix, task.items)}
    if task.validation is not None:
        histories, held_out = (rows_of(matrix, task.items) for matrix in task.validation)
        seen |= {(owner(h), i) for h, d in zip(histories, held_out, strict=True) for i in d}
    return seen


def check_spy(case: Case, task: Task, rows: list[Row], held: set[Row]) -> None:
    """What can be seen was bought, at a time at which it is not held out."""
    on_training_side = {(u, i) for u, i, _ in set(rows) - held}
    seen = seen_by_a_spy(task)
    assert seen <= on_training_side
    if case.protocol in ("strong", "k-fold", "next-basket"):
        learners = {u for u, _ in seen}
        assert not learners & set(task.test_users)
        assert seen == {(u, i) for u, i, _ in rows if u in learners}
    assert {i for _, i in seen} == set(task.items)
    histories = {
        (u, i)
        for u, row in zip(task.test_users, rows_of(task.histories, task.items), strict=True)
        for i in row
    }
    assert histories <= on_training_side
    wanted = pairs_of_test(task)
    assert wanted
    if not case.options.repeats:
        assert not wanted & (seen | histories)
    times = {pair: [t for u, i, t in rows if (u, i) == pair] for pair in seen | histories | wanted}
    if case.protocol == "time":
        assert all(min(times[pair]) < CUT for pair in seen | histories)
        assert all(max(times[pair]) >= CUT for pair in wanted)
    if case.protocol == "last-out":
        last = {u: max(times[u, i]) for u, i in wanted}
        assert all(max(times[u, i]) < last[u] for u, i in histories)


def pairs_of_test(task: Task) -> set[tuple[str, str]]:
    rows = rows_of(task.held_out, task.items)
    return {(u, i) for u, row in zip(task.test_users, rows, strict=True) for i in row}


@pytest.mark.some(15)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_a_spy_sees_nothing_that_is_held_out(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    rows, test = parts_of(case, seed)
    tasks, calls = tasks_of(case, rows, test, monkeypatch)
    assert len(tasks) == case.n_tasks
    for task in tasks:
        assert task.validation is not None
        check_spy(case, task, rows, held_rows(case, task, rows, calls))
        assert pairs_of_test(task) <= {(u, i) for u, i, _ in test or rows}


@pytest.mark.parametrize("name", CASES)
def test_the_spy_would_notice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose models could read the held-out items does not pass."""
    case = CASES[name]
    rows, test = parts_of(case, 0)
    tasks, calls = tasks_of(case, rows, test, monkeypatch)
    task = tasks[0]
    held = held_rows(case, task, rows, calls)
    whole = sp.csr_matrix(((task.histories + task.held_out) > 0).astype(np.float32))
    for field in ("fit", "train"):
        leaky = replace(task, **{field: sp.csr_matrix(sp.vstack([getattr(task, field), whole]))})
        with pytest.raises(AssertionError):
            check_spy(case, leaky, rows, held)


def image(task: Task) -> dict[str, object]:
    """All bytes of what comes of the training side."""
    matrices = {"fit": task.fit, "train": task.train, "histories": task.histories}
    if task.validation is not None:
        matrices |= {"validation histories": task.validation[0], "validation held out": task.validation[1]}
    found: dict[str, object] = {
        f"{name} {part}": getattr(matrix, part).tobytes()
        for name, matrix in matrices.items()
        for part in ("data", "indices", "indptr")
    }
    shapes = {name: matrix.shape for name, matrix in matrices.items()}
    return {**found, **shapes, "items": list(task.items), "users": task.test_users, "decay": task.decay}


def changed(case: Case, task: Task, rows: list[Row], held: set[Row], rng: np.random.Generator) -> list[Row]:
    """What may stand in place of the rows that the task holds out: other items, and more of them."""
    kept = set(rows) - held
    owned = {row[:2] for row in kept}
    known = [i for i in task.items if not i.startswith("~")]
    fresh: list[Row] = []
    for u, i, t in sorted(held):
        if case.protocol == "last-out" and t < max(when for v, j, when in held if (v, j) == (u, i)):
            continue
        taken = owned | {row[:2] for row in fresh}
        free = [i for i in known if (u, i) not in taken]
        if u not in task.test_users:  # nothing that anybody knows was held out, nor is now
            fresh.append((u, f"!new-{u}", t))
        elif case.protocol == "last-out":  # one item each
            fresh.append((u, str(rng.choice(free)), t))
        else:  # the new items come before all other ids and shift every column
            fresh += [(u, str(i), t) for i in rng.choice(free, size=min(3, len(free)), replace=False)]
            fresh.append((u, f"!new-{rng.integers(3)}", t))
            fresh += [(u, min(i for v, i in owned if v == u), t)] * case.options.repeats
    if case.protocol == "time":
        fresh += [(f"a{n}", i, CUT + 10**6 + n) for n in range(5) for i in (known[0], "!new-9", "zz")]
    return fresh


@pytest.mark.some(15)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_changing_what_is_held_out_changes_nothing_else(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    rows, test = parts_of(case, seed)
    tasks, calls = tasks_of(case, rows, test, monkeypatch)
    rng = np.random.default_rng(seed)
    for fold, task in enumerate(tasks):
        if case.protocol == "pair":
            items, owned = sorted({i for _, i, _ in rows}), {row[:2] for row in rows}
            new = [(u, str(rng.choice([i for i in items if (u, i) not in owned])), t) for u, _, t in test]
            after, _ = tasks_of(case, rows, new, monkeypatch)
        else:
            held = held_rows(case, task, rows, calls)
            new = changed(case, task, rows, held, rng)
            others = sorted(set(rows) - held) + new
            after, _ = tasks_of(case, others, [], monkeypatch, calls, {row[:2] for row in new})
        assert image(after[fold]) == image(task)
        assert pairs_of_test(after[fold]) != pairs_of_test(task)  # else nothing was changed


@pytest.mark.parametrize("seed", range(3))
def test_minimums_count_nothing_from_the_cut_on(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By time the core is that of what was bought before the cut, whatever is bought later."""
    case = Case("time", ProtocolOptions(cut=CUT, min_user_purchases=4, min_item_purchases=3))
    rows, rng = random_shop(seed), np.random.default_rng(seed)
    (task,), calls = tasks_of(case, rows, [], monkeypatch)
    before = {(u, i) for u, i, t in rows if t < CUT}
    core = peeled(before, 4, 3, rng)
    users = sorted({u for u, _ in core})
    assert set(task.items) == {i for _, i in core}
    learned = zip(users, rows_of(task.train, task.items), strict=True)
    assert {(u, i) for u, row in learned for i in row} == core
    assert set(task.test_users) <= set(users)
    of_all = peeled({(u, i) for u, i, _ in rows}, 4, 3, rng)
    assert core < before
    assert core != of_all & before  # else nothing after the cut could be noticed
    assert (
        f"{sum(row[2] < CUT and row[:2] not in core for row in rows):,} purchases before the cut below the mini"
        in (task.rule)
    )
    held = held_rows(case, task, rows, calls)
    new = changed(case, task, rows, held, rng)
    (after,), _ = tasks_of(
        case, sorted(set(rows) - held) + new, [], monkeypatch, calls, {row[:2] for row in new}
    )
    assert image(after) == image(task)
    assert pairs_of_test(after) != pairs_of_test(task)


def test_every_protocol_is_spied_on() -> None:
    # what is held out there are items and not users' purchases, which test_cold_items.py looks at
    assert {case.protocol for case in CASES.values()} == set(PROTOCOLS) - {"cold-items"}
