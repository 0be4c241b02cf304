"""Tests of how `recae train` is told what to train: --kind, --set, --config and options, `recae settings`, inspect."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from commands import TINY, names, recae, refused
from eventshops import event_rows
from pyarrow.csv import write_csv

from recae.cli import main
from recae.cli.train import SHORTCUTS
from recae.kinds import SETTINGS, known
from recae.modelfile import describe
from recae.settings import settings_of


def config_of(*arguments: str | Path) -> dict[str, Any]:
    result = recae("train", "../purchases.csv", *arguments)
    assert result.exit_code == 0, result.stderr
    metadata = describe("model.recae")["metadata"]
    return {"kind": metadata["kind"], **metadata["config"]}


def sigmoid_of(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the sigmoid part of a blend; where it is left out, what was given for it."""
    for part in config["parts"]:
        if part["kind"] == "sigmoid":
            return dict(part["config"])
    return {name.removeprefix("sigmoid."): v for name, v in config.items() if name.startswith("sigmoid.")}


# settings that are taken


def test_set_is_the_same_as_the_options(folder: Path) -> None:
    given = {"factors": 3, "epochs": 2, "dropout": 0.25, "seed": 9}
    by_options = config_of("--factors", "3", "--epochs", "2", "--dropout", ".25", "--seed", "9")
    assert (by_options["kind"], by_options["seed"]) == ("blend", 9)
    own = {name: value for name, value in given.items() if name != "seed"}
    assert sigmoid_of(by_options).items() >= own.items()
    by_option = Path("model.recae").read_bytes()
    by_set = config_of(*(part for k, v in given.items() for part in ("--set", f"{k}={v}")))
    assert sigmoid_of(by_set).items() >= own.items()
    assert Path("model.recae").read_bytes() == by_option


def test_every_option_is_a_setting_of_some_kind() -> None:
    known = {name for config in SETTINGS.values() for name in settings_of(config)}
    assert set(SHORTCUTS) <= known


@pytest.mark.some(6)
@pytest.mark.parametrize(
    "kind",
    [kind for kind in SETTINGS if kind not in ("auto", "blend", "event-linear", "frequency", "sigmoid")],
)
def test_every_kind_is_trained_from_the_command_line(folder: Path, kind: str) -> None:
    known = settings_of(SETTINGS[kind])
    small = {"epochs": "1", "factors": "4", "layers": "4", "hidden": "4", "iterations": "2"}
    options = [
        part for name, value in small.items() if name in known for part in ("--set", f"{name}={value}")
    ]
    config = config_of("--kind", kind, *options, "--seed", "3")
    assert config["kind"] == kind
    assert config["seed"] == 3
    found = recae("recommend", "--user", "u7", "-n", "3", "--json")
    assert found.exit_code == 0
    assert len(json.loads(found.stdout)["recommendations"]) == 3


def test_a_kind_that_reads_events_is_trained_from_the_command_line(folder: Path) -> None:
    write_csv(event_rows(40), "events.csv")
    result = recae("train", "events.csv", "--kind", "event-linear", "--inputs", "cart,view", "--seed", "3")
    assert result.exit_code == 0, result.stderr
    metadata = describe("model.recae")["metadata"]
    assert (metadata["kind"], metadata["config"]["seed"]) == ("event-linear", 3)
    assert set(metadata["inputs"]["pairs"]) == {"cart", "view"}
    found = recae("recommend", "--user", "u007", "-n", "3", "--json")
    assert found.exit_code == 0
    assert len(json.loads(found.stdout)["recommendations"]) == 3


def test_layers(folder: Path) -> None:
    assert config_of("--kind", "multvae", "--layers", "6,3", "--epochs", "1")["layers"] == "6,3"


def test_a_file_of_settings_and_what_wins_over_it(folder: Path) -> None:
    Path("s.toml").write_text(
        'kind = "itemknn"\nk = 3\nweighting = "bm25"\n[sigmoid]\nfactors = 5\nepochs = 2\n'
    )
    assert config_of("--config", "s.toml").items() >= {"kind": "itemknn", "k": 3, "weighting": "bm25"}.items()
    assert config_of("--config", "s.toml", "--set", "k=4").items() >= {"k": 4, "weighting": "bm25"}.items()
    Path("s.toml").write_text("[sigmoid]\nfactors = 5\nepochs = 2\n")
    assert sigmoid_of(config_of("--config", "s.toml")).items() >= {"factors": 5, "epochs": 2}.items()
    both = config_of("--config", "s.toml", "--factors", "3")
    assert sigmoid_of(both).items() >= {"factors": 3, "epochs": 2}.items()
    assert config_of("--config", "s.toml", "--factors", "4", "--kind", "sigmoid")["factors"] == 4


