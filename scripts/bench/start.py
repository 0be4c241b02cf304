#!/usr/bin/env python3
"""Start times: what commands cost with an empty folder of compiled loops, and once that folder is filled.

Each run is a process of its own. The first one of a command finds `$RECAE_CACHE` empty, the others find what it left
there; of these the one with the fewest processor seconds counts. A training includes its worker processes. The floor is
a process that imports what nearly every command needs and does nothing.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
from common import report

SAMPLE = Path(__file__).parents[2] / "data" / "purchases.csv"
FLOOR = "import numpy, scipy.sparse, pyarrow"
RECAE = (sys.executable, "-m", "recae")


@dataclass(frozen=True)
class Took:
    """Seconds of one process, and of those that it started and waited for."""

    processor: float
    wall: float


@dataclass(frozen=True)
class Command:
    """A command, and what is asked of it.

    Attributes:
        name: in the table.
        arguments: of the process.
        most: times the processor seconds with a filled folder that an empty one may take; None: nothing is asked.
        seconds: that it may take with a filled folder, on the wall; None: nothing is asked.
    """

    name: str
    arguments: tuple[str, ...]
    most: float | None = 1.5
    seconds: float | None = None


def commands(model: Path, out: Path) -> list[Command]:
    """Return what is measured; the training comes first, since it writes the model of the others."""
    item = SAMPLE.read_text().splitlines()[1].split(",")[1]
    return [
        Command("the imports alone", (sys.executable, "-c", FLOOR), most=None),
        Command("train", (*RECAE, "train", str(SAMPLE), "--out", str(model))),
        Command("--version", (*RECAE, "--version")),
        Command("--help", (*RECAE, "--help")),
        Command("inspect", (*RECAE, "inspect", str(model))),
        Command(
            "recommend --user", (*RECAE, "recommend", "--model", str(model), "--user", "42"), seconds=0.4
        ),
        Command("similar", (*RECAE, "similar", "--model", str(model), "--item", item)),
        Command("score", (*RECAE, "score", "--model", str(model), "--out", str(out))),
    ]


def took(arguments: tuple[str, ...], cache: Path) -> Took:
    """Run a process with a folder for what is stored; it must end well."""
    environment = {**os.environ, "RECAE_CACHE": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    told = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(arguments)} ended with {process.returncode}: {told.strip()}")
    return Took(usage.ru_utime + usage.ru_stime, wall)


@click.command()
@click.option("--turns", default=3, show_default=True, help="Runs of a command with a filled folder.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(turns: int, out: Path | None) -> None:
    rows = []
    floor = None
    with tempfile.TemporaryDirectory(prefix="recae-start-") as name:
        folder = Path(name)
        model = folder / "model.recae"
        took((*RECAE, "--version"), folder / "unused")  # Python's own files of the modules are written
        for number, command in enumerate(commands(model, folder / "recs.parquet")):
            cache = folder / f"cache-{number}"
            cold = took(command.arguments, cache)
            warm = min((took(command.arguments, cache) for _ in range(turns)), key=lambda one: one.processor)
            floor = floor or warm
            asked = [f"{command.most} times"] if command.most else []
            asked += [f"{command.seconds} s wall, filled"] if command.seconds else []
            rows.append(
                {
                    "command": command.name,
                    "empty, CPU s": cold.processor,
                    "filled, CPU s": warm.processor,
                    "times": cold.processor / warm.processor,
                    "filled, beyond the imports": warm.processor - floor.processor,
                    "empty, wall s": cold.wall,
                    "filled, wall s": warm.wall,
                    "asked, at most": ", ".join(asked),
                }
            )
    report("starts", rows, out)


if __name__ == "__main__":
    main()
