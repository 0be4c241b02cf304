"""Messages: one path from the code to stderr, in every form, and as records of the logger `recae` in Python."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from commands import PATIENCE, recae, start

import recae as package
from recae.cli import handler as handlers
from recae.cli import main
from recae.display import Surface, in_notebook, open_surface, place
from recae.display.notebook import NotebookSurface
from recae.display.terminal import LineSurface, TerminalSurface
from recae.errors import ConfigError
from recae.messages import LOGGER, detail, is_heard, level_of, say
from recae.selection.displays import CountingDisplay, EvaluationDisplay, TrainingDisplay
from recae.selection.progress import Progress, following
from recae.training.checkpoint import Epoch

CHEAP: dict[str, Any] = {
    "kind": "sigmoid", "factors": 4, "epochs": 2, "seed": 1, "patience": 9, "refit": False,
}  # fmt: skip
EPOCH = Epoch(epoch=1, loss=2.5, seconds=0.1, users_per_second=900.0, recall=0.125)
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d "


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with purchases.csv of 60 users."""
    monkeypatch.chdir(tmp_path)
    rows = [f"u{user},i{(user * 7 + place * place) % 30}" for user in range(60) for place in range(6)]
    Path("purchases.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    return tmp_path


def ran(*arguments: str, form: str | None = None) -> Result:
    """Run with a form of messages in the environment; None: none there."""
    return CliRunner().invoke(main, list(arguments), env={"RECAE_LOG_FORMAT": form})


TRAIN = ("train", "purchases.csv", "--kind", "sigmoid", "--factors", "4", "--epochs", "2", "--seed", "1")


# the command line


def test_where_nobody_watches_each_line_has_its_time(folder: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    result = ran(*TRAIN)
    assert result.exit_code == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) > 5
    for line in lines:
        assert re.match(STAMP, line), line
        assert before <= datetime.fromisoformat(line.split(" ")[0]) <= datetime.now(UTC)
    assert not re.search(STAMP, result.stdout)  # results carry no time
    plain = ran(*TRAIN, "--log-format", "plain").stderr.splitlines()
    assert [re.sub(r"[\d,.:]+", "#", line) for line in plain] == [
        re.sub(r"[\d,.:]+", "#", re.sub(STAMP, "", line)) for line in lines
    ]


def test_json_has_a_record_a_line_with_its_figures(folder: Path) -> None:
    result = ran(*TRAIN, "--log-format", "json")
    assert result.exit_code == 0
    records = [json.loads(line) for line in result.stderr.splitlines()]
    for record in records:
        assert set(record) <= {"time", "level", "logger", "message", "figures"}
        assert datetime.fromisoformat(record["time"]).tzinfo is not None
        assert (record["level"], record["logger"]) == ("info", "recae")
    (first,) = [record for record in records if record["message"].startswith("epoch 1/2: loss ")]
    assert first["figures"]["epoch"] == 1
    assert first["figures"]["loss"] > 0
    assert set(first["figures"]) == {"epoch", "epochs", "loss", "recall@20", "users_per_second"}
    assert f"loss {first['figures']['loss']:.2f}" in first["message"]
    error = ran("train", "nothing.csv", "--log-format", "json")
    assert error.exit_code == 2
    (record,) = [json.loads(line) for line in error.stderr.splitlines()]
    assert record["level"] == "error"
    assert record["message"].startswith("error: ")


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_says_warnings_and_errors_only(folder: Path, place: str) -> None:
    result = ran("-q", *TRAIN) if place == "before" else ran(*TRAIN, "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "recall@20" in result.stdout
    Path("late.csv").write_text(
        "user_id,item_id,date\n" + "".join(f"u{n % 9},i{n % 7},2999-01-{n % 28 + 1:02}\n" for n in range(63))
    )
    warned = ran("train", "late.csv", "--kind", "popularity", "--quiet", form="plain")
    assert warned.exit_code == 0
    assert warned.stderr
    assert all(line.startswith(("warning: ", "problem: ")) for line in warned.stderr.splitlines())
    assert ran("train", "nothing.csv", "-q", form="plain").stderr.startswith("error: ")


def test_verbose_says_how_long_steps_take_and_where_errors_come_from(folder: Path) -> None:
    result = ran(*TRAIN, "-v", form="plain")
    assert re.search(r"^reading took [\d.]+ s$", result.stderr, re.MULTILINE)
    assert re.search(r"^measuring took [\d.]+ s$", result.stderr, re.MULTILINE)
    assert "took" not in ran(*TRAIN, form="plain").stderr.split("read, trained")[0]
    lines = ran("train", "nothing.csv", "-v", form="plain").stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert "Traceback (most recent call last):" in lines
    assert len(ran("train", "nothing.csv", form="plain").stderr.splitlines()) == 1


def test_more_and_less_exclude_each_other(folder: Path) -> None:
    for arguments in (("-v", "train", "x.csv", "-q"), ("train", "x.csv", "-q", "-v")):
        result = ran(*arguments, form="plain")
        assert result.exit_code == 2
        assert "-v says more and -q says less" in result.stderr


@pytest.mark.parametrize("name", list(main.commands))
def test_every_command_has_the_options(name: str) -> None:
    command = main.commands[name]
    context = click.Context(command)
    found = {option for parameter in command.get_params(context) for option in parameter.opts}
    assert {"-v", "--verbose", "-q", "--quiet", "--log-format"} <= found


def test_the_environment_chooses_the_form(folder: Path) -> None:
    assert json.loads(ran("train", "nothing.csv", form="json").stderr)["level"] == "error"
    assert ran("train", "nothing.csv", form="plain").stderr.startswith("error: ")
    assert ran("train", "nothing.csv", "--log-format", "plain", form="json").stderr.startswith("error: ")
    wrong = ran("train", "nothing.csv", form="xml")
    assert wrong.exit_code == 2
    assert "xml" in wrong.stderr


def test_the_journal_notes_times_itself(folder: Path) -> None:
    reading, writing = os.pipe()
    found = os.fstat(writing)
    process = start(
        "train", folder / "nothing.csv", stderr=writing,
        env={k: v for k, v in os.environ.items() if k != "RECAE_LOG_FORMAT"}
        | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as stream:
        assert stream.read().startswith("error: ")
    assert process.wait(PATIENCE) == 2


def test_the_logger_is_afterwards_as_it_was(folder: Path) -> None:
    before = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)
    ran(*TRAIN, "-v")
    assert (LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)) == before
    assert open_surface(True).__class__ is LineSurface


def test_control_characters_are_escaped() -> None:
    handler = handlers.Handler()
    record = logging.LogRecord("recae", logging.INFO, "", 0, "%s", ("a\x1b[31m\nb",), None)
    handler.form = "plain"
    assert handler.line(record) == r"a\x1b[31m\nb"
    handler.form = "json"
    assert json.loads(handler.line(record))["message"] == "a\x1b[31m\nb"
    assert "\x1b" not in handler.line(record)


# Python


def test_python_is_silent_unless_asked(
    folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    package.train("purchases.csv", **CHEAP)
    assert capfd.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, "recae"):
        package.train("purchases.csv", **CHEAP)
    assert capfd.readouterr() == ("", "")
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "read 360 rows of purchases.csv"
    assert [text.split(":")[0] for text in said if text.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]


def test_progress_in_a_pipe_is_lines_where_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package.train("purchases.csv", progress=True, **{**CHEAP, "refit": True})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "read 360 rows of purchases.csv"
    (again,) = [n for n, line in enumerate(lines) if line.startswith("fitting once more on all 60 users")]
    epochs = {n: line.split(":")[0] for n, line in enumerate(lines) if line.startswith("epoch")}
    assert [line for n, line in epochs.items() if n < again] == ["epoch 1/2", "epoch 2/2"]
    assert [line for n, line in epochs.items() if n > again] == ["epoch 1/1"]  # as many as were best
    package.train("purchases.csv", progress=False, **CHEAP)
    assert capsys.readouterr().err == ""


def test_callbacks_follow_a_call_that_shows_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses: list[float] = []
    rows: list[int] = []
    texts: list[str] = []
    package.train(
        "purchases.csv",
        progress=package.Progress(
            on_epoch=lambda epoch: losses.append(epoch.loss),
            on_report=lambda report: rows.append(report.rows),
            on_message=texts.append,
        ),
        **CHEAP,
    )
    assert len(losses) == 2
    assert rows == [360]
    assert "training on the CPU" in texts
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wrong", ["yes", 1, print])
def test_another_progress_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"progress is True, False, None or a recae\.Progress, found"):
        package.train([("a", "x")], progress=wrong)


