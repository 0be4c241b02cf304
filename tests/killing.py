"""Runs commands in processes of their own, and kills them: a process that has everything loaded forks one for each.

A new Python would take a second to begin with, so that a test could kill few, and mostly before their work begins.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from commands import ROOT


class Killer:
    """A process to fork from; to be used in a with statement."""

    def __enter__(self) -> Killer:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])},
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=60)

    def run(self, *arguments: str | Path, kill_after: float | None = None) -> int:
        """Run recae, and kill it after so many seconds; return its exit code, or -9 if it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": [str(argument) for argument in arguments], "kill_after": kill_after}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _serve() -> None:
    import numpy as np
    import pyarrow.parquet  # noqa: F401  # loaded once, before the forks
    import scipy.sparse as sp
    import sqlalchemy.dialects.sqlite  # noqa: F401

    from recae.cli import main
    from recae.models import Popularity
    from recae.scoring.block import best_items

    best_items(
        Popularity(np.ones(3, np.float32)), sp.csr_matrix((1, 3), dtype=np.float32), 1, exclude_owned=True
    )
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            quiet = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(quiet, stream)
            try:
                main(order["arguments"], prog_name="recae")
            except SystemExit as error:
                os._exit(error.code if isinstance(error.code, int) else 1)
            finally:
                os._exit(1)
        ended = os.pidfd_open(child)
        if order["kill_after"] is not None and not select.select([ended], [], [], order["kill_after"])[0]:
            os.kill(child, signal.SIGKILL)
        os.close(ended)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
