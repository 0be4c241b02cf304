"""Tests of the registry of kinds: every row holds, nothing else lists kinds, and a kind from outside is one of them."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, recae, refused
from jobs import interactions, task

from recae import kinds
from recae.errors import ConfigError, ModelFileError
from recae.kinds import Kind, find, known, register, registry
from recae.kinds.space import even
from recae.modelfile import describe, load
from recae.selection.fit import make_settings
from recae.settings import settings_of

PLUGIN = Path(__file__).parent / "plugin" / "toykinds.py"
ROWS = tuple(known().values())


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry that has looked for no plugin yet; the one of the other tests comes back."""
    monkeypatch.setattr(registry, "_registry", registry.Registry())
    yield
    sys.modules.pop("toykinds", None)


@pytest.fixture
def shop(tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with shop.csv."""
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    matrix = interactions().matrix.tocoo()
    rows = [f"u{user},i{item}" for user, item in zip(matrix.row, matrix.col, strict=True)]
    Path("shop.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    return folder


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, points: dict[str, str]) -> None:
    """A distribution toy-kinds 1.0 in a folder that Python looks into, the processes that it starts, too."""
    (folder / "toy_kinds-1.0.dist-info").mkdir(parents=True)
    shutil.copy(PLUGIN, folder)
    lines = [f"{name} = {value}" for name, value in points.items()]
    info = folder / "toy_kinds-1.0.dist-info"
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines, ""]))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-kinds\nVersion: 1.0\n")
    found_by_python(folder, monkeypatch)


def found_by_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(params=["entry point", "register"])
def toy(request: pytest.FixtureRequest, shop: Path, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """The kind `toy`, which comes from outside the package: from an installed plugin, or registered from Python."""
    folder = shop.parent / "site"
    if request.param == "entry point":
        installed(folder, monkeypatch, {"toy": "toykinds:TOY"})
    else:
        folder.mkdir()
        shutil.copy(PLUGIN, folder)
        found_by_python(folder, monkeypatch)
        register(importlib.import_module("toykinds").TOY)
    return find("toy")


def done(*arguments: str) -> str:
    """What a command prints on stdout."""
    result = recae(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


# a kind from outside


def test_it_is_listed(toy: Kind) -> None:
    for command in ("train", "tune", "evaluate"):
        assert re.search(rf"^ +toy +{toy.about}$", done(command, "--help"), re.MULTILINE)
    assert f"toy\t{toy.about}" in done("settings")
    assert "damping\t0.5\ta number from 0 to 1\thow much popular items are held back" in done(
        "settings", "toy"
    )
    refused(recae("train", "shop.csv", "--kind", "toi"), "did you mean 'toy'?")
    refused(recae("train", "shop.csv", "--kind", "ease", "--set", "damping=1"), "which toy has")
    refused(
        recae("train", "shop.csv", "--kind", "toy", "--half-life", "9"), "the toy counts every purchase alike"
    )


def test_it_trains_and_loads_and_recommends(toy: Kind) -> None:
    done("train", "shop.csv", "--kind", "toy", "--set", "damping=0.25", "--out", "toy.recae")
    assert describe("toy.recae")["metadata"]["kind"] == "toy"
    assert load("toy.recae").model.config()["damping"] == 0.25
    assert 'kind = "toy"' in done("inspect", "toy.recae", "--toml")
    found = json.loads(done("recommend", "--model", "toy.recae", "--items", "i0,i3", "--json"))
    assert found


def test_a_file_of_a_kind_that_is_not_there_says_which(toy: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    done("train", "shop.csv", "--kind", "toy", "--out", "toy.recae")
    monkeypatch.setattr(registry, "_registry", registry.Registry())
    monkeypatch.setattr(registry.Registry, "_of_plugins", lambda self: {})
    with pytest.raises(ModelFileError, match=r"of kind 'toy', but this recae knows .*; .*install the plugin"):
        load("toy.recae")


def test_it_is_a_part_of_a_blend_and_a_candidate_of_auto(toy: Kind) -> None:
    done("train", "shop.csv", "--kind", "blend", "--set", "components=toy,itemknn", "--out", "blend.recae")
    assert load("blend.recae").model.config()["components"] == "toy,itemknn"
    done("train", "shop.csv", "--kind", "auto", "--set", "candidates=toy", "--out", "auto.recae")
    tried = describe("auto.recae")["metadata"]["auto"]["tried"]
    assert [found["kind"] for found in tried] == ["popularity", "itemknn", "toy"]


def test_it_is_tuned(toy: Kind) -> None:
    pytest.importorskip("optuna")
    assert 'kind = "toy"' in done(
        "tune", "shop.csv", "--kind", "toy", "--trials", "3", "--out", "toy.toml"
    ) + (Path("toy.toml").read_text())
    assert "damping = " in Path("toy.toml").read_text()


@pytest.mark.some(1)
@pytest.mark.processes
def test_it_is_evaluated_in_processes_of_their_own(toy: Kind) -> None:
    arguments = ("--kind", "toy", "--baselines", "popularity", "--trials", "2", "--report", "report.html")
    found = json.loads(done("evaluate", "shop.csv", *arguments, "--json"))
    models = {model["kind"]: model for model in found["models"]}
    assert models["toy"]["failed"] is None
    assert models["toy"]["name"] == toy.title
    assert len(models["toy"]["tuned"]) == 2
    assert toy.title in Path("report.html").read_text("utf-8")


# plugins that do not fit


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("gone", "nowhere_at_all:KIND", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("none", "toykinds:NOTHING", "AttributeError: .*NOTHING"),
        ("other", "toykinds:TOY", "its entry point should be named 'toy'"),
        ("class", "toykinds:ToyModel", "it should be a recae.kinds.Kind, and is a "),
        ("ease", "toykinds:TOY", "should be named 'toy'"),
    ],
)
def test_a_broken_plugin_is_a_sentence(
    name: str,
    value: str,
    reason: str,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    installed(shop.parent / "site", monkeypatch, {name: value})
    with caplog.at_level(logging.WARNING, "recae"):
        assert set(known()) == {row.name for row in ROWS}
    (said,) = (record.getMessage() for record in caplog.records)
    assert re.search(
        rf"the kind '{name}' of the distribution toy-kinds 1\.0 cannot be used \(.*{reason}", said
    )
    if name != "ease":
        with pytest.raises(ConfigError) as error:
            find(name)
        assert str(error.value) == said


def test_what_a_plugin_lacks_is_a_sentence_when_it_is_used(shop: Path) -> None:
    register(replace(find("popularity"), name="lame", settings="nowhere_at_all:Settings"))
    refused(
        recae("train", "shop.csv", "--kind", "lame"),
        "the kind 'lame' cannot be used",
        "install what it needs",
    )
    refused(recae("train", "shop.csv", "--kind", "ease", "--set", "dampin=1"), "ease has no setting 'dampin'")
    assert list(kinds.SETTINGS) == [row.name for row in ROWS]


def test_registering(fresh: None) -> None:
    row = replace(find("ease"), name="mine", about="mine")
    register(row)
    register(row)  # a notebook's cell is run again
    assert list(known())[-1] == "mine"
    with pytest.raises(ConfigError, match="there is a kind 'mine' already"):
        register(replace(row, about="another"))
    with pytest.raises(ConfigError, match="there is a kind 'ease' already"):
        register(replace(row, name="ease"))


@pytest.mark.parametrize("name", ["", "My", "a.b", "a,b", "a=b", "none", "filters"])
def test_names_that_mean_something_else(name: str) -> None:
    with pytest.raises(ConfigError, match="the name of a kind is lower-case letters"):
        replace(find("ease"), name=name)


def test_a_kind_without_models_is_refused() -> None:
    with pytest.raises(ConfigError, match="the kind 'ease' names no class of models"):
        replace(find("ease"), model="")


def test_what_no_other_process_could_import_is_refused(fresh: None) -> None:
    register(replace(find("ease"), name="mine", cost=lambda size: 1.0))
    with pytest.raises(ConfigError, match="the kind 'mine' cannot be handed to the processes"):
        kinds.hand_over()


def test_a_kind_whose_cost_is_unknown_is_expected_to_take_long(fresh: None) -> None:
    size = kinds.Size.of(task().fit, 10)
    register(replace(find("popularity"), name="slow", cost=None))
    assert kinds.seconds_for("slow", size) == max(
        kinds.seconds_for(row.name, size) for row in ROWS if row.cost
    )


# the rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_row_refers_to_is_there(row: Kind) -> None:
    settings = settings_of(row.settings_class())
    assert callable(row.fit_function())
    assert "seed" in settings
    assert not row.model or row.model_class().kind == row.name
    for name in (row.decay, row.parts):
        assert not name or name in settings
    assert {dimension.name for dimension in row.space} <= set(settings)
    assert {name for preset in row.presets for name in preset} <= set(settings)
    for values in row.presets:
        make_settings(row.name, values)
    assert set(row.default_parts) < set(known())
    assert not row.auto.instead_of or row.auto.instead_of in known()
    assert row.cost is not None or not row.model
    assert len(row.about) + 18 <= 90


def test_the_default_and_the_main_part() -> None:
    assert find(kinds.DEFAULT).settings_class().main_part == kinds.MAIN
    assert kinds.MAIN in find(kinds.DEFAULT).default_parts
    assert kinds.evaluated() == (kinds.DEFAULT, kinds.MAIN)
    assert kinds.baselines() == ("popularity", "frequency", "itemknn", "als", "bpr", "ease")


def test_what_has_no_effect_is_not_searched() -> None:
    dimension = even("a", 0, 1, idle=lambda fixed: fixed.get("b") == 2)
    assert dimension.idle({"b": 2})
    assert not dimension.idle({})
    assert dimension == even("a", 0, 1)


def test_decays() -> None:
    assert kinds.decay_setting("frequency") == "decay"
    assert kinds.decay_setting("blend") == "frequency.decay"
    assert kinds.decay_setting("blend", "sigmoid,ease") is None
    assert kinds.decay_setting("sigmoid") is None


def test_the_documents_list_every_kind() -> None:
    text = (ROOT / "docs" / "models" / "index.md").read_text(encoding="utf-8")
    table = re.search(r"^\| kind \| what it is \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None
    rows = [line.split("|")[1:3] for line in table[1].splitlines()]
    named = {kind: about for names, about in rows for kind in re.findall("`([a-z-]+)`", names)}
    assert set(named) == {row.name for row in ROWS}
    for row in ROWS:
        assert ("the default" in named[row.name]) == (row.name == kinds.DEFAULT)
        assert ("baselines" in named[row.name]) == (row.baseline and row.name != "ease")
        assert not row.needs_repeats or f"`{row.name}`" in named[row.name].partition("`--repeats`")[0]


# nothing else lists kinds


def listed(tree: ast.AST) -> Iterator[set[str]]:
    """The texts of each list, tuple, set and dictionary."""
    for node in ast.walk(tree):
        parts: list[Any] = getattr(node, "elts", None) or getattr(node, "keys", None) or []
        yield {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def test_nothing_else_lists_kinds() -> None:
    names, found = {row.name for row in ROWS}, []
    for path in sorted((ROOT / "recae").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if (
            sum(f'"{name}"' in text for name in names) < 2
        ):  # nor can a list have two; parsing takes ten times as long
            continue
        tree = ast.parse(text)
        if path.parent != ROOT / "recae" / "kinds" and any(len(texts & names) > 1 for texts in listed(tree)):
            found.append(path.relative_to(ROOT / "recae").as_posix())
    assert found == []


HEAVY = ("numpy", "pydantic", "scipy", "torch")


@pytest.mark.parametrize("arguments", [["--help"], ["settings"], ["train", "--help"]])
def test_listing_kinds_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom recae.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "sigmoid" in found.stdout or arguments == ["--help"]
    assert found.stderr.strip() == "[]"
