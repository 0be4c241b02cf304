"""Filters through the commands: they reach the model, the evaluation and the tuning, and nothing mixes two of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, names, recae, refused
from readings import read_with_report

import recae as package
from recae.cli.inspect import with_shortened_ids
from recae.errors import ConfigError
from recae.filters import Filters
from recae.modelfile import load
from recae.selection.evaluate import filters_for, read_material
from recae.settings_toml import toml_filters
from recae.splits.protocols import PROTOCOLS, ProtocolOptions

POPULARITY = ("--kind", "popularity")
ASKED = (
    "--since",
    "2020-01-05",
    "--until",
    "2020-03-01",
    "--min-user-purchases",
    "3",
    "--min-item-purchases",
    "2",
)
FILTERS = {"since": "2020-01-05", "until": "2020-03-01", "min_user_purchases": 3, "min_item_purchases": 2}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with shop.csv: 40 users, 25 items, 90 days."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,date"]
    for user in range(40):
        for item in rng.choice(25, size=int(rng.integers(3, 12)), replace=False):
            day = int(rng.integers(90))
            lines.append(f"u{user},i{item},2020-{1 + day // 30:02}-{1 + day % 30 % 28:02}")
    Path("shop.csv").write_text("\n".join(lines) + "\n")
    Path("out.txt").write_text("i3\n\ni4\nunknown\n")
    return tmp_path


def trained(*arguments: str | Path) -> str:
    result = recae("train", "shop.csv", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stderr


# train and inspect


def test_filters_are_stored_with_the_model_and_shown(shop: Path) -> None:
    stderr = trained(*POPULARITY, *ASKED, "--exclude-items", "out.txt", "--exclude-items", "i5,i6")
    assert (
        "filters: without 5 excluded items, from 2020-01-05 on, before 2020-03-01, users of 3 items" in stderr
    )
    assert "note: item_id: 1 of the 5 ids of excluded items occur in no purchase ('unknown')" in stderr
    assert "purchases: outside the period" in stderr
    excluded = ["i3", "i4", "i5", "i6", "unknown"]
    asked = {**FILTERS, "exclude_items": excluded}
    model = load(Path("model.recae"))
    assert model.metadata["filters"] == asked
    expected, _ = read_with_report("shop.csv", filters=Filters.of(asked))
    assert model.items == expected.items
    assert model.users == expected.users
    assert model.metadata["fingerprint"] == expected.fingerprint
    shown = recae("inspect", "model.recae").stdout
    assert "filters.since\t2020-01-05\n" in shown
    assert "filters.exclude_items\ti3, i4, i5, i6, unknown\n" in shown
    assert json.loads(recae("inspect", "model.recae", "--json").stdout)["filters"] == asked


def test_a_model_without_filters_says_so(shop: Path) -> None:
    trained(*POPULARITY)
    assert "filters" not in load(Path("model.recae")).metadata
    assert json.loads(recae("inspect", "model.recae", "--json").stdout)["filters"] == {}
    assert "filters" not in recae("inspect", "model.recae").stdout
    assert "filters" not in recae("inspect", "model.recae", "--toml").stdout


@pytest.mark.thorough
def test_settings_of_a_model_filter_alike(shop: Path) -> None:
    trained(*POPULARITY, *ASKED, "--exclude-items", 'i3,"a ""b"", c"')
    Path("again.toml").write_text(recae("inspect", "model.recae", "--toml").stdout)
    assert toml_filters(Path("again.toml")).as_dict() == {**FILTERS, "exclude_items": ['a "b", c', "i3"]}
    trained("--config", "again.toml", "--out", "again.recae")
    assert Path("again.recae").read_bytes() == Path("model.recae").read_bytes()
    # options win, each over its own line
    trained(
        "--config", "again.toml", "--out", "other.recae", "--min-item-purchases", "1", "--exclude-items", "i7"
    )
    found = load(Path("other.recae")).metadata["filters"]
    assert found == {
        "since": "2020-01-05",
        "until": "2020-03-01",
        "min_user_purchases": 3,
        "exclude_items": ["i7"],
    }


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[filters]\nsinze = 2020-01-01\n", "s.toml: there is no filter 'sinze'; did you mean 'since'?"),
        ("filters = 5\n", "s.toml: filters is a table with lines such as min_user_purchases = 5, found 5"),
        ("[filters]\nexclude_items = [1]\n", "s.toml: exclude_items holds 1, but ids are text"),
    ],
)
def test_tables_of_filters_that_are_none(shop: Path, toml: str, message: str) -> None:
    Path("s.toml").write_text(toml)
    if toml.startswith("filters"):
        with pytest.raises(ConfigError, match=message):
            toml_filters(Path("s.toml"))
    else:
        refused(recae("train", "shop.csv", *POPULARITY, "--config", "s.toml"), message)


def test_dates_of_toml_need_no_quotes(shop: Path) -> None:
    Path("s.toml").write_text('kind = "blend"\n[filters]\nsince = 2020-01-01\nuntil = 2020-02-01T12:00:00Z\n')
    assert toml_filters(Path("s.toml")) == Filters("2020-01-01", "2020-02-01T12:00")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "soon"), "since is an ISO date or time such as 2010-12-01"),
        (("--min-user-purchases", "0"), "min_user_purchases is a whole number from 1 on, found 0"),
        (("--since", "2020-02-01", "--until", "2020-01-01"), "no time lies between them"),
        (("--exclude-items", 'a,\'b"c,"d'), "--exclude-items"),
        (
            ("--exclude-items", "i3", "--exclude-items", "lost.csv.gz"),
            "no file 'lost.csv.gz' for --exclude-items",
        ),
        (("--exclude-items", "out.txt", "--out", "out.txt"), "cannot write"),
        (("--time-column", "", "--since", "2020-01-01"), "name a column of times with --time-column"),
    ],
)
def test_refusals(shop: Path, arguments: tuple[str, ...], message: str) -> None:
    result = recae("train", "shop.csv", *POPULARITY, *arguments)
    refused(result, message)
    assert names(shop) == ["out.txt", "shop.csv"]


def test_filters_that_leave_nothing(shop: Path) -> None:
    result = recae("train", "shop.csv", *POPULARITY, "--until", "2019-01-01")
    assert result.exit_code == 2
    assert "error: the filters (before 2019-01-01) leave 0 users and 0 items of 'shop.csv'" in result.stderr
    assert names(shop) == ["out.txt", "shop.csv"]


def test_a_training_goes_on_with_the_same_filters_only(shop: Path) -> None:
    """Filters that leave out nothing here belong to another training, too: the model would say something else."""
    checkpoint = ("--kind", "sigmoid", *TINY, "--checkpoint", "c", "--out", "m.recae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recae.modelfile.save", lambda *a, **b: (_ for _ in ()).throw(KeyboardInterrupt))
        recae("train", "shop.csv", *checkpoint, "--min-user-purchases", "2")
    assert Path("c").exists()
    other = recae("train", "shop.csv", *checkpoint, "--resume", "--min-user-purchases", "3")
    assert other.exit_code == 2
    assert "filters.min_user_purchases: was 2, is 3" in other.stderr
    assert (
        "filters.min_user_purchases: was 2, is not there"
        in recae("train", "shop.csv", *checkpoint, "--resume").stderr
    )
    trained(*checkpoint, "--resume", "--min-user-purchases", "2")
    assert load(Path("m.recae")).metadata["filters"] == {"min_user_purchases": 2}


# tune


def test_a_tuned_file_filters_as_the_tuning_did(shop: Path) -> None:
    common = ("tune", "shop.csv", "--kind", "itemknn", "--trials", "1", "--study", "s")
    asked = ("--exclude-items", "i3", "--min-user-purchases", "2")
    result = recae(*common, *asked, "--out", "best.toml", "--json")
    assert result.exit_code == 0, result.stderr
    table = tomllib.loads(Path("best.toml").read_text())["filters"]
    assert table == {"exclude_items": ["i3"], "min_user_purchases": 2}
    assert json.loads(result.stdout)["filters"] == table
    trained("--config", "best.toml")
    assert load(Path("model.recae")).metadata["filters"] == table
    other = recae(*common, "--resume", "--exclude-items", "i3")
    assert other.exit_code == 2
    assert "filters.min_user_purchases: was 2, is not there" in other.stderr


# evaluate


def evaluated(*arguments: str | Path) -> Any:
    common = (*POPULARITY, "--baselines", "none", "--trials", "1", "--json", "--keep", "keep", "-k", "5")
    result = recae("evaluate", "shop.csv", *common, *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_an_evaluation_is_of_what_the_filters_leave(shop: Path) -> None:
    found = evaluated(*ASKED)
    expected, report = read_with_report("shop.csv", filters=Filters.of(FILTERS))
    assert found["data"]["filters"] == FILTERS
    assert found["data"]["n_interactions"] == expected.n_interactions
    assert found["data"]["report"] == report.lines()


def test_by_time_the_minimums_come_after_the_cut(shop: Path) -> None:
    asked = ("--min-user-purchases", "5", "--exclude-items", "i3")
    found = evaluated("--protocol", "time", "--cut", "2020-02-15", *asked)
    assert found["data"]["filters"] == {"min_user_purchases": 5, "exclude_items": ["i3"]}
    assert (found["data"]["n_users"], found["data"]["n_items"]) == (
        40,
        24,
    )  # of the rows, no user is left out
    assert "purchases before the cut below the minimums" in found["protocol"]["rule"]
    assert "of too little before the cut" in found["protocol"]["rule"]


def test_who_applies_what(shop: Path) -> None:
    filters, options = Filters.of(FILTERS), ProtocolOptions()
    for protocol in ("strong", "weak", "last-out", "next-basket", "k-fold"):
        assert filters_for(filters, "shop.csv", protocol, options) == (filters, options)
    by_time = filters_for(filters, "shop.csv", "time", options)
    assert by_time == (filters.of_rows(), ProtocolOptions(min_user_purchases=3, min_item_purchases=2))
    for protocol in PROTOCOLS:
        assert filters_for(filters.of_rows(), "shop.csv", protocol, options) == (filters.of_rows(), options)
        assert filters_for(Filters(), "shop.csv", protocol, options) == (None, options)
    with pytest.raises(ConfigError, match="apply while a table is read"):
        filters_for(filters, read_with_report("shop.csv")[0], "strong", options)


def test_filters_of_what_is_parted_already(shop: Path) -> None:
    pair = ("evaluate", "shop.csv", "--protocol", "pair", "--test", "shop.csv", *POPULARITY)
    refused(recae(*pair, "--min-user-purchases", "2"), "filter before they are parted")
    Path("m").mkdir()
    Path("m/train.npz").touch()
    matrix = recae("evaluate", "m", "--protocol", "pair", *POPULARITY, "--exclude-items", "i3")
    refused(matrix, "filters (without 1 excluded item) are for tables of purchases, but matrices are given")


def test_both_parts_of_a_pair_are_filtered_by_row(shop: Path) -> None:
    filters = Filters(exclude_items=["i3"])
    found = read_material("shop.csv", test="shop.csv", protocol="pair", filters=filters).purchases
    assert found.test is not None
    for part in (found.interactions, found.test):
        assert "i3" not in part.items
        assert part.filters == filters


# doctor


def test_the_doctor_looks_at_what_is_left(shop: Path) -> None:
    path = Path("shop.csv")
    path.write_text(path.read_text() + ",i1,2020-01-01\n")
    result = recae("doctor", "shop.csv", *ASKED, "--json")
    assert result.exit_code in (0, 1)
    found = json.loads(result.stdout)
    expected, report = read_with_report("shop.csv", filters=Filters.of(FILTERS))
    assert found["filters"] == FILTERS
    assert found["filtered"] == report.filtered
    assert found["dropped"] == {"no user": 1}  # before the period, and checked all the same
    assert found["figures"]["users"] == expected.n_users
    assert found["figures"]["interactions"] == expected.n_interactions
    plain = recae("doctor", "shop.csv", *ASKED, "--basket-column", "")
    assert f"left out: outside the period\t{report.filtered['outside the period']:,}\n" in plain.stdout
    every = json.loads(recae("doctor", "shop.csv", "--json").stdout)
    assert (every["filters"], every["filtered"], every["figures"]["users"]) == ({}, {}, 40)
    nothing = recae("doctor", "shop.csv", "--until", "2019-01-01", "--json")
    assert nothing.exit_code == 2
    (problem,) = [f for f in json.loads(nothing.stdout)["findings"] if f["code"] == "cannot-train"]
    assert "the filters (before 2019-01-01) leave 0 users" in problem["text"]


# from Python


def test_filters_from_python(shop: Path) -> None:
    filters = Filters.of(FILTERS)
    purchases = package.read_interactions("shop.csv", filters=filters)
    by_path = package.train("shop.csv", kind="popularity", filters=filters)
    read_before = package.train(purchases, kind="popularity")
    assert by_path.metadata == read_before.metadata
    assert by_path.metadata["filters"] == FILTERS
    with pytest.raises(ConfigError, match=r"apply while a table is read, .* give them to recae\.read, or"):
        package.train(purchases, kind="popularity", filters=filters)
    repeats = package.train("shop.csv", kind="popularity", filters=filters, repeats=True)
    assert repeats.metadata["filters"] == FILTERS
    assert repeats.items == by_path.items


def test_a_long_list_of_ids_is_shown_by_its_beginning() -> None:
    assert with_shortened_ids({"exclude_items": list("abcdefg")}) == {
        "exclude_items": "a, b, c, d, e and 2 more"
    }
    assert with_shortened_ids({"since": "2020-01-01"}) == {"since": "2020-01-01"}
    assert with_shortened_ids("damaged") == "damaged"
