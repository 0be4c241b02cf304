"""`Surface`: what shows the progress of one call; this one shows nothing, and the log has the messages."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Surface:
    """Shows how far a call is, and its messages; to be used in a `with` block from one thread at a time.

    Attributes:
        covers: whether a bar is there at the moment, so that lines on how far a job is are not needed.
    """

    covers: bool = False

    def __enter__(self) -> Self:
        """Return the surface itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what is of no use any more."""
        self.close()

    def show(self, text: str, done: float = 0, total: float | None = None) -> None:
        """Show what is going on, and how much of it is done.

        Args:
            text: such as "epoch 3/16: loss 20.41".
            done: of `total`.
            total: None where nobody knows.
        """

    def message(self, text: str) -> None:
        """Show a message that stays."""

    def print(self, text: str) -> None:
        """Print a line above the bar that covers the terminal."""

    def tick(self, text: str) -> None:
        """Show a line on how far the job is, where there is no bar that does."""

    def rest(self) -> None:
        """Remove the bar until it is shown again."""

    def forget(self) -> None:
        """Remove the bar, and what would stay of it at the end."""
        self.rest()

    def close(self) -> None:
        """Remove the bar for good."""
