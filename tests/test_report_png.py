"""The report's charts as PNG: which are written, that they are whole and the same again, and what they show."""

from __future__ import annotations

import builtins
import copy
import struct
from pathlib import Path
from typing import Any

import pytest
from reports import HOSTILE, bare_report, full_report, typed

from recae.errors import ConfigError, OutputError
from recae.evaluation.report import png
from recae.evaluation.report.png import write_plots
from recae.evaluation.report.tables import make_context


def size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_three_files_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "plots"
    paths = write_plots(typed(full_report()), folder)
    assert [p.name for p in paths] == ["recall-curves.png", "metrics.png", "training.png"]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert size(paths[0]) == (1200, 750)
    first = [p.read_bytes() for p in paths]
    changed = full_report()
    changed["models"][0]["curve"]["recall"][3]["mean"] += 0.02
    write_plots(typed(changed), folder)
    assert [p.read_bytes() == before for p, before in zip(paths, first, strict=True)] == [False, True, True]
    for name in ("metrics", "training"):  # each takes half a second, and is the same again already
        monkeypatch.delitem(png._PLOTS, name)
    assert write_plots(typed(full_report()), folder) == paths[:1]
    assert [p.read_bytes() for p in paths] == first


def test_curves_are_the_figures() -> None:
    report = full_report()
    report["models"][0]["name"] = "$x$\n" + HOSTILE
    report["models"][1]["curve"]["recall"][2] = {"mean": None, "low": None, "high": None}
    figure = png._plot_curves(make_context(typed(report)))
    assert figure is not None
    (axes,) = figure.axes
    plotted = {tuple(line.get_xdata()): line for line in axes.lines}
    assert set(plotted) == {(1, 2, 3, 5, 10, 20, 50, 100)}
    assert len(axes.lines) == 8
    expected = [f["mean"] for f in report["models"][0]["curve"]["recall"]]
    (same,) = [line for line in axes.lines if list(line.get_ydata()) == expected]
    assert same.get_linestyle() == "-"
    assert same.get_color() == "#0d6b55"
    (gap,) = [line for line in axes.lines if line.get_ydata()[2] != line.get_ydata()[2]]
    assert gap.get_ydata()[3] == report["models"][1]["curve"]["recall"][3]["mean"]
    assert len(axes.collections) == 8
    low, high = axes.collections[-1].get_datalim(axes.transData).intervaly
    bands = [
        (min(f["low"] for f in c), max(f["high"] for f in c))
        for c in [report["models"][0]["curve"]["recall"]]
    ]
    assert (low, high) == pytest.approx(bands[0])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "$x$ </script><script>alert(…"
    assert names[1:3] == ["EDLAE", "EASE"]
    assert not any(text.get_parse_math() for text in axes.get_legend().get_texts())


def test_metrics_are_the_figures() -> None:
    report = full_report()
    figure = png._plot_metrics(make_context(typed(report)))
    assert figure is not None
    axes = next(a for a in figure.axes if a.get_title() == "NDCG@20")
    assert [t.get_text() for t in axes.get_yticklabels()][:3] == ["sigmoid", "EDLAE", "EASE"]
    bar, dot = axes.lines[:2]
    found = report["models"][0]["metrics"]["ndcg@20"]
    assert list(bar.get_xdata()) == [found["low"], found["high"]]
    assert list(dot.get_xdata()) == [found["mean"]]
    assert axes.get_ylim() == (7.5, -0.5)
    assert sum(a.axison for a in figure.axes) == 9  # value and recall by value, too


def test_training_is_the_figures() -> None:
    report = full_report()
    report["models"][2]["epochs"] = [{"epoch": 1, "loss": 3.5, "recall@20": None}, {"epoch": 2}, {"loss": 1}]
    figure = png._plot_training(make_context(typed(report)))
    assert figure is not None
    assert [a.get_title() for a in figure.axes if a.axison] == [
        "sigmoid: loss",
        "sigmoid: validation recall@20",
        "Mult-VAE: loss",
    ]
    recall, ring = figure.axes[1].lines
    assert list(recall.get_ydata()) == [e["recall@20"] for e in report["models"][0]["epochs"]]
    assert list(ring.get_xdata()) == [6]
    assert list(figure.axes[2].lines[0].get_ydata()) == [3.5]


def test_what_the_report_lacks_is_not_plotted(tmp_path: Path) -> None:
    assert [p.name for p in write_plots(typed(bare_report()), tmp_path)] == ["metrics.png"]
    nothing = bare_report()
    nothing["models"][0]["failed"] = "no memory"
    assert write_plots(typed(nothing), tmp_path / "none") == []
    assert write_plots(typed({}), tmp_path / "none") == []
    assert list((tmp_path / "none").iterdir()) == []


def test_metrics_without_a_length(tmp_path: Path) -> None:
    report = bare_report()
    report["metric"] = "mrr"
    report["models"][0]["metrics"] = {"mrr": {"mean": 0.5, "low": None, "high": None}, "recall@5": None}
    assert [p.name for p in write_plots(typed(report), tmp_path)] == ["metrics.png"]


def test_a_model_that_lacks_one_metric() -> None:
    report = full_report()
    report["models"][1] = copy.deepcopy(report["models"][1])
    del report["models"][1]["metrics"]["mrr@20"]
    figure = png._plot_metrics(make_context(typed(report)))
    assert figure is not None
    counts = {a.get_title(): len(a.lines) for a in figure.axes if a.axison}
    assert counts["MRR@20"] == 14
    assert counts["MAP@20"] == 16


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot make the folder .* choose another path"):
            write_plots(typed(full_report()), folder)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ordinary = builtins.__import__

    def no_matplotlib(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return ordinary(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ConfigError, match=r"pip install 'recae\[plot\]'"):
        write_plots(typed(full_report()), tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
