"""`Finding`: an observation on a table of purchases, with advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

from recae.summary import Summarised, Summary

EXAMPLES: Final = 3


class Severity(Enum):
    """Severity of a finding: what spoils a model, what may, and what is good to know."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, repr=False)
class Finding(Summarised):
    """An observation on a table.

    Attributes:
        severity: one of `Severity`.
        code: its name, which stays the same from version to version, such as ``ids-lost-zeros``.
        column: the column that it is about; None where it is about the whole table.
        text: a sentence.
        advice: what to do next.
        examples: some of the ids, values or rows meant, as text.
        rows: rows that it is about; None where it is not about rows.
    """

    severity: Severity
    code: str
    column: str | None
    text: str
    advice: str
    examples: tuple[str, ...] = ()
    rows: int | None = None

    def summary(self) -> Summary:
        """Return what was found and what to do about it."""
        about = f" ({self.column})" if self.column else ""
        examples = [("examples", "; ".join(self.examples))] if self.examples else []
        facts = [("found", self.text), *examples, ("advice", self.advice)]
        return Summary(f"Finding: {self.severity.value} {self.code}{about}", facts)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "severity": self.severity.value, "examples": list(self.examples)}


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return the worst first, in their order otherwise."""
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def counted(number: int, what: str) -> str:
    """Return "1 user", "2,000 users"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def percent(part: float, whole: float) -> str:
    """Return a fraction as text: 12 %, 3.4 %, .05 %, with two digits that count."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.01:
        return "under .01 %"
    digits = 0 if share >= 10 or share == 0 else 1 if share >= 1 else 2
    text = f"{share:.{digits}f}"
    if text == "100" and part < whole:
        text = "99.9" if share < 99.95 else "nearly 100"
    return f"{text.removeprefix('0') if share and share < 1 else text} %"
