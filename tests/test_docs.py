"""Tests of the documents: examples run, commands and options exist, nothing that exists is left unsaid."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest

from recae.cli import main
from recae.reading import KNOWN_NAMES
from recae.reading.names import Name

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no block of {language}"
    return found


def commands() -> list[str]:
    """The lines of the README's sh blocks, continued ones joined, pipelines parted, without comments."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.partition(" #")[0].split(" | ")]
    return [part.strip() for part in parts if part.strip()]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data/ in it, as in a fresh clone; what an example writes stays there."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECAE_MODEL", raising=False)
    return tmp_path


# examples


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number: int, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks("python")[number]
    exec(compile(code, "README.md", "exec"), {"__name__": "example"})
    if "print(" in code:
        assert capsys.readouterr().out


def script_command(path: Path) -> click.Command:
    """The click command of a script of Python."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    command = module.main
    assert isinstance(command, click.Command)
    return command


@pytest.mark.parametrize("line", commands())
def test_commands_exist_with_their_options(line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "python":
        program, *arguments = arguments
    if program == "torchrun":
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    if program == "recae":
        assert arguments[0] in main.commands, line
        command, arguments = main.commands[arguments[0]], arguments[1:]
    elif program.startswith("scripts/"):
        path = ROOT / program
        assert path.is_file(), line
        assert os.access(path, os.X_OK) or path.suffix == ".py", line
        if path.suffix != ".py":
            return
        command = script_command(path)
    else:
        assert program in ("git", "cd", "pip", "export", "iconv", "zcat"), (
            f"is {program!r} really wanted? {line}"
        )
        return
    # raises a usage error for an option or a number of arguments that the command does not take
    command.make_context(program, arguments, resilient_parsing=False).close()


def test_a_wrong_example_would_be_noticed() -> None:
    for arguments in (["--user", "42", "--bogus"], ["extra"]):
        with pytest.raises(click.UsageError):
            main.commands["recommend"].make_context("recommend", arguments)


# nothing left unsaid


@pytest.mark.parametrize("name", main.commands)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = main.commands[name]
    assert f"recae {name} " in README
    text = command.get_help(click.Context(command, info_name=name))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"recae {name} {parameter.opts[0]} has no help"
            assert all(option in text for option in parameter.opts + parameter.secondary_opts)
        else:
            assert parameter.metavar
            meant = parameter.metavar.strip("[]")
            assert meant in (command.help or ""), f"recae {name} says nothing of {meant}"


def test_options_that_the_readme_names_exist() -> None:
    known = {option for command in main.commands.values() for p in command.params for option in p.opts}
    known |= {
        option for command in main.commands.values() for p in command.params for option in p.secondary_opts
    }
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(--[a-z][a-z-]*)", prose)) - {"--help"}
    assert named
    assert named <= known


def test_the_table_of_column_names() -> None:
    rows = re.findall(r"^\| (\w+) \| `--(\w+)-column` \| (.+) \|$", README, re.MULTILINE)
    assert [role for role, _, _ in rows] == list(KNOWN_NAMES)
    for role, option, names in rows:
        assert option == role
        listed = names.split(", ")
        fits = {name: {other: Name(name).preference(other) for other in KNOWN_NAMES} for name in listed}
        for name, preferences in fits.items():
            rank = preferences.pop(role)
            assert rank is not None, name
            assert all(other is None or other > rank for other in preferences.values()), (name, preferences)
        # the order of preference is a promise, too
        known = [name for name in listed if name in KNOWN_NAMES[role]]
        assert known == [name for name in KNOWN_NAMES[role] if name in listed] == listed[: len(known)]
        assert listed[0] == KNOWN_NAMES[role][0]
    others = re.findall(r"^\| ([\w, ]+) \| `--rating-column`, … \| (.+) \|$", README, re.MULTILINE)
    ((roles, names),) = others
    groups = dict(zip(roles.split(", "), (part.split(", ") for part in names.split("; ")), strict=True))
    assert list(groups) == ["rating", "event", "status"]
    for role, listed in groups.items():
        assert [name for name in listed if Name(name).preference(role) is None] == []
        assert f"--{role}-column" in main.commands["train"].get_help(click.Context(main.commands["train"]))


def test_paths_that_the_documents_name_exist() -> None:
    named = {
        path
        for text in (README, CHANGELOG)
        for path in re.findall(r"`((?:recae|scripts|tests|data)/[\w./-]*)`", text)
    }
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_links_inside_the_documents_lead_somewhere() -> None:
    targets = [target for text in (README, CHANGELOG) for target in re.findall(r"\]\(([^)#]+)\)", text)]
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (ROOT / target).exists()] == []


# the changelog


def test_the_changelog_is_kept() -> None:
    headings = re.findall(r"^## \[(.+?)\]", CHANGELOG, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert CHANGELOG.startswith("# Changelog\n")


def test_every_dependency_has_its_reason() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    names = {re.match(r"[\w.-]+", line)[0] for group in groups for line in group}  # type: ignore[index]
    reasons = re.findall(r"^- `([\w.-]+)`(?: \(.+\))?: (\S.*)$", CHANGELOG, re.MULTILINE)
    assert names - {name for name, _ in reasons} == set()
    assert len({name for name, _ in reasons}) == len(reasons)