def test_levels() -> None:
    assert level_of("read 3 rows") == logging.INFO
    assert level_of("warning: late") == logging.WARNING
    assert level_of("problem: lost") == logging.WARNING
    assert level_of("error: gone") == logging.ERROR
    assert level_of("warnings are rare") == logging.INFO


@pytest.fixture
def heard() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, level = Recorder(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    yield records
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)
    LOGGER.propagate = True


def test_records_carry_figures(heard: list[logging.LogRecord]) -> None:
    assert is_heard()
    say("epoch 1", transient=True, loss=2.5)
    detail("not at this level")
    (record,) = heard
    assert (record.figures, record.transient) == ({"loss": 2.5}, True)  # type: ignore[attr-defined]
    assert record.filename == "test_logs.py"


def test_lines_are_not_said_twice(heard: list[logging.LogRecord], capsys: pytest.CaptureFixture[str]) -> None:
    LineSurface().message("hello")
    TerminalSurface().message("hello")
    assert capsys.readouterr().err == ""


# where progress is shown


class _Notebook:
    """What stands for IPython in a notebook: outputs that are shown and replaced."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, str]] = []

    def get_ipython(self) -> Any:
        return SimpleNamespace(kernel=object())

    def show(self, content: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        self.outputs.append(content)
        return SimpleNamespace(update=self.replace)

    def replace(self, content: dict[str, str], raw: bool) -> None:
        assert raw
        self.outputs[-1] = content


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> _Notebook:
    fake = _Notebook()
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=fake.show))
    return fake


def test_a_notebook_shows_progress_by_itself(notebook: _Notebook, folder: Path) -> None:
    assert in_notebook()
    package.train("purchases.csv", **CHEAP)
    (output,) = notebook.outputs  # one, replaced while the training went on
    assert re.match(r"epoch 2/2: loss \d+\.\d\d, recall@20 0\.\d{4}$", output["text/plain"])
    assert output["text/plain"] in output["text/html"]
    assert "<progress" not in output["text/html"]  # it is over
    assert "read 360 rows of purchases.csv" in output["text/html"]
    package.train("purchases.csv", progress=False, **CHEAP)
    assert len(notebook.outputs) == 1


def test_a_notebook_shows_a_bar_warnings_and_safe_text(notebook: _Notebook) -> None:
    with NotebookSurface() as surface:
        surface.show("<b>1 of 4</b>", 1, 4)
        assert '<progress max="1" value="0.2500">' in notebook.outputs[0]["text/html"]
        assert "&lt;b&gt;1 of 4" in notebook.outputs[0]["text/html"]
        surface.message("read 3 rows")
        surface.message("warning: <i>late</i>")
    html = notebook.outputs[0]["text/html"]
    assert '<div class="warning">warning: &lt;i&gt;late' in html
    assert "<summary>1 message</summary>read 3 rows" in html
    assert "<b>" not in html
    assert "<i>" not in html


def test_a_count_leaves_nothing_in_a_notebook(notebook: _Notebook) -> None:
    with following(None, CountingDisplay) as told:
        told.on_count("laying out", 1, 4)
        assert "laying out: 1 of 4" in notebook.outputs[0]["text/html"]
        told.on_count("laying out", 4, 4)
    assert notebook.outputs == [{"text/html": "", "text/plain": ""}]


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert not in_notebook()
    assert type(open_surface()) is Surface


def test_a_terminal_shows_progress_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "is_terminal", lambda stream: True)
    assert isinstance(open_surface(), TerminalSurface)
    assert type(open_surface(False)) is Surface
    with place.quiet():
        assert type(open_surface(True)) is Surface


def test_a_bar_covers_the_terminal_until_it_rests(capsys: pytest.CaptureFixture[str]) -> None:
    surface = TerminalSurface()
    with place.opened(surface):
        assert place.live() is None
        surface.show("epoch [1]", 1, 4)
        assert place.live() is surface
        surface.message("above")
        surface.rest()
        assert place.live() is None
        surface.message("below")
    assert place.live() is None
    assert capsys.readouterr().err.splitlines()[-1] == "below"


class _Recorded(Surface):
    """A surface that remembers what it was told."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, float, float | None]] = []
        self.lines: list[str] = []

    def show(self, text: str, done: float = 0, total: float | None = None) -> None:
        self.shown.append((text, done, total))

    def message(self, text: str) -> None:
        self.lines.append(text)


