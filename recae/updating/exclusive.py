"""Changes of a model file by one command at a time: what one has read, no other replaces meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from recae.errors import OutputError
from recae.locks import locked

_ATTEMPTS: Final = 100  # at the lock of a file that was replaced while it was being locked


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold a model file while it is read, changed and replaced.

    Without it an update that has read the file before a customer was forgotten would write them back afterwards. The
    system releases the lock when the process ends, however it ends.

    Args:
        path: of the file. Where there is none, or it cannot be opened, nothing is held, and reading it says why.

    Raises:
        OutputError: another command is changing it.
    """
    with ExitStack() as stack:
        for _ in range(_ATTEMPTS):
            try:
                before = path.stat()
                held = stack.enter_context(ExitStack())
                held.enter_context(locked(path))
                after = path.stat()
            except BlockingIOError as error:
                raise OutputError(
                    f"another command is changing the model file '{path}': try again when it has ended"
                ) from error
            except OSError:
                break
            if (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino):
                break
            held.close()  # of the file that was there before
        yield
