"""Protocols: what each holds out, against plain loops and what training holds out; how many, and from whom."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae, refused
from plainkeys import plain_pair_key
from reports import full_report, typed
from shops import START, Row, pairs_of, purchases_of, random_shop, rows_of

from recae.errors import ConfigError, DataError
from recae.evaluation import evaluate
from recae.evaluation.report.html import report_html
from recae.interactions import NO_TIME
from recae.models import Popularity
from recae.splits.held_out import DECAY, hold_out, hold_out_repeats
from recae.splits.protocols import (
    PROTOCOLS,
    ProtocolOptions,
    Purchases,
    Task,
    check_protocol,
    make_tasks,
    pair_of_matrices,
)
from recae.splits.rows import Protocol
from recae.splits.users import strong

ROWS = random_shop(0)
SINGLE = random_shop(1, basket=1)  # no two of a user's purchases at one time
EVERYBODY = {u for u, _, _ in ROWS}


def only_task(rows: list[Row], protocol: str, seed: int = 0, **options: Any) -> Task:
    (task,) = make_tasks(purchases_of(rows), protocol, ProtocolOptions(**options), seed)
    return task


def by_user(task: Task, matrix: sp.csr_matrix) -> dict[str, set[str]]:
    return dict(zip(task.test_users, rows_of(matrix, task.items), strict=True))


def test_a_protocol_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def halves(purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
        return strong(purchases, replace(options, test_users=0.5), seed)

    row = Protocol(
        name="halves-of-users",
        about="every second user",
        title="Half of the users",
        meaning="Every second user was tested.",
        maker=halves,
        options=("held_out", "repeats"),
    )
    with pytest.raises(ConfigError, match="found 'halves-of-users'"):
        check_protocol(row.name, ProtocolOptions())
    monkeypatch.setitem(PROTOCOLS, row.name, row)
    check_protocol(row.name, ProtocolOptions(repeats=True))
    (task,) = make_tasks(purchases_of(ROWS), row.name)
    assert task.test_users == only_task(ROWS, "strong", test_users=0.5).test_users
    with pytest.raises(ConfigError, match=f"a cut is for the protocol time, but the protocol is {row.name}"):
        check_protocol(row.name, ProtocolOptions(cut=5))
    with pytest.raises(ConfigError, match="protocols time, next-basket and halves-of-users, but"):
        check_protocol("weak", ProtocolOptions(repeats=True))

    lines = recae("evaluate", "--help").stdout.splitlines()
    assert f"    {row.name}  {row.about}" in lines
    assert f"    {'pair':<{len(row.name)}}  a test part that is given" in lines
    refused(
        recae("evaluate", "shop.csv", "--protocol", row.name, "--test-users", "3"),
        "--test-users is for the protocols strong and next-basket, but the protocol is halves-of-users",
    )
    report = full_report()
    report["protocol"]["name"] = row.name
    page = report_html(typed(report))
    assert "half of the users" in page
    assert row.meaning in page


def test_the_help_of_evaluate_needs_no_numpy() -> None:
    code = "import sys; from recae.cli import main; main(['evaluate', '--help'], standalone_mode=False)"
    check = "assert not {'numpy', 'scipy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{code}; {check}"], check=True, stdout=subprocess.DEVNULL)


def test_every_task_fits_together() -> None:
    for protocol in PROTOCOLS:
        purchases = purchases_of(SINGLE, test=[("u00", "i00", 0)] if protocol == "pair" else None)
        for fold, task in enumerate(make_tasks(purchases, protocol)):
            width = len(task.items)
            assert task.fold == fold
            assert task.protocol == protocol
            assert task.histories.shape == task.held_out.shape == (len(task.test_users), width)
            assert task.fit.shape[1] == task.train.shape[1] == width
            matrices = [task.fit, task.train, task.histories, task.held_out, *(task.validation or ())]
            for matrix in matrices:
                assert isinstance(matrix, sp.csr_matrix)
                assert matrix.dtype == np.float32
                assert matrix.has_sorted_indices
                assert (np.diff(matrix.indptr) > 0).all()  # no empty rows
                assert (matrix.data == 1).all()
            new = np.zeros(width, np.bool_) if task.cold is None else task.cold.new
            assert ((np.bincount(task.train.indices, minlength=width) > 0) == ~new).all()
            assert task.histories.multiply(task.held_out).nnz == 0
            assert task.rule.count(".") == 0
            assert f"{task.held_out.nnz} interaction" in task.rule
            assert f"{len(task.test_users)} user" in task.rule
            measured = evaluate(
                Popularity.fit(task.fit),
                task.histories,
                task.held_out,
                (5,),
                exclude_owned=task.exclude_owned,
            )
            assert measured.n_users == len(task.test_users)


@pytest.mark.parametrize("seed", [0, 5])
def test_strong_tests_the_users_that_training_holds_out(seed: int) -> None:
    purchases = purchases_of(ROWS)
    expected = hold_out(purchases.interactions, seed)
    task = only_task(ROWS, "strong", seed)
    known = purchases.interactions.items.rows(list(task.items))
    assert expected.validation is not None
    assert expected.test is not None
    assert task.validation is not None
    lost = expected.test[1].nnz - expected.test[1][:, known].nnz
    assert task.lost == lost
    tested = expected.test[1][:, known].getnnz(axis=1) > 0
    pairs = [
        (task.histories, expected.test[0][tested]),
        (task.held_out, expected.test[1][tested]),
        (task.validation[0], expected.validation[0]),
        (task.validation[1], expected.validation[1]),
        (task.fit, purchases.interactions.matrix[expected.learners]),
    ]
    for found, wanted in pairs:
        np.testing.assert_array_equal(found.toarray(), wanted[:, known].toarray())


@pytest.mark.parametrize("decay", [None, 0.7])
def test_next_baskets_are_those_that_training_holds_out(decay: float | None) -> None:
    purchases = purchases_of(ROWS)
    assert purchases.events is not None
    expected = hold_out_repeats(purchases.events, purchases.interactions.users, 4, decay)
    task = only_task(ROWS, "next-basket", 4, repeats=True, decay=decay)
    assert task.decay == expected.decay
    assert not task.exclude_owned
    assert expected.test is not None
    assert expected.validation is not None
    assert task.validation is not None
    known = purchases.interactions.items.rows(list(task.items))
    wanted = (*expected.test, *expected.validation)
    for found, matrix in zip((task.histories, task.held_out, *task.validation), wanted, strict=True):
        np.testing.assert_array_equal(found.toarray(), matrix[:, known].toarray())
    assert "owned items among them" in task.rule


def test_next_baskets_of_new_items() -> None:
    task = only_task(ROWS, "next-basket", test_users=9, validation_users=3)
    assert task.exclude_owned
    assert task.decay is None
    for user, found in by_user(task, task.held_out).items():
        own = [row for row in ROWS if row[0] == user]
        last = max(t for _, _, t in own)
        earlier = {i for _, i, t in own if t < last}
        assert found == ({i for _, i, t in own if t == last} - earlier) & set(task.items)
        assert by_user(task, task.histories)[user] == earlier & set(task.items)
    assert task.validation is not None
    assert task.validation[0].shape[0] <= 3
    assert task.fit.shape[0] == len(EVERYBODY) - 12


def test_weak_takes_a_share_of_everybody() -> None:
    task = only_task(ROWS, "weak", held_out=0.3, validation_users=5)
    owned = {u: {i for v, i, _ in ROWS if v == u} for u in EVERYBODY}
    histories = by_user(task, task.histories)
    for user, found in by_user(task, task.held_out).items():
        assert found <= owned[user] - histories[user]
        assert len(histories[user]) == len(owned[user]) - round(0.3 * len(owned[user]))
    assert task.train.nnz + task.held_out.nnz + task.lost == sum(map(len, owned.values()))
    assert task.validation is not None
    trained = {u: {i for v, i in pairs_of(task.train, task.items) if v == u} for u in EVERYBODY}
    sizes = [len(row) for row in rows_of(task.validation[1], task.items)]
    whole = [a | b for a, b in zip(*(rows_of(m, task.items) for m in task.validation), strict=True)]
    assert all(row in trained.values() for row in whole)
    assert sizes == [round(0.3 * len(row)) for row in whole]
    assert len(sizes) == 5
    assert task.fit.nnz == task.train.nnz - sum(sizes)


@pytest.mark.parametrize("ties", ["random", "moment"])
@pytest.mark.parametrize("seed", [0, 7])
def test_ties_of_the_last_moment(seed: int, ties: str) -> None:
    rows = [
        *ROWS,
        ("once", "i00", START),
        ("once", "i01", START),
        ("v", "i00", START),
        ("v", "i01", START + 1),
        ("v", "i02", START + 1),
    ]
    users = {u for u, _, _ in rows}
    last = {(u, i): max(t for v, j, t in rows if (v, j) == (u, i)) for u, i, _ in rows}
    kept = set(last)

    def taken(who: set[str]) -> set[tuple[str, str]]:
        """What each of these users bought last among `kept`, by the ids and the seed where there are several."""
        found = set()
        for user in who:
            own = {i: last[u, i] for u, i in kept if u == user}
            final = sorted(
                (i for i in own if own[i] == max(own.values())), key=lambda i: plain_pair_key(user, i, seed)
            )
            if ties == "random":
                found.add((user, final[0]))
            elif len(final) < len(own):
                found |= {(user, i) for i in final}
        return found

    moments = {u: [last[v, i] for v, i in kept if v == u] for u in users}
    tied = [u for u, own in moments.items() if own.count(max(own)) > 1]
    task = only_task(rows, "last-out", seed, ties=ties, validation_users=len(users) - 3)
    held = taken(users)
    kept -= held
    known = {i for _, i in kept}
    assert {(u, i) for u, row in by_user(task, task.held_out).items() for i in row} == {
        pair for pair in held if pair[1] in known
    }
    assert task.train.nnz == len(kept)
    assert task.validation is not None
    both = sp.csr_matrix(task.validation[0] + task.validation[1])
    whole = {frozenset(row) for row in rows_of(both, task.items)}
    second = taken({u for u in users if frozenset(i for v, i in kept if v == u) in whole})
    chosen = sorted(map(sorted, rows_of(task.validation[1], task.items)))
    by_owner = [sorted(i for v, i in second if v == u) for u in {u for u, _ in second}]
    assert chosen == sorted(row for row in by_owner if set(row) <= known)
    assert task.counts == {"users_with_ties": len(tied)}
    percent = f"{100 * len(tied) / len(users):.3g}"
    done = "one of these is chosen at random" if ties == "random" else "all of these are held out"
    assert f"{len(tied)} users ({percent} %) bought several items at the last moment, and {done}" in task.rule
    assert ("not tested: 1 user of a single moment" in task.rule) == (ties == "moment")


def test_ties_are_broken_by_ids_and_not_by_their_order() -> None:
    """Popularity finds no more than it would by chance, whatever the alphabet says; other rows change nothing."""
    rng = np.random.default_rng(5)
    rows = [(f"{n:03}", f"z{m}", START + n) for n in range(400) for m in range(4)]
    found = [only_task(rows, "last-out", seed) for seed in (0, 1)]
    per_item = [np.bincount(task.held_out.indices, minlength=4) for task in found]
    assert all(np.abs(counts - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75) for counts in per_item)
    assert (found[0].held_out != found[1].held_out).nnz
    more = [*rows, *((f"new{n}", f"a{m}", START) for n in range(9) for m in range(3))]
    again = only_task([more[n] for n in rng.permutation(len(more))], "last-out", 0)
    assert by_user(found[0], found[0].held_out).items() <= by_user(again, again.held_out).items()


def test_the_last_item_and_the_one_before() -> None:
    task = only_task(SINGLE, "last-out", validation_users=4)
    final = {u: max((t, i) for v, i, t in SINGLE if v == u)[1] for u in EVERYBODY}
    kept = [row for row in SINGLE if row[1] != final[row[0]]]
    known = {i for _, i, _ in kept}
    assert set(task.items) == known
    assert by_user(task, task.held_out) == {u: {i} for u, i in final.items() if i in known}
    assert task.lost == len(set(final.values()) - known)
    assert pairs_of(task.train, task.items) == {row[:2] for row in kept}
    second = {u: max((t, i) for v, i, t in kept if v == u)[1] for u in EVERYBODY}
    taken = pairs_of(task.train, task.items) - pairs_of(task.fit, task.items)
    assert len(taken) == 4
    assert taken <= set(second.items())


@pytest.mark.parametrize("repeats", [False, True])
def test_time_is_cut_for_everything(repeats: bool) -> None:
    cut = START + 60 * 150
    unknown = [("u00", "i00", NO_TIME), ("u99", "i00", NO_TIME)]
    rows = [*ROWS, *unknown, ("late", "i00", cut)]
    task = only_task(rows, "time", cut=cut, repeats=repeats)
    earlier = {row[:2] for row in ROWS if row[2] < cut}
    later = {row[:2] for row in ROWS if row[2] >= cut}
    known = {i for _, i in earlier}
    assert set(task.items) == known
    assert pairs_of(task.train, task.items) == earlier
    wanted = {(u, i) for u, i in (later if repeats else later - earlier) if u in {v for v, _ in earlier}}
    found = {(u, i) for u, row in by_user(task, task.held_out).items() for i in row}
    assert found == {(u, i) for u, i in wanted if i in known}
    assert task.lost == len([1 for u, i in wanted if i not in known])
    assert "1 user who first bought after the cut" in task.rule
    assert "2 purchases without a known time" in task.rule
    assert task.exclude_owned is not repeats
    before = sorted(row for row in ROWS if row[2] < cut)
    moments = np.sort([t for _, _, t in before])
    start = min(t for t in moments if (moments >= t).sum() <= 0.1 * moments.size)
    assert pairs_of(task.fit, task.items) == {row[:2] for row in before if row[2] < start}
    assert task.validation is not None
    assert {i for row in rows_of(task.validation[1], task.items) for i in row} <= {
        i for _, i, t in before if t >= start
    }
    if repeats:
        assert task.decay is not None
        user = task.test_users[0]
        own = sorted({t for u, _, t in before if u == user})
        for column, weight in zip(task.histories[0].indices, task.histories[0].data, strict=True):
            bought = [t for u, i, t in before if (u, i) == (user, task.items.id(int(column)))]
            assert weight == pytest.approx(sum(task.decay ** (len(own) - 1 - own.index(t)) for t in bought))


def test_the_cut_leaves_the_last_fifth() -> None:
    task = only_task(ROWS, "time", held_out=0.2)
    times = np.sort([t for _, _, t in ROWS])
    cut = min(t for t in times if (times >= t).sum() <= 0.2 * times.size)
    assert pairs_of(task.train, task.items) == {row[:2] for row in ROWS if row[2] < cut}
    # the last day is half of it, but the first has to stay
    days = [("a", "i", 0), ("a", "j", 86_400), ("b", "j", 0), ("b", "i", 86_400)]
    task = only_task(days, "time")
    assert task.rule.startswith(
        "What 2 users bought from 1970-01-02 UTC on (2 interactions of items that they did"
    )
    assert task.lost == 0
    assert "left out" not in task.rule
    assert "not tested" not in task.rule


def test_each_user_is_tested_once() -> None:
    rows = [*ROWS, ("lone", "i00", START)]
    tasks = make_tasks(purchases_of(rows), "k-fold", ProtocolOptions(folds=5, held_out=0.5), 1)
    tested = [user for task in tasks for user in task.test_users]
    assert sorted(tested) == sorted(EVERYBODY)
    assert [task.fold for task in tasks] == [0, 1, 2, 3, 4]
    for task in tasks:
        assert task.validation is not None
        others = len(EVERYBODY) + 1 - len(task.test_users)
        assert task.fit.shape[0] + task.validation[0].shape[0] == task.train.shape[0] == others
        assert f"Part {task.fold + 1} of 5" in task.rule


def test_a_given_pair() -> None:
    test = [("u00", "i05", 0), ("u03", "i00", 0), ("u03", "~u07-1", 0)]
    train = [row for row in ROWS if row[:2] != ("u00", "i05")]
    (task,) = make_tasks(purchases_of(train, test=test), "pair", ProtocolOptions(validation_users=0))
    assert task.validation is None
    assert task.fit is task.train
    assert "nobody is held out to choose on" in task.rule
    owned = {row[:2] for row in train}
    assert pairs_of(task.fit, task.items) == owned
    assert {(u, i) for u, row in by_user(task, task.held_out).items() for i in row} == {
        row[:2] for row in test
    } - owned


def test_a_test_part_of_unknown_users_and_items() -> None:
    """They are left out and counted, and all else is as if they had never been there."""
    known = [("u00", "i05", 0), ("u03", "i00", 0), ("u03", "i02", 0)]
    unknown = [("new", "i05", 0), ("new", "odd", 0), ("u03", "odd", 0), ("u04", "odder", 0)]
    train = [row for row in ROWS if row[:2] not in {found[:2] for found in known}]
    (one,) = make_tasks(purchases_of(train, test=known), "pair")
    (two,) = make_tasks(purchases_of(train, test=[*unknown, *known]), "pair")
    assert one.counts == dict.fromkeys(two.counts, 0)
    assert two.counts == {
        "unknown_test_users": 1,
        "unknown_test_items": 2,
        "unknown_test_interactions": len(unknown),
    }
    assert "does not know" not in one.rule
    assert two.rule == (
        f"{one.rule}; left out: 4 interactions of the test part, of users or items that the training part does not "
        "know: 1 of its 4 users, such as 'new' and 2 of its 5 items, such as 'odd', 'odder'"
    )
    assert one.test_users == two.test_users
    for a, b in zip(
        (one.held_out, one.histories, one.fit), (two.held_out, two.histories, two.fit), strict=True
    ):
        assert (a != b).nnz == 0
    train_matrix = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 1]]))
    test_matrix = sp.csr_matrix(np.array([[0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]))
    (task,) = make_tasks(
        pair_of_matrices(train_matrix, test_matrix), "pair", ProtocolOptions(validation_users=0)
    )
    assert task.held_out.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]
    assert list(task.counts.values()) == [1, 1, 5]


def test_a_pair_of_matrices() -> None:
    train = sp.csr_matrix(np.array([[1, 2, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]))
    given = (np.array([1, 1, 1, 0, 1]), ([0, 0, 1, 1, 2], [2, 3, 1, 3, 0]))  # one zero is stored
    test = sp.csr_matrix(given, shape=(3, 4))
    (task,) = make_tasks(pair_of_matrices(train, test), "pair", ProtocolOptions(validation_users=0))
    assert list(task.items) == ["0", "1", "2"]
    assert task.test_users == ("0",)
    assert task.held_out.toarray().tolist() == [[0, 0, 1]]
    assert task.histories.toarray().tolist() == [[1, 1, 0]]
    assert task.lost == 1
    assert "not tested: 2 users with no history, nothing held out" in task.rule
    assert "1 held-out interaction of items that are owned already" in task.rule
    smaller = pair_of_matrices(train, test[:1, :3].tocsr())
    assert make_tasks(smaller, "pair")[0].test_users == ("0",)
    with pytest.raises(DataError, match="the test matrix holds values that are not finite"):
        pair_of_matrices(train, sp.csr_matrix(np.array([[np.nan]])))


def test_how_many_users() -> None:
    def sizes(**options: Any) -> tuple[int, int, int]:
        task = only_task(ROWS, "strong", held_out=0.6, **options)
        return (
            len(task.test_users),
            task.validation[0].shape[0] if task.validation else 0,
            task.fit.shape[0],
        )

    assert sizes() == (2, 2, 20)  # of 24
    assert sizes(test_users=0.25) == (6, 6, 12)
    assert sizes(test_users=0.9) == (8, 8, 8)
    assert sizes(test_users=0.9, validation_users=0) == (12, 0, 12)
    assert sizes(test_users=10, validation_users=1) == (10, 1, 13)
    assert sizes(test_users=2, validation_users=0.5) == (2, 8, 14)
    assert sizes(test_users=2, validation_users=0.0) == (2, 0, 22)
    with pytest.raises(DataError, match="12 users to test and 12 to choose on were asked for, but of 24"):
        sizes(test_users=12)
    with pytest.raises(DataError, match="25 users to choose on were asked for, but only 24 of 24"):
        only_task(ROWS, "weak", validation_users=25)


def test_small_histories_learn() -> None:
    rows = [*ROWS, *((f"s{n}", f"i0{n % 3}", START) for n in range(9))]
    for protocol in ("strong", "weak", "k-fold", "next-basket"):
        for task in make_tasks(purchases_of(rows), protocol, ProtocolOptions(held_out=0.5)):
            assert not {user for user in task.test_users if user.startswith("s")}
    assert "9 users of fewer than 2 items" in only_task(rows, "weak").rule
    sizes = {u: len({i for v, i, _ in ROWS if v == u}) for u in EVERYBODY}
    bound = sorted(sizes.values())[12]
    task = only_task(ROWS, "weak", min_items=bound)
    assert set(task.test_users) <= {u for u, n in sizes.items() if n >= bound}
    assert len(task.test_users) > 5
    with pytest.raises(DataError, match="holding out needs at least 3 users of 99 items or more, but of 24"):
        only_task(ROWS, "strong", min_items=99)
    with pytest.raises(DataError, match="leaves nobody to test: of 0 users"):
        only_task(ROWS, "weak", min_items=99)
    by_time = only_task(ROWS, "time")
    together = by_time.histories.getnnz(axis=1) + by_time.held_out.getnnz(axis=1)
    bound = int(np.median(together))
    large = [user for user, n in zip(by_time.test_users, together, strict=True) if n >= bound]
    assert 0 < len(large) < len(together)
    assert list(only_task(ROWS, "time", min_items=bound).test_users) == large


def test_one_user_is_left_to_learn() -> None:
    four = [(user, item, START) for user in "abcd" for item in "ij"]
    for task in make_tasks(purchases_of(four), "k-fold", ProtocolOptions(folds=2, validation_users=0.9)):
        assert task.validation is not None
        assert (task.validation[0].shape[0], task.fit.shape[0], task.train.shape[0]) == (1, 1, 2)


def test_the_same_seed_draws_the_same() -> None:
    for protocol in ("strong", "weak", "k-fold", "next-basket"):
        tasks = [make_tasks(purchases_of(ROWS), protocol, seed=seed) for seed in (1, 1, 2)]
        for one, two in zip(tasks[0], tasks[1], strict=True):
            assert one.rule == two.rule
            assert one.held_out.indices.tobytes() == two.held_out.indices.tobytes()
        assert any(
            one.held_out.indices.tobytes() != two.held_out.indices.tobytes()
            for one, two in zip(tasks[0], tasks[2], strict=True)
        )


def test_nobody_to_choose_on() -> None:
    two = [("a", "i", 1), ("b", "i", 1), ("b", "j", 1), ("a", "j", 9)]
    for options in ({}, {"repeats": True}, {"repeats": True, "decay": 0.5}):
        task = only_task(two, "time", **options)  # what lies before the cut has but one time
        assert task.validation is None
        assert task.fit is task.train
        assert task.decay == (options.get("decay", DECAY) if options else None)
    assert only_task(SINGLE, "last-out", validation_users=0).validation is None
    assert only_task(ROWS, "next-basket", repeats=True, validation_users=0).decay == DECAY
