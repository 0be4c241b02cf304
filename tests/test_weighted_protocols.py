"""What the purchases of a task weigh, under every protocol: by the rows behind them alone, and by no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shops import START, Row, in_microseconds, owner, purchases_of, random_shop, rows_of

from recae.confidence import Facts, Weighting
from recae.errors import ColumnError
from recae.interactions import SECOND, Events
from recae.selection.jobs import Inputs
from recae.splits.held_out import VALIDATION_FRACTION
from recae.splits.protocols import ProtocolOptions, Purchases, make_tasks
from recae.splits.time import cut_for

BOTH = Weighting(half_life=0.02, quantity_as_confidence=True)  # of a shop of some hours
CUT = START + 60 * 24 * 6


def quantity(row: Row) -> float:
    return 1.0 + int(row[1][-1]) if (row[2] // 60) % 3 else 40.5


def weighed(rows: list[Row]) -> Purchases:
    """The purchases with how much was bought, as reading a table of these rows gives them."""
    found = purchases_of(rows)
    own = found.interactions
    user, item = own.users.rows([u for u, _, _ in rows]), own.items.rows([i for _, i, _ in rows])
    amounts = np.array([quantity(row) for row in rows])
    time = in_microseconds(t for _, _, t in rows)
    events = Events.of(user, item, time, own.n_users, own.n_items, time, amounts)
    totals = np.zeros((own.n_users, own.n_items))
    np.add.at(totals, (user, item), amounts)
    of_pairs = totals[own.matrix.nonzero()].astype(np.float32)
    return replace(found, interactions=replace(own, quantities=of_pairs), events=events)


@pytest.mark.parametrize(
    ("protocol", "options", "basket"),
    [
        ("strong", ProtocolOptions(test_users=0.25, held_out=0.5), 3),
        ("strong", ProtocolOptions(test_users=0.25, validation_users=0), 3),
        ("weak", ProtocolOptions(validation_users=0.25), 3),
        ("weak", ProtocolOptions(validation_users=0), 3),
        ("last-out", ProtocolOptions(validation_users=0.25), 1),
        ("time", ProtocolOptions(cut=CUT), 3),
        ("time", ProtocolOptions(cut=CUT, validation_users=0), 3),
        ("time", ProtocolOptions(cut=CUT, repeats=True), 3),
        ("next-basket", ProtocolOptions(test_users=0.25), 3),
        ("next-basket", ProtocolOptions(test_users=0.25, repeats=True), 3),
        ("k-fold", ProtocolOptions(folds=3), 3),
        ("pair", ProtocolOptions(validation_users=0.25), 3),
    ],
)
def test_weights_are_those_of_the_rows_that_are_learned_from(
    protocol: str, options: ProtocolOptions, basket: int
) -> None:
    rows = random_shop(1, basket=basket)
    if protocol == "pair":
        held = {row[:2] for row in rows[::5] if not row[1].startswith("~")}
        rows, test = ([row for row in rows if (row[:2] in held) is held_out] for held_out in (False, True))
        known = {i for _, i, _ in rows}
        test = [row for row in test if row[1] in known]
    purchases = weighed(rows)
    if protocol == "pair":
        purchases = replace(purchases, test=purchases_of(test).interactions)
    plain = make_tasks(purchases, protocol, options, seed=2)
    tasks = make_tasks(purchases, protocol, replace(options, weighting=BOTH), seed=2)
    bound = max(t for _, _, t in rows) + 1
    if protocol == "time":
        before = in_microseconds(t for _, _, t in rows if t < CUT)
        bound = CUT if options.validation_users == 0 else cut_for(before, VALIDATION_FRACTION) // SECOND
    times: dict[tuple[str, str], int] = {}
    amounts: dict[tuple[str, str], float] = {}
    for row in rows:
        if row[2] < bound:
            times[row[:2]] = max(row[2], times.get(row[:2], 0))
            amounts[row[:2]] = amounts.get(row[:2], 0) + quantity(row)
    for task, unweighted in zip(tasks, plain, strict=True):
        assert unweighted.confidence is None
        assert (task.fit != unweighted.fit).nnz == 0
        assert task.rule == unweighted.rule
        pairs = []
        for row, held in zip(task.fit, rows_of(task.fit, task.items), strict=True):
            pairs += [(owner(held), task.items.id(int(item))) for item in row.indices]
        facts = Facts(
            task.fit,
            in_microseconds(times[pair] for pair in pairs),
            np.array([amounts[pair] for pair in pairs]),
        )
        np.testing.assert_allclose(task.confidence, BOTH.confidence(facts), rtol=1e-5)
        assert np.ptp(task.confidence) > 1


def test_what_is_held_out_changes_no_weight() -> None:
    """Later and larger purchases of the test users, and after the cut, are not seen."""
    rows = random_shop(1)
    for protocol, options in (
        ("strong", ProtocolOptions(test_users=0.25)),
        ("time", ProtocolOptions(cut=CUT)),
    ):
        options = replace(options, weighting=BOTH)
        (task,) = make_tasks(weighed(rows), protocol, options, seed=2)
        if protocol == "strong":
            moved = [(u, i, t + 10**6 * (u in task.test_users)) for u, i, t in rows]
        else:
            moved = [(u, i, t + 10**6 * (t >= CUT)) for u, i, t in rows]
        (other,) = make_tasks(weighed(moved), protocol, options, seed=2)
        np.testing.assert_array_equal(task.confidence, other.confidence)


def test_times_and_quantities_that_were_not_read_are_named() -> None:
    rows = random_shop(1)
    for weighting, missing in ((Weighting(3), "--half-life"), (Weighting(None, True), "--quantity-as")):
        with pytest.raises(ColumnError, match=missing):
            make_tasks(
                purchases_of(rows, timed=False), "strong", ProtocolOptions(weighting=weighting), seed=0
            )


def test_a_process_is_given_the_weights_and_its_results_are_kept_apart(tmp_path: Path) -> None:
    options = ProtocolOptions(test_users=0.25)
    purchases = weighed(random_shop(1))
    prints = set()
    for number, weighting in enumerate((Weighting(), Weighting(0.02), BOTH)):
        (task,) = make_tasks(purchases, "strong", replace(options, weighting=weighting), seed=2)
        inputs = Inputs.of(task)
        folder = tmp_path / str(number)
        folder.mkdir()
        inputs.save(folder)
        found = Inputs.load(folder)
        assert found.fingerprint == inputs.fingerprint
        np.testing.assert_array_equal(found.confidence, task.confidence)
        prints.add(found.fingerprint)
    assert len(prints) == 3
