"""Tests of `recae similar`: the same answers in every form, for people and for pipes, and refusals."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import PATIENCE, ROOT, recae, refused, start
from modelfiles import popular
from readings import read_with_report

from recae.insight.neighbours import BoughtTogether, similar_items, similar_users
from recae.insight.vectors import METRIC_USERS, OVER_BASKETS, OVER_USERS
from recae.modelfile import save
from recae.recommender import Recommender
from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import train_sigmoid

N = 4


@pytest.fixture(scope="module")
def coded() -> Recommender:
    """A quickly trained autoencoder of the sample purchases."""
    purchases, _ = read_with_report(ROOT / "data" / "purchases.csv")
    model, _ = train_sigmoid(purchases.matrix, SigmoidSettings(factors=24, epochs=8, seed=1))
    return Recommender(model, purchases.users, purchases.items, purchases.item_names, purchases.matrix)


@pytest.fixture(scope="module")
def path(coded: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("similar") / "coded.recae"
    save(coded, path)
    return path


@pytest.fixture(scope="module")
def lone_path(coded: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model without histories and names."""
    path = tmp_path_factory.mktemp("similar") / "lone.recae"
    save(Recommender(coded.model, None, coded.items), path)
    return path


def named(coded: Recommender, row: int) -> tuple[str, str]:
    assert coded.item_names is not None
    return coded.items.id(row), coded.item_names[row].as_py()


def alike(coded: Recommender, item: str) -> list[dict[str, Any]]:
    """The oracle of the first list."""
    found = zip(*similar_items(coded, coded.items.row(item), N), strict=True)
    return [
        {
            "rank": rank,
            **dict(zip(("item_id", "name"), named(coded, row), strict=True)),
            "similarity": float(str(value)),
        }
        for rank, (row, value) in enumerate(found, start=1)
    ]


def together(coded: Recommender, item: str) -> list[dict[str, Any]]:
    """The oracle of the second."""
    assert coded.histories is not None
    found = zip(*BoughtTogether(coded.histories).of(coded.items.row(item), N), strict=True)
    return [
        {
            "rank": rank,
            **dict(zip(("item_id", "name"), named(coded, row), strict=True)),
            "users": users,
            "lift": lift,
        }
        for rank, (row, users, lift) in enumerate(found, start=1)
    ]


def test_item_as_json(coded: Recommender, path: Path) -> None:
    result = recae("similar", "--item", "P017", "-n", str(N), "--json", "--model", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert coded.histories is not None
    row = coded.items.row("P017")
    assert json.loads(result.stdout) == {
        "item_id": "P017",
        "name": named(coded, row)[1],
        "owners": int((coded.histories[:, [row]].toarray() > 0).sum()),
        "metric": OVER_USERS,
        "similar": alike(coded, "P017"),
        "bought_together": together(coded, "P017"),
    }


def test_item_in_a_pipe(coded: Recommender, path: Path) -> None:
    result = recae("similar", "--item", "P017", "-n", str(N), model=path)
    assert (result.exit_code, result.stderr) == (0, f"similarity: {OVER_USERS}\n")
    first, second = ([line.split("\t") for line in part.splitlines()] for part in result.stdout.split("\n\n"))
    for lines, expected in ((first, alike(coded, "P017")), (second, together(coded, "P017"))):
        assert lines[0] == list(expected[0])
        assert lines[1:] == [[str(value) for value in entry.values()] for entry in expected]


def test_item_as_csv(coded: Recommender, path: Path) -> None:
    result = recae("similar", "--item", "P017", "-n", str(N), "--csv", model=path)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    expected = [{"relation": "similar", **entry} for entry in alike(coded, "P017")]
    expected += [{"relation": "bought_together", **entry} for entry in together(coded, "P017")]
    assert [{k: v for k, v in row.items() if v != ""} for row in rows] == [
        {k: str(v) for k, v in entry.items()} for entry in expected
    ]
    assert list(rows[0]) == ["relation", "rank", "item_id", "name", "similarity", "users", "lift"]


def test_user(coded: Recommender, path: Path) -> None:
    result = recae("similar", "--user", "42", "-n", str(N), "--json", "--model", path)
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert coded.users is not None
    assert coded.histories is not None
    row = coded.users.row("42")
    own = set(coded.histories[row].indices.tolist())
    expected = []
    for rank, (other, value) in enumerate(zip(*similar_users(coded, row, N), strict=True), start=1):
        theirs = set(coded.histories[int(other)].indices.tolist())
        expected.append(
            {
                "rank": rank,
                "user_id": coded.users.id(int(other)),
                "n_items": len(theirs),
                "shared": len(own & theirs),
                "similarity": float(str(value)),
            }
        )
    assert answer == {"user_id": "42", "n_items": len(own), "metric": METRIC_USERS, "similar": expected}
    lines = [list(expected[0]), *([str(value) for value in entry.values()] for entry in expected)]
    plain = recae("similar", "--user", "42", "-n", str(N), model=path)
    assert [line.split("\t") for line in plain.stdout.splitlines()] == lines
    assert plain.stderr == f"similarity: {METRIC_USERS}\n"
    table = recae("similar", "--user", "42", "-n", str(N), "--csv", model=path)
    assert list(csv.reader(io.StringIO(table.stdout))) == lines


def test_the_sample_s_users_and_items_are_near_their_likes(coded: Recommender, path: Path) -> None:
    """Customer 42 likes the kitchen; so do the users near, who own more of the same than people do by chance."""
    answer = json.loads(recae("similar", "--user", "42", "-n", "20", "--json", model=path).stdout)
    shared = np.mean([entry["shared"] / entry["n_items"] for entry in answer["similar"]])
    assert coded.users is not None
    assert coded.histories is not None
    own = coded.histories[coded.users.row("42")]
    anybody = np.asarray(coded.histories.multiply(own > 0).sum(axis=1)).ravel()
    assert shared > 5 * np.mean(anybody / np.diff(coded.histories.indptr))


def test_on_a_terminal_of_80_columns(coded: Recommender, path: Path) -> None:
    terminal, inner = pty.openpty()
    process = start(
        "similar", "--item", "P017", "-n", str(N), "--model", path,
        stdout=inner, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "80", "TERM": "dumb"},
    )  # fmt: skip
    _, errors = process.communicate(timeout=PATIENCE)
    os.close(inner)
    shown = os.read(terminal, 65_536).decode()
    os.close(terminal)
    assert process.returncode == 0
    assert errors.decode() == f"similarity: {OVER_USERS}\n"
    assert max(map(len, shown.splitlines())) <= 80
    assert f"Items like P017 {named(coded, coded.items.row('P017'))[1]}" in shown
    assert "Bought together by its" in shown
    assert all(f"{entry['similarity']:.4f}" in shown for entry in alike(coded, "P017"))
    assert all(f"{entry['lift']:.2f}" in shown for entry in together(coded, "P017"))


