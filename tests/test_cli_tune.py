"""Tests of `recae tune` through real files and processes: every output, going on, and what is refused first."""

from __future__ import annotations

import builtins
import json
import signal
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from commands import PATIENCE, ROOT, names, recae, refused, start
from jobs import interactions

from recae.display import Surface
from recae.modelfile import describe
from recae.plots import plot_trials
from recae.selection.displays import TuningDisplay
from recae.selection.space import TunedTrial
from recae.selection.tune import trial_line
from recae.training.checkpoint import Epoch

CHEAP = ("--kind", "edlae", "--trials", "4")
LONG = ("--kind", "sigmoid", "--set", "factors=4", "--set", "epochs=100000", "--set", "patience=100000")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with shop.csv."""
    monkeypatch.chdir(tmp_path)
    matrix = interactions().matrix.tocoo()
    rows = [f"u{user},i{item}" for user, item in zip(matrix.row, matrix.col, strict=True)]
    Path("shop.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    return tmp_path


def tuned(*arguments: str | Path) -> Result:
    result = recae("tune", "shop.csv", *arguments)
    assert result.exit_code == 0, result.stderr
    return result


# what it prints and writes


def test_stdout_is_a_file_for_train(shop: Path) -> None:
    result = tuned(*CHEAP)
    values = tomllib.loads(result.stdout)
    assert values["kind"] == "edlae"
    assert values["seed"] == 0
    assert "l2" in values
    for words in (
        "tuning l2, dropout, user_power, item_power, owned_power, diagonal of edlae by ndcg@20 on 6 ",
        "on 6 validation users; 6 test users are set",
        "trial 1/4: ndcg@20 ",
        "done after 4 trials (4 complete)",
        "recae train --config with this trains it",
    ):
        assert words in result.stderr
    assert names(shop) == ["shop.csv"]  # no study stays
    Path("best.toml").write_text(result.stdout)
    trained = recae("train", "shop.csv", "--config", "best.toml", "--out", "m.recae")
    assert trained.exit_code == 0, trained.stderr
    config = describe(Path("m.recae"))["metadata"]["config"]
    assert {key: config[key] for key in ("l2", "dropout", "user_power")} == {
        key: values[key] for key in ("l2", "dropout", "user_power")
    }


def test_every_output(shop: Path) -> None:
    result = tuned(*CHEAP, "--seed", "3", "--out", "best.toml", "--plot", "t.png", "--study", "a.study")
    assert names(shop) == ["a.study", "best.toml", "shop.csv", "t.png"]
    assert result.stdout.splitlines()[0].split("\t") == ["setting", "defaults", "best"]
    assert result.stdout.splitlines()[1].startswith("ndcg@20\t0.")
    assert "--config best.toml trains it" in result.stderr
    assert tomllib.loads(Path("best.toml").read_text())["seed"] == 3
    assert Path("t.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    report = json.loads(tuned(*CHEAP, "--seed", "3", "--json").stdout)
    assert {**report["config"], "kind": "edlae"} == tomllib.loads(Path("best.toml").read_text())
    assert report["study"] is None
    assert report["out"] is None
    assert [trial["trial"] for trial in report["trials"]] == [1, 2, 3, 4]
    again = json.loads(
        tuned(*CHEAP, "--seed", "3", "--out", "best.toml", "--study", "a.study", "--resume", "--json").stdout
    )
    assert (again["out"], again["study"]) == ("best.toml", "a.study")
    assert again["config"] == report["config"]


def test_the_json_is_as_the_docs_say(shop: Path) -> None:
    text = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    text = text[text.index("## recae tune") : text.index("## recae evaluate")]
    report = json.loads(tuned(*CHEAP, "--json").stdout)
    for name in [*report, *report["trials"][0]]:
        assert f'"{name}": ' in text


# going on


def test_ctrl_c_leaves_a_study_to_go_on_with(shop: Path) -> None:
    process = start(
        "tune", shop / "shop.csv", *LONG, "--study", shop / "a.study", "--trials", "3", "--budget", "1h",
        stdout=-1, stderr=-1,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    while not (shop / "a.study").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    assert b"interrupted" in err
    assert names(shop) == ["shop.csv"]  # no trial was complete, so there is nothing to go on with


def test_interrupted_between_trials_it_goes_on(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tuned(*CHEAP)

    def interrupt(self: TuningDisplay, ended: TunedTrial, best: TunedTrial | None, trials: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TuningDisplay, "trial", interrupt)
    cut = recae("tune", "shop.csv", *CHEAP)
    monkeypatch.undo()
    monkeypatch.chdir(shop)
    assert cut.exit_code == 130
    assert cut.stdout == ""
    assert "best of 1 trials so far is ndcg@20" in cut.stderr
    assert "the same command with --resume goes on from there" in cut.stderr
    assert names(shop) == ["shop.csv", "tune.edlae.study"]
    refused(recae("tune", "shop.csv", *CHEAP), "tune.edlae.study", "go on from it with --resume")
    other = recae("tune", "shop.csv", *CHEAP, "--resume", "--seed", "1")
    assert other.exit_code == 2
    assert "seed: was 0, is 1" in other.stderr
    again = tuned(*CHEAP, "--resume")
    assert "going on after 1 trials, as in tune.edlae.study" in again.stderr
    assert again.stdout == whole.stdout
    assert names(shop) == ["shop.csv"]


def test_the_study_is_kept_when_the_result_cannot_be_written(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *arguments: Any, **options: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = recae("tune", "shop.csv", *CHEAP, "--out", "best.toml")
    monkeypatch.undo()
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert names(shop) == ["best.toml.study", "shop.csv"]


# refusals


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--kind sigmod", ("'sigmod'", "did you mean 'sigmoid'?")),
        ("--kind popularity", ("nothing to tune",)),
        ("--kind auto", ("auto tries several kinds by itself",)),
        ("--kind frequency", ("add --repeats",)),
        ("--kind ease --set l9=3", ("'l9'", "l2")),
        ("--kind ease --set l2=-3", ("l2",)),
        ("--trials 0", ("trials is a whole number from 1",)),
        ("--budget soon", ("'soon'",)),
        ("--metric ndcg", ("such as ndcg@20",)),
        ("--resume", ("there is no study 'tune.blend.study'",)),
        ("--out missing/b.toml", ("missing",)),
        ("--out b.toml --plot b.png --study b.png", ("--plot and --study are both 'b.png'",)),
        ("--plot b.jpg", ("b.jpg",)),
        ("--out purchases.csv", ("purchases.csv",)),
        ("--seed one", ("seed", "'one'")),
    ],
)
def test_refused_before_anything_is_read(shop: Path, options: str, parts: tuple[str, ...]) -> None:
    refused(recae("tune", "purchases.csv", *options.split()), *parts)  # which is not there
    assert names(shop) == ["shop.csv"]


def test_no_purchases(shop: Path) -> None:
    refused(recae("tune", "purchases.csv", "--kind", "ease"), "purchases.csv")
    assert names(shop) == ["shop.csv"]


def test_without_optuna(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(recae("tune", "shop.csv", *CHEAP), "pip install 'recae[tune]'")
    assert names(shop) == ["shop.csv"]


# the lines


def test_a_line_a_trial() -> None:
    one = TunedTrial(1, "complete", 0.25, {"factors": 64}, 4, 1.04)
    assert trial_line(one, one, 9, "ndcg@20") == (
        "trial 1/9: ndcg@20 0.2500 in 1.0 s, best 0.2500 of trial 1; factors 64"
    )
    two = TunedTrial(2, "pruned", 0.125, {"factors": 32}, 3, 0.5)
    assert "trial 2/9: ndcg@20 0.1250 after 3 epochs, pruned in 0.5 s" in trial_line(two, one, 9, "ndcg@20")
    three = TunedTrial(3, "failed", None, {}, 0, 0.5, "not finite")
    assert trial_line(three, None, 9, "ndcg@20") == "trial 3/9: failed in 0.5 s; the defaults: not finite"


def test_the_epoch_is_shown() -> None:
    shown: list[tuple[str, float, float | None]] = []

    class Recorded(Surface):
        def show(self, text: str, done: float = 0, total: float | None = None) -> None:
            shown.append((text, done, total))

    one = TunedTrial(1, "complete", 0.25, {"factors": 64}, 4, 1.0)
    display = TuningDisplay(Recorded())
    display.start(9, 100)
    display.epoch(Epoch(epoch=2, loss=1.0, recall=0.125, seconds=0.1, users_per_second=9.0))
    display.trial(one, one, 3)
    display.epoch(Epoch(epoch=1, loss=1.0, recall=None, seconds=0.1, users_per_second=9.0))
    assert shown == [
        ("trial 1", 0, None),
        ("trial 1, epoch 2/9: loss 1.00, recall@20 0.1250", 0, None),
        ("trial 2/3, epoch 1/9: loss 1.00", 1, 3),
    ]


# the picture


TRIALS = [
    {"trial": 1, "state": "complete", "value": 0.2, "settings": {"l2": 10.0, "act": "tanh"}},
    {"trial": 2, "state": "failed", "value": None, "settings": {"l2": 5.0, "act": "relu"}},
    {"trial": 3, "state": "pruned", "value": 0.1, "settings": {"l2": 900.0, "act": "relu"}},
    {"trial": 4, "state": "complete", "value": 0.25, "settings": {"l2": 100.0, "act": "relu"}},
]


@pytest.mark.thorough
def test_the_picture_has_trials_settings_and_the_best(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_trials(TRIALS, {"l2": 0.7, "act": 0.3}, "ndcg@20", tmp_path / "t.svg", "a $kind$")
        text = (tmp_path / "t.svg").read_text()
    for words in (
        "a $kind$: best ndcg@20 0.2500 in trial 4", "validation ndcg@20", "best so far", "complete", "pruned",
        "failed", "importance 70%", "l2", "act", "tanh", "relu",
    ):  # fmt: skip
        assert words in text


@pytest.mark.some(1)
@pytest.mark.parametrize("trials", [TRIALS[:1], TRIALS[:2], [{**TRIALS[0], "settings": {}}], TRIALS])
def test_any_trials(trials: Any, tmp_path: Path) -> None:
    for ending in ("png", "svg", "pdf"):
        plot_trials(trials, {}, "recall@5", tmp_path / f"t.{ending}")
        assert (tmp_path / f"t.{ending}").stat().st_size > 1000


def test_nothing_to_draw(tmp_path: Path) -> None:
    from recae.errors import DataError

    with pytest.raises(DataError, match="no trial is complete"):
        plot_trials(TRIALS[1:3], {}, "ndcg@20", tmp_path / "t.png")
    assert names(tmp_path) == []
