"""`Seen`: the stored rows of a reading, with what every check asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recae.examination.findings import EXAMPLES
from recae.ids import shown
from recae.reading import Columns, Reading, ReadReport
from recae.reading.engine import Engine
from recae.reading.report import DUPLICATE, REASONS
from recae.reading.storing import Stored
from recae.reading.units import TEXTS


@dataclass(frozen=True, eq=False)
class Seen:
    """The stored rows of a reading.

    Attributes:
        engine: that holds the rows.
        columns: the columns chosen.
        stored: the tables in the engine.
        used: rows with a user, an item and a valid quantity, duplicates among them.
        dropped: rows dropped, by reason.
    """

    engine: Engine
    columns: Columns
    stored: Stored
    used: int
    dropped: dict[str, int]

    @classmethod
    def of(cls, reading: Reading, report: ReadReport | None) -> Seen:
        """Return what a reading has stored; without its report, duplicates are still to be counted."""
        stored, engine = reading.stored, reading.engine
        assert stored is not None  # noqa: S101  # the reading has stored its rows
        used = stored.n_rows - sum(stored.left_out.values()) - sum(stored.dropped.values())
        seen = cls(
            engine, reading.columns, stored, used, dict(stored.dropped if report is None else report.dropped)
        )
        if report is None and stored.timed:
            again = f"SELECT count(*) AS n FROM {seen.timed} GROUP BY {seen.keys}"
            if number := engine.value(f"SELECT coalesce(sum(n - 1), 0)::BIGINT FROM ({again})"):
                seen.dropped[DUPLICATE] = int(number)
        return seen

    @property
    def mixed(self) -> bool:
        """Whether times are numbers in several units, of which all but one are misread."""
        times = self.stored.times
        return times is not None and len(set(times.units) - {TEXTS}) > 1

    @property
    def timed(self) -> str:
        """SQL of the rows used whose time is known."""
        return f"(SELECT * FROM {self.stored.purchases} WHERE fate = 0 AND time IS NOT NULL)"

    @property
    def keys(self) -> str:
        """SQL of the columns that make two rows duplicates."""
        return ", ".join(name for name in ("user", "item", "time", "quantity") if name in self.stored.columns)

    def examples(self, reason: str) -> tuple[str, ...]:
        """Return the first rows dropped for a reason, in words."""
        purchases = self.stored.purchases
        if reason == DUPLICATE:
            found = self.engine.rows(
                f"SELECT p.row, d.first FROM {self.timed} p JOIN (SELECT {self.keys}, min(row) AS first "
                f"FROM {self.timed} GROUP BY {self.keys} HAVING count(*) > 1) d USING ({self.keys}) "
                f"WHERE p.row > d.first ORDER BY 1 LIMIT {EXAMPLES}"
            )
            words = self.in_words([row for row, _ in found], ("user", "item"))
            return tuple(
                f"row {row:,} repeats row {first:,}: {text}"
                for (row, first), text in zip(found, words, strict=True)
            )
        rows = [
            int(row)
            for (row,) in self.engine.rows(
                f"SELECT row FROM {purchases} WHERE fate = {REASONS.index(reason) + 1} ORDER BY 1 LIMIT {EXAMPLES}"
            )
        ]
        return tuple(f"row {row:,}: {text}" for row, text in zip(rows, self.in_words(rows), strict=True))

    def in_words(self, rows: Sequence[int], roles: Sequence[str] = ()) -> list[str]:
        """Return the values of rows, by their number in the source, as text.

        Args:
            rows: numbers from 1.
            roles: whose values; none: all that are stored.
        """
        if not rows:
            return []
        parts = self.engine.describe(self.stored.rows)
        texts: dict[str, str] = {}
        for role in roles or ("user", "item", "name", "time", "quantity", "basket"):
            # the exact text where it is stored, else the number or time that most values are
            own = [f"s.{part}" for part in (f"{role}_text", role) if parts.get(part) == "VARCHAR"]
            own += (
                [f"s.{role}_number::VARCHAR"]
                if role in ("user", "item") and f"{role}_number" in parts
                else []
            )
            if role == "time" and self.stored.timed:
                own.append("strftime(make_timestamp(p.time), '%Y-%m-%d %H:%M:%S')")
            if role == "quantity" and "quantity" in self.stored.columns:
                own.append(r"regexp_replace(p.quantity::VARCHAR, '\.0$', '')")
            if own and (column := getattr(self.columns, role)) is not None:
                texts[column] = f"coalesce({', '.join(own)})"
        found = {
            row: values
            for row, *values in self.engine.rows(
                f"SELECT p.row, {', '.join(texts.values())} FROM {self.stored.purchases} p "
                f"JOIN {self.stored.rows} s ON s.rowid = p.row - 1 WHERE p.row IN ({', '.join(map(str, rows))})"
            )
        }
        return [
            ", ".join(
                f"{column} {'missing' if value is None else shown(value)}"
                for column, value in zip(texts, found[row], strict=True)
            )
            for row in rows
        ]
