"""Ways to run the command line from a test, and what a refusal looks like."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from forking import Forked

from recae.cli import main

PATIENCE = 300
"""Seconds until a test gives up waiting for another process: the machine may have other things to do."""

ROOT = Path(__file__).parent.parent
TINY = ("--factors", "4", "--epochs", "2", "--seed", "1")
SAMPLE = ROOT / "data" / "purchases.csv"
RECAE = [sys.executable, "-c", "from recae.cli import main; main(prog_name='recae')"]


def recae(*arguments: str | Path, model: Path | None = None) -> Result:
    """Run in this process; an exception that the command line should have caught is raised here."""
    result = CliRunner().invoke(
        main, [str(a) for a in arguments], env={"RECAE_MODEL": None if model is None else str(model)}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def start(*arguments: str | Path, **options: Any) -> Forked:
    """Run in a process of its own, with the signals' default handling."""
    return Forked([str(argument) for argument in arguments], **options)


def refused(result: Result, *parts: str) -> None:
    """One sentence on stderr, nothing on stdout, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def table(n_users: int = 60, n_items: int = 30, each: int = 6, header: str = "user_id,item_id") -> str:
    rng = random.Random(0)
    rows = [f"u{u},i{i}" for u in range(n_users) for i in rng.sample(range(n_items), each)]
    return "\n".join([header, *rows]) + "\n"


def tenth() -> str:
    """The table of every tenth customer of the sample, 200 of them, whose tastes can be learned."""
    first, *rows = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    return first + "".join(row for row in rows if int(row.partition(",")[0]) % 10 == 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def trained(*arguments: str | Path) -> Result:
    result = recae("train", *arguments, *TINY)
    assert result.exit_code == 0, result.stderr
    return result
