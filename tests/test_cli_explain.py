"""Tests of `recae explain` and `recae recommend --explain`: pipes, terminals, JSON, CSV, and refusals."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import struct
import sys
import termios
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae, refused, start
from fitting import FIT
from modelfiles import HISTORIES, popular, recommender
from numpy.typing import NDArray

from recae.cli.output import aligned
from recae.insight import explain as insight
from recae.insight.explain import Explanation, explain
from recae.modelfile import load, save
from recae.recommender import Recommender

REASON_HEADERS = [
    "rank", "item_id", "name", "score", "base", "other_items", "others",
    "because_item_id", "because_name", "contribution",
]  # fmt: skip


@pytest.fixture(scope="module")
def coded_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sigmoid model of five items; user 007 owns nothing, one item has no name and one an empty name."""
    path = tmp_path_factory.mktemp("coded") / "coded.recae"
    save(recommender(model=FIT["sigmoid"](sp.csr_matrix(HISTORIES))), path)
    return path


def tsv(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def on_a_terminal(*arguments: str | Path) -> list[str]:
    """The lines that somebody with 80 columns and no colours sees."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb"}
    environment.pop("COLUMNS", None)
    process = start(*arguments, env=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while part := os.read(controller, 65_536):
            seen += part
    except OSError:  # how Linux says that the other side of a terminal is closed
        pass
    os.close(controller)
    assert process.wait() == 0, seen
    return [line.rstrip() for line in seen.decode().splitlines()]


# recae explain


def test_the_parts_in_a_pipe_sum_to_the_score_that_recommend_states(coded_path: Path) -> None:
    result = recae("explain", "--user", "42", "--item", "☕", model=coded_path)
    header, *rows = tsv(result.stdout)
    assert header == ["part", "item_id", "name", "value"]
    assert [row[0] for row in rows] == ["base", "owned", "owned", "owned", "score"]
    assert sorted(row[1] for row in rows if row[0] == "owned") == ["0", "85123A", "x" * 30]
    values = [Decimal(row[3]) for row in rows]
    sizes = [abs(value) for value in values[1:4]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(values[:-1]) == values[-1]  # as they are printed
    listed = recae("recommend", "--user", "42", "-n", "5", "--include-owned", model=coded_path).stdout
    (stated,) = [row[3] for row in tsv(listed) if row[1] == "☕"]
    assert rows[-1] == ["score", "☕", "Kaffee ☕", stated]
    assert result.stderr == ""


def test_explain_json(coded_path: Path) -> None:
    answer = json.loads(
        recae("explain", "--user", "Zoë", "--item", "0", "-n", "1", "--json", model=coded_path).stdout
    )
    assert list(answer) == [
        "user", "items", "unknown_items", "item_id", "name", "owned",
        "score", "base", "contributions", "others", "error",
    ]  # fmt: skip
    known = load(coded_path)
    (found,) = explain(known, known.history_of("Zoë"), [1])
    assert (answer["user"], answer["items"], answer["unknown_items"]) == ("Zoë", None, [])
    assert (answer["item_id"], answer["name"], answer["owned"]) == ("0", None, False)
    largest = int(np.abs(found.contributions).argmax())
    (shown,) = answer["contributions"]
    assert shown["item_id"] == known.items.id(int(found.owned[largest]))
    assert shown["contribution"] == pytest.approx(found.contributions[largest], abs=1e-7)
    rest = found.contributions.sum() - found.contributions[largest]
    assert answer["others"] == {"items": 2, "contribution": pytest.approx(rest, abs=1e-7)}
    for name in ("score", "base"):
        assert answer[name] == pytest.approx(getattr(found, name), abs=1e-6)
    assert answer["error"] == 0


def test_explain_a_basket(coded_path: Path) -> None:
    result = recae("explain", "--items", '"P,1",nope,0,0', "--item", "P,1", "--json", model=coded_path)
    answer = json.loads(result.stdout)
    assert answer["items"] == ["P,1", "nope", "0", "0"]
    assert answer["unknown_items"] == ["nope"]
    assert answer["owned"] is True
    assert sorted(entry["item_id"] for entry in answer["contributions"]) == ["0", "P,1"]
    assert "not in the model, left out: 'nope'" in result.stderr


def test_explain_an_empty_history(coded_path: Path) -> None:
    rows = tsv(recae("explain", "--user", "007", "--item", "0", model=coded_path).stdout)[1:]
    assert [row[0] for row in rows] == ["base", "score"]
    assert rows[0][3] == rows[1][3]


@pytest.mark.parametrize(("n", "others"), [("1", "2 other owned items"), ("2", "1 other owned item")])
def test_the_rest_is_summed(coded_path: Path, n: str, others: str) -> None:
    rows = tsv(recae("explain", "--user", "42", "--item", "☕", "-n", n, model=coded_path).stdout)[1:]
    assert [row[0] for row in rows] == ["base", *["owned"] * int(n), "others", "score"]
    assert rows[1 + int(n)][2] == others
    values = [Decimal(row[3]) for row in rows]
    assert sum(values[:-1]) == values[-1]


def test_explain_on_a_terminal(coded_path: Path) -> None:
    lines = on_a_terminal("explain", "--user", "42", "--item", "0", "--model", coded_path)
    assert lines[0].startswith("loading ")
    lines = lines[next(k for k, line in enumerate(lines) if line.startswith("Score")) :]
    assert lines[0] == "Score of '0' for user '42', who owns it"
    assert max(map(len, lines)) <= 80
    values = [line.split()[-1] for line in lines if line.strip().startswith(("owned", "base", "score"))]
    assert len(values) == 5
    assert len({len(value.partition(".")[2]) for value in values}) == 1  # aligned
    exact = [Decimal(value) for value in values]
    assert sum(exact[:-1]) == exact[-1]
    basket = on_a_terminal("explain", "--items", "85123A", "--item", "0", "--model", coded_path)
    assert "Score of '0' for a basket" in basket


def test_explain_refuses_in_one_sentence(model_path: Path, coded_path: Path, tmp_path: Path) -> None:
    item = ("--item", "P001")
    refused(recae("explain", "--user", "4242", *item, model=model_path), "no user '4242'", "nearest: '424'")
    refused(
        recae("explain", "--user", "42", "--item", "P0017", model=model_path), "no item", "nearest: 'P001'"
    )
    refused(recae("explain", "--items", "x,y", *item, model=model_path), "'x', 'y'", "nearest")
    refused(recae("explain", "--items", ",", *item, model=model_path), "basket is empty")
    refused(recae("explain", "--items", 'a,"b', *item, model=model_path), "quotation mark")
    refused(recae("explain", *item, model=model_path), "exactly one of them")
    refused(recae("explain", "--user", "42", "--items", "P001", *item, model=model_path), "exactly one")
    refused(recae("explain", "--user", "42", *item, model=tmp_path / "none"), "none")
    for wrong in (("-n", "0", *item), ()):
        result = recae("explain", "--user", "42", *wrong, model=model_path)
        assert result.exit_code == 2
        assert result.stdout == ""
    bare = tmp_path / "bare.recae"
    save(load(coded_path), bare, histories=False)
    refused(recae("explain", "--user", "42", "--item", "0", model=bare), "without histories")


# recae recommend --explain


def test_recommend_json_with_reasons(shop: Recommender, model_path: Path) -> None:
    answer = json.loads(
        recae("recommend", "--user", "42", "-n", "4", "--explain", "--json", model=model_path).stdout
    )
    plain = json.loads(recae("recommend", "--user", "42", "-n", "4", "--json", model=model_path).stdout)
    added = ["because", "base", "others"]
    assert list(answer["recommendations"][0]) == ["rank", "item_id", "name", "score", *added]
    history = shop.history_of("42")
    rows = shop.items.rows([entry["item_id"] for entry in answer["recommendations"]])
    for entry, found in zip(answer["recommendations"], explain(shop, history, rows), strict=True):
        because = [(shop.items.row(reason["item_id"]), reason["contribution"]) for reason in entry["because"]]
        assert [row for row, _ in because] == [row for row, _ in found.reasons(5)]
        np.testing.assert_allclose([v for _, v in because], [v for _, v in found.reasons(5)], rtol=1e-6)
        assert all(reason["name"] for reason in entry["because"])
        assert entry["base"] == 0
        assert entry["others"]["items"] == history.nnz - len(because)
    for entry in answer["recommendations"]:
        for name in added:
            del entry[name]
    assert answer == plain


def test_a_line_for_each_recommendation_and_reason(model_path: Path) -> None:
    options = ("recommend", "--user", "42", "-n", "3", "--explain")
    answer = json.loads(recae(*options, "--json", model=model_path).stdout)
    expected = [
        [
            *(entry[key] for key in ("rank", "item_id", "name", "score", "base")),
            entry["others"]["items"], entry["others"]["contribution"],
        ] + [reason[key] for key in ("item_id", "name", "contribution")]
        for entry in answer["recommendations"]
        for reason in entry["because"]
    ]  # fmt: skip
    assert len(expected) > 3
    table = [REASON_HEADERS, *([str(cell) for cell in row] for row in expected)]
    assert tsv(recae(*options, model=model_path).stdout) == table
    assert list(csv.reader(io.StringIO(recae(*options, "--csv", model=model_path).stdout))) == table


def test_recommendations_without_reasons(tmp_path: Path) -> None:
    path = tmp_path / "popular.recae"
    save(popular(), path)
    options = ("recommend", "--user", "42", "--explain")
    rows = tsv(recae(*options, model=path).stdout)
    assert rows[0] == REASON_HEADERS
    assert len(rows) == 3  # two items are left
    for row in rows[1:]:
        assert row[3] == row[4] == "1.0"  # the popularity is there without any history
        assert row[5:] == ["3", "0.0", "", "", ""]
    answer = json.loads(recae(*options, "--json", model=path).stdout)
    assert [entry["because"] for entry in answer["recommendations"]] == [[], []]
    assert (
        sum("nothing in the history raises it" in line for line in on_a_terminal(*options, "--model", path))
        == 2
    )


def test_nothing_to_recommend_and_nothing_to_explain(coded_path: Path) -> None:
    basket = '85123A,0,"P,1",☕,' + "x" * 30
    result = recae("recommend", "--items", basket, "--explain", model=coded_path)
    assert tsv(result.stdout) == [REASON_HEADERS]
    assert "nothing to recommend" in result.stderr
    answer = json.loads(recae("recommend", "--items", basket, "--explain", "--json", model=coded_path).stdout)
    assert answer["recommendations"] == []


def test_few_contributions_are_held_at_once(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("recommend", "--user", "42", "-n", "7", "--explain", "--csv")
    whole = recae(*options, model=model_path).stdout
    counts: list[int] = []

    def counted(
        known: Recommender, history: sp.csr_matrix, items: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> list[Explanation]:
        counts.append(history.nnz * len(items))
        return explain(known, history, items, scores)

    monkeypatch.setattr(insight, "explain", counted)
    # the package's name `recommend` is the command, not the module
    monkeypatch.setattr(sys.modules["recae.cli.recommend"], "_CONTRIBUTIONS_AT_ONCE", 30)
    assert recae(*options, model=model_path).stdout == whole
    assert len(counts) > 1
    assert max(counts) <= 30


def test_reasons_on_a_terminal_of_80_columns(model_path: Path) -> None:
    options = ("recommend", "--user", "42", "-n", "5", "--explain")
    lines = on_a_terminal(*options, "--model", model_path)
    assert max(map(len, lines)) <= 80
    answer = json.loads(recae(*options, "--json", model=model_path).stdout)
    text = "\n".join(lines)
    assert "base" not in text
    for entry in answer["recommendations"]:
        names = [reason["name"] for reason in entry["because"]]
        at = next(
            n for n, line in enumerate(lines) if line.split()[:2] == [str(entry["rank"]), entry["item_id"]]
        )
        assert f"because you own {names[0]}" in lines[at + 1]
        assert lines[at + 1].split()[-1].startswith("+")
        for name, line in zip(names[1:], lines[at + 2 :], strict=False):
            assert f"and {name}" in line


def test_the_table_for_people(coded_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # only the layout for a terminal, as tab-separated lines
    monkeypatch.setattr(sys.modules["recae.cli.recommend"], "is_terminal", lambda stream: True)
    header, *rows = tsv(
        recae("recommend", "--items", "0,☕", "-n", "1", "--explain", model=coded_path).stdout
    )
    assert header == ["rank", "item_id", "name", "score"]
    answer = json.loads(
        recae("recommend", "--items", "0,☕", "-n", "1", "--explain", "--json", model=coded_path).stdout
    )
    (best,) = answer["recommendations"]
    assert rows[0] == ["1", best["item_id"], best["name"], f"{best['score']:.4f}"]
    for word, reason, row in zip(("because you own", "and"), best["because"], rows[1:], strict=False):
        label = reason["name"] or reason["item_id"]  # item 0 has no name
        assert row[:3] == ["", "", f"  {word} {label}"]
        assert float(row[3]) == pytest.approx(reason["contribution"], abs=2e-4)
    assert best["because"]
    assert sum(Decimal(row[3]) for row in rows[1:]) == Decimal(rows[0][3])
    assert rows[-1][2] == "  whatever you own"
    plain = tsv(recae("recommend", "--items", "0,☕", "-n", "1", model=coded_path).stdout)
    assert plain[1] == ["1", best["item_id"], best["name"], f"{best['score']:#.4g}"]

    path = tmp_path / "popular.recae"
    save(popular(), path)
    rows = tsv(recae("recommend", "--user", "42", "-n", "1", "--explain", model=path).stdout)[1:]
    assert rows[1] == ["", "", "  nothing in the history raises it", ""]
    assert len(rows) == 2


def test_numbers_of_a_column_share_their_decimals() -> None:
    assert aligned([0.57667, -0.0078, 0.0]) == ["0.5767", "-0.0078", "0.0000"]
    assert aligned([12345.6, 1.0], signed=True) == ["+12346", "+1"]
    assert aligned([1.0, 9.99999]) == ["1.000", "10.000"]
    assert aligned([0.0, float("nan"), float("inf")]) == ["0", "nan", "inf"]
    assert aligned([1e-30]) == ["0.000000000000"]
    assert aligned([1.0, -1e-9], signed=True) == ["+1.000", "+0.000"]
    assert aligned([]) == []