def test_without_histories(lone_path: Path) -> None:
    result = recae("similar", "--item", "P017", "-n", "2", model=lone_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "rank\titem_id\tname\tsimilarity"
    assert len(result.stdout.splitlines()) == 3
    assert "saved without histories: what is bought together is not known" in result.stderr
    answer = json.loads(recae("similar", "--item", "P017", "--json", model=lone_path).stdout)
    assert (answer["bought_together"], answer["owners"], answer["name"]) == (None, None, None)
    found = recae("similar", "--item", "P017", "--csv", model=lone_path)
    assert {row["relation"] for row in csv.DictReader(io.StringIO(found.stdout))} == {"similar"}
    assert answer["metric"] == OVER_BASKETS
    refused(recae("similar", "--user", "42", model=lone_path), "without histories")


def test_an_absurd_number(path: Path) -> None:
    answer = json.loads(recae("similar", "--item", "P017", "-n", str(10**9), "--json", model=path).stdout)
    assert len(answer["similar"]) == 599


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "exactly one of them"),
        (("--item", "P017", "--user", "42"), "exactly one of them"),
        (("--item", "P017", "--json", "--csv"), "--json and --csv exclude each other"),
        (("--item", "P0017"), "no item 'P0017' in the model; nearest: 'P0"),
        (("--user", "00042"), "no user '00042' in the model; nearest: "),
        (("--item", ""), "no item ''"),
    ],
)
def test_refusals(arguments: tuple[str, ...], part: str, path: Path) -> None:
    refused(recae("similar", *arguments, model=path), part)


def test_kinds_without_codes_are_compared_too(model_path: Path, tmp_path: Path) -> None:
    for asked in (("--item", "P017"), ("--user", "42")):
        answer = json.loads(recae("similar", *asked, "--json", model=model_path).stdout)
        assert answer["similar"][0]["similarity"] > 0.5


def test_a_model_that_scores_everybody_alike(tmp_path: Path) -> None:
    save(popular(), tmp_path / "popular.recae")
    for asked in (("--item", "0"), ("--user", "42")):
        refused(
            recae("similar", *asked, model=tmp_path / "popular.recae"), "scores every history alike", "train"
        )


def test_n_below_one(path: Path) -> None:
    result = recae("similar", "--item", "P017", "-n", "0", model=path)
    assert result.exit_code == 2
    assert "0 is not in the range x>=1" in result.stderr
