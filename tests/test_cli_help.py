"""Tests of the help: options under headings, lines that break between words, one prefix for what is wrong."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from commands import ROOT, recae, refused

from recae.cli import main
from recae.cli.help import broken, help_of

WIDTHS = (30, 44, 60, 80, 100)
JSON = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")


def help_at(name: str, width: int) -> str:
    command = main.commands[name] if name else main
    return help_of(command, click.Context(command, info_name=name or "recae", terminal_width=width))


@pytest.mark.parametrize("name", ["", *main.commands])
def test_lines_fit_and_words_stay_whole(name: str) -> None:
    wide = set(help_at(name, 1000).split())
    for width in WIDTHS:
        text = help_at(name, width)
        assert set(text.split()) - {"\\"} == wide - {"\\"}  # no word was broken, none is missing
        for line in text.splitlines():
            # a line may be too long for one word, or one quoted text, that is itself
            assert len(line) <= width or len(line.split()) <= 3 or '"' in line, (width, line)


@pytest.mark.parametrize("name", main.commands)
def test_every_option_is_under_a_heading(name: str) -> None:
    command = main.commands[name]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert getattr(parameter, "heading", None), parameter.opts
    headings = re.findall(r"^(\S.*):$", help_at(name, 80), re.MULTILINE)
    assert headings[-1] in ("Other options", "Options")
    assert len(headings) == len(set(headings))


def test_options_of_one_heading_stand_together() -> None:
    text = help_at("train", 100)
    places = {heading: text.index(f"\n{heading}:\n") for heading in ("Model", "Columns", "Filters", "Output")}
    assert list(places) == sorted(places, key=places.__getitem__)
    output = text[places["Output"] :]
    assert all(f"\n  {option} " in output for option in ("--out PATH", "--no-histories", "--json"))
    # meanings stand below one another, whatever the heading
    terms = [re.match(r"  --[a-z-]+(?: \S+)?  +(?=\S)", line) for line in text.splitlines()]
    assert len({len(term[0]) for term in terms if term}) == 1


def test_summaries_of_commands_fit_a_line_of_80_columns() -> None:
    lines = help_at("", 80).splitlines()
    for name, command in main.commands.items():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".")
        assert len(line) <= 80
        assert command.callback is not None


def test_a_broken_command_is_still_that_command() -> None:
    command = """  recae train . --query "select * from 'a.csv' join 'b.csv' using (id)" --out orders.recae --seed 1"""
    lines = broken(command, 50)
    assert len(lines) > 2
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split(" ".join(line.removesuffix("\\") for line in lines)) == shlex.split(command)
    assert "--seed 1" in lines[-1]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["--bogus"], ("no such option '--bogus'", "'recae --help'")),
        (["trian"], ("no such command 'trian'; did you mean 'train'?", "'recae --help'")),
        (["train"], ("missing argument 'PURCHASES'", "'recae train --help'")),
        (["train", "p.csv", "--fators", "3"], ("did you mean", "'--factors'", "'recae train --help'")),
        (["recommend", "--user", "1", "-n", "0"], ("'-n' / '--top'", "'recae recommend --help'")),
        (["score"], ("missing option '--out'", "'recae score --help'")),
        (["evaluate", "p.csv", "--inputs", "cart"], ("evaluate learns from purchases alone", "recae train")),
        (["tune", "p.csv", "--inputs", "cart"], ("tune learns from purchases alone", "recae train")),
    ],
)
def test_one_prefix_for_everything_that_is_wrong(line: list[str], parts: tuple[str, ...]) -> None:
    refused(recae(*line), *parts)


def test_without_a_command_there_is_the_help() -> None:
    result = recae()
    assert "Recommendations:\n  recommend " in result.stdout + result.stderr
    assert "error:" not in result.stderr


def test_the_shapes_of_json_are_in_the_docs() -> None:
    for name, command in main.commands.items():
        if any("--json" in parameter.opts for parameter in command.params):
            assert f"\n## recae {name}\n" in JSON
            assert '{"' not in help_at(name, 100), f"recae {name} --help holds JSON"


def test_top_is_the_long_name_of_n(model_path: Path) -> None:
    for name in ("recommend", "score", "similar", "explain", "anomalies"):
        assert any({"-n", "--top"} <= set(parameter.opts) for parameter in main.commands[name].params), name
    short, long = (
        recae("recommend", "--user", "42", n, "2", "--csv", model=model_path) for n in ("-n", "--top")
    )
    assert short.stdout == long.stdout


def test_an_item_of_a_basket_by_its_exact_id(model_path: Path) -> None:
    listed = recae("recommend", "--items", "P017,P230", "--csv", model=model_path)
    for one in (("--item", "P017", "--item", "P230"), ("--items", "P017", "--item", "P230")):
        assert recae("recommend", *one, "--csv", model=model_path).stdout == listed.stdout
    refused(recae("recommend", "--item", "P017,P230", model=model_path), "'P017,P230'")
    refused(recae("recommend", "--user", "42", "--item", "P017", model=model_path), "exactly one of them")


def test_inspect_takes_its_model_like_the_others(model_path: Path, tmp_path: Path) -> None:
    by_place = recae("inspect", model_path)
    assert by_place.exit_code == 0
    assert recae("inspect", "--model", model_path).stdout == by_place.stdout
    assert recae("inspect", model_path, "--model", model_path).stdout == by_place.stdout
    assert recae("inspect", model_path, model=tmp_path / "other.recae").stdout == by_place.stdout
    refused(recae("inspect", model_path, "--model", tmp_path / "other.recae"), "leave one of them out")
