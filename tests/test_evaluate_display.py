"""The result of an evaluation on stdout: it fits a terminal of 80 columns, and a pipe gets plain lines."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from comparisons import comparison
from reports import HOSTILE, bare_report, full_report, typed

from recae.cli.evaluate_display import print_report
from recae.evaluation.report.build import build_report
from recae.evaluation.report.schema import Budget, Data

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["recae.cli.evaluate_display"], "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")


def shown(report: dict[str, Any], capsys: Capture) -> list[str]:
    print_report(typed(report))
    found = capsys.readouterr()
    assert found.err == ""
    return found.out.splitlines()


def told(report: dict[str, Any]) -> dict[str, Any]:
    """The report with the sentence on the model that failed."""
    report["models"][-1]["verdict"] = "BPR could not be measured: the factors are not finite."
    return report


def test_a_table_that_fits_80_columns(terminal: None, capsys: Capture) -> None:
    lines = shown(told(full_report()), capsys)
    assert max(map(len, lines)) <= 80
    at = {line.split("  ")[0].strip(): n for n, line in enumerate(lines)}
    assert lines[at["sigmoid"]].split() == [
        "sigmoid",
        ".3223",
        ".3031",
        "▲",
        "+.0118",
        ".012",
        "48",
        "s",
    ]
    assert lines[at["sigmoid"] + 1].split() == [
        ".3103–.3343",
        ".2911–.3151",
        "+.0038…+.0198",
        "412",
        "MB",
    ]
    assert lines[at["EDLAE"]].split()[3:6] == ["≈", "+.0074", ".21"]
    assert lines[at["ALS"]].split()[3:7] == ["▼", "−.0525", "<", ".001"]
    assert lines[at["EASE"]].split()[1:5] == [".3097", ".2913", "–", "–"]
    assert lines[at["EASE"] + 1].startswith("best baseline  ")
    assert lines[at["item-kNN"] + 1].startswith("baseline  ")
    assert lines[at["BPR"]].split() == ["BPR", *["–"] * 5]
    assert lines[at["BPR"] + 1].strip() == "failed"
    names = [name for name in at if name in {m["name"] for m in full_report()["models"]}]
    assert names == [  # the best first
        "sigmoid",
        "EDLAE",
        "EASE",
        "item-kNN",
        "Mult-VAE",
        "ALS",
        "personal frequency",
        "popularity",
        "BPR",
    ]


def test_what_stands_around_the_table(terminal: None, capsys: Capture) -> None:
    text = " ".join(" ".join(shown(told(full_report()), capsys)).split())
    assert text.startswith(
        "strong: 434 test users, 4,910 held-out items 8 trials for every model, on the same 434 validation users."
    )
    assert "Differences are to EASE, user by user; p is corrected for 7 comparisons." in text
    worth = (
        "The hits in 1,000 recommendations are worth 271.1 with sigmoid and 260.5 with EASE (difference +10.62, 95 %: "
        "−14.38 to +35.62), each item for one piece. The lists of sigmoid have a diversity of 0.834: --diversity 0.1 "
        "changes NDCG@20 by −0.0020 (95 %: −0.0040 to ±0), to a diversity of 0.850; --diversity 0.3 changes NDCG@20 by "
        "−0.0060 (95 %: −0.0080 to −0.0040), to a diversity of 0.870."
    )
    failed = "BPR could not be measured: the factors are not finite."
    assert text.endswith(f"{failed} {full_report()['verdict']} {worth}")


def test_one_comparison_is_not_corrected(terminal: None, capsys: Capture) -> None:
    report = full_report()
    report["models"] = [report["models"][0], report["models"][4]]
    text = " ".join(" ".join(shown(report, capsys)).split())
    assert "Differences are to EASE, user by user. " in text


def test_without_differences_intervals_and_costs(terminal: None, capsys: Capture) -> None:
    lines = shown(bare_report(), capsys)
    assert lines[1] == "last-out: 1 test user, 1 held-out item"
    (header,) = [line for line in lines if line.startswith("model")]
    assert header.split() == ["model", "Recall@5", "NDCG@5", "memory"]
    (row,) = [line for line in lines if line.startswith("sigmoid")]
    assert row.split() == ["sigmoid", ".2500", "–", "–"]
    assert not any("interval" in line or "Differences" in line for line in lines)
    assert " ".join(lines).strip().endswith("There is no baseline to compare with.")


def test_long_and_hostile_names_on_a_terminal(terminal: None, capsys: Capture) -> None:
    report = full_report()
    report["models"][0]["name"] = f"[red]\x1b[31m{HOSTILE * 2}"
    lines = shown(report, capsys)
    assert max(map(len, lines)) <= 80
    assert "\x1b[31m" not in "\n".join(lines)
    assert "[red]" in "\n".join(lines)
    assert any("+.0038…+.0198" in line for line in lines)  # the figures stay whole


def test_plain_lines_for_a_pipe(capsys: Capture) -> None:
    lines = shown(told(full_report()), capsys)
    header, *rows = (line.split("\t") for line in lines[:10])
    assert header == [
        "model",
        "role",
        "recall@20",
        "recall@20_low",
        "recall@20_high",
        "ndcg@20",
        "ndcg@20_low",
        "ndcg@20_high",
        "difference",
        "difference_low",
        "difference_high",
        "p_corrected",
        "seconds",
        "peak_mib",
    ]
    figures = ["0.3223", "0.3103", "0.3343", "0.3031", "0.2911", "0.3151"]
    assert rows[0] == [
        "sigmoid",
        "model",
        *figures,
        "+0.0118",
        "+0.0038",
        "+0.0198",
        "0.0120",
        "48.2",
        "393",
    ]
    by_name = {row[0]: row for row in rows}
    assert by_name["EASE"][1] == "best baseline"
    assert by_name["EASE"][8:12] == ["-"] * 4
    assert by_name["ALS"][1] == "baseline"
    assert by_name["BPR"] == ["BPR", "failed", *["-"] * 12]
    assert lines[10:] == [
        "",
        "BPR could not be measured: the factors are not finite.",
        full_report()["verdict"],
        "The hits in 1,000 recommendations are worth 271.1 with sigmoid and 260.5 with EASE (difference +10.62, 95 %: "
        "−14.38 to +35.62), each item for one piece.",
        "The lists of sigmoid have a diversity of 0.834: --diversity 0.1 changes NDCG@20 by −0.0020 (95 %: −0.0040 to "
        "±0), to a diversity of 0.850; --diversity 0.3 changes NDCG@20 by −0.0060 (95 %: −0.0080 to −0.0040), to a "
        "diversity of 0.870.",
    ]


def test_judged_by_recall_the_other_column_is_ndcg(capsys: Capture) -> None:
    report = full_report() | {"metric": "recall@10"}
    assert shown(report, capsys)[0].split("\t")[2:8:3] == ["recall@10", "ndcg@10"]
    report["metric"] = "map@50"
    assert shown(report, capsys)[0].split("\t")[2:8:3] == ["recall@50", "map@50"]


def test_a_real_comparison(capsys: Capture) -> None:
    tasks, runs = comparison()
    report = build_report(
        tasks, runs, ks=(20,), command="", versions={}, data=Data(), seed=0, budget=Budget()
    ).to_json()
    lines = shown(report, capsys)
    assert [line.split("\t")[0] for line in lines[1:5]][-1] == "BPR"
    for model in report["models"][:3]:
        (row,) = [line.split("\t") for line in lines if line.startswith(f"{model['name']}\t")]
        assert row[5] == f"{model['metrics']['ndcg@20']['mean']:.4f}"
    assert lines[-1] == report["verdict"]
    assert re.match(r"BPR could not be measured: ", lines[-2])
