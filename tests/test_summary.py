"""What objects say of themselves: some lines of text, and HTML in which nothing foreign is markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from reports import HOSTILE, bare_report, full_report, typed

from recae.evaluation.report.schema import Report
from recae.examination import examine_source
from recae.ids import IdMap
from recae.models import Popularity
from recae.reading import Purchases, read
from recae.recommender import Recommender
from recae.selection.space import Tuned, TunedTrial
from recae.summary import Grid, Summarised, Summary

EVIL = '<script>alert("1")</script>\x1b[31m\u202e'


class _Parsed(HTMLParser):
    """The elements and the text of a fragment."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert {name for name, _ in attrs} <= {"class", "max", "value"}
        if tag not in ("br",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


def checked(shown: Summarised) -> tuple[list[str], list[str]]:
    """The lines of the text and the texts of the HTML, both looked at as any object's must be."""
    lines = repr(shown).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 100
    html = shown._repr_html_()
    parsed = _Parsed(html)
    assert "script" not in parsed.elements
    for text in (*lines, *parsed.texts):
        assert text.isprintable()
    assert "http" not in html  # self-contained
    return lines, parsed.texts


@pytest.fixture(scope="module")
def purchases() -> Purchases:
    rows = [(f"u{n % 7}", f"i{n % 5}", f"2024-01-{n % 28 + 1:02}", 1) for n in range(70)]
    return read([*rows, ("", "i1", "2024-01-01", 1)])


def test_a_model_says_what_it_is_in_some_lines(shop: Recommender) -> None:
    lines, texts = checked(shop)
    assert lines[0] == "Recommender: itemknn"
    assert lines[1] == "  knows     2,000 users, 600 items, 33,525 interactions"
    assert lines[2].startswith("  settings  k 20, ")
    assert lines[3] == "  trained   2 epochs, loss 0.25 in the last"
    assert lines[4] == "  measured  on 200 held-out users"
    assert lines[5].split() == ["model", "recall@10", "recall@20", "recall@50", "ndcg@20"]
    assert lines[7].split() == ["popularity", "0.0625", "0.1250", "-", "0.0625"]
    assert {"Recommender: itemknn", "recall@20", "0.3750"} <= set(texts)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"metrics": None, "history": None},
        {"metrics": {"rows": [{"model": EVIL, "recall@20": float("nan")}], "n_users": "x"}, "history": [3]},
        {"metrics": {"rows": "x"}, "history": [{"loss": "x"}], "repeats": True},
        {"metrics": {"rows": [{"model": str(n), "ndcg@20": 0.1} for n in range(40)]}},
    ],
)
def test_any_metadata_are_shown(metadata: dict[str, Any]) -> None:
    model = Popularity.fit(sp.csr_matrix(np.ones((3, 2), np.float32)))
    lines, _ = checked(Recommender(model, None, IdMap([EVIL, "b"]), metadata=metadata))
    assert lines[0] == "Recommender: popularity"
    assert lines[1].split("  ")[-1] == "2 items, no histories"


def test_purchases_and_interactions(purchases: Purchases) -> None:
    own = purchases.interactions
    lines, _ = checked(own)
    assert lines == [
        "Interactions: 35 of 7 users and 5 items",
        "  density      100.00% of all pairs",
        "  purchases    70, repeats included",
        "  last bought  2024-01-08 to 2024-01-28, by pair",
    ]
    lines, texts = checked(purchases)
    assert lines[0] == "Purchases: 35 of 7 users and 5 items"
    assert lines[1].startswith("  read       71 rows of ")
    assert lines[1].endswith(", 1 dropped")
    assert lines[-1] == "  period     2024-01-01 to 2024-01-28"
    assert any("70, repeats included" in text for text in texts)
    lines, _ = checked(purchases.report)
    assert lines[0].startswith("ReadReport: read 71 rows of ")
    assert "  dropped 1 rows: no user" in lines


def test_ids() -> None:
    assert checked(IdMap(["a", "b"]))[0] == ["IdMap(2 ids: 'a', 'b')"]
    long = IdMap([f"{EVIL}{n:04}" * 40 for n in range(2_000)])
    (line,) = checked(long)[0]
    assert line.startswith("IdMap(2,000 ids: '<script>")
    assert checked(IdMap([]))[0] == ["IdMap(0 ids: )"]


@pytest.mark.parametrize("make", [full_report, bare_report])
def test_an_evaluation_report(make: Any) -> None:
    report = make()
    report["models"][0]["name"] = EVIL + HOSTILE
    lines, texts = checked(typed(report))
    assert lines[0].startswith(f"Report: {len(report['models'])} model")
    assert any("<script>" in text for text in texts)  # as text, not as markup
    assert any("recall@" in line for line in lines)


def test_the_best_model_of_a_report_comes_first() -> None:
    lines, _ = checked(typed(full_report()))
    means = [float(line.split()[-5]) for line in lines[2:5] if "to" in line.split()]
    assert means == sorted(means, reverse=True)
    assert repr(Report.from_json({})).startswith("Report: 0 models, protocol unknown")


def test_a_search() -> None:
    trials = [
        TunedTrial(n, "complete", 0.1 + n / 100, {"factors": 64 * n, "dropout": 0.5}, 4, 1.0) for n in range(1, 30)
    ] + [TunedTrial(30, "failed", None, {}, 0, 0.5, EVIL)]  # fmt: skip
    found = Tuned(
        "sigmoid", "ndcg@20", {"seed": 0}, trials, {}, "trials", "", "f" * 64, 2000, 600, 200, 200, False, 30.0
    )  # fmt: skip
    lines, texts = checked(found)
    assert lines[0] == "Tuned: sigmoid, ndcg@20 0.3900 in trial 29 of 30"
    assert lines[4].split()[:3] == ["29", "0.3900", "complete"]
    assert lines[-1].strip().endswith("more")
    assert "factors 1856, dropout 0.5" in texts


def test_a_summary_keeps_to_its_room() -> None:
    long = Summary("t", [("a" * 200, "b")], Grid(["x"], [[str(n)] for n in range(99)]), ["note"] * 99, ["d"])
    lines = long.text().splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) == 100
    assert Summary("<t>").html().count("&lt;t&gt;") == 1


def test_what_the_doctor_found() -> None:
    rows = [(f"{n:03}", f"{EVIL}{n % 5}", "2999-01-01", 1) for n in range(70)]
    found = examine_source(rows)
    lines, texts = checked(found)
    assert lines[0] == "Examination: 70 rows of rows"
    assert any(line.split()[0] in ("warning", "problem") for line in lines)
    assert "what to do" in texts
    finding = found.findings[0]
    lines, texts = checked(finding)
    assert lines[0].startswith(f"Finding: {finding.severity.value} {finding.code}")
    assert finding.advice in texts
