"""Tests of the nightly job: what candidates learn from, what they are compared on, and what goes into service."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from commands import names, recae, refused, start
from numpy.typing import NDArray

from recae import modelfile
from recae.errors import ModelFileError, OutputError
from recae.filters import time_text
from recae.ids import IdMap
from recae.interactions import NO_TIME, SECOND, Interactions
from recae.item_table import TEXT, ItemTable
from recae.journal import Journal, Purchase
from recae.modelfile import load, save
from recae.models import Ease, Popularity
from recae.pipeline import train
from recae.recommender import Recommender
from recae.updating import refresh as refreshing
from recae.updating.judging import K, judge
from recae.updating.refresh import Week, refresh
from recae.updating.versions import RETAINED, remove_oldest, retain, roll_back, versions_of

START, DAY = 1_700_000_000, 86_400
N_USERS, N_ITEMS = 60, 24


def rows(first_day: int, last_day: int, seed: int = 0) -> list[tuple[str, str, int]]:
    """A purchase of each user about every other day; a user of an odd number likes odd items."""
    rng = np.random.default_rng([seed, first_day])
    found = []
    for day in range(first_day, last_day):
        for u in rng.permutation(N_USERS)[: N_USERS // 2].tolist():
            item = 2 * int(rng.integers(N_ITEMS // 2)) + (u % 2)
            found.append((f"u{u:02}", f"i{item:02}", START + day * DAY + int(rng.integers(DAY))))
    return found


def write(path: Path, table: list[tuple[str, str, int]]) -> Path:
    lines = [f"{user},{item},{time_text(time)}" for user, item, time in table]
    path.write_text("\n".join(["user_id,item_id,time", *lines]) + "\n")
    return path


OLD, NEW = rows(0, 12), rows(12, 32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a model of twelve days."""
    folder = tmp_path_factory.mktemp("trained")
    old = write(folder / "old.csv", OLD)
    save(train(old, kind="itemknn", k=10, progress=False), folder / "model.recae")
    return (folder / "model.recae").read_bytes()


@pytest.fixture
def shop(tmp_path: Path, trained: bytes) -> tuple[Path, Path]:
    """A model of twelve days, and the purchases of the twenty after them."""
    model = tmp_path / "model.recae"
    model.write_bytes(trained)
    return model, write(tmp_path / "new.csv", NEW)


def pairs(table: list[tuple[str, str, int]]) -> set[tuple[str, str]]:
    return {(user, item) for user, item, _ in table}


def pairs_of(recommender: Recommender) -> set[tuple[str, str]]:
    assert recommender.users is not None
    assert recommender.histories is not None
    found = recommender.histories.tocoo()
    users, items = recommender.users.ids(found.row), recommender.items.ids(found.col)
    return set(zip(users.to_pylist(), items.to_pylist(), strict=True))


class Watched:
    """Makes candidates with a function, and notes which there were."""

    def __init__(self, make: Callable[[Recommender, int | None, int | None], Recommender]) -> None:
        self.make, self.calls = make, list[tuple[Recommender, int | None, Recommender]]()

    def __call__(self, recommender: Recommender, since: int | None, until: int | None) -> Recommender:
        made = self.make(recommender, since, until)
        self.calls.append((recommender, until, made))
        return made


# what is compared


