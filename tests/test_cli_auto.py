"""Tests of `recae train --kind auto`: what it says, what it leaves in the file, and how it is interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE, SAMPLE, names, recae, start

from recae.cli.handler import listening
from recae.cli.inspect import print_auto, settings_toml, with_parts
from recae.modelfile import describe, load

QUICK = ("--kind", "auto", "--set", "sigmoid.factors=4", "--set", "sigmoid.epochs=2", "--seed", "1")
FEW = ("--set", "candidates=sigmoid,ease,blend")


def auto(*options: str) -> Any:
    result = recae("train", "../purchases.csv", *QUICK, *FEW, *options)
    assert result.exit_code == 0, result.stderr
    return result


def test_auto_in_a_pipe(folder: Path) -> None:
    result = auto("--budget", "5m")
    lines = result.stderr.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("trying "))
    assert lines[first] == (
        "trying popularity, itemknn, ease, sigmoid, blend within 5 min, comparing NDCG@20 on 6 users"
    )
    said = [line.split(" ")[0] for line in lines[first + 1 :] if re.match(r"[a-z]+ \d\.\d{4} \[", line)]
    assert said[:4] == ["popularity", "itemknn", "ease", "sigmoid"]
    assert any(line.startswith("training on 54 users, at most 2 epochs") for line in lines)
    assert sum(line.startswith("auto: ") for line in lines) == 1
    report = describe("model.recae")["metadata"]["auto"]
    assert f"auto: {report['why']}" in lines
    assert result.stdout.splitlines()[1].startswith(report["chosen"] + "\t")
    assert load("model.recae").model.kind == report["chosen"]
    assert report["budget"] == "5m"
    assert names(folder) == ["model.recae"]


def test_auto_as_json_and_in_inspect(folder: Path) -> None:
    answer = json.loads(auto("--json").stdout)
    report = json.loads(recae("inspect", "--json").stdout)["auto"]
    assert answer["kind"] == report["chosen"]
    assert answer["metrics"]["rows"][0]["model"] == report["chosen"]
    shown = recae("inspect")
    assert f"auto: {report['why']}\n" in shown.stderr
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    place = rows.index(["kind", "ndcg@20", "95 %", "what", "note"])
    tried = rows[place + 1 : place + 1 + len(report["tried"])]
    assert [row[0] for row in tried] == [
        row["kind"] for row in sorted(report["tried"], key=lambda row: -row["ndcg@20"])
    ]
    assert [row[0] for row in tried if row[3] == "chosen"] == [report["chosen"]]
    assert all(re.fullmatch(r"\d\.\d{4} to \d\.\d{4}", row[2]) for row in tried)
    left = {row[0]: row[4] for row in rows if len(row) == 5 and row[3] == "left out"}
    assert left == {row["kind"]: row["reason"] for row in report["skipped"]}


def test_the_same_seed_gives_the_same_file(folder: Path) -> None:
    auto()
    first = Path("model.recae").read_bytes()
    auto()
    assert Path("model.recae").read_bytes() == first


def test_a_budget_that_is_short_leaves_out_what_takes_long(folder: Path) -> None:
    result = recae("train", SAMPLE, "--kind", "auto", "--budget", "1s", "--out", "m.recae")
    assert result.exit_code == 0, result.stderr
    report = describe("m.recae")["metadata"]["auto"]
    assert [row["kind"] for row in report["tried"]][:2] == ["popularity", "itemknn"]
    left = {row["kind"]: row["reason"] for row in report["skipped"]}
    assert re.match(r"it takes about .*, and of 1\.0 s .* are left", left["multvae"])
    assert "multvae is left out: it takes about" in result.stderr


def test_without_users_to_hold_out(folder: Path) -> None:
    Path("few.csv").write_text("user,item\na,x\nb,y\nb,x\n")
    result = recae("train", "few.csv", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "there are no validation users to compare the kinds on: training sigmoid" in result.stderr
    shown = recae("inspect")
    assert shown.exit_code == 0
    assert "auto: there are no validation users" in shown.stderr


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_candidates_remain(number: int, code: int, folder: Path) -> None:
    process = start(
        *(
            "train",
            SAMPLE,
            "--out",
            folder / "m.recae",
            "--kind",
            "auto",
            "--set",
            "candidates=sigmoid,multvae",
        ),
        *("--set", "sigmoid.epochs=100000", "--set", "sigmoid.patience=100000", "--set", "sigmoid.factors=8"),
        *("--budget", "1h"),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith(b"epoch 2/"):
            break
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert stderr.splitlines()[-1].endswith(b": no partial file is left")
    assert b"Traceback" not in stderr
    assert names(folder) == []


def test_auto_on_a_terminal_of_80_columns(folder: Path) -> None:
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = start(
        *("train", SAMPLE, "--out", folder / "m.recae", *QUICK, "--set", "candidates=sigmoid,deep,blend"),
        *("--set", "deep.layers=8", "--set", "deep.epochs=3"),
        env=environment | {"TERM": "xterm"},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    data = b""
    try:
        while part := os.read(controller, 65_536):
            data += part
    except OSError:  # how Linux says that the other side has gone
        pass
    os.close(controller)
    assert process.wait() == 0
    text = data.decode()
    assert "\t" not in text
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert shown.count("training on 1,800 users") == 2
    assert max(len(line) for line in re.split("[\r\n]", shown) if "━" in line) <= 80
    lines = re.split("[\r\n]+", shown)
    for kind in ("popularity", "itemknn", "sigmoid", "deep"):
        assert sum(line.startswith(f"{kind} 0.") for line in lines) == 1  # once, and not beside a bar


# reports and configurations that other programs may have written


def test_odd_reports_are_shown_as_far_as_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    odd = {
        "tried": [{"kind": "a", "ndcg@20": None}, 3, {"kind": "b", "interval": [None, None]}],
        "skipped": [{}, "x"],
    }
    print_auto(odd)
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "a\t-\t-\ttried\t",
        "b\t-\t-\ttried\t",
        "-\t-\t-\tleft out\t",
    ]
    with listening():
        print_auto({})
    assert "auto: None" in capsys.readouterr().err


def test_odd_configurations_are_shown_as_far_as_they_go() -> None:
    config = {
        "x": 1,
        "parts": [3, {"kind": "ease"}, {"kind": "itemknn", "weight": 0.5, "config": {"k": 3, "z": 4}}],
    }
    assert with_parts(config) == {
        "x": 1,
        "ease.weight": None,
        "itemknn.weight": 0.5,
        "itemknn.k": 3,
        "itemknn.z": 4,
    }
    assert with_parts(3) == 3
    assert with_parts({"parts": 3}) == {"parts": 3}
    assert settings_toml("forest", config, {}, {}) == 'kind = "forest"\n\n[itemknn]\nk = 3\n'
