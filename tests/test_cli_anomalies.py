"""Tests of `recae anomalies`: its tables, JSON, CSV and files, who was held out, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from commands import names, recae, refused, trained
from modelfiles import popular, recommender, saved
from readings import read_with_report

from recae.errors import DataError
from recae.ids import IdMap
from recae.insight.anomalies import purchase_anomalies, purchase_batches, user_anomalies, user_batches
from recae.modelfile import load, save
from recae.models import Popularity
from recae.pipeline import train
from recae.recommender import Recommender
from recae.training.kinds import sigmoid

USERS = "rank,user_id,n_items,score,tail_probability,worst_item_1,worst_item_2,worst_item_3"
PURCHASES = "rank,user_id,item_id,name,owners,above,score,tail_probability"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def answer(*arguments: str | Path) -> Any:
    result = recae("anomalies", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Four users, of whom one owns nothing, and strange ids and names."""
    path = tmp_path / "odd.recae"
    save(recommender(), path)
    return path


def test_users_as_json(model_path: Path, shop: Recommender) -> None:
    found = answer("--json", "-n", "3", "--model", model_path)
    assert list(found) == ["of", "judged", "too_short", "anomalies"]
    assert (found["of"], found["judged"], found["too_short"]) == ("users", 2000, 0)
    assert [entry["rank"] for entry in found["anomalies"]] == [1, 2, 3]
    expected = user_anomalies(shop)
    assert shop.users is not None
    assert shop.histories is not None
    assert shop.item_names is not None
    for entry, place in zip(found["anomalies"], expected.ranked(), strict=False):
        assert list(entry) == ["rank", "user_id", "n_items", "score", "tail_probability", "worst"]
        assert entry["user_id"] == shop.users.id(int(expected.users[place]))
        assert entry["score"] == pytest.approx(expected.score[place], rel=1e-5)
        assert entry["tail_probability"] == pytest.approx(expected.tail[place], rel=1e-5)
        owned = shop.histories[expected.users[place]].indices
        assert entry["n_items"] == owned.size
        worst = entry["worst"]
        assert [item["score"] for item in worst] == sorted((i["score"] for i in worst), reverse=True)
        assert len({item["item_id"] for item in worst}) == 3
        for item in worst:
            row = shop.items.row(item["item_id"], "item")
            assert row in owned
            assert item["name"] == shop.item_names[row].as_py()


def test_purchases_as_json(model_path: Path, shop: Recommender) -> None:
    found = answer("--purchases", "--json", "-n", "4", "--model", model_path)
    expected = purchase_anomalies(shop)
    assert (found["of"], found["judged"], found["too_short"]) == ("purchases", expected.users.size, 0)
    for entry, place in zip(found["anomalies"], expected.ranked()[:4], strict=True):
        assert list(entry) == PURCHASES.split(",")
        assert entry["item_id"] == shop.items.id(int(expected.items[place]))
        assert entry["owners"] == expected.owners[place]
        assert entry["above"] == pytest.approx(expected.above[place], rel=1e-5)
        assert entry["score"] == pytest.approx(expected.score[place], rel=1e-5)


def test_csv_of_users_and_purchases(odd: Path) -> None:
    result = recae("anomalies", "--csv", model=odd)
    assert result.stdout.splitlines()[0] == USERS
    users = rows(result.stdout)
    assert sorted(row["user_id"] for row in users) == [" a b ", "42", "Zoë"]
    assert {row["user_id"]: row["worst_item_3"] == "" for row in users} == {
        "42": False,
        " a b ": True,
        "Zoë": False,
    }
    result = recae("anomalies", "--purchases", "--csv", model=odd)
    assert result.stdout.splitlines()[0] == PURCHASES
    purchases = rows(result.stdout)
    assert len(purchases) == 8
    assert {row["item_id"]: row["name"] for row in purchases}["x" * 30] == "Spoon\n"
    assert {row["item_id"]: row["name"] for row in purchases}["0"] == ""


def test_plain_lines_in_a_pipe_show_names_and_else_ids(odd: Path) -> None:
    result = recae("anomalies", model=odd)
    header, *lines = result.stdout.splitlines()
    assert header.split("\t") == [
        "rank",
        "user_id",
        "n_items",
        "score",
        "tail_probability",
        "hardest to explain",
    ]
    reasons = {line.split("\t")[1]: line.split("\t")[5].split("; ") for line in lines}
    assert sorted(reasons["42"]) == [
        "0",
        "Mug",
        "Spoon\\n",
    ]  # the name is null, then; a line break is escaped
    assert sorted(reasons[" a b "]) == ["0", "P,1"]
    assert "1 user has fewer than 2 items" in result.stderr
    assert "judged 3 users" in result.stderr
    result = recae("anomalies", "--purchases", "-n", "2", model=odd)
    assert result.stdout.splitlines()[0].split("\t") == PURCHASES.split(",")
    assert len(result.stdout.splitlines()) == 3


def test_a_terminal_gets_short_numbers(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["recae.cli.anomalies"], "is_terminal", lambda stream: True)
    result = recae("anomalies", "-n", "1", model=odd)
    cells = result.stdout.splitlines()[1].split("\t")
    assert len(cells[3].split(".")[1]) == 2
    assert "e" in cells[4]


