"""`Table`: a table as it stands, before its columns are understood; and `Note`, a sentence on what was decided."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from recae.reading.engine import Engine, quoted, text

MISSING: Final = (
    "nan", "none", "null", "nil", "n/a", "na", "<na>", "\\n", "undefined", "unknown", "missing", "-", "?", "n.a.",
    "#n/a", "#ref!", "#value!", "#name?", "#null!", "#num!", "#div/0!",
)  # fmt: skip
"""How people and programs write that there is no value; compared without case and the blanks around."""

BLANKS: Final = " \t\n\r\u00a0\u3000"
"""What may stand around a value; the signs themselves, since SQL does not know ``\\u``."""


_LOOKED_AT: Final = 1_000_000  # rows out of which a sample is taken
_RUN: Final = 500  # rows of a sample that follow each other


@dataclass(frozen=True)
class Note:
    """A sentence on how a table was understood.

    Attributes:
        text: the sentence, without a full stop.
        doubt: whether it may mean something else; `--strict` refuses that.
        code: the name of the finding that `recae doctor` makes of it, such as ``times-day-or-month``; "" for none.
        column: the column that it is about; None for the whole table.
        advice: what to do where it is wrong; "" where the sentence says it.
        rows: rows that it is about; None where it is not about rows.
    """

    text: str
    doubt: bool = False
    code: str = ""
    column: str | None = None
    advice: str = ""
    rows: int | None = None

    def __str__(self) -> str:
        """Return the sentence with its advice."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


@dataclass(frozen=True, eq=False)
class Table:
    """A table in DuckDB that can be read as often as needed.

    Attributes:
        name: what to call it in messages; never with a password.
        engine: the connection that knows it.
        relation: its view or table there. The order of its rows is that of the source.
        types: its columns in their order, with their DuckDB types. Text files have VARCHAR alone: exact text, null
            where a field is empty.
        header: whether the columns' names come from the table; without, they are "1", "2", …
        files: local files that it consists of.
        notes: on encoding, delimiter, header, layout, joins.
        decimal_comma: whether its numbers are written with a decimal comma; None where nothing tells.
        skipped: lines that could not be read and were skipped.
        rejected: relation (line BIGINT, reason VARCHAR, text VARCHAR) of these; None where there are none.
        layout: one of `recae.reading.options.LAYOUTS`, as it was before it became rows.
        basket_is_user: whether nothing says who bought, so that each basket stands for a user.
    """

    name: str
    engine: Engine
    relation: str
    types: dict[str, str]
    header: bool = True
    files: tuple[Path, ...] = ()
    notes: tuple[Note, ...] = ()
    decimal_comma: bool | None = None
    skipped: int = 0
    rejected: str | None = None
    layout: str = "rows"
    basket_is_user: bool = False

    @property
    def columns(self) -> list[str]:
        """Its columns in their order."""
        return list(self.types)

    def with_notes(self, *notes: Note) -> Self:
        """Return the table with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def sample(self, rows: int = 20_000) -> str:
        """Return a relation of some rows, stored once: the first ones, and runs of others out of the first million.

        Rows that follow each other stay together, since what restarts in each order shows in runs only.
        """
        found = self._samples.get(rows)
        if found is None:
            head = f"SELECT * FROM {self.relation} LIMIT {_LOOKED_AT}"
            total = int(
                self.engine.value(f"SELECT count(*) FROM (SELECT 1 FROM {self.relation} LIMIT {_LOOKED_AT})")
            )
            if total > rows:
                apart = total * _RUN // (rows // 2)  # from the beginning of a run to that of the next
                head = (
                    f"SELECT * EXCLUDE (_row) FROM (SELECT *, row_number() OVER () - 1 AS _row FROM ({head})) "
                    f"WHERE _row < {rows // 2} OR _row % {apart} < {_RUN}"
                )
            found = self.engine.store(head, "sample")
            self._samples[rows] = found
        return found

    _samples: dict[int, str] = field(default_factory=dict, repr=False)

    def is_text(self, column: str) -> bool:
        """Tell whether a column is text."""
        return self.types[column] == "VARCHAR"

    @staticmethod
    def missing(sql: str) -> str:
        """Return SQL that tells whether a text (in SQL, without blanks around it) stands for no value."""
        return f"lower({sql}) IN ({', '.join(map(text, MISSING))})"

    def as_text(self, column: str) -> str:
        """Return SQL for a column as text without blanks around it, null where nothing is left."""
        return Table.trimmed(f"{quoted(column)}::VARCHAR")

    @staticmethod
    def trimmed(value: str) -> str:
        """Return SQL for a text (in SQL) without blanks around it, null where nothing is left."""
        trimmed = f"nullif(trim({value}, {text(BLANKS)}), '')"
        # the trimming of given letters takes many times as long as this look at them
        return f"CASE WHEN regexp_full_match({value}, '[!-~]([ -~]*[!-~])?') THEN {value} ELSE {trimmed} END"