def test_the_later_half_of_what_is_new_is_compared_on_and_a_week_at_most() -> None:
    service = Recommender(
        Popularity(np.ones(1, np.float32)), None, IdMap(["a"]), metadata={"last_purchase": START}
    )

    def week(ends: int, last: int | None = START, days: float = 7) -> tuple[int, int, list[str]] | None:
        """Of purchases every hour from START - 2 days."""
        times = np.arange(START - 2 * DAY, ends + 1, 3600)
        n = times.size
        interactions = Interactions(
            sp.csr_matrix(np.ones((n, 1), np.float32)),
            IdMap([f"{time}" for time in times]),
            IdMap(["a"]),
            times * SECOND,
            np.ones(n, np.int32),
        )
        known = Recommender(
            service.model, None, service.items, metadata={} if last is None else {"last_purchase": last}
        )
        found = Week.of(known, interactions, days)
        if found is None:
            return None
        return (
            found.start,
            found.end,
            found.purchases.users.ids(np.arange(found.purchases.n_users)).to_pylist(),
        )

    def hours(first: int, last: int) -> list[str]:
        return [str(time) for time in range(START - 2 * DAY, last + 1, 3600) if time >= first]

    end = START + DAY
    assert week(end) == (START + DAY // 2 + 1, end, hours(START + DAY // 2 + 1, end))
    end = START + 40 * DAY
    assert week(end) == (end + 1 - 7 * DAY, end, hours(end + 1 - 7 * DAY, end))
    assert week(end, days=0.5) == (end + 1 - DAY // 2, end, hours(end + 1 - DAY // 2, end))
    assert week(START) is None
    assert week(START - DAY) is None
    middle = START - 2 * DAY + 2 * DAY
    assert week(START + 2 * DAY, last=None) == (middle, START + 2 * DAY, hours(middle, START + 2 * DAY))


def test_a_purchase_of_2099_does_not_hide_the_newest_week() -> None:
    times = np.array([START + hour * 3600 for hour in range(200)] + [4_070_908_800])
    data = Interactions(
        sp.csr_matrix(np.ones((times.size, 1), np.float32)),
        IdMap([f"{n}" for n in range(times.size)]),
        IdMap(["a"]),
        times * SECOND,
        np.ones(times.size, np.int32),
    )
    known = Recommender(
        Popularity(np.ones(1, np.float32)), None, IdMap(["a"]), metadata={"last_purchase": START}
    )
    found = Week.of(known, data, 7)
    assert found is not None
    assert found.end == START + 199 * 3600
    nothing = Interactions(data.matrix, data.users, data.items, np.full(times.size, NO_TIME), data.counts)
    assert Week.of(known, nothing, 7) is None


def ndcg(ranked: list[str], wanted: set[str]) -> float:
    gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranked[:K]) if item in wanted)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(K, len(wanted))))


def random_weights(n: int, seed: int) -> NDArray[np.float32]:
    W = np.random.default_rng(seed).normal(size=(n, n)).astype(np.float32)
    np.fill_diagonal(W, 0)
    return W


def test_both_rank_over_what_they_know_and_are_measured_alike() -> None:
    """Against lists made one by one: other items, in another order, users and items that only one of them knows."""
    rng = np.random.default_rng(3)
    ours, theirs = [f"i{n:02}" for n in range(40)], [f"i{n:02}" for n in (*range(30, 4, -1), 90, 91)]
    users = [f"u{n}" for n in range(12)]
    X = (rng.random((12, 40)) < 0.2).astype(np.float32)
    X[3] = 0  # nobody yet
    candidate = Recommender(
        Ease(random_weights(40, 1), {"diagonal": 1.0}), IdMap(users), IdMap(ours), None, sp.csr_matrix(X)
    )
    own = [users[n] for n in (8, 2, 5)]
    Y = (rng.random((3, 28)) < 0.3).astype(np.float32)
    service = Recommender(
        Ease(random_weights(28, 2), {"diagonal": 1.0}), IdMap(own), IdMap(theirs), None, sp.csr_matrix(Y)
    )
    asked, sold = [*users[1:9], "u-new"], [*ours[3:38], "i-new", "90", "i90"]
    Z = (rng.random((len(asked), len(sold))) < 0.15).astype(np.float32)
    week = Interactions(sp.csr_matrix(Z), IdMap(asked), IdMap(sold), None, np.ones(int(Z.sum()), np.int32))
    expected: list[tuple[float, float, float, float]] = []
    total = 0
    for row, user in enumerate(asked):
        if user not in users or not X[users.index(user)].any():
            continue
        owned = {item for item, has in zip(ours, X[users.index(user)], strict=True) if has}
        known = (
            {item for item, has in zip(theirs, Y[own.index(user)], strict=True) if has}
            if user in own
            else set()
        )
        wanted = {i for i, has in zip(sold, Z[row], strict=True) if has} & {*ours, *theirs} - owned - known
        if not wanted:
            continue
        total += len(wanted)
        lists = []
        for model, items in ((service, theirs), (candidate, ours)):
            history = np.array([[float(item in owned) for item in items]], np.float32)
            scores = dict(zip(items, model.model.score(sp.csr_matrix(history))[0].tolist(), strict=True))
            lists.append(sorted(set(items) - owned, key=lambda item: -scores[item])[:K])
        recalls = [len(wanted & set(ranked)) / len(wanted) for ranked in lists]
        expected.append((ndcg(lists[0], wanted), ndcg(lists[1], wanted), recalls[0], recalls[1]))
    found = judge(service, candidate, week)
    assert found.n_users == len(expected) > 5
    assert found.pairs == total
    means = np.mean(expected, axis=0)
    figures = found.figures
    np.testing.assert_allclose(
        [
            number
            for name in ("ndcg@20", "recall@20")
            for number in (figures[name].service, figures[name].candidate)
        ],
        means,
    )
    gain = figures["ndcg@20"].gain
    assert gain.low <= gain.mean <= gain.high
    np.testing.assert_allclose(gain.mean, means[1] - means[0])


