"""The rule that leaves out what was bought within some days, and rules that are stored with a model."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import recae, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from recae import score, train
from recae.errors import ConfigError, DataError, ModelFileError
from recae.insight.listings import MOST_STORED, listing_of
from recae.interactions import NO_TIME
from recae.journal import Journal, Purchase
from recae.last_bought import NO_DAY, days_at, days_of, placed_days
from recae.list_rules import ListRules
from recae.modelfile import load, save
from recae.recommender import Recommender
from recae.serving.answers import RankedList, rank
from recae.serving.schemas import RecommendRequest
from recae.serving.served import load_served
from recae.sparse import pattern
from recae.updating.forget import forget
from recae.updating.pending import pending, with_pending

DAY = 86_400_000_000
TODAY = dt.date(2024, 6, 30)
RULE = 'bought_within_days = 30\nas_of = "2024-06-30"\n'.replace('"2024-06-30"', "2024-06-30")


def shop(seed: int, rows: int = 900, first: str = "2024-01-01", days: int = 180) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    times = pd.Timestamp(first) + pd.to_timedelta(rng.integers(0, days * 24, rows), unit="h")
    return pd.DataFrame(
        {
            "user_id": [f"u{n:02d}" for n in rng.integers(0, 40, rows)],
            "item_id": [f"i{n:02d}" for n in rng.zipf(1.4, rows) % 30],
            "time": times,
        }
    )


def last_days(*tables: pd.DataFrame) -> dict[tuple[str, str], dt.date]:
    """The last day of each pair, one row after the other."""
    found: dict[tuple[str, str], dt.date] = {}
    for table in tables:
        for user, item, time in zip(table["user_id"], table["item_id"], table["time"], strict=True):
            day = time.date()
            found[user, item] = max(found.get((user, item), day), day)
    return found


def held_days(model: Recommender) -> dict[tuple[str, str], dt.date | None]:
    """The days that a model holds, pair by pair."""
    assert model.days is not None
    assert model.users is not None
    found = {}
    for row, user in enumerate(model.users):
        own = model.days[row]
        for column, day in zip(own.indices, own.data, strict=True):
            known = None if day == NO_DAY else dt.date(1970, 1, 1) + dt.timedelta(int(day))
            found[user, model.items.id(int(column))] = known
    return found


@pytest.fixture(scope="module")
def model() -> Recommender:
    return train(shop(0), "itemknn", repeats=False, rules=rule_of(30), progress=False)


@pytest.fixture(scope="module")
def path(model: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("lately") / "model.recae"
    save(model, found)
    return found


def rule_of(days: float) -> ListRules:
    return ListRules(bought_within_days=days, as_of=TODAY)


def brute(
    model: Recommender, user: str, days: Mapping[tuple[str, str], dt.date], within: float, n: int
) -> list[str]:
    """A list by the scores of all items, without what was bought within so many days."""
    assert model.histories is not None
    assert model.users is not None
    scores = model.model.score(model.histories[model.users.row(user)])[0]
    order = sorted(range(len(model.items)), key=lambda column: (-scores[column], column))
    ids = [model.items.id(column) for column in order]
    return [i for i in ids if (user, i) not in days or (TODAY - days[user, i]).days > within][:n]


@pytest.mark.parametrize("within", [0.5, 30, 30.9, 31, 90, 100_000])
def test_all_ways_lead_to_the_lists_of_a_loop(
    model: Recommender, path: Path, within: float, tmp_path: Path
) -> None:
    days = last_days(shop(0))
    users = ["u00", "u01", "u17"]
    wanted = {user: brute(model, user, days, within, 6) for user in users}
    rules = rule_of(within)
    for user in users:
        assert list(model.recommend(user, 6, rules=rules)["item_id"]) == wanted[user]
        assert list(model.recommend(user, 6, rules=rules, exclude_owned=False)["item_id"]) == wanted[user]
        owned = {item for who, item in days if who == user}
        never = model.recommend(user, 30, rules=rules, exclude_owned=True)
        assert not owned & set(never["item_id"])
    many = model.recommend_many(users, 6, rules=rules)
    assert list(many["item_id"]) == [item for user in users for item in wanted[user]]
    streamed = score(model, shop(0), n=6, rules=rules).to_arrow().to_pylist()  # folded in, with their times
    assert {user: [row["item_id"] for row in streamed if row["user_id"] == user] for user in users} == wanted
    served = load_served(path, rules=rules)
    for user, answer in zip(
        users, rank(served, [RecommendRequest(user=user, n=6) for user in users]), strict=True
    ):
        assert isinstance(answer, RankedList)
        assert [model.items.id(int(item)) for item in answer.items] == wanted[user]
    file = tmp_path / "rules.toml"
    file.write_text(f"bought_within_days = {within}\nas_of = 2024-06-30\n")
    printed = recae("recommend", "--user", "u01", "-n", "6", "--rules", file, "--json", model=path)
    assert [row["item_id"] for row in json.loads(printed.stdout)["recommendations"]] == wanted["u01"]
    out = tmp_path / "recs.parquet"
    assert recae("score", "--out", out, "-n", "6", "--rules", file, model=path).exit_code == 0
    rows = pq.read_table(out).to_pylist()
    assert {user: [row["item_id"] for row in rows if row["user_id"] == user] for user in users} == wanted


def test_the_rule_changes_lists_in_both_directions(model: Recommender) -> None:
    days = last_days(shop(0))
    again = {
        (user, row.item_id)
        for user in ("u00", "u01", "u02", "u17")
        for row in model.recommend(user, 6, rules=rule_of(30))
        if (user, row.item_id) in days
    }
    assert again  # what was bought long ago comes again, though the model is not of repeat purchases
    assert all((TODAY - days[pair]).days > 30 for pair in again)


def test_a_basket_was_bought_now(model: Recommender, path: Path) -> None:
    basket = ["i01", "i02"]
    found = [row.item_id for row in model.recommend(items=basket, n=30, rules=rule_of(1))]
    assert found
    assert not set(basket) & set(found)
    (answer,) = rank(load_served(path, rules=rule_of(1)), [RecommendRequest(items=basket, n=30)])
    assert isinstance(answer, RankedList)
    assert [model.items.id(int(item)) for item in answer.items] == found


def test_rules_that_a_model_was_trained_with_are_followed_where_no_others_are_given(
    model: Recommender, path: Path
) -> None:
    wanted = [row.item_id for row in model.recommend("u01", 6, rules=rule_of(30))]
    without = [row.item_id for row in model.recommend("u01", 6, rules="none")]
    assert wanted != without
    known = load(path)
    assert known.metadata["rules"] == {"bought_within_days": 30.0, "as_of": "2024-06-30"}
    assert [row.item_id for row in known.recommend("u01", 6)] == wanted
    assert list(known.recommend_many(["u01"], 6)["item_id"]) == wanted
    assert list(score(path, n=6).to_arrow().to_pandas().query("user_id == 'u01'")["item_id"]) == wanted
    for options, expected in (((), wanted), (("--rules", "none"), without)):
        printed = recae("recommend", "--user", "u01", "-n", "6", "--json", *options, model=path)
        assert [row["item_id"] for row in json.loads(printed.stdout)["recommendations"]] == expected
    for rules, expected in ((None, wanted), (ListRules(), without)):
        (answer,) = rank(load_served(path, rules=rules), [RecommendRequest(user="u01", n=6)])
        assert isinstance(answer, RankedList)
        assert [model.items.id(int(item)) for item in answer.items] == expected
    with pytest.raises(ConfigError, match="--rules none"):
        known.recommend("u01", 6, approximate=True)
    with pytest.raises(ConfigError, match="--rules none"):
        load_served(path, approximate=True)


def test_the_command_stores_rules_and_checks_them_first(tmp_path: Path) -> None:
    shop(0).to_csv(tmp_path / "shop.csv", index=False)
    rules, out = tmp_path / "rules.toml", tmp_path / "m.recae"
    rules.write_text('bought_within_days = 30\nas_of = 2024-06-30\n[exclude]\nids = ["i03", "POST"]\n')
    options = ("--kind", "itemknn", "--out", out, "--rules", rules)
    done = recae("train", tmp_path / "shop.csv", *options)
    assert done.exit_code == 0, done.stderr
    assert "POST" in done.stderr  # which names nothing
    made = load(out)
    assert "i03" not in [row.item_id for row in made.recommend("u01", 40)]
    assert held_days(made) == last_days(shop(0))
    shown = recae("inspect", out).stdout
    assert "rules.bought_within_days\t30.0" in shown
    assert 'rules.exclude\t{"ids": ["i03", "POST"]}' in shown
    rules.write_text('[exclude]\ncategories = ["Mugs"]\n')
    late = recae("train", tmp_path / "shop.csv", *options)  # what is read is said first
    assert late.exit_code == 2
    assert "a rule by category needs a table of items" in late.stderr.splitlines()[-1]
    rules.write_text("bought_within_days = 30\n")
    shop(0).drop(columns="time").to_csv(tmp_path / "timeless.csv", index=False)
    late = recae("train", tmp_path / "timeless.csv", *options)
    assert late.exit_code == 2
    assert "these purchases have no times" in late.stderr.splitlines()[-1]
    rules.write_text("bought_within_days = 0\n")
    refused(recae("train", tmp_path / "shop.csv", *options), "bought_within_days", "greater than 0")
    with pytest.raises(ConfigError, match="name categories or brands instead of ids"):
        train(
            shop(0), "popularity", rules=ListRules.model_validate({"exclude": {"ids": ["x" * MOST_STORED]}})
        )


def test_without_times_the_rule_is_refused(tmp_path: Path) -> None:
    timeless = train(shop(0).drop(columns="time"), "itemknn", progress=False)
    assert timeless.last_bought is None
    with pytest.raises(ConfigError, match="train with --repeats, or with --rules FILE"):
        timeless.recommend("u01", rules=rule_of(30))
    with pytest.raises(ConfigError, match="when is not known here"):
        score(timeless, rules=rule_of(30)).to_arrow()
    save(timeless, tmp_path / "m.recae")
    with pytest.raises(ConfigError, match="when is not known here"):
        load_served(tmp_path / "m.recae", rules=rule_of(30))
    assert train(shop(0), "itemknn", progress=False).last_bought is None  # nothing needs it
    repeated = train(shop(0), "frequency", repeats=True, progress=False)
    assert held_days(repeated) == last_days(shop(0))


def test_updates_journals_and_forgetting_carry_the_days_along(path: Path, tmp_path: Path) -> None:
    known, later = load(path), shop(1, 120, "2024-06-01", 60)
    later["user_id"] = later["user_id"].str.replace("u3", "new")
    updated = known.update(later, progress=False)
    assert held_days(updated.recommender if hasattr(updated, "recommender") else updated) == last_days(
        shop(0), later
    )
    with Journal.open(tmp_path / "purchases.db") as journal:
        journal.add(
            [
                Purchase(user, item, int(time.value // 1000))
                for user, item, time in zip(later["user_id"], later["item_id"], later["time"], strict=True)
            ]
        )
        counted = with_pending(known, pending(known, journal))
        both = last_days(shop(0), later)
        items = set(known.items)
        assert held_days(counted) == {pair: day for pair, day in both.items() if pair[1] in items}
        served = load_served(path, journal=journal, rules=rule_of(30))
        for user in ("u00", "u05", "new5"):
            (answer,) = rank(served, [RecommendRequest(user=user, n=6)])
            assert isinstance(answer, RankedList)
            assert [known.items.id(int(item)) for item in answer.items] == brute(counted, user, both, 30, 6)
    left, _ = forget(known, ["u00", "u07"])
    assert held_days(left) == {
        pair: day for pair, day in last_days(shop(0)).items() if pair[0] not in ("u00", "u07")
    }


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_days_of_entries_against_a_loop(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = (int(rng.integers(1, 7)), int(rng.integers(1, 7)))

    def some() -> tuple[np.ndarray, np.ndarray]:
        there = rng.random(shape) < 0.5
        return there, np.where(rng.random(shape) < 0.2, NO_TIME, rng.integers(-40, 20_000, shape) * DAY // 2)

    import scipy.sparse as sp

    histories = sp.csr_matrix(some()[0].astype(np.float32))
    known = []
    for _ in range(int(rng.integers(0, 3))):
        there, times = some()
        matrix = pattern(sp.csr_matrix(there.astype(np.float32)))
        known.append((there, times, placed_days(matrix, days_of(times[there]))))
    found = days_at(histories, *(matrix for *_, matrix in known))
    for place, (row, column) in enumerate(zip(*histories.nonzero(), strict=True)):
        times = [t[row, column] for there, t, _ in known if there[row, column] and t[row, column] != NO_TIME]
        assert found[place] == max((t // DAY for t in times), default=NO_DAY)


def test_the_file_holds_them_and_nothing_else_fits(model: Recommender, path: Path, tmp_path: Path) -> None:
    again = load(path)
    np.testing.assert_array_equal(again.last_bought, model.last_bought)
    save(again, tmp_path / "again.recae")
    assert (tmp_path / "again.recae").read_bytes() == path.read_bytes()
    save(model, tmp_path / "nobody.recae", histories=False)
    assert load(tmp_path / "nobody.recae").last_bought is None
    from dataclasses import replace

    assert model.last_bought is not None
    with pytest.raises(DataError, match="days of last purchases"):
        replace(model, last_bought=model.last_bought[:-1])
    broken = path.read_bytes().replace(b'"histories.last"', b'"histories.lost"')
    (tmp_path / "broken.recae").write_bytes(broken)
    with pytest.raises(ModelFileError, match="unknown tensor"):
        load(tmp_path / "broken.recae")


def test_a_listing_of_the_rule_is_not_plain(model: Recommender) -> None:
    listing = listing_of(model, rule_of(30))
    assert listing is not None
    assert not listing.plain
    assert listing.rules is not None
    assert listing.rules.recent_from == (TODAY - dt.date(1970, 1, 1)).days - 30
