"""Tests of the first run: what is said of compiling, the time left, the first sign of life, and `recae warmup`."""

from __future__ import annotations

import ast
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest
from commands import ROOT, recae

from recae import compiling
from recae.cli import handler
from recae.compiling import Compiling
from recae.display import Surface, settle, starting
from recae.interface import warmup
from recae.selection import displays
from recae.selection.displays import TrainingDisplay
from recae.training.checkpoint import Epoch


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def on_terminal() -> Iterator[Terminal]:
    """Let stderr be a terminal of 60 columns."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(Terminal()) as stream:
        patch.setenv("COLUMNS", "60")
        yield stream


# compiling


def test_compiling_is_said_once_and_timed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(compiling.time, "monotonic", lambda: now[0])
    found = Compiling()
    with caplog.at_level(logging.INFO, "recae"):
        found.begin("somebody.else")
        found.end()
        for _ in range(2):
            found.begin("recae.ranking")
            now[0] += 1
            found.begin("recae.ranking")  # a part of the first
            now[0] += 2
            found.end()
            now[0] += 3
            found.end()
    assert [record.message for record in caplog.records] == [compiling.SAID]
    assert found.seconds == 12
    assert found.loops == 5


def test_numba_tells_of_what_it_compiles_and_not_of_what_is_stored(tmp_path: Path) -> None:
    code = (
        "import logging, sys; logging.basicConfig(level='INFO', format='%(message)s', stream=sys.stdout)\n"
        "import numpy as np\n"
        "from recae.compiled import fetch_row\n"
        "from recae.compiling import COMPILING\n"
        "fetch_row(np.ones((2, 3)), 1)\n"
        "print(COMPILING.loops, COMPILING.seconds > 0)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    assert said == [[compiling.SAID, "1 True"], ["0 False"]]


def test_the_time_left_leaves_out_compiling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(displays.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(displays, "COMPILING", own := Compiling())
    own.seconds = 40.0  # before the first users
    display = TrainingDisplay(Surface())
    with caplog.at_level(logging.INFO, "recae"):
        display.start(10, 1000)
        now[0] += 90
        display.users(100)
        now[0] += 9
        display.users(1000)
        now[0], own.seconds = now[0] + 61, own.seconds + 60  # what measures the epoch was compiled
        display.epoch(Epoch(epoch=1, loss=1.0, recall=0.5, seconds=70.0, users_per_second=100.0))
    # 10 seconds for 900 users: 9,000 are left
    assert caplog.records[-1].message.endswith("at most 0:01:40 left")


# the first sign of life


def test_a_terminal_shows_at_once_what_goes_on() -> None:
    with on_terminal() as terminal, starting("reading purchases.csv"):
        assert terminal.getvalue() == "reading purchases.csv …"
        settle()
        assert terminal.getvalue().endswith("\r" + 59 * " " + "\r")
        settle()
        assert terminal.getvalue().count("\r") == 2


def test_messages_take_its_place() -> None:
    with on_terminal() as terminal, handler.listening(), starting("reading purchases.csv"):
        logging.getLogger("recae").info("read 5 rows")
        logging.getLogger("recae").info("next")
    assert terminal.getvalue().rpartition("\r")[2] == "read 5 rows\nnext\n"


def test_it_is_for_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    with starting("reading purchases.csv"):
        pass
    assert capsys.readouterr().err == ""


def test_messages_break_between_words_on_a_terminal() -> None:
    words = "warning: user_id: 20 users buy far more often than a person does; see who they are, and leave them out"
    command = "next: recae recommend --user somebody-with-a-long-name --model a-very-long-name.recae"
    with on_terminal() as terminal, handler.listening():
        for text in (words, command):
            logging.getLogger("recae").info(text)
    *lines, last = terminal.getvalue().splitlines()
    assert len(lines) > 1
    assert " ".join(lines) == words
    assert all(len(line) <= 60 for line in lines)
    assert last == command


# warmup


def test_warmup_says_what_it_stored_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "_trainings", lambda: [{"kind": "popularity"}])
    result = recae("warmup")
    assert (result.exit_code, result.stdout) == (0, "")
    first, second, last = result.stderr.splitlines()
    assert first == "compiling the loops for this processor"
    assert second == "using popularity"
    assert "stored in " in last
    assert str(warmup.folder()) in last


def test_where_nothing_may_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "_trainings", lambda: [{"kind": "popularity"}])
    monkeypatch.setattr(warmup, "folder", lambda: None)
    result = recae("warmup")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].endswith("they are stored nowhere")


def loops_as_written() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Yield the functions that are compiled, with the files that they stand in."""
    for path in (ROOT / "recae").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "loop" in text else ():
            if isinstance(node, ast.FunctionDef) and any(
                "loop" in ast.unparse(d) for d in node.decorator_list
            ):
                yield path, node


def called_by_loops() -> set[str]:
    """Names that compiled loops call, which are compiled as parts of these."""
    found = set()
    for _, node in loops_as_written():
        calls = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
        found |= {ast.unparse(call).rpartition(".")[2] for call in calls}
    return found


def test_no_loop_assigns_an_array_to_a_slice() -> None:
    """Numba would compile the message for unequal shapes, with all that makes text of numbers: several seconds."""
    found = [
        f"{path.name}: {ast.unparse(node)}"
        for path, function in loops_as_written()
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Constant)
        for target in node.targets
        if any(isinstance(part, ast.Slice) for part in ast.walk(target))
    ]
    assert found == []


@pytest.mark.thorough
def test_warmup_uses_every_loop() -> None:
    warmup.warm_up()
    unused = {
        name
        for name, loop in warmup.loops().items()
        if not loop.signatures and name.rpartition(".")[2] not in called_by_loops()
    }
    # what only several processes of a training use is compiled with them, or by a test before
    assert unused - {"recae.training.exact.shards._cut"} == set()