def test_owned_items_count_where_they_are_recommended() -> None:
    X = np.eye(3, 4, dtype=np.float32)
    week = Interactions(sp.csr_matrix(X), IdMap([*"abc"]), IdMap([*"wxyz"]), None, np.ones(3, np.int32))

    def compared(**metadata: bool) -> int:
        model = Popularity(np.arange(4, dtype=np.float32))
        shop = Recommender(model, IdMap([*"abc"]), IdMap([*"wxyz"]), None, sp.csr_matrix(X), metadata)
        return judge(shop, shop, week).n_users

    assert compared(repeats=True) == 3
    assert compared() == 0


# what goes into service


def test_the_candidate_has_not_learned_what_it_is_compared_on(shop: tuple[Path, Path]) -> None:
    model, new = shop
    service = load(model)
    end = max(time for _, _, time in NEW)
    start_of_week = end + 1 - 7 * DAY
    watched = Watched(refreshing._updating(service, new, None, "auto"))
    found = refresh(model, new, renew=watched)
    (first, until, candidate), (base, last, final) = watched.calls
    assert (until, last) == (start_of_week, None)
    assert base is candidate
    assert pairs_of(first) == pairs(OLD)
    earlier = pairs(OLD) | pairs([row for row in NEW if row[2] < start_of_week])
    assert pairs_of(candidate) == earlier
    assert pairs_of(final) == pairs_of(load(model)) == pairs(OLD) | pairs(NEW)
    assert found.outcome == "shipped"
    assert found.judged is not None
    wanted = pairs([row for row in NEW if row[2] >= start_of_week]) - earlier
    assert found.judged.pairs == len(wanted)
    assert found.judged.n_users == len({user for user, _ in wanted})
    assert found.drift is not None
    assert found.drift.age == pytest.approx((end - max(time for _, _, time in OLD)) / DAY)
    assert (found.drift.new_users, found.drift.new_items) == (0, 0)
    assert found.drift.hits == found.judged.figures["recall@20"].service


def test_a_retraining_has_the_settings_of_the_model_and_not_the_week(shop: tuple[Path, Path]) -> None:
    model, new = shop
    every = write(new.parent / "all.csv", OLD + NEW)
    service = load(model)
    watched = Watched(refreshing._training(service, every, None, "auto"))
    assert refresh(model, every, retrain=True, renew=watched).outcome == "shipped"
    (_, until, candidate), (base, last, final) = watched.calls
    assert until is not None
    assert pairs_of(candidate) == pairs([row for row in OLD + NEW if row[2] < until])
    assert last is None
    assert pairs_of(base) == pairs(OLD)
    assert final.model.config() == service.model.config() == {"k": 10, "weighting": "tfidf", "seed": 0}
    assert pairs_of(load(model)) == pairs(OLD) | pairs(NEW)
    assert load(model).metadata.get("filters") is None


