"""Tests of what a new user types first: the demo, the completion of a shell, and the command after a training."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import SAMPLE, names, recae, refused, table, trained

from recae.cli import demo, main
from recae.kinds import known

# the demo


@pytest.fixture
def small_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sample of seconds, in which there is a user 42; the working folder is empty."""
    path = tmp_path / "small.csv"
    path.write_text(table().replace("\nu42,", "\n42,"))
    monkeypatch.setattr(demo, "sample", lambda: path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return path


def test_the_demo_trains_and_recommends(small_sample: Path) -> None:
    result = recae("demo")
    assert result.exit_code == 0, result.stderr
    assert names(Path("recae-demo")) == ["model.recae", "purchases.csv"]
    assert Path("recae-demo/purchases.csv").read_bytes() == small_sample.read_bytes()
    metrics, recommended = result.stdout.split("rank\t")
    assert metrics.startswith("model\trecall@10")
    assert len(recommended.splitlines()) == 11
    lines = [line.removeprefix("$ ") for line in result.stderr.splitlines() if line.startswith("$ recae ")]
    for line in lines:  # what it ran, and what it proposes, are commands with options that exist
        name, *arguments = shlex.split(line, comments=True)[1:]
        main.commands[name].make_context(name, arguments).close()
    again = recae(*shlex.split(lines[1])[1:])
    assert again.stdout.splitlines()[1:] == recommended.splitlines()[1:]


def test_the_demo_goes_where_it_is_told(small_sample: Path) -> None:
    assert recae("demo", "--out", "some/where else").exit_code == 0
    assert names(Path("some/where else")) == ["model.recae", "purchases.csv"]
    refused(recae("demo", "--out", small_sample / "below"), "cannot write to the folder", "--out")


def test_the_sample_is_found_in_a_clone_and_when_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo.sample().samefile(SAMPLE)
    installed = tmp_path / "site-packages" / "recae"
    (installed / "sample").mkdir(parents=True)
    (installed / "cli").mkdir()
    shutil.copy(SAMPLE, installed / "sample" / "purchases.csv")
    monkeypatch.setattr(demo, "__file__", str(installed / "cli" / "demo.py"))
    assert demo.sample() == installed / "sample" / "purchases.csv"
    shutil.rmtree(installed / "sample")
    refused(recae("demo", "--out", tmp_path / "out"), "the sample is not installed")


# the next command


def test_training_ends_with_a_command_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text(table().replace("u0,", "the first,").replace(",i1", ",it's 1"))
    for more in ((), ("--out", "a model.recae"), ("--no-histories",)):
        last = trained("p.csv", "--kind", "sigmoid", *more).stderr.splitlines()[-1]
        assert last.startswith("next: recae recommend ")
        result = recae(*shlex.split(last)[2:])
        assert result.exit_code == 0, (last, result.stderr)
        assert len(result.stdout.splitlines()) == 11


# completion


def completed(line: str, **environment: str) -> list[str]:
    """What bash would be offered at the end of a line."""
    words = line.split(" ")
    given = {"_RECAE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(main, [], env=given | environment, prog_name="recae")
    return result.stdout.splitlines()


def test_commands_options_kinds_and_files_are_completed() -> None:
    assert completed("recae tr") == ["plain,train"]
    assert {line.removeprefix("plain,") for line in completed("recae ")} == set(main.commands)
    assert "plain,--factors" in completed("recae train --fac")
    assert completed("recae train p.csv --kind m") == ["plain,multvae"]
    assert {line.removeprefix("plain,") for line in completed("recae settings ")} == set(known())
    for line in ("recae train pur", "recae score --out re", "recae recommend --model mo", "recae inspect mo"):
        assert completed(line) == [f"file,{line.rpartition(' ')[2]}"], line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell: str) -> None:
    script = recae("completion", shell).stdout
    assert "_RECAE_COMPLETE" in script
    assert "%(" not in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_asks_recae(tmp_path: Path) -> None:
    """In a real bash, whose completion calls the program by its name: here a stub that shows what it is asked."""
    stub = tmp_path / "recae"
    stub.write_text(
        '#!/bin/sh\n[ "$_RECAE_COMPLETE" = bash_complete ] && echo "plain,"$COMP_WORDS/$COMP_CWORD\n'
    )
    stub.chmod(0o755)
    script = recae("completion", "bash").stdout
    asked = (
        script + '\nCOMP_WORDS=(recae tra); COMP_CWORD=1; _recae_completion recae; echo "${COMPREPLY[@]}"\n'
    )
    found = subprocess.run(
        ["bash"],
        input=asked,
        text=True,
        capture_output=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
    )
    assert found.stdout.strip() == "recae tra/1"


def test_unknown_shells() -> None:
    refused(recae("completion", "tcsh"), "'tcsh'", "'bash', 'zsh', 'fish'")