def test_parts_of_a_blend(folder: Path) -> None:
    parts = ["--set", "components=itemknn,ease", "--set", "itemknn.k=4", "--set", "ease.l2=50"]
    config = config_of("--kind", "blend", *parts)
    assert config["components"] == "itemknn,ease"
    found = {part["kind"]: part["config"] for part in config["parts"]}
    assert found.get("itemknn", {"k": 4})["k"] == 4
    assert found.get("ease", {"l2": 50.0})["l2"] == 50.0
    result = recae("inspect")
    assert "config.parts" not in result.stdout
    assert any(line.startswith(f"config.{next(iter(found))}.weight\t") for line in result.stdout.splitlines())


def test_repeats_reach_the_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def spy(source: Any, **options: Any) -> Any:
        given.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("recae.pipeline.train", spy)
    assert recae("train", "../purchases.csv", "--repeats").exit_code == 130
    assert (given["repeats"], given["kind"]) == (True, "blend")
    assert recae("train", "../purchases.csv", "--repeats", "--kind", "frequency").exit_code == 130
    assert (given["repeats"], given["kind"]) == (True, "frequency")
    assert recae("train", "../purchases.csv").exit_code == 130
    assert (given["repeats"], given["kind"]) == (False, "blend")


# refusals


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--kind multvea", ("no model of kind 'multvea'; did you mean 'multvae'? choose one of",)),
        ("--kind deep --set dropuot=0.4", ("deep has no setting 'dropuot'",)),
        ("--set dropuot=0.4", ("blend has no setting 'dropuot'; did you mean 'dropout' (a number from 0",)),
        ("--set dropout=1.5", ("dropout is a number from 0 and below 1, found 1.5",)),
        ("--set dropout=half", ("dropout is a number from 0 and below 1, found 'half'",)),
        ("--set dropout", ("key=value", "'dropout'")),
        ("--set dropout=.1 --set dropout=.2", ("'sigmoid.dropout' is given twice",)),
        ("--dropout .1 --set sigmoid.dropout=.2", ("'sigmoid.dropout' is given twice",)),
        ("--kind sigmoid --dropout .1 --set dropout=.2", ("'dropout' is given twice",)),
        ("--epochs many", ("epochs is a whole number", "'many'")),
        ("--kind ease --factors 3", ("ease has no setting 'factors', which", "sigmoid", "choose one of l2")),
        ("--layers 600,200", ("blend has no setting 'layers', which", "deep", "multvae")),
        ("--budget 10m", ("blend has no setting 'budget', which auto has",)),
        ("--kind auto --budget soon", ("budget is a time from 1s to 720h", "'soon'")),
        ("--kind auto --set candidates=eese", ("'eese'", "did you mean 'ease'?")),
        ("--kind multvae --layers 200,600", ("layers is", "smaller towards the code", "'200,600'")),
        ("--kind blend --set sigmoid.factor=3", ("sigmoid has no setting 'factor'; did you mean 'factors'",)),
        ("--kind blend --set sigmiod.factors=3", ("blend has no part 'sigmiod'", "did you mean 'sigmoid'?")),
        ("--kind blend --set sigmoid.factors=0", ("factors is a whole number from 1", "found 0")),
        ("--set als.factors=3", ("the blend is of sigmoid, sparse-linear", "'als.factors' sets nothing")),
        ("--kind sigmoid --set ease.l2=3", ("sigmoid has no setting 'ease.l2'",)),
        ("--config missing.toml", ("missing.toml: the settings cannot be read", "No such file")),
        ("--config wrong.toml", ("wrong.toml: ", "blend has no setting 'factros'; did you mean 'factors'")),
        ("--config wrong.toml --factors 3", ("'factros'",)),
        ("--config kind.toml", ("no model of kind 'sigmiod'; did you mean 'sigmoid'?",)),
        ("--config kind.toml --kind ease", ("ease has no setting 'factors', which",)),
        (
            "--config range.toml",
            (
                "range.toml: ",
                "dropout is a number from 0 and below 1, found 2.0",
            ),
        ),
        ("--config broken.toml", ("broken.toml: this is not TOML", "line 1")),
        ("--config ../purchases.csv", ("purchases.csv: this is not TOML",)),
        ("--kind auto --checkpoint-every 10", ("auto tries several",)),
        ("--kind auto --resume", ("auto tries several",)),
    ],
)
def test_settings_refused(folder: Path, options: str, parts: tuple[str, ...]) -> None:
    Path("wrong.toml").write_text("factros = 3\n")
    Path("kind.toml").write_text('kind = "sigmiod"\nfactors = 3\n')
    Path("range.toml").write_text("[sigmoid]\ndropout = 2\n")
    Path("broken.toml").write_text("factors: 3\n")
    before = names(folder)
    refused(recae("train", "missing.csv", *options.split()), *parts)  # before the purchases are looked at
    assert names(folder) == before


