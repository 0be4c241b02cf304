"""Tests of models and a journal: what a model lacks counts beside it, and is learned once, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import recae, refused

from recae.filters import Filters
from recae.journal import Journal, Purchase
from recae.modelfile import load
from recae.models import Frequency, ItemKNN
from recae.reading import ReadOptions, read
from recae.recency import last_purchase
from recae.recommender import Recommender
from recae.serving.owned import bought_by, owned_by
from recae.serving.served import load_served
from recae.updating.pending import pending, with_pending

DAY = 86_400_000_000  # microseconds
START = 1_704_067_200_000_000  # 2024-01-01

OLD = [(f"u{n % 7}", f"i{n * n % 11:02}", n // 7) for n in range(60)]  # user, item, day
NEW = [
    ("u1", "i02", 20),
    ("new", "i03", 20),
    ("u2", "zz", 21),
    ("new", "zz", 22),
    ("u1", "i05", 22),
    ("a", "i03", 23),
]


def rows(*purchases: tuple[str, str, int]) -> list[tuple[str, str, datetime]]:
    return [
        (user, item, datetime.fromtimestamp((START + day * DAY) / 1e6, UTC)) for user, item, day in purchases
    ]


def taken(journal: Journal, *purchases: tuple[str, str, int]) -> None:
    for user, item, day in purchases:
        journal.add(Purchase(user, item, START + day * DAY, event=f"{user} {item} {day}"))


def made(
    *purchases: tuple[str, str, int], kind: str = "itemknn", filters: Filters | None = None
) -> Recommender:
    """What a training gives, without its figures, which take longest."""
    found = read(rows(*purchases), ReadOptions.of({"baskets": kind == "frequency", "filters": filters}))
    known, events = found.interactions, found.events
    histories = known.matrix if events is None else events.weights(0.5)
    model = ItemKNN.fit(histories, k=20) if events is None else Frequency.fit(histories, decay=0.5)
    metadata: dict[str, Any] = dict(last_purchase(known.times))
    if known.filters is not None:
        metadata["filters"] = known.filters.as_dict()
    if events is not None:
        metadata["repeats"] = True
    return Recommender(model, known.users, known.items, known.item_names, histories, metadata)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made(*OLD).save(tmp_path / "m.recae")
    return tmp_path / "m.recae"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "purchases.db") as opened:
        yield opened


def same_histories(found: Recommender, expected: Recommender) -> None:
    assert found.users == expected.users
    assert found.items == expected.items
    assert found.histories is not None
    assert expected.histories is not None
    np.testing.assert_array_equal(found.histories.toarray(), expected.histories.toarray())


def test_an_update_learns_from_a_journal_once(path: Path, journal: Journal) -> None:
    taken(journal, *NEW)
    result = recae("update", path, "--journal", journal.path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["pairs"]["new"] == len(
        {row[:2] for row in NEW} - {row[:2] for row in OLD}
    )
    found = load(path)
    everything = made(*OLD, *NEW)
    same_histories(found, everything)
    np.testing.assert_array_equal(
        found.model.score(found.histories), everything.model.score(everything.histories)
    )
    assert journal.folded_up_to(found.metadata) == len(NEW)
    assert journal.marks() == [(found.metadata["fingerprint"], len(NEW))]
    before = path.read_bytes()
    assert recae("update", path, "--journal", journal.path).exit_code == 0
    assert path.read_bytes() == before
    # what the model knows already moves only the mark, so that it is not read again
    taken(journal, ("u1", "i02", 30))
    assert recae("update", path, "--journal", journal.path).exit_code == 0
    assert journal.folded_up_to(load(path).metadata) == len(NEW) + 1
    assert not len(pending(load(path), journal))


def test_an_update_killed_before_its_mark_learns_nothing_twice(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.recae"
    made(*OLD, kind="frequency").save(path)
    taken(journal, *NEW[:3])

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "mark_folded", killed)
        assert recae("update", path, "--journal", journal.path).exit_code == 130
    taken(journal, *NEW[3:])
    assert recae("update", path, "--journal", journal.path).exit_code == 0
    assert recae("update", path, "--journal", journal.path).exit_code == 0
    everything = made(*OLD, *NEW, kind="frequency")
    found = load(path)
    assert found.histories is not None
    assert everything.histories is not None
    assert found.users == everything.users
    np.testing.assert_allclose(found.histories.toarray(), everything.histories.toarray(), rtol=1e-6)


def test_purchases_between_an_update_and_its_reload_stay(path: Path, journal: Journal) -> None:
    taken(journal, *NEW[:2])
    served = load_served(path, journal=journal)
    owned = {user: owned_by(served, user, bought_by(served, [user])[0]) for user in ("u1", "new")}
    assert recae("update", path, "--journal", journal.path).exit_code == 0
    taken(journal, *NEW[2:])
    after = load_served(path, journal=journal)
    assert after.folded == 2
    assert [list(bought.items) for bought in bought_by(after, ["new", "u1"])] == [["zz"], ["i05"]]
    found = owned_by(after, "new", bought_by(after, ["new"])[0])
    assert found.unknown == ["zz"]
    ids = after.recommender.items.ids(found.items).to_pylist()
    assert ids == served.recommender.items.ids(owned["new"].items).to_pylist() == ["i03"]


@pytest.mark.parametrize("kind", ["itemknn", "frequency"])
def test_a_journal_counts_beside_histories_as_in_the_server(
    tmp_path: Path, journal: Journal, kind: str
) -> None:
    path = tmp_path / "m.recae"
    made(*OLD, kind=kind).save(path)
    taken(journal, *NEW, OLD[-1])
    model = load(path)
    found = with_pending(model, pending(model, journal))
    served = load_served(path, journal=journal)
    assert found.users is not None
    assert found.histories is not None
    assert set(found.users) == {f"u{n}" for n in range(7)} | {"new", "a"}
    assert found.items == model.items
    for user in found.users:
        history = found.histories[found.users.row(user)]
        owned = owned_by(served, user, bought_by(served, [user])[0])
        assert history.indices.tolist() == owned.items.tolist()
        if owned.values is not None:
            np.testing.assert_allclose(history.data, owned.values, rtol=1e-6)


def test_batches_and_recommendations_count_a_journal(path: Path, journal: Journal, tmp_path: Path) -> None:
    taken(journal, *NEW)
    options = ("--journal", journal.path)
    assert recae("recommend", "--user", "new", model=path).exit_code == 2
    found = recae("recommend", "--user", "new", "--json", *options, model=path)
    items = [one["item_id"] for one in json.loads(found.stdout)["recommendations"]]
    expected = load(path).recommend(items=["i03"])
    assert items == [one.item for one in expected]
    assert "6 purchases of the journal" in found.stderr
    assert recae("score", "--out", tmp_path / "all.csv", *options, model=path).exit_code == 0
    lines = (tmp_path / "all.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines if line.startswith("new,")] == items
    refused(
        recae("score", "--out", tmp_path / "x.csv", "--histories", "h.csv", *options, model=path),
        "leave one of them out",
    )


def test_filters_of_the_training_hold_for_a_journal(tmp_path: Path, journal: Journal) -> None:
    period = Filters(since="2023-01-01", until="2024-01-22", exclude_items=["i03"])
    model = made(*OLD, filters=period)
    taken(journal, *NEW, ("u1", "i02", -500))
    left = pending(model, journal)
    # what was bought after the period of the training is what an update is for
    assert left.table.column("item").to_pylist() == ["i02", "zz", "zz", "i05"]
    assert left.sequence == len(NEW) + 1


def test_options_that_do_not_go_with_a_journal(path: Path, journal: Journal, tmp_path: Path) -> None:
    refused(recae("update", path), "give PURCHASES, or --journal PATH")
    refused(
        recae("update", path, "new.csv", "--journal", journal.path),
        "PURCHASES and --journal both say where purchases come from: give one of them",
    )
    refused(
        recae("update", path, "--journal", journal.path, "--since-last"), "--since-last goes with a table"
    )
    for option in ("--no-take-back", "--take-back"):
        refused(
            recae("update", path, "--journal", journal.path, option), f"error: {option} goes with a table"
        )
    refused(recae("update", path, "--journal", tmp_path / "none.db"), "there is no journal")
    (tmp_path / "rows.csv").write_text("user,item\n")
    refused(
        recae("update", path, "--journal", tmp_path / "rows.csv"),
        "is no journal: it is no database of SQLite",
    )


def test_an_update_forgets_whom_the_journal_names(path: Path, journal: Journal, tmp_path: Path) -> None:
    taken(journal, *NEW)
    journal.order_forgetting("u1")
    journal.order_forgetting("u2")
    journal.add(Purchase("u2", "i04", START + 30 * DAY))  # who has come back
    options = ("--journal", journal.path)
    assert recae("score", "--out", tmp_path / "all.csv", *options, model=path).exit_code == 0
    users = {line.split(",")[0] for line in (tmp_path / "all.csv").read_text().splitlines()[1:]}
    assert "u1" not in users
    assert "u2" in users
    assert recae("update", path, *options).exit_code == 0
    left = [row for row in (*OLD, *NEW) if row[0] not in ("u1", "u2")]
    everything = made(*left, ("u2", "i04", 30))
    found = load(path)
    same_histories(found, everything)
    np.testing.assert_array_equal(
        found.model.score(found.histories), everything.model.score(everything.histories)
    )
    before = path.read_bytes()
    assert recae("update", path, *options).exit_code == 0
    assert path.read_bytes() == before