def test_a_retraining_has_the_table_of_items_unless_its_purchases_say_as_much() -> None:
    bought = {"user": list("aabbcc"), "item": list("xyxyxz"), "category": list("KLKLKM")}
    new = train(pa.table(bought), kind="popularity")
    assert new.item_table is not None
    given = ItemTable(IdMap(["x", "never"]), pa.table({"category": pa.array(["Own", None], TEXT)}))
    assert refreshing._with_table_of(new, replace(new, item_table=given)).item_table is given
    assert refreshing._with_table_of(new, replace(new, item_table=None)) is new
    assert refreshing._with_table_of(new, new) is new
    brands = ItemTable(IdMap(["x"]), pa.table({"brand": pa.array(["Own"], TEXT)}))
    assert refreshing._with_table_of(new, replace(new, item_table=brands)).item_table is brands


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are models that know nothing of what users like."""
    make = refreshing._updating

    def updating(*arguments: Any) -> Any:
        update = make(*arguments)

        def renew(recommender: Recommender, since: int | None, until: int | None) -> Recommender:
            good = update(recommender, since, until)
            nothing = np.zeros((len(good.items),) * 2, np.float32)
            return Recommender(Ease(nothing, {}), good.users, good.items, None, good.histories)

        return renew

    monkeypatch.setattr(refreshing, "_updating", updating)


@pytest.mark.usefixtures("worse")
def test_a_worse_candidate_changes_nothing_and_ends_with_3(shop: tuple[Path, Path]) -> None:
    model, new = shop
    before, files = model.read_bytes(), names(model.parent)
    result = recae("refresh", model, new)
    assert result.exit_code == 3
    assert "the candidate is worse, so that the model in service stays: ndcg@20 " in result.stderr
    assert "users, -0." in result.stderr
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "newest purchases",
        "new to the model in service",
        "recall@20 of the model in service on them",
        "age",
    ]
    assert model.read_bytes() == before
    assert names(model.parent) == files
    said = json.loads(recae("refresh", model, new, "--json").stdout)
    assert said["outcome"] == "worse"
    assert said["earlier_version"] is None
    figure = said["judged"]["figures"]["ndcg@20"]
    assert figure["high"] < 0
    assert figure["gain"] == pytest.approx(figure["candidate"] - figure["service"])


def test_the_way_there_and_back(shop: tuple[Path, Path]) -> None:
    model, new = shop
    before = model.read_bytes()
    result = recae("refresh", model, new, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["outcome"] == "shipped"
    assert said["earlier_version"] == "model.recae.before-1"
    assert said["drift"]["recall@20_in_training"] == load(model).metadata["metrics"]["rows"][0]["recall@20"]
    assert (model.parent / "model.recae.before-1").read_bytes() == before != model.read_bytes()
    after = model.read_bytes()
    same = recae("refresh", model, new)
    assert "there are no purchases that the model does not know" in same.stderr
    assert same.exit_code == 0
    assert model.read_bytes() == after
    result = recae("refresh", model, "--rollback")
    assert result.stderr == f"model.recae.before-1 is {model} again\n"
    assert model.read_bytes() == before
    refused(recae("refresh", model, "--rollback"), "there is no earlier version")
    # late arrivals alone
    late = write(new.parent / "late.csv", [("u01", "i02", START + 3600), ("u03", "i04", START + 7200)])
    result = recae("refresh", model, late)
    assert "nothing speaks against it" in result.stderr
    assert ("u01", "i02") in pairs_of(load(model))


def test_refusals_change_nothing(shop: tuple[Path, Path], tmp_path: Path) -> None:
    model, new = shop
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    untimed = tmp_path / "untimed.csv"
    untimed.write_text("user_id,item_id\nu01,i02\nu03,i04\n")
    before["untimed.csv"] = untimed.read_bytes()
    refused(recae("refresh", model), "refresh needs the new PURCHASES")
    refused(recae("refresh", model, "-"), "the standard input can be read once")
    refused(recae("refresh", model, new, "--rollback"), "reads no purchases")
    refused(recae("refresh", model, new, "--days", "0"), "--days is a number of days above 0")
    refused(recae("refresh", model, new, "--days", "nan"), "--days is a number of days above 0")
    refused(recae("refresh", model, untimed), "time")
    refused(recae("refresh", tmp_path / "no.recae", new), "there is no model file")
    refused(recae("refresh", model, tmp_path / "no.csv"), "no.csv")
    refused(recae("refresh", model, model), "also the input")
    (tmp_path / "model.recae.before-9").write_bytes(b"damaged")
    refused(recae("refresh", model, "--rollback"), "model.recae.before-9")
    (tmp_path / "model.recae.before-9").unlink()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


# from a journal


def journal_of(folder: Path, table: list[tuple[str, str, int]]) -> Journal:
    opened = Journal.open(folder / "purchases.db")
    opened.add([Purchase(user, item, time * SECOND) for user, item, time in table])
    return opened


def test_from_a_journal(shop: tuple[Path, Path]) -> None:
    model, _ = shop
    last = max(time for _, _, time in OLD)
    with journal_of(model.parent, NEW) as journal:
        result = recae("refresh", model, "--journal", journal.path, "--json")
        assert result.exit_code == 0, result.stderr
        said = json.loads(result.stdout)
        assert said["outcome"] == "shipped"
        end = max(time for _, _, time in NEW)
        start_of_week = max(end + 1 - 7 * DAY, last + 1 + (end - last) // 2)
        assert said["drift"]["since"] == time_text(start_of_week)
        learned = pairs(OLD) | pairs([row for row in NEW if row[2] < start_of_week])
        wanted = pairs([row for row in NEW if row[2] >= start_of_week]) - learned
        assert said["judged"]["pairs"] == len(wanted)
        assert pairs_of(load(model)) == pairs(OLD) | pairs(NEW)
        assert journal.folded_up_to(load(model).metadata) == journal.last()
        before = model.read_bytes()
        again = recae("refresh", model, "--journal", journal.path, "--json")
        assert json.loads(again.stdout)["outcome"] == "unchanged"
        assert model.read_bytes() == before
        refused(recae("refresh", model, "new.csv", "--journal", journal.path), "give one of them")
        refused(
            recae("refresh", model, "--journal", journal.path, "--retrain"), "--retrain goes with a table"
        )
        refused(
            recae("refresh", model, "--journal", journal.path, "--where", "true"), "--where goes with a table"
        )
        refused(recae("refresh", model, "--journal", model.parent / "no.db"), "there is no journal")


def test_returns_in_a_journal_are_those_of_an_update(shop: tuple[Path, Path]) -> None:
    model, _ = shop
    updated = model.with_name("updated.recae")
    old = sorted(pairs(OLD) - pairs(NEW))
    early, late = START + 13 * DAY, START + 33 * DAY
    events = [
        Purchase("ann", "i01", early * SECOND, 2),
        Purchase("ann", "i02", early * SECOND),
        Purchase("ann", "i01", late * SECOND, -1),  # one of the two pieces, in the week that is compared on
        Purchase("ann", "i02", late * SECOND, -1),
        Purchase(*old[0], late * SECOND, -1),  # bought before the journal
        Purchase(*old[1], early * SECOND, -1),
    ]
    with journal_of(model.parent, NEW) as journal:
        journal.add(events)
        assert recae("update", model, "--journal", journal.path, "--out", updated).exit_code == 0
        result = recae("refresh", model, "--journal", journal.path, "--json")
        assert json.loads(result.stdout)["outcome"] == "shipped", result.stderr
    wanted = ((pairs(OLD) | pairs(NEW)) - set(old[:2])) | {("ann", "i01")}
    assert pairs_of(load(updated)) == wanted
    assert pairs_of(load(model)) == wanted


@pytest.mark.parametrize("command", ["refresh", "update"])
def test_who_is_to_be_forgotten_goes_first(shop: tuple[Path, Path], command: str) -> None:
    model, _ = shop
    version = retain(model)
    save(load(model), model)  # another file, so that the version is an earlier one
    came_back = [("u07", "i03", START + 40 * DAY), ("u09", "i03", START + 40 * DAY)]
    with journal_of(model.parent, NEW) as journal:
        journal.order_forgetting("u07")
        journal.order_forgetting("u08")
        journal.add([Purchase(user, item, time * SECOND) for user, item, time in came_back])
        result = recae(command, model, "--journal", journal.path)
        assert result.exit_code == 0, result.stderr
        assert "forgotten: 2 customers" in result.stderr
        found = pairs_of(load(model))
        assert {item for user, item in found if user == "u07"} == {"i03"}
        assert not any(user == "u08" for user, _ in found)
        assert ("u09", "i03") in found
        assert versions_of(model) == ([version] if command == "refresh" else [])
        for left in versions_of(model):
            assert not any(user in ("u07", "u08") for user, _ in pairs_of(load(left)))
        # who came back is somebody known now, and not forgotten a second time
        assert recae("forget", model, "--journal", journal.path).stdout.startswith(
            "nobody is to be forgotten"
        )


def test_who_is_to_be_forgotten_goes_whatever_becomes_of_the_candidate(shop: tuple[Path, Path]) -> None:
    model, _ = shop

    nothing = np.zeros((N_ITEMS, N_ITEMS), np.float32)

    def renew(recommender: Recommender, since: int | None, until: int | None) -> Recommender:
        return Recommender(
            Ease(nothing[: len(recommender.items), : len(recommender.items)], {}),
            recommender.users,
            recommender.items,
            None,
            recommender.histories,
        )

    with journal_of(model.parent, NEW) as journal:
        journal.order_forgetting("u08")
        assert refresh(model, journal=journal, renew=renew).outcome == "worse"
    assert not any(user == "u08" for user, _ in pairs_of(load(model)))


# files


def test_three_earlier_versions_stay(tmp_path: Path) -> None:
    path = tmp_path / "model.recae"
    for number in range(6):
        if number:
            assert retain(path).name == f"model.recae.before-{number}"
        replacement = tmp_path / "new"
        replacement.write_text(f"{number}")
        replacement.replace(path)
        remove_oldest(path)
    (tmp_path / "model.recae.before-x").touch()  # somebody else's
    (tmp_path / "model.recae.before-0").touch()
    assert [v.name for v in versions_of(path)] == [f"model.recae.before-{n}" for n in (5, 4, 3)]
    assert [v.read_text() for v in versions_of(path)] == ["4", "3", "2"]
    assert len(versions_of(path)) == RETAINED


def test_without_links_a_version_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.recae"
    path.write_text("whole")

    def unlinkable(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", unlinkable)
    assert retain(path).read_text() == "whole"
    assert not retain(path).samefile(path)


def test_a_version_left_by_a_kill_is_not_gone_back_to(
    shop: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = shop
    first = model.read_bytes()
    retain(model)
    service = load(model)
    save(Recommender(service.model, service.users, service.items, None, service.histories), model)
    retain(model)  # and then the process was killed
    assert retain(model).name == "model.recae.before-2"
    assert [v.name for v in versions_of(model)] == ["model.recae.before-1"]
    assert roll_back(model).name == "model.recae.before-1"
    assert model.read_bytes() == first
    with pytest.raises(ModelFileError, match="no earlier version"):
        roll_back(model)


def test_a_full_disk_leaves_the_model_and_no_version(
    shop: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, new = shop
    before, files = model.read_bytes(), names(model.parent)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(modelfile, "write_tensors", full)
    refused_by = pytest.raises(OutputError, match="No space left on device; free some space")
    with refused_by:
        refresh(model, new)
    assert model.read_bytes() == before
    assert names(model.parent) == files


KILLS = {
    "between the version and the model": "from pathlib import Path; Path.replace = die",
    "before anything is written": "import recae.modelfile as m; m.write_tensors = die",
    "before the earlier version": "import recae.updating.refresh as m; m.retain = die",
    "after the model": "import recae.updating.refresh as m; m.remove_oldest = die",
}


@pytest.mark.some(1)
@pytest.mark.parametrize("when", KILLS)
def test_killed_at_any_moment_a_whole_model_is_left(shop: tuple[Path, Path], when: str) -> None:
    model, new = shop
    before = model.read_bytes()
    die = "import os, signal\ndie = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
    process = start("refresh", model, new, first=die + KILLS[when])
    assert process.wait(300) == -signal.SIGKILL
    assert (model.read_bytes() == before) == (when != "after the model")
    load(model)
    found = refresh(model, new)
    assert found.outcome == ("unchanged" if when == "after the model" else "shipped")
    assert [v.read_bytes() for v in versions_of(model)] == [before]