def test_the_file_of_settings_is_not_replaced_by_the_model(folder: Path) -> None:
    Path("s.toml").write_text("factors = 3\n")
    refused(
        recae("train", "../purchases.csv", "--config", "s.toml", "--out", "s.toml"), "it is also the input"
    )
    assert Path("s.toml").read_text() == "factors = 3\n"


# what people can look up


def test_every_kind_is_described_in_a_line() -> None:
    text = main.commands["train"].get_help(click.Context(main.commands["train"], info_name="train"))
    words = " ".join(text.split())  # lines wrap at words
    for kind, about in ((row.name, row.about) for row in known().values()):
        assert f"  {kind} " in text
        assert len(about) + 18 <= 90
        assert f"{kind} {about}" in words


def test_recae_settings() -> None:
    kinds = recae("settings")
    assert kinds.exit_code == 0
    assert [line.split("\t")[0] for line in kinds.stdout.splitlines()[1:]] == list(known())
    assert {row["kind"] for row in json.loads(recae("settings", "--json").stdout)} == set(SETTINGS)
    rows = [line.split("\t") for line in recae("settings", "sigmoid").stdout.splitlines()]
    assert rows[0] == ["setting", "default", "value", "meaning"]
    assert ["dropout", "0.5", "a number from 0 and below 1"] in [row[:3] for row in rows]
    assert ["factors", "none"] in [row[:2] for row in rows]
    assert ["tied", "false"] in [row[:2] for row in rows]
    first = json.loads(recae("settings", "sigmoid", "--json").stdout)[0]
    assert list(first) == ["name", "default", "value", "meaning"]
    refused(recae("settings", "sigmod"), "did you mean 'sigmoid'?")
    refused(recae("settings", "--toml"), "name it")


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_settings_of_every_kind_as_toml_are_its_defaults(kind: str, folder: Path) -> None:
    from recae.settings import build_settings
    from recae.settings_toml import read_toml, toml_kind

    Path("s.toml").write_text(recae("settings", kind, "--toml").stdout)
    assert toml_kind(Path("s.toml")) == kind
    values = read_toml(Path("s.toml"), kind, SETTINGS[kind], kinds=SETTINGS)
    assert set(values) == set(settings_of(SETTINGS[kind]))
    assert build_settings(kind, SETTINGS[kind], values, kinds=SETTINGS) == SETTINGS[kind]()


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "options",
    [
        TINY,
        ("--kind", "sigmoid", *TINY),
        ("--kind", "itemknn"),
        ("--kind", "sparse-linear"),
        ("--kind", "blend", "--set", "components=itemknn,ease", "--set", "ease.l2=9"),  # which is left out
    ],
)
def test_the_settings_of_a_model_train_it_again(folder: Path, options: tuple[str, ...]) -> None:
    assert recae("train", "../purchases.csv", *options).exit_code == 0
    before = Path("model.recae").read_bytes()
    printed = recae("inspect", "--toml")
    assert printed.exit_code == 0
    assert tomllib.loads(printed.stdout)["kind"] == describe("model.recae")["metadata"]["kind"]
    if "ease.l2=9" in options:
        assert tomllib.loads(printed.stdout)["ease"]["l2"] == 9
    Path("s.toml").write_text(printed.stdout)
    Path("model.recae").unlink()
    assert recae("train", "../purchases.csv", "--config", "s.toml").exit_code == 0
    assert Path("model.recae").read_bytes() == before


def test_what_is_no_setting_is_left_out(folder: Path) -> None:
    assert recae("train", "../purchases.csv", "--kind", "popularity").exit_code == 0
    assert recae("inspect", "--toml").stdout == 'kind = "popularity"\nseed = 0\n'
