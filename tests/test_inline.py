"""What a notebook shows as the value of a cell: figures, maps, and nothing that other libraries warn of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from reports import bare_report, full_report, typed

import recae
from recae.errors import ConfigError, DataError, OutputError
from recae.plots import trials_figure
from recae.recommender import Recommender
from recae.selection.progress import Progress

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = [(f"u{user}", f"i{(user * 7 + place * place) % 30}") for user in range(60) for place in range(6)]


@pytest.fixture(scope="module")
def model() -> Recommender:
    """An autoencoder of some users."""
    return recae.train(ROWS, "sigmoid", factors=4, epochs=2)


def size_of(figure: Any) -> tuple[int, int]:
    """The width and height that a PNG states, after a look at its mark."""
    content = figure._repr_png_()
    assert content.startswith(PNG)
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def test_the_course_of_training(shop: Recommender) -> None:
    figure = shop.plot_history()
    assert size_of(figure) == (800, 500)
    (losses,) = figure.axes
    assert losses.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.25]]


def test_a_model_without_epochs_has_no_course(model: Recommender) -> None:
    untrained = Recommender(model.model, model.users, model.items, histories=model.histories)
    with pytest.raises(DataError, match="no history of epochs"):
        untrained.plot_history()


def test_plots_of_a_report() -> None:
    report = typed(full_report())
    assert size_of(report.plot())[0] > 500
    assert "Recall by length" in report.plot("recall-curves").get_suptitle()
    assert report.plot("training").get_suptitle() == "Training by epoch"
    with pytest.raises(ConfigError, match="no plot of a report is called 'x'; choose one of recall-curves, "):
        report.plot("x")
    with pytest.raises(DataError, match="nothing to plot as training"):
        typed(bare_report()).plot("training")


def test_a_report_is_saved_as_a_page(tmp_path: Path) -> None:
    typed(full_report()).save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    with pytest.raises(OutputError):
        typed(full_report()).save(tmp_path / "nowhere" / "report.html")


def test_trials() -> None:
    trials = [{"trial": 1, "state": "complete", "value": 0.2, "settings": {"l2": 10.0}}]
    assert size_of(trials_figure(trials, {}, "ndcg@20")) == (1000, 750)


def test_a_map_is_a_page_in_a_frame(model: Recommender, tmp_path: Path) -> None:
    counted: list[tuple[str, int, int]] = []
    progress = Progress(on_count=lambda what, done, total: counted.append((what, done, total)))
    drawn = model.map(method="pca", progress=progress)
    n = len(model.items)
    assert repr(drawn).splitlines()[0] == f"Map: {drawn.points} items by PCA"
    assert drawn.points + drawn.left_out == n
    html = drawn._repr_html_()
    assert re.match(r'<iframe srcdoc="&lt;!doctype html&gt;', html)
    assert 'sandbox="allow-scripts"' in html
    assert html.count("<") == 2  # the frame and its end: the page inside is a text
    drawn.save(tmp_path / "map.html")
    assert (tmp_path / "map.html").read_text() == drawn.page
    with pytest.raises(OutputError, match=r"must end in \.html"):
        drawn.save(tmp_path / "map.png")
    with pytest.raises(ConfigError, match="items or users"):
        model.map("things")
    assert model.map("users", method="pca", limit=3).points == 3


def test_scoring_tells_how_far_it_is(model: Recommender) -> None:
    counted: list[int] = []
    stream = recae.score(
        model, n=2, progress=recae.Progress(on_count=lambda what, done, total: counted.append(done))
    )
    assert not counted  # nothing is computed before it is asked for
    rows = sum(batch.num_rows for batch in stream)
    assert rows
    assert counted[-1] == len(model.users or ())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["sigmoid", "deep", "als", "bpr", "ease", "sparse-linear", "itemknn"])
def test_no_warning_of_another_library_leaks(kind: str) -> None:
    epochs = {"epochs": 1} if kind in ("sigmoid", "deep") else {}
    recommender = recae.train(ROWS, kind, **epochs)
    assert recommender.recommend("u1")
    recae.score(recommender).to_pandas()


@pytest.mark.filterwarnings("error")
def test_nor_when_a_map_is_laid_out(model: Recommender) -> None:
    assert model.map().method == "tsne"