def test_a_training_is_shown_by_its_users_and_figures() -> None:
    surface = _Recorded()
    told = TrainingDisplay(surface).callbacks()
    told.on_start(4, 100)
    told.on_users(50)
    told.on_epoch(EPOCH)
    told.on_users(10)
    told.on_message("measuring")
    assert surface.lines == ["training on 100 users, at most 4 epochs", "measuring"]
    assert [(done, total) for _, done, total in surface.shown] == [
        (0, 400),
        (50, 400),
        (100, 400),
        (110, 400),
    ]
    assert surface.shown[2][0] == "epoch 1/4: loss 2.50, recall@20 0.1250"
    assert surface.shown[3][0].startswith("epoch 2/4: loss 2.50, recall@20 0.1250, ")


def test_an_evaluation_is_shown_by_its_models() -> None:
    from recae.selection.compare import JobDone, JobFailed, JobStarted, Told
    from recae.selection.jobs import TrialDone

    surface = _Recorded()
    told = EvaluationDisplay(surface).callbacks()
    for event in (JobStarted(1, 2, 3), TrialDone(1, 3, 0.25, 1.04, None), JobDone(2.0, 2**20, 0.25)):
        told.on_model(Told("EASE", 0, 1, event))  # type: ignore[arg-type]
    told.on_model(Told("BPR", 0, 1, JobStarted(2, 2, 1)))
    told.on_model(Told("BPR", 0, 1, JobFailed("not finite")))
    assert surface.lines == [
        "EASE: trial 1 of 3: ndcg@20 0.2500, 1.0 s",
        "EASE: ndcg@20 0.2500 on the validation users, in 2.0 s, 1.0 MiB at most",
        "BPR failed: not finite",
    ]
    assert [done for _, done, _ in surface.shown] == [0, 0, 1, 1, 2]
    assert {total for _, _, total in surface.shown} == {2}


def test_a_count_is_shown_and_said_now_and_then(
    heard: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recae.selection import displays

    surface = _Recorded()
    told = CountingDisplay(surface).callbacks()
    told.on_count("scoring users", 1000, 4000)
    monkeypatch.setattr(displays, "_BETWEEN", 0.0)
    told.on_count("scoring users", 2000, 4000)
    assert surface.shown == [
        ("scoring users: 1,000 of 4,000", 1000, 4000), ("scoring users: 2,000 of 4,000", 2000, 4000)
    ]  # fmt: skip
    assert [record.getMessage() for record in heard] == ["scoring users: 2,000 of 4,000 (50%)"]


def test_an_error_ends_the_display() -> None:
    found: list[Progress] = []

    def fails() -> None:
        with following(True, CountingDisplay) as told:
            found.append(told)
            told.on_count("scoring", 1, 0 // 0)

    with pytest.raises(ZeroDivisionError):
        fails()
    assert found
    assert not place._surfaces


def test_messages_of_the_command_line_are_records(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    # the commands print through the same logger, and leave those of the caller alone
    result = recae(*TRAIN)
    assert result.exit_code == 0
    assert not caplog.records