def test_twenty_are_printed_and_all_are_written(model_path: Path, tmp_path: Path, shop: Recommender) -> None:
    printed = rows(recae("anomalies", "--csv", "--model", model_path).stdout)
    assert len(printed) == 20
    out = tmp_path / "users.parquet"
    result = recae("anomalies", "--out", out, "--model", model_path)
    assert result.stdout == ""
    assert f"wrote 2,000 rows to {out}" in result.stderr
    table = pq.read_table(out)
    assert table.column_names == USERS.split(",")
    assert table["user_id"].to_pylist()[:20] == [row["user_id"] for row in printed]
    assert table["rank"].to_pylist() == list(range(1, 2001))
    expected = user_anomalies(shop)
    np.testing.assert_array_equal(table["score"].to_numpy(), expected.score[expected.ranked()])


def test_a_file_of_purchases_as_csv_holds_n_of_them(odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "purchases.csv"
    assert recae("anomalies", "--purchases", "-n", "6", "--out", out, model=odd).exit_code == 0
    with out.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == PURCHASES.split(",")
    assert len(found) == 6
    printed = rows(recae("anomalies", "--purchases", "--csv", "-n", "6", model=odd).stdout)
    assert [row["item_id"] for row in found] == [row["item_id"] for row in printed]


def test_the_same_model_gives_the_same_bytes(model_path: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for file in files:
        recae("anomalies", "--purchases", "--out", file, "--model", model_path)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_tables_come_in_batches_and_need_names_no_more_than_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = popular(item_names=None)
    monkeypatch.setattr("recae.insight.anomalies._BATCH_ROWS", 3)
    batches = list(purchase_batches(shop, purchase_anomalies(shop)))
    assert [batch.num_rows for batch in batches] == [3, 3, 2]
    entries = [entry for batch in batches for entry in batch.to_pylist()]
    assert [entry["rank"] for entry in entries] == list(range(1, 9))
    assert {entry["name"] for entry in entries} == {None}
    found = user_anomalies(shop)
    with pytest.raises(DataError, match="without its users"):
        list(user_batches(Recommender(shop.model, None, shop.items), found))


# --- who was held out ---


def test_the_learners_are_those_that_training_saw(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purchases, _ = read_with_report(folder.parent / "purchases.csv")
    seen: list[sp.csr_matrix] = []
    original = sigmoid.fit_sigmoid

    def watched(matrix: sp.csr_matrix, *arguments: Any, **options: Any) -> Any:
        seen.append(matrix)
        return original(matrix, *arguments, **options)

    monkeypatch.setattr(sigmoid, "fit_sigmoid", watched)
    model = train(purchases, seed=3, factors=4, epochs=1, refit=False)
    learners = model.learners
    assert learners is not None
    assert learners.sum() == 48
    assert (purchases.matrix[learners] != seen[0]).nnz == 0
    everybody = train(purchases, kind="sigmoid", seed=3, factors=4, epochs=1).learners
    assert everybody is not None
    assert everybody.all()
    assert (purchases.matrix != seen[-1]).nnz == 0


def test_without_a_trace_of_the_training_all_are_compared_together(folder: Path) -> None:
    trained("../purchases.csv", "--no-refit")
    model = load(Path("model.recae"))
    assert "does not say" not in recae("anomalies").stderr
    apart = answer("--json")["anomalies"]
    save(replace(model, held_out=None), Path("model.recae"))
    assert "does not say which users it learned from" in recae("anomalies").stderr
    assert answer("--json")["anomalies"] != apart


def test_what_train_writes_can_be_judged(folder: Path) -> None:
    trained("../purchases.csv")
    found = answer("--json", "-n", "1000000000")
    assert found["judged"] == 60
    assert len(found["anomalies"]) == 60
    result = recae("anomalies", "--purchases")
    assert len(result.stdout.splitlines()) == 21
    assert names(folder) == ["model.recae"]


# --- refusals ---


def test_models_without_histories_or_with_nothing_to_judge_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, popular(), histories=False)
    path = tmp_path / "saved.recae"
    refused(recae("anomalies", model=path), "without", "histories")
    refused(recae("anomalies", "--purchases", "--json", model=path), "without", "histories")
    single = sp.csr_matrix(np.eye(4, dtype=np.float32))
    ids = IdMap(["a", "b", "c", "d"])
    save(Recommender(Popularity.fit(single), ids, ids, None, single), path)
    refused(recae("anomalies", model=path), "no user of the model owns two items or more")


@pytest.mark.parametrize(
    "both", [("--json", "--csv"), ("--json", "--out", "x.csv"), ("--csv", "--out", "x.csv")]
)
def test_one_form_of_answer_at_a_time(folder: Path, both: tuple[str, ...]) -> None:
    refused(recae("anomalies", *both), "--json, --csv and --out exclude one another")
    assert names(folder) == []


def test_where_to_write_is_checked_before_the_model_is_read(folder: Path) -> None:
    refused(recae("anomalies", "--out", "x.txt"), "x.txt", ".parquet, .pq, .csv")
    refused(recae("anomalies", "--out", "missing/x.csv"), "missing")
    refused(recae("anomalies", "--out", "x/"), "names no file")
    refused(recae("anomalies", "--model", "nowhere.recae"), "nowhere.recae")
    assert recae("anomalies", "-n", "0").exit_code == 2
    assert names(folder) == []
