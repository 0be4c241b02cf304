"""Figures: drawn from any history, whole or not at all, and refused before any work."""

import builtins
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recae.cli import main
from recae.errors import ConfigError, DataError, OutputError
from recae.plots import check_plot, plot_history

HISTORY = [
    {"epoch": n, "loss": 100 / n, "recall@20": 0.2 - 0.01 * (n - 4) ** 2, "drift": 1e-6} for n in range(1, 7)
]


def size(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_a_png_of_800_by_500_pixels(tmp_path: Path) -> None:
    path = tmp_path / "history.png"
    plot_history(HISTORY, path, "model.recae")
    assert size(path) == (800, 500)
    assert [p.name for p in tmp_path.iterdir()] == ["history.png"]
    first = path.read_bytes()
    plot_history(HISTORY, path, "model.recae")
    assert path.read_bytes() == first
    plot_history(HISTORY[:-1], path, "model.recae")
    assert path.read_bytes() != first


def test_the_words_on_it(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_history(HISTORY, tmp_path / "history.svg", "my $model$")
        text = (tmp_path / "history.svg").read_text()
    for words in ("epoch", "loss", "validation recall@20", "my $model$: best recall@20 0.2000 in epoch 4"):
        assert f">{words}" in text


@pytest.mark.some(1)
@pytest.mark.parametrize(
    "history",
    [
        HISTORY[:1],
        [{"epoch": 1, "loss": 5, "recall@20": None}, {"epoch": 2, "loss": 4, "recall@20": None}],
        [{"epoch": 1, "loss": 0.5}, 3, {"epoch": "x", "loss": 1}, {"epoch": 2, "loss": None}],
    ],
)
def test_any_history(history: Any, tmp_path: Path) -> None:
    for ending in ("png", "svg", "pdf"):
        plot_history(history, tmp_path / f"h.{ending}")
        assert (tmp_path / f"h.{ending}").stat().st_size > 1000


@pytest.mark.parametrize("history", [[], [1], [{"epoch": 1}]])
def test_nothing_to_draw(history: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no history of epochs"):
        plot_history(history, tmp_path / "h.png")
    assert not list(tmp_path.iterdir())


def test_an_ending_that_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none of \.png, \.svg, \.pdf"):
        check_plot(tmp_path / "h.txt")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = builtins.__import__

    def no_matplotlib(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return ordinary(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ConfigError, match=r"pip install 'recae\[plot\]'"):
        check_plot(Path("h.png"))


def test_inspect_plots(model_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "history.png"
    result = CliRunner().invoke(main, ["inspect", str(model_path), "--plot", str(out)])
    assert (result.exit_code, result.stderr) == (0, f"the plot is in {out}\n")
    assert result.stdout.startswith("property\tvalue\n")
    assert size(out) == (800, 500)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("nowhere/h.png", "does not exist"),
        ("h.jpg", "none of"),
        ("", "names no file"),
        ("x.png/", "names no file"),
    ],
)
def test_inspect_refuses_a_bad_path_first(path: str, part: str, tmp_path: Path) -> None:
    path = path and f"{tmp_path}/{path}"
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "missing.recae"), "--plot", path])
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stderr.count("\n") == 1
