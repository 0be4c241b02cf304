"""Settings from texts, TOML and Python values: types, ranges, nearest names, and the way back to TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recae.errors import ConfigError
from recae.kinds import SETTINGS
from recae.settings import (
    PARTS,
    Settings,
    build_settings,
    choose_kind,
    parse_settings,
    setting,
    settings_of,
)
from recae.settings_toml import read_toml, to_toml, toml_kind
from recae.training.config import SigmoidSettings


class Plain(Settings):
    """Settings of every type."""

    size: int | None = setting(None, "of something", ge=1, le=100)
    rate: float = setting(0.5, "how fast", ge=0, le=1)
    power: float | str = setting(1.0, "number or word")
    tied: bool = setting(False, "whether it is")
    layers: str = setting("8", "of it")
    loss: Literal["squared", "logistic"] = setting("squared", "what is to be small")
    inner: tuple[int, ...] = setting((), "not for a text")
    seed: int = setting(0, "")


class Composed(Settings):
    """Put together from others."""

    components: str | None = setting(None, "kinds")
    parts: Mapping[str, Any] = setting({}, "settings of the parts", wanted=PARTS)
    seed: int = setting(0, "")


KINDS: dict[str, type[Settings]] = {"plain": Plain, "sigmoid": SigmoidSettings, "composed": Composed}


def parse(*assignments: str, kind: str = "plain") -> dict[str, Any]:
    return parse_settings(KINDS[kind], kind, assignments, kinds=KINDS)


def same(found: object, expected: object) -> bool:
    return found == expected and type(found) is type(expected)


# what a class says of its fields


def test_what_a_configuration_says_of_its_settings() -> None:
    found = settings_of(Plain)
    assert list(found) == ["size", "rate", "power", "tied", "layers", "loss", "seed"]  # no tuple from a text
    assert found["size"].wanted == "a whole number from 1 to 100 or 'none'"
    assert found["size"].optional
    assert found["size"].default is None
    assert found["size"].meaning == "of something"
    assert found["rate"].wanted == "a number from 0 to 1"
    assert found["rate"].meaning == "how fast"
    assert found["power"].wanted == "a number or text"
    assert found["power"].meaning == "number or word"
    assert found["tied"].wanted == "true or false"
    assert found["layers"].wanted == "text"
    assert found["loss"].wanted == "one of squared, logistic"
    assert found["seed"].meaning == ""
    assert list(settings_of(Composed)) == ["components", "seed"]


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_of_every_kind_is_explained_and_its_default_can_be_given(kind: str) -> None:
    settings_class = SETTINGS[kind]
    default = settings_class()
    for name, found in settings_of(settings_class).items():
        assert found.meaning, f"{settings_class.__name__} says nothing of {name}"
        assert found.wanted
        text = "none" if found.default is None else str(found.default)
        value = parse_settings(settings_class, kind, [f"{name}={text}"], kinds=SETTINGS)[name]
        assert value == getattr(default, name)
        assert build_settings(kind, settings_class, {name: value}, kinds=SETTINGS) == default
    left = set(settings_class.model_fields) - set(settings_of(settings_class))
    assert left <= {"parts"}
    assert "seed" in settings_of(settings_class)


# texts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("size=12", 12),
        ("size= 12 ", 12),
        ("size=none", None),
        ("size=None", None),
        ("rate=1", 1.0),
        ("rate=1e-3", 0.001),
        ("power=0.5", 0.5),
        ("power=l2", "l2"),
        ("tied=true", True),
        ("tied=No", False),
        ("tied=1", True),
        ("layers=600,200", "600,200"),
        ("layers=a=b", "a=b"),
        ("layers=", ""),
        ("loss=logistic", "logistic"),
    ],
)
def test_texts_are_read_by_the_type_of_their_setting(text: str, value: object) -> None:
    assert same(parse(text)[text.partition("=")[0]], value)


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        (["size"], ["key=value", "'size'"]),
        (["=3"], ["key=value"]),
        (["size=1.5"], ["size is a whole number from 1 to 100 or 'none'", "'1.5'"]),
        (["size=many"], ["'many'"]),
        (["size="], ["found ''"]),
        (["size=" + "9" * 5000], ["size is a whole number"]),
        (["rate=none"], ["rate is a number from 0 to 1", "'none'"]),
        (["rate=half"], ["'half'"]),
        (["tied=maybe"], ["tied is true or false", "'maybe'"]),
        (["size=1", "size=1"], ["'size' is given twice"]),
        (
            ["siez=1"],
            ["plain has no setting 'siez'; did you mean 'size' (a whole number from 1 to 100 or 'none')?"],
        ),
        (["zzz=1"], ["plain has no setting 'zzz'; choose one of size, rate, power"]),
        (["factors=1"], ["plain has no setting 'factors', which sigmoid has"]),
        (["inner=1"], ["no setting 'inner'"]),
        (["sigmoid.factors=1"], ["no setting 'sigmoid.factors'"]),
    ],
)
def test_texts_refused(texts: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        parse(*texts)
    for part in parts:
        assert part in str(error.value)


def test_dotted_names_belong_to_the_parts() -> None:
    assert parse("sigmoid.factors=12", "components=sigmoid,plain", kind="composed") == {
        "sigmoid.factors": 12,
        "components": "sigmoid,plain",
    }
    for text, part in {
        "sigmiod.factors=1": "composed has no part 'sigmiod' that 'sigmiod.factors' could be a setting of; "
        "did you mean 'sigmoid'?",
        "composed.seed=1": "no part 'composed'",
        "sigmoid.factor=1": "sigmoid has no setting 'factor'; did you mean 'factors'",
        "sigmoid.factors=x": "sigmoid.factors is a whole number from 1 to 16384",
        "sigmoid.size=1": "sigmoid has no setting 'size', which plain has",
        "factors=1": "composed has no setting 'factors', which sigmoid has",
    }.items():
        with pytest.raises(ConfigError) as error:
            parse(text, kind="composed")
        assert part in str(error.value)


# values


def test_build_config() -> None:
    assert build_settings("plain", Plain, {"size": 3, "rate": 1}) == Plain(size=3, rate=1)
    composed = build_settings("composed", Composed, {"sigmoid.factors": 3, "seed": 1}, kinds=KINDS)
    assert composed == Composed(parts={"sigmoid.factors": 3}, seed=1)
    both = {"parts": {"sigmoid.seed": 2}, "sigmoid.factors": 3}
    assert build_settings("composed", Composed, both, kinds=KINDS).parts == {
        "sigmoid.seed": 2,
        "sigmoid.factors": 3,
    }


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"size": "3"}, "size is a whole number from 1 to 100 or 'none', found '3'"),
        ({"size": True}, "found True"),
        ({"size": 2.0}, "found 2.0"),
        ({"rate": None}, "rate is a number from 0 to 1, found None"),
        ({"rate": 1.5}, "rate is a number from 0 to 1, found 1.5"),
        ({"tied": 1}, "tied is true or false, found 1"),
        ({"tied": "yes"}, "found 'yes'"),
        ({"layers": [3]}, "layers is text, found [3]"),
        ({"loss": "hinge"}, "loss is one of squared, logistic, found 'hinge'"),
        ({"sise": 1}, "did you mean 'size'"),
    ],
)
def test_values_refused(values: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_settings("plain", Plain, values)
    assert part in str(error.value)


def test_values_of_parts_are_checked_by_their_kind() -> None:
    with pytest.raises(ConfigError, match=r"sigmoid: dropout is a number from 0 and below 1, found 2"):
        build_settings("composed", Composed, {"sigmoid.dropout": 2.0}, kinds=KINDS)


def test_kinds_are_chosen_by_name() -> None:
    assert choose_kind("plain", KINDS) == "plain"
    with pytest.raises(
        ConfigError, match=r"no model of kind 'plan'; did you mean 'plain'\? choose one of plain, sig"
    ):
        choose_kind("plan", KINDS)
    with pytest.raises(ConfigError, match=r"no model of kind ''; choose one of plain"):
        choose_kind("", KINDS)


# TOML


def read(text: str, folder: Path, kind: str = "plain") -> dict[str, Any]:
    path = folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    return read_toml(path, kind, KINDS[kind], kinds=KINDS)


def test_a_file_flat_or_with_tables(tmp_path: Path) -> None:
    expected = {"size": 3, "rate": 1.0, "power": "l2", "tied": True, "layers": "600,200"}
    flat = 'kind = "plain"\nsize = 3\nrate = 1\npower = "l2"\ntied = true\nlayers = [600, 200]\n'
    assert read(flat, tmp_path) == expected
    assert type(read(flat, tmp_path)["rate"]) is float
    assert read("\ufeff[plain]\nsize = 'none'\n[sigmoid]\nfactors = 3\n", tmp_path) == {"size": None}
    assert read("seed = 1\n[plain]\nsize = 4", tmp_path) == {"seed": 1, "size": 4}
    assert read("", tmp_path) == {}
    parts = 'kind = "composed"\nseed = 3\nplain.size = 2\n[sigmoid]\nfactors = 8\n'
    assert read(parts, tmp_path, "composed") == {"seed": 3, "plain.size": 2, "sigmoid.factors": 8}
    nested = "[composed]\nseed = 3\n[composed.sigmoid]\nfactors = 8\n"
    assert read(nested, tmp_path, "composed") == {"seed": 3, "sigmoid.factors": 8}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("siez = 3", "plain has no setting 'siez'; did you mean 'size'"),
        ("size = 3.0", "size is a whole number from 1 to 100 or 'none', found 3.0"),
        ("size = '3'", "found '3'"),
        ("size = 300", "size is a whole number from 1 to 100, found 300"),
        ("size = 1979-05-27", "size is a whole number"),
        ("rate = 'none'", "rate is a number from 0 to 1, found 'none'"),
        ("rate = nan", "rate is a number from 0 to 1, found nan"),
        ("tied = 'true'", "tied is true or false"),
        ("layers = [1.5]", "layers is text"),
        ("size = [1]", "found [1]"),
        ("size = 1\n[plain]\nsize = 1", "'size' is given twice"),
        ("[plian]\nsize = 1", "plain has no setting 'plian.size'"),
        ("[plain.sigmoid]\nfactors = 1", "plain has no setting 'sigmoid.factors'"),
        ("size = ", "this is not TOML"),
        ("size = 1\nsize = 2", "this is not TOML"),
        ("a = " + "[" * 100_000, "this is not TOML"),
    ],
)
def test_files_refused(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(text, tmp_path)
    assert part in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "s.toml"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, part in {
        tmp_path / "none.toml": "No such file",
        tmp_path: "Is a directory",
        tmp_path / "latin.toml": "not UTF-8",
    }.items():
        (tmp_path / "latin.toml").write_bytes(b"kind = 'caf\xe9'")
        for read_it in (lambda path: read_toml(path, "plain", Plain), toml_kind):
            with pytest.raises(ConfigError, match=part) as error:
                read_it(path)
            assert str(error.value).startswith(str(path))


def test_the_kind_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    for text, kind in {"kind = 'plain'": "plain", "size = 1": None}.items():
        path.write_text(text)
        assert toml_kind(path) == kind
    path.write_text("kind = 3")
    with pytest.raises(ConfigError, match=r"s\.toml: kind is the name of a kind of model"):
        toml_kind(path)


@given(
    st.integers(1, 100) | st.none(),
    st.floats(0, 1),
    st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=("Cs",))),
    st.booleans(),
)
def test_what_is_written_as_toml_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, size: int | None, rate: float, power: float | str, tied: bool
) -> None:
    values = {"size": size, "rate": rate, "power": power, "tied": tied}
    text = to_toml("plain", values)
    assert tomllib.loads(text)["kind"] == "plain"
    path = tmp_path_factory.getbasetemp() / "back.toml"
    path.write_bytes(text.encode())
    found = read_toml(path, "plain", Plain, kinds=KINDS)
    assert all(same(found[name], value) for name, value in values.items())


def test_toml_of_a_composed_model(tmp_path: Path) -> None:
    values = {"components": "sigmoid,plain", "seed": 1, "sigmoid": {"factors": 3}, "plain": {"size": None}}
    text = to_toml("composed", values)
    assert read(text, tmp_path, "composed") == {
        "components": "sigmoid,plain",
        "seed": 1,
        "sigmoid.factors": 3,
        "plain.size": None,
    }
    with pytest.raises(ConfigError, match="'x' cannot be written as TOML: it is a list"):
        to_toml("composed", {"x": [1]})
